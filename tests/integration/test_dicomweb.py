"""DICOMweb beyond what a scenario can see: audit records (PS3.15 A.5.3), connections that end early, scripts in browsers, speed."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import zlib

from conformance import dicomweb
from tests.harness import dicom
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import audit_records, common, imaging

PATIENT = "DICOMWEB"
ORIGIN = "https://viewer.example.jp"
STORED_AT_ONCE = 1000
METADATA_MAX_S = 0.05 * 4  # of 1000 instances, of the processors: 50 ms are the goal
METADATA_ROUNDS = 20
UPLOADS_OF_ONE = 32  # node, that are read at once
PLACE_PATIENCE_S = 20  # so long a request waits for a process before it is told to come again
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
PF_EXITING = 4  # of proc(5), stat, flags


class Dicomweb(common.ServerCase):
    """One server with images, and one study of a thousand small instances."""

    settings = {"server": {"roles": "registry, repository, pix, atna, imaging"},
                "imaging": {"unique_id": imaging.IMAGING_UID, "allowed_origins": ORIGIN}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        common.feed(cls.server, PATIENT)
        cls.study = dicom.Study(7, PATIENT)
        series = dicom.Series(cls.study, size=64)
        cls.files = [bytes(series.file(number)) for number in range(STORED_AT_ONCE)]
        status, _, _ = cls.ask("POST", "/dicomweb/studies", dicomweb.multipart(cls.files),
                               {"Content-Type": f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'})
        if status != 200:
            raise AssertionError(status)

    @classmethod
    def ask(cls, method, path, body=None, headers=None):
        """(status, headers, bytes)."""
        connection = http.client.HTTPConnection("127.0.0.1", cls.server.plain_port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def path(self, rest=""):
        """Of the study."""
        return f"/dicomweb/studies/{self.study.uid}{rest}"

    def of_type(self, transaction, event, outcome="0"):
        """Records of one transaction about the study."""
        records = audit_records.of_messages(self.server, self.study.uid, 1)
        return [r for r in records if r.xpath(f"EventIdentification/EventTypeCode/@csd-code='{transaction}'")
                and audit_records.codes(r)[0] == event and r.xpath("string(EventIdentification/@EventOutcomeIndicator)") == outcome]

    def test_a_study_comes_as_it_was_stored(self):
        status, headers, raw = self.ask("GET", self.path(), headers={"Accept": ANY})
        self.assertEqual(status, 200)
        self.assertEqual([part for _, part in dicomweb.parts_of(headers["Content-Type"], raw)], self.files)

    def test_what_is_stored_and_given_out_is_recorded(self):
        self.ask("GET", self.path(), headers={"Accept": ANY})
        self.assertEqual(len(self.of_type("RAD-108", "110102")), 1)
        self.assertEqual(len(self.of_type("RAD-108", "110104")), 1)
        record = self.of_type("RAD-107", "110104")[-1]
        (patient,) = audit_records.objects(record, "1/1")
        self.assertTrue(patient.get("ParticipantObjectID").startswith(f"{PATIENT}^^^&"))
        (study,) = audit_records.objects(record, "2/3")
        self.assertEqual(study.get("ParticipantObjectID"), self.study.uid)
        self.assertIn(f'NumberOfInstances="{STORED_AT_ONCE}"'.encode(), audit_records.etree.tostring(study))

    def test_a_query_is_recorded(self):
        self.ask("GET", f"/dicomweb/studies?StudyInstanceUID={self.study.uid}&PatientID={PATIENT}")
        wait_until(lambda: [r for r in audit_records.of_messages(self.server, "RAD-129", 1) if audit_records.codes(r)[0] == "110112"])

    def test_a_reply_that_is_cut_is_recorded_again(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=60)
        connection.request("GET", self.path(), headers={"Accept": ANY})
        connection.getresponse().read(1)
        connection.close()
        wait_until(lambda: self.of_type("RAD-107", "110104", "8"))

    def test_a_body_that_is_cut_leaves_whole_instances_only(self):
        other = dicom.Study(8, PATIENT)
        files = [other.image(size=64, number=number) for number in range(2)]
        body = dicomweb.multipart(files)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=60)
        connection.putrequest("POST", "/dicomweb/studies")
        connection.putheader("Content-Type", f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}')
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:-2000])

        def stored():
            status, headers, raw = self.ask("GET", f"/dicomweb/studies/{other.uid}", headers={"Accept": ANY})
            return (headers, raw) if status == 200 else None
        headers, raw = wait_until(stored)
        connection.close()
        self.assertEqual([part for _, part in dicomweb.parts_of(headers["Content-Type"], raw)], files[:1])

    def test_other_bytes_under_a_known_uid_are_stored_with_a_warning(self):
        """PS3.18 10.5.3: 202, and a Warning Reason (0008,1196) for what is kept beside the instance that is given out."""
        other = dicom.Study(11, PATIENT)
        first, second = other.image(size=8, number=0), other.image(size=8, number=1)
        changed = first[:-2] + bytes(b ^ 0xFF for b in first[-2:])
        for files, expected, warned in (([first], 200, [None]), ([first, second], 200, [None, None]), ([changed, second], 202, [0xB111, None])):
            status, headers, raw = self.ask("POST", "/dicomweb/studies", dicomweb.multipart(files),
                                            {"Content-Type": f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'})
            answer = json.loads(raw)
            self.assertEqual(status, expected)
            self.assertEqual([item.get("00081196", {}).get("Value", [None])[0] for item in answer["00081199"]["Value"]], warned)
            self.assertNotIn("00081198", answer)
            self.assertEqual("other bytes" in headers.get("Warning", ""), expected == 202, headers)
        _, headers, raw = self.ask("GET", f"/dicomweb/studies/{other.uid}", headers={"Accept": ANY})
        self.assertEqual([part for _, part in dicomweb.parts_of(headers["Content-Type"], raw)], [first, second])

    def test_parameters_of_searches_are_known_and_checked(self):
        """PS3.18 8.3.4: what is not done is told, what is no value is refused."""
        base = f"/dicomweb/studies?StudyInstanceUID={self.study.uid}"
        for parameters, status, is_warned in (("multiplevaluematching=false&emptyvaluematching=false", 200, False),
                                              ("multiplevaluematching=true", 200, True), ("emptyvaluematching=TRUE", 200, True),
                                              ("emptyvaluematching=perhaps", 400, False), ("StudyTime=noon", 400, False),
                                              ("StudyTime=-", 400, False), ("StudyTime=0000-235959.999999", 200, False)):
            with self.subTest(parameters):
                got, headers, raw = self.ask("GET", f"{base}&{parameters}")
                self.assertEqual((got, "no effect" in headers.get("Warning", "")), (status, is_warned), raw)
                self.assertEqual(status == 200 and len(json.loads(raw)), int(status == 200))

    def stored(self, number, syntax, elements, behind=b"", encode=bytes):
        """Stores one instance; gives its path and its metadata."""
        study = dicom.Study(number, PATIENT)
        found = study.elements("OT", SECONDARY_CAPTURE, 0, 0)
        found.update(elements)
        file = dicom.part10(SECONDARY_CAPTURE, study.sop_uid(0, 0), encode(dicom.data_set(found) + behind), syntax)
        status, _, _ = self.ask("POST", "/dicomweb/studies", dicomweb.multipart([file]),
                                {"Content-Type": f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'})
        self.assertEqual(status, 200)
        path = f"/dicomweb/studies/{study.uid}/series/{study.series_uid(0)}/instances/{study.sop_uid(0, 0)}"
        return path, json.loads(self.ask("GET", f"{path}/metadata")[2])[0]

    def test_a_number_of_frames_that_no_image_has_is_only_a_number(self):
        """Its one frame is given; nothing is made room for that is not there."""
        fragment = bytes(range(64))
        pixels = (struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHII", 0xFFFE, 0xE000, 4, 0)
                  + struct.pack("<HHI", 0xFFFE, 0xE000, len(fragment)) + fragment + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
        elements = dicom.image_module(8, 8)
        elements[0x00280008] = ("IS", "999999999999")
        path, metadata = self.stored(20, "1.2.840.10008.1.2.5", elements, pixels)
        bulk = metadata["7FE00010"]["BulkDataURI"].partition(path)[2]
        everything = {"Accept": 'multipart/related; type="*/*"; transfer-syntax=*'}
        try:
            self.ask("GET", path + bulk, headers=everything)
        except http.client.IncompleteRead:
            pass  # the second frame is not there
        status, headers, raw = self.ask("GET", f"{path}/frames/1", headers=everything)
        self.assertEqual((status, [part for _, part in dicomweb.parts_of(headers["Content-Type"], raw)]), (200, [fragment]))
        self.assertEqual(self.ask("GET", f"{path}/frames/1000001", headers=everything)[0], 404)

    def test_a_size_that_no_image_has_is_no_fault_of_the_database(self):
        """Rows, Columns, Samples per Pixel and Bits Allocated of 65535 are more bits than a number of 64 bits counts."""
        elements = dicom.image_module(65535, 65535)
        elements.update({0x00280002: ("US", 65535), 0x00280100: ("US", 65535), 0x7FE00010: ("OW", bytes(128))})
        path, _ = self.stored(23, dicom.EXPLICIT, elements)
        status, _, raw = self.ask("GET", f"{path}/frames/1")
        self.assertNotEqual(status, 200)
        self.assertNotIn(b"database", raw)

    def test_no_value_of_a_deflated_instance_is_given_alone(self):
        """Its place is one of the data set, not of the file (PS3.5 A.5)."""
        document, noise = b"document" * 1024, os.urandom(1 << 16)

        def deflate(data_set):
            packer = zlib.compressobj(wbits=-15)
            packed = packer.compress(data_set) + packer.flush()
            return packed + bytes(len(packed) % 2)
        for number, encode, syntax, expected in ((21, bytes, dicom.EXPLICIT, (200, document)),
                                                 (22, deflate, "1.2.840.10008.1.2.1.99", (406, None))):
            path, metadata = self.stored(number, syntax, {0x00420011: ("OB", document), 0x00431001: ("OB", noise)}, encode=encode)
            bulk = metadata["00420011"]["BulkDataURI"].partition(path)[2]
            status, _, raw = self.ask("GET", path + bulk, headers={"Accept": "application/octet-stream"})
            self.assertEqual((status, raw if status == 200 else None), expected)

    def test_frames_of_lossy_colour_are_given_as_stored(self):
        """Decoded they would be RGB, where the metadata say YBR_FULL_422 (PS3.18 10.4.1.1.3): only monochrome is decoded."""
        for photometric, samples, lossy in (("RGB", 3, "YBR_FULL_422"), ("MONOCHROME2", 1, "MONOCHROME2")):
            with self.subTest(photometric=photometric), tempfile.TemporaryDirectory() as folder:
                plain, packed = pathlib.Path(folder) / "plain.dcm", pathlib.Path(folder) / "packed.dcm"
                study = dicom.Study(600 + samples, PATIENT)
                elements = study.elements("OT", SECONDARY_CAPTURE, 0, 0)
                elements.update({0x00080064: ("CS", "WSD"), 0x00280002: ("US", samples), 0x00280004: ("CS", photometric),
                                 0x00280010: ("US", 16), 0x00280011: ("US", 16), 0x00280100: ("US", 8), 0x00280101: ("US", 8),
                                 0x00280102: ("US", 7), 0x00280103: ("US", 0), 0x7FE00010: ("OB", bytes(range(256)) * samples)})
                if samples == 3:
                    elements[0x00280006] = ("US", 0)
                plain.write_bytes(study.file(SECONDARY_CAPTURE, elements))
                subprocess.run(["dcmcjpeg", "+eb", plain, packed], check=True, capture_output=True)
                self.assertEqual(self.ask("POST", "/dicomweb/studies", dicomweb.multipart([packed.read_bytes()]), {
                    "Content-Type": f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'})[0], 200)
                _, _, raw = self.ask("GET", f"/dicomweb/studies/{study.uid}/metadata")
                (metadata,) = json.loads(raw)
                self.assertEqual(metadata["00280004"]["Value"], [lossy])
                frame = (f"/dicomweb/studies/{study.uid}/series/{study.series_uid()}/instances/"
                         f"{metadata['00080018']['Value'][0]}/frames/1")
                octets, jpeg = 'multipart/related; type="application/octet-stream"', 'multipart/related; type="image/jpeg"'
                status, _, raw = self.ask("GET", frame, headers={"Accept": octets})
                self.assertEqual(status, 406 if samples == 3 else 200, raw)
                for accept in (jpeg, f"{octets}, {jpeg}", f"{octets}; transfer-syntax=*", "*/*"):
                    status, headers, raw = self.ask("GET", frame, headers={"Accept": accept})
                    self.assertEqual(status, 200, accept)
                    ((_, part),) = dicomweb.parts_of(headers["Content-Type"], raw)
                    self.assertEqual(part[:2], b"\xff\xd8", accept)
                status, headers, raw = self.ask("GET", frame.partition("/frames")[0], headers={
                    "Accept": 'multipart/related; type="application/dicom"'})
                ((_, part),) = dicomweb.parts_of(headers["Content-Type"], raw)
                self.assertEqual((status, photometric.encode() in part), (200, True))  # a data set says what it is

    def test_only_scripts_of_configured_origins_may_read(self):
        status, headers, _ = self.ask("OPTIONS", self.path(), headers={"Origin": ORIGIN})
        self.assertEqual((status, headers.get("Access-Control-Allow-Origin")), (204, ORIGIN))
        _, headers, _ = self.ask("GET", self.path("/metadata"), headers={"Origin": ORIGIN})
        self.assertEqual((headers.get("Access-Control-Allow-Origin"), headers.get("Vary")), (ORIGIN, "Origin"))
        for origin in ("https://evil.example", ORIGIN + ".evil.example", "null", ORIGIN[:-1]):
            status, headers, _ = self.ask("OPTIONS", self.path(), headers={"Origin": origin})
            self.assertEqual((status, headers.get("Access-Control-Allow-Origin")), (405, None), origin)

    def test_metadata_are_quick(self):
        """By the time that the server and its database work for them: other programs do not count."""
        self.ask("GET", self.path("/metadata"))
        took = []
        before = worked_s(self.server.process.pid)
        for _ in range(METADATA_ROUNDS):
            begin = time.monotonic()
            status, _, raw = self.ask("GET", self.path("/metadata"))
            took.append(time.monotonic() - begin)
            self.assertEqual((status, raw.count(b'"00080018"')), (200, STORED_AT_ONCE))
        worked = (worked_s(self.server.process.pid) - before) / METADATA_ROUNDS
        self.assertGreater(worked, 0)
        self.assertLess(worked, METADATA_MAX_S, took)
        print(f"metadata of {STORED_AT_ONCE} instances: {worked * 1000:.0f} ms of work, {min(took) * 1000:.0f} ms at best")


def children_of(pid):
    """Of a process that may have ended."""
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def worked_s(pid):
    """Time of processors that a process and all that it started have had."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # its own, and of children that have ended
    return own + sum(worked_s(child) for child in children_of(pid))


def is_named(pid, name):
    """Whether the process is there, called so, and not about to end."""
    try:
        folder = pathlib.Path(f"/proc/{pid}")
        flags = int((folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[6])
        pending = re.search(r"ShdPnd:\s*(\w+)", (folder / "status").read_text(encoding="ascii"))
        is_ending = flags & PF_EXITING or int(pending[1], 16) & 1 << signal.SIGKILL - 1
        return not is_ending and (folder / "comm").read_text(encoding="ascii").strip() == name
    except (FileNotFoundError, ProcessLookupError, TypeError):
        return False


class Pictures(common.ServerCase):
    """Many pictures at once: so many processes make them as may, and all are answered."""

    most = 3
    settings = {"server": {"roles": "registry, repository, pix, atna, imaging"},
                "imaging": {"unique_id": imaging.IMAGING_UID, "pixel_processes": "3"}}

    def processes(self):
        """Ids of those that work on pixels: nothing else uses workers here."""
        keeper = next(pid for pid in children_of(self.server.process.pid) if is_named(pid, "musubi-dicom"))
        return {pid for nursery in children_of(keeper) for pid in children_of(nursery) if is_named(pid, "musubi-worker")}

    def watch(self, is_over, ret_counts):
        """Counts those that two looks in a row see: what is about to end does not count."""
        before = set()
        while not is_over.is_set():
            now = self.processes()
            ret_counts.append(len(before & now))
            before = now
            time.sleep(0.003)

    def ask(self, path, method="GET", body=None, **headers):
        """(status, headers, bytes)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def test_many_pictures_at_once_are_made_by_few_processes(self):
        common.feed(self.server, PATIENT)
        study = dicom.Study(11, PATIENT)
        series = dicom.Series(study, size=1024)
        files = [bytes(series.file(number)) for number in range(8)]
        self.assertEqual(self.ask("/dicomweb/studies", "POST", dicomweb.multipart(files), **{
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'})[0], 200)
        instances = [f"/dicomweb/studies/{study.uid}/series/{study.series_uid()}/instances/{series.sop_uid(number)}" for number in range(8)]
        rle = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.5'
        wanted = [(f"{instances[i % 8]}/rendered", "image/jpeg") if i % 2 else (instances[i % 8], rle) for i in range(64)]
        is_over, counts = threading.Event(), [0]
        watcher = threading.Thread(target=self.watch, args=(is_over, counts))
        watcher.start()
        deadline = time.monotonic() + PATIENCE_S
        with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
            while max(counts) <= 1 and time.monotonic() < deadline:  # the watcher may miss what is short
                self.assertEqual(set(pool.map(lambda one: self.picture(*one), wanted)), {200})
        is_over.set()
        watcher.join()
        self.assertLessEqual(max(counts), self.most)
        self.assertGreater(max(counts), 1)

    def counted(self, seconds):
        """How many processes there were at each look, but for one that was about to end."""
        before, end = self.processes(), time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.05)
            now = self.processes()
            yield len(before & now)
            before = now

    def picture(self, path, accept):
        """The status of a picture, also where a busy machine has to be asked again; who is told so has waited."""
        for _ in range(10):
            began = time.monotonic()
            status, _, _ = self.ask(path, Accept=accept)
            if status != 503 or time.monotonic() - began < PLACE_PATIENCE_S:
                break
        return status

    def large(self, number):
        """A stored instance of 40 frames: its path, and how it is asked for in another transfer syntax, 20 MB."""
        common.feed(self.server, PATIENT)
        study = dicom.Study(number, PATIENT)
        file = study.image(modality="US", size=512, frames=40, content=dicom.pixels(512) * 40)
        self.assertEqual(self.ask("/dicomweb/studies", "POST", dicomweb.multipart([file]), **{
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'})[0], 200)
        return (f"/dicomweb/studies/{study.uid}/series/{study.series_uid()}/instances/{study.sop_uid(0, 0)}",
                'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.5')

    def test_who_reads_slowly_holds_no_process(self):
        """What is made waits on disk for them, and is whole when they take it."""
        instance, rle = self.large(12)
        slow = [http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=60) for _ in range(self.most)]
        try:
            answers = []
            for connection in slow:
                connection.request("GET", instance, headers={"Accept": rle})
                answers.append(connection.getresponse())
            self.assertEqual(self.picture(f"{instance}/rendered", "image/jpeg"), 200)
            wholes = {answer.read().replace(answer.headers.get_param("boundary").encode(), b"") for answer in answers}
            self.assertEqual(len(wholes), 1)
            self.assertEqual(wholes, {raw.replace(re.search(r'boundary="([^"]+)"', headers["Content-Type"]).group(1).encode(), b"")
                                      for _, headers, raw in [self.ask(instance, Accept=rle)]})
        finally:
            for connection in slow:
                connection.close()

    def test_uploads_that_hang_take_nothing_from_others(self):
        """Each has a process that reads it: 32 of one node, and none in the place of pictures."""
        instance, _ = self.large(14)
        head = (f"POST /dicomweb/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nContent-Type: multipart/related; "
                f'type="application/dicom"; boundary={dicomweb.BOUNDARY}\r\n\r\n--{dicomweb.BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n')
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                hanging = stack.enter_context(socket.create_connection(("127.0.0.1", self.server.plain_port), timeout=60))
                hanging.sendall(head.encode() + bytes(128) + b"DICM")
            wait_until(lambda: len(self.processes()) >= UPLOADS_OF_ONE, lambda: f"{len(self.processes())} processes")
            self.assertEqual(self.picture(f"{instance}/rendered", "image/jpeg"), 200)
            self.assertEqual(max(self.counted(2)), UPLOADS_OF_ONE)

    def test_who_finds_no_process_free_is_told_when_to_come_again(self):
        instance, rle = self.large(13)
        stopped, changed, deadline = set(), time.monotonic(), time.monotonic() + PATIENCE_S
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            asked = []
            try:  # one that was stopped with its last byte said ends all the same
                while (len(stopped) < self.most or time.monotonic() - changed < 1) and time.monotonic() < deadline:
                    if sum(not answer.done() for answer in asked) < self.most:
                        asked.append(pool.submit(self.ask, instance, Accept=rle))
                    now = self.processes()
                    for pid in now - stopped:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGSTOP)
                    changed = changed if now == stopped else time.monotonic()
                    stopped = now
                status, headers, raw = self.ask(f"{instance}/rendered", Accept="image/jpeg")
                self.assertEqual((status, headers.get("Retry-After")), (503, "5"), raw[:200])
            finally:
                for pid in self.processes():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            self.assertEqual({answer.result()[0] for answer in asked}, {200})
        self.assertEqual(self.picture(f"{instance}/rendered", "image/jpeg"), 200)


class Access(common.ServerCase):
    """Mode enforce: what hospital A keeps, hospital B sees as far as it is disclosed."""

    mode = "enforce"
    roles = ("gateway", "viewer")
    settings = {"server": {"roles": "registry, repository, pix, atna, imaging", "plain_http_listen": None, "plain_mllp_listen": None},
                "imaging": {"unique_id": imaging.IMAGING_UID}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for facility, node, transactions in (("Hospital A", "gateway", "RAD-108,RAD-107"), ("Hospital B", "viewer", "RAD-55,RAD-107,RAD-129")):
            cls.server.command("facility", "add", facility)
            cls.server.command("node", "add", node, "--facility", facility, "--certificate", str(cls.certs / f"{node}.pem"),
                               "--transactions", transactions)
        cls.server.command("authority", "add", "1.2.392.200.7", "--namespace", "HA", "--facility", "Hospital A", "--kind", "pacs")
        rows = cls.server.dir / "patients.csv"
        rows.write_text("authority,identifier,family,birth_date\nHA,77,Yamada,1970-01-01\n", encoding="utf-8")
        cls.server.command("patient", "import", str(rows))
        cls.server.command("patient", "enroll", "HA:77")
        cls.server.wait_until_refreshed()

    def ask(self, role, method, path, body=None, **headers):
        """(status, bytes without what differs each time) with the certificate of a node."""
        context = ssl.create_default_context(cafile=str(self.certs / "ca.pem"))
        context.check_hostname = False
        context.load_cert_chain(self.certs / f"{role}.pem", self.certs / f"{role}.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self.server.https_port, timeout=60, context=context)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, re.sub(rb"\[ref \w+\]", b"", response.read())
        finally:
            connection.close()

    def store(self, role, study):
        """STOW-RS of one instance."""
        return self.ask(role, "POST", "/dicomweb/studies", dicomweb.multipart([study.image(size=8)]),
                        **{"Content-Type": f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'})[0]

    def statuses(self, paths):
        """What the viewer gets."""
        return {path.rpartition("/")[2]: self.ask("viewer", "GET", path)[0] for path in paths}

    def test_views_and_downloads_are_decided_apart(self):
        study = dicom.Study(9, "77")
        instance = f"/dicomweb/studies/{study.uid}/series/{study.series_uid()}/instances/{study.sop_uid(0, 0)}"
        uri = f"/wado?requestType=WADO&studyUID={study.uid}&seriesUID={study.series_uid()}&objectUID={study.sop_uid(0, 0)}"
        views = [f"{instance}/metadata", f"{instance}/rendered", f"{instance}/thumbnail", f"{instance}/frames/1/rendered", uri]
        downloads = [instance, f"{instance}/frames/1", f"{instance}/bulk/0-2", f"{uri}&contentType=application/dicom"]
        self.assertEqual(self.store("gateway", study), 200)
        self.assertEqual(set(self.statuses(views + downloads).values()), {404})
        for path in views + downloads:  # denied is absent, to the byte
            unknown = path.replace(study.uid, study.uid + ".1")
            self.assertEqual(self.ask("viewer", "GET", path), self.ask("viewer", "GET", unknown), path)
        query = f"/dicomweb/studies?StudyInstanceUID={study.uid}"
        self.assertEqual(self.ask("viewer", "GET", query), (200, b"[]"))
        disclosure = ("disclosure", "add", "--patient", "HA:77", "--source", "Hospital A", "--reader", "Hospital B", "--permit")
        self.server.command(*disclosure)
        self.assertEqual(set(self.statuses(views).values()), {200})
        self.assertEqual(set(self.statuses(downloads).values()), {404})
        self.assertIn(study.uid.encode(), self.ask("viewer", "GET", query)[1])
        self.server.command(*disclosure, "--level", "download")
        self.assertEqual(set(self.statuses(views + downloads).values()), {200})
        self.server.command("patient", "withdraw", "HA:77")
        self.assertEqual(set(self.statuses(views + downloads).values()), {404})
        self.server.command("patient", "enroll", "HA:77")

    def test_a_node_does_only_what_it_may(self):
        self.assertEqual(self.store("viewer", dicom.Study(10, "77")), 403)
        self.assertEqual(self.ask("gateway", "GET", "/dicomweb/studies")[0], 403)
        self.assertEqual(self.ask("gateway", "GET", "/wado")[0], 403)
