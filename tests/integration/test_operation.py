"""What the operator sees: metrics, node activity, trace, reload, configuration."""

import ctypes
import json
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import psycopg2

from conformance import client as xds
from tests.harness import server as harness
from tests.harness.waiting import becomes, wait_until
from tests.integration import common

SAMPLE = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*",?)*\})? [-+0-9.eE]+(Inf|NaN)?$')
NAME = "タカハシ^ハナコ"
SECRETS = ("SECRET-7731", "Takahashi-Secret", "タカハシ", "Confidential-Title")


def run(*arguments):
    """musubi without a server's configuration."""
    return subprocess.run([str(harness.binary()), *arguments], capture_output=True, text=True, check=False, timeout=300)


class Operation(common.ServerCase):
    """One server that has done a little work."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        soap = common.client(cls.server)
        cls.submission = common.submission("P1", b"x" * 5000)
        cls.reply = soap.provide(cls.submission)
        common.fetch(soap, *cls.submission.documents)
        cls.failure = soap.provide(common.submission("UNKNOWN"))
        soap.close()

    def samples(self):
        """{name with labels: value} of /metrics; every line is checked against the text format."""
        found = {}
        typed = set()
        for line in self.server.admin("/metrics").splitlines():
            if line.startswith("# TYPE "):
                typed.add(line.split()[2])
            elif line and not line.startswith("#"):
                self.assertRegex(line, SAMPLE)
                name, value = line.rsplit(" ", 1)
                base = re.sub(r"_(bucket|sum|count)$", "", name.partition("{")[0])
                self.assertTrue(base in typed or name.partition("{")[0] in typed, line)
                self.assertNotIn(name, found)
                found[name] = float(value)
        return found

    def test_metrics_parse_and_count(self):
        before = self.samples()
        self.assert_success(self.soap().provide(common.submission("P2")))
        key = next(name for name in before if "requests_total" in name and 'tx="ITI-41"' in name and 'outcome="Success"' in name)
        after = becomes(lambda: samples if (samples := self.samples())[key] > before[key] else {})  # counted once its reply is out
        self.assertEqual(after[key] - before[key], 1)
        for transaction in ("ITI-8", "ITI-9", "ITI-21", "ITI-30", "ITI-44", "ITI-45", "ITI-78", "ITI-83", "RAD-8", "RAD-14",
                            "RAD-55", "RAD-107", "RAD-108", "RAD-129", "DICOM", "other"):
            self.assertTrue(any(f'requests_total{{tx="{transaction}"' in name for name in after), transaction)
        self.assertFalse([name for name in after if 'tx=""' in name], "every row has a name")
        count = next(name for name in after if "duration_seconds_count" in name and 'tx="ITI-41"' in name)
        last = next(name for name in after if "duration_seconds_bucket" in name and 'tx="ITI-41"' in name and "+Inf" in name)
        self.assertEqual(after[count], after[last])

    def test_health(self):
        self.assertTrue(self.server.is_ready())
        self.assertTrue(self.server.admin("/health/live"))

    def activity(self):
        """{transaction: (successes, errors)} of the durable table."""
        connection = psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi_owner", dbname="musubi")
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT transaction, sum(success_count), sum(error_count) FROM node_activity GROUP BY transaction")
            rows = {row[0]: (int(row[1]), int(row[2])) for row in cursor.fetchall()}
        connection.close()
        return rows

    def test_node_activity_outlives_an_orderly_stop_and_a_kill(self):
        soap = self.soap()
        self.assert_success(soap.provide(common.submission("P3")))
        soap.close()
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        successes, errors = self.activity()["ITI-41"]
        self.assertGreaterEqual(successes, 2)
        self.assertGreaterEqual(errors, 1)
        soap = self.soap()
        self.assert_success(soap.provide(common.submission("P3")))
        wait_until(lambda: self.activity()["ITI-41"][0] > successes, self.activity)  # it is flushed every few seconds
        self.server.kill()
        self.server.start()
        self.assertEqual(self.activity()["ITI-41"][0], successes + 1)

    def test_trace_finds_a_message_by_reference_message_id_and_unique_id(self):
        reference = re.search(r"\[ref (\w+)\]", self.failure.errors[0][1]).group(1)
        for wanted in (reference, self.submission.unique_id):
            self.assertIn("tx=ITI-41", becomes(lambda text=wanted: self.server.command("trace", text, check=False).stdout))
        self.assertIn("XDSUnknownPatientId", self.server.command("trace", reference).stdout)
        self.assertEqual(self.server.command("trace", "NO-SUCH-REFERENCE", check=False).returncode, 1)

    def test_reload_takes_over_the_log_level_and_refuses_what_needs_a_restart(self):
        text = self.server.config_path.read_text(encoding="utf-8")
        self.addCleanup(self.reload, text)
        self.reload(text.replace("[server]", "[server]\nlog_level = error"))
        before = len(self.server.log())
        key = 'musubi_requests_total{tx="ITI-41",outcome="Success"}'
        count = self.samples()[key]
        self.assertEqual(self.soap().provide(common.submission("P4")).outcome, "Success")
        wait_until(lambda: self.samples()[key] > count)  # logged, or not, by then
        self.assertNotIn("tx=ITI-41", self.server.log()[before:])
        self.reload(text.replace("[server]", "[server]\nlog_level = nonsense"))
        log = self.server.log()[before:]
        self.assertIn("not reloaded", log)
        self.assertIn("log_level", log)
        self.assertTrue(self.server.is_ready())

    def reload(self, text):
        """Writes the configuration and sends SIGHUP; waits until the server has seen to it, after which it reads its tables."""
        self.server.config_path.write_text(text, encoding="utf-8")
        self.server.process.send_signal(signal.SIGHUP)
        self.server.wait_until_refreshed()

    def test_status_prints_one_screen(self):
        result = self.server.command("status")
        self.assertRegex(result.stdout, r"DocumentEntries +\d+")
        self.assertLess(len(result.stdout.splitlines()), 50)

    def test_operators_read_japanese_if_they_like(self):
        status = self.server.command("status", "--lang", "ja")
        self.assertRegex(status.stdout, r"役割 +registry")
        self.assertRegex(status.stdout, r"DocumentEntries +\d+")
        self.assertIn("施設", self.server.command("node", "list", "--lang", "ja").stdout)
        self.assertIn("使い方", run("--help", "--lang", "ja").stdout)
        self.assertEqual(run("version", "--lang", "fr").returncode, 2)

    def test_print_config_is_a_configuration(self):
        result = self.server.command("print-config")
        self.assertIn(f"patient_id_authority = {harness.AUTHORITY}", result.stdout)
        self.assertIn("request_timeout", self.server.command("print-config", "--all").stdout)
        with tempfile.NamedTemporaryFile("w", suffix=".ini") as file:
            file.write(result.stdout)
            file.flush()
            again = run("print-config", "--config", file.name)
        self.assertEqual((again.returncode, again.stdout), (0, result.stdout), again.stderr)

    def test_print_config_all_passes_check_config_in_another_folder(self):
        """The minimal file of a server without certificates, whose listeners for TLS are off."""
        printed = self.server.command("print-config", "--all").stdout
        with tempfile.NamedTemporaryFile("w", suffix=".ini") as file:
            file.write(printed)
            file.flush()
            again = run("print-config", "--all", "--config", file.name)
            checked = run("check-config", "--config", file.name)
        self.assertEqual((again.returncode, again.stdout), (0, printed), again.stderr)
        self.assertIn(checked.returncode, (0, 1), checked.stderr)  # 1: this machine, not the file

    def test_check_config_runs_beside_the_server(self):
        result = self.server.command("check-config", check=False)
        self.assertIn(result.returncode, (0, 1), result.stderr)

    def test_time_is_judged_as_the_kernel_judges_it(self):
        """ITI-1: command, status, check-config and metrics agree with adjtimex(2)."""
        state = (ctypes.c_long * 64)()
        is_synchronized = ctypes.CDLL(None).adjtimex(state) != 5  # TIME_ERROR
        told = self.server.command("check-time", "--json", check=False)
        clock = json.loads(told.stdout)
        self.assertEqual(clock["is_synchronized"], is_synchronized)
        self.assertEqual(told.returncode, 0 if clock["is_good"] else 1)
        self.assertEqual(json.loads(self.server.command("status", "--json").stdout)["clock"]["is_synchronized"], is_synchronized)
        self.assertRegex(self.server.admin("/metrics"), rf"(?m)^musubi_clock_synchronized {int(is_synchronized)}$")
        self.assertRegex(self.server.admin("/metrics"), r"(?m)^musubi_clock_max_error_seconds [0-9.e+]+$")
        self.assertIn("clock: ", self.server.command("check-config", check=False).stdout)
        plain = self.server.command("check-time", "--lang", "ja", check=False).stdout
        self.assertRegex(plain, "時計 +同期して")
        self.assertEqual(len(plain.splitlines()), 4 if clock["is_good"] else 5)  # the last says what to do

    def test_version_names_the_libraries(self):
        result = run("version")
        self.assertEqual(result.returncode, 0)
        for name in ("musubi", "schema", "libmicrohttpd", "libxml2", "lmdb", "libpq"):
            self.assertRegex(result.stdout, rf"(?m)^{name} \S+")


class FullDisk(unittest.TestCase):
    """A folder is a small file system of its own, as data_dir allows."""

    def setUp(self):
        self.server = harness.Server()
        self.addCleanup(self.server.close)

    def mount(self, folder, size):
        """So many bytes are there for the folder."""
        folder.mkdir(exist_ok=True)
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False)
        if mount.returncode != 0:
            self.skipTest("it needs the right to mount")
        self.addCleanup(subprocess.run, ["umount", str(folder)], check=True)

    def test_a_server_whose_audit_spool_is_full_is_not_ready_until_there_is_room(self):
        """Contract C4: without room for its audit record nothing is served."""
        audit = self.server.dir / "data" / "audit"
        self.mount(audit, "8m")
        self.addCleanup(self.server.stop)
        self.server.start()
        ballast = audit / "ballast"
        with self.assertRaises(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        self.assertIn("the audit spool has no room", self.server.admin("/health/ready"))
        self.assertFalse(self.server.is_ready())
        ballast.unlink()
        self.assertTrue(self.server.is_ready())

    def test_a_database_that_has_no_room_to_be_made_says_so(self):
        self.mount(self.server.dir / "data", "20m")
        result = self.server.command("migrate", check=False)
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertRegex(result.stderr, "No space left on device|could not extend file")  # as the last page fits in part or not


class Configuration(unittest.TestCase):
    """Faults of the file: exit status 2, each with file and line."""

    FAULTS = {
        "[server]\ndata_dir = /tmp/x\nno_such_key = 1\n": (3, "no_such_key"),
        "[server]\ndata_dir = /tmp/x\nroles = registry, kitchen\n": (3, "kitchen"),
        "[server]\nplain_http_listen = 0.0.0.0:80\n": (2, "plain_http_listen"),
        "[server]\nrequest_timeout = fast\n": (2, "request_timeout"),
        "[kitchen]\nstove = 1\n": (2, "kitchen"),
        "[server]\ndata_dir\n": (2, ""),
        "data_dir = /tmp/x\n": (1, ""),
        "[affinity_domain]\npatient_id_authority = 1.3.x\n": (2, "patient_id_authority"),
        "[repository]\nsegment_max_document = 1 parsec\n": (2, "segment_max_document"),
        "[database]\npool_size = 0\n": (2, "pool_size"),
        "[access]\nmode = maybe\n": (2, "mode"),
    }

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="musubi-config-"))
        self.addCleanup(shutil.rmtree, self.folder, True)

    def test_each_fault_names_file_line_and_key(self):
        for text, (line, key) in self.FAULTS.items():
            with self.subTest(text):
                path = self.folder / "musubi.ini"
                path.write_text(text, encoding="utf-8")
                for command in ("check-config", "print-config", "serve"):
                    result = run(command, "--config", str(path))
                    self.assertEqual(result.returncode, 2, f"{command}: {result.stdout}{result.stderr}")
                    self.assertRegex(result.stderr + result.stdout, rf"{re.escape(str(path))}:{line}\b.*{key}")

    def test_all_faults_are_told_at_once(self):
        path = self.folder / "musubi.ini"
        path.write_text("[server]\nroles = kitchen\nrequest_timeout = fast\n[access]\nmode = maybe\n", encoding="utf-8")
        result = run("check-config", "--config", str(path))
        for line in (2, 3, 5):
            self.assertIn(f"musubi.ini:{line}", result.stderr + result.stdout)

    def test_usage(self):
        self.assertEqual(run("no-such-command").returncode, 2)
        self.assertEqual(run().returncode, 2)
        self.assertEqual(run("--help").returncode, 0)
        self.assertEqual(run("print-config", "--config", str(self.folder / "none.ini")).returncode, 2)


class Privacy(common.ServerCase):
    """Log lines and errors never hold a patient's name or number (STYLE; SECURITY)."""

    settings = {"server": {"log_level": "debug"}}

    def test_the_log_names_no_patient(self):
        number = f"SECRET-7731^^^&{harness.AUTHORITY}&ISO"
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
        feed = mllp.send(xds.adt("A01", number, name="Takahashi-Secret^Hanako~" + NAME, charset="UNICODE UTF-8", version="2.5"))
        self.assertEqual(xds.acknowledgement(feed), "AA")
        bad_feed = mllp.send(xds.adt("A01", "SECRET-7731^^^&1.2.3.4&ISO", name="Takahashi-Secret^Hanako"))
        mllp.close()
        soap = self.soap()
        document = xds.Document(number, b"Takahashi-Secret", title="Confidential-Title", author="^Takahashi-Secret^Hanako",
                                slots={"sourcePatientInfo": [f"PID-3|{number}", "PID-5|Takahashi-Secret^Hanako^^^"]})
        good = xds.Submission(number, [document])
        self.assert_success(soap.provide(good))
        replies = [soap.provide(good)]
        wrong = xds.Document(number, b"Takahashi-Secret", title="Confidential-Title", unique_id=document.unique_id)
        wrong.content = b"other"
        replies.append(soap.provide(xds.Submission(number, [wrong])))
        missing = xds.Document(number, b"Takahashi-Secret", title="Confidential-Title")
        missing.codes["formatCode"] = None
        replies.append(soap.provide(xds.Submission(number, [missing])))
        replies.append(soap.post("/repository", "application/soap+xml", b"<a>Takahashi-Secret SECRET-7731"))
        replies.append(soap.query("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{number}'"}))
        self.assertEqual(common.fetch(soap, document).documents(), {document.unique_id: b"Takahashi-Secret"})
        self.assertIn("Failure", [reply.outcome for reply in replies])
        self.server.stop()
        self.server.start()
        logs = {"standard error": self.server.log()}
        for path in (pathlib.Path(self.server.dir) / "data").rglob("*.log*"):
            logs[str(path)] = path.read_text(errors="replace")
        self.assertTrue(any("requests.log" in name for name in logs))
        for name, text in logs.items():
            for secret in SECRETS:
                self.assertNotIn(secret, text, name)
        for reply in replies:
            for secret in SECRETS[1:]:
                self.assertNotIn(secret, reply.raw.decode(errors="replace"))
        self.assertNotIn("Takahashi", bad_feed)


if __name__ == "__main__":
    unittest.main()


class SubmissionCheck(unittest.TestCase):
    """`submission check` says what the server would say, under the code_check that the server has."""

    def check(self, code_check, codes):
        """(exit status, output) for a submission with a class code that no code set has."""
        submission = common.submission("P1")
        scheme, _, system, display = submission.documents[0].codes.get("classCode") or xds.CODES["classCode"]
        submission.documents[0].codes["classCode"] = (scheme, "NO-SUCH-CLASS", system, display)
        settings = {"affinity_domain": {"code_check": code_check, "codes": codes}}
        with tempfile.TemporaryDirectory() as folder:
            server = harness.Server(data_dir=folder, settings=settings)
            file = pathlib.Path(folder, "submission.xml")
            file.write_text(submission.register_xml(), encoding="utf-8")
            found = server.command("submission", "check", str(file), check=False)
        return found.returncode, found.stdout

    def test_codes_are_checked_as_configured(self):
        """strict refuses, warn tells, off does not look and needs no code sets."""
        codes = pathlib.Path(__file__).parents[2] / "conformance" / "given" / "codes.xml"
        for code_check, given, status, is_told in (("strict", codes, 1, True), ("warn", codes, 0, True), ("off", None, 0, False)):
            with self.subTest(code_check=code_check):
                found, output = self.check(code_check, given)
                self.assertEqual(found, status, output)
                self.assertEqual("NO-SUCH-CLASS" in output, is_told, output)
