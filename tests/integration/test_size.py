"""Memory does not grow with a document or with a result: no result cap, documents in constant memory.

64 MiB and 2 000 entries by default, 4 GiB and 100 000 entries with MUSUBI_FULL=1.
"""

import unittest

from conformance import client as xds
from tests.harness import memory, pace, server as harness
from tests.integration import common, streaming

DOCUMENT_BYTES = 4096 * common.MIB if common.IS_FULL else 64 * common.MIB
ENTRIES = 100_000 if common.IS_FULL else 2_000
ENTRIES_PER_SUBMISSION = 250
ENTRIES_PER_MANIFEST = 20  # with MUSUBI_FULL=1: 5 000 manifests
MODALITIES = ("CT", "MR", "US")
MANIFEST_FORMAT = ("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1", "Manifest")
REPORT_FORMAT = ("1.2.840.10008.5.1.4.1.1.88.59", "1.2.392.99999.9", "The same code in another scheme")
IMAGES_CLASS = ("IMAGES", "1.3.6.1.4.1.19376.1.2.6.1", "Images")
CHEST_TYPE = ("P5-09051", "1.2.392.99999.9", "CT of the chest")


class LargeDocument(common.ServerCase):
    """ITI-41 in, ITI-43 out (TF-2 3.41, 3.43)."""

    def round_trip(self, **how):
        """Stores and fetches one document; checks its bytes and the server's memory."""
        content = streaming.Content(DOCUMENT_BYTES)
        submission = common.submission("P1", b"", mime_type="application/dicom")
        with memory.Watch(self.server.process.pid) as watch:
            reply = streaming.provide(self.server.plain_port, submission, content, **how)
            self.assertIn(b"ResponseStatusType:Success", reply)
            digest, rest = streaming.retrieve(self.server.plain_port, harness.REPOSITORY_UID,
                                              submission.documents[0].unique_id, DOCUMENT_BYTES)
        self.assertEqual(digest, content.sha256())
        self.assertTrue(rest.startswith(b"\r\n--") and rest.rstrip().endswith(b"--"), rest[:200])
        self.assertLess(watch.growth_bytes, 32 * common.MIB)

    def test_as_mtom_part_with_content_length(self):
        self.round_trip()

    def test_as_mtom_part_in_chunks(self):
        self.round_trip(chunked=True)

    def test_as_base64_inside_the_envelope(self):
        self.round_trip(inline=True)


def modality(name):
    """A modality as a code of the eventCodeList."""
    return (name, "1.2.840.10008.2.16.4", name)


def entry(number):
    """DocumentEntry of this number: one in twenty is an imaging manifest, one in four of these of a CT of the chest. The others have their codes
    one by one, never all of them: of the modality, of the type, of the format in another scheme."""
    is_manifest = number % ENTRIES_PER_MANIFEST == 0
    codes = {"formatCode": MANIFEST_FORMAT, "classCode": IMAGES_CLASS} if is_manifest else {}
    place = number // ENTRIES_PER_MANIFEST
    if number % ENTRIES_PER_MANIFEST == 1:
        codes["formatCode"] = REPORT_FORMAT
    if place % 4 == 0 and number % ENTRIES_PER_MANIFEST in (0, 2):
        codes["typeCode"] = CHEST_TYPE
    document = xds.Document(common.patient("P1"), id=xds.new_urn())
    document.codes.update({name: (xds.CODES[name][0], *code) for name, code in codes.items()})
    if is_manifest or number % ENTRIES_PER_MANIFEST == 3:
        document.event_codes = [modality(MODALITIES[place % len(MODALITIES)])]
    return document


def has_code(document, name, code):
    """What a query by this code has to find, told from what was registered."""
    return code in document.event_codes if name == "eventCodeList" else document.codes[name][1:] == code


class ManyEntries(common.ServerCase):
    """One patient with very many DocumentEntries, of which some are imaging manifests (TF-2 3.18.4.1.2.3.7.1; RAD TF-2 4.68)."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.documents = []
        soap = common.client(cls.server, timeout_s=120)
        while len(cls.documents) < ENTRIES:
            documents = [entry(len(cls.documents) + number) for number in range(ENTRIES_PER_SUBMISSION)]
            reply = soap.register(xds.Submission(common.patient("P1"), documents))
            assert reply.outcome == "Success", reply.errors or reply.raw
            cls.documents += documents
        soap.close()

    @staticmethod
    def parameters(codes):
        """FindDocuments of the patient; {code attribute: codes, any of which}."""
        asked = [("$XDSDocumentEntryPatientId", f"'{common.patient('P1')}'"), ("$XDSDocumentEntryStatus", f"('{xds.STATUS}Approved')")]
        for name, wanted in codes.items():
            values = ",".join(f"'{code}^^{scheme}'" for code, scheme, _ in wanted)
            asked.append((f"$XDSDocumentEntry{name[0].upper()}{name[1:]}", f"({values})"))
        return asked

    def ask(self, codes):
        """LeafClass; checks memory and the time of the first byte, gives the uniqueIds."""
        with memory.Watch(self.server.process.pid) as watch:
            count, ids, first_byte_s = streaming.query(self.server.plain_port, "FindDocuments", self.parameters(codes))
        self.assertEqual(count, len(ids))
        self.assertLess(watch.growth_bytes, 64 * common.MIB)
        self.assertLess(first_byte_s, 2.0 * pace.slowdown())
        return ids

    def ask_references(self, codes):
        """ObjectRef; gives the entryUUIDs."""
        reply = self.soap().query("FindDocuments", self.parameters(codes), "ObjectRef")
        self.assertEqual(reply.outcome, "Success", reply.errors)
        found = [reference.get("id") for reference in reply.objects("ObjectRef")]
        self.assertEqual(len(found), len(set(found)))
        return set(found)

    def assert_exact(self, codes, count=None):
        """Both forms give what has these codes, and nothing else."""
        expected = [document for document in self.documents
                    if all(any(has_code(document, name, code) for code in wanted) for name, wanted in codes.items())]
        self.assertEqual(self.ask(codes), {document.unique_id for document in expected})
        self.assertEqual(self.ask_references(codes), {document.id for document in expected})
        self.assertIn(len(expected), (count,) if count else range(1, ENTRIES))

    def test_all_are_found_in_bounded_memory(self):
        self.assert_exact({}, ENTRIES)

    def test_those_of_the_format_code_are_exactly_the_manifests(self):
        self.assert_exact({"formatCode": [MANIFEST_FORMAT]}, ENTRIES // ENTRIES_PER_MANIFEST)

    def test_those_of_the_class_of_images_are_the_same(self):
        self.assert_exact({"classCode": [IMAGES_CLASS]}, ENTRIES // ENTRIES_PER_MANIFEST)

    def test_those_of_any_of_the_modalities_are_the_same_and_some_reports(self):
        self.assert_exact({"eventCodeList": [modality(name) for name in MODALITIES]}, 2 * ENTRIES // ENTRIES_PER_MANIFEST)

    def test_those_of_format_and_modality(self):
        for name in MODALITIES:
            self.assert_exact({"formatCode": [MANIFEST_FORMAT], "eventCodeList": [modality(name)]})

    def test_those_of_format_and_type_of_procedure(self):
        self.assert_exact({"formatCode": [MANIFEST_FORMAT], "typeCode": [CHEST_TYPE]}, ENTRIES // ENTRIES_PER_MANIFEST // 4)


if __name__ == "__main__":
    unittest.main()
