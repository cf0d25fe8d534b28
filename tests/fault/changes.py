"""Writers replace, update, deprecate, approve and remove the same documents while readers query them.

The documents are in slots: a slot is one Folder and the documents that replace each other in it. What was sent to a slot, with the times
of request and reply, is its history; afterwards `explain()` looks for an order of all operations in which each answer, each success
and each error code is what the state of the slot gave at one moment between request and reply. Where there is none, an answer showed
something that never was, or an operation had another effect than it said.
"""

import dataclasses
import functools
import http.client
import random
import threading
import time
import typing

from lxml import etree

from conformance import client as xds
from tests.harness import server as harness
from tests.integration import common

SLOTS = 50
SLOTS_OF_PATIENT = 5
WRITERS = READERS = 16
RECENT = 3  # documents of a slot that are worked on
FULL = 5  # with more documents in a slot, one is removed
BROKEN = (OSError, http.client.HTTPException, ValueError, etree.XMLSyntaxError)
FOLDER_UNIQUE_ID = "urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a"
REMOVE = "urn:ihe:iti:2010:DeleteDocumentSet"
VERSION_ERROR, UPDATE_ERROR = frozenset({"XDSMetadataVersionError"}), frozenset({"XDSMetadataUpdateError"})
REPLACES = xds.IHE_ASSOCIATION + "RPLC"
DONE = frozenset()  # the error codes of a success


# ---------------------------------------------------------------------------------------------- the model of a slot


class Entry(typing.NamedTuple):
    """The latest version of a DocumentEntry or Folder."""

    version: int
    is_approved: bool
    title: str


@functools.lru_cache(maxsize=4096)
def by_unique_id(documents):
    """The documents of a state for looking up."""
    return dict(documents)


class State(typing.NamedTuple):
    """Everything in a slot at one moment."""

    folder: Entry
    documents: frozenset  # (uniqueId, Entry)
    members: frozenset  # uniqueIds in the Folder
    replacements: frozenset  # (new, old) uniqueIds

    def entry(self, unique_id):
        """The latest version of a document; None: there is none."""
        return by_unique_id(self.documents).get(unique_id)

    def with_entry(self, unique_id, entry):
        """The state with another latest version."""
        kept = frozenset(pair for pair in self.documents if pair[0] != unique_id)
        return self._replace(documents=kept | {(unique_id, entry)})


@dataclasses.dataclass(eq=False)
class Operation:
    """What was sent to a slot. codes: of the errors of the reply; None: it is not known whether it was done."""

    began: float = 0.0
    ended: float = 0.0
    codes: frozenset = None

    def changes(self):
        """Whether it had an effect, or may have had one."""
        return not self.codes

    def refused(self, state):
        """The error codes that it gets in this state."""
        raise NotImplementedError

    def apply(self, state):
        """The state that a success leaves."""
        raise NotImplementedError

    def fits(self, state):
        """Whether the reply, which tells of no effect, is that of this state."""
        return self.codes == self.refused(state)


@dataclasses.dataclass(eq=False)
class Register(Operation):
    """ITI-42 of a document outside of the Folder."""

    unique_id: str = ""
    title: str = ""

    def refused(self, state):
        return DONE

    def apply(self, state):
        return state.with_entry(self.unique_id, Entry(1, True, self.title))


@dataclasses.dataclass(eq=False)
class Update(Operation):
    """ITI-57 or ITI-92: a new version of a document."""

    unique_id: str = ""
    previous: int = 0
    title: str = ""
    is_restricted: bool = False

    def refused(self, state):
        entry = state.entry(self.unique_id)
        if entry is None or entry.version != self.previous:
            return VERSION_ERROR
        return DONE if entry.is_approved or self.is_restricted else UPDATE_ERROR

    def apply(self, state):
        entry = state.entry(self.unique_id)
        return state.with_entry(self.unique_id, Entry(entry.version + 1, entry.is_approved, self.title))


@dataclasses.dataclass(eq=False)
class ChangeStatus(Operation):
    """ITI-57 UpdateAvailabilityStatus of a version of a document."""

    unique_id: str = ""
    version: int = 0
    approve: bool = False

    def refused(self, state):
        entry = state.entry(self.unique_id)
        return DONE if entry and entry.version == self.version and entry.is_approved != self.approve else UPDATE_ERROR

    def apply(self, state):
        return state.with_entry(self.unique_id, state.entry(self.unique_id)._replace(is_approved=self.approve))


@dataclasses.dataclass(eq=False)
class Replace(Operation):
    """ITI-42 of a document that replaces a version of another one; it joins the Folder of that."""

    unique_id: str = ""
    version: int = 0
    new: str = ""
    title: str = ""

    def refused(self, state):
        entry = state.entry(self.unique_id)
        if entry is None:
            return frozenset({"UnresolvedReferenceException"})
        if entry.version != self.version or not entry.is_approved:
            return frozenset({"XDSRegistryDeprecatedDocumentError"})
        return DONE

    def apply(self, state):
        entry = state.entry(self.unique_id)
        after = state.with_entry(self.unique_id, entry._replace(is_approved=False)).with_entry(self.new, Entry(1, True, self.title))
        joined = {self.new} if self.unique_id in state.members else set()
        return after._replace(members=state.members | joined, replacements=state.replacements | {(self.new, self.unique_id)})


@dataclasses.dataclass(eq=False)
class UpdateFolder(Operation):
    """ITI-57: a new version of the Folder, which Approved documents stay in."""

    previous: int = 0
    title: str = ""

    def refused(self, state):
        return DONE if state.folder.version == self.previous else VERSION_ERROR

    def apply(self, state):
        approved = frozenset(unique_id for unique_id, entry in state.documents if entry.is_approved)
        return state._replace(folder=Entry(self.previous + 1, True, self.title), members=state.members & approved)


@dataclasses.dataclass(eq=False)
class Remove(Operation):
    """ITI-62 of all versions of a document with all that names them. What became of them meanwhile is not in the model."""

    unique_id: str = ""

    def refused(self, state):
        return DONE if state.entry(self.unique_id) else frozenset({"UnresolvedReferenceException"})

    def fits(self, state):
        if state.entry(self.unique_id) is None:
            return self.codes == self.refused(state)
        return self.codes <= {"UnresolvedReferenceException", "ReferencesExistException", "XDSUnreferencedObjectException",
                              "XDSMetadataModelException"}

    def apply(self, state):
        gone = self.unique_id
        return state._replace(documents=frozenset(pair for pair in state.documents if pair[0] != gone), members=state.members - {gone},
                              replacements=frozenset(pair for pair in state.replacements if gone not in pair))


@dataclasses.dataclass(eq=False)
class Read(Operation):
    """A query and its answer."""

    seen: object = None

    def changes(self):
        return False

    def answer(self, state):
        """What the query gives in this state."""
        raise NotImplementedError

    def fits(self, state):
        return self.seen == self.answer(state)


@dataclasses.dataclass(eq=False)
class ReadDocuments(Read):
    """GetDocuments: {uniqueId: Entry}. At level 2 the versions before are counted: {uniqueId: (Entry, superseded)}."""

    unique_ids: tuple = ()
    level: int = 1

    def answer(self, state):
        found = {unique_id: entry for unique_id in self.unique_ids if (entry := state.entry(unique_id))}
        if self.level == 1:
            return found
        return {unique_id: (entry, tuple(range(1, entry.version))) for unique_id, entry in found.items()}


@dataclasses.dataclass(eq=False)
class ReadPatient(Read):
    """FindDocuments: {uniqueId: Entry}."""

    approved_only: bool = True

    def answer(self, state):
        return {unique_id: entry for unique_id, entry in state.documents if entry.is_approved or not self.approved_only}


@dataclasses.dataclass(eq=False)
class ReadFolder(Read):
    """GetFolderAndContents: (the Folder, {uniqueId: Entry}, memberships)."""

    def answer(self, state):
        members = {unique_id: state.entry(unique_id) for unique_id in state.members}
        return state.folder, members, len(members)


@dataclasses.dataclass(eq=False)
class ReadRelated(Read):
    """GetRelatedDocuments by RPLC: ({uniqueId: Entry}, Associations)."""

    unique_id: str = ""

    def answer(self, state):
        pairs = [pair for pair in state.replacements if self.unique_id in pair]
        related = {unique_id for pair in pairs for unique_id in pair}
        return {unique_id: state.entry(unique_id) for unique_id in related}, len(pairs)


# ---------------------------------------------------------------------------------------------- the history checker


class Explanation:
    """All that may have been so far: states of the slot, each with those of the pending operations that took effect before it."""

    def __init__(self, initial):
        self.pending = set()
        self.possible = {(initial, frozenset())}

    def settled(self, state, done):
        """What tells of no effect and fits the state takes place here; no later moment could be better."""
        return state, done | {o for o in self.pending - done if not o.changes() and o.fits(state)}

    def begin(self, operation):
        """A request is sent."""
        self.pending.add(operation)
        if not operation.changes():
            self.possible = {self.settled(*p) for p in self.possible}

    def end(self, operation):
        """Its reply is there: it took place by now. @return whether that is possible"""
        explained = {p for p in self.possible if operation in p[1]}
        open_ends = list(self.possible - explained)
        seen = set(open_ends)
        while open_ends:
            state, done = open_ends.pop()
            for other in self.pending - done:
                if not other.changes() or other.refused(state):
                    continue
                following = self.settled(other.apply(state), done | {other})
                if operation in following[1]:
                    explained.add(following)
                elif following not in seen:
                    seen.add(following)
                    open_ends.append(following)
        self.pending.discard(operation)
        if explained:
            self.possible = {(state, done - {operation}) for state, done in explained}
        return bool(explained)


def explain(initial, operations):
    """Looks for an order of a slot's operations that explains all replies. @return None, or what cannot be explained"""
    events = [(o.began, False, n, o) for n, o in enumerate(operations)]
    events += [(o.ended, True, n, o) for n, o in enumerate(operations) if o.codes is not None]
    explanation = Explanation(initial)
    for _, is_end, _, operation in sorted(events, key=lambda event: event[:3]):
        if not is_end:
            explanation.begin(operation)
        elif not explanation.end(operation):
            beside = [o for o in explanation.pending if o.changes()]
            states = {state for state, _ in explanation.possible}
            return f"{operation} fits none of {states}, while {beside} may have taken effect"
    return None


# ---------------------------------------------------------------------------------------------- what is sent


def lasting(entry):
    """An object of an answer as Entry."""
    return Entry(int(entry.find("{%s}VersionInfo" % xds.NS["rim"]).get("versionName")), entry.get("status").endswith("Approved"),
                 entry.xpath("string(rim:Name/rim:LocalizedString/@value)", namespaces=xds.NS))


def unique_id_of(entry, scheme=common.UNIQUE_ID_SCHEME):
    """The uniqueId of an object; empty if it is of another kind."""
    return entry.xpath(f"string(rim:ExternalIdentifier[@identificationScheme='{scheme}']/@value)", namespaces=xds.NS)


class Slot:
    """One Folder, its documents and the history."""

    def __init__(self, number, patient):
        self.number, self.patient = number, patient
        self.folder = xds.Folder(common.patient(patient))
        self.folder_lid = None
        self.documents = []  # uniqueIds, the newest last
        self.history = []
        self.initial = None
        self.names = 0
        self.lock = threading.Lock()

    def next_title(self):
        """A title that no other version has."""
        with self.lock:
            self.names += 1
            return f"Title {self.number}.{self.names}"

    def recent(self):
        """Documents that are worked on."""
        with self.lock:
            return self.documents[-RECENT:]

    def add(self, unique_id):
        """A document is there from now on."""
        with self.lock:
            self.documents.append(unique_id)

    def drop(self, unique_id):
        """A document was removed."""
        with self.lock:
            self.documents = [d for d in self.documents if d != unique_id]


class Hand:
    """One connection, as writer or reader. Each operation goes into the history of its slot."""

    def __init__(self, server, may_remove, may_break=False):
        self.server, self.may_remove, self.may_break = server, may_remove, may_break
        self.soap = common.client(server)
        self.problems = []
        self.counts = {}
        self.unanswered = []  # (slot, operation, message)

    def close(self):
        """Closes the connection."""
        self.soap.close()

    def count(self, operation):
        """Counts kinds of operations and their outcomes."""
        what = type(operation).__name__ + (" refused" if operation.codes else "")
        self.counts[what] = self.counts.get(what, 0) + 1

    # ---- changes

    def change(self, slot, operation, transaction, body):
        """Sends it. @return whether it was done"""
        operation.began = time.monotonic()
        with slot.lock:
            slot.history.append(operation)
        try:
            reply = self.soap.send("/registry", transaction, body)
        except BROKEN:
            if not self.may_break:
                raise
            self.unanswered.append((slot, operation, (transaction, body)))
            raise
        codes = frozenset(error[0] for error in reply.errors)
        if reply.outcome == "Fault" or (reply.outcome != "Success") != bool(codes):
            codes = frozenset({f"{reply.outcome} {reply.status}"})
        operation.ended, operation.codes = time.monotonic(), codes
        self.count(operation)
        return not codes

    def fill(self, slot):
        """The Folder with its first document."""
        person = common.patient(slot.patient)
        document = xds.Document(person, title=slot.next_title())
        submission = xds.Submission(person, documents=[document], folders=[slot.folder])
        member = xds.new_urn()
        submission.associations = [xds.association_xml(xds.HAS_MEMBER, slot.folder.id, document.id, identifier=member),
                                   xds.association_xml(xds.HAS_MEMBER, submission.id, member)]
        reply = self.soap.register(submission)
        if reply.outcome != "Success":
            raise AssertionError(reply.errors)
        slot.initial = State(Entry(1, True, slot.folder.title), frozenset({(document.unique_id, Entry(1, True, document.title))}),
                             frozenset({document.unique_id}), frozenset())
        slot.add(document.unique_id)

    def register(self, slot):
        """A document of its own, where all were removed."""
        document = xds.Document(common.patient(slot.patient), title=slot.next_title())
        if self.change(slot, Register(unique_id=document.unique_id, title=document.title), "ITI-42",
                       xds.Submission(document.patient, [document]).register_xml()):
            slot.add(document.unique_id)

    def update(self, slot, unique_id, known, transaction):
        """A new version of a document."""
        entry, shown = known
        renewed = xds.Document(common.patient(slot.patient), unique_id=unique_id, title=slot.next_title())
        self.change(slot, Update(unique_id=unique_id, previous=entry.version, title=renewed.title, is_restricted=transaction == "ITI-92"),
                    transaction, common.version_xml(renewed, shown.get("lid"), str(entry.version)))

    def change_status(self, slot, unique_id, known):
        """Approved becomes Deprecated, Deprecated Approved."""
        entry, shown = known
        wanted = xds.STATUS + ("Deprecated" if entry.is_approved else "Approved")
        self.change(slot, ChangeStatus(unique_id=unique_id, version=entry.version, approve=not entry.is_approved), "ITI-57",
                    common.status_xml(common.patient(slot.patient), shown.get("id"), shown.get("status"), wanted))

    def replace(self, slot, unique_id, known):
        """A document takes the place of another one."""
        entry, shown = known
        new = xds.Document(common.patient(slot.patient), title=slot.next_title())
        submission = xds.Submission(new.patient, [new])
        submission.associations = [xds.association_xml(REPLACES, new.id, shown.get("id"))]
        if self.change(slot, Replace(unique_id=unique_id, version=entry.version, new=new.unique_id, title=new.title), "ITI-42",
                       submission.register_xml()):
            slot.add(new.unique_id)

    def update_folder(self, slot):
        """A new version of the Folder."""
        entry, lid = self.read_folder(slot)
        renewed = dataclasses.replace(slot.folder, title=slot.next_title())
        body = xds.Submission(renewed.patient, folders=[renewed]).register_xml()
        body = body.replace(f'<rim:RegistryPackage id="{renewed.id}"', f'<rim:RegistryPackage id="{renewed.id}" lid="{lid}"')
        member = f'targetObject="{renewed.id}">'
        body = body.replace(member, member + xds.slot_xml("PreviousVersion", str(entry.version)))
        self.change(slot, UpdateFolder(previous=entry.version, title=renewed.title), "ITI-57", body)

    def remove(self, slot, unique_id):
        """All versions of a document, all Associations that name them, and SubmissionSets that would be empty."""
        rows = common.rows(self.server, """
            WITH versions AS (SELECT entry_uuid FROM document_entry WHERE hashtext(unique_id) = hashtext(%s) AND unique_id = %s),
            ends AS (SELECT * FROM association WHERE source_object IN (TABLE versions) OR target_object IN (TABLE versions)),
            gone AS (SELECT * FROM ends UNION SELECT * FROM association WHERE target_object IN (SELECT entry_uuid FROM ends)),
            sets AS (SELECT source_object FROM gone WHERE source_kind = 1 EXCEPT SELECT source_object FROM association
                     WHERE source_object IN (SELECT source_object FROM gone) AND entry_uuid NOT IN (SELECT entry_uuid FROM gone))
            SELECT entry_uuid::text FROM versions UNION SELECT entry_uuid::text FROM gone UNION SELECT source_object::text FROM sets""",
                           unique_id, unique_id)
        references = "".join(f'<rim:ObjectRef id="urn:uuid:{row[0]}"/>' for row in rows)
        body = (f'<lcm:RemoveObjectsRequest xmlns:lcm="{xds.NS["lcm"]}" xmlns:rim="{xds.NS["rim"]}"><rim:ObjectRefList>{references}'
                "</rim:ObjectRefList></lcm:RemoveObjectsRequest>")
        if rows and self.change(slot, Remove(unique_id=unique_id), REMOVE, body):
            slot.drop(unique_id)

    def change_any(self, slot, chance):
        """One random change of a slot."""
        documents = slot.recent()
        if not documents:
            self.register(slot)
            return
        if self.may_remove and len(slot.documents) > FULL:
            self.remove(slot, chance.choice(slot.documents))
            return
        if chance.random() < 0.1:
            self.update_folder(slot)
            return
        unique_id = chance.choice(documents)
        if self.may_remove and chance.random() < 0.03:
            self.remove(slot, unique_id)
            return
        known = self.read_documents(slot, (unique_id,)).get(unique_id)
        if known is None:
            return
        what = chance.choices(("57", "92", "status", "replace"), (4, 2, 3, 2))[0]
        if what == "status":
            self.change_status(slot, unique_id, known)
        elif what == "replace":
            self.replace(slot, unique_id, known)
        else:
            self.update(slot, unique_id, known, f"ITI-{what}")

    # ---- queries

    def ask(self, name, parameters):
        """Sends a query. @return ExtrinsicObjects, reply, times of request and reply"""
        began = time.monotonic()
        reply = self.soap.query(name, parameters)
        ended = time.monotonic()
        if reply.outcome != "Success":
            self.problems.append(f"{name}: {reply.errors or reply.raw[:300]}")
        return reply.objects("ExtrinsicObject"), reply, {"began": began, "ended": ended, "codes": DONE}

    def keep(self, slot, read):
        """A read goes into the history."""
        with slot.lock:
            slot.history.append(read)
        self.count(read)

    def read_documents(self, slot, unique_ids):
        """GetDocuments at level 1. @return {uniqueId: (Entry, element)}"""
        texts = ",".join(f"'{u}'" for u in unique_ids)
        objects, _, times = self.ask("GetDocuments", {"$XDSDocumentEntryUniqueId": f"({texts})"})
        found = {unique_id_of(o): (lasting(o), o) for o in objects}
        self.keep(slot, ReadDocuments(**times, unique_ids=tuple(unique_ids), seen={u: entry for u, (entry, _) in found.items()}))
        self.check_once(objects, found)
        return found

    def check_once(self, objects, found):
        """Level 1 shows one version of each."""
        if len(objects) != len(found):
            self.problems.append(f"several versions at level 1: {[(unique_id_of(o), lasting(o)) for o in objects]}")

    def read_versions(self, slot, unique_ids):
        """GetDocuments at level 2."""
        texts = ",".join(f"'{u}'" for u in unique_ids)
        objects, _, times = self.ask("GetDocuments", {"$XDSDocumentEntryUniqueId": f"({texts})", "$MetadataLevel": "2"})
        versions = {}
        for element in objects:
            versions.setdefault(unique_id_of(element), []).append(lasting(element))
        seen = {}
        for unique_id, entries in versions.items():
            *earlier, last = sorted(entries)
            seen[unique_id] = (last, tuple(e.version for e in earlier))
            if any(e.is_approved for e in earlier):
                self.problems.append(f"a superseded version is Approved: {entries}")
        self.keep(slot, ReadDocuments(**times, unique_ids=tuple(unique_ids), level=2, seen=seen))

    def read_patient(self, slots, approved_only):
        """FindDocuments of the patient of all these slots."""
        statuses = ("Approved",) if approved_only else ("Approved", "Deprecated")
        texts = ",".join(f"'{xds.STATUS}{status}'" for status in statuses)
        before = {unique_id: slot for slot in slots for unique_id in slot.documents}
        objects, _, times = self.ask("FindDocuments", {
            "$XDSDocumentEntryPatientId": f"'{common.patient(slots[0].patient)}'", "$XDSDocumentEntryStatus": f"({texts})"})
        found = {unique_id_of(o): lasting(o) for o in objects}
        self.check_once(objects, found)
        owners = {number: slot for slot in slots for number in (slot.number,)}
        seen = {slot: {} for slot in slots}
        for unique_id, entry in found.items():
            owner = before.get(unique_id) or owners[int(entry.title.split()[1].split(".")[0])]
            seen[owner][unique_id] = entry
        for slot in slots:
            self.keep(slot, ReadPatient(**times, approved_only=approved_only, seen=seen[slot]))

    def read_folder(self, slot):
        """GetFolderAndContents. @return the Folder and its lid"""
        objects, reply, times = self.ask("GetFolderAndContents", {"$XDSFolderUniqueId": f"'{slot.folder.unique_id}'"})
        folders = reply.objects("RegistryPackage")
        members = {unique_id_of(o): lasting(o) for o in objects}
        self.check_once(objects, members)
        self.check_once(folders, {unique_id_of(f, FOLDER_UNIQUE_ID) for f in folders})
        self.keep(slot, ReadFolder(**times, seen=(lasting(folders[0]), members, len(reply.objects("Association")))))
        return lasting(folders[0]), folders[0].get("lid")

    def read_related(self, slot, unique_id):
        """GetRelatedDocuments."""
        objects, reply, times = self.ask("GetRelatedDocuments", {"$XDSDocumentEntryUniqueId": f"'{unique_id}'",
                                                                "$AssociationTypes": f"('{REPLACES}')"})
        self.keep(slot, ReadRelated(**times, unique_id=unique_id, seen=({unique_id_of(o): lasting(o) for o in objects},
                                                                      len(reply.objects("Association")))))

    def read_any(self, slots, slot, chance):
        """One random query."""
        documents = slot.recent() or ["1.2.3"]
        what = chance.randrange(6)
        if what == 0:
            self.read_documents(slot, documents)
        elif what == 1:
            self.read_versions(slot, documents)
        elif what in (2, 3):
            self.read_patient([s for s in slots if s.patient == slot.patient], what == 2)
        elif what == 4:
            self.read_folder(slot)
        else:
            self.read_related(slot, chance.choice(documents))

    def read_all(self, slots, slot):
        """Everything there is in a slot."""
        self.read_versions(slot, slot.documents or ["1.2.3"])
        self.read_patient([s for s in slots if s.patient == slot.patient], False)
        self.read_folder(slot)
        for unique_id in slot.recent():
            self.read_related(slot, unique_id)


def offers_removal(server):
    """Whether the server's WSDL has ITI-62."""
    connection = http.client.HTTPConnection("127.0.0.1", server.plain_port, timeout=90)
    connection.request("GET", "/registry?wsdl")
    text = connection.getresponse().read()
    connection.close()
    return REMOVE.encode() in text


def make_slots(server, hand, numbers):
    """Filled slots, some of which share a patient."""
    slots = [Slot(n, f"C{n // SLOTS_OF_PATIENT}") for n in numbers]
    common.feed(server, *sorted({slot.patient for slot in slots}))
    for slot in slots:
        hand.fill(slot)
    return slots


def unsound(server):
    """Lineages without exactly one latest version, or with more than one Approved; Approved Associations of superseded versions."""
    found = []
    for table in ("document_entry", "folder"):
        found += common.rows(server, f"SELECT '{table}', coalesce(lid, entry_uuid)::text FROM {table} GROUP BY 2"
                                     " HAVING count(*) FILTER (WHERE is_latest) <> 1 OR count(*) FILTER (WHERE status = 0) > 1")
    found += common.rows(server, """
        SELECT 'association', a.entry_uuid::text FROM association a JOIN document_entry t ON t.entry_uuid = a.target_object
        LEFT JOIN document_entry d ON d.entry_uuid = a.source_object LEFT JOIN folder f ON f.entry_uuid = a.source_object
        WHERE a.source_kind IN (0, 2) AND a.status = 0 AND NOT (t.is_latest AND coalesce(d.is_latest, f.is_latest))""")
    return [f"unsound: {row}" for row in found]


class Changes:
    """The run."""

    def __init__(self, server, seconds, seed, writers=WRITERS, slots=SLOTS):
        self.server, self.seconds, self.seed, self.writers, self.slot_count = server, seconds, seed, writers, slots
        self.may_remove = False
        self.slots = []
        self.hands = []
        self.complaints = []
        self.until = None

    def work(self, number):
        """One connection until the time is over: the first half of them write. Some slots are busier than others."""
        hand, chance = self.hands[number], random.Random(self.seed * 1000 + number)
        try:
            while time.monotonic() < self.until:
                slot = self.slots[int(len(self.slots) * chance.random() ** 2)]
                if number < self.writers:
                    hand.change_any(slot, chance)
                else:
                    hand.read_any(self.slots, slot, chance)
        except Exception as problem:  # pylint: disable=broad-exception-caught
            hand.problems.append(f"worker {number} ended: {problem!r}")

    def run(self):
        """Prepares, runs and checks; gives the complaints."""
        self.may_remove = offers_removal(self.server)
        self.hands = [Hand(self.server, self.may_remove) for _ in range(2 * self.writers)]
        self.slots = make_slots(self.server, self.hands[0], range(self.slot_count))
        self.until = time.monotonic() + self.seconds
        threads = [threading.Thread(target=self.work, args=(n,)) for n in range(len(self.hands))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for slot in self.slots:
            self.hands[0].read_all(self.slots, slot)
        for hand in self.hands:
            hand.close()
            self.complaints += hand.problems
        unexplained = [(slot.number, explain(slot.initial, slot.history)) for slot in self.slots]
        self.complaints += [f"slot {number}: {text}" for number, text in unexplained if text]
        self.complaints += unsound(self.server)
        return self.complaints

    def counts(self):
        """How many of each kind were done."""
        total = {}
        for hand in self.hands:
            for what, count in hand.counts.items():
                total[what] = total.get(what, 0) + count
        return dict(sorted(total.items()))


def deadlocks(server):
    """How many PostgreSQL has broken."""
    return common.rows(server, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]


def run(seconds, seed):
    """A server of its own. @return exit status"""
    with harness.Server(settings={"server": {"max_connections": "256"}}) as server:
        server.start()
        changes = Changes(server, seconds, seed)
        complaints = changes.run()
        fsck = server.command("fsck", check=False)
        broken = deadlocks(server)
    print(f"changes: {seconds} s, seed {seed}, removal {'on' if changes.may_remove else 'not offered'}, {changes.counts()}")
    for complaint in complaints[:10]:
        print(f"  {complaint[:3000]}")
    if fsck.returncode != 0:
        complaints.append("fsck")
        print(fsck.stdout[-2000:], fsck.stderr[-2000:])
    print(f"changes: {len(complaints)} complaints about {sum(len(slot.history) for slot in changes.slots)} operations and answers, "
          f"fsck {'clean' if fsck.returncode == 0 else 'NOT clean'}, {broken} deadlocks")
    return 1 if complaints else 0
