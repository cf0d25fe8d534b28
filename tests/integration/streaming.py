"""A client that neither holds what it sends nor what it receives: generated content, replies read piece by piece."""

import base64
import hashlib
import http.client
import os
import re
import time

from conformance import client as xds
from tests.integration import common

BLOCK_BYTES = 3 * common.MIB  # a multiple of 3, so that base64 of blocks joins without padding
BOUNDARY = "MusubiStreamingBoundary"


class Content:
    """Bytes that follow from a seed: no two blocks are equal, any number of readers."""

    def __init__(self, size_bytes):
        self.size_bytes = size_bytes
        self._seed = os.urandom(BLOCK_BYTES)

    def blocks(self):
        """The content, block by block."""
        left = self.size_bytes
        number = 0
        while left:
            block = (number.to_bytes(16, "big") + self._seed[16:])[:left]
            yield block
            left -= len(block)
            number += 1

    def sha256(self):
        """Digest of the whole."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()


def _base64_blocks(content):
    for block in content.blocks():
        yield base64.b64encode(block)


def _post(port, path, content_type, pieces, length=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    framing = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
    connection.request("POST", path, pieces, {"Content-Type": content_type, **framing}, encode_chunked=length is None)
    return connection, connection.getresponse()


def provide(port, submission, content, inline=False, chunked=False):
    """ITI-41 of a submission with one document of that content; gives the reply's bytes."""
    marker = b"@@CONTENT@@"
    xml = submission.provide_xml(inline=False)
    if inline:
        xml = re.sub(r"<xop:Include [^>]*/>", marker.decode(), xml)
        body = xds.envelope(xds.ACTIONS["ITI-41"], xml)
        content_type = f'application/soap+xml; charset=UTF-8; action="{xds.ACTIONS["ITI-41"]}"'
        pieces, size = _base64_blocks(content), (content.size_bytes + 2) // 3 * 4
    else:
        content_type, body = xds.mtom(xds.envelope(xds.ACTIONS["ITI-41"], xml),
                                      [("0@musubi.test", "application/dicom", marker)], BOUNDARY)
        pieces, size = content.blocks(), content.size_bytes
    head, _, tail = body.partition(marker)

    def whole():
        yield head
        yield from pieces
        yield tail
    length = None if chunked else len(head) + size + len(tail)
    connection, response = _post(port, "/repository", content_type, whole(), length)
    reply = response.read()
    connection.close()
    return reply


def _find(response, buffer, wanted):
    """Reads on until wanted is in the buffer; gives what follows it."""
    while wanted not in buffer:
        piece = response.read(65536)
        if not piece:
            raise EOFError(f"no {wanted!r} in {buffer[-300:]!r}")
        buffer += piece
    return buffer.partition(wanted)[2]


def retrieve(port, repository, unique_id, size_bytes):
    """ITI-43 of one document; gives (SHA-256 of its bytes, what came after them)."""
    content_type, body = xds.mtom(xds.envelope(xds.ACTIONS["ITI-43"], xds.retrieve_xml([(repository, unique_id)])), [])
    connection, response = _post(port, "/repository", content_type, [body], len(body))
    boundary = re.search(r'boundary="?([^";]+)', response.headers["Content-Type"]).group(1).encode()
    rest = _find(response, b"", b"\r\n--" + boundary + b"\r\n")
    rest = _find(response, rest, b"\r\n\r\n")
    digest = hashlib.sha256()
    left = size_bytes
    while left:
        piece = rest[:left] if rest else response.read(min(left, common.MIB))
        if not piece:
            raise EOFError(f"{left} bytes are missing")
        rest = rest[len(piece):] if rest else b""
        digest.update(piece)
        left -= len(piece)
    rest += response.read()
    connection.close()
    return digest.hexdigest(), rest


def query(port, name, parameters):
    """ITI-18 read piece by piece; gives (number of objects, set of their uniqueIds, seconds to the first byte)."""
    body = xds.envelope(xds.ACTIONS["ITI-18"], xds.query_xml(name, parameters))
    began = time.monotonic()
    connection, response = _post(port, "/registry", "application/soap+xml", [body], len(body))
    buffer = response.read(1)
    first_byte_s = time.monotonic() - began
    count, ids = 0, set()
    pattern = re.compile(rb'identificationScheme="' + common.UNIQUE_ID_SCHEME.encode() + rb'"[^>]*? value="([^"]+)"|'
                         rb' value="([^"]+)"[^>]*? identificationScheme="' + common.UNIQUE_ID_SCHEME.encode() + rb'"')
    whole_end = b""
    while True:
        piece = response.read(common.MIB)
        buffer += piece
        cut = buffer.rfind(b"</rim:ExtrinsicObject>") + len(b"</rim:ExtrinsicObject>") if piece else len(buffer)
        if cut >= len(b"</rim:ExtrinsicObject>"):
            part, buffer = buffer[:cut], buffer[cut:]
            count += part.count(b"</rim:ExtrinsicObject>")
            ids.update((a or b).decode() for a, b in pattern.findall(part))
            whole_end = part[-200:]
        if not piece:
            break
    connection.close()
    if b"Envelope>" not in whole_end:
        raise EOFError(f"the reply has no end: {whole_end!r}")
    return count, ids, first_byte_s
