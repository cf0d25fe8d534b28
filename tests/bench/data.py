"""The data of the benchmark: prepared HTTP requests for load.c with varied, invented metadata.

Nothing here comes from what the server's zstd dictionary was trained on (lib/ebrim/dictionary). In a request,
NUMBER becomes a number that no other request of the run has and MODULO that number modulo a given one (load.c).
"""

import os
import random
import re

from conformance import client as xds
from tests.harness import saml, server as harness

NUMBER = "@" * 12
MODULO = "%" * 12
ENTRIES_PER_PATIENT = 100  # of which every second is what FindDocuments looks for
TEMPLATES = 512  # even: templates with an even index are what FindDocuments looks for

_LOINC, _SNOMED = "2.16.840.1.113883.6.1", "2.16.840.1.113883.6.96"
_HOSPITAL = "1.2.392.99999.41"
HOSPITALS = 400
LOCAL_AUTHORITIES = [f"1.2.392.99999.41.{number}.3" for number in range(1, HOSPITALS)]  # of sourcePatientId
HOSPITAL_AUTHORITY = "1.2.392.99999.41.77"  # of the persons' numbers
_WANTED = [("11369-6", _LOINC, "予防接種歴"), ("47039-3", _LOINC, "入院診療計画書"), ("48765-2", _LOINC, "アレルギー情報"),
           ("10160-0", _LOINC, "服薬指導記録")]
_OTHERS = [("29299-5", _LOINC, "受診理由書"), ("30954-2", _LOINC, "関連検査データ"), ("46264-8", _LOINC, "医療機器記録"),
           ("K-09", _HOSPITAL, "看護必要度記録"), ("K-31", _HOSPITAL, "栄養管理計画書"), ("42348-3", _LOINC, "事前指示書")]
_TYPES = [("18776-5", _LOINC, "治療計画"), ("8648-8", _LOINC, "入院中経過"), ("28651-8", _LOINC, "看護転院記録"),
          ("59284-0", _LOINC, "同意書"), ("51855-5", _LOINC, "患者申告記録"), ("18761-7", _LOINC, "転院時要約"),
          ("T-204", _HOSPITAL, "リハビリテーション実施記録"), ("11520-4", _LOINC, "脳波検査報告")]
_FORMATS = [("urn:ihe:pcc:ic:2009", "1.3.6.1.4.1.19376.1.2.3", "Immunization Content"),
            ("urn:ihe:pharm:dis:2010", "1.3.6.1.4.1.19376.1.2.3", "Pharmacy Dispense"),
            ("urn:ihe:pcc:crc:2008", "1.3.6.1.4.1.19376.1.2.3", "Cancer Registry Content"),
            ("urn:ihe:card:imaging:2011", "1.3.6.1.4.1.19376.1.2.3", "Cardiac Imaging Report")]
_FACILITIES = [("80522000", _SNOMED, "リハビリテーション病院"), ("309895006", _SNOMED, "Private hospital"),
               ("702871004", _SNOMED, "Infusion clinic"), ("20078004", _SNOMED, "薬物療法センター"), ("F-7", _HOSPITAL, "在宅療養支援診療所")]
_PRACTICES = [("394585009", _SNOMED, "産婦人科"), ("394594003", _SNOMED, "眼科"), ("394604002", _SNOMED, "耳鼻咽喉科"),
              ("394583002", _SNOMED, "内分泌代謝内科"), ("394584008", _SNOMED, "消化器内科"), ("418112009", _SNOMED, "呼吸器内科"),
              ("394587001", _SNOMED, "精神科"), ("394582007", _SNOMED, "皮膚科")]
_CONFIDENTIALITY = [("N", "2.16.840.1.113883.5.25", "Normal access"), ("L", "2.16.840.1.113883.5.25", "Low"),
                    ("R", "2.16.840.1.113883.5.25", "Restricted access")]
_EVENTS = [("44388-7", _LOINC, "ワクチン"), ("73761001", _SNOMED, "大腸内視鏡"), ("40701008", _SNOMED, "心エコー"), ("71388002", _SNOMED, "処置"),
           ("386053000", _SNOMED, "評価手技"), ("E-11", _HOSPITAL, "摂食嚥下評価"), ("91251008", _SNOMED, "理学療法"), ("PT", "1.2.840.10008.2.16.4", "PET")]
_CONTENT = [("185389009", _SNOMED, "再来"), ("183452005", _SNOMED, "緊急入院"), ("306206005", _SNOMED, "専門医紹介"), ("33879002", _SNOMED, "接種")]
_FAMILY = "小林 加藤 吉田 山口 松本 井上 木村 林 斎藤 清水 山崎 池田 橋本 阿部 石川 前田 藤田 後藤 岡田 村上 近藤 石井 坂本 遠藤 青木 藤井 西村 太田 三浦 岡本".split()
_GIVEN = "一郎 健太 大輔 翔 陽子 由美 久美子 智子 真由美 恵子 幸子 浩 茂 豊 清 進 昭 実 正 治 さくら 美咲 陽菜 結衣 葵 蓮 湊 樹 悠真 大翔".split()
_TOWNS = "青葉 桜ヶ丘 緑が丘 朝日 富士見 東山 西川 南浜 北野 中央 日の出 松原 竹園 梅林 藤沢台 海老根 鶴間 亀岡 鷹取 鳩ヶ谷".split()
_KINDS = "記念病院 厚生病院 赤十字病院 こどもクリニック 整形外科医院 訪問看護ステーション 循環器センター 県立病院".split()
_TITLES = "報告 記録 要約 計画 連絡票 指示書 評価表 結果通知".split()
_MIMES = ["text/xml", "application/pdf", "text/plain", "application/hl7-sda+xml"]


def patient_id(value):
    """CX of a benchmark patient; value is 12 digits or a placeholder."""
    return f"B{value}^^^&{harness.AUTHORITY}&ISO"


def _code(rnd, scheme, table):
    code, system, display = rnd.choice(table)
    return (xds.CODES[scheme][0], code, system, display)


def _time(rnd, year=None):
    return f"{year or rnd.randrange(2012, 2026)}{rnd.randrange(1, 13):02}{rnd.randrange(1, 29):02}" \
           f"{rnd.randrange(24):02}{rnd.randrange(60):02}{rnd.randrange(60):02}"


def _person(rnd, oid):
    return f"{rnd.randrange(10 ** 6):06}^{rnd.choice(_FAMILY)}^{rnd.choice(_GIVEN)}^^^^^^&{oid}.8&ISO"


def _document(rnd, patient, unique_id, content, is_wanted):
    oid = f"1.2.392.99999.41.{rnd.randrange(1, HOSPITALS)}"
    local = f"{rnd.randrange(10 ** 9):09}^^^&{oid}.3&ISO"
    start = _time(rnd)
    kind = _code(rnd, "typeCode", _TYPES)
    slots = {
        "creationTime": [_time(rnd)], "languageCode": [rnd.choice(["ja-JP", "ja-JP", "en-US"])],
        "serviceStartTime": [start], "serviceStopTime": [start[:8] + "235900"], "sourcePatientId": [local],
        "sourcePatientInfo": [f"PID-3|{local}", f"PID-5|{rnd.choice(_FAMILY)}^{rnd.choice(_GIVEN)}^^^",
                              f"PID-7|{_time(rnd, rnd.randrange(1930, 2025))[:8]}", f"PID-8|{rnd.choice('MF')}"],
    }
    if rnd.random() < 0.3:
        slots["legalAuthenticator"] = [_person(rnd, oid)]
    if rnd.random() < 0.2:
        slots["urn:ihe:iti:xds:2013:referenceIdList"] = [
            f"{rnd.randrange(10 ** 9)}^^^&{oid}.6&ISO^urn:ihe:iti:xds:2013:order"]
    codes = {
        "classCode": _code(rnd, "classCode", _WANTED if is_wanted else _OTHERS), "typeCode": kind,
        "confidentialityCode": _code(rnd, "confidentialityCode", _CONFIDENTIALITY),
        "formatCode": _code(rnd, "formatCode", _FORMATS),
        "healthcareFacilityTypeCode": _code(rnd, "healthcareFacilityTypeCode", _FACILITIES),
        "practiceSettingCode": _code(rnd, "practiceSettingCode", _PRACTICES),
    }
    return xds.Document(patient, content, rnd.choice(_MIMES), unique_id, title=f"{kind[3]}{rnd.choice(_TITLES)}", codes=codes,
                        event_codes=rnd.sample(_EVENTS, rnd.choice([1, 2, 3])), author=_person(rnd, oid), slots=slots)


def _institution(rnd):
    return f"{rnd.choice(_TOWNS)}{rnd.choice(_KINDS)}^^^^^^^^^1.2.392.99999.41.{rnd.randrange(1, 400)}"


def _symbolic(text):
    """Ids that a request brings must differ each time it is sent: symbolic ones are made anew by the server."""
    count = iter(range(1, 100000))
    return re.sub(rb'\bid="urn:uuid:[0-9a-f-]{36}"', lambda _: b'id="i%d"' % next(count), text)


def submission(seed, size_bytes, patient=None, arc=5, is_wanted=True):
    """One SubmissionSet with one document whose ids and content hold NUMBER; patient defaults to MODULO's."""
    rnd = random.Random(seed)
    content = rnd.randbytes(size_bytes // 2 + 1).hex().encode()[:size_bytes - len(NUMBER)] + NUMBER.encode()
    document = _document(rnd, patient or patient_id(MODULO), f"1.2.392.99999.{arc}.1{NUMBER}", content, is_wanted)
    whole = xds.Submission(document.patient, [document], unique_id=f"1.2.392.99999.{arc + 1}.1{NUMBER}",
                           source_id="1.2.392.99999.41.1", submission_time=_time(rnd, 2026), author=_person(rnd, "1.2.392.99999.41"),
                           content_type=(xds.CONTENT_TYPE_CODE[0], *rnd.choice(_CONTENT)))
    return whole, _institution(rnd)


def _message(action, body):
    return xds.envelope(action, body, f"urn:uuid:00000000-0000-4000-8000-{NUMBER}")


def _submission_message(action, body, institution):
    return _symbolic(_message(action, body).replace(b"Musubi Hospital", institution.encode()))


def post(path, content_type, body):
    """An HTTP request."""
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def get(path):
    """An HTTP request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def iti41(seed, size_bytes, **options):
    """(request, metadata): ITI-41 in MTOM, and its root part."""
    whole, institution = submission(seed, size_bytes, **options)
    root = _submission_message(xds.ACTIONS["ITI-41"], whole.provide_xml(), institution)
    return post("/repository", *xds.mtom(root, whole.attachments(), boundary=f"MIMEBoundary{seed:08}")), root


def _register_xml(seed, **options):
    """(lcm:SubmitObjectsRequest, institution). The hash is that of no document, and another for each number."""
    whole, institution = submission(seed, 1000, **options)
    return re.sub(r'(<rim:Slot name="hash"><rim:ValueList><rim:Value>)[0-9a-f]{40}', rf"\g<1>{'c' * 28}{NUMBER}",
                  whole.register_xml()), institution


def iti42(seed, **options):
    """(request, metadata): ITI-42."""
    body, institution = _register_xml(seed, **options)
    root = _submission_message(xds.ACTIONS["ITI-42"], body, institution)
    return post("/registry", "application/soap+xml; charset=UTF-8", root), root


def _query(name, parameters, return_type="LeafClass"):
    root = _message(xds.ACTIONS["ITI-18"], xds.query_xml(name, parameters, return_type))
    return post("/registry", "application/soap+xml; charset=UTF-8", root), root


def find_documents(return_type, patient=patient_id(MODULO)):
    """(request, body): FindDocuments with 50 matching entries: patient, status, class codes, time range (3.18.4.1.2.3.7.1)."""
    codes = ",".join(f"'{code}^^{system}'" for code, system, _ in _WANTED)
    return _query("FindDocuments", {
        "$XDSDocumentEntryPatientId": f"'{patient}'", "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')",
        "$XDSDocumentEntryClassCode": f"({codes})", "$XDSDocumentEntryCreationTimeFrom": "2011",
        "$XDSDocumentEntryCreationTimeTo": "2027"}, return_type)


def with_assertion(request, assertion):
    """The same (request, body) with an assertion in its wsse:Security header."""
    root = saml.with_header(request[1], saml.security(assertion))
    return post("/registry", "application/soap+xml; charset=UTF-8", root), root


def get_documents():
    """(request, body): GetDocuments by uniqueId."""
    return _query("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('1.2.392.99999.5.1{MODULO}')"})


def retrieve(unique_id):
    """(request, body): ITI-43 of one document."""
    root = _message(xds.ACTIONS["ITI-43"], xds.retrieve_xml([(harness.REPOSITORY_UID, unique_id)]))
    return post("/repository", *xds.mtom(root, [], boundary="MIMEBoundary43")), root


# ------------------------------------------------------------------ identity

_MSH = "MSH|^~\\&|TEST|HOSPITAL|MUSUBI|CENTER|20260301090000+0900||{}|" + NUMBER + "|P|{}" + "|" * 6 + "{}"


def _frame(*segments):
    """An MLLP frame."""
    return b"\x0b" + "".join(segment + "\r" for segment in segments).encode() + b"\x1c\r"


def feed(number, record):
    """ITI-8: what is held of a person of the hospital (patient_demographics.record)."""
    return _frame(_MSH.format("ADT^A04", "2.3.1", "UNICODE UTF-8"), "EVN||20260301090000+0900",
                  f"PID|||{number}^^^&{HOSPITAL_AUTHORITY}&ISO||{record}", "PV1||O")


def pix_query():
    """(request, message): ITI-9 from the hospital's number to the XAD-PID."""
    message = _frame(_MSH.format("QBP^Q23^QBP_Q21", "2.5", "UNICODE UTF-8"),
                     f"QPD|IHE PIX Query|{NUMBER}|B{MODULO}^^^&{HOSPITAL_AUTHORITY}&ISO|^^^&{harness.AUTHORITY}&ISO", "RCP|I")
    return message, message


def pix_query_v3():
    """(request, body): ITI-45 from the hospital's number to the XAD-PID."""
    device = '<device classCode="DEV" determinerCode="INSTANCE"><id root="1.2.392.99999.41.{}"/></device>'
    root = _message("urn:hl7-org:v3:PRPA_IN201309UV02", f"""<PRPA_IN201309UV02 xmlns="urn:hl7-org:v3" ITSVersion="XML_1.0">
<id root="1.2.392.99999.41.90" extension="{NUMBER}"/><creationTime value="20260301090000+0900"/>
<interactionId root="2.16.840.1.113883.1.6" extension="PRPA_IN201309UV02"/><processingCode code="P"/>
<processingModeCode code="T"/><acceptAckCode code="AL"/>
<receiver typeCode="RCV">{device.format(91)}</receiver><sender typeCode="SND">{device.format(92)}</sender>
<controlActProcess classCode="CACT" moodCode="EVN"><code code="PRPA_TE201309UV02" codeSystem="2.16.840.1.113883.1.6"/>
<queryByParameter><queryId root="1.2.392.99999.41.93" extension="{NUMBER}"/><statusCode code="new"/>
<responsePriorityCode code="I"/><parameterList>
<dataSource><value root="{harness.AUTHORITY}"/><semanticsText>DataSource.id</semanticsText></dataSource>
<patientIdentifier><value root="{HOSPITAL_AUTHORITY}" extension="B{MODULO}"/><semanticsText>Patient.id</semanticsText>
</patientIdentifier></parameterList></queryByParameter></controlActProcess></PRPA_IN201309UV02>""")
    return post("/pix", "application/soap+xml; charset=UTF-8", root), root


def pixm_query():
    """(request, none): ITI-83 from the hospital's number to the XAD-PID."""
    request = get(f"/fhir/Patient/$ihe-pix?sourceIdentifier=urn:oid:{HOSPITAL_AUTHORITY}%7CB{MODULO}"
                  f"&targetSystem=urn:oid:{harness.AUTHORITY}")
    return request, b""


def demographics_query(record):
    """ITI-21 by the first name and the birth date of a record."""
    fields = record.split("|")
    family, given = fields[0].split("~")[0].split("^")[:2]
    return _frame(_MSH.format("QBP^Q22^QBP_Q21", "2.5", "UNICODE UTF-8"),
                  f"QPD|IHE PDQ Query|{NUMBER}|@PID.5.1.1^{family}~@PID.5.2^{given}~@PID.7.1^{fields[2]}", "RCP|I")


def write_registry(folder, size_bytes, patient):
    """Files of the requests that fill the registry; request n of patient n modulo an odd number is wanted if n is even."""
    os.makedirs(folder, exist_ok=True)
    paths = []
    for index in range(TEMPLATES):
        path = os.path.join(folder, f"{index:04}")
        with open(path, "wb") as file:
            file.write(iti41(index, size_bytes, patient=patient, is_wanted=index % 2 == 0)[0])
        paths.append(path)
    return paths


class Stream:
    """Input of `musubi submission import -`: registrations separated by NUL, as write_registry() would have them."""

    def __init__(self, patient, arc=5):
        self._templates = []
        for index in range(TEMPLATES):
            body, institution = _register_xml(index, patient=patient, arc=arc, is_wanted=index % 2 == 0)
            text = _symbolic(body.encode().replace(b"Musubi Hospital", institution.encode()))
            pieces = re.split(b"(%s|%s)" % (NUMBER.encode(), MODULO.encode()), text + b"\0")
            self._templates.append((pieces, [i for i, piece in enumerate(pieces) if piece == NUMBER.encode()],
                                    [i for i, piece in enumerate(pieces) if piece == MODULO.encode()]))

    def write(self, file, first, count, modulo):
        """Writes numbers first..first+count-1."""
        chunk = []
        for number in range(first, first + count):
            pieces, numbers, patients = self._templates[number % TEMPLATES]
            number_text, patient_text = b"%012d" % number, b"%012d" % (number % modulo)
            for i in numbers:
                pieces[i] = number_text
            for i in patients:
                pieces[i] = patient_text
            chunk += pieces
            if len(chunk) > 4000:
                file.write(b"".join(chunk))
                chunk = []
        file.write(b"".join(chunk))
