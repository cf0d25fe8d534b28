#!/usr/bin/python3
"""Makes the zstd dictionary of rendered metadata.

    train.py --templates BUILD/lib/ebrim/metadata_templates --output metadata_2.dict --id 2

Invents submissions as different senders write them (seeded, so that a run can be repeated), turns them into templates
with the tool built beside it, and trains on these. All names and numbers are invented.
"""

import argparse
import os
import random
import subprocess
import tempfile
import uuid
from xml.sax.saxutils import escape, quoteattr

RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
LCM = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
STABLE = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
ON_DEMAND = "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"
SET_NODE = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
FOLDER_NODE = "urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2"
SCHEMES = {
    "author": "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d",
    "class": "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a",
    "confidentiality": "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f",
    "event": "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4",
    "format": "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d",
    "facility": "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1",
    "practice": "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead",
    "type": "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983",
    "set_author": "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d",
    "content": "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500",
    "folder": "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5",
}
IDENTIFIERS = {
    "XDSDocumentEntry.patientId": "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427",
    "XDSDocumentEntry.uniqueId": "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab",
    "XDSSubmissionSet.patientId": "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446",
    "XDSSubmissionSet.sourceId": "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832",
    "XDSSubmissionSet.uniqueId": "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8",
    "XDSFolder.patientId": "urn:uuid:f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a",
    "XDSFolder.uniqueId": "urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a",
}

LOINC = "2.16.840.1.113883.6.1"
SNOMED = "2.16.840.1.113883.6.96"
CONFIDENTIALITY = "2.16.840.1.113883.5.25"
FORMAT = "1.3.6.1.4.1.19376.1.2.3"
HL7_FORMAT = "2.16.840.1.113883.4.642.1.1407"
DICOM_UID = "1.2.840.10008.2.6.1"
DICOM = "1.2.840.10008.2.16.4"
JAHIS = "1.2.392.200270.4.2"
LOCAL_JA = "1.2.392.200119.5.2.7"

# (code, coding scheme, English, Japanese)
CODES = {
    "class": [
        ("11488-4", LOINC, "Consult note", "診察記録"), ("18842-5", LOINC, "Discharge summary", "退院時サマリー"),
        ("57133-1", LOINC, "Referral note", "診療情報提供書"), ("11502-2", LOINC, "Laboratory report", "検体検査報告書"),
        ("18748-4", LOINC, "Diagnostic imaging study", "画像診断レポート"), ("57833-6", LOINC, "Prescription", "処方箋"),
        ("REF", JAHIS, "Referral", "紹介状"), ("LAB", JAHIS, "Laboratory", "検査結果"), ("IMG", JAHIS, "Imaging", "画像"),
    ],
    "type": [
        ("34133-9", LOINC, "Summary of episode note", "診療サマリー"), ("11506-3", LOINC, "Progress note", "経過記録"),
        ("28570-0", LOINC, "Procedure note", "処置記録"), ("11504-8", LOINC, "Surgical operation note", "手術記録"),
        ("34117-2", LOINC, "History and physical note", "入院時記録"), ("60591-5", LOINC, "Patient summary", "患者サマリー"),
        ("57170-3", LOINC, "Cardiology referral note", "循環器科紹介状"), ("18782-3", LOINC, "Radiology Study observation", "放射線読影報告"),
        ("11526-1", LOINC, "Pathology study", "病理診断報告書"), ("11524-6", LOINC, "EKG study", "心電図報告書"),
        ("57832-8", LOINC, "Prescription for diagnostic procedure", "検査依頼"), ("53576-5", LOINC, "Personal health monitoring report", "健診結果"),
        ("55113-5", LOINC, "Key images Document Radiology", "キー画像"),
    ],
    "format": [
        ("urn:ihe:pcc:xds-ms:2007", FORMAT, "PCC XDS-MS", "退院要約"), ("urn:ihe:lab:xd-lab:2008", FORMAT, "CDA Laboratory Report", "検査報告"),
        ("urn:ihe:iti:xds-sd:pdf:2008", FORMAT, "PDF embedded in CDA", "PDF"), ("urn:ihe:iti:xds-sd:text:2008", FORMAT, "Text embedded in CDA", "テキスト"),
        ("urn:ihe:iti:xds:2017:mimeTypeSufficient", FORMAT, "mimeType Sufficient", "mimeTypeのみ"), ("urn:ihe:rad:PDF", FORMAT, "Radiology PDF", "放射線PDF"),
        ("urn:ihe:rad:CDA:ImagingReportStructuredHeadings:2013", FORMAT, "Imaging report", "読影レポート"),
        ("1.2.840.10008.5.1.4.1.1.88.59", DICOM_UID, "Key Object Selection Document", "キーオブジェクト"),
        ("urn:hl7-org:sdwg:ccda-structuredBody:2.1", HL7_FORMAT, "C-CDA structured body", "C-CDA"),
        ("urn:jahis:referral:2014", JAHIS, "Referral CDA", "診療情報提供書CDA"),
    ],
    "facility": [
        ("22232009", SNOMED, "Hospital", "病院"), ("35971002", SNOMED, "Ambulatory care site", "診療所"), ("264372000", SNOMED, "Pharmacy", "薬局"),
        ("42665001", SNOMED, "Nursing home", "介護施設"), ("225728007", SNOMED, "Accident and Emergency department", "救急部"),
        ("01", LOCAL_JA, "Hospital", "病院"), ("02", LOCAL_JA, "Clinic", "診療所"),
    ],
    "practice": [
        ("394802001", SNOMED, "General medicine", "内科"), ("394579002", SNOMED, "Cardiology", "循環器内科"), ("394914008", SNOMED, "Radiology", "放射線科"),
        ("394609007", SNOMED, "General surgery", "外科"), ("394537008", SNOMED, "Pediatric specialty", "小児科"), ("394591006", SNOMED, "Neurology", "脳神経内科"),
        ("394801008", SNOMED, "Trauma and orthopedics", "整形外科"), ("408443003", SNOMED, "General medical practice", "総合診療科"),
        ("001", LOCAL_JA, "Internal medicine", "内科"), ("012", LOCAL_JA, "Surgery", "外科"),
    ],
    "confidentiality": [
        ("N", CONFIDENTIALITY, "normal", "通常"), ("R", CONFIDENTIALITY, "restricted", "制限"), ("V", CONFIDENTIALITY, "very restricted", "厳重制限"),
    ],
    "event": [
        ("CT", DICOM, "Computed Tomography", "CT検査"), ("MR", DICOM, "Magnetic Resonance", "MRI検査"), ("US", DICOM, "Ultrasound", "超音波検査"),
        ("XA", DICOM, "X-Ray Angiography", "血管造影"), ("CR", DICOM, "Computed Radiography", "単純撮影"), ("T-D3000", "1.2.840.10008.2.16.4", "Chest", "胸部"),
        ("T-D4000", "1.2.840.10008.2.16.4", "Abdomen", "腹部"), ("T-D1100", "1.2.840.10008.2.16.4", "Head", "頭部"),
    ],
    "content": [
        ("11429006", SNOMED, "Consultation", "診察"), ("32485007", SNOMED, "Hospital admission", "入院"), ("58000006", SNOMED, "Patient discharge", "退院"),
        ("3457005", SNOMED, "Patient referral", "紹介"), ("108252007", SNOMED, "Laboratory procedure", "検査"), ("363679005", SNOMED, "Imaging", "画像診断"),
    ],
    "folder": [
        ("3457005", SNOMED, "Patient referral", "紹介"), ("55607006", SNOMED, "Problem", "病名"), ("77386006", SNOMED, "Pregnancy", "妊娠"),
        ("CP01", JAHIS, "Clinical pathway", "地域連携パス"),
    ],
}
MIME_TYPES = ["text/xml", "application/pdf", "text/plain", "application/dicom", "image/jpeg", "application/fhir+json"]
FAMILY_JA = "長谷川 宮崎 西岡 堀内 片山 沢田 大塚 永井 杉本 浜口 古賀 岩本 川端 中川 野口 菊池 福島 土屋 森田 安藤".split()
GIVEN_JA = "和夫 節子 隆 千代 拓也 美雪 修一 恵 直子 洋平 玲奈 誠 奈緒 勝 咲 雅人 典子 亮 文子 悟".split()
FAMILY = "Lindqvist Okafor Brandt Moreau Castillo Haugen Novak Petrov Silva Keller Rossi Byrne Dubois Weiss Larsen".split()
GIVEN = "Ingrid Amara Stefan Claire Mateo Sigrid Jana Nikolai Lucia Thomas Chiara Niamh Etienne Greta Lars".split()
PLACES_JA = "港北 丸山 若葉 清流 三笠 東雲 白浜 高原 浅間 磐梯 日向 熊野".split()
KINDS_JA = "総合病院 市民病院 医療センター 中央病院 クリニック 内科医院 大学附属病院".split()
PLACES = "Northfield Riverside Ashgrove Lakeview Saint-Martin Westbrook Hillcrest Marienburg".split()
KINDS = ["General Hospital", "Medical Center", "Clinic", "University Hospital", "Health Centre", "Family Practice"]
ROLES = [("Attending", "主治医"), ("Radiologist", "読影医"), ("Resident", "研修医"), ("Nurse", "看護師"), ("Consultant", "担当医")]


class Sender:
    """One sending system: what it always does alike."""

    def __init__(self, rnd):
        self.rnd = rnd
        self.is_japanese = rnd.random() < 0.6
        arc = "1.2.392.%d.%d" % (rnd.randrange(200000, 300000), rnd.randrange(1, 99)) if self.is_japanese \
            else "1.3.6.1.4.1.%d.%d" % (rnd.randrange(10000, 60000), rnd.randrange(1, 99))
        self.oid = arc
        self.name = rnd.choice(PLACES_JA) + rnd.choice(KINDS_JA) if self.is_japanese \
            else "%s %s" % (rnd.choice(PLACES), rnd.choice(KINDS))
        self.language = rnd.choice(["ja-JP", "ja"]) if self.is_japanese else rnd.choice(["en-US", "en-GB", "de-DE", "fr-FR"])
        self.names_language = rnd.random() < 0.35
        self.has_patient_info = rnd.random() < 0.6
        self.has_object_uuids = rnd.random() < 0.4
        self.marker_first = rnd.random() < 0.5
        self.has_uri = rnd.random() < 0.15
        self.role = rnd.random() < 0.5
        self.info_order = rnd.random() < 0.5

    def person(self):
        rnd = self.rnd
        number = "%s%05d" % (rnd.choice(["D", "", "dr", "S"]), rnd.randrange(100000))
        if self.is_japanese:
            return "%s^%s^%s^^^^^^&%s.2&ISO" % (number, rnd.choice(FAMILY_JA), rnd.choice(GIVEN_JA), self.oid)
        family, given = rnd.choice(FAMILY), rnd.choice(GIVEN)
        return rnd.choice(["^%s^%s^^^Dr" % (family, given),
                           "%s^%s^%s^^^^^^&%s.2&ISO" % (number, family, given, self.oid)])

    def institution(self):
        return self.rnd.choice([self.name, "%s^^^^^^^^^%s" % (self.name, self.oid),
                                "%s^^^^^&%s&ISO^^^^%d" % (self.name, self.oid, self.rnd.randrange(1, 9999))])

    def time(self, year=None):
        rnd = self.rnd
        return "%04d%02d%02d%02d%02d%02d" % (year or rnd.randrange(2010, 2031), rnd.randrange(1, 13), rnd.randrange(1, 29),
                                             rnd.randrange(24), rnd.randrange(60), rnd.randrange(60))

    def code(self, kind):
        return self.rnd.choice(CODES[kind])


class Writer:
    """SubmitObjectsRequest of one sender."""

    def __init__(self, sender):
        self.sender = sender
        self.rnd = sender.rnd
        self.parts = []
        self.number = 0

    def new_id(self):
        self.number += 1
        return "id_%d" % self.number

    def localized(self, element, text):
        language = ' xml:lang="%s" charset="UTF-8"' % self.sender.language if self.sender.names_language else ""
        return "<rim:%s><rim:LocalizedString%s value=%s/></rim:%s>" % (element, language, quoteattr(text), element)

    def slot(self, name, *values):
        return '<rim:Slot name="%s"><rim:ValueList>%s</rim:ValueList></rim:Slot>' % (
            name, "".join("<rim:Value>%s</rim:Value>" % escape(v) for v in values))

    def coded(self, owner, kind):
        code, scheme, english, japanese = self.sender.code(kind)
        return ('<rim:Classification id="%s" classificationScheme="%s" classifiedObject="%s" nodeRepresentation=%s>%s%s'
                '</rim:Classification>') % (self.new_id(), SCHEMES[kind], owner, quoteattr(code),
                                            self.slot("codingScheme", scheme),
                                            self.localized("Name", japanese if self.sender.is_japanese else english))

    def author(self, owner, scheme):
        sender = self.sender
        slots = self.slot("authorPerson", sender.person()) + self.slot("authorInstitution", sender.institution())
        if sender.role:
            slots += self.slot("authorRole", self.rnd.choice(ROLES)[sender.is_japanese])
            slots += self.slot("authorSpecialty", sender.code("practice")[3 if sender.is_japanese else 2])
        return ('<rim:Classification id="%s" classificationScheme="%s" classifiedObject="%s" nodeRepresentation="">%s'
                '</rim:Classification>') % (self.new_id(), SCHEMES[scheme], owner, slots)

    def identifier(self, owner, name, value):
        return ('<rim:ExternalIdentifier id="%s" identificationScheme="%s" registryObject="%s" value=%s>'
                '<rim:Name><rim:LocalizedString value="%s"/></rim:Name></rim:ExternalIdentifier>') % (
                    self.new_id(), IDENTIFIERS[name], owner, quoteattr(value), name)

    def marker(self, owner, node):
        return '<rim:Classification id="%s" classifiedObject="%s" classificationNode="%s"/>' % (self.new_id(), owner, node)

    def patient_info(self, local_id):
        rnd = self.rnd
        family, given = (rnd.choice(FAMILY_JA), rnd.choice(GIVEN_JA)) if self.sender.is_japanese \
            else (rnd.choice(FAMILY), rnd.choice(GIVEN))
        values = ["PID-3|%s" % local_id, "PID-5|%s^%s^^^" % (family, given),
                  "PID-7|%s" % self.sender.time(rnd.randrange(1925, 2026))[:8], "PID-8|%s" % rnd.choice("MF")]
        if rnd.random() < 0.4:
            values.append("PID-11|%d-%d^^%s^^%07d^%s" % (rnd.randrange(1, 30), rnd.randrange(1, 20), rnd.choice(PLACES_JA),
                                                        rnd.randrange(10 ** 7), rnd.choice(["JPN", "JP"]))
                          if self.sender.is_japanese else
                          "PID-11|%d %s Road^^%s^^%05d^%s" % (rnd.randrange(1, 900), rnd.choice(PLACES), rnd.choice(PLACES),
                                                             rnd.randrange(10 ** 5), rnd.choice(["USA", "DEU", "FRA", "GBR"])))
        return self.slot("sourcePatientInfo", *values)

    def document(self, patient_id, on_demand):
        rnd, sender = self.rnd, self.sender
        owner = uuid.UUID(int=rnd.getrandbits(128)).urn if sender.has_object_uuids else "Document%02d" % rnd.randrange(1, 10)
        local_id = "%0*d^^^&%s&ISO" % (rnd.choice([7, 8, 10]), rnd.randrange(10 ** 7), sender.oid)
        start = sender.time()
        slots = [self.slot("languageCode", sender.language), self.slot("sourcePatientId", local_id),
                 self.slot("repositoryUniqueId", sender.oid + ".9")]
        if not on_demand:
            slots += [self.slot("creationTime", sender.time()),
                      self.slot("hash", "%040x" % rnd.getrandbits(160)), self.slot("size", str(rnd.randrange(500, 10 ** 7)))]
        if rnd.random() < 0.7:
            slots += [self.slot("serviceStartTime", start), self.slot("serviceStopTime", start[:8] + sender.time()[8:])]
        if sender.has_patient_info:
            slots.append(self.patient_info(local_id))
        if sender.has_uri:
            slots.append(self.slot("URI", "%x.xml" % rnd.getrandbits(32)))
        if rnd.random() < 0.2:
            slots.append(self.slot("legalAuthenticator", sender.person()))
        if rnd.random() < 0.15:
            slots.append(self.slot("urn:ihe:iti:xds:2013:referenceIdList", "%d^^^&%s.5&ISO^urn:ihe:iti:xds:2013:%s" % (
                rnd.randrange(10 ** 8), sender.oid, rnd.choice(["accession", "order", "uniqueId"]))))
        if sender.info_order:
            rnd.shuffle(slots)
        title = sender.code("type")
        body = "".join(slots)
        if rnd.random() < 0.85:
            body += self.localized("Name", title[3] if sender.is_japanese else title[2])
        if rnd.random() < 0.15:
            body += self.localized("Description", sender.code("class")[3 if sender.is_japanese else 2])
        codes = ["class", "confidentiality"] + ["event"] * rnd.choice([0, 0, 0, 1, 2]) + ["format", "facility", "practice", "type"]
        if sender.marker_first:
            rnd.shuffle(codes)
        body += "".join(self.author(owner, "author") for _ in range(rnd.choice([1, 1, 1, 2])))
        body += "".join(self.coded(owner, kind) for kind in codes)
        body += self.identifier(owner, "XDSDocumentEntry.patientId", patient_id)
        body += self.identifier(owner, "XDSDocumentEntry.uniqueId", "%s.%d" % (sender.oid, rnd.getrandbits(60)))
        self.parts.append('<rim:ExtrinsicObject id="%s" objectType="%s" mimeType="%s">%s</rim:ExtrinsicObject>' % (
            owner, ON_DEMAND if on_demand else STABLE, rnd.choice(MIME_TYPES), body))

    def submission_set(self, patient_id):
        rnd, sender = self.rnd, self.sender
        body = self.slot("submissionTime", sender.time())
        if rnd.random() < 0.1:
            body += self.slot("intendedRecipient", sender.institution() + "|" + sender.person() + "|")
        if rnd.random() < 0.6:
            body += self.localized("Name", sender.code("content")[3 if sender.is_japanese else 2])
        if rnd.random() < 0.2:
            body += self.localized("Description", sender.code("class")[3 if sender.is_japanese else 2])
        body += self.marker("SubmissionSet01", SET_NODE) if sender.marker_first else ""
        body += self.author("SubmissionSet01", "set_author") + self.coded("SubmissionSet01", "content")
        body += "" if sender.marker_first else self.marker("SubmissionSet01", SET_NODE)
        body += self.identifier("SubmissionSet01", "XDSSubmissionSet.patientId", patient_id)
        body += self.identifier("SubmissionSet01", "XDSSubmissionSet.sourceId", sender.oid)
        body += self.identifier("SubmissionSet01", "XDSSubmissionSet.uniqueId", "%s.%d" % (sender.oid, rnd.getrandbits(60)))
        self.parts.append('<rim:RegistryPackage id="SubmissionSet01">%s</rim:RegistryPackage>' % body)

    def folder(self, patient_id):
        code = self.sender.code("folder")
        body = self.localized("Name", code[3 if self.sender.is_japanese else 2])
        body += self.marker("Folder01", FOLDER_NODE) + self.coded("Folder01", "folder")
        body += self.identifier("Folder01", "XDSFolder.patientId", patient_id)
        body += self.identifier("Folder01", "XDSFolder.uniqueId", "%s.%d" % (self.sender.oid, self.rnd.getrandbits(60)))
        self.parts.append('<rim:RegistryPackage id="Folder01">%s</rim:RegistryPackage>' % body)

    def message(self):
        rnd = self.rnd
        patient_id = "%08d^^^&%s.1&ISO" % (rnd.randrange(10 ** 8), self.sender.oid)
        for _ in range(rnd.choice([1, 1, 1, 2])):
            self.document(patient_id, on_demand=rnd.random() < 0.05)
        if rnd.random() < 0.4:
            self.submission_set(patient_id)
        if rnd.random() < 0.1:
            self.folder(patient_id)
        return ('<lcm:SubmitObjectsRequest xmlns:lcm="%s" xmlns:rim="%s"><rim:RegistryObjectList>%s'
                '</rim:RegistryObjectList></lcm:SubmitObjectsRequest>') % (LCM, RIM, "".join(self.parts))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--templates", required=True, help="the tool metadata_templates")
    p.add_argument("--output", required=True)
    p.add_argument("--id", type=int, required=True, help="dictionary id, never used before")
    p.add_argument("--size", type=int, default=24576)
    p.add_argument("--submissions", type=int, default=6000)
    p.add_argument("--senders", type=int, default=400)
    p.add_argument("--seed", type=int, default=20260401)
    o = p.parse_args()
    rnd = random.Random(o.seed)
    senders = [Sender(rnd) for _ in range(o.senders)]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i in range(o.submissions):
            files.append(os.path.join(folder, "%06d.xml" % i))
            with open(files[-1], "w", encoding="utf-8") as f:
                f.write(Writer(rnd.choice(senders)).message())
        templates = os.path.join(folder, "templates")
        os.mkdir(templates)
        subprocess.run([o.templates, templates] + files, check=True)
        subprocess.run(["zstd", "-q", "-f", "--train-cover=k=1600,d=8", "-r", templates, "--maxdict=%d" % o.size,
                        "--dictID=%d" % o.id, "-o", o.output], check=True)


if __name__ == "__main__":
    main()
