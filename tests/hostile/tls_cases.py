"""What a TLS port gets that speaks no TLS, or bends it before anybody has proved who he is (RFC 8446, RFC 5246)."""

from tests.hostile.case import Case, mutations, truncations

RANDOM = bytes(range(32))


def record(kind, content, version=b"\x03\x01", length=None):
    """A TLS record, perhaps with a length that lies."""
    return bytes([kind]) + version + (len(content) if length is None else length).to_bytes(2, "big") + content


def hello(version=b"\x03\x03", session=b"", ciphers=bytes.fromhex("130113021303c02fc030"), compression=b"\x01\x00", extensions=b""):
    """A ClientHello in its handshake header."""
    body = (version + RANDOM + bytes([len(session)]) + session + len(ciphers).to_bytes(2, "big") + ciphers + compression
            + len(extensions).to_bytes(2, "big") + extensions)
    return b"\x01" + len(body).to_bytes(3, "big") + body


def extension(kind, content):
    """One extension."""
    return kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


def inputs():
    """None of them ends in a handshake."""
    yield "plain HTTP", b"POST /registry HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    yield "MLLP", b"\x0bMSH|^~\\&|A|B\r\x1c\r"
    yield "SSH", b"SSH-2.0-OpenSSH_9.2\r\n"
    yield "nothing", b""
    yield "NULs", b"\0" * 20000
    yield "ones", b"\xff" * 20000
    yield "SSL 2", bytes.fromhex("802e0100020015000000100700c0030080010080060040040080020080") + RANDOM
    for version in (b"\x00\x00", b"\x02\x00", b"\x03\x00", b"\x03\x01", b"\x03\x02", b"\x04\x00", b"\xff\xff"):
        yield f"version {version.hex()}", record(22, hello(version), version)
    for kind in (0, 20, 21, 23, 24, 25, 255):
        yield f"record of type {kind}", record(kind, b"\x01\x00" * 8)
    yield "heartbeat", record(22, hello()) + record(24, b"\x01\xff\xff")
    yield "record longer than it says", record(22, hello(), length=10)
    yield "record of 65535", record(22, hello(), length=65535)
    yield "record of 16385 and more", record(22, b"\x01\x00\xff\xff" + b"x" * 20000, length=18500)
    yield "empty records", record(22, b"") * 5000
    yield "handshake in single bytes", b"".join(record(22, bytes([byte])) for byte in hello())
    yield "handshake of 16 MB", record(22, b"\x01\xff\xff\xff" + b"x" * 16000) * 100
    yield "no ciphers", record(22, hello(ciphers=b""))
    yield "odd ciphers", record(22, hello(ciphers=b"\x13"))
    yield "CBC alone", record(22, hello(ciphers=bytes.fromhex("002f0035c013c014")))
    yield "NULL and export ciphers", record(22, hello(ciphers=bytes.fromhex("00000001000200030006")))
    yield "32000 ciphers", record(22, hello(ciphers=b"\x13\x01" * 7900))
    yield "compression", record(22, hello(compression=b"\x01\x01"))
    yield "no compression list", record(22, hello(compression=b"\x00"))
    yield "long session id", record(22, hello(session=b"s" * 255))
    for kind in (0, 5, 10, 13, 16, 35, 41, 42, 43, 44, 45, 51, 0xff01):
        yield f"extension {kind} of NULs", record(22, hello(extensions=extension(kind, b"\0" * 64)))
        yield f"extension {kind} empty", record(22, hello(extensions=extension(kind, b"")))
        yield f"extension {kind} twice", record(22, hello(extensions=extension(kind, b"\x00\x02\x00\x17") * 2))
    yield "extension longer than the hello", record(22, hello(extensions=b"\0\0\xff\xff"))
    yield "10000 extensions", record(22, hello(extensions=b"".join(extension(20000 + n, b"") for n in range(3500))))
    yield "hello twice", record(22, hello()) * 2
    yield "Finished first", record(22, b"\x14\x00\x00\x0c" + b"x" * 12)
    yield "Certificate first", record(22, b"\x0b\x00\x00\x03\x00\x00\x00")
    yield "data before the handshake", record(23, b"GET / HTTP/1.1\r\n\r\n")
    yield "alert", record(21, b"\x02\x28")
    yield "alerts", record(21, b"\x01\x5a") * 1000
    yield "change cipher spec", record(20, b"\x01") * 1000


def cases(random):
    """All of them, at each kind of TLS listener."""
    whole = record(22, hello(extensions=extension(10, b"\x00\x02\x00\x17") + extension(13, b"\x00\x02\x08\x04")))
    for listener in ("https", "mllps", "syslogs"):
        for name, content in inputs():
            yield Case(listener, f"tls/{name}", content)
        for place, content in truncations(random, whole, 20):
            yield Case(listener, f"tls/cut at {place}", content)
        for number, content in mutations(random, whole, 40):
            yield Case(listener, f"tls/mutation {number}", content)
