"""The audit record of every transaction of patient identity, read back from a running server (ITI TF-2 3.20.7 and the security
considerations of each; for FHIR the patterns of BALP). One row is one message: the records that it must leave behind."""

import base64
import dataclasses
import json
import pathlib
import re
import tempfile
import types
import unittest
import uuid

from lxml import etree

from conformance import client as xds, fhir
from tests.harness import receivers, server as harness
from tests.harness.waiting import wait_until
from tests.integration import common, test_subscribers, v3_messages as v3
from tests.integration.audit_records import (APPLICATION, DESTINATION, LAUNCHER, SOURCE, base64_of, codes, objects,
                                             of_messages, party)

A = "1.2.392.99999.4.31"
B = "1.2.392.99999.4.32"
NOWHERE = "1.2.392.99999.4.39"
SECRET = "秘密"  # the family name of all patients here
EVENT_IDS = {"E": "110112"}  # Query; all others are Patient Record
PATIENT_RECORD = "110110"
REFUSED = "8"
ANYBODY = "anonymous"  # the node of a server that takes messages of all


def cx(value, domain=A):
    """A patient as audit names it."""
    return f"{value}^^^&{domain}&ISO"


def summary(record):
    """(action, outcome, patients)"""
    event = record.find("EventIdentification")
    return (event.get("EventActionCode"), event.get("EventOutcomeIndicator"),
            [o.get("ParticipantObjectID") for o in objects(record, "1/1")])


@dataclasses.dataclass
class Row:
    """One message and what it leaves behind."""

    transaction: str
    content: str  # v2: MSH-9 and segments; v3: template; FHIR: method and path
    expected: list  # of (action, outcome, patients)
    version: str = "2.5"
    values: dict = dataclasses.field(default_factory=dict)


class AuditCase(common.ServerCase):
    """Two domains, and what every record of a transaction has in common."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for oid, name in ((A, "AUDA"), (B, "AUDB")):
            cls.server.command("authority", "add", oid, "--namespace", name)
        cls.server.wait_until_refreshed()

    def assert_records(self, row, token, source, destination):
        """The records of a message: exactly those of the row, by whom and to whom, and no more than may be told."""
        records = of_messages(self.server, token, len(row.expected))
        self.assertEqual(sorted(map(summary, records)), sorted(row.expected))
        for record in records:
            event = record.find("EventIdentification")
            action = event.get("EventActionCode")
            self.assertEqual(event.find("EventID").get("csd-code"), EVENT_IDS.get(action, PATIENT_RECORD))
            self.assertEqual([(e.get("csd-code"), e.get("codeSystemName")) for e in event.findall("EventTypeCode")],
                             [(row.transaction, "IHE Transactions")])
            self.assert_outcome_text(event)
            self.assert_participants(record, source, destination)
            for patient in objects(record, "1/1"):
                self.assertEqual(patient.find("ParticipantObjectIDTypeCode").get("originalText"), "Patient Number")
            self.assertEqual(len(objects(record, "2/24")), action == "E")
            for query in objects(record, "2/24"):
                self.assertEqual(query.find("ParticipantObjectIDTypeCode").get("csd-code"), row.transaction)
        return records

    def assert_outcome_text(self, event):
        """A refusal says why, without anything of the patient."""
        text = event.findtext("EventOutcomeDescription", "")
        self.assertEqual(bool(text), event.get("EventOutcomeIndicator") != "0")
        self.assertNotRegex(text, f"{SECRET}|audit-")

    def assert_participants(self, record, source, destination):
        """TF-2 3.20.7: two of them; that of the process that reports has its number."""
        self.assertEqual(len(record.findall("ActiveParticipant")), 2)
        for who, role, is_requestor in ((source, SOURCE, "true"), (destination, DESTINATION, "false")):
            found = party(record, role)
            self.assertEqual((found.get("UserID"), found.get("UserIsRequestor")), (who, is_requestor))
            self.assertTrue(found.get("NetworkAccessPointID"))
        self.assertEqual(party(record, DESTINATION).get("AlternativeUserID"), str(self.server.process.pid))
        self.assertEqual(party(record, SOURCE).get("NetworkAccessPointTypeCode"), "2")


class HL7v2(AuditCase):
    """ITI-8, 9, 21, 22, 30, 64."""

    def rows(self):
        """In order: later ones build on what earlier ones fed."""
        def pid(*identifiers):
            return f"PID|||{'~'.join(identifiers)}||{SECRET}^花子||19560401|F"
        a1, a2, a3, b1 = cx("audit-a1"), cx("audit-a2"), cx("audit-a3"), cx("audit-b1", B)
        unknown, foreign = cx("audit-unknown"), cx("audit-x", NOWHERE)
        xad, previous = common.patient("P1"), common.patient("P2")
        pseudo = "PV1||N"
        yield Row("ITI-8", f"ADT^A04\r{pid(a1, b1)}\rPV1||O", [("C", "0", [a1, b1])], "2.3.1")
        yield Row("ITI-8", f"ADT^A08\r{pid(a1)}\rPV1||O", [("U", "0", [a1])], "2.3.1")
        yield Row("ITI-8", f"ADT^A04\r{pid(foreign)}\rPV1||O", [("C", REFUSED, [foreign])], "2.3.1")
        yield Row("ITI-8", f"ADT^A04\rPID|||{a1}||{SECRET}^花子||audit-day|F\rPV1||O", [("C", REFUSED, [a1])], "2.3.1")
        yield Row("ITI-8", f"ADT^A01\r{pid(a2)}\rPV1||O", [("C", "0", [a2])], "2.3.1")
        yield Row("ITI-8", f"ADT^A40\r{pid(a1)}\rMRG|{unknown}", [("D", REFUSED, [unknown]), ("U", REFUSED, [a1])], "2.3.1")
        yield Row("ITI-8", f"ADT^A40\r{pid(a1)}\rMRG|{a2}", [("D", "0", [a2]), ("U", "0", [a1])], "2.3.1")
        yield Row("ITI-8", f"ADT^A40\r{pid(a1)}\rMRG|{foreign}", [("D", REFUSED, [foreign]), ("U", REFUSED, [a1])], "2.3.1")
        yield Row("ITI-30", f"ADT^A28^ADT_A05\r{pid(a3)}\r{pseudo}", [("C", "0", [a3])])
        yield Row("ITI-30", f"ADT^A31^ADT_A05\r{pid(a3)}\r{pseudo}", [("U", "0", [a3])])
        yield Row("ITI-30", f"ADT^A24^ADT_A24\r{pid(a1)}\r{pid(a3)}", [("U", "0", [a1]), ("U", "0", [a3])])
        yield Row("ITI-30", f"ADT^A37^ADT_A37\r{pid(a1)}\r{pid(a3)}", [("U", "0", [a1]), ("U", "0", [a3])])
        a4 = cx("audit-a4")
        yield Row("ITI-30", f"ADT^A47^ADT_A30\r{pid(a4)}\rMRG|{a3}", [("U", "0", [a4, a3])])
        yield Row("ITI-30", f"ADT^A40^ADT_A39\r{pid(a1)}\rMRG|{a4}", [("D", "0", [a4]), ("U", "0", [a1])])
        yield Row("ITI-64", f"ADT^A43^ADT_A43\rPID|||{xad}~{b1}|| \rMRG|{previous}", [("U", "0", [xad, b1, previous])])
        yield Row("ITI-64", f"ADT^A43^ADT_A43\rPID|||{xad}|| \rMRG|{previous}", [("U", REFUSED, [xad, previous])])

    def queries(self):
        """After the feeds; XAD-PIDs that are minted are put in by the test."""
        a1, b1 = cx("audit-a1"), cx("audit-b1", B)
        a2, unknown, foreign = cx("audit-a2"), cx("audit-unknown"), cx("audit-x", NOWHERE)
        find = "QBP^Q22^QBP_Q21\rQPD|IHE PDQ Query|tag|"
        only_a, only_b, no_domain = f"^^^&{A}&ISO", f"^^^&{B}&ISO", f"^^^&{NOWHERE}&ISO"
        ask = "QBP^Q23^QBP_Q21\rQPD|IHE PIX Query|tag|"
        yield Row("ITI-9", f"{ask}{a1}|{only_b}\rRCP|I", [("E", "0", [a1, b1])])
        yield Row("ITI-9", f"{ask}{b1}|{only_b}\rRCP|I", [("E", "0", [b1])])
        yield Row("ITI-9", f"{ask}{unknown}|{only_b}\rRCP|I", [("E", REFUSED, [unknown])])
        yield Row("ITI-9", f"{ask}{a2}|{only_b}\rRCP|I", [("E", REFUSED, [a2])])
        yield Row("ITI-9", f"{ask}{foreign}\rRCP|I", [("E", REFUSED, [foreign])])
        yield Row("ITI-9", f"{ask}{a1}|{no_domain}\rRCP|I", [("E", REFUSED, [a1])])
        yield Row("ITI-21", f"{find}@PID.5.1.1^{SECRET}|||||{only_a}~{only_b}\rRCP|I", [("E", "0", [a1, b1])])
        yield Row("ITI-21", f"{find}@PID.5.1.1^nobody\rRCP|I", [("E", "0", [])])
        yield Row("ITI-21", f"{find}@PID.5.1.1^{SECRET}|||||{no_domain}\rRCP|I", [("E", REFUSED, [])])
        yield Row("ITI-21", "QCN^J01^QCN_J01\rQID|tag|IHE PDQ Query", [("E", "0", [])])
        yield Row("ITI-21", "QCN^J01^QCN_J01\rQID||IHE PDQ Query", [("E", REFUSED, [])])
        yield Row("ITI-22", f"QBP^ZV1^QBP_Q21\rQPD|IHE PDVQ Query|tag|@PID.5.1.1^{SECRET}|||||{only_b}\rRCP|I", [("E", "0", [b1])])

    def test_every_message_leaves_its_records(self):
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
        self.addCleanup(mllp.close)
        for row in (*self.rows(), *self.queries()):
            kind, _, segments = row.content.partition("\r")
            control = uuid.uuid4().hex[:18]
            event = "EVN||20260401\r" if kind.startswith("ADT") else ""
            message = (f"MSH|^~\\&|EMR|HOSPITAL|PIXMGR|CENTER|20260401||{kind}|{control}|P|{row.version}||||||UNICODE UTF-8\r"
                       f"{event}{segments}\r")
            with self.subTest(message=message):
                reply = mllp.send(message)
                is_refused = any(outcome != "0" for _, outcome, _ in row.expected)
                self.assertEqual(xds.acknowledgement(reply), "AE" if is_refused else "AA", reply)
                for record in self.assert_records(row, base64_of(control), "HOSPITAL|EMR", "CENTER|PIXMGR"):
                    for found in record.findall("ParticipantObjectIdentification"):
                        self.assertEqual([(d.get("type"), d.get("value")) for d in found.findall("ParticipantObjectDetail")],
                                         [("MSH-10", base64_of(control))])
                    for query in objects(record, "2/24"):
                        self.assertEqual(base64.b64decode(query.findtext("ParticipantObjectQuery")).decode(), message)


class HL7v3(AuditCase):
    """ITI-44, 45, 47."""

    def rows(self):
        """In order."""
        a1, a2, b1 = cx("audit-a1"), cx("audit-a2"), cx("audit-b1", B)
        unknown, foreign = cx("audit-unknown"), cx("audit-x", NOWHERE)
        person = {"root": A, "family": SECRET}
        yield Row("ITI-44", "v3_add", [("C", "0", [a1, b1])], values={**person, "id": "audit-a1"})
        yield Row("ITI-44", "v3_revise", [("U", "0", [a1])], values={**person, "id": "audit-a1"})
        yield Row("ITI-44", "v3_add", [("C", REFUSED, [foreign])], values={"root": NOWHERE, "family": SECRET, "id": "audit-x"})
        yield Row("ITI-45", "v3_pix_query", [("E", "0", [a1, b1])], values={"root": A, "id": "audit-a1"})
        yield Row("ITI-45", "v3_pix_query", [("E", REFUSED, [unknown])], values={"root": A, "id": "audit-unknown"})
        yield Row("ITI-47", "v3_pdq_query", [("E", "0", [a1, b1])], values={"family": SECRET})
        yield Row("ITI-47", "v3_pdq_query", [("E", "0", [])], values={"family": "nobody"})
        yield Row("ITI-44", "v3_add", [("C", "0", [a2])], values={**person, "id": "audit-a2"})
        merge = {"root": A, "survivor": "audit-a1", "subsumed": "audit-a2"}
        yield Row("ITI-44", "v3_merge", [("D", "0", [a2]), ("U", "0", [a1])], values=merge)
        again = {"root": A, "survivor": "audit-a1", "subsumed": "audit-unknown"}
        yield Row("ITI-44", "v3_merge", [("D", REFUSED, [unknown]), ("U", REFUSED, [a1])], values=again)

    def body(self, row, control):
        """The message; its patients of the first row have a number in both domains."""
        is_revision = row.content == "v3_revise"
        body = v3.fill("v3_add" if is_revision else row.content, control=control, **row.values)
        if is_revision:
            body = etree.fromstring(etree.tostring(body).replace(b"PRPA_IN201301UV02", b"PRPA_IN201302UV02"))
        identifier = body.find(".//hl7:patient/hl7:id", xds.NS)
        if len(row.expected[0][2]) == 2 and identifier is not None:
            identifier.addnext(etree.Element(identifier.tag, root=B, extension="audit-b1"))
        if row.transaction == "ITI-45":
            body.find(".//hl7:patientIdentifier", xds.NS).addprevious(v3.element(
                f'<dataSource><value root="{B}"/><semanticsText/></dataSource>'))
        if row.transaction == "ITI-47":
            family = row.values["family"]
            body.find(".//hl7:parameterList", xds.NS).append(v3.element(
                f"<livingSubjectName><value><family>{family}</family></value><semanticsText/></livingSubjectName>"))
            for domain in (A, B):
                body.find(".//hl7:parameterList", xds.NS).append(v3.element(
                    f'<otherIDsScopingOrganization><value root="{domain}"/><semanticsText/></otherIDsScopingOrganization>'))
        return body

    def test_every_message_leaves_its_records(self):
        soap = self.soap()
        url = f"http://127.0.0.1:{self.server.plain_port}/pix"
        for row in self.rows():
            control = uuid.uuid4().hex
            with self.subTest(template=row.content, **row.values):
                body = self.body(row, control)
                root = body.find("hl7:id", xds.NS).get("root")
                reply = v3.send(soap, body)
                self.assertIn(reply.outcome, ("CE", "AE") if row.expected[0][1] != "0" else ("CA", "AA"), reply.raw)
                detail = base64_of(f"{control}@{root}")
                for record in self.assert_records(row, detail, ANYBODY, url):
                    for found in record.findall("ParticipantObjectIdentification"):
                        self.assertEqual([(d.get("type"), d.get("value")) for d in found.findall("ParticipantObjectDetail")],
                                         [("II", detail)])
                    for query in objects(record, "2/24"):
                        asked = etree.fromstring(base64.b64decode(query.findtext("ParticipantObjectQuery")))
                        self.assertEqual(etree.QName(asked).localname, "queryByParameter")


class Fhir(AuditCase):
    """ITI-104, 93, 78, 83, 119."""

    def patient(self, value, domain=A, **more):
        """A Patient."""
        return {"resourceType": "Patient", "identifier": [{"system": f"urn:oid:{domain}", "value": value}],
                "name": [{"family": SECRET, "given": ["花子"]}], "gender": "female", "birthDate": "1956-04-01", **more}

    def rows(self, xad):
        """In order; xad(value) is the XAD-PID of a patient that was fed."""
        a1, a2, unknown = cx("audit-a1"), cx("audit-a2"), cx("audit-unknown")
        path = f"Patient?identifier=urn:oid:{A}|"
        replaced = {"active": False, "link": [{"type": "replaced-by", "other": {
            "identifier": {"system": f"urn:oid:{A}", "value": "audit-a1"}}}]}
        yield Row("ITI-104", f"PUT {path}audit-a1", [("C", "0", [a1])], values=self.patient("audit-a1"))
        yield Row("ITI-104", f"PUT {path}audit-a1", [("U", "0", [a1])], values=self.patient("audit-a1"))
        yield Row("ITI-104", f"PUT {path}audit-a2", [("U", REFUSED, [a2])], values=self.patient("audit-a1"))
        yield Row("ITI-104", f"PUT {path}audit-a1&active=true", [("U", REFUSED, [a1])], values=self.patient("audit-a1"))
        yield Row("ITI-104", f"PUT Patient?identifier=urn:oid:{NOWHERE}|audit-x",
                  [("U", REFUSED, [f"urn:oid:{NOWHERE}|audit-x"])], values=self.patient("audit-x", NOWHERE))
        yield Row("ITI-83", f"GET Patient/$ihe-pix?sourceIdentifier=urn:oid:{A}|audit-a1", [("E", "0", [a1])])
        yield Row("ITI-83", f"GET Patient/$ihe-pix?sourceIdentifier=urn:oid:{A}|audit-unknown", [("E", REFUSED, [unknown])])
        yield Row("ITI-78", f"GET Patient?family={SECRET}", [("E", "0", [xad("audit-a1")])])
        yield Row("ITI-78", "GET Patient?family=nobody", [("E", "0", [])])
        yield Row("ITI-78", "GET Patient/audit-nobody", [("E", REFUSED, [])])
        yield Row("ITI-119", "POST Patient/$match", [("E", "0", [xad("audit-a1")])], values={
            "resourceType": "Parameters", "parameter": [{"name": "resource", "resource": self.patient("audit-a1")}]})
        yield Row("ITI-104", f"PUT {path}audit-a2", [("C", "0", [a2])], values=self.patient("audit-a2"))
        yield Row("ITI-104", f"PUT {path}audit-a2", [("D", "0", [a2]), ("U", "0", [a1])], values=self.patient("audit-a2", **replaced))
        refused = self.patient("audit-x", NOWHERE, **replaced)
        yield Row("ITI-104", f"PUT Patient?identifier=urn:oid:{NOWHERE}|audit-x",
                  [("D", REFUSED, [f"urn:oid:{NOWHERE}|audit-x"]), ("U", REFUSED, [a1])], values=refused)
        yield Row("ITI-104", f"DELETE {path}audit-unknown", [("D", REFUSED, [unknown])])
        yield Row("ITI-93", "POST $process-message", [("C", "0", [cx("audit-a3")])], values=self.message("audit-a3"))
        yield Row("ITI-104", f"DELETE {path}audit-a3", [("D", "0", [cx("audit-a3")])])
        yield Row("ITI-93", "POST $process-message", [("U", REFUSED, [])], values={"resourceType": "Bundle", "type": "message"})

    def message(self, value):
        """ITI-93."""
        return {"resourceType": "Bundle", "type": "message", "entry": [
            {"resource": {"resourceType": "MessageHeader", "eventUri": "urn:ihe:iti:pmir:2019:patient-feed"}},
            {"resource": {"resourceType": "Bundle", "type": "history", "entry": [
                {"resource": self.patient(value), "request": {"method": "POST", "url": "Patient"}}]}}]}

    def xad(self, value):
        """The XAD-PID of a patient, as CX."""
        return common.patient(json.loads(self.server.command("patient", "show", f"AUDA:{value}", "--json").stdout)["xad_pid"])

    def test_every_message_leaves_its_records(self):
        target = types.SimpleNamespace(base=f"http://127.0.0.1:{self.server.plain_port}")
        for row in self.rows(self.xad):
            request_id = f"request-{uuid.uuid4()}"
            method, path = row.content.split(" ", 1)
            body = json.dumps(row.values).encode() if row.values else None
            headers = {"X-Request-Id": request_id, **({"Content-Type": fhir.TYPES["json"]} if body else {})}
            with self.subTest(request=row.content):
                status, _, raw = fhir.exchange(target, method, path, body, headers)
                self.assertEqual(status >= 400, row.expected[0][1] != "0", raw)
                url = f"{target.base}/fhir/{path.partition('?')[0]}"
                for record in self.assert_records(row, request_id, ANYBODY, url):
                    (request,) = objects(record, "4/")
                    self.assertEqual(request.get("ParticipantObjectID"), request_id)
                    for query in objects(record, "2/24"):
                        question = base64.b64decode(query.findtext("ParticipantObjectQuery")).decode()
                        self.assertTrue(question.startswith(f"{method} {url}"), question)
                        self.assertEqual(f"Content-Type: {fhir.TYPES['json']}\r\n\r\n{{" in question, body is not None, question)


class Sends(test_subscribers.SubscriberCase):
    """What we send: ITI-10 and 46 to consumers, ITI-8 and 64 to other registries."""

    def assert_sent(self, receiver, message, source, transaction, expected, detail):
        """The records of one message, by whom and to whom."""
        control = receivers.field(message, "MSH", 10) or etree.fromstring(message.encode()).xpath(
            "string(//hl7:PRPA_IN201302UV02/hl7:id/@extension)", namespaces=xds.NS)
        token = base64_of(detail.format(control))
        records = of_messages(self.server, token, len(expected))
        self.assertEqual(sorted(map(summary, records)), sorted(expected))
        for record in records:
            self.assertEqual(record.find(".//EventTypeCode").get("csd-code"), transaction)
            us, peer = party(record, SOURCE), party(record, DESTINATION)
            self.assertEqual((us.get("UserID"), us.get("UserIsRequestor"), us.get("AlternativeUserID")),
                             (source, "true", str(self.server.process.pid)))
            self.assertEqual((peer.get("UserIsRequestor"), peer.get("NetworkAccessPointID")), ("false", "127.0.0.1"))
            self.assertEqual(peer.get("UserID"), "REGION|XDSREG" if "MSH" in message else receiver.url())
            details = {d.get("value") for o in objects(record, "1/1") for d in o.findall("ParticipantObjectDetail")}
            self.assertEqual(details, {token})

    def own_name(self, message):
        """MSH-4|MSH-3 as we wrote them."""
        return f"{receivers.field(message, 'MSH', 4)}|{receivers.field(message, 'MSH', 3)}"

    def test_consumers(self):
        """TF-2 3.10.5.1, 3.46.5.1: one patient object for each identifier, before it is sent and if it fails."""
        a, b = test_subscribers.A, test_subscribers.B
        answers = iter(["AE"])
        v2 = self.receiver("--authorities", "HOSPA,HOSPB", "--receiver", "XDSREG|REGION",
                           answer=lambda message: next(answers, "AA"))
        consumer = self.receiver("--authorities", "HOSPA,HOSPB", kind="consumer-v3", maker=receivers.SoapReceiver,
                                 tls=receivers.tls_context(self.certs, "gateway-a"))
        self.known((a, "sent-a"), (b, "sent-b"))
        patients = [cx("sent-a", a), cx("sent-b", b)]
        message = v2.wait(1)[0]
        self.assert_sent(v2, message, self.own_name(message), "ITI-10", [("R", "0", patients), ("R", REFUSED, patients)], "{}")
        message = consumer.wait(1)[0]
        self.assert_sent(consumer, message, "musubi", "ITI-46", [("R", "0", patients)], "{}@" + harness.AUTHORITY)

    def test_registries(self):
        """TF-2 3.8.5.1, 3.64.5.1"""
        registry = self.receiver("--receiver", "XDSREG|REGION", kind="registry")
        self.known((test_subscribers.A, "sent-c"))
        self.known((test_subscribers.B, "sent-d"))
        self.server.command("patient", "link", "HOSPA:sent-c", "HOSPB:sent-d")
        wait_until(lambda: any("sent-d^^^" in m for m in registry.messages))
        added, other, moved = registry.messages[-3:]
        own, new = (receivers.field(m, "PID", 3).split("^")[0] for m in (added, other))
        self.assert_sent(registry, added, self.own_name(added), "ITI-8", [("C", "0", [common.patient(own)])], "{}")
        local = cx("sent-d", test_subscribers.B)
        patients = of_messages(self.server, base64_of(receivers.field(moved, "MSH", 10)), 1)
        self.assertEqual(sorted(summary(patients[0])[2]), sorted([common.patient(own), common.patient(new), local]))
        self.assert_sent(registry, moved, self.own_name(moved), "ITI-64", [("U", "0", summary(patients[0])[2])], "{}")
        registry.messages.clear()
        self.known((test_subscribers.A, "sent-e"))
        third = receivers.field(registry.wait(1)[0], "PID", 3).split("^")[0]
        self.server.command("patient", "merge", third, own)
        merged = registry.wait(2)[1]
        self.assert_sent(registry, merged, self.own_name(merged), "ITI-8",
                         [("D", "0", [common.patient(third)]), ("U", "0", [common.patient(own)])], "{}")


class Operators(AuditCase):
    """musubi patient: every decision, and whatever is shown."""

    settings = {"matching": {"link_threshold": "1000", "review_threshold": "1"}}

    def feed(self, value, number):
        """patient import of one person of two hospitals."""
        header = ("authority,identifier,family,given,family_kana,given_kana,family_alphabetic,given_alphabetic,birth_date,sex,"
                  "postal_code,address,phone")
        rows = (f"{name},{value},{SECRET},太郎,,,,,1975-05-{number},M,150-0001,東京都渋谷区1-2-{number},03-0000-00{number}"
                for name in ("AUDA", "AUDB"))
        with tempfile.NamedTemporaryFile("w", suffix=".csv", encoding="utf-8") as file:
            pathlib.Path(file.name).write_text("\n".join((header, *rows)), encoding="utf-8")
            self.server.command("patient", "import", file.name)

    def pair(self, value):
        """The number of the open proposal."""
        pairs = json.loads(self.server.command("patient", "review", "--json", check=False).stdout)
        return str(next(p["number"] for p in pairs if f"{value}^^^" in p["one"]["identifier"]))

    def xad_pid(self, name):
        """The XAD-PID of a patient, from the database of the server: nothing is shown to anybody."""
        return json.loads(self.server.command("authority", "test", name, "--json").stdout)["candidates"][0]["xad_pid"]

    def test_every_decision_leaves_its_records(self):
        a, b = cx("op-1"), cx("op-1", B)
        one, other = "AUDA:op-1", "AUDB:op-1"
        both = [("U", "0", [a]), ("U", "0", [b])]
        seen = len(of_messages(self.server, LAUNCHER, 1))  # the start of the server
        steps = (
            (lambda: self.feed("op-1", 11), [("C", "0", [a]), ("C", "0", [b])]),
            (lambda: self.feed("op-2", 12), [("C", "0", [cx("op-2")]), ("C", "0", [cx("op-2", B)])]),
            (lambda: self.feed("op-3", 13), [("C", "0", [cx("op-3")]), ("C", "0", [cx("op-3", B)])]),
            (lambda: self.feed("op-1", 11), [("U", "0", [a]), ("U", "0", [b])]),
            (lambda: self.server.command("patient", "link", one, other), both),
            (lambda: self.server.command("patient", "unlink", one, other), both),
            (lambda: self.server.command("patient", "show", one), [("R", "0", None)]),
            (lambda: self.server.command("patient", "review", "accept", self.pair("op-2")),
             [("R", "0", None), ("U", "0", [cx("op-2")]), ("U", "0", [cx("op-2", B)])]),
            (lambda: self.server.command("patient", "review", "reject", self.pair("op-3")),
             [("R", "0", None), ("U", "0", [cx("op-3")]), ("U", "0", [cx("op-3", B)])]),
        )
        seen = self.assert_steps(steps, seen)
        xad, xad_other = (self.xad_pid(name) for name in (one, other))
        self.assert_steps((
            (lambda: self.server.command("patient", "merge", xad, xad_other),
             [("D", "0", [common.patient(xad)]), ("U", "0", [common.patient(xad_other)])]),
            (lambda: self.server.command("patient", "undo", self.last_merge(one)),
             [("R", "0", None), ("U", "0", [common.patient(xad)]), ("U", "0", [common.patient(xad_other)])]),
        ), seen)

    def assert_steps(self, steps, seen):
        """What each step leaves behind those that were seen; patients None: some. Gives how many there are then."""
        for index, (step, expected) in enumerate(steps):
            with self.subTest(index):
                step()
                records = of_messages(self.server, LAUNCHER, seen + len(expected))[seen:]
                seen += len(records)
                found = [summary(record) for record in records]
                self.assertEqual(sorted(str((a, outcome, None if a == "R" else sorted(patients))) for a, outcome, patients in found),
                                 sorted(str((a, outcome, patients and sorted(patients))) for a, outcome, patients in expected))
                for action, _, patients in found:
                    self.assertTrue(patients, action)
                for record in records:
                    self.assertEqual(record.find(".//EventID").get("csd-code"), PATIENT_RECORD)
                    self.assertEqual((party(record, LAUNCHER).get("UserID"), party(record, LAUNCHER).get("UserIsRequestor")),
                                     (pathlib.Path("/proc/self").owner(), "true"))
                    self.assertEqual(party(record, APPLICATION).get("UserID"), "musubi")
        return seen

    def last_merge(self, name):
        """The name of the last merge of a person."""
        return json.loads(self.server.command("patient", "show", name, "--json").stdout)["merges"][-1]["id"]


class Unauthorized(common.ServerCase):
    """Nodes that are registered for something else: refused, nothing done, recorded."""

    roles = ("viewer-a",)
    mode = "enforce"
    settings = {"server": {"plain_http_listen": "", "plain_mllp_listen": ""}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("authority", "add", A)
        cls.server.command("facility", "add", "Hospital A")
        cls.server.command("node", "add", "viewer-a", "--facility", "Hospital A", "--certificate", str(cls.certs / "viewer-a.pem"),
                           "--transactions", "ITI-18")
        cls.server.wait_until_refreshed()

    def test_hl7_v2_is_recorded_as_the_transaction_that_failed(self):
        certificate = [str(self.certs / name) for name in ("viewer-a.pem", "viewer-a.key", "ca.pem")]
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllps_port}", *certificate)
        self.addCleanup(mllp.close)
        head = "MSH|^~\\&|EMR|HOSPITAL|PIXMGR|CENTER|20260401||"
        patient = cx("audit-denied")
        for control, text, expected in (
                ("denied-1", f"{head}ADT^A04|denied-1|P|2.3.1\rEVN||20260401\rPID|||{patient}||A^B\rPV1||O\r", ("C", REFUSED, [patient])),
                ("denied-2", f"{head}QBP^Q23^QBP_Q21|denied-2|P|2.5\rQPD|IHE PIX Query|tag|{patient}\rRCP|I\r", ("E", REFUSED, [patient]))):
            with self.subTest(control):
                self.assertIn(xds.acknowledgement(mllp.send(text)), ("AE", "AR"))
                (record,) = of_messages(self.server, base64_of(control), 1)
                self.assertEqual(summary(record), expected)
                self.assertEqual(party(record, SOURCE).get("UserName"), "viewer-a")

    def test_hl7_v3_and_fhir_are_recorded_as_a_security_alert(self):
        """TF-2 3.19.6: nothing of the body was read."""
        soap = self.soap("viewer-a")
        v3.send(soap, v3.fill("v3_add", root=A, id="denied"))
        target = types.SimpleNamespace(base=f"https://127.0.0.1:{self.server.https_port}", ca=self.certs / "ca.pem",
                                       cert=self.certs / "viewer-a.pem", key=self.certs / "viewer-a.key")
        self.assertEqual(fhir.exchange(target, "GET", "Patient?family=denied", None, {})[0], 403)
        for transaction in ("ITI-44", "ITI-78"):
            (record,) = of_messages(self.server, f"{transaction} is not allowed", 1)
            self.assertEqual(codes(record), ("110113", "110132", "E", REFUSED))  # Use of Restricted Function


if __name__ == "__main__":
    unittest.main()
