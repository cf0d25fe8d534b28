"""The images that the NIST scenarios ask for, and the manifests that the server makes of them.

Of most studies the reference data has no images, only what names them: a manifest (KOS), or the plan that asks. Then an image
is made with the same UIDs, classes and patient; what is in its pixels no scenario looks at."""

import collections
import json
import re
import subprocess

from lxml import etree

from conformance import client as xds
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import common, imaging

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
# The PACS of the studies whose manifest the scenarios compare: its numbers are not those of the affinity domain.
PACS, PACS_AUTHORITY = "NISTPACS", "1.3.6.1.4.1.21367.2005.13.20.2000"
PATIENT_ID_SCHEME = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
# (VR, what it is) of what a manifest takes over from the images (RAD TF-2 4.68.4.1.2.2; PS3.3 A.35.4).
HEADER = {"0008,0020": "DA", "0008,0030": "TM", "0008,0050": "SH", "0010,0010": "PN", "0010,0020": "LO", "0010,0030": "DA",
          "0010,0040": "CS"}
UIDs = collections.namedtuple("UIDs", "study series instance")
# What ids_2018-4810 asks for in the wrong place (cases 2 to 6) is somewhere else: else it would miss whatever was asked.
SOMEWHERE = "1.3.6.1.4.1.14519.5.2.1.7085.2626.192997540292073877946622133586"
ELSEWHERE = (UIDs(SOMEWHERE, "1.3.6.1.4.1.14519.5.2.1.7085.2626.831285735928731782652048570955",
                  "1.3.6.1.4.1.14519.5.2.1.7085.2626.310894536700672302243471156028"),
             UIDs(SOMEWHERE, "1.3.6.1.4.1.14519.5.2.1.7085.2626.1", "1.3.6.1.4.1.14519.5.2.1.7085.2626.917173693042362721495240037775"))


def value(item, tag):
    """The first value of an element in the JSON form, as text; empty if there is none."""
    values = item.get(tag.replace(",", "").upper(), {}).get("Value") or [""]
    return values[0]["Alphabetic"] if isinstance(values[0], dict) else values[0]


def dataset(path):
    """A file in the JSON form (PS3.18 F)."""
    return json.loads(subprocess.run(["dcm2json", str(path)], check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout)


class Manifest:
    """What a Key Object Selection Document says."""

    def __init__(self, path):
        self.data = dataset(path)
        self.header = {tag: value(self.data, tag) for tag in HEADER}
        self.images, self.sources = {}, set()
        for study in self.sequence(self.data, "0040A375"):
            for series in self.sequence(study, "00081115"):
                self.sources.add((value(series, "0008,0054"), value(series, "0040,e011")))
                for image in self.sequence(series, "00081199"):
                    uids = UIDs(value(study, "0020,000d"), value(series, "0020,000e"), value(image, "0008,1155"))
                    self.images[uids] = value(image, "0008,1150")

    @staticmethod
    def sequence(item, tag):
        """Items of a sequence."""
        return item.get(tag, {}).get("Value", [])

    def stand_ins(self, folder):
        """Files of the images that it names."""
        tags = {tag: f"{vr} {self.header[tag]}".rstrip() for tag, vr in HEADER.items()}
        return [make(uids, folder, sop_class, tags) for uids, sop_class in self.images.items()]

    def differences(self, made):
        """What the scenarios compare (their readme.txt, and RAD TF-2 4.68.4.1.2.2): this is the model, made ours."""
        found = [f"{tag} is {made.header[tag]!r} instead of {text!r}" for tag, text in self.header.items()
                 if made.header[tag].strip() != text.strip()]
        found += [f"{tag} is {value(made.data, tag)!r} instead of {value(self.data, tag)!r}" for tag in ("0008,0016", "0008,0060", "0020,000d")
                  if value(made.data, tag) != value(self.data, tag)]
        if made.images != self.images:
            found.append(f"names {made.images}")
        if value(made.data, "0008,0018") in {i.instance for i in made.images} | {""}:
            found.append("SOP Instance UID of an image")
        if value(made.data, "0020,000e") in {i.series for i in made.images} | {""}:
            found.append("Series Instance UID of an image")
        if {location for _, location in made.sources} != {location for _, location in self.sources} or not all(title for title, _ in made.sources):
            found.append(f"images are at {made.sources}")
        return found


def make(uids, folder, sop_class, tags):
    """The file of a made image."""
    patient = tags["0010,0020"].removeprefix("LO ")
    instance = imaging.Instance(patient, uids.study, uids.series, sop_class=sop_class, tags={**tags, "0008,0018": f"UI {uids.instance}"})
    return instance.write(folder)


def asked(scenarios):
    """UIDs of the images that a step asks for which shall succeed."""
    images = set()
    for plan in sorted(scenarios.glob("*/*/testplan.xml")):
        for step in etree.parse(plan).iterfind("TestStep"):
            if step.findtext("ExpectedStatus") != "Success":
                continue
            names = wado_uids(step, plan.parent)
            file = step.findtext("ImagingDocSetRetrieveTransaction/MetadataFile")
            for request in etree.parse(plan.parent / file).iterfind("//{*}DocumentRequest") if file else ():
                series = request.getparent()
                names.append(UIDs(series.getparent().get("studyInstanceUID"), series.get("seriesInstanceUID"),
                                  request.findtext("{*}DocumentUniqueId")))
            images.update(names)
    return sorted(images)


def wado_uids(step, folder):
    """UIDs of a WADO step: in its parameters, in its list, or in both."""
    given = dict(re.findall(r"(studyUID|seriesUID|objectUID)=(\S+)", step.findtext("WADOTransaction/Parameters") or ""))
    names = [UIDs(given["studyUID"], given["seriesUID"], given["objectUID"])] if given else []
    listed = step.findtext("WADOTransaction/UIDFile")
    return names + ([UIDs(*line.split(":")) for line in (folder / listed).read_text().split()] if listed else [])


class Studies:
    """Everything that the scenarios ask for, pushed."""

    def __init__(self, reference, server, port, folder):
        self.scenarios, self.server, self.port, self.folder = reference / "ihe" / "nist-scenarios", server, port, folder
        self.standard = folder / "standard"  # what nist_replay.py calls standard images
        server.command("facility", "add", PACS)
        server.command("authority", "add", PACS_AUTHORITY, "--facility", PACS, "--kind", "pacs", "--source", "*|*")
        server.command("node", "add", PACS, "--facility", PACS, "--fingerprint", "97" * 32, "--transactions", "*")
        server.command("ae", "add", PACS, "--node", PACS)
        server.wait_until_refreshed()
        self.push_at_hand(reference / "dicom")
        self.models = {path.parent.parent.name: Manifest(path) for path in sorted(self.scenarios.glob("*/ValidateKOS/kos-evaluate.dcm"))}
        for test, model in self.models.items():
            self.push(*model.stand_ins(folder), title=PACS)
            self.link(model.header["0010,0020"], self.mapped_patient(test))  # now, so that no manifest is made of some of them
        self.push_named_by_plans()

    def push(self, *files, title="TEST"):
        """C-STORE."""
        imaging.store(self.port, *files, title=title, options=("-xe", "-R"))

    def push_at_hand(self, studies):
        """Studies of the reference data; of one only its manifest is there."""
        for study in sorted(studies.glob("study-IDS-*")):
            number = study.name.removeprefix("study-")
            files = sorted(study.glob("nist2__0*.dcm"))
            if not files:
                files = Manifest(study / "nist2__kos.dcm").stand_ins(self.folder)
            self.push(*files)
            common.feed(self.server, number)
            images = self.standard / number / "images"
            images.mkdir(parents=True)
            for path in files:
                (images / path.name).symlink_to(path)

    def push_named_by_plans(self):
        """Images that no manifest names either."""
        known = {value(dataset(path), "0008,0018") for path in self.standard.rglob("*.dcm")}
        known.update(image.instance for model in self.models.values() for image in model.images)
        tags = {"0010,0020": "LO IDS-NAMED"}
        common.feed(self.server, "IDS-NAMED")
        missing = [uids for uids in asked(self.scenarios) if uids.instance not in known]
        self.push(*(make(uids, self.folder, ENHANCED_CT, tags) for uids in [*missing, *ELSEWHERE]))

    def link(self, number, patient):
        """The PACS' number of somebody."""
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
        reply = mllp.send(xds.adt("A01", f"{patient}~{number}^^^&{PACS_AUTHORITY}&ISO"))
        mllp.close()
        if xds.acknowledgement(reply) != "AA":
            raise AssertionError(reply)

    # -- RAD-68: what the tool leaves out, since no source submits to it

    def model_entry(self, test):
        """The DocumentEntry that a scenario compares with."""
        return etree.parse(self.scenarios / test / "ValidateMetadata" / "metadata-evaluate.xml").find("//{*}ExtrinsicObject")

    def mapped_patient(self, test):
        """The patient in the affinity domain whose manifest it is."""
        return patient_of(self.model_entry(test))

    def check_manifests(self):
        """{step: differences} of the steps that compare a submitted manifest."""
        found = {}
        for test, model in self.models.items():
            entry, document = self.submitted(self.mapped_patient(test))
            wanted = self.model_entry(test)
            path = self.folder / f"{test}.dcm"
            path.write_bytes(document)
            made = Manifest(path)
            found[f"{test}/ValidateKOS/ValidateKOS"] = model.differences(made)
            pairs = {"patientId": (patient_of(entry), patient_of(wanted)), "mimeType": (entry.get("mimeType"), wanted.get("mimeType")),
                     "formatCode": (format_of(entry), format_of(wanted)), "uniqueId": (unique_id_of(entry), value(made.data, "0008,0018"))}
            found[f"{test}/ValidateMetadata/ValidateMetadata"] = [f"{name} is {a} instead of {b}" for name, (a, b) in pairs.items() if a != b]
        return found

    def submitted(self, patient):
        """DocumentEntry and octets of the manifest of a patient, once the server has submitted it."""
        client = common.client(self.server)

        def entries():
            reply = client.query("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{patient}'",
                                                   "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"})
            return reply.objects("ExtrinsicObject")
        (entry,) = wait_until(entries, lambda: f"no manifest: {common.rows(self.server, 'SELECT manifest_failure FROM imaging_study')}")
        return entry, common.fetch(client, unique_id_of(entry)).documents()[unique_id_of(entry)]


def identifier(entry, scheme):
    """The value of an ExternalIdentifier."""
    return entry.xpath(f"string(*[local-name()='ExternalIdentifier'][@identificationScheme='{scheme}']/@value)")


def patient_of(entry):
    """DocumentEntry.patientId."""
    return identifier(entry, PATIENT_ID_SCHEME)


def unique_id_of(entry):
    """DocumentEntry.uniqueId."""
    return identifier(entry, common.UNIQUE_ID_SCHEME)


def format_of(entry):
    """DocumentEntry.formatCode: (code, coding scheme)."""
    (found,) = entry.xpath(f"*[local-name()='Classification'][@classificationScheme='{xds.CODES['formatCode'][0]}']")
    return found.get("nodeRepresentation"), "".join(found.xpath("*[local-name()='Slot'][@name='codingScheme']//text()")).strip()
