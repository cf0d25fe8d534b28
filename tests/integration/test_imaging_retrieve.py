"""RAD-69: instances by study, series and SOP Instance UID (RAD TF-2 4.69)."""

import shutil
import tempfile
import unittest

from tests.harness import server as harness
from tests.harness.waiting import wait_until
from tests.integration import audit_records, common, imaging

PATIENT = "RAD69"


class ImagingRetrieve(unittest.TestCase):
    """One server with one study of two series."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="musubi-imaging-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.port = imaging.free_port()
        cls.server = cls.enterClassContext(harness.Server(settings=imaging.settings(cls.port)))
        common.feed(cls.server, PATIENT)
        cls.first = imaging.Instance(PATIENT)
        cls.second = imaging.Instance(PATIENT, study=cls.first.study)
        cls.unknown = imaging.Instance("NOBODY")
        cls.files = {i.uid: i.write(cls.folder) for i in (cls.first, cls.second, cls.unknown)}
        imaging.store(cls.port, *cls.files.values())

    def setUp(self):
        self.client = common.client(self.server)

    def ask(self, *requests, syntaxes=(imaging.EXPLICIT,), home=None):
        """RAD-69."""
        return self.client.retrieve_images(requests, syntaxes, home)

    def assert_refused(self, reply, code, location=None):
        """Failure with this code alone."""
        self.assertEqual(reply.outcome, "Failure")
        self.assertEqual({error[0] for error in reply.errors}, {code}, reply.raw)
        if location is not None:
            self.assertEqual([error[2] for error in reply.errors], [location])
        self.assertEqual(reply.documents(), {})

    def test_instances_of_several_series_come_in_their_stored_syntax(self):
        reply = self.ask(self.first.asked(), self.second.asked())
        self.assertEqual(reply.outcome, "Success", reply.raw)
        documents = reply.documents()
        self.assertEqual(set(documents), {self.first.uid, self.second.uid})
        for uid, content in documents.items():
            sent = self.files[uid].read_bytes()
            self.assertEqual(content[128:132], b"DICM")
            start = sent.find(b"\x08\x00\x16\x00UI")
            self.assertTrue(content.endswith(sent[start:]), "the data set is not the one that was sent")
        self.assertIn(b"<xds:mimeType>application/dicom</xds:mimeType>", reply.raw)
        self.assertNotIn(b"HomeCommunityId", reply.raw)
        self.assertIn(b"urn:ihe:iti:2007:RetrieveDocumentSetResponse", reply.raw)

    def test_home_community_id_is_echoed(self):
        reply = self.ask(self.first.asked(), home="urn:oid:1.2.3")
        self.assertEqual(reply.outcome, "Success")
        self.assertIn(b"<xds:HomeCommunityId>urn:oid:1.2.3</xds:HomeCommunityId>", reply.raw)

    def test_errors_of_one_instance(self):
        study, series, repository, uid = self.first.asked()
        for request, code in (
                ((study, series, "1.2.3", uid), "XDSUnknownRepositoryId"),
                ((study, series, repository, "1.2.3.4"), "XDSDocumentUniqueIdError"),
                ((study, self.second.series, repository, uid), "XDSDocumentUniqueIdError"),
                ((study + ".1", series, repository, uid), "XDSDocumentUniqueIdError"),
                (self.unknown.asked(), "XDSDocumentUniqueIdError")):
            with self.subTest(request=request):
                self.assert_refused(self.ask(request), code, request[3])

    def test_empty_uids_are_refused(self):
        study, series, repository, uid = self.first.asked()
        for request in (("", series, repository, uid), (study, "", repository, uid), ("", "", repository, uid)):
            with self.subTest(request=request):
                self.assert_refused(self.ask(request), "XDSRepositoryError")
        self.assert_refused(self.ask(self.first.asked(), syntaxes=("",)), "XDSRepositoryError")
        self.assert_refused(self.ask(self.first.asked(), syntaxes=()), "XDSRepositoryError")

    def test_syntax_that_cannot_be_made_is_an_error_of_its_instance(self):
        reply = self.ask(self.first.asked(), syntaxes=("1.2.840.10008.1.2.4.50",))
        self.assert_refused(reply, "XDSRepositoryError", self.first.uid)

    def test_stored_syntax_goes_before_others_and_else_a_listed_one_is_made(self):
        for syntaxes, uid in (((imaging.IMPLICIT,), b"1.2.840.10008.1.2\0"), (("1.2.840.10008.1.2.5", imaging.EXPLICIT), b"1.2.840.10008.1.2.1\0"),
                              (("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"), b"1.2.840.10008.1.2.5\0")):
            with self.subTest(syntaxes=syntaxes):
                reply = self.ask(self.first.asked(), self.second.asked(), syntaxes=syntaxes)
                self.assertEqual(reply.outcome, "Success", reply.errors)
                for content in reply.documents().values():
                    self.assertIn(b"\x02\x00\x10\x00UI" + len(uid).to_bytes(2, "little") + uid, content[:400])

    def test_a_listed_syntax_that_has_no_encoding_for_an_instance_is_passed_over(self):
        """Reports have no fragments, and JPEG-LS no samples of 32 bits: the next listed syntax is made."""
        report = imaging.Instance(PATIENT, tags={tag: None for tag in self.first.tags if tag.startswith(("0028", "7fe0"))},
                                  sop_class="1.2.840.10008.5.1.4.1.1.88.11", modality="SR")
        dose = imaging.Instance(PATIENT, sop_class="1.2.840.10008.5.1.4.1.1.481.2", modality="RTDOSE",
                                tags={"0028,0100": "US 32", "0028,0101": "US 32", "0028,0102": "US 31",
                                      "7fe0,0010": "OW " + "\\".join(["0102"] * 128)})
        imaging.store(self.port, *(i.write(self.folder) for i in (report, dose)))
        jpeg_ls = "1.2.840.10008.1.2.4.80"
        reply = self.ask(report.asked(), dose.asked(), syntaxes=(jpeg_ls, imaging.IMPLICIT))
        self.assertEqual((reply.outcome, set(reply.documents())), ("Success", {report.uid, dose.uid}), reply.errors)
        self.assert_refused(self.ask(report.asked(), dose.asked(), syntaxes=(jpeg_ls,)), "XDSRepositoryError")

    def test_what_can_be_given_is_given(self):
        study, series, repository, _ = self.first.asked()
        reply = self.ask(self.first.asked(), (study, series, repository, "1.2.3.4"), (study, series, "1.9", "1.2.3.5"))
        self.assertEqual(reply.outcome, "PartialSuccess")
        self.assertEqual(set(reply.documents()), {self.first.uid})
        self.assertEqual(sorted(error[2] for error in reply.errors), ["1.2.3.4", "1.2.3.5"])

    def test_transfer_is_recorded_with_patient_and_study(self):
        number = f"{PATIENT}A"
        common.feed(self.server, number)
        instances = [imaging.Instance(number) for _ in range(2)]
        imaging.store(self.port, *(i.write(self.folder) for i in instances))
        self.assertEqual(self.ask(*(i.asked() for i in instances)).outcome, "Success")
        records = wait_until(lambda: [r for r in audit_records.of_messages(self.server, instances[0].study, 3)
                                      if audit_records.codes(r)[1] == "RAD-69"])
        self.assertEqual(len(records), 1, "one for the patient")
        self.assertEqual(records[0].xpath("EventIdentification/@EventActionCode"), ["R"])
        self.assertEqual([o.get("ParticipantObjectID") for o in audit_records.objects(records[0], "1/1")], [common.patient(number)])
        self.assertEqual({o.get("ParticipantObjectID") for o in audit_records.objects(records[0], "2/3")},
                         {i.study for i in instances})
