"""Metadata updates beside replacements, changes of status and readers (ITI-57, ITI-92; contract C2, C3)."""

import collections
import functools
import random
import threading
import unittest

import psycopg2

from conformance import client as xds
from tests.harness.waiting import PATIENCE_S
from tests.integration import common

WRITERS = 8
DOCUMENTS = 5
ROUNDS = 12
# What a writer may be told whose document another one changed meanwhile.
LOST = {"XDSMetadataVersionError", "XDSMetadataUpdateError", "XDSRegistryDeprecatedDocumentError", "UnresolvedReferenceException"}


class Writer:
    """Changes documents of a patient, whatever others do to them; keeps what was confirmed."""

    def __init__(self, server, patient, documents, seed):
        self.soap = common.client(server)
        self.patient = common.patient(patient)
        self.documents = documents
        self.random = random.Random(seed)
        self.versions = collections.Counter()
        self.problems = []

    def latest(self, unique_id):
        """Attributes and version of the newest version, as level 1 shows it."""
        reply = self.soap.query("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{unique_id}')"})
        entry = reply.body.find(".//{%s}ExtrinsicObject" % xds.NS["rim"])
        version = entry.find("{%s}VersionInfo" % xds.NS["rim"]).get("versionName")
        return entry.get("id"), entry.get("lid"), version, entry.get("status")

    def update(self, document, transaction):
        """A new version."""
        _, lid, version, _ = self.latest(document.unique_id)
        renewed = xds.Document(self.patient, document.content, unique_id=document.unique_id, title=f"Report {version}")
        reply = self.soap.send("/registry", transaction, common.version_xml(renewed, lid, version))
        self.versions[document.unique_id] += reply.outcome == "Success"
        return reply

    def change_status(self, document):
        """Approved becomes Deprecated, Deprecated Approved."""
        entry, _, _, status = self.latest(document.unique_id)
        wanted = xds.STATUS + ("Deprecated" if status.endswith("Approved") else "Approved")
        return self.soap.send("/registry", "ITI-57", common.status_xml(self.patient, entry, status, wanted))

    def replace(self, document):
        """A replacement with a uniqueId of its own."""
        entry = self.latest(document.unique_id)[0]
        replacement = xds.Submission(self.patient, documents=[xds.Document(self.patient, b"new")])
        replacement.associations = [xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", "Document01", entry)]
        return self.soap.register(replacement)

    def run(self):
        """Some rounds of any operation on any document."""
        operations = [lambda d: self.update(d, "ITI-57"), lambda d: self.update(d, "ITI-92"), self.change_status, self.replace]
        for _ in range(ROUNDS):
            reply = self.random.choice(operations)(self.random.choice(self.documents))
            codes = {error[0] for error in reply.errors}
            if reply.outcome != "Success" and not codes <= LOST:
                self.problems.append(reply.errors or reply.raw)
        self.soap.close()


class Updates(common.ServerCase):
    """Lineages stay sound, whoever comes first."""

    def register(self, patient):
        """Documents of a patient in one Folder."""
        common.feed(self.server, patient)
        documents = [xds.Document(common.patient(patient), b"content", id=f"Document{n}") for n in range(DOCUMENTS)]
        submission = xds.Submission(common.patient(patient), documents=documents, folders=[xds.Folder(common.patient(patient))])
        memberships = [(xds.new_urn(), document.id) for document in documents]
        submission.associations = [xds.association_xml(xds.HAS_MEMBER, "Folder01", d, identifier=m) for m, d in memberships]
        submission.associations += [xds.association_xml(xds.HAS_MEMBER, submission.id, m) for m, _ in memberships]
        self.assert_success(self.soap().register(submission))
        return documents

    def lineages(self, unique_ids):
        """{uniqueId: (versions, latest, Approved)} of the database."""
        connection = psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi_owner", dbname="musubi")
        with connection.cursor() as cursor:
            cursor.execute("SELECT unique_id, count(*), count(*) FILTER (WHERE is_latest), count(*) FILTER (WHERE status = 0)"
                           " FROM document_entry WHERE unique_id = ANY (%s) GROUP BY unique_id", (list(unique_ids),))
            rows = {row[0]: row[1:] for row in cursor.fetchall()}
        connection.close()
        return rows

    def test_writers_of_the_same_documents_leave_sound_lineages(self):
        documents = self.register("U1")
        writers = [Writer(self.server, "U1", documents, seed) for seed in range(WRITERS)]
        common.at_once(*(writer.run for writer in writers))
        self.assertEqual([problem for writer in writers for problem in writer.problems], [])
        confirmed = sum((writer.versions for writer in writers), collections.Counter())
        self.assertGreater(sum(confirmed.values()), 0)
        rows = self.lineages(document.unique_id for document in documents)
        for document in documents:
            versions, latest, approved = rows[document.unique_id]
            self.assertEqual((versions, latest), (1 + confirmed[document.unique_id], 1))
            self.assertLessEqual(approved, 1)
        fsck = self.server.command("fsck", check=False)
        self.assertEqual((fsck.returncode, fsck.stdout), (0, "0 findings\n"), fsck.stderr)

    def test_a_document_that_is_updated_after_a_merge_goes_back_with_its_patient(self):
        common.feed(self.server, "MergedPatient", "Survivor")
        soap = self.soap()
        submission = common.submission("MergedPatient")
        self.assert_success(soap.provide(submission))
        (document,) = submission.documents
        entry = common.find(soap, "MergedPatient")[document.unique_id]
        self.server.command("patient", "merge", common.patient("MergedPatient"), common.patient("Survivor"))
        renewed = xds.Document(common.patient("Survivor"), document.content, unique_id=document.unique_id, title="renewed",
                               source_patient=common.patient("MergedPatient"))
        self.assert_success(soap.send("/registry", "ITI-57", common.version_xml(renewed, entry, "1")))
        self.assertEqual(list(common.find(soap, "Survivor")), [document.unique_id])
        self.assertEqual(common.find(soap, "MergedPatient"), {})
        ((merge,),) = common.rows(self.server, "SELECT max(id) FROM patient_merge")
        self.server.command("patient", "undo", f"M{merge}")
        self.assertEqual(list(common.find(soap, "MergedPatient")), [document.unique_id])
        self.assertEqual(common.find(soap, "Survivor"), {})

    def test_of_many_updates_of_one_version_one_wins(self):
        document = self.register("U2")[0]
        writers = [Writer(self.server, "U2", [document], seed) for seed in range(WRITERS)]
        latest = writers[0].latest(document.unique_id)
        barrier = threading.Barrier(WRITERS, timeout=PATIENCE_S)

        def send(writer):
            writer.latest = lambda _: latest
            barrier.wait()
            return writer.update(document, "ITI-57")
        replies = common.at_once(*(functools.partial(send, writer) for writer in writers))
        outcomes = collections.Counter("Success" if r.outcome == "Success" else r.errors[0][0] for r in replies)
        self.assertEqual(outcomes, {"Success": 1, "XDSMetadataVersionError": WRITERS - 1})

    def test_the_same_update_again_is_told_to_be_done(self):
        document = self.register("U3")[0]
        writer = Writer(self.server, "U3", [document], 1)
        sent = []
        send = writer.soap.send
        writer.soap.send = lambda *message: sent.append(message) or send(*message)
        self.assert_success(writer.update(document, "ITI-57"))
        reply = send(*sent[-1])
        self.assertIn("treat as done", reply.errors[0][1])
        self.assert_success(writer.change_status(document))
        reply = send(*sent[-1])
        self.assertIn("treat as done", reply.errors[0][1])


if __name__ == "__main__":
    unittest.main()
