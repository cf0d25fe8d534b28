"""The operator's side of access decisions: who takes part, which facility shows what to which, and why."""

import base64
import json
import tempfile

from conformance import client as xds
from tests.harness import saml, server as harness
from tests.integration import audit_records, common, test_xua
from tests.integration.test_identity_commands import Commands

HEADER = "patient,source,reader,classes,rule,level,from,to,valid_from,valid_to,reason\n"
LETTER = "57133-1^^2.16.840.1.113883.6.1"


class Decisions(Commands):
    """musubi patient enroll and withdraw, musubi disclosure."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for facility in ("Hospital A", "病院B"):
            cls.server.command("facility", "add", facility)

    def state(self, number):
        """What patient show says of taking part."""
        person = self.run_json("patient", "show", number)
        return person["is_enrolled"], [(d["is_enrolled"], d["form"], d["document"]) for d in person["decisions"]]

    def test_a_patient_takes_part_from_enrolment_to_withdrawal(self):
        self.assertEqual(self.state("P1"), (False, []))
        self.server.command("patient", "enroll", "P1", "--form", "F-1")
        self.server.command("patient", "withdraw", common.patient("P1"), "--document", "1.2.3.4")
        self.assertEqual(self.state("P1"), (False, [(True, "F-1", ""), (False, "", "1.2.3.4")]))
        self.server.command("patient", "enroll", "P1", "--form", "F-2")
        self.assertEqual(self.state("P1")[0], True)
        self.assertIn("F-2", self.server.command("patient", "show", "P1").stdout)
        self.assertIn("参加: 登録済み", self.server.command("patient", "show", "P1", "--lang", "ja").stdout)

    def test_a_hospitals_number_enrolls_the_person(self):
        self.server.command("authority", "add", "1.2.3.7", "--namespace", "HOSPA", "--facility", "Hospital A")
        self.server.command("patient", "import", self.csv("authority,identifier,family,birth_date\nHOSPA,77,山田,1970-01-01\n"))
        self.server.command("patient", "enroll", "HOSPA:77")
        self.assertTrue(self.state("HOSPA:77")[0])
        self.assertIn("no patient is known by 78", self.refused("patient", "enroll", "HOSPA:78"))

    def test_an_enrolment_and_a_withdrawal_leave_audit_events_about_the_patient(self):
        self.server.command("patient", "enroll", "P2", "--form", "F-9")
        self.server.command("patient", "withdraw", "P2")
        found = audit_records.of_messages(self.server, "musubi:enrolment/P2", 2)
        self.assertEqual([audit_records.codes(r)[0] for r in found], ["110113", "110113"])
        for record in found:
            self.assertIn(common.patient("P2"), audit_records.ids(record, "1/1"))
        texts = [base64.b64decode(v).decode() for r in found for v in r.xpath("//ParticipantObjectDetail/@value")]
        texts += [t for r in found for t in r.xpath("//ParticipantObjectDescription/text()")]
        self.assertTrue(any("enroll, form F-9" in t for t in texts), texts)
        self.assertTrue(any("withdraw" in t for t in texts), texts)

    def test_decisions_are_imported_all_or_none_with_faults_by_line(self):
        path = self.csv("patient,decision,form\nP3,enroll,A\nP4,maybe,B\nP99,enroll,C\n")
        text = self.refused("patient", "enroll", "import", path)
        self.assertIn("rows.csv:3: decision: write enroll or withdraw instead of maybe", text)
        self.assertIn("rows.csv:4: no patient is known by P99", text)
        self.assertEqual(self.state("P3"), (False, []))
        path = self.csv("patient,decision,form\nP3,enroll,同意A\nP4,withdraw,B\n", "cp932")
        self.server.command("patient", "enroll", "import", path, "--dry-run")
        self.assertEqual(self.state("P3"), (False, []))
        self.server.command("patient", "enroll", "import", path)
        self.assertEqual(self.state("P3"), (True, [(True, "同意A", "")]))
        self.assertEqual(self.state("P4"), (False, [(False, "B", "")]))

    def test_a_disclosure_is_added_listed_shown_and_revoked(self):
        self.server.command("disclosure", "add", "--patient", "P5", "--source", "Hospital A", "--reader", "病院B", "--permit",
                            "--level", "download", "--classes", LETTER, "--from", "2024-04-01", "--to", "2025/3/31",
                            "--valid-to", "2099-12-31", "--reason", "紹介")
        row = self.run_json("disclosure", "list", "--patient", "P5")[-1]
        self.assertEqual((row["patient"], row["source"], row["reader"], row["classes"], row["rule"], row["level"]),
                         ("P5", "Hospital A", "病院B", [LETTER], "permit", "download"))
        self.assertEqual((row["from"], row["to"], row["valid_to"], row["reason"], row["is_in_force"]),
                         ("2024-04-01", "2025-03-31", "2099-12-31", "紹介", True))
        number = str(row["number"])
        text = self.server.command("disclosure", "show", number).stdout
        self.assertIn(f"permits download of {LETTER}, from Hospital A to 病院B", text)
        self.server.command("disclosure", "revoke", number)
        self.assertNotIn(row["number"], [r["number"] for r in self.run_json("disclosure", "list")])
        self.assertFalse(self.run_json("disclosure", "show", number)[0]["is_in_force"])
        self.assertEqual(self.server.command("disclosure", "revoke", number, check=False).returncode, 1)

    def test_what_is_wrong_in_a_disclosure_is_told_and_nothing_is_stored(self):
        before = self.run_json("disclosure", "list", "--all")
        good = ("disclosure", "add", "--patient", "*", "--source", "Hospital A", "--reader", "*")
        for extra, text in ((("--permit", "--deny"), "one of --permit and --deny"), ((), "one of --permit and --deny"),
                            (("--permit", "--level", "all"), "write view or download"),
                            (("--permit", "--classes", "LETTER"), "write a code as CODE^^SCHEME"),
                            (("--permit", "--from", "2025-02-30"), "write a day as YYYY-MM-DD"),
                            (("--permit", "--from", "2025-02-02", "--to", "2025-02-01"), "the last day lies before the first"),
                            (("--permit", "--reader", "Hospital X"), "there is no such facility"),
                            (("--permit", "--patient", "P98"), "no patient is known by P98")):
            with self.subTest(extra=extra):
                self.assertIn(text, self.refused(*good, *extra))
        self.assertIn("name the facility", self.refused("disclosure", "add", "--patient", "*", "--permit", "--source", "*"))
        self.assertIn("name the patient", self.refused("disclosure", "add", "--source", "*", "--permit", "--reader", "*"))
        self.assertEqual(self.run_json("disclosure", "list", "--all"), before)

    def test_disclosures_are_imported_all_or_none_with_faults_by_line(self):
        rows = "*,Hospital A,病院B,*,permit,view,,,,,既定\nP6,*,病院B,,deny,,,,,,\n"
        text = self.refused("disclosure", "import", self.csv(HEADER + rows + "P6,Hospital X,*,,allow,,,,,,\n"))
        self.assertIn("rows.csv:4: write permit or deny instead of: allow", text)
        self.assertIn("rows.csv:4: there is no such facility; musubi facility list shows them: Hospital X", text)
        before = len(self.run_json("disclosure", "list"))
        self.server.command("disclosure", "import", self.csv(HEADER + rows, "cp932"), "--dry-run")
        self.assertEqual(len(self.run_json("disclosure", "list")), before)
        self.server.command("disclosure", "import", self.csv(HEADER + rows, "cp932"))
        added = self.run_json("disclosure", "list")[before:]
        self.assertEqual([(r["patient"], r["rule"], r["level"]) for r in added], [(None, "permit", "view"), ("P6", "deny", "view")])


BTG = "BTG^^2.16.840.1.113883.5.8"
PHYSICIAN = "112247003^^2.16.840.1.113883.6.96"
NORMAL, RESTRICTED = ("N^^2.16.840.1.113883.5.25", "R^^2.16.840.1.113883.5.25")


class Rules(Commands):
    """musubi role, node, consent-policy and why, of a server in mode enforce."""

    mode = "enforce"
    roles = ("gateway-a", "viewer-b", "old")
    settings = {"server": {"plain_http_listen": None, "plain_mllp_listen": None}, "affinity_domain": {"pid_owner": "external"},
                "xua": {"registry": "record", "audiences": saml.AUDIENCE}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("facility", "add", "Hospital A")
        cls.server.command("facility", "add", "Hospital B")
        cls.node("gateway-a", "Hospital A", "*", "--source", "*|*")
        cls.node("viewer-b", "Hospital B", "ITI-18,ITI-43")
        cls.node("old", "Hospital B", "*")
        cls.server.command("node", "revoke", "old")
        cls.server.command("authority", "add", harness.AUTHORITY, "--source", "*|*")
        cls.server.wait_until_refreshed()
        mllp = xds.MllpClient(f"127.0.0.1:{cls.server.mllps_port}", *(cls.certs / f for f in ("gateway-a.pem", "gateway-a.key", "ca.pem")))
        for n in range(1, 7):
            reply = mllp.send(xds.adt("A01", common.patient(f"P{n}")))
            assert xds.acknowledgement(reply) == "AA", reply
        mllp.close()

    @classmethod
    def node(cls, name, facility, transactions, *more):
        """musubi node add"""
        cls.server.command("node", "add", name, "--facility", facility, "--certificate", str(cls.certs / f"{name}.pem"),
                           "--transactions", transactions, *more)

    def submit(self, number):
        """A document of Hospital A."""
        document = xds.Document(common.patient(number), b"letter")
        self.assert_success(self.soap("gateway-a").provide(xds.Submission(common.patient(number), [document])))
        return document.unique_id

    def test_a_document_that_was_filed_for_two_patients_is_given_for_each_by_its_own_rules(self):
        """Filed for P5 by mistake, then for P6: what ITI-18 lists ITI-43 gives, and nothing else."""
        gateway, viewer = self.soap("gateway-a"), self.soap("viewer-b")
        document = xds.Document(common.patient("P5"), b"letter")
        self.assert_success(gateway.provide(xds.Submission(common.patient("P5"), [document])))
        again = xds.Document(common.patient("P6"), b"letter", unique_id=document.unique_id)
        self.assert_success(gateway.provide(xds.Submission(common.patient("P6"), [again])))
        for number in ("P5", "P6"):
            self.server.command("patient", "enroll", number)
            self.server.command("disclosure", "add", "--patient", number, "--source", "Hospital A", "--reader", "Hospital B",
                                "--permit", "--level", "download")
            self.assertEqual(len(common.find(viewer, number)), 1)
            self.assertEqual(common.fetch(viewer, document.unique_id).outcome, "Success")
            self.server.command("patient", "withdraw", number)
            self.assertEqual(len(common.find(viewer, number)), 0)
            self.assertEqual(common.fetch(viewer, document.unique_id).outcome, "Failure", number)

    def why(self, *arguments, status):
        """What why says, by question."""
        result = self.server.command("why", *arguments, "--json", check=False)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        answer = json.loads(result.stdout)
        return {d["question"]: d for d in answer["decisions_on_access"]}

    def test_why_follows_the_rules_that_come_and_go(self):
        unique_id = self.submit("P1")
        asked = ("--node", "viewer-b", "--document", unique_id)
        self.assertEqual(self.why(*asked, status=1)["list"]["reason"], "NOT_ENROLLED")
        self.server.command("patient", "enroll", "P1")
        found = self.why(*asked, status=1)
        self.assertEqual(found["list"]["reason"], "NOT_DISCLOSED")
        self.assertIn("--source 'Hospital A' --reader 'Hospital B' --permit --level download", found["download"]["remedy"])
        self.server.command("disclosure", "add", "--patient", "P1", "--source", "Hospital A", "--reader", "Hospital B", "--permit")
        found = self.why(*asked, status=1)
        self.assertEqual((found["list"]["is_permitted"], found["download"]["reason"]), (True, "NOT_DISCLOSED"))
        self.assertEqual(found["list"]["rule"]["reader"], "Hospital B")
        self.server.command("disclosure", "add", "--patient", "P1", "--source", "*", "--reader", "Hospital B", "--permit", "--level", "download")
        self.assertEqual(self.why(*asked, status=0)["download"]["reason"], "DISCLOSED")
        self.assertEqual(list(common.find(self.soap("viewer-b"), "P1")), [unique_id])
        text = self.server.command("why", *asked).stdout
        self.assertIn("permits download of every class, from any facility to Hospital B", text)
        self.server.command("patient", "withdraw", "P1")
        self.assertEqual(self.why(*asked, status=1)["download"]["reason"], "NOT_ENROLLED")
        self.assertEqual(common.find(self.soap("viewer-b"), "P1"), {})

    def test_why_works_for_what_is_unknown_revoked_or_not_allowed(self):
        self.server.command("patient", "enroll", "P2")
        found = self.why("--node", "old", "--patient", "P2", "--facility", "Hospital A", status=1)
        self.assertEqual(found["list"]["reason"], "NO_PRINCIPAL")
        found = self.why("--node", "viewer-b", "--document", "1.2.3.999", status=1)
        self.assertEqual(found["list"]["reason"], "NO_PATIENT")
        found = self.why("--node", "viewer-b", "--patient", "P2", "--facility", "Hospital A", status=1)
        self.assertEqual((found["submit"]["reason"], found["submit"]["may_use_transaction"]), ("OTHER_FACILITY", False))
        found = self.why("--node", "gateway-a", "--patient", "P2", "--facility", "Hospital A", status=0)
        self.assertEqual(found["list"]["reason"], "OWN_DOCUMENT")
        self.assertEqual(self.server.command("why", "--node", "nobody", "--document", "1.2", check=False).returncode, 2)
        self.assertEqual(self.server.command("why", "--node", "viewer-b", check=False).returncode, 2)

    def test_roles_decide_level_confidentiality_and_emergencies(self):
        unique_id = self.submit("P3")
        self.server.command("patient", "enroll", "P3")
        asked = ("--node", "viewer-b", "--document", unique_id)
        self.server.command("role", "code", "physician", PHYSICIAN)
        found = self.why(*asked, "--user", "hanako", "--role", PHYSICIAN, "--purpose", BTG, "--reason", "unconscious", status=0)
        self.assertEqual(found["list"]["reason"], "BREAK_GLASS")
        found = self.why(*asked, "--user", "hanako", "--role", PHYSICIAN, "--purpose", BTG, status=1)
        self.assertEqual(found["list"]["reason"], "NOT_DISCLOSED")
        found = self.why(*asked, "--user", "taro", "--role", "unheard-of^^1.2.3", status=1)
        self.assertEqual(found["list"]["reason"], "ROLE_LEVEL")
        codes = {r["name"]: r for r in self.run_json("role", "list")}
        self.assertIn(PHYSICIAN, codes["physician"]["codes"])
        self.assertIn(RESTRICTED, codes["physician"]["confidentiality"])
        self.server.command("role", "forbid", "node", NORMAL)
        found = self.why("--node", "gateway-a", "--document", unique_id, status=1)
        self.assertEqual((found["list"]["reason"], found["list"]["hidden_codes"]), ("CONFIDENTIALITY", [NORMAL]))
        self.server.command("role", "permit", "node", NORMAL)
        self.assertEqual(self.why("--node", "gateway-a", "--document", unique_id, status=0)["list"]["reason"], "OWN_DOCUMENT")
        self.server.command("role", "add", "receptionist", "--level", "view")
        self.assertEqual({r["name"]: r["level"] for r in self.run_json("role", "list")}["receptionist"], "view")
        self.assertIn("no such role", self.refused("role", "code", "nurse-x", PHYSICIAN))

    def declare_emergency(self, idp, number, reason="found unconscious", **claims):
        """FindDocuments by viewer-b for a physician who declares an emergency."""
        attributes = "<saml:AttributeStatement>" + saml.attribute(
            "urn:oasis:names:tc:xacml:2.0:subject:role", saml.coded("Role", *PHYSICIAN.split("^^"), "physician")) + saml.attribute(
            "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse", saml.coded("PurposeOfUse", *BTG.split("^^"), "Break the glass", reason)
        ) + "</saml:AttributeStatement>"
        header = saml.security(idp.assertion(attributes=attributes, **claims))
        return test_xua.post(self.soap("viewer-b"), saml.with_header(test_xua.query_envelope(number), header))

    def emergency(self, idp, number, **more):
        """The same, which is served; how many documents it shows."""
        reply = self.declare_emergency(idp, number, **more)
        self.assertEqual(reply.outcome, "Success", reply.raw[:2000])
        return len(reply.objects("ExtrinsicObject"))

    def test_an_emergency_shows_and_leaves_a_notice_that_somebody_acknowledges(self):
        idp = saml.IdentityProvider()
        test_xua.register(self.server, idp)
        self.server.command("role", "code", "physician", PHYSICIAN)
        self.submit("P4")
        self.assertEqual(self.emergency(idp, "P4"), 0)
        self.server.command("patient", "enroll", "P4")
        self.assertEqual(self.server.command("disclosure", "notices").stdout, "")
        self.assertEqual(self.emergency(idp, "P4", reason=None), 0, "the name of the code is no reason")
        test_xua.bind_to_another(self.server, idp.issuer, "_stolen")
        self.assertEqual(self.declare_emergency(idp, "P4", id="_stolen").outcome, "Fault")
        self.assertEqual(self.server.command("disclosure", "notices").stdout, "", "a refused user has seen nothing")
        self.assertEqual(self.emergency(idp, "P4"), 1)
        result = self.server.command("disclosure", "notices", "--json", check=False)
        (notice,) = json.loads(result.stdout)
        self.assertEqual((result.returncode, notice["patient"], notice["node"], notice["user"], notice["reason"], notice["objects"]),
                         (1, "P4", "viewer-b", "tanaka", "found unconscious", 1))
        self.assertEqual(self.run_json("status")["emergency_notices"], 1)
        self.assertIn("musubi_emergency_notices", self.server.admin("/metrics"))
        found = audit_records.of_messages(self.server, "110127", 1)
        self.assertEqual([audit_records.ids(r, "1/1") for r in found], [[common.patient("P4")]])
        self.server.command("disclosure", "notices", "--acknowledge", str(notice["number"]))
        self.assertEqual(self.server.command("disclosure", "notices").returncode, 0)
        self.assertEqual(self.server.command("disclosure", "notices", "--acknowledge", str(notice["number"]), check=False).returncode, 1)

    def test_a_node_has_roles_and_facilities_and_may_be_kept_from_submitting(self):
        path = self.csv("name,facility,transactions,roles,may_submit,also_for\nclinic,Hospital A,ITI-41,clerk;nurse,no,Hospital B\n")
        self.server.command("node", "import", path)
        row = {n["name"]: n for n in self.run_json("node", "list")}["clinic"]
        self.assertEqual((row["roles"], row["may_submit"], row["also_for"]), (["clerk", "nurse"], False, ["Hospital B"]))
        found = self.why("--node", "clinic", "--patient", "P4", "--facility", "Hospital B", status=1)
        self.assertEqual(found["submit"]["reason"], "MAY_NOT_SUBMIT")
        self.server.command("node", "add", "clinic", "--facility", "Hospital A", "--transactions", "ITI-41", "--also-for", "Hospital B")
        found = self.why("--node", "clinic", "--patient", "P4", "--facility", "Hospital B", status=1)
        self.assertEqual(found["submit"]["reason"], "OWN_CHANGE")
        self.assertIn("no such role", self.refused("node", "add", "clinic", "--facility", "Hospital A", "--transactions", "ITI-41", "--role", "x"))
        self.assertIn("no such facility", self.refused("node", "add", "clinic", "--facility", "Hospital A", "--transactions", "ITI-41",
                                                       "--also-for", "Hospital X"))


ENROLS, SHARES, REFUSES, UNKNOWN = "1.2.392.99999.8.1", "1.2.392.99999.8.2", "1.2.392.99999.8.3", "1.2.392.99999.8.9"
ACKNOWLEDGMENT = ("57016-8", "2.16.840.1.113883.6.1", "Privacy policy acknowledgment")
BPPC = ("urn:ihe:iti:bppc:2007", "1.3.6.1.4.1.19376.1.2.3", "BPPC")


def at_hospital(number):
    """A number of Hospital A as CX."""
    return f"{number}^^^&1.2.392.99999.2.1&ISO"


class ConsentDocuments(Commands):
    """What a registered consent document says is in the tables of enrolment and disclosure with it (BPPC, ITI TF-3 5.1)."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        command = cls.server.command
        command("facility", "add", "Hospital A")
        command("facility", "add", "Hospital B")
        command("authority", "add", "1.2.392.99999.2.1", "--namespace", "HOSP-A", "--facility", "Hospital A")
        command("consent-policy", "add", ENROLS, "--name", "参加", "--decision", "enroll")
        command("consent-policy", "add", SHARES, "--name", "共有", "--decision", "enroll")
        command("consent-policy", "add", REFUSES, "--name", "不参加", "--decision", "withdraw")
        cls.server.wait_until_refreshed()
        cls.people = cls.import_people(*(f"P{n}" for n in (1, 2, 3, 4, 5, 6, 7, 9, 10)))
        for level, rule in (("download", "--permit"), ("view", "--deny")):
            command("consent-policy", "disclose", SHARES, "--source", "Hospital A", "--reader", "Hospital B", rule, "--level", level)

    @classmethod
    def import_people(cls, *numbers):
        """{number: XAD-PID} of patients whom Hospital A has by these numbers."""
        with tempfile.NamedTemporaryFile("w", suffix=".csv", encoding="utf-8") as rows:
            rows.write("authority,identifier,family,birth_date\n" + "".join(f"HOSP-A,{n},{n},1970-01-01\n" for n in numbers))
            rows.flush()
            cls.server.command("patient", "import", rows.name)
        return {n: json.loads(cls.server.command("patient", "show", f"HOSP-A:{n}", "--json").stdout)["xad_pid"] for n in numbers}

    def cx(self, number):
        """The patient in the affinity domain, by the hospital's number or the domain's."""
        return common.patient(self.people.get(number, number))

    def found(self, number):
        """{uniqueId: entryUUID} of the patient's documents."""
        return common.find(self.soap(), self.people.get(number, number))

    def consent(self, number, *policies, validity=(None, None), replaces=None, source_patient=None):
        """Submits a consent document; gives it with the reply."""
        document = xds.Document(self.cx(number), b"<ClinicalDocument/>", "text/xml",
                                source_patient=source_patient or at_hospital(number))
        document.codes["formatCode"] = (document.codes["formatCode"][0], *BPPC)
        document.codes["classCode"] = (document.codes["classCode"][0], *ACKNOWLEDGMENT)
        document.event_codes = [(p, "1.2.392.99999.8", "policy") for p in policies]
        start, stop = validity
        document.slots = {"serviceStartTime": [start] if start else None, "serviceStopTime": [stop] if stop else None}
        links = [xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", document.id, replaces)] if replaces else []
        return document, self.soap().provide(xds.Submission(self.cx(number), [document], associations=links))

    def given(self, number, *policies, **more):
        """A consent document that is accepted."""
        document, reply = self.consent(number, *policies, **more)
        self.assert_success(reply)
        return document

    def state(self, number):
        """Whether the patient takes part, and the rules that are in force: (rule, consent document)."""
        number = self.people.get(number, number)
        person = self.run_json("patient", "show", number)
        rules = [r for r in self.run_json("disclosure", "list", "--patient", number) if r["patient"] and r["is_in_force"]]
        return person["is_enrolled"], sorted((r["rule"], r["consent_document"]) for r in rules)

    def test_a_consent_document_enrolls_and_discloses_and_its_replacement_counts(self):
        first = self.given("P1", SHARES)
        self.assertEqual(self.state("P1"), (True, [("deny", first.unique_id), ("permit", first.unique_id)]))
        uuid = self.found("P1")[first.unique_id]
        second = self.given("P1", ENROLS, replaces=uuid)
        self.assertEqual(self.state("P1"), (True, []))
        uuid = self.found("P1")[second.unique_id]
        self.given("P1", REFUSES, replaces=uuid)
        self.assertEqual(self.state("P1"), (False, []))
        found = audit_records.of_messages(self.server, f"musubi:consent/{first.unique_id}", 2)
        self.assertEqual([audit_records.codes(r)[:2] for r in found], [("110113", "110135")] * 2)

    def test_a_consent_replaced_by_another_document_ends(self):
        first = self.given("P2", SHARES)
        report = xds.Document(self.cx("P2"))
        uuid = self.found("P2")[first.unique_id]
        self.assert_success(self.soap().provide(xds.Submission(self.cx("P2"), [report], associations=[
            xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", report.id, uuid)])))
        self.assertEqual(self.state("P2"), (False, []))

    def test_a_consent_counts_as_its_newest_version_says(self):
        """New terms count at once (ITI-57), the same ones are no new decision; Deprecated it counts no more."""
        consent = self.given("P10", SHARES)
        shares = (True, [("deny", consent.unique_id), ("permit", consent.unique_id)])
        lid = self.found("P10")[consent.unique_id]
        soap = self.soap()

        def update(version):
            return soap.send("/registry", "ITI-57", common.version_xml(consent, lid, str(version)))
        self.server.command("patient", "withdraw", self.people["P10"])
        consent.title = "同意書"
        self.assert_success(update(1))
        self.assertEqual(self.state("P10"), (False, shares[1]), "the title is no decision")
        consent.event_codes = [(REFUSES, "1.2.392.99999.8", "policy")]
        self.assert_success(update(2))
        self.assertEqual(self.state("P10"), (False, []))
        consent.event_codes = [(SHARES, "1.2.392.99999.8", "policy")]
        self.assert_success(update(3))
        self.assertEqual(self.state("P10"), shares)
        consent.event_codes = [(UNKNOWN, "1.2.392.99999.8", "policy")]
        self.assertEqual(update(4).errors[0][0], "XDSRegistryMetadataError")
        approved, deprecated = (xds.STATUS + status for status in ("Approved", "Deprecated"))
        for old, new, expected in ((approved, deprecated, (False, [])), (deprecated, approved, shares)):
            latest = (self.found("P10") or common.find(soap, self.people["P10"], "Deprecated"))[consent.unique_id]
            self.assert_success(soap.send("/registry", "ITI-57", common.status_xml(self.cx("P10"), latest, old, new)))
            self.assertEqual(self.state("P10"), expected, new)

    def test_of_two_policies_one_to_withdraw_decides(self):
        self.given("P3", ENROLS, "urn:oid:" + REFUSES)
        self.assertFalse(self.state("P3")[0])

    def test_a_consent_holds_while_it_is_valid(self):
        for validity, expected in ((("20200101", None), True), (("20200101", "20200201"), False), (("20990101", None), False),
                                   (("20200101", "20990101"), True)):
            with self.subTest(validity=validity):
                document = self.given("P4", SHARES, validity=validity)
                enrolled, rules = self.state("P4")
                self.assertEqual(enrolled, expected)
                self.assertEqual(("permit", document.unique_id) in rules, expected)
                self.server.command("patient", "withdraw", self.people["P4"])

    def test_a_consent_of_unknown_policy_is_refused_and_changes_nothing(self):
        for policies, text in (((UNKNOWN,), f"of policy {UNKNOWN}, which is not known here"), ((), "without a policy"),
                               ((ENROLS, UNKNOWN), "musubi consent-policy add")):
            with self.subTest(policies=policies):
                _, reply = self.consent("P5", *policies)
                self.assertEqual((reply.outcome, reply.errors[0][0]), ("Failure", "XDSRegistryMetadataError"), reply.errors)
                self.assertIn(text, reply.errors[0][1])
        self.assertEqual((self.state("P5"), self.found("P5")), ((False, []), {}))

    def test_a_consent_needs_a_number_by_which_its_patient_is_known(self):
        """Whoever knows a patientId alone decides nothing for the patient."""
        for number in (self.cx("P5"), at_hospital("NOBODY"), "P5^^^&1.2.392.99999.2.77&ISO", at_hospital("P4")):
            with self.subTest(number=number):
                document, reply = self.consent("P5", SHARES, source_patient=number)
                self.assertEqual((reply.outcome, reply.errors[-1][0]), ("Failure", "XDSRegistryMetadataError"), reply.errors)
                self.assertIn("send the number that the patient has at your facility", reply.errors[-1][1])
                self.assertEqual(audit_records.of_messages(self.server, f"musubi:consent/{document.unique_id}", 0), [])
        self.assertEqual((self.state("P5"), self.found("P5")), ((False, []), {}))

    def test_a_consent_that_is_over_changes_nothing(self):
        """A form of years ago, registered late: the decision of today stands."""
        current = self.given("P9", ENROLS, validity=("20200101", None))
        self.given("P9", SHARES, validity=("20190101", "20200101"))
        self.assertEqual(self.state("P9")[0], True)
        uuid = self.found("P9")[current.unique_id]
        self.given("P9", SHARES, validity=("20190101", "20200101"), replaces=uuid)
        self.assertEqual(self.state("P9")[0], False, "what is replaced has ended")

    def test_nobody_ends_a_consent_through_a_document_of_the_same_unique_id(self):
        """Who registers the same uniqueId for somebody else, and replaces that, says nothing of the first patient."""
        consent = self.given("P6", SHARES)
        everything = (True, [("deny", consent.unique_id), ("permit", consent.unique_id)])
        for number, fields in (("P7", {"source_patient": at_hospital("P7")}), ("P6", {})):
            with self.subTest(number=number, fields=fields):
                copy = xds.Document(self.cx(number), consent.content, "text/xml", unique_id=consent.unique_id, **fields)
                reply = self.soap().provide(xds.Submission(self.cx(number), [copy]))
                self.assertEqual((reply.outcome, [e[0] for e in reply.errors]), ("Failure", ["XDSRegistryMetadataError"]))
                self.assertIn("a uniqueId of its own", reply.errors[0][1])
        copy = xds.Document(self.cx("P6"), consent.content, "text/xml", unique_id=consent.unique_id,
                            source_patient=at_hospital("P6"))
        self.assert_success(self.soap().provide(xds.Submission(self.cx("P6"), [copy])))
        self.assertEqual(self.state("P6"), everything)
        report = xds.Document(self.cx("P7"), b"<ClinicalDocument/>", "text/xml")
        self.assert_success(self.soap().provide(xds.Submission(self.cx("P7"), [report])))
        report.patient, report.codes["formatCode"] = self.cx("P6"), (report.codes["formatCode"][0], *BPPC)
        report.codes["classCode"] = (report.codes["classCode"][0], *ACKNOWLEDGMENT)
        report.event_codes, report.source_patient = [(ENROLS, "1.2.392.99999.8", "policy")], at_hospital("P6")
        reply = self.soap().provide(xds.Submission(self.cx("P6"), [report]))
        self.assertEqual((reply.outcome, reply.errors[0][0]), ("Failure", "XDSRegistryMetadataError"))
        self.assertIn("a uniqueId of its own", reply.errors[0][1])

    def test_an_operators_decision_by_a_document_does_not_follow_another_patients_document(self):
        """--document names what the registry may not hold; whoever registers that uniqueId decides nothing by it."""
        rows = "HOSP-A,601,佐藤,1970-01-01\nHOSP-A,602,高橋,1980-02-02\n"
        self.server.command("patient", "import", self.csv("authority,identifier,family,birth_date\n" + rows))
        one, other = (self.run_json("patient", "show", f"HOSP-A:{n}")["xad_pid"] for n in (601, 602))
        document = xds.Document(self.cx(one), source_patient=at_hospital("601"))
        self.server.command("patient", "enroll", "P8", "--document", document.unique_id)
        self.assert_success(self.soap().provide(xds.Submission(self.cx(one), [document])))
        self.server.command("patient", "link", "HOSP-A:602", "HOSP-A:601")
        self.assertEqual([self.state(n)[0] for n in ("P8", one, other)], [True, False, False])
        uuid = self.found(other)[document.unique_id]
        new = xds.Document(self.cx(other), source_patient=at_hospital("601"))
        self.assert_success(self.soap().provide(xds.Submission(self.cx(other), [new], associations=[
            xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", new.id, uuid)])))
        self.assertEqual([self.state(n)[0] for n in ("P8", one, other)], [True, False, False])

    def test_what_a_consent_says_moves_with_its_document_and_back(self):
        rows = "HOSP-A,501,山田,1970-01-01\nHOSP-A,502,鈴木,1980-02-02\n"
        self.server.command("patient", "import", self.csv("authority,identifier,family,birth_date\n" + rows))
        one, other = (self.run_json("patient", "show", f"HOSP-A:{n}")["xad_pid"] for n in (501, 502))
        document = self.given(one, SHARES, source_patient=at_hospital("501"))
        everything = (True, [("deny", document.unique_id), ("permit", document.unique_id)])
        self.assertEqual((self.state(one), self.state(other)), (everything, (False, [])))
        self.server.command("patient", "link", "HOSP-A:502", "HOSP-A:501")
        self.assertEqual((self.state(one), self.state(other)), ((False, []), everything))
        link = self.run_json("patient", "show", "HOSP-A:501")["links"][-1]["id"]
        self.server.command("patient", "undo", link)
        self.assertEqual((self.state(one), self.state(other)), (everything, (False, [])))


class Endpoints(Commands):
    """musubi node endpoint: where messages for a node may be sent."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("facility", "add", "Hospital A")
        cls.server.command("node", "add", "gateway-a", "--facility", "Hospital A", "--transactions", "ITI-18",
                           "--fingerprint", "ab" * 32)

    def test_an_endpoint_is_added_changed_listed_and_removed_and_each_is_on_record(self):
        url = "https://gw.example:8443/async"
        self.server.command("node", "endpoint", "add", "gateway-a", url)
        self.server.command("node", "endpoint", "add", "gateway-a", url, "--fingerprint", "AB:" * 31 + "AB")
        expected = [{"node": "gateway-a", "url": url, "fingerprint": "ab" * 32}]
        self.assertEqual(self.run_json("node", "endpoint", "list"), expected)
        self.assertEqual(self.run_json("node", "endpoint", "list", "gateway-a"), expected)
        self.assertEqual(self.run_json("node", "endpoint", "list", "gateway-b"), [])
        self.assertIn(url, self.server.command("node", "endpoint", "list").stdout)
        text = self.server.command("node", "endpoint", "remove", "gateway-a", url, "--lang", "ja").stdout
        self.assertIn("送信しません", text)
        self.assertEqual(self.server.command("node", "endpoint", "remove", "gateway-a", url, check=False).returncode, 1)
        self.assertEqual(self.run_json("node", "endpoint", "list"), [])
        found = audit_records.of_messages(self.server, "gateway-a@", 4)
        texts = [base64.b64decode(v).decode() for r in found for v in r.xpath("//ParticipantObjectDetail/@value")]
        self.assertEqual(len([t for t in texts if "add endpoint" in t]), 2, texts)
        self.assertEqual(len([t for t in texts if "remove endpoint" in t]), 1, texts)

    def test_what_is_wrong_is_told(self):
        for arguments, text in ((("gateway-a", "http://gw.example/async"), "it has to be https"),
                                (("gateway-a", "https://user@gw.example/async"), "without user name"),
                                (("gateway-b", "https://gw.example/async"), "there is no registered node"),
                                (("gateway-a", "https://gw.example/", "--fingerprint", "ab"), "64 hexadecimal digits"),
                                (("gateway-a",), "endpoint add NAME URL")):
            with self.subTest(arguments=arguments):
                self.assertIn(text, self.refused("node", "endpoint", "add", *arguments))
