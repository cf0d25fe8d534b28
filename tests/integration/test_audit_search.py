"""Searches and reports over the Audit Record Repository: musubi audit search, report, export, and ITI-81."""

import base64
import csv
import http.client
import io
import json
import socket
import ssl
import threading
import unittest

from tests.harness import server as harness
from tests.harness.waiting import PATIENCE_S, becomes, wait_until
from tests.integration import common

UDP_PORT = harness.free_ports(1)[0]
MESSAGE = """<AuditMessage><EventIdentification EventActionCode="{action}" EventDateTime="{time}" EventOutcomeIndicator="0">
<EventID csd-code="{event}" codeSystemName="DCM" originalText="{name}"/>{subtype}</EventIdentification>
<ActiveParticipant UserID="{user}" UserName="{user_name}" UserIsRequestor="true" NetworkAccessPointID="192.0.2.17"
 NetworkAccessPointTypeCode="2"/><AuditSourceIdentification AuditSourceID="viewer"/>{objects}</AuditMessage>"""
LOGIN = '<EventTypeCode csd-code="110122" codeSystemName="DCM" originalText="Login"/>'
PATIENT = """<ParticipantObjectIdentification ParticipantObjectID="{id}" ParticipantObjectTypeCode="1"
 ParticipantObjectTypeCodeRole="1"><ParticipantObjectIDTypeCode csd-code="2" codeSystemName="RFC-3881"
 originalText="Patient Number"/></ParticipantObjectIdentification>"""


def send(**fields):
    """One audit message of a viewer, over UDP."""
    values = {"subtype": "", "objects": "", "user_name": "", **fields}
    values["objects"] = "".join(PATIENT.format(id=common.patient(n).replace("&", "&amp;")) for n in values["objects"])
    text = "<85>1 2026-04-01T00:00:00Z viewer.example viewer 1 IHE+RFC-3881 - " + MESSAGE.format(**values)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(text.encode(), ("127.0.0.1", UDP_PORT))


class AuditSearch(common.ServerCase):
    """What was recorded is found: all of it, once, and nothing else."""

    settings = {"audit": {"syslog_udp_listen": f"127.0.0.1:{UDP_PORT}", "syslog_udp_allow": "127.0.0.1"}}

    def audit(self, *arguments):
        """Records that a command prints, as JSON."""
        result = self.server.command("audit", *arguments, "--json", check=False)
        self.assertIn(result.returncode, (0, 1), result.stderr)
        self.assertEqual(result.returncode, 0 if result.stdout else 1)
        return [json.loads(line) for line in result.stdout.splitlines()]

    def until(self, count, *arguments):
        """The records of a search once there are so many."""
        found = []

        def are_there():
            found[:] = self.audit(*arguments)
            return len(found) >= count
        becomes(are_there)
        self.assertEqual(len(found), count, found)
        return found

    def get(self, path):
        """A Bundle."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            body = reply.read()
            self.assertEqual(reply.status, 200, body)
            return json.loads(body)
        finally:
            connection.close()

    def pages(self, query):
        """[Bundle] from the first to the last."""
        found = [self.get("/fhir/AuditEvent?" + query)]
        while url := next((l["url"] for l in found[-1]["link"] if l["relation"] == "next"), None):
            found.append(self.get(url[url.index("/fhir"):]))
        return found

    def test_the_report_of_a_patient_holds_exactly_what_touched_the_patient(self):
        soap = self.soap()
        one, other = common.submission("P1"), common.submission("P2")
        self.assert_success(soap.provide(one))
        self.assert_success(soap.provide(other))
        common.find(soap, "P1")
        self.until(3, "search", "--patient", common.patient("P1"), "--event", "ITI-8,ITI-41,ITI-18")
        found = [r for r in self.audit("report", "patient", "P1") if r["event"] != "110101"]
        self.assertEqual(sorted(r["event"] for r in found),
                         ["110107; ITI-41", "110110; ITI-8", "110112; ITI-18"])
        for record in found:
            self.assertEqual((record["patients"], record["outcome"]), (common.patient("P1"), "success"))
            self.assertIn("127.0.0.1", record["node"] + record["sender"] + record["user"])
        self.assertEqual(self.audit("report", "patient", "P1", "--to", "2020-01-01"), [])

    def test_a_text_is_found_wherever_the_message_is(self):
        send(event="110110", name="Patient Record", action="R", time="2026-02-03T04:05:06Z", user="text-received", objects=["TXT1"])
        self.until(1, "search", "text-received")
        common.feed(self.server, "TXT2")
        token = common.patient("TXT2").replace("&", "&amp;")
        self.until(1, "search", token)
        self.until(1, "search", token, "--event", "ITI-8")  # in the table by now
        self.assertEqual(len(self.audit("search", token)), 1)
        self.server.stop()
        for segment in (self.server.dir / "data" / "audit").glob("*.spool"):
            segment.unlink()
        self.server.start()
        self.assertEqual(len(self.audit("search", token)), 1)
        self.assertEqual(len(self.audit("search", "text-received", "--from", "2026-02-03", "--to", "2026-02-03")), 1)
        self.assertEqual(self.audit("search", "text-received", "--to", "2026-02-02"), [])
        self.assertEqual(self.audit("search", "no-message-holds-this"), [])
        used = base64.b64encode(b"musubi audit search no-message-holds-this").decode()
        self.until(1, "search", used)  # TF-2 Table 3.20.4.1.1.1-1: Audit Log Used, each search

    def test_what_a_stranger_wrote_reaches_no_terminal_and_no_spreadsheet_as_a_command(self):
        users = ["=1", "+1", "-1", "@1", "＝1", "＋1", "－1", "＠1", "&#9;=1", "&#10;=1"]
        for number, user in enumerate(users):
            send(event="110110", name="esc\x9b31m\u202e", action="R", time=f"2026-02-04T04:05:{number:02d}Z", user=user,
                 objects=["ESC1"])
        self.until(len(users), "search", "--patient", "ESC1", "--event", "110110")
        rows = list(csv.DictReader(io.StringIO(self.server.command("audit", "search", "--patient", "ESC1", "--event", "110110", "--csv").stdout[1:])))
        self.assertEqual([row["user"] for row in rows[:8]], ["'" + user for user in users[:8]])
        for row in rows[8:]:
            self.assertRegex(row["user"], "^'=1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"<85>1 - - - - - - esc-raw \x1b]0;title\x07 \xc2\x9b31m \x9b31m\n2026 faked line", ("127.0.0.1", UDP_PORT))
        self.until(1, "search", "esc-raw")
        for arguments in (("search", "--patient", "ESC1", "--event", "110110"), ("report", "patient", "ESC1"), ("search", "esc"), ("search", "--all")):
            with self.subTest(arguments=arguments):
                text = self.server.command("audit", *arguments).stdout
                self.assertIn("esc", text)
                self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
                self.assertNotRegex(text, "(?m)^2026 faked line")

    def test_csv_and_json_say_the_same_and_a_formula_is_defused(self):
        send(event="110110", name="Patient Record", action="R", time="2026-02-03T04:05:06Z", user="=cmd()", objects=["CSV1"],
             user_name="say &quot;ah&quot;, ok")
        of_json = self.until(1, "search", "--user", "=cmd()")
        text = self.server.command("audit", "search", "--user", "=cmd()", "--csv").stdout
        self.assertTrue(text.startswith("\ufeff"))
        of_csv = list(csv.DictReader(io.StringIO(text[1:])))
        self.assertEqual(len(of_csv), 1)
        self.assertEqual(of_csv[0]["time"], "2026-02-03 13:05:06")  # Asia/Tokyo
        self.assertEqual((of_csv[0]["user"], of_csv[0]["user name"]), ("'=cmd()", 'say "ah", ok'))
        same = {"user name": "user_name", "from where": "node", "patients": "patients", "operation": "operation", "event": "event",
                "outcome": "outcome", "reported by": "source", "received from": "sender", "record": "record"}
        for heading, name in same.items():
            self.assertEqual(of_csv[0][heading], of_json[0][name], heading)
        japanese = self.server.command("audit", "search", "--user", "=cmd()", "--csv", "--lang", "ja").stdout
        self.assertIn("ログイン時刻", japanese)
        self.assertIn("参照", japanese)

    def test_an_access_is_shown_with_the_login_before_it(self):
        user = {"user": "drsato", "action": "E", "event": "110114", "name": "User Authentication", "subtype": LOGIN}
        for login in ("2026-03-01T00:00:00Z", "2026-03-02T00:10:00Z", "2026-03-02T05:00:00Z"):
            send(**{**user, "time": login})
        for access in ("2026-03-02T01:00:00+09:00", "2026-03-02T01:00:00Z", "2026-03-02T06:00:00Z", "2026-03-09T00:00:00Z"):
            send(event="110110", name="Patient Record", action="R", time=access, user="drsato", objects=["LOGIN1"])
        self.until(3, "search", "--user", "drsato", "--event", "110122")
        self.until(4, "search", "--patient", "LOGIN1", "--user", "drsato")
        found = [r for r in self.audit("report", "patient", "LOGIN1") if r["user"] == "drsato"]
        self.assertEqual([r["login_time"] and r["login_time"][:16] for r in found],
                         ["2026-03-01T00:00", "2026-03-02T00:10", "2026-03-02T05:00", None])

    def test_days_are_those_of_the_local_zone_and_an_end_is_over_with_its_day(self):
        for moment in ("2026-05-01T14:59:59Z", "2026-05-01T15:00:00Z", "2026-05-02T14:59:59Z", "2026-05-02T15:00:00Z"):
            send(event="110100", name="Application Activity", action="E", time=moment, user="clockwork")
        self.until(4, "search", "--user", "clockwork")
        day = self.audit("search", "--user", "clockwork", "--from", "2026-05-02", "--to", "2026-05-02")
        self.assertEqual([r["time"][:19] for r in day], ["2026-05-01T15:00:00", "2026-05-02T14:59:59"])
        self.assertEqual(len(self.audit("search", "--user", "clockwork", "--from", "2026-05-02 00:00", "--to", "2026-05-02 23:59:59")), 1)
        self.assertEqual(len(self.audit("search", "--user", "clockwork", "--to", "2026-05-01T15:00:00Z")), 1)
        self.assertEqual(self.server.command("audit", "search", "--from", "yesterday", check=False).returncode, 2)

    def test_a_search_leaves_a_record_with_what_was_asked(self):
        self.audit("search", "--object", "1.2.3.4.5.6.7.8.9")
        query = base64.b64encode(b"musubi audit search --object=1.2.3.4.5.6.7.8.9").decode()

        def asked_for():
            exported = self.server.command("audit", "export", "--event", "110101", check=False).stdout
            return [r for r in map(json.loads, exported.splitlines()) if query in r["message"]]
        asked = becomes(asked_for)
        self.assertEqual(len(asked), 1, asked)
        self.assertEqual((asked[0]["kind"], asked[0]["defects"], len(asked[0]["hash"])), ("dicom", [], 64))

    def test_pages_are_complete_and_without_doubles_while_records_arrive(self):
        common.feed(self.server, *(f"PAGE{n}" for n in range(60)))
        self.until(60 + 9, "search", "--event", "ITI-8", "--limit", "69")
        before = {r["record"] for r in self.audit("search", "--event", "ITI-8")}
        stop = threading.Event()
        arrived = []

        def arrive():
            while not stop.is_set():
                common.feed(self.server, f"LATE{len(arrived)}")
                arrived.append(True)

        feeder = threading.Thread(target=arrive)
        feeder.start()
        try:
            wait_until(lambda: arrived)
            pages = self.pages("date=ge2020-01-01&subtype=ITI-8&_count=7")
        finally:
            stop.set()
            feeder.join()
        ids = [entry["resource"]["id"] for page in pages for entry in page["entry"]]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertLessEqual(before, set(ids))
        self.assertEqual({page["total"] for page in pages}, {len(ids)})
        self.assertTrue(arrived)
        self.assertTrue(all(len(page["entry"]) <= 7 for page in pages))

    def test_iti81_and_the_command_find_the_same(self):
        for number in range(5):
            send(event="110112", name="Query", action="E", time=f"2026-06-0{number + 1}T00:00:00Z", user="same", objects=["SAME1"])
        found = self.until(5, "search", "--user", "same", "--from", "2026-06-01T00:00:00Z", "--to", "2026-06-30")
        bundle = self.get("/fhir/AuditEvent?date=ge2026-06-01&date=le2026-06-30&agent=same&patient.identifier=SAME1&type=110112")
        self.assertEqual([entry["resource"]["id"] for entry in bundle["entry"]], [r["record"] for r in found])
        bundle = self.get("/fhir/AuditEvent?date=gt2026-06-01&date=lt2026-06-04T00:00:00Z&agent=SAME&address=192.0.2.17")
        self.assertEqual([entry["resource"]["id"] for entry in bundle["entry"]], [r["record"] for r in found[1:3]])


class AuditRights(common.ServerCase):
    """Only nodes with the right ITI-81 read the audit trail, and no operator's node does."""

    mode = "enforce"
    roles = ("auditor", "gateway-a", "gateway-all", "operator", "stranger")
    settings = {"server": {"plain_http_listen": None, "plain_mllp_listen": None}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("facility", "add", "Data center")
        for name, rights, extra in (("auditor", "ITI-81", []), ("gateway-a", "ITI-18,ITI-41", []), ("gateway-all", "*", []),
                                    ("operator", "ITI-18,ITI-81", ["--operator"])):
            cls.server.command("node", "add", name, "--facility", "Data center", "--transactions", rights,
                               "--certificate", str(cls.certs / f"{name}.pem"), *extra)
        cls.server.wait_until_refreshed()

    def get(self, role, path):
        """(status, resource) of a request with the certificate of a role."""
        context = ssl.create_default_context(cafile=str(self.certs / "ca.pem"))
        context.load_cert_chain(self.certs / f"{role}.pem", self.certs / f"{role}.key")
        connection = http.client.HTTPSConnection("localhost", self.server.https_port, context=context, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def test_the_auditor_alone_is_answered(self):
        for path in ("/fhir/AuditEvent?date=ge2020", "/fhir/AuditEvent/1-1"):
            self.assertEqual(self.get("auditor", path)[0], 200, path)
            for role, text in (("gateway-a", "ITI-81"), ("gateway-all", "ITI-81"), ("operator", "operator")):
                status, outcome = self.get(role, path)
                self.assertEqual((status, outcome["resourceType"]), (403, "OperationOutcome"), role)
                self.assertIn(text, json.dumps(outcome))
        try:
            status, outcome = self.get("stranger", "/fhir/AuditEvent?date=ge2020")
            self.assertEqual((status, outcome["resourceType"]), (403, "OperationOutcome"))
        except (ssl.SSLError, OSError, http.client.HTTPException):
            pass  # sent away before the request


if __name__ == "__main__":
    unittest.main()
