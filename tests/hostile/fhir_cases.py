"""FHIR: JSON and XML that is none, or no Patient (FHIR R4 2.6; RFC 8259)."""

import json

from tests.hostile.case import Case, mutations, post, truncations

PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.3.4.5.6", "value": "1"}], "name": [{"family": "Hostile"}], "gender": "male"}
WHOLE = json.dumps(PATIENT).encode()
XML = b'<Patient xmlns="http://hl7.org/fhir"><identifier><system value="urn:oid:1.2.3.4.5.6"/><value value="1"/></identifier></Patient>'
JSON_TYPE = "application/fhir+json"
XML_TYPE = "application/fhir+xml"
PUT = "/fhir/Patient?identifier=urn:oid:1.2.3.4.5.6|1"
MATCH = "/fhir/Patient/$match"
MESSAGE = "/fhir/$process-message"


def json_bodies():
    """Not JSON, or JSON that only a fool would read."""
    for depth in (65, 1000, 100000, 1000000):
        yield f"arrays, depth {depth}", b"[" * depth
        yield f"objects, depth {depth}", b'{"a":' * depth
        yield f"closed arrays, depth {depth}", b'{"resourceType":"Patient","name":' + b"[" * depth + b"]" * depth + b"}"
    for name, body in {
            "nothing": b"", "space": b" " * 1000, "null": b"null", "number": b"1", "text": b'"Patient"', "array": b"[]", "empty": b"{}", "two": WHOLE + WHOLE,
            "behind": WHOLE + b"x", "NUL behind": WHOLE + b"\0", "BOM twice": b"\xef\xbb\xbf" * 2 + WHOLE, "UTF-16": WHOLE.decode().encode("utf-16"), "UTF-32": WHOLE.decode().encode("utf-32"),
            "single quotes": WHOLE.replace(b'"', b"'"), "comment": b"/* a */" + WHOLE, "trailing comma": WHOLE[:-1] + b",}", "NaN": WHOLE[:-1] + b',"a":NaN}',
            "infinity": WHOLE[:-1] + b',"a":1e999}', "long number": WHOLE[:-1] + b',"a":' + b"9" * 100000 + b"}", "leading zero": WHOLE[:-1] + b',"a":01}',
            "NUL in a text": WHOLE.replace(b"Hostile", b"a\\u0000b"), "raw NUL": WHOLE.replace(b"Hostile", b"a\0b"), "lone surrogate": WHOLE.replace(b"Hostile", b"\\ud800"),
            "wrong pair": WHOLE.replace(b"Hostile", b"\\udc00\\ud800"), "bad escape": WHOLE.replace(b"Hostile", b"\\q"), "cut escape": WHOLE.replace(b"Hostile", b"\\u12"),
            "raw control": WHOLE.replace(b"Hostile", b"a\x01"), "overlong": WHOLE.replace(b"Hostile", b"\xc0\xaf"), "Latin-1": WHOLE.replace(b"Hostile", b"\xe9"),
            "key twice": WHOLE[:-1] + b',"gender":"female"}', "resourceType twice": WHOLE[:-1] + b',"resourceType":"Patient"}', "text of 1 MB": WHOLE.replace(b"Hostile", b"a" * 1000000),
            "key of 1 MB": WHOLE[:-1] + b',"' + b"k" * 1000000 + b'":1}', "100000 keys": WHOLE[:-1] + b"".join(b',"k%d":1' % n for n in range(100000)) + b"}",
            "same hash": WHOLE[:-1] + b"".join(b',"%c%c":1' % (65 + n % 26, 97 + n // 26 % 26) for n in range(676)) + b"}",
            "another resource": WHOLE.replace(b'"Patient"', b'"Observation"'), "no resourceType": WHOLE.replace(b'"resourceType": "Patient", ', b""),
            "unknown element": WHOLE[:-1] + b',"nothing":1}', "identifier is text": b'{"resourceType":"Patient","identifier":"1"}', "identifier is null": b'{"resourceType":"Patient","identifier":[null]}',
            "name is a number": WHOLE.replace(b'[{"family": "Hostile"}]', b"7"), "gender is no code": WHOLE.replace(b'"male"', b'"hostile"'), "birthDate": WHOLE[:-1] + b',"birthDate":"9999-99-99"}',
            "100000 names": WHOLE.replace(b'[{"family": "Hostile"}]', b"[" + b",".join([b'{"family":"a"}'] * 100000) + b"]"), "17 MiB": b'{"a":"' + b"a" * (17 << 20)}.items():
        yield name, body


def xml_bodies():
    """The same in XML."""
    for name, body in {
            "doctype": b'<!DOCTYPE x [<!ENTITY a "b">]>' + XML, "external": b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + XML, "depth": b"<a>" * 100000,
            "wrong namespace": XML.replace(b"http://hl7.org/fhir", b"urn:x"), "no namespace": XML.replace(b' xmlns="http://hl7.org/fhir"', b""), "text": XML.replace(b"</Patient>", b"hello</Patient>"),
            "instruction": XML.replace(b"</Patient>", b"<?a?></Patient>"), "no value": XML.replace(b' value="1"', b""), "unknown element": XML.replace(b"</Patient>", b"<nothing/></Patient>"),
            "script": XML.replace(b"</Patient>", b"<text><status value='generated'/><div xmlns='http://www.w3.org/1999/xhtml'><script>x</script></div></text><gender value='x'/></Patient>"),
            "attributes": XML.replace(b"<identifier>", b"<identifier " + b" ".join(b'a%d=""' % n for n in range(5000)) + b">"), "nothing": b"", "JSON": WHOLE, "two roots": XML + XML,
            "UTF-7": b"<?xml version='1.0' encoding='UTF-7'?>" + XML, "another root": XML.replace(b"Patient", b"Group")}.items():
        yield name, body


def queries():
    """Parameters of searches."""
    for text in ("identifier=|", "identifier=urn:oid:1.2.3|", "birthdate=eq", "birthdate=xx2000", "birthdate=9999-99-99", "_count=-1", "_count=99999999999999999999", "_count=x",
                 "_id='", "_nothing=1", "family:nothing=x", "identifier=" + "x" * 20000, "family=%ff%fe", "family=%00", "family=%", "&" * 10000, "=" * 10000,
                 "_page=../../x", "gender=x", "_format=x/y", "identifier=" + "a|b," * 3000):
        yield text, f"GET /fhir/Patient?{text} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for text in ("sourceIdentifier=", "sourceIdentifier=1", "sourceIdentifier=a|b|c", "sourceIdentifier=urn:oid:1.2.3|" + "1" * 20000, "targetSystem=x", ""):
        yield f"$ihe-pix {text}", f"GET /fhir/Patient/$ihe-pix?{text} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


# A search may pass over what it does not look at.
OPEN_TO_MATCH = ("infinity", "long number", "unknown element", "identifier is text", "identifier is null", "name is a number", "text", "no value")


def cases(random):
    """All of them: the authority that they name is not configured."""
    for name, body in json_bodies():
        yield Case("http", f"fhir/{name}", post(PUT, JSON_TYPE, body, method="PUT"))
        if len(body) < 1000000:
            yield Case("http", f"fhir/{name} to $match", post(MATCH, JSON_TYPE, body), name not in OPEN_TO_MATCH)
            yield Case("http", f"fhir/{name} to $process-message", post(MESSAGE, JSON_TYPE, body))
    for name, body in xml_bodies():
        yield Case("http", f"fhir/XML {name}", post(PUT, XML_TYPE, body, method="PUT"))
        yield Case("http", f"fhir/XML {name} to $match", post(MATCH, XML_TYPE, body), name not in OPEN_TO_MATCH)
    for name, content in queries():
        yield Case("http", f"fhir/{name[:60]}", content, False)
    for label, kind, whole in (("JSON", JSON_TYPE, WHOLE), ("XML", XML_TYPE, XML)):
        for place, body in truncations(random, whole, 25):
            yield Case("http", f"fhir/{label} cut at {place}", post(PUT, kind, body, method="PUT"))
        for number, body in mutations(random, whole, 30):
            yield Case("http", f"fhir/{label} mutation {number}", post(PUT, kind, body, method="PUT"), False)
