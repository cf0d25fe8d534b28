"""Somebody changes the Audit Record Repository: every change must be found by `musubi audit verify`.

Whoever does it here owns the database: he edits, removes, inserts and exchanges records, cuts the end of the chain off, puts the row
that says where it ends back to what the server itself had once written and signed, computes the hashes of changed records anew, and
removes the heads that the database holds. The key that signs heads, and what lies in data_dir/audit, are not his. The server stands
still meanwhile (SIGSTOP); each change is taken back, and after every fifty and at the end the untouched store must verify.
"""

import collections
import contextlib
import hashlib
import os
import random
import shutil
import signal
import struct
import tempfile
import time

import psycopg2

from tests.fault import senders
from tests.harness import certs
from tests.harness import server as harness

RECORDS = 10000
BATCH = 500
CHAIN_COLUMNS = "sequence, hash, received_at, signed_at, signature"
RECORD_COLUMNS = ("chain, sequence, received_at, event_at, sender, kind, defects, event_id, event_types, action, outcome, source_id,"
                  " keys, raw")
EDITS = (
    "received_at = received_at + interval '1 microsecond'", "event_at = event_at - interval '1 hour'", "sender = sender || '0'",
    "kind = (kind + 1) %% 3", "defects = defects # 1", "event_id = '110112'", "event_types = event_types || 'ITI-18'::text",
    "event_types = '{}'", "action = 'C'", "outcome = CASE outcome WHEN 0 THEN 8 ELSE 0 END", "source_id = 'nobody'",
    "keys = keys[2:]", "keys = keys || 42::bigint", "raw = set_byte(raw, length(raw) / 2, get_byte(raw, length(raw) / 2) # 1)",
    "raw = raw || '\\x20'::bytea", "raw = substr(raw, 1, length(raw) - 1)", "hash = set_byte(hash, 31, get_byte(hash, 31) # 128)")


class Tamper:
    """One run: `cycles` changes."""

    def __init__(self, arguments):
        self.cycles = arguments.cycles
        self.random = random.Random(arguments.seed)
        self.folder = tempfile.mkdtemp(prefix="musubi-tamper-")
        self.certs = certs.make(f"{self.folder}/certs", ("server", "sender"))
        for path in self.certs.iterdir():
            path.chmod(0o644)
        self.certs.parent.chmod(0o755)
        self.port = harness.free_ports(1)[0]
        self.server = harness.Server(certs=self.certs, settings={"audit": {"syslog_tls_listen": f"127.0.0.1:{self.port}"}})
        self.kinds = collections.Counter()
        self.states = []  # rows of audit_chain as the server wrote and signed them
        self.connection = None
        self.marked = 0  # number of the transaction after which nothing was changed
        self.faults = 0

    def execute(self, statement, *values):
        """Runs a statement; gives its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def fill(self):
        """Records in several batches; after each the state of the chain is kept."""
        for first in range(0, RECORDS, BATCH):
            sender = senders.Breaker(self.certs, self.port, BATCH, "sender", first)
            sender.stop()
            if sender.problem:
                raise sender.problem
            while self.execute("SELECT count(*) FROM audit_record WHERE source_id = 'sender'")[0][0] < first + BATCH:
                time.sleep(0.05)
            self.states.append(self.execute(f"SELECT {CHAIN_COLUMNS} FROM audit_chain")[0])
        time.sleep(2)  # what the server itself has to say

    # ---- the changes; each gives what happened ----

    def a_sequence(self):
        """Of any record."""
        return self.random.randint(1, self.length)

    def edit(self):
        """One column of one record."""
        what, sequence = self.random.choice(EDITS), self.a_sequence()
        self.execute(f"UPDATE audit_record SET {what} WHERE sequence = %s", sequence)
        return f"{what} of record {sequence}"

    def delete(self):
        """Some records in a row."""
        first, count = self.a_sequence(), self.random.choice((1, 1, 1, 2, 10, 1000))
        self.execute("DELETE FROM audit_record WHERE sequence BETWEEN %s AND %s", first, first + count - 1)
        return f"{count} records from {first} on are removed"

    def delete_and_close(self):
        """Removes a record, and closes the gap in the numbering."""
        sequence = self.a_sequence()
        self.execute("DELETE FROM audit_record WHERE sequence = %s", sequence)
        self.execute("UPDATE audit_record SET sequence = sequence - 1 WHERE sequence > %s", sequence)
        return f"record {sequence} is removed and those behind it are numbered anew"

    def exchange(self):
        """Two records change places."""
        one, other = self.a_sequence(), self.a_sequence() % self.length + 1
        if one == other:
            other = one % self.length + 1
        moved = "" if self.random.random() < 0.5 else ", hash = CASE sequence WHEN %(a)s THEN (SELECT hash FROM audit_record WHERE" \
            " sequence = %(b)s) ELSE (SELECT hash FROM audit_record WHERE sequence = %(a)s) END"
        with self.connection.cursor() as cursor:
            cursor.execute(f"UPDATE audit_record SET sequence = %(a)s + %(b)s - sequence{moved} WHERE sequence IN (%(a)s, %(b)s)",
                           {"a": one, "b": other})
        return f"records {one} and {other} have changed places"

    def insert(self):
        """A copy of a record, under its own number or at the end."""
        sequence, at_end = self.a_sequence(), self.random.random() < 0.5
        number = self.length + 1 if at_end else sequence
        self.execute(f"INSERT INTO audit_record ({RECORD_COLUMNS}, hash) SELECT {RECORD_COLUMNS.replace('sequence', '%s::bigint')},"
                     " hash FROM audit_record WHERE sequence = %s", number, sequence)
        return f"a copy of record {sequence} as record {number}"

    def remove_heads(self, after):
        """The heads of the database that know more than is left; sometimes all."""
        if self.random.random() < 0.5:
            self.execute("DELETE FROM audit_head")
            return "all heads are removed"
        self.execute("DELETE FROM audit_head WHERE sequence > %s", after)
        return f"the heads behind {after} are removed"

    def cut(self):
        """The end of the chain, with the heads that knew it."""
        last = self.length - self.random.choice((1, 1, 2, 100, self.random.randint(1, self.length)))
        self.execute("DELETE FROM audit_record WHERE sequence > %s", last)
        self.execute("UPDATE audit_chain SET sequence = %s, hash = coalesce((SELECT hash FROM audit_record WHERE sequence = %s), hash)",
                     last, last)
        return f"the chain ends at {last}, {self.remove_heads(last)}"

    def roll_back(self):
        """The end of the chain, and the row that the server once signed for what is left."""
        state = self.random.choice(self.states[:-1])
        self.execute("DELETE FROM audit_record WHERE sequence > %s", state[0])
        self.execute(f"UPDATE audit_chain SET ({CHAIN_COLUMNS}) = (%s, %s, %s, %s, %s)", *state)
        return f"rolled back to the signed state of {state[0]}, {self.remove_heads(state[0])}"

    def rewrite(self):
        """A record near the end, and every hash behind it."""
        first = self.length - self.random.randint(0, 50)
        self.execute("UPDATE audit_record SET raw = raw || '\\x20'::bytea WHERE sequence = %s", first)
        hashed = bytes(self.execute("SELECT hash FROM audit_record WHERE sequence = %s", first - 1)[0][0])
        for sequence in range(first, self.length + 1):
            hashed = hashlib.sha256(hashed + self.fields(sequence)).digest()
            self.execute("UPDATE audit_record SET hash = %s WHERE sequence = %s", hashed, sequence)
        self.execute("UPDATE audit_chain SET hash = %s", hashed)
        return f"record {first} is changed, and all hashes behind it; {self.remove_heads(first - 1)}"

    def fields(self, sequence):
        """The columns of a record as COPY BINARY has them: the tuple without its count of fields."""
        with tempfile.TemporaryFile() as file, self.connection.cursor() as cursor:
            cursor.copy_expert(f"COPY (SELECT {RECORD_COLUMNS} FROM audit_record WHERE sequence = {sequence}) TO STDOUT (FORMAT binary)",
                               file)
            file.seek(0)
            data = file.read()
        begin = 11 + 8 + struct.unpack(">I", data[15:19])[0]
        return data[begin + 2:-2]

    # ---- the run ----

    def verify(self):
        """The CompletedProcess of `musubi audit verify`."""
        return self.server.command("audit", "verify", check=False)

    def expect_clean(self):
        """The untouched store verifies."""
        result = self.verify()
        if result.returncode != 0:
            self.faults += 1
            print(f"FAULT the untouched store does not verify: {result.stdout} {result.stderr}", flush=True)
        return result

    def keep(self):
        """A copy of what may be changed. Verify does without the indexes that would have to be restored too."""
        self.execute("DROP INDEX audit_record_keys, audit_record_event_at")
        self.execute("SET synchronous_commit = off")
        for (partition,) in self.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_record'::regclass"):
            self.execute(f"ALTER TABLE {partition} SET UNLOGGED")
        self.execute("CREATE SCHEMA kept")
        for table in ("audit_record", "audit_head", "audit_chain"):
            self.execute(f"CREATE TABLE kept.{table} AS SELECT * FROM {table}")
        self.execute("CREATE UNIQUE INDEX ON kept.audit_record (sequence)")
        self.execute("VACUUM ANALYZE kept.audit_record")
        self.mark()

    def mark(self):
        """What transactions after this one write is a change."""
        self.marked = self.execute("SELECT txid_current()")[0][0]

    def restore(self):
        """Takes the change back: rows that were written since the mark go, and then those that are missing come back."""
        self.execute("DELETE FROM audit_record WHERE xmin::text::bigint > %s", self.marked)
        self.execute("INSERT INTO audit_record SELECT * FROM kept.audit_record k WHERE NOT EXISTS"
                     " (SELECT FROM audit_record r WHERE r.sequence = k.sequence)")
        self.execute("INSERT INTO audit_head SELECT * FROM kept.audit_head ON CONFLICT DO NOTHING")
        self.execute(f"UPDATE audit_chain SET ({CHAIN_COLUMNS}) = (SELECT {CHAIN_COLUMNS} FROM kept.audit_chain)")
        self.mark()

    def change(self):
        """One change, found or not."""
        kinds = (self.edit, self.edit, self.edit, self.delete, self.delete_and_close, self.exchange, self.insert, self.cut, self.roll_back,
                 self.rewrite)
        kind = self.random.choice(kinds)
        self.kinds[kind.__name__] += 1
        what = kind()
        result = self.verify()
        if result.returncode != 1:
            self.faults += 1
            print(f"FAULT not found ({result.returncode}): {what}: {result.stdout} {result.stderr}", flush=True)
        self.restore()

    def run(self):
        """Exit status."""
        try:
            self.server.start()
            self.connection = psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="postgres", dbname="musubi")
            self.connection.autocommit = True
            self.fill()
            os.kill(self.server.process.pid, signal.SIGSTOP)
            self.length = self.execute("SELECT max(sequence) FROM audit_record")[0][0]
            self.keep()
            print(f"{self.length} records: {self.expect_clean().stdout.strip()}", flush=True)
            began = time.monotonic()
            for cycle in range(self.cycles):
                self.change()
                if cycle % 10 == 9:
                    self.execute("VACUUM audit_record, audit_head, audit_chain")
                if cycle % 50 == 49 or cycle == self.cycles - 1:
                    self.expect_clean()
            taken_s = time.monotonic() - began
        finally:
            with contextlib.suppress(ProcessLookupError, AttributeError):
                os.kill(self.server.process.pid, signal.SIGCONT)
            if self.connection:
                self.connection.close()
            self.server.close()
            shutil.rmtree(self.folder, ignore_errors=True)
        print(f"{self.cycles} changes in {taken_s:.0f} s: {self.faults} faults; {dict(self.kinds)}")
        return 1 if self.faults else 0
