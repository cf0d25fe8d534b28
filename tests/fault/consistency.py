"""Links, merges and their undoing, while sixteen connections feed, submit and query the same patients.

Each patient has a number at three hospitals and documents under each number. Operations on one patient come one after the other,
queries at any time. Every answer must equal the patient's state before or after an operation that was under way: who is one person
with whom (ITI-9), and which documents an XAD-PID has, each with its patientId and sourcePatientId (ITI-18).
"""

import dataclasses
import random
import threading
import time

from conformance import client as xds
from tests.harness import server as harness

HOSPITALS = ("A", "B", "C")
PATIENTS = 100
WRITERS = 6
READERS = 10
RIM = xds.NS["rim"]
PATIENT_ID = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
UNIQUE_ID = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"


def authority(hospital):
    """OID of a hospital's numbers."""
    return f"1.2.392.99999.40.{HOSPITALS.index(hospital) + 1}"


@dataclasses.dataclass(frozen=True)
class State:
    """Where everything of one patient is: {number: XAD-PID}, {uniqueId: number}."""

    person: tuple
    documents: tuple

    def cross_reference(self, number):
        """What ITI-9 says of a number; None: unknown."""
        person = dict(self.person)
        if number not in person:
            return None
        return frozenset({n for n, p in self.person if p == person[number]} - {number}) | {person[number]}

    def listed(self, xad_pid):
        """What ITI-18 says of an XAD-PID: (uniqueId, patientId, sourcePatientId)."""
        person = dict(self.person)
        return frozenset((uid, xad_pid, number) for uid, number in self.documents if person.get(number) == xad_pid)


class Patient:
    """The model of one patient: every state with the times between which it may have been seen."""

    def __init__(self, index):
        self.index = index
        self.lock = threading.Lock()  # of operations
        self.person = {}
        self.origin = {}  # (number, XAD-PID): where it came from by a link
        self.documents = {}
        self.xad_pids = []
        self.merged = 0
        self.doubt = None  # the state before an operation that broke off
        self.registering = None  # the number whose feed broke off
        self.states = []  # [began, ended, State]
        self.states_lock = threading.Lock()

    def state(self):
        """A copy of what is now."""
        return State(tuple(sorted(self.person.items())), tuple(sorted(self.documents.items())))

    def begin(self, state=None):
        """An operation is about to be sent that leads to this state; None: known only afterwards."""
        entry = [time.monotonic(), None, state]
        with self.states_lock:
            self.states.append(entry)
        return entry

    def end(self, entry):
        """It was acknowledged; the model has its effect."""
        with self.states_lock:
            entry[2] = entry[2] or self.state()
            entry[1] = time.monotonic()

    def return_to(self, state):
        """The last operation did not happen."""
        self.person = dict(state.person)
        self.documents = dict(state.documents)

    def possible(self, began, ended):
        """The states that a query between these times may show; None: one of them is not known yet."""
        with self.states_lock:
            known = list(self.states)
        found = []
        for number, (start, _, state) in enumerate(known):
            following = known[number + 1] if number + 1 < len(known) else None
            if start <= ended and (following is None or following[1] is None or following[1] >= began):
                if state is None:
                    return None
                found.append(state)
        return found


class Connection:
    """One client: HL7 v2 and SOAP."""

    def __init__(self, server):
        self.mllp = xds.MllpClient(f"127.0.0.1:{server.mllp_port}")
        self.soap = xds.SoapClient(f"http://127.0.0.1:{server.plain_port}")

    def close(self):
        """Closes both."""
        self.mllp.close()
        self.soap.close()


def cx(number):
    """"A:123" as CX."""
    hospital, value = number.split(":")
    return f"{value}^^^&{authority(hospital)}&ISO"


class Checker:
    """The run: patients, workers, complaints."""

    def __init__(self, server, seconds, seed):
        self.server, self.seconds, self.seed = server, seconds, seed
        self.patients = [Patient(i) for i in range(PATIENTS)]
        self.complaints = []
        self.counts = {}
        self.lock = threading.Lock()
        self.until = None
        self.sequence = 0

    # ---- sending

    def complain(self, text):
        """Remembers what must not be."""
        with self.lock:
            self.complaints.append(text)

    def count(self, what):
        """Counts what was done."""
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def next_id(self):
        """A message control id."""
        with self.lock:
            self.sequence += 1
            return f"K{self.sequence}"

    def message(self, event, structure, *segments, version="2.5", kind="ADT"):
        """An HL7 v2 message."""
        head = f"MSH|^~\\&|HIS|REGION|MUSUBI|CENTER|20260401093000||{kind}^{event}^{structure}|{self.next_id()}|P|{version}"
        return "\r".join([head, *segments]) + "\r"

    def feed(self, connection, what, message):
        """Sends a feed; it must be AA."""
        reply = connection.mllp.send(message)
        if xds.acknowledgement(reply) != "AA":
            self.complain(f"{what}: {reply!r}")
        self.count(what)
        return reply

    def ask_pix(self, connection, number):
        """ITI-9: the identifiers of one person with number, XAD-PIDs as they are; None: unknown."""
        reply = connection.mllp.send(self.message("Q23", "QBP_Q21", f"QPD|IHE PIX Query|T{self.next_id()}|{cx(number)}", "RCP|I",
                                                  kind="QBP"))
        segments = {s.split("|")[0]: s.split("|") for s in reply.strip("\r").split("\r")}
        if segments["MSA"][1] == "AE" and "204" in reply:
            return None
        if segments["MSA"][1] != "AA":
            self.complain(f"ITI-9: {reply!r}")
            return frozenset()
        found = set()
        for repetition in segments.get("PID", [""] * 4)[3].split("~"):
            if repetition:
                value, _, _, domain = repetition.split("^")[:4]
                oid = domain.split("&")[1]
                hospital = next((h for h in HOSPITALS if authority(h) == oid), None)
                found.add(f"{hospital}:{value}" if hospital else value)
        return frozenset(found)

    def ask_registry(self, connection, xad_pid):
        """ITI-18 FindDocuments: (uniqueId, patientId, sourcePatientId) of each object; complains of any that comes twice."""
        reply = connection.soap.query("FindDocuments", {
            "$XDSDocumentEntryPatientId": f"'{xad_pid}^^^&{harness.AUTHORITY}&ISO'",
            "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"})
        if reply.outcome != "Success":
            self.complain(f"ITI-18: {reply.errors or reply.raw[:300]}")
            return frozenset()
        found = []
        for entry in reply.objects("ExtrinsicObject"):
            identifiers = {i.get("identificationScheme"): i.get("value") for i in entry.iterfind(f"{{{RIM}}}ExternalIdentifier")}
            slots = {s.get("name"): s.findtext(f".//{{{RIM}}}Value") for s in entry.iterfind(f"{{{RIM}}}Slot")}
            value, _, _, domain = slots["sourcePatientId"].split("^")
            oid = domain.split("&")[1]
            hospital = next(h for h in HOSPITALS if authority(h) == oid)
            found.append((identifiers[UNIQUE_ID], identifiers[PATIENT_ID].split("^")[0], f"{hospital}:{value}"))
        if len(found) != len(set(found)):
            self.complain(f"ITI-18 lists an object twice: {sorted(found)}")
        return frozenset(found)

    # ---- operations on a patient, whose lock is held

    def operate(self, patient, effect, send):
        """Gives the model the effect of an operation and sends it; what breaks off leaves patient.doubt, the state before."""
        patient.doubt = patient.state()
        effect()
        entry = patient.begin(patient.state())
        send()
        patient.end(entry)
        patient.doubt = None

    def register(self, connection, patient, number):
        """ITI-30 A28 of a number with demographics of its own, and one document under it."""
        hospital, value = number.split(":")
        entry = patient.begin()
        patient.registering = number
        self.feed(connection, "A28", self.message(
            "A28", "ADT_A05", "EVN||20260401093000", f"PID|||{cx(number)}||{hospital}{value}^{patient.index}||"
            f"19{HOSPITALS.index(hospital)}00{patient.index % 9 + 1}1{patient.index % 9}|F", "PV1||N"))
        self.note_registered(connection, patient, number)
        patient.registering = None
        patient.end(entry)
        self.submit(connection, patient, number)

    def note_registered(self, connection, patient, number):
        """A number that was fed is a person of its own, with one XAD-PID."""
        found = self.ask_pix(connection, number)
        xad_pids = [n for n in found or () if ":" not in n]
        if len(xad_pids) != 1 or len(found) != 1:
            self.complain(f"{number} after its feed is one person with {found}")
        patient.person[number] = xad_pids[0] if xad_pids else None
        patient.xad_pids += xad_pids

    def submit(self, connection, patient, number):
        """ITI-41 of one document under a number."""
        person = f"{patient.person[number]}^^^&{harness.AUTHORITY}&ISO"
        document = xds.Document(person, b"x" * 100, source_patient=cx(number))

        def send():
            reply = connection.soap.provide(xds.Submission(person, [document]))
            if reply.outcome != "Success":
                self.complain(f"ITI-41: {reply.errors or reply.raw[:300]}")
        self.operate(patient, lambda: patient.documents.update({document.unique_id: number}), send)
        self.count("ITI-41")

    def link(self, connection, patient, one, other):
        """ITI-30 A24: `other` alone comes to the person of `one`."""
        def effect():
            if patient.person[one] != patient.person[other]:
                patient.origin[other, patient.person[one]] = patient.person[other]
                patient.person[other] = patient.person[one]
        self.operate(patient, effect, lambda: self.feed(connection, "A24", self.message(
            "A24", "ADT_A24", "EVN||20260401093000", f"PID|||{cx(one)}||^", f"PID|||{cx(other)}||^")))

    def unlink(self, connection, patient, one, other):
        """ITI-30 A37: the one that came later goes back to where it came from."""
        def effect():
            person = patient.person[one]
            if person == patient.person[other]:
                leaving = other if (other, person) in patient.origin else one
                patient.person[leaving] = patient.origin[leaving, person]
        self.operate(patient, effect, lambda: self.feed(connection, "A37", self.message(
            "A37", "ADT_A37", "EVN||20260401093000", f"PID|||{cx(one)}||^", f"PID|||{cx(other)}||^")))

    def merge(self, connection, patient, survivor):
        """A fresh number of the same hospital, with a document, is merged into survivor (A40)."""
        patient.merged += 1
        hospital, value = survivor.split(":")
        subsumed = f"{hospital}:{value}-{patient.merged}"
        self.register(connection, patient, subsumed)

        def effect():
            del patient.person[subsumed]
            patient.documents.update({uid: survivor for uid, number in patient.documents.items() if number == subsumed})
        self.operate(patient, effect, lambda: self.feed(connection, "A40", self.message(
            "A40", "ADT_A39", "EVN||20260401093000", f"PID|||{cx(survivor)}||^", f"MRG|{cx(subsumed)}")))

    def change(self, connection, patient, chance):
        """One random operation."""
        one, other = chance.sample([f"{h}:{patient.index:05}" for h in HOSPITALS], 2)
        linked = patient.person[one] == patient.person[other]
        what = chance.choices(("link", "submit", "merge", "revise"), (6, 3, 1, 1))[0]
        if what == "link" and linked:
            self.unlink(connection, patient, one, other)
        elif what == "link":
            self.link(connection, patient, one, other)
        elif what == "submit":
            self.submit(connection, patient, one)
        elif what == "merge" and patient.merged < 10:
            self.merge(connection, patient, one)
        else:
            self.feed(connection, "A31", self.message("A31", "ADT_A05", "EVN||20260401093000",
                                                      f"PID|||{cx(one)}||||||||||{chance.randint(1, 99)}", "PV1||N"))

    # ---- workers

    def write(self, number):
        """Operations until the time is over."""
        chance = random.Random(self.seed * 1000 + number)
        connection = Connection(self.server)
        while time.monotonic() < self.until:
            patient = chance.choice(self.patients)
            if patient.lock.acquire(blocking=False):
                try:
                    self.change(connection, patient, chance)
                finally:
                    patient.lock.release()
        connection.close()

    def check(self, patient, began, seen, expectation, what):
        """An answer must be that of a state that was possible meanwhile."""
        ended = time.monotonic()
        while (states := patient.possible(began, ended)) is None:
            time.sleep(0.001)
        if seen not in [expectation(state) for state in states]:
            self.complain(f"{what} of patient {patient.index}: {sorted(seen or ())} is none of {len(states)} possible states, "
                          f"the last {sorted(expectation(states[-1]) or ())}")

    def read(self, number):
        """Queries until the time is over."""
        chance = random.Random(self.seed * 1000 + 500 + number)
        connection = Connection(self.server)
        while time.monotonic() < self.until:
            patient = chance.choice(self.patients)
            began = time.monotonic()
            if number % 2:
                own = f"{chance.choice(HOSPITALS)}:{patient.index:05}"
                seen = self.ask_pix(connection, own)
                self.check(patient, began, seen, lambda state, own=own: state.cross_reference(own), f"ITI-9 {own}")
                self.count("ITI-9")
            else:
                xad_pid = chance.choice(list(patient.xad_pids))
                seen = self.ask_registry(connection, xad_pid)
                self.check(patient, began, seen, lambda state, xad_pid=xad_pid: state.listed(xad_pid), "ITI-18")
                self.count("ITI-18")
        connection.close()

    def guarded(self, work, number):
        """A worker that ends early is a complaint."""
        try:
            work(number)
        except Exception as problem:  # pylint: disable=broad-exception-caught
            self.complain(f"{work.__name__} {number} ended: {problem!r}")

    def check_all(self):
        """At rest every patient is exactly as the model says."""
        connection = Connection(self.server)
        for patient in self.patients:
            state = patient.state()
            for number, _ in state.person:
                seen = self.ask_pix(connection, number)
                if seen != state.cross_reference(number):
                    self.complain(f"at rest {number} is one person with {seen}, not {state.cross_reference(number)}")
            for xad_pid in patient.xad_pids:
                seen = self.ask_registry(connection, xad_pid)
                if seen != state.listed(xad_pid):
                    self.complain(f"at rest an XAD-PID of patient {patient.index} lists {sorted(seen)}, not {sorted(state.listed(xad_pid))}")
        connection.close()

    def run(self):
        """Prepares, runs and checks; gives the complaints."""
        connection = Connection(self.server)
        for patient in self.patients:
            for hospital in HOSPITALS:
                self.register(connection, patient, f"{hospital}:{patient.index:05}")
        connection.close()
        self.until = time.monotonic() + self.seconds
        workers = [threading.Thread(target=self.guarded, args=(self.write, n)) for n in range(WRITERS)]
        workers += [threading.Thread(target=self.guarded, args=(self.read, n)) for n in range(READERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.check_all()
        return self.complaints


def configure(server):
    """The hospitals' authorities, before the server starts or while it runs."""
    for hospital in HOSPITALS:
        server.command("authority", "add", authority(hospital), "--namespace", f"HOSPITAL-{hospital}", "--kind", "emr")


def run(seconds, seed):
    """A server of its own. @return exit status"""
    with harness.Server(settings={"server": {"max_connections": "256"}}) as server:
        server.start()
        configure(server)
        time.sleep(1.5)  # the server looks for changes every second
        checker = Checker(server, seconds, seed)
        complaints = checker.run()
        fsck = server.command("fsck", check=False)
        deadlocks = server.log().count("deadlock")
    print(f"consistency: {seconds} s, {checker.counts}")
    for complaint in complaints[:20]:
        print(f"  {complaint}")
    if fsck.returncode != 0:
        complaints.append("fsck")
        print(fsck.stdout[-2000:], fsck.stderr[-2000:])
    print(f"consistency: {len(complaints)} wrong answers, fsck {'clean' if fsck.returncode == 0 else 'NOT clean'}, "
          f"{deadlocks} deadlocks in the log")
    return 1 if complaints else 0
