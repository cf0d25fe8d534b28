"""The hostile corpus (tests/hostile) against a real server: a clear error or a close, at once, and no memory kept.

The client sends an input, shuts its sending side, and waits for the end. An input that took too long is sent again before it counts, and
then by how busy the machine is with other things.
"""

import re
import socket
import ssl
import time
import unittest

from conformance import client as xds
from tests.harness import memory, pace, server as harness
from tests.harness.waiting import PATIENCE_S, becomes
from tests.hostile import corpus
from tests.integration import common

LIMIT_S = 0.2
ATTEMPTS = 4
GROWTH_MAX = 32 * common.MIB
LEAST = 1000
IN_TLS = 3  # of this many inputs one goes through TLS too
WARM_UP = 3  # rounds of healthy requests before memory is measured


def end_of(connection, receive):
    """(answer, seconds until the end of the connection, or None if it did not end)."""
    began = time.monotonic()
    answer = []
    try:
        while piece := receive():
            answer.append(piece)
    except TimeoutError:
        return b"".join(answer), None
    except (OSError, ssl.SSLError):
        pass
    connection.close()
    return b"".join(answer), time.monotonic() - began


def exchange(port, content):
    """Sends bytes and shuts the sending side; gives what end_of() says."""
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    try:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the server has closed: what it said before may still be there
    return end_of(connection, lambda: connection.recv(65536))


class HalfTls:
    """A TLS client that can shut its sending side alone."""

    def __init__(self, port, context):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.repeat(self.tls.do_handshake)

    def flush(self):
        """Sends what waits."""
        if self.outgoing.pending:
            self.connection.sendall(self.outgoing.read())

    def repeat(self, step, *arguments):
        """Does a step of TLS, reading from the socket as often as it asks."""
        while True:
            try:
                result = step(*arguments)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                piece = self.connection.recv(65536)
                if not piece:
                    raise ConnectionResetError from None
                self.incoming.write(piece)

    def exchange(self, content):
        """As the function of this name."""
        try:
            for start in range(0, len(content), 65536):
                self.tls.write(content[start:start + 65536])
                self.flush()
            try:
                self.tls.unwrap()
            except ssl.SSLWantReadError:
                pass
            self.flush()
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return end_of(self.connection, lambda: self.repeat(self.tls.read, 65536))


def is_refusal(listener, answer):
    """Whether an answer says that something was wrong; an empty one is a close."""
    if not answer or listener in ("https", "mllps", "syslogs", "syslog"):
        return b"HTTP/1.1 2" not in answer  # alerts are TLS's own business
    if listener == "mllp":
        return re.search(rb"\rMSA\|A[ER]\|", answer) is not None and b"\rMSA|AA|" not in answer
    statuses = re.findall(rb"(?:^|\n)HTTP/1\.1 (\d{3})", answer)
    if any(status[0] in b"45" for status in statuses):
        return True
    return re.search(rb":Fault>|ResponseStatusType:(Partial)?(Success|Failure)\"[^>]*>\s*<[\w:]*RegistryErrorList|typeCode code=\"[AC][ER]\""
                     rb"|\"OperationOutcome\"|<OperationOutcome", answer) is not None


class Hostile(common.ServerCase):
    """One server for the whole corpus."""

    roles = ("gateway-a",)
    syslog_port = harness.free_ports(1)[0]
    settings = {"audit": {"syslog_tls_listen": f"127.0.0.1:{syslog_port}"}}

    def setUp(self):
        server = self.server
        self.ports = {"http": server.plain_port, "mllp": server.mllp_port, "https": server.https_port, "mllps": server.mllps_port,
                      "syslogs": self.syslog_port}
        self.tls_ports = {"http": server.https_port, "mllp": server.mllps_port, "syslog": self.syslog_port}
        self.context = ssl.create_default_context(cafile=self.certs / "ca.pem")
        self.context.load_cert_chain(self.certs / "gateway-a.pem", self.certs / "gateway-a.key")
        self.faults = []

    def be_healthy(self, number):
        """A submission and everything that finds it."""
        soap = self.soap()
        submission = common.submission("P1", b"healthy %d" % number)
        self.assert_success(soap.provide(submission))
        document = submission.documents[0]
        self.assertEqual(common.fetch(soap, document).documents(), {document.unique_id: document.content})
        self.assertIn(document.unique_id, common.find(soap, "P1"))
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
        self.assertEqual(xds.acknowledgement(mllp.send(xds.adt("A01", common.patient("P1")))), "AA")
        mllp.close()

    def judge(self, case, answer, seconds, limit_s):
        """What is wrong with the answer, or None."""
        if seconds is None:
            return "the connection stays open"
        if seconds > limit_s:
            return f"{seconds * 1000:.0f} ms, more than {limit_s * 1000:.0f} ms"
        if case.is_fault and not is_refusal(case.listener, answer):
            return f"no error: {answer[:300]!r} ... {answer[-300:]!r}"
        return None

    def send(self, case, is_tls):
        """Sends one input; slowness counts when it is the same each time."""
        limit_s = LIMIT_S
        for _ in range(ATTEMPTS):
            if is_tls:
                answer, seconds = HalfTls(self.tls_ports[case.listener], self.context).exchange(case.content)
            else:
                answer, seconds = exchange(self.ports[case.listener], case.content)
            if seconds is None or seconds <= limit_s:
                break
            limit_s = LIMIT_S * pace.slowdown()
        fault = self.judge(case, answer, seconds, limit_s)
        if fault:
            self.faults.append(f"{case.listener}{' in TLS' if is_tls else ''} {case.name} ({len(case.content)} bytes): {fault}")

    def inputs(self):
        """(Case, whether it goes through TLS): all of the corpus, and a part of it once more in TLS."""
        for number, case in enumerate(corpus.cases()):
            if case.listener in self.ports:
                yield case, False
            if case.listener in self.tls_ports and (case.listener not in self.ports or number % IN_TLS == 0):
                yield case, True

    def test_every_input_is_refused_at_once_and_leaves_nothing_behind(self):
        pid = self.server.process.pid
        for number in range(WARM_UP):
            self.be_healthy(number)
        before = most = memory.process_bytes(pid)
        count = 0
        for case, is_tls in self.inputs():
            count += 1
            self.send(case, is_tls)
            most = max(most, memory.process_bytes(pid))
            self.assertIsNone(self.server.process.poll(), f"the server ended at {case.name}")
        becomes(lambda: memory.process_bytes(pid) - before < GROWTH_MAX)  # it looks now and then for memory that lies in holes
        growth = memory.process_bytes(pid) - before
        print(f"{count} inputs, memory {before / common.MIB:.1f} MiB before, {most / common.MIB:.1f} MiB at most, "
              f"{growth / common.MIB:+.1f} MiB after", end=" ", flush=True)
        self.assertGreaterEqual(count, LEAST)
        self.assertLess(growth, GROWTH_MAX)
        self.be_healthy(WARM_UP)
        self.assertFalse(self.faults, f"{len(self.faults)} faults\n" + "\n".join(self.faults))


if __name__ == "__main__":
    unittest.main()
