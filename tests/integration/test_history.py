"""What the registry answered to whom at an instant, and the life of a document (musubi document history)."""

import datetime
import json
import re
import time

from conformance import client as xds
from tests.harness import server as harness
from tests.harness.waiting import wait_until
from tests.integration import common

DOMAIN = "1.2.392.99999.97"
NODES = {"gateway-a": ("Hospital A", "*"), "viewer-b": ("Hospital B", "ITI-18,ITI-43")}


def now():
    """An instant behind everything that was answered so far, as --at takes it."""
    instant = datetime.datetime.now(datetime.timezone.utc).isoformat()
    time.sleep(0.01)
    return instant


class History(common.ServerCase):
    """Mode enforce: a hospital that submits, and one that reads."""

    mode = "enforce"
    roles = tuple(NODES)
    settings = {"server": {"plain_http_listen": None, "plain_mllp_listen": None}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        command = cls.server.command
        for node, (facility, transactions) in NODES.items():
            command("facility", "add", facility)
            command("node", "add", node, "--facility", facility, "--certificate", str(cls.certs / f"{node}.pem"), "--transactions", transactions)
        command("authority", "add", DOMAIN, "--namespace", "HA", "--facility", "Hospital A")
        patients = cls.server.dir / "patients.csv"
        lines = [f"HA,{number},山田,19{number}-01-01" for number in (71, 72, 73)]
        patients.write_text("\n".join(["authority,identifier,family,birth_date", *lines, ""]), encoding="utf-8")
        command("patient", "import", str(patients))
        cls.server.wait_until_refreshed()
        cls.soap_a = common.client(cls.server, "gateway-a")
        cls.soap_b = common.client(cls.server, "viewer-b")

    @classmethod
    def tearDownClass(cls):
        cls.soap_a.close()
        cls.soap_b.close()
        super().tearDownClass()

    def pid(self, number):
        """The XAD-PID of a hospital's number."""
        ((value,),) = common.rows(self.server, "SELECT x.value FROM patient_identifier l JOIN patient_identifier x"
                                               f" ON x.person = l.person AND x.is_xad_pid WHERE l.value = '{number}'")
        return value

    def register(self, patient, document, *associations):
        """ITI-42 of one document, by hospital A."""
        submission = xds.Submission(patient, [document])
        submission.associations = list(associations)
        self.assert_success(self.soap_a.register(submission))

    def answer(self, soap, patient):
        """{(uniqueId, version, status)} as ITI-18 answers it now."""
        statuses = "('%sApproved','%sDeprecated')" % (xds.STATUS, xds.STATUS)
        reply = soap.query("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{patient}'", "$XDSDocumentEntryStatus": statuses})
        self.assert_success(reply)
        found = set()
        for entry in reply.body.iter("{%s}ExtrinsicObject" % xds.NS["rim"]):
            unique_id = next(i.get("value") for i in entry.iter("{%s}ExternalIdentifier" % xds.NS["rim"])
                             if i.get("identificationScheme") == common.UNIQUE_ID_SCHEME)
            version = entry.find("{%s}VersionInfo" % xds.NS["rim"]).get("versionName")
            found.add((unique_id, int(version), entry.get("status").rpartition(":")[2]))
        return found

    def past(self, patient, at, node=None):
        """The same of the past."""
        arguments = ["--node", node] if node else []
        result = self.server.command("document", "history", "--patient", patient, "--at", at, "--status", "all", "--json", *arguments, check=False)
        self.assertIn(result.returncode, (0, 1), result.stderr)
        return json.loads(result.stdout)["documents"]

    def test_the_past_answers_two_nodes_as_it_did(self):
        one, other = (f"{self.pid(n)}^^^&{harness.AUTHORITY}&ISO" for n in (71, 72))
        first, second, third = (xds.Document(p, b"content", id=xds.new_urn()) for p in (one, one, other))
        command = self.server.command
        moments = []

        def after(what):
            answers = {(node, patient): self.answer(soap, patient)
                       for node, soap in (("gateway-a", self.soap_a), ("viewer-b", self.soap_b)) for patient in (one, other)}
            moments.append((what, now(), answers))

        def change_status():
            entry = common.rows(self.server, f"SELECT entry_uuid FROM document_entry WHERE unique_id = '{second.unique_id}' AND is_latest")[0][0]
            body = common.status_xml(one, f"urn:uuid:{entry}", xds.STATUS + "Approved", xds.STATUS + "Deprecated")
            self.assert_success(self.soap_a.send("/registry", "ITI-57", body))

        def update():
            renewed = xds.Document(one, second.content, unique_id=second.unique_id, title="Report 2")
            self.assert_success(self.soap_a.send("/registry", "ITI-57", common.version_xml(renewed, second.id, "1")))

        def revoke():
            for row in json.loads(command("disclosure", "list", "--json").stdout):
                command("disclosure", "revoke", str(row["number"]))

        replacement = xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", second.id, first.id)
        for what, change in (
                ("register", lambda: self.register(one, first)),
                ("enroll", lambda: [command("patient", "enroll", f"HA:{n}") for n in (71, 72)]),
                ("disclose", lambda: command("disclosure", "add", "--patient", "*", "--source", "Hospital A", "--reader", "Hospital B", "--permit")),
                ("replace", lambda: self.register(one, second, replacement)),
                ("update", update),
                ("other patient", lambda: self.register(other, third)),
                ("merge", lambda: command("patient", "merge", self.pid(72), self.pid(71))),
                ("deprecate", change_status),
                ("role", lambda: command("role", "add", "node", "--level", "none")),
                ("role again", lambda: command("role", "add", "node", "--level", "download")),
                ("revoke", revoke),
                ("withdraw", lambda: command("patient", "withdraw", "HA:71"))):
            change()
            after(what)
        self.assertEqual(len({str(sorted(moment[2][("viewer-b", one)])) for moment in moments}), 6)
        for what, at, answers in moments:
            for (node, patient), answer in answers.items():
                found = {(d["unique_id"], d["version"], d["status"]) for d in self.past(patient, at, node)}
                self.assertEqual(found, answer, (what, at, node))
        self.assertEqual({d["unique_id"] for d in self.past(one, moments[6][1])}, {d.unique_id for d in (first, second, third)})

    def test_the_life_of_a_document_names_who_did_what(self):
        patient = f"{self.pid(73)}^^^&{harness.AUTHORITY}&ISO"
        old, new = (xds.Document(patient, b"content", id=xds.new_urn()) for _ in range(2))
        self.register(patient, old)
        self.register(patient, new, xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", new.id, old.id))

        def told():  # once the audit trail has both records
            text = self.server.command("document", "history", old.unique_id, "--json").stdout
            return text if len(json.loads(text)["accesses"]) >= 2 else ""
        told = wait_until(told)
        life = json.loads(told)
        (version,) = life["versions"]
        self.assertEqual((version["entry_uuid"], version["version"], version["status"], version["facility"]), (old.id, 1, "Deprecated", "Hospital A"))
        (change,) = life["changes"]
        self.assertEqual((change["before"]["status"], change["after"]["status"]), ("Approved", "Deprecated"))
        self.assertNotEqual(change["submission_set"], version["submission_set"])
        (relation,) = life["relations"]
        self.assertEqual((relation["type"], relation["source_unique_id"], relation["target_unique_id"]), ("RPLC", new.unique_id, old.unique_id))
        self.assertEqual(relation["registered_at"], change["at"])
        self.assertEqual([access["event"] for access in life["accesses"]][:2], ["110107; ITI-42"] * 2)
        self.assertNotIn("山田", told)
        text = self.server.command("document", "history", old.id, "--lang", "ja").stdout
        self.assertIn("関係", text)
        self.assertIn(new.unique_id, text)
        self.assertEqual(self.server.command("document", "history", "1.2.3.4.5", check=False).returncode, 1)

    def test_what_is_not_known_is_not_told(self):
        pid = self.pid(73)
        for arguments, words in ((("--at", "2001-01-01"), "history begins at"), (("--at", "2999-01-01"), "a time that has been"),
                                 (("--at", now(), "--node", "nobody"), "no registered node had this name then"),
                                 (("--at", now(), "--status", "new"), "--status is")):
            result = self.server.command("document", "history", "--patient", pid, *arguments, check=False)
            self.assertEqual(result.returncode, 2, result.stdout)
            self.assertRegex(result.stderr, re.escape(words))
