"""kill -9 while numbers are fed, linked, unlinked and merged: every AA is kept, and nothing is half linked.

Each cycle has patients of its own. After the restart each of them must be as after its last acknowledged operation, or, where one
was cut off, as before or after that one: persons (ITI-9) and documents (ITI-18) alike.
"""

import http.client
import random
import threading
import time

from lxml import etree

from tests.fault import consistency
from tests.harness import server as harness

BROKEN = (OSError, http.client.HTTPException, ValueError, etree.XMLSyntaxError)
WORKERS = 4
STEPS = ("identity.written", "identity.committed", None, None)
CHECKED_AGAIN = 12  # patients of earlier cycles


class Identity:
    """The cycles of one run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.server = harness.Server()
        self.checker = consistency.Checker(self.server, 0, arguments.seed)
        self.patients = []
        self.stopping = threading.Event()
        self.kept = self.cut_off = 0

    def work(self, patient):
        """Operations on one patient until the server is gone."""
        try:
            connection = consistency.Connection(self.server)
            for hospital in consistency.HOSPITALS:
                self.checker.register(connection, patient, f"{hospital}:{patient.index:05}")
            while not self.stopping.is_set():
                self.checker.change(connection, patient, self.random)
        except BROKEN:
            pass

    def look(self, connection, patient, state):
        """Whether a patient is as this state says: (persons, documents) that differ."""
        persons = {n for n, _ in state.person if self.checker.ask_pix(connection, n) != state.cross_reference(n)}
        documents = {x for x in patient.xad_pids if self.checker.ask_registry(connection, x) != state.listed(x)}
        return persons, documents

    def settle_registration(self, connection, patient):
        """A number whose feed was cut off is known wholly or not at all."""
        number, patient.registering = patient.registering, None
        if number and number not in patient.person and self.checker.ask_pix(connection, number) is not None:
            self.checker.note_registered(connection, patient, number)

    def check(self, patient):
        """A patient after the restart; the model takes over what a cut off operation came to."""
        connection = consistency.Connection(self.server)
        self.settle_registration(connection, patient)
        before, patient.doubt = patient.doubt, None
        faults = self.look(connection, patient, patient.state())
        if faults != (set(), set()) and before:
            now = self.look(connection, patient, self.with_new(before, patient))
            if now == (set(), set()):
                patient.return_to(self.with_new(before, patient))
                faults = now
        if faults != (set(), set()):
            self.checker.complain(f"patient {patient.index}: persons of {sorted(faults[0])}, documents of {sorted(faults[1])} are not as "
                                  "after the last acknowledged operation")
        connection.close()

    @staticmethod
    def with_new(before, patient):
        """The state before, with numbers that became known since."""
        known = dict(before.person)
        return consistency.State(tuple(sorted({**{n: p for n, p in patient.person.items() if n not in known}, **known}.items())),
                                 before.documents)

    def cycle(self, number):
        """One life, its end, and the checks."""
        step = self.random.choice(STEPS)
        self.server.environment.pop("MUSUBI_FAIL_AT", None)
        if step:
            self.server.kill()
            self.server.environment["MUSUBI_FAIL_AT"] = f"{step}:{self.random.randint(2, 40)}"
            self.server.start()
        fresh = [consistency.Patient(number * WORKERS + n) for n in range(WORKERS)]
        self.stopping.clear()
        workers = [threading.Thread(target=self.work, args=(patient,)) for patient in fresh]
        for worker in workers:
            worker.start()
        time.sleep(self.random.uniform(0.05, 0.6))
        self.server.kill()
        self.stopping.set()
        for worker in workers:
            worker.join(40)
        self.server.environment.pop("MUSUBI_FAIL_AT", None)
        self.server.start()
        self.cut_off += sum(p.doubt is not None or p.registering is not None for p in fresh)
        for patient in fresh + self.random.sample(self.patients, min(CHECKED_AGAIN, len(self.patients))):
            self.check(patient)
        self.patients += fresh

    def run(self):
        """All cycles, then everything once more; gives the exit status."""
        number = 0
        try:
            self.server.start()
            consistency.configure(self.server)
            time.sleep(1.5)  # the server looks for changes every second
            for number in range(1, self.arguments.cycles + 1):
                self.cycle(number)
                if self.checker.complaints and not self.arguments.keep_going:
                    break
                if number % 50 == 0:
                    print(f"cycle {number}: {self.checker.counts}", flush=True)
            for patient in self.patients:
                self.check(patient)
            fsck = self.server.command("fsck", check=False)
            if fsck.returncode != 0:
                self.checker.complain(f"fsck: {fsck.stdout[-1500:]}")
        finally:
            self.server.close()
        for complaint in self.checker.complaints[:20]:
            print(f"  {complaint}")
        print(f"identity: {number} cycles, {len(self.patients)} patients, {self.checker.counts}, {self.cut_off} cut off: "
              f"{len(self.checker.complaints)} not kept or half done")
        return 1 if self.checker.complaints else 0
