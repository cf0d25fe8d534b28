"""HTTP framing: what a proxy in front might read otherwise, and what never ends (RFC 9110, RFC 9112)."""

from tests.hostile.case import Case, SOAP_TYPE, mutations, query, truncations

BODY = query()
PATHS = ("/registry", "/repository", "/pix", "/fhir/Patient")


def head(*lines, start="POST /registry HTTP/1.1", host="Host: localhost"):
    """A request head as bytes."""
    kept = [start, host, f"Content-Type: {SOAP_TYPE}", *lines]
    return "\r\n".join([line for line in kept if line] + ["", ""]).encode("latin-1")


LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"


def chunked(body, size=None):
    """A body in chunks of a size."""
    size = size or len(body)
    pieces = [body[i:i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def lengths():
    """Content-Length and Transfer-Encoding that contradict each other, themselves or the grammar."""
    wrong = ("-1", "+5", "0x10", "5 5", "5,5", "5;q=1", "1e3", "99999999999999999999999", "18446744073709551615", "18446744073709551616",
             "9223372036854775808", "4294967296x", " ", "٣", "5\t6", "NaN", "0x", "5.0", "00-1")
    for value in wrong:
        yield f"length {value!r}", head(f"Content-Length: {value}".encode().decode("latin-1")) + BODY
    pairs = ((LENGTH, CHUNKED), (CHUNKED, LENGTH), (LENGTH, "Content-Length: 0"), ("Content-Length: 0", LENGTH), (LENGTH, LENGTH),
             (CHUNKED, CHUNKED), (LENGTH, "content-length: 5"), (CHUNKED, "transfer-encoding: identity"))
    for first, second in pairs:
        yield f"{first} and {second}", head(first, second) + chunked(BODY)
        yield f"{first} and {second}, plain body", head(first, second) + BODY
    for value in ("gzip, chunked", "xchunked", "chunked, identity", "identity", "chunked;q=1", " chunked x", "deflate", '"chunked"', "chu\tnked",
                  "chunked, chunked", "trailers", "\x0bchunked", "CHUNKED gzip"):
        yield f"transfer encoding {value!r}", head(f"Transfer-Encoding: {value}") + chunked(BODY)
    for name in ("Transfer-Encoding ", " Transfer-Encoding", "Transfer\tEncoding", "Transfer_Encoding\0", "X\r\n Transfer-Encoding"):
        yield f"name {name!r}", head(f"{name}: chunked", LENGTH) + chunked(BODY)
    yield "chunked in HTTP/1.0", head(CHUNKED, start="POST /registry HTTP/1.0") + chunked(BODY)
    for value in ("gzip", "deflate", "br", "x-gzip", "gzip, identity"):
        yield f"content encoding {value}", head(f"Content-Encoding: {value}", LENGTH) + BODY


def chunks():
    """Chunk sizes, extensions and ends."""
    sizes = (b"-1", b"+5", b"0x5", b"g", b"", b" 5", b"ffffffffffffffff", b"10000000000000000", b"fffffffffffffffff", b"7fffffffffffffff",
             b"5 5", b"5;" + b"a" * 100000, b"5\0", b"\xff", b"5,", b"00000000000000000000000000000005g", b"1e1e1e1e1e1e1e1e")
    for size in sizes:
        yield f"chunk size {size[:20]!r}", head(CHUNKED) + size + b"\r\nhello\r\n0\r\n\r\n"
    yield "chunk without end of line", head(CHUNKED) + b"5\r\nhello0\r\n\r\n"
    yield "chunk longer than its size", head(CHUNKED) + b"3\r\nhello\r\n0\r\n\r\n"
    yield "chunk shorter than its size", head(CHUNKED) + b"9\r\nhello\r\n0\r\n\r\n"
    yield "no last chunk", head(CHUNKED) + b"5\r\nhello\r\n"
    yield "cut in a chunk", head(CHUNKED) + b"500\r\nhello"
    yield "cut in a size", head(CHUNKED) + b"5"
    yield "only line ends", head(CHUNKED) + b"\r\n" * 1000
    yield "many empty extensions", head(CHUNKED) + b"5" + b";a=b" * 20000 + b"\r\nhello\r\n0\r\n\r\n"
    yield "trailer with a length", head(CHUNKED) + chunked(b"hello")[:-2] + b"Content-Length: 100\r\n\r\n"
    yield "endless trailer", head(CHUNKED) + chunked(b"hello")[:-2] + b"X-A: b\r\n" * 30000 + b"\r\n"
    yield "a second request behind the last chunk", head(CHUNKED) + chunked(b"hello") + b"GET /admin HTTP/1.1\r\nX"
    yield "chunks of one byte of no XML", head(CHUNKED) + chunked(b"a" * 5000, 1)


def heads():
    """Request lines and header lines."""
    for start in ("GET", "POST /registry", "POST  /registry  HTTP/1.1", "POST /registry HTTP/9.9", "POST /registry HTTP/2.0",
                  "PRI * HTTP/2.0", "POST /registry http/1.1", "POST registry HTTP/1.1", "POST \\registry HTTP/1.1", "post /registry HTTP/1.1",
                  "FOO /registry HTTP/1.1", "CONNECT localhost:443 HTTP/1.1", "TRACE /registry HTTP/1.1", "OPTIONS * HTTP/1.1",
                  "POST http://elsewhere/registry HTTP/1.1", "POST //registry HTTP/1.1", "POST /registry%00 HTTP/1.1",
                  "POST /registry%00/../pix HTTP/1.1", "POST /%2e%2e/registry HTTP/1.1", "POST /x/..%2fregistry HTTP/1.1",
                  "POST /../../etc/passwd HTTP/1.1", "GET /..%c0%af..%c0%afetc/passwd HTTP/1.1", "POST /registry\0 HTTP/1.1",
                  "POST /registry\t HTTP/1.1", "POST /reg istry HTTP/1.1", "POST /registry#x HTTP/1.1", "POST /registry;a=b HTTP/1.1",
                  "POST /\xff\xfe HTTP/1.1", "POST /%zz HTTP/1.1", "POST /% HTTP/1.1", "GET /fhir/Patient/%00 HTTP/1.1",
                  "GET /fhir/Patient/../../metadata HTTP/1.1", "GET /fhir/Patient?family=%00 HTTP/1.1", "GET /fhir/Patient?%ff=%fe HTTP/1.1",
                  "PUT /fhir/Patient HTTP/1.1", "DELETE /fhir/Patient HTTP/1.1", "GET /fhir/Patient?" + "a=b&" * 5000 + " HTTP/1.1",
                  "POST /" + "a" * 100000 + " HTTP/1.1", "A" * 100000 + " / HTTP/1.1", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
        yield f"line {start[:60]!r}", head("Content-Length: 0", start=start)
    for line in ("X-A : b", "X A: b", ": b", "X-A", "X-A\0: b", "X-A: a\0b", "X-A: a\x01b", "X-A: a\x7fb", "X-A: a\rb", "X-A: \xff\xfe\r", "X(A): b",
                 "X-A: " + "a" * 200000, "a" * 200000 + ": b", "\r\n".join(f"X-{n}: b" for n in range(20000)), "Host: elsewhere",
                 "Content-Type: text/plain", "Expect: 200-maybe\r\nX-A\x01: b", "X-A: b\r\n folded\x01", "Content-Length : 5"):
        yield f"header {line[:40]!r}", head(line, LENGTH) + BODY
    yield "no Host", head(LENGTH, host="") + BODY
    yield "two Hosts", head("Host: localhost", LENGTH) + BODY
    yield "bare line feeds", head(LENGTH).replace(b"\r\n", b"\n") + BODY[:-1]
    yield "bare carriage returns", head(LENGTH).replace(b"\r\n", b"\r") + BODY
    yield "NULs", b"\0" * 70000
    yield "line ends", b"\r\n" * 40000
    yield "spaces", b" " * 70000
    yield "nothing", b""
    yield "SSL 2", bytes.fromhex("802e0100020015000000100700c0030080010080060040040080020080")


def kinds():
    """Media types that do not fit what they announce."""
    for kind in ("text/plain", "application/json", "application/xml", "multipart/form-data; boundary=x", "multipart/related", "*/*",
                 "application/soap+xml; charset=UTF-7", "application/soap+xml; charset=EBCDIC", "a" * 5000, ";;;;", "multipart/related; boundary=",
                 'application/soap+xml; charset="', "application/fhir+json", "text/xml; charset=utf-8"):
        for path in ("/registry", "/repository", "/pix"):
            yield f"type {kind[:40]!r} at {path}", head(f"Content-Type: {kind}", LENGTH, start=f"POST {path} HTTP/1.1").replace(
                f"Content-Type: {SOAP_TYPE}\r\n".encode(), b"") + BODY


def cases(random):
    """All of them."""
    for group in (lengths, chunks, heads):
        for name, content in group():
            yield Case("http", f"http/{name}", content)
    for name, content in kinds():
        yield Case("http", f"http/{name}", content, False)
    whole = head(LENGTH) + BODY
    for place, content in truncations(random, whole, 40):
        yield Case("http", f"http/cut at {place}", content)
    for number, content in mutations(random, whole[:250], 60):
        yield Case("http", f"http/mutation {number}", content + whole[250:], False)
