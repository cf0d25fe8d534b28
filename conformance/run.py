#!/usr/bin/python3
"""Runs the conformance scenarios against any XDS.b registry and repository.

    conformance/run.py --start-server                       a private server of this clone, in mode open
    conformance/run.py --target https://host:8443 --mllp host:2576 --cert c.pem --key c.key --ca ca.pem
    conformance/run.py ... [NAME...]                        scenarios whose path holds one of the names

Each folder with a scenario.toml is one scenario; README.md in this folder says how they are written. Shares no code with
the server. Prints a line per failed scenario and ends with `N passed, N failed, N skipped`.
"""

import argparse
import dataclasses
import hashlib
import pathlib
import re
import sys
import tomllib
import urllib.parse

from lxml import etree

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from conformance import client as xds  # noqa: E402  pylint: disable=wrong-import-position

DEFAULT_AUTHORITY = "1.3.6.1.4.1.21367.2005.13.20.1000"
NAMESPACES = {**xds.NS, "x": xds.NS["xds"]}


class Failed(Exception):
    """An expectation that did not hold."""


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

    def soap(self):
        """A new SOAP client."""
        return xds.SoapClient(self.base, self.cert, self.key, self.ca)

    def feed(self, message):
        """Sends one ADT message; gives the acknowledgement."""
        client = xds.MllpClient(self.mllp, self.cert, self.key, self.ca)
        try:
            return client.send(message)
        finally:
            client.close()


class Variables:
    """${...} in scenario texts. The same name gives the same value within one scenario.

    ${patient:a}  CX of a patient that was fed; ${stranger:a}  CX of one that was not; ${foreign:a} of another authority
    ${oid:a}  a fresh uniqueId; ${uuid:a}  a fresh entryUUID; ${repository}; ${authority}; ${sha1:TEXT}; ${size:TEXT}
    ${step1.NAME}  what an earlier step kept
    """

    def __init__(self, target):
        self.target = target
        self.values = {}
        self.fed = set()

    def _patient(self, label):
        cx = f"C{xds.new_oid().rsplit('.', 1)[1]}-{hashlib.sha1(xds.new_oid().encode()).hexdigest()[:10]}"
        return f"{cx}^^^&{self.target.authority}&ISO"

    def _make(self, name):
        kind, _, label = name.partition(":")
        if kind == "patient":
            cx = self._patient(label)
            reply = self.target.feed(xds.adt("A01", cx))
            if xds.acknowledgement(reply) != "AA":
                raise Failed(f"cannot feed patient {label}: {reply!r}")
            return cx
        if kind == "stranger":
            return self._patient(label)
        if kind == "foreign":
            return f"F{xds.new_oid().rsplit('.', 1)[1]}^^^&1.2.392.99999.4.{abs(hash(label)) % 1000}&ISO"
        if kind == "oid":
            return xds.new_oid()
        if kind == "uuid":
            return xds.new_urn()
        if kind == "repository":
            return self.target.repository_uid
        if kind == "authority":
            return self.target.authority
        if kind == "sha1":
            return hashlib.sha1(label.encode()).hexdigest()
        if kind == "size":
            return str(len(label.encode()))
        raise Failed(f"unknown variable ${{{name}}}")

    def get(self, name):
        """Value of one variable, made on first use."""
        if name not in self.values:
            self.values[name] = self._make(name)
        return self.values[name]

    def keep(self, name, value):
        """Sets a variable for later steps."""
        self.values[name] = value

    def fill(self, value):
        """Replaces the variables in a text, list or table."""
        if isinstance(value, str):
            return re.sub(r"\$\{([^}]+)\}", lambda m: str(self.get(m.group(1))), value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {self.fill(key): self.fill(item) for key, item in value.items()}
        return value


# ---------------------------------------------------------------------------------------------- requests


def change(tree, changes):
    """Applies [{at = XPath, set|text|remove|append|before|rename|...}] to a parsed body."""
    for item in changes:
        found = tree.xpath(item["at"], namespaces=NAMESPACES)
        if not found:
            raise Failed(f"change: nothing at {item['at']}")
        for node in found:
            _change_one(node, item)


def _fragment(text):
    declarations = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in xds.NS.items())
    return list(etree.fromstring(f"<r {declarations}>{text}</r>"))


def _change_one(node, item):
    if hasattr(node, "is_attribute") and node.is_attribute:
        parent, name = node.getparent(), node.attrname
        if item.get("remove"):
            del parent.attrib[name]
        else:
            parent.set(name, item["set"])
        return
    if item.get("remove"):
        node.getparent().remove(node)
    if "text" in item:
        node.text = item["text"]
    if "attribute" in item:
        node.set(item["attribute"], item["set"])
    for fragment in _fragment(item.get("append", "")):
        node.append(fragment)
    for fragment in _fragment(item.get("after", "")):
        node.addnext(fragment)
    for fragment in reversed(_fragment(item.get("before", ""))):
        node.addprevious(fragment)


def body_of(step, folder, variables):
    """The body element's XML of a step: a query, a retrieve, or a file with its changes."""
    if "query" in step:
        pairs = [(p[0], p[1]) for p in variables.fill(step.get("parameters", []))]
        return xds.query_xml(variables.fill(step["query"]), pairs, step.get("return_type", "LeafClass"))
    if "retrieve" in step:
        return xds.retrieve_xml([tuple(pair) for pair in variables.fill(step["retrieve"])], variables.fill(step.get("home", "")))
    name = step["body"]
    path = HERE / "given" / name[6:] if name.startswith("given/") else folder / name
    text = variables.fill(path.read_text(encoding="utf-8"))
    if step.get("changes"):
        tree = etree.fromstring(text.encode())
        change(tree, variables.fill(step["changes"]))
        text = etree.tostring(tree, encoding="unicode")
    return text


def attachments_of(step, variables):
    """[(content id, media type, bytes)]"""
    return [(a["id"], a.get("type", "text/plain"), variables.fill(a["content"]).encode()) for a in step.get("attachments", [])]


PATHS = {"ITI-41": "/repository", "ITI-43": "/repository", "ITI-42": "/registry", "ITI-18": "/registry"}


def send(target, step, folder, variables):
    """Sends one SOAP step; gives the Reply."""
    client = target.soap()
    try:
        path = step.get("path", PATHS.get(step["tx"], "/registry"))
        if "raw" in step:
            raw = variables.fill((folder / step["raw"]).read_bytes().decode("utf-8", "surrogateescape"))
            return client.post(path, step.get("content_type", "application/soap+xml; charset=UTF-8"),
                               raw.encode("utf-8", "surrogateescape"), step.get("headers"))
        as_mtom = step.get("mtom", step["tx"] in ("ITI-41", "ITI-43"))
        action = step.get("action", xds.ACTIONS.get(step["tx"], step["tx"]))
        return client.send(path, action, body_of(step, folder, variables), attachments_of(step, variables), as_mtom)
    finally:
        client.close()


# ---------------------------------------------------------------------------------------------- expectations


def expect_reply(reply, expected, variables):
    """Checks one reply against a table of expectations."""
    expected = variables.fill(expected)
    if "http" in expected and reply.status != expected["http"]:
        raise Failed(f"HTTP {reply.status}, expected {expected['http']}")
    if "status" in expected and reply.outcome != expected["status"]:
        raise Failed(f"status {reply.outcome}, expected {expected['status']}; errors {reply.errors}"
                     f" {reply.raw[:600] if reply.outcome == 'Fault' else ''}")
    if "fault" in expected:
        text = etree.tostring(reply.body, encoding="unicode")
        if expected["fault"] not in text:
            raise Failed(f"the fault does not hold {expected['fault']!r}: {text[:800]}")
    expect_errors(reply, expected)
    expect_objects(reply, expected)
    for document, content in expected.get("documents", {}).items():
        if reply.documents().get(document) != content.encode():
            raise Failed(f"document {document} is missing or differs")
    if "document_count" in expected and len(reply.documents()) != expected["document_count"]:
        raise Failed(f"{len(reply.documents())} documents, expected {expected['document_count']}")
    for path in expected.get("xpath", []):
        if not reply.body.xpath(path, namespaces=NAMESPACES):
            raise Failed(f"XPath does not hold: {path}\n{etree.tostring(reply.body, encoding='unicode')[:3000]}")


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


def keep(reply, step, number, variables):
    """keep = {name = XPath}: values for later steps, as ${stepN.name} and ${name}."""
    for name, path in step.get("keep", {}).items():
        found = reply.body.xpath(variables.fill(path), namespaces=NAMESPACES)
        if not found:
            raise Failed(f"nothing to keep at {path}")
        value = str(found[0] if not isinstance(found, str) else found)
        variables.keep(f"step{number}.{name}", value)
        variables.keep(name, value)


def run_feed(target, step, variables):
    """A step of ITI-8: the message, and what MSA and ERR must say."""
    message = variables.fill(step["hl7"]).replace("\n", "\r")
    reply = target.feed(message)
    expected = variables.fill(step.get("expect", {}))
    if "ack" in expected and xds.acknowledgement(reply) != expected["ack"]:
        raise Failed(f"acknowledgement {reply!r}, expected {expected['ack']}")
    for text in expected.get("contains", []):
        if text not in reply:
            raise Failed(f"the acknowledgement does not hold {text!r}: {reply!r}")


def run_scenario(target, folder):
    """Runs the steps of one scenario; raises Failed."""
    scenario = tomllib.loads((folder / "scenario.toml").read_text(encoding="utf-8"))
    variables = Variables(target)
    for number, step in enumerate(scenario["step"], 1):
        try:
            if step["tx"] == "ITI-8":
                run_feed(target, step, variables)
                continue
            reply = send(target, step, folder, variables)
            expect_reply(reply, step.get("expect", {}), variables)
            keep(reply, step, number, variables)
        except Failed as error:
            raise Failed(f"step {number} ({step['tx']}): {error}") from None


# ---------------------------------------------------------------------------------------------- main


def start_server():
    """A private server of this clone; the harness belongs to the tests, the scenarios do not need it."""
    from tests.harness.server import Server  # pylint: disable=import-outside-toplevel

    codes = HERE / "given" / "codes.xml"
    server = Server(settings={"affinity_domain": {"codes": codes, "code_check": "strict"}})
    server.start()
    return server, Target(f"http://127.0.0.1:{server.plain_port}", f"127.0.0.1:{server.mllp_port}")


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
                        arguments.cert, arguments.key, arguments.ca, arguments.authority, arguments.repository_uid)
    passed = failed = 0
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
            except Exception as error:  # pylint: disable=broad-exception-caught
                failed += 1
                print(f"FAIL {name}: {type(error).__name__ if not isinstance(error, Failed) else ''}{error}", flush=True)
    finally:
        if server:
            server.close()
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
