"""The audit records of XDS transactions, of messages that are refused before they are any transaction, and of changes of rules and
nodes, read back from a running server (ITI TF-2 3.20.7, 3.18.5.1, 3.41.5.1, 3.42.5.1, 3.43.6.1, Table 3.20.4.1.1.1-1)."""

import base64
import http.client
import re
import socket
import unittest

from conformance import client as xds
from tests.harness import server as harness
from tests.harness.waiting import PATIENCE_S
from tests.integration import common
from tests.integration.audit_records import (APPLICATION, DESTINATION, LAUNCHER, SOURCE, base64_of, codes, ids, objects,
                                             of_messages, outcome_text, party)

SECRET = "秘密"
STREET = "himitsu"
REFUSED_MESSAGE = ("110113", "refused-message", "E", "8")


def reference(raw):
    """What every refusal ends with, so that an operator finds it."""
    return re.search(rb"\[ref (\w{5})\]", raw).group(1).decode()


def whole_refusal(connection):
    """What the server says until its reference; it may close the connection with bytes of ours unread, which cuts what follows."""
    said = b""
    while not re.search(rb"\[ref \w{5}\]", said):
        piece = connection.recv(65536)
        if not piece:
            break
        said += piece
    return said


class Transactions(common.ServerCase):
    """Each with its record: what it was, who took part, what it was about."""

    def url(self, path):
        """As audit names this server."""
        return f"http://127.0.0.1:{self.server.plain_port}/{path}"

    def records(self, token, count):
        """Those of a token, without any record too many."""
        found = of_messages(self.server, token, count)
        self.assertEqual(len(found), count, [codes(record) for record in found])
        return found

    def assert_record(self, record, expected, patients, path):
        """It is of this event, about these patients, and between the test and this server; nothing of the patient in its text."""
        self.assertEqual(codes(record), expected)
        self.assertEqual(ids(record, "1/1"), patients)
        self.assertEqual(bool(outcome_text(record)), expected[3] != "0")
        self.assertNotRegex(outcome_text(record), f"{SECRET}|{STREET}")
        us, peer = (SOURCE, DESTINATION) if expected[1] == "ITI-43" else (DESTINATION, SOURCE)
        self.assertEqual(len(record.findall("ActiveParticipant")), 2)
        self.assertEqual(party(record, us).get("UserID"), self.url(path))
        self.assertEqual(party(record, us).get("AlternativeUserID"), str(self.server.process.pid))
        self.assertEqual(party(record, us).get("UserIsRequestor"), "false")
        self.assertEqual(party(record, peer).get("UserIsRequestor"), "true")
        self.assertEqual(party(record, peer).get("NetworkAccessPointID"), "127.0.0.1")

    def test_submission(self):
        for transaction, path, send in (("ITI-41", "repository", self.soap().provide), ("ITI-42", "registry", self.soap().register)):
            for number, outcome in (("P1", "0"), (STREET, "8")):
                with self.subTest(transaction=transaction, outcome=outcome):
                    submission = common.submission(number)
                    reply = send(submission)
                    self.assertEqual(reply.outcome, "Success" if outcome == "0" else "Failure")
                    (record,) = self.records(submission.unique_id, 1)
                    self.assert_record(record, ("110107", transaction, "C", outcome), [common.patient(number)], path)
                    self.assertEqual(ids(record, "2/20"), [submission.unique_id])

    def test_submission_that_cannot_be_read_is_recorded_with_what_could_be(self):
        for transaction, path in (("ITI-41", "repository"), ("ITI-42", "registry")):
            body = {"ITI-41": f'<xds:ProvideAndRegisterDocumentSetRequest xmlns:xds="{xds.NS["xds"]}"/>',
                    "ITI-42": f'<lcm:SubmitObjectsRequest xmlns:lcm="{xds.NS["lcm"]}"/>'}[transaction]
            reply = self.soap().send(f"/{path}", transaction, body)
            with self.subTest(transaction=transaction):
                self.assertEqual(reply.outcome, "Failure")
                (record,) = self.records(reference(reply.raw), 1)
                self.assert_record(record, ("110107", transaction, "C", "8"), [], path)

    def test_query(self):
        asked = {"$XDSDocumentEntryPatientId": f"'{common.patient('P3')}'", "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"}
        before = len(of_messages(self.server, "P3^^^", 1))  # that of its feed
        self.assertEqual(self.soap().query("FindDocuments", asked).outcome, "Success")
        record = self.records("P3^^^", before + 1)[-1]
        self.assert_record(record, ("110112", "ITI-18", "E", "0"), [common.patient("P3")], "registry")
        (query,) = objects(record, "2/24")
        self.assertEqual(query.find("ParticipantObjectIDTypeCode").get("csd-code"), "ITI-18")
        self.assertIn(b"AdhocQuery", base64.b64decode(query.findtext("ParticipantObjectQuery")))
        self.assertEqual([(d.get("type"), d.get("value")) for d in query.findall("ParticipantObjectDetail")],
                         [("QueryEncoding", base64_of("UTF-8"))])

    def test_query_by_uuid_or_unique_id_names_whose_objects_it_showed(self):
        """Who saw the patient is not answered by the number alone that somebody asked for."""
        submission = common.submission("P3")
        self.assert_success(self.soap().provide(submission))
        unique_id = submission.documents[0].unique_id
        self.records(submission.unique_id, 1)  # of writes it is there a moment later
        for name, parameters in (("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{unique_id}')"}),
                                 ("GetDocuments", {"$XDSDocumentEntryEntryUUID": f"('{common.find(self.soap(), 'P3')[unique_id]}')"}),
                                 ("GetSubmissionSetAndContents", {"$XDSSubmissionSetUniqueId": f"'{submission.unique_id}'"})):
            with self.subTest(name=name, parameters=parameters):
                before = len(of_messages(self.server, "P3^^^", 1))  # that of its feed
                reply = self.soap().query(name, parameters)
                self.assertEqual(reply.outcome, "Success")
                record = self.records("P3^^^", before + 1)[-1]
                self.assert_record(record, ("110112", "ITI-18", "E", "0"), [common.patient("P3")], "registry")

    def test_query_that_fails_quotes_nothing_of_it(self):
        asked = {"$XDSDocumentEntryPatientId": f"'{common.patient('P3')}'", "$XDSDocumentEntryAuthorPerson": f"('{SECRET}')"}
        reply = self.soap().query("FindDocuments", asked)
        self.assertEqual(reply.outcome, "Failure")
        (record,) = self.records(reference(reply.raw), 1)
        self.assert_record(record, ("110112", "ITI-18", "E", "8"), [common.patient("P3")], "registry")

    def test_retrieve_makes_a_record_for_each_patient_and_one_for_what_does_not_come(self):
        soap = self.soap()
        submissions = [common.submission(number) for number in ("P4", "P5", "P4")]
        for submission in submissions:
            self.assert_success(soap.provide(submission))
        documents = [submission.documents[0].unique_id for submission in submissions]
        absent = xds.new_oid()
        reply = common.fetch(soap, documents[0], absent, *documents[1:])
        self.assertEqual(reply.outcome, "PartialSuccess")
        found = {}
        for document in (*documents, absent):
            (record,) = [r for r in of_messages(self.server, document, 1) if codes(r)[1] == "ITI-43"]
            found[tuple(ids(record, "2/3"))] = record
        self.assertEqual(set(found), {(documents[0], documents[2]), (documents[1],), (absent,)})
        for about, patients, outcome in (((documents[0], documents[2]), ["P4"], "0"), ((documents[1],), ["P5"], "0"),
                                         ((absent,), [], "8")):
            record = found[about]
            self.assert_record(record, ("110106", "ITI-43", "R", outcome), [common.patient(p) for p in patients], "repository")
            for document in objects(record, "2/3"):
                self.assertEqual([(d.get("type"), d.get("value")) for d in document.findall("ParticipantObjectDetail")],
                                 [("Repository Unique Id", base64_of(harness.REPOSITORY_UID))])
        self.assertIn("XDSDocumentUniqueIdError", outcome_text(found[(absent,)]))

    def test_retrieve_that_cannot_be_read_is_recorded(self):
        reply = self.soap().retrieve([])
        self.assertEqual(reply.outcome, "Failure")
        (record,) = self.records(reference(reply.raw), 1)
        self.assert_record(record, ("110106", "ITI-43", "R", "8"), [], "repository")


class RefusedMessages(common.ServerCase):
    """What cannot be read, or is of no transaction, leaves a Security Alert: who, when, where and why, and nothing of the message."""

    def assert_alert(self, token, code=REFUSED_MESSAGE):
        """One record: by this server about the peer."""
        (record,) = of_messages(self.server, token, 1)
        self.assertEqual(codes(record), code)
        self.assertEqual(record.findall("ParticipantObjectIdentification"), [])
        us, peer = record.findall("ActiveParticipant")
        self.assertEqual((us.get("UserIsRequestor"), us.get("AlternativeUserID")), ("true", str(self.server.process.pid)))
        self.assertEqual((peer.get("UserIsRequestor"), peer.get("NetworkAccessPointID")), ("false", "127.0.0.1"))
        self.assertIn(token, outcome_text(record))
        self.assertNotRegex(outcome_text(record), f"{SECRET}|{STREET}")

    def test_soap(self):
        query = xds.envelope(xds.ACTIONS["ITI-18"], xds.query_xml("FindDocuments", {"$x": f"'{SECRET}'"}))
        soap_type = "application/soap+xml"
        for path, content_type, body in (
                ("/registry", soap_type, b"<" + SECRET.encode()),
                ("/registry", soap_type, f'<!DOCTYPE a [<!ENTITY b "{SECRET}">]><a>&b;</a>'.encode()),
                ("/registry", soap_type, b""),
                ("/registry", f"text/{STREET}", query),
                ("/registry", soap_type, query.replace(b"RegistryStoredQuery", STREET.encode())),
                ("/registry", soap_type, query.replace(b"AdhocQueryRequest", b"Adhoc" + STREET.encode())),
                ("/pix", soap_type, query),
                ("/repository", 'multipart/related; boundary="x"; type="application/xop+xml"', b"--x\r\n\r\n" + STREET.encode()),
                ("/repository", 'multipart/related; type="application/xop+xml"', b"--x--"),
                ("/repository", *xds.mtom(b"<" + SECRET.encode(), []))):
            with self.subTest(path=path, content_type=content_type, body=body[:40]):
                soap = common.client(self.server)
                reply = soap.post(path, content_type, body)
                soap.close()
                self.assertEqual(reply.outcome, "Fault")
                self.assert_alert(reference(reply.raw))

    def test_http_whose_framing_is_wrong(self):
        for headers in ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip\r\n"):
            with self.subTest(headers=headers), socket.create_connection(("127.0.0.1", self.server.plain_port), PATIENCE_S) as connection:
                connection.sendall(f"POST /registry HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{STREET}".encode())
                reply = whole_refusal(connection)
                self.assertRegex(reply, b"^HTTP/1.1 400")
                self.assert_alert(reference(reply))

    def test_fhir(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=PATIENCE_S)
        self.addCleanup(connection.close)
        json_type = {"Content-Type": "application/fhir+json"}
        for method, path, body, headers in (
                ("POST", "/fhir/$process-message", f'{{"{SECRET}"'.encode(), json_type),
                ("POST", "/fhir/$process-message", b"{}", {"Content-Type": f"text/{STREET}"}),
                ("GET", f"/fhir/{STREET}/1", None, {}),
                ("DELETE", "/fhir/metadata", None, {}),
                ("GET", f"/fhir/Patient?_format={STREET}", None, {})):
            with self.subTest(method=method, path=path):
                connection.request(method, path, body, headers)
                reply = connection.getresponse()
                raw = reply.read()
                self.assertGreaterEqual(reply.status, 400)
                self.assert_alert(reference(raw))

    def test_mllp(self):
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
        self.addCleanup(mllp.close)
        header = f"MSH|^~\\&|EMR|HOSPITAL|PIXMGR|CENTER|20260401||{{}}|c1|P|2.5\rPID|||{STREET}||{SECRET}\r"
        for message in (header.format("ADT^A99"), header.format("ORU^R01"), f"PID|||{STREET}||{SECRET}\r"):
            with self.subTest(message=message):
                reply = mllp.send(message)
                self.assert_alert(reference(reply.encode() if isinstance(reply, str) else reply))

    def test_mllp_frame_that_is_broken(self):
        before = len(of_messages(self.server, "refused-message", 0))
        with socket.create_connection(("127.0.0.1", self.server.mllp_port), PATIENCE_S) as connection:
            connection.sendall(f"\x0bMSH|{SECRET}\x0b".encode())  # a second start before the end
            self.assertEqual(connection.recv(1), b"")
        record = of_messages(self.server, "refused-message", before + 1)[-1]
        self.assertEqual(codes(record), REFUSED_MESSAGE)


class Changes(common.ServerCase):
    """Who may connect, and who may see: every change names the operator and the object."""

    def assert_change(self, token, kind, about, *descriptions):
        """The alerts about an object, one for each of these in order."""
        found = of_messages(self.server, f"ParticipantObjectName>{token}<", len(descriptions))
        self.assertEqual([codes(record) for record in found], [("110113", kind, "E", "0")] * len(descriptions))
        for record, description in zip(found, descriptions):
            self.assertEqual(ids(record, "2/13"), [about])
            (detail,) = objects(record, "2/13")[0].findall("ParticipantObjectDetail")
            self.assertEqual(detail.get("type"), "Alert Description")
            self.assertRegex(base64.b64decode(detail.get("value")).decode(), description)
            self.assertEqual(party(record, LAUNCHER).get("UserIsRequestor"), "true")
            self.assertTrue(party(record, LAUNCHER).get("UserID"))
            self.assertEqual(party(record, APPLICATION).get("UserIsRequestor"), "false")

    def test_facility(self):
        for _ in range(2):  # the second adds nothing
            self.server.command("facility", "add", "病院 1")
        self.assert_change("病院 1", "110129", "musubi:facility/%E7%97%85%E9%99%A2%201", "^facility 病院 1: add$")

    def test_node(self):
        self.server.command("facility", "add", "Hospital N")
        for transactions in ("ITI-18", "ITI-18,ITI-43"):
            self.server.command("node", "add", "gw-audit", "--facility", "Hospital N", "--fingerprint", "ab" * 32, "--transactions",
                                transactions)
        self.server.command("node", "revoke", "gw-audit")
        (about,) = ids(of_messages(self.server, "ParticipantObjectName>gw-audit<", 1)[0], "2/13")
        self.assertRegex(about, "^gw-audit@.")
        self.assert_change("gw-audit", "110129", about, f"add.*{'ab' * 32}.*ITI-18, roles node, submits for its facility$", "change.*ITI-43", "revoke")

    def test_authority(self):
        oid = "1.2.392.99999.4.77"
        self.server.command("authority", "add", oid, "--facility", "Hospital K", "--source", "HIS|K")
        self.server.command("authority", "revoke", oid)
        self.assert_change(oid, "110129", f"musubi:authority/{oid}", "set.*Hospital K.*HIS[|]K", "revoke")
        self.assert_change("Hospital K", "110129", "musubi:facility/Hospital%20K", "add")

    def test_subscriber(self):
        self.server.command("subscriber", "add", "his-k", "--kind", "consumer-v2", "--url", "mllp://127.0.0.1:9")
        self.server.command("subscriber", "remove", "his-k")
        self.assert_change("his-k", "110128", "musubi:subscriber/his-k", "set.*mllp://127.0.0.1:9", "remove")

    def test_change_that_is_not_made_leaves_no_record(self):
        rows = self.server.dir / "facilities.csv"
        rows.write_text("name\nNowhere\n", encoding="utf-8")
        self.server.command("facility", "import", str(rows), "--dry-run")
        self.server.command("node", "revoke", "nowhere", check=False)
        self.assertEqual(of_messages(self.server, "owhere<", 1, timeout_s=2), [])


if __name__ == "__main__":
    unittest.main()
