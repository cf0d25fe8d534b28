#!/usr/bin/python3
"""A small region on this machine: starts the server with a private database and certificates, plays the main job end to
end over mutual TLS, prints each step, and says what to try next. `--once` stops at the end; the exit status tells whether
every step held."""

import argparse
import collections
import io
import json
import os
import pathlib
import pwd
import shutil
import signal
import ssl
import subprocess
import sys
import time

import pydicom

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from conformance import client as xds  # noqa: E402  pylint: disable=wrong-import-position
from tests.harness import certs, dicom, server as harness  # noqa: E402  pylint: disable=wrong-import-position

NODES = (  # name, facility, transactions, HL7 source, operator
    ("gateway-a", "Hospital A", "ITI-8,ITI-9,ITI-18,ITI-41,ITI-42,ITI-43", "GATEWAY|HOSPITAL-A", False),
    ("gateway-b", "Hospital B", "ITI-8,ITI-9,ITI-18,ITI-41,ITI-42,ITI-43", "GATEWAY|HOSPITAL-B", False),
    ("pacs-a", "Hospital A", "RAD-8,RAD-10", None, False),
    ("viewer-a", "Hospital A", "ITI-18,ITI-43,RAD-69,RAD-107,RAD-129", None, False),
    ("auditor", "Data center", "ITI-20", None, False),
    ("operator", "Data center", "ITI-18", None, True),
)
# One woman under two numbers, as the two hospitals know her: another form of a kanji, and no kanji of her address.
PATIENT_A = "1001^^^HOSP-A&1.2.392.99999.2.1&ISO"
PATIENT_B = "20077^^^HOSP-B&1.2.392.99999.2.3&ISO"
RECORD_A = ("髙橋^花子^^^^^L^I~タカハシ^ハナコ^^^^^L^P||19700102|F|||^^渋谷区^東京都^150-0001||^PRN^PH^^^^^^^^^03-1234-5678")
RECORD_B = ("高橋^花子^^^^^L^I~タカハシ^ハナコ^^^^^L^P||19700102|F|||^^^^150-0001||^PRN^PH^^^^^^^^^03-1234-5678")
SOURCE_PATIENT = "1001^^^&1.2.392.99999.2.1&ISO"
PACS_NUMBER = "0000001001"
PORTS = collections.namedtuple("Ports", "https mllp dicom admin")(8443, 2576, 2762, 9443)  # as README.md has them
IMAGING_UID = "1.3.6.1.4.1.21367.13.80.110"
WAIT_S = 60  # until something must have come that takes a second or a few

CDA = """<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3">
  <typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
  <id root="1.2.392.99999.1" extension="referral-1"/>
  <code code="57133-1" codeSystem="2.16.840.1.113883.6.1" displayName="Referral note"/>
  <title>診療情報提供書</title>
  <effectiveTime value="20260401093000+0900"/>
  <languageCode code="ja-JP"/>
  <component><nonXMLBody><text>髙橋 花子 様。経過良好。</text></nonXMLBody></component>
</ClinicalDocument>
""".encode()
CDA_CORRECTED = CDA.replace("経過良好".encode(), "経過良好。四週間後に再診".encode())


def make_pdf(text):
    """A one-page PDF."""
    stream = f"BT /F1 18 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
               b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
               b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
               b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    out = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"xref\n0 6\n0000000000 65535 f \n" + table + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(out)


def data_set(file):
    """The bytes behind the file meta information: what must not change on its way."""
    return file[144 + int.from_bytes(file[140:144], "little"):]


class Demo:
    """The region and the steps that it plays."""

    def __init__(self, folder, ports=PORTS):
        self.folder = folder
        self.ports = ports
        self.failed = 0
        self.patient = ""
        self.study = None
        self.certs = certs.make(folder / "certs")
        self._open_to_service_user()
        self.server = harness.Server(data_dir=folder, certs=self.certs, mode="enforce",
                                     settings={"server": {"plain_http_listen": None, "plain_mllp_listen": None,
                                                          "https_listen": f"0.0.0.0:{ports.https}", "mllp_listen": f"0.0.0.0:{ports.mllp}",
                                                          "admin_listen": f"127.0.0.1:{ports.admin}",
                                                          "roles": "registry, repository, pix, atna, imaging"},
                                               "imaging": {"dicom_listen": f"0.0.0.0:{ports.dicom}", "unique_id": IMAGING_UID,
                                                           "manifest_delay": "2s", "public_url": f"https://localhost:{ports.https}/dicomweb"}})
        self.server.https_port, self.server.mllps_port, self.server.admin_port = ports.https, ports.mllp, ports.admin

    def _open_to_service_user(self):
        user = harness.service_user()
        if user:
            for path in self.certs.iterdir():
                os.chown(path, user.pw_uid, user.pw_gid)

    def step(self, what, held, detail=""):
        """Prints one step and remembers whether it held."""
        self.failed += not held
        print(f"  {'ok  ' if held else 'FAIL'} {what}{': ' + str(detail) if detail else ''}", flush=True)
        return held

    @staticmethod
    def wait(ask, is_there=bool):
        """What ask() gives when it is there, or else at last."""
        deadline = time.monotonic() + WAIT_S
        found = ask()
        while not is_there(found) and time.monotonic() < deadline:
            time.sleep(0.2)
            found = ask()
        return found

    def client(self, role):
        """A SOAP client with the certificate of a role."""
        return xds.SoapClient(f"https://127.0.0.1:{self.server.https_port}", self.certs / f"{role}.pem",
                              self.certs / f"{role}.key", self.certs / "ca.pem")

    def register_nodes(self):
        """musubi facility add and node add for each of the region's nodes."""
        for facility in sorted({row[1] for row in NODES}):
            self.server.command("facility", "add", facility, check=False)
        for name, facility, transactions, source, is_operator in NODES:
            arguments = ["node", "add", name, "--facility", facility, "--certificate", str(self.certs / f"{name}.pem"),
                         "--transactions", transactions]
            arguments += ["--source", source] if source else []
            arguments += ["--operator"] if is_operator else []
            result = self.server.command(*arguments, check=False)
            known = "already" in result.stderr
            self.step(f"node {name} of {facility} registered", result.returncode == 0 or known, result.stderr.strip()[-200:])

    def register_application_entity(self):
        """musubi ae add: what the PACS calls itself, and whose numbers its images have."""
        self.musubi("musubi ae add PACS_A --node pacs-a --authority HOSP-A", "ae", "add", "PACS_A", "--node", "pacs-a", "--authority", "HOSP-A")

    def is_everybody_known(self):
        """Whether the running server has noticed the nodes and the AE."""
        known = [self.client(name).query("GetDocuments", {"$XDSDocumentEntryUniqueId": "('1.2')"}).outcome != "Fault"
                 for name in ("gateway-a", "gateway-b", "viewer-a")]
        return all(known) and self.dcmtk("echoscu").returncode == 0

    def import_authorities(self):
        """musubi authority import: the number ranges of the two hospitals, and of a PACS that sends no feed."""
        result = self.server.command("authority", "import", str(ROOT / "tests" / "demo" / "authorities.csv"), check=False)
        self.step("authorities of both hospitals imported", result.returncode == 0, (result.stdout + result.stderr).strip())

    def hl7(self, gateway, message):
        """The reply to one HL7 v2 message over MLLP with mutual TLS."""
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllps_port}", self.certs / f"{gateway}.pem",
                              self.certs / f"{gateway}.key", self.certs / "ca.pem")
        reply = mllp.send(message)
        mllp.close()
        return reply

    def feed(self, gateway, facility, identifier, record):
        """ITI-8 A01: a hospital's own number with what it knows of the patient."""
        message = xds.adt("A01", identifier, sender=("GATEWAY", facility), charset="UNICODE UTF-8", name=record)
        reply = self.wait(lambda: self.hl7(gateway, message), lambda reply: xds.acknowledgement(reply) == "AA")
        is_good = xds.acknowledgement(reply) == "AA"
        self.step(f"ITI-8   {identifier.split('^')[0]} fed by {gateway} (ADT^A01 over MLLP/TLS)", is_good,
                  "AA" if is_good else reply.replace("\r", " ")[:400])

    def ask_xad_pid(self, gateway, facility, identifier):
        """ITI-9: the number of the region for a hospital's number."""
        stamp = time.strftime("%Y%m%d%H%M%S")
        query = "\r".join((
            f"MSH|^~\\&|GATEWAY|{facility}|MUSUBI|CENTER|{stamp}||QBP^Q23^QBP_Q21|{time.time_ns()}|P|2.5||||||UNICODE UTF-8",
            f"QPD|IHE PIX Query|{time.time_ns()}|{identifier}|^^^&{harness.AUTHORITY}&ISO", "RCP|I", ""))
        reply = self.hl7(gateway, query)
        pid = next((line.split("|") for line in reply.split("\r") if line.startswith("PID|")), None)
        found = pid[3].split("^")[0] if pid else ""
        self.step(f"ITI-9   {gateway} asks for the region's number of {identifier.split('^')[0]}", bool(found),
                  found or reply.replace("\r", " ")[:400])
        return found

    def identify(self):
        """Two hospitals feed the same woman; the region gives her one number."""
        self.feed("gateway-a", "HOSPITAL-A", PATIENT_A, RECORD_A)
        self.feed("gateway-b", "HOSPITAL-B", PATIENT_B, RECORD_B)
        xad_pid = self.ask_xad_pid("gateway-a", "HOSPITAL-A", PATIENT_A)
        other = self.ask_xad_pid("gateway-b", "HOSPITAL-B", PATIENT_B)
        self.step("both numbers are one patient, by demographics (髙 and 高)", xad_pid != "" and xad_pid == other)
        test = self.server.command("authority", "test", PACS_NUMBER, "--json", check=False)
        known = [item for item in json.loads(test.stdout)["candidates"] if item["xad_pid"] == xad_pid] if test.stdout else []
        self.step(f"musubi authority test {PACS_NUMBER}, a number of a PACS without feed", bool(known),
                  known[0]["why"] if known else test.stdout + test.stderr)
        self.patient = f"{xad_pid}^^^&{harness.AUTHORITY}&ISO"
        self.write_requests(xad_pid)

    def write_requests(self, xad_pid):
        """Messages of this patient for a reader who wants to send some himself."""
        folder = self.folder / "requests"
        folder.mkdir(exist_ok=True)
        for path in (ROOT / "tests" / "demo" / "requests").iterdir():
            (folder / path.name).write_bytes(path.read_bytes().replace(b"@XAD-PID@", xad_pid.encode()))

    def submit(self):
        """ITI-41: a CDA referral and a PDF in one submission."""
        cda = xds.Document(self.patient, CDA, "text/xml", id="Document01", title="診療情報提供書", source_patient=SOURCE_PATIENT)
        pdf = xds.Document(self.patient, make_pdf("Laboratory report"), "application/pdf", id="Document02", title="検査結果", source_patient=SOURCE_PATIENT)
        reply = self.client("gateway-a").provide(xds.Submission(self.patient, [cda, pdf]))
        self.step("ITI-41  CDA and PDF submitted by gateway-a over mutual TLS", reply.outcome == "Success", reply.errors or reply.outcome)
        return cda, pdf

    def store_image(self):
        """C-STORE by DCMTK: a study of its own each time. Its texts are Shift_JIS, of which the image says nothing."""
        self.study = dicom.Study(int(time.time()) % dicom.NUMBER_BASE, PATIENT_A.partition("^")[0], "高橋^花子", "sjis_undeclared", description="胸部CT")
        (self.folder / "requests" / "image.dcm").write_bytes(self.study.image(size=128))
        sent = self.dcmtk("storescu", self.folder / "requests" / "image.dcm")
        self.step("C-STORE a CT image pushed by pacs-a over mutual TLS (DCMTK storescu)", sent.returncode == 0, sent.stderr.strip()[-200:])

    def dcmtk(self, tool, *arguments):
        """One of DCMTK's programs as PACS_A."""
        return subprocess.run([tool, "+tls", str(self.certs / "pacs-a.key"), str(self.certs / "pacs-a.pem"), "+cf", str(self.certs / "ca.pem"),
                               "-aet", "PACS_A", "-aec", "MUSUBI", "localhost", str(self.ports.dicom), *map(str, arguments)],
                              check=False, capture_output=True, text=True, timeout=300)

    def manifests(self, node="viewer-a"):
        """ITI-18 for imaging documents: uniqueIds of the manifests of this study."""
        reply = self.client(node).query("FindDocumentsByReferenceId", {
            "$XDSDocumentEntryPatientId": f"'{self.patient}'", "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')",
            "$XDSDocumentEntryReferenceIdList": f"('{self.study.uid}^^^^urn:ihe:iti:xds:2016:studyInstanceUID')"})
        return [entry.xpath("rim:ExternalIdentifier[@identificationScheme='urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab']/@value",
                            namespaces=xds.NS)[0] for entry in reply.objects("ExtrinsicObject")]

    def show_images(self):
        """What a viewer does who knows the patient's number and the registry."""
        found = self.wait(self.manifests)
        if not self.step("ITI-18  the study is in the registry, by a manifest that Musubi made", len(found) == 1, found[0] if found else "none"):
            return
        manifest = self.client("viewer-a").retrieve([(harness.REPOSITORY_UID, found[0])]).documents().get(found[0], b"")
        listed = self.listed(manifest)
        self.step("ITI-43  the manifest fetched: one image, and where it is", listed == [(
            self.study.uid, self.study.series_uid(), IMAGING_UID, self.study.sop_uid(0, 0))], f"{len(manifest)} bytes")
        sent = (self.folder / "requests" / "image.dcm").read_bytes()
        reply = self.client("viewer-a").retrieve_images(listed, [dicom.EXPLICIT])
        got = reply.documents().get(self.study.sop_uid(0, 0), b"")
        self.step("RAD-69  the image fetched by viewer-a, data set byte-identical", data_set(got) == data_set(sent), f"{len(got)} bytes")
        status, body = self.get("viewer-a", f"/dicomweb/studies/{self.study.uid}/rendered", 'multipart/related; type="image/jpeg"')
        self.step("WADO-RS viewer-a gets the study as a picture", status == 200 and b"\xff\xd8\xff" in body, f"{len(body)} bytes")
        status, body = self.get("viewer-a", f"/dicomweb/studies?StudyInstanceUID={self.study.uid}&includefield=all", "application/dicom+json")
        self.step("QIDO-RS names and texts are readable, though the image declares no character set",
                  status == 200 and "高橋^花子" in body.decode() and "胸部CT" in body.decode())
        why = ("why", "--node", "gateway-b", "--study", self.study.uid)
        text = self.musubi("musubi why --node gateway-b --study ... says what is missing", *why, status=1)
        self.step("        and names the command that changes it", "musubi disclosure add" in text)

    @staticmethod
    def listed(manifest):
        """What a Key Object Selection lists, as RAD-69 asks for it."""
        try:
            selection = pydicom.dcmread(io.BytesIO(manifest))
        except pydicom.errors.InvalidDicomError:
            return []
        return [(str(study.StudyInstanceUID), str(series.SeriesInstanceUID), str(series.RetrieveLocationUID), str(item.ReferencedSOPInstanceUID))
                for study in selection.CurrentRequestedProcedureEvidenceSequence for series in study.ReferencedSeriesSequence
                for item in series.ReferencedSOPSequence]

    def get(self, node, path, accept):
        """Status and body of a GET with the certificate of a node."""
        client = self.client(node)
        connection = client._connect()  # pylint: disable=protected-access
        try:
            connection.request("GET", path, headers={"Accept": accept})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def musubi(self, what, *arguments, status=0):
        """One musubi command as a step; gives what it printed."""
        result = self.server.command(*arguments, check=False)
        self.step(what, result.returncode == status, (result.stdout + result.stderr).strip().split("\n")[0])
        return result.stdout

    def enroll(self):
        """Nothing of a patient is shown until she takes part."""
        self.step("ITI-18  nothing is shown of a patient who is not enrolled", not self.find())
        self.musubi("musubi patient enroll HOSP-A:1001 --form K-2026-117", "patient", "enroll", "HOSP-A:1001", "--form", "K-2026-117")

    def disclose(self, document):
        """Hospital B sees what Hospital A has only by a rule, and the rule can be looked up and revoked."""
        why = ("why", "--node", "gateway-b", "--document", document.unique_id)
        self.step("ITI-18  gateway-b lists nothing of Hospital A", document.unique_id not in self.find(node="gateway-b"))
        refused = self.client("gateway-b").retrieve([(harness.REPOSITORY_UID, document.unique_id)])
        self.step("ITI-43  gateway-b is told that there is no such document", refused.errors[:1] != [] and
                  refused.errors[0][0] == "XDSDocumentUniqueIdError", refused.errors[0][0] if refused.errors else refused.outcome)
        text = self.musubi("musubi why --node gateway-b --document ... says what is missing", *why, status=1)
        self.step("         and names the command that changes it", "musubi disclosure add" in text)
        self.musubi("musubi disclosure add: Hospital B may download what Hospital A has of her", "disclosure", "add", "--patient", "HOSP-A:1001",
                    "--source", "Hospital A", "--reader", "Hospital B", "--permit", "--level", "download", "--reason", "referral")
        got = self.client("gateway-b").retrieve([(harness.REPOSITORY_UID, document.unique_id)]).documents()
        self.step("ITI-43  gateway-b fetches it, byte-identical", got.get(document.unique_id) == document.content)
        self.musubi("musubi why names the rule that permits it", *why)
        rules = json.loads(self.server.command("disclosure", "list", "--patient", "HOSP-A:1001", "--json").stdout)
        for rule in rules:
            self.musubi("musubi disclosure revoke acts at once", "disclosure", "revoke", str(rule["number"]))
        self.step("ITI-18  gateway-b lists nothing any more", document.unique_id not in self.find(node="gateway-b"))

    def withdraw(self):
        """A withdrawal acts at once; afterwards she takes part again."""
        self.musubi("musubi patient withdraw HOSP-A:1001", "patient", "withdraw", "HOSP-A:1001", "--form", "K-2026-118")
        self.step("ITI-18  viewer-a lists nothing of her, in her own hospital", not self.find())
        self.musubi("musubi patient enroll HOSP-A:1001 again", "patient", "enroll", "HOSP-A:1001", "--form", "K-2026-119")

    def find(self, status="Approved", node="viewer-a"):
        """ITI-18 FindDocuments: {uniqueId: entryUUID}."""
        reply = self.client(node).query("FindDocuments", {
            "$XDSDocumentEntryPatientId": f"'{self.patient}'", "$XDSDocumentEntryStatus": f"('{xds.STATUS}{status}')"})
        found = {}
        for entry in reply.objects("ExtrinsicObject"):
            unique_id = entry.xpath("rim:ExternalIdentifier[@identificationScheme='urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab']/@value", namespaces=xds.NS)[0]
            found[unique_id] = entry.get("id")
        return found

    def fetch(self, documents):
        """ITI-43 by viewer-a, compared byte by byte."""
        reply = self.client("viewer-a").retrieve([(harness.REPOSITORY_UID, d.unique_id) for d in documents])
        got = reply.documents()
        identical = all(got.get(d.unique_id) == d.content for d in documents)
        self.step("ITI-43  both fetched by viewer-a, byte-identical", reply.outcome == "Success" and identical, f"{sum(len(c) for c in got.values())} bytes")

    def replace(self, entry_uuid):
        """ITI-41 with RPLC: the corrected referral."""
        new = xds.Document(self.patient, CDA_CORRECTED, "text/xml", title="診療情報提供書（訂正）", source_patient=SOURCE_PATIENT)
        submission = xds.Submission(self.patient, [new], associations=[
            xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", new.id, entry_uuid)])
        reply = self.client("gateway-a").provide(submission)
        self.step("ITI-41  referral replaced by gateway-a (RPLC)", reply.outcome == "Success", reply.errors or reply.outcome)
        return new

    def denied(self):
        """Nobody without a certificate, and no certificate that is not registered, gets anything."""
        nobody = xds.SoapClient(f"https://127.0.0.1:{self.server.https_port}", ca=self.certs / "ca.pem")
        try:
            reply = nobody.query("GetDocuments", {"$XDSDocumentEntryUniqueId": "('1.2')"})
            held, detail = False, f"HTTP {reply.status}"
        except (ssl.SSLError, ConnectionError, OSError) as error:
            held, detail = True, type(error).__name__
        self.step("denied without certificate", held, detail)
        reply = self.client("stranger").query("GetDocuments", {"$XDSDocumentEntryUniqueId": "('1.2')"})
        self.step("denied with a certificate that is not registered", reply.outcome == "Fault", f"HTTP {reply.status} SOAP Fault")

    def audit(self):
        """The audit trail has each of these transactions."""
        wanted = ("ITI-8", "ITI-9", "ITI-41", "ITI-18", "ITI-43", "RAD-8", "RAD-69", "RAD-107", "110126")
        messages = []

        def missing():
            result = self.server.command("audit", "search", "--json", check=False)
            messages[:] = [json.loads(line)["message"] for line in result.stdout.splitlines()]
            return [w for w in wanted if not any(f'"{w}"' in message for message in messages)]
        lacking = self.wait(missing, lambda found: not found)
        self.step("audit events written", not lacking, f"missing {lacking}" if lacking else f"{len(messages)} records")

    def play(self):
        """All steps in order."""
        self.register_nodes()
        self.import_authorities()
        self.register_application_entity()
        self.wait(self.is_everybody_known)
        self.identify()
        self.store_image()
        self.musubi("musubi patient withdraw HOSP-A:1001, so that the demo begins anew", "patient", "withdraw", "HOSP-A:1001")
        cda, pdf = self.submit()
        self.enroll()
        found = self.find()
        self.step("ITI-18  both listed by viewer-a (FindDocuments)", {cda.unique_id, pdf.unique_id} <= set(found), f"{len(found)} entries")
        self.fetch([cda, pdf])
        new = self.replace(found.get(cda.unique_id, "urn:uuid:00000000-0000-4000-8000-000000000000"))
        approved, deprecated = self.find(), self.find("Deprecated")
        self.step("ITI-18  replacement Approved, original Deprecated", new.unique_id in approved and cda.unique_id in deprecated and cda.unique_id not in approved)
        self.show_images()
        self.disclose(new)
        self.withdraw()
        self.denied()
        self.audit()

    def print_next(self):
        """What to try next."""
        c = self.certs
        print(f"""
The region keeps serving. Configuration: {self.server.config_path}
  {harness.binary()} status --config {self.server.config_path}
  {harness.binary()} node list --config {self.server.config_path}
  {harness.binary()} patient show HOSP-A:1001 --config {self.server.config_path}
  {harness.binary()} authority test {PACS_NUMBER} --config {self.server.config_path}
  {harness.binary()} why --node gateway-b --patient HOSP-A:1001 --facility 'Hospital A' --config {self.server.config_path}
  {harness.binary()} study list --config {self.server.config_path}
  {harness.binary()} why --node gateway-b --study {self.study.uid} --config {self.server.config_path}
  {harness.binary()} disclosure list --config {self.server.config_path}
  curl http://127.0.0.1:9443/metrics
  curl --cacert {c}/ca.pem --cert {c}/viewer-a.pem --key {c}/viewer-a.key 'https://localhost:8443/registry?wsdl'
Stop with Ctrl-C.""", flush=True)


def is_reachable(folder, user):
    """Whether the service user gets there."""
    return subprocess.run(["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "test", "-x", str(folder)],
                          check=False).returncode == 0


def demo_folder():
    """var/demo in the clone; where the service user cannot reach the clone, /var/lib/musubi-demo, to which var/demo links then."""
    folder = ROOT / "var" / "demo"
    folder.parent.mkdir(exist_ok=True)
    if folder.is_symlink():
        folder.unlink()
    user = harness.service_user()
    if not user or is_reachable(folder.parent, user):
        folder.mkdir(exist_ok=True)
        return folder
    elsewhere = pathlib.Path("/var/lib/musubi-demo")
    elsewhere.mkdir(exist_ok=True)
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.symlink_to(elsewhere)
    print(f"The clone is not reachable for user {pwd.getpwuid(user.pw_uid).pw_name}: the data goes to {elsewhere}", flush=True)
    return elsewhere


def main():
    """Plays the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop at the end")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # either stops the server too, also where a shell has SIGINT ignored
    folder = demo_folder()
    demo = Demo(folder)
    print("Musubi demo: a region of two hospitals and a data center", flush=True)
    try:
        demo.server.start()
    except harness.ServerFailed as error:
        print(f"{error}\nTo begin anew, remove {folder}", file=sys.stderr)
        return 1
    demo.step("server ready (embedded PostgreSQL, mutual TLS)", True, "https://localhost:8443, MLLP 2576, DICOM 2762, admin 127.0.0.1:9443")
    try:
        demo.play()
        print("every step held" if not demo.failed else f"{demo.failed} steps FAILED", flush=True)
        if not arguments.once:
            demo.print_next()
            signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        status = demo.server.stop()
        demo.server.stop_postgres()
    return 1 if demo.failed or status else 0


if __name__ == "__main__":
    sys.exit(main())
