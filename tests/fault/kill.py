"""kill -9 at random times and at every numbered step, of servers, of PostgreSQL, of both."""

import random
import re
import time

from tests.fault import check, site as sites, workload
from tests.harness import server as harness

WORK_S = 0.35
STEP_TIMEOUT_S = 2.5
CHECKED_AGAIN = 60  # operations of earlier cycles that each check looks at once more
# Only the sweep passes it, an hour after the blob was written; unit tests of the store cover it.
OUT_OF_REACH = {"blob.delete_unnamed"}
IMAGING = harness.ROOT / "repository" / "imaging"  # has steps of its own, which imaging.py passes
REMOTE_ONLY = {"iti41.pending", "iti41.answered"}
LOCAL_ONLY = {"iti41.registered"}


def steps(two_processes):
    """Every fail_point() of the sources that the workload can reach; update.py passes those of updates and removals, backup.py and
    tests/integration those of backups and migrations."""
    found = set()
    for folder in ("repository", "registry", "atna", "pix", "server", "lib"):
        for source in (harness.ROOT / folder).rglob("*.c"):
            if source.name != "fail.c" and source.parent != IMAGING:
                found.update(re.findall(r'fail_point\("((?!backup|restore|migrate|iti57|iti62|iti86)[^"]+)"\)', source.read_text(encoding="utf-8")))
    return sorted(found - OUT_OF_REACH - (LOCAL_ONLY if two_processes else REMOTE_ONLY))


class Kill:
    """The cycles of one run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.site = sites.Site(arguments.two_processes)
        self.ledger = workload.Ledger()
        self.tally = check.Tally()
        self.reached = {}
        self.plan = []

    def next_end(self):
        """(who is killed, step or None); each step for server and for both, then random times."""
        if not self.plan:
            self.plan = [(who, step) for step in steps(self.arguments.two_processes) for who in ("server", "both")]
            self.plan += [(who, None) for who in ("server", "both", "server", "both", "postgres") for _ in range(3)]
            self.random.shuffle(self.plan)
        return self.plan.pop()

    def end(self, who, step):
        """Waits for the step or for a random time, then kills the rest."""
        if step:
            deadline = time.monotonic() + STEP_TIMEOUT_S
            while not self.site.has_ended() and time.monotonic() < deadline:
                time.sleep(0.002)
            self.reached[step] = self.reached.get(step, 0) + self.site.has_ended()
        else:
            time.sleep(self.random.uniform(0.02, WORK_S))
        if who == "postgres":
            self.ledger.may_refuse = True
            self.site.kill_postgres()
            time.sleep(0.2)
            return
        self.site.kill_servers()
        if who == "both":
            self.site.kill_postgres()

    def cycle(self):
        """One life and its end; the checks on the next one."""
        who, step = self.next_end()
        first = len(self.ledger.operations)
        if step:
            self.site.kill_servers()
            self.site.start(f"{step}:{self.random.randint(1, 4)}")
        workers = workload.start_workers(self.site, self.ledger, self.random.randrange(1 << 30))
        self.end(who, step)
        workload.stop_workers(workers)
        self.ledger.may_refuse = False
        if who == "postgres" and not self.site.wait_ready():
            self.tally.other.append("not ready again after PostgreSQL was killed")
        self.site.start()
        fresh = self.ledger.operations[first:]
        earlier = self.random.sample(self.ledger.operations[:first], min(CHECKED_AGAIN, first))
        check.Checker(self.site, self.tally).run(fresh + earlier)
        workload.forget_contents(fresh)
        self.tally.other += [f"fsck: {line}" for line in self.site.findings("fsck")]

    def run(self):
        """All cycles, then everything once more; gives the exit status."""
        began = time.monotonic()
        number = 0
        try:
            self.site.start()
            self.site.feed()
            for number in range(1, self.arguments.cycles + 1):
                self.cycle()
                if number % 25 == 0 or self.tally.has_failed:
                    print(f"cycle {number}: {len(self.ledger.operations)} operations, {time.monotonic() - began:.0f} s", flush=True)
                if self.tally.has_failed and not self.arguments.keep_going:
                    break
            self.finish()
        except BaseException:
            self.site.stop()
            raise
        has_all_steps = number >= 2 * len(steps(self.arguments.two_processes))
        status = report(self.ledger, self.tally, number, self.reached if has_all_steps else None, self.site)
        if status:
            self.site.stop()
            print(f"kept for a look: {', '.join(str(server.dir) for server in self.site.servers)}")
        else:
            self.site.close()
        return status

    def finish(self):
        """Every operation, every stored byte and the audit trail, after an orderly restart."""
        for server in reversed(self.site.servers):
            if server.stop() != 0:
                self.tally.other.append("an orderly stop did not exit with 0")
        self.tally.other += [f"fsck offline: {line}" for line in self.site.findings("fsck")]
        self.site.start()
        check.Checker(self.site, self.tally).run(self.ledger.operations)
        self.tally.other += [f"scrub: {line}" for line in self.site.findings("scrub")]
        for server in reversed(self.site.servers):
            server.stop()  # the outbox goes out
        check.check_audit(self.site, self.ledger, self.tally)


def report(ledger, tally, cycles, reached, site):
    """Prints the counts and the verdict; gives the exit status."""
    tally.other += ledger.complaints
    for name, texts in (("LOST", tally.lost), ("HALF VISIBLE", tally.half_visible), ("WRONG", tally.other)):
        for text in texts[:20]:
            print(f"{name}: {text}")
    kinds = {}
    for operation in ledger.operations:
        kinds[operation.kind] = kinds.get(operation.kind, 0) + 1
    print(f"operations: {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}")
    print(f"of those cut off: {tally.unknown_present} wholly present, {tally.unknown_absent} wholly absent; "
          f"{sum(ledger.delivered.values())} documents delivered, {len(ledger.answered)} queries answered")
    if reached is not None:
        print("steps killed at: " + ", ".join(f"{step} {count}" for step, count in sorted(reached.items())))
        missed = [step for step in steps(site.two_processes) if not reached.get(step)]
        if missed:
            print(f"steps never reached: {', '.join(missed)}")
    if tally.has_failed:
        print(f"{cycles} cycles: {len(tally.lost)} acknowledged lost, {len(tally.half_visible)} half visible, "
              f"{len(tally.other)} other faults")
        return 1
    print(f"{cycles} cycles: 0 acknowledged lost, 0 half visible, fsck clean")
    return 0
