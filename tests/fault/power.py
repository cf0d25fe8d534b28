"""Power cuts: blobs, locator, PostgreSQL and audit each on an ext4 of its own, which is shut down without flushing its journal.

EXT4_IOC_SHUTDOWN stops every write to the device at once, as a power cut does to a disk; what the file system had not written is
gone after the next mount. All processes are frozen before and killed after: where the power is cut nothing runs any more, but a
file system that is shut down under a running process may let a sync that was under way end as if it had succeeded. Needs root and
loop devices.
"""

import fcntl
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time

from tests.fault import check, kill, site as sites, workload
from tests.harness import server as harness

EXT4_IOC_SHUTDOWN = 0x8004587D
WITHOUT_LOG_FLUSH = 2
VOLUMES = ("blobs", "locator", "postgres", "audit")
IMAGE_BYTES = 8 << 30  # sparse; WAL may grow to max_wal_size
WORK_S = 0.6
UNMOUNT_S = 30
FREEZE_S = 0.01
EXIT_NOT_POSSIBLE = 77


class NotPossible(Exception):
    """This machine does not let us mount."""


def _run(*command):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise NotPossible(f"{command[0]}: {result.stderr.strip()}")


class Disks:
    """The file systems of one data directory."""

    def __init__(self, folder):
        self.images = folder / "images"
        self.data = folder / "data"
        self.images.mkdir(parents=True)
        self.data.mkdir()
        for name in VOLUMES:
            image = self.images / name
            with open(image, "wb") as file:
                file.truncate(IMAGE_BYTES)
            _run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", image)
            (self.data / name).mkdir()

    def mount(self):
        """Mounts all; a journal is replayed."""
        user = harness.service_user()
        for name in VOLUMES:
            _run("mount", "-o", "loop", self.images / name, self.data / name)
            os.chown(self.data / name, user.pw_uid, user.pw_gid)
            os.chmod(self.data / name, 0o700)
            lost = self.data / name / "lost+found"
            if lost.is_dir():
                lost.rmdir()

    def cut(self, order):
        """The power goes."""
        handles = [os.open(self.data / name, os.O_RDONLY) for name in order]
        for handle in handles:
            fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
        for handle in handles:
            os.close(handle)

    def unmount(self):
        """Unmounts all; waits for processes that are just ending."""
        for name in VOLUMES:
            deadline = time.monotonic() + UNMOUNT_S
            while os.path.ismount(self.data / name) and time.monotonic() < deadline:
                if subprocess.run(["umount", self.data / name], capture_output=True, check=False).returncode != 0:
                    time.sleep(0.05)


def build_no_sync(folder):
    """Compiles the library of the mutant proof."""
    library = folder / "no_sync.so"
    _run("cc", "-shared", "-fPIC", "-O1", "-o", library, pathlib.Path(__file__).with_name("no_sync.c"))
    return library


class Power:
    """The cycles of one run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.ledger = workload.Ledger()
        self.tally = check.Tally()
        self.disks = None
        self.site = None
        self.databases = set()  # processes of PostgreSQL, noted before their folder cannot be read

    def run(self):
        """All cycles; gives the exit status."""
        if os.geteuid() != 0:
            print("power: skipped, it needs root (mount, loop devices)")
            return EXIT_NOT_POSSIBLE
        folder = pathlib.Path(tempfile.mkdtemp(prefix="musubi-power-"))
        os.chmod(folder, 0o755)
        try:
            self.disks = Disks(folder)
            self.disks.mount()
        except (NotPossible, OSError) as reason:
            print(f"power: skipped, no loop mounts here: {reason}")
            shutil.rmtree(folder, ignore_errors=True)
            return EXIT_NOT_POSSIBLE
        environment = {}
        if self.arguments.without_sync:
            environment = {"LD_PRELOAD": str(build_no_sync(folder)), "MUSUBI_NO_SYNC_DIR": str(self.disks.data / self.arguments.without_sync)}
        self.site = sites.Site(data_dir=folder, wrapper_environment=environment)
        try:
            return self.cycles()
        finally:
            self.power_off()
            shutil.rmtree(folder, ignore_errors=True)

    def power_off(self):
        """Ends everything that was started here, also after a fault of the test itself."""
        try:
            databases = sites.with_children(self.site.postmasters())
        except OSError:  # the file system is shut down
            databases = self.databases
        self.site.kill_servers()
        sites.signal_all(databases, signal.SIGKILL)
        self.disks.unmount()

    def cycles(self):
        """Power on, work, power off; the checks after each."""
        self.site.start()
        self.site.feed()
        for number in range(1, self.arguments.cycles + 1):
            self.cycle()
            if number % 10 == 0 or self.tally.has_failed:
                print(f"cycle {number}: {len(self.ledger.operations)} operations", flush=True)
            if self.tally.has_failed and not self.arguments.keep_going:
                break
        self.site.stop()  # the outbox goes out
        check.check_audit(self.site, self.ledger, self.tally)
        if self.arguments.without_sync:
            return self.judge_mutant(number)
        return kill.report(self.ledger, self.tally, number, None, self.site)

    def cycle(self):
        """One power cut."""
        first = len(self.ledger.operations)
        workers = workload.start_workers(self.site, self.ledger, self.random.randrange(1 << 30))
        time.sleep(self.random.uniform(0.05, WORK_S))
        order = list(VOLUMES)
        self.random.shuffle(order)
        self.databases = sites.with_children(self.site.postmasters())
        sites.signal_all({self.site.repository.process.pid, *self.databases}, signal.SIGSTOP)
        time.sleep(FREEZE_S)
        self.disks.cut(order)
        self.site.kill_servers()
        sites.signal_all(self.databases, signal.SIGKILL)
        workload.stop_workers(workers)
        self.disks.unmount()
        self.disks.mount()
        self.site.start()
        fresh = self.ledger.operations[first:]
        earlier = self.random.sample(self.ledger.operations[:first], min(kill.CHECKED_AGAIN, first))
        check.Checker(self.site, self.tally).run(fresh + earlier)
        self.tally.other += [f"fsck: {line}" for line in self.site.findings("fsck")]

    def judge_mutant(self, cycles):
        """Without syncs the test has to see losses."""
        found = len(self.tally.lost) + len(self.tally.half_visible) + len(self.tally.other)
        print(f"{cycles} cycles without sync of {self.arguments.without_sync}: {found} faults seen"
              + ("; the power test notices" if found else "; THE POWER TEST IS BLIND"))
        return 0 if found else 1
