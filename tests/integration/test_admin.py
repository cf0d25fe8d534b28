"""The admin listener beyond loopback: mutual TLS, operators only; elsewhere it does not start."""

import http.client
import ssl
import unittest

from tests.harness import server as harness
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import common

PORT = harness.free_ports(1)[0]


class Admin(common.ServerCase):
    """The pages of an admin listener that other hosts reach."""

    mode = "enforce"
    roles = ("operator", "viewer-a", "stranger")
    settings = {"server": {"plain_http_listen": None, "plain_mllp_listen": None, "admin_listen": f"0.0.0.0:{PORT}"}}

    @classmethod
    def setUpClass(cls):
        """Readiness is asked with a certificate, so the start waits for the port instead."""
        original, harness.Server.is_ready = harness.Server.is_ready, lambda self: "msg=\"ready\"" in self.log()
        try:
            super().setUpClass()
        finally:
            harness.Server.is_ready = original
        cls.server.command("facility", "add", "Data center")
        for name, extra in (("operator", ["--operator"]), ("viewer-a", [])):
            cls.server.command("node", "add", name, "--facility", "Data center", "--transactions", "ITI-18",
                               "--certificate", str(cls.certs / f"{name}.pem"), *extra)
        wait_until(lambda: cls.get("/health/live", "operator")[0] == 200, cls.server.log, pause_s=0.5)
        cls.server.admin = lambda path: cls.get(path, "operator")[1]
        cls.server.wait_until_refreshed()

    @classmethod
    def get(cls, path, role=None):
        """(status, body) of a page, asked with the certificate of a role."""
        context = ssl.create_default_context(cafile=str(cls.certs / "ca.pem"))
        if role:
            context.load_cert_chain(cls.certs / f"{role}.pem", cls.certs / f"{role}.key")
        connection = http.client.HTTPSConnection("localhost", PORT, context=context, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def test_an_operator_sees_the_pages(self):
        self.assertEqual(self.get("/health/ready", "operator"), (200, "ready\n"))
        self.assertIn("audit_backlog", self.get("/metrics", "operator")[1])

    def test_a_node_that_is_no_operator_and_a_stranger_are_refused_and_recorded(self):
        for role in ("viewer-a", "stranger"):
            status, body = self.get("/metrics", role)
            self.assertEqual(status, 403)
            self.assertIn("musubi node add NAME --operator", body)
        for text in ("is no operator", "belongs to no registered node"):
            audit = self.server.command("audit", "search", text).stdout
            self.assertIn("Node Authentication", audit)
        self.assertRegex(self.server.log(), 'msg="peer refused".* reason=rights problem=.*viewer-a')
        self.assertRegex(self.server.log(), 'msg="peer refused".* reason=unregistered problem=.*CN=stranger')

    def test_nobody_is_served_without_a_certificate_or_without_tls(self):
        with self.assertRaises((ssl.SSLError, OSError, http.client.HTTPException)):
            self.get("/health/live")
        plain = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE_S)
        with self.assertRaises((OSError, http.client.HTTPException)):
            plain.request("GET", "/health/live")
            plain.getresponse()


class AdminWithoutCertificate(unittest.TestCase):
    """A remote admin listener without TLS is a fault of the configuration."""

    def test_serve_refuses_and_names_the_line(self):
        server = harness.Server(settings={"server": {"admin_listen": "0.0.0.0:9443"}})
        self.addCleanup(server.close)
        result = server.command("serve", check=False)
        self.assertEqual(result.returncode, 2)
        self.assertIn("server.admin_listen", result.stderr)
        self.assertIn("tls_certificate", result.stderr)


if __name__ == "__main__":
    unittest.main()
