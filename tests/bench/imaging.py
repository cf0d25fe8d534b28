"""What the row `imaging` measures: C-STORE, WADO-RS, RAD-69, metadata and QIDO-RS, beside Orthanc in the same run."""

import contextlib
import json
import os
import shutil
import socket
import ssl
import statistics as numbers
import subprocess
import time
import urllib.request

from conformance import client as xds
from tests.bench import data, statements
from tests.harness import dicom, orthanc, server as harness

INSTANCES = 1000
ASSOCIATIONS = 4
PIXELS = 512  # a side: 0.5 MB
STUDIES, QUICK_STUDIES = 100_000, 20_000
STUDIES_PER_PATIENT = 10
AE_TITLE = "MUSUBI"
IMAGING_UID = "1.3.6.1.4.1.21367.13.80.110"
ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'
PIECE_BYTES = 1 << 20
SEND_S = 300

FILL = """
WITH authority AS (SELECT id FROM assigning_authority WHERE oid = %(authority)s),
study AS (
    INSERT INTO imaging_study (facility, node, authority, is_manifest_due, study_uid, patient_number, ae_title, patient_name,
        patient_birth_date, patient_sex, study_date, study_time, timezone_offset, accession_number, study_id, study_description,
        referring_physician, institution_name, accession_oid, placer_order, placer_order_oid, procedure_value, procedure_scheme,
        procedure_meaning, anatomy_value, anatomy_scheme, anatomy_meaning, character_set, character_set_confidence)
    SELECT 0, 0, authority.id, false, '1.2.392.99999.87.' || n, 'BQ' || lpad((n %% %(patients)s)::text, 12, '0'), 'SENDER',
        'Test^Patient', '19700101', 'M', to_char(date '2016-01-01' + (n %% 3650)::integer, 'YYYYMMDD'), '083000', '', 'A' || n, n::text,
        'CT of the chest', '', 'Musubi Hospital', '', '', '', '', '', '', '', '', '', 'ISO_IR 100', 100
    FROM authority, generate_series(1, %(studies)s) n RETURNING id, study_uid),
series AS (
    INSERT INTO imaging_series (study, position, series_uid, modality, series_number, series_description, series_date, series_time,
        body_part_examined, laterality, performed_date, performed_time, station_name, manufacturer)
    SELECT id, number, study_uid || '.' || number, 'CT', number::text, 'CT', '', '', 'CHEST', '', '', '', '', 'Musubi'
    FROM study, generate_series(1, 2) number RETURNING id, study, series_uid)
INSERT INTO imaging_instance (series, study, position, size_bytes, data_set_offset, pixel_offset, number_of_frames, facility, node, variant,
    image_rows, image_columns, bits_allocated, samples_per_pixel, has_pixel_data, is_lossy, sha256, sop_instance,
    sop_class, transfer_syntax, instance_number, content_date, content_time, frames, metadata)
SELECT series.id, series.study, 1, template.size_bytes, template.data_set_offset, template.pixel_offset, 1, 0, 0, 0, 512, 512, 16, 1, true,
    false, sha256(convert_to(series.series_uid, 'UTF8')), series.series_uid || '.1',
    template.sop_class, template.transfer_syntax, '1', '', '', '', template.metadata
FROM series, (SELECT * FROM imaging_instance LIMIT 1) template"""


class Failed(Exception):
    """An answer was not what was asked for."""


def free_port():
    """A port of 127.0.0.1."""
    return harness.free_ports(1)[0]


def settings(dicom_port):
    """The settings of a server with images."""
    return {"server": {"roles": "registry, repository, pix, atna, imaging"}, "database": {"shared_buffers": "0"},
            "imaging": {"plain_dicom_listen": f"127.0.0.1:{dicom_port}", "unique_id": IMAGING_UID, "manifest_delay": "7d"}}


class Files:
    """The files of one study, in as many folders as there are associations. On disk before they are sent."""

    def __init__(self, folder, number, patient_id):
        self.folder = folder / f"study_{number}"
        self.study = dicom.Study(number, patient_id)
        self.series = dicom.Series(self.study, size=PIXELS)
        share = INSTANCES // ASSOCIATIONS
        for part in range(ASSOCIATIONS):
            self.series.write(self.folder / str(part), range(part * share, (part + 1) * share))
        os.sync()  # or the receivers' syncs would write them

    @property
    def size_bytes(self):
        """Of all of them."""
        return INSTANCES * self.series.size_bytes

    def send(self, port, called, associations, no_delay):
        """Sends them by as many storescu, as Debian ships it; gives instances per second."""
        environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
        if no_delay:
            environment["TCP_NODELAY"] = "1"
        parts = [self.folder / str(part) for part in range(ASSOCIATIONS)]
        shares = [parts[first::associations] for first in range(associations)]
        began = time.monotonic()
        senders = [subprocess.Popen(["storescu", "-aet", "SENDER", "-aec", called, "+sd", "127.0.0.1", str(port),
                                     *map(str, share)], env=environment, stderr=subprocess.PIPE, text=True) for share in shares]
        problems = [sender.communicate(timeout=SEND_S)[1] for sender in senders]
        seconds = time.monotonic() - began
        if any(sender.returncode for sender in senders):
            raise Failed(f"storescu to {called}: {' '.join(problems)[-600:]}")
        return INSTANCES / seconds

    def remove(self):
        """Their folder."""
        shutil.rmtree(self.folder)


def fetch(port, path, context=None, accept=None, body=None, content_type=None):
    """One request on a connection of its own, read to its end; gives (seconds, bytes of the answer)."""
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Accept: {accept}\r\n" if accept else ""
    head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n" if body else ""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SEND_S))
        if context:
            connection = stack.enter_context(context.wrap_socket(connection))
        buffer = bytearray(PIECE_BYTES)
        began = time.monotonic()
        connection.sendall(head.encode() + b"\r\n" + (body or b""))
        got = connection.recv_into(buffer)
        line = bytes(buffer[:min(got, 200)])
        if b" 200" not in line.partition(b"\r\n")[0]:
            raise Failed(f"{path}: {line}")
        total = got
        while got:
            got = connection.recv_into(buffer)
            total += got
        return time.monotonic() - began, total


def rad69_request(study_uid, series_uid, sop_uids):
    """(Content-Type, body) of the request for these instances of a series."""
    wanted = "".join(f"<x:DocumentRequest><x:RepositoryUniqueId>{IMAGING_UID}</x:RepositoryUniqueId>"
                     f"<x:DocumentUniqueId>{uid}</x:DocumentUniqueId></x:DocumentRequest>" for uid in sop_uids)
    body = (f'<i:RetrieveImagingDocumentSetRequest xmlns:i="urn:ihe:rad:xdsi-b:2009" xmlns:x="urn:ihe:iti:xds-b:2007">'
            f'<i:StudyRequest studyInstanceUID="{study_uid}"><i:SeriesRequest seriesInstanceUID="{series_uid}">'
            f"{wanted}</i:SeriesRequest></i:StudyRequest><i:TransferSyntaxUIDList><i:TransferSyntaxUID>{dicom.EXPLICIT}"
            "</i:TransferSyntaxUID></i:TransferSyntaxUIDList></i:RetrieveImagingDocumentSetRequest>")
    return xds.mtom(xds.envelope("urn:ihe:rad:2009:RetrieveImagingDocumentSet", body), [])


class Imaging:
    """The archives with the same studies."""

    def __init__(self, bench, server, dicom_port, shipped, peer):
        self.bench, self.server, self.dicom_port = bench, server, dicom_port
        self.shipped, self.peer = shipped, peer  # Orthanc as Debian has it, and with TCP_NODELAY: without its own delays
        self.folder = bench.folder / "imaging"
        self.sent = 0
        self.files = None  # of the study that is read
        self.context = ssl.create_default_context(cafile=str(bench.certs / "ca.pem"))
        self.context.check_hostname = False
        self.context.load_cert_chain(bench.certs / "bench.pem", bench.certs / "bench.key")

    def new_files(self):
        """A study that neither of them has."""
        self.sent += 1
        return Files(self.folder, self.sent, data.patient_id(f"Q{0:012}").partition("^")[0])

    # ------------------------------------------------------------------ C-STORE

    def store(self, associations, no_delay):
        """Median rates (ours, Orthanc's as shipped, Orthanc's with TCP_NODELAY) of studies that are new to all."""
        receivers = ((self.dicom_port, AE_TITLE), (self.shipped.dicom_port, orthanc.AE_TITLE), (self.peer.dicom_port, orthanc.AE_TITLE))
        rates = [[] for _ in receivers]
        for _ in range(self.bench.runs):
            files = self.new_files()
            for found, receiver in zip(rates, receivers):
                found.append(files.send(*receiver, associations, no_delay))
            self.files = self.files or files
            files.remove()
        held = {"ours": self.stored(), "Orthanc's": self.shipped.count(), "Orthanc's with TCP_NODELAY": self.peer.count()}
        if set(held.values()) != {self.sent * INSTANCES}:
            raise Failed(f"{self.sent * INSTANCES} instances were sent, held are {held}")
        return [numbers.median(found) for found in rates]

    def stored(self):
        """How many instances we hold."""
        with contextlib.closing(statements.connect(self.server)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM imaging_instance WHERE variant = 0")
            return cursor.fetchone()[0]

    # ------------------------------------------------------------------ retrieval

    def rate(self, port, path, **options):
        """Median megabytes per second of an answer that holds the study."""
        rates = []
        for _ in range(self.bench.runs):
            seconds, size = fetch(port, path, **options)
            if size < self.files.size_bytes:
                raise Failed(f"{path}: {size} bytes of at least {self.files.size_bytes}")
            rates.append(size / seconds / 1e6)
        return numbers.median(rates)

    def nginx_rate(self):
        """The same bytes by nginx over TLS."""
        size = self.files.size_bytes
        with self.bench.kit.nginx([size]) as port:
            fetch(port, f"/{size}", self.context)
            return self.rate(port, f"/{size}", context=self.context)

    def study_path(self):
        """The study below the base of DICOMweb."""
        return f"/studies/{self.files.study.uid}"

    def orthanc_rate(self):
        """Orthanc's WADO-RS of the study."""
        return self.rate(self.peer.http_port, f"/dicom-web{self.study_path()}", accept=ANY_SYNTAX)

    def wado_rs(self, port, context=None):
        """Ours."""
        return self.rate(port, f"/dicomweb{self.study_path()}", accept=ANY_SYNTAX, context=context)

    def rad69(self, port, context=None):
        """RAD-69 of every instance of the study."""
        content_type, body = rad69_request(self.files.study.uid, self.files.study.series_uid(),
                                           map(self.files.series.sop_uid, range(INSTANCES)))
        return self.rate(port, "/imaging", body=body, content_type=content_type, context=context)

    def metadata_ms(self, port, root, runs):
        """Median time of the metadata of the study."""
        found = [fetch(port, f"{root}{self.study_path()}/metadata", accept="application/dicom+json") for _ in range(runs)]
        if min(size for _, size in found) < INSTANCES * 200:
            raise Failed(f"metadata of {INSTANCES} instances in {found[0][1]} bytes")
        return 1000 * numbers.median(seconds for seconds, _ in found)

    # ------------------------------------------------------------------ queries

    def fill(self, studies):
        """So many studies in the index, as rows; checks that they are there, and what a patient's answer holds."""
        patients = studies // STUDIES_PER_PATIENT
        with contextlib.closing(statements.connect(self.server)) as connection, connection.cursor() as cursor:
            cursor.execute(FILL, {"authority": harness.AUTHORITY, "studies": studies, "patients": patients})
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("SELECT count(*), count(DISTINCT patient_number) FROM imaging_study WHERE study_uid LIKE '1.2.392.99999.87.%'")
            if (found := cursor.fetchone()) != (studies, patients):
                raise Failed(f"the index has {found[0]} studies of {found[1]} patients, not {studies} of {patients}")
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.plain_port}/dicomweb/studies?PatientID=BQ{1:012}") as answer:
            given = json.load(answer)
        if len(given) != STUDIES_PER_PATIENT:
            raise Failed(f"a patient has {len(given)} studies, not {STUDIES_PER_PATIENT}")

    def qido(self, patients, connections):
        """QIDO-RS by PatientID over TLS; every answer names the patient."""
        path = self.bench.file("qido", f"GET /dicomweb/studies?PatientID=BQ{data.MODULO} HTTP/1.1\r\nHost: localhost\r\n"
                               "Accept: application/dicom+json\r\n\r\n".encode())
        found = self.bench.kit.load(self.server.https_port, [path], connections, self.bench.seconds, modulo=patients, expect="00100020")
        if found["errors"]:
            raise Failed(f"QIDO-RS: {found['problem']}")
        return found


@contextlib.contextmanager
def both(bench):
    """Our server, in mode open with plain DICOM and HTTP beside TLS, and Orthanc twice; gives the Imaging."""
    folder = bench.folder / "imaging"
    dicom_port = free_port()
    server = harness.Server(data_dir=folder / "musubi", certs=bench.certs, settings=settings(dicom_port))
    try:
        server.start()
        with orthanc.Orthanc(folder / "shipped") as shipped, orthanc.Orthanc(folder / "peer", has_no_delay=True) as peer:
            yield Imaging(bench, server, dicom_port, shipped, peer)
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
