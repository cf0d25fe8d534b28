"""Three hospitals whose PACS push studies over TLS to a server in mode enforce, and every way to ask it for images: each gives the
bytes of the answer, of which marks() tells whose images are in it."""

import dataclasses
import io
import json
import re
import ssl
import struct
import subprocess
import time

from PIL import Image

from conformance import client as xds
from tests.harness import certs, dicom, dimse, saml, server as harness
from tests.harness.waiting import PATIENCE_S, becomes, wait_until
from tests.integration import audit_records, common

HOSPITALS = {"a": "1.2.392.99999.97.1", "b": "1.2.392.99999.97.2", "c": "1.2.392.99999.97.3"}
IMAGING_UID = "1.3.6.1.4.1.21367.13.80.110"
HOME = "urn:oid:1.2.392.99999.7.1"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
LEVEL, PATIENT_ID, ISSUER = (0x0008, 0x0052), (0x0010, 0x0020), (0x0010, 0x0021)
PATIENT_NAME, DESCRIPTION = (0x0010, 0x0010), (0x0008, 0x1030)
STUDY, SERIES, INSTANCE = (0x0020, 0x000D), (0x0020, 0x000E), (0x0008, 0x0018)
# What an image of a hospital looks like: dark and bright halves side by side, or one above the other.
PIXELS = {"a": (bytes(4) + b"\xff" * 4) * 8, "b": bytes(32) + b"\xff" * 32}
counter = iter(range(1, 1 << 30))


def new_uid():
    """Of this run alone, always of the same length."""
    return f"1.2.826.0.1.3680043.10.9.{time.time_ns()}.{1000000 + next(counter)}"


@dataclasses.dataclass
class Picture:
    """An instance as a hospital holds it. The mark is in its names, descriptions and pixels."""

    hospital: str
    patient: str
    study: str = dataclasses.field(default_factory=new_uid)
    series: str = dataclasses.field(default_factory=new_uid)
    uid: str = dataclasses.field(default_factory=new_uid)
    date: str = "20260105"
    time: str = "083000"
    issuer: str = ""
    bulk: str = "600-64"  # of its BulkDataURI

    def data_set(self):
        """Explicit VR Little Endian."""
        mark = f"MARK-{self.hospital}"
        elements = [
            (0x0008, 0x0016, "UI", CT_IMAGE), (0x0008, 0x0018, "UI", self.uid), (0x0008, 0x0020, "DA", self.date),
            (0x0008, 0x0030, "TM", self.time), (0x0008, 0x0060, "CS", "CT"), (0x0008, 0x1030, "LO", mark),
            (0x0010, 0x0010, "PN", f"{mark}^Kanja"), (0x0010, 0x0020, "LO", self.patient), (0x0010, 0x0021, "LO", self.issuer),
            (0x0020, 0x000D, "UI", self.study), (0x0020, 0x000E, "UI", self.series), (0x0020, 0x0013, "IS", "1"),
            (0x0028, 0x0002, "US", 1), (0x0028, 0x0004, "CS", "MONOCHROME2"), (0x0028, 0x0010, "US", 8), (0x0028, 0x0011, "US", 8),
            (0x0028, 0x0100, "US", 8), (0x0028, 0x0101, "US", 8), (0x0028, 0x0102, "US", 7), (0x0028, 0x0103, "US", 0),
            (0x7FE0, 0x0010, "OB", PIXELS[self.hospital])]
        out = b""
        for group, number, vr, value in elements:
            value = struct.pack("<H", value) if vr == "US" else value.encode() if isinstance(value, str) else value
            value += (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
            length = struct.pack("<HI", 0, len(value)) if vr == "OB" else struct.pack("<H", len(value))
            out += struct.pack("<HH2s", group, number, vr.encode()) + length + value
        return out

    def file(self):
        """The whole file (PS3.10)."""
        return dicom.part10(CT_IMAGE, self.uid, self.data_set())

    def path(self):
        """In DICOMweb."""
        return f"/dicomweb/studies/{self.study}/series/{self.series}/instances/{self.uid}"


def nowhere(like):
    """What nobody has, of UIDs as long."""
    return dataclasses.replace(like, study=new_uid(), series=new_uid(), uid=new_uid(), patient="N" * len(like.patient))


def marks(answer):
    """Of which hospitals there is something in an answer."""
    found = {mark.decode() for mark in re.findall(rb"MARK-([ab])", answer)}
    found |= {hospital for hospital, pixels in PIXELS.items() if pixels in answer}
    if b"\x89PNG" in answer:
        picture = Image.open(io.BytesIO(answer[answer.index(b"\x89PNG"):])).convert("L")
        right, below = picture.getpixel((picture.width - 1, 0)), picture.getpixel((0, picture.height - 1))
        found.add("a" if right > below else "b")
    return found


def masked(answer, picture):
    """Without the UIDs that were asked for, and what differs from answer to answer."""
    for value in (picture.study, picture.series, picture.uid, picture.patient):
        answer = answer.replace(value.encode(), b"(asked)")
    answer = re.sub(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", b"(uuid)", answer)
    answer = re.sub(rb"\[ref \w{5}\]", b"[ref]", answer)
    answer = re.sub(rb"Date: [^\r\n]*", b"", answer)
    return re.sub(rb"(--|boundary=\"?)[0-9A-Za-z_.-]{8,}", b"(boundary)", answer)


class Reader:
    """A node that asks."""

    def __init__(self, place, name, title=None):
        self.place, self.name = place, name
        self.title = title or name.upper().replace("-", "_")
        self.receiver = None  # of its C-MOVE
        folder = place.certs
        self.tls = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        self.tls.check_hostname = False
        self.tls.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        self.web = xds.SoapClient(f"https://127.0.0.1:{place.server.https_port}", folder / f"{name}.pem", folder / f"{name}.key",
                                  folder / "ca.pem")

    def associate(self, contexts, **how):
        """An association over TLS."""
        how.setdefault("calling", self.title)
        return dimse.Requestor(self.place.port, contexts, tls=self.tls, **how)

    def get(self, path, accept="*/*"):
        """Status, headers and body of a GET as bytes."""
        connection = self.web.opened()
        try:
            connection.request("GET", path, headers={"Accept": accept})
            response = connection.getresponse()
            return f"{response.status}\n{response.headers}\n".encode() + response.read()
        except BaseException:
            self.web.close()
            raise

    def store(self, *pictures):
        """C-STORE; the statuses."""
        association = self.associate([(CT_IMAGE, [dimse.EXPLICIT])])
        statuses = [association.store(CT_IMAGE, p.uid, dimse.EXPLICIT, p.data_set()) for p in pictures]
        association.release()
        return statuses

    def find(self, keys, model="S"):
        """C-FIND: the status and the matches."""
        association = self.associate([(dimse.FIND[model], [dimse.IMPLICIT])])
        status, matches = association.find({DESCRIPTION: "", PATIENT_NAME: "", **keys}, model)
        association.release()
        return f"{status:04X}".encode() + b"".join(matches)

    def retrieve(self, keys, model="S", destination=None):
        """C-GET, or C-MOVE: the responses and what came."""
        abstract = (dimse.MOVE if destination else dimse.GET)[model]
        contexts = [(abstract, [dimse.IMPLICIT]), (CT_IMAGE, [dimse.EXPLICIT])]
        association = self.associate(contexts, roles=() if destination else (CT_IMAGE,))
        before = len(self.receiver.instances) if destination else 0
        responses, instances = association.retrieve(keys, destination, model)
        association.release()
        if destination:
            instances = self.receiver.instances[before:]
        responses = [{key: value for key, value in response.items() if key not in (0, None)} for response in responses]
        return repr(responses).encode() + b"".join(instance[3] for instance in instances)

    def status(self, keys, destination=None):
        """The last status of a C-GET or C-MOVE."""
        abstract = (dimse.MOVE if destination else dimse.GET)["S"]
        association = self.associate([(abstract, [dimse.IMPLICIT]), (CT_IMAGE, [dimse.EXPLICIT])], roles=() if destination else (CT_IMAGE,))
        responses, _ = association.retrieve(keys, destination)
        association.release()
        return responses[-1][0x0900]

    def fetched(self, keys, destination=None):
        """The SOP Instance UIDs that a C-GET or C-MOVE brings."""
        answer = self.retrieve(keys, destination=destination)
        return sorted(uid.decode() for uid in re.findall(rb"\x08\x00\x18\x00UI..([0-9.]+)", answer, re.S))

    def matches(self, keys, tag):
        """Values of a tag in the matches of a C-FIND."""
        association = self.associate([(dimse.FIND["S"], [dimse.IMPLICIT])])
        _, matches = association.find(keys)
        association.release()
        return sorted(dimse.text(dimse.decode(match).get(tag)) for match in matches)

    def json(self, path, tag):
        """Values of a tag in an answer of DICOMweb."""
        body = self.get(path, "application/dicom+json").partition(b"\n\n")[2]
        return sorted(item[tag]["Value"][0] for item in json.loads(body or "[]"))

    def bulk(self, picture):
        """OFFSET-LENGTH of its pixels, as the metadata have them."""
        found = re.search(rb"/bulk/(\d+-\d+)", self.get(f"{picture.path()}/metadata"))
        return found[1].decode() if found else picture.bulk

    def retrieve_images(self, picture, header=None, transaction="RAD-69"):
        """RAD-69, or RAD-75 as the gateway of another community."""
        home, path = (HOME, "/gateway") if transaction == "RAD-75" else (None, "/imaging")
        body = xds.retrieve_images_xml([(picture.study, picture.series, IMAGING_UID, picture.uid)], [dimse.EXPLICIT], home)
        message = xds.envelope(xds.ACTIONS[transaction], body)
        reply = self.web.post(path, *xds.mtom(saml.with_header(message, header) if header else message, []))
        return f"{reply.status}\n".encode() + reply.raw


def _find(level, model="S"):
    def ask(reader, picture):
        keys = {LEVEL: level, STUDY: picture.study, SERIES: "", INSTANCE: ""}
        if level == "PATIENT":
            keys = {LEVEL: level, PATIENT_ID: picture.patient}
        elif level == "SERIES":
            keys[SERIES] = picture.series
        elif level == "IMAGE":
            keys.update({SERIES: picture.series, INSTANCE: picture.uid})
        if level == "STUDY" and model == "P":
            keys = {LEVEL: level, PATIENT_ID: picture.patient, STUDY: picture.study}
        return reader.find(keys, model)
    return ask


def _keys(level, picture):
    keys = {LEVEL: level, STUDY: picture.study}
    if level in ("SERIES", "IMAGE"):
        keys[SERIES] = picture.series
    if level == "IMAGE":
        keys[INSTANCE] = picture.uid
    return keys


def _get(level):
    return lambda reader, picture: reader.retrieve(_keys(level, picture))


def _move(level):
    return lambda reader, picture: reader.retrieve(_keys(level, picture), destination=f"TO_{reader.title}")


def _web(path, accept="*/*"):
    return lambda reader, picture: reader.get(
        path.format(study=picture.study, series=picture.series, uid=picture.uid, instance=picture.path(), bulk=picture.bulk), accept)


FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
# By UID: what a disclosure to view shows, and what only one to download does.
VIEWS = {
    "C-FIND study": _find("STUDY"), "C-FIND series": _find("SERIES"), "C-FIND image": _find("IMAGE"),
    "QIDO studies": _web("/dicomweb/studies?StudyInstanceUID={study}&includefield=all"),
    "QIDO series of a study": _web("/dicomweb/studies/{study}/series?includefield=all"),
    "QIDO series": _web("/dicomweb/series?SeriesInstanceUID={series}&includefield=all"),
    "QIDO instances of a study": _web("/dicomweb/studies/{study}/instances?includefield=all"),
    "QIDO instances of a series": _web("/dicomweb/studies/{study}/series/{series}/instances?includefield=all"),
    "QIDO instances": _web("/dicomweb/instances?SOPInstanceUID={uid}&includefield=all"),
    "metadata of a study": _web("/dicomweb/studies/{study}/metadata"),
    "metadata of a series": _web("/dicomweb/studies/{study}/series/{series}/metadata"),
    "metadata": _web("{instance}/metadata"),
    "rendered study": _web("/dicomweb/studies/{study}/rendered", 'multipart/related; type="image/png"'),
    "rendered": _web("{instance}/rendered", "image/png"),
    "rendered frame": _web("{instance}/frames/1/rendered", "image/png"),
    "thumbnail of a study": _web("/dicomweb/studies/{study}/thumbnail", "image/png"),
    "thumbnail": _web("{instance}/thumbnail", "image/png"),
    "WADO-URI image": _web("/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={uid}&contentType=image/png"),
}
ORIGINALS = {
    "WADO-RS study": _web("/dicomweb/studies/{study}", FILES),
    "WADO-RS series": _web("/dicomweb/studies/{study}/series/{series}", FILES),
    "WADO-RS instance": _web("{instance}", FILES),
    "frames": _web("{instance}/frames/1", OCTETS),
    "bulk data": _web("{instance}/bulk/{bulk}", OCTETS),
    "WADO-URI file": _web("/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={uid}&contentType=application/dicom"),
    "C-GET study": _get("STUDY"), "C-GET series": _get("SERIES"), "C-GET image": _get("IMAGE"),
    "C-MOVE study": _move("STUDY"), "C-MOVE series": _move("SERIES"), "C-MOVE image": _move("IMAGE"),
    "RAD-69": lambda reader, picture: reader.retrieve_images(picture),
    "RAD-75": lambda reader, picture: reader.retrieve_images(picture, transaction="RAD-75"),
}
SURFACES = {**VIEWS, **ORIGINALS}


def _patient_root(level, issuer, destination):
    def ask(reader, picture):
        keys = {LEVEL: level, PATIENT_ID: picture.patient, ISSUER: issuer, STUDY: picture.study if level == "STUDY" else None}
        keys = {key: value for key, value in keys.items() if value is not None}
        return reader.retrieve(keys, "P", f"TO_{reader.title}" if destination else None)
    return ask


def by_patient(issuer=""):
    """Surfaces that are asked by PatientID, with an issuer or without."""
    def find(level, model):
        return lambda reader, picture: reader.find({LEVEL: level, PATIENT_ID: picture.patient, ISSUER: issuer, **(
            {} if level == "PATIENT" else {STUDY: ""})}, model)

    def qido(path):
        suffix = f"&IssuerOfPatientID={issuer}" if issuer else ""
        return lambda reader, picture: reader.get(f"{path}?PatientID={picture.patient}{suffix}&includefield=all")
    return {
        "C-FIND patient": find("PATIENT", "P"), "C-FIND study, patient root": find("STUDY", "P"), "C-FIND study": find("STUDY", "S"),
        "QIDO studies": qido("/dicomweb/studies"), "QIDO series": qido("/dicomweb/series"), "QIDO instances": qido("/dicomweb/instances"),
        "C-GET patient": _patient_root("PATIENT", issuer, False), "C-GET study": _patient_root("STUDY", issuer, False),
        "C-MOVE patient": _patient_root("PATIENT", issuer, True), "C-MOVE study": _patient_root("STUDY", issuer, True),
    }


def spool_end(path):
    """(segment, offset) behind the last record of a segment (atna/README.md, The spool)."""
    offset = 0
    with open(path, "rb") as segment:
        while len(header := segment.read(16)) == 16 and any(header):
            offset += 16 + struct.unpack_from("<I", header, 4)[0]
            segment.seek(offset)
    return int(path.stem, 16), offset


class Place:
    """The server, its nodes, and who asks."""

    NODES = {  # name: hospital, transactions, AE title
        "pacs-a": ("a", "*", "PACS_A"), "pacs-b": ("b", "*", "PACS_B"), "viewer-c": ("c", "*", "VIEWER_C"),
        "storer-a": ("a", "RAD-8", "STORER_A"), "finder-a": ("a", "RAD-14", "FINDER_A"), "fetcher-a": ("a", "RAD-16", "FETCHER_A"),
        "documents-a": ("a", "ITI-8,ITI-18,RAD-69", "DOCUMENTS_A"), "gone-a": ("a", "*", "GONE_A"), "revoked-a": ("a", "*", "REVOKED_A")}

    def __init__(self):
        self.certs = common.make_certs(("server", "stranger", *self.NODES))
        certs.make_crl(self.certs, "revoked-a")
        common.give_to_service_user(self.certs)
        self.port, = harness.free_ports(1)
        self.server = harness.Server(certs=self.certs, mode="enforce", settings={
            "server": {"roles": "registry, repository, pix, atna, imaging", "plain_http_listen": None, "plain_mllp_listen": None,
                       "tls_crl": self.certs / "crl.pem"},
            "imaging": {"dicom_listen": f"127.0.0.1:{self.port}", "unique_id": IMAGING_UID, "manifest_delay": "7d"},
            "affinity_domain": {"home_community_id": HOME},
            "xua": {"registry": "record", "repository": "record", "audiences": saml.AUDIENCE}})
        self.readers = {}

    def start(self):
        """With every node, its AE, and a receiver for each of the three that move images."""
        self.server.start()
        command = self.server.command
        for hospital, oid in HOSPITALS.items():
            command("facility", "add", f"hospital-{hospital}")
            command("authority", "add", oid, "--namespace", f"H{hospital.upper()}", "--facility", f"hospital-{hospital}", "--source", "*|*")
        for name, (hospital, transactions, title) in self.NODES.items():
            self.register(name, hospital, transactions, title)
        for name in ("pacs-a", "pacs-b", "viewer-c"):
            reader = self.reader(name)
            reader.receiver = dimse.Acceptor()
            command("ae", "add", f"TO_{reader.title}", "--node", name, "--address", f"127.0.0.1:{reader.receiver.port}", "--plain")
        command("node", "revoke", "gone-a")
        self.server.wait_until_refreshed()

    def register(self, name, hospital, transactions, title):
        """A node and its AE."""
        self.server.command("node", "add", name, "--facility", f"hospital-{hospital}", "--certificate", str(self.certs / f"{name}.pem"),
                            "--transactions", transactions, "--source", "*|*")
        self.server.command("ae", "add", title, "--node", name)

    def add_node(self, *node):
        """One more, with a certificate of its own; known to the server on return."""
        certs.make_one(self.certs, node[0])
        self.register(*node)
        self.server.wait_until_refreshed()

    def reader(self, name):
        """A node that asks; one for each name."""
        if name not in self.readers:
            self.readers[name] = Reader(self, name)
        return self.readers[name]

    def feed(self, hospital, number):
        """ITI-8 A01 in the domain of a hospital, by its PACS."""
        folder = self.certs
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllps_port}", folder / f"pacs-{hospital}.pem", folder / f"pacs-{hospital}.key",
                              folder / "ca.pem")
        reply = mllp.send(xds.adt("A01", f"{number}^^^&{HOSPITALS[hospital]}&ISO", name=f"MARK-{hospital}^Kanja"))
        mllp.close()
        if xds.acknowledgement(reply) != "AA":
            raise AssertionError(reply)

    def enroll(self, hospital, number, *disclosures):
        """Takes part; disclosures: (source, reader, level, further arguments)."""
        self.server.command("patient", "enroll", f"H{hospital.upper()}:{number}")
        for source, reader, level, *further in disclosures:
            self.disclose(hospital, number, source, reader, level, *further)

    def disclose(self, hospital, number, source, reader, level, *further):
        """musubi disclosure add --permit."""
        self.server.command("disclosure", "add", "--patient", f"H{hospital.upper()}:{number}", "--source", f"hospital-{source}",
                            "--reader", f"hospital-{reader}", "--permit", "--level", level, *further)

    def xad_pid(self, hospital, number):
        """Of the patient whom a hospital knows by this number."""
        shown = self.server.command("patient", "show", f"H{hospital.upper()}:{number}", "--json").stdout
        return json.loads(shown)["xad_pid"]

    def records(self, since=None, count=0):
        """How many audit records there are; with such a number, those that came since then, once there are so many."""
        if since is None:
            return self.settled()
        becomes(lambda: self.settled() >= since + count)
        found = common.rows(self.server, "SELECT raw FROM audit_record ORDER BY received_at, sequence OFFSET %s", since)
        return audit_records.read("\n".join(bytes(raw).decode() for raw, in found))

    def settled(self):
        """How many audit records there are once all that was recorded so far is loaded, and no more come."""
        count = -1
        while True:
            wait_until(self.is_all_loaded, "audit events wait to be loaded")
            (now,), = common.rows(self.server, "SELECT count(*) FROM audit_record")
            if now == count:
                return now
            count = now
            time.sleep(0.2)

    def is_all_loaded(self):
        """Whether every event has gone its way: audit_outbox, spool, audit_record."""
        (waiting,), = common.rows(self.server, "SELECT count(*) FROM audit_outbox")
        ends = [spool_end(path) for path in (self.server.dir / "data" / "audit").glob("*.spool")]
        (loaded,) = common.rows(self.server, "SELECT own_segment, own_offset FROM audit_chain ORDER BY id DESC LIMIT 1")
        return waiting == 0 and all(segment < loaded[0] or offset == 0 or (segment, offset) <= loaded for segment, offset in ends)

    def tool(self, tool, *arguments, node="pacs-a", calling=None, called="MUSUBI", with_certificate=True):
        """One of DCMTK's programs over TLS: its return code and all it printed."""
        tls = ["+tls", str(self.certs / f"{node}.key"), str(self.certs / f"{node}.pem")] if with_certificate else ["+tla"]
        done = subprocess.run([tool, "-v", *tls, "+cf", str(self.certs / "ca.pem"), "-aet", calling or node.upper().replace("-", "_"),
                               "-aec", called, "127.0.0.1", str(self.port), *map(str, arguments)],
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        return done.returncode, done.stdout + done.stderr

    def close(self):
        """Ends all of it."""
        for reader in self.readers.values():
            reader.web.close()
            if reader.receiver:
                reader.receiver.close()
        self.server.close()
