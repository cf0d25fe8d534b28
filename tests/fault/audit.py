"""The Audit Record Repository under real senders: rsyslog and syslog-ng over mutual TLS, connections that break off, kill -9.

First nobody kills the server: what it read whole must be stored, each message once. Then it is killed every two seconds: what was
in the chain before a kill must be there after it, unchanged, and the only messages that miss are those that a sender had sent into
a connection when it broke, since syslog has no acknowledgement. In the end `musubi audit verify` must find nothing.
"""

import contextlib
import random
import re
import shutil
import tempfile
import time

import psycopg2

from tests.fault import senders
from tests.harness import certs
from tests.harness import server as harness

NAMES = ("server", "rsyslog", "syslog-ng", "breaker")
QUIET_S = 20  # that nothing more arrives
KILL_EVERY_S = 2
LOST_PER_BREAK_MAX = 20000  # what fits in the buffers of a sender, its kernel and ours


class Audit:
    """One run."""

    def __init__(self, arguments):
        self.count = arguments.messages
        self.random = random.Random(arguments.seed)
        self.folder = tempfile.mkdtemp(prefix="musubi-audit-")
        self.certs = certs.make(f"{self.folder}/certs", NAMES)
        for path in self.certs.iterdir():
            path.chmod(0o644)
        self.certs.parent.chmod(0o755)
        self.port = harness.free_ports(1)[0]
        self.server = harness.Server(certs=self.certs, mode="enforce", settings={
            "server": {"plain_http_listen": None, "plain_mllp_listen": None},
            "audit": {"syslog_tls_listen": f"127.0.0.1:{self.port}"}})
        self.faults = []

    def fault(self, text):
        """Notes and prints it."""
        self.faults.append(text)
        print(f"FAULT {text}", flush=True)

    # ---- the store ----

    def query(self, statement, *values):
        """Rows of the server's database."""
        with contextlib.closing(psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi_owner",
                                                 dbname="musubi")) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def chain_end(self):
        """(sequence, hash) of the last record."""
        rows = self.query("SELECT sequence, hash FROM audit_record ORDER BY sequence DESC LIMIT 1")
        return (rows[0][0], bytes(rows[0][1])) if rows else (0, b"")

    def check_kept(self, end):
        """What was the end of the chain is still in it."""
        if end[0] and [bytes(row[0]) for row in self.query("SELECT hash FROM audit_record WHERE sequence = %s", end[0])] != [end[1]]:
            self.fault(f"record {end[0]}, which was in the chain before the kill, is not there or is another one")

    def stored(self, name):
        """How often each number of a sender is stored, in the order of the chain: {number: count}, [numbers]."""
        with contextlib.closing(psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi_owner",
                                                 dbname="musubi")) as connection, connection.cursor("numbers") as cursor:
            cursor.itersize = 20000
            cursor.execute("SELECT raw FROM audit_record WHERE source_id = %s ORDER BY sequence", (name,))
            pattern = re.compile(rb'ParticipantObjectID="%b-(\d+)"' % name.encode())
            return [int(pattern.search(bytes(raw))[1]) for raw, in cursor]

    def wait_until_quiet(self, expected):
        """Until so many records are loaded, or nothing has come for some time."""
        last, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_S:
            now = self.query("SELECT sum(record_count)::bigint FROM audit_sender WHERE transport = 'tls'")[0][0] or 0
            if now >= expected:
                return
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.5)

    # ---- the phases ----

    def start(self):
        """The server, and a node for each sender."""
        self.server.start()
        self.server.command("facility", "add", "Network")
        for name in NAMES[1:]:
            self.server.command("node", "add", name, "--facility", "Network", "--certificate", str(self.certs / f"{name}.pem"),
                                "--transactions", "ITI-20")
        time.sleep(3)  # a running server notices new nodes within seconds

    def senders(self, folder, count):
        """Two fifths for each of the daemons, one for connections that break off."""
        share = count * 2 // 5
        return [senders.Rsyslog(folder, self.certs, self.port, share), senders.SyslogNg(folder, self.certs, self.port, share),
                senders.Breaker(self.certs, self.port, count - 2 * share)]

    def run_undisturbed(self, count):
        """Each message is stored once."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            began = time.monotonic()
            sending = self.senders(folder, count)
            sending[2].stop()
            if sending[2].problem:
                self.fault(f"a connection was not taken to its end: {sending[2].problem}")
            self.wait_until_quiet(count)
            seconds = time.monotonic() - began
            for sender in sending[:2]:
                sender.stop()
        for name, expected in (("rsyslog", count * 2 // 5), ("syslog-ng", count * 2 // 5), ("breaker", count - count * 2 // 5 * 2)):
            numbers = self.stored(name)
            if sorted(numbers) != list(range(expected)):
                self.fault(f"{name}: {len(numbers)} stored, {len(set(numbers))} different, of {expected} sent")
        print(f"undisturbed: {count} messages in {seconds:.0f} s", flush=True)

    def run_killed(self, count):
        """kill -9 every two seconds while the daemons send."""
        before = {name: len(self.stored(name)) for name in ("rsyslog", "syslog-ng")}
        kills = 0
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            share = count // 2
            sending = [senders.Rsyslog(folder, self.certs, self.port, share), senders.SyslogNg(folder, self.certs, self.port, share)]
            while kills < 1000 and sum(len_of for len_of in self.received(before)) < count * 9 // 10:
                time.sleep(KILL_EVERY_S * self.random.uniform(0.5, 1.5))
                end = self.chain_end()
                self.server.kill()
                kills += 1
                self.server.start()
                self.check_kept(end)
            self.wait_until_quiet(1 << 62)
            for sender in sending:
                sender.stop()
        lost = {}
        for name in before:
            numbers = self.stored(name)[before[name]:]
            missing = sorted(set(range(share)) - set(numbers))
            runs = sum(1 for i, n in enumerate(missing) if i == 0 or missing[i - 1] != n - 1)
            lost[name] = f"{len(missing)} in {runs} places"
            if runs > kills or len(missing) > kills * LOST_PER_BREAK_MAX:
                self.fault(f"{name}: {len(missing)} messages miss in {runs} places, after {kills} broken connections")
        print(f"killed: {kills} times while {count} messages were sent; cut off on their way: {lost}", flush=True)

    def received(self, before):
        """How many of each daemon have come since."""
        return [self.query("SELECT coalesce(sum(record_count), 0)::bigint FROM audit_sender WHERE node = %s", name)[0][0] - count
                for name, count in before.items()]

    def run(self):
        """Exit status."""
        try:
            self.start()
            self.run_undisturbed(self.count // 2)
            self.run_killed(self.count - self.count // 2)
            verified = self.server.command("audit", "verify", check=False)
            print(verified.stdout.strip(), flush=True)
            if verified.returncode:
                self.fault(f"audit verify: {verified.stdout} {verified.stderr}")
        finally:
            self.server.close()
            shutil.rmtree(self.folder, ignore_errors=True)
        print(f"{self.count} messages: {len(self.faults)} faults")
        return 1 if self.faults else 0
