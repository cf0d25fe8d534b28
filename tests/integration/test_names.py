"""Japanese names come back as they went in, whatever door they take: HL7 v2 in ISO-2022-JP and in UTF-8, HL7 v3, FHIR.

Names hold what CP932 can encode, NEC row 13, IBM extensions and half-width katakana included, and characters that only Unicode has. A
name is fed through each door in turn and read through all of them. Refused is only what cannot be decoded.
"""

import http.client
import json
import random
import urllib.parse
import uuid

from lxml import etree

from conformance import client as xds
from tests.harness.waiting import PATIENCE_S
from tests.integration import common

OID = "1.2.392.99999.60.1"
V3 = "urn:hl7-org:v3"
COUNT = 10_000 if common.IS_FULL else 600
SEED = 20260401
ESCAPES = {"ascii": b"\x1b(B", "kanji": b"\x1b$B", "kana": b"\x1b(I"}
BEYOND_CP932 = "𠮷𩸽侮葛祇俱剝塡頰𠀋é"
REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"


def _cp932_characters():
    """{character: two octets of ISO-2022-JP} of rows 1 to 94 as CP932 fills them: NEC row 13, and 89 to 92 with the IBM extensions."""
    found = {}
    for row in [*range(1, 85), *range(89, 93)]:
        for cell in range(1, 95):
            lead = (row - 1) // 2
            first = lead + (0x81 if lead < 31 else 0xC1)
            second = cell + 0x9E if row % 2 == 0 else cell + (0x3F if cell < 64 else 0x40)
            try:
                character = bytes((first, second)).decode("cp932")
            except UnicodeDecodeError:
                continue
            found.setdefault(character, bytes((row + 0x20, cell + 0x20)))
    return found


KANJI = _cp932_characters()
ROW_13 = [c for c, b in KANJI.items() if b[0] == 0x20 + 13]
IBM = [c for c, b in KANJI.items() if b[0] >= 0x20 + 89]
LEVELS = [c for c, b in KANJI.items() if 0x20 + 16 <= b[0] <= 0x20 + 84]
KATAKANA = [chr(c) for c in range(0x30A1, 0x30F5)]
HALF_WIDTH = [chr(c) for c in range(0xFF66, 0xFF9E)]


def iso_2022_jp(text):
    """Octets as CP50221 writes them; None where that set lacks a character."""
    out, state = b"", "ascii"
    for character in text:
        if character in "\r\n" or ord(character) < 0x80:
            kind, octets = "ascii", character.encode()
        elif "｡" <= character <= "ﾟ":
            kind, octets = "kana", bytes((ord(character) - 0xFF61 + 0x21,))
        elif character in KANJI:
            kind, octets = "kanji", KANJI[character]
        else:
            return None
        if kind != state:
            out += ESCAPES[kind]
            state = kind
        out += octets
    return out + (b"" if state == "ascii" else ESCAPES["ascii"])


def make_names():
    """[((family, given), (kana family, kana given))]"""
    chance = random.Random(SEED)
    names = []
    for number in range(COUNT):
        def pick(pool, low, high):
            return "".join(chance.choice(pool) for _ in range(chance.randint(low, high)))
        kanji = [pick(LEVELS, 1, 3), pick(LEVELS, 1, 3)]
        for pool, share in ((ROW_13, 4), (IBM, 3)):
            if number % share == 0:
                part = chance.randrange(2)
                kanji[part] += chance.choice(pool)
        if number % 10 == 9:
            kanji[0] += chance.choice(BEYOND_CP932)
        kana = HALF_WIDTH if number % 5 == 0 else KATAKANA
        names.append((tuple(kanji), (pick(kana, 2, 4), pick(kana, 2, 4))))
    return names


class Doors:
    """Every way in and out of one server."""

    def __init__(self, server):
        self.mllp = xds.MllpClient(f"127.0.0.1:{server.mllp_port}")
        self.soap = xds.SoapClient(f"http://127.0.0.1:{server.plain_port}")
        self.http = http.client.HTTPConnection("127.0.0.1", server.plain_port, timeout=PATIENCE_S)

    def close(self):
        """Closes all."""
        self.mllp.close()
        self.soap.close()
        self.http.close()

    # ---- HL7 v2

    def _v2(self, kind, segments, encode, charset):
        head = f"MSH|^~\\&|HIS|HOSPITAL|MUSUBI|CENTER|20260401||{kind}|{uuid.uuid4().hex[:20]}|P|2.5||||||{charset}"
        payload = encode("\r".join([head, *segments]) + "\r")
        self.mllp.socket.sendall(b"\x0b" + payload + b"\x1c\r")
        reply = b""
        while not reply.endswith(b"\x1c\r"):
            reply += self.mllp.socket.recv(65536)
        return reply[1:-2]

    @staticmethod
    def _pid_5(name):
        (family, given), (kana_family, kana_given) = name
        return f"{family}^{given}^^^^^L^I~{kana_family}^{kana_given}^^^^^L^P"

    def feed_v2_utf8(self, number, name):
        """ITI-30 A28 in UTF-8: whether it was taken."""
        reply = self._v2("ADT^A28^ADT_A05", ["EVN||20260401", f"PID|||{number}^^^&{OID}&ISO||{self._pid_5(name)}", "PV1||N"],
                         str.encode, "UNICODE UTF-8")
        return b"\rMSA|AA|" in reply

    def feed_v2_jis(self, number, name):
        """ITI-30 A28 in ISO-2022-JP; a name that this set lacks goes in UTF-8."""
        if iso_2022_jp("".join(map("".join, name))) is None:
            return self.feed_v2_utf8(number, name)
        reply = self._v2("ADT^A28^ADT_A05", ["EVN||20260401", f"PID|||{number}^^^&{OID}&ISO||{self._pid_5(name)}", "PV1||N"],
                         iso_2022_jp, "~ISO IR87||ISO 2022-1994")
        return b"\rMSA|AA|" in reply

    def _read_v2(self, number, encode, charset):
        raw = self._v2("QBP^Q22^QBP_Q21", [f"QPD|IHE PDQ Query|T1|@PID.3.1^{number}~@PID.3.4.2^{OID}~@PID.3.4.3^ISO", "RCP|I"],
                       encode, charset)
        declared = raw.split(b"\r", 1)[0].split(b"|")
        is_utf8 = len(declared) > 17 and declared[17] == b"UNICODE UTF-8"
        text = raw.decode() if is_utf8 else decode_jis(raw)
        pid = next(s for s in text.split("\r") if s.startswith("PID|")).split("|")
        found = {}
        for repetition in pid[5].split("~"):
            parts = repetition.split("^") + [""] * 8
            found[parts[7]] = (parts[0], parts[1])
        return found["I"], found["P"]

    def read_v2_utf8(self, number):
        """ITI-21 in UTF-8."""
        return self._read_v2(number, str.encode, "UNICODE UTF-8")

    def read_v2_jis(self, number):
        """ITI-21 in ISO-2022-JP, answered in it or, where that cannot hold the name, in UTF-8."""
        return self._read_v2(number, str.encode, "~ISO IR87||ISO 2022-1994")

    # ---- HL7 v3

    def feed_v3(self, number, name):
        """ITI-44 PRPA_IN201301UV02."""
        (family, given), (kana_family, kana_given) = name
        body = (f'<PRPA_IN201301UV02 xmlns="{V3}" ITSVersion="XML_1.0"><id root="{uuid.uuid4()}"/><creationTime value="20260401"/>'
                '<interactionId root="2.16.840.1.113883.1.6" extension="PRPA_IN201301UV02"/><processingCode code="P"/>'
                '<processingModeCode code="T"/><acceptAckCode code="AL"/>'
                '<receiver typeCode="RCV"><device classCode="DEV" determinerCode="INSTANCE"><id root="2.999.1"/></device></receiver>'
                '<sender typeCode="SND"><device classCode="DEV" determinerCode="INSTANCE"><id root="2.999.2"/></device></sender>'
                '<controlActProcess classCode="CACT" moodCode="EVN"><subject typeCode="SUBJ">'
                '<registrationEvent classCode="REG" moodCode="EVN"><id nullFlavor="NA"/><statusCode code="active"/>'
                f'<subject1 typeCode="SBJ"><patient classCode="PAT"><id root="{OID}" extension="{number}"/><statusCode code="active"/>'
                '<patientPerson classCode="PSN" determinerCode="INSTANCE">'
                f'<name use="IDE"><family>{family}</family><given>{given}</given></name>'
                f'<name use="SYL"><family>{kana_family}</family><given>{kana_given}</given></name></patientPerson>'
                f'<providerOrganization classCode="ORG" determinerCode="INSTANCE"><id root="{OID}"/>'
                '<contactParty classCode="CON"><telecom nullFlavor="NA"/></contactParty></providerOrganization></patient></subject1>'
                '<custodian typeCode="CST"><assignedEntity classCode="ASSIGNED"><id root="2.999.2"/></assignedEntity></custodian>'
                '</registrationEvent></subject></controlActProcess></PRPA_IN201301UV02>')
        reply = self.soap.send("/pix", "urn:hl7-org:v3:PRPA_IN201301UV02", body)
        return reply.envelope.find(f".//{{{V3}}}acknowledgement/{{{V3}}}typeCode").get("code") == "CA"

    def read_v3(self, number):
        """ITI-47."""
        body = (f'<PRPA_IN201305UV02 xmlns="{V3}" ITSVersion="XML_1.0"><id root="{uuid.uuid4()}"/><creationTime value="20260401"/>'
                '<interactionId root="2.16.840.1.113883.1.6" extension="PRPA_IN201305UV02"/><processingCode code="P"/>'
                '<processingModeCode code="T"/><acceptAckCode code="AL"/>'
                '<receiver typeCode="RCV"><device classCode="DEV" determinerCode="INSTANCE"><id root="2.999.1"/></device></receiver>'
                '<sender typeCode="SND"><device classCode="DEV" determinerCode="INSTANCE"><id root="2.999.2"/></device></sender>'
                '<controlActProcess classCode="CACT" moodCode="EVN"><code code="PRPA_TE201305UV02" codeSystem="2.16.840.1.113883.1.6"/>'
                f'<queryByParameter><queryId root="2.999.3" extension="{uuid.uuid4()}"/><statusCode code="new"/>'
                '<responseModalityCode code="R"/><responsePriorityCode code="I"/><parameterList>'
                f'<livingSubjectId><value root="{OID}" extension="{number}"/><semanticsText>LivingSubject.id</semanticsText>'
                '</livingSubjectId></parameterList></queryByParameter></controlActProcess></PRPA_IN201305UV02>')
        reply = self.soap.send("/pix", "urn:hl7-org:v3:PRPA_IN201305UV02", body)
        found = {n.get("use").split()[-1]: (n.findtext(f"{{{V3}}}family"), n.findtext(f"{{{V3}}}given"))
                 for n in reply.envelope.iterfind(f".//{{{V3}}}patientPerson/{{{V3}}}name")}
        return found["IDE"], found["SYL"]

    # ---- FHIR

    def _fhir(self, method, target, content=None, media="application/fhir+json"):
        self.http.request(method, target, content, {"Content-Type": media, "Accept": media})
        response = self.http.getresponse()
        return response.status, response.read()

    def feed_fhir(self, number, name):
        """ITI-104."""
        def human_name(code, parts):
            return {"use": "official", "extension": [{"url": REPRESENTATION, "valueCode": code}], "family": parts[0], "given": [parts[1]]}
        patient = {"resourceType": "Patient", "identifier": [{"system": f"urn:oid:{OID}", "value": number}],
                   "name": [human_name("IDE", name[0]), human_name("SYL", name[1])]}
        query = urllib.parse.urlencode({"identifier": f"urn:oid:{OID}|{number}"})
        status, _ = self._fhir("PUT", f"/fhir/Patient?{query}", json.dumps(patient, ensure_ascii=False).encode())
        return status in (200, 201)

    def read_fhir(self, number):
        """ITI-78 in JSON."""
        query = urllib.parse.urlencode({"identifier": f"urn:oid:{OID}|{number}"})
        _, content = self._fhir("GET", f"/fhir/Patient?{query}")
        found = {n["extension"][0]["valueCode"]: (n["family"], n["given"][0])
                 for n in json.loads(content)["entry"][0]["resource"]["name"]}
        return found["IDE"], found["SYL"]

    def read_fhir_xml(self, number):
        """ITI-78 in XML."""
        query = urllib.parse.urlencode({"identifier": f"urn:oid:{OID}|{number}"})
        _, content = self._fhir("GET", f"/fhir/Patient?{query}", media="application/fhir+xml")
        fhir = "{http://hl7.org/fhir}"
        found = {n.find(f"{fhir}extension/{fhir}valueCode").get("value"):
                 (n.find(f"{fhir}family").get("value"), n.find(f"{fhir}given").get("value"))
                 for n in etree.fromstring(content).iter(f"{fhir}name")}
        return found["IDE"], found["SYL"]


def decode_jis(raw):
    """Text of ISO-2022-JP octets, by the table above."""
    characters = {octets: character for character, octets in KANJI.items()}
    out, state, at = [], "ascii", 0
    states = {escape: kind for kind, escape in ESCAPES.items()}
    while at < len(raw):
        if raw[at] == 0x1B:
            state = states[raw[at:at + 3]]
            at += 3
        elif state == "kanji":
            out.append(characters[raw[at:at + 2]])
            at += 2
        else:
            out.append(chr(raw[at] - 0x21 + 0xFF61) if state == "kana" else chr(raw[at]))
            at += 1
    return "".join(out)


class Names(common.ServerCase):
    """The round trip (ITI TF-2 C.2.2): never a silent replacement character."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("authority", "add", OID, "--namespace", "NAMES", "--kind", "emr")
        cls.server.wait_until_refreshed()

    def test_names_come_back_identical_through_every_door(self):
        """Fed through four doors in turn, read through five."""
        doors = Doors(self.server)
        feeds = (doors.feed_v2_utf8, doors.feed_v2_jis, doors.feed_v3, doors.feed_fhir)
        reads = (doors.read_v2_utf8, doors.read_v2_jis, doors.read_v3, doors.read_fhir, doors.read_fhir_xml)
        wrong, refused = [], []
        for index, name in enumerate(make_names()):
            number = f"N{index:06}"
            feed = feeds[index % len(feeds)]
            if not feed(number, name):
                refused.append((feed.__name__, name))
                continue
            for read in reads:
                seen = read(number)
                if seen != name:
                    wrong.append((feed.__name__, read.__name__, name, seen))
        doors.close()
        self.assertEqual((refused[:5], wrong[:5]), ([], []), f"{len(refused)} refused, {len(wrong)} changed of {COUNT}")

    def test_only_undecodable_octets_are_refused(self):
        """A cell that no table has, half a character, and octets that are no UTF-8: AE 102, nothing stored."""
        doors = Doors(self.server)
        cases = ((b"\x1b$B\x2f\x21\x1b(B", "~ISO IR87||ISO 2022-1994"), (b"\x1b$B\x30\x1b(B", "~ISO IR87||ISO 2022-1994"),
                 (b"\xff\xfe", "UNICODE UTF-8"))
        for number, (octets, charset) in enumerate(cases):
            segments = ["EVN||20260401", f"PID|||BAD{number}^^^&{OID}&ISO||@^Taro^^^^^L^I", "PV1||N"]
            reply = doors._v2("ADT^A28^ADT_A05", segments,  # pylint: disable=protected-access
                              lambda text, octets=octets: text.encode().replace(b"@", octets), charset)
            self.assertIn(b"\rMSA|AE|", reply, octets)
            self.assertIn(b"|102^", reply)
            found = doors._v2("QBP^Q23^QBP_Q21", [f"QPD|IHE PIX Query|T|BAD{number}^^^&{OID}&ISO", "RCP|I"],  # pylint: disable=protected-access
                              str.encode, "")
            self.assertIn(b"|204^", found)
        doors.close()
