#!/usr/bin/python3
"""Runs the conformance scenarios against any XDS.b registry and repository.

    conformance/run.py --start-server                       a private server of this clone, in mode open
    conformance/run.py --target https://host:8443 --mllp host:2576 --cert c.pem --key c.key --ca ca.pem
    conformance/run.py ... [NAME...]                        scenarios whose path holds one of the names

Each folder with a scenario.toml is one scenario; README.md in this folder says how they are written. Shares no code with
the server. Prints a line per failed scenario and ends with `N passed, N failed, N skipped`.
"""

import argparse
import base64
import copy
import dataclasses
import datetime
import hashlib
import pathlib
import re
import sys
import time
import tomllib
import urllib.parse

from lxml import etree

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from conformance import charsets, client as xds, dicomweb, fhir, names, schemas  # noqa: E402,F401  pylint: disable=wrong-import-position,unused-import

DEFAULT_AUTHORITY = "1.3.6.1.4.1.21367.2005.13.20.1000"
DOMAINS = {  # identifier domains of hospitals that a server under test knows
    "a": "1.2.392.99999.4.11",
    "b": "1.2.392.99999.4.12",
    "c": "1.2.392.99999.4.13",
    "d": "1.2.392.99999.4.15",
    "elsewhere": "1.2.392.99999.4.14",
}
CONSENT_POLICY = "1.2.392.99999.8.1"  # one that the server under test knows
DOMAIN_OPTIONS = {
    "d": ("--namespace", "HOSPITAL-D"),
    "elsewhere": ("--facility", "Elsewhere Hospital", "--source", "ELSEWHERE|HOSPITAL"),
}
IMAGING_UID = "1.2.392.99999.6.1"
HOME = "urn:oid:1.2.392.99999.7.1"  # of the community whose gateway is under test
GIVEN = HERE / "given"
GIVEN_NS = "urn:musubi:given"
NAMESPACES = xds.NS
BOUNDARY = "scenario-boundary"


class Failed(Exception):
    """An expectation that did not hold."""


class Skipped(Exception):
    """The server under test lacks what the scenario needs."""


@dataclasses.dataclass
class Target:
    """Where the server is and who we are."""

    base: str
    mllp: str
    cert: str = None
    key: str = None
    ca: str = None
    authority: str = DEFAULT_AUTHORITY
    repository_uid: str = "1.3.6.1.4.1.21367.2011.2.3.7"
    imaging_uid: str = IMAGING_UID
    home: str = HOME
    provider: object = None  # tests.harness.saml.IdentityProvider that the server trusts

    def soap(self):
        """A new SOAP client."""
        return xds.SoapClient(self.base, self.cert, self.key, self.ca)

    def feed(self, message, encoding="utf-8"):
        """Sends one ADT message; gives the acknowledgement."""
        client = xds.MllpClient(self.mllp, self.cert, self.key, self.ca)
        try:
            return client.send(message, encoding)
        finally:
            client.close()


class Variables:
    """${...} in scenario texts. The same name gives the same value within one scenario; ${a|b} is b where a is not set.

    ${patient:a}  CX of a patient that was fed; ${stranger:a}  CX of one that was not; ${foreign:a} of another authority
    ${oid:a}  a fresh uniqueId; ${uuid:a}  a fresh entryUUID; ${control:a} a fresh MSH-10
    ${domain:a}  OID of a hospital's domain (DOMAINS); ${id:a}  a fresh identifier
    ${repository}; ${imaging}; ${authority}; ${home}; ${now}  the time as DTM; ${step}  number of the step
    ${sha1:TEXT}; ${size:TEXT}; ${base64:TEXT}; ${repeat:N:TEXT}
    ${scheme:classCode}, ${association:RPLC}, ...  the tables of names.py
    ${NAME}  what an earlier step kept, or what the step set with `with`
    """

    def __init__(self, target):
        self.target = target
        self.values = {"home": target.home, "repository": target.repository_uid, "imaging": target.imaging_uid, "authority": target.authority}

    def _identifier(self):
        return f"C{hashlib.sha1(xds.new_oid().encode()).hexdigest()[:14]}"

    def _fed_patient(self):
        cx = f"{self._identifier()}^^^&{self.target.authority}&ISO"
        reply = self.target.feed(xds.adt("A01", cx))
        if xds.acknowledgement(reply) != "AA":
            raise Failed(f"cannot feed a patient: {reply!r}")
        return cx

    def _make(self, name):
        kind, _, label = name.partition(":")
        makers = {
            "patient": self._fed_patient,
            "stranger": lambda: f"{self._identifier()}^^^&{self.target.authority}&ISO",
            "foreign": lambda: f"{self._identifier()}^^^&1.2.392.99999.4.7&ISO",
            "domain": lambda: DOMAINS[label],
            "id": self._identifier,
            "oid": xds.new_oid,
            "uuid": xds.new_urn,
            "control": lambda: xds.new_urn()[-12:],
            "now": lambda: datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d%H%M%S"),
            "sha1": lambda: hashlib.sha1(label.encode()).hexdigest(),
            "size": lambda: str(len(label.encode())),
            "base64": lambda: base64.b64encode(label.encode()).decode(),
            "repeat": lambda: label.partition(":")[2] * int(label.partition(":")[0]),
        }
        if kind in names.TABLES and label in names.TABLES[kind]:
            return names.TABLES[kind][label]
        if kind in makers:
            return str(makers[kind]())
        raise Failed(f"unknown variable ${{{name}}}")

    def get(self, name):
        """Value of one variable, made on first use; ${uuid}, ${oid}, ${control} and ${now} are new each time."""
        name, has_default, default = name.partition("|")
        if name in self.values:
            return self.values[name]
        if has_default:
            return default
        value = self._make(name)
        if ":" in name:
            self.values[name] = value
        return value

    def keep(self, name, value):
        """Sets a variable for later steps."""
        self.values[name] = value

    def within(self, values):
        """These variables and some more, for one step or one given element."""
        inner = copy.copy(self)
        inner.values = _Layered(self.values, values)
        return inner

    def fill(self, value):
        """Replaces the variables in a text, list or table; the innermost first, so that names may be made of variables."""
        if isinstance(value, str):
            count = 1
            while count:
                value, count = re.subn(r"\$\{([^${}]+)\}", lambda m: str(self.get(m.group(1))), value)
            return value
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {self.fill(key): self.fill(item) for key, item in value.items()}
        return value


class _Layered:
    """Own values in front of shared ones; what is made on the way is shared."""

    def __init__(self, shared, own):
        self.shared, self.own = shared, own

    def __contains__(self, name):
        return name in self.own or name in self.shared

    def __getitem__(self, name):
        return self.own[name] if name in self.own else self.shared[name]

    def __setitem__(self, name, value):
        self.shared[name] = value


# ---------------------------------------------------------------------------------------------- requests


def parse(text):
    """The elements of a template in a holder; the usual prefixes need no declaration."""
    declarations = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in {**xds.NS, "given": GIVEN_NS}.items())
    parser = etree.XMLParser(remove_blank_text=True, remove_comments=True)
    return etree.fromstring(f"<holder {declarations}>{text}</holder>", parser)


def expand(element, variables):
    """Fills the variables of a template and puts in the given elements: <given:NAME a="b"/> is given/NAME.xml with ${a} = b."""
    for name, value in element.attrib.items():
        element.set(name, variables.fill(value))
    if element.text:
        element.text = variables.fill(element.text)
    for child in list(element):
        expand(child, variables)
        if etree.QName(child).namespace == GIVEN_NS:
            template = parse((GIVEN / f"{etree.QName(child).localname}.xml").read_text(encoding="utf-8"))
            expand(template, variables.within(dict(child.attrib)))
            _insert_children(template[0], list(child))
            element.replace(child, template[0])
    return element


def _insert_children(owner, children):
    """Puts what a given element held into its object: Slots first, the rest before the ExternalIdentifiers (schema order)."""
    identifiers = owner.findall("rim:ExternalIdentifier", NAMESPACES)
    for child in reversed([c for c in children if etree.QName(c).localname == "Slot"]):
        owner.insert(0, child)
    for child in children:
        if etree.QName(child).localname != "Slot":
            (identifiers[0].addprevious if identifiers else owner.append)(child)
    adopt(owner)


def adopt(owner):
    """Lets the codes and identifiers of an object name it, where they name nothing yet."""
    for reference in ("classifiedObject", "registryObject"):
        for child in owner.xpath(f"*[@{reference}='']"):
            child.set(reference, owner.get("id"))


def xml_of(template, variables):
    """The first element of a template's text, as XML that declares only what it uses."""
    element = expand(parse(template), variables)[0]
    etree.cleanup_namespaces(element)
    return etree.tostring(element, encoding="unicode")


def change(tree, changes):
    """Applies [{at = XPath, ...}]: remove = true; text = "..."; set = "..." where at is an
    attribute; attribute = "..." with set, to add one; append, before = XML."""
    for item in changes:
        found = tree.xpath(item["at"], namespaces=NAMESPACES)
        if not found:
            raise Failed(f"change: nothing at {item['at']}")
        for node in found:
            _change_one(node, item)


def _change_one(node, item):
    if hasattr(node, "is_attribute") and node.is_attribute:
        if item.get("remove"):
            del node.getparent().attrib[node.attrname]
        else:
            node.getparent().set(node.attrname, item["set"])
        return
    if item.get("remove"):
        node.getparent().remove(node)
    if "attribute" in item:
        node.set(item["attribute"], item["set"])
    if "text" in item:
        node.text = item["text"]
    if "append" in item:
        node.append(etree.fromstring(item["append"]))
        adopt(node)
    if "before" in item:
        node.addprevious(etree.fromstring(item["before"]))
        adopt(node.getparent())


def changed(xml, changes, variables):
    """A body or an envelope with changes applied; as it is without."""
    if not changes:
        return xml
    tree = etree.fromstring(xml)
    change(tree, [{key: xml_of(value, variables) if key in ("append", "before") else variables.fill(value)
                   for key, value in item.items()} for item in changes])
    return etree.tostring(tree, encoding="unicode")


def template_of(step, folder):
    """The template of a body: the objects to submit, or a file."""
    if "objects" not in step:
        name = step["body"]
        text = (GIVEN / name[6:] if name.startswith("given/") else folder / name).read_text(encoding="utf-8")
        return re.sub(r"PRPA_IN\d+UV02", step["interaction"], text) if "interaction" in step else text
    submit = (f"<lcm:SubmitObjectsRequest><rim:RegistryObjectList>{step['objects']}</rim:RegistryObjectList>"
              "</lcm:SubmitObjectsRequest>")
    if step["tx"] != "ITI-41":
        return submit
    documents = "".join(f'<xds:Document id="${{uuid:{name}}}"><xop:Include href="cid:{name}@musubi.test"/></xds:Document>'
                        for name in step.get("documents", {}))
    return f"<xds:ProvideAndRegisterDocumentSetRequest>{submit}{documents}</xds:ProvideAndRegisterDocumentSetRequest>"


def body_of(step, folder, variables):
    """The body element's XML of a step: a query, a retrieve of documents or images, or what template_of() finds."""
    if "query" in step:
        pairs = [(p[0], p[1]) for p in variables.fill(step.get("parameters", []))]
        return xds.query_xml(variables.fill(step["query"]), pairs, step.get("return_type", "LeafClass"),
                             variables.fill(step.get("home", "")))
    if "retrieve" in step:
        return xds.retrieve_xml([tuple(pair) for pair in variables.fill(step["retrieve"])], variables.fill(step.get("home", "")))
    if "remove" in step:
        return xds.remove_xml([tuple(item) if isinstance(item, list) else item for item in variables.fill(step["remove"])])
    if "images" in step:
        wanted = [tuple(names) for names in variables.fill(step["images"])]
        syntaxes = variables.fill(step.get("syntaxes", [dicomweb.EXPLICIT]))
        return xds.retrieve_images_xml(wanted, syntaxes, variables.fill(step.get("home", "")))
    return xml_of(template_of(step, folder), variables)


def attachments_of(step, variables):
    """[(content id, media type, bytes)] of documents = {id = content}"""
    return [(f"{name}@musubi.test", "text/plain", content.encode())
            for name, content in variables.fill(step.get("documents", {})).items()]


PATHS = {"ITI-41": "/repository", "ITI-43": "/repository", "ITI-42": "/registry", "ITI-18": "/registry",
         "ITI-51": "/registry", "ITI-61": "/registry", "ITI-52": "/dsub",
         "ITI-57": "/registry", "ITI-62": "/registry", "ITI-86": "/repository", "ITI-92": "/registry", "ITI-44": "/pix", "ITI-45": "/pix", "ITI-47": "/pix", "RAD-69": "/imaging",
         "ITI-38": "/gateway", "ITI-39": "/gateway", "RAD-75": "/gateway", "ITI-55": "/gateway"}
MTOM = ("ITI-39", "ITI-41", "ITI-43", "RAD-69", "RAD-75")


def action_of(step, body):
    """wsa:Action of a step: that of its transaction, or of the interaction that is the body."""
    root = etree.QName(etree.fromstring(body))
    if root.namespace == NAMESPACES["hl7"] and step["tx"] not in xds.ACTIONS:
        return f"{root.namespace}:{root.localname}"
    return xds.ACTIONS.get(step["tx"], step["tx"])


def assertion_header(target, settings):
    """A wsse:Security header with an assertion made for this step; NAME_s is an instant so many seconds from now."""
    from tests.harness import saml  # pylint: disable=import-outside-toplevel

    if target.provider is None:
        raise Skipped("the server trusts no identity provider of ours")
    claims, signing, signer = {}, {}, target.provider
    for key, value in settings.items():
        if key.endswith("_s"):
            claims[key[:-2]] = saml.instant(value)
        elif key in ("method", "digest", "reference", "objects", "method_uri"):
            signing[key] = value
        elif key == "audiences":
            claims[key] = tuple(tuple(group) for group in value)
        elif key == "signer":
            signer = saml.IdentityProvider(target.provider.issuer)
        else:
            claims[key] = value
    if "transforms" in claims:
        signing["transforms"] = tuple(claims.pop("transforms"))
    return saml.security(signer.assertion(saml.Signing(**signing), **claims))


def message_of(step, folder, variables):
    """(Content-Type, bytes) of a SOAP step, with everything that the step wants to be special about it."""
    body = changed(body_of(step, folder, variables), step.get("changes"), variables)
    action = variables.fill(step.get("action") or action_of(step, body))
    message = changed(xds.envelope(action, body).decode(), step.get("envelope"), variables).encode()
    if "assertion" in step:
        header = assertion_header(variables.target, step["assertion"])
        message = message.replace(b"</soap:Header>", header.encode() + b"</soap:Header>", 1)
    if step.get("mtom", step["tx"] in MTOM):
        content_type, message = xds.mtom(message, attachments_of(step, variables), BOUNDARY, step.get("root_last", False))
    else:
        content_type = f'application/soap+xml; charset=UTF-8; action="{action}"'
    for old, new in variables.fill(step.get("replace", [])):
        if old.encode() not in message:
            raise Failed(f"replace: the message does not hold {old!r}")
        message = message.replace(old.encode(), new.encode(step.get("encoding", "utf-8")))
    return variables.fill(step.get("content_type", content_type)), message


def send(target, step, folder, variables):
    """Sends one SOAP step, or the bytes of an earlier one again; gives the Reply."""
    message = variables.get(f"sent {step['again']}") if "again" in step else message_of(step, folder, variables)
    variables.keep(f"sent {step['number']}", message)
    client = target.soap()
    try:
        return client.post(step.get("path", PATHS.get(step["tx"], "/registry")), *message)
    finally:
        client.close()


# ---------------------------------------------------------------------------------------------- expectations


def expect_reply(reply, expected, variables):
    """Checks one reply against a table of expectations."""
    expected = variables.fill(expected)
    problem = schemas.fault(reply.body) if reply.body is not None else None
    if problem:
        raise Failed(f"the answer is not valid: {problem}\n{etree.tostring(reply.body, encoding='unicode')[:3000]}")
    if "http" in expected and reply.status != expected["http"]:
        raise Failed(f"HTTP {reply.status}, expected {expected['http']}")
    if "status" in expected and reply.outcome != expected["status"]:
        raise Failed(f"status {reply.outcome}, expected {expected['status']}; errors {reply.errors}"
                     f" {reply.raw[:600] if reply.outcome == 'Fault' else ''}")
    if "fault" in expected:
        text = etree.tostring(reply.body, encoding="unicode")
        if expected["fault"] not in text:
            raise Failed(f"the fault does not hold {expected['fault']!r}: {text[:800]}")
    if "content_type" in expected and not reply.headers.get("Content-Type", "").startswith(expected["content_type"]):
        raise Failed(f"Content-Type {reply.headers.get('Content-Type')}, expected {expected['content_type']}")
    if "action" in expected and reply.envelope.findtext("soap:Header/wsa:Action", namespaces=NAMESPACES) != expected["action"]:
        raise Failed(f"the reply has not the Action {expected['action']}")
    expect_errors(reply, expected)
    expect_objects(reply, expected)
    for document, content in expected.get("documents", {}).items():
        if reply.documents().get(document) != content.encode():
            raise Failed(f"document {document} is missing or differs")
    expect_files(reply, expected)
    if "document_count" in expected and len(reply.documents()) != expected["document_count"]:
        raise Failed(f"{len(reply.documents())} documents, expected {expected['document_count']}")
    for path in expected.get("xpath", []):
        if not reply.body.xpath(path, namespaces=NAMESPACES):
            raise Failed(f"XPath does not hold: {path}\n{etree.tostring(reply.body, encoding='unicode')[:3000]}")


def expect_files(reply, expected):
    """Images that RAD-69 gave: the files that were stored, and the transfer syntaxes that they are in."""
    for instance, fields in expected.get("files", {}).items():
        if reply.documents().get(instance) != dicomweb.make_file(dict(fields)):
            raise Failed(f"instance {instance} is missing, or is not the file that was stored")
    for instance, syntax in expected.get("in_syntax", {}).items():
        found = dicomweb.syntax_of(reply.documents().get(instance, b""))
        if found != syntax:
            raise Failed(f"instance {instance} is in transfer syntax {found}, expected {syntax}")


def expect_errors(reply, expected):
    """Error codes, texts and locations."""
    codes = [code for code, _, _, severity in reply.errors if severity == "Error"]
    wanted = expected.get("errors", [expected["error"]] if "error" in expected else [])
    for code in wanted:
        if code not in codes:
            raise Failed(f"error {code} is missing; errors {reply.errors}")
    if wanted and expected.get("only", False) and set(codes) != set(wanted):
        raise Failed(f"further errors: {reply.errors}")
    if expected.get("status") == "Success" and codes:
        raise Failed(f"Success with errors {reply.errors}")
    context = "\n".join(f"{text} @ {location}" for _, text, location, _ in reply.errors)
    for text in expected.get("context", []):
        if text not in context:
            raise Failed(f"no error text holds {text!r}: {context}")


def expect_objects(reply, expected):
    """How many of which objects, and which uniqueIds or ids."""
    for name, count in expected.get("count", {}).items():
        found = len(reply.objects("*" if name == "all" else name))
        if found != count:
            raise Failed(f"{found} x {name}, expected {count}")
    if "unique_ids" in expected:
        found = sorted(reply.envelope.xpath("//rim:RegistryObjectList//rim:ExternalIdentifier[contains(rim:Name/rim:LocalizedString/@value,"
                                            "'.uniqueId')]/@value", namespaces=NAMESPACES))
        if found != sorted(expected["unique_ids"]):
            raise Failed(f"uniqueIds {found}, expected {sorted(expected['unique_ids'])}")


def keep(reply, step, variables):
    """keep = {name = XPath}: values for later steps, as ${name}."""
    for name, path in step.get("keep", {}).items():
        found = reply.body.xpath(variables.fill(path), namespaces=NAMESPACES)
        if not found:
            raise Failed(f"nothing to keep at {path}")
        variables.keep(name, str(found if isinstance(found, (str, float)) else found[0]))


def expect_segments(reply, expected):
    """Texts, fields and numbers of segments of an HL7 v2 reply."""
    if "ack" in expected and xds.acknowledgement(reply) != expected["ack"]:
        raise Failed(f"reply {reply!r}, expected {expected['ack']}")
    for text in expected.get("contains", []):
        if text not in reply:
            raise Failed(f"the reply does not hold {text!r}: {reply!r}")
    for text in expected.get("lacks", []):
        if text in reply:
            raise Failed(f"the reply holds {text!r}: {reply!r}")
    for path, value in expected.get("fields", {}).items():
        if xds.er7_field(reply, path) != value:
            raise Failed(f"{path} is {xds.er7_field(reply, path)!r}, expected {value!r}: {reply!r}")
    for name, count in expected.get("segments", {}).items():
        found = sum(line.startswith(name) for line in reply.split("\r"))
        if found != count:
            raise Failed(f"{found} x {name}, expected {count}: {reply!r}")


def run_hl7(target, step, local, variables):
    """A step of HL7 v2: the message, and what the reply must say. keep = {name = "DSC-1"} keeps fields."""
    encoding = step.get("encoding", "utf-8")
    message = local.fill(step["hl7"]).replace("\n", "\r").encode(encoding)
    for old, new in step.get("replace", []):
        message = message.replace(old.encode(), bytes.fromhex(new))
    reply = target.feed(message, encoding)
    expect_segments(reply, local.fill(step.get("expect", {})))
    for name, path in step.get("keep", {}).items():
        variables.keep(name, xds.er7_field(reply, path) or "")


def run_fhir(target, step, folder, variables):
    """A step below /fhir."""
    name = step.get("body")
    path = None if name is None else (GIVEN / name[6:] if name.startswith("given/") else folder / name)
    template = path.read_text(encoding="utf-8") if path else None
    deadline = time.monotonic() + step.get("within_s", 0)
    while problem := fhir.run(target, step, template, variables):
        if time.monotonic() > deadline:
            raise Failed(problem)
        time.sleep(0.1)


def run_web(target, step, variables):
    """A step below /dicomweb."""
    if problem := dicomweb.run(target, step, variables):
        raise Failed(problem)


def run_step(target, step, folder, variables):
    """Sends one step and checks the answer; raises Failed."""
    time.sleep(step.get("wait_s", 0))
    local = variables.within({"step": str(step["number"]), **variables.fill(step.get("with", {}))})
    if "http" in step:
        run_fhir(target, step, folder, local)
        return
    if "web" in step:
        run_web(target, step, local)
        return
    if "hl7" in step:
        run_hl7(target, step, local, variables)
        return
    reply = send(target, step, folder, local)
    expect_reply(reply, step.get("expect", {}), local)
    keep(reply, step, variables)


def steps_of(folder):
    """The steps of a scenario, those of its given populations first."""
    scenario = tomllib.loads((folder / "scenario.toml").read_text(encoding="utf-8"))
    populations = [tomllib.loads((GIVEN / f"{name}.toml").read_text(encoding="utf-8")) for name in scenario.get("given", [])]
    steps = [step for part in [*populations, scenario] for step in part["step"]]
    return [{**step, "number": number} for number, step in enumerate(steps, 1)]


def run_scenario(target, folder):
    """Runs the steps of one scenario; raises Failed."""
    variables = Variables(target)
    for step in steps_of(folder):
        try:
            run_step(target, step, folder, variables)
        except Failed as error:
            raise Failed(f"step {step['number']} ({step.get('tx') or step.get('http') or step['web']}): {error}") from None


# ---------------------------------------------------------------------------------------------- main


def start_server():
    """A private server of this clone; the harness belongs to the tests, the scenarios do not need it."""
    from tests.harness import saml  # pylint: disable=import-outside-toplevel
    from tests.harness.server import Server  # pylint: disable=import-outside-toplevel

    codes = HERE / "given" / "codes.xml"
    server = Server(settings={"server": {"roles": "registry, repository, pix, atna, imaging"}, "imaging": {"unique_id": IMAGING_UID},
                              "xua": {"registry": "record", "repository": "record", "pix": "record", "audiences": saml.AUDIENCE},
                              "affinity_domain": {"home_community_id": HOME, "codes": codes, "code_check": "strict", "patient_id_namespace": "REGION-ID"}})
    server.start()
    for name, oid in DOMAINS.items():
        server.command("authority", "add", oid, "--kind", "emr", *DOMAIN_OPTIONS.get(name, ()))
    server.command("consent-policy", "add", CONSENT_POLICY, "--name", "Takes part", "--decision", "enroll")
    provider = saml.IdentityProvider()
    certificate = server.dir / "idp.pem"
    certificate.write_bytes(provider.pem())
    server.command("idp", "add", provider.issuer, "--certificate", str(certificate))
    server.wait_until_refreshed()
    return server, Target(f"http://127.0.0.1:{server.plain_port}", f"127.0.0.1:{server.mllp_port}", provider=provider)


def main():
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start-server", action="store_true")
    parser.add_argument("--target", help="http(s)://host:port")
    parser.add_argument("--mllp", help="host:port")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--ca")
    parser.add_argument("--authority", default=DEFAULT_AUTHORITY)
    parser.add_argument("--repository-uid", default=Target.repository_uid)
    parser.add_argument("--imaging-uid", default=Target.imaging_uid)
    parser.add_argument("--home", default=Target.home, help="homeCommunityId")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.start_server == bool(arguments.target):
        parser.error("say either --start-server or --target")
    server = None
    if arguments.start_server:
        server, target = start_server()
    else:
        target = Target(arguments.target, arguments.mllp or urllib.parse.urlsplit(arguments.target).hostname + ":2576",
                        arguments.cert, arguments.key, arguments.ca, arguments.authority, arguments.repository_uid,
                        arguments.imaging_uid, home=arguments.home)
    passed = failed = skipped = 0
    try:
        for path in sorted(HERE.rglob("scenario.toml")):
            name = str(path.parent.relative_to(HERE))
            if arguments.names and not any(part in name for part in arguments.names):
                continue
            try:
                run_scenario(target, path.parent)
                passed += 1
                if arguments.verbose:
                    print(f"ok   {name}")
            except Skipped as error:
                skipped += 1
                print(f"skip {name}: {error}")
            except Exception as error:  # pylint: disable=broad-exception-caught
                failed += 1
                print(f"FAIL {name}: {type(error).__name__ if not isinstance(error, Failed) else ''}{error}", flush=True)
    finally:
        if server:
            server.close()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
