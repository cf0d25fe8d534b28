"""The durability contract held against a ledger: C1 (acknowledged is there), C2 (wholly or not at all), C3 (send again)."""

import base64
import collections
import dataclasses
import hashlib
import re
import time

import psycopg2

from conformance import client as xds
from tests.fault import workload
from tests.integration import common

BATCH = 40


@dataclasses.dataclass
class Tally:
    """What the checks have found so far."""

    acknowledged: int = 0
    unknown_present: int = 0
    unknown_absent: int = 0
    lost: list = dataclasses.field(default_factory=list)
    half_visible: list = dataclasses.field(default_factory=list)
    other: list = dataclasses.field(default_factory=list)

    @property
    def has_failed(self):
        """Whether the contract was broken."""
        return bool(self.lost or self.half_visible or self.other)


def _batches(items):
    for first in range(0, len(items), BATCH):
        yield items[first:first + BATCH]


def _of_one_patient(documents):
    """LeafClass is answered for one patient at a time (TF-2 3.18.4.1.2.3.7)."""
    for patient in {d.patient for d in documents}:
        yield from _batches([d for d in documents if d.patient == patient])


def _slot(entry, name):
    return entry.findtext(f"rim:Slot[@name='{name}']/rim:ValueList/rim:Value", namespaces=xds.NS)


class Checker:
    """Looks at one set of operations through the front door."""

    def __init__(self, site, tally):
        self.site, self.tally = site, tally
        self.clients = site.clients()

    def entries(self, documents):
        """{uniqueId: (status, hash, size)} by GetDocuments."""
        found = {}
        for some in _of_one_patient(documents):
            values = [f"('{d.unique_id}')" for d in some]
            reply = self.clients.registry.query("GetDocuments", {"$XDSDocumentEntryUniqueId": values})
            if reply.outcome != "Success":
                self.tally.other.append(f"GetDocuments: {reply.outcome} {reply.errors}")
            for entry in reply.objects("ExtrinsicObject"):
                unique_id = entry.xpath(f"rim:ExternalIdentifier[@identificationScheme='{common.UNIQUE_ID_SCHEME}']/@value",
                                        namespaces=xds.NS)[0]
                found[unique_id] = (entry.get("status").rsplit(":", 1)[1], _slot(entry, "hash"), _slot(entry, "size"))
        return found

    def contents(self, documents):
        """{uniqueId: SHA-256} by ITI-43; every other error than "there is none" counts."""
        found = {}
        for some in _batches(documents):
            reply = common.fetch(self.clients.repository, *some)
            if reply.outcome == "Fault":
                self.tally.other.append(f"ITI-43: {reply.raw[:300]}")
                continue
            found.update({unique_id: hashlib.sha256(content).digest() for unique_id, content in reply.documents().items()})
            self.tally.other += [f"ITI-43: {error}" for error in reply.errors if error[0] != "XDSDocumentUniqueIdError"]
        return found

    def has_set(self, submission):
        """Whether the SubmissionSet is there."""
        reply = self.clients.registry.query("GetSubmissionSetAndContents", {"$XDSSubmissionSetUniqueId": f"'{submission.unique_id}'"})
        return bool(reply.objects("RegistryPackage"))

    def look(self, operations):
        """{id(operation): [(document, entry or None, SHA-256 or None)]}"""
        entries = self.entries([d for o in operations for d in o.submission.documents])
        contents = self.contents([d for o in operations if o.has_bytes for d in o.submission.documents])
        return {id(o): [(d, entries.get(d.unique_id), contents.get(d.unique_id)) for d in o.submission.documents] for o in operations}

    def fault_of(self, operation, seen):
        """What is wrong with what is seen of one operation: (kind of fault, text), or None. Sets what an unknown one became."""
        listed = sum(entry is not None for _, entry, _ in seen)
        held = sum(content is not None for _, _, content in seen)
        text = f"{operation.kind} {operation.submission.unique_id}: {listed} listed, {held} retrievable of {len(seen)}"
        if operation.state == "acknowledged" and (listed < len(seen) or (operation.has_bytes and held < len(seen))):
            return "lost", text
        may_be_pending = self.site.two_processes and listed == 0  # retrievable before it is registered
        if listed not in (0, len(seen)) or (operation.has_bytes and held != listed and not (may_be_pending and held == len(seen))):
            return "half_visible", text
        if operation.state != "acknowledged" and self.has_set(operation.submission) != bool(listed):
            return "half_visible", text + ", SubmissionSet otherwise"
        for document, entry, content in seen:
            sha256, sha1, size = workload.digest(document)
            if content is not None and content != sha256:
                return "other", f"wrong bytes of {document.unique_id}"
            if entry and (entry[1] != sha1 or entry[2] != str(size)):
                return "other", f"wrong hash or size of {document.unique_id}: {entry}"
        return None

    def fault_of_target(self, operation, seen, statuses):
        """A replaced document is Deprecated exactly when its replacement is there (TF-2 3.42.4.1.3.5)."""
        is_there = seen[0][1] is not None
        status = statuses.get(operation.target.unique_id, ("absent",))[0]
        if status != ("Deprecated" if is_there else "Approved"):
            return "half_visible", f"replacement {'present' if is_there else 'absent'}, target {status}: {operation.target.unique_id}"
        return None

    def check_submissions(self, operations):
        """C1 and C2 for submissions. A COMMIT that was under way may end while we look: what seems half is looked at again."""
        operations = [o for o in operations if o.submission]
        for attempt in range(3):
            view = self.look(operations)
            statuses = self.entries([o.target for o in operations if o.target])
            faults = []
            for operation in operations:
                fault = self.fault_of(operation, view[id(operation)])
                if not fault and operation.target:
                    fault = self.fault_of_target(operation, view[id(operation)], statuses)
                if fault:
                    faults.append((operation, *fault))
            if not any(kind == "half_visible" for _, kind, _ in faults):
                break
            time.sleep(0.2 * (attempt + 1))
        for _, kind, text in faults:
            getattr(self.tally, kind).append(text)
        for operation in operations:
            is_there = view[id(operation)][0][1] is not None
            self.tally.acknowledged += operation.state == "acknowledged"
            if operation.state != "acknowledged":
                self.tally.unknown_present += is_there
                self.tally.unknown_absent += not is_there

    def send_again(self, operations):
        """C3: what is unknown is sent again, succeeds or is known already, and is acknowledged from now on."""
        for operation in operations:
            if operation.state == "acknowledged" or not operation.submission:
                continue
            reply = operation.send(self.clients)
            if reply.outcome == "Success" or any(workload.TREAT_AS_DONE in (error[1] or "") for error in reply.errors):
                operation.state = "acknowledged"
            else:
                self.tally.other.append(f"sent again: {operation.kind} {reply.outcome} {reply.errors}")

    def check_feeds(self, operations):
        """C1 for patients that a feed made known."""
        wanted = {o.patient for o in operations if o.kind == "feed" and o.state == "acknowledged"}
        folder = f"{self.site.registry.dir}/data/postgres"
        connection = psycopg2.connect(host=folder, user="musubi_owner", dbname="musubi")
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT value FROM patient_identifier WHERE value = ANY(%s)", (list(wanted),))
            found = {row[0] for row in cursor.fetchall()}
        connection.close()
        self.tally.lost += [f"patient {number}" for number in wanted - found]

    def run(self, operations):
        """All checks of some operations."""
        try:
            self.check_submissions(operations)
            self.check_feeds(operations)
            self.send_again(operations)
        finally:
            self.clients.close()


def check_audit(site, ledger, tally):
    """Every acknowledged write and every delivered document is in the audit trail (C4, outbox)."""
    text = site.audit_text()
    recorded = set(re.findall(r'ParticipantObjectID="([^"]*)"', text))
    retrieves, queried = collections.Counter(), set()
    for message in text.split("<AuditMessage")[1:]:
        if 'csd-code="ITI-43"' in message and 'EventOutcomeIndicator="0"' in message:
            retrieves.update(set(re.findall(r'ParticipantObjectID="([^"]*)"', message)))
        for query in re.findall("<ParticipantObjectQuery>([^<]*)<", message):
            queried.update(re.findall(rb"2\.25\.\d+", base64.b64decode(query)))
    for operation in ledger.operations:
        if operation.submission and operation.state == "acknowledged" and operation.submission.unique_id not in recorded:
            tally.other.append(f"no audit record of {operation.kind} {operation.submission.unique_id}")
    for unique_id, count in ledger.delivered.items():
        if retrieves[unique_id] < count:
            tally.other.append(f"{unique_id} was delivered {count} times, {retrieves[unique_id]} audit records say so")
    tally.other += [f"no audit record of the query for {marker}" for marker in ledger.answered if marker.encode() not in queried]
