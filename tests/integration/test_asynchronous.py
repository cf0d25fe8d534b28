"""Replies at an address that the request names (ITI TF-2 Appendix V.5), to real receivers with mutual TLS."""

import contextlib
import json
import os
import pathlib
import socket
import threading
import time

from conformance import client as xds
from tests.harness import certs, memory, receivers, saml
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import audit_records, common, test_xua

WSA = xds.NS["wsa"]
RETRY_S = 8  # where a test waits until a reply is given up; elsewhere far more
ATTEMPT_S = 10  # of the server, for the handshake with a receiver
BASE = {"server": {"plain_node": "feeder"}, "affinity_domain": {"pid_owner": "external"}}


def parsed(message):
    """What a receiver got, as a Reply."""
    head, body = message
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    return xds.parse_reply(200, headers, body)


def addressing(reply, name):
    """A WS-Addressing header."""
    return reply.envelope.findtext(f"soap:Header/wsa:{name}", namespaces=xds.NS)


def find_xml(number):
    """FindDocuments."""
    return xds.query_xml("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{common.patient(number)}'",
                                           "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"})


class Asynchronous(common.ServerCase):
    """Nodes of two hospitals, each with addresses of its own."""

    mode = "enforce"
    roles = ("gateway-a", "gateway-b", "stranger")
    settings = {**BASE, "asynchronous": {"retry_for": f"{PATIENCE_S}s"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("facility", "add", "Hospital A")
        cls.server.command("node", "add", "feeder", "--facility", "Hospital A", "--transactions", "*", "--source", "*|*")
        for name in ("gateway-a", "gateway-b"):
            cls.server.command("node", "add", name, "--facility", "Hospital A", "--transactions", "*",
                               "--certificate", str(cls.certs / f"{name}.pem"))
        cls.server.wait_until_refreshed()
        common.feed(cls.server, "P1", "P2")
        for number in ("P1", "P2"):
            cls.server.command("patient", "enroll", number)

    def receiver(self, answer=None, name="gateway-a", node="gateway-a", register=True, extra=()):
        """An HTTPS receiver, registered for a node."""
        receiver = receivers.ReplyReceiver(answer, receivers.tls_context(self.certs, name))
        self.addCleanup(receiver.stop)
        if register:
            self.register(receiver.url(), node, *extra)
        return receiver

    def register(self, url, node="gateway-a", *extra):
        """musubi node endpoint add, known to the server afterwards."""
        self.server.command("node", "endpoint", "add", node, url, *extra)
        self.server.wait_until_refreshed()

    def ask(self, soap, reply_to, transaction="ITI-18", body=None, attachments=None, fault_to=None, header="", message_id=None):
        """Sends a request that wants its reply at an address. Gives (what came on the connection, MessageID)."""
        message_id = message_id or xds.new_urn()
        action = xds.ACTIONS.get(transaction, transaction)
        message = xds.envelope(action, body or find_xml("P1"), message_id, reply_to).decode()
        if fault_to:
            header += f'<wsa:FaultTo><wsa:Address>{fault_to}</wsa:Address></wsa:FaultTo>'
        message = message.replace("</soap:Header>", header + "</soap:Header>").encode()
        path = "/repository" if transaction in ("ITI-41", "ITI-43") else "/pix" if transaction.startswith("urn:hl7") else "/registry"
        kind, content = xds.mtom(message, attachments or []) if path == "/repository" else ("application/soap+xml", message)
        return soap.post(path, kind, content), message_id

    def assert_accepted(self, reply):
        """HTTP 202 with nothing in it."""
        self.assertEqual((reply.status, reply.raw), (202, b""), reply.raw[:900])

    def one(self, receiver, message_id, address=None):
        """The one message that answers a request."""
        reply = parsed(receiver.wait(1)[0])
        self.assertEqual(addressing(reply, "RelatesTo"), message_id)
        self.assertEqual(addressing(reply, "To"), address or receiver.url())
        self.assertRegex(addressing(reply, "MessageID"), "^urn:uuid:")
        return reply

    def gauge(self, name):
        """A gauge of asynchronous replies."""
        return float([line for line in self.server.admin("/metrics").splitlines()
                      if line.startswith(f"musubi_async_replies_{name} ")][0].split()[1])

    def assert_fault(self, reply, *texts):
        """A SOAP fault on the connection that says these texts."""
        self.assertEqual((reply.status, reply.outcome), (400, "Fault"), reply.raw[:900])
        text = reply.envelope.xpath("string(//soap:Reason/soap:Text)", namespaces=xds.NS)
        for wanted in texts:
            self.assertIn(wanted, text)


class Replies(Asynchronous):
    """They come, whole, once, and on record."""

    def test_a_query_is_answered_at_the_address_and_is_on_record(self):
        soap = self.soap("gateway-a")
        self.assert_success(soap.provide(common.submission("P1")))
        receiver = self.receiver()
        address = receiver.url() + "/queries?id=7"
        accepted, message_id = self.ask(soap, address)
        self.assert_accepted(accepted)
        reply = self.one(receiver, message_id, address)
        self.assertEqual(receiver.messages[0][0].split("\r\n")[0], "POST /async/queries?id=7 HTTP/1.1")
        self.assertEqual(addressing(reply, "Action"), xds.ACTIONS["ITI-18"] + "Response")
        self.assert_success(reply)
        self.assertEqual(len(reply.objects("ExtrinsicObject")), len(common.find(soap, "P1")))
        wait_until(lambda: len(self.server.command("trace", message_id).stdout.splitlines()) == 2)
        lines = self.server.command("trace", message_id).stdout.splitlines()
        self.assertIn("tx=ITI-18", lines[0] + lines[1])
        self.assertTrue(any("reply=delivered attempts=1" in line and "id=7" not in line for line in lines), lines)
        records = audit_records.of_messages(self.server, address, 1)
        self.assertEqual([audit_records.codes(r)[:2] for r in records], [("110112", "ITI-18")])
        self.assertEqual(audit_records.party(records[0], audit_records.SOURCE).get("UserID"), address)

    def test_a_large_document_comes_whole_as_mtom(self):
        soap = self.soap("gateway-a")
        content = os.urandom(24 * common.MIB + 17)
        submission = common.submission("P1", content)
        self.assert_success(soap.provide(submission))
        receiver = self.receiver()
        document = submission.documents[0].unique_id
        accepted, message_id = self.ask(soap, receiver.url(), "ITI-43",
                                        xds.retrieve_xml([(common.harness.REPOSITORY_UID, document)]))
        self.assert_accepted(accepted)
        reply = self.one(receiver, message_id)
        self.assertTrue(reply.headers["Content-Type"].startswith("multipart/related"))
        self.assertEqual(reply.documents(), {document: content})

    def test_documents_are_provided(self):
        soap = self.soap("gateway-a")
        submission = common.submission("P2")
        receiver = self.receiver()
        accepted, message_id = self.ask(soap, receiver.url(), "ITI-41", submission.provide_xml(), submission.attachments())
        self.assert_accepted(accepted)
        self.assertIn(submission.documents[0].unique_id, common.find(soap, "P2"))  # what 202 acknowledges is stored
        self.assert_success(self.one(receiver, message_id))

    def test_reference_parameters_come_back_as_headers(self):
        soap = self.soap("gateway-a")
        receiver = self.receiver()
        message = xds.envelope(xds.ACTIONS["ITI-18"], find_xml("P1"), "urn:uuid:1", receiver.url()).replace(
            b"</wsa:ReplyTo>", b'<wsa:ReferenceParameters><c:Case xmlns:c="urn:c" c:kind="x">4711 &amp; more</c:Case>'
            b"</wsa:ReferenceParameters></wsa:ReplyTo>")
        self.assert_accepted(soap.post("/registry", "application/soap+xml", message))
        (header,) = parsed(receiver.wait(1)[0]).envelope.xpath("soap:Header/c:Case", namespaces=dict(xds.NS, c="urn:c"))
        self.assertEqual((header.text, header.get("{urn:c}kind"), header.get(f"{{{WSA}}}IsReferenceParameter")),
                         ("4711 & more", "x", "true"))

    def test_faults_and_failures_go_where_the_request_says(self):
        soap = self.soap("gateway-a")
        replies, faults = self.receiver(), self.receiver()
        wrong = find_xml("P1").replace("urn:uuid:14d4debf", "urn:uuid:00000000")
        accepted, message_id = self.ask(soap, replies.url(), body=wrong)
        self.assert_accepted(accepted)
        self.assertEqual(self.one(replies, message_id).outcome, "Failure")  # no fault: an answer of the registry
        accepted, message_id = self.ask(soap, replies.url(), body='<x xmlns="urn:x"/>', fault_to=faults.url())
        self.assert_fault(accepted, "AdhocQueryRequest")  # refused before its addresses are looked at
        self.assertEqual(faults.wait(1, 0.5), [])

    def test_a_200_is_as_good_as_a_202_and_what_fails_is_repeated(self):
        soap = self.soap("gateway-a")
        answers = iter([503, None, 200])
        receiver = self.receiver(lambda message: next(answers, 202))
        accepted, message_id = self.ask(soap, receiver.url())
        self.assert_accepted(accepted)
        messages = receiver.wait(3)
        self.assertEqual([m[1] for m in messages], [messages[0][1]] * 3)  # the same message, with the same MessageID
        self.assertEqual(addressing(parsed(messages[2]), "RelatesTo"), message_id)
        self.assertEqual(len(receiver.wait(4, 3)), 3)

    def test_a_receiver_that_comes_late_gets_its_reply(self):
        soap = self.soap("gateway-a")
        receiver = self.receiver()
        receiver.stop()
        accepted, message_id = self.ask(soap, receiver.url())
        self.assert_accepted(accepted)
        wait_until(lambda: self.gauge("waiting") == 1 and self.gauge("repeated") >= 1)
        receiver.start()
        self.one(receiver, message_id)

    def test_a_plain_receiver_on_this_host(self):
        soap = self.soap("gateway-a")
        receiver = receivers.ReplyReceiver()
        self.addCleanup(receiver.stop)
        self.assert_fault(self.ask(soap, receiver.url())[0], receiver.url())  # also loopback has to be registered
        self.register(receiver.url())
        accepted, message_id = self.ask(soap, receiver.url())
        self.assert_accepted(accepted)
        self.one(receiver, message_id)


class Refused(Asynchronous):
    """Nobody is called whom no operator registered, and nobody else gets the reply."""

    settings = {**BASE, "asynchronous": {"retry_for": f"{RETRY_S}s"}}

    def test_other_addresses_are_refused_and_never_called(self):
        soap = self.soap("gateway-a")
        receiver = self.receiver(node="gateway-b")
        calls = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        threading.Thread(target=lambda: calls.append(listener.accept()), daemon=True).start()
        port = listener.getsockname()[1]
        self.register(f"https://127.0.0.1:{port}/a")
        for address in (receiver.url(), f"https://127.0.0.1:{port}/", f"https://127.0.0.1:{port}/ab", f"http://127.0.0.1:{port}/a",
                        f"https://127.0.0.1:{port}/a/../b", f"https://x@127.0.0.1:{port}/a", "urn:x", WSA + "/none"):
            for fault_to in (None, WSA + "/anonymous"):
                with self.subTest(address=address, fault_to=fault_to):
                    reply, message_id = self.ask(soap, address, fault_to=fault_to)
                    self.assert_fault(reply, address, "wsa:ReplyTo", WSA + "/anonymous")
                    self.assertEqual(addressing(reply, "RelatesTo"), message_id)
                    reply, _ = self.ask(soap, WSA + "/anonymous", fault_to=address)
                    self.assert_fault(reply, address, "wsa:FaultTo")
        self.assert_fault(self.ask(soap, f"https://127.0.0.1:{port}/")[0], "musubi node endpoint add gateway-a")
        self.assertEqual((calls, receiver.messages), ([], []))

    def test_transactions_without_asynchronous_replies_say_so(self):
        soap = self.soap("gateway-a")
        receiver = self.receiver()
        body = common.submission("P1").register_xml()
        self.assert_fault(self.ask(soap, receiver.url(), "ITI-42", body)[0], "ITI-42 is not answered at another address")
        self.assertEqual(receiver.messages, [])

    def lost(self, address, *texts):
        """The reply is lost: a line, a record, a counter."""
        before = self.gauge("lost")
        accepted, message_id = self.ask(self.soap("gateway-a"), address)
        self.assert_accepted(accepted)
        wait_until(lambda: self.gauge("lost") == before + 1)
        wait_until(lambda: "reply=lost" in self.server.command("trace", message_id).stdout)
        lines = self.server.command("trace", message_id).stdout
        for text in texts:
            self.assertIn(text, lines)
        record = wait_until(lambda: [r for r in audit_records.of_messages(self.server, "undelivered-reply", 1)
                                     if address in r.xpath("ActiveParticipant/@UserID")])[-1]
        self.assertEqual(record.xpath("string(EventIdentification/@EventOutcomeIndicator)"), "8")

    def test_a_server_with_another_certificate_gets_nothing(self):
        other = self.certs / "other"
        certs.make(other, ("gateway-a",))
        receiver = receivers.ReplyReceiver(tls=receivers.tls_context(other, "gateway-a"))
        self.addCleanup(receiver.stop)
        self.register(receiver.url())
        self.lost(receiver.url(), "certificate")
        self.assertEqual(receiver.messages, [])

    def test_a_registered_fingerprint_is_the_only_one(self):
        receiver = self.receiver(extra=("--fingerprint", "ab" * 32))
        self.lost(receiver.url())
        self.assertEqual(receiver.messages, [])

    def test_redirects_are_not_followed(self):
        receiver = self.receiver(lambda message: 307)
        self.lost(receiver.url(), "HTTP status 307")
        self.assertEqual(len(receiver.messages), 1)

    def test_an_address_that_is_removed_meanwhile_is_not_called_again(self):
        receiver = self.receiver(lambda message: 503)
        before = self.gauge("lost")
        accepted, _ = self.ask(self.soap("gateway-a"), receiver.url())
        self.assert_accepted(accepted)
        receiver.wait(1)
        self.server.command("node", "endpoint", "remove", "gateway-a", receiver.url())
        self.server.wait_until_refreshed()
        count = len(receiver.messages)
        wait_until(lambda: self.gauge("lost") == before + 1)
        self.assertEqual(len(receiver.messages), count)


class Crowded(Asynchronous):
    """Receivers that hang, and too many replies."""

    settings = {**BASE, "database": {"pool_size": "4"},
                "asynchronous": {"retry_for": "60s", "max_waiting": "16"}}

    def test_a_receiver_that_hangs_keeps_nobody_else_waiting(self):
        soap, other = self.soap("gateway-a"), self.soap("gateway-b")
        hanging = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(hanging.close)
        address = f"https://127.0.0.1:{hanging.getsockname()[1]}/"
        self.register(address)
        for _ in range(4):
            self.assert_accepted(self.ask(soap, address)[0])
        refused = self.ask(soap, address)[0]
        self.assertEqual((refused.status, refused.outcome), (500, "Fault"))
        self.assertIn(b"too many asynchronous replies wait", refused.raw)
        self.assertEqual(self.gauge("waiting"), 4)
        receiver = self.receiver(name="gateway-b", node="gateway-b")
        began = time.monotonic()
        accepted, message_id = self.ask(other, receiver.url())
        self.assert_accepted(accepted)
        self.one(receiver, message_id)
        self.assert_success(soap.query("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{common.patient('P1')}'",
                                                         "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"}))
        self.assertLess(time.monotonic() - began, ATTEMPT_S)

    def test_memory_does_not_grow_with_what_waits(self):
        soap = self.soap("gateway-b")
        content = os.urandom(48 * common.MIB)
        submission = common.submission("P2", content)
        self.assert_success(soap.provide(submission))
        answers = iter([503, 503])
        receiver = self.receiver(lambda message: next(answers, 202), "gateway-b", "gateway-b")
        body = xds.retrieve_xml([(common.harness.REPOSITORY_UID, submission.documents[0].unique_id)])
        before = memory.process_bytes(self.server.process.pid)
        for _ in range(2):
            self.assert_accepted(self.ask(soap, receiver.url(), "ITI-43", body)[0])
        messages = receiver.wait(4)
        self.assertLess(memory.process_bytes(self.server.process.pid) - before, 40 * common.MIB)
        self.assertEqual({list(parsed(m).documents().values())[0] == content for m in messages}, {True})
        wait_until(lambda: not any("(deleted)" in name for name in self.open_files()))

    def open_files(self):
        """What the descriptors of the server name."""
        for descriptor in pathlib.Path(f"/proc/{self.server.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                yield os.readlink(descriptor)


class Stopped(Asynchronous):
    """What an orderly stop does with replies that wait."""

    settings = {**BASE, "asynchronous": {"retry_for": "10min"}}

    def test_what_waits_is_offered_once_more_and_the_stop_is_bounded(self):
        soap = self.soap("gateway-a")
        answers = iter([503, 503])
        late = self.receiver(lambda message: next(answers, 202))
        hanging = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(hanging.close)
        address = f"https://127.0.0.1:{hanging.getsockname()[1]}/"
        self.register(address)
        accepted, message_id = self.ask(soap, late.url())
        self.assert_accepted(accepted)
        self.assert_accepted(self.ask(soap, address)[0])
        late.wait(2)
        soap.close()
        began = time.monotonic()
        self.assertEqual(self.server.stop(), 0)
        self.assertLess(time.monotonic() - began, PATIENCE_S)
        messages = late.wait(3, 0.1)
        self.assertEqual(addressing(parsed(messages[-1]), "RelatesTo"), message_id)
        self.assertEqual(len(messages), 3)
        self.assertIn("reply=lost", self.server.log())
        self.server.start()
        record = audit_records.of_messages(self.server, "undelivered-reply", 1)
        self.assertEqual([r.xpath("string(EventIdentification/@EventOutcomeIndicator)") for r in record], ["8"])


class WithUsers(Asynchronous):
    """Assertions are asked for as ever; what is wrong with one is said at the address of faults."""

    settings = {**BASE, "xua": {"registry": "require", "audiences": saml.AUDIENCE}}

    def test_a_user_is_asked_for(self):
        idp = saml.IdentityProvider()
        test_xua.register(self.server, idp)
        soap = self.soap("gateway-a")
        replies, faults = self.receiver(), self.receiver()
        accepted, message_id = self.ask(soap, replies.url(), fault_to=faults.url())
        self.assert_accepted(accepted)
        self.assertEqual(test_xua.subcode(self.one(faults, message_id)), "SecurityTokenUnavailable")
        accepted, message_id = self.ask(soap, replies.url(), fault_to=faults.url(), header=saml.security(idp.assertion()))
        self.assert_accepted(accepted)
        self.assert_success(self.one(replies, message_id))
        refused, _ = self.ask(soap, replies.url(), fault_to=WSA + "/anonymous")
        self.assertEqual((refused.status, test_xua.subcode(refused)), (400, "SecurityTokenUnavailable"))
        self.assertEqual((len(replies.messages), len(faults.messages)), (1, 1))
        self.assertEqual(json.loads(self.server.command("idp", "list", "--json").stdout)[0]["issuer"], idp.issuer)
