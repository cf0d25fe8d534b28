"""What was acknowledged is there after every kind of end (contract C1 to C3)."""

import http.client
import os
import signal
import socket
import threading
import time
import unittest

from conformance import client as xds
from tests.harness import pace, server as harness
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import common


ENOUGH = 60  # acknowledged documents, when a server ends in the middle of more


def request_bytes(submission):
    """An ITI-41 as it goes over the wire."""
    content_type, body = xds.mtom(xds.envelope(xds.ACTIONS["ITI-41"], submission.provide_xml()), submission.attachments())
    return (f"POST /repository HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


class Writer(threading.Thread):
    """Submits until the server is gone; remembers what was acknowledged."""

    def __init__(self, server, number):
        super().__init__()
        self.server, self.number = server, number
        self.acknowledged = []
        self.wrong = []
        self.stopping = threading.Event()

    def run(self):
        soap = common.client(self.server)
        while not self.stopping.is_set():
            size = 2 * common.MIB if len(self.acknowledged) % 8 == 7 else 3000
            submission = common.submission(self.number, os.urandom(size))
            try:
                reply = soap.provide(submission)
            except (OSError, http.client.HTTPException):
                break
            if reply.outcome == "Success":
                self.acknowledged.append(submission.documents[0])
            elif not self.stopping.is_set():
                self.wrong.append(reply.raw)
        soap.close()


class Durability(unittest.TestCase):
    """Each test ends the server in another way."""

    def setUp(self):
        self.server = harness.Server()
        self.addCleanup(self.server.close)
        self.server.start()
        common.feed(self.server, "P1", "P2", "P3", "P4")

    def write_until(self, end):
        """Runs four writers, calls end() in the middle; gives what was acknowledged."""
        writers = [Writer(self.server, f"P{n}") for n in range(1, 5)]
        for writer in writers:
            writer.start()
        wait_until(lambda: sum(len(writer.acknowledged) for writer in writers) >= ENOUGH, self.server.log)
        end()
        for writer in writers:
            writer.stopping.set()
            writer.join(PATIENCE_S)
            self.assertFalse(writer.is_alive())
            self.assertEqual(writer.wrong, [])
        return [d for writer in writers for d in writer.acknowledged]

    def assert_all_there(self, documents):
        """Each is found by ITI-18 and fetched unchanged by ITI-43; the checker finds nothing."""
        soap = common.client(self.server)
        found = {}
        for number in range(1, 5):
            found.update(common.find(soap, f"P{number}"))
        self.assertEqual([d.unique_id for d in documents if d.unique_id not in found], [])
        for first in range(0, len(documents), 20):
            some = documents[first:first + 20]
            reply = common.fetch(soap, *some)
            self.assertEqual(reply.outcome, "Success", reply.errors)
            got = reply.documents()
            for document in some:
                self.assertEqual(got[document.unique_id], document.content)
        soap.close()
        fsck = self.server.command("fsck", check=False)
        self.assertEqual((fsck.returncode, fsck.stdout), (0, "0 findings\n"), fsck.stderr)

    def test_after_kill_of_the_server_its_postgres_is_adopted_and_all_acknowledged_is_there(self):
        documents = self.write_until(self.server.kill)
        postmaster = self.server.postmaster_pid()
        self.server.start()
        self.assertEqual(self.server.postmaster_pid(), postmaster)
        self.assert_all_there(documents)

    def test_after_kill_of_server_and_postgres_all_acknowledged_is_there(self):
        def kill_both():
            postmaster = self.server.postmaster_pid()
            self.server.kill()
            os.kill(postmaster, signal.SIGKILL)
        documents = self.write_until(kill_both)
        self.server.start()  # at once: the killed postmaster's lock file and backends may still be there
        self.assert_all_there(documents)

    def test_after_kill_of_postgres_alone_the_server_answers_again(self):
        documents = self.write_until(self.server.kill)
        self.server.start()
        killed = self.server.postmaster_pid()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: self.server.has_new_postgres(killed), self.server.log)
        self.assert_all_there(documents)

    def test_orderly_stop_under_load_answers_what_it_accepted_and_exits_0(self):
        submissions = [common.submission("P1", os.urandom(5000)) for _ in range(8)]
        sockets = []
        for submission in submissions:
            sockets.append(socket.create_connection(("127.0.0.1", self.server.plain_port), PATIENCE_S))
            sockets[-1].sendall(request_bytes(submission)[:-1])

        def stop():
            self.server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            for connection in sockets:
                connection.sendall(b"\n")
            for connection in sockets:
                with connection, connection.makefile("rb") as stream:
                    self.assertIn(b"ResponseStatusType:Success", stream.read())
            self.assertEqual(self.server.process.wait(PATIENCE_S), 0, self.server.log()[-2000:])
        documents = self.write_until(stop)
        self.server.start()
        self.assert_all_there(documents + [s.documents[0] for s in submissions])

    def test_cold_start_with_a_database_that_exists_takes_less_than_two_seconds(self):
        self.assertEqual(self.server.stop(), 0)
        seconds, slowdown = pace.timed(self.server.start)
        print(f"cold start {seconds:.3f} s, slowdown {slowdown:.1f} ... ", end="", flush=True)
        self.assertLess(seconds, 2.0 * slowdown)


if __name__ == "__main__":
    unittest.main()
