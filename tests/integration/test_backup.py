"""musubi backup and restore: what was acknowledged is in it, byte for byte; what is not whole never says that it is."""

import fcntl
import hashlib
import http.client
import json
import os
import pathlib
import re
import resource
import shutil
import stat
import subprocess
import tempfile
import threading
import time
import unittest

import psycopg2

from conformance import client as xds, dicomweb
from tests.harness import dicom, postgres, server as harness
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import common, imaging

WRITERS = 4
COMMAND_S = 6 * PATIENCE_S  # of one command
SETTLED_S = 2.2  # a file that changed within 2 s before it was read is read again
OBJECT = re.compile(r"objects/[0-9a-f]{2}/[0-9a-f]{64}")

# Submissions that have an event of their ITI-41 in the trail.
AUDITED_SUBMISSIONS = """
    SELECT DISTINCT (regexp_match(convert_from(raw, 'UTF8'), 'ParticipantObjectID="([0-9.]+)" ParticipantObjectTypeCode="2"'))[1]
    FROM audit_record WHERE 'ITI-41' = ANY (event_types)"""


def run(server, *arguments, environment=None, **options):
    """A musubi command with this server's configuration."""
    return subprocess.run([str(harness.binary()), *map(str, arguments), "--config", str(server.config_path)], check=False,
                          capture_output=True, text=True, timeout=COMMAND_S, env=dict(os.environ, **(environment or {})), **options)


def without_config(*arguments):
    """The same without any."""
    return subprocess.run([str(harness.binary()), *map(str, arguments)], check=False, capture_output=True, text=True, timeout=COMMAND_S)


def lose(server):
    """Everything in data_dir is gone."""
    server.stop()
    server.stop_postgres()
    data = server.dir / "data"

    def is_gone():  # what has been killed may still put its files away
        shutil.rmtree(data, ignore_errors=True)
        return not data.exists()
    wait_until(is_gone)


class BackupCase(common.ServerCase):
    """A server and a folder of backups of its own for each class."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.base = pathlib.Path(tempfile.mkdtemp(prefix="musubi-backup-"))
        cls.addClassCleanup(shutil.rmtree, cls.base, ignore_errors=True)

    def backup(self, folder, *options):
        """Makes a backup; gives what it says of itself."""
        result = run(self.server, "backup", folder, "--json", *options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.JSONDecoder().raw_decode(result.stdout)[0]

    def generations(self, folder):
        """Names of the whole ones."""
        result = without_config("backup", "list", folder, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        return [json.loads(line)["generation"] for line in result.stdout.splitlines()]

    def restore(self, folder, *options):
        """Restores; both checks must have found nothing."""
        result = run(self.server, "restore", folder, "--json", *options)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        told = json.loads(result.stdout)
        self.assertEqual((told["fsck"], told["audit"], told["findings"]), (0, 0, []))
        return told

    def assert_served(self, documents):
        """Each document, {uniqueId: bytes}, is listed and comes as it was sent."""
        soap = self.soap()
        for unique_id, content in documents.items():
            reply = common.fetch(soap, unique_id)
            self.assertEqual(reply.outcome, "Success", (unique_id, reply.errors))
            self.assertEqual(reply.documents()[unique_id], content)


def pieces_of(generation):
    """{path: pieces} of a generation's folder."""
    lines = [json.loads(line) for line in (generation / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["path"]: line["pieces"] for line in lines if "path" in line}


def stored(folder):
    """{digest: bytes that it takes} of all pieces that are there."""
    return {path.name: path.stat().st_size for path in (folder / "objects").rglob("*") if path.is_file()}


class Writers:
    """Clients that submit until they are stopped; what was acknowledged when."""

    def __init__(self, server):
        self.server = server
        self.lock = threading.Lock()
        self.acknowledged = []  # (time of the reply, patient, uniqueId, bytes, of the SubmissionSet)
        self.failures = []
        self.is_stopping = False
        self.threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]

    def _write(self, number):
        count = 0
        while not self.is_stopping:
            soap = common.client(self.server)
            try:
                count = self._submit(soap, number, count)
            except (OSError, http.client.HTTPException) as lost:
                self.failures.append(lost)
                time.sleep(0.1)
            finally:
                soap.close()

    def _submit(self, soap, number, count):
        """One submission after the other; raises when the server is gone."""
        while not self.is_stopping:
            count += 1
            content = os.urandom(3_000_000 if count % 20 == 0 else 2000 + 300 * count)
            submission = common.submission(f"P{number + 1}", content)
            reply = soap.provide(submission)
            with self.lock:
                if reply.outcome == "Success":
                    self.acknowledged.append((time.monotonic(), f"P{number + 1}", submission.documents[0].unique_id, content,
                                              submission.unique_id))
                else:
                    self.failures.append(reply.errors)
        return count

    def wait_for_more(self, count):
        """So many more that are acknowledged."""
        wanted = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= wanted, lambda: f"{len(self.acknowledged)} of {wanted}, {self.failures}")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.is_stopping = True
        for thread in self.threads:
            thread.join()


class UnderLoad(BackupCase):
    """The contract: backup while others write, everything lost, restore."""

    def test_all_that_was_acknowledged_before_comes_back_byte_for_byte(self):
        folder = self.base / "load"
        with Writers(self.server) as writers:
            writers.wait_for_more(10)
            self.backup(folder)  # its changes are what the next one adds
            writers.wait_for_more(11)
            began = time.monotonic()
            self.backup(folder)
            ended = time.monotonic()
            writers.wait_for_more(1)
        self.assertEqual(writers.failures, [])
        before = [a for a in writers.acknowledged if a[0] < began]
        self.assertGreater(len(before), 20)
        self.assertTrue(any(began < a[0] < ended for a in writers.acknowledged), "nobody wrote during the backup")
        lose(self.server)
        self.restore(folder)
        self.server.start()
        self.assert_served({a[2]: a[3] for a in before})
        soap = self.soap()
        for patient in {a[1] for a in before}:
            self.assertLessEqual({a[2] for a in before if a[1] == patient}, set(common.find(soap, patient)))
        # whatever is listed beyond that is there wholly
        sent = {a[2]: a[3] for a in writers.acknowledged}
        self.assert_served({u: sent[u] for n in range(WRITERS) for u in common.find(soap, f"P{n + 1}") if u in sent})
        self.assert_success(soap.provide(common.submission("P5", b"after the restore")))
        self.server.stop()
        self.assertEqual(run(self.server, "fsck").returncode, 0)
        result = run(self.server, "audit", "verify", "--json")
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertEqual(json.loads(result.stdout)["chains"], 2)  # what comes after a restore has a chain of its own
        self.server.start()
        audited = {row[0] for row in common.rows(self.server, AUDITED_SUBMISSIONS)}
        self.assertLessEqual({a[4] for a in before}, audited)


class Folder(BackupCase):
    """What is in the folder, and what verify finds of it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.documents = {}
        soap = common.client(cls.server)
        for size in (4000, 900_000, 2_500_000, 9_000_000):
            submission = common.submission("P1", os.urandom(size))
            if soap.provide(submission).outcome != "Success":
                raise AssertionError("ITI-41")
            cls.documents[submission.documents[0].unique_id] = submission.documents[0].content
        soap.close()
        time.sleep(SETTLED_S)
        cls.kept = cls.base / "kept"

    def setUp(self):
        if not self.kept.exists():
            self.backup(self.kept)
        self.copy = self.base / self._testMethodName
        shutil.copytree(self.kept, self.copy)
        self.addCleanup(shutil.rmtree, self.copy, ignore_errors=True)

    def manifest(self):
        """{path: pieces} of the newest generation of the copy."""
        return pieces_of(self.copy / self.generations(self.copy)[-1])

    def assert_no_piece_is_useless(self):
        """What is stored is what the generations have, no less and no more."""
        files = [pieces_of(self.copy / name) for name in self.generations(self.copy)]
        self.assertEqual({piece for each in files for pieces in each.values() for piece in pieces if piece}, set(stored(self.copy)))

    def piece(self, digest):
        """Where a piece is."""
        return self.copy / "objects" / digest[:2] / digest

    def verify(self, expected=1):
        """The findings."""
        result = without_config("backup", "verify", self.copy, "--json")
        self.assertEqual(result.returncode, expected, result.stdout + result.stderr)
        return json.loads(result.stdout)["findings"] if result.stdout else []

    def test_an_unharmed_folder_has_no_findings(self):
        self.assertEqual(self.verify(0), [])

    def test_a_second_backup_copies_what_is_new_and_nothing_else(self):
        first = self.backup(self.copy)
        content = os.urandom(200_000)
        self.assert_success(self.soap().provide(common.submission("P2", content)))
        second = self.backup(self.copy)
        self.assertGreater(first["bytes"], 12_000_000)
        self.assertGreater(second["written_bytes"], 200_000)
        self.assertLess(second["written_bytes"], 6_000_000)  # the piece of the segment, and the database's
        self.assertLess(second["read_bytes"], 10_000_000)
        self.assertEqual(self.verify(0), [])

    def test_nobody_else_can_read_it(self):
        for path in [self.copy, *self.copy.rglob("*")]:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)

    def test_a_flipped_byte_is_found_and_mended_by_a_full_backup(self):
        (segment,) = [p for p in self.manifest() if p.startswith("blobs/segments/")][:1]
        piece = self.piece(self.manifest()[segment][0])
        raw = bytearray(piece.read_bytes())
        raw[len(raw) // 2] ^= 1
        piece.write_bytes(raw)
        (finding,) = self.verify()
        self.assertIn(segment, finding)
        self.assertRegex(finding, OBJECT)
        self.assertIn("damaged", finding)
        self.backup(self.copy, "--full")
        self.assertEqual(self.verify(0), [])

    def test_a_missing_piece_is_found(self):
        (large,) = [p for p, pieces in self.manifest().items() if len(pieces) > 2 and p.startswith("blobs/files/")][:1]
        self.piece(self.manifest()[large][1]).unlink()
        (finding,) = self.verify()
        self.assertIn(large, finding)
        self.assertIn("missing", finding)

    def test_a_cut_dump_is_found(self):
        self.piece(self.manifest()["database.dump"][-1]).unlink()
        self.assertTrue(any("database.dump" in finding for finding in self.verify()))

    def test_a_dump_that_pg_restore_cannot_read_is_found(self):
        name = self.generations(self.copy)[-1]
        path = self.copy / name / "manifest.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [json.loads(line) for line in lines[:-1]]
        for line in kept:
            if line.get("path") == "database.dump":
                line["pieces"] = line["pieces"][1:]
        body = "".join(json.dumps(line) + "\n" for line in kept).encode()
        end = json.loads(lines[-1])
        end["sha256"] = hashlib.sha256(body).hexdigest()
        path.write_bytes(body + json.dumps(end, separators=(",", ":")).encode() + b"\n")
        self.assertTrue(any("database.dump" in finding for finding in self.verify()))

    def test_a_manifest_decides_about_no_file_that_a_backup_does_not_have(self):
        copy = self.copy / self.generations(self.copy)[-1] / "manifest.jsonl"
        lines = copy.read_bytes().splitlines(keepends=True)
        (own,) = [line for line in lines if b'"path":"configuration/musubi.ini"' in line]
        end = json.loads(lines[-1])
        for path in ("postgres/postgresql.auto.conf", "../musubi.ini", "blobs/../locator/data.mdb", "spill/x", "database.dump2"):
            body = b"".join(lines[:-1]) + own.replace(b"configuration/musubi.ini", path.encode())
            end["sha256"] = hashlib.sha256(body).hexdigest()
            copy.write_bytes(body + json.dumps(end, separators=(",", ":")).encode() + b"\n")
            result = without_config("backup", "verify", self.copy)
            self.assertEqual(result.returncode, 1, (path, result.stdout))
            self.assertIn("a line of the manifest cannot be read", result.stderr)

    def test_a_changed_manifest_is_found_and_not_restored(self):
        path = self.copy / self.generations(self.copy)[-1] / "manifest.jsonl"
        path.write_text(path.read_text(encoding="utf-8").replace("blobs/segments", "blobs/segmentz"), encoding="utf-8")
        result = without_config("backup", "verify", self.copy)
        self.assertEqual(result.returncode, 1)
        self.assertIn("not what was written", result.stderr)

    def test_a_generation_without_its_manifest_is_found_and_the_others_are_read_all_the_same(self):
        self.backup(self.copy)
        older = self.generations(self.copy)[0]
        (large,) = [p for p, pieces in self.manifest().items() if len(pieces) > 2 and p.startswith("blobs/files/")][:1]
        self.piece(self.manifest()[large][1]).unlink()
        (self.copy / older / "manifest.jsonl").unlink()
        result = without_config("backup", "verify", self.copy, "--json")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn(older, result.stderr)
        told = json.loads(result.stdout)
        self.assertEqual((told["backups"], told["count"]), (2, 2))
        self.assertIn("missing", told["findings"][0])

    def test_a_damaged_generation_and_an_interrupted_one_keep_nobody_from_a_new_backup(self):
        (older,) = self.generations(self.copy)
        (self.copy / older / "manifest.jsonl").write_bytes(b"damaged")
        result = run(self.server, "backup", self.copy, environment={"MUSUBI_FAIL_AT": "backup.database_dumped"})
        self.assertEqual(result.returncode, -9, result.stderr)
        result = run(self.server, "backup", self.copy)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(older, result.stderr)
        newest = max(p.name for p in self.copy.iterdir() if p.name.endswith("Z"))
        self.assertEqual(without_config("backup", "verify", self.copy, "--generation", newest).returncode, 0)
        self.assertEqual(without_config("backup", "prune", self.copy, "--keep", "1").returncode, 0)
        self.assertEqual([p.name for p in self.copy.iterdir() if p.name.startswith("2")], [newest])
        self.assertEqual(self.verify(0), [])

    def test_prune_keeps_the_newest_and_what_they_need(self):
        for _ in range(3):
            self.backup(self.copy)
        before = self.generations(self.copy)
        result = without_config("backup", "prune", self.copy, "--keep", "2")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.generations(self.copy), before[-2:])
        self.assertEqual(self.verify(0), [])
        self.assert_no_piece_is_useless()
        self.backup(self.copy, "--keep", "1")
        self.assert_no_piece_is_useless()
        self.assertEqual(len(self.generations(self.copy)), 1)
        self.assertEqual(without_config("backup", "prune", self.copy, "--keep", "0").returncode, 2)

    def test_the_configuration_comes_back_without_a_configuration(self):
        target = self.base / "configuration"
        result = without_config("backup", "config", self.copy, target)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual((target / "musubi.ini").read_bytes(), self.server.config_path.read_bytes())

    def test_a_folder_of_something_else_is_refused(self):
        other = self.base / "other"
        other.mkdir()
        (other / "diary.txt").write_text("x", encoding="ascii")
        self.assertEqual(run(self.server, "backup", other).returncode, 2)
        self.assertEqual(without_config("backup", "verify", other).returncode, 2)
        self.assertEqual(run(self.server, "backup", self.server.dir / "data" / "backup").returncode, 2)
        self.assertEqual(sorted(p.name for p in other.iterdir()), ["diary.txt"])
        self.assertFalse((self.server.dir / "data" / "backup").exists())

    def test_a_file_whose_name_is_not_utf_8_is_named_and_what_was_whole_stays(self):
        before = self.generations(self.copy)
        odd = os.fsencode(self.server.dir) + b"/data/blobs/files/\x8f\xe6"
        with open(odd, "wb"):
            self.addCleanup(lambda: os.path.exists(odd) and os.unlink(odd))
        for _ in range(2):
            result = subprocess.run([str(harness.binary()), "backup", str(self.copy), "--config", str(self.server.config_path)],
                                    check=False, capture_output=True, timeout=COMMAND_S)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(b"data/blobs/files/??", result.stderr)
            self.assertIn(b"not UTF-8", result.stderr)
        self.assertEqual(self.generations(self.copy), before)
        os.unlink(odd)
        self.backup(self.copy)
        self.assertEqual(self.verify(0), [])

    def test_two_at_once_are_refused(self):
        with open(self.copy / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            result = run(self.server, "backup", self.copy)
            self.assertEqual(result.returncode, 3)
            self.assertIn("another backup", result.stderr)

    def test_a_full_disk_is_told_and_leaves_what_was_whole(self):
        before = self.generations(self.copy)
        self.assert_success(self.soap().provide(common.submission("P3", os.urandom(800_000))))
        result = run(self.server, "backup", self.copy, restore_signals=False,  # SIGXFSZ stays ignored: EFBIG, as ENOSPC
                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)))
        self.assertEqual(result.returncode, 3)
        self.assertIn("there is no room", result.stderr)
        self.assertEqual(self.generations(self.copy), before)
        self.assertEqual([p.name for p in self.copy.iterdir() if "partial" in p.name], [])
        self.assertEqual(self.verify(0), [])

    def test_kill_9_at_every_step_leaves_nothing_that_claims_to_be_whole(self):
        before = self.generations(self.copy)
        for step in ("backup.begun", "backup.database_dumped", "backup.piece_written:2", "backup.written", "backup.durable"):
            with self.subTest(step):
                self.assert_success(self.soap().provide(common.submission("P4", os.urandom(100_000))))
                result = run(self.server, "backup", self.copy, environment={"MUSUBI_FAIL_AT": step})
                self.assertEqual(result.returncode, -9, result.stderr)
                self.assertEqual(self.generations(self.copy), before)
        self.assertEqual(len(list(self.copy.glob("*.partial"))), 1)  # the next one removes those before
        self.backup(self.copy)
        self.assertEqual(list(self.copy.glob("*.partial")), [])
        self.assertEqual(len(self.generations(self.copy)), len(before) + 1)
        self.assertEqual(self.verify(0), [])
        self.assert_no_piece_is_useless()

    def test_the_trail_says_who_made_it(self):
        self.backup(self.copy)
        statement = "SELECT convert_from(raw, 'UTF8') FROM audit_record WHERE event_id = '110106' AND 'backup' = ANY (event_types)"
        wait_until(lambda: any(str(self.copy) in text for (text,) in common.rows(self.server, statement)))

    def test_operators_read_japanese_if_they_like(self):
        self.assertIn("バックアップ", without_config("backup", "verify", self.copy, "--lang", "ja").stdout)
        self.assertIn("復元", without_config("restore", "--help", "--lang", "ja").stdout)

    def test_no_patient_is_named(self):
        result = run(self.server, "backup", self.copy)
        told = result.stdout + result.stderr + self.server.log()
        for unique_id in self.documents:
            self.assertNotIn(unique_id, result.stdout + result.stderr)
        self.assertNotIn("P1^^^", told)


class Elsewhere(BackupCase):
    """Documents on another disk, and configured files that are not small."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.submission = common.submission("P1", b"on another disk")
        soap = common.client(cls.server)
        if soap.provide(cls.submission).outcome != "Success":
            raise AssertionError("ITI-41")
        soap.close()

    def link(self, elsewhere):
        """data_dir/blobs leads there."""
        blobs = self.server.dir / "data" / "blobs"
        if blobs.exists():
            self.server.stop()
            shutil.move(blobs, elsewhere)
        else:
            blobs.parent.mkdir(exist_ok=True)
            elsewhere.mkdir()
        os.symlink(elsewhere, blobs)
        user = harness.service_user()
        for path in (blobs.parent, elsewhere) if user else ():
            os.chown(path, user.pw_uid, user.pw_gid)

    def test_documents_behind_a_link_are_in_the_backup_and_come_back_behind_one(self):
        first, second = self.server.dir / "disk", self.server.dir / "disk2"
        folder = self.base / "link"
        self.link(first)
        self.server.start()
        documents = {self.submission.documents[0].unique_id: self.submission.documents[0].content}
        self.assert_served(documents)
        self.backup(folder)
        self.assertEqual(run(self.server, "backup", first / "backup").returncode, 2)
        within = first / "more"
        within.symlink_to(self.base)
        refused = run(self.server, "backup", folder)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("blobs/more", refused.stderr)
        self.assertIn("links are not followed", refused.stderr)
        within.unlink()
        lose(self.server)
        self.link(second)
        self.restore(folder)
        self.server.start()
        self.assert_served(documents)
        self.server.stop()
        second.rename(self.server.dir / "unmounted")
        refused = run(self.server, "backup", folder)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("data/blobs", refused.stderr)
        self.assertEqual(len(self.generations(folder)), 1)

    def test_a_configured_file_of_any_size_comes_back(self):
        revoked = self.base / "revoked.pem"  # lists of large authorities have several MiB
        revoked.write_bytes(os.urandom(3_000_000))
        configuration = self.server.config_path.read_text(encoding="utf-8")
        self.addCleanup(self.server.config_path.write_text, configuration, encoding="utf-8")
        self.server.config_path.write_text(configuration.replace("[server]\n", f"[server]\ntls_crl = {revoked}\n"), encoding="utf-8")
        self.backup(self.base / "large")
        target = self.base / "large-configuration"
        self.assertEqual(without_config("backup", "config", self.base / "large", target).returncode, 0)
        self.assertEqual((target / "server.tls_crl" / "revoked.pem").read_bytes(), revoked.read_bytes())


class Database(BackupCase):
    """pg_dump gives the whole database each time; what of it did not change takes no room."""

    # What clients wrote, as text; the audit trail goes on during a backup and after a restore.
    TABLES = ("association", "document_entry", "patient_identifier", "repository_document", "submission_set", "unique_id")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = cls.base / "kept"
        for _ in range(100):
            cls.submit(50)

    @classmethod
    def submit(cls, count):
        """One submission of so many documents."""
        soap = common.client(cls.server)
        patient = common.patient("P1")
        documents = [xds.Document(patient, os.urandom(300), id=f"Document{n}") for n in range(count)]
        reply = soap.provide(xds.Submission(patient, documents))
        if reply.outcome != "Success":
            raise AssertionError(reply.errors)
        soap.close()

    def rows(self):
        """All rows of TABLES."""
        return {table: sorted(common.rows(self.server, f"SELECT t::text FROM {table} t")) for table in self.TABLES}

    def database(self):
        """Pieces of the database in each generation."""
        return [pieces_of(self.folder / name)["database.dump"] for name in self.generations(self.folder)]

    def test_what_is_new_takes_room_and_both_generations_come_back(self):
        rows_before = self.rows()
        self.backup(self.folder)
        self.submit(5)
        rows_after = self.rows()
        self.backup(self.folder)
        before, after = map(set, self.database())
        room = stored(self.folder)
        self.assertGreater(len(before), 15)
        self.assertLess(len(after - before), len(before) / 2)
        self.assertLess(sum(room[piece] for piece in after - before), sum(room[piece] for piece in before) / 2)
        for generation, rows in zip(self.generations(self.folder), (rows_before, rows_after)):
            lose(self.server)
            self.restore(self.folder, "--generation", generation)
            self.server.start()
            self.assertEqual(self.rows(), rows)

    def test_a_damaged_piece_is_named_for_each_generation_that_has_it(self):
        folder = self.base / "damaged"
        for _ in range(2):
            self.backup(folder)
        names = self.generations(folder)
        (shared, *_) = set.intersection(*(set(pieces_of(folder / name)["database.dump"]) for name in names))
        path = folder / "objects" / shared[:2] / shared
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        result = without_config("backup", "verify", folder, "--json")
        self.assertEqual(result.returncode, 1, result.stderr)
        findings = json.loads(result.stdout)["findings"]
        self.assertEqual([finding.split(":")[0] for finding in findings], [f"{name}, database.dump" for name in names])
        for finding in findings:
            self.assertIn(f"objects/{shared[:2]}/{shared} is damaged", finding)
        self.backup(folder, "--full")
        self.assertEqual(without_config("backup", "verify", folder).returncode, 0)


class Restore(BackupCase):
    """Into what it restores, and what an interrupted one leaves."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.content = os.urandom(2_000_000)
        cls.submission = common.submission("P1", cls.content)
        soap = common.client(cls.server)
        if soap.provide(cls.submission).outcome != "Success":
            raise AssertionError("ITI-41")
        soap.close()
        cls.folder = cls.base / "kept"
        result = run(cls.server, "backup", cls.folder)
        if result.returncode:
            raise AssertionError(result.stderr)

    def document(self):
        """What must be there in the end."""
        return {self.submission.documents[0].unique_id: self.content}

    def test_a_data_dir_that_is_not_empty_is_refused(self):
        before = sorted(p.name for p in (self.server.dir / "data").iterdir())
        result = run(self.server, "restore", self.folder)
        self.assertEqual(result.returncode, 2)
        self.assertIn("not empty", result.stderr)
        self.assertEqual(sorted(p.name for p in (self.server.dir / "data").iterdir()), before)
        self.assertTrue(self.server.is_ready())

    def test_kill_9_leaves_what_nothing_starts_with_and_the_next_one_succeeds(self):
        for step in ("restore.begun", "restore.file:3", "restore.database", "restore.durable"):
            with self.subTest(step):
                lose(self.server)
                result = run(self.server, "restore", self.folder, environment={"MUSUBI_FAIL_AT": step})
                self.assertEqual(result.returncode, -9, result.stderr)
                for command in (["serve"], ["fsck"], ["migrate"], ["restore", self.folder]):
                    refused = run(self.server, *command)
                    self.assertIn(refused.returncode, (2, 3), command)
                    self.assertIn("a restore was interrupted here", refused.stderr)
                self.server.stop_postgres()
        lose(self.server)
        self.restore(self.folder)
        self.server.start()
        self.assert_served(self.document())

    def test_a_damaged_piece_stops_it(self):
        copy = self.base / "damaged"
        shutil.copytree(self.folder, copy)
        largest = max((p for p in (copy / "objects").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:-100])
        lose(self.server)
        result = run(self.server, "restore", copy)
        self.assertEqual(result.returncode, 3)
        self.assertIn("damaged", result.stderr)
        lose(self.server)
        self.restore(self.folder)
        self.server.start()
        self.assert_served(self.document())

    def test_an_older_generation_comes_back_when_it_is_named(self):
        first = self.generations(self.folder)[0]
        later = common.submission("P2", b"later")
        self.assert_success(self.soap().provide(later))
        self.backup(self.folder)
        lose(self.server)
        self.restore(self.folder, "--generation", first)
        self.server.start()
        self.assertEqual(common.find(self.soap(), "P2"), {})
        self.assert_served(self.document())

    def test_a_schema_that_this_program_does_not_know_names_both_versions(self):
        copy = self.base / "newer"
        shutil.copytree(self.folder, copy)
        path = copy / self.generations(copy)[-1] / "manifest.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        known = json.loads(lines[0])["schema"]
        lines[0] = lines[0].replace(b'"schema":%d' % known, b'"schema":%d' % (known + 7))
        end = json.loads(lines[-1])
        end["sha256"] = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
        path.write_bytes(b"".join(lines[:-1]) + json.dumps(end, separators=(",", ":")).encode() + b"\n")
        lose(self.server)
        result = run(self.server, "restore", copy)
        self.assertEqual(result.returncode, 2)
        self.assertIn(f"schema version {known + 7}, this program knows {known}", result.stderr)
        self.restore(self.folder)
        self.server.start()

    def test_a_server_that_does_not_run_is_backed_up_as_well(self):
        self.server.stop()
        folder = self.base / "offline"
        self.backup(folder)
        self.assertEqual(without_config("backup", "verify", folder).returncode, 0)
        self.server.start()


class Images(BackupCase):
    """Instances are blobs too, small ones and large ones."""

    settings = {"server": {"roles": "registry, repository, pix, atna, imaging"}, "imaging": {"unique_id": imaging.IMAGING_UID}}

    def ask(self, method, path, body=None, headers=None):
        """(headers, bytes) of DICOMweb."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            self.assertEqual(response.status, 200)
            return dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def test_a_study_comes_back_as_it_was_stored(self):
        study = dicom.Study(3, "P1")
        files = [bytes(dicom.Series(study, series=n, size=size).file(1)) for n, size in enumerate((64, 1024))]
        self.ask("POST", "/dicomweb/studies", dicomweb.multipart(files),
                 {"Content-Type": f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'})
        self.backup(self.base / "images")
        lose(self.server)
        self.restore(self.base / "images")
        self.server.start()
        headers, raw = self.ask("GET", f"/dicomweb/studies/{study.uid}",
                                headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'})
        self.assertEqual(sorted(part for _, part in dicomweb.parts_of(headers["Content-Type"], raw)), sorted(files))


class OtherDatabase(unittest.TestCase):
    """PostgreSQL that is not ours: conninfo."""

    def test_it_is_restored_into_an_empty_database_only(self):
        base = pathlib.Path(tempfile.mkdtemp(prefix="musubi-backup-"))
        self.addCleanup(shutil.rmtree, base, ignore_errors=True)
        with postgres.private_postgres() as conninfo:
            server = harness.Server(settings={"database": {"embedded": "no", "shared_buffers": None, "conninfo": conninfo}})
            self.addCleanup(server.close)
            self.assertEqual(run(server, "migrate").returncode, 0)
            server.start()
            common.feed(server, "P1")
            submission = common.submission("P1", b"elsewhere")
            soap = common.client(server)
            self.assertEqual(soap.provide(submission).outcome, "Success")
            soap.close()
            result = run(server, "backup", base / "kept")
            self.assertEqual(result.returncode, 0, result.stderr)
            lose(server)
            result = run(server, "restore", base / "kept")
            self.assertEqual(result.returncode, 2)
            self.assertRegex(result.stderr, "database is not empty: it has [0-9]+ tables")
            connection = psycopg2.connect(conninfo)
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("DROP SCHEMA public CASCADE")
                cursor.execute("CREATE SCHEMA public")
            result = run(server, "restore", base / "kept")
            self.assertEqual(result.returncode, 2)
            self.assertIn("it has the schema public_past", result.stderr)
            with connection.cursor() as cursor:
                cursor.execute("DROP SCHEMA public_past CASCADE")
            connection.close()
            result = run(server, "restore", base / "kept")
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            server.start()
            soap = common.client(server)
            reply = common.fetch(soap, *submission.documents)
            self.assertEqual(reply.documents()[submission.documents[0].unique_id], b"elsewhere")
            soap.close()
            server.stop()


if __name__ == "__main__":
    unittest.main()
