"""Our own audit events at a remote Audit Record Repository: nothing is missing and nothing out of order, whatever happens to the
repository, the connection or the server (ITI TF-2 3.20.4.1, ATX: TLS Syslog; RFC 5424, 5425; atna/README.md)."""

import http.client
import re
import threading
import unittest

from tests.harness import receivers, server as harness
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import audit_records, common

HEADER = re.compile(r"<85>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z \S+ musubi \d+ IHE\+RFC-3881 - <AuditMessage>")


class Sending(common.ServerCase):
    """A server whose repository is a syslog receiver of the test."""

    roles = ("repository",)

    @classmethod
    def setUpClass(cls):
        (port,) = harness.free_ports(1)
        cls.settings = {"audit": {"repository": f"tls://127.0.0.1:{port}"}}
        cls.sent = []
        super().setUpClass()
        cls.receiver = receivers.SyslogReceiver(receivers.tls_context(cls.certs, "repository"), port)
        cls.addClassCleanup(cls.receiver.stop)

    def query(self, count):
        """So many reads, each with a name that its record carries; they count once they were answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=PATIENCE_S)
        for _ in range(count):
            name = f"send-{len(self.sent):06d}"
            connection.request("GET", "/fhir/Patient?family=nobody", headers={"X-Request-Id": name})
            reply = connection.getresponse()
            reply.read()
            self.assertEqual(reply.status, 200)
            self.sent.append(name)
        connection.close()

    def arrived(self):
        """[(connection, name)] of reads, in the order in which they came."""
        with self.receiver.arrived:
            messages = list(self.receiver.messages)
        found = [(number, re.search(r'ParticipantObjectID="(send-\d+)"', message)) for number, message in messages]
        return [(number, name.group(1)) for number, name in found if name]

    def missing(self):
        """Of what was answered, what has no record at the repository yet."""
        return sorted(set(self.sent) - {name for _, name in self.arrived()})

    def wait_until_all_arrived(self):
        """Whatever was answered has its record at the repository."""
        wait_until(lambda: not self.missing(), lambda: f"missing: {self.missing()[:10]}, {self.server.log()[-500:]}", 2 * PATIENCE_S)

    def assert_order(self):
        """Within a connection every record follows the one before; a new connection goes on behind what came, or repeats some of it,
        and never leaves a gap."""
        next_expected = 0
        last_connection, last_index = 0, -1
        for connection, name in self.arrived():
            index = int(name.removeprefix("send-"))
            if connection == last_connection:
                self.assertEqual(index, last_index + 1, f"{name} on connection {connection}")
            self.assertLessEqual(index, next_expected, f"{name} leaves a gap")
            next_expected = max(next_expected, index + 1)
            last_connection, last_index = connection, index
        self.assertEqual(next_expected, len(self.sent))

    def kill_and_start(self):
        """kill -9, and the same again on the same data."""
        self.server.kill()
        self.server.start()

    def test_nothing_is_lost_or_out_of_order(self):
        """The repository goes and comes, the server is killed, with and without it: 3 rounds."""
        receiver = self.receiver
        for _ in range(3):
            self.query(40)
            receiver.stop()  # every connection is cut, in the middle of what is being sent
            self.query(40)
            self.kill_and_start()
            self.query(40)
            receiver.start()
            self.query(40)
            self.kill_and_start()
            self.query(40)
        self.wait_until_all_arrived()
        self.assert_order()

    def test_a_repository_that_comes_and_goes_under_load_misses_nothing(self):
        """Connections are cut while frames are on their way."""
        is_enough = threading.Event()

        def work():
            while not is_enough.is_set():
                self.query(20)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for _ in range(4):
                before = self.receiver.connection_count
                self.receiver.stop()
                self.receiver.start()
                wait_until(lambda known=before: self.receiver.connection_count > known, self.server.log)
                count = len(self.arrived())
                wait_until(lambda known=count: len(self.arrived()) >= known + 20, self.server.log)
        finally:
            is_enough.set()
            worker.join()
        self.wait_until_all_arrived()
        self.assert_order()

    def test_each_message_is_a_syslog_message_of_a_valid_record(self):
        self.query(3)
        self.wait_until_all_arrived()
        for _, message in self.receiver.messages:
            self.assertRegex(message, HEADER)
            self.assertEqual(len(audit_records.read(message)), 1)

    def test_writes_arrive_too(self):
        """Their records come out of the database, also those of a server that was killed right after the answer."""
        names = [f"SEND-{number}" for number in range(20)]
        common.feed(self.server, *names)
        self.kill_and_start()

        def missing():
            with self.receiver.arrived:
                text = "".join(message for _, message in self.receiver.messages)
            return [name for name in names if f'"{name}^^^' not in text]
        wait_until(lambda: not missing(), missing)

    def test_what_was_delivered_is_not_sent_again(self):
        """The backlog ends; an orderly stop and start repeat nothing."""
        self.query(5)
        self.wait_until_all_arrived()
        wait_until(lambda: self.server.metric("audit_backlog") == 0, lambda: self.server.admin("/metrics"))
        before = len(self.arrived())
        self.server.stop()
        self.server.start()
        self.query(5)
        self.wait_until_all_arrived()
        self.assertEqual(len(self.arrived()), before + 5)


if __name__ == "__main__":
    unittest.main()
