"""Clients that write, read and remember what they were told."""

import collections
import dataclasses
import hashlib
import http.client
import itertools
import os
import random
import threading

from lxml import etree

from conformance import client as xds
from tests.fault import site as sites
from tests.integration import common

BROKEN = (OSError, http.client.HTTPException, ValueError, etree.XMLSyntaxError)
OTHER_REPOSITORY = "1.3.6.1.4.1.21367.2011.2.3.99"
UNAVAILABLE = "XDSRegistryNotAvailable"  # the registry was killed before the repository
TREAT_AS_DONE = "treat as done"
_feeds = itertools.count(1)


@dataclasses.dataclass
class Operation:
    """One message that changes something, and what became of it."""

    kind: str  # provide, register, replace, feed
    submission: object = None
    target: object = None  # the Document that it replaces
    patient: str = None
    state: str = "unknown"  # acknowledged, refused, unknown
    message: tuple = None  # path, Content-Type, body

    def __post_init__(self):
        """Writes the message once: sent again, it is the same to the byte."""
        if self.kind == "register":
            self.message = ("/registry", "application/soap+xml; charset=UTF-8",
                            xds.envelope(xds.ACTIONS["ITI-42"], self.submission.register_xml()))
        elif self.submission:
            self.message = ("/repository", *xds.mtom(xds.envelope(xds.ACTIONS["ITI-41"], self.submission.provide_xml()),
                                                     self.submission.attachments()))

    def send(self, clients):
        """Sends it; gives the reply."""
        return (clients.registry if self.kind == "register" else clients.repository).post(*self.message)

    @property
    def has_bytes(self):
        """Whether the repository holds its documents."""
        return self.kind in ("provide", "replace")


class Ledger:
    """All operations, and complaints about replies."""

    def __init__(self):
        self.operations = []
        self.delivered = collections.Counter()  # uniqueId: how often it came by ITI-43
        self.answered = set()  # of ITI-18: the uniqueId that only this query names
        self.complaints = []
        self.may_refuse = False  # the database is being killed: Failure is allowed, and means unknown
        self._lock = threading.Lock()

    def add(self, operation):
        """Remembers an operation before it is sent."""
        with self._lock:
            self.operations.append(operation)

    def count_delivered(self, unique_ids):
        """Documents of one reply."""
        with self._lock:
            self.delivered.update(list(unique_ids))

    def complain(self, text):
        """A reply that no fault excuses."""
        with self._lock:
            self.complaints.append(text)


def digest(document):
    """(SHA-256, SHA-1, size) of a document's content, also when the content was forgotten."""
    kept = getattr(document, "digest", None)
    return kept or (hashlib.sha256(document.content).digest(), hashlib.sha1(document.content).hexdigest(), len(document.content))


def forget_contents(operations):
    """Keeps the digests of what was acknowledged instead of the bytes: a thousand cycles send some ten gigabytes."""
    for operation in operations:
        if operation.submission and operation.state == "acknowledged":
            for document in operation.submission.documents:
                document.digest = digest(document)
                document.content = b""


class Worker(threading.Thread):
    """One client: a random mix of transactions for one patient until it is stopped or cut off."""

    def __init__(self, site, ledger, patient, seed):
        super().__init__(daemon=True)
        self.site, self.ledger, self.patient = site, ledger, patient
        self.random = random.Random(seed)
        self.stopping = threading.Event()
        self.own = []  # (Document, entryUUID or None) acknowledged in this life
        self.clients = None

    def run(self):
        self.clients = self.site.clients()
        try:
            while not self.stopping.is_set():
                self.random.choices((self.provide_small, self.provide_large, self.register, self.replace, self.feed, self.retrieve,
                                     self.query), (6, 1, 2, 3, 1, 3, 3))[0]()
        except BROKEN:
            pass  # cut off: what was under way stays unknown
        finally:
            self.clients.close()

    def document(self, size, index=1):
        """A new document of random bytes."""
        return xds.Document(common.patient(self.patient), os.urandom(size), id=f"Document{index:02}", mime_type="application/octet-stream")

    def send(self, operation):
        """Sends and files the outcome."""
        self.ledger.add(operation)
        reply = operation.send(self.clients)
        if reply.outcome == "Success":
            operation.state = "acknowledged"
            if operation.has_bytes:
                self.own += operation.submission.documents
        else:
            is_excused = self.ledger.may_refuse or (self.site.two_processes and {e[0] for e in reply.errors} == {UNAVAILABLE})
            operation.state = "unknown" if is_excused else "refused"
            if not is_excused:
                self.ledger.complain(f"{operation.kind}: {reply.outcome} {reply.errors or reply.raw[:500]}")

    def submission(self, *documents, **fields):
        """A submission of these documents."""
        return xds.Submission(common.patient(self.patient), list(documents), **fields)

    def provide(self, *documents):
        """ITI-41."""
        self.send(Operation("provide", self.submission(*documents)))

    def provide_small(self):
        """ITI-41 of one to three documents that go into a segment."""
        self.provide(*(self.document(self.random.randint(1, 30_000), n) for n in range(1, self.random.randint(2, 4))))

    def provide_large(self):
        """ITI-41 of a document that gets a file of its own, beside a small one."""
        self.provide(self.document(1_200_000, 1), self.document(2000, 2))

    def register(self):
        """ITI-42 of documents of another repository."""
        documents = [self.document(100, n) for n in (1, 2)]
        for document in documents:
            document.repository_uid = OTHER_REPOSITORY
        self.send(Operation("register", self.submission(*documents)))

    def replace(self):
        """ITI-41 with RPLC of the newest own document."""
        if not self.own:
            return
        target = self.own.pop()
        reply = self.clients.registry.query("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{target.unique_id}')"})
        entries = reply.objects("ExtrinsicObject")
        if not entries:
            if not self.ledger.may_refuse:
                self.ledger.complain(f"an acknowledged document is not listed: {reply.outcome} {reply.errors}")
            return
        new = self.document(4000)
        submission = self.submission(new, associations=[
            xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", new.id, entries[0].get("id"))])
        self.send(Operation("replace", submission, target))

    def feed(self):
        """ITI-8 A01 of a new patient."""
        number = f"F{os.getpid()}-{next(_feeds)}"
        operation = Operation("feed", patient=number)
        self.ledger.add(operation)
        connection = sites.mllp(self.site)
        try:
            reply = connection.send(xds.adt("A01", common.patient(number)))
        finally:
            connection.close()
        if xds.acknowledgement(reply) == "AA":
            operation.state = "acknowledged"
        elif not self.ledger.may_refuse:
            self.ledger.complain(f"feed: {reply}")

    def retrieve(self):
        """ITI-43 of some own documents."""
        if not self.own:
            return
        wanted = self.random.sample(self.own, min(3, len(self.own)))
        reply = common.fetch(self.clients.repository, *wanted)
        got = reply.documents() if reply.outcome != "Fault" else {}
        self.ledger.count_delivered(got)
        for document in wanted:
            if got.get(document.unique_id, document.content) != document.content:
                self.ledger.complain(f"wrong bytes of {document.unique_id}")
        if len(got) < len(wanted) and not self.ledger.may_refuse:
            self.ledger.complain(f"retrieve: {reply.outcome} {reply.errors}")


    def query(self):
        """ITI-18 that no other one resembles, so that its audit record can be told."""
        marker = f"2.25.{self.random.getrandbits(96)}"
        reply = self.clients.registry.query("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{marker}')"}, "ObjectRef")
        if reply.outcome == "Success":
            self.ledger.answered.add(marker)
        elif not self.ledger.may_refuse:
            self.ledger.complain(f"query: {reply.outcome} {reply.errors}")


def start_workers(site, ledger, seed):
    """One worker per patient, running."""
    workers = [Worker(site, ledger, patient, seed * 100 + n) for n, patient in enumerate(sites.PATIENTS)]
    for worker in workers:
        worker.start()
    return workers


def stop_workers(workers):
    """Waits for their end; what hangs is a fault of its own."""
    for worker in workers:
        worker.stopping.set()
    for worker in workers:
        worker.join(40)
        if worker.is_alive():
            worker.ledger.complain("a client got neither an answer nor the end of its connection within 40 s")
