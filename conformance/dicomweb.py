"""DICOMweb steps of scenarios: requests below /dicomweb, files that are made for them, and what must come back.

A step with `web = "GET studies/${oid:study}/metadata"` is one. README.md in this folder has its keys.
"""

import json
import re

from conformance import fhir

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "KO": "1.2.840.10008.5.1.4.1.1.88.59", "SR": "1.2.840.10008.5.1.4.1.1.88.11"}
LONG = ("OB", "OW", "SQ", "UN", "UT")
BOUNDARY = "conformance-of-dicomweb"
# Fields of a file in a scenario: tag, VR.
FIELDS = {"sop_class": (0x00080016, "UI"), "instance": (0x00080018, "UI"), "date": (0x00080020, "DA"), "accession": (0x00080050, "SH"),
          "modality": (0x00080060, "CS"), "description": (0x00081030, "LO"), "name": (0x00100010, "PN"), "patient": (0x00100020, "LO"),
          "study": (0x0020000D, "UI"), "series": (0x0020000E, "UI"), "number": (0x00200013, "IS"), "frames": (0x00280008, "IS")}
SIDE = 8


def _element(tag, vr, value, is_explicit):
    value += (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    place = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    if not is_explicit:
        return place + len(value).to_bytes(4, "little") + value
    length = b"\0\0" + len(value).to_bytes(4, "little") if vr in LONG else len(value).to_bytes(2, "little")
    return place + vr.encode() + length + value


def _sequence(tag, *items):
    """An SQ in Explicit VR Little Endian; items are lists of elements that _element() made."""
    return _element(tag, "SQ", b"".join(_element(0xFFFEE000, "", b"".join(item), False) for item in items), True)


def _note(fields):
    """(tag, VR, bytes) of the content of a note on instances of its study (PS3.3 A.35.4): title, and [[series, instance], ...]."""
    def text(tag, vr, value):
        return _element(tag, vr, value.encode(), True)
    title = [text(0x00080100, "SH", fields.pop("title")), text(0x00080102, "SH", "DCM"), text(0x00080104, "LO", "Title")]
    series = [[_sequence(0x00081199, [text(0x00081150, "UI", CLASSES["CT"]), text(0x00081155, "UI", instance)]),
               text(0x0020000E, "UI", name)] for name, instance in fields.pop("names")]
    evidence = _sequence(0x0040A375, [_sequence(0x00081115, *series), text(0x0020000D, "UI", fields["study"])])
    head = _sequence(0x0040A043, title)
    return [(0x0040A040, "CS", b"CONTAINER"), (0x0040A043, "SQ", head[12:]), (0x0040A375, "SQ", evidence[12:])]


def syntax_of(file):
    """Transfer Syntax UID (0002,0010) of a file; None if it is no file."""
    found = re.search(rb"\x02\x00\x10\x00UI..([0-9.]+)", file[132:1000], re.S) if file[128:132] == b"DICM" else None
    return found and found.group(1).decode()


def make_file(fields):
    """A file (PS3.10) of these fields: an image of 8 x 8 pixels of 16 bits for each frame, unless its modality is SR or KO."""
    fields = {"modality": "CT", "date": "20260401", "number": "1", "name": "Yamada^Tarou", **fields}
    fields.setdefault("sop_class", CLASSES[fields["modality"]])
    fields["patient"] = fields.get("patient", "").partition("^")[0]
    syntax = fields.pop("syntax", EXPLICIT)
    note = _note(fields) if "names" in fields else []
    elements = [(*FIELDS[name], value.encode()) for name, value in fields.items() if value != ""]
    elements.append((0x00080005, "CS", b"ISO_IR 192"))
    elements += note
    if fields["modality"] not in ("KO", "SR"):
        numbers = {0x00280002: 1, 0x00280010: SIDE, 0x00280011: SIDE, 0x00280100: 16, 0x00280101: 16, 0x00280102: 15, 0x00280103: 0}
        elements += [(tag, "US", number.to_bytes(2, "little")) for tag, number in numbers.items()]
        elements.append((0x00280004, "CS", b"MONOCHROME2"))
        elements.append((0x7FE00010, "OW", pixels(int(fields.get("frames", "1")))))
    content = b"".join(_element(*element, syntax != IMPLICIT) for element in sorted(elements))
    meta = b"".join(_element(tag, vr, value, True) for tag, vr, value in (
        (0x00020001, "OB", b"\0\1"), (0x00020002, "UI", fields["sop_class"].encode()), (0x00020003, "UI", fields["instance"].encode()),
        (0x00020010, "UI", syntax.encode()), (0x00020012, "UI", b"1.2.392.99999.5")))
    return bytes(128) + b"DICM" + _element(0x00020000, "UL", len(meta).to_bytes(4, "little"), True) + meta + content


def pixels(frames):
    """The samples of so many frames."""
    return b"".join((frame * 64 + place).to_bytes(2, "little") for frame in range(frames) for place in range(SIDE * SIDE))


def multipart(parts, part_type="application/dicom"):
    """A body of multipart/related."""
    pieces = [f"--{BOUNDARY}\r\nContent-Type: {part_type}\r\n\r\n".encode() + part + b"\r\n" for part in parts]
    return b"".join(pieces) + f"--{BOUNDARY}--\r\n".encode()


def parts_of(content_type, raw):
    """[(Content-Type, bytes)] of an answer; one that is not multipart is its own part."""
    found = re.search(r'boundary="?([^";]+)', content_type)
    if not content_type.startswith("multipart/related") or not found:
        return [(content_type, raw)]
    pieces = raw.split(b"--" + found.group(1).encode())
    parts = []
    for piece in pieces[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        parts.append((re.search(rb"(?i)content-type: *(.*?)(\r|$)", head + b"\r").group(1).decode(), body[:-2]))
    return parts


def body_of(step, variables):
    """(Content-Type, bytes) that a step sends."""
    if "text" in step:
        return 'multipart/related; type="application/dicom"; boundary=' + BOUNDARY, variables.fill(step["text"]).encode()
    if "store" not in step:
        return None, None
    files = [make_file(dict(file)) for file in variables.fill(step["store"])]
    if "cut" in step:
        files = [file[:-step["cut"]] for file in files]
    return f'multipart/related; type="application/dicom"; boundary={BOUNDARY}', multipart(files, step.get("part_type", "application/dicom"))


def judge_parts(parts, expected, variables):
    """Checks the parts of an answer."""
    if "parts" in expected and len(parts) != expected["parts"]:
        return f"{len(parts)} parts, expected {expected['parts']}"
    for content_type, _ in parts:
        if not re.fullmatch(expected.get("part_type", ".*"), content_type):
            return f"a part is {content_type}, expected {expected['part_type']}"
    for (_, body), file in zip(parts, expected.get("files", [])):
        if body != make_file(dict(variables.fill(file))):
            return f"a part of {len(body)} bytes is not the file that was stored"
    for (_, body), frame in zip(parts, expected.get("frame_numbers", [])):
        if body != pixels(frame)[-2 * SIDE * SIDE:]:
            return f"a part of {len(body)} bytes is not frame {frame}"
    if "syntax" in expected and syntax_of(parts[0][1]) != expected["syntax"]:
        return f"the file is in transfer syntax {syntax_of(parts[0][1])}, expected {expected['syntax']}"
    for (_, body), start in zip(parts, expected.get("begin", [])):
        if not body.startswith(bytes.fromhex(start)):
            return f"a part begins with {body[:16].hex()}, expected {start}"
    return None


def run(target, step, variables):
    """Sends one step. None, or what does not hold; keeps values for later steps."""
    method, _, path = variables.fill(step["web"]).partition(" ")
    content_type, body = body_of(step, variables)
    headers = {**({"Content-Type": content_type} if content_type else {}), **variables.fill(step.get("headers", {}))}
    place = path if path.startswith(("/", "http")) else "/dicomweb/" + path
    status, received, raw = fhir.exchange(target, method, place, body, headers)
    expected = variables.fill(step.get("expect", {}))
    of_answer = received.get("Content-Type", "")
    answer = json.loads(raw) if "json" in of_answer else None
    texts = raw if answer is not None or of_answer.startswith("text/") else b""
    problem = fhir.judge(status, received, texts, answer, expected) or judge_parts(parts_of(of_answer, raw), expected, variables)
    for name, place in step.get("keep", {}).items():
        value = fhir.at(answer, place)
        if value is None:
            return f"nothing to keep at {place}: {raw[:1500]!r}"
        variables.keep(name, str(value))
    return problem
