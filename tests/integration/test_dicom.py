"""DICOM associations with DCMTK's own programs: who may store and query, whose a study is, and what is never given out."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from conformance import client as xds
from tests.harness import server as harness
from tests.harness.waiting import PATIENCE_S, becomes
from tests.integration import common

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
HOSPITALS = {"A": "1.2.392.200.1", "B": "1.2.392.200.2"}
ROLES = "registry, repository, pix, atna, imaging"


def new_uid():
    """Short enough for another component."""
    return generate_uid()[:56].rstrip(".")


def image(folder, patient, study, number=1, name="Yamada^Taro", **values):
    """A small CT instance in a file; gives its path and SOP Instance UID."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT_IMAGE
    meta.MediaStorageSOPInstanceUID = values.pop("SOPInstanceUID", generate_uid())
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = pathlib.Path(folder) / f"{meta.MediaStorageSOPInstanceUID}-{len(list(pathlib.Path(folder).iterdir()))}.dcm"
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.is_little_endian, file.is_implicit_VR = True, False
    file.SOPClassUID, file.SOPInstanceUID = CT_IMAGE, meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID, file.SeriesInstanceUID = study, values.pop("SeriesInstanceUID", study + ".1")
    file.PatientID, file.PatientName, file.PatientBirthDate, file.PatientSex = patient, name, "19600101", "M"
    file.StudyDate, file.StudyTime, file.AccessionNumber, file.Modality = "20260105", "083000", "ACC1", "CT"
    file.SeriesNumber, file.InstanceNumber = 1, number
    file.Rows = file.Columns = 8
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.PixelRepresentation, file.SamplesPerPixel = 15, 0, 1
    file.PhotometricInterpretation = "MONOCHROME2"
    file.PixelData = bytes(128)
    for key, value in values.items():
        setattr(file, key, value)
    file.save_as(path, write_like_original=False)
    return path, file.SOPInstanceUID


@unittest.skipUnless(shutil.which("storescu"), "needs the package dcmtk")
class Dicom(common.ServerCase):
    """Two hospitals with an AE each, whose PatientIDs are of domains of their own."""

    settings = {"server": {"roles": ROLES}}

    @classmethod
    def setUpClass(cls):
        cls.dicom_port, = harness.free_ports(1)
        cls.settings = dict(cls.settings, imaging={"plain_dicom_listen": f"127.0.0.1:{cls.dicom_port}"})
        super().setUpClass()
        cls.folder = tempfile.mkdtemp(prefix="musubi-dicom-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for number, (name, oid) in enumerate(HOSPITALS.items(), 1):
            cls.server.command("facility", "add", f"hospital-{name}")
            cls.server.command("authority", "add", oid, "--facility", f"hospital-{name}", "--kind", "pacs", "--namespace", f"H{name}")
            cls.server.command("node", "add", f"node-{name}", "--facility", f"hospital-{name}", "--fingerprint", f"{number:064x}",
                               "--transactions", "RAD-8,RAD-14")
            cls.server.command("ae", "add", f"PACS_{name}", "--node", f"node-{name}")
        cls.server.wait_until_refreshed()

    def run_tool(self, tool, *arguments, ae="PACS_A"):
        """One of DCMTK's programs against the server; gives its return code and all it printed."""
        done = subprocess.run([tool, "-aet", ae, "-aec", "MUSUBI", "127.0.0.1", str(self.dicom_port), *map(str, arguments)],
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        return done.returncode, done.stdout + done.stderr

    def store(self, *paths, ae="PACS_A"):
        """storescu, which must be told success for every file."""
        code, text = self.run_tool("storescu", "-v", *paths, ae=ae)
        self.assertEqual(code, 0, text)
        self.assertEqual(text.count("Received Store Response (Success)"), len(paths), text)

    def find(self, *keys, level="STUDY", ae="PACS_A", model="-S"):
        """The responses of findscu, each as {keyword: value}."""
        code, text = self.run_tool("findscu", model, "-k", f"QueryRetrieveLevel={level}", *sum((["-k", key] for key in keys), []), ae=ae)
        self.assertEqual(code, 0, text)
        matches = []
        for part in text.split("(Pending)")[1:]:
            matches.append({keyword: value.rstrip(" \0") for value, keyword in
                            re.findall(r"\[([^\]]*)\]\s+#\s+\d+, \d+ (\w+)", part)})
        return matches

    def feed(self, hospital, number):
        """ITI-8 A01 in the domain of a hospital."""
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
        reply = mllp.send(xds.adt("A01", f"{number}^^^&{HOSPITALS[hospital]}&ISO"))
        mllp.close()
        self.assertEqual(xds.acknowledgement(reply), "AA", reply)

    def rows(self, statement, *values):
        """Rows of the server's database."""
        return common.rows(self.server, statement, *values)

    def test_echo_is_answered(self):
        """PS3.7 9.1.5."""
        code, text = self.run_tool("echoscu")
        self.assertEqual(code, 0, text)

    def test_another_called_title_is_rejected(self):
        """PS3.8 9.3.4, reason 7."""
        done = subprocess.run(["echoscu", "-aec", "OTHER", "127.0.0.1", str(self.dicom_port)], capture_output=True, text=True,
                              timeout=PATIENCE_S, check=False)
        self.assertIn("Called AE Title Not Recognized", done.stdout + done.stderr)

    def test_a_study_shows_once_its_patient_is_known(self):
        """Its time is UTC by the source's zone: 08:30 in Tokyo is the day before."""
        study = new_uid()
        self.store(*(image(self.folder, "P100", study, number)[0] for number in (1, 2, 3)))
        self.assertEqual(self.find("PatientID=P100", "StudyInstanceUID"), [])
        self.assertIn(study, self.server.command("study", "waiting", check=False).stdout)
        self.feed("A", "P100")
        matches = self.find("PatientID=P100", "StudyInstanceUID", "NumberOfStudyRelatedInstances", "ModalitiesInStudy", "PatientName")
        self.assertEqual([(m["StudyInstanceUID"], m["NumberOfStudyRelatedInstances"], m["ModalitiesInStudy"]) for m in matches],
                         [(study, "3", "CT")])
        self.assertNotIn(study, self.server.command("study", "waiting", check=False).stdout)
        self.assertEqual(self.rows("SELECT to_char(started_at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MI') FROM imaging_study WHERE study_uid = %s",
                                   study), [("202601042330",)])
        self.assertEqual(len(self.find(f"StudyInstanceUID={study}", "SOPInstanceUID", level="IMAGE")), 3)

    def test_equal_numbers_of_two_hospitals_are_two_patients(self):
        """C-FIND by PatientID without issuer is in the domain of who asks; with issuer it is that hospital's."""
        studies = {name: new_uid() for name in HOSPITALS}
        for name, study in studies.items():
            self.store(image(self.folder, "P200", study, name=f"Person^{name}")[0], ae=f"PACS_{name}")
            self.feed(name, "P200")
        for name, study in studies.items():
            found = self.find("PatientID=P200", "StudyInstanceUID", "PatientName", ae=f"PACS_{name}")
            self.assertEqual([(m["StudyInstanceUID"], m["PatientName"]) for m in found], [(study, f"Person^{name}")])
        found = self.find("PatientID=P200", f"IssuerOfPatientID={HOSPITALS['B']}", "StudyInstanceUID", ae="PACS_A")
        self.assertEqual([m["StudyInstanceUID"] for m in found], [studies["B"]])

    def test_copies_of_one_study_for_two_persons_are_not_given_out(self):
        """A CD that was imported with an altered header: listed as a conflict, and in no answer."""
        study, uid = new_uid(), new_uid()
        self.store(image(self.folder, "P300", study, SOPInstanceUID=uid)[0])
        self.feed("A", "P300")
        self.assertEqual(len(self.find("PatientID=P300", "StudyInstanceUID")), 1)
        self.store(image(self.folder, "P301", study, SOPInstanceUID=uid, name="Suzuki^Jiro")[0], ae="PACS_B")
        self.feed("B", "P301")
        self.assertEqual(self.find("PatientID=P300", "StudyInstanceUID"), [])
        self.assertEqual(self.find("PatientID=P301", "StudyInstanceUID", ae="PACS_B"), [])
        self.assertEqual(self.server.command("study", "conflicts", check=False).stdout.count(study), 2)

    def test_a_second_sending_changes_nothing_and_other_bytes_are_kept_aside(self):
        """Identical data sets are one instance; another one under its UID is a variant that flags the study."""
        study, uid = new_uid(), new_uid()
        path = image(self.folder, "P400", study, SOPInstanceUID=uid)[0]
        self.store(path)
        self.store(path)
        self.assertEqual(self.rows("SELECT variant FROM imaging_instance WHERE sop_instance = %s", uid), [(0,)])
        self.store(image(self.folder, "P400", study, SOPInstanceUID=uid, SeriesDescription="altered")[0])
        self.assertEqual(self.rows("SELECT variant FROM imaging_instance WHERE sop_instance = %s ORDER BY 1", uid), [(0,), (1,)])
        shown = self.server.command("study", "show", study).stdout
        self.assertIn("different-bytes", shown)
        self.assertIn("0 findings", self.server.command("fsck").stdout)

    def test_scrub_reads_images_and_names_them_without_their_patient(self):
        """A flipped bit of a stored image is found by reading every byte; what waits for its patient is in the metrics."""
        study, uid = new_uid(), new_uid()
        self.store(image(self.folder, "P410", study, SOPInstanceUID=uid, SeriesDescription=f"marked {uid}")[0])
        for name in ("dicom_associations", "dicom_workers_crashed", "imaging_instances_stored", "imaging_studies_waiting",
                     "imaging_manifests_due", "imaging_conflicts"):
            self.assertRegex(self.server.admin("/metrics"), rf"(?m)^musubi_{name} \d+$")
        needle = f"marked {uid}".encode()
        self.flip(needle)
        self.addCleanup(self.flip, needle)

        def scrub():
            found = self.server.command("scrub", check=False)
            return found.stdout if found.returncode == 1 else ""
        told = becomes(scrub)  # the locator's writer is some 100 ms behind
        self.assertIn(f"image {uid} of study {study}: a block is damaged", told)
        self.assertNotIn("P410", told)

    def flip(self, needle):
        """Changes a bit of the first of these stored bytes, or changes it back."""
        for path in (pathlib.Path(self.server.dir) / "data" / "blobs" / "segments").iterdir():
            at = path.read_bytes().find(needle[1:-1])
            if at >= 0:
                with open(path, "r+b") as file:
                    file.seek(at - 1)
                    byte = file.read(1)[0]
                    file.seek(at - 1)
                    file.write(bytes([byte ^ 0x10]))
                return
        raise AssertionError("the stored bytes are not found")

    def test_an_issuer_that_the_node_may_not_name_is_passed_over(self):
        """The authority follows from the AE; the study is flagged."""
        study = new_uid()
        self.store(image(self.folder, "P500", study, IssuerOfPatientID=HOSPITALS["B"])[0])
        self.assertEqual(self.rows("SELECT a.oid, s.flags & 10 FROM imaging_study s JOIN assigning_authority a ON a.id = s.authority "
                                   "WHERE s.study_uid = %s", study), [(HOSPITALS["A"], 10)])

    def test_one_study_by_four_associations_at_once_is_whole(self):
        """None waits for a lock that another keeps, none is lost."""
        study = new_uid()
        folders = []
        for number in range(4):
            folder = tempfile.mkdtemp(dir=self.folder)
            for i in range(25):
                image(folder, "P600", study, 25 * number + i)
            folders.append(folder)
        senders = [subprocess.Popen(["storescu", "-aet", "PACS_A", "-aec", "MUSUBI", "127.0.0.1", str(self.dicom_port), "+sd", folder])
                   for folder in folders]
        self.assertEqual([sender.wait(PATIENCE_S) for sender in senders], [0] * 4)
        self.assertEqual(self.rows("SELECT count(*) FROM imaging_instance i JOIN imaging_study s ON s.id = i.study WHERE study_uid = %s",
                                   study), [(100,)])

    def test_a_patient_is_found_by_name_and_given_once(self):
        """PS3.4 C.2.2.2.4, and the patient level of the patient root."""
        for _ in range(2):
            self.store(image(self.folder, "P700", new_uid(), name="Sato^Hanako=佐藤^花子", SpecificCharacterSet="ISO_IR 192")[0])
        self.feed("A", "P700")
        found = self.find("PatientName=sato*", "PatientID", level="PATIENT", model="-P")
        self.assertEqual([m["PatientID"] for m in found], ["P700"])
        self.assertEqual(len(self.find("PatientName=SATO^HANAKO", "StudyInstanceUID")), 2)
        self.assertEqual(self.find("PatientName=Sat", "StudyInstanceUID"), [])

    def test_dates_are_ranges(self):
        """PS3.4 C.2.2.2.5."""
        study = new_uid()
        self.store(image(self.folder, "P800", study, StudyDate="20251224")[0])
        self.feed("A", "P800")
        for key, count in (("20251224", 1), ("20251201-20251231", 1), ("-20251223", 0), ("20251225-", 0), ("20251224-", 1)):
            self.assertEqual(len(self.find("PatientID=P800", f"StudyDate={key}", "StudyInstanceUID")), count, key)


if __name__ == "__main__":
    unittest.main()
