"""Whom the listeners let in (ITI-19, ITI TF-2 3.19.6): every way to be refused, on every listener, each with its line in the log,
while a registered node is served on all of them; and what ends connections that stand."""

import datetime
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

from conformance import client as xds
from tests.harness import certs, dimse, server as harness
from tests.harness.waiting import PATIENCE_S, becomes, wait_until
from tests.integration import common

HOSPITAL = "1.2.392.99999.2.1"
FEED = b"\x0b" + xds.adt("A01", f"P1^^^&{HOSPITAL}&ISO").encode() + b"\x1c\r"
SYSLOG_TEXT = b"<85>1 2026-01-01T00:00:00Z gateway-a test 1 IHE+RFC-3881 - <AuditMessage/>"
SYSLOG = b"%d %s" % (len(SYSLOG_TEXT), SYSLOG_TEXT)
ENDED_S = 15  # for a server that ends a connection, or answers where it should not
ASSOCIATE = dimse.associate_request([(dimse.VERIFICATION, [dimse.IMPLICIT])])


def query(port):
    """A stored query by HTTP, behind which the connection stays open."""
    body = xds.envelope(xds.ACTIONS["ITI-18"], xds.query_xml("GetDocuments", {"$XDSDocumentEntryUniqueId": "('1.2.3')"}))
    head = f"POST /registry HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/soap+xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def http_get(path):
    """A request of the simplest form."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class Listener:
    """A port, what a registered node sends there, and what it gets; NO_REPLY where nothing comes back."""

    NO_REPLY = None

    def __init__(self, name, port, request, reply, role="gateway-a", further=None):
        self.name, self.port, self.request, self.reply, self.role = name, port, request, reply, role
        self.further = further or (request, reply)  # on the same connection, after that


def day(days):
    """A time of certificates, days from now."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")


class Listeners(unittest.TestCase):
    """A server with all its listeners, whose preset a subclass chooses."""

    preset = "high-security"

    @classmethod
    def setUpClass(cls):
        cls.certs = common.make_certs(("server", "gateway-a", "gateway-b", "operator", "stranger", "revoked"))
        cls.foreign = common.make_certs(("gateway-a",))
        cls.addClassCleanup(shutil.rmtree, cls.certs, True)
        cls.addClassCleanup(shutil.rmtree, cls.foreign, True)
        certs.make_dated(cls.certs, "expired", day(-9), day(-2))
        certs.make_dated(cls.certs, "early", day(2), day(9))
        certs.make_self_signed(cls.certs, "appliance")
        certs.make_self_signed(cls.certs, "unknown")
        certs.make_crl(cls.certs, "revoked")
        cls.give_files()
        cls.server = cls.start()

    @classmethod
    def give_files(cls):
        """The service user reads what the test wrote."""
        user = harness.service_user()
        for path in cls.certs.iterdir() if user else ():
            os.chown(path, user.pw_uid, user.pw_gid)

    @classmethod
    def start(cls):
        """The server with its nodes; the admin listener is remote, so readiness is read from the log."""
        admin, syslog, dicom = harness.free_ports(3)
        server = harness.Server(certs=cls.certs, mode="enforce", settings={
            "server": {"roles": "registry, repository, pix, atna, imaging", "plain_http_listen": None, "plain_mllp_listen": None, "admin_listen": f"0.0.0.0:{admin}",
                       "tls_crl": cls.certs / "crl.pem", "tls_preset": cls.preset},
            "audit": {"syslog_tls_listen": f"127.0.0.1:{syslog}"}, "imaging": {"dicom_listen": f"127.0.0.1:{dicom}"}})
        cls.addClassCleanup(server.close)
        server.is_ready = lambda: 'msg="ready"' in server.log()
        server.start()
        cls.add_nodes(server)
        cls.listeners = [
            Listener("HTTPS", server.https_port, query(server.https_port), b"ResponseStatusType:Success"),
            Listener("MLLP", server.mllps_port, FEED, b"MSA|AA"),
            Listener("DICOM", dicom, ASSOCIATE, dimse.APPLICATION_CONTEXT, further=(dimse.echo_request(), dimse.VERIFICATION.encode())),
            Listener("admin", admin, http_get("/health/live"), b"live", role="operator"),
        ]
        if cls.is_open(syslog):
            cls.listeners.append(Listener("syslog", syslog, SYSLOG, Listener.NO_REPLY))
        server.admin = lambda path: cls.admin_page(server, admin, path)
        wait_until(lambda: "musubi_" in server.admin("/metrics"), server.log, pause_s=0.5)
        server.wait_until_refreshed()
        return server

    @classmethod
    def admin_page(cls, server, port, path):
        """Body of a page of the admin listener, as the operator; nothing as long as the server does not know him."""
        context = ssl.create_default_context(cafile=str(cls.certs / "ca.pem"))
        context.load_cert_chain(cls.certs / "operator.pem", cls.certs / "operator.key")
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.read().decode() if reply.status == 200 else ""
        finally:
            connection.close()

    @classmethod
    def add_nodes(cls, server):
        """Every certificate but the stranger's is registered: what is refused is not refused for that."""
        server.command("facility", "add", "Hospital A")
        server.command("authority", "add", HOSPITAL, "--facility", "Hospital A", "--source", "*|*")
        for role in ("gateway-a", "gateway-b", "operator", "revoked", "early", "appliance"):
            server.command("node", "add", role, "--facility", "Hospital A", "--transactions", "*", "--source", "*|*",
                           "--certificate", str(cls.certs / f"{role}.pem"), *(["--operator"] if role == "operator" else []))
        server.command("node", "add", "expired", "--facility", "Hospital A", "--transactions", "*", "--fingerprint",
                       cls.fingerprint("expired"))
        for role in ("gateway-a", "gateway-b", "appliance"):
            server.command("ae", "add", "TEST", "--node", role)

    @classmethod
    def fingerprint(cls, role):
        """SHA-256 of a certificate."""
        der = ssl.PEM_cert_to_DER_cert((cls.certs / f"{role}.pem").read_text(encoding="ascii"))
        return hashlib.sha256(der).hexdigest()

    @staticmethod
    def is_open(port):
        """Whether somebody listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    # ---- clients ----

    def context(self, role=None, folder=None, **limits):
        """A client context with the certificate of a role, limited to versions and ciphers."""
        context = ssl.create_default_context(cafile=str(self.certs / "ca.pem"))
        context.check_hostname = False
        if "ciphers" in limits:
            context.set_ciphers(limits["ciphers"])
        if "version" in limits:
            context.minimum_version = context.maximum_version = limits["version"]
        if role:
            folder = folder or self.certs
            context.load_cert_chain(folder / f"{role}.pem", folder / f"{role}.key")
        return context

    @staticmethod
    def connect(listener, context, session=None):
        """A TLS connection."""
        raw = socket.create_connection(("127.0.0.1", listener.port), timeout=PATIENCE_S)
        return context.wrap_socket(raw, session=session)

    @staticmethod
    def is_answered(listener, tls, is_further=False):
        """Whether the listener serves one request on this connection."""
        request, reply = listener.further if is_further else (listener.request, listener.reply)
        tls.sendall(request)
        if reply is Listener.NO_REPLY:
            tls.settimeout(0.5)
            try:
                return tls.recv(1) != b""
            except TimeoutError:
                return True
        received = b""
        while reply not in received:
            chunk = tls.recv(65536)
            if not chunk:
                return False
            received += chunk
        return True

    def is_served(self, listener, context):
        """Whether a client with this context is let in; a TLS 1.3 client learns of a refusal by what comes back."""
        try:
            with self.connect(listener, context) as tls:
                if listener.reply is not Listener.NO_REPLY:
                    return self.is_answered(listener, tls)
                return self.is_stored(listener, tls)
        except OSError:
            return False

    def is_stored(self, listener, tls):
        """Whether an audit message gets into the repository, or else the server ends the connection."""
        def stored():
            return common.rows(self.server, "SELECT count(*) FROM audit_record WHERE sender LIKE 'tls:%%'")[0][0]
        before = stored()
        tls.sendall(listener.request)
        tls.settimeout(0.1)

        def outcome():
            if stored() > before:
                return "stored"
            try:
                return "" if tls.recv(1) else "ended"
            except TimeoutError:
                return ""
        return wait_until(outcome, "neither stored nor refused") == "stored"

    def send_plain(self, listener):
        """The request without TLS."""
        with socket.create_connection(("127.0.0.1", listener.port), timeout=PATIENCE_S) as plain:
            plain.sendall(listener.request)
            try:
                return bool(listener.reply) and listener.reply in plain.recv(65536)
            except ConnectionError:
                return False

    def renegotiate(self, listener):
        """A registered node that asks to negotiate again, then sends its request."""
        files = [str(self.certs / name) for name in (f"{listener.role}.pem", f"{listener.role}.key")]
        with tempfile.NamedTemporaryFile() as output:
            client = subprocess.Popen(["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{listener.port}", "-cert", files[0],
                                       "-key", files[1]], stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)

            def has_said(text):
                return lambda: client.poll() is not None or text in pathlib.Path(output.name).read_bytes()
            try:
                wait_until(has_said(b"Verify return code"), "no handshake")
                client.stdin.write(b"R\n")
                client.stdin.flush()
                wait_until(has_said(b"RENEGOTIATING"), "no renegotiation")
                client.stdin.write(listener.request)
                client.stdin.flush()
                becomes(has_said(listener.reply or b"no reply"), ENDED_S)
                client.stdin.close()
            except BrokenPipeError:
                pass
            finally:
                client.kill()
                client.wait()
            return bool(listener.reply) and listener.reply in pathlib.Path(output.name).read_bytes()

    def wait_for_line(self, before, pattern):
        """The line of the log, behind what was there before; None: it does not come."""
        return becomes(lambda: re.search(f"^.*{pattern}.*\n", self.server.log()[before:], re.M))


class Matrix(Listeners):
    """Every way to be refused, on every listener."""

    def attempts(self, listener):
        """(reason in the log, attempt that must fail) for each way to be refused."""
        old = {"ciphers": "ALL:@SECLEVEL=0"}
        v2, role = ssl.TLSVersion.TLSv1_2, listener.role

        def with_context(*arguments, **limits):
            return lambda: self.is_served(listener, self.context(*arguments, **limits))

        cases = [
            ("no-certificate", with_context()),
            ("no-certificate", with_context(version=v2)),
            ("other-authority", with_context("gateway-a", self.foreign)),
            ("other-authority", with_context("unknown")),
            ("expired", with_context("expired")),
            ("not-yet-valid", with_context("early")),
            ("revoked", with_context("revoked")),
            ("revoked", with_context("revoked", version=v2)),
            ("unregistered", with_context("stranger")),
            ("old-version", with_context(role, version=ssl.TLSVersion.TLSv1_1, **old)),
            ("old-version", with_context(role, version=ssl.TLSVersion.TLSv1, **old)),
            ("no-common-cipher", with_context(role, version=v2, ciphers="ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA:@SECLEVEL=0")),
            ("no-common-cipher", with_context(role, version=v2, ciphers="AES128-GCM-SHA256:AES256-GCM-SHA384")),
            ("plain-text", lambda: self.send_plain(listener)),
            ("renegotiation", lambda: self.renegotiate(listener)),
        ]
        dhe = ("no-common-cipher", with_context(role, version=v2, ciphers="DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384"))
        return cases + ([dhe] if self.preset == "high-security" else [])

    def assert_registered_nodes_are_served(self):
        """On every listener, with TLS 1.3 and 1.2."""
        for listener in self.listeners:
            for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
                self.assertTrue(self.is_served(listener, self.context(listener.role, version=version)), listener.name)

    def test_everything_but_a_registered_node_is_refused_with_its_reason(self):
        self.assert_registered_nodes_are_served()
        faults = []
        for listener in self.listeners:
            for reason, attempt in self.attempts(listener):
                before = len(self.server.log())
                if attempt():
                    faults.append(f"{listener.name}: {reason} was served")
                if not self.wait_for_line(before, rf'msg="peer refused" endpoint="[^"]*:{listener.port}[/"].* peer="127.0.0.1" reason={reason} '):
                    faults.append(f"{listener.name}: no line for {reason}; {self.server.log()[before:]}")
        self.assertEqual(faults, [])
        self.assert_registered_nodes_are_served()

    def test_a_refusal_is_audited_with_the_address_of_the_peer(self):
        self.assertFalse(self.is_served(self.listeners[0], self.context("unknown")))
        self.assertIsNotNone(self.wait_for_line(0, "other-authority"))
        found = becomes(lambda: self.server.command("audit", "search", "of no authority", check=False).stdout)
        self.assertIn("Node Authentication", found)
        self.assertIn("127.0.0.1", found)

    def test_a_registered_certificate_without_authority_is_trusted_directly(self):
        for listener in self.listeners:
            if listener.name != "admin":
                self.assertTrue(self.is_served(listener, self.context("appliance")), listener.name)

    def test_the_ciphers_of_the_preset(self):
        dhe = self.context("gateway-a", version=ssl.TLSVersion.TLSv1_2, ciphers="DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384")
        ecdhe = self.context("gateway-a", version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-RSA-AES256-GCM-SHA384")
        for listener in self.listeners:
            if listener.name != "admin":
                self.assertTrue(self.is_served(listener, ecdhe), listener.name)
                self.assertEqual(self.is_served(listener, dhe), self.preset == "bcp195", listener.name)


class MatrixBcp195(Matrix):
    """The same with the preset that adds DHE."""

    preset = "bcp195"


class Ends(Listeners):
    """What ends a connection that stands, within 60 s and without a restart."""

    def open_connections(self, role):
        """One served connection to each listener that this role may use, as (listener, connection)."""
        opened = []
        for listener in self.listeners:
            if listener.name != "admin":
                tls = self.connect(listener, self.context(role))
                self.addCleanup(tls.close)
                self.assertTrue(self.is_answered(listener, tls), listener.name)
                opened.append((listener, tls))
        return opened

    def assert_end(self, opened, reason, seconds=60):
        """Each connection ends by itself; the log says why."""
        deadline = time.monotonic() + seconds
        for listener, tls in opened:
            tls.settimeout(max(deadline - time.monotonic(), 1))
            try:
                while tls.recv(65536):  # the rest of a reply
                    pass
            except TimeoutError:
                self.fail(f"{listener.name} is open after {seconds} s")
            except (ssl.SSLError, ConnectionError):
                pass  # the end of the stream without close_notify
            self.assertIsNotNone(self.wait_for_line(0, rf'msg="peer refused" endpoint="[^"]*:{listener.port}[/"].* reason={reason} '), self.server.log()[-3000:])

    def test_a_revocation_list_ends_open_connections_of_the_revoked_alone(self):
        ended, others = self.open_connections("gateway-b"), self.open_connections("gateway-a")
        certs.make_crl(self.certs, "revoked", "gateway-b")
        self.give_files()
        self.addCleanup(self.give_files)
        self.addCleanup(certs.make_crl, self.certs, "revoked")
        self.assert_end(ended, "revoked")
        for listener, tls in others:
            tls.settimeout(PATIENCE_S)
            self.assertTrue(self.is_answered(listener, tls, is_further=True), listener.name)

    def test_a_revoked_node_and_a_revoked_certificate_lose_their_connections(self):
        appliance = self.open_connections("appliance")
        self.server.command("node", "revoke", "appliance")
        self.assert_end(appliance, "(unregistered|other-authority)")

    def test_two_certificates_serve_while_one_is_renewed(self):
        certs.make_one(self.certs, "gateway-c")
        certs.make_one(self.certs, "gateway-c-new")
        self.give_files()
        self.server.command("node", "add", "gateway-c", "--facility", "Hospital A", "--transactions", "*", "--source", "*|*",
                            "--certificate", str(self.certs / "gateway-c.pem"))
        self.server.command("ae", "add", "TEST", "--node", "gateway-c")
        self.server.command("node", "certificate", "add", "gateway-c", "--certificate", str(self.certs / "gateway-c-new.pem"))
        self.server.wait_until_refreshed()
        old, new = self.open_connections("gateway-c"), self.open_connections("gateway-c-new")
        self.server.command("node", "certificate", "revoke", "gateway-c", "--fingerprint", self.fingerprint("gateway-c"))
        self.assert_end(old, "unregistered")
        for listener, tls in new:
            tls.settimeout(PATIENCE_S)
            self.assertTrue(self.is_answered(listener, tls, is_further=True), listener.name)
        listed = self.server.command("node", "list").stdout
        self.assertRegex(listed, rf"gateway-c +Hospital A +registered +20\d\d-\d\d-\d\d +82\d +{self.fingerprint('gateway-c-new')[:8]}")
        self.assertNotIn(self.fingerprint("gateway-c")[:8], listed)
        result = self.server.command("node", "certificate", "revoke", "gateway-c", "--fingerprint", self.fingerprint("gateway-c"),
                                     check=False)
        self.assertEqual(result.returncode, 2)

    def test_a_resumed_session_keeps_its_identity_and_is_judged_again(self):
        listener = self.listeners[0]
        context = self.context("gateway-b")
        with self.connect(listener, context) as first:
            self.assertTrue(self.is_answered(listener, first))
            session = first.session
        with self.connect(listener, context, session) as again:
            self.assertTrue(again.session_reused)
            self.assertTrue(self.is_answered(listener, again))

    def test_check_tls_finds_nothing_below_the_preset(self):
        """What a scanner finds of every listener, also by HOST:PORT; a listener that is below makes the exit status 1."""
        for listener in self.listeners:
            report, = json.loads(self.server.command("check-tls", "--listener", listener.name.lower(), "--json").stdout)
            found = {finding["check"]: finding for finding in report["findings"]}
            self.assertEqual([f for f in found.values() if f["verdict"] == "BAD"], [], report["listener"])
            self.assertEqual(found["versions"]["found"], "TLS 1.3, TLS 1.2")
            self.assertIn("ECDHE-RSA-AES256-GCM-SHA384", found["ciphers of TLS 1.2"]["found"])
            self.assertIn("TLS_AES_256_GCM_SHA384", found["ciphers of TLS 1.3"]["found"])
            self.assertEqual(found["groups"]["found"], "X25519, P-256, P-384")
            self.assertIn("demanded", found["client certificate"]["found"])
            self.assertEqual(found["renegotiation"]["found"], "refused")
            self.assertEqual(found["key"]["found"], "RSA, 2048 bits")
        port, = harness.free_ports(1)
        weak = subprocess.Popen(["openssl", "s_server", "-accept", str(port), "-cert", str(self.certs / "server.pem"), "-key",
                                 str(self.certs / "server.key"), "-cipher", "ALL:@SECLEVEL=0", "-min_protocol", "TLSv1", "-quiet",
                                 "-www"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(weak.wait)
        self.addCleanup(weak.kill)
        wait_until(lambda: self.is_open(port), "openssl s_server does not listen")
        result = self.server.command("check-tls", f"127.0.0.1:{port}", check=False)
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        for pattern in (r"BAD +versions .*TLS 1\.1", r"BAD +ciphers of TLS 1\.2", r"BAD +client certificate +not asked for"):
            self.assertRegex(result.stdout, pattern)

    def test_node_test_says_what_would_be_refused_and_the_remedy(self):
        found = self.server.command("node", "test", "operator", check=False)
        self.assertRegex(found.stdout, r"OK +node +registered of Hospital A")
        self.assertRegex(found.stdout, r'OK +certificate +[0-9a-f]{8} "CN=operator,O=Musubi test", 82\d days left, of an authority in tls_ca')
        self.assertRegex(found.stdout, r"OK +ITI-41 +allowed")
        self.assertRegex(found.stdout, r"OK +ITI-18 +allowed")
        self.assertRegex(found.stdout, r"BAD +disclosures +an operator's node never sees what belongs to a patient; register another")
        self.assertEqual(found.returncode, 1)
        for node, pattern in (("early", r"BAD +certificate .*not yet valid"), ("revoked", r"BAD +certificate .*is revoked"),
                              ("expired", r"OK +certificate .*only the fingerprint is known")):
            self.assertRegex(self.server.command("node", "test", node, check=False).stdout, pattern)
        self.assertEqual(self.server.command("node", "test", "nobody", check=False).returncode, 2)

    def test_a_right_that_a_node_has_not_is_no_fault_of_it(self):
        """musubi node test: a viewer is well without the rights of a gateway."""
        certs.make_one(self.certs, "viewer-c")
        self.server.command("node", "add", "viewer-c", "--facility", "Hospital A", "--transactions", "ITI-18,ITI-43",
                            "--certificate", str(self.certs / "viewer-c.pem"))
        found = self.server.command("node", "test", "viewer-c", check=False)
        self.assertRegex(found.stdout, r"NOTE +ITI-41 +not allowed; musubi node add --transactions")
        self.assertEqual(found.returncode, 0, found.stdout)

    def metrics(self):
        """What an operator gets of the remote admin listener."""
        listener = next(each for each in self.listeners if each.name == "admin")
        with self.connect(listener, self.context("operator")) as tls:
            tls.sendall(http_get("/metrics").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            return b"".join(iter(lambda: tls.recv(65536), b"")).decode()

    def test_every_metric_is_on_its_page_and_no_other(self):
        """docs/reference/metrics.md, of a server with all roles and TLS."""
        page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"
        self.assertEqual(sorted(re.findall(r"(?m)^# HELP (musubi_\w+)", self.metrics())),
                         sorted(re.findall(r"`(musubi_\w+)`", page.read_text(encoding="utf-8"))))

    def test_metrics_tell_what_is_left(self):
        text = self.metrics()
        days = {name: int(float(value)) // 86400 for name, value in
                re.findall(r"^musubi_((?:tls|node)_.*left_seconds.*) (\S+)$", text, re.M)}
        self.assertEqual(days["tls_certificate_left_seconds"] // 10, 82)
        self.assertEqual(days['tls_crl_left_seconds{issuer="CN=Musubi test CA"}'], 29)
        self.assertEqual(days[f'node_certificate_left_seconds{{node="gateway-a",certificate="{self.fingerprint("gateway-a")[:16]}"}}'], 824)
        self.assertNotIn('node="expired"', text)  # its end is not known: registered by its fingerprint


if __name__ == "__main__":
    unittest.main()
