"""Certificates, keys and revocation lists that change while the server runs (SIGHUP)."""

import os
import signal
import socket
import ssl
import unittest

from conformance import client as xds
from tests.harness import certs, server as harness
from tests.harness.waiting import PATIENCE_S
from tests.integration import common

REQUESTS = {  # what is sent, and what a success holds
    "HTTPS": (b"GET /registry?wsdl HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 200 OK"),
    "MLLP": (b"\x0b" + xds.adt("A01", common.patient("P1")).encode() + b"\x1c\r", b"MSA|AA"),
}


class Renewal(unittest.TestCase):
    """A server over TLS whose files the test replaces."""

    def setUp(self):
        self.certs = common.make_certs(("server", "gateway-a", "gateway-b"))
        certs.make_crl(self.certs)
        self.give_files()
        self.server = harness.Server(certs=self.certs, settings={"server": {"tls_crl": self.certs / "crl.pem"}})
        self.addCleanup(self.server.close)
        self.server.start()

    def give_files(self):
        """The service user reads what the test wrote."""
        user = harness.service_user()
        for path in self.certs.iterdir() if user else ():
            os.chown(path, user.pw_uid, user.pw_gid)

    def reload(self):
        """SIGHUP; gives the line that the server writes about it."""
        self.give_files()
        before = len(self.server.log())
        self.server.process.send_signal(signal.SIGHUP)
        return self.server.wait_for_log(".*reloaded.*", before)[0]

    def connect(self, port, role="gateway-a", session=None, context=None):
        """A TLS connection with the certificate of a role."""
        if context is None:
            context = ssl.create_default_context(cafile=str(self.certs / "ca.pem"))
            context.load_cert_chain(self.certs / f"{role}.pem", self.certs / f"{role}.key")
        tls = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S), server_hostname="127.0.0.1",
                                  session=session)
        self.addCleanup(tls.close)
        return tls

    def is_served(self, port, **connection):
        """Whether the server answers; a TLS 1.3 client learns by what comes back that it was refused."""
        request, success = REQUESTS["HTTPS" if port == self.server.https_port else "MLLP"]
        try:
            tls = self.connect(port, **connection)
            tls.sendall(request)
            return success in tls.recv(65536), tls
        except OSError:
            return False, None

    def serials(self):
        """Serial numbers of the certificates that HTTPS and MLLP show."""
        return [self.connect(port).getpeercert()["serialNumber"] for port in (self.server.https_port, self.server.mllps_port)]

    def test_a_renewed_certificate_is_shown_after_sighup_and_a_broken_one_is_not(self):
        old = self.serials()
        certs.renew_one(self.certs, "server")
        self.assertEqual(self.serials(), old)
        self.assertRegex(self.reload(), r'changed="?tls_certificate tls_key')
        new = self.serials()
        self.assertEqual(new[0], new[1])
        self.assertNotEqual(new, old)
        self.assertRegex(self.reload(), r'configuration reloaded.*changed=""')
        (self.certs / "server.key").write_text("no key", encoding="utf-8")
        line = self.reload()
        self.assertIn("not reloaded", line)
        self.assertIn(str(self.certs / "server.key"), line)
        self.assertEqual(self.serials(), new)
        self.assertTrue(self.server.is_ready())

    def test_a_revoked_certificate_is_refused_from_then_on_resumed_or_not(self):
        context = ssl.create_default_context(cafile=str(self.certs / "ca.pem"))
        context.load_cert_chain(self.certs / "gateway-a.pem", self.certs / "gateway-a.key")
        https, mllp = self.server.https_port, self.server.mllps_port
        is_served, first = self.is_served(https, context=context)
        self.assertTrue(is_served)
        is_served, again = self.is_served(https, context=context, session=first.session)
        self.assertEqual((is_served, again.session_reused), (True, True))
        self.assertTrue(self.is_served(mllp)[0])
        certs.make_crl(self.certs, "gateway-a")
        self.assertRegex(self.reload(), r'changed="?tls_crl')
        for session in (None, again.session):
            self.assertFalse(self.is_served(https, context=context, session=session)[0])
        self.assertFalse(self.is_served(mllp)[0])
        self.assertTrue(self.is_served(https, role="gateway-b")[0])
        self.assertTrue(self.is_served(mllp, role="gateway-b")[0])


if __name__ == "__main__":
    unittest.main()
