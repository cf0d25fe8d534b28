"""Many senders at once (contract C3)."""

import contextlib
import threading
import unittest
import uuid

import psycopg2

from conformance import client as xds
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import common

SENDERS = 16


def at_once(server, messages):
    """Posts all messages to /repository at the same moment, each over a connection of its own; gives the replies."""
    barrier = threading.Barrier(len(messages), timeout=PATIENCE_S)
    replies = [None] * len(messages)

    def send(index):
        soap = common.client(server)
        soap.query("GetDocuments", {"$XDSDocumentEntryUniqueId": "('1.2.3')"})  # connected and warm
        barrier.wait()
        replies[index] = soap.post("/repository", *messages[index])
        soap.close()
    threads = [threading.Thread(target=send, args=(index,)) for index in range(len(messages))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


def message(submission):
    """An ITI-41 as (Content-Type, bytes)."""
    return xds.mtom(xds.envelope(xds.ACTIONS["ITI-41"], submission.provide_xml()), submission.attachments())


class Races(common.ServerCase):
    """Exactly one wins, and the others are told what happened."""

    def test_sixteen_identical_submissions_give_one_success_and_fifteen_explanations(self):
        for _ in range(5):
            submission = common.submission("P1", b"the same")
            replies = at_once(self.server, [message(submission)] * SENDERS)
            self.assertEqual([r.outcome for r in replies].count("Success"), 1, [r.errors for r in replies])
            for reply in replies:
                if reply.outcome != "Success":
                    self.assertEqual(reply.errors[0][0], "XDSDuplicateUniqueIdInRegistry")
                    self.assertRegex(reply.errors[0][1],
                                     r"identical submission already registered at \S+ as urn:uuid:\S+: treat as done \[ref \w+\]$")
            reply = common.fetch(self.soap(), *submission.documents)
            self.assertEqual(reply.documents(), {submission.documents[0].unique_id: b"the same"})

    def test_sixteen_replacements_of_one_document_have_one_winner(self):
        soap = self.soap()
        for number in range(5):
            patient = f"R{number}"
            common.feed(self.server, patient)
            original = common.submission(patient)
            self.assert_success(soap.provide(original))
            target = common.find(soap, patient)[original.documents[0].unique_id]
            contenders = []
            for _ in range(SENDERS):
                contender = common.submission(patient, b"new")
                contender.associations = [xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", "Document01", target)]
                contenders.append(contender)
            replies = at_once(self.server, [message(c) for c in contenders])
            winners = [c for c, r in zip(contenders, replies) if r.outcome == "Success"]
            self.assertEqual(len(winners), 1)
            for reply in replies:
                self.assertIn([error[0] for error in reply.errors], ([], ["XDSRegistryDeprecatedDocumentError"]))
            self.assertEqual(set(common.find(soap, patient)), {winners[0].documents[0].unique_id})
            self.assertEqual(set(common.find(soap, patient, "Deprecated")), {original.documents[0].unique_id})

    def database(self):
        """A connection to the server's PostgreSQL that ends with the test."""
        connection = psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi_owner", dbname="musubi")
        self.addCleanup(connection.close)
        return connection

    def deadlocks(self):
        """How many PostgreSQL has broken so far."""
        with contextlib.closing(self.database().cursor()) as cursor:
            cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            return cursor.fetchone()[0]

    def wait_for_waiting(self, cursor, count):
        """Until so many transactions wait for a lock."""
        def waiting():
            cursor.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
            return cursor.fetchone()[0]
        wait_until(lambda: waiting() >= count, lambda: f"{waiting()} of {count} wait", pause_s=0.01)

    def send_in_turn(self, held, *submissions):
        """Sends each when those before it hold their locks and wait: the document held is let go when the last one waits."""
        replies = [None] * len(submissions)

        def send(index):
            with contextlib.closing(common.client(self.server)) as soap:
                replies[index] = soap.post("/repository", *message(submissions[index]))
        threads = [threading.Thread(target=send, args=(index,)) for index in range(len(submissions))]
        connection = self.database()
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT FROM document_entry WHERE entry_uuid = %s FOR NO KEY UPDATE", (held.removeprefix("urn:uuid:"),))
            for number, thread in enumerate(threads, 1):
                thread.start()
                self.wait_for_waiting(cursor, number)
        for thread in threads:
            thread.join()
        return replies

    def test_replacements_of_a_document_and_of_its_addendum_do_not_deadlock(self):
        for kind in ("APND", "XFRM"):
            soap, before = self.soap(), self.deadlocks()
            target, follower = f"urn:uuid:f{str(uuid.uuid4())[1:]}", f"urn:uuid:0{str(uuid.uuid4())[1:]}"
            self.assert_success(soap.provide(common.submission("P3", id=target)))
            addendum = common.submission("P3", id=follower)
            addendum.associations = [xds.association_xml(xds.IHE_ASSOCIATION + kind, follower, target)]
            self.assert_success(soap.provide(addendum))
            replacement = common.submission("P3", b"new")
            replacement.associations = [xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", "Document01", target)]
            both = common.submission("P3", b"new addendum")
            both.associations = [xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", "Document01", follower),
                                 xds.association_xml(xds.IHE_ASSOCIATION + kind, "Document01", target)]
            # The target sorts last: the first holds the addendum and waits for the target, the second waits for the addendum.
            first, second = self.send_in_turn(target, replacement, both)
            self.assert_success(first)
            self.assertEqual({error[0] for error in second.errors}, {"XDSRegistryDeprecatedDocumentError"})
            self.assertLessEqual({target, follower}, set(common.find(soap, "P3", "Deprecated").values()))
            self.assertEqual(self.deadlocks(), before)

    def test_sixteen_different_contents_of_one_unique_id_have_one_winner(self):
        contenders = [common.submission("P2", f"content {n}".encode(), unique_id="1.2.392.99999.77.1.2.3") for n in range(SENDERS)]
        replies = at_once(self.server, [message(c) for c in contenders])
        winners = [c for c, r in zip(contenders, replies) if r.outcome == "Success"]
        self.assertEqual(len(winners), 1)
        for reply in replies:
            self.assertTrue(reply.outcome == "Success" or "XDSNonIdenticalHash" in [error[0] for error in reply.errors], reply.errors)
        reply = common.fetch(self.soap(), "1.2.392.99999.77.1.2.3")
        self.assertEqual(list(reply.documents().values()), [winners[0].documents[0].content])


if __name__ == "__main__":
    unittest.main()
