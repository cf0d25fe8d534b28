"""Memory does not grow with a study or with an instance: 25 000 CT images, and one instance of 3 GiB, in and out.

    python3 -m tests.full.imaging_size [NAME...]

What grows is counted over all processes of the server but PostgreSQL's: what they share is counted once for each.
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
import threading
import unittest

from tests.bench import imaging as requests
from tests.full.imaging_clients import ImagingCase
from tests.harness import counting, dicom
from tests.integration import common

IMAGES = int(os.environ.get("MUSUBI_STUDY_IMAGES", "25000"))
FRAMES = int(os.environ.get("MUSUBI_INSTANCE_FRAMES", "96"))
SIZE = 64  # pixels a side
LIMIT_BYTES = 64 * common.MIB
PIECE_BYTES = 1 << 20
SEND_S = 1800
ALL_OF_IT = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def processes(pid):
    """The server's processes without PostgreSQL's."""
    children, names = {}, {}
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = status.read_text(encoding="utf-8", errors="replace").rpartition(")")
        except OSError:
            continue
        children.setdefault(int(rest.split()[1]), []).append(int(status.parent.name))
        names[int(status.parent.name)] = head.partition("(")[2]
    found, left = [], [pid]
    while left:
        one = left.pop()
        if not names.get(one, "").startswith("postgres"):
            found.append(one)
            left += children.get(one, [])
    return found


def memory_bytes(pid):
    """RssAnon + RssShmem of all of them."""
    total = 0
    for one in processes(pid):
        try:
            total += common.memory_bytes(one)
        except OSError:
            pass  # ended meanwhile
    return total


class Watch(threading.Thread):
    """Samples the memory while something runs."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.before = self.peak = memory_bytes(pid)
        self._done = threading.Event()

    def run(self):
        while not self._done.wait(0.1):
            self.peak = max(self.peak, memory_bytes(self.pid))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self._done.set()
        self.join()


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


class Size(ImagingCase):
    """The archive's memory (DESIGN: constant, whatever a study or an instance has)."""

    def send(self, folder):
        """C-STORE of a folder over one association, watched."""
        with Watch(self.server.process.pid) as memory:
            subprocess.run(["storescu", "-aet", "SENDER", "-aec", "MUSUBI", "+sd", "127.0.0.1", str(self.dicom_port), folder], check=True,
                           timeout=SEND_S)
        self.assert_small(memory, "C-STORE")

    def assert_small(self, memory, what):
        """The growth is printed, and below the limit."""
        growth = memory.peak - memory.before
        print(f"{what}: {memory.before >> 20} MiB before, {growth / common.MIB:.1f} MiB more at most", flush=True)
        self.assertLess(growth, LIMIT_BYTES, what)

    def fetch(self, what, method, path, expected, body=None, headers=None):
        """A multipart answer must hold data sets with these digests, each once."""
        with Watch(self.server.process.pid) as memory:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=SEND_S)
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            self.assertEqual(response.status, 200, what)
            found = list(Parts(response).digests())
            connection.close()
        self.assertEqual(sorted(found), sorted(expected), what)
        self.assert_small(memory, what)

    def fetch_all(self, study, series_uid, uids, digests):
        """By WADO-RS and by RAD-69."""
        self.fetch("WADO-RS", "GET", f"/dicomweb/studies/{study.uid}", digests, headers={"Accept": ALL_OF_IT})
        content_type, body = requests.rad69_request(study.uid, series_uid, uids)
        self.fetch("RAD-69", "POST", "/imaging", digests, body, {"Content-Type": content_type})

    def test_a_study_of_very_many_images(self):
        study = dicom.Study(1, "P1")
        series = dicom.Series(study, size=SIZE)
        digests = []
        with tempfile.TemporaryDirectory() as folder:
            for number in range(IMAGES):
                content = bytes(series.file(number))
                (pathlib.Path(folder) / f"{number:06}.dcm").write_bytes(content)
                whole = DataSet()
                whole.update(content)
                digests.append(whole.hexdigest())
            self.send(folder)
        self.fetch_all(study, study.series_uid(), [series.sop_uid(number) for number in range(IMAGES)], digests)

    def test_a_very_large_instance(self):
        study = dicom.Study(2, "P2")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "large.dcm"
            dicom.write_large(path, study, FRAMES)
            whole = DataSet()
            with open(path, "rb") as file:
                while piece := file.read(PIECE_BYTES):
                    whole.update(piece)
            self.send(folder)
        self.fetch_all(study, study.series_uid(), [study.sop_uid(0, 0)], [whole.hexdigest()])


def main():
    """Runs the tests, or those whose names hold one of the arguments."""
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in sys.argv[1:]] or None
    return counting.run(loader.loadTestsFromTestCase(Size))


if __name__ == "__main__":
    sys.exit(main())
