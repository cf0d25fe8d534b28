"""Audit records of a running server, read back with musubi audit search; each is valid by the schema of DICOM where that is at hand
(MUSUBI_REFERENCE)."""

import base64
import functools
import os
import pathlib
import re

from lxml import etree

from tests.harness.waiting import PATIENCE_S, becomes

AUDIT_LOG_USED = "110101"
SOURCE, DESTINATION, APPLICATION, LAUNCHER = "110153", "110152", "110150", "110151"


@functools.cache
def schema():
    """That of DICOM PS3.15 A.5.1; None without the reference data."""
    reference = os.environ.get("MUSUBI_REFERENCE")
    path = pathlib.Path(reference or "") / "ihe" / "schema" / "atna" / "ipf-dicom2017c.xsd"
    return etree.XMLSchema(etree.parse(str(path))) if reference and path.is_file() else None


def read(text):
    """The records in the output of a search; none may break the schema."""
    records = [etree.fromstring(found) for found in re.findall(r"<AuditMessage>.*?</AuditMessage>", text, re.S)]
    for record in records:
        if schema() is not None:
            schema().assertValid(record)
    return records


def of_messages(server, token, count, timeout_s=PATIENCE_S):
    """The audit messages that hold a token, but for those of searches such as this one, once there are so many."""
    found = []

    def are_there():
        text = server.command("audit", "search", token, check=False).stdout
        found[:] = [record for record in read(text) if codes(record)[0] != AUDIT_LOG_USED]
        return len(found) >= count
    becomes(are_there, timeout_s)
    return found


def base64_of(text):
    """As a detail holds it."""
    return base64.b64encode(text.encode()).decode()


def party(record, role):
    """The one participant of a role."""
    (found,) = record.xpath(f"ActiveParticipant[RoleIDCode/@csd-code='{role}' and RoleIDCode/@codeSystemName='DCM']")
    return found


def objects(record, kind):
    """The objects "type/role"; role "" is none."""
    return [o for o in record.findall("ParticipantObjectIdentification")
            if f"{o.get('ParticipantObjectTypeCode')}/{o.get('ParticipantObjectTypeCodeRole', '')}" == kind]


def ids(record, kind):
    """Their ParticipantObjectIDs."""
    return [o.get("ParticipantObjectID") for o in objects(record, kind)]


def codes(record):
    """(EventID, EventTypeCode or "", action, outcome)"""
    event = record.find("EventIdentification")
    kind = event.find("EventTypeCode")
    return (event.find("EventID").get("csd-code"), "" if kind is None else kind.get("csd-code"), event.get("EventActionCode"),
            event.get("EventOutcomeIndicator"))


def outcome_text(record):
    """EventOutcomeDescription, or nothing."""
    return record.findtext("EventIdentification/EventOutcomeDescription", "")


def text(record):
    """All of it."""
    return etree.tostring(record, encoding="unicode")


def question(record):
    """What a query asked: ParticipantObjectQuery and the IDs of the objects."""
    asked = [base64.b64decode(q.text or "").decode("utf-8", "replace") for q in record.iter("ParticipantObjectQuery")]
    return "\n".join(asked + record.xpath("ParticipantObjectIdentification/@ParticipantObjectID"))
