"""Memory does not grow with a document or with a result: no result cap, documents in constant memory.

64 MiB and 2 000 entries by default, 4 GiB and 100 000 entries with MUSUBI_FULL=1.
"""

import unittest

from conformance import client as xds
from tests.harness import memory, server as harness
from tests.integration import common, streaming

DOCUMENT_BYTES = 4096 * common.MIB if common.IS_FULL else 64 * common.MIB
ENTRIES = 100_000 if common.IS_FULL else 2_000
ENTRIES_PER_SUBMISSION = 250
ENTRIES_PER_MANIFEST = 20  # with MUSUBI_FULL=1: 5 000 manifests
MANIFEST = ("urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d", "1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1",
            "Key Object Selection")
IMAGING = ("urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a", "IMAGES", "1.3.6.1.4.1.19376.1.2.6.1", "Images")


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


class ManyEntries(common.ServerCase):
    """One patient with very many DocumentEntries, one in twenty an imaging manifest (TF-2 3.18.4.1.2.3.7.1)."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.reports, cls.manifests = set(), set()
        soap = common.client(cls.server, timeout_s=120)
        while len(cls.reports) + len(cls.manifests) < ENTRIES:
            documents = []
            for number in range(ENTRIES_PER_SUBMISSION):
                document = xds.Document(common.patient("P1"), id=f"Document{number:04}")
                is_manifest = (len(cls.reports) + len(cls.manifests)) % ENTRIES_PER_MANIFEST == 0
                if is_manifest:
                    document.codes["formatCode"], document.codes["classCode"] = MANIFEST, IMAGING
                (cls.manifests if is_manifest else cls.reports).add(document.unique_id)
                documents.append(document)
            reply = soap.register(xds.Submission(common.patient("P1"), documents))
            assert reply.outcome == "Success", reply.errors or reply.raw
        soap.close()

    def ask(self, more=()):
        """FindDocuments LeafClass; checks memory and the time of the first byte, gives the uniqueIds."""
        parameters = [("$XDSDocumentEntryPatientId", f"'{common.patient('P1')}'"),
                      ("$XDSDocumentEntryStatus", f"('{xds.STATUS}Approved')"), *more]
        with memory.Watch(self.server.process.pid) as watch:
            count, ids, first_byte_s = streaming.query(self.server.plain_port, "FindDocuments", parameters)
        self.assertEqual(count, len(ids))
        self.assertLess(watch.growth_bytes, 64 * common.MIB)
        self.assertLess(first_byte_s, 2.0)
        return ids

    def test_all_are_found_in_bounded_memory(self):
        self.assertEqual(self.ask(), self.reports | self.manifests)

    def test_those_of_one_format_code_are_exactly_the_manifests(self):
        self.assertEqual(self.ask([("$XDSDocumentEntryFormatCode", f"('{MANIFEST[1]}^^{MANIFEST[2]}')")]), self.manifests)

    def test_those_of_the_class_of_images_are_the_same(self):
        self.assertEqual(self.ask([("$XDSDocumentEntryClassCode", f"('{IMAGING[1]}^^{IMAGING[2]}')")]), self.manifests)


if __name__ == "__main__":
    unittest.main()
