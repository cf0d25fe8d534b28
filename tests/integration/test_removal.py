"""Remove Metadata and Remove Documents (ITI-62, ITI-86): what forbids them, what is kept of them, and others at the same time."""

import base64
import functools
import hashlib
import random
import time

from conformance import client as xds
from tests.harness import server as harness
from tests.harness.waiting import wait_until
from tests.integration import audit_records, common
from tests.integration.test_identity_commands import Commands

CLASS = "REPORTS^^1.3.6.1.4.1.19376.1.2.6.1"
RESTRICTED = "LocalPolicyRestrictionError"
WAIT_S = 60  # until the server has seen a node
WRITERS = 8
ROUNDS = 40
DOCUMENTS = 6
# What a writer may be told whose document another one changed or removed meanwhile.
LOST = {"UnresolvedReferenceException", "ReferencesExistException", "XDSMetadataModelException", "XDSMetadataVersionError",
        "XDSMetadataUpdateError", "XDSRegistryDeprecatedDocumentError", "XDSDocumentUniqueIdError"}


def remove_metadata(soap, *ids):
    """ITI-62."""
    return soap.send("/registry", "ITI-62", xds.remove_xml(list(ids)))


def remove_documents(soap, *documents):
    """ITI-86 of documents of this repository."""
    pairs = [(harness.REPOSITORY_UID, d if isinstance(d, str) else d.unique_id) for d in documents]
    return soap.send("/repository", "ITI-86", xds.remove_xml(pairs))


def contents(soap, unique_id):
    """entryUUIDs of everything that goes with the document: versions, relationships, SubmissionSets."""
    entries = soap.query("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{unique_id}')", "$MetadataLevel": "2"}).objects("ExtrinsicObject")
    ids = [entry.get("id") for entry in entries]
    if not ids:
        return []
    links = soap.query("GetAssociations", {"$uuid": [f"('{i}')" for i in ids], "$MetadataLevel": "2", "$XDSAssociationStatus":
                                           f"('{xds.STATUS}Approved','{xds.STATUS}Deprecated')"}).objects("Association")
    members = [link for link in links if link.get("associationType") == xds.HAS_MEMBER]
    return sorted({*ids, *(link.get("id") for link in links), *(link.get("sourceObject") for link in members)})


class Removal(Commands):
    """One document at a time."""

    def provide(self, number, content=b"content"):
        """A document that is there: its uniqueId, and the ids of its submission."""
        soap = self.soap()
        submission = common.submission(number, content)
        self.assert_success(soap.provide(submission))
        return submission.documents[0].unique_id, contents(soap, submission.documents[0].unique_id)

    def assert_refused(self, reply, code, *texts):
        """This code alone, and what its text holds."""
        self.assertEqual({error[0] for error in reply.errors}, {code}, reply.errors or reply.raw)
        for text in texts:
            self.assertIn(text, str(reply.errors))

    def test_a_rule_of_retention_forbids_both_until_it_ends(self):
        soap = self.soap()
        document, ids = self.provide("P1")
        self.server.command("retention", "add", "--days", "1", "--reason", "short")
        self.server.command("retention", "add", "--years", "5", "--classes", CLASS, "--reason", "法令")
        rules = self.run_json("retention", "list")[-2:]
        self.assertEqual([(r["class"], r["years"], r["days"], r["reason"]) for r in rules], [(None, 0, 1, "short"), (CLASS, 5, 0, "法令")])
        year = int(self.rows("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '5 years', 'YYYY')")[0][0])
        for reply in (remove_metadata(soap, *ids), remove_documents(soap, document)):
            self.assert_refused(reply, RESTRICTED, f"retention rule {rules[1]['number']}", str(year), document)
        self.assertIn(document, common.find(soap, "P1"))
        self.assertIn("5 年間保存", self.server.command("retention", "list", "--lang", "ja").stdout)
        self.server.command("retention", "remove", str(rules[1]["number"]))
        self.assert_refused(remove_metadata(soap, *ids), RESTRICTED, f"retention rule {rules[0]['number']}")
        self.server.command("retention", "remove", str(rules[0]["number"]))
        self.assertEqual(self.run_json("retention", "list"), [])
        self.assertLessEqual({r["number"] for r in rules}, {r["number"] for r in self.run_json("retention", "list", "--all")})
        self.assertEqual(self.server.command("retention", "remove", str(rules[0]["number"]), check=False).returncode, 1)
        self.assert_success(remove_metadata(soap, *ids))
        self.assert_success(remove_documents(soap, document))
        found = audit_records.of_messages(self.server, "musubi:retention-rule", 4)
        self.assertEqual({audit_records.codes(r)[0] for r in found}, {"110113"})

    def test_a_rule_is_of_a_facility_and_a_class(self):
        soap = self.soap()
        _, ids = self.provide("P2")
        self.server.command("facility", "add", "Elsewhere")
        self.server.command("retention", "add", "--years", "9", "--facility", "Elsewhere")
        self.server.command("retention", "add", "--years", "9", "--classes", "IMAGES^^1.3.6.1.4.1.19376.1.2.6.1")
        self.assert_success(remove_metadata(soap, *ids))
        for rule in self.run_json("retention", "list"):
            self.server.command("retention", "remove", str(rule["number"]))

    def test_what_an_operator_writes_wrong_is_told(self):
        for arguments, text in ((("--years", "0"), "up to 200 years"), (("--years", "1", "--days", "1"), "one of --years and --days"),
                                (("--days", "3", "--facility", "Nowhere"), "no such facility")):
            self.assertIn(text, self.refused("retention", "add", *arguments))
        for arguments, text in ((("--patient", "P1"), "--reason"), (("--reason", "x"), "one of --patient and --document"),
                                (("--document", "1.2.3.4.5.6", "--reason", "x"), "no document has this uniqueId")):
            self.assertIn(text, self.refused("hold", "add", *arguments))
        self.assertEqual(self.run_json("hold", "list"), [])

    def test_a_hold_on_a_patient_or_a_document_forbids_both_until_it_is_released(self):
        soap = self.soap()
        document, ids = self.provide("P3")
        free, free_ids = self.provide("P4")
        for arguments in (("--patient", "P3"), ("--document", document)):
            self.server.command("hold", "add", *arguments, "--reason", "訴訟")
            hold = self.run_json("hold", "list")[-1]
            for reply in (remove_metadata(soap, *ids), remove_metadata(soap, *ids, *free_ids), remove_documents(soap, document)):
                self.assert_refused(reply, RESTRICTED, f"legal hold {hold['number']}")
            self.server.command("hold", "release", str(hold["number"]))
        self.server.command("hold", "add", "--document", document, "--reason", "x")
        reply = remove_documents(soap, document, free)
        self.assertEqual(reply.outcome, "PartialSuccess")
        self.assert_refused(reply, RESTRICTED, document)
        self.assertEqual(common.fetch(soap, document).documents(), {document: b"content"})
        self.server.command("hold", "release", str(self.run_json("hold", "list")[-1]["number"]))
        self.assert_success(remove_metadata(soap, *ids, *free_ids))
        found = audit_records.of_messages(self.server, "musubi:legal-hold", 6)
        self.assertIn(common.patient("P3"), [i for r in found for i in audit_records.ids(r, "1/1")])

    def test_the_audit_trail_proves_what_was_removed(self):
        soap = self.soap()
        content = b"to be erased"
        document, ids = self.provide("P5", content)
        self.assert_success(remove_documents(soap, document))
        self.assert_success(remove_metadata(soap, *ids))
        shown = self.run_json("document", "show", document)
        self.assertEqual((shown["entries"], shown["stored"]["state"]), ([], "removed"))
        self.assertEqual([(r["transaction"], r["node"], r["patient"]) for r in shown["removals"]],
                         [("ITI-86", "anonymous", common.patient("P5")), ("ITI-62", "anonymous", common.patient("P5"))])
        self.assertIn("文書を削除", self.server.command("document", "show", document, "--lang", "ja").stdout)
        self.assertEqual(self.server.command("document", "show", "1.2.3.4", check=False).returncode, 1)
        record = self.record(document, "ITI-86")
        details = {d.get("type"): base64.b64decode(d.get("value")).decode() for d in record.iter("ParticipantObjectDetail")}
        self.assertEqual((details["SHA-256"], details["Size"]), (hashlib.sha256(content).hexdigest(), str(len(content))))
        self.assertEqual(record.xpath("//EventIdentification/@EventActionCode"), ["D"])
        self.assertEqual(record.xpath("//@ParticipantObjectDataLifeCycle"), ["15"])
        self.assertIn(common.patient("P5"), audit_records.ids(record, "1/1"))
        record = self.record(ids[0], "ITI-62")
        self.assertEqual(set(audit_records.ids(record, "2/3")), set(ids))
        self.assertEqual(self.rows("SELECT is_bytes, encode(sha256, 'hex'), size_bytes FROM removal WHERE unique_id = %s ORDER BY id", document),
                         [(True, hashlib.sha256(content).hexdigest(), len(content)), (False, None, None)])

    def record(self, token, transaction):
        """The audit record of a transaction that holds a token, once it is there."""
        return wait_until(lambda: [r for r in audit_records.of_messages(self.server, token, 1)
                                   if audit_records.codes(r)[1] == transaction])[-1]

    def test_the_bytes_of_removed_documents_are_named_no_more_and_those_of_others_are(self):
        soap = self.soap()
        document, _ = self.provide("P6", b"same bytes")
        other, _ = self.provide("P6", b"same bytes")
        self.assert_success(remove_documents(soap, document))
        self.assertEqual(common.fetch(soap, other).documents(), {other: b"same bytes"})
        self.assertEqual(self.fsck(), (0, "0 findings\n"))

    def test_a_message_names_ten_thousand_objects_and_no_more(self):
        urns = [xds.new_urn() for _ in range(10_001)]
        self.assert_refused(remove_metadata(self.soap(), *urns), "XDSRegistryOutOfResources", "10001 objects")
        (first, *_, last) = remove_metadata(self.soap(), *urns[1:]).errors
        self.assertEqual(first[0], "UnresolvedReferenceException")
        self.assertIn(urns[1], first[1])
        self.assertIn("more errors are not listed", last[1])

    def test_a_hold_that_comes_during_removals_wins_or_loses(self):
        soap = self.soap()
        for _ in range(4):
            documents = [self.provide("P7") for _ in range(6)]
            removals = [functools.partial(remove_metadata, self.soap(), *ids) for _, ids in documents]
            hold_up = functools.partial(self.server.command, "hold", "add", "--patient", "P7", "--reason", "race")
            outcomes = common.at_once(*removals[:3], hold_up, *removals[3:])
            del outcomes[3]
            hold = self.run_json("hold", "list")[-1]
            for reply in outcomes:
                if reply.outcome != "Success":
                    self.assert_refused(reply, RESTRICTED, f"legal hold {hold['number']}")
            late = self.rows("SELECT count(*) FROM removal r JOIN legal_hold h ON h.id = %s AND r.removed_at > h.added_at"
                             " WHERE r.patient_id = %s", hold["number"], common.patient("P7"))
            self.assertEqual(late, [(0,)])
            self.server.command("hold", "release", str(hold["number"]))
            for number, entry in common.find(soap, "P7").items():
                self.assertTrue(entry)
                self.assert_success(remove_metadata(soap, *contents(soap, number)))

    def rows(self, statement, *values):
        """From the database."""
        return common.rows(self.server, statement, *values)

    def fsck(self):
        """Its status and output."""
        result = self.server.command("fsck", check=False)
        return result.returncode, result.stdout


class TwoHospitals(common.ServerCase):
    """Mode enforce: each submits for itself."""

    mode = "enforce"
    roles = ("gateway-a", "gateway-b")
    settings = {"server": {"plain_http_listen": None, "plain_mllp_listen": None}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        command = cls.server.command
        for letter in "ab":
            command("facility", "add", f"Hospital {letter.upper()}")
            command("node", "add", f"gateway-{letter}", "--facility", f"Hospital {letter.upper()}", "--transactions", "*",
                    "--certificate", str(cls.certs / f"gateway-{letter}.pem"))
        command("authority", "add", "1.2.3.7", "--namespace", "HA", "--facility", "Hospital A")
        patients = cls.server.dir / "patients.csv"
        patients.write_text("authority,identifier,family,birth_date\nHA,1,Yamada,1950-01-01\n", encoding="utf-8")
        command("patient", "import", str(patients))
        command("patient", "enroll", "HA:1")
        ((pid,),) = common.rows(cls.server, "SELECT value FROM patient_identifier WHERE is_xad_pid")
        cls.patient = f"{pid}^^^&{harness.AUTHORITY}&ISO"

    def hospital(self, letter):
        """A client of its node, when the server knows that."""
        soap = self.soap(f"gateway-{letter}")
        deadline = time.monotonic() + WAIT_S
        while self.entries(soap, "1.2.3") is None and time.monotonic() < deadline:
            time.sleep(0.1)
        return soap

    def entries(self, soap, unique_id):
        """entryUUIDs that the node may know, or None: it is refused."""
        reply = soap.query("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{unique_id}')"})
        return {entry.get("id") for entry in reply.objects("ExtrinsicObject")} if reply.outcome == "Success" else None

    def test_bytes_that_another_hospital_has_registered_too_stay_for_it(self):
        a, b = self.hospital("a"), self.hospital("b")
        document = xds.Document(self.patient, b"of both")
        self.assert_success(a.provide(xds.Submission(self.patient, [document])))
        same = xds.Document(self.patient, document.content, unique_id=document.unique_id)
        self.assert_success(b.register(xds.Submission(self.patient, [same])))
        (own,) = self.entries(b, document.unique_id)
        reply = remove_documents(a, document)
        self.assertEqual((reply.outcome, [e[0] for e in reply.errors]), ("Failure", ["XDSRemoveDocumentsError"]))
        self.assertIn("registered by others", reply.errors[0][1])
        self.assertEqual([e[0] for e in remove_documents(b, document).errors], ["XDSDocumentUniqueIdError"])
        self.assertEqual(common.fetch(a, document).documents(), {document.unique_id: document.content})
        self.assertIn(own, contents(b, document.unique_id))
        self.assert_success(remove_metadata(b, *contents(b, document.unique_id)))
        self.assert_success(remove_documents(a, document))
        self.assertEqual(common.fetch(a, document).documents(), {})


class Writer:
    """Removes, provides, replaces, updates and retrieves the same documents as all others."""

    def __init__(self, server, shared, seed):
        self.soap = common.client(server)
        self.shared = shared
        self.random = random.Random(seed)
        self.problems = []

    def remove(self, document):
        """All that belongs to it."""
        ids = contents(self.soap, document.unique_id)
        return remove_metadata(self.soap, *ids) if ids else None

    def remove_bytes(self, document):
        """ITI-86."""
        return remove_documents(self.soap, document)

    def provide(self, document):
        """The same document again, in a new submission; or it is there already."""
        again = xds.Document(document.patient, document.content, unique_id=document.unique_id)
        return self.soap.provide(xds.Submission(document.patient, [again]))

    def update(self, document):
        """A new version of the latest one."""
        entries = self.soap.query("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{document.unique_id}')"}).objects("ExtrinsicObject")
        if not entries:
            return None
        version = entries[0].find("{%s}VersionInfo" % xds.NS["rim"]).get("versionName")
        renewed = xds.Document(document.patient, document.content, unique_id=document.unique_id)
        return self.soap.send("/registry", "ITI-57", common.version_xml(renewed, entries[0].get("lid"), version))

    def replace(self, document):
        """By a document of its own."""
        entries = self.soap.query("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{document.unique_id}')"}).objects("ExtrinsicObject")
        if not entries:
            return None
        submission = xds.Submission(document.patient, [xds.Document(document.patient, b"new")])
        submission.associations = [xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", "Document01", entries[0].get("id"))]
        return self.soap.provide(submission)

    def retrieve(self, document):
        """Its bytes, or none."""
        reply = common.fetch(self.soap, document)
        if reply.documents().get(document.unique_id, document.content) != document.content:
            self.problems.append(f"wrong bytes of {document.unique_id}")
        return reply

    def run(self):
        """Some rounds of any operation on any document."""
        operations = [self.remove, self.remove, self.remove_bytes, self.provide, self.provide, self.update, self.replace, self.retrieve]
        for _ in range(ROUNDS):
            reply = self.random.choice(operations)(self.random.choice(self.shared))
            if reply is not None and reply.outcome != "Success" and not {error[0] for error in reply.errors} <= LOST:
                self.problems.append(reply.errors or reply.raw)
        self.soap.close()


class Races(common.ServerCase):
    """Whoever comes first, nothing is left that names what is no more."""

    def test_removals_beside_all_other_writers(self):
        shared = [xds.Document(common.patient("P1"), b"content %d" % n) for n in range(DOCUMENTS)]
        for document in shared:
            self.assert_success(self.soap().provide(xds.Submission(document.patient, [document])))
        writers = [Writer(self.server, shared, seed) for seed in range(WRITERS)]
        common.at_once(*(writer.run for writer in writers))
        self.assertEqual([problem for writer in writers for problem in writer.problems], [])
        objects = "(SELECT entry_uuid FROM document_entry UNION ALL SELECT entry_uuid FROM folder UNION ALL" \
                  " SELECT entry_uuid FROM submission_set UNION ALL SELECT entry_uuid FROM association)"
        dangling = common.rows(self.server, "SELECT count(*) FROM association a WHERE a.source_object NOT IN " + objects
                               + " OR a.target_object NOT IN " + objects)
        self.assertEqual(dangling, [(0,)])
        unclaimed = common.rows(self.server, "SELECT count(*) FROM (SELECT unique_id FROM document_entry UNION SELECT unique_id FROM"
                                " submission_set) o WHERE NOT EXISTS (SELECT FROM unique_id u WHERE u.digest ="
                                " encode(substr(sha256(o.unique_id::bytea), 1, 16), 'hex')::uuid)")
        self.assertEqual(unclaimed, [(0,)])
        self.assertGreater(common.rows(self.server, "SELECT count(*) FROM removal WHERE NOT is_bytes")[0][0], 0)
        self.assertGreater(common.rows(self.server, "SELECT count(*) FROM removal WHERE is_bytes")[0][0], 0)
        result = self.server.command("fsck", check=False)
        self.assertEqual((result.returncode, result.stdout), (0, "0 findings\n"), result.stderr)
