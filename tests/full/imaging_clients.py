"""Clients of others against our images: Orthanc, dicomweb-client, and the OHIF viewer in Chromium.

    python3 -m tests.full.imaging_clients [NAME...]

Screenshots are kept in build/artifacts.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from tests.full import packages, viewer_site
from tests.harness import counting, dicom, orthanc, server as harness
from tests.integration import common, imaging

SCRIPTS = pathlib.Path(__file__).resolve().parent / "clients"
ARTIFACTS = packages.ROOT / "build" / "artifacts"
CHROMIUM = "/usr/bin/chromium"
IMAGES = 5
SIZE = 256  # a side, in pixels
VIEWER_S = 90
WAIT_S = 30


def data_set_digest(file):
    """SHA-256 of a whole file's data set: what must not change on its way, unlike file meta information."""
    file = bytes(file)
    meta_bytes = int.from_bytes(file[140:144], "little")  # value of (0002,0000), the first element after the prefix
    return hashlib.sha256(file[144 + meta_bytes:]).hexdigest()


def run_script(name, *arguments, timeout_s=180):
    """The JSON object that a script of clients/ prints."""
    environment = dict(os.environ, NODE_PATH=str(packages.libraries() / "node_modules"))
    result = subprocess.run(["node", str(SCRIPTS / name), *map(str, arguments)], env=environment, capture_output=True, text=True,
                            timeout=timeout_s, check=False)
    if result.returncode:
        raise AssertionError(f"{name}: {result.stderr[-2000:]}")
    return json.loads(result.stdout)


class ImagingCase(common.ServerCase):
    """A server with images; each test has a study of its own."""

    studies = 0

    @classmethod
    def setUpClass(cls):
        cls.dicom_port = imaging.free_port()
        cls.settings = imaging.settings(cls.dicom_port)
        super().setUpClass()
        cls.base = f"http://127.0.0.1:{cls.server.plain_port}/dicomweb"

    def new_series(self, name="Test^Patient", character_set="latin"):
        """A series of a new study of P1."""
        ImagingCase.studies += 1
        return dicom.Series(dicom.Study(ImagingCase.studies, "P1", name, character_set), size=SIZE)

    def store(self, series):
        """Our copy of a series, by DCMTK."""
        with tempfile.TemporaryDirectory() as folder:
            series.write(pathlib.Path(folder), range(IMAGES))
            imaging.store(self.dicom_port, *sorted(pathlib.Path(folder).iterdir()))

    @staticmethod
    def digests(series):
        """Of the data sets of a series by SOP Instance UID."""
        return {series.sop_uid(number): data_set_digest(series.file(number)) for number in range(IMAGES)}

    def wait(self, condition, what):
        """Until it is true."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.1)


class WithOrthanc(ImagingCase):
    """Orthanc as a modality and as a DICOMweb client (PS3.4 B, C; PS3.18 10)."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = pathlib.Path(tempfile.mkdtemp(prefix="musubi-orthanc-"))
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.peer = orthanc.Orthanc(folder / "orthanc", {
            "DicomModalities": {"musubi": {"AET": "MUSUBI", "Host": "127.0.0.1", "Port": cls.dicom_port}}}, has_no_delay=True)
        cls.enterClassContext(cls.peer)
        status, answer = cls.peer.request("PUT", "/dicom-web/servers/musubi", {"Url": f"{cls.base}/"})
        if status != 200:
            raise AssertionError(answer)
        cls.server.command("facility", "add", "Peers")
        cls.server.command("node", "add", "orthanc", "--facility", "Peers", "--fingerprint", "ab" * 32,
                           "--transactions", "*")
        cls.server.command("ae", "add", orthanc.AE_TITLE, "--node", "orthanc", "--authority", harness.AUTHORITY, "--plain", "--address",
                           f"127.0.0.1:{cls.peer.dicom_port}")
        time.sleep(3)  # a running server notices new nodes within seconds

    def held_by_peer(self, series):
        """Data sets of a study that Orthanc holds, by SOP Instance UID."""
        found = {}
        for identifier in self.peer.post("/tools/find", {"Level": "Instance", "Query": {"StudyInstanceUID": series.study.uid}}):
            uid = self.peer.get(f"/instances/{identifier}/simplified-tags")["SOPInstanceUID"]
            found[uid] = data_set_digest(self.peer.request("GET", f"/instances/{identifier}/file")[1])
        return found

    def held_by_server(self, series):
        """Data sets of a study that the server has, by SOP Instance UID."""
        found = {}
        for number in range(IMAGES):
            path = f"/studies/{series.study.uid}/series/{series.study.series_uid()}/instances/{series.sop_uid(number)}"
            request = urllib.request.Request(self.base + path, headers={"Accept": "application/dicom; transfer-syntax=*"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                found[series.sop_uid(number)] = data_set_digest(answer.read())
        return found

    def assert_arrives(self, series):
        """The whole study comes to Orthanc, every data set byte for byte."""
        self.wait(lambda: len(self.held_by_peer(series)) >= IMAGES, "the study did not arrive")
        self.assertEqual(self.held_by_peer(series), self.digests(series))

    def test_what_orthanc_stores_is_kept_bit_for_bit(self):
        series = self.new_series()
        for number in range(IMAGES):
            self.assertEqual(self.peer.request("POST", "/instances", bytes(series.file(number)))[0], 200)
        study = self.peer.post("/tools/find", {"Level": "Study", "Query": {"StudyInstanceUID": series.study.uid}})
        answer = self.peer.post("/modalities/musubi/store", {"Resources": study, "Synchronous": True})
        self.assertEqual((answer["InstancesCount"], answer["FailedInstancesCount"]), (IMAGES, 0), answer)
        self.assertEqual(self.held_by_server(series), self.digests(series))

    def test_orthanc_finds_and_moves_a_study(self):
        series = self.new_series()
        self.store(series)
        query = self.peer.post("/modalities/musubi/query", {"Level": "Study", "Query": {"StudyInstanceUID": series.study.uid}})["ID"]
        self.assertEqual(len(self.peer.get(f"/queries/{query}/answers")), 1)
        self.peer.post(f"/queries/{query}/retrieve", {"TargetAet": orthanc.AE_TITLE, "Synchronous": True})
        self.assert_arrives(series)

    def test_orthanc_retrieves_a_study_by_wado_rs(self):
        series = self.new_series()
        self.store(series)
        found = self.peer.post("/dicom-web/servers/musubi/qido", {"Uri": "/studies", "Arguments": {"StudyInstanceUID": series.study.uid}})
        self.assertEqual(len(found), 1, found)
        self.peer.post("/dicom-web/servers/musubi/retrieve", {"Resources": [{"Study": series.study.uid}], "Synchronous": True})
        self.assert_arrives(series)


class WithWebLibrary(ImagingCase):
    """dicomweb-client (PS3.18 10.4, 10.6)."""

    def test_it_searches_and_retrieves(self):
        series = self.new_series(dicom.JAPANESE_NAME, "iso2022")
        self.store(series)
        found = run_script("search_and_retrieve.cjs", self.base, "P1", series.study.uid)
        digests = self.digests(series)
        self.assertIn(series.study.uid, found["studies"])
        self.assertEqual(found["series"], [series.study.series_uid()])
        self.assertEqual((sorted(found["instances"]), sorted(found["metadata"])), (sorted(digests), sorted(digests)))
        self.assertEqual(found["names"][0], dict(zip(("Alphabetic", "Ideographic", "Phonetic"), dicom.JAPANESE_NAME.split("="))))
        self.assertEqual(sorted(found["study"]), sorted(digests.values()))
        self.assertEqual(found["instance"]["sha256"], digests[found["instance"]["uid"]])
        number = list(digests).index(found["frame"]["uid"])
        self.assertEqual(found["frame"]["sha256"], hashlib.sha256(bytes(series.file(number)[-2 * SIZE * SIZE:])).hexdigest())


class WithViewer(ImagingCase):
    """The OHIF viewer, and what it shows."""

    def open(self, series, archive_root="/dicomweb", seconds=VIEWER_S, name="ohif_viewer"):
        """(what the viewport shows, what the viewer asked for); a screenshot is kept."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        with viewer_site.Site(packages.viewer(), self.server.plain_port, archive_root) as site:
            shown = run_script("open_viewer.cjs", CHROMIUM, f"{site.url}/viewer?StudyInstanceUIDs={series.study.uid}",
                               ARTIFACTS / f"{name}.png", seconds, timeout_s=seconds + 90)
            return shown, site.requests

    def test_it_shows_the_image(self):
        series = self.new_series()
        self.store(series)
        shown, requests = self.open(series)
        self.assertTrue(shown["viewport"], (shown, requests))
        # 3000 + noise in a window of 2048 +- 2048, on a ramp from 0: told from the pixels of the screenshot
        self.assertAlmostEqual(shown["disc"], 195, delta=12, msg=(shown, requests))
        self.assertLess(shown["left"], 60, (shown, requests))
        self.assertLess(shown["above"], 90, (shown, requests))

    def test_the_check_notices_a_viewer_without_an_image(self):
        """The same with an archive that has the study nowhere."""
        shown, _ = self.open(self.new_series(), seconds=15, name="ohif_viewer_without_image")
        self.assertLess(shown["disc"], 120, shown)


def main():
    """Runs the tests, or those whose names hold one of the arguments."""
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in sys.argv[1:]] or None
    return counting.run(loader.loadTestsFromModule(sys.modules[__name__]))


if __name__ == "__main__":
    sys.exit(main())
