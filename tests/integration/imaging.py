"""Instances for the tests of imaging, made and sent by DCMTK."""

import pathlib
import subprocess

from conformance import client as xds
from tests.harness import server as harness
from tests.harness.waiting import PATIENCE_S

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
IMAGING_UID = "1.3.6.1.4.1.21367.13.80.110"


def settings(port, **imaging):
    """Configuration of a server with images, DICOM without TLS at a port."""
    return {
        "server": {"roles": "registry, repository, pix, atna, imaging"},
        "imaging": {"plain_dicom_listen": f"127.0.0.1:{port}", "unique_id": IMAGING_UID, **imaging},
    }


class Instance:
    """One secondary capture of 8 by 8 pixels; tags are lines of dump2dcm in the place of others."""

    def __init__(self, patient, study=None, series=None, tags=None, sop_class=SECONDARY_CAPTURE, modality="OT"):
        self.study = study or xds.new_oid()
        self.series = series or xds.new_oid()
        self.uid = xds.new_oid()
        self.sop_class = sop_class
        self.tags = {
            "0008,0016": f"UI {sop_class}", "0008,0018": f"UI {self.uid}", "0008,0020": "DA 20260401", "0008,0030": "TM 083000",
            "0008,0050": "SH A1", "0008,0060": f"CS {modality}", "0008,0080": "LO [Musubi Hospital]", "0008,0090": "PN",
            "0008,1030": "LO [Chest study]", "0010,0010": "PN Test^Patient", "0010,0020": f"LO {patient}",
            "0010,0030": "DA 19700101", "0010,0040": "CS F", "0018,0015": "CS CHEST", "0020,000d": f"UI {self.study}",
            "0020,000e": f"UI {self.series}", "0020,0010": "SH S1", "0020,0011": "IS 1", "0020,0013": "IS 1",
            "0028,0002": "US 1", "0028,0004": "CS MONOCHROME2", "0028,0010": "US 8", "0028,0011": "US 8", "0028,0100": "US 8",
            "0028,0101": "US 8", "0028,0102": "US 7", "0028,0103": "US 0", "7fe0,0010": "OW " + "\\".join(["0102"] * 32),
        }
        self.tags.update(tags or {})

    def write(self, folder, syntax="+te"):
        """Makes the file; gives its path."""
        path = pathlib.Path(folder) / f"{self.uid}.dcm"
        text = "\n".join(f"({tag}) {value}" for tag, value in sorted(self.tags.items()) if value is not None)
        path.with_suffix(".txt").write_text(text + "\n", encoding="ascii")
        subprocess.run(["dump2dcm", "-q", syntax, path.with_suffix(".txt"), path], check=True, timeout=PATIENCE_S)
        return path

    def asked(self, repository=IMAGING_UID):
        """What RAD-69 names it by."""
        return (self.study, self.series, repository, self.uid)


def store(port, *paths, title="TEST", options=("-xe",)):
    """C-STORE of files, in their syntax; fails unless all are accepted."""
    subprocess.run(["storescu", "-q", *options, "-aet", title, "-aec", "MUSUBI", "127.0.0.1", str(port), *map(str, paths)],
                   check=True, timeout=2 * PATIENCE_S, capture_output=True)


def free_port():
    """A port that nobody uses."""
    return harness.free_ports(1)[0]
