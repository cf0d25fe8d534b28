"""kill -9 while documents and Folders are updated, replaced, deprecated, approved and removed (ITI-57, ITI-92, ITI-42, ITI-62).

Each cycle has slots of its own (changes.py), each with one writer. After the restart the history checker has the last word: what was
acknowledged is there whole, what was cut off wholly or not at all. Then each message that got no reply is sent again, byte for byte: it
is done now, or the answer says that it was done before.
"""

import random
import re
import threading
import time

import psycopg2

from tests.fault import changes
from tests.harness import server as harness

WORKERS = 6
CHECKED_AGAIN = 10  # slots of earlier cycles


def steps():
    """Every fail_point() of updates and removals."""
    found = set()
    for source in (harness.ROOT / "registry").glob("*.c"):
        found.update(re.findall(r'fail_point\("(iti(?:57|62)[^"]+)"\)', source.read_text(encoding="utf-8")))
    return sorted(found)


class UpdateKill:
    """The cycles of one run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.server = harness.Server()
        self.may_remove = False
        self.slots = []
        self.complaints = []
        self.counts = {"done": 0, "cut off": 0, "of those done": 0}
        self.reached = {}
        self.plan = []

    def next_step(self):
        """Each step, and as many random times."""
        if not self.plan:
            self.plan = steps() + [None] * len(steps())
            self.random.shuffle(self.plan)
        return self.plan.pop()

    def work(self, slot, hand, chance):
        """Changes of one slot until the server is gone."""
        try:
            while True:
                hand.change_any(slot, chance)
        except (*changes.BROKEN, psycopg2.Error):
            hand.close()

    def live(self, step):
        """Starts the server, lets the workers work, kills it. @return the hands"""
        self.server.environment.pop("MUSUBI_FAIL_AT", None)
        hand = changes.Hand(self.server, self.may_remove)
        number = len(self.slots)
        fresh = changes.make_slots(self.server, hand, range(number, number + WORKERS))
        hand.close()
        self.slots += fresh
        if step:
            self.server.kill()
            self.server.environment["MUSUBI_FAIL_AT"] = f"{step}:{self.random.randint(1, 3 if step.startswith('iti62') else 20)}"
            self.server.start()
        hands = [changes.Hand(self.server, self.may_remove, may_break=True) for _ in fresh]
        workers = [threading.Thread(target=self.work, args=(slot, hand, random.Random(self.random.random())))
                   for slot, hand in zip(fresh, hands)]
        for worker in workers:
            worker.start()
        if step:
            deadline = time.monotonic() + 4
            while self.server.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            self.reached[step] = self.reached.get(step, 0) + (self.server.process.poll() is not None)
        else:
            time.sleep(self.random.uniform(0.05, 0.8))
        self.server.kill()
        for worker in workers:
            worker.join(60)
        self.server.environment.pop("MUSUBI_FAIL_AT", None)
        self.server.start()
        return hands

    def check(self, hand, slot):
        """A slot as it is now must be explained by what was sent to it."""
        hand.read_all(self.slots, slot)
        if text := changes.explain(slot.initial, slot.history):
            self.complaints.append(f"slot {slot.number}: {text[:3000]}")

    def send_again(self, hand, slot, operation, message):
        """A message that got no reply; whether it was done shows in a state that explains the history with it or without it."""
        kept = [o for o in slot.history if o is not operation]
        was_done = changes.explain(slot.initial, kept) is not None
        reply = hand.soap.send("/registry", *message)
        texts = " ".join(f"{error[0]}: {error[1]}" for error in reply.errors)
        wanted = "UnresolvedReferenceException" if isinstance(operation, changes.Remove) else "treat as done"
        if was_done and wanted not in texts or not was_done and "treat as done" in texts:
            self.complaints.append(f"{operation} was {'' if was_done else 'not '}done, and its repetition gets {reply.outcome} {texts}")
        self.counts["of those done"] += was_done
        operation.ended = time.monotonic()
        operation.codes = changes.DONE if was_done else frozenset(error[0] for error in reply.errors)

    @staticmethod
    def note(slot, operation):
        """Which documents are there after it."""
        if isinstance(operation, changes.Remove):
            slot.drop(operation.unique_id)
        elif isinstance(operation, (changes.Replace, changes.Register)):
            slot.add(operation.new if isinstance(operation, changes.Replace) else operation.unique_id)

    def cycle(self):
        """One life, its end, and the checks."""
        earlier = self.random.sample(self.slots, min(CHECKED_AGAIN, len(self.slots)))
        hands = self.live(self.next_step())
        hand = changes.Hand(self.server, self.may_remove)
        for slot in earlier + self.slots[-WORKERS:]:
            self.check(hand, slot)
        unanswered = [item for other in hands for item in other.unanswered]
        self.counts["cut off"] += len(unanswered)
        for slot, operation, message in unanswered:
            self.send_again(hand, slot, operation, message)
            if operation.codes == changes.DONE:
                self.note(slot, operation)
            self.check(hand, slot)
        self.counts["done"] += sum(o.codes == changes.DONE and o.changes() for slot in self.slots[-WORKERS:] for o in slot.history)
        self.complaints += [problem for other in (*hands, hand) for problem in other.problems]
        hand.close()

    def finish(self):
        """Everything once more."""
        hand = changes.Hand(self.server, self.may_remove)
        for slot in self.slots:
            self.check(hand, slot)
        hand.close()
        self.complaints += changes.unsound(self.server)
        fsck = self.server.command("fsck", check=False)
        if fsck.returncode != 0:
            self.complaints.append(f"fsck: {fsck.stdout[-1500:]}")

    def run(self):
        """All cycles; gives the exit status."""
        number = 0
        try:
            self.server.start()
            self.may_remove = changes.offers_removal(self.server)
            for number in range(1, self.arguments.cycles + 1):
                self.cycle()
                if self.complaints and not self.arguments.keep_going:
                    break
                if number % 50 == 0:
                    print(f"cycle {number}: {self.counts}", flush=True)
            self.finish()
        finally:
            self.server.close()
        for complaint in self.complaints[:20]:
            print(f"  {complaint}")
        print("steps killed at: " + ", ".join(f"{step} {count}" for step, count in sorted(self.reached.items())))
        print(f"update: {number} cycles, {len(self.slots)} slots, {self.counts}: {len(self.complaints)} not kept or half done")
        return 1 if self.complaints else 0
