"""FHIR steps of scenarios: requests below /fhir, what must come back, and that JSON and XML say the same.

A step with `http = "GET Patient?family=${id:f}"` is one. README.md in this folder has its keys.
"""

import http.client
import json
import re
import ssl
import urllib.parse

from lxml import etree

NS = "http://hl7.org/fhir"
TYPES = {"json": "application/fhir+json", "xml": "application/fhir+xml"}
SAFE = "/?&=$%:,|*()@!;'~._-+"


def connect(target):
    """A connection to the server of a target, and its path."""
    url = urllib.parse.urlsplit(target.base)
    if url.scheme != "https":
        return http.client.HTTPConnection(url.hostname, url.port, timeout=90)
    context = ssl.create_default_context(cafile=str(target.ca))
    context.check_hostname = False
    if target.cert:
        context.load_cert_chain(str(target.cert), str(target.key))
    return http.client.HTTPSConnection(url.hostname, url.port, timeout=90, context=context)


def exchange(target, method, path, body, headers):
    """(status, headers, bytes) of one request; characters beyond ASCII are percent-encoded as UTF-8."""
    connection = connect(target)
    try:
        path = path.removeprefix(target.base)
        place = path if path.startswith("/") else "/fhir/" + path
        connection.request(method, urllib.parse.quote(place, safe=SAFE), body, headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


# ---------------------------------------------------------------------------------------------- resources


def to_xml(resource):
    """A resource in JSON as an element in XML."""
    root = etree.Element(f"{{{NS}}}{resource['resourceType']}", nsmap={None: NS})
    _fill(root, resource)
    return root


def _fill(parent, content):
    for name, values in content.items():
        if name == "resourceType":
            continue
        for value in values if isinstance(values, list) else [values]:
            if name == "url" and etree.QName(parent).localname.endswith("xtension"):
                parent.set("url", value)
                continue
            child = etree.SubElement(parent, f"{{{NS}}}{name}")
            if isinstance(value, dict):
                _fill(etree.SubElement(child, f"{{{NS}}}{value['resourceType']}") if "resourceType" in value else child, value)
            else:
                child.set("value", json.dumps(value) if not isinstance(value, str) else value)


def leaves_of_json(value, path=""):
    """[(path, text)] of a resource, in order."""
    if isinstance(value, dict):
        head = path + (f"<{value['resourceType']}>" if "resourceType" in value else "")
        return [leaf for name, inner in value.items() if name != "resourceType" for leaf in leaves_of_json(inner, f"{head}.{name}")]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves_of_json(inner, path)]
    return [(path, value if isinstance(value, str) else json.dumps(value))]


def leaves_of_xml(element, path=""):
    """The same of XML."""
    name = etree.QName(element).localname
    head = f"{path}<{name}>" if name[0].isupper() else f"{path}.{name}"
    found = [(head if key == "value" else f"{head}.{key}", text) for key, text in element.attrib.items()]
    return found + [leaf for child in element for leaf in leaves_of_xml(child, head)]


def comparable(leaves):
    """Without what differs from one answer to the next."""
    return [(path, text) for path, text in leaves if not text.startswith("urn:uuid:") and not path.endswith("CapabilityStatement>.date")]


def at(resource, path):
    """The value at "entry.0.resource.id"; None if there is none."""
    for part in path.split("."):
        if isinstance(resource, list):
            resource = resource[int(part)] if int(part) < len(resource) else None
        elif isinstance(resource, dict):
            resource = resource.get(part)
        else:
            return None
    return resource


# ---------------------------------------------------------------------------------------------- steps


def body_of(step, template, variables):
    """(Content-Type, bytes) that a step sends."""
    if "form" in step:
        return "application/x-www-form-urlencoded", variables.fill(step["form"]).encode()
    if "text" in step:
        return TYPES["json"], variables.fill(step["text"]).encode()
    if template is None:
        return None, None
    resource = json.loads(variables.fill(template))
    resource.update(variables.fill(step.get("set", {})))
    for name in step.get("remove", []):
        resource.pop(name, None)
    if "parameters" in step:
        resource = {"resourceType": "Parameters",
                    "parameter": [{"name": "resource", "resource": resource}] + variables.fill(step["parameters"])}
    if step.get("format", "json") == "xml":
        return TYPES["xml"], etree.tostring(to_xml(resource), encoding="utf-8")
    return TYPES["json"], json.dumps(resource, ensure_ascii=False).encode()


def run(target, step, template, variables):
    """Sends one step. None, or what does not hold; keeps values for later steps."""
    method, _, path = variables.fill(step["http"]).partition(" ")
    content_type, body = body_of(step, template, variables)
    headers = {**({"Content-Type": content_type} if content_type else {}), **variables.fill(step.get("headers", {}))}
    status, received, raw = exchange(target, method, path, body, headers)
    expected = variables.fill(step.get("expect", {}))
    is_json = "json" in received.get("Content-Type", "")
    resource = json.loads(raw) if is_json else None
    problem = judge(status, received, raw, resource, expected)
    if problem is None and method == "GET" and status == 200 and is_json and "_format" not in path:
        problem = compare_formats(target, path, headers, resource)
    for name, place in step.get("keep", {}).items():
        value = received.get(place[1:]) if place.startswith("@") else at(resource, place)
        if value is None:
            return f"nothing to keep at {place}: {raw[:1500]!r}"
        variables.keep(name, str(value).rpartition("/")[2] if place.startswith("@") else str(value))
    return problem


def compare_formats(target, path, headers, resource):
    """The same question asked for XML has the same answer."""
    status, _, raw = exchange(target, "GET", path, None, {**headers, "Accept": TYPES["xml"]})
    if status != 200:
        return f"HTTP {status} for XML"
    of_xml = comparable(leaves_of_xml(etree.fromstring(raw)))
    of_json = comparable(leaves_of_json(resource))
    for one, other in zip(of_json, of_xml):
        if one != other:
            return f"JSON has {one}, XML has {other}"
    return None if len(of_json) == len(of_xml) else "JSON and XML differ in length"


def judge(status, headers, raw, resource, expected):
    """Checks an answer against a table of expectations."""
    shown = raw[:2500].decode(errors="replace")
    if "http" in expected and status != expected["http"]:
        return f"HTTP {status}, expected {expected['http']}: {shown}"
    for name, pattern in expected.get("headers", {}).items():
        if not re.fullmatch(pattern, headers.get(name, "")):
            return f"header {name} is {headers.get(name)!r}, expected {pattern}"
    for path, value in expected.get("json", {}).items():
        if at(resource, path) != value:
            return f"{path} is {at(resource, path)!r}, expected {value!r}: {shown}"
    for path in expected.get("absent", []):
        if at(resource, path) is not None:
            return f"{path} is there: {shown}"
    for path, count in expected.get("length", {}).items():
        if len(at(resource, path) or []) != count:
            return f"{len(at(resource, path) or [])} x {path}, expected {count}: {shown}"
    for text in expected.get("contains", []):
        if text not in raw.decode():
            return f"the answer does not hold {text!r}: {shown}"
    for text in expected.get("lacks", []):
        if text in raw.decode():
            return f"the answer holds {text!r}: {shown}"
    return None
