"""The FHIR samples of the reference data (folder fhir-pixm-pdqm), each with the outcome that its INDEX.tsv states.

Samples of the OpenHIE client registry tests are FHIR messages (ITI-93); those of PIXm are Patients for ITI-104 and Parameters
of ITI-83. They are sent as they are, in an order in which they make sense. A domain that is named by a URL is configured with
the URL as its namespace.
"""

import http.client
import json
import urllib.parse

from lxml import etree

FOLDER = "fhir-pixm-pdqm"
RED, GREEN, BLUE = (f"1.3.6.1.4.1.21367.13.20.{number}000" for number in (1, 2, 3))
DOMAINS = [(RED, "IHERED"), (GREEN, "IHEGREEN"), (BLUE, "IHEBLUE"), ("1.3.6.1.4.1.52820.3.72.5.9.1", ""),
           ("1.3.6.1.4.1.52820.3.72.5.9.2", "http://ohie.org/test/test"), ("1.3.6.1.4.1.52820.3.72.5.9.3", "http://ohie.org/test/test_a"),
           ("1.3.6.1.4.1.52820.3.72.5.9.5", "http://ohie.org/test/nid-fhir")]
OHIE = "http://ohie.org/test/"


class Client:
    """FHIR over a plain connection."""

    def __init__(self, port):
        self.port = port

    def send(self, method, path, body=None, content_type="application/fhir+json"):
        """(status, resource in JSON or None)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, "/fhir/" + path, body, {"Content-Type": content_type} if body else {})
            response = connection.getresponse()
            raw = response.read()
            return response.status, json.loads(raw) if raw else None
        finally:
            connection.close()

    def find(self, system, value):
        """The searchset of one identifier."""
        status, bundle = self.send("GET", "Patient?identifier=" + urllib.parse.quote(f"{system}|{value}"))
        expect(status == 200, f"HTTP {status} of a search")
        return bundle


class Unexpected(Exception):
    """An outcome that the index does not state."""


def expect(holds, text):
    """Raises unless it holds."""
    if not holds:
        raise Unexpected(text)


# ---------------------------------------------------------------------------------------------- outcomes


def put(client, raw, expected):
    """ITI-104 under the first identifier of the Patient."""
    identifier = json.loads(raw)["identifier"][0]
    status, reply = client.send("PUT", "Patient?identifier=" + urllib.parse.quote(f"{identifier['system']}|{identifier['value']}"), raw)
    expect(status == expected, f"HTTP {status}, expected {expected}: {reply}")


def added(client, raw):
    """Not known before."""
    put(client, raw, 201)


def revised(client, raw):
    """Known already, or resolved with a known one."""
    put(client, raw, 200)


def message(client, raw):
    """ITI-93: (status, reply)"""
    return client.send("POST", "$process-message", raw)


def refused(client, raw):
    """400 or 422 with a reason; nothing is stored."""
    status, reply = message(client, raw)
    expect(status in (400, 422) and reply["issue"][0]["severity"] == "error", f"HTTP {status}: {reply}")


def refused_400(client, raw):
    """Exactly 400."""
    status, reply = message(client, raw)
    expect(status == 400 and "Patient.identifier[0].system" in reply["issue"][0]["expression"], f"HTTP {status}: {reply}")


def patients_of(raw):
    """The Patients of a message."""
    history = next(e["resource"] for e in json.loads(raw.decode("utf-8-sig"))["entry"] if e["resource"]["resourceType"] == "Bundle")
    return [e["resource"] for e in history["entry"] if e["resource"]["resourceType"] == "Patient"]


def accepted(client, raw):
    """200, and a search by the identifier finds exactly one patient, with the names that were sent."""
    status, reply = message(client, raw)
    expect(status == 200, f"HTTP {status}: {reply}")
    patient = patients_of(raw)[0]
    bundle = client.find(patient["identifier"][0]["system"], patient["identifier"][0]["value"])
    expect(bundle["total"] == 1, f"{bundle['total']} patients")
    return patient, bundle["entry"][0]["resource"]


def complete(client, raw):
    """Accepted, and the demographics come back."""
    sent, found = accepted(client, raw)
    for name in ("gender", "birthDate", "multipleBirthBoolean"):
        expect(sent[name] == found[name], f"{name}: {found.get(name)}")
    expect([(n["family"], n.get("given"), n.get("prefix"), n.get("suffix")) for n in sent["name"]]
           == [(n["family"], n.get("given"), n.get("prefix"), n.get("suffix")) for n in found["name"]], f"names: {found['name']}")
    expect({t["value"] for t in sent["telecom"]} == {t["value"] for t in found["telecom"]}, f"telecom: {found['telecom']}")
    for part in ("use", "line", "city", "state", "postalCode", "country"):
        expect(sent["address"][0][part] == found["address"][0][part], f"address: {found['address']}")
    expect(found["maritalStatus"]["coding"][0]["code"] == "M", f"maritalStatus: {found['maritalStatus']}")
    expect(found["communication"][0]["language"]["coding"][0]["code"] == "en", f"communication: {found['communication']}")


def merged(client, raw):
    """Both identifiers lead to the survivor; the merged record is inactive and links to it."""
    status, reply = message(client, raw)
    expect(status == 200, f"HTTP {status}: {reply}")
    survivor = client.find(OHIE + "test_a", "FHRA-080")["entry"][0]["resource"]
    entries = client.find(OHIE + "test_a", "FHRA-081")["entry"]
    expect(entries[0]["resource"]["active"] is False, "the merged record is active")
    expect(entries[0]["resource"]["link"][0]["other"]["reference"].endswith(f"/Patient/{survivor['id']}"), "no link to the survivor")
    expect(entries[1]["resource"]["id"] == survivor["id"], "the survivor is not beside the merged record")


def asked_in_xml(client, raw):
    """The question of the sample, and the answer in XML, which it asks for."""
    values = [node.get("value") for node in etree.fromstring(raw).iter("{http://hl7.org/fhir}valueString")]
    query = urllib.parse.urlencode([("sourceIdentifier", values[0])] + [("targetSystem", v) for v in values[1:3]] + [("_format", values[3])])
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
    connection.request("GET", "/fhir/Patient/$ihe-pix?" + query)
    response = connection.getresponse()
    tree = etree.fromstring(response.read())
    connection.close()
    expect(response.status == 200 and tree.tag == "{http://hl7.org/fhir}Parameters", f"HTTP {response.status}")
    connection.request("POST", "/fhir/Patient/$ihe-pix?_format=json", raw, {"Content-Type": "application/fhir+xml"})
    response = connection.getresponse()
    reply = json.loads(response.read())
    connection.close()
    names = [p["valueIdentifier"]["value"] for p in reply.get("parameter", []) if p["name"] == "targetIdentifier"]
    expect(response.status == 200 and all(name.startswith(("IHEGREEN", "IHEBLUE")) for name in names), f"{reply}")


def no_message(client, raw):
    """An answer is no question."""
    status, reply = client.send("POST", "$process-message", raw, "application/fhir+xml")
    expect(status == 400, f"HTTP {status}: {reply}")


SAMPLES = [  # in this order
    ("pixm__Patient-MohrAlice-Red.json", added),
    ("pixm__Patient-MohrAlice-Green.json", added),
    ("pixm__Patient-MaidenAlice-Red.json", added),
    ("pixm__Patient-MohrAlissa-Red.json", revised),
    ("pixm__Patient-MohrMaidenResolvedByMohrMalice-Red.json", revised),
    ("pixm__pixm-request-mohralice-red-to-blue.xml", asked_in_xml),
    ("pixm__pixm-response-mohralice-red-all.xml", no_message),
    ("santempi__OHIE-CR-01-10.json", refused_400),
    ("santempi__OHIE-CR-02-10.json", accepted),
    ("santempi__OHIE-CR-02-30.json", accepted),
    ("santempi__OHIE-CR-03-10.json", refused),
    ("santempi__OHIE-CR-03-20.json", refused),
    ("santempi__OHIE-CR-07-10.json", complete),
    ("santempi__OHIE-CR-08-10.json", accepted),
    ("santempi__OHIE-CR-08-20.json", accepted),
    ("santempi__OHIE-CR-08-30.json", merged),
]


def configure(server):
    """The domains of the samples; some may be there already."""
    for oid, namespace in DOMAINS:
        server.command("authority", "add", oid, *(["--namespace", namespace] if namespace else []), "--kind", "other", check=False)


def run(server, folder):
    """Sends every sample; gives (passed, [what failed])."""
    client = Client(server.plain_port)
    failures = []
    for name, outcome in SAMPLES:
        try:
            outcome(client, (folder / name).read_bytes())
        except (Unexpected, KeyError, IndexError) as problem:
            failures.append(f"{FOLDER}/{name}: {problem!r}")
    listed = {name for name, _ in SAMPLES}
    failures += [f"{FOLDER}/{path.name}: no expectation" for path in folder.iterdir() if path.name not in listed | {"INDEX.tsv"}]
    return len(SAMPLES) - sum("no expectation" not in text for text in failures), failures
