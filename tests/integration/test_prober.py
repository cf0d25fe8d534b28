"""The cross-tenant prober: every node of a region of four hospitals asks every transaction for everything, and an oracle says exactly what
each must get (DESIGN.md section 6: reads, denied = absent). A share of the probes here, all of them with MUSUBI_FULL=1."""

import collections
import dataclasses
import datetime
import json
import os
import random
import re
import statistics
import time
import types
import unittest
import urllib.parse

from conformance import client as xds
from tests.harness import region as places, server as harness
from tests.harness.waiting import wait_until
from tests.integration import common, v3_messages
from tests.integration.audit_records import of_messages
from tests.integration.prober_oracle import DOWNLOAD, VIEW, Oracle, Rule

SHARE = 1.0 if common.IS_FULL else 0.05
BOTH = f"('{xds.STATUS}Approved','{xds.STATUS}Deprecated')"
RELATED = f"('{xds.IHE_ASSOCIATION}RPLC','{xds.IHE_ASSOCIATION}APND')"
SUBMIT = "urn:ihe:iti:2010:AssociationType:SubmitAssociation"
LONG_AGO, FAR_AHEAD = (datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc) for year in (2001, 2099))
Y2020 = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
HOME = "urn:oid:1.2.392.99999.7.1"
ITI55 = xds.ACTIONS["ITI-55"]


def quoted(value):
    """A value of a stored query."""
    return f"('{value}')"


# ---- asking: each gives (what came, raw reply)


def stored_query(name, parameter, value, **further):
    """ITI-18 for references."""
    parameters = {parameter: value, **{f"${key}": text for key, text in further.items()}}
    body = xds.query_xml(name, parameters, "ObjectRef")

    def ask(region, node):
        reply = region.client(node.name).send("/registry", "ITI-18", body)
        if reply.outcome != "Success" or reply.errors:
            return {reply.outcome, str(reply.errors)}, reply.raw
        return {r.get("id") for r in reply.objects("ObjectRef")}, reply.raw
    return ask


def cross_gateway_query(name, parameter, value, **further):
    """ITI-38 for whole objects: each names the community."""
    parameters = {parameter: value, **{f"${key}": text for key, text in further.items()}}
    body = xds.query_xml(name, parameters, home=HOME)

    def ask(region, node):
        reply = region.client(node.name).send("/gateway", "ITI-38", body)
        if reply.outcome != "Success" or reply.errors:
            return {reply.outcome, str(reply.errors)}, reply.raw
        homes = {o.get("home") for o in reply.objects("ExtrinsicObject") + reply.objects("RegistryPackage")}
        return {o.get("id") for o in reply.objects()} | {f"home {home}" for home in homes - {HOME}}, reply.raw
    return ask


def retrieve(unique_id, is_cross_gateway=False):
    """ITI-43, ITI-39."""
    path, transaction, home = ("/gateway", "ITI-39", HOME) if is_cross_gateway else ("/repository", "ITI-43", None)
    body = xds.retrieve_xml([(harness.REPOSITORY_UID, unique_id)], home)

    def ask(region, node):
        reply = region.client(node.name).send(path, transaction, body, as_mtom=True)
        errors = [e[0] for e in reply.errors]
        if errors not in ([], ["XDSDocumentUniqueIdError"]):
            return {str(errors)}, reply.raw
        return set(reply.documents()), reply.raw
    return ask


def hl7(text):
    """The reply to an HL7 v2 query."""
    head = "MSH|^~\\&|VIEWER|ANY|MUSUBI|CENTER|20260401||{}|{}|P|2.5\r"
    kind, rest = text.split("\r", 1)
    return lambda region, node: region.mllp(node.name, lambda m: m.send(head.format(kind, "PROBE") + rest + "\r"))


def identifiers_of(field):
    """{authority|number} of PID-3."""
    parts = [cx.split("^") for cx in field.split("~") if cx]
    return {f"{part[3].split('&')[1]}|{part[0]}" for part in parts}


def pix_v2(authority, number):
    """ITI-9."""
    send = hl7(f"QBP^Q23^QBP_Q21\rQPD|IHE PIX Query|tag|{number}^^^&{authority}&ISO\rRCP|I")

    def ask(region, node):
        reply = send(region, node)
        if xds.acknowledgement(reply) == "AE":
            return {"merged" if "merged" in reply else "unknown"}, reply
        return identifiers_of(xds.er7_field(reply, "PID-3") or ""), reply
    return ask


def pdq_v2(kind, *criteria):
    """ITI-21, ITI-22."""
    name = {"Q22": "IHE PDQ Query", "ZV1": "IHE PDVQ Query"}[kind]
    send = hl7(f"QBP^{kind}^QBP_Q21\rQPD|{name}|tag|{'~'.join(criteria)}\rRCP|I")

    def ask(region, node):
        reply = send(region, node)
        found = set()
        for segment in re.findall(r"(?:^|\r)(PID\|[^\r]*)", reply):
            fields = segment.split("|")
            found |= identifiers_of(fields[3]) | {f"name {fields[5].split('^')[0]}"}
        return found if xds.acknowledgement(reply) == "AA" else {reply}, reply
    return ask


def by_number(authority, number):
    """Criteria of an identifier."""
    return f"@PID.3.1^{number}", f"@PID.3.4.2^{authority}", "@PID.3.4.3^ISO"


def v3_ask(make, action=None, path="/pix"):
    """A query of HL7 v3: ids and family names of the patients, "unknown"."""
    def ask(region, node):
        reply = v3_messages.send(region.client(node.name), make(), action, path)
        if reply.outcome == "AE":
            return {"unknown"}, reply.raw
        patients = reply.envelope.findall(".//hl7:registrationEvent//hl7:patient", xds.NS)
        found = {f"{i.get('root')}|{i.get('extension')}" for p in patients for i in p.findall("hl7:id", xds.NS)}
        names = {f"name {n.text}" for p in patients for n in p.findall(".//hl7:family", xds.NS)}
        return found | names, reply.raw
    return ask


def pix_v3(authority, number):
    """ITI-45."""
    return v3_ask(lambda: v3_messages.fill("v3_pix_query", root=authority, id=number, control="PROBE"))


def pdq_v3(criterion, action=None, path="/pix"):
    """ITI-47, ITI-55."""
    def make():
        body = v3_messages.fill("v3_pdq_query", query_id="PROBE", control="PROBE")
        body.find(".//hl7:parameterList", xds.NS).append(v3_messages.element(criterion))
        return body
    return v3_ask(make, action, path)


def v3_number(authority, number):
    """Criterion of an identifier."""
    return f'<livingSubjectId><value root="{authority}" extension="{number}"/><semanticsText/></livingSubjectId>'


def v3_family(family):
    """Criterion of a name."""
    return f"<livingSubjectName><value><family>{family}</family></value><semanticsText/></livingSubjectName>"


def of_resource(resource):
    """Identifiers and family names of a Patient."""
    numbers = {f"{i['system'].removeprefix('urn:oid:')}|{i['value']}" for i in resource.get("identifier", [])}
    return numbers | {f"name {n['family']}" for n in resource.get("name", [])}


def fhir(path):
    """ITI-78, ITI-83: 404 is "unknown", but nothing for a Patient that is read."""
    def ask(region, node):
        status, raw = region.get(node.name, "/fhir/" + path)
        resource = json.loads(raw)
        if status != 200:
            return ({"unknown"} if "$ihe-pix" in path else set()) if status == 404 else {f"{status} {raw}"}, raw
        if resource["resourceType"] == "Parameters":
            values = [p["valueIdentifier"] for p in resource.get("parameter", []) if "valueIdentifier" in p]
            return {f"{v['system'].removeprefix('urn:oid:')}|{v['value']}" for v in values}, raw
        if resource["resourceType"] == "Patient":
            return of_resource(resource), raw
        entries = [e["resource"] for e in resource.get("entry", [])]
        if resource["total"] != len([e for e in entries if e.get("active", True)]):
            return {f"total {resource['total']} of {len(entries)}"}, raw
        return set().union(*(of_resource(e) for e in entries)), raw
    return ask


def match(authority, number):
    """ITI-119."""
    patient = {"resourceType": "Patient", "identifier": [{"system": f"urn:oid:{authority}", "value": number}],
               "name": [{"family": "Nobody", "given": ["Nobody"]}]}

    def ask(region, node):
        reply = region.client(node.name)
        if reply.connection is None:
            reply.connection = reply._connect()  # pylint: disable=protected-access
        reply.connection.request("POST", "/fhir/Patient/$match", json.dumps(patient),
                                 {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"})
        response = reply.connection.getresponse()
        raw = response.read()
        bundle = json.loads(raw)
        if response.status != 200:
            return {str(raw)}, raw
        return set().union(*(of_resource(e["resource"]) for e in bundle.get("entry", []))), raw
    return ask


# ---- probes

Probe = collections.namedtuple("Probe", "kind what node ask expected")  # expected: what the oracle says now


class Probes:
    """Every probe of a region."""

    def __init__(self, region, oracle):
        self.region = region
        self.oracle = oracle

    def documents(self, node):
        """ITI-18 and ITI-43 of everything that is there."""
        oracle = self.oracle
        for thing in self.region.things.values():
            for kind, ask, expect in self.of_thing(thing):
                yield Probe(kind, thing.unique_id, node, ask, lambda e=expect, t=thing: e(oracle, node, t))
        for patient in self.region.patients:
            for kind, ask, expect in self.of_patient(patient):
                yield Probe(kind, patient.name, node, ask, lambda e=expect, p=patient: e(oracle, node, p))

    @classmethod
    def of_patient(cls, patient):
        """Queries that name a patient, here and by way of the gateway."""
        yield from cls._of_patient(patient, stored_query)
        yield from ((f"ITI-38 {kind}", ask, expect) for kind, ask, expect in cls._of_patient(patient, cross_gateway_query))

    @staticmethod
    def _of_patient(patient, stored_query):  # pylint: disable=redefined-outer-name
        cx = f"'{patient.cx()}'"
        states = {"XDSDocumentEntryStatus": BOTH, "XDSSubmissionSetStatus": BOTH, "XDSFolderStatus": BOTH}
        yield ("FindDocuments", stored_query("FindDocuments", "$XDSDocumentEntryPatientId", cx,
                                             XDSDocumentEntryStatus=quoted(xds.STATUS + "Approved")),
               lambda o, n, p: o.find(n, p, "D", "Approved"))
        yield ("FindSubmissionSets", stored_query("FindSubmissionSets", "$XDSSubmissionSetPatientId", cx, XDSSubmissionSetStatus=BOTH),
               lambda o, n, p: o.find(n, p, "S"))
        yield ("FindFolders", stored_query("FindFolders", "$XDSFolderPatientId", cx, XDSFolderStatus=BOTH),
               lambda o, n, p: o.find(n, p, "F"))
        yield ("GetAll", stored_query("GetAll", "$patientId", cx, **states), lambda o, n, p: o.get_all(n, p))

    @classmethod
    def of_thing(cls, thing):
        """Queries that name an object by its UUID, uniqueId or logical id, and retrieval, here and by way of the gateway."""
        yield from cls._of_thing(thing, stored_query)
        yield from ((f"ITI-38 {kind}", ask, expect) for kind, ask, expect in cls._of_thing(thing, cross_gateway_query))
        if thing.kind == "D":
            for kind in ("ITI-43", "ITI-39"):
                yield kind, retrieve(thing.unique_id, kind == "ITI-39"), lambda o, n, t: o.download(n, t)

    @staticmethod
    def _of_thing(thing, stored_query):  # pylint: disable=redefined-outer-name
        uuid, unique_id = quoted(thing.uuid), quoted(thing.unique_id)
        yield ("GetAssociations", stored_query("GetAssociations", "$uuid", uuid), lambda o, n, t: o.associations(n, t))
        if thing.kind == "S":
            for way, value in (("EntryUUID", thing.uuid), ("UniqueId", thing.unique_id)):
                yield ("GetSubmissionSetAndContents",
                       stored_query("GetSubmissionSetAndContents", f"$XDSSubmissionSet{way}", f"'{value}'"),
                       lambda o, n, t: o.contents(n, t))
            return
        yield ("GetSubmissionSets", stored_query("GetSubmissionSets", "$uuid", uuid), lambda o, n, t: o.submission_sets(n, t))
        what, entry = ("Document", "DocumentEntry") if thing.kind == "D" else ("Folder", "Folder")
        for way, value in (("EntryUUID", uuid), ("UniqueId", unique_id)):
            yield (f"Get{what}s {way}", stored_query(f"Get{what}s", f"$XDS{entry}{way}", value), lambda o, n, t: o.get(n, t))
        if thing.kind == "F":
            for way, value in (("EntryUUID", thing.uuid), ("UniqueId", thing.unique_id)):
                yield ("GetFolderAndContents", stored_query("GetFolderAndContents", f"$XDSFolder{way}", f"'{value}'"),
                       lambda o, n, t: o.contents(n, t))
            return
        yield ("GetDocuments LogicalID", stored_query("GetDocuments", "$XDSDocumentEntryLogicalID", uuid, MetadataLevel="2"),
               lambda o, n, t: o.get(n, t))
        yield ("GetDocumentsAndAssociations",
               stored_query("GetDocumentsAndAssociations", "$XDSDocumentEntryUniqueId", unique_id),
               lambda o, n, t: o.document_and_associations(n, t))
        yield ("GetFoldersForDocument", stored_query("GetFoldersForDocument", "$XDSDocumentEntryEntryUUID", f"'{thing.uuid}'"),
               lambda o, n, t: o.folders(n, t))
        yield ("GetRelatedDocuments", stored_query("GetRelatedDocuments", "$XDSDocumentEntryUniqueId", f"'{thing.unique_id}'",
                                                   AssociationTypes=RELATED), lambda o, n, t: o.related(n, t))

    def identities(self, node):
        """ITI-9, 21, 22, 45, 47, 78, 83 and 119 by every number and every name."""
        oracle = self.oracle
        for patient in self.region.patients:
            numbers = [(places.domain(f), n, f) for kind in (patient.numbers, patient.merged) for f, n in kind.items()]
            numbers += [(places.INSURANCE, patient.insurance, None), (harness.AUTHORITY, patient.xad_pid, None)]
            for authority, number, _ in numbers:
                for kind, ask in self.cross_references(authority, number):
                    yield Probe(kind, number, node, ask, lambda p=patient, a=authority, n=number, k=kind: self.cross(node, p, a, n, k))
                if number in patient.merged.values():
                    continue  # the searches answer it with nobody, or with the survivor: of other tests
                for kind, ask in self.searches_by_number(authority, number):
                    yield Probe(kind, number, node, ask, lambda p=patient, a=authority: oracle.patient(node, p, a))
                for kind, ask in self.discoveries(authority, number):
                    yield Probe(kind, number, node, ask, lambda p=patient, a=authority: oracle.discovery(node, p, a))
            for facility in patient.facilities:
                family = patient.family(facility)
                for kind, ask in self.searches_by_name(family):
                    yield Probe(kind, family, node, ask,
                                lambda p=patient, f=facility, n=family: oracle.patient(node, p, places.domain(f), n))
            yield Probe("ITI-78 read", str(patient.person), node, fhir(f"Patient/{patient.person}"),
                        lambda p=patient: oracle.patient(node, p, harness.AUTHORITY))

    def cross(self, node, patient, authority, number, kind):
        """ITI-9 alone tells a merged number from an unknown one."""
        found = self.oracle.cross_reference(node, patient, authority, number)
        return {"unknown"} if found == {"merged"} and kind != "ITI-9" else found

    @staticmethod
    def cross_references(authority, number):
        """By a number to the others."""
        yield "ITI-9", pix_v2(authority, number)
        yield "ITI-45", pix_v3(authority, number)
        source = urllib.parse.quote(f"urn:oid:{authority}|{number}")
        yield "ITI-83", fhir(f"Patient/$ihe-pix?sourceIdentifier={source}")

    @staticmethod
    def searches_by_number(authority, number):
        """The patient of a number."""
        yield "ITI-21", pdq_v2("Q22", *by_number(authority, number))
        yield "ITI-22", pdq_v2("ZV1", *by_number(authority, number))
        yield "ITI-47", pdq_v3(v3_number(authority, number))
        yield "ITI-78", fhir("Patient?identifier=" + urllib.parse.quote(f"urn:oid:{authority}|{number}"))
        yield "ITI-119", match(authority, number)

    @staticmethod
    def discoveries(authority, number):
        """The patient of a number, for another community."""
        yield "ITI-55", pdq_v3(v3_number(authority, number), ITI55, "/gateway")

    @staticmethod
    def searches_by_name(family):
        """The patients of a family name."""
        yield "ITI-21 name", pdq_v2("Q22", f"@PID.5.1.1^{family}")
        yield "ITI-47 name", pdq_v3(v3_family(family))
        yield "ITI-78 name", fhir(f"Patient?family:exact={family}")

    def all(self):
        """Every probe of every node."""
        for node in self.region.nodes:
            yield from self.documents(node)
            yield from self.identities(node)


def transaction_of(kind):
    """The transaction of a kind of probe."""
    return kind.split()[0] if kind.startswith("ITI") else "ITI-18"


# ---- the region's rules


def add_rule(region, oracle, rule):
    """A row of table disclosure, here and there."""
    sql = """INSERT INTO disclosure (patient, source_facility, reader_facility, class_codes, is_permit, level, period_from, period_to,
                                     valid_from, valid_to, added_by, revoked_at)
             VALUES (%s, (SELECT id FROM facility WHERE name = %s), (SELECT id FROM facility WHERE name = %s),
                     (SELECT array_agg(id) FROM code WHERE scheme = %s AND code = ANY (%s)), %s, %s, %s, %s, %s, %s, 'test',
                     CASE WHEN %s THEN now() END) RETURNING id"""
    ((rule.row,),) = common.rows(region.server, sql, rule.patient and rule.patient.row, rule.source, rule.reader, places.CLASS_SCHEME,
                                 list(rule.classes or ()), rule.permits, rule.level, *(rule.period or (None, None)),
                                 *(rule.valid or (None, None)), rule.is_revoked)
    oracle.rules.append(rule)


def enroll(region, oracle, patient, is_enrolled=True):
    """A decision of a patient."""
    common.rows(region.server, "INSERT INTO enrolment (patient, is_enrolled, decided_by) VALUES (%s, %s, 'test') RETURNING id",
                patient.row, is_enrolled)
    (oracle.enrolled.add if is_enrolled else oracle.enrolled.discard)(patient.name)


def set_role(region, oracle, name, level, codes):
    """The level of a role and the confidentiality codes that it may see."""
    common.rows(region.server, "UPDATE access_role SET level = %s WHERE name = %s RETURNING name", level, name)
    common.rows(region.server, "WITH gone AS (DELETE FROM access_role_confidentiality WHERE role = %s) SELECT 1", name)
    for code in codes:
        common.rows(region.server, "INSERT INTO access_role_confidentiality SELECT %s, id FROM code WHERE scheme = %s AND code = %s"
                                   " RETURNING role", name, places.CONFIDENTIALITY, code)
    oracle.roles[name].level = level
    oracle.roles[name].codes = set(codes)


def rules_of(p0, p1, p2, p3, p5):
    """One of every kind, alone and against another."""
    yield Rule(p0, None, "B", level=VIEW)
    yield Rule(p0, "A", "C", ("REPORTS",))
    yield Rule(None, "C", "D", period=(Y2020, FAR_AHEAD))
    yield Rule(p1, "A", "B")
    yield Rule(p1, "A", "B", ("IMAGES",), permits=False, level=DOWNLOAD)
    yield Rule(p2, "B", "C", valid=(LONG_AGO, Y2020))
    yield Rule(p2, None, None, level=VIEW, valid=(Y2020, FAR_AHEAD))
    yield Rule(p5, "D", "C")
    yield Rule(p5, "D", "C", permits=False, level=VIEW)
    yield Rule(p0, "D", None, is_revoked=True)
    yield Rule(None, "A", "D", ("REPORTS",), permits=False, level=VIEW)
    yield Rule(p0, "A", "D")
    yield Rule(p3, "A", None, period=(LONG_AGO, Y2020))
    yield Rule(p3, "A", "B", permits=False, level=DOWNLOAD, period=(LONG_AGO, Y2020))
    yield Rule(p0, "B", "A", ("IMAGES", "REPORTS"))


class ProberCase(common.ServerCase):
    """A region with patients, documents and rules."""

    mode = "enforce"
    roles = places.Region.certificates()
    settings = {"server": {"plain_http_listen": None, "plain_mllp_listen": None}, "affinity_domain": {"home_community_id": HOME}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.region = places.Region(cls.server, common.rows)
        cls.addClassCleanup(cls.region.close)
        cls.region.register()
        cls.oracle = Oracle(cls.region)
        cls.prepare()
        cls.fill()
        cls.probes = Probes(cls.region, cls.oracle)

    @classmethod
    def prepare(cls):
        """What must be there before the first document is submitted."""

    @classmethod
    def fill(cls):
        """Patients of one, two and four hospitals; one who never enrolled, one who withdrew."""
        region, oracle = cls.region, cls.oracle
        patients = [region.add_patient(f"P{n}", facilities)
                    for n, facilities in enumerate(("ABCD", "AB", "BC", "A", "B", "CD", "AC", "AD"))]
        first = {(p.name, f): region.fill(p, f) for p in patients for f in p.facilities}
        for name in oracle.roles:
            set_role(region, oracle, name, oracle.roles[name].level, oracle.roles[name].codes)
        for patient in patients:
            if patient.name != "P6":
                enroll(region, oracle, patient)
        enroll(region, oracle, patients[7], False)
        for rule in rules_of(patients[0], patients[1], patients[2], patients[3], patients[5]):
            add_rule(region, oracle, rule)
        cls.first_documents = first
        cls.append_across(patients[0])
        region.read_links()

    @classmethod
    def append_across(cls, patient):
        """B appends to a document of A that is disclosed to it: an Association whose ends are two hospitals'."""
        document = cls.region.document(patient, "B", "REPORTS", ("N",), places.NEW)
        cls.region.submit("B", xds.Submission(patient.cx(), [document]), [("APND", document, cls.first_documents["P0", "A"].id)])

    def check(self, probes):
        """Runs probes; (how many, how many that returned something)."""
        faults, count, permitted = [], 0, 0
        for probe in probes:
            expected = probe.expected()
            found, raw = probe.ask(self.region, probe.node)
            count += 1
            permitted += bool(expected - {"unknown", "merged"})
            if found != expected:
                faults.append(f"{probe.kind} {probe.what} for {probe.node.name}: leaked {sorted(found - expected)}, "
                              f"missing {sorted(expected - found)}\n   {raw[:600]}")
        self.assertEqual(faults[:5], [], f"{len(faults)} of {count} probes: {collections.Counter(f.split(' ')[0] for f in faults)}")
        return count, permitted

    def sample(self, probes, share):
        """Some of them, the same in every run."""
        chance = random.Random(7)
        return [p for p in probes if chance.random() < share]

    def unlike(self, probes, change, undo):
        """Those of the probes that a change lets give something else, and some of the others: all give what they must now, and those
        that changed give what they gave before once it is undone."""
        before = [probe.expected() for probe in probes]
        change()
        changed = [p for p, was in zip(probes, before) if p.expected() != was]
        rest = [p for p, was in zip(probes, before) if p.expected() == was]
        self.assertTrue(changed and rest)
        chance = random.Random(11)
        changed = changed if common.IS_FULL else chance.sample(changed, min(60, len(changed)))
        self.check(changed + chance.sample(rest, min(40, len(rest))))
        undo()
        self.check(changed)

    def records(self):
        """Audit records in the repository, by transaction."""
        return collections.Counter(dict(common.rows(
            self.server, "SELECT substring(t FROM 'ITI-[0-9]+'), count(*) FROM audit_record, unnest(event_types) t"
                         " WHERE t LIKE '%%ITI-%%' GROUP BY 1")))

    def settled_records(self):
        """records() when nothing more comes."""
        before, found = None, self.records()
        while found != before:
            time.sleep(2)
            wait_until(lambda: all(self.server.metric(name) == 0 for name in ("audit_backlog", "audit_waiting")), pause_s=0.5)
            before, found = found, self.records()
        return found

    def document_twins(self, node):
        """(kind, ask for what the node may not know, ask for what is not there, what is echoed of each)"""
        for thing in self.region.things.values():
            if self.oracle.may(node, thing):
                continue
            fake = dataclasses.replace(thing, uuid=xds.new_urn(), unique_id=f"{thing.unique_id.rsplit('.', 1)[0]}.{10**9}")
            for (kind, ask, expect), (_, fake_ask, _) in zip(Probes.of_thing(thing), Probes.of_thing(fake)):
                if not expect(self.oracle, node, thing):
                    yield kind, ask, fake_ask, (thing.uuid, thing.unique_id), (fake.uuid, fake.unique_id)
        for patient in self.region.patients:
            fake = dataclasses.replace(patient, name="PX", xad_pid="0123456789ABC", numbers={}, merged={})
            for (kind, ask, expect), (_, fake_ask, _) in zip(Probes.of_patient(patient), Probes.of_patient(fake)):
                if not expect(self.oracle, node, patient):
                    yield kind, ask, fake_ask, (patient.xad_pid,), (fake.xad_pid,)

    def twins(self, node):
        """The same, and of patients' numbers and names."""
        yield from self.document_twins(node)
        for patient in self.region.patients:
            yield from self.identity_twins(node, patient)

    def identity_twins(self, node, patient):
        """The same of numbers and names."""
        known = self.oracle.identifiers(node, patient)
        numbers = [(places.domain(f), n) for kind in (patient.numbers, patient.merged) for f, n in kind.items()]
        for authority, number in (*numbers, (harness.AUTHORITY, patient.xad_pid), (places.INSURANCE, patient.insurance)):
            if authority not in known:
                for make in (Probes.cross_references, Probes.searches_by_number, Probes.discoveries):
                    for (kind, ask), (_, fake_ask) in zip(make(authority, number), make(authority, "NOSUCH77")):
                        yield kind, ask, fake_ask, (number,), ("NOSUCH77",)
        for facility in patient.facilities:
            if places.domain(facility) not in known:
                family = patient.family(facility)
                for (kind, ask), (_, fake_ask) in zip(Probes.searches_by_name(family), Probes.searches_by_name("Nosuch")):
                    yield kind, ask, fake_ask, (family,), ("Nosuch",)
        if not known:
            yield ("ITI-78 read", fhir(f"Patient/{patient.person}"), fhir("Patient/987654321"), (f"Patient/{patient.person}",),
                   ("Patient/987654321",))


class Prober(ProberCase):
    """0 leaks, 0 missing."""

    def flips(self):
        """(what, change, undo): enrolment, disclosure, roles, confidentiality."""
        region, oracle, patients = self.region, self.oracle, self.region.patients

        def enrolment(patient, is_enrolled):
            return lambda: enroll(region, oracle, patient, is_enrolled)

        def role(name, level, codes):
            return lambda: set_role(region, oracle, name, level, codes)

        def added(rule):
            return lambda: add_rule(region, oracle, rule)

        def revoked(rule, is_revoked=True):
            def change():
                common.rows(region.server, "UPDATE disclosure SET revoked_at = CASE WHEN %s THEN now() END WHERE id = %s RETURNING id",
                            is_revoked, rule.row)
                rule.is_revoked = is_revoked
            return change

        yield "enrolment", enrolment(patients[6], True), enrolment(patients[6], False)
        yield "withdrawal", enrolment(patients[0], False), enrolment(patients[0], True)
        for rule in (Rule(patients[5], "C", "B"), Rule(None, None, "D", ("IMAGES",), level=VIEW),
                     Rule(patients[0], "A", None, permits=False, level=VIEW)):
            yield "new rule", added(rule), revoked(rule)
        for rule in (oracle.rules[0], oracle.rules[2], oracle.rules[8], oracle.rules[4]):
            yield "revoked rule", revoked(rule), revoked(rule, False)
        yield "level", role("clerk", DOWNLOAD, {"N", "R"}), role("clerk", VIEW, {"N", "R"})
        yield "nothing", role("nurse", 0, {"N", "R"}), role("nurse", DOWNLOAD, {"N", "R"})
        yield "confidentiality", role("nurse", DOWNLOAD, {"N"}), role("nurse", DOWNLOAD, {"N", "R"})
        yield "every code", role("pharmacist", DOWNLOAD, {"N", "R", "V"}), role("pharmacist", DOWNLOAD, set())

    def test_one_rule_changes_exactly_its_objects_and_at_once(self):
        every = list(self.probes.all())
        probes = self.sample(every, SHARE) + ([] if common.IS_FULL else [p for p in every if p.kind == "ITI-43"])
        for what, change, undo in self.flips():
            with self.subTest(what=what):
                self.unlike(probes, change, undo)

    def test_what_may_not_be_known_is_answered_as_what_is_not_there(self):
        kinds = collections.Counter()
        nodes = self.region.nodes if common.IS_FULL else [self.region.nodes[n] for n in (0, 7, 14)]
        for node in nodes:
            for kind, ask, fake_ask, echoed, fake_echoed in self.sample(self.twins(node), 0.4 if common.IS_FULL else 0.12):
                with self.subTest(kind=kind, node=node.name, what=echoed):
                    self.assertEqual(places.masked(ask(self.region, node)[1], *echoed),
                                     places.masked(fake_ask(self.region, node)[1], *fake_echoed))
                    kinds[kind] += 1
        self.assertGreaterEqual(len(kinds), 40, kinds)

    # ---- writes

    def stored(self):
        """How much is registered and kept."""
        return common.rows(self.server, "SELECT (SELECT count(*) FROM document_entry), (SELECT count(*) FROM submission_set),"
                                        " (SELECT count(*) FROM association), (SELECT count(*) FROM folder),"
                                        " (SELECT count(*) FROM repository_document), (SELECT sum(status) FROM document_entry),"
                                        " (SELECT max(last_update_time) FROM folder)")

    def submission(self, patient, number_of="B", source_of="B", number=None):
        """What gateway B sends, with a number and a sourceId of one or another hospital."""
        document = self.region.document(patient, number_of, "REPORTS", ("N",), places.NEW)
        if number:
            document.source_patient = f"{number}^^^&{places.domain(number_of)}&ISO"
        return xds.Submission(patient.cx(), [document], source_id=places.source_id(source_of))

    def related(self, patient, kind, target):
        """A document of B that names a registered object, or (HasMember) is put into a Folder, or a SubmissionSet that refers to it."""
        submission = self.submission(patient)
        document = submission.documents[0]
        if kind == "Folder":
            member = xds.new_urn()
            submission.associations.append(xds.association_xml(xds.HAS_MEMBER, submission.id, member))
            link = xds.association_xml(xds.HAS_MEMBER, target, document.id, identifier=member)
        elif kind == "Reference":
            link = xds.association_xml(xds.HAS_MEMBER, submission.id, target, {"SubmissionSetStatus": ["Reference"]})
        else:
            link = xds.association_xml(xds.IHE_ASSOCIATION + kind, document.id, target)
        submission.associations.append(link)
        return submission

    def refused(self, send, submission):
        """The masked reply to what must be refused; it stores nothing, and is on record with its outcome."""
        before = self.stored()
        reply = send(submission)
        self.assertEqual(reply.outcome, "Failure")
        self.assertEqual(self.stored(), before)
        (record,) = of_messages(self.server, submission.unique_id, 1)
        self.assertEqual(record.find("EventIdentification").get("EventOutcomeIndicator"), "8")
        return reply, places.masked(reply.raw, submission.unique_id, *(d.unique_id for d in submission.documents))

    def senders(self):
        """ITI-41 and ITI-42 of gateway B."""
        soap = self.region.client("node-b")
        return {"ITI-41": soap.provide, "ITI-42": soap.register}

    def test_a_gateway_that_acts_as_another_hospital_is_refused_openly(self):
        patient = self.region.patients[0]
        document = self.first_documents["P0", "A"].id
        folder = next(t.uuid for t in self.region.things.values() if (t.kind, t.facility, t.patient) == ("F", "A", patient))
        for transaction, send in self.senders().items():
            for what, submission, text in (
                    ("number", self.submission(patient, number_of="A"), "may not submit with sourcePatientId P0-A"),
                    ("sourceId", self.submission(patient, source_of="A"), "may not submit with sourceId"),
                    ("replacement", self.related(patient, "RPLC", document), f"may not change {document}"),
                    ("transformation", self.related(patient, "XFRM_RPLC", document), f"may not change {document}"),
                    ("Folder", self.related(patient, "Folder", folder), f"may not change {folder}")):
                with self.subTest(transaction=transaction, what=what):
                    reply, _ = self.refused(send, submission)
                    self.assertIn("node node-b " + text, str(reply.errors))

    def test_a_submission_is_not_told_of_objects_and_numbers_that_its_node_may_not_know(self):
        patient = self.region.patients[0]
        hidden = [t for t in self.region.things.values() if t.facility == "A" and t.patient is patient and "R" in t.confidentiality]
        other = next(t for t in self.region.things.values() if t.kind == "D" and t.facility == "A" and t.patient.name == "P3")
        folder = next(t for t in self.region.things.values() if t.kind == "F" and t.patient.name == "P3")
        names = [(kind, t.uuid) for kind in ("RPLC", "XFRM", "APND", "Reference") for t in (hidden[0], other)] + [("Folder", folder.uuid)]
        for transaction, send in self.senders().items():
            for kind, uuid in names:
                with self.subTest(transaction=transaction, kind=kind):
                    reply, masked = self.refused(send, self.related(patient, kind, uuid))
                    self.assertEqual({e[0] for e in reply.errors}, {"UnresolvedReferenceException"})
                    self.assertEqual(masked, self.refused(send, self.related(patient, kind, xds.new_urn()))[1])
            asked = [self.submission(patient, number_of="A", number=number) for number in ("P0-A", "P3-A", "NOBODY-A")]
            with self.subTest(transaction=transaction, kind="numbers"):
                answers = {places.masked(self.refused(send, s)[0].raw, s.unique_id, s.documents[0].unique_id, number)
                           for s, number in zip(asked, ("P0-A", "P3-A", "NOBODY-A"))}
                self.assertEqual(len(answers), 1, answers)

    def change(self, patient, kind, target):
        """What gateway B sends to change a registered object: a new version of it, its status, or an Association from it."""
        submission = self.submission(patient)
        if kind == "version":
            body = common.version_xml(submission.documents[0], target, "1").replace(xds.Submission(patient.cx()).source_id,
                                                                                  submission.source_id)
            unique_id = re.search(r'value="([^"]+)">' + re.escape(xds.name_xml("XDSSubmissionSet.uniqueId")), body).group(1)
            return types.SimpleNamespace(unique_id=unique_id, documents=submission.documents, body=body)
        submission.documents = []
        link = xds.association_xml(xds.IHE_ASSOCIATION + "APND", target, self.first_documents["P0", "B"].id, identifier="Link")
        submission.associations = [link, xds.association_xml(SUBMIT, submission.id, "Link")] if kind == "Association" else [
            xds.association_xml(common.UPDATE_STATUS, submission.id, target,
                                {"OriginalStatus": [xds.STATUS + "Approved"], "NewStatus": [xds.STATUS + "Deprecated"]})]
        return types.SimpleNamespace(unique_id=submission.unique_id, documents=[], body=submission.register_xml())

    def test_objects_of_another_hospital_are_not_updated_and_not_told_of(self):
        """ITI-57: what may be known is refused openly, the rest is as unknown as what is not there."""
        patient = self.region.patients[0]
        known = self.first_documents["P0", "A"].id
        hidden = next(t for t in self.region.things.values()
                      if t.kind == "D" and t.facility == "A" and t.patient is patient and "R" in t.confidentiality)
        soap = self.region.client("node-b")

        def send(change):
            return soap.send("/registry", "ITI-57", change.body)
        for kind in ("version", "status", "Association"):
            with self.subTest(kind=kind):
                reply, _ = self.refused(send, self.change(patient, kind, known))
                self.assertIn("node node-b may not change", str(reply.errors))
                _, masked = self.refused(send, self.change(patient, kind, hidden.uuid))
                self.assertEqual(masked, self.refused(send, self.change(patient, kind, xds.new_urn()))[1])

    def test_objects_of_another_hospital_are_not_removed_and_not_told_of(self):
        """ITI-62, ITI-86: what may be known is refused openly; whether there is anything else cannot be told from the reply."""
        patient = self.region.patients[0]
        known = self.first_documents["P0", "A"]
        hidden = next(t for t in self.region.things.values()
                      if t.kind == "D" and t.facility == "A" and t.patient is patient and "R" in t.confidentiality)
        foreign = next(t for t in self.region.things.values() if (t.kind, t.facility, t.patient) == ("S", "A", patient))
        soap = self.region.client("node-b")
        before = self.stored()

        def remove(*ids):
            reply = soap.send("/repository" if isinstance(ids[0], tuple) else "/registry", "ITI-86" if isinstance(ids[0], tuple) else "ITI-62",
                              xds.remove_xml(list(ids)))
            self.assertEqual(reply.outcome, "Failure")
            self.assertEqual(self.stored(), before)
            return reply
        self.assertIn("node node-b may not remove", str(remove(known.id).errors))
        nothing = xds.new_urn()
        for uuid in (hidden.uuid, foreign.uuid):
            self.assertEqual(places.masked(remove(uuid).raw, uuid), places.masked(remove(nothing).raw, nothing))
        nothing = xds.new_oid()
        for unique_id in (known.unique_id, hidden.unique_id):
            self.assertEqual(places.masked(remove((harness.REPOSITORY_UID, unique_id)).raw, unique_id),
                             places.masked(remove((harness.REPOSITORY_UID, nothing)).raw, nothing))

    # ---- reads

    def test_everybody_gets_exactly_what_the_rules_say_and_every_question_is_on_record(self):
        probes = self.sample(self.probes.all(), SHARE)
        asked = collections.Counter(transaction_of(p.kind) for p in probes)
        before = self.settled_records()
        count, permitted = self.check(probes)
        print(f"\n  {count} probes, {permitted} of them permitted", end="")
        self.assertGreaterEqual(count, 20000 * min(1, SHARE))
        self.assertGreaterEqual(permitted, 5000 * min(1, SHARE))
        after = self.settled_records()
        for transaction, number in asked.items():
            self.assertEqual(after[transaction] - before[transaction], number, transaction)


@unittest.skipUnless(common.IS_FULL, "takes a quarter of an hour: MUSUBI_FULL=1")
class Timing(ProberCase):
    """What may not be known takes as long as what is not there: medians over interleaved questions, each kind with as many about two
    things that are not there."""

    PAIRS = {kind: 10000 for kind in ("FindDocuments", "GetDocuments EntryUUID", "ITI-43", "ITI-9", "ITI-21")}
    OTHERS = ("FindFolders", "GetAll", "GetDocuments UniqueId", "GetFolderAndContents", "GetSubmissionSetAndContents", "GetAssociations",
              "GetSubmissionSets", "GetRelatedDocuments", "ITI-45", "ITI-83", "ITI-22", "ITI-47", "ITI-78", "ITI-119", "ITI-21 name",
              "ITI-78 read")
    PAIRS.update({kind: 1000 for kind in OTHERS})

    def measure(self, node, twins, pairs):
        """Medians in microseconds: (denied, absent, absent again)."""
        chance = random.Random(5)
        taken = ([], [], [])
        for number in range(pairs):
            _, ask, fake_ask, *_ = twins[number % len(twins)]
            questions = [(0, ask), (1, fake_ask), (2, fake_ask)]
            chance.shuffle(questions)
            for which, question in questions:
                began = time.perf_counter_ns()
                question(self.region, node)
                taken[which].append((time.perf_counter_ns() - began) / 1000)
        return tuple(statistics.median(times) for times in taken)

    def test_what_may_not_be_known_takes_as_long_as_what_is_not_there(self):
        node = next(n for n in self.region.nodes if n.name == "nurse-d")
        found = collections.defaultdict(list)
        for twin in self.twins(node):
            found[twin[0]].append(twin)
        print()
        for kind, pairs in self.PAIRS.items():
            with self.subTest(kind=kind):
                denied, absent, again = self.measure(node, found[kind], int(pairs * float(os.environ.get("MUSUBI_PAIRS_SHARE", "1"))))
                difference, noise = abs(denied - absent) / absent, abs(again - absent) / absent
                print(f"  {kind}: denied {denied:.0f} us, absent {absent:.0f} us ({difference:.1%}), again {again:.0f} us ({noise:.1%})",
                      flush=True)
                self.assertTrue(difference < 0.05 or difference < 2 * noise)
