"""No patient data leaves before its audit record is durable (contract C4; ITI TF-2 3.20)."""

import base64
import os
import socket
import unittest

from conformance import client as xds
from tests.harness import server as harness
from tests.harness.waiting import PATIENCE_S
from tests.integration import common

ROUNDS = 10 if common.IS_FULL else 3


def receive_until(connection, is_enough):
    """Reads byte by byte until there is enough, and no further."""
    received = b""
    while not is_enough(received):
        piece = connection.recv(1)
        if not piece:
            raise AssertionError(f"no reply: {received!r}")
        received += piece


def first_body_byte(server, path, content_type, body):
    """Sends a request and returns as soon as one byte of the reply's body is here; the connection stays open."""
    connection = socket.create_connection(("127.0.0.1", server.plain_port), PATIENCE_S)
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    receive_until(connection, lambda received: received.partition(b"\r\n\r\n")[2])
    return connection


class AuditBeforeData(common.ServerCase):
    """kill -9 of the server and its PostgreSQL when the first byte has arrived."""

    def kill_and_search(self, text):
        """The audit messages with that text after kill -9 and a new start."""
        postmaster = self.server.postmaster_pid()
        self.server.kill()
        os.kill(postmaster, 9)
        self.server.start()
        return self.server.command("audit", "search", text, check=False).stdout

    def test_retrieve(self):
        for _ in range(ROUNDS):
            submission = common.submission("P1", os.urandom(200_000))
            soap = common.client(self.server)
            self.assert_success(soap.provide(submission))
            soap.close()
            unique_id = submission.documents[0].unique_id
            body = xds.envelope(xds.ACTIONS["ITI-43"], xds.retrieve_xml([(harness.REPOSITORY_UID, unique_id)]))
            with first_body_byte(self.server, "/repository", *xds.mtom(body, [])):
                found = self.kill_and_search(unique_id)
            self.assertIn('csd-code="ITI-43"', found)

    def test_query(self):
        for number in range(ROUNDS):
            patient = f"Q{number}"
            common.feed(self.server, patient)
            soap = common.client(self.server)
            self.assert_success(soap.provide(common.submission(patient)))
            soap.close()
            body = xds.envelope(xds.ACTIONS["ITI-18"], xds.query_xml("FindDocuments", {
                "$XDSDocumentEntryPatientId": f"'{common.patient(patient)}'",
                "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"}))
            with first_body_byte(self.server, "/registry", "application/soap+xml", body):
                found = self.kill_and_search(f"{patient}^^^")
            self.assertIn('csd-code="ITI-18"', found)

    def test_query_over_mllp(self):
        for number in range(ROUNDS):
            control = f"c4-{number}-{os.getpid()}"
            message = (f"MSH|^~\\&|EMR|HOSPITAL|PIXMGR|CENTER|20260401||QBP^Q23^QBP_Q21|{control}|P|2.5\r"
                       f"QPD|IHE PIX Query|tag|{common.patient('P1')}\rRCP|I\r")
            with socket.create_connection(("127.0.0.1", self.server.mllp_port), PATIENCE_S) as connection:
                connection.sendall(b"\x0b" + message.encode() + b"\x1c\r")
                receive_until(connection, len)
                found = self.kill_and_search(base64.b64encode(control.encode()).decode())
            self.assertIn('csd-code="ITI-9"', found)

    def test_feed_over_mllp(self):
        """The record of a write is in the same transaction: it comes out of the outbox after the start."""
        for number in range(ROUNDS):
            common.feed(self.server, f"C4-{number}")
            self.kill_and_search(f"C4-{number}")
            self.server.stop()  # the outbox goes out
            found = self.server.command("audit", "search", f"C4-{number}^^^", check=False).stdout
            self.assertIn('csd-code="ITI-8"', found)
            self.server.start()

    def test_query_over_fhir(self):
        for number in range(ROUNDS):
            request_id = f"c4-{number}-{os.getpid()}"
            with socket.create_connection(("127.0.0.1", self.server.plain_port), PATIENCE_S) as connection:
                connection.sendall(f"GET /fhir/Patient?family=Test HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {request_id}\r\n"
                                   "\r\n".encode())
                receive_until(connection, len)
                found = self.kill_and_search(request_id)
            self.assertIn('csd-code="ITI-78"', found)

    def test_write(self):
        submission = common.submission("P2")
        soap = common.client(self.server)
        self.assert_success(soap.provide(submission))
        soap.close()
        self.kill_and_search(submission.unique_id)
        self.server.stop()  # the outbox goes out
        found = self.server.command("audit", "search", submission.unique_id, check=False).stdout
        self.assertIn('csd-code="ITI-41"', found)
        self.server.start()


if __name__ == "__main__":
    unittest.main()
