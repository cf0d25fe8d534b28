"""Documents that change patient while others submit and ask (ITI TF-2 3.64.4.1.3)."""

import collections
import threading

from conformance import client as xds
from tests.harness.waiting import PATIENCE_S
from tests.integration import common

LOCAL = "L-1^^^&1.2.392.99999.91&ISO"
THIRD = "T-1^^^&1.2.392.99999.92&ISO"
DOCUMENTS = 40
MOVES = 30


def move(server, new, old):
    """ITI-64 for LOCAL; gives MSA-1."""
    mllp = xds.MllpClient(f"127.0.0.1:{server.mllp_port}")
    message = xds.adt("A43", f"{common.patient(new)}~{LOCAL}", common.patient(old), ("1.2.392.99999.64", "CENTER"), "2.5", name=" ")
    try:
        return xds.acknowledgement(mllp.send(message.replace("ADT^A43", "ADT^A43^ADT_A43")))
    finally:
        mllp.socket.close()


def submit(soap, number, source):
    """ITI-41 of one document."""
    submission = common.submission(number, source.encode(), source_patient=source)
    return submission, soap.post("/repository", *xds.mtom(xds.envelope(xds.ACTIONS["ITI-41"], submission.provide_xml()),
                                                          submission.attachments()))


def seen(soap, number):
    """FindDocuments: {sourcePatientId: {uniqueId}}, and the patientIds of the answer."""
    reply = soap.query("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{common.patient(number)}'",
                                         "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"})
    if reply.outcome != "Success":
        raise AssertionError(reply.errors)
    found, patients = collections.defaultdict(set), set()
    for entry in reply.objects("ExtrinsicObject"):
        source = entry.xpath("rim:Slot[@name='sourcePatientId']//rim:Value/text()", namespaces=xds.NS)[0]
        unique = entry.xpath(f"rim:ExternalIdentifier[@identificationScheme='{common.UNIQUE_ID_SCHEME}']/@value", namespaces=xds.NS)[0]
        found[source].add(unique)
        patients.update(entry.xpath("rim:ExternalIdentifier[rim:Name/rim:LocalizedString/@value='XDSDocumentEntry.patientId']/@value",
                                    namespaces=xds.NS))
    return found, patients


class Moves(common.ServerCase):
    """All or nothing, for whoever looks."""

    def given_documents(self, number):
        """DOCUMENTS of LOCAL; their uniqueIds."""
        soap, unique_ids = self.soap(), set()
        for _ in range(DOCUMENTS):
            submission, reply = submit(soap, number, LOCAL)
            self.assert_success(reply)
            unique_ids.add(submission.documents[0].unique_id)
        return unique_ids

    def test_every_answer_is_from_before_or_after_a_move(self):
        """A third hospital's documents stay, submissions go on, and nobody gets part of a move or a deadlock."""
        moving, faults, third, over = self.given_documents("P1"), [], set(), threading.Event()

        def ask(number):
            soap = common.client(self.server)
            while not over.is_set():
                sure = set(third) if number == "P1" else set()
                found, patients = seen(soap, number)
                if found[LOCAL] not in (set(), moving) or not sure <= found[THIRD] or not patients <= {common.patient(number)}:
                    faults.append((number, len(found[LOCAL]), len(sure - found[THIRD]), patients))
            soap.close()

        def supply():
            soap = common.client(self.server)
            while not over.is_set():
                submission, reply = submit(soap, "P1", THIRD)
                if reply.outcome != "Success":
                    faults.append(reply.errors)
                third.add(submission.documents[0].unique_id)
            soap.close()

        threads = [threading.Thread(target=ask, args=(number,)) for number in ("P1", "P2")] + [threading.Thread(target=supply)]
        for thread in threads:
            thread.start()
        for count in range(MOVES):
            new, old = ("P2", "P1") if count % 2 == 0 else ("P1", "P2")
            self.assertEqual(move(self.server, new, old), "AA")
        over.set()
        for thread in threads:
            thread.join()
        self.assertEqual(faults, [])
        found, _ = seen(self.soap(), "P1")
        self.assertEqual((found[LOCAL], found[THIRD]), (moving, third))
        self.assertEqual(self.server.command("fsck").returncode, 0)

    def test_a_move_that_is_cut_off_leaves_nothing(self):
        """Killed after the new versions and before COMMIT; the same message again does it."""
        moving = self.given_documents("P3")
        for step in ("iti64.versions", "iti64.links"):
            self.server.stop()
            self.server.environment["MUSUBI_FAIL_AT"] = step
            self.server.start()
            with self.assertRaises((OSError, AssertionError)):
                self.assertEqual(move(self.server, "P4", "P3"), "AA")
            del self.server.environment["MUSUBI_FAIL_AT"]
            self.server.process.wait(PATIENCE_S)
            self.server.start()
            soap = common.client(self.server)
            self.assertEqual(seen(soap, "P3")[0][LOCAL], moving)
            self.assertEqual(seen(soap, "P4")[0][LOCAL], set())
            soap.close()
        self.assertEqual(move(self.server, "P4", "P3"), "AA")
        soap = common.client(self.server)
        self.assertEqual(seen(soap, "P4")[0][LOCAL], moving)
        self.assertEqual(common.fetch(soap, *moving).outcome, "Success")
        soap.close()
