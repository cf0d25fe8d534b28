"""Images in mode enforce, with TLS everywhere (DESIGN.md section 6 and 8): who may associate, whose images an answer holds, what a
disclosure shows, that denied looks like absent, and that every request is on record."""

import collections
import dataclasses
import json
import re
import tempfile
import unittest

from tests.harness import dicom, dimse, saml
from tests.harness.waiting import becomes
from tests.integration import audit_records, imaging_region as region, test_xua
from tests.integration.imaging_region import HOSPITALS, ORIGINALS, SURFACES, VIEWS, Picture, marks, masked, nowhere

IMAGES = "IMAGES^^1.3.6.1.4.1.19376.1.2.6.1"
NORMAL = "N^^2.16.840.1.113883.5.25"
KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"
PHYSICIAN = ("112247003", "2.16.840.1.113883.6.96")
BREAK_GLASS = ("BTG", "2.16.840.1.113883.5.8", "break the glass", "found unconscious")
VERIFICATION = [(dimse.VERIFICATION, [dimse.IMPLICIT])]
WRONG_CALLED, WRONG_CALLING, NO_REASON = "rejected 00010107", "rejected 00010103", "rejected 00010101"
numbers = iter(range(1000, 10000))


def number():
    """A PatientID that no other test uses."""
    return f"PID{next(numbers)}X"


def setUpModule():  # pylint: disable=invalid-name
    """One server and three hospitals for all tests."""
    Rules.place = region.Place()
    unittest.addModuleCleanup(Rules.place.close)
    Rules.place.start()


class Rules(unittest.TestCase):
    """What the tests have in common."""

    place = None

    @classmethod
    def setUpClass(cls):
        cls.server = cls.place.server
        cls.a, cls.b, cls.c = (cls.place.reader(name) for name in ("pacs-a", "pacs-b", "viewer-c"))

    # ---- what tests are made of

    def store(self, *pictures):
        """Each by the PACS of its hospital."""
        for picture in pictures:
            self.assertEqual(self.place.reader(f"pacs-{picture.hospital}").store(picture), [0])

    def study(self, hospital="a", *disclosures, patient=None, **fields):
        """A study of a patient who takes part."""
        patient = patient or number()
        self.place.feed(hospital, patient)
        self.place.enroll(hospital, patient, *disclosures)
        picture = Picture(hospital, patient, **fields)
        self.store(picture)
        return self.complete(picture)

    def complete(self, picture):
        """With the address of its bulk data, as its own hospital is told."""
        picture.bulk = self.place.reader(f"pacs-{picture.hospital}").bulk(picture)
        return picture

    def shown(self, reader, picture, surfaces=SURFACES):
        """Whose images each surface shows."""
        return {name: "".join(sorted(marks(ask(reader, picture)))) for name, ask in surfaces.items()}

    def assert_shown(self, reader, picture, expected, surfaces=SURFACES):
        """Every surface shows these hospitals' images, and musubi why foretells it."""
        if surfaces is SURFACES or surfaces is ORIGINALS:
            self.assertEqual(self.why(reader, picture)["is_permitted"], expected != "")
        self.assertEqual({name: found for name, found in self.shown(reader, picture, surfaces).items() if found != expected}, {})

    def assert_like_nothing(self, reader, picture, surfaces=SURFACES):
        """Every answer is that about what is not there; only the operator learns by musubi why what is."""
        if surfaces is SURFACES:
            self.assertFalse(self.why(reader, picture)["is_permitted"])
        other = nowhere(picture)
        for name, ask in surfaces.items():
            with self.subTest(surface=name, reader=reader.name):
                self.assertEqual(masked(ask(reader, picture), picture), masked(ask(reader, other), other))

    def why(self, reader, picture, *arguments):
        """What musubi why says of the study; the exit status agrees."""
        result = self.server.command("why", "--node", reader.name, "--study", picture.study, *arguments, "--json", check=False)
        answer = json.loads(result.stdout)
        self.assertEqual(result.returncode, 0 if answer["is_permitted"] else 1, result.stderr)
        return answer

    def lines(self, before, pattern):
        """The first such line of the log behind what was there before, once it is there."""
        found = becomes(lambda: re.search(f"^.*{pattern}.*\n", self.server.log()[before:], re.M))
        return found and found[0]


class Associations(Rules):
    """Who may associate (PS3.8 9.3.4, PS3.15 B.1), and what then."""

    def rejection(self, name, **how):
        """How the server rejects an association."""
        with self.assertRaises(dimse.Ended) as caught:
            self.place.reader(name).associate(VERIFICATION, **how).close()
        return str(caught.exception)

    def test_associations_are_rejected_with_their_reason_a_line_and_a_record(self):
        cases = (
            ("another called title", "pacs-a", {"called": "OTHER"}, WRONG_CALLED, "called-ae", "called AE title is not that of this server"),
            ("an AE of another node", "pacs-a", {"calling": "PACS_B"}, WRONG_CALLING, "calling-ae", "calling AE title is not registered for this node"),
            ("an AE of another node of its hospital", "pacs-a", {"calling": "STORER_A"}, WRONG_CALLING, "calling-ae", "not registered for this node"),
            ("an unknown AE", "pacs-a", {"calling": "NOBODY"}, WRONG_CALLING, "calling-ae", "not registered for this node"),
            ("no right", "documents-a", {}, NO_REASON, "rights", "may use none of RAD-8"),
        )
        for what, name, how, expected, word, text in cases:
            with self.subTest(what):
                before, records = len(self.server.log()), self.place.records()
                self.assertEqual(self.rejection(name, **how), expected)
                self.assertTrue(self.lines(before, f'tx=DICOM .* node="{name}" .* check={word} '), self.server.log()[before:])
                found = self.place.records(records, 1)
                self.assertEqual([audit_records.codes(r)[::3] for r in found], [("110113", "8")])
                self.assertIn(f' UserName="{name}" ', audit_records.text(found[0]))
                self.assertIn(text, audit_records.outcome_text(found[0]))
        self.assertEqual(self.place.tool("echoscu")[0], 0)

    def test_peers_that_are_no_nodes_get_no_association(self):
        """By the certificate; the line names the reason, the record the address."""
        for node, with_certificate, reason in (("pacs-a", False, "no-certificate"), ("stranger", True, "unregistered"),
                                               ("gone-a", True, "unregistered"), ("revoked-a", True, "revoked")):
            with self.subTest(node=node, reason=reason):
                before, records = len(self.server.log()), self.place.records()
                code, text = self.place.tool("echoscu", node=node, with_certificate=with_certificate)
                self.assertNotEqual(code, 0, text)
                self.assertNotIn("Association Accepted", text)
                line = self.lines(before, f'msg="peer refused" endpoint="[^"]*:{self.place.port}[/"].* reason={reason} ')
                self.assertTrue(line, self.server.log()[before:])
                self.assertIn("127.0.0.1", audit_records.text(self.place.records(records, 1)[0]))
        code, text = self.place.tool("echoscu")
        self.assertEqual(code, 0, text)

    def test_a_node_that_is_revoked_loses_the_association_that_stands(self):
        name = "leaver-a"
        self.place.add_node(name, "a", "*", "LEAVER_A")
        association = self.place.reader(name).associate([(dimse.FIND["S"], [dimse.IMPLICIT])])
        self.addCleanup(association.close)
        keys = {region.LEVEL: "STUDY", region.STUDY: "1.2.3"}
        self.assertEqual(association.find(keys), (0, []))
        before = len(self.server.log())
        self.server.command("node", "revoke", name)
        self.server.wait_until_refreshed()
        with self.assertRaises((dimse.Ended, OSError)):
            association.find(keys)
        self.assertTrue(self.lines(before, 'msg="peer refused" .* reason=unregistered .*not any more'), self.server.log()[before:])

    def test_each_request_needs_its_right(self):
        """RAD-8 stores, RAD-14 finds, RAD-16 fetches; otherwise 0124H, a line and a record of refused use."""
        picture = self.study()
        rights = {"storer-a": {"C-STORE"}, "finder-a": {"C-FIND"}, "fetcher-a": {"C-GET", "C-MOVE"},
                  "pacs-a": {"C-STORE", "C-FIND", "C-GET", "C-MOVE"}}
        for name, allowed in rights.items():
            reader = self.place.reader(name)
            destination = "TO_PACS_A" if "C-MOVE" in allowed else "NOBODY"  # who may not is not told who is registered
            asks = {"C-STORE": lambda r=reader: r.store(Picture("a", picture.patient))[0],
                    "C-FIND": lambda r=reader: int(r.find({region.LEVEL: "STUDY", region.STUDY: picture.study})[:4], 16),
                    "C-GET": lambda r=reader: r.status({region.LEVEL: "STUDY", region.STUDY: picture.study}),
                    "C-MOVE": lambda r=reader, d=destination: r.status({region.LEVEL: "STUDY", region.STUDY: picture.study}, d)}
            for service, ask in asks.items():
                with self.subTest(node=name, service=service):
                    before, records = len(self.server.log()), self.place.records()
                    self.assertEqual(ask(), 0 if service in allowed else 0x0124)
                    if service not in allowed:
                        self.assertTrue(self.lines(before, f'tx=RAD-.* node="{name}" .* check=rights '), self.server.log()[before:])
                        found = self.place.records(records, 1)
                        self.assertIn(("110113", "8"), [audit_records.codes(r)[::3] for r in found])

    def test_dcmtk_stores_and_finds_over_tls(self):
        """storescu and findscu with a certificate (its other programs know no TLS); the bytes come back as they went."""
        picture = Picture("a", self.study().patient)
        with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
            file.write(picture.file())
            file.flush()
            code, text = self.place.tool("storescu", file.name)
        self.assertEqual(code, 0, text)
        code, text = self.place.tool("findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={picture.study}",
                                     "-k", "StudyDescription")
        self.assertEqual(code, 0, text)
        self.assertIn("MARK-a", text)
        self.a.retrieve({region.LEVEL: "STUDY", region.STUDY: picture.study}, destination="TO_PACS_A")
        self.assertEqual(self.a.receiver.instances[-1][3], picture.data_set())


class Mixing(Rules):
    """Equal numbers, equal UIDs, altered headers: nothing of one person is in an answer about another."""

    BOTH = (("a", "c", "download"), ("b", "c", "download"))

    def test_equal_numbers_of_two_hospitals_are_two_patients(self):
        """PatientID without issuer is in the domain of who asks, with issuer in that one; an XAD-PID is across hospitals."""
        patient = number()
        of_a, of_b = (self.study(hospital, *self.BOTH, patient=patient) for hospital in "ab")
        for reader, picture, expected in ((self.a, of_a, "a"), (self.b, of_b, "b"), (self.c, of_a, ""), (self.c, of_b, "")):
            self.assert_shown(reader, picture, expected, region.by_patient())
        for reader, picture in ((self.a, of_b), (self.b, of_a)):  # the number of the one, the study of the other
            self.assert_shown(reader, picture, "", {name: ask for name, ask in region.by_patient().items() if name.endswith("T study")})
        for hospital, picture in (("a", of_a), ("b", of_b)):
            for issuer in (HOSPITALS[hospital], f"H{hospital.upper()}"):
                self.assert_shown(self.c, picture, hospital, region.by_patient(issuer))
        self.assert_shown(self.a, of_b, "", region.by_patient(HOSPITALS["b"]))
        for hospital, picture in (("a", of_a), ("b", of_b)):
            by_xad_pid = dataclasses.replace(picture, patient=self.place.xad_pid(hospital, patient))
            self.assert_shown(self.c, by_xad_pid, hospital, region.by_patient())

    def test_whom_a_hospital_knows_by_a_number_is_told_as_by_the_pix_manager(self):
        """C may see A's images of the person, and not that B has a number for him, until B's data are disclosed too."""
        of_a = self.study("a", ("a", "c", "download"))
        at_b = dataclasses.replace(of_a, patient=number())
        self.place.feed("b", at_b.patient)
        self.server.command("patient", "link", f"HA:{of_a.patient}", f"HB:{at_b.patient}")
        self.assert_shown(self.c, at_b, "", region.by_patient("HB"))
        self.assert_shown(self.c, of_a, "a", region.by_patient("HA"))
        self.assert_shown(self.a, of_a, "a", region.by_patient())
        self.place.disclose("a", of_a.patient, "b", "c", "view")
        self.assert_shown(self.c, at_b, "a", region.by_patient("HB"))

    def copies(self, second=None):
        """One study of two hospitals, for two persons, by the same UIDs; B's copy has an image more."""
        of_a = self.study("a", *self.BOTH)
        of_b = self.study("b", *self.BOTH, patient=second, study=of_a.study, series=of_a.series, uid=of_a.uid)
        return of_a, of_b

    def test_copies_of_different_persons_are_not_given_out_together(self):
        """Each hospital has its own, who may see both has none, and the operator sees it."""
        of_a, of_b = self.copies()
        self.assert_shown(self.a, of_a, "a")
        self.assert_shown(self.b, of_b, "b")
        self.assert_shown(self.c, of_a, "")
        self.assert_like_nothing(self.c, of_a)
        self.assertEqual(self.server.command("study", "conflicts", check=False).stdout.count(of_a.study), 2)

    def test_a_copy_that_may_be_seen_keeps_back_one_that_may_be_fetched(self):
        """Different persons are different at every level of disclosure."""
        of_a = self.study("a", ("a", "c", "download"))
        self.study("b", ("b", "c", "view"), study=of_a.study, series=of_a.series, uid=of_a.uid)
        self.assert_like_nothing(self.c, of_a)

    def test_a_copy_that_may_not_be_seen_changes_nothing(self):
        """Who knows UIDs of another hospital takes nothing away by sending them, and is not told of."""
        of_a = self.study("a", ("a", "c", "download"))
        self.study("b", study=of_a.study, series=of_a.series, uid=of_a.uid)
        self.assert_shown(self.c, of_a, "a")

    def test_an_altered_header_of_an_imported_disc_mixes_nobody(self):
        """Hospital B files the images of A's patient under the number of another one, which A uses for somebody else too."""
        of_a = self.study("a", *self.BOTH)
        of_b = self.study("b", *self.BOTH, study=of_a.study, series=of_a.series, uid=of_a.uid)
        of_other = self.study("a", *self.BOTH, patient=of_b.patient)
        self.assert_shown(self.a, of_a, "a", region.by_patient())
        self.assert_shown(self.a, of_other, "a", region.by_patient())
        self.assert_shown(self.b, of_b, "b", region.by_patient())
        for surfaces in (region.by_patient(HOSPITALS["b"]), SURFACES):
            self.assert_shown(self.c, of_b, "", surfaces)

    def test_copies_of_one_person_are_one_study_until_the_link_is_undone(self):
        of_a, of_b = self.copies()
        more = Picture("b", of_b.patient, study=of_b.study, series=of_b.series)
        further = Picture("b", of_b.patient, study=of_b.study)
        self.store(more, further)
        self.server.command("patient", "link", f"HA:{of_a.patient}", f"HB:{of_b.patient}")
        one = {name: SURFACES[name] for name in ("metadata", "WADO-RS instance", "frames", "C-GET image", "C-MOVE image", "RAD-69")}
        self.assert_shown(self.c, more, "b", one)
        self.assert_shown(self.c, of_a, "a", one)
        self.assert_union(of_a, {of_a.uid, more.uid, further.uid}, {of_a.series, further.series})
        self.assertNotIn(of_a.study, self.server.command("study", "conflicts", check=False).stdout)
        shown = json.loads(self.server.command("patient", "show", f"HB:{of_b.patient}", "--json").stdout)
        self.server.command("patient", "undo", shown["links"][-1]["id"])
        self.assert_like_nothing(self.c, of_a)
        self.assert_shown(self.a, of_a, "a")
        self.assert_shown(self.b, of_b, "b")

    def assert_union(self, picture, uids, series):
        """The study has these instances and series, each once, whoever is asked."""
        answers = {
            "C-FIND": self.c.matches({region.LEVEL: "IMAGE", region.STUDY: picture.study, region.SERIES: "", region.INSTANCE: ""},
                                     region.INSTANCE),
            "QIDO": self.c.json(f"/dicomweb/studies/{picture.study}/instances", "00080018"),
            "metadata": self.c.json(f"/dicomweb/studies/{picture.study}/metadata", "00080018"),
            "C-GET": self.c.fetched({region.LEVEL: "STUDY", region.STUDY: picture.study}),
            "C-MOVE": self.c.fetched({region.LEVEL: "STUDY", region.STUDY: picture.study}, f"TO_{self.c.title}"),
        }
        self.assertEqual(answers, {name: sorted(uids) for name in answers})
        answers = {
            "C-FIND": self.c.matches({region.LEVEL: "SERIES", region.STUDY: picture.study, region.SERIES: ""}, region.SERIES),
            "QIDO": self.c.json(f"/dicomweb/studies/{picture.study}/series", "0020000E"),
        }
        self.assertEqual(answers, {name: sorted(series) for name in answers})
        self.assertEqual(self.c.json(f"/dicomweb/studies?StudyInstanceUID={picture.study}", "00201208"), [len(uids)])
        self.assertEqual(self.c.json(f"/dicomweb/studies?StudyInstanceUID={picture.study}", "00201206"), [len(series)])
        self.assertEqual(sorted(self.c.json(f"/dicomweb/studies/{picture.study}/series?includefield=all", "00201209")), [1, len(uids) - 1])


class Disclosed(Rules):
    """What a disclosure shows (DESIGN.md section 6), and that denied looks like absent."""

    def test_nothing_shows_before_enrolment_and_everything_it_permits_afterwards(self):
        """View: that it exists, metadata, pictures. Download: the original too. A withdrawal counts with the next request."""
        patient = number()
        self.place.feed("a", patient)
        picture = Picture("a", patient)
        self.store(picture)
        for reader in (self.a, self.b, self.c):
            self.assert_like_nothing(reader, picture)
        self.place.enroll("a", patient)
        self.assert_shown(self.a, self.complete(picture), "a")
        self.assert_like_nothing(self.c, picture)
        self.place.disclose("a", patient, "a", "c", "view")
        self.assert_shown(self.c, picture, "a", VIEWS)
        self.assert_like_nothing(self.c, picture, ORIGINALS)
        self.place.disclose("a", patient, "a", "c", "download")
        self.assert_shown(self.c, picture, "a")
        self.assert_like_nothing(self.b, picture)
        self.server.command("patient", "withdraw", f"HA:{patient}")
        for reader in (self.a, self.c):
            self.assert_shown(reader, picture, "")
            self.assert_like_nothing(reader, picture)

    def test_class_period_and_confidentiality_count(self):
        """The time of a study is its StudyDate and StudyTime in the zone of its source: 08:30 in Japan is the day before in UTC."""
        cases = (
            ((), "a"), (("--classes", IMAGES), "a"), (("--classes", "REPORTS^^1.3.6.1.4.1.19376.1.2.6.1"), ""),
            (("--from", "2026-01-01"), "a"), (("--from", "2026-01-06"), ""), (("--to", "2026-01-03"), ""), (("--to", "2026-01-05"), "a"),
        )
        sample = {name: SURFACES[name] for name in ("C-FIND study", "QIDO instances", "metadata", "rendered", "WADO-RS study", "frames",
                                                    "C-GET study", "C-MOVE study", "RAD-69")}
        for further, expected in cases:
            with self.subTest(further=further):
                picture = self.study("a", ("a", "c", "download", *further))
                if "--classes" in further:
                    self.server.wait_until_refreshed()  # the code of images is looked up with them
                self.assert_shown(self.c, picture, expected, sample)
        picture = self.study("a", ("a", "c", "download"))
        self.server.command("role", "forbid", "node", NORMAL)
        try:
            self.assert_shown(self.c, picture, "")
            self.assert_like_nothing(self.c, picture)
        finally:
            self.server.command("role", "permit", "node", NORMAL)
        self.assert_shown(self.c, picture, "a")

    def test_glass_is_broken_by_an_assertion_alone(self):
        """A declared emergency in a SOAP message (RAD-69): served, with a notice; DICOM and DICOMweb know no such thing."""
        picture = self.study("a")
        provider = saml.IdentityProvider()
        test_xua.register(self.server, provider)
        self.server.command("role", "code", "physician", "^^".join(PHYSICIAN))
        statement = "<saml:AttributeStatement>" + saml.attribute(
            "urn:oasis:names:tc:xacml:2.0:subject:role", saml.coded("Role", *PHYSICIAN, "physician")) + saml.attribute(
            "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse", saml.coded("PurposeOfUse", *BREAK_GLASS)) + "</saml:AttributeStatement>"
        self.assert_shown(self.c, picture, "")
        records = self.place.records()
        answer = self.c.retrieve_images(picture, saml.security(provider.assertion(attributes=statement)))
        self.assertEqual(marks(answer), {"a"})
        notices = json.loads(self.server.command("disclosure", "notices", "--json", check=False).stdout)
        self.assertEqual([(n["node"], n["user"], n["reason"]) for n in notices], [("viewer-c", "tanaka", "found unconscious")])
        self.assertIn("110127", [r.xpath("string(EventIdentification/EventTypeCode/@csd-code)") for r in self.place.records(records, 2)])
        self.assert_shown(self.c, picture, "")

    def test_moved_images_must_be_disclosed_to_where_they_go(self):
        """Who asks may have them, the node of the AE may not: failed, nothing sent."""
        picture = self.study("a")
        before, records = len(self.c.receiver.instances), self.place.records()
        status = self.a.status({region.LEVEL: "STUDY", region.STUDY: picture.study}, f"TO_{self.c.title}")
        self.assertEqual((status, len(self.c.receiver.instances)), (0xA702, before))
        found = self.place.records(records, 1)
        self.assertEqual([audit_records.codes(r)[::3] for r in found], [("110104", "8")])
        self.assertEqual(audit_records.ids(found[0], "2/3"), [picture.study])


class Waiting(Rules):
    """Studies of patients that are not known yet."""

    def waiting(self):
        """musubi study waiting"""
        return self.server.command("study", "waiting", check=False).stdout

    def test_a_study_waits_for_its_patient(self):
        picture = Picture("a", number())
        self.store(picture)
        self.assertIn(picture.study, self.waiting())
        for reader in (self.a, self.c):
            self.assert_like_nothing(reader, picture)
            self.assert_shown(reader, picture, "", region.by_patient(HOSPITALS["a"]))
        self.place.feed("a", picture.patient)
        self.place.enroll("a", picture.patient)
        self.assert_shown(self.a, self.complete(picture), "a")
        self.assertNotIn(picture.study, self.waiting())

    def test_an_issuer_that_the_node_may_not_use_is_passed_over(self):
        """A names B's domain: the number is one of A's, and B's patient of that number has nothing."""
        patient = number()
        of_b = self.study("b", ("b", "c", "download"), patient=patient)
        of_a = self.study("a", ("a", "c", "download"), patient=patient, issuer="HB")
        self.assertIn("issuer-refused", self.server.command("study", "show", of_a.study).stdout)
        self.assert_shown(self.a, of_a, "a", region.by_patient())
        self.assert_shown(self.c, of_b, "b", region.by_patient(HOSPITALS["b"]))
        self.assert_shown(self.c, of_a, "a", region.by_patient(HOSPITALS["a"]))


class Why(Rules):
    """musubi why --study: what decides about each copy. That it agrees with every surface, assert_shown() looks at."""

    def reasons(self, reader, picture, *arguments):
        """Of each copy: its hospital, and the reasons by question."""
        copies = self.why(reader, picture, *arguments)["copies"]
        return {copy["facility"]: {d["question"]: d["reason"] for d in copy.get("decisions_on_access", [])} for copy in copies}

    def text(self, reader, picture, *arguments):
        """As an operator reads it."""
        return self.server.command("why", "--node", reader.name, "--study", picture.study, *arguments, check=False).stdout

    def test_it_names_the_rule_the_level_and_the_command_that_changes_it(self):
        of_a = self.study("a", ("a", "c", "view"))
        self.assertEqual(self.reasons(self.c, of_a), {"hospital-a": {"list": "DISCLOSED", "view": "DISCLOSED", "download": "NOT_DISCLOSED"}})
        text = self.text(self.c, of_a)
        self.assertIn("permits view of every class, from hospital-a to hospital-c", text)
        self.assertIn("to change that: musubi disclosure add", text)
        self.assertIn(f"class      {IMAGES}", text)
        self.assertEqual(self.reasons(self.a, of_a)["hospital-a"]["download"], "OWN_DOCUMENT")
        self.server.command("patient", "withdraw", f"HA:{of_a.patient}")
        self.assertEqual(self.reasons(self.a, of_a)["hospital-a"]["list"], "NOT_ENROLLED")

    def test_a_code_that_no_role_may_see_is_named(self):
        of_a = self.study("a", ("a", "c", "download"))
        self.server.command("role", "forbid", "node", NORMAL)
        self.addCleanup(self.server.command, "role", "permit", "node", NORMAL)
        self.assertEqual(self.reasons(self.c, of_a)["hospital-a"]["list"], "CONFIDENTIALITY")
        self.assertIn(f"code: {NORMAL}", self.text(self.c, of_a))

    def test_a_right_that_the_node_has_not_is_named(self):
        of_a = self.study("a")
        answer = self.why(self.place.reader("finder-a"), of_a)
        self.assertEqual([d["is_permitted"] for d in answer["copies"][0]["decisions_on_access"]], [True, False, False])
        self.assertIn("the node may not use RAD-69, RAD-107, RAD-16, RAD-55", self.text(self.place.reader("finder-a"), of_a))

    def test_copies_of_several_persons_are_told_apart(self):
        of_a = self.study("a", ("a", "c", "download"))
        of_b = self.study("b", ("b", "c", "download"), study=of_a.study, series=of_a.series, uid=of_a.uid)
        self.assertTrue(self.why(self.c, of_a)["object"]["is_conflict"])
        self.assertIn("copies of it are of several persons", self.text(self.c, of_a))
        self.assertFalse(self.why(self.a, of_a)["object"]["is_conflict"])
        self.assertEqual([copy["patient"].partition("^")[0] for copy in self.why(self.a, of_a)["copies"]], [of_a.patient, of_b.patient])

    def test_what_waits_and_what_is_not_there(self):
        waiting = Picture("a", number())
        self.store(waiting)
        answer = self.why(self.a, waiting)
        self.assertEqual([copy["is_waiting"] for copy in answer["copies"]], [True])
        self.assertIn("the patient is unknown: it waits for the feed", self.text(self.a, waiting))
        self.assertIn("患者が未登録です", self.text(self.a, waiting, "--lang", "ja"))
        self.assertFalse(self.why(self.a, nowhere(waiting))["object"]["is_known"])
        self.assertIn("no study with this UID is kept here", self.text(self.a, nowhere(waiting)))

    def test_a_node_of_images_is_tested_for_images(self):
        """musubi node test: no fault that it may not do what only nodes of documents do."""
        text = self.server.command("node", "test", "storer-a", check=False).stdout
        self.assertRegex(text, r"OK +RAD-8 +allowed")
        self.assertRegex(text, r"OK +AE titles +STORER_A\n")
        self.assertNotIn("ITI-41", text)
        self.place.add_node("nameless-a", "a", "RAD-8", "NAMELESS_A")
        self.server.command("ae", "remove", "NAMELESS_A", "--node", "nameless-a")
        text = self.server.command("node", "test", "nameless-a", check=False).stdout
        self.assertRegex(text, r"BAD +AE titles +none; name what it calls itself: musubi ae add")

    def test_a_rejected_association_is_forgotten_once_another_was_accepted(self):
        """musubi node test: the row of associations tells the last of them."""
        def told(pattern):
            texts = []

            def is_told():  # activity is written now and then
                texts.append(self.server.command("node", "test", "finder-a", check=False).stdout)
                return re.search(pattern, texts[-1], re.M)
            becomes(is_told, pause_s=0.5)
            return texts[-1]
        with self.assertRaises(dimse.Ended):
            self.place.reader("finder-a").associate(VERIFICATION, calling="NOBODY").close()
        self.assertRegex(told(r"^BAD +DICOM "), r"(?m)^BAD +DICOM +last error")
        self.place.reader("finder-a").associate(VERIFICATION).close()
        self.assertRegex(told(r"^OK +DICOM "), r"(?m)^OK +DICOM +last success")

    def test_status_counts_what_waits(self):
        def count():
            return json.loads(self.server.command("status", "--json", check=False).stdout)["studies_waiting"]
        before = count()
        self.store(Picture("a", number()))
        self.assertEqual(count(), before + 1)

    def test_that_an_operator_looked_is_on_record(self):
        of_a = self.study("a")
        records = self.place.records()
        self.why(self.a, of_a)
        found = self.place.records(records, 1)
        self.assertTrue(any(of_a.patient in audit_records.text(record) for record in found))


class Recorded(Rules):
    """Every request leaves its audit record, and nothing of patients in the log."""

    TRANSACTIONS = {"C-FIND": "RAD-14", "QIDO": "RAD-129", "C-GET": "RAD-16", "C-MOVE": "RAD-16", "RAD-69": "RAD-69", "RAD-75": "RAD-75",
                    "WADO-URI": "RAD-55"}

    def test_every_surface_is_on_record_with_node_patient_and_study(self):
        picture = self.study("a", ("a", "c", "download"))
        xad_pid = self.place.xad_pid("a", picture.patient)
        expected = collections.Counter()
        records = self.place.records()
        for name, ask in SURFACES.items():
            transaction = next((t for start, t in self.TRANSACTIONS.items() if name.startswith(start)), "RAD-107")
            events = {"RAD-14": ["110112"], "RAD-129": ["110112"], "RAD-16": ["110102", "110104"]}.get(transaction, ["110104"])
            expected.update((event, transaction, "0") for event in events)
            self.assertEqual(marks(ask(self.c, picture)), {"a"}, name)
        found = self.place.records(records, expected.total())
        self.assertEqual(collections.Counter(audit_records.codes(r)[:2] + audit_records.codes(r)[3:] for r in found), expected)
        for record in found:
            self.assertIn("viewer-c", audit_records.text(record))
            if audit_records.codes(record)[0] == "110112":
                asked = audit_records.question(record)
                self.assertTrue(any(uid in asked for uid in (picture.study, picture.series, picture.uid)), asked)
            else:
                self.assertEqual(audit_records.ids(record, "2/3"), [picture.study])
                self.assertEqual([i.partition("^")[0] for i in audit_records.ids(record, "1/1")], [xad_pid])

    def test_a_refused_retrieval_is_on_record_without_a_patient(self):
        picture = self.study("a")
        for name in ("WADO-RS study", "frames", "rendered", "metadata", "WADO-URI file", "RAD-69", "RAD-75", "C-GET study", "C-GET image", "C-MOVE study"):
            with self.subTest(surface=name):
                records = self.place.records()
                SURFACES[name](self.c, picture)
                found = self.place.records(records, 1)
                self.assertEqual([audit_records.codes(r)[::3] for r in found], [("110104", "8")])
                self.assertEqual(audit_records.ids(found[0], "1/1"), [])
                self.assertEqual(audit_records.ids(found[0], "2/3"), [picture.study])

    def test_stored_instances_are_on_record(self):
        records = self.place.records()
        picture = self.study("a")
        found = [r for r in self.place.records(records, 4) if audit_records.codes(r)[1] == "RAD-8"]
        self.assertEqual([audit_records.codes(r)[0] for r in found], ["110102", "110104"])
        for record in found:
            self.assertEqual(audit_records.ids(record, "2/3"), [picture.study])
            self.assertIn(picture.patient, " ".join(audit_records.ids(record, "1/1")))
            self.assertIn(' UserName="pacs-a" ', audit_records.text(record))

    def test_a_rejection_is_on_record_once_with_what_it_takes_out(self):
        """Instances accessed, action D (PS3.15 A.5.3.6); the note itself is taken out too (IOCM)."""
        picture = self.study("a")

        def code(value):
            return [{0x00080100: ("SH", value), 0x00080102: ("SH", "DCM"), 0x00080104: ("LO", "Rejected")}]
        note = region.new_uid()
        data_set = dicom.data_set({
            0x00080016: ("UI", KEY_OBJECT), 0x00080018: ("UI", note), 0x00080060: ("CS", "KO"), 0x00100020: ("LO", picture.patient),
            0x0020000D: ("UI", picture.study), 0x0020000E: ("UI", region.new_uid()), 0x0040A040: ("CS", "CONTAINER"),
            0x0040A043: ("SQ", code("113037")), 0x0040A375: ("SQ", [{0x0020000D: ("UI", picture.study), 0x00081115: ("SQ", [
                {0x0020000E: ("UI", picture.series), 0x00081199: ("SQ", [
                    {0x00081150: ("UI", region.CT_IMAGE), 0x00081155: ("UI", picture.uid)}])}])}])})
        records = self.place.records()
        for _ in range(2):
            association = self.a.associate([(KEY_OBJECT, [dimse.EXPLICIT])])
            self.assertEqual(association.store(KEY_OBJECT, note, dimse.EXPLICIT, data_set), 0)
            association.release()
        self.assert_shown(self.a, picture, "")
        found = [r for r in self.place.records(records, 1) if audit_records.codes(r)[0] == "110103"]
        self.assertEqual([audit_records.codes(r) for r in found], [("110103", "RAD-66", "D", "0")])
        self.assertEqual(audit_records.ids(found[0], "2/3"), [picture.study])
        self.assertTrue(audit_records.ids(found[0], "1/1")[0].startswith(f"{picture.patient}^^^&"))
        self.assertEqual(audit_records.text(found[0]).count('NumberOfInstances="1"'), 2)

    def test_two_patients_are_two_records(self):
        one, other = (self.study("a", ("a", "c", "download")) for _ in range(2))
        records = self.place.records()
        self.c.web.retrieve_images([(p.study, p.series, region.IMAGING_UID, p.uid) for p in (one, other)], [dimse.EXPLICIT])
        found = [audit_records.ids(r, "1/1") for r in self.place.records(records, 2)]
        self.assertEqual(sorted(i.partition("^")[0] for (i,) in found),
                         sorted(self.place.xad_pid("a", p.patient) for p in (one, other)))

    def test_the_log_tells_nothing_of_patients(self):
        picture = self.study("a", ("a", "c", "view"))
        waiting = Picture("a", number())
        self.store(waiting)
        for reader in (self.a, self.c):
            for ask in (*SURFACES.values(), *region.by_patient().values(), *region.by_patient(HOSPITALS["a"]).values()):
                ask(reader, picture)
        xad_pid = self.place.xad_pid("a", picture.patient)
        log = self.server.log()
        self.assertEqual([word for word in (picture.patient, waiting.patient, "MARK-", "Kanja", xad_pid, "19600101") if word in log], [])


if __name__ == "__main__":
    unittest.main()
