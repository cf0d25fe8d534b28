"""kill -9 of backup, server or PostgreSQL while others write; then everything is lost and restored.

After each cycle every generation that says it is whole must verify; one that the killed backup did not finish must not be listed. What
was acknowledged before the newest whole one began must come back byte for byte, with fsck and audit verify clean.
"""

import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

from tests.harness import server as harness
from tests.integration import common, test_backup

VICTIMS = ("backup", "backup", "server", "postgres", "nobody")
STEPS = ("backup.begun", "backup.database_dumped", "backup.piece_written", "backup.written", "backup.durable", None, None)
WORK_S = 0.8
LONGEST_S = 1.5  # until the victim is killed, unless a step does it
KEPT = 5  # generations
ASKED_AT_ONCE = 20
PATIENTS = test_backup.WRITERS


class Backup:
    """The cycles of one run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.server = harness.Server()
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="musubi-backup-"))
        self.folder = self.base / "kept"
        self.acknowledged = {}  # uniqueId: (time, bytes), of all cycles
        self.whole = []  # (generation, when it began)
        self.faults = []
        self.counts = collections.Counter()

    def generations(self):
        """What the folder says is whole."""
        if not self.folder.exists():
            return []
        output = test_backup.without_config("backup", "list", self.folder, "--json").stdout
        return [json.loads(line)["generation"] for line in output.splitlines()]

    def start_backup(self, step):
        """The process, killed at a step if one is given."""
        environment = dict(os.environ, **({"MUSUBI_FAIL_AT": step} if step else {}))
        return subprocess.Popen([str(harness.binary()), "backup", str(self.folder), "--keep", str(KEPT), "--config",
                                 str(self.server.config_path)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def kill(self, victim, process):
        """Ends the victim, unless the backup has ended before."""
        time.sleep(self.random.uniform(0, LONGEST_S))
        if victim == "backup":
            process.kill()
        elif victim == "server":
            self.server.kill()
        elif victim == "postgres" and self.server.postmaster_pid():
            os.kill(self.server.postmaster_pid(), signal.SIGKILL)

    def run_backup(self, victim):
        """One backup while others write, and what comes between."""
        before = self.generations()
        step = self.random.choice(STEPS) if victim == "backup" else None
        began = time.monotonic()
        process = self.start_backup(step)
        if not step and victim != "nobody":
            self.kill(victim, process)
        _, errors = process.communicate(timeout=120)
        status = process.returncode
        self.counts[f"{victim} {'whole' if status == 0 else 'not'}"] += 1
        new = [name for name in self.generations() if name not in before]
        if (status == 0) != bool(new) and status != -signal.SIGKILL:
            self.faults.append(f"status {status}, but new generations {new}: {errors.decode()[-500:]}")
        if victim == "nobody" and status:
            self.faults.append(f"an undisturbed backup failed: {errors.decode()[-500:]}")
        self.whole += [(name, began) for name in new]
        self.whole = [(name, since) for name, since in self.whole if name in self.generations()]

    def verify(self):
        """Every generation that is listed."""
        result = test_backup.without_config("backup", "verify", self.folder)
        if result.returncode not in (0, 2) or (result.returncode == 2 and self.whole):
            self.faults.append(f"verify: {result.stdout[-500:]}{result.stderr[-500:]}")

    def lose_and_restore(self):
        """All is lost; the newest whole generation comes back."""
        test_backup.lose(self.server)
        result = test_backup.run(self.server, "restore", self.folder)
        self.counts["restored"] += 1
        if result.returncode:
            self.faults.append(f"restore: {result.stdout[-500:]}{result.stderr[-500:]}")
            return
        _, began = self.whole[-1]
        self.server.start()
        self.acknowledged = {u: a for u, a in self.acknowledged.items() if a[0] < began}  # the rest may be lost
        self.look_for(list(self.acknowledged))

    def look_for(self, unique_ids):
        """Each is listed once, and comes as it was sent."""
        soap = common.client(self.server)
        for begin in range(0, len(unique_ids), ASKED_AT_ONCE):
            asked = unique_ids[begin:begin + ASKED_AT_ONCE]
            quoted = ",".join(f"'{u}'" for u in asked)
            reply = soap.query("GetDocuments", {"$XDSDocumentEntryUniqueId": f"({quoted})"}, "ObjectRef")
            if len(reply.objects("ObjectRef")) != len(asked):
                self.faults.append(f"LOST: {len(asked)} asked for, {len(reply.objects('ObjectRef'))} listed")
            documents = common.fetch(soap, *asked).documents()
            self.faults += [f"LOST: {u}" for u in asked if documents.get(u) != self.acknowledged[u][1]]
        soap.close()

    def cycle(self):
        """Work, a backup that something may end, and every few cycles a loss."""
        if self.server.process is None or self.server.process.poll() is not None:
            self.server.start()
        victim = self.random.choice(VICTIMS)
        with test_backup.Writers(self.server) as writers:
            time.sleep(WORK_S)
            self.run_backup(victim)
        self.acknowledged.update({a[2]: (a[0], a[3]) for a in writers.acknowledged})
        self.counts["acknowledged"] += len(writers.acknowledged)
        self.verify()
        if self.whole and self.random.random() < 0.3:
            self.lose_and_restore()

    def run(self):
        """The exit status."""
        try:
            self.server.start()
            common.feed(self.server, *(f"P{n + 1}" for n in range(PATIENTS)))
            for number in range(self.arguments.cycles):
                self.cycle()
                if self.faults and not self.arguments.keep_going:
                    print(f"cycle {number}")
                    break
            if self.whole and not self.faults:
                self.lose_and_restore()
        finally:
            self.server.close()
            shutil.rmtree(self.base, ignore_errors=True)
        print("\n".join(self.faults[:50]))
        print(f"{dict(self.counts)}, {len(self.faults)} faults")
        return 1 if self.faults else 0
