"""The codec "iso2022_jp_ms": ISO-2022-JP as Japanese hospital systems write it, with NEC row 13 and the IBM extensions (ESC $ B) and
half-width katakana (ESC ( I). Python's own codecs have none of them together."""

import codecs
import re

ASCII, KANJI, KATAKANA = b"\x1b(B", b"\x1b$B", b"\x1b(I"


def _kanji(character):
    """The two octets of a character in ESC $ B, by way of its Shift-JIS code."""
    lead, trail = character.encode("cp932")
    row = (lead - (0x81 if lead < 0xA0 else 0xC1)) * 2 + (trail >= 0x9F)
    cell = trail - (0x9E if trail >= 0x9F else 0x3F if trail < 0x7F else 0x40)
    return bytes([row + 0x21, cell + 0x20])


def _code(character):
    """(designation, octets) of one character."""
    if ord(character) < 0x80:
        return ASCII, character.encode()
    if 0xFF61 <= ord(character) <= 0xFF9F:
        return KATAKANA, bytes([ord(character) - 0xFF61 + 0x21])
    try:
        return KANJI, character.encode("iso2022_jp")[3:5]
    except UnicodeEncodeError:
        return KANJI, _kanji(character)


def encode(text, _errors="strict"):
    """Text to octets; lines and delimiters are ASCII."""
    octets, state = b"", ASCII
    for character in text:
        designation, code = _code(character)
        octets += (designation if designation != state else b"") + code
        state = designation
    return octets + (ASCII if state != ASCII else b""), len(text)


def _character(pair):
    """What encode() made these two octets of."""
    try:
        return (KANJI + pair + ASCII).decode("iso2022_jp")
    except UnicodeDecodeError:
        row, cell = pair[0] - 0x20, pair[1] - 0x20
        lead = (row - 1) // 2
        lead += 0x81 if lead < 0x1F else 0xC1
        trail = cell + (0x9E if row % 2 == 0 else 0x3F if cell < 64 else 0x40)
        return bytes([lead, trail]).decode("cp932")


def decode(octets, _errors="strict"):
    """Octets to text."""
    text = ""
    for designation, run in re.findall(rb"(\x1b\([BJI]|\x1b\$[B@])?([^\x1b]*)", bytes(octets)):
        if designation.startswith(b"\x1b$"):
            text += "".join(_character(run[i:i + 2]) for i in range(0, len(run), 2))
        elif designation == KATAKANA:
            text += "".join(chr(octet - 0x21 + 0xFF61) for octet in run)
        else:
            text += run.decode("ascii")
    return text, len(octets)


codecs.register(lambda name: codecs.CodecInfo(encode, decode, name=name) if name == "iso2022_jp_ms" else None)
