"""The Initiating Gateway and communities that do not answer as they should: nothing wrong is passed on, nobody waits beyond the deadline,
and what others gave is still there (ITI TF-2 3.18.4.1.3, 3.38.4.1.3, 3.39.4.1.3, 3.43.5)."""

import re
import threading
import time
import unittest
from xml.sax.saxutils import escape

from conformance import client as xds
from tests.harness import memory, receivers
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import common
from tests.integration.audit_records import codes, of_messages
from tests.integration.test_initiating import HERE, THERE, TIMEOUT_S, documents_of, homes

STATUS_OF = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:"
PARTIAL = "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"
REPOSITORY_THERE = "1.2.392.99999.6.2"
SOAP = "application/soap+xml; charset=UTF-8"
ENDLESS_S = 60  # who waits so long has waited beyond the deadline
HANGING_S = 8  # the deadline while many wait


def error_xml(code, context="text", location=THERE, severity="Error"):
    """rs:RegistryError."""
    return (f'<rs:RegistryError errorCode="{code}" codeContext="{escape(context)}" location="{location}"'
            f' severity="urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:{severity}"/>')


def errors_xml(*errors):
    """rs:RegistryErrorList."""
    return f"<rs:RegistryErrorList>{''.join(errors)}</rs:RegistryErrorList>" if errors else ""


def entry_xml(home, uuid=None, inner=""):
    """A DocumentEntry as poor as it may be."""
    home = f' home="{home}"' if home is not None else ""
    return f'<rim:ExtrinsicObject id="{uuid or xds.new_urn()}"{home} objectType="urn:x">{inner}</rim:ExtrinsicObject>'


def answer_xml(status, objects="", errors=""):
    """query:AdhocQueryResponse."""
    return (f'<query:AdhocQueryResponse xmlns:query="{xds.NS["query"]}" xmlns:rs="{xds.NS["rs"]}" xmlns:rim="{xds.NS["rim"]}"'
            f' status="{status}">{errors}<rim:RegistryObjectList>{objects}</rim:RegistryObjectList></query:AdhocQueryResponse>')


def envelope(body, headers=""):
    """A SOAP message that answers."""
    return (f'<s:Envelope xmlns:s="{xds.NS["soap"]}" xmlns:wsa="{xds.NS["wsa"]}"><s:Header><wsa:Action s:mustUnderstand="1">urn:x</wsa:Action>'
            f'{headers}</s:Header><s:Body>{body}</s:Body></s:Envelope>').encode()


def reply(content, content_type=SOAP, status=200, more=""):
    """HTTP."""
    return f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n{more}Content-Length: {len(content)}\r\n\r\n".encode() + content


def document_xml(unique_id, content='<xds:Document><xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href="cid:d@x"/></xds:Document>',
                 repository=REPOSITORY_THERE, home=THERE):
    """xds:DocumentResponse."""
    return (f"<xds:DocumentResponse><xds:HomeCommunityId>{home}</xds:HomeCommunityId><xds:RepositoryUniqueId>{repository}</xds:RepositoryUniqueId>"
            f"<xds:DocumentUniqueId>{unique_id}</xds:DocumentUniqueId><xds:mimeType>text/plain</xds:mimeType>{content}</xds:DocumentResponse>")


def documents(status, responses="", errors="", attachment=b"content", part_type="text/plain", end=b"\r\n--b--\r\n", content_id="d@x"):
    """An MTOM answer to ITI-39."""
    body = envelope(f'<xds:RetrieveDocumentSetResponse xmlns:xds="{xds.NS["xds"]}" xmlns:rs="{xds.NS["rs"]}">'
                    f'<rs:RegistryResponse status="{status}">{errors}</rs:RegistryResponse>{responses}</xds:RetrieveDocumentSetResponse>')
    content = (b'--b\r\nContent-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"\r\nContent-ID: <r@x>\r\n\r\n' + body
               + f"\r\n--b\r\nContent-Type: {part_type}\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <{content_id}>\r\n\r\n".encode()
               + attachment + end)
    return reply(content, 'multipart/related; type="application/xop+xml"; start="<r@x>"; start-info="application/soap+xml"; boundary=b')


class Liar(receivers.Receiver):
    """Another community's gateway. answer(head and body) gives the bytes of the reply, or pieces of it, or None: none at all."""

    def _exchange(self, connection):
        head = self._read_until(connection, lambda data: b"\r\n\r\n" in data)
        head, _, body = head.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
        while len(body) < length:
            body += connection.recv(65536)
        answer = self._keep((head.decode(), body))
        for piece in ([answer] if isinstance(answer, bytes) else answer or ()):
            connection.sendall(piece)
        return answer is not None


class Case(common.ServerCase):
    """This server asks one community that lies, beside its own."""

    settings = {"server": {"roles": "registry, repository, pix, atna"}, "affinity_domain": {"home_community_id": HERE}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.here = common.submission("P1", b"from here")
        soap = common.client(cls.server)
        answer = soap.provide(cls.here)
        assert answer.outcome == "Success", answer.errors
        soap.close()

    def lie(self, answer, timeout_s=PATIENCE_S):
        """A community that answers so, within this time."""
        liar = Liar(answer if callable(answer) else lambda message: answer)
        self.addCleanup(liar.stop)
        self.server.command("community", "add", THERE, "--url", f"http://127.0.0.1:{liar.port}/gateway", "--timeout", f"{timeout_s}s")
        return liar

    def ask(self, answer, body=None, transaction="ITI-18", timeout_s=PATIENCE_S):
        """What /initiating answers, and who was asked."""
        liar = self.lie(answer, timeout_s)
        begin = time.monotonic()
        found = self.soap().send("/initiating", transaction, body or documents_of(common.patient("P1")), as_mtom=transaction != "ITI-18")
        self.assertLess(time.monotonic() - begin, ENDLESS_S)
        return found, liar

    def retrieve(self, answer, *unique_ids, timeout_s=PATIENCE_S):
        """ITI-43 of documents there."""
        return self.ask(answer, xds.retrieve_xml([(REPOSITORY_THERE, u, THERE) for u in unique_ids]), "ITI-43", timeout_s)[0]

    def unavailable(self, found):
        """What is here came, and an error for the community there."""
        self.assertEqual((found.outcome, homes(found)), ("PartialSuccess", [HERE]))
        self.assertEqual([(e[0], e[2]) for e in found.errors], [("XDSUnavailableCommunity", THERE)])


class Lying(Case):
    """Nothing wrong is passed on."""

    # ---- ITI-18

    def test_objects_of_other_communities_and_of_none_are_left_out(self):
        for home, error in (("urn:oid:1.2.3", "XDSUnknownCommunity"), (HERE, "XDSUnknownCommunity"), (None, "XDSMissingHomeCommunityId"),
                            ("", "XDSMissingHomeCommunityId")):
            with self.subTest(home=home):
                found, _ = self.ask(reply(envelope(answer_xml(STATUS_OF + "Success", entry_xml(home) + entry_xml(THERE)))))
                self.assertEqual((found.outcome, homes(found)), ("PartialSuccess", [HERE, THERE]))
                self.assertEqual([(e[0], e[2]) for e in found.errors], [(error, THERE)])

    def test_what_is_not_whole_is_not_presented_as_whole(self):
        """PartialSuccess, Failure and a status that there is not, each without an error that says why."""
        for status in (PARTIAL, STATUS_OF + "PartialSuccess", STATUS_OF + "Failure", STATUS_OF + "Unavailable", ""):
            with self.subTest(status=status):
                found, _ = self.ask(reply(envelope(answer_xml(status, entry_xml(THERE)))))
                self.assertEqual(found.outcome, "PartialSuccess")
                self.assertEqual([e[2] for e in found.errors], [THERE])
        whole = errors_xml(error_xml("XDSRegistryError", "be careful", severity="Warning"))
        found, _ = self.ask(reply(envelope(answer_xml(PARTIAL, entry_xml(THERE), whole))))
        self.assertEqual((found.outcome, homes(found)), ("PartialSuccess", [HERE, THERE]))
        unknown = errors_xml(error_xml("XDSUnknownPatientId"))
        found, _ = self.ask(reply(envelope(answer_xml(PARTIAL, entry_xml(THERE), unknown))))
        self.assertEqual((found.outcome, found.errors, homes(found)), ("Success", [], [HERE, THERE]))

    def test_that_a_patient_is_asked_for_is_on_record_before_the_question_leaves(self):
        """Contract C4."""
        found = []

        def look(_):
            found.extend(codes(r) for r in of_messages(self.server, "P4^^^", 1))
            return reply(envelope(answer_xml(STATUS_OF + "Failure", "", errors_xml(error_xml("XDSTooManyResults")))))
        self.ask(look, documents_of(common.patient("P4")))
        self.assertIn(("110112", "ITI-38", "E", "0"), found)
        refused = ("110112", "ITI-38", "E", "8")
        wait_until(lambda: refused in [codes(r) for r in of_messages(self.server, "P4^^^", 1)])
        self.assertEqual([codes(r) for r in of_messages(self.server, "P4^^^", 1)].count(refused), 1)

    def test_that_the_patient_is_unknown_there_hides_no_other_fault(self):
        unknown, other = error_xml("XDSUnknownPatientId"), error_xml("XDSRegistryBusy")
        for errors in ((unknown, other), (other, unknown)):
            found, _ = self.ask(reply(envelope(answer_xml(STATUS_OF + "Failure", "", errors_xml(*errors)))))
            self.assertEqual((found.outcome, [e[0] for e in found.errors]), ("PartialSuccess", ["XDSRegistryBusy"]))

    def test_errors_are_bounded_and_have_codes_of_the_standard(self):
        for code in ("", "soap12:Sender", "urn:x", "NoSuchError", "x" * 50000):
            with self.subTest(code=code[:20]):
                found, _ = self.ask(reply(envelope(answer_xml(STATUS_OF + "Failure", "", errors_xml(error_xml(code))))))
                self.assertEqual((found.outcome, [(e[0], e[2]) for e in found.errors]), ("PartialSuccess", [("XDSRegistryError", THERE)]))
                self.assertLess(len(found.raw), 100000)
        for context, count in (("z" * (8 << 20), 1), ("z" * 1000, 8000)):
            with self.subTest(count=count):
                found, _ = self.ask(reply(envelope(answer_xml(STATUS_OF + "Failure", "", errors_xml(*[error_xml("XDSRegistryError", context)] * count)))))
                self.assertEqual((found.outcome, homes(found)), ("PartialSuccess", [HERE]))
                self.assertLess(len(found.raw), 2 << 20)

    def test_what_cannot_be_read_counts_as_no_answer(self):
        good = envelope(answer_xml(STATUS_OF + "Success", entry_xml(THERE)))
        bomb = b'<!DOCTYPE a [<!ENTITY b "' + b"c" * 1000 + b'">]>' + good
        for what, answer in (
                ("content type", reply(good, "text/html")), ("text/xml", reply(good, "text/xml")), ("none", reply(good, "")),
                ("redirect", reply(b"", status=302, more="Location: http://127.0.0.1:1/elsewhere\r\n")),
                ("fault", reply(envelope('<s:Fault xmlns:s="http://www.w3.org/2003/05/soap-envelope"/>'), status=500)),
                ("cut", reply(good)[:-20] + b""), ("no HTTP", b"SSH-2.0-x\r\n\r\n"), ("empty", reply(b"")), ("nothing", None), ("doctype", reply(bomb)),
                ("of another message", reply(envelope(answer_xml(STATUS_OF + "Success", entry_xml(THERE)), f"<wsa:RelatesTo>{xds.new_urn()}</wsa:RelatesTo>"))),
                ("other body", reply(envelope("<a/>"))), ("two lengths", reply(good, more=f"Content-Length: {len(good) - 5}\r\n")),
                ("coding", reply(good, more="Transfer-Encoding: gzip\r\n")), ("long header", reply(good, more=f"X: {'y' * 100000}\r\n")),
                ("continue", [b"HTTP/1.1 100 Continue\r\n\r\n"] * 100000), ("deep", reply(envelope("<a>" * 5000 + "</a>" * 5000)))):
            with self.subTest(what=what):
                self.unavailable(self.ask(answer, timeout_s=TIMEOUT_S)[0])

    def test_what_nobody_asked_for_is_not_taken_for_the_next_answer(self):
        """A second reply on a connection that is kept would be another patient's."""
        first, stray, second = (xds.new_urn() for _ in range(3))
        is_sent = threading.Event()

        def answer(message):
            if b"P1^^^" not in message[1]:
                return reply(envelope(answer_xml(STATUS_OF + "Success", entry_xml(THERE, second))))
            return self.twice(is_sent, *(reply(envelope(answer_xml(STATUS_OF + "Success", entry_xml(THERE, uuid)))) for uuid in (first, stray)))
        self.lie(answer)
        for number, uuid in (("P1", first), ("P2", second)):
            found = self.soap().send("/initiating", "ITI-18", documents_of(common.patient(number), THERE))
            self.assertEqual([o.get("id") for o in found.objects("ExtrinsicObject")], [uuid])
            self.assertTrue(is_sent.wait(PATIENCE_S))

    @staticmethod
    def twice(is_sent, one, other):
        """Two replies, one after the other; then an event tells that both are on their way, or cannot be sent."""
        try:
            yield one
            time.sleep(0.3)
            yield other
        finally:
            is_sent.set()

    def test_a_redirect_is_not_followed(self):
        other = Liar(lambda message: reply(envelope(answer_xml(STATUS_OF + "Success", entry_xml(THERE)))))
        self.addCleanup(other.stop)
        self.unavailable(self.ask(reply(b"", status=307, more=f"Location: http://127.0.0.1:{other.port}/gateway\r\n"))[0])
        self.assertEqual(other.messages, [])

    def test_an_answer_by_drops_and_one_without_end_are_cut_at_the_deadline(self):
        def drops(_):
            yield reply(envelope(""))[:60]
            for _ in range(10 * ENDLESS_S):
                time.sleep(0.1)
                yield b"x"
        self.unavailable(self.ask(drops, timeout_s=TIMEOUT_S)[0])

        def endless(_):
            head = reply(b"")[:-len("Content-Length: 0\r\n\r\n")] + b"Transfer-Encoding: chunked\r\n\r\n"
            yield head
            yield b"1000\r\n" + b"<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Header>".ljust(4096) + b"\r\n"
            while True:
                yield b"10000\r\n" + b" " * 65536 + b"\r\n"
        before = memory.server_bytes(self.server.process.pid)
        self.unavailable(self.ask(endless, timeout_s=TIMEOUT_S)[0])
        self.assertLess(memory.server_bytes(self.server.process.pid) - before, 100 * common.MIB)

    def test_a_community_that_hangs_takes_nothing_from_others(self):
        stop = threading.Event()
        self.addCleanup(stop.set)
        self.lie(lambda message: stop.wait(ENDLESS_S) and None, HANGING_S)
        found = []

        def ask():
            soap = common.client(self.server)
            found.append(soap.send("/initiating", "ITI-18", documents_of(common.patient("P1"))))
            soap.close()
        threads = [threading.Thread(target=ask) for _ in range(60)]
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        served = 0
        while not found and served < 10:
            self.assertEqual(len(common.find(self.soap(), "P1")), 1)
            served += 1
        self.assertGreater(served, 1, "others are served while these wait")
        for thread in threads:
            thread.join()
        self.assertLess(time.monotonic() - begin, ENDLESS_S)
        for one in found:
            self.unavailable(one)

    def test_only_so_many_wait_for_a_community_that_hangs(self):
        stop = threading.Event()
        self.addCleanup(stop.set)
        liar = self.lie(lambda message: stop.wait(ENDLESS_S) and None, HANGING_S)
        found = []

        def ask():
            soap = common.client(self.server)
            begin = time.monotonic()
            found.append((soap.send("/initiating", "ITI-18", documents_of(common.patient("P1"))), time.monotonic() - begin))
            soap.close()
        threads = [threading.Thread(target=ask) for _ in range(100)]
        for thread in threads:
            thread.start()
        time.sleep(HANGING_S / 2)
        self.assertLessEqual(len(liar.connections), 64)
        for thread in threads:
            thread.join()
        for one, _ in found:
            self.unavailable(one)
        self.assertLess(min(seconds for _, seconds in found), HANGING_S)
        stop.set()
        self.assertEqual(self.ask(reply(envelope(answer_xml(STATUS_OF + "Success", entry_xml(THERE)))))[0].outcome, "Success")

    # ---- ITI-43

    def test_that_a_document_is_asked_for_is_on_record_before_the_question_leaves(self):
        """Contract C4: the request goes out with ids of documents and the assertion of a user."""
        found, come, missing = [], xds.new_oid(), xds.new_oid()

        def look(_):
            found.extend(codes(r) for r in of_messages(self.server, missing, 1, 2))
            return documents(STATUS_OF + "Success", document_xml(come))
        answer = self.retrieve(look, come, missing)
        self.assertEqual(list(answer.documents()), [come])
        self.assertEqual(found, [("110107", "ITI-39", "C", "0")])
        recorded = [codes(r) for r in of_messages(self.server, missing, 3)]
        self.assertEqual(sorted(recorded), [("110106", "ITI-43", "R", "8"), ("110107", "ITI-39", "C", "0"), ("110107", "ITI-39", "C", "8")])
        recorded = [codes(r) for r in of_messages(self.server, come, 2)]
        self.assertEqual(sorted(recorded), [("110106", "ITI-43", "R", "0"), ("110107", "ITI-39", "C", "0")])

    def test_documents_that_were_not_asked_for_are_not_passed_on(self):
        wanted, other = xds.new_oid(), xds.new_oid()
        for what, response in (("another", document_xml(other)), ("another repository", document_xml(wanted, repository="1.2.3"))):
            with self.subTest(what=what):
                found = self.retrieve(documents(STATUS_OF + "Success", response), wanted)
                self.assertEqual((found.outcome, found.documents()), ("Failure", {}))
                self.assertEqual([(e[0], e[2]) for e in found.errors], [("XDSDocumentUniqueIdError", wanted)])

    def test_each_document_that_does_not_come_has_an_error(self):
        """3.43.5: also where the community tells of another one."""
        here, missing, silent = (xds.new_oid() for _ in range(3))
        errors = errors_xml(error_xml("XDSDocumentUniqueIdError", "not there", missing))
        found = self.retrieve(documents(PARTIAL, document_xml(here), errors), here, missing, silent)
        self.assertEqual((found.outcome, list(found.documents())), ("PartialSuccess", [here]))
        self.assertEqual(sorted((e[0], e[2]) for e in found.errors), sorted(("XDSDocumentUniqueIdError", u) for u in (missing, silent)))

    def test_the_same_document_twice_and_two_contents_are_one(self):
        wanted = xds.new_oid()
        include = '<xds:Document><xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href="cid:d@x"/></xds:Document>'
        for what, responses in (("twice", document_xml(wanted) * 2), ("two contents", document_xml(wanted, include * 2)),
                                ("a second one inline", document_xml(wanted, include + "<xds:Document>YWJj</xds:Document>"))):
            with self.subTest(what=what):
                found = self.retrieve(documents(STATUS_OF + "Success", responses), wanted)
                self.assertLessEqual(found.raw.count(b'href="cid:'), 1)

    def test_broken_parts_give_nothing_out(self):
        wanted = xds.new_oid()
        one = document_xml(wanted)
        for what, answer in (("no end", documents(STATUS_OF + "Success", one, end=b"")), ("no such part", documents(STATUS_OF + "Success", one, content_id="e@x")),
                             ("empty", reply(b"", "multipart/related; boundary=b")), ("other boundary", reply(b"--c\r\n\r\n--c--", "multipart/related; boundary=b"))):
            with self.subTest(what=what):
                found = self.retrieve(answer, wanted, timeout_s=TIMEOUT_S)
                self.assertEqual((found.outcome, found.documents()), ("Failure", {}))
                self.assertEqual([e[0] for e in found.errors], ["XDSUnavailableCommunity"], found.errors)

    def test_the_type_of_a_part_breaks_no_header(self):
        wanted = xds.new_oid()
        for kind in ("text/plain\rX-Evil: 1", "text/plain\n X: 2", "a" * 3000, "text/plain\x01", "", "text/plain; x=\"\r\n y\""):
            with self.subTest(kind=kind[:30]):
                found = self.retrieve(documents(STATUS_OF + "Success", document_xml(wanted), part_type=kind), wanted)
                self.assertNotIn(b"X-Evil", found.raw)
                self.assertIn(list(found.documents().values()), ([b"content"], []))


class Crowded(Case):
    """Little room for documents on their way."""

    settings = {**Case.settings, "gateway": {"spill_size": "2MiB"}}
    PIECE = b"x" * 900_000

    def gauge(self, name):
        """A metric of this server."""
        return float(re.search(rf"^musubi_{name} (\S+)$", self.server.admin("/metrics"), re.MULTILINE).group(1))

    def test_one_answer_gets_half_of_the_room_and_gives_it_back(self):
        wanted, refused = xds.new_oid(), self.gauge("gateway_spill_refused_total")
        found = self.retrieve(documents(STATUS_OF + "Success", document_xml(wanted), attachment=b"x" * (1 << 20) + b"y"), wanted)
        self.assertEqual((found.outcome, found.documents()), ("Failure", {}))
        self.assertEqual([(e[0], e[2]) for e in found.errors], [("XDSRepositoryOutOfResources", THERE)])
        self.assertIn("[gateway] spill_size", found.errors[0][1])
        self.assertEqual(self.gauge("gateway_spill_refused_total"), refused + 1)
        for _ in range(5):
            found = self.retrieve(documents(STATUS_OF + "Success", document_xml(wanted), attachment=self.PIECE), wanted)
            self.assertEqual(found.documents(), {wanted: self.PIECE})
        wait_until(lambda: self.gauge("gateway_spill_bytes") == 0)

    def test_all_answers_together_get_no_more_than_there_is(self):
        wanted, refused, found = xds.new_oid(), self.gauge("gateway_spill_refused_total"), []
        over = threading.Event()
        self.addCleanup(over.set)

        def answer(_):
            whole = documents(STATUS_OF + "Success", document_xml(wanted), attachment=self.PIECE)
            yield whole[:-5]
            over.wait(PATIENCE_S)
            yield whole[-5:]
        self.lie(answer)

        def ask():
            soap = common.client(self.server)
            found.append(soap.send("/initiating", "ITI-43", xds.retrieve_xml([(REPOSITORY_THERE, wanted, THERE)]), as_mtom=True))
            soap.close()
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: self.gauge("gateway_spill_refused_total") == refused + 1)
        self.assertLessEqual(self.gauge("gateway_spill_bytes"), 2 << 20)
        over.set()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(f.outcome for f in found), ["Failure", "Success", "Success"])
        self.assertEqual([e[0] for f in found for e in f.errors], ["XDSRepositoryOutOfResources"])
        wait_until(lambda: self.gauge("gateway_spill_bytes") == 0)


if __name__ == "__main__":
    unittest.main()
