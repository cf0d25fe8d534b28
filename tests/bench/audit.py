"""The Audit Record Repository: how fast messages become records, how fast the chain is verified, how fast "who saw this patient"
is answered."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import time

from tests.bench import floors, statements
from tests.harness import server as harness

DOMAIN = "1.2.392.99999.79"  # of the patients in audit_messages.h
PATIENTS = 100_000  # of whom messages are sent
MESSAGES, QUICK_MESSAGES = 200_000, 40_000  # of one run
STORE_TIMEOUT_S = 600
VERIFIED, QUICK_VERIFIED = 2_000_000, 200_000
SEARCHED, QUICK_SEARCHED = 10_000_000, 500_000
RECORDS_PER_PATIENT = 30  # on average
DAYS = 180
LAST_SHARE = 100  # one record of so many is loaded as the server does, with all indexes
LOADED_ROLES = "registry, repository, pix"  # without atna nobody else writes to the chain
FREQUENT = (0, 1, 10, 100)  # patients with thousands of records to hundreds
OTHERS = 16


# ------------------------------------------------------------------ ingest

def write_frames(kit, count):
    """So many messages that no other run has, for load --syslog."""
    path = kit.folder / "messages.syslog"
    with open(path, "wb") as file:
        subprocess.run([floors.tool("audit_frames"), str(PATIENTS), str(kit.reserve(count)), str(count)], check=True, stdout=file)
    return path


def _ask(server, statement, *values):
    with contextlib.closing(statements.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone()[0]


def _received(server):
    return int(_ask(server, "SELECT coalesce(sum(record_count), 0) FROM audit_sender WHERE transport = 'tls'"))


def ingest(kit, server, port, connections, count):
    """Sends so many messages; gives their rate from the first byte until all are durable records, and the last record before."""
    before, end = _received(server), int(_ask(server, "SELECT max(sequence) FROM audit_chain"))
    sent = kit.load(port, [], connections, STORE_TIMEOUT_S, "--syslog", str(write_frames(kit, count)))
    sent_at = time.monotonic()
    if sent["errors"] or sent["done"] != count:
        raise RuntimeError(f"{sent['done']} of {count} messages sent: {sent['problem']}")
    while _received(server) < before + count:
        if time.monotonic() > sent_at + STORE_TIMEOUT_S:
            raise RuntimeError(f"{_received(server) - before} of {count} messages are records after {STORE_TIMEOUT_S} s")
        time.sleep(0.01)
    return dict(sent, rate=count / (sent["seconds"] + time.monotonic() - sent_at)), end


def receive(kit, connections, count):
    """The same bytes over the same TLS into a file."""
    with kit.floor_server("syslog", 0) as port:
        return kit.load(port, [], connections, STORE_TIMEOUT_S, "--syslog", str(write_frames(kit, count)))["rate"]


def copy(server, folder, end):
    """Rates of COPY of the records behind this one into a table without indexes, and into partitions with all of them."""
    path = folder / "copy" / "audit_record"
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o777)  # PostgreSQL itself writes and reads there
    tables = {"plain": ["CREATE TABLE copied (LIKE audit_record)"],
              "indexed": ["CREATE TABLE copied (LIKE audit_record INCLUDING ALL) PARTITION BY RANGE (received_at)",
                          "CREATE TABLE copied_all PARTITION OF copied DEFAULT"]}
    rates = {}
    with contextlib.closing(statements.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute(f"COPY (SELECT * FROM audit_record WHERE sequence > {end}) TO '{path}' (FORMAT binary)")
        count = cursor.rowcount
        for name, definitions in tables.items():
            for definition in definitions:
                cursor.execute(definition)
            began = time.monotonic()
            cursor.execute(f"COPY copied FROM '{path}' (FORMAT binary)")
            rates[name] = count / (time.monotonic() - began)
            cursor.execute("DROP TABLE copied")
    path.unlink()
    return rates


# ------------------------------------------------------------------ a store that is there

def _load(server, records, first, count, days):
    subprocess.run([floors.tool("audit_records"), "--conninfo", statements.conninfo(server), "--directory",
                    str(server.dir / "data" / "audit"), "--patients", str(max(1, records // RECORDS_PER_PATIENT)), "--first", str(first),
                    "--count", str(count), "--days", str(days)], check=True)


def _own_files(server):
    user = harness.service_user()
    for path in (server.dir / "data" / "audit").iterdir() if user else ():
        os.chown(path, user.pw_uid, user.pw_gid)


def fill(server, records):
    """So many records of the last months into an empty repository, whose indexes are made in the end, all but those of the last
    day: they come through the indexes, so that these are as a running server leaves them."""
    last = records // LAST_SHARE
    with contextlib.closing(statements.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'audit_record' AND schemaname = 'public'")
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        _load(server, records, 0, records - last, DAYS)
        cursor.execute("SET maintenance_work_mem = '1GB'")
        for _, definition in indexes:
            cursor.execute(definition.replace(" ON ONLY ", " ON "))
        cursor.execute("VACUUM ANALYZE audit_record, audit_login")
        _load(server, records, records - last, last, 1)
        cursor.execute("CHECKPOINT")
    _own_files(server)


def sizes(server):
    """Bytes of the table of records and of each kind of index."""
    with contextlib.closing(statements.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(a.amname, 'table'), sum(pg_table_size(c.oid)) FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam"
                       " AND c.relkind = 'i' WHERE c.relname LIKE 'audit_record_2%' AND c.relkind IN ('i', 'r') GROUP BY 1")
        return {name: int(size) for name, size in cursor.fetchall()}


def drop_caches(server):
    """Puts the files of the database out of the page cache, but for what somebody has changed."""
    for path in pathlib.Path(server.dir, "data", "postgres").glob("**/base/*/*"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _run(server, *arguments):
    """A command of the server: its seconds, its output."""
    began = time.monotonic()
    done = subprocess.run([str(harness.binary()), "audit", *arguments, "--config", str(server.config_path)], check=False,
                          capture_output=True, text=True)
    seconds = time.monotonic() - began
    if done.returncode not in (0, 1):
        raise RuntimeError(f"musubi audit {arguments[0]}: {done.stderr[-600:]}")
    return seconds, done.stdout


def verify(server):
    """Seconds of the whole command, and what it says."""
    seconds, output = _run(server, "verify", "--json")
    return seconds, json.loads(output)


def some_patients(records):
    """Numbers of patients with many records and with few."""
    count = max(1, records // RECORDS_PER_PATIENT)
    return [*FREQUENT, *range(count // OTHERS, count, count // OTHERS)]


def who_saw(server, patient):
    """Seconds of the report about a patient, and how many records it has."""
    seconds, output = _run(server, "report", "patient", f"A{patient:09}^^^&{DOMAIN}&ISO")
    found = re.search(r"^(\d+) records$", output, re.M)
    return seconds, int(found[1]) if found else 0
