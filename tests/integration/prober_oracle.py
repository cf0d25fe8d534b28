"""What each node of a region, and each user at a node, must get: written from DESIGN.md section 6 alone, in the plainest way.
No code is shared with the server."""

import dataclasses
import datetime

from tests.harness import region as places

VIEW, DOWNLOAD = 1, 2


@dataclasses.dataclass
class Rule:
    """A row of table disclosure; None: any."""

    patient: places.Patient = None
    source: str = None
    reader: str = None
    classes: tuple = None
    permits: bool = True
    level: int = DOWNLOAD
    period: tuple = None  # (from, to) of the object
    valid: tuple = None  # (from, to) of the rule
    is_revoked: bool = False
    row: int = None


@dataclasses.dataclass
class Role:
    """A row of access_role with its confidentiality codes."""

    level: int
    codes: set
    may_break_glass: bool = False


class Oracle:
    """The rules in force, and what follows from them."""

    def __init__(self, region):
        self.region = region
        self.enrolled = set()
        self.rules = []
        self.roles = {"node": Role(2, {"N"}), "physician": Role(2, {"N", "R", "V"}, True), "nurse": Role(2, {"N", "R"}),
                      "pharmacist": Role(2, set()), "clerk": Role(1, {"N", "R"}), "auditor": Role(0, {"N", "R", "V"})}
        self.codes = {}  # {code in an assertion: name of a role}

    # ---- rules

    def _in_force(self, node, patient):
        now = datetime.datetime.now(datetime.timezone.utc)
        for rule in self.rules:
            is_valid = rule.valid is None or rule.valid[0] <= now < rule.valid[1]
            if (not rule.is_revoked and is_valid and rule.reader in (None, node.facility)
                    and (rule.patient is None or rule.patient is patient)):
                yield rule

    def _roles(self, reader, level):
        """Those that reach a level: of the user where his assertion names any, else the node's."""
        codes = reader.codes if isinstance(reader, places.User) else ()
        names = [self.codes[code] for code in codes if code in self.codes] if codes else [reader.role]
        return [self.roles[name] for name in names if self.roles[name].level >= level]

    @staticmethod
    def _breaks_glass(reader, roles):
        """Where no rule says anything."""
        return isinstance(reader, places.User) and reader.is_emergency and any(role.may_break_glass for role in roles)

    def may(self, node, thing, level=VIEW):
        """Whether the node may see, or download, a document, Folder or SubmissionSet: of what is in it, something."""
        members = self.region.members.get(thing.uuid, ())
        return self._may_alone(node, thing, level) and (
            not members or any(self._may_alone(node, self.region.things[uuid], level) for uuid in members))

    def _may_alone(self, node, thing, level):
        roles = self._roles(node, level)
        if node.is_operator or thing.patient.name not in self.enrolled or not roles:
            return False
        if not set(thing.confidentiality) <= set().union(*(role.codes for role in roles)):
            return False
        if thing.facility == node.facility:
            return True
        permits = denies = False
        for rule in self._in_force(node, thing.patient):
            if rule.source not in (None, thing.facility) or (rule.classes and thing.class_code not in rule.classes):
                continue
            if rule.permits:
                is_in = rule.period is None or (thing.effective and rule.period[0] <= thing.effective < rule.period[1])
                permits = permits or (is_in and level <= rule.level)
            else:
                is_in = rule.period is None or not thing.effective or rule.period[0] <= thing.effective < rule.period[1]
                denies = denies or (is_in and level >= rule.level)
        return not denies and bool(permits or self._breaks_glass(node, roles))

    def knows(self, node, patient, facility):
        """Whether the node may know that the facility (None: nobody's) has the patient."""
        if node.is_operator:
            return False
        if facility == node.facility:
            return True
        if patient.name not in self.enrolled or not self._roles(node, VIEW):
            return False
        rules = [r for r in self._in_force(node, patient) if r.source is None or r.source == facility]
        return any(r.permits for r in rules) and not any(
            not r.permits and not r.classes and not r.period and r.level == VIEW for r in rules)

    # ---- documents

    def _known(self, node, uuid):
        """An end of an Association."""
        if uuid in self.region.things:
            return self.may(node, self.region.things[uuid])
        link = self.region.links[uuid]
        return self._known(node, link.source) and self._known(node, link.target)

    def _links(self, node, uuids):
        return {link.uuid for link in self.region.links.values() if {link.source, link.target} & set(uuids)
                and self._known(node, link.source) and self._known(node, link.target)}

    def find(self, node, patient, kinds, status=None):
        """Uuids of what FindDocuments and its kind give."""
        return {t.uuid for t in self.region.things.values() if t.patient is patient and t.kind in kinds
                and status in (None, t.status) and self.may(node, t)}

    def get_all(self, node, patient):
        """GetAll."""
        found = self.find(node, patient, "DSF")
        return found | self._links(node, found)

    def get(self, node, *things):
        """GetDocuments, GetFolders."""
        return {t.uuid for t in things if self.may(node, t)}

    def associations(self, node, thing):
        """GetAssociations."""
        return self._links(node, [thing.uuid])

    def document_and_associations(self, node, thing):
        """GetDocumentsAndAssociations."""
        found = self.get(node, thing)
        return found | self._links(node, found)

    def _members(self, container):
        return [link for link in self.region.links.values() if link.kind == "HasMember" and link.source == container]

    def submission_sets(self, node, thing):
        """GetSubmissionSets."""
        links = [link for link in self.region.links.values() if link.kind == "HasMember" and link.target == thing.uuid
                 and self.region.things[link.source].kind == "S" and self.may(node, thing)
                 and self.may(node, self.region.things[link.source])]
        return {link.source for link in links} | {link.uuid for link in links}

    def contents(self, node, thing):
        """GetSubmissionSetAndContents, GetFolderAndContents."""
        if not self.may(node, thing):
            return set()
        members = self._members(thing.uuid)
        found = {thing.uuid} | {m.target for m in members
                                if m.target in self.region.things and self.may(node, self.region.things[m.target])}
        inner = [self.region.links[m.target] for m in members if m.target in self.region.links]
        found |= {link.uuid for link in inner if {link.source, link.target} <= found}
        return found | {m.uuid for m in members if m.target in found}

    def folders(self, node, thing):
        """GetFoldersForDocument."""
        if not self.may(node, thing):
            return set()
        return {link.source for link in self.region.links.values() if link.kind == "HasMember" and link.target == thing.uuid
                and self.region.things[link.source].kind == "F" and self.may(node, self.region.things[link.source])}

    def related(self, node, thing):
        """GetRelatedDocuments of every type."""
        if not self.may(node, thing):
            return set()
        links = [link for link in self.region.links.values() if link.kind in ("RPLC", "APND")
                 and thing.uuid in (link.source, link.target)
                 and self.may(node, self.region.things[link.source]) and self.may(node, self.region.things[link.target])]
        return {end for link in links for end in (link.source, link.target, link.uuid)}

    def download(self, node, thing):
        """ITI-43."""
        return {thing.unique_id} if self.may(node, thing, DOWNLOAD) else set()

    # ---- patients

    def identifiers(self, node, patient):
        """{authority: number} of a person that the node may know."""
        if patient is None:
            return {}
        seen = [f for f in patient.facilities if self.knows(node, patient, f)]
        found = {places.domain(f): patient.numbers[f] for f in seen}
        is_open = self.knows(node, patient, None)
        if is_open or seen == list(patient.facilities):
            found[places.INSURANCE] = patient.insurance
        if found:
            found[places.harness.AUTHORITY] = patient.xad_pid
        return found

    def cross_reference(self, node, patient, authority, number):
        """ITI-9 and its kind: the other numbers; {"unknown"}; {"merged"}."""
        known = self.identifiers(node, patient)
        if authority not in known:
            return {"unknown"}
        if known[authority] == number:
            return {f"{a}|{n}" for a, n in known.items() if a != authority}
        return {"merged"}

    def patient(self, node, patient, authority, family=None):
        """A demographics query: every number that may be known, and one family name; empty: no match.
        @param authority  of the number, or of whoever fed the family name, by which the query finds the person"""
        known = self.identifiers(node, patient)
        if authority not in known:
            return set()
        told = [f for f in patient.facilities if places.domain(f) in known]
        name = family or (patient.family(told[-1]) if told else "")
        return {f"{a}|{n}" for a, n in known.items()} | ({f"name {name}"} if name else set())

    def discovery(self, node, patient, authority):
        """ITI-55: of whom the number may be known, the identifier of the affinity domain, and the name."""
        found = self.patient(node, patient, authority)
        return {one for one in found if one.startswith((f"{places.harness.AUTHORITY}|", "name "))}
