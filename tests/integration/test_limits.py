"""Many connections never keep the server from opening its own files (contract C6)."""

import os
import socket
import unittest

from tests.harness import server as harness
from tests.integration import common


class DescriptorTest(unittest.TestCase):
    """Servers that may open few files."""

    def start(self, soft, hard):
        """A server under these limits, and a client whose connection is open already."""
        server = harness.Server(wrapper=["prlimit", f"--nofile={soft}:{hard}"])
        self.addCleanup(server.close)
        server.start()
        common.feed(server, "P1")
        soap = common.client(server)
        self.addCleanup(soap.close)
        common.find(soap, "P1")
        return server, soap

    def open_connections(self, port, count):
        """As many connections as the listener's queue takes."""
        for _ in range(count):
            connection = socket.socket()
            self.addCleanup(connection.close)
            connection.settimeout(1)
            try:
                connection.connect(("127.0.0.1", port))
            except OSError:
                return

    def test_documents_are_stored_and_served_while_a_listener_is_full(self):
        """A hard limit below what max_connections needs makes the listeners smaller, not the store blind."""
        server, soap = self.start(900, 900)
        self.open_connections(server.plain_port, 1000)
        for size in (1000, 2 * common.MIB):
            submission = common.submission("P1", os.urandom(size))
            reply = soap.provide(submission)
            self.assertEqual((reply.outcome, reply.errors), ("Success", []))
            document = submission.documents[0]
            self.assertEqual(common.fetch(soap, document).documents(), {document.unique_id: document.content})
        self.assertIn("too few file descriptors", server.log())

    def test_the_soft_limit_is_raised(self):
        """1024, which shells and systemd give, is not what the operator allowed."""
        server, _ = self.start(300, 9000)
        with open(f"/proc/{server.process.pid}/limits", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("Max open files"))
        self.assertEqual(line.split()[3:5], ["9000", "9000"])


class CertificateTest(common.ServerCase):
    """One node that goes wild leaves room for the others."""

    settings = {"server": {"max_connections": "16"}}
    roles = ("gateway-a", "gateway-b")

    def test_a_certificate_has_three_quarters_of_the_connections_at_most(self):
        for number in range(12):
            self.assertEqual(common.find(self.soap("gateway-a"), "P1"), {}, number)
        reply = self.soap("gateway-a").post("/registry", "application/soap+xml", b"<a/>")
        self.assertEqual(reply.status, 503)
        self.assertIn(b"with this certificate", reply.raw)
        self.assertEqual(common.find(self.soap("gateway-b"), "P1"), {})
        self.server.wait_for_log("there are too many connections")
