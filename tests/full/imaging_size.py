"""Memory does not grow with a study or with an instance: 25 000 CT images, and one instance of 3 GiB, in and out.

    python3 -m tests.full.imaging_size [NAME...]

MUSUBI_STUDY_IMAGES and MUSUBI_INSTANCE_FRAMES (32 MiB each) make it smaller.
"""

import hashlib
import http.client
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from tests.bench import imaging as requests
from tests.full.imaging_clients import ImagingCase, data_set_digest
from tests.harness import counting, dicom, memory
from tests.integration import common

IMAGES = int(os.environ.get("MUSUBI_STUDY_IMAGES", "25000"))
FRAMES = int(os.environ.get("MUSUBI_INSTANCE_FRAMES", "96"))
SMALL_IMAGES = 100  # of the study that is served first
ASSOCIATIONS = 4
SIZE = 64  # pixels a side
LIMIT_BYTES = 64 * common.MIB
PIECE_BYTES = 1 << 20
WAIT_S = 1800
NO_DELAY = dict(os.environ, TCP_NODELAY="1")  # for DCMTK's clients
METADATA_UID = re.compile(rb'"00080018":{"vr":"UI","Value":\["([0-9.]+)"\]}')
ALL_OF_IT = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class Parts:
    """The parts of a multipart answer as they arrive; held in memory piece by piece only."""

    def __init__(self, response):
        self.response = response
        boundary = re.search(r'boundary="?([^";]+)', response.headers["Content-Type"]).group(1)
        self.boundary = b"--" + boundary.encode()
        self.buffer = bytearray()

    def _more(self):
        piece = self.response.read(PIECE_BYTES)
        self.buffer += piece
        return bool(piece)

    def _until(self, mark, consume=None):
        """What comes before a mark, which is taken too; given to consume piece by piece if there is such."""
        kept = []
        while (place := self.buffer.find(mark)) < 0:
            ready = max(0, len(self.buffer) - len(mark))
            (consume or kept.append)(bytes(self.buffer[:ready]))
            del self.buffer[:ready]
            if not self._more():
                raise EOFError(f"no {mark!r}")
        (consume or kept.append)(bytes(self.buffer[:place]))
        del self.buffer[:place + len(mark)]
        return b"".join(kept)

    def digests(self):
        """SHA-256 of the data set of each part that is a whole file."""
        self._until(self.boundary)
        while True:
            while len(self.buffer) < 2 and self._more():
                pass
            if self.buffer.startswith(b"--"):
                return
            head = self._until(b"\r\n\r\n").lower()
            file = DataSet()
            self._until(b"\r\n" + self.boundary, file.update)
            if b"application/dicom" in head:
                yield file.hexdigest()


class DataSet:
    """The digest of a whole file's data set, file by pieces."""

    def __init__(self):
        self.head, self.digest = b"", None

    def update(self, piece):
        """The next bytes of the file."""
        if self.digest:
            self.digest.update(piece)
            return
        self.head += piece
        if len(self.head) >= 144 and len(self.head) >= (begin := 144 + int.from_bytes(self.head[140:144], "little")):
            self.digest = hashlib.sha256(self.head[begin:])
            self.head = b""

    def hexdigest(self):
        """Once all bytes came."""
        return self.digest.hexdigest() if self.digest else ""


class Stored:
    """A study that is sent: its files, and what must come back of it."""

    def __init__(self, folder, study):
        self.folder, self.study = pathlib.Path(folder), study
        self.digests = {}  # of data sets, by SOP Instance UID

    def write(self, images):
        """So many CT images, a folder for each association."""
        series = dicom.Series(self.study, size=SIZE)
        for part in range(ASSOCIATIONS):
            folder = self.folder / str(part)
            folder.mkdir()
            for number in range(part, images, ASSOCIATIONS):
                content = bytes(series.file(number))
                (folder / f"{number:06}.dcm").write_bytes(content)
                self.digests[series.sop_uid(number)] = data_set_digest(content)
        return self

    def write_large(self, frames):
        """One image of so many frames."""
        (self.folder / "0").mkdir()
        path = self.folder / "0" / "large.dcm"
        dicom.write_large(path, self.study, frames)
        self.digests[self.study.sop_uid(0, 0)] = digest_of(path)
        return self


def digest_of(path):
    """SHA-256 of the data set of a file of any size."""
    whole = DataSet()
    with open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            whole.update(piece)
    return whole.hexdigest()


class Size(ImagingCase):
    """The server's memory (DESIGN: constant, whatever a study or an instance has): each surface after a start of its own, and after it has
    served a small study."""

    def setUp(self):
        self.enterContext(self.folder())
        self.small = Stored(self.enterContext(self.folder()), dicom.Study(9, "P9")).write(SMALL_IMAGES)
        self.send(self.small)

    @staticmethod
    def folder():
        """A folder that goes with the test."""
        return tempfile.TemporaryDirectory()

    # ------------------------------------------------------------------ the surfaces

    def send(self, stored):
        """C-STORE, with as many associations as there are folders."""
        senders = [subprocess.Popen(["storescu", "-aet", "SENDER", "-aec", "MUSUBI", "+sd", "127.0.0.1", str(self.dicom_port), folder],
                                    env=NO_DELAY) for folder in stored.folder.iterdir()]
        self.assertEqual({sender.wait(WAIT_S) for sender in senders}, {0})

    def get(self, stored):
        """C-GET into files."""
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["getscu", "-q", "-S", "+B", "-aet", "SENDER", "-aec", "MUSUBI", "-k", "0008,0052=STUDY", "-k",
                            f"0020,000d={stored.study.uid}", "-od", folder, "127.0.0.1", str(self.dicom_port)], check=True, timeout=WAIT_S,
                           env=NO_DELAY)
            self.assert_whole(stored, map(digest_of, pathlib.Path(folder).iterdir()))

    def wado_rs(self, stored):
        """WADO-RS of the study."""
        self.assert_whole(stored, self.fetch("GET", study_path(stored), {"Accept": ALL_OF_IT}, parts=True))

    def rad69(self, stored):
        """RAD-69 of all instances in one request."""
        content_type, body = requests.rad69_request(stored.study.uid, stored.study.series_uid(), stored.digests)
        self.assert_whole(stored, self.fetch("POST", "/imaging", {"Content-Type": content_type}, body, parts=True))

    def metadata(self, stored):
        """/metadata of the study."""
        found = self.fetch("GET", f"{study_path(stored)}/metadata", {"Accept": "application/dicom+json"})
        self.assertEqual(sorted(found), sorted(uid.encode() for uid in stored.digests))

    def assert_whole(self, stored, digests):
        """Each data set came once."""
        self.assertEqual(sorted(digests), sorted(stored.digests.values()))

    def fetch(self, method, path, headers, body=None, parts=False):
        """The digests of an answer's parts, or the SOP Instance UIDs of its metadata."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=WAIT_S)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        self.assertEqual(response.status, 200, path)
        found = list(Parts(response).digests()) if parts else METADATA_UID.findall(response.read())
        connection.close()
        return found

    # ------------------------------------------------------------------ memory

    def assert_small(self, surface, stored):
        """It works, and what more the server holds meanwhile is below the limit."""
        self.server.stop()
        self.server.start()
        surface(self.small)
        with self.subTest(surface.__name__), memory.Watch(self.server.process.pid) as watch:
            surface(stored)
        print(f"{surface.__name__}: {watch.seconds:.1f} s, {watch.before_bytes / common.MIB:.1f} MiB before, "
              f"{watch.growth_bytes / common.MIB:.1f} MiB more at most", flush=True)
        self.assertLess(watch.growth_bytes, LIMIT_BYTES, surface.__name__)

    def test_a_study_of_very_many_images(self):
        with tempfile.TemporaryDirectory() as folder:
            stored = Stored(folder, dicom.Study(1, "P1")).write(IMAGES)
            self.assert_small(self.send, stored)
        for surface in (self.get, self.wado_rs, self.rad69, self.metadata):
            self.assert_small(surface, stored)

    def test_a_very_large_instance(self):
        with tempfile.TemporaryDirectory() as folder:
            stored = Stored(folder, dicom.Study(2, "P2")).write_large(FRAMES)
            self.assert_small(self.send, stored)
        for surface in (self.get, self.wado_rs, self.rad69):
            self.assert_small(surface, stored)


def study_path(stored):
    """The study below the root of DICOMweb."""
    return f"/dicomweb/studies/{stored.study.uid}"


def main():
    """Runs the tests, or those whose names hold one of the arguments."""
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in sys.argv[1:]] or None
    return counting.run(loader.loadTestsFromTestCase(Size))


if __name__ == "__main__":
    sys.exit(main())
