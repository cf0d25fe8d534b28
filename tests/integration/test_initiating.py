"""The Initiating Gateway over running servers: one community here, another beside it, the same one behind a slow line, and one that is
stopped (ITI TF-2 3.18.4.1.3, 3.38, 3.39, 3.43; RAD TF-2 4.69, 4.75)."""

import hashlib
import json
import os
import socket
import threading
import time

from conformance import client as xds, dicomweb, fhir
from tests.harness import memory, saml, server as harness
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import common, test_xua
from tests.integration.audit_records import DESTINATION, SOURCE, codes, of_messages, outcome_text, party

HERE, THERE, SLOW, STOPPED = (f"urn:oid:1.2.392.99999.7.{n}" for n in (1, 2, 3, 4))
FOREIGN_AUTHORITY = "1.2.392.200.2"
REPOSITORY_THERE, SOURCE_THERE = "1.2.392.99999.6.2", "1.2.392.99999.6.3"
TIMEOUT_S = 3  # for who does not answer; who does has as long as a busy machine needs
SLOW_S = 60  # of the slow line: far behind any deadline


def there(number):
    """A patient of the other community as CX."""
    return f"{number}^^^&{FOREIGN_AUTHORITY}&ISO"


class SlowLine:
    """A TCP proxy to a port of 127.0.0.1 that keeps every byte of the way there for a while."""

    def __init__(self, port, delay_s):
        self.port_there, self.delay_s = port, delay_s
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port_there), PATIENCE_S)
            threading.Thread(target=self._pass, args=(peer, server, self.delay_s), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, peer, 0), daemon=True).start()

    @staticmethod
    def _pass(source, target, delay_s):
        try:
            while piece := source.recv(65536):
                time.sleep(delay_s)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        """Nobody is passed on any more."""
        self.listener.close()


def documents_of(patient, home=None):
    """FindDocuments."""
    return xds.query_xml("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{patient}'",
                                           "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"}, home=home)


def homes(reply):
    """The communities of the DocumentEntries of an answer."""
    return sorted(entry.get("home") for entry in reply.objects("ExtrinsicObject"))


class Initiating(common.ServerCase):
    """This server asks; another one is asked. Communities come and go with each test."""

    settings = {"server": {"roles": "registry, repository, pix, atna, imaging"}, "imaging": {"unique_id": "1.2.392.99999.6.1"},
                "affinity_domain": {"home_community_id": HERE}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = harness.Server(settings={
            "server": {"roles": "registry, repository, pix, atna, imaging"}, "imaging": {"unique_id": SOURCE_THERE},
            "affinity_domain": {"home_community_id": THERE, "patient_id_authority": FOREIGN_AUTHORITY},
            "repository": {"unique_id": REPOSITORY_THERE}})
        cls.addClassCleanup(cls.other.close)
        cls.other.start()
        mllp = xds.MllpClient(f"127.0.0.1:{cls.other.mllp_port}")
        for number in ("Q1", "Q2"):
            assert xds.acknowledgement(mllp.send(xds.adt("A01", there(number)))) == "AA"
        mllp.close()
        cls.letter = xds.Submission(there("Q1"), [xds.Document(there("Q1"), b"from there")])
        cls.here = xds.Submission(common.patient("P1"), [xds.Document(common.patient("P1"), b"from here")])
        for server, submission in ((cls.other, cls.letter), (cls.server, cls.here)):
            soap = common.client(server)
            reply = soap.provide(submission)
            assert reply.outcome == "Success", reply.errors
            soap.close()

    def setUp(self):
        for home in (THERE, SLOW, STOPPED):
            self.server.command("community", "remove", home, check=False)

    def register(self, home, port, timeout_s=PATIENCE_S):
        """Another community, with the patient Q1 as our P1."""
        self.server.command("community", "add", home, "--name", f"community {home[-1]}", "--url", f"http://127.0.0.1:{port}/gateway",
                            "--timeout", f"{timeout_s}s")
        self.server.command("community", "patient", "add", home, common.patient("P1"), there("Q1"))

    def ask(self, transaction, body):
        """A message to /initiating, with the time that its answer took."""
        begin = time.monotonic()
        reply = self.soap().send("/initiating", transaction, body, as_mtom=transaction != "ITI-18")
        return reply, time.monotonic() - begin

    def test_all_communities_answer_and_each_object_has_its_home(self):
        self.register(THERE, self.other.plain_port)
        reply, _ = self.ask("ITI-18", documents_of(common.patient("P1")))
        self.assertEqual((reply.outcome, reply.errors), ("Success", []))
        self.assertEqual(homes(reply), [HERE, THERE])
        for home in (HERE, THERE):
            with self.subTest(home=home):
                reply, _ = self.ask("ITI-18", documents_of(common.patient("P1"), home))
                self.assertEqual((reply.outcome, homes(reply)), ("Success", [home]))

    def test_another_way_to_write_the_patient_is_the_same_patient(self):
        """As for the registry: a namespace, and what is behind the authority, are passed over."""
        self.register(THERE, self.other.plain_port)
        for patient in (common.patient("P1").replace("^^^&", "^^^HOSPITAL&"), common.patient("P1") + "^PI"):
            reply, _ = self.ask("ITI-18", documents_of(patient))
            self.assertEqual((reply.outcome, reply.errors, homes(reply)), ("Success", [], [HERE, THERE]))

    def test_commands_show_try_and_forget_a_community(self):
        self.register(THERE, self.other.plain_port)
        command = self.server.command
        (found,) = json.loads(command("community", "list", "--json").stdout)
        self.assertEqual((found["home"], found["timeout_ms"], found["enabled"]), (THERE, 1000 * PATIENCE_S, True))
        self.assertEqual(json.loads(command("community", "patient", "list", "--json").stdout),
                         [{"home": THERE, "patient": common.patient("P1"), "foreign": there("Q1")}])
        self.assertEqual(command("community", "test", THERE, check=False).returncode, 0)
        (closed,) = harness.free_ports(1)
        self.register(STOPPED, closed)
        self.assertEqual(command("community", "test", STOPPED, check=False).returncode, 1)
        command("community", "add", SLOW, "--url", f"http://127.0.0.1:{self.other.plain_port}/gateway")
        tried = command("community", "test", SLOW, check=False)
        self.assertEqual(tried.returncode, 1)
        self.assertIn("XDSUnknownCommunity", tried.stdout + tried.stderr)
        for wrong in (("1.2.3", "--url", "http://127.0.0.1:1/x"), (THERE, "--url", "http://192.0.2.1/gateway"), (HERE, "--url", "http://127.0.0.1:1/x"),
                      (THERE,), (THERE, "--url", "http://127.0.0.1:1/x", "--timeout", "10")):
            self.assertNotEqual(command("community", "add", *wrong, check=False).returncode, 0, wrong)
        command("community", "remove", THERE)
        self.assertEqual([c["home"] for c in json.loads(command("community", "patient", "list", "--json").stdout)], [STOPPED])
        self.assertEqual(command("community", "remove", THERE, check=False).returncode, 1)
        self.assertTrue(any(codes(r)[1] == "110128" for r in of_messages(self.server, THERE, 1)))

    def test_a_community_is_tried_at_each_of_its_addresses(self):
        """As the gateway calls them: ITI-38, ITI-39, RAD-75, for the home that it is registered with."""
        command, good = self.server.command, f"http://127.0.0.1:{self.other.plain_port}/gateway"
        closed, wrong = (f"http://127.0.0.1:{p}/gateway" for p in (*harness.free_ports(1), self.other.plain_port))
        wrong = wrong.replace("/gateway", "/registry")

        def tried(*options):
            command("community", "add", THERE, "--url", good, *options)
            run = command("community", "test", THERE, "--json", check=False)
            found = json.loads(run.stdout)
            self.assertEqual((run.returncode == 0, found["home"]), (found["answers"], THERE))
            return {s["transaction"]: s["problem"] for s in found["services"]}
        self.assertEqual(tried(), {"ITI-38": "", "ITI-39": "", "RAD-75": ""})
        self.assertEqual(tried("--imaging-url", ""), {"ITI-38": "", "ITI-39": ""})
        for options, transaction, problem in ((("--retrieve-url", closed), "ITI-39", "Connection refused"),
                                              (("--imaging-url", wrong), "RAD-75", "/gateway"),
                                              (("--retrieve-url", wrong), "ITI-39", "/gateway")):
            with self.subTest(options=options):
                found = tried(*options)
                self.assertIn(problem, found.pop(transaction))
                self.assertEqual(set(found.values()), {""})
        output = command("community", "test", THERE, check=False).stdout
        self.assertIn(f"ITI-38  {good}  answers\n", output)
        self.assertIn(f"ITI-39  {wrong}  SOAP fault", output)
        command("community", "add", SLOW, "--url", good)
        output = command("community", "test", SLOW, check=False).stdout
        self.assertEqual(output.count("XDSUnknownCommunity"), 3)

    def test_of_as_many_communities_as_there_may_be_each_can_be_changed(self):
        command = self.server.command
        homes = [f"{THERE}.{n}" for n in range(64)]
        self.addCleanup(common.rows, self.server, "DELETE FROM community RETURNING 1")
        common.rows(self.server, "INSERT INTO community (home, name, query_url, retrieve_url, imaging_url, discovery_url, fingerprint, timeout_ms,"
                                 " enabled) SELECT unnest(%s), '', '', '', '', '', '', 1000, false RETURNING 1", homes)
        self.assertEqual(command("community", "add", homes[0], "--url", "http://127.0.0.1:1/x").returncode, 0)
        self.assertNotEqual(command("community", "add", f"{THERE}.64", "--url", "http://127.0.0.1:1/x", check=False).returncode, 0)

    def test_a_patient_unknown_there_is_no_error(self):
        self.server.command("community", "add", THERE, "--url", f"http://127.0.0.1:{self.other.plain_port}/gateway")
        reply, _ = self.ask("ITI-18", documents_of(common.patient("P1")))
        self.assertEqual((reply.outcome, reply.errors, homes(reply)), ("Success", [], [HERE]))
        reply, _ = self.ask("ITI-18", documents_of(common.patient("nobody")))
        self.assertEqual((reply.outcome, homes(reply)), ("Failure" if reply.errors else "Success", []))

    def test_a_query_by_id_needs_the_home_and_a_home_that_is_asked(self):
        self.register(THERE, self.other.plain_port)
        for home, outcome, error in ((None, "Failure", "XDSMissingHomeCommunityId"), (SLOW, "Failure", "XDSUnknownCommunity"), (THERE, "Success", None)):
            with self.subTest(home=home):
                body = xds.query_xml("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{self.letter.documents[0].unique_id}')"}, home=home)
                reply, _ = self.ask("ITI-18", body)
                self.assertEqual((reply.outcome, [e[0] for e in reply.errors]), (outcome, [error] if error else []))
                self.assertEqual(homes(reply), [] if error else [THERE])

    def test_a_slow_and_a_stopped_community_hold_nobody_beyond_the_deadline(self):
        line = SlowLine(self.other.plain_port, SLOW_S)
        self.addCleanup(line.close)
        (closed,) = harness.free_ports(1)
        self.register(THERE, self.other.plain_port)
        self.register(SLOW, line.port, TIMEOUT_S)
        self.register(STOPPED, closed, TIMEOUT_S)
        reply, seconds = self.ask("ITI-18", documents_of(common.patient("P1")))
        self.assertEqual((reply.outcome, homes(reply)), ("PartialSuccess", [HERE, THERE]))
        self.assertEqual(sorted((e[0], e[2]) for e in reply.errors),
                         [("XDSUnavailableCommunity", SLOW), ("XDSUnavailableCommunity", STOPPED)])
        self.assertLess(TIMEOUT_S * 0.9, seconds)
        self.assertLess(seconds, SLOW_S)
        wanted = [(REPOSITORY_THERE, self.letter.documents[0].unique_id, THERE), (REPOSITORY_THERE, "1.2.3.4", SLOW),
                  (harness.REPOSITORY_UID, self.here.documents[0].unique_id, HERE), ("1.2.3", "1.2.3.5", STOPPED)]
        reply, seconds = self.ask("ITI-43", xds.retrieve_xml(wanted))
        self.assertEqual(reply.outcome, "PartialSuccess")
        self.assertEqual(sorted(reply.documents().values()), [b"from here", b"from there"])
        self.assertEqual(sorted((e[0], e[2]) for e in reply.errors),
                         [("XDSUnavailableCommunity", SLOW), ("XDSUnavailableCommunity", STOPPED)])
        self.assertLess(seconds, SLOW_S)

    def test_only_a_stopped_community_is_a_failure(self):
        (closed,) = harness.free_ports(1)
        self.register(STOPPED, closed)
        reply, _ = self.ask("ITI-18", documents_of(common.patient("P1"), STOPPED))
        self.assertEqual((reply.outcome, [e[0] for e in reply.errors]), ("Failure", ["XDSUnavailableCommunity"]))

    def test_documents_need_their_home_and_faults_of_one_are_not_those_of_others(self):
        self.register(THERE, self.other.plain_port)
        letter = self.letter.documents[0].unique_id
        wanted = [(REPOSITORY_THERE, letter), (REPOSITORY_THERE, letter, THERE), (REPOSITORY_THERE, "1.2.3.9", THERE), ("1.2.9", letter, SLOW)]
        reply, _ = self.ask("ITI-43", xds.retrieve_xml(wanted))
        self.assertEqual((reply.outcome, list(reply.documents().values())), ("PartialSuccess", [b"from there"]))
        self.assertEqual(sorted(e[0] for e in reply.errors),
                         ["XDSDocumentUniqueIdError", "XDSMissingHomeCommunityId", "XDSUnknownCommunity"])
        self.assertIn(f"HomeCommunityId>{THERE}<".encode(), reply.raw)

    def test_a_large_document_passes_byte_by_byte_in_constant_memory(self):
        self.register(THERE, self.other.plain_port)
        content = os.urandom(50 * common.MIB)
        submission = xds.Submission(there("Q2"), [xds.Document(there("Q2"), content)])
        self.assert_success(common.client(self.other).provide(submission))
        before = memory.server_bytes(self.server.process.pid)
        peak = [before]
        stop = threading.Event()

        def watch():
            while not stop.wait(0.02):
                peak[0] = max(peak[0], memory.server_bytes(self.server.process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        reply, _ = self.ask("ITI-43", xds.retrieve_xml([(REPOSITORY_THERE, submission.documents[0].unique_id, THERE)]))
        stop.set()
        watcher.join()
        self.assertEqual(reply.outcome, "Success")
        (got,) = reply.documents().values()
        self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(content).digest())
        self.assertLess(peak[0] - before, 20 * common.MIB)

    def test_images_of_both_communities(self):
        self.register(THERE, self.other.plain_port)
        study, series, uid = (xds.new_oid() for _ in range(3))
        file = dicomweb.make_file({"patient": there("Q1"), "study": study, "series": series, "instance": uid})
        self.base = f"http://127.0.0.1:{self.other.plain_port}"
        kind = f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'
        self.assertEqual(fhir.exchange(self, "POST", "/dicomweb/studies", dicomweb.multipart([file]), {"Content-Type": kind})[0], 200)
        body = xds.retrieve_images_xml([(study, series, SOURCE_THERE, uid), (study, series, SOURCE_THERE, "1.2.3")], [dicomweb.EXPLICIT], THERE)
        reply, _ = self.ask("RAD-69", body)
        self.assertEqual((reply.outcome, list(reply.documents())), ("PartialSuccess", [uid]), reply.errors)
        wanted = {("110104", "RAD-75", "C", "0"), ("110104", "RAD-75", "C", "8")}
        wait_until(lambda: wanted <= {codes(r) for r in of_messages(self.server, study, 2)})

    def test_on_record_are_the_question_and_each_community_that_was_asked(self):
        (closed,) = harness.free_ports(1)
        self.register(THERE, self.other.plain_port)
        self.register(STOPPED, closed)
        self.assertEqual(self.ask("ITI-18", documents_of(common.patient("P7")))[0].outcome, "PartialSuccess")
        wanted = {("110112", transaction, "E", outcome) for transaction in ("ITI-18", "ITI-38") for outcome in "08"}
        wait_until(lambda: wanted <= {codes(r) for r in of_messages(self.server, "P7^^^", len(wanted))})
        records = of_messages(self.server, "P7^^^", len(wanted))
        for record in records:
            if codes(record)[1] == "ITI-38":
                self.assertEqual((party(record, SOURCE).get("UserIsRequestor"), party(record, DESTINATION).get("UserIsRequestor")), ("true", "false"))
                self.assertRegex(party(record, DESTINATION).get("UserID"), "^http://127.0.0.1:[0-9]+/gateway$")
        (refused,) = [r for r in records if codes(r) == ("110112", "ITI-38", "E", "8")]
        self.assertIn("XDSUnavailableCommunity", outcome_text(refused))


class Users(common.ServerCase):
    """The other community demands to know its users, over mutual TLS; this one passes on what they say, and does not look at it itself."""

    roles = ("gateway-a",)
    settings = {"affinity_domain": {"home_community_id": HERE}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = harness.Server(certs=cls.certs, settings={
            "server": {"plain_http_listen": None, "plain_mllp_listen": None},
            "affinity_domain": {"home_community_id": THERE},
            "xua": {"registry": "require", "repository": "require", "audiences": saml.AUDIENCE}})
        cls.addClassCleanup(cls.other.close)
        cls.other.start()
        cls.idp = saml.IdentityProvider()
        test_xua.register(cls.other, cls.idp)
        cls.server.command("community", "add", THERE, "--url", f"https://localhost:{cls.other.https_port}/gateway",
                           "--timeout", f"{PATIENCE_S}s")

    def ask(self, header):
        """A query that the other community answers with nothing, but without an error."""
        body = xds.query_xml("GetDocuments", {"$XDSDocumentEntryUniqueId": "('1.2.3.4')"}, home=THERE)
        message = xds.envelope(xds.ACTIONS["ITI-18"], body)
        return self.soap().post("/initiating", "application/soap+xml; charset=UTF-8", saml.with_header(message, header) if header else message)

    def test_the_assertion_of_a_user_goes_on_as_it_is_signed(self):
        reply = self.ask(saml.security(self.idp.assertion()))
        self.assertEqual((reply.outcome, reply.errors), ("Success", []))
        reply = self.ask(None)
        self.assertEqual((reply.outcome, [e[0] for e in reply.errors]), ("Failure", ["XDSUnavailableCommunity"]))
        self.assertIn("SOAP fault", reply.errors[0][1])

    def test_an_assertion_that_nobody_signed_is_refused_there(self):
        reply = self.ask(saml.security(saml.IdentityProvider().assertion()))
        self.assertEqual((reply.outcome, [e[0] for e in reply.errors]), ("Failure", ["XDSUnavailableCommunity"]))
