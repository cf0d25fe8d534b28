"""A region of four hospitals for tests of who sees what: nodes of every role, people who use them and whom assertions name, patients known
to several hospitals, documents of every class, confidentiality and age, folders, replacements and appendages. What is in it is kept here
beside the server, so that an oracle can say what each must get."""

import dataclasses
import datetime
import hashlib
import re
import ssl
import time

from conformance import client as xds
from tests.harness import saml, server as harness
from tests.harness.waiting import wait_until

FACILITIES = ("A", "B", "C", "D")
ROLES = ("node", "physician", "nurse", "pharmacist", "clerk", "auditor")
CONFIDENTIALITY = "2.16.840.1.113883.5.25"
CLASS_SCHEME = "1.3.6.1.4.1.19376.1.2.6.1"
INSURANCE = "1.2.392.99999.95.9"
ROLE_SYSTEM = "1.2.392.99999.94"
EMERGENCY = ("BTG", "2.16.840.1.113883.5.8", "break the glass", "found unconscious")
ASSERTION_AGE_S = 120  # then a new one is asked for
NEW = datetime.datetime(2026, 4, 1, tzinfo=datetime.timezone.utc)
OLD = datetime.datetime(2019, 4, 1, tzinfo=datetime.timezone.utc)


def domain(facility):
    """OID of a hospital's numbers."""
    return f"1.2.392.99999.95.{FACILITIES.index(facility) + 1}"


def source_id(facility):
    """SubmissionSet.sourceId of a hospital."""
    return f"1.2.392.99999.96.{FACILITIES.index(facility) + 1}"


@dataclasses.dataclass
class Node:
    """A registered node; its name is that of its certificate."""

    name: str
    facility: str
    role: str
    is_operator: bool = False


@dataclasses.dataclass
class User:
    """A person at a node, as an assertion names him. The hospital is that of the node, whatever the assertion says of his organization;
    so are the roles if the assertion names none."""

    name: str
    node: Node
    codes: tuple = ()  # of ROLE_SYSTEM
    is_emergency: bool = False  # declares one, with a reason

    @property
    def facility(self):
        """Whose documents are his own hospital's."""
        return self.node.facility

    @property
    def role(self):
        """What counts if the assertion names none."""
        return self.node.role

    @property
    def is_operator(self):
        """Whether he may see nothing at all."""
        return self.node.is_operator

    def attributes(self):
        """The AttributeStatement: roles, purpose, and an organization that is not his."""
        other = FACILITIES[(FACILITIES.index(self.facility) + 1) % len(FACILITIES)]
        values = [saml.attribute("urn:oasis:names:tc:xspa:1.0:subject:organization", other),
                  saml.attribute("urn:oasis:names:tc:xspa:1.0:subject:organization-id", f"urn:oid:{source_id(other)}")]
        if self.codes:
            roles = [saml.coded("Role", code, ROLE_SYSTEM, code) for code in self.codes]
            values.append(saml.attribute("urn:oasis:names:tc:xacml:2.0:subject:role", *roles))
        if self.is_emergency:
            purpose = saml.coded("PurposeOfUse", *EMERGENCY)
            values.append(saml.attribute("urn:oasis:names:tc:xspa:1.0:subject:purposeofuse", purpose))
        return f"<saml:AttributeStatement>{''.join(values)}</saml:AttributeStatement>"


class UserClient(xds.SoapClient):
    """Every message has an assertion about the user in it."""

    def __init__(self, provider, user, *arguments):
        super().__init__(*arguments)
        self.provider = provider
        self.user = user
        self.header = None
        self.made_at = 0.0

    def post(self, path, content_type, content, headers=None):
        """The message with its wsse:Security header."""
        if not self.header or time.monotonic() - self.made_at > ASSERTION_AGE_S:
            self.header = saml.security(self.provider.assertion(name_id=self.user.name, attributes=self.user.attributes()))
            self.made_at = time.monotonic()
        return super().post(path, content_type, saml.with_header(content, self.header), headers)


@dataclasses.dataclass
class Patient:
    """A person: numbers and family names by facility."""

    name: str
    facilities: str
    numbers: dict = dataclasses.field(default_factory=dict)
    merged: dict = dataclasses.field(default_factory=dict)  # numbers that were merged into those
    insurance: str = ""
    xad_pid: str = ""
    row: int = 0
    person: int = 0

    def family(self, facility):
        """The family name that only this facility fed."""
        return f"{self.name}x{facility}"

    def cx(self):
        """As XDS names it."""
        return f"{self.xad_pid}^^^&{harness.AUTHORITY}&ISO"


@dataclasses.dataclass
class Thing:
    """A DocumentEntry (D), SubmissionSet (S) or Folder (F)."""

    kind: str
    uuid: str
    unique_id: str
    facility: str
    patient: Patient
    class_code: str = None
    confidentiality: tuple = ()
    effective: datetime.datetime = None
    status: str = "Approved"


@dataclasses.dataclass
class Link:
    """An Association."""

    uuid: str
    source: str
    target: str
    kind: str


LINK_KINDS = {0: "HasMember", 1: "RPLC", 2: "XFRM", 3: "APND"}


class Region:
    """The region of one server in mode enforce. certs holds NODE.pem and NODE.key of each node."""

    def __init__(self, server, rows):
        self.server = server
        self.rows = rows
        self.nodes = [Node(f"{role}-{facility}".lower(), facility, role) for facility in FACILITIES for role in ROLES]
        self.nodes.append(Node("operator", "A", "node", True))
        self.users = []
        self.identity_provider = None  # where there is one, every SOAP message has an assertion
        self.patients = []
        self.things = {}
        self.links = {}
        self.members = {}  # uuids of the documents in a SubmissionSet or Folder
        self.clients = {}
        self.used = {}

    # ---- nodes

    @staticmethod
    def certificates():
        """The names for which certificates are needed."""
        return [f"{role}-{facility}".lower() for facility in FACILITIES for role in ROLES] + ["operator"]

    def register(self):
        """Facilities, identifier domains and nodes; waits until the server knows them."""
        for facility in FACILITIES:
            self.rows(self.server, "INSERT INTO facility (name) VALUES (%s) RETURNING id", facility)
        for node in self.nodes:
            pem = (self.server.certs / f"{node.name}.pem").read_text(encoding="ascii")
            fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
            self.rows(self.server, "WITH n AS (INSERT INTO node (name, facility, transactions, sources, source_ids,"
                                   " is_operator, roles) SELECT %s, id, '{*}', '{*|*}', ARRAY[%s], %s, ARRAY[%s] FROM facility WHERE name = %s RETURNING id)"
                                   " INSERT INTO node_certificate SELECT %s, id, %s, now() + interval '1 year' FROM n RETURNING node",
                      node.name, source_id(node.facility), node.is_operator, node.role, node.facility, fingerprint, node.name)
        for facility in FACILITIES:
            self.server.command("authority", "add", domain(facility), "--namespace", f"H{facility}", "--facility", facility,
                                "--source", f"EMR|HOSPITAL_{facility}")
        self.server.command("authority", "add", INSURANCE, "--namespace", "INS", "--kind", "other")
        wait_until(self.is_known, "the server does not take feeds of the nodes that were registered", pause_s=0.3)

    def is_known(self):
        """Whether the server knows the nodes and domains by now: tried with a patient whom no test asks for."""
        try:
            self.send_hl7("D", self.feed_text("D", "first", "First", "INSfirst"))
            return True
        except (AssertionError, OSError):
            return False

    def drop_idle(self, key):
        """The server closes connections on which nothing is asked."""
        now = time.monotonic()
        if key in self.clients and now - self.used.get(key, now) > 20:
            self.clients.pop(key).close()
        self.used[key] = now

    def client(self, name):
        """The SOAP client of a node, or of a user at his node."""
        self.drop_idle(name)
        if name not in self.clients:
            user = next((u for u in self.users if u.name == name), None)
            node = user.node if user else next(n for n in self.nodes if n.name == name)
            connection = (f"https://127.0.0.1:{self.server.https_port}",
                          *(self.server.certs / file for file in (f"{node.name}.pem", f"{node.name}.key", "ca.pem")))
            self.clients[name] = (UserClient(self.identity_provider, user or User(name, node), *connection) if self.identity_provider
                                  else xds.SoapClient(*connection))
        return self.clients[name]

    def mllp(self, name, use):
        """What use(client) gives; the connection of a node is kept."""
        key = ("mllp", name)
        self.drop_idle(key)
        if key not in self.clients:
            folder = self.server.certs
            self.clients[key] = xds.MllpClient(f"127.0.0.1:{self.server.mllps_port}", folder / f"{name}.pem",
                                               folder / f"{name}.key", folder / "ca.pem")
        try:
            return use(self.clients[key])
        except BaseException:
            self.clients.pop(key).close()
            raise

    def get(self, name, path):
        """(status, bytes) of a GET; the connection of a node is kept."""
        client = self.client(name)
        if client.connection is None:
            client.connection = client._connect()  # pylint: disable=protected-access
        try:
            client.connection.request("GET", path, headers={"Accept": "application/fhir+json"})
            response = client.connection.getresponse()
            return response.status, response.read()
        except BaseException:
            client.close()
            raise

    def close(self):
        """Closes every connection."""
        for client in self.clients.values():
            client.close()
        self.clients.clear()

    # ---- patients

    @staticmethod
    def feed_text(facility, number, family, insurance=""):
        """ITI-8 A04 as the hospital's record system sends it."""
        identifiers = f"{number}^^^&{domain(facility)}&ISO" + (f"~{insurance}^^^&{INSURANCE}&ISO" if insurance else "")
        return xds.adt("A04", identifiers, sender=("EMR", f"HOSPITAL_{facility}"), name=f"{family}^Test")

    def send_hl7(self, facility, message):
        """A message of the hospital's gateway; raises unless it is accepted."""
        reply = self.mllp(f"node-{facility}".lower(), lambda m: m.send(message))
        if xds.acknowledgement(reply) != "AA":
            raise AssertionError(reply)

    def add_patient(self, name, facilities):
        """Fed by each of the hospitals; an insurance number says that they mean one person."""
        patient = Patient(name, facilities, insurance=f"INS{name}")
        for facility in facilities:
            number, previous = f"{name}-{facility}", f"{name}-{facility}-old"
            self.send_hl7(facility, self.feed_text(facility, previous, f"Gone{name}"))
            self.send_hl7(facility, self.feed_text(facility, number, patient.family(facility), patient.insurance))
            self.send_hl7(facility, xds.adt("A40", f"{number}^^^&{domain(facility)}&ISO", f"{previous}^^^&{domain(facility)}&ISO",
                                            sender=("EMR", f"HOSPITAL_{facility}"), name=f"{patient.family(facility)}^Test"))
            patient.numbers[facility] = number
            patient.merged[facility] = previous
        found = self.rows(self.server, "SELECT x.value, x.id, x.person FROM patient_identifier i JOIN patient_identifier x"
                                       " ON x.person = i.person AND x.is_xad_pid AND x.survivor IS NULL WHERE i.value = ANY (%s)"
                                       " GROUP BY 1, 2, 3", list(patient.numbers.values()))
        ((patient.xad_pid, patient.row, patient.person),) = found
        self.patients.append(patient)
        return patient

    # ---- documents

    def document(self, patient, facility, class_code, confidentiality, effective, has_start=True):
        """A document of a hospital about a patient, with a UUID of ours."""
        stamp = effective.strftime("%Y%m%d%H%M%S")
        code = xds.CODES["confidentialityCode"][0]
        codes = dict(xds.CODES, classCode=(xds.CODES["classCode"][0], class_code, CLASS_SCHEME, class_code),
                     confidentialityCode=(code, confidentiality[0], CONFIDENTIALITY, "x"))
        for further in confidentiality[1:]:
            codes[f"confidentiality {further}"] = (code, further, CONFIDENTIALITY, "x")
        slots = {"creationTime": [stamp], "serviceStartTime": [stamp] if has_start else None, "serviceStopTime": None}
        source = f"{patient.numbers[facility]}^^^&{domain(facility)}&ISO"
        document = xds.Document(patient.cx(), f"{patient.name} {facility} {class_code}".encode(), id=xds.new_urn(), codes=codes,
                                slots=slots, source_patient=source)
        document.thing = Thing("D", document.id, document.unique_id, facility, patient, class_code, confidentiality, effective)
        return document

    def submit(self, facility, submission, links=()):
        """ITI-41 by the hospital's gateway, with [(type, document, target)]; keeps what it made."""
        identifier = xds.new_urn()
        submission.associations += [xds.association_xml(xds.IHE_ASSOCIATION + kind, document.id, target)
                                    for kind, document, target in links]
        submission.associations = [text.replace(submission.id, identifier) for text in submission.associations]
        submission.id = identifier
        submission.source_id = source_id(facility)
        reply = self.client(f"node-{facility}".lower()).provide(submission)
        if reply.outcome != "Success":
            raise AssertionError(reply.errors or reply.raw)
        patient = next(p for p in self.patients if p.cx() == submission.patient)
        self.things[submission.id] = Thing("S", submission.id, submission.unique_id, facility, patient)
        for document in submission.documents:
            self.things[document.id] = document.thing
        for folder in submission.folders:
            self.things[folder.id] = Thing("F", folder.id, folder.unique_id, facility, patient)

    def fill(self, patient, facility):
        """Two submissions: four documents of every kind in one, two of them in a Folder, and an empty
        Folder; then one that replaces, one that appends."""
        first = [self.document(patient, facility, "REPORTS", ("N",), NEW), self.document(patient, facility, "IMAGES", ("R",), OLD),
                 self.document(patient, facility, "REPORTS", ("V",), NEW),
                 self.document(patient, facility, "IMAGES", ("N", "R"), OLD, has_start=False),
                 self.document(patient, facility, "REPORTS", ("N",), OLD)]
        folder = xds.Folder(patient.cx(), id=xds.new_urn())
        submission = xds.Submission(patient.cx(), first, [folder, xds.Folder(patient.cx(), id=xds.new_urn())])
        for document in first[:2]:
            member = xds.new_urn()
            submission.associations.append(xds.association_xml(xds.HAS_MEMBER, folder.id, document.id, identifier=member))
            submission.associations.append(xds.association_xml(xds.HAS_MEMBER, "SubmissionSet01", member))
        self.submit(facility, submission)
        second = [self.document(patient, facility, "REPORTS", ("N",), NEW), self.document(patient, facility, "REPORTS", ("R",), NEW)]
        links = [("RPLC", second[0], first[4].id), ("APND", second[1], first[0].id)]
        self.submit(facility, xds.Submission(patient.cx(), second), links)
        first[4].thing.status = "Deprecated"
        return first[0]

    def read_links(self):
        """The Associations as the registry holds them: those that it made itself too."""
        found = self.rows(self.server, "SELECT entry_uuid::text, source_object::text, target_object::text, type FROM association")
        for uuid, source, target, kind in found:
            self.links[f"urn:uuid:{uuid}"] = Link(f"urn:uuid:{uuid}", f"urn:uuid:{source}", f"urn:uuid:{target}", LINK_KINDS[kind])
        self.members.clear()
        for link in self.links.values():
            if link.kind == "HasMember" and link.target in self.things and self.things[link.target].kind == "D":
                self.members.setdefault(link.source, set()).add(link.target)


def masked(reply, *echoed):
    """A reply without what differs from message to message: ids of messages, references, times, and what was asked."""
    text = reply if isinstance(reply, bytes) else reply.encode()
    for value in sorted(echoed, key=len, reverse=True):
        text = text.replace(value.encode(), b"(asked)")
    text = re.sub(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", b"(uuid)", text)
    text = re.sub(rb"\[ref \w{5}\]", b"[ref]", text)
    text = re.sub(rb"\|[0-9A-Z]{5}[0-9a-f]{13}\|", b"|(control)|", text)
    text = re.sub(rb"\d{14}(\.\d+)?([+-]\d{4})?|\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-][\d:]+)?", b"(time)", text)
    return re.sub(rb"(--|boundary=\"?)[0-9A-Za-z_.-]{8,}", b"(boundary)", text)
