"""musubi submission import: every rule of ITI-42, many submissions in a transaction, beside a running server."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from conformance import client as xds
from tests.harness import server as harness
from tests.harness.waiting import becomes
from tests.integration import common

RPLC = "urn:ihe:iti:2007:AssociationType:RPLC"


def new_submission(number, **fields):
    """A submission of one document as another registry would hand it over."""
    submission = common.submission(number, content=xds.new_oid().encode(), id=xds.new_urn(), **fields)
    submission.submission_time = "20260401100000"
    return submission


def stream(*documents):
    """Documents as standard input takes them."""
    return b"\0".join(text if isinstance(text, bytes) else text.encode() for text in documents)


class Import(common.ServerCase):
    """One server with patients; the command runs beside it."""

    def run_import(self, *arguments, content=None):
        """The CompletedProcess, and its summary line as JSON."""
        result = subprocess.run([str(harness.binary()), "submission", "import", "--json", "--config", str(self.server.config_path),
                                 *arguments], input=content, capture_output=True, check=False, timeout=300)
        lines = [json.loads(line) for line in result.stdout.decode().splitlines()]
        return result, (lines[-1] if lines else None), lines[:-1]

    def import_stream(self, *submissions, options=()):
        """Imports submissions; gives exit status, summary, faults."""
        content = stream(*(s if isinstance(s, (str, bytes)) else s.register_xml() for s in submissions))
        result, summary, faults = self.run_import(*options, "-", content=content)
        self.assertIsNotNone(summary, result.stderr)
        return result.returncode, summary, faults

    def found(self, number):
        """{uniqueId: entryUUID} of a patient."""
        return common.find(self.soap(), number)

    def audited(self, text):
        """The audit messages that hold the text, once the server has taken them over."""
        return becomes(lambda: self.server.command("audit", "search", text, check=False).stdout)

    def test_imported_documents_are_found_and_audited(self):
        submissions = [new_submission("P1") for _ in range(300)]
        status, summary, faults = self.import_stream(*submissions, options=("--batch", "100", "--threads", "3"))
        self.assertEqual((status, summary["stored"], summary["document_entries"], faults), (0, 300, 300, []))
        found = self.found("P1")
        for submission in submissions:
            self.assertIn(submission.documents[0].unique_id, found)
        audit = self.audited(submissions[150].unique_id)
        self.assertIn('csd-code="ITI-42"', audit)
        self.assertIn('EventOutcomeIndicator="0"', audit)
        self.assertIn(common.patient("P1").replace("&", "&amp;"), audit)

    def test_a_bad_submission_is_refused_and_the_others_are_stored(self):
        """TF-2 3.42.4.1.3.1, 3.42.4.1.3.3.2: each submission is stored or refused as a whole."""
        incomplete = new_submission("P2")
        incomplete.documents[0].codes["formatCode"] = None
        cases = {3: (new_submission("UNKNOWN"), "XDSUnknownPatientId"), 5: (incomplete, "XDSRegistryMetadataError"),
                 7: ("<not-well-formed", "XDSRegistryError"), 9: ("<other/>", "XDSRegistryMetadataError")}
        submissions = [cases[n][0] if n in cases else new_submission("P2") for n in range(1, 21)]
        status, summary, faults = self.import_stream(*submissions, options=("--threads", "1"))
        self.assertEqual((status, summary["stored"], summary["refused"], summary["failed"]), (1, 16, 4, 0))
        self.assertEqual({fault["number"]: fault["errors"][0]["error"] for fault in faults},
                         {number: error for number, (_, error) in cases.items()})
        self.assertEqual(len(self.found("P2")), 16)
        self.assertIn('EventOutcomeIndicator="8"', self.audited(cases[3][0].unique_id))

    def test_a_second_import_stores_nothing_twice(self):
        """Contract C3."""
        submissions = [new_submission("P3") for _ in range(20)]
        self.assertEqual(self.import_stream(*submissions)[1]["stored"], 20)
        before = self.found("P3")
        status, summary, _ = self.import_stream(*submissions, new_submission("P3"))
        self.assertEqual((status, summary["stored"], summary["already_registered"]), (0, 1, 20))
        after = self.found("P3")
        self.assertEqual({key: after[key] for key in before}, before)
        reply = self.soap().register(submissions[0])
        self.assertIn("identical submission already registered", reply.errors[0][1])

    def test_a_unique_id_belongs_to_the_first_of_a_batch(self):
        """TF-2 3.42.4.1.3.3.7: two submissions of one batch with the same uniqueId and other content."""
        first = new_submission("P4")
        second = new_submission("P4", title="Another title")
        second.unique_id = first.unique_id
        status, summary, faults = self.import_stream(new_submission("P4"), first, second, first)
        self.assertEqual((status, summary["stored"], summary["already_registered"], summary["refused"]), (1, 2, 1, 1))
        self.assertEqual(faults[0]["number"], 3)
        self.assertEqual(faults[0]["errors"][0]["error"], "XDSDuplicateUniqueIdInRegistry")

    def test_an_entry_uuid_is_given_once(self):
        """TF-3 4.2.3.1.5: also in one batch, also as the id of another kind of object."""
        first, second = new_submission("P4"), new_submission("P4")
        second.id = first.documents[0].id
        third = new_submission("P4")
        third.documents[0].id = first.documents[0].id
        status, summary, faults = self.import_stream(first, second, third)
        self.assertEqual((status, summary["stored"], summary["refused"]), (1, 1, 2))
        self.assertEqual({fault["errors"][0]["error"] for fault in faults}, {"XDSRegistryMetadataError"})

    def test_folders_and_relationships_keep_the_order_of_the_submissions(self):
        """A replacement finds what earlier submissions stored (TF-2 3.42.4.1.3.5)."""
        chain, last = [], None
        for _ in range(12):
            submission = new_submission("P5")
            if last:
                submission.associations = [xds.association_xml(RPLC, submission.documents[0].id, last.documents[0].id)]
            chain += [new_submission("P6") for _ in range(5)] + [submission]
            last = submission
        folder = new_submission("P5")
        folder.folders = [xds.Folder(common.patient("P5"))]
        status, summary, faults = self.import_stream(*chain, folder, options=("--batch", "4", "--threads", "4"))
        self.assertEqual((status, summary["stored"], faults), (0, 73, []))
        self.assertEqual(set(self.found("P5")), {last.documents[0].unique_id, folder.documents[0].unique_id})
        self.assertEqual(len(common.find(self.soap(), "P5", status="Deprecated")), 11)

    def test_files_and_folders_are_read_in_order_of_name(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="musubi-import-"))
        self.addCleanup(shutil.rmtree, folder, True)
        (folder / "2026").mkdir()
        submissions = [new_submission("P7") for _ in range(4)]
        (folder / "2026" / "a.xml").write_text(submissions[0].register_xml(), encoding="utf-8")
        (folder / "2026" / "b.xml").write_bytes(xds.envelope(xds.ACTIONS["ITI-42"], submissions[1].register_xml()))
        (folder / "c.xml").write_bytes(stream(submissions[2].register_xml(), "\n", "<broken>", submissions[3].register_xml(), "\n"))
        result, summary, faults = self.run_import(str(folder))
        self.assertEqual((result.returncode, summary["stored"]), (1, 4), result.stderr)
        self.assertEqual([(fault["file"], fault["number"]) for fault in faults], [(str(folder / "c.xml"), 2)])
        self.assertEqual(len(self.found("P7")), 4)
        result, _, _ = self.run_import(str(folder / "none.xml"))
        self.assertEqual(result.returncode, 3)
        self.assertIn("none.xml", result.stderr.decode())

    def test_an_import_beside_the_same_submissions_over_iti42(self):
        """Every submission is stored once, whoever is first."""
        submissions = [new_submission("P8") for _ in range(60)]
        content = stream(*(s.register_xml() for s in submissions))
        with subprocess.Popen([str(harness.binary()), "submission", "import", "--json", "--batch", "7", "--config",
                               str(self.server.config_path), "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdin.write(content)
            soap = self.soap()
            replies = [soap.register(submission) for submission in reversed(submissions)]
            output = process.communicate()[0]
        summary = json.loads(output.splitlines()[-1])
        sent = sum(reply.outcome == "Success" for reply in replies)
        self.assertEqual(summary["stored"] + sent, 60)
        self.assertEqual((process.returncode, summary["stored"] + summary["already_registered"]), (0, 60))
        self.assertEqual(len(self.found("P8")), 60)

    def test_usage(self):
        for arguments in ((), ("--threads", "0", "-"), ("--batch", "many", "-"), ("--node", "nobody", "-")):
            self.assertEqual(self.run_import(*arguments, content=b"")[0].returncode, 2, arguments)
        result, summary, _ = self.run_import("-", content=b"")
        self.assertEqual((result.returncode, summary["stored"]), (0, 0))


class ImportForANode(common.ServerCase):
    """In mode enforce a registered node submits: its facility, its sourceIds."""

    mode = "enforce"
    roles = ("his",)
    settings = {"server": {"plain_http_listen": None, "plain_mllp_listen": None}, "affinity_domain": {"pid_owner": "external"}}

    def test_the_node_decides_what_may_be_submitted(self):
        self.server.command("facility", "add", "Hospital")
        self.server.command("node", "add", "his", "--facility", "Hospital", "--certificate", str(self.certs / "his.pem"),
                            "--transactions", "*", "--source", "TEST|HOSPITAL", "--source-id", "1.3.6.1.4.1.21367.4")
        self.server.command("node", "add", "viewer", "--facility", "Hospital", "--fingerprint", "ab" * 32,
                            "--transactions", "ITI-18")
        self.server.wait_until_refreshed()
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllps_port}", self.certs / "his.pem", self.certs / "his.key",
                              self.certs / "ca.pem")
        self.assertEqual(xds.acknowledgement(mllp.send(xds.adt("A01", common.patient("P1")))), "AA")
        mllp.close()
        good, foreign = new_submission("P1"), new_submission("P1")
        foreign.source_id = "1.2.3.4"
        content = stream(good.register_xml(), foreign.register_xml())
        command = [str(harness.binary()), "submission", "import", "--config", str(self.server.config_path), "-"]
        for options, status, text in (((), 2, "--node"), (("--node", "viewer"), 2, "ITI-42"),
                                      (("--node", "his"), 1, "may not submit with sourceId 1.2.3.4")):
            result = subprocess.run([*command, *options], input=content, capture_output=True, check=False, timeout=300)
            self.assertEqual(result.returncode, status, result.stderr)
            self.assertIn(text, (result.stdout + result.stderr).decode())
        self.assertEqual(list(common.find(self.soap("his"), "P1")), [], "the patient is not enrolled")
        common.rows(self.server, "INSERT INTO enrolment (patient, is_enrolled, decided_by) SELECT id, true, 'test'"
                                 " FROM patient_identifier WHERE value = 'P1' RETURNING id")
        self.assertEqual(list(common.find(self.soap("his"), "P1")), [good.documents[0].unique_id])


if __name__ == "__main__":
    unittest.main()
