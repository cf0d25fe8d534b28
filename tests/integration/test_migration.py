"""Databases of earlier schema versions become today's: all as before; serve says what to do; kill -9 at every step is mended by a rerun.

The database of an earlier version is made of today's: its migrations are applied up to that version, as they were released, and its
tables get the rows that today's hold, as far as they had those columns.
"""

import contextlib
import io
import os
import shutil
import subprocess
import unittest

import psycopg2
from psycopg2 import sql

from conformance import client as xds
from tests.harness import postgres, server as harness
from tests.harness.waiting import PATIENCE_S
from tests.integration import common

DOCUMENTS = 10_000
PATIENTS = 100
STORED = 30  # with their bytes
COMMAND_S = 6 * PATIENCE_S  # of one command
# Schema version -> what the program of that time had.
STAGES = {4: "registry and repository", 5: "patient identity", 9: "who may do what", 12: "the audit trail", 13: "images"}
FIRST_WITH_AUDIT_TRAIL = 7
MIGRATIONS = sorted((harness.ROOT / "migrations").glob("[0-9]*.sql"))
RPLC = "urn:ihe:iti:2007:AssociationType:RPLC"


def connect(conninfo, database):
    """A connection to another database of the same cluster."""
    connection = psycopg2.connect(of(conninfo, database))
    connection.autocommit = True
    return connection


def of(conninfo, database):
    """conninfo of another database of the same cluster."""
    return conninfo.replace("dbname=test", f"dbname={database}")


def run(server, *arguments, content=None, environment=None):
    """A musubi command."""
    return subprocess.run([str(harness.binary()), *arguments, "--config", str(server.config_path)], check=False, input=content,
                          capture_output=True, timeout=COMMAND_S, env=dict(os.environ, **(environment or {})))


def columns(cursor):
    """{table: [column]} of what is no partition."""
    cursor.execute("""SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                      WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                      AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY c.relname, a.attnum""")
    found = {}
    for table, column in cursor.fetchall():
        found.setdefault(table, []).append(column)
    return found


def copy_table(source, target, table, names):
    """The rows of one table."""
    rows = io.BytesIO()
    listed = sql.SQL(", ").join(map(sql.Identifier, names)).as_string(source)
    source.copy_expert(f'COPY (SELECT {listed} FROM "{table}") TO STDOUT', rows)
    rows.seek(0)
    target.copy_expert(f'COPY "{table}" ({listed}) FROM STDIN', rows)


def fill(source, target, version):
    """All that an earlier schema can hold of today's rows."""
    target.execute("SET session_replication_role = replica")
    if version >= FIRST_WITH_AUDIT_TRAIL:
        source.execute("SELECT DISTINCT date_trunc('month', received_at, 'UTC') FROM audit_record")
        for (month,) in source.fetchall():
            target.execute("SELECT audit_make_partition(%s)", (month,))
    today = columns(source)
    for table, names in columns(target).items():
        if table in today and table != "schema_version":
            target.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))  # what a migration puts there
            copy_table(source, target, table, [name for name in names if name in today[table]])
    source.execute("SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL")
    values = dict(source.fetchall())
    target.execute("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'")
    for (name,) in target.fetchall():
        if name in values:
            target.execute("SELECT setval(%s, %s)", (f'"{name}"', values[name]))


def make_earlier(conninfo, database, version):
    """Makes a database of that schema version from the one named "today"."""
    with contextlib.closing(connect(conninfo, "test")) as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {database}")
    source_connection, target_connection = connect(conninfo, "today"), connect(conninfo, database)
    with source_connection.cursor() as source, target_connection.cursor() as target:
        source.execute("SELECT number, name, checksum FROM schema_version WHERE number <= %s ORDER BY number", (version,))
        applied = source.fetchall()
        target.execute("CREATE TABLE schema_version (number integer PRIMARY KEY, name text NOT NULL,"
                       " applied_at timestamptz NOT NULL DEFAULT now(), checksum text NOT NULL)")
        for path, row in zip(MIGRATIONS, applied):
            target.execute("BEGIN")
            target.execute(path.read_text(encoding="utf-8"))
            target.execute("COMMIT")
            target.execute("INSERT INTO schema_version (number, name, checksum) VALUES (%s, %s, %s)", row)
        fill(source, target, version)
    source_connection.close()
    target_connection.close()


class Earlier(unittest.TestCase):
    """One database of today with 10 000 documents, and earlier ones made of it."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = postgres.private_postgres()
        cls.conninfo = cls.cluster.__enter__()  # pylint: disable=unnecessary-dunder-call
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        with contextlib.closing(connect(cls.conninfo, "test")) as admin, admin.cursor() as cursor:
            cursor.execute("CREATE DATABASE today")
        cls.server = cls.server_of("today")
        cls.addClassCleanup(cls.server.close)
        if run(cls.server, "migrate").returncode:
            raise AssertionError("migrate")
        cls.server.start()
        cls.fill_today()
        cls.expected = cls.answers(cls.server)
        cls.server.stop()

    @classmethod
    def server_of(cls, database):
        """A server of one of the databases."""
        return harness.Server(settings={"database": {"embedded": "no", "shared_buffers": None,
                                                     "conninfo": of(cls.conninfo, database)}})

    @classmethod
    def fill_today(cls):
        """Patients, imported entries, stored documents and their replacements."""
        common.feed(cls.server, *(f"M{n}" for n in range(PATIENTS)))
        submissions = []
        for n in range(DOCUMENTS - STORED):
            submission = common.submission(f"M{n % PATIENTS}", xds.new_oid().encode(), id=xds.new_urn())
            submission.submission_time = "20260401100000"
            submissions.append(submission.register_xml())
        content = b"\0".join(s if isinstance(s, bytes) else s.encode() for s in submissions)
        result = run(cls.server, "submission", "import", "-", content=content)
        if result.returncode:
            raise AssertionError(result.stdout[-1000:] + result.stderr[-1000:])
        soap = common.client(cls.server)
        cls.contents = {}
        for n in range(STORED):
            submission = common.submission(f"M{n % 7}", os.urandom(1000 + 50_000 * n))
            if soap.provide(submission).outcome != "Success":
                raise AssertionError("ITI-41")
            (document,) = submission.documents
            cls.contents[document.unique_id] = document.content
        soap.close()

    @classmethod
    def answers(cls, server):
        """What must not change: entries of each patient, and the bytes of what is stored."""
        soap = common.client(server)
        found = {f"M{n}": common.find(soap, f"M{n}", return_type="LeafClass") for n in range(PATIENTS)}
        documents = common.fetch(soap, *cls.contents).documents()
        soap.close()
        return found, documents

    def earlier(self, database, version):
        """A server of a database of that version, with the files of today's."""
        make_earlier(self.conninfo, database, version)
        server = self.server_of(database)
        self.addCleanup(server.close)
        shutil.rmtree(server.dir / "data")
        subprocess.run(["cp", "-a", self.server.dir / "data", server.dir / "data"], check=True, timeout=COMMAND_S)
        if version < FIRST_WITH_AUDIT_TRAIL:
            shutil.rmtree(server.dir / "data" / "audit")
        return server

    def version(self, database):
        """The schema version of a database."""
        connection = connect(self.conninfo, database)
        with connection.cursor() as cursor:
            cursor.execute("SELECT max(number) FROM schema_version")
            (version,) = cursor.fetchone()
        connection.close()
        return version

    def assert_refused(self, server, version):
        """serve names both versions and the command."""
        result = run(server, "serve")
        self.assertIn(result.returncode, (2, 3))
        text = result.stderr.decode()
        self.assertIn(f"schema version {version}, this program needs {len(MIGRATIONS)}", text)
        self.assertIn("musubi migrate --config", text)

    def assert_all_as_before(self, server):
        """Checks find nothing, answers are the same, and new work is done."""
        for command in (["fsck"], ["audit", "verify"]):
            result = run(server, *command)
            self.assertEqual(result.returncode, 0, (command, result.stdout[-2000:], result.stderr[-2000:]))
        server.start()
        found, documents = self.answers(server)
        self.assertEqual(found, self.expected[0])
        self.assertEqual(documents, self.contents)
        common.feed(server, "NEW")
        soap = common.client(server)
        old = next(iter(self.expected[0]["M50"].values()))
        new = common.submission("M50", b"a new version")
        new.associations = [xds.association_xml(RPLC, new.documents[0].id, old)]
        self.assertEqual(soap.provide(new).outcome, "Success")
        self.assertIn(new.documents[0].unique_id, common.find(soap, "M50"))
        self.assertEqual(soap.provide(common.submission("NEW", b"of a new patient")).outcome, "Success")
        soap.close()
        server.stop()
        self.assertEqual(run(server, "fsck").returncode, 0)

    def test_databases_of_every_stage_become_todays(self):
        for version, what in STAGES.items():
            with self.subTest(version=version, what=what):
                server = self.earlier(f"stage{version}", version)
                self.assert_refused(server, version)
                self.assertEqual(self.version(f"stage{version}"), version)
                result = run(server, "migrate")
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assert_all_as_before(server)

    def test_kill_9_at_every_step_of_every_migration_is_mended_by_a_rerun(self):
        first = min(STAGES)
        server = self.earlier("killed", first)
        for version in range(first, len(MIGRATIONS)):
            for step, expected in (("migrate.applied", version), ("migrate.committed", version + 1)):
                result = run(server, "migrate", environment={"MUSUBI_FAIL_AT": step})
                self.assertEqual(result.returncode, -9, (version, step, result.stderr))
                self.assertEqual(self.version("killed"), expected)
            if version + 1 < len(MIGRATIONS):
                self.assert_refused(server, version + 1)
        self.assertEqual(run(server, "migrate").returncode, 0)
        self.assert_all_as_before(server)

    def test_a_newer_schema_is_refused_by_every_command_that_would_change_it(self):
        server = self.earlier("newer", len(MIGRATIONS))
        connection = connect(self.conninfo, "newer")
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO schema_version (number, name, checksum) VALUES (%s, 'later', 'x')", (len(MIGRATIONS) + 1,))
        connection.close()
        for command in ("serve", "migrate"):
            result = run(server, command)
            self.assertIn(result.returncode, (2, 3))
            self.assertIn(f"schema version {len(MIGRATIONS) + 1}, this program knows {len(MIGRATIONS)}", result.stderr.decode())


if __name__ == "__main__":
    unittest.main()
