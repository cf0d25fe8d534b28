"""Failing system calls: strace makes one call of the running server fail, at a file of one kind.

Never a Success that is not durable; after a failed sync the process takes no more writes (C6); a full disk is refused and over
when there is space. After each: kill -9, restart, the checks of the durability contract.
"""

import collections
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

from tests.fault import check, kill, site as sites, workload
from tests.integration import common

# What fails, where (folder below data_dir; None: anywhere), with which error, and whether the process must take no more writes afterwards.
Case = collections.namedtuple("Case", "call folder error stops_writing")

CASES = [
    Case("fdatasync", "blobs/segments", "EIO", True),
    Case("fdatasync", "blobs/segments", "ENOSPC", True),
    Case("pwrite64,pwritev,write,writev", "blobs/segments", "EIO", True),
    Case("pwrite64,pwritev,write,writev", "blobs/segments", "ENOSPC", False),
    Case("fsync", None, "EIO", True),  # nobody but the writer of large documents calls it: the file, then its folder
    Case("fsync", None, "ENOSPC", None),  # the upload is thrown away, its file is never synced again
    Case("fsync,fdatasync", "blobs/files", "EIO", True),
    Case("rename,renameat,renameat2", "blobs/files", "EIO", None),
    Case("rename,renameat,renameat2", "blobs/files", "ENOSPC", False),
    Case("fdatasync,fsync,msync", "locator", "EIO", True),
    Case("pwrite64,pwritev,write,writev", "locator", "EIO", True),
    Case("fdatasync,fsync", "audit", "EIO", None),
    Case("pwrite64,pwritev,write,writev", "audit", "EIO", None),
    Case("pwrite64,pwritev,write,writev", "audit", "ENOSPC", None),
]
ATTACH_S = 10
WORK_S = 1.0
HIT_S = 20  # until the call is made; that takes some 0.1 s
EXIT_NOT_POSSIBLE = 77


def name(case):
    """A case as the run prints it."""
    return f"{case.call.split(',')[0]} of {case.folder or 'any file'} {case.error}"


def paths_of(data, folder):
    """Files and folders to watch: strace matches descriptors by path, so those that exist, and the folder itself."""
    found = [data / folder] + sorted(p for p in (data / folder).rglob("*"))
    return [str(p) for p in found[-400:]]


class Errors:
    """The cycles of one run; every case in turn."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.ledger = workload.Ledger()
        self.tally = check.Tally()
        self.site = None
        self.hits = {}  # {Case: how often it happened} of those that were tried

    def strace(self, case):
        """Attaches; gives the process and its log. Every later call of the chosen kind by one thread fails once."""
        log = pathlib.Path(self.site.repository.dir) / "strace.log"
        log.unlink(missing_ok=True)
        data = sites.data_dir(self.site)
        command = ["strace", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={case.call}",
                   "-e", f"inject={case.call}:error={case.error}:when={self.random.randint(1, 2)}"]
        for path in paths_of(data, case.folder) if case.folder else ():
            command += ["-P", path]
        process = subprocess.Popen([*command, "-p", str(self.site.repository.process.pid)], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + ATTACH_S
        status = pathlib.Path(f"/proc/{self.site.repository.process.pid}/status")
        while time.monotonic() < deadline and process.poll() is None:
            if not re.search(r"^TracerPid:\s+0$", status.read_text(encoding="ascii"), re.M):
                return process, log
            time.sleep(0.01)
        return None, log

    def cycle(self, case):
        """One life in which a call fails."""
        first = len(self.ledger.operations)
        tracer, log = self.strace(case)
        if tracer is None:
            return False
        self.ledger.may_refuse = True
        workers = workload.start_workers(self.site, self.ledger, self.random.randrange(1 << 30))
        deadline = time.monotonic() + HIT_S
        while time.monotonic() < deadline and "(INJECTED)" not in (log.read_text() if log.exists() else ""):
            time.sleep(0.02)
        time.sleep(0.3)
        hit = [line for line in log.read_text().splitlines() if "(INJECTED)" in line] if log.exists() else []
        self.hits[case] = self.hits.get(case, 0) + bool(hit)
        workload.stop_workers(workers)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        if hit and case.stops_writing is not None:
            self.check_refusal(case, hit)
        self.site.kill_servers()
        self.ledger.may_refuse = False
        self.site.start()
        fresh = self.ledger.operations[first:]
        earlier = self.random.sample(self.ledger.operations[:first], min(kill.CHECKED_AGAIN, first))
        check.Checker(self.site, self.tally).run(fresh + earlier)
        self.tally.other += [f"fsck after {case}: {line}" for line in self.site.findings("fsck")]
        return True

    def check_refusal(self, case, hit):
        """C6: the store that can no longer be trusted takes nothing more; the one that was only full does again."""
        clients = self.site.clients()
        operation = workload.Operation("provide", common.submission("P1", os.urandom(100)))
        self.ledger.add(operation)
        try:
            reply = operation.send(clients)
            is_accepted = reply.outcome == "Success"
            operation.state = "acknowledged" if is_accepted else "unknown"
        except workload.BROKEN:
            is_accepted = False
        clients.close()
        is_alive = self.site.repository.process.poll() is None
        if case.stops_writing and is_accepted:
            self.tally.other.append(f"{case}: a write was accepted after {hit}")
        if case.stops_writing and is_alive and self.site.repository.is_ready():
            self.tally.other.append(f"{case}: /health/ready still says 200 after {hit}")
        if not case.stops_writing and not (is_accepted and is_alive):
            self.tally.other.append(f"{case}: writes are refused although only one call failed for space")

    def run(self):
        """All cycles; gives the exit status."""
        if not shutil.which("strace"):
            print("errors: skipped, strace is not installed")
            return EXIT_NOT_POSSIBLE
        self.site = sites.Site()
        number = 0
        try:
            self.site.start()
            self.site.feed()
            # every folder has a file before the first call fails
            workers = workload.start_workers(self.site, self.ledger, 1)
            time.sleep(WORK_S)
            workload.stop_workers(workers)
            for number in range(1, self.arguments.cycles + 1):
                case = CASES[(number - 1) % len(CASES)]
                is_attached = self.cycle(case)
                if not is_attached and number == 1:
                    print("errors: skipped, strace cannot attach here (ptrace)")
                    return EXIT_NOT_POSSIBLE
                if not is_attached:
                    self.tally.other.append(f"{name(case)}: strace could attach before, but not any more")
                if self.tally.has_failed and not self.arguments.keep_going:
                    break
        finally:
            self.site.close()
        print("failed calls hit: " + ", ".join(f"{name(case)} {count}" for case, count in self.hits.items()))
        self.tally.other += [f"never happened: {name(case)}" for case, count in self.hits.items() if not count]
        return kill.report(self.ledger, self.tally, number, None, self.site)
