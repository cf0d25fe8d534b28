"""HL7 v2: MLLP frames that are none, messages that are none, escapes, character sets (HL7 v2.5 chapter 2; TF-2 C.2)."""

from conformance import client as xds
from tests.hostile.case import Case, PATIENT, mutations, truncations

# known by its authority, of a sender that may not be: the configuration of the test takes any
MESSAGE = xds.adt("A99", PATIENT).encode()
QUERY = (b"MSH|^~\\&|TEST|HOSPITAL|MUSUBI|CENTER|20260101000000||QBP^Q23^QBP_Q21|1|P|2.5\r"
         b"QPD|IHE PIX Query|1|HOSTILE^^^&1.2.3.4.5.6&ISO\rRCP|I\r")


def frame(message):
    """As MLLP sends it."""
    return b"\x0b" + message + b"\x1c\r"


def frames():
    """Framing."""
    whole = frame(MESSAGE)
    yield "no start", MESSAGE + b"\x1c\r"
    yield "no end", b"\x0b" + MESSAGE
    yield "half an end", b"\x0b" + MESSAGE + b"\x1c"
    yield "another end", b"\x0b" + MESSAGE + b"\x1c\n"
    yield "two starts", b"\x0b" + whole
    yield "start inside", frame(MESSAGE[:50] + b"\x0b" + MESSAGE[50:])
    yield "end inside", frame(MESSAGE[:50] + b"\x1c" + MESSAGE[50:])
    yield "ends alone", b"\x1c\r" * 1000
    yield "starts alone", b"\x0b" * 100000
    yield "empty frames", b"\x0b\x1c\r" * 50
    yield "17 MiB", b"\x0b" + b"M" * (17 << 20)
    yield "17 MiB without a start", b"M" * (17 << 20)
    yield "HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield "TLS", bytes.fromhex("16030102000100") + b"\x01" * 500
    yield "batch", frame(b"FHS|^~\\&\rBHS|^~\\&\r" + MESSAGE + b"BTS|1\rFTS|1\r")
    yield "garbage behind", whole + b"garbage"
    yield "nothing", b""


def messages():
    """Within a proper frame."""
    for name, message in {
            "nothing": b"", "one character": b"M", "MSH alone": b"MSH", "MSH with its separator": b"MSH|", "encoding characters cut": b"MSH|^~\\",
            "no MSH": b"PID|1\r", "PID first": b"PID|1\r" + MESSAGE, "line feeds": MESSAGE.replace(b"\r", b"\n"), "both ends": MESSAGE.replace(b"\r", b"\r\n"),
            "lower case": MESSAGE.lower(), "NULs": b"\0" * 1000, "MSH twice": MESSAGE + MESSAGE, "no segments behind": MESSAGE.split(b"\r")[0] + b"\r",
            "same separators": MESSAGE.replace(b"|^~\\&|", b"|||||||", 1), "letters as separators": MESSAGE.replace(b"|^~\\&|", b"|ABCD|", 1),
            "control characters as separators": MESSAGE.replace(b"|^~\\&|", b"|\x01\x02\x03\x04|", 1), "no version": MESSAGE.replace(b"|2.3.1", b"|"),
            "unknown version": MESSAGE.replace(b"|2.3.1", b"|9.9"), "no type": MESSAGE.replace(b"ADT^A99", b""), "type of 1 MB": MESSAGE.replace(b"ADT^A99", b"A" * 1000000),
            "no control id": b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01||P|2.3.1\r", "control id of 1 MB": b"MSH|^~\\&|A|B|C|D|20260101||ADT^A01|" + b"x" * 1000000 + b"|P|2.3.1\r",
            "100000 fields": MESSAGE + b"ZZZ" + b"|" * 100000 + b"\r", "100000 components": MESSAGE + b"ZZZ|" + b"^" * 100000 + b"\r",
            "100000 repetitions": MESSAGE.replace(PATIENT.encode(), PATIENT.encode() + b"~" * 100000), "100000 segments": MESSAGE + b"ZZZ|1\r" * 100000,
            "100000 subcomponents": MESSAGE + b"ZZZ|" + b"&" * 100000 + b"\r", "segment name of 1 MB": MESSAGE + b"Z" * 1000000 + b"\r", "field of 10 MB": MESSAGE + b"ZZZ|" + b"x" * 10000000,
            "segment names in kanji": MESSAGE + "患者|1\r".encode(), "no PID": b"\r".join(MESSAGE.split(b"\r")[:2]) + b"\r"}.items():
        yield name, message


def texts():
    """Escapes and character sets in a feed: the name is what changes."""
    def feed(name, charset=""):
        message = xds.adt("A01", "1^^^&1.2.3.4.5.6&ISO", charset=charset, name="NAME").encode()
        return message.replace(b"NAME", name)

    for name in (b"\\X\\", b"\\X4\\", b"\\XZZ\\", b"\\X" + b"41" * 100000 + b"\\", b"\\X00\\", b"\\X0D0B1C\\", b"\\", b"\\\\", b"\\F", b"\\Q\\", b"\\C2842\\", b"\\M2442\\",
                 b"\\CZZZZ\\", b"\\.sp99999999999\\", b"\\" * 100001, b"\\H\\" * 50000, b"\\Zlocal\\"):
        yield f"escape {name[:16]!r}", feed(name)
    for charset, name in (("UNICODE UTF-8", b"\xff\xfe"), ("UNICODE UTF-8", b"\xc0\xaf"), ("UNICODE UTF-8", b"\xed\xa0\x80"), ("ISO IR87", b"\x1b$B\x7f\x7f\x1b(B"),
                          ("ISO IR87", b"\x1b$B0"), ("ISO IR87", b"\x1b$B" + b"0" * 99999), ("ISO IR87", b"\x1b$"), ("ISO IR87", b"\x1b(Z"), ("~ISO IR87", b"\x1b"),
                          ("~ISO IR13~ISO IR87", b"\x1b$B!\x80\x1b(B"), ("ISO IR159", b"\x1b$(D~~\x1b(B"), ("../../x", b"a"), ("x" * 10000, b"a"), ("EBCDIC", b"\xc1"),
                          ("~" * 1000, b"a"), ("8859/1", b"\xe9"), ("ASCII", b"\xe9"), ("UTF-7", b"+AGE-"), ("UNICODE", b"\0a"), ("GB 18030-2000", b"\x84\x31\xa4\x39")):
        yield f"character set {charset[:20]} {name[:12]!r}", feed(name, charset)
    for identifier in (b"", b"^^^", b"1^^^X", b"1^^^&1.2.3&DNS", b"1^^^&" + b"1." * 5000 + b"1&ISO", b"'; DROP TABLE person; --^^^&1.2.3.4.5.6&ISO",
                       b"%_^^^&1.2.3.4.5.6&ISO", b"\\X00\\^^^&1.2.3.4.5.6&ISO", b"x" * 100000 + b"^^^&1.2.3.4.5.6&ISO", b"1^^^&../..&ISO"):
        yield f"identifier {identifier[:24]!r}", feed(b"A^B").replace(b"1^^^&1.2.3.4.5.6&ISO", identifier)


def cases(random):
    """All of them."""
    for name, content in frames():
        yield Case("mllp", f"hl7/frame {name}", content)
    for name, message in (*messages(), *texts()):
        yield Case("mllp", f"hl7/{name}", frame(message))
    for base, label in ((MESSAGE, "ADT"), (QUERY, "QBP")):
        for place, message in truncations(random, base, 25):
            yield Case("mllp", f"hl7/{label} cut at {place}", frame(message))
            yield Case("mllp", f"hl7/{label} cut at {place}, frame too", b"\x0b" + message)
        for number, message in mutations(random, base, 40):
            yield Case("mllp", f"hl7/{label} mutation {number}", frame(message), False)
