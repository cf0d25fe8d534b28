"""kill -9 while documents are registered and subscribers are told of them (ITI-53): what was acknowledged is told, in order.

Patients have a subscription each. After the restart every acknowledged registration must lead to at least one delivery, first deliveries in
the order of the registrations of their patient, and what comes twice must have the same MessageID and the same content. A registration
whose reply was cut off may be told or not.
"""

import hashlib
import http.client
import random
import threading
import time

from lxml import etree

from tests.harness import receivers, server as harness
from tests.integration import common, test_subscriptions

BROKEN = (OSError, http.client.HTTPException, ValueError, AssertionError, etree.XMLSyntaxError)
PATIENTS = 4
STEPS = ("subscription.matched", "subscription.answered", "iti42.inserted", "iti42.committed", None, None)
TOLD_WITHIN_S = 30


class Told:
    """What a consumer was told: each document with its first message, in their order."""

    def __init__(self):
        self.contents = {}
        self.count = self.repeats = 0
        self.has_changed = False

    def read(self, consumer):
        """What came since."""
        for message in consumer.messages[self.count:]:
            notice = test_subscriptions.Notice(message)
            self.count += 1
            content = (notice.message_id, hashlib.sha256(notice.raw).digest())
            self.repeats += notice.unique_ids[0] in self.contents
            self.has_changed = self.has_changed or self.contents.setdefault(notice.unique_ids[0], content) != content


class Notify:
    """The cycles of one run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.server = harness.Server()
        self.consumers = []
        self.told = [Told() for _ in range(PATIENTS)]
        self.acknowledged = [[] for _ in range(PATIENTS)]
        self.registered = 0
        self.complaints = []
        self.stopping = threading.Event()

    def subscribe(self):
        """A consumer and a subscription for each patient, for the whole run."""
        common.feed(self.server, *(f"P{n}" for n in range(PATIENTS)))
        soap = common.client(self.server)
        for number in range(PATIENTS):
            consumer = receivers.ReplyReceiver()
            body = test_subscriptions.subscribe_xml(consumer.url(), test_subscriptions.FULL, test_subscriptions.DOCUMENTS,
                                                    test_subscriptions.document_filter(f"P{number}"))
            reply = soap.send("/dsub", test_subscriptions.SUBSCRIBE, body)
            if reply.status != 200:
                raise AssertionError(reply.raw)
            self.consumers.append(consumer)
        soap.close()

    def work(self, number):
        """Registers documents of one patient, one after the other, until the server is gone."""
        try:
            soap = common.client(self.server, timeout_s=20)
            while not self.stopping.is_set():
                submission = common.submission(f"P{number}")
                self.registered += 1
                if soap.provide(submission).outcome == "Success":
                    self.acknowledged[number].append(submission.documents[0].unique_id)
        except BROKEN:
            pass

    def check(self, number):
        """What the consumer of a patient has got so far."""
        wanted, told = self.acknowledged[number], self.told[number]
        deadline = time.monotonic() + TOLD_WITHIN_S
        told.read(self.consumers[number])
        while not told.contents.keys() >= set(wanted) and time.monotonic() < deadline:
            time.sleep(0.2)
            told.read(self.consumers[number])
        missing = [unique_id for unique_id in wanted if unique_id not in told.contents]
        acknowledged = set(wanted)
        if missing:
            self.complaints.append(f"P{number}: {len(missing)} of {len(wanted)} acknowledged registrations were not told")
        elif [unique_id for unique_id in told.contents if unique_id in acknowledged] != wanted:
            self.complaints.append(f"P{number}: not told in the order of the registrations")
        if told.has_changed:
            self.complaints.append(f"P{number}: told twice with different messages")

    def cycle(self):
        """One life, its end, and the checks."""
        step = self.random.choice(STEPS)
        self.server.environment.pop("MUSUBI_FAIL_AT", None)
        if step:
            self.server.kill()
            self.server.environment["MUSUBI_FAIL_AT"] = f"{step}:{self.random.randint(1, 30)}"
            self.server.start()
        self.stopping.clear()
        workers = [threading.Thread(target=self.work, args=(number,)) for number in range(PATIENTS)]
        for worker in workers:
            worker.start()
        time.sleep(self.random.uniform(0.1, 1.2))
        self.server.kill()
        self.stopping.set()
        for worker in workers:
            worker.join(40)
        self.server.environment.pop("MUSUBI_FAIL_AT", None)
        self.server.start()
        for number in range(PATIENTS):
            self.check(number)

    def counts(self):
        """So far."""
        return (f"{self.registered} registrations sent, {sum(map(len, self.acknowledged))} acknowledged, "
                f"{sum(told.repeats for told in self.told)} told again")

    def run(self):
        """All cycles; gives the exit status."""
        number = 0
        try:
            self.server.start()
            self.subscribe()
            for number in range(1, self.arguments.cycles + 1):
                self.cycle()
                if number % 10 == 0:
                    print(f"cycle {number}: {self.counts()}", flush=True)
                if self.complaints and not self.arguments.keep_going:
                    break
            fsck = self.server.command("fsck", check=False)
            if fsck.returncode != 0:
                self.complaints.append(f"fsck: {fsck.stdout[-1500:]}")
        finally:
            for consumer in self.consumers:
                consumer.stop()
            self.server.close()
        for complaint in self.complaints[:20]:
            print(f"  {complaint}")
        print(f"notify: {number} cycles, {self.counts()}: {len(self.complaints)} faults")
        return 1 if self.complaints else 0
