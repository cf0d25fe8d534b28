"""kill -9 while metadata and documents are removed (ITI-62, ITI-86): all or nothing, what was acknowledged stays removed, and the bytes
of what was not removed are whole.

Each cycle has documents of its own: each client provides some, and removes metadata, bytes, both or neither of each until the server is
gone. What was under way is sent again afterwards.
"""

import dataclasses
import http.client
import os
import random
import threading
import time

from lxml import etree

from conformance import client as xds
from tests.fault import site as sites
from tests.harness import server as harness
from tests.integration import common

BROKEN = (OSError, http.client.HTTPException, ValueError, etree.XMLSyntaxError)
STEPS = ("iti62.locked", "iti62.changed", "iti62.committed", "iti86.locked", "iti86.changed", "iti86.committed", None, None)
KEPT, UNKNOWN, GONE = "kept", "unknown", "gone"
CHECKED_AGAIN = 20  # documents of earlier cycles


@dataclasses.dataclass
class Provided:
    """A document, the entryUUIDs of its submission, and what became of both."""

    document: xds.Document
    ids: list
    metadata: str = KEPT
    content: str = KEPT


def remove_metadata(clients, item):
    """ITI-62 of the whole submission."""
    return clients.registry.send("/registry", "ITI-62", xds.remove_xml(item.ids))


def remove_content(clients, item):
    """ITI-86."""
    return clients.repository.send("/repository", "ITI-86", xds.remove_xml([(harness.REPOSITORY_UID, item.document.unique_id)]))


class Removal:
    """The cycles of one run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.site = sites.Site()
        self.items = []
        self.faults = []
        self.stopping = threading.Event()
        self.counts = {KEPT: 0, UNKNOWN: 0, GONE: 0}
        self.reached = {}

    def provide(self, clients, patient, rng):
        """A new document that is listed."""
        size = rng.choice((500, 20_000, 1_200_000))
        document = xds.Document(common.patient(patient), os.urandom(size), mime_type="application/octet-stream")
        submission = xds.Submission(document.patient, [document])
        if clients.repository.provide(submission).outcome != "Success":
            return None
        reply = clients.registry.query("GetSubmissionSetAndContents", {"$XDSSubmissionSetUniqueId": f"'{submission.unique_id}'"})
        ids = [o.get("id") for kind in ("RegistryPackage", "ExtrinsicObject", "Association") for o in reply.objects(kind)]
        item = Provided(document, ids)
        self.items.append(item)
        return item

    def attempt(self, item, part, send, clients):
        """Removes one part; what is not answered is unknown."""
        setattr(item, part, UNKNOWN)
        reply = send(clients, item)
        if reply.outcome == "Success":
            setattr(item, part, GONE)
        else:
            setattr(item, part, KEPT)
            self.faults.append(f"{part}: {reply.outcome} {reply.errors or reply.raw[:300]}")

    def work(self, patient, seed):
        """One client until the server is gone."""
        rng = random.Random(seed)
        clients = self.site.clients()
        try:
            while not self.stopping.is_set():
                item = self.provide(clients, patient, rng)
                if item and rng.random() < 0.6:
                    self.attempt(item, "metadata", remove_metadata, clients)
                if item and rng.random() < 0.6:
                    self.attempt(item, "content", remove_content, clients)
        except BROKEN:
            pass
        finally:
            clients.close()

    def look(self, clients, item):
        """(how many of its objects are registered, its bytes or None)"""
        reply = clients.registry.query("GetSubmissionSetAndContents", {"$XDSSubmissionSetEntryUUID": f"'{item.ids[0]}'"})
        documents = clients.registry.query("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{item.document.unique_id}')"})
        got = common.fetch(clients.repository, item.document).documents()
        listed = len([o for kind in ("RegistryPackage", "Association") for o in reply.objects(kind)])
        return listed + len(documents.objects("ExtrinsicObject")), got.get(item.document.unique_id)

    def check(self, clients, item):
        """Whether it is as it was told; what is unknown is removed again, and gone then."""
        listed, content = self.look(clients, item)
        name = item.document.unique_id
        if listed not in (0, len(item.ids)):
            self.faults.append(f"{name}: {listed} of {len(item.ids)} objects are left")
        if (item.metadata == GONE and listed) or (item.metadata == KEPT and not listed):
            self.faults.append(f"{name}: metadata {item.metadata}, and {listed} objects are there")
        if content is not None and content != item.document.content:
            self.faults.append(f"{name}: other bytes")
        if (item.content == GONE) != (content is None) and item.content != UNKNOWN:
            self.faults.append(f"{name}: bytes {item.content}, and {'there are none' if content is None else 'they are there'}")
        for part, send, was_there, code in (("metadata", remove_metadata, listed > 0, "UnresolvedReferenceException"),
                                            ("content", remove_content, content is not None, "XDSDocumentUniqueIdError")):
            if getattr(item, part) == UNKNOWN:
                reply = send(clients, item)
                if reply.outcome != "Success" and (was_there or {error[0] for error in reply.errors} != {code}):
                    self.faults.append(f"{name}: {part} again: {reply.errors or reply.raw[:300]}")
                setattr(item, part, GONE)
                self.counts[UNKNOWN] += 1

    def cycle(self, step):
        """One life and its end; the checks on the next one."""
        first = len(self.items)
        if step:
            self.site.kill_servers()
            self.site.start(f"{step}:{self.random.randint(1, 5)}")
        self.stopping.clear()
        threads = [threading.Thread(target=self.work, args=(patient, self.random.randrange(1 << 30))) for patient in sites.PATIENTS]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + (3 if step else self.random.uniform(0.2, 1.5))
        while time.monotonic() < deadline and not self.site.has_ended():
            time.sleep(0.002)
        self.reached[step] = self.reached.get(step, 0) + (self.site.has_ended() if step else 1)
        self.site.kill_servers()
        if self.random.random() < 0.3:
            self.site.kill_postgres()
        self.stopping.set()
        for thread in threads:
            thread.join(40)
        self.site.start()
        clients = self.site.clients()
        fresh, earlier = self.items[first:], self.items[:first]
        for item in fresh + self.random.sample(earlier, min(CHECKED_AGAIN, len(earlier))):
            self.check(clients, item)
        for item in fresh:
            self.counts[GONE if GONE in (item.metadata, item.content) else KEPT] += 1
        clients.close()
        self.faults += [f"fsck: {line}" for line in self.site.findings("fsck")]
        self.items = self.random.sample(self.items, min(len(self.items), 200))  # their bytes are kept in memory

    def run(self):
        """All cycles; gives the exit status."""
        self.site.start()
        try:
            self.site.feed()
            for number in range(1, self.arguments.cycles + 1):
                self.cycle(STEPS[number % len(STEPS)])
                if number % 10 == 0 or self.faults:
                    print(f"cycle {number}: {self.counts}", flush=True)
                if self.faults and not self.arguments.keep_going:
                    break
        finally:
            self.site.close()
        for fault in self.faults[:20]:
            print(f"WRONG: {fault}")
        missed = [step for step in STEPS if step and not self.reached.get(step)]
        if missed and self.arguments.cycles >= 2 * len(STEPS):
            self.faults.append(f"steps never reached: {', '.join(missed)}")
            print(self.faults[-1])
        print(f"{self.arguments.cycles} cycles, {self.counts[KEPT] + self.counts[GONE]} documents, {self.counts[UNKNOWN]} removals cut off: "
              f"{len(self.faults)} faults")
        return 1 if self.faults else 0
