"""MTOM packages whose parts do not fit (RFC 2046, RFC 2387, XOP)."""

from conformance import client as xds
from tests.hostile.case import Case, mutations, post, submission, truncations

BOUNDARY = "MIMEBoundaryX"


def package():
    """(Content-Type, bytes) of a proper ITI-41."""
    sent = submission()
    return xds.mtom(xds.envelope(xds.ACTIONS["ITI-41"], sent.provide_xml()), sent.attachments(), BOUNDARY)


def changed(body):
    """{name: body} with another boundary somewhere, or parts that lie."""
    line = f"--{BOUNDARY}".encode()
    last = body.rindex(line)
    root_end = body.index(line, 5)
    part = body[root_end:last]
    href = b'href="cid:'
    yield "no final boundary", body[:last]
    yield "final boundary without its dashes", body[:last] + line + b"\r\n"
    yield "a hundred parts more", body[:last] + part * 100 + body[last:]
    yield "ten thousand parts", body[:last] + (line + b"\r\n\r\n\r\n") * 10000 + body[last:]
    yield "two parts of one id", body[:last] + part + body[last:]
    yield "root twice", body[:root_end] + body
    yield "no document", body[:root_end] + body[last:]
    yield "no root", part + body[last:]
    yield "line feeds alone", body.replace(b"\r\n", b"\n")
    yield "carriage returns alone", body.replace(b"\r\n", b"\r")
    yield "boundary with a tail", body.replace(line, line + b"Y")
    yield "boundary cut", body.replace(line, line[:-1])
    yield "boundary in another case", body.replace(line, line.lower())
    yield "nested multipart", body[:root_end] + line + b"\r\nContent-Type: multipart/related; boundary=q\r\n\r\n" + (b"--q\r\n" * 1000) + body[root_end:]
    yield "part header of 1 MB", body.replace(b"Content-ID: <", b"X-A: " + b"a" * 1000000 + b"\r\nContent-ID: <", 1)
    yield "many part headers", body.replace(b"Content-ID: <", b"X-A: b\r\n" * 20000 + b"Content-ID: <", 1)
    yield "NUL in a part header", body.replace(b"Content-ID: <", b"Content-ID\0: <", 1)
    yield "headers that never end", body[:root_end] + line + b"\r\nContent-Type: text/plain\r\n"
    yield "base64 that is none", body.replace(b"Content-Transfer-Encoding: binary", b"Content-Transfer-Encoding: base64")
    yield "unknown transfer encoding", body.replace(b"Content-Transfer-Encoding: binary", b"Content-Transfer-Encoding: x-uuencode")
    yield "reference to nobody", body.replace(href, href + b"nobody-")
    yield "reference to a host", body.replace(href, b'href="http://127.0.0.1:1/')
    yield "reference to a file", body.replace(href, b'href="file:///etc/passwd#')
    yield "reference to the root", body.replace(href, b'href="cid:root@musubi.test" x="')
    yield "reference without an end of percent", body.replace(href, href + b"%")
    yield "reference with NUL", body.replace(href, href + b"%00")
    yield "content ids with line ends", body.replace(b"Content-ID: <", b"Content-ID:\r\n\r\n <")
    yield "include twice", body.replace(b"<xop:Include", b'<xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href="cid:a"/><xop:Include')
    yield "megabytes before the first part", b"x" * 3000000 + body
    yield "only boundaries", (line + b"\r\n") * 100000
    yield "only dashes", b"-" * 1000000
    yield "near boundaries", (b"\r\n" + line[:-1]) * 100000
    yield "nothing", b""


def types(body):
    """Content-Types of the package that do not describe it."""
    for kind in ("multipart/related", "multipart/related; boundary=", 'multipart/related; boundary=""', "multipart/related; boundary=" + "b" * 71,
                 "multipart/related; boundary=" + "b" * 10000, 'multipart/related; boundary="a\\', "multipart/related; boundary=a; boundary=b",
                 f"multipart/mixed; boundary={BOUNDARY}", 'multipart/related; boundary="a b c "', "multipart/related; boundary=?",
                 f'multipart/related; boundary={BOUNDARY}; start="<nobody>"; type="application/xop+xml"',
                 f'multipart/related; boundary={BOUNDARY}; type="text/plain"', f"multipart/related; boundary={BOUNDARY}" + "; a=b" * 3000,
                 "multipart/related;;;;boundary", "multipart/related; boundary*0=MIME; boundary*1=BoundaryX"):
        yield kind, body


def cases(random):
    """All of them."""
    kind, body = package()
    for name, content in changed(body):
        # parts that nobody refers to, and a package whose faults only a strict reader sees, may pass to the unknown patient
        yield Case("http", f"mime/{name}", post("/repository", kind, content))
    for other, content in types(body):
        yield Case("http", f"mime/type {other[:70]!r}", post("/repository", other, content))
    for place, content in truncations(random, body, 60):
        yield Case("http", f"mime/cut at {place}", post("/repository", kind, content))
        if place % 2:
            yield Case("http", f"mime/cut at {place} of the length", post("/repository", kind, body)[:-(len(body) - place)])
    for number, content in mutations(random, body, 60):
        yield Case("http", f"mime/mutation {number}", post("/repository", kind, content), False)
