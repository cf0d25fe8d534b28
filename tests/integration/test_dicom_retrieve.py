"""C-MOVE, C-GET and storage commitment (PS3.4 C.4, J): bytes as stored, statuses, and what a peer that is not there may cost."""

import os
import pathlib
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import unittest

from conformance import client as xds
from tests.harness import certs, dimse
from tests.harness import server as harness
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import audit_records, common

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
REFERENCE = pathlib.Path(os.environ.get("MUSUBI_REFERENCE", "/nonexistent")) / "dicom"
SUCCESS, SOME_FAILED, ALL_FAILED, NO_DESTINATION, IDENTIFIER, CANCELLED = 0, 0xB000, 0xA702, 0xA801, 0xA900, 0xFE00
PATIENT, STUDY, SERIES, INSTANCE, LEVEL = ((0x0010, 0x0020), (0x0020, 0x000D), (0x0020, 0x000E), (0x0008, 0x0018), (0x0008, 0x0052))
FAILED_LIST = (0x0008, 0x0058)
HANGING_S = 120
counter = iter(range(1, 1 << 30))


def new_uid():
    """Of this run alone."""
    return f"1.2.826.0.1.3680043.10.{time.time_ns()}.{next(counter)}"


def element(group, number, vr, value):
    """Explicit VR Little Endian."""
    value = value.encode() if isinstance(value, str) else value
    value += (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", group, number, vr.encode())
    return head + (struct.pack("<HI", 0, len(value)) if vr in ("OB", "OW") else struct.pack("<H", len(value))) + value


def image(patient, study, series=None, uid=None, pixels=bytes(128)):
    """A small CT instance: (SOP class, UID, transfer syntax, data set)."""
    uid = uid or new_uid()
    data = b"".join((
        element(0x0008, 0x0016, "UI", CT_IMAGE), element(0x0008, 0x0018, "UI", uid), element(0x0008, 0x0020, "DA", "20260105"),
        element(0x0008, 0x0030, "TM", "083000"), element(0x0008, 0x0060, "CS", "CT"), element(0x0010, 0x0010, "PN", "Yamada^Taro"),
        element(0x0010, 0x0020, "LO", patient), element(0x0020, 0x000D, "UI", study),
        element(0x0020, 0x000E, "UI", series or study + ".1"), element(0x0028, 0x0002, "US", struct.pack("<H", 1)),
        element(0x0028, 0x0004, "CS", "MONOCHROME2"), element(0x0028, 0x0010, "US", struct.pack("<H", 8)),
        element(0x0028, 0x0011, "US", struct.pack("<H", 8)), element(0x0028, 0x0100, "US", struct.pack("<H", 16)),
        element(0x0028, 0x0101, "US", struct.pack("<H", 16)), element(0x0028, 0x0102, "US", struct.pack("<H", 15)),
        element(0x0028, 0x0103, "US", struct.pack("<H", 0)), element(0x7FE0, 0x0010, "OW", pixels)))
    return CT_IMAGE, uid, dimse.EXPLICIT, data


def is_listening(port):
    """Whether a program does, without a connection to it."""
    lines = "".join(path.read_text(encoding="ascii") for path in pathlib.Path("/proc/net").glob("tcp*"))
    return re.search(rf":{port:04X} \S+ 0A ", lines) is not None


class RetrieveCase(common.ServerCase):
    """A server with a DICOM listener, and AEs to send to."""

    settings = {"server": {"roles": "registry, repository, pix, atna, imaging"}}

    @classmethod
    def setUpClass(cls):
        cls.dicom_port, = harness.free_ports(1)
        settings = {section: dict(values) for section, values in cls.settings.items()}
        settings.setdefault("imaging", {})["plain_dicom_listen"] = f"127.0.0.1:{cls.dicom_port}"
        cls.settings = settings
        super().setUpClass()
        cls.server.command("facility", "add", "hospital")
        cls.server.command("node", "add", "pacs", "--facility", "hospital", "--fingerprint", "1" * 64, "--transactions", "*")

    @classmethod
    def add_ae(cls, title, port, node="pacs"):
        """An AE that takes associations on loopback; known to the server on return."""
        cls.server.command("ae", "add", title, "--node", node, "--address", f"127.0.0.1:{port}", "--plain")
        cls.server.wait_until_refreshed()

    def store(self, *instances, calling="TEST"):
        """C-STORE of each, bytes as given; the statuses."""
        contexts = sorted({(sop_class, syntax) for sop_class, _, syntax, _ in instances})
        statuses = []
        for begin in range(0, len(contexts), 100):
            some = contexts[begin:begin + 100]
            sender = dimse.Requestor(self.dicom_port, [(sop_class, [syntax]) for sop_class, syntax in some], calling=calling)
            for instance in instances:
                if (instance[0], instance[2]) in some:
                    statuses.append(sender.store(*instance))
            sender.release()
        return statuses

    def study(self, patient="P1", count=3):
        """A study that is stored; its UID and instances."""
        uid = new_uid()
        instances = [image(patient, uid) for _ in range(count)]
        self.assertEqual(self.store(*instances), [0] * count)
        return uid, instances

    def requestor(self, model="S", gets=(), calling="TEST"):
        """An association for C-MOVE and C-GET; gets: (SOP class, transfer syntax) that we take back."""
        contexts = [(dimse.MOVE[model], [dimse.IMPLICIT]), (dimse.GET[model], [dimse.IMPLICIT])]
        association = dimse.Requestor(self.dicom_port, contexts + [(sop_class, [syntax]) for sop_class, syntax in gets],
                                      calling=calling, roles=sorted({sop_class for sop_class, _ in gets}))
        self.addCleanup(association.close)
        return association

    def receiver(self, title, **how):
        """An AE of ours that takes what comes."""
        acceptor = dimse.Acceptor(**how)
        self.addCleanup(acceptor.close)
        self.add_ae(title, acceptor.port)
        return acceptor

    def assert_counters(self, response, completed, failed=0, warning=0, remaining=None):
        """PS3.4 C.4.2.1.6."""
        self.assertEqual([response.get(key) for key in (0x1020, 0x1021, 0x1022, 0x1023)], [remaining, completed, failed, warning])


class Retrieve(RetrieveCase):
    """Mode open: anybody may everything."""

    def test_a_study_is_moved_as_stored(self):
        """Bytes, order, counters, and who asked (PS3.7 9.3.1.1: Move Originator)."""
        study, instances = self.study()
        receiver = self.receiver("DEST")
        responses, _ = self.requestor(calling="VIEWER").retrieve({LEVEL: "STUDY", STUDY: study}, "DEST")
        self.assertEqual(sorted(receiver.instances), sorted(instances))
        self.assertEqual([response[0x0900] for response in responses], [dimse.PENDING] * 2 + [SUCCESS])
        self.assert_counters(responses[0], 1, remaining=2)
        self.assert_counters(responses[-1], 3)
        self.assertIsNone(responses[-1][None])
        self.assertEqual(receiver.called, [("MUSUBI", "DEST")])
        self.assertEqual({command[0x1030] for command in receiver.commands}, {"VIEWER"})

    def test_a_study_is_got_as_stored(self):
        """On the association that asked (PS3.4 C.4.3)."""
        study, instances = self.study()
        responses, got = self.requestor(gets=[(CT_IMAGE, dimse.EXPLICIT)]).retrieve({LEVEL: "STUDY", STUDY: study})
        self.assertEqual(sorted(got), sorted(instances))
        self.assertEqual(responses[-1][0x0900], SUCCESS)
        self.assert_counters(responses[-1], 3)

    def test_levels_and_lists_of_uids(self):
        """PS3.4 C.4.2.1.4: one value above the level, a list at it."""
        study, (one, two, _) = self.study()
        other = image("P1", study, series=study + ".2")
        self.store(other)
        cases = (
            ("S", {LEVEL: "SERIES", STUDY: study, SERIES: study + ".2"}, {other[1]}),
            ("S", {LEVEL: "SERIES", STUDY: study, SERIES: f"{study}.1\\{study}.2"}, 4),
            ("S", {LEVEL: "IMAGE", STUDY: study, SERIES: study + ".1", INSTANCE: one[1]}, {one[1]}),
            ("S", {LEVEL: "IMAGE", STUDY: study, SERIES: study + ".1", INSTANCE: f"{one[1]}\\{two[1]}"}, {one[1], two[1]}),
            ("S", {LEVEL: "IMAGE", STUDY: study, SERIES: study + ".2", INSTANCE: one[1]}, set()),
            ("S", {LEVEL: "STUDY", STUDY: new_uid()}, set()),
            ("P", {LEVEL: "STUDY", PATIENT: "P1", STUDY: study}, 4),
            ("P", {LEVEL: "STUDY", PATIENT: "P2", STUDY: study}, set()),
        )
        for model, keys, expected in cases:
            with self.subTest(keys=keys):
                responses, got = self.requestor(model, [(CT_IMAGE, dimse.EXPLICIT)]).retrieve(keys, model=model)
                self.assertEqual(responses[-1][0x0900], SUCCESS)
                uids = {instance[1] for instance in got}
                self.assertEqual(len(uids) if isinstance(expected, int) else uids, expected)

    def test_all_studies_of_a_patient(self):
        """Patient root, level PATIENT."""
        studies = [self.study("P7", 2) for _ in range(2)]
        responses, got = self.requestor("P", [(CT_IMAGE, dimse.EXPLICIT)]).retrieve({LEVEL: "PATIENT", PATIENT: "P7"}, model="P")
        self.assertEqual(responses[-1][0x0900], SUCCESS)
        self.assertEqual(sorted(got), sorted(studies[0][1] + studies[1][1]))

    def test_identifiers_without_their_unique_keys_are_refused(self):
        """A900 (PS3.4 C.4.2.1.5); a patient is named by one number, and nobody is by a pattern."""
        study, _ = self.study("P7", 1)
        for model, keys in (("S", {LEVEL: "STUDY"}), ("S", {LEVEL: "SERIES", SERIES: study}), ("S", {LEVEL: "PATIENT", PATIENT: "P1"}),
                            ("S", {LEVEL: "SERIES", STUDY: f"{study}\\{study}.1", SERIES: study}), ("S", {LEVEL: "STUDY", STUDY: "1.2.*"}),
                            ("P", {LEVEL: "STUDY", STUDY: study}), ("S", {LEVEL: "SLICE", STUDY: study}),
                            *(("P", {LEVEL: "PATIENT", PATIENT: number}) for number in ("*", "P*", "P?", "P7\\P6")),
                            ("P", {LEVEL: "STUDY", PATIENT: "*", STUDY: study})):
            with self.subTest(keys=keys):
                responses, _ = self.requestor(model).retrieve(keys, model=model)
                self.assertEqual(responses[-1][0x0900], IDENTIFIER)

    def test_an_unknown_destination_is_told(self):
        """A801; so is one without an address."""
        study, _ = self.study()
        responses, _ = self.requestor().retrieve({LEVEL: "STUDY", STUDY: study}, "NOWHERE")
        self.assertEqual([response[0x0900] for response in responses], [NO_DESTINATION])

    def test_a_destination_that_is_not_there_fails_every_sub_operation(self):
        """A702, the UIDs in (0008,0058)."""
        study, instances = self.study()
        self.add_ae("CLOSED", harness.free_ports(1)[0])
        responses, _ = self.requestor().retrieve({LEVEL: "STUDY", STUDY: study}, "CLOSED")
        self.assertEqual(responses[-1][0x0900], ALL_FAILED)
        self.assert_counters(responses[-1], 0, failed=3)
        failed = dimse.text(dimse.decode(responses[-1][None])[FAILED_LIST]).split("\\")
        self.assertEqual(sorted(failed), sorted(instance[1] for instance in instances))

    def test_a_destination_that_does_not_answer_delays_nobody_else(self):
        """Its association is waited for; others are served meanwhile."""
        study, instances = self.study()
        silent = socket.create_server(("127.0.0.1", 0))
        silent.settimeout(PATIENCE_S)
        self.addCleanup(silent.close)
        self.add_ae("SILENT", silent.getsockname()[1])
        waiting = self.requestor()
        keys = dimse.encode({LEVEL: "STUDY", STUDY: study})
        waiting.send(waiting.context(dimse.MOVE["S"]), {0x0002: dimse.MOVE["S"], 0x0100: dimse.C_MOVE, 0x0110: 1, 0x0700: 0,
                                                        0x0600: "SILENT"}, keys)
        peer, _ = silent.accept()
        self.addCleanup(peer.close)
        _, got = self.requestor(gets=[(CT_IMAGE, dimse.EXPLICIT)]).retrieve({LEVEL: "STUDY", STUDY: study})
        self.assertEqual(select.select([waiting.socket], [], [], 0)[0], [], "it is waited for still")
        self.assertEqual(sorted(got), sorted(instances))

    def test_moves_that_hang_are_so_many_of_a_node(self):
        """A701: each of them has a process; who asks for more is told at once."""
        study, _ = self.study()
        silent = socket.create_server(("127.0.0.1", 0), backlog=64)  # what it takes it never answers
        self.addCleanup(silent.close)
        self.add_ae("MUTE", silent.getsockname()[1])
        keys = dimse.encode({LEVEL: "STUDY", STUDY: study})
        asking = [self.requestor() for _ in range(40)]
        for one in asking:
            one.send(one.context(dimse.MOVE["S"]), {0x0002: dimse.MOVE["S"], 0x0100: dimse.C_MOVE, 0x0110: 1, 0x0700: 0, 0x0600: "MUTE"},
                     keys)
        responses, deadline = [], time.monotonic() + 60
        while not responses or (responses[-1][0x0900] != 0xA701 and time.monotonic() < deadline):
            told, _, _ = select.select([one.socket for one in asking], [], [], max(0, deadline - time.monotonic()))
            self.assertTrue(told, f"the others wait, after {responses}")
            ended = next(one for one in asking if one.socket is told[0])
            asking.remove(ended)
            responses.append(ended.receive()[1])
        self.assertEqual((responses[-1][0x0900], "32 moves" in responses[-1][0x0902]), (0xA701, True), responses)

    def test_a_refused_sub_operation_is_counted(self):
        """B000 with warnings, A702 when the receiver refuses all."""
        study, instances = self.study()
        for store_status, status, counters in ((0xB007, SOME_FAILED, (0, 0, 3)), (0xA700, ALL_FAILED, (0, 3, 0))):
            with self.subTest(status=store_status):
                responses, _ = self.requestor(gets=[(CT_IMAGE, dimse.EXPLICIT)]).retrieve({LEVEL: "STUDY", STUDY: study},
                                                                                         store_status=store_status)
                self.assertEqual(responses[-1][0x0900], status)
                self.assert_counters(responses[-1], *counters)
        self.assertEqual(len(instances), 3)

    def test_an_instance_without_a_context_fails_alone(self):
        """The other SOP class goes (PS3.4 C.4.3.3.1)."""
        study, _ = self.study()
        other_class = "1.2.840.10008.5.1.4.1.1.4"
        uid = new_uid()
        data = image("P1", study, uid=uid)[3].replace(element(0x0008, 0x0016, "UI", CT_IMAGE), element(0x0008, 0x0016, "UI", other_class))
        self.assertEqual(self.store((other_class, uid, dimse.EXPLICIT, data)), [0])
        responses, got = self.requestor(gets=[(CT_IMAGE, dimse.EXPLICIT)]).retrieve({LEVEL: "STUDY", STUDY: study})
        self.assertEqual((responses[-1][0x0900], len(got)), (SOME_FAILED, 3))
        self.assert_counters(responses[-1], 3, failed=1)
        self.assertEqual(dimse.text(dimse.decode(responses[-1][None])[FAILED_LIST]), uid)

    def test_another_transfer_syntax_is_made_where_only_that_was_agreed(self):
        """Without loss: RLE here, whose samples are those that were stored."""
        study, instances = self.study(count=1)
        rle = "1.2.840.10008.1.2.5"
        responses, (got,) = self.requestor(gets=[(CT_IMAGE, rle)]).retrieve({LEVEL: "STUDY", STUDY: study})
        self.assertEqual((responses[-1][0x0900], got[1], got[2]), (SUCCESS, instances[0][1], rle))
        self.assertIn(b"\xfe\xff\x00\xe0", got[3])
        responses, (got,) = self.requestor(gets=[(CT_IMAGE, dimse.IMPLICIT)]).retrieve({LEVEL: "STUDY", STUDY: study})
        self.assertEqual((responses[-1][0x0900], got[2]), (SUCCESS, dimse.IMPLICIT))
        self.assertEqual(dimse.text(dimse.decode(got[3])[INSTANCE]), instances[0][1])

    def test_a_syntax_that_cannot_be_made_fails(self):
        """JPEG 2000 is not written here: 0122 within, A702 as a whole."""
        study, _ = self.study(count=1)
        responses, got = self.requestor(gets=[(CT_IMAGE, "1.2.840.10008.1.2.4.90")]).retrieve({LEVEL: "STUDY", STUDY: study})
        self.assertEqual((responses[-1][0x0900], got), (ALL_FAILED, []))

    def test_a_cancel_ends_it(self):
        """FE00 with what remains (PS3.4 C.4.2.1.5)."""
        study, _ = self.study(count=30)
        responses, got = self.requestor(gets=[(CT_IMAGE, dimse.EXPLICIT)]).retrieve({LEVEL: "STUDY", STUDY: study}, cancel_after=4)
        self.assertEqual(responses[-1][0x0900], CANCELLED)
        self.assertLess(len(got), 30)
        self.assertEqual(responses[-1][0x1020] + responses[-1][0x1021], 30)
        self.receiver("SLOW", delay_s=0.3)
        responses, _ = self.requestor().retrieve({LEVEL: "STUDY", STUDY: study}, "SLOW", cancel_after=3)
        self.assertEqual(responses[-1][0x0900], CANCELLED)
        self.assertGreater(responses[-1][0x1020], 0)

    def test_a_destination_that_hangs_does_not_keep_who_cancels(self):
        """It has 10 s yet; its sub-operation counts as failed, and the others remain (PS3.4 C.4.2.3.1)."""
        study, _ = self.study(count=3)
        hanging = self.receiver("HANGING", delay_s=HANGING_S)
        for count, remaining in ((3, 2), (1, 0)):
            with self.subTest(count=count):
                uid, _ = (study, None) if count == 3 else self.study(count=1)
                heard = hanging.heard
                asking = self.requestor()
                context = asking.context(dimse.MOVE["S"])
                asking.send(context, {0x0002: dimse.MOVE["S"], 0x0100: dimse.C_MOVE, 0x0110: 1, 0x0700: 0, 0x0600: "HANGING"},
                            dimse.encode({LEVEL: "STUDY", STUDY: uid}))
                wait_until(lambda before=heard: hanging.heard > before)
                asking.send(context, {0x0100: dimse.C_CANCEL, 0x0120: 1})
                begun = time.monotonic()
                _, response, _ = asking.receive()
                self.assertEqual(response[0x0900], CANCELLED)
                self.assertLess(time.monotonic() - begun, HANGING_S / 2)
                self.assert_counters(response, 0, failed=1, remaining=remaining)

    def transfers(self, study, count):
        """The records of C-MOVE and C-GET of a study, once there are so many."""
        found = [r for r in audit_records.of_messages(self.server, study, count) if audit_records.codes(r)[1] == "RAD-16"]
        return found if len(found) >= count else None

    def test_transfers_are_recorded_before_they_begin(self):
        """110102 when it begins, 110104 with what arrived; C-MOVE names three parties (PS3.15 A.5.3.3, A.5.3.7)."""
        study, _ = self.study()
        self.receiver("AUDITED")
        self.requestor(calling="ASKER").retrieve({LEVEL: "STUDY", STUDY: study}, "AUDITED")
        records = wait_until(lambda: self.transfers(study, 2))
        self.assertEqual([r.xpath("EventIdentification/EventID/@csd-code") for r in records], [["110102"], ["110104"]])
        for record in records:
            self.assertEqual(audit_records.party(record, audit_records.SOURCE).get("UserID"), "MUSUBI")
            self.assertEqual(audit_records.party(record, audit_records.DESTINATION).get("UserID"), "AUDITED")
            self.assertEqual(record.xpath("ActiveParticipant[@UserIsRequestor='true']/@UserID"), ["ASKER"])
            self.assertEqual([o.get("ParticipantObjectID") for o in audit_records.objects(record, "2/3")], [study])
            self.assertEqual([o.get("ParticipantObjectID") for o in audit_records.objects(record, "1/1")], [common.patient("P1")])


def reports_of(acceptor, transaction):
    """The reports of a transaction, once there is one: [(event type, report)]. One that an earlier test is owed may come in between."""
    def found():
        return [(event, report) for event, report in acceptor.reports if dimse.text(report[0x0008, 0x1195]) == transaction]
    acceptor.wait_for(found)
    return found()


class Commitment(RetrieveCase):
    """Storage commitment, Push Model (PS3.4 J)."""

    def commit(self, transaction, references, calling="PUSHER"):
        """N-ACTION; the status."""
        association = dimse.Requestor(self.dicom_port, [(dimse.COMMITMENT, [dimse.IMPLICIT])], calling=calling)
        self.addCleanup(association.close)
        status = association.commit(transaction, references)
        association.release()
        return status

    def pusher(self, **how):
        """The AE that asks, registered with an address."""
        acceptor = dimse.Acceptor(**how)
        self.addCleanup(acceptor.close)
        self.add_ae("PUSHER", acceptor.port)
        return acceptor

    @staticmethod
    def references(report, tag):
        """(SOP class, UID, reason) of the items of a sequence."""
        return [(dimse.text(item[0x0008, 0x1150]), dimse.text(item[0x0008, 0x1155]),
                 struct.unpack("<H", item[0x0008, 0x1197])[0] if (0x0008, 0x1197) in item else 0) for item in report.get(tag, [])]

    def study_of_pusher(self, count=3):
        """Instances that the AE PUSHER has stored."""
        study = new_uid()
        instances = [image("P1", study) for _ in range(count)]
        self.assertEqual(self.store(*instances, calling="PUSHER"), [0] * count)
        return instances

    def test_what_is_stored_is_committed(self):
        """Event type 1 with exactly the requested set, on an association of its own."""
        pusher = self.pusher()
        asked = [(instance[0], instance[1]) for instance in self.study_of_pusher()]
        transaction = new_uid()
        self.assertEqual(self.commit(transaction, asked), 0)
        (event, report), = reports_of(pusher, transaction)
        self.assertEqual(event, 1)
        self.assertEqual(self.references(report, (0x0008, 0x1199)), [(*reference, 0) for reference in asked])
        self.assertNotIn((0x0008, 0x1198), report)

    def test_what_is_not_is_told_with_its_reason(self):
        """Event type 2: 0112 no such instance, also another facility's; 0119 class conflict."""
        pusher = self.pusher()
        good, bad, _ = self.study_of_pusher()
        foreign = image("P1", new_uid())
        self.store(foreign)  # by an AE of no facility
        unknown = (CT_IMAGE, new_uid())
        asked = [(good[0], good[1]), ("1.2.840.10008.5.1.4.1.1.4", bad[1]), unknown, (foreign[0], foreign[1])]
        transaction = new_uid()
        self.assertEqual(self.commit(transaction, asked), 0)
        (event, report), = reports_of(pusher, transaction)
        self.assertEqual(event, 2)
        self.assertEqual(self.references(report, (0x0008, 0x1199)), [(*asked[0], 0)])
        self.assertEqual(self.references(report, (0x0008, 0x1198)), [(*asked[1], 0x0119), (*unknown, 0x0112), (*asked[3], 0x0112)])

    def test_damaged_bytes_are_not_committed(self):
        """0110: every block is read before the commitment."""
        pusher = self.pusher()
        uid = new_uid()
        instance = image("P1", new_uid(), uid=uid, pixels=uid.encode().ljust(128, b"#"))
        self.assertEqual(self.store(instance, calling="PUSHER"), [0])
        damaged = 0
        for path in (self.server.dir / "data" / "blobs" / "segments").iterdir():
            at = path.read_bytes().find(uid.encode() + b"#")
            if at >= 0:
                with open(path, "r+b") as file:
                    file.seek(at)
                    file.write(b"!")
                damaged += 1
        self.assertEqual(damaged, 1)
        transaction = new_uid()
        self.assertEqual(self.commit(transaction, [(CT_IMAGE, uid)]), 0)
        (_, report), = reports_of(pusher, transaction)
        self.assertEqual(self.references(report, (0x0008, 0x1198)), [(CT_IMAGE, uid, 0x0110)])

    def test_a_transaction_uid_is_used_once(self):
        """0131."""
        self.pusher()
        transaction = new_uid()
        self.assertEqual([self.commit(transaction, [(CT_IMAGE, new_uid())]) for _ in range(2)], [0, 0x0131])

    def test_an_ae_without_an_address_is_told_at_once(self):
        """0110: no report could reach it."""
        self.assertEqual(self.commit(new_uid(), [(CT_IMAGE, new_uid())], calling="NOBODY"), 0x0110)

    def test_a_report_survives_kill_9_and_an_ae_that_is_away(self):
        """It is a row until the AE has answered."""
        (port,) = harness.free_ports(1)
        self.add_ae("PUSHER", port)
        asked = [(instance[0], instance[1]) for instance in self.study_of_pusher()]
        transaction = new_uid()
        self.assertEqual(self.commit(transaction, asked), 0)
        wait_until(lambda: common.rows(self.server, "SELECT FROM imaging_commitment WHERE transaction_uid = %s AND attempts > 0",
                                       transaction))
        self.server.kill()
        self.server.stop_postgres()
        pusher = dimse.Acceptor()
        self.addCleanup(pusher.close)
        self.server.start()
        self.add_ae("PUSHER", pusher.port)
        self.assertEqual([event for event, _ in reports_of(pusher, transaction)], [1])


class Destinations(RetrieveCase):
    """Mode enforce: an AE is sent what its own node could fetch."""

    mode = "enforce"
    settings = {"server": {"roles": "registry, repository, pix, atna, imaging", "plain_node": "asker"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.certs = None
        for number, (facility, node) in enumerate((("Hospital A", "asker"), ("Hospital B", "other")), 2):
            cls.server.command("facility", "add", facility)
            cls.server.command("node", "add", node, "--facility", facility, "--fingerprint", f"{number:064x}", "--transactions",
                               "RAD-8,RAD-10,RAD-14,RAD-16")
        cls.server.command("authority", "add", "1.2.392.200.7", "--namespace", "HA", "--facility", "Hospital A", "--kind", "pacs")
        cls.server.command("ae", "add", "ASKER", "--node", "asker")
        rows = cls.server.dir / "patients.csv"
        rows.write_text("authority,identifier,family,birth_date\nHA,77,Yamada,1970-01-01\n", encoding="utf-8")
        cls.server.command("patient", "import", str(rows))
        cls.server.command("patient", "enroll", "HA:77")
        cls.server.wait_until_refreshed()

    def move(self, study, title):
        """C-MOVE by the AE of hospital A; the last response."""
        return self.requestor(calling="ASKER").retrieve({LEVEL: "STUDY", STUDY: study}, title)[0][-1]

    def test_another_hospital_is_sent_only_what_is_disclosed_to_it(self):
        """Both must have the right: who asks, and the node of the destination."""
        study = new_uid()
        instances = [image("77", study) for _ in range(2)]
        self.assertEqual(self.store(*instances, calling="ASKER"), [0, 0])
        own, other = dimse.Acceptor(), dimse.Acceptor()
        for acceptor in (own, other):
            self.addCleanup(acceptor.close)
        self.add_ae("OWN", own.port, "asker")
        self.add_ae("OTHER", other.port, "other")
        self.assert_counters(self.move(study, "OWN"), 2)
        withheld = self.move(study, "OTHER")
        self.assertEqual(withheld[0x0900], ALL_FAILED)
        self.assert_counters(withheld, 0, failed=2)
        self.assertEqual((other.called, other.instances), ([], []))
        self.server.command("disclosure", "add", "--patient", "HA:77", "--source", "Hospital A", "--reader", "Hospital B", "--permit",
                            "--level", "download")
        self.assert_counters(self.move(study, "OTHER"), 2)
        self.assertEqual(sorted(other.instances), sorted(instances))

    def test_a_node_without_the_right_is_told_to_ask_for_it(self):
        """0124 for C-MOVE, C-GET and storage commitment (PS3.7 C.5.12)."""
        study = new_uid()
        self.assertEqual(self.store(image("77", study), calling="ASKER"), [0])
        self.server.command("node", "add", "asker", "--facility", "Hospital A", "--fingerprint", f"{2:064x}", "--transactions", "RAD-8")
        self.addCleanup(self.server.wait_until_refreshed)
        self.addCleanup(self.server.command, "node", "add", "asker", "--facility", "Hospital A", "--fingerprint", f"{2:064x}",
                        "--transactions", "RAD-8,RAD-10,RAD-14,RAD-16")
        self.add_ae("OWN", 1, "asker")
        self.assertEqual(self.move(study, "OWN")[0x0900], 0x0124)
        asking = dimse.Requestor(self.dicom_port, [(dimse.COMMITMENT, [dimse.IMPLICIT])], calling="ASKER")
        self.addCleanup(asking.close)
        self.assertEqual(asking.commit(new_uid(), [(CT_IMAGE, new_uid())]), 0x0124)


@unittest.skipUnless(shutil.which("movescu"), "needs the package dcmtk")
class Tools(RetrieveCase):
    """DCMTK's own programs, with and without TLS."""

    roles = ("receiver",)

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="musubi-received-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def storescp(self, title, *options, tls=()):
        """A receiver that keeps bytes, as AE of the server; gives what it prints when it is asked to stop."""
        (port,) = harness.free_ports(1)
        process = subprocess.Popen(["storescp", *options, "+B", "-od", str(self.folder), "-aet", title, str(port)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait, PATIENCE_S)
        self.addCleanup(process.kill)
        self.server.command("ae", "add", title, "--node", "pacs", "--address", f"localhost:{port}", *tls)
        self.server.wait_until_refreshed()
        wait_until(lambda: is_listening(port))

    def run_tool(self, tool, *arguments):
        """One of the programs against the server; all it printed."""
        done = subprocess.run([tool, "-v", "-aet", "TOOL", "-aec", "MUSUBI", *map(str, arguments), "127.0.0.1", str(self.dicom_port)],
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def received(self):
        """(SOP class, UID, transfer syntax, data set) of each file."""
        return sorted(dimse.read_file(path) for path in self.folder.iterdir())

    def test_movescu_to_storescp(self):
        """Plain, on loopback."""
        study, instances = self.study()
        self.storescp("PLAIN", tls=("--plain",))
        self.run_tool("movescu", "-S", "-aem", "PLAIN", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        self.assertEqual(self.received(), sorted(instances))

    def test_movescu_to_storescp_with_tls(self):
        """Mutual TLS: the receiver demands our certificate, and we hold it to its name."""
        study, instances = self.study()
        self.storescp("SECURE", "+tls", str(self.certs / "receiver.key"), str(self.certs / "receiver.pem"), "+cf",
                      str(self.certs / "ca.pem"))
        self.assertIn("OK", self.server.command("ae", "test", "SECURE").stdout)
        self.run_tool("movescu", "-S", "-aem", "SECURE", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        self.assertEqual(self.received(), sorted(instances))

    def secure_receiver(self, title, certificate, *options):
        """An AE with TLS that demands our certificate, and shows this one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.with_suffix(".pem"), certificate.with_suffix(".key"))
        context.load_verify_locations(self.certs / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        acceptor = dimse.Acceptor(tls=context)
        self.addCleanup(acceptor.close)
        self.server.command("ae", "add", title, "--node", "pacs", "--address", f"localhost:{acceptor.port}", *options)
        self.server.wait_until_refreshed()
        return acceptor

    def test_a_destination_with_a_wrong_certificate_is_sent_nothing(self):
        """Of another authority, of none, expired, or not the one that is registered: the operator is told, all sub-operations fail."""
        study, _ = self.study()
        others = certs.make(self.folder / "certs", ("receiver",))
        certs.make_self_signed(self.certs, "alone")
        certs.make_dated(self.certs, "expired", "20240101000000Z", "20250101000000Z")
        for number, (certificate, options, words) in enumerate((
                (others / "receiver", (), "certificate"), (self.certs / "alone", (), "certificate"),
                (self.certs / "expired", (), "expired"), (self.certs / "receiver", ("--fingerprint", "2" * 64), "fingerprint"))):
            with self.subTest(certificate=certificate.name, options=options):
                receiver = self.secure_receiver(f"WRONG{number}", certificate, *options)
                done = self.server.command("ae", "test", f"WRONG{number}", check=False)
                self.assertEqual(done.returncode, 1, done)
                self.assertIn(words, done.stdout)
                responses, _ = self.requestor().retrieve({LEVEL: "STUDY", STUDY: study}, f"WRONG{number}")
                self.assertEqual(responses[-1][0x0900], ALL_FAILED)
                self.assert_counters(responses[-1], 0, failed=3)
                self.assertEqual((receiver.called, receiver.instances), ([], []))

    def test_commitment_is_reported_over_tls(self):
        """To the AE with the certificate of its name, on an association of its own (PS3.4 J.3)."""
        receiver = self.secure_receiver("SECURED", self.certs / "receiver")
        instances = [image("P1", new_uid()) for _ in range(2)]
        self.assertEqual(self.store(*instances, calling="SECURED"), [0, 0])
        association = dimse.Requestor(self.dicom_port, [(dimse.COMMITMENT, [dimse.IMPLICIT])], calling="SECURED")
        self.addCleanup(association.close)
        transaction = new_uid()
        self.assertEqual(association.commit(transaction, [(instance[0], instance[1]) for instance in instances]), 0)
        association.release()
        (event, report), = reports_of(receiver, transaction)
        self.assertEqual((event, len(report[0x0008, 0x1199])), (1, 2))

    def test_getscu(self):
        """What it prefers by itself is what is stored."""
        study, instances = self.study()
        self.run_tool("getscu", "-S", "+B", "-od", self.folder, "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        self.assertEqual(self.received(), sorted(instances))

    def test_ae_test_tells_what_is_wrong(self):
        """musubi ae test: OK, or the reason."""
        self.storescp("ANSWERS", tls=("--plain",))
        self.assertIn("OK", self.server.command("ae", "test", "ANSWERS").stdout)
        self.server.command("ae", "add", "AWAY", "--node", "pacs", "--address", f"127.0.0.1:{harness.free_ports(1)[0]}", "--plain")
        done = self.server.command("ae", "test", "AWAY", check=False)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("BAD", done.stdout)
        self.assertIn("Connection refused", done.stdout)
        self.server.command("ae", "add", "NOWHERE", "--node", "pacs")
        self.assertIn("--address", self.server.command("ae", "test", "NOWHERE", check=False).stdout)


@unittest.skipUnless(REFERENCE.is_dir(), "MUSUBI_REFERENCE names no DICOM files")
class ReferenceFiles(RetrieveCase):
    """Every file that is taken comes back byte for byte."""

    def rounds(self):
        """The files that have what C-STORE names; instances of one UID in different rounds."""
        rounds = []
        for path in sorted(path for path in REFERENCE.rglob("*") if path.is_file()):
            try:
                instance = dimse.read_file(path)
            except (ValueError, KeyError):  # no file meta information, or no such instance in it
                continue
            if instance[0] in ("", "1.2.840.10008.1.3.10"):  # a DICOMDIR is not stored
                continue
            fitting = next((known for known in rounds if instance[1] not in known), None)
            if fitting is None:
                fitting = {}
                rounds.append(fitting)
            fitting[instance[1]] = instance
        return rounds

    def take(self, instances):
        """Stores what is good, and makes its patients known; UIDs by study, of those that have a patient."""
        good = [uid for uid, instance in instances.items() if self.store(instance) == [0]]
        numbers = common.rows(self.server, "SELECT DISTINCT patient_number FROM imaging_study WHERE patient_number <> ''")
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
        for number, in numbers:
            self.assertEqual(xds.acknowledgement(mllp.send(xds.adt("A01", common.patient(number)))), "AA", number)
        mllp.close()
        by_study = {}
        for uid, study in common.rows(self.server, "SELECT i.sop_instance, s.study_uid FROM imaging_instance i JOIN imaging_study s "
                                      "ON s.id = i.study WHERE s.patient_number <> ''"):
            self.assertIn(uid, good)
            by_study.setdefault(study, set()).add(uid)
        return by_study

    def test_all_of_them(self):
        """By C-GET, and by C-MOVE to a receiver that keeps bytes."""
        receiver = self.receiver("KEEPER")
        count = 0
        for instances in self.rounds():
            common.rows(self.server, "WITH i AS (DELETE FROM imaging_instance), r AS (DELETE FROM imaging_series), "
                        "s AS (DELETE FROM imaging_study) SELECT")
            for study, uids in sorted(self.take(instances).items()):
                expected = {uid: instances[uid] for uid in uids}
                with self.subTest(study=study):
                    gets = sorted({(instance[0], instance[2]) for instance in expected.values()})
                    _, got = self.requestor(gets=gets).retrieve({LEVEL: "STUDY", STUDY: study})
                    self.assertEqual({instance[1]: instance for instance in got}, expected)
                    begin = len(receiver.instances)
                    responses, _ = self.requestor().retrieve({LEVEL: "STUDY", STUDY: study}, "KEEPER")
                    self.assertEqual(responses[-1][0x0900], SUCCESS)
                    self.assertEqual({instance[1]: instance for instance in receiver.instances[begin:]}, expected)
                    count += len(expected)
        self.assertGreater(count, 70)


if __name__ == "__main__":
    unittest.main()
