"""What a hostile input is, and the small tools that all generators share."""

import collections

from conformance import client as xds
from tests.harness import server as harness

# listener: http, mllp or syslog (inside TLS where the port is a TLS port), https, mllps or syslogs (as they are, instead of TLS); name: group/what; content: all bytes that the client sends before it shuts its sending side;
# is_fault: the answer must be an error or a close. Otherwise an input that nobody can call right or wrong: any answer is fine.
Case = collections.namedtuple("Case", "listener name content is_fault", defaults=(True,))

PATIENT = f"HOSTILE^^^&{harness.AUTHORITY}&ISO"  # nobody has fed it
SOAP_TYPE = "application/soap+xml; charset=UTF-8"


def post(path, content_type, body, *headers, method="POST"):
    """An HTTP request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Type: {content_type}", f"Content-Length: {len(body)}",
             *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def truncations(random, content, count):
    """[(place, beginning of content)] at places of its last nine tenths."""
    places = sorted(random.sample(range(len(content) // 10, len(content) - 1), min(count, len(content) // 2)))
    return [(place, content[:place]) for place in places]


def mutations(random, content, count):
    """[(number, content with some bytes changed, removed, doubled or moved)]."""
    found = []
    for number in range(count):
        data = bytearray(content)
        for _ in range(random.randint(1, 8)):
            place = random.randrange(len(data))
            length = random.randint(1, 16)
            change = random.randrange(5)
            if change == 0:
                data[place] = random.randrange(256)
            elif change == 1:
                del data[place:place + length]
            elif change == 2:
                data[place:place] = data[place:place + length]
            elif change == 3:
                data[place:place] = bytes(random.randrange(256) for _ in range(length))
            else:
                data[place] = random.choice(b"<>&\"'/=|^~\\\r\n\0{}[]:,-")
        found.append((number, bytes(data)))
    return found


def query(patient=PATIENT):
    """ITI-18 FindDocuments as an envelope."""
    return xds.envelope(xds.ACTIONS["ITI-18"], xds.query_xml("FindDocuments", {
        "$XDSDocumentEntryPatientId": f"'{patient}'", "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"}))


def submission():
    """An ITI-41 of one document for a patient that nobody knows."""
    return xds.Submission(PATIENT, [xds.Document(PATIENT, b"<content/>" * 100)])
