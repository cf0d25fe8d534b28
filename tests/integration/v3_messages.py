"""HL7 v3 messages made of the templates in conformance/given."""

import pathlib
import re

from lxml import etree

from conformance import client as xds

GIVEN = pathlib.Path(xds.__file__).parent / "given"


def fill(name, **values):
    """The body of conformance/given/NAME.xml with its ${variables}; one that has a default need not be given."""
    values = {"control": xds.new_oid(), "now": "20260401000000", **values}

    def value(match):
        variable, _, default = match.group(1).partition("|")
        return values.get(variable, default)

    text = (GIVEN / f"{name}.xml").read_text(encoding="utf-8")
    count = 1
    while count:
        text, count = re.subn(r"\$\{([^${}]+)\}", value, text)
    return etree.fromstring(text)


def element(xml):
    """An element of HL7 v3."""
    return etree.fromstring(xml.replace(">", f' xmlns="{xds.NS["hl7"]}">', 1) if "/>" not in xml[:xml.index(">") + 1]
                            else xml.replace("/>", f' xmlns="{xds.NS["hl7"]}"/>', 1))


def send(soap, body, action=None, path="/pix"):
    """Sends one interaction; gives the Reply."""
    action = action or f"{xds.NS['hl7']}:{etree.QName(body).localname}"
    content = etree.tostring(body, encoding="unicode", with_tail=False)
    return soap.post(path, "application/soap+xml; charset=UTF-8", xds.envelope(action, content))


def feed(soap, identifiers, **values):
    """Feeds one patient with [(root, extension)]; raises unless it is accepted."""
    body = fill("v3_add", root=identifiers[0][0], id=identifiers[0][1], **values)
    first = body.find(".//hl7:patient/hl7:id", xds.NS)
    for root, extension in identifiers[1:]:
        first.addnext(etree.Element(first.tag, root=root, extension=extension))
    reply = send(soap, body)
    if reply.outcome != "CA":
        raise AssertionError(f"cannot feed {identifiers}: {reply.raw!r}")


def query_by_family(query_id, family, quantity=None):
    """A demographics query."""
    body = fill("v3_pdq_query", query_id=query_id)
    parameters = body.find(".//hl7:parameterList", xds.NS)
    if quantity:
        parameters.addprevious(element(f'<initialQuantity value="{quantity}"/>'))
    parameters.append(element(f"<livingSubjectName><value><family>{family}</family></value><semanticsText/></livingSubjectName>"))
    return body


def go_on(query_id, quantity):
    """(body, action) of a continuation."""
    return fill("v3_continue", query_id=query_id, quantity=str(quantity)), f"{xds.NS['hl7']}:QUQI_IN000003UV01_Continue"
