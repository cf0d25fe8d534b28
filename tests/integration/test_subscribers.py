"""Who is told of changes: PIX consumers (ITI-10, ITI-46) and other registries (ITI-8, ITI-64), in order, whatever fails."""

import itertools
import json
import shutil
import unittest
import uuid

from lxml import etree

from conformance import client as xds, schemas
from tests.harness import receivers, server as harness
from tests.harness.waiting import PATIENCE_S, becomes, wait_until
from tests.integration import common

A = "1.2.392.99999.7.1"
B = "1.2.392.99999.7.2"
FEED = (harness.ROOT / "conformance" / "given" / "v3_add.xml").read_text(encoding="utf-8")
QUERY = (harness.ROOT / "conformance" / "given" / "v3_pix_query.xml").read_text(encoding="utf-8")


def fill(template, **values):
    """A message of conformance/given with its variables."""
    for name, value in {"control": uuid.uuid4().hex[:16], "now": "20260401090000", **values}.items():
        template = template.replace("${" + name + "}", value)
    for name, value in {"family": "試験", "given": "花子", "gender": "F", "birth": "19560401"}.items():
        template = template.replace("${" + name + "|" + value + "}", values.get(name, value))
    return template


class SubscriberCase(unittest.TestCase):
    """One server, two hospitals A and B; each test has its own subscribers."""

    @classmethod
    def setUpClass(cls):
        cls.certs = common.make_certs(("server", "gateway-a", "stranger"))
        cls.server = harness.Server(certs=cls.certs)
        cls.addClassCleanup(shutil.rmtree, cls.certs, True)
        cls.addClassCleanup(cls.server.close)
        cls.server.start()
        for oid, namespace in ((A, "HOSPA"), (B, "HOSPB")):
            cls.server.command("authority", "add", oid, "--namespace", namespace, "--source", "*|*")
        cls.server.wait_until_refreshed()

    def setUp(self):
        self.soap = common.client(self.server)
        self.addCleanup(self.soap.close)

    def receiver(self, *arguments, kind="consumer-v2", maker=receivers.MllpReceiver, **options):
        """A receiver that is subscribed until the end of the test."""
        receiver = maker(**options)
        receiver.name = f"r{uuid.uuid4().hex[:8]}"
        self.server.command("subscriber", "add", receiver.name, "--kind", kind, "--url", receiver.url(), *arguments)
        self.addCleanup(receiver.stop)
        self.addCleanup(self.server.command, "subscriber", "remove", receiver.name)
        self.server.wait_until_refreshed()
        return receiver

    def feed(self, *identifiers, **values):
        """ITI-44 of one patient with these (domain, id); each feed has a name of its own unless it says so."""
        values = {"family": uuid.uuid4().hex, "given": uuid.uuid4().hex, **values}
        message = fill(FEED, root=identifiers[0][0], id=identifiers[0][1], **values)
        more = "".join(f'<id root="{root}" extension="{extension}"/>' for root, extension in identifiers[1:])
        message = message.replace('<statusCode code="active"/>\n            <patientPerson',
                                  more + '<statusCode code="active"/>\n            <patientPerson')
        action = "urn:hl7-org:v3:" + etree.QName(etree.fromstring(message)).localname
        return self.soap.send("/pix", action, message)

    def known(self, *identifiers, **values):
        """As feed(), and it was taken."""
        reply = self.feed(*identifiers, **values)
        self.assertEqual(reply.outcome, "CA", reply.raw)

    def cross_references(self, domain, value):
        """{(domain, id)} that ITI-45 gives."""
        message = fill(QUERY, root=domain, id=value)
        reply = self.soap.send("/pix", "urn:hl7-org:v3:PRPA_IN201309UV02", message)
        return {(i.get("root"), i.get("extension")) for i in reply.envelope.iterfind(".//hl7:patient/hl7:id", xds.NS)}

    def listed(self, receiver):
        """Its row of musubi subscriber list."""
        rows = json.loads(self.server.command("subscriber", "list", "--json").stdout)
        return next(row for row in rows if row["name"] == receiver.name)

    def wait_until_told(self, receiver):
        """Until the server has read the answer to all that it has for the receiver."""
        wait_until(lambda: self.listed(receiver)["queued"] == 0, lambda: self.listed(receiver))


def told(message):
    """PID-3 of an ITI-10 message: {id}."""
    return {cx.split("^")[0] for cx in receivers.field(message, "PID", 3).split("~")}


class Consumers(SubscriberCase):
    """ITI TF-2 3.10, 3.46."""

    def test_consumer_hears_of_its_own_domains_alone(self):
        """TF-2 3.10.4.1.2: restricted to the domains of interest"""
        receiver = self.receiver("--authorities", "HOSPA", "--receiver", "EMR|CLINIC")
        self.known((B, "only-b-1"))
        self.known((A, "a-1"), (B, "b-1"))
        messages = receiver.wait(1)
        self.wait_until_told(receiver)
        self.assertEqual([told(m) for m in receiver.messages], [{"a-1"}])
        message = messages[0]
        self.assertEqual(receivers.field(message, "PID", 3), f"a-1^^^HOSPA&{A}&ISO")
        self.assertEqual(receivers.field(message, "PID", 5), " ")
        self.assertEqual(receivers.field(message, "PV1", 2), "N")
        self.assertEqual([receivers.field(message, "MSH", n) for n in (5, 6, 9, 12, 18, 21)],
                         ["EMR", "CLINIC", "ADT^A31^ADT_A05", "2.5", "UNICODE UTF-8", "ITI-10^IHE"])
        self.assertLessEqual(len(receivers.field(message, "MSH", 10)), 20)

    def test_feed_that_changes_no_identifier_of_the_domains_tells_nothing(self):
        """TF-2 3.10.4.1.2: only a change of the set is told"""
        receiver = self.receiver("--authorities", "HOSPA")
        name = {"family": uuid.uuid4().hex, "given": uuid.uuid4().hex}
        self.known((A, "a-2"), **name)
        self.known((A, "a-2"), birth="19560402", **name)
        self.known((A, "a-2"), (B, "b-2"), **name)
        self.known((A, "a-2-last"))
        self.assertEqual([told(m) for m in receiver.wait(2)], [{"a-2"}, {"a-2-last"}])

    def test_split_gives_a_message_for_each_resulting_set(self):
        """TF-2 3.10.4.1.2: A and AD, then each alone"""
        receiver = self.receiver("--authorities", "HOSPA,HOSPB")
        self.known((A, "a-3"))
        self.known((B, "b-3"))
        self.server.command("patient", "link", "HOSPA:a-3", "HOSPB:b-3")
        self.server.command("patient", "unlink", "HOSPA:a-3", "HOSPB:b-3")
        messages = [told(m) for m in receiver.wait(5)]
        self.assertEqual(messages[:3], [{"a-3"}, {"b-3"}, {"a-3", "b-3"}])
        self.assertCountEqual([tuple(m) for m in messages[3:]], [("a-3",), ("b-3",)])

    def test_what_waits_for_a_receiver_that_was_away_comes_in_order(self):
        receiver = self.receiver("--authorities", "HOSPA")
        self.known((A, "a-4-0"))
        receiver.wait(1)
        self.wait_until_told(receiver)
        receiver.stop()
        expected = [f"a-4-{n}" for n in range(5)]
        for value in expected[1:]:
            self.known((A, value))
        wait_until(lambda: self.listed(receiver)["last_failure"] != "")
        self.assertEqual(self.listed(receiver)["queued"], 4)
        receiver.start()
        self.assertEqual([min(told(m)) for m in receiver.wait(5)], expected)
        self.wait_until_told(receiver)

    def test_rejected_message_is_sent_again_before_the_next(self):
        """TF-2 C.2.3: AR, the sender may send the same again"""
        answers = itertools.chain(["AR", None], itertools.repeat("AA"))
        receiver = self.receiver("--authorities", "HOSPA", answer=lambda message: next(answers))
        self.known((A, "a-5-0"))
        self.known((A, "a-5-1"))
        messages = receiver.wait(4)
        self.assertEqual([min(told(m)) for m in messages], ["a-5-0"] * 3 + ["a-5-1"])
        self.assertEqual(len({receivers.field(m, "MSH", 10) for m in messages[:3]}), 1)

    def test_refused_message_is_kept_and_the_next_goes_on(self):
        """TF-2 C.2.3: AE, the same again will not do"""
        answer = ["AE"]
        receiver = self.receiver("--authorities", "HOSPA",
                                 answer=lambda message: answer[0] if "a-6-0" in message else "AA")
        self.known((A, "a-6-0"))
        self.known((A, "a-6-1"))
        self.assertEqual([min(told(m)) for m in receiver.wait(2)], ["a-6-0", "a-6-1"])
        self.wait_until_told(receiver)
        row = self.listed(receiver)
        self.assertEqual(row["refused"], 1)
        self.assertIn("Unknown key identifier", row["last_failure"])
        self.assertIn("musubi_subscriber_refused_messages 1", self.server.admin("/metrics"))
        answer[0] = "AA"
        self.server.command("subscriber", "retry", receiver.name)
        self.assertEqual(min(told(receiver.wait(3)[2])), "a-6-0")
        wait_until(lambda: self.listed(receiver)["refused"] == 0)

    def test_refused_message_that_was_superseded_is_not_told_after_what_is_newer(self):
        answer = ["AE"]
        receiver = self.receiver("--authorities", "HOSPA,HOSPB", answer=lambda message: answer[0])
        name = {"family": uuid.uuid4().hex, "given": uuid.uuid4().hex}
        self.known((A, "a-7"), **name)
        receiver.wait(1)
        wait_until(lambda: self.listed(receiver)["refused"] == 1)
        answer[0] = "AA"
        self.known((A, "a-7"), (B, "b-7"), **name)
        receiver.wait(2)
        self.server.command("subscriber", "retry", receiver.name)
        wait_until(lambda: self.listed(receiver)["refused"] == 0)
        self.wait_until_told(receiver)
        self.assertEqual([told(m) for m in receiver.messages], [{"a-7"}, {"a-7", "b-7"}])

    def test_queue_outlives_the_server(self):
        """kill -9: what was committed with the change is sent by the next process"""
        receiver = self.receiver("--authorities", "HOSPA")
        receiver.stop()
        expected = [f"a-8-{n}" for n in range(3)]
        for value in expected:
            self.known((A, value))
        self.server.kill()
        self.server.start()
        receiver.start()
        self.server.command("subscriber", "retry", receiver.name)
        self.assertEqual([min(told(m)) for m in receiver.wait(3)], expected)

    def test_kill_between_the_answer_and_its_row_sends_twice_and_loses_nothing(self):
        receiver = self.receiver("--authorities", "HOSPA")
        self.server.stop()
        self.server.environment["MUSUBI_FAIL_AT"] = "notification.answered"
        self.server.start()
        self.soap.close()
        self.soap = common.client(self.server)
        self.known((A, "a-9"))
        self.server.process.wait(PATIENCE_S)
        del self.server.environment["MUSUBI_FAIL_AT"]
        self.server.start()
        self.assertEqual([min(told(m)) for m in receiver.wait(2)], ["a-9", "a-9"])
        self.assertEqual(len({receivers.field(m, "MSH", 10) for m in receiver.messages}), 1)

    def test_consumer_over_mutual_tls(self):
        """TF-2 3.19: MLLP inside TLS, our certificate shown"""
        receiver = self.receiver("--authorities", "HOSPA", tls=receivers.tls_context(self.certs, "gateway-a"))
        self.known((A, "a-10"))
        self.assertEqual([told(m) for m in receiver.wait(1)], [{"a-10"}])

    def test_nothing_is_told_to_another_certificate_than_the_one_pinned(self):
        receiver = self.receiver("--authorities", "HOSPA", "--fingerprint", "ab" * 32,
                                 tls=receivers.tls_context(self.certs, "stranger"))
        self.known((A, "a-11"))
        wait_until(lambda: "fingerprint" in self.listed(receiver)["last_failure"])
        self.assertEqual(receiver.messages, [])

    def test_consumer_of_hl7_v3(self):
        """TF-2 3.46.4.1.2"""
        receiver = self.receiver("--authorities", "HOSPA", "--receiver", "1.2.392.99999.8", kind="consumer-v3",
                                 maker=receivers.SoapReceiver, tls=receivers.tls_context(self.certs, "gateway-a"))
        self.known((A, "a-12"), (B, "b-12"))
        messages = receiver.wait(1)
        body = etree.fromstring(messages[0].encode()).find("soap:Body", xds.NS)[0]
        self.assertEqual([(i.get("root"), i.get("extension")) for i in body.iterfind(".//hl7:patient/hl7:id", xds.NS)],
                         [(A, "a-12")])
        self.assertEqual(body.find("hl7:receiver/hl7:device/hl7:id", xds.NS).get("root"), "1.2.392.99999.8")
        self.assertIsNone(schemas.fault(body))
        self.wait_until_told(receiver)

    def test_each_message_is_audited(self):
        """TF-2 3.10.5.1: a record of the Patient Record event with the identifiers"""
        receiver = self.receiver("--authorities", "HOSPA")
        self.known((A, "a-13"))
        message = receiver.wait(1)[0]
        lines = becomes(lambda: [line for line in self.server.command("audit", "search", "ITI-10", check=False).stdout.splitlines()
                                 if "a-13^^^" in line])
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(receiver.url(), lines[0])
        self.assertTrue(receivers.field(message, "MSH", 10))


class Registries(SubscriberCase):
    """We are the Patient Identity Source of the affinity domain (ITI TF-2 3.8, 3.64)."""

    def registry(self, *arguments, answer=None):
        """A receiver that knows all patients of the tests before, and from now on answers as told."""
        registry = self.receiver(*arguments, kind="registry")
        self.wait_until_told(registry)
        registry.answer = answer or registry.answer
        registry.messages.clear()
        return registry

    def xad_pid(self, domain, value):
        """The identifier of the affinity domain that ITI-45 gives; None: none."""
        return next((i for root, i in self.cross_references(domain, value) if root == harness.AUTHORITY), None)

    def test_registry_knows_an_identifier_before_it_is_handed_out(self):
        """TF-2 3.8.4.1: ITI-8 A04 first"""
        registry = self.registry("--receiver", "XDSREG|REGION")
        self.known((A, "r-1"))
        value = self.xad_pid(A, "r-1")
        message = registry.wait(1)[0]
        self.assertEqual(receivers.field(message, "PID", 3).split("^")[0], value)
        self.assertEqual([receivers.field(message, "MSH", n) for n in (5, 6, 9, 12)],
                         ["XDSREG", "REGION", "ADT^A04^ADT_A01", "2.3.1"])
        self.assertIn("^", receivers.field(message, "PID", 5))

    def test_identifier_is_not_handed_out_until_every_registry_has_acknowledged(self):
        answer = ["AR"]
        first = self.registry()
        second = self.registry(answer=lambda message: answer[0])
        consumer = self.receiver("--authorities", harness.AUTHORITY)
        name = {"family": uuid.uuid4().hex, "given": uuid.uuid4().hex}
        reply = self.feed((A, "r-2"), **name)
        self.assertNotEqual(reply.outcome, "CA", reply.raw)
        self.assertIsNone(self.xad_pid(A, "r-2"))
        self.assertEqual(len(first.wait(1)), 1)
        self.assertEqual(consumer.messages, [])
        answer[0] = "AA"
        self.known((A, "r-2"), **name)
        value = self.xad_pid(A, "r-2")
        self.assertIsNotNone(value)
        self.assertEqual(told(second.messages[-1]), {value})
        self.assertEqual([told(m) for m in consumer.wait(1)], [{value}])

    def test_sender_of_hl7_v2_gets_ar_until_the_registry_has_acknowledged(self):
        """TF-2 C.2.3: AR 207, the sender may send the same again"""
        registry = self.registry(answer=lambda message: None)
        message = xds.adt("A04", f"r-6^^^HOSPA&{A}&ISO", name=f"{uuid.uuid4().hex}^{uuid.uuid4().hex}")
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
        self.addCleanup(mllp.close)
        reply = mllp.send(message)
        self.assertEqual(xds.acknowledgement(reply), "AR", reply)
        self.assertIn("207^", reply)
        registry.answer = lambda message: "AA"
        reply = mllp.send(message)
        self.assertEqual(xds.acknowledgement(reply), "AA", reply)
        self.assertIsNotNone(self.xad_pid(A, "r-6"))

    def test_merge_and_move_follow_the_announcements_in_order(self):
        """TF-2 3.8.4.2, 3.64.4.1.2"""
        registry = self.registry()
        self.known((A, "r-3"))
        self.known((B, "r-4"))
        one, other = self.xad_pid(A, "r-3"), self.xad_pid(B, "r-4")
        self.server.command("patient", "link", "HOSPA:r-3", "HOSPB:r-4")
        messages = registry.wait(3)
        self.assertEqual([receivers.field(m, "MSH", 9) for m in messages[:2]], ["ADT^A04^ADT_A01"] * 2)
        self.assertEqual([min(told(m)) for m in messages[:2]], [one, other])
        move = messages[2]
        self.assertEqual(receivers.field(move, "MSH", 9), "ADT^A43^ADT_A43")
        self.assertEqual(receivers.field(move, "MSH", 3), f"^{harness.AUTHORITY}^ISO")
        own, local = receivers.field(move, "PID", 3).split("~")
        previous = receivers.field(move, "MRG", 1)
        self.assertEqual([cx.split("^")[0] for cx in (own, local, previous)], [one, "r-4", other])
        self.assertEqual([cx.split("&")[1:] for cx in (own, local, previous)],
                         [[harness.AUTHORITY, "ISO"], [B, "ISO"], [harness.AUTHORITY, "ISO"]])

    def test_registry_that_comes_later_hears_of_all_patients(self):
        self.known((A, "r-7"), family="試験")
        value = self.xad_pid(A, "r-7")
        registry = self.receiver(kind="registry")
        wait_until(lambda: any(told(m) == {value} for m in registry.messages))
        self.assertIn("試験", "".join(registry.messages))

    def test_registry_that_is_removed_is_not_waited_for(self):
        registry = self.registry(answer=lambda message: None)
        name = {"family": uuid.uuid4().hex, "given": uuid.uuid4().hex}
        self.assertNotEqual(self.feed((A, "r-5"), **name).outcome, "CA")
        self.server.command("subscriber", "remove", registry.name)
        self.server.command("subscriber", "add", registry.name, "--kind", "registry", "--url", registry.url())
        self.assertIsNotNone(self.xad_pid(A, "r-5"))


class Commands(SubscriberCase):
    """What the operator writes."""

    def test_faults_of_a_subscriber_name_what_to_write(self):
        rows = [
            (("add", "x", "--kind", "friend", "--url", "mllps://h:1"), "--kind consumer-v2, consumer-v3 or registry"),
            (("add", "x", "--kind", "consumer-v2", "--url", "mllp://192.0.2.1:2575"), "mllps://HOST:PORT"),
            (("add", "x", "--kind", "consumer-v2", "--url", "https://h:1/p"), "mllps://HOST:PORT"),
            (("add", "x", "--kind", "consumer-v3", "--url", "http://127.0.0.1:80/p"), "https://HOST:PORT/PATH"),
            (("add", "x y", "--kind", "registry", "--url", "mllps://h:1"), "letters, digits"),
            (("add", "x", "--kind", "consumer-v2", "--url", "mllps://h:1", "--authorities", "NOBODY"), "no such authority"),
            (("add", "x", "--kind", "consumer-v2", "--url", "mllps://h:1", "--fingerprint", "12"), "64 hexadecimal digits"),
            (("add", "x", "--kind", "registry", "--url", "mllps://h:1", "--authorities", "HOSPA"), "leave --authorities out"),
        ]
        for arguments, expected in rows:
            with self.subTest(arguments=arguments):
                done = self.server.command("subscriber", *arguments, check=False)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(expected, done.stderr)
        self.assertEqual(self.server.command("subscriber", "list", "--json").stdout.strip(), "[]")
        self.assertEqual(self.server.command("subscriber", "remove", "x", check=False).returncode, 1)
