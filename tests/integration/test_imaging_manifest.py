"""Manifests that the server makes of what was pushed (RAD TF-2 4.68; PS3.3 A.35.4)."""

import datetime
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.request

from conformance import client as xds
from tests.harness import dimse, server as harness
from tests.harness.waiting import PATIENCE_S, becomes, wait_until
from tests.integration import common, imaging

URL = "https://images.example/dicomweb"


class Manifests(unittest.TestCase):
    """Instances that are pushed, and manifests that are read."""

    server = client = port = folder = None  # of the class or of the test

    def push(self, *instances):
        """C-STORE."""
        imaging.store(self.port, *(i.write(self.folder) for i in instances))

    def entries(self, number, count, status="Approved"):
        """DocumentEntries of a patient, once there are so many."""
        found = []

        def is_so():
            reply = self.client.query("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{common.patient(number)}'",
                                                        "$XDSDocumentEntryStatus": f"('{xds.STATUS}{status}')"})
            self.assertEqual(reply.outcome, "Success", reply.errors)
            found[:] = reply.objects("ExtrinsicObject")
            return len(found) == count
        if not becomes(is_so, pause_s=0.2):
            failures = common.rows(self.server, "SELECT manifest_failure FROM imaging_study WHERE manifest_failure <> ''")
            self.assertEqual(len(found), count, failures)
        return found

    def document(self, entry):
        """Its file, by ITI-43."""
        (unique_id,) = entry.xpath(f"rim:ExternalIdentifier[@identificationScheme='{common.UNIQUE_ID_SCHEME}']/@value", namespaces=xds.NS)
        reply = common.fetch(self.client, unique_id)
        self.assertEqual(reply.outcome, "Success", reply.errors)
        path = self.folder / f"{unique_id}.dcm"
        path.write_bytes(reply.documents()[unique_id])
        return path, unique_id

    def tool(self, *command):
        """What a tool of DCMTK prints about a file; it must find no fault."""
        done = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(done.stderr, "")
        return done.stdout

    @staticmethod
    def slot(entry, name):
        """Values of a Slot."""
        return entry.xpath(f"rim:Slot[@name='{name}']//rim:Value/text()", namespaces=xds.NS)

    @staticmethod
    def codes(entry, scheme):
        """[(code, coding scheme)] of a Classification."""
        return [(c.get("nodeRepresentation"), c.xpath("string(rim:Slot[@name='codingScheme']//rim:Value)", namespaces=xds.NS))
                for c in entry.xpath(f"rim:Classification[@classificationScheme='{scheme}']", namespaces=xds.NS)]


class ImagingManifest(Manifests):
    """One server that waits two seconds for a study to be quiet."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="musubi-imaging-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.port = imaging.free_port()
        settings = imaging.settings(cls.port, manifest_delay="2s", public_url=URL)
        cls.server = cls.enterClassContext(harness.Server(settings=settings))

    def setUp(self):
        self.client = common.client(self.server)

    def test_manifest_of_a_quiet_study(self):
        number = "KOS1"
        first = imaging.Instance(number, tags={"0010,0010": "PN Yamada^Tarou"}, modality="CT")
        second = imaging.Instance(number, study=first.study)
        self.push(first, second)
        common.feed(self.server, number)  # now, so that none is made of the first one alone
        (entry,) = self.entries(number, 1)
        self.assertEqual(entry.get("mimeType"), "application/dicom")
        self.assertEqual(self.slot(entry, "serviceStartTime"), ["20260331233000"], "08:30 JST is the previous day in UTC")
        self.assertEqual(self.slot(entry, "sourcePatientId"), [common.patient(number)])
        self.assertIn("PID-5|Yamada^Tarou", self.slot(entry, "sourcePatientInfo"))
        references = self.slot(entry, "urn:ihe:iti:xds:2013:referenceIdList")
        self.assertIn(f"{first.study}^^^^urn:ihe:iti:xds:2016:studyInstanceUID", references)
        self.assertIn(f"A1^^^&{harness.AUTHORITY}&ISO^urn:ihe:iti:xds:2013:accession", references)
        self.assertEqual(self.codes(entry, xds.CODES["formatCode"][0]), [("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1")])
        self.assertEqual(set(self.codes(entry, xds.EVENT_CODE_LIST)),
                         {("CT", "1.2.840.10008.2.16.4"), ("OT", "1.2.840.10008.2.16.4"), ("816094009", "2.16.840.1.113883.6.96")})
        path, unique_id = self.document(entry)
        self.tool("dsrdump", "-q", path)
        text = self.tool("dcmdump", "+L", path)
        self.assertIn(f"(0008,0018) UI [{unique_id}]", text)
        for line in (f"(0020,000d) UI [{first.study}]", "(0008,0201) SH [+0900]", "(0008,0060) CS [KO]", "(0008,0100) SH [113030]",
                     f"(0040,e011) UI [{imaging.IMAGING_UID}]", "(0008,0054) AE [MUSUBI]", f"(0008,1190) UR [{URL}]",
                     "(0040,db00) CS [2010]", f"(0040,0032) UT [{harness.AUTHORITY}]", f"(0010,0020) LO [{number}]"):
            self.assertIn(line, text)
        for instance in (first, second):
            self.assertEqual(text.count(f"(0008,1155) UI [{instance.uid}]"), 2, "in evidence and content")
        # what a consumer does: from the registry to each image, by the fields of the document alone
        wanted, location = self.read_evidence(text)
        reply = self.client.retrieve_images([(first.study, series, location, uid) for series, uid in wanted], [imaging.EXPLICIT])
        self.assertEqual((reply.outcome, set(reply.documents())), ("Success", {first.uid, second.uid}))

    def test_offset_of_the_images_goes_before_the_zone_of_the_source(self):
        number = "KOS9"
        common.feed(self.server, number)
        instance = imaging.Instance(number, tags={"0008,0201": "SH -0500"})
        self.push(instance)
        (entry,) = self.entries(number, 1)
        self.assertEqual(self.slot(entry, "serviceStartTime"), ["20260401133000"], "08:30 five hours west of Greenwich")
        text = self.tool("dcmdump", "+L", self.document(entry)[0])
        self.assertIn("(0008,0201) SH [-0500]", text)
        created = [re.search(rf"\(0008,{tag}\) \w\w \[(\d+)\]", text).group(1) for tag in ("0012", "0013")]
        local = datetime.datetime.strptime("".join(created), "%Y%m%d%H%M%S")
        self.assertEqual(self.slot(entry, "creationTime"), [f"{local + datetime.timedelta(hours=5):%Y%m%d%H%M%S}"])

    @staticmethod
    def read_evidence(text):
        """[(series, instance)] and the Retrieve Location UID in a dump of a manifest."""
        evidence = text[text.index("(0040,a375)"):text.index("(0040,a504)")]
        found = []
        for instances, series in re.findall(r"\(0008,1199\)(.*?)\(0020,000e\) UI \[([\d.]+)\]", evidence, re.S):
            found += [(series, uid) for uid in re.findall(r"\(0008,1155\) UI \[([\d.]+)\]", instances)]
        return found, re.search(r"\(0040,e011\) UI \[([\d.]+)\]", evidence).group(1)

    def test_later_instance_replaces_the_manifest(self):
        number = "KOS2"
        common.feed(self.server, number)
        first = imaging.Instance(number)
        self.push(first)
        (entry,) = self.entries(number, 1)
        _, old = self.document(entry)
        second = imaging.Instance(number, study=first.study)
        self.push(second)
        self.entries(number, 1, "Deprecated")
        (entry,) = self.entries(number, 1)
        path, new = self.document(entry)
        self.assertNotEqual(old, new)
        self.assertIn(second.uid, self.tool("dcmdump", path))

    def test_study_of_an_unknown_patient_waits(self):
        number = "KOS3"
        self.push(imaging.Instance(number))
        time.sleep(3)
        common.feed(self.server, number)
        self.entries(number, 1)

    def find(self, number, issuer=""):
        """The PatientIDs of the studies that the PACS of the next test finds by one, by C-FIND and by QIDO-RS."""
        keys = ["QueryRetrieveLevel=STUDY", f"PatientID={number}", f"IssuerOfPatientID={issuer}", "StudyInstanceUID"]
        done = subprocess.run(["findscu", "-S", "-aet", "DERIVING", "-aec", "MUSUBI", "127.0.0.1", str(self.port),
                               *sum((["-k", key] for key in keys), [])], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        found = [re.search(r"\(0010,0020\) LO \[([^\] ]*)", part).group(1) for part in (done.stdout + done.stderr).split("(Pending)")[1:]]
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.plain_port}/dicomweb/studies?PatientID={number}"
                                    f"&IssuerOfPatientID={issuer}", timeout=PATIENCE_S) as reply:
            count = len(json.loads(reply.read() or "[]"))
        return found, count

    def test_study_whose_number_derives_from_that_of_another_domain(self):
        """The PACS has no feed, and writes the numbers of the EMR with ten digits; its study waits until an operator says so."""
        emr, pacs, number, padded = "1.2.392.99999.98.1", "1.2.392.99999.98.2", "1001", "0000001001"
        command = self.server.command

        def feed(value, authority):
            mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
            reply = mllp.send(xds.adt("A01", f"{value}^^^&{authority}&ISO", name=f"Derived^Of{authority[-1]}"))
            mllp.close()
            self.assertEqual(xds.acknowledgement(reply), "AA")
            return json.loads(command("patient", "show", f"{authority}:{value}", "--json").stdout)["xad_pid"].partition("^")[0]

        command("facility", "add", "deriving")
        command("authority", "add", emr, "--facility", "deriving", "--kind", "emr", "--source", "*|*")
        command("authority", "add", pacs, "--facility", "deriving", "--kind", "pacs", "--source", "*|*")
        command("node", "add", "deriving", "--facility", "deriving", "--fingerprint", "98" * 32, "--transactions", "*")
        command("ae", "add", "DERIVING", "--node", "deriving")
        self.server.wait_until_refreshed()
        xad_pid = feed(number, emr)
        instance = imaging.Instance(padded)
        imaging.store(self.port, instance.write(self.folder), title="DERIVING")
        self.assertIn(instance.study, command("study", "waiting", check=False).stdout)
        self.assertEqual(self.find(padded)[0], [])
        command("authority", "add", pacs, "--facility", "deriving", "--kind", "pacs", "--source", "*|*", "--derive", f"{emr},pad=10")
        self.server.wait_until_refreshed()
        self.assertNotIn(instance.study, command("study", "waiting", check=False).stdout)
        self.assertEqual(self.find(padded)[0], [padded])
        for asked in ((padded, pacs), (number, emr), (xad_pid, harness.AUTHORITY)):
            self.assertEqual(self.find(*asked), ([asked[0]], 1), asked)
        (entry,) = self.entries(xad_pid, 1)
        self.assertEqual(self.slot(entry, "sourcePatientId"), [f"{padded}^^^&{pacs}&ISO"])
        self.assertIn(f"(0010,0020) LO [{padded}]", self.tool("dcmdump", "+L", self.document(entry)[0]))
        other = feed(padded, pacs)  # what the PACS itself says of its number goes before
        self.assertNotEqual(other, xad_pid)
        self.assertEqual(self.find(xad_pid, harness.AUTHORITY), ([], 0))
        self.assertEqual(self.find(other, harness.AUTHORITY), ([other], 1))

    def moving(self, name, oids):
        """A hospital with these domains, whose images come from PACS <name>; gives a function that feeds a number and tells its XAD-PID."""
        command = self.server.command
        command("facility", "add", name)
        for oid in oids:
            command("authority", "add", oid, "--facility", name, "--kind", "pacs" if oid == oids[-1] else "emr", "--source", "*|*")
        command("node", "add", name, "--facility", name, "--fingerprint", "97" * 32, "--transactions", "*")
        command("ae", "add", name.upper(), "--node", name)
        self.server.wait_until_refreshed()

        def feed(value, oid, event="A01", prior=None, full_name="Moving^One"):
            mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
            reply = mllp.send(xds.adt(event, f"{value}^^^&{oid}&ISO", prior and f"{prior}^^^&{oid}&ISO", name=full_name))
            mllp.close()
            self.assertEqual(xds.acknowledgement(reply), "AA", reply)
            return self.xad_pid(value, oid)
        return feed

    def xad_pid(self, value, oid):
        """Of whom a number is now."""
        shown = json.loads(self.server.command("patient", "show", f"{oid}:{value}", "--json").stdout)
        return shown["xad_pid"].partition("^")[0]

    def assert_listed(self, number, instances):
        """The only Approved manifest of a patient comes to list exactly these."""
        found = set()

        def is_so():
            (entry,) = self.entries(number, 1)
            text = self.tool("dcmdump", "+L", self.document(entry)[0])
            found.clear()
            found.update(uid for _, uid in self.read_evidence(text)[0])
            return found == {i.uid for i in instances}
        if not becomes(is_so, pause_s=0.3):
            failures = common.rows(self.server, "SELECT manifest_failure FROM imaging_study WHERE manifest_failure <> ''")
            self.assertEqual(found, {i.uid for i in instances}, failures)

    def test_a_manifest_follows_the_number_of_its_images(self):
        """Links, merges and what undoes them: the next version replaces the last one wherever that is now."""
        emr, pacs = "1.2.392.99999.97.1", "1.2.392.99999.97.2"
        feed = self.moving("moving", (emr, pacs))
        images = [imaging.Instance("N1")]
        images += [imaging.Instance("N1", study=images[0].study, series=images[0].series) for _ in range(4)]
        of_emr, of_pacs = feed("E1", emr, full_name="Moving^Two"), feed("N1", pacs)
        self.assertNotEqual(of_emr, of_pacs)
        imaging.store(self.port, images[0].write(self.folder), title="MOVING")
        self.assert_listed(of_pacs, images[:1])
        self.server.command("patient", "link", f"{emr}:E1", f"{pacs}:N1")
        both = self.xad_pid("N1", pacs)
        self.assertEqual(both, self.xad_pid("E1", emr))
        imaging.store(self.port, images[1].write(self.folder), title="MOVING")
        self.assert_listed(both, images[:2])
        shown = json.loads(self.server.command("patient", "show", f"{pacs}:N1", "--json").stdout)
        self.server.command("patient", "undo", shown["links"][-1]["id"])
        apart = self.xad_pid("N1", pacs)
        self.assertNotEqual(apart, self.xad_pid("E1", emr))
        imaging.store(self.port, images[2].write(self.folder), title="MOVING")
        self.assert_listed(apart, images[:3])
        self.entries(self.xad_pid("E1", emr), 0)
        feed("N2", pacs, full_name="Moving^Three")
        survivor = feed("N2", pacs, "A40", "N1", "Moving^Three")
        imaging.store(self.port, images[3].write(self.folder), title="MOVING")
        self.assert_listed(survivor, images[:4])
        fsck = self.server.command("fsck", check=False)
        self.assertEqual((fsck.returncode, fsck.stdout), (0, "0 findings\n"), fsck.stderr)

    def note(self, number, rejected, title="113001"):
        """A rejection note on instances of one study."""
        evidence = "\n".join(
            ["(0040,a375) SQ", "(fffe,e000) na", "(0008,1115) SQ"]
            + [line for i in rejected for line in (
                "(fffe,e000) na", "(0008,1199) SQ", "(fffe,e000) na", f"(0008,1150) UI {i.sop_class}", f"(0008,1155) UI {i.uid}",
                "(fffe,e00d) na", "(fffe,e0dd) na", f"(0020,000e) UI {i.series}", "(fffe,e00d) na")]
            + ["(fffe,e0dd) na", f"(0020,000d) UI {rejected[0].study}", "(fffe,e00d) na", "(fffe,e0dd) na"])
        name = "\n".join(["(0040,a043) SQ", "(fffe,e000) na", f"(0008,0100) SH {title}", "(0008,0102) SH DCM",
                          "(0008,0104) LO [Rejected]", "(fffe,e00d) na", "(fffe,e0dd) na"])
        tags = {tag: None for tag in ("0028,0002", "0028,0004", "0028,0010", "0028,0011", "0028,0100", "0028,0101", "0028,0102",
                                      "0028,0103", "7fe0,0010")}
        tags["0040,a040"] = "CS CONTAINER\n" + name + "\n" + evidence
        return imaging.Instance(number, study=rejected[0].study, tags=tags, sop_class=imaging.KEY_OBJECT_SELECTION, modality="KO")

    def test_rejected_instances_vanish_and_their_manifest_with_them(self):
        number = "KOS5"
        first = imaging.Instance(number)
        second = imaging.Instance(number, study=first.study, series=first.series)
        self.push(first, second)
        common.feed(self.server, number)  # now, so that none is made of the first one alone
        self.entries(number, 1)
        self.push(self.note(number, [second]))
        reply = self.client.retrieve_images([first.asked(), second.asked()], [imaging.EXPLICIT])
        self.assertEqual((reply.outcome, set(reply.documents())), ("PartialSuccess", {first.uid}))
        self.assertEqual([e[0] for e in reply.errors], ["XDSDocumentUniqueIdError"])
        self.entries(number, 1, "Deprecated")
        (entry,) = self.entries(number, 1)
        text = self.tool("dcmdump", self.document(entry)[0])
        self.assertIn(first.uid, text)
        self.assertNotIn(second.uid, text)
        self.push(self.note(number, [first], "113037"))
        self.entries(number, 0)
        self.entries(number, 2, "Deprecated")

    def test_an_instance_that_comes_after_its_rejection_is_not_given_out(self):
        """IOCM: what a note names shall not be delivered, in whatever order both arrive."""
        number = "KOS91"
        common.feed(self.server, number)
        first = imaging.Instance(number)
        second = imaging.Instance(number, study=first.study, series=first.series)
        stranger = imaging.Instance(number)  # of another study: the note does not mean it
        self.push(self.note(number, [second]))
        self.push(first, second, stranger)
        reply = self.client.retrieve_images([i.asked() for i in (first, second, stranger)], [imaging.EXPLICIT])
        self.assertEqual((reply.outcome, set(reply.documents())), ("PartialSuccess", {first.uid, stranger.uid}))

    def provide(self, number, first, rejected=(), unique_id=None, content=None):
        """RAD-68: the source's own manifest of instances."""
        manifest = self.note(number, [first, *rejected], "113030")
        path = manifest.write(self.folder)
        document = xds.Document(common.patient(number), content or path.read_bytes(), mime_type="application/dicom",
                                unique_id=unique_id or manifest.uid,
                                codes=xds.CODES | {"formatCode": (xds.CODES["formatCode"][0], "1.2.840.10008.5.1.4.1.1.88.59",
                                                                  "1.2.840.10008.2.6.1", "KOS")})
        return self.client.provide(xds.Submission(common.patient(number), [document])), manifest

    def test_manifest_of_the_source_goes_before_the_automatic_one(self):
        number = "KOS6"
        common.feed(self.server, number)
        first, missing = imaging.Instance(number), imaging.Instance(number)
        missing.study = first.study
        reply, manifest = self.provide(number, first, [missing])
        self.assertEqual(reply.outcome, "Success", reply.errors)
        self.push(first)

        def shown():
            text = self.server.command("study", "show", first.study, "--json").stdout
            return text if re.search(r'"manifest": *"source"', text) else ""
        self.assertRegex(wait_until(shown), r'"manifest_missing": *1\b')  # once the maker has looked at the study
        (entry,) = self.entries(number, 1)
        self.assertEqual(self.document(entry)[1], manifest.uid)

    def test_later_manifest_of_the_source_withdraws_the_automatic_one(self):
        number = "KOS7"
        common.feed(self.server, number)
        first = imaging.Instance(number)
        self.push(first)
        self.entries(number, 1)
        reply, manifest = self.provide(number, first)
        self.assertEqual(reply.outcome, "Success", reply.errors)
        self.entries(number, 1, "Deprecated")
        (entry,) = self.entries(number, 1)
        self.assertEqual(self.document(entry)[1], manifest.uid)

    def test_a_manifest_names_no_images_of_another_patient(self):
        """RAD TF-2 4.68: a manifest is of one patient. Of a study whose patient is unknown nobody can tell; it never hides his own."""
        number, other, unknown = "KOS20", "KOS21", "KOS22"
        common.feed(self.server, number, other)
        images = imaging.Instance(other)
        self.push(images)
        self.entries(other, 1)
        reply, _ = self.provide(number, images)
        self.assertEqual((reply.outcome, [e[0] for e in reply.errors]), ("Failure", ["InvalidDocumentContent"]))
        self.assertNotIn(other, str(reply.errors))
        self.entries(number, 0)
        self.entries(other, 1)
        waiting = imaging.Instance(unknown)
        self.push(waiting)
        reply, _ = self.provide(number, waiting)
        self.assertEqual(reply.outcome, "Success", reply.errors)
        common.feed(self.server, unknown)
        (entry,) = self.entries(unknown, 1)
        self.assertIn(waiting.uid, self.tool("dcmdump", self.document(entry)[0]))

    def test_what_is_too_long_for_metadata_keeps_no_manifest_back(self):
        """Values beyond what their VR allows: names are cut, identifiers left out."""
        number = "KOS23"
        common.feed(self.server, number)
        self.push(imaging.Instance(number, tags={
            "0008,0050": "SH " + "7" * 300, "0008,0080": "LO [" + "H&" * 400 + "]", "0008,1030": "LO [" + "D" * 1100 + "]",
            "0010,0010": "PN " + "|" * 30 + "A" * 300 + "^Tarou=" + "K" * 64 + "=" + "P" * 300, "0010,0030": "DA 1970-01-01", "0010,0040": "CS Unknown"}))
        (entry,) = self.entries(number, 1)
        references = self.slot(entry, "urn:ihe:iti:xds:2013:referenceIdList")
        self.assertEqual([r.rpartition(":")[2] for r in references], ["studyInstanceUID"])
        (name,) = (v for v in self.slot(entry, "sourcePatientInfo") if v.startswith("PID-5|"))
        self.assertIn("K" * 64, name)
        self.assertLessEqual(len(name), 256)

    def test_unreadable_manifest_is_refused(self):
        number = "KOS8"
        common.feed(self.server, number)
        first = imaging.Instance(number)
        for arguments in ({"content": b"no file"}, {"unique_id": "1.2.3.4.5"}):
            with self.subTest(arguments=arguments):
                reply, _ = self.provide(number, first, **arguments)
                self.assertEqual(reply.outcome, "Failure")
                self.assertEqual([e[0] for e in reply.errors], ["InvalidDocumentContent"])

    def test_repeated_instance_makes_no_new_manifest(self):
        number = "KOS4"
        common.feed(self.server, number)
        instance = imaging.Instance(number)
        self.push(instance)
        self.entries(number, 1)
        self.push(instance)
        time.sleep(4)
        self.entries(number, 1)
        self.entries(number, 0, "Deprecated")


class ManifestAfterKill(Manifests):
    """The server is killed at the fault points of the maker of manifests."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="musubi-imaging-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.port = imaging.free_port()
        self.server = self.enterContext(harness.Server(settings=imaging.settings(self.port, manifest_delay="2s")))
        self.client = common.client(self.server)

    def study_row(self, study):
        """(number of manifests that were made, uniqueId of the last)"""
        ((version, unique_id),) = common.rows(self.server, "SELECT manifest_version, manifest_unique_id FROM imaging_study"
                                                           f" WHERE study_uid = '{study}'")
        return version, unique_id

    def push_and_die(self, step, instance):
        """The instance is acknowledged; the server ends where its manifest is made. Gives the study's row as it was left."""
        self.server.stop()
        self.server.environment["MUSUBI_FAIL_AT"] = step
        self.server.start()
        sop_class, uid, syntax, data = dimse.read_file(instance.write(self.folder))
        association = dimse.Requestor(self.port, [(sop_class, [syntax])])
        self.assertEqual(association.store(sop_class, uid, syntax, data), 0)
        association.close()  # the server may be gone before a release is answered
        self.server.process.wait(PATIENCE_S)
        del self.server.environment["MUSUBI_FAIL_AT"]
        left = self.study_row(instance.study)
        self.server.start()
        self.client.close()
        self.client = common.client(self.server)
        return left

    def assert_made_once(self, number, instances, versions):
        """One Approved manifest that lists the instances, the earlier ones Deprecated, also after further rounds of the maker."""
        self.entries(number, 1)
        wait_until(lambda: self.study_row(instances[0].study)[0] >= versions)
        time.sleep(3)
        (entry,) = self.entries(number, 1)
        self.entries(number, versions - 1, "Deprecated")
        path, unique_id = self.document(entry)
        self.assertEqual(self.study_row(instances[0].study), (versions, unique_id))
        text = self.tool("dcmdump", "+L", path)
        self.assertEqual([text.count(f"(0008,1155) UI [{i.uid}]") for i in instances], [2] * len(instances))
        fsck = self.server.command("fsck", check=False)
        self.assertEqual((fsck.returncode, fsck.stdout), (0, "0 findings\n"), fsck.stderr)

    def test_manifest_is_made_once_wherever_the_server_ends(self):
        for number, step, versions in (("KILL1", "manifest.made", (0, 1)), ("KILL2", "manifest.registered", (1, 2))):
            with self.subTest(step=step):
                common.feed(self.server, number)
                first = imaging.Instance(number)
                second = imaging.Instance(number, study=first.study)
                version, unique_id = self.push_and_die(step, first)
                self.assertEqual(version, versions[0])
                self.assert_made_once(number, [first], 1)
                if version:
                    self.assertEqual(self.study_row(first.study)[1], unique_id, "it is the one that was registered")
                self.assertEqual(self.push_and_die(step, second)[0], versions[1])
                self.assert_made_once(number, [first, second], 2)
