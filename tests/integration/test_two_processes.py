"""A repository that registers at a registry on another host (ITI TF-2 3.41, 3.42)."""

import os
import signal
import threading
import unittest

import psycopg2

from tests.fault import site as sites
from tests.harness.waiting import PATIENCE_S, becomes, wait_until
from tests.integration import common
from tests.integration.test_removal import remove_documents


class TwoProcesses(unittest.TestCase):
    """Registry and repository are processes with a database each, and speak ITI-42 over mutual TLS."""

    @classmethod
    def setUpClass(cls):
        cls.site = sites.Site(two_processes=True)
        cls.addClassCleanup(cls.site.close)
        cls.site.start()
        cls.site.feed()

    def setUp(self):
        self.clients = self.site.clients()
        self.addCleanup(self.clients.close)

    def fetched(self, submission):
        """The bytes of its document by ITI-43, or None."""
        document = submission.documents[0]
        return common.fetch(self.clients.repository, document).documents().get(document.unique_id)

    def wait_until_fetched(self, submission):
        """Waits until the repository serves it."""
        self.assertEqual(becomes(lambda: self.fetched(submission)), submission.documents[0].content)

    def provide_in_background(self, submission):
        """Sends an ITI-41; gives the thread and the list that its reply goes to."""
        replies = []

        def send():
            soap = common.client(self.site.repository)
            replies.append(soap.provide(submission))
            soap.close()
        thread = threading.Thread(target=send)
        thread.start()
        return thread, replies

    def test_what_is_provided_is_listed_by_the_one_and_fetched_from_the_other(self):
        submission = common.submission("P1", os.urandom(2 * common.MIB))
        reply = self.clients.repository.provide(submission)
        self.assertEqual((reply.outcome, reply.errors), ("Success", []))
        self.assertIn(submission.documents[0].unique_id, common.find(self.clients.registry, "P1"))
        self.assertEqual(self.fetched(submission), submission.documents[0].content)

    def test_errors_of_the_registry_are_relayed_and_the_document_is_not_served(self):
        submission = common.submission("NOBODY")
        reply = self.clients.repository.provide(submission)
        self.assertEqual((reply.outcome, [e[0] for e in reply.errors]), ("Failure", ["XDSUnknownPatientId"]))
        self.assertIsNone(self.fetched(submission))

    def test_documents_are_retrievable_while_the_registry_is_inside_iti_42(self):
        submission = common.submission("P2", b"pending")
        registry = self.site.registry.process
        registry.send_signal(signal.SIGSTOP)
        try:
            thread, replies = self.provide_in_background(submission)
            self.wait_until_fetched(submission)
            self.assertEqual(replies, [])
        finally:
            registry.send_signal(signal.SIGCONT)
        thread.join(PATIENCE_S)
        self.assertEqual(replies[0].outcome, "Success", replies[0].errors)
        self.assertEqual(self.fetched(submission), b"pending")

    def lose_the_registry(self, submission):
        """Kills the registry while it has the ITI-42, and starts it again."""
        registry = self.site.registry
        registry.process.send_signal(signal.SIGSTOP)
        thread, replies = self.provide_in_background(submission)
        self.wait_until_fetched(submission)
        registry.kill()
        thread.join(PATIENCE_S)
        self.assertEqual([e[0] for e in replies[0].errors], ["XDSRegistryNotAvailable"])
        self.assertIn("send the same message again", replies[0].errors[0][1])
        registry.start()
        self.clients = self.site.clients()
        self.addCleanup(self.clients.close)

    def test_unknown_outcome_is_settled_by_sending_again(self):
        submission = common.submission("P3", b"unknown")
        self.lose_the_registry(submission)
        reply = remove_documents(self.clients.repository, submission.documents[0])
        self.assertEqual([e[0] for e in reply.errors], ["XDSRemoveDocumentsError"])
        self.assertIn("not yet known", reply.errors[0][1])
        reply = self.clients.repository.provide(submission)
        self.assertEqual(reply.outcome, "Success", reply.errors)
        self.assertEqual(self.fetched(submission), b"unknown")
        self.assertIn(submission.documents[0].unique_id, common.find(self.clients.registry, "P3"))

    @unittest.skipUnless(common.IS_FULL, "takes a minute; MUSUBI_FULL=1")
    def test_unknown_outcome_is_settled_by_the_sweep(self):
        submission = common.submission("P4", b"never registered")
        self.lose_the_registry(submission)
        connection = psycopg2.connect(host=f"{self.site.repository.dir}/data/postgres", user="musubi_owner", dbname="musubi")
        with connection, connection.cursor() as cursor:
            cursor.execute("UPDATE repository_document SET stored_at = now() - interval '1 hour' WHERE state = 0")
        connection.close()
        wait_until(lambda: self.fetched(submission) is None, "it is still served", 3 * PATIENCE_S, 1)


if __name__ == "__main__":
    unittest.main()
