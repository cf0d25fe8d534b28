"""DICOM instances for tests and measurements: data sets written element by element, whole files (PS3.10), series of any length.

Deterministic: the same arguments give the same bytes. Series are made fast: one file is written, of which every further
instance is a copy with other UIDs (`Series`)."""

import array
import dataclasses
import os
import random

ROOT_UID = "1.2.392.99999.88"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
MULTI_FRAME_WORD = "1.2.840.10008.5.1.4.1.1.7.3"
SOP_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "CR": "1.2.840.10008.5.1.4.1.1.1",
               "US": "1.2.840.10008.5.1.4.1.1.6.1", "DX": "1.2.840.10008.5.1.4.1.1.1.1"}
LONG_VRS = (b"OB", b"OW", b"SQ", b"UN", b"UT")
NUMBER_BASE = 1_000_000_000  # components of a UID have no leading zeros: numbers begin with 1 and have ten digits

# Specific Character Set, and the Python codec that writes the texts so.
CHARACTER_SETS = {"latin": ("ISO_IR 100", "latin-1"), "iso2022": ("\\ISO 2022 IR 87", "iso2022_jp"),
                  "utf8": ("ISO_IR 192", "utf-8"), "sjis_undeclared": ("", "shift_jis"), "sjis_as_latin": ("ISO_IR 100", "shift_jis"),
                  "euc_undeclared": ("", "euc_jp"), "utf8_undeclared": ("", "utf-8")}
JAPANESE_NAME = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def numbered(prefix, number):
    """The UID of this number, always of the same length."""
    return f"{ROOT_UID}.{prefix}.{NUMBER_BASE + number}"


def _value(vr, value, codec):
    """The bytes of a value, padded to an even length."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        encoded = bytes(value)
    elif vr == "US":
        encoded = value.to_bytes(2, "little")
    elif vr == "UL":
        encoded = value.to_bytes(4, "little")
    else:
        encoded = str(value).encode(codec if vr in ("PN", "LO", "SH", "ST", "LT", "UC", "UT") else "ascii")
    return encoded + (b"\0" if vr in ("UI", "OB") else b" ") * (len(encoded) % 2)


def _header(tag, vr, length, is_explicit):
    place = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    if not is_explicit:
        return place + length.to_bytes(4, "little")
    vr = vr.encode("ascii")
    return place + vr + (b"\0\0" + length.to_bytes(4, "little") if vr in LONG_VRS else length.to_bytes(2, "little"))


def data_set(elements, codec="ascii", is_explicit=True):
    """Bytes of {tag: (VR, value)}; the value of an SQ is a list of such; little endian."""
    pieces = []
    for tag, (vr, value) in sorted(elements.items()):
        if vr == "SQ":
            items = [data_set(item, codec, is_explicit) for item in value]
            encoded = b"".join(_header(0xFFFEE000, "", len(item), False) + item for item in items)
        else:
            encoded = _value(vr, value, codec)
        pieces += [_header(tag, vr, len(encoded), is_explicit), encoded]
    return b"".join(pieces)


def part10(sop_class, sop_instance, content, syntax=EXPLICIT):
    """A whole file: preamble, file meta information, data set."""
    meta = data_set({0x00020001: ("OB", b"\0\1"), 0x00020002: ("UI", sop_class), 0x00020003: ("UI", sop_instance),
                     0x00020010: ("UI", syntax), 0x00020012: ("UI", f"{ROOT_UID}.1"), 0x00020013: ("SH", "MUSUBI_TEST")})
    return bytes(128) + b"DICM" + data_set({0x00020000: ("UL", len(meta))}) + meta + content


@dataclasses.dataclass
class Study:
    """What the instances of one study have in common."""

    number: int
    patient_id: str
    name: str = "Test^Patient"
    character_set: str = "latin"
    date: str = "20260401"
    time: str = "083000"
    accession: str = ""
    description: str = "CT of the chest"
    institution: str = "Musubi Hospital"
    issuer: str = ""

    @property
    def uid(self):
        """Study Instance UID."""
        return numbered(2, self.number)

    def series_uid(self, number=0):
        """Series Instance UID of a series of this study."""
        return numbered(f"3.{self.number + 1}", number)

    def sop_uid(self, series, number):
        """SOP Instance UID of an instance of that series."""
        return numbered(f"4.{self.number + 1}.{series + 1}", number)

    def elements(self, modality, sop_class, series, number):
        """Patient, study, series and instance; no content."""
        declared = CHARACTER_SETS[self.character_set][0]
        found = {0x00080016: ("UI", sop_class), 0x00080018: ("UI", self.sop_uid(series, number)),
                 0x00080020: ("DA", self.date), 0x00080023: ("DA", self.date), 0x00080030: ("TM", self.time),
                 0x00080033: ("TM", self.time), 0x00080050: ("SH", self.accession or f"A{self.number}"),
                 0x00080060: ("CS", modality), 0x00080070: ("LO", "Musubi"), 0x00080080: ("LO", self.institution),
                 0x00080090: ("PN", ""), 0x00081030: ("LO", self.description), 0x0008103E: ("LO", f"{modality} {series}"),
                 0x00100010: ("PN", self.name), 0x00100020: ("LO", self.patient_id), 0x00100030: ("DA", "19700101"),
                 0x00100040: ("CS", "M"), 0x0020000D: ("UI", self.uid), 0x0020000E: ("UI", self.series_uid(series)),
                 0x00200010: ("SH", str(self.number)), 0x00200011: ("IS", str(series + 1)), 0x00200013: ("IS", f"{number + 1:010}")}
        if declared:
            found[0x00080005] = ("CS", declared)
        if self.issuer:
            found[0x00100021] = ("LO", self.issuer)
        return found

    def file(self, sop_class, elements, syntax=EXPLICIT):
        """The whole file of these elements."""
        content = data_set(elements, CHARACTER_SETS[self.character_set][1], syntax != IMPLICIT)
        return part10(sop_class, elements[0x00080018][1], content, syntax)

    def image(self, modality="CT", series=0, number=0, size=512, frames=1, syntax=EXPLICIT, content=None):
        """An image of size x size pixels of 16 bits, of one frame or several; content: pixels() that were made before."""
        sop_class = SOP_CLASSES[modality] if frames == 1 else MULTI_FRAME_WORD
        elements = self.elements(modality, sop_class, series, number)
        elements.update(image_module(size, size))
        if frames > 1:
            elements[0x00280008] = ("IS", str(frames))
        elements[0x7FE00010] = ("OW", content or b"".join(pixels(size, seed) for seed in range(frames)))
        return self.file(sop_class, elements, syntax)

    def pdf(self, series=1, number=0, document=b"%PDF-1.4\n%%EOF\n"):
        """An encapsulated PDF."""
        elements = self.elements("DOC", ENCAPSULATED_PDF, series, number)
        elements.update({0x00080064: ("CS", "WSD"), 0x00280301: ("CS", "NO"), 0x00420010: ("ST", "Report"),
                         0x00420011: ("OB", document), 0x00420012: ("LO", "application/pdf")})
        return self.file(ENCAPSULATED_PDF, elements)

    def report(self, series=2, number=0, text="No finding."):
        """A structured report (Basic Text SR)."""
        def code(value, meaning):
            return [{0x00080100: ("SH", value), 0x00080102: ("SH", "DCM"), 0x00080104: ("LO", meaning)}]
        elements = self.elements("SR", BASIC_TEXT_SR, series, number)
        elements.update({0x0040A040: ("CS", "CONTAINER"), 0x0040A043: ("SQ", code("126000", "Imaging Report")),
                         0x0040A050: ("CS", "SEPARATE"), 0x0040A491: ("CS", "COMPLETE"), 0x0040A493: ("CS", "UNVERIFIED"),
                         0x0040A730: ("SQ", [{0x0040A010: ("CS", "CONTAINS"), 0x0040A040: ("CS", "TEXT"),
                                              0x0040A043: ("SQ", code("121071", "Finding")), 0x0040A160: ("UT", text)}])})
        return self.file(BASIC_TEXT_SR, elements)


def image_module(rows, columns):
    """Monochrome, 12 of 16 bits, with a position, a window and a spacing."""
    return {0x00080008: ("CS", "ORIGINAL\\PRIMARY\\AXIAL"), 0x00180050: ("DS", "1.0"), 0x00180060: ("DS", "120"),
            0x00200032: ("DS", "-128\\-128\\0000000000"), 0x00200037: ("DS", "1\\0\\0\\0\\1\\0"),
            0x00200052: ("UI", f"{ROOT_UID}.5"), 0x00280002: ("US", 1), 0x00280004: ("CS", "MONOCHROME2"), 0x00280010: ("US", rows),
            0x00280011: ("US", columns), 0x00280030: ("DS", "0.5\\0.5"), 0x00280100: ("US", 16), 0x00280101: ("US", 12),
            0x00280102: ("US", 11), 0x00280103: ("US", 0), 0x00281050: ("DS", "2048"), 0x00281051: ("DS", "4096"),
            0x00281052: ("DS", "0"), 0x00281053: ("DS", "1")}


def pixels(size, seed=0):
    """A bright disc on a ramp, with noise: something that a viewer shows and no compressor shrinks to nothing."""
    noise = random.Random(seed).randbytes(2 * size * size)
    values = array.array("H", noise)
    radius = (size // 3) ** 2
    for row in range(size):
        base = row * size
        for column in range(size):
            is_disc = (row - size // 2) ** 2 + (column - size // 2) ** 2 < radius
            values[base + column] = (values[base + column] & 0xFF) + (3000 if is_disc else column * 1024 // size)
    return values.tobytes()


class Series:
    """Images of one series, each as one file's bytes with another SOP Instance UID, number, position and first pixels."""

    def __init__(self, study, modality="CT", series=0, size=512, syntax=EXPLICIT, content=None):
        self.study, self.series = study, series
        self._file = bytearray(study.image(modality, series, 0, size, syntax=syntax, content=content))
        first = study.sop_uid(series, 0).encode("ascii")
        self._uids = _places(self._file, first)
        self._number = self._file.index(b"0000000001")
        self._position = self._file.index(b"0000000000", self._number)
        self._digits = len(first) - 10
        self._pixels = len(self._file) - 2 * size * size

    @property
    def size_bytes(self):
        """Of every file."""
        return len(self._file)

    def sop_uid(self, number):
        """SOP Instance UID of one of them."""
        return self.study.sop_uid(self.series, number)

    def file(self, number):
        """The bytes of one of them; valid until the next call."""
        digits = str(NUMBER_BASE + number).encode("ascii")
        for place in self._uids:
            self._file[place + self._digits:place + self._digits + 10] = digits
        self._file[self._number:self._number + 10] = f"{number + 1:010}".encode("ascii")
        self._file[self._position:self._position + 10] = f"{number:010}".encode("ascii")
        self._file[self._pixels:self._pixels + 4] = number.to_bytes(4, "little")
        return self._file

    def write(self, folder, numbers):
        """Writes files of these numbers."""
        folder.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            (folder / f"{number:06}.dcm").write_bytes(self.file(number))


def _places(content, wanted):
    found, place = [], content.find(wanted)
    while place >= 0:
        found.append(place)
        place = content.find(wanted, place + 1)
    return found


def write_large(path, study, frames, size=4096, series=0, number=0):
    """A multi-frame image as a file with a hole for its pixels: frames of 2 x size x size bytes; gives the bytes of the file."""
    length = 2 * size * size * frames
    elements = study.elements("OT", MULTI_FRAME_WORD, series, number)
    elements.update(image_module(size, size))
    elements[0x00280008] = ("IS", str(frames))
    head = study.file(MULTI_FRAME_WORD, elements) + _header(0x7FE00010, "OW", length, True)
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + length)
    return os.path.getsize(path)
