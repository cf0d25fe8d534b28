"""A corrupt byte is never served (contract C5), and what is wrong is named for the operator."""

import glob
import hashlib
import http.client
import os
import pathlib
import unittest

from tests.harness.waiting import becomes, wait_until
from tests.integration import common


def flip(path, offset):
    """Changes one bit of one byte."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


class Integrity(common.ServerCase):
    """Each test damages bytes of its own documents behind the server's back."""

    def setUp(self):
        self.client = self.soap()
        self.data = pathlib.Path(self.server.dir) / "data"

    def store(self, number, *contents):
        """Submits one document per content; gives them."""
        documents = []
        for content in contents:
            submission = common.submission(number, content)
            self.assert_success(self.client.provide(submission))
            documents += submission.documents
        return documents

    def damage(self, content, folder):
        """Flips a byte in the middle of the stored copy of content; gives the file."""
        needle = content[len(content) // 2:len(content) // 2 + 64]
        for path in glob.glob(str(self.data / "blobs" / folder / "**"), recursive=True):
            if os.path.isfile(path):
                offset = pathlib.Path(path).read_bytes().find(needle)
                if offset >= 0:
                    flip(path, offset)
                    return pathlib.Path(path)
        raise AssertionError("the stored bytes are not found")

    def assert_scrub_names(self, document, number, path):
        """musubi scrub exits 1 and names document, patient and file."""
        found = []

        def is_named():  # the locator's writer is some 100 ms behind
            found[:] = [self.server.command("scrub", check=False)]
            return document.unique_id in found[0].stdout
        becomes(is_named)
        scrub = found[0]
        self.assertEqual(scrub.returncode, 1, scrub.stdout + scrub.stderr)
        line = next(line for line in scrub.stdout.splitlines() if document.unique_id in line)
        self.assertIn(common.patient(number), line)
        self.assertIn(path.name, line)

    def test_damaged_small_document_is_an_error_and_the_others_of_the_request_arrive(self):
        good, bad, last = self.store("P1", os.urandom(5000), os.urandom(9000), os.urandom(200_000))
        path = self.damage(bad.content, "segments")
        reply = common.fetch(self.client, good, bad, last)
        self.assertEqual(reply.outcome, "PartialSuccess")
        self.assertEqual(reply.documents(), {d.unique_id: d.content for d in (good, last)})
        self.assertEqual([error[0] for error in reply.errors], ["XDSRepositoryError"])
        self.assertIn(bad.unique_id, " ".join(filter(None, reply.errors[0])))
        self.assert_scrub_names(bad, "P1", path)

    def test_damaged_only_document_is_a_failure_without_bytes(self):
        (bad,) = self.store("P2", os.urandom(300_000))
        self.damage(bad.content, "segments")
        reply = common.fetch(self.client, bad)
        self.assertEqual((reply.outcome, reply.errors[0][0], reply.documents()), ("Failure", "XDSRepositoryError", {}))
        self.assertNotIn(bad.content[:64], reply.raw)

    def test_damaged_large_document_never_ends_with_the_final_boundary(self):
        good, bad = self.store("P3", os.urandom(2 * common.MIB), os.urandom(5 * common.MIB))
        path = self.damage(bad.content, "files")
        with self.assertRaises((http.client.IncompleteRead, ConnectionError, ValueError)):
            common.fetch(self.client, bad)
        self.assertEqual(common.fetch(self.client, good).documents(), {good.unique_id: good.content})
        self.assert_scrub_names(bad, "P3", path)
        wait_until(lambda: 'EventOutcomeIndicator="8"' in self.server.command("audit", "search", bad.unique_id, check=False).stdout,
                   "no second record: what was announced did not happen")

    def test_cut_large_file_is_never_served_whole(self):
        (bad,) = self.store("P4", os.urandom(4 * common.MIB))
        path = self.damage(bad.content, "files")
        flip(path, path.read_bytes().find(bad.content[:64]) + len(bad.content) // 2)  # whole again
        os.truncate(path, 3 * common.MIB)
        try:
            reply = common.fetch(self.client, bad)
            self.assertEqual((reply.outcome, reply.documents()), ("Failure", {}))
        except (http.client.IncompleteRead, ConnectionError, ValueError):
            pass
        self.assert_scrub_names(bad, "P4", path)

    def test_damaged_locator_serves_the_right_bytes_or_none(self):
        documents = self.store("P5", *(os.urandom(3000) for _ in range(20)))
        self.assertEqual(self.server.stop(), 0)
        locator = self.data / "locator" / "data.mdb"
        stored = locator.read_bytes()
        for number, document in enumerate(documents):
            # of the one the name, of the other the place
            flip(locator, stored.rfind(hashlib.sha256(document.content).digest()) + (16 if number % 2 else 40))
        self.server.start()
        self.client = self.soap()
        for document in documents:
            reply = common.fetch(self.client, document)
            self.assertIn((reply.outcome, reply.documents()),
                          (("Success", {document.unique_id: document.content}), ("Failure", {})))
        self.server.stop()
        for path in (self.data / "locator").iterdir():
            path.unlink()
        self.server.start()  # a locator that was removed is rebuilt from the blobs
        self.client = self.soap()
        self.assertEqual(common.fetch(self.client, *documents).documents(), {d.unique_id: d.content for d in documents})


if __name__ == "__main__":
    unittest.main()
