"""Syslog over a stream: octet counts that are none (RFC 5425 section 4.3). Content is never refused, only framing is."""

from tests.hostile.case import Case, mutations, truncations

EVENT = b'<85>1 2026-01-01T00:00:00Z host app 1 IHE+RFC-3881 - \xef\xbb\xbf<AuditMessage/>'


def framed(content):
    """With its octet count."""
    return b"%d %s" % (len(content), content)


def frames():
    """Framing."""
    for count in (b"-1", b"+5", b"05", b"0", b"00", b"99999999", b"12345678901234567890", b"5x", b"x", b"", b" 5", b"0x10", b"5.0", b"1e3", b"\0", b"\xd9\xa3", b"5\t", b"5,"):
        yield f"count {count!r}", count + b" " + EVENT
    yield "only digits", b"1" * 100000
    yield "no count", EVENT + b"\n"
    yield "count cut", b"12"
    yield "shorter than its count", b"500 " + EVENT
    yield "9999999 and nothing", b"9999999 "
    yield "17 MiB", b"9999999 " + b"x" * (17 << 20)
    yield "HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield "garbage behind", framed(EVENT) + b"garbage"


def events():
    """Within a proper frame: all of it is stored."""
    for name, content in {"nothing useful": b"x", "no PRI": EVENT[4:], "PRI 999": EVENT.replace(b"<85>", b"<999>"), "PRI that never ends": b"<" + b"8" * 5000, "NULs": b"\0" * 1000,
                          "structured data that never ends": EVENT.replace(b" - ", b" [a b=\"" + b"\\]" * 5000), "doctype": EVENT + b"<!DOCTYPE x [<!ENTITY a 'b'>]>&a;",
                          "depth": EVENT.replace(b"<AuditMessage/>", b"<a>" * 50000), "attributes": EVENT.replace(b"<AuditMessage/>", b"<a " + b" ".join(b'a%d=""' % n for n in range(20000)) + b"/>"),
                          "invalid UTF-8": EVENT + b"\xff\xfe"}.items():
        yield name, framed(content)


def cases(random):
    """All of them."""
    for name, content in frames():
        yield Case("syslog", f"syslog/{name}", content)
    for name, content in events():
        yield Case("syslog", f"syslog/{name}", content, False)
    whole = framed(EVENT)
    for place, content in truncations(random, whole, 20):
        yield Case("syslog", f"syslog/cut at {place}", content)
    for number, content in mutations(random, whole, 40):
        yield Case("syslog", f"syslog/mutation {number}", content, False)
