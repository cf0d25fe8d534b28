"""On-Demand documents that the server makes: what each reader gets, and what is kept of it (ITI TF-2 3.43.4.2.2, 3.43.4.2.3)."""

import os
import pathlib
import shutil
import tempfile
import threading
import unittest

from lxml import etree

from conformance import client as xds
from tests.harness import server as harness
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import audit_records, common, imaging, test_removal as removal

ON_DEMAND = "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"
V3 = {"v3": "urn:hl7-org:v3"}
SETTINGS = {"repository": {"on_demand": "patient-summary", "on_demand_facility": "Region"}}
LETTERS = (xds.CODES["classCode"][0], "57133-1", "2.16.840.1.113883.6.1", "Referral note")


def entries(soap, number, kind=ON_DEMAND):
    """FindDocuments of one type: {uniqueId: entryUUID}."""
    reply = soap.query("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{common.patient(number)}'",
                                         "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')", "$XDSDocumentEntryType": f"('{kind}')"})
    if reply.outcome != "Success":
        raise AssertionError(reply.errors or reply.raw)
    return {entry.xpath(f"rim:ExternalIdentifier[@identificationScheme='{common.UNIQUE_ID_SCHEME}']/@value", namespaces=xds.NS)[0]:
            entry.get("id") for entry in reply.objects("ExtrinsicObject")}


def await_entry(soap, number):
    """The uniqueId of the patient's On-Demand entry, once it is registered."""
    return wait_until(lambda: list(entries(soap, number)), "no On-Demand entry", pause_s=0.2)[0]


class Made:
    """What came of an ITI-43 for one On-Demand entry."""

    def __init__(self, soap, unique_id):
        reply = soap.retrieve([(harness.REPOSITORY_UID, unique_id)])
        if reply.outcome != "Success":
            raise AssertionError(reply.errors or reply.raw)
        text = reply.body.xpath
        self.reply = reply
        self.unique_id = "".join(text("//xds:NewDocumentUniqueId/text()", namespaces=xds.NS))
        self.repository = "".join(text("//xds:NewRepositoryUniqueId/text()", namespaces=xds.NS))
        self.names = [etree.QName(node).localname for node in text("//xds:DocumentResponse/*", namespaces=xds.NS)]
        (self.content,) = reply.documents().values()
        self.cda = etree.fromstring(self.content)

    def rows(self, section=1):
        """Cells of the rows of a section's table."""
        path = f"(//v3:section)[{section}]//v3:tbody/v3:tr"
        return [[cell.text or "" for cell in row] for row in self.cda.xpath(path, namespaces=V3)]

    def listed(self):
        """uniqueIds of the documents in it."""
        return {row[-1] for row in self.rows()}


def schema():
    """The schema of CDA R2, or None without the reference data."""
    folder = pathlib.Path(os.environ.get("MUSUBI_REFERENCE", "")) / "ihe" / "schema" / "cda" / "infrastructure" / "cda" / "CDA.xsd"
    return etree.XMLSchema(etree.parse(str(folder))) if folder.is_file() else None


class OnDemand(common.ServerCase):
    """Without rules and without snapshots."""

    settings = SETTINGS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("facility", "add", "Region")
        mllp = xds.MllpClient(f"127.0.0.1:{cls.server.mllp_port}")
        mllp.send(xds.adt("A08", common.patient("P1"), charset="UNICODE UTF-8", version="2.5", name="髙﨑^花子\uffff^^^^^L^I~タカサキ^ハナコ^^^^^L^P"))
        mllp.close()

    def provided(self, soap, number, **fields):
        """The uniqueId of a document that is provided for a patient."""
        sent = common.submission(number, **fields)
        self.assert_success(soap.provide(sent))
        return sent.documents[0].unique_id

    def test_a_summary_is_valid_cda_and_lists_what_there_is(self):
        soap = self.soap()
        wanted = self.provided(soap, "P1", title="退院サマリー <髙> & \U00020BB7")
        made = Made(soap, await_entry(soap, "P1"))
        self.assertEqual(made.names, ["RepositoryUniqueId", "DocumentUniqueId", "NewDocumentUniqueId", "mimeType", "Document"])
        self.assertEqual(made.listed(), {wanted})
        self.assertEqual(made.rows()[0][1:3], ["退院サマリー <髙> & \U00020BB7", "Summary of episode note"])
        role = made.cda.find("v3:recordTarget/v3:patientRole", V3)
        self.assertEqual((role.find("v3:id", V3).get("root"), role.find("v3:id", V3).get("extension")), (harness.AUTHORITY, "P1"))
        self.assertIn("髙﨑", role.xpath(".//v3:family/text()", namespaces=V3))
        self.assertEqual(made.cda.find("v3:languageCode", V3).get("code"), "ja-JP")
        self.assertEqual(made.cda.find("v3:id", V3).get("root"), made.unique_id)
        if schema() is not None:
            schema().assertValid(made.cda)

    def test_the_same_content_is_the_same_document_and_other_content_another(self):
        soap = self.soap()
        first_document = self.provided(soap, "P2")
        entry = await_entry(soap, "P2")
        first, again = Made(soap, entry), Made(soap, entry)
        self.assertNotEqual(first.unique_id, entry)
        self.assertEqual((first.unique_id, first.content), (again.unique_id, again.content))
        second_document = self.provided(soap, "P2")
        other = Made(soap, entry)
        self.assertNotEqual(first.unique_id, other.unique_id)
        self.assertEqual(other.listed(), {first_document, second_document})
        self.assertEqual(len(entries(soap, "P2")), 1, "one entry for each patient")
        self.assertEqual(soap.retrieve([(harness.REPOSITORY_UID, first.unique_id)]).errors[0][0], "XDSDocumentUniqueIdError")

    def test_one_entry_comes_of_documents_that_arrive_at_once(self):
        soaps = [self.soap() for _ in range(8)]
        threads = [threading.Thread(target=self.provided, args=(soap, "P3")) for soap in soaps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        entry = await_entry(soaps[0], "P3")
        self.assertEqual(len(Made(soaps[0], entry).listed()), 8)
        self.assertEqual(common.rows(self.server, "SELECT count(*) FROM on_demand_document d JOIN patient_identifier i ON i.id = d.patient "
                                                  "WHERE i.value = 'P3'")[0][0], 1)

    def test_the_entry_outlives_a_kill_between_the_document_and_itself(self):
        server = harness.Server(settings=SETTINGS, environment={"MUSUBI_FAIL_AT": "on_demand.made"})
        self.addCleanup(server.close)
        try:
            server.start()
            server.command("facility", "add", "Region")
            common.feed(server, "P1")
            soap = common.client(server)
            self.addCleanup(soap.close)
            self.assert_success(soap.provide(common.submission("P1")))
            server.process.wait(PATIENCE_S)  # it ends where it was told to
        finally:
            server.environment.pop("MUSUBI_FAIL_AT")
        server.kill()
        server.start()
        soap = common.client(server)
        self.addCleanup(soap.close)
        self.assertEqual(len(Made(soap, await_entry(soap, "P1")).listed()), 1)

    def test_a_registered_entry_and_its_retrieval_are_in_the_audit_trail(self):
        soap = self.soap()
        self.provided(soap, "P4")
        entry = await_entry(soap, "P4")
        Made(soap, entry)
        wait_until(lambda: "ITI-43" in [audit_records.codes(r)[1] for r in audit_records.of_messages(self.server, entry, 1)])
        reply = soap.query("GetSubmissionSets", {"$uuid": f"('{entries(soap, 'P4')[entry]}')"})
        (set_id,) = reply.body.xpath("//rim:ExternalIdentifier[rim:Name/rim:LocalizedString/@value='XDSSubmissionSet.uniqueId']/@value",
                                     namespaces=xds.NS)
        made = wait_until(lambda: [r for r in audit_records.of_messages(self.server, set_id, 1) if audit_records.codes(r)[1] == "ITI-61"])
        self.assertEqual(len(made), 1)
        self.assertEqual(audit_records.ids(made[0], "1/1"), [common.patient("P4")])


class Readers(common.ServerCase):
    """Two hospitals that see each other's documents only where it was disclosed, and snapshots."""

    mode = "enforce"
    roles = ("gateway-a", "gateway-b")
    settings = {"server": {"plain_http_listen": None, "plain_node": "feeder"}, "affinity_domain": {"pid_owner": "external"}, "repository": {**SETTINGS["repository"], "on_demand_persistence": "yes"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        run = cls.server.command
        run("facility", "add", "Region")
        for letter in "AB":
            run("facility", "add", f"Hospital {letter}")
            run("node", "add", f"gateway-{letter.lower()}", "--facility", f"Hospital {letter}", "--transactions", "*",
                "--certificate", str(cls.certs / f"gateway-{letter.lower()}.pem"))
        run("node", "add", "feeder", "--facility", "Hospital A", "--transactions", "*", "--source", "*|*")
        run("authority", "add", "1.2.3.7", "--namespace", "HOSPA", "--facility", "Hospital A")
        cls.server.wait_until_refreshed()
        mllp = xds.MllpClient(f"127.0.0.1:{cls.server.mllp_port}")
        for n in range(1, 8):
            reply = mllp.send(xds.adt("A01", f"{common.patient(f'P{n}')}~{n}^^^&1.2.3.7&ISO", name=f"Yamada{n}^Hanako"))
            assert xds.acknowledgement(reply) == "AA", reply
        mllp.close()
        for n in range(1, 8):
            run("patient", "enroll", f"P{n}")
        run("disclosure", "add", "--patient", "*", "--source", "Region", "--reader", "*", "--permit", "--level", "download", "--reason", "summary")

    def disclose(self, number, source, reader, *limits):
        """Everything of a hospital to another, within limits."""
        self.server.command("disclosure", "add", "--patient", number, "--source", f"Hospital {source}", "--reader", f"Hospital {reader}",
                            "--permit", "--level", "download", "--reason", "test", *limits)

    def provided(self, letter, number, **fields):
        """The uniqueId of a document that a hospital provides."""
        sent = common.submission(number, **{"title": f"from {letter}", **fields})
        self.assert_success(self.soap(f"gateway-{letter.lower()}").provide(sent))
        return sent.documents[0].unique_id

    def test_each_reader_gets_what_he_may_see_and_nothing_of_it_is_kept(self):
        of_a, of_b = self.provided("A", "P1"), self.provided("B", "P1")
        a, b = self.soap("gateway-a"), self.soap("gateway-b")
        entry = await_entry(a, "P1")
        seen_by_a, seen_by_b = Made(a, entry), Made(b, entry)
        self.assertEqual((seen_by_a.listed(), seen_by_b.listed()), ({of_a}, {of_b}))
        self.assertIn(b"Yamada1", seen_by_a.content)
        self.assertNotIn(b"Yamada1", seen_by_b.content)
        self.assertNotEqual(seen_by_a.unique_id, seen_by_b.unique_id)
        self.assertEqual((seen_by_a.repository, seen_by_b.repository), ("", ""))
        self.assertEqual(set(entries(a, "P1", xds.STABLE)), {of_a})

    def test_what_a_reader_of_everything_got_is_kept_and_given_to_no_other(self):
        of_a, of_b = self.provided("A", "P2"), self.provided("B", "P2")
        self.disclose("P2", "B", "A")
        a, b = self.soap("gateway-a"), self.soap("gateway-b")
        entry = await_entry(a, "P2")
        made = Made(a, entry)
        self.assertEqual((made.listed(), made.repository), ({of_a, of_b}, harness.REPOSITORY_UID))
        self.assertEqual(made.names[2:4], ["NewRepositoryUniqueId", "NewDocumentUniqueId"])
        self.assertIn(made.unique_id, entries(a, "P2", xds.STABLE))
        kept = a.retrieve([(harness.REPOSITORY_UID, made.unique_id)])
        self.assertEqual(list(kept.documents().values()), [made.content])
        refused = b.retrieve([(harness.REPOSITORY_UID, made.unique_id)])
        unknown = b.retrieve([(harness.REPOSITORY_UID, xds.new_oid())])
        self.assertEqual((refused.outcome, refused.errors[0][0]), (unknown.outcome, unknown.errors[0][0]))
        self.assertEqual(Made(a, entry).unique_id, made.unique_id, "kept once")
        self.assertEqual(Made(b, entry).listed(), {of_b})

    def test_a_newer_snapshot_replaces_the_one_before(self):
        first_document = self.provided("A", "P3")
        a = self.soap("gateway-a")
        entry = await_entry(a, "P3")
        first = Made(a, entry)
        second_document = self.provided("A", "P3")
        second = Made(a, entry)
        self.assertEqual(second.listed(), {first_document, second_document})
        stable = set(entries(a, "P3", xds.STABLE))
        self.assertIn(second.unique_id, stable)
        self.assertNotIn(first.unique_id, stable)
        self.assertEqual(list(a.retrieve([(harness.REPOSITORY_UID, first.unique_id)]).documents().values()), [first.content])
        related = a.query("GetRelatedDocuments", {
            "$XDSDocumentEntryUniqueId": f"'{second.unique_id}'", "$XDSDocumentEntryType": f"('{ON_DEMAND}', '{xds.STABLE}')",
            "$AssociationTypes": "('urn:ihe:iti:2010:AssociationType:IsSnapshotOf', 'urn:ihe:iti:2007:AssociationType:RPLC')"})
        kinds = {x.get("associationType").rsplit(":", 1)[1] for x in related.objects("Association")}
        self.assertEqual(kinds, {"IsSnapshotOf", "RPLC"})

    def test_a_snapshot_goes_on_denying_what_is_no_longer_listed(self):
        def deprecate(soap, number, unique_id):
            entry = entries(soap, number, xds.STABLE)[unique_id]
            body = common.status_xml(common.patient(number), entry, xds.STATUS + "Approved", xds.STATUS + "Deprecated")
            self.assert_success(soap.send("/registry", "ITI-57", body))

        def remove(soap, number, unique_id):
            self.assert_success(removal.remove_metadata(soap, *removal.contents(soap, unique_id)))

        a, b = self.soap("gateway-a"), self.soap("gateway-b")
        for number, end in (("P6", deprecate), ("P7", remove)):
            with self.subTest(end.__name__):
                self.disclose(number, "B", "A")
                self.disclose(number, "A", "B", "--classes", "^^".join(LETTERS[1:3]))
                letter = self.provided("A", number, codes={**xds.CODES, "classCode": LETTERS})
                secret, of_b = self.provided("A", number, title="Psychiatry"), self.provided("B", number)
                made = Made(a, await_entry(a, number))
                self.assertEqual((made.listed(), made.repository), ({letter, secret, of_b}, harness.REPOSITORY_UID))
                wanted = [(harness.REPOSITORY_UID, made.unique_id)]
                self.assertEqual(b.retrieve(wanted).documents(), {})
                end(a, number, secret)
                now = Made(b, await_entry(b, number))
                self.assertEqual((now.listed(), now.repository), ({letter, of_b}, harness.REPOSITORY_UID), "all that there is now")
                self.assertEqual(list(b.retrieve([(harness.REPOSITORY_UID, now.unique_id)]).documents().values()), [now.content])
                self.assertEqual(b.retrieve(wanted).documents(), {}, "but not what there was")
                if end is deprecate:
                    self.assertEqual(list(a.retrieve(wanted).documents().values()), [made.content])

    def test_readers_at_once_leave_one_line_of_snapshots(self):
        self.provided("A", "P4")
        entry = await_entry(self.soap("gateway-a"), "P4")
        made = []
        threads = [threading.Thread(target=lambda soap=self.soap("gateway-a"): made.append(Made(soap, entry))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len({m.unique_id for m in made}), 1)
        self.assertEqual({m.repository for m in made}, {harness.REPOSITORY_UID})
        self.assertEqual(common.rows(self.server, "SELECT count(*) FROM repository_document WHERE unique_id = %s", made[0].unique_id)[0][0], 1)

    def test_many_patients_are_asked_about_within_what_each_reader_may_see(self):
        of_a, of_b = self.provided("A", "P5"), self.provided("B", "P5")
        for letter, wanted in (("a", of_a), ("b", of_b)):
            for extra in ({"$XDSDocumentEntryPatientId": f"('{common.patient('P5')}')"},
                          {"$XDSDocumentEntryPatientId": f"('{common.patient('P5')}')", "$XDSDocumentEntryClassCode": "('REPORTS^^1.3.6.1.4.1.19376.1.2.6.1')"},
                          {"$XDSDocumentEntryClassCode": "('REPORTS^^1.3.6.1.4.1.19376.1.2.6.1')"}):
                with self.subTest(reader=letter, extra=sorted(extra)):
                    query = xds.query_xml("FindDocumentsForMultiplePatients", {"$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')", **extra})
                    reply = self.soap(f"gateway-{letter}").send("/registry", "ITI-51", query)
                    found = {value for entry in reply.objects("ExtrinsicObject") for value in entry.xpath(
                        f"rim:ExternalIdentifier[@identificationScheme='{common.UNIQUE_ID_SCHEME}']/@value", namespaces=xds.NS)}
                    self.assertIn(wanted, found)
                    self.assertNotIn({"a": of_b, "b": of_a}[letter], found)


class Snapshots(common.ServerCase):
    """Without rules."""

    settings = {"repository": {**SETTINGS["repository"], "on_demand_persistence": "yes"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("facility", "add", "Region")

    def test_one_whose_metadata_was_removed_is_registered_again(self):
        soap = self.soap()
        self.assert_success(soap.provide(common.submission("P1")))
        entry = await_entry(soap, "P1")
        made = Made(soap, entry)
        self.assert_success(removal.remove_metadata(soap, *removal.contents(soap, made.unique_id)))
        self.assertNotIn(made.unique_id, entries(soap, "P1", xds.STABLE))
        again = Made(soap, entry)
        self.assertEqual((again.unique_id, again.repository), (made.unique_id, harness.REPOSITORY_UID))
        self.assertIn(made.unique_id, entries(soap, "P1", xds.STABLE))


    def test_an_entry_whose_metadata_was_removed_is_made_no_more_and_another_comes_with_the_next_document(self):
        soap = self.soap()
        self.assert_success(soap.provide(common.submission("P2")))
        entry = await_entry(soap, "P2")
        self.assert_success(removal.remove_metadata(soap, *removal.contents(soap, entry)))
        self.assertEqual(soap.retrieve([(harness.REPOSITORY_UID, entry)]).errors[0][0], "XDSDocumentUniqueIdError")
        self.assert_success(soap.provide(common.submission("P2")))
        other = await_entry(soap, "P2")
        self.assertNotEqual(other, entry)
        self.assertEqual(len(Made(soap, other).listed()), 2)


class Images(common.ServerCase):
    """A center that keeps images too."""

    @classmethod
    def setUpClass(cls):
        cls.port = imaging.free_port()
        cls.settings = {**imaging.settings(cls.port), "repository": {"on_demand": "patient-summary"}}
        super().setUpClass()

    def test_studies_are_listed_behind_the_documents(self):
        folder = tempfile.mkdtemp(prefix="musubi-images-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        soap = self.soap()
        self.assert_success(soap.provide(common.submission("P1")))
        entry = await_entry(soap, "P1")
        before = Made(soap, entry)
        self.assertEqual(before.rows(2), [])
        image = imaging.Instance("P1")
        imaging.store(self.port, image.write(folder))
        after = Made(soap, entry)
        self.assertEqual([row[-1] for row in after.rows(2)], [image.study])
        self.assertNotEqual(before.unique_id, after.unique_id)
        if schema() is not None:
            schema().assertValid(after.cda)


if __name__ == "__main__":
    unittest.main()
