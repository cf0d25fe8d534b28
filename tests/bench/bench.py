#!/usr/bin/python3
"""The benchmark kit: what the server does per second against H, what the parts of each operation allow on this machine
(see README.md)."""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import platform
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from conformance import client as xds  # noqa: E402  pylint: disable=wrong-import-position
from tests.bench import audit, data, floors, imaging, matching, statements  # noqa: E402  pylint: disable=wrong-import-position
from tests.harness import certs, saml, server as harness  # noqa: E402  pylint: disable=wrong-import-position

COUNTS = (4, 8, 16)
SMALL, LARGE = 100_000, 10_000_000
AUDIT_BYTES = 1200
WRITE_PATIENTS = 1000
SMALL_DOCUMENTS, LARGE_DOCUMENTS = 64, 4
IMPORT_ARC = 61
IMPORTS_PER_SECOND = 10_000  # how many a measured second of bulk_import takes
FEED_CONNECTIONS = 8
PERSONS, QUICK_PERSONS = 1_000_000, 100_000  # of the identity queries
FRESH_ASSERTIONS = 2000  # of a run of xua_unique: a request file each, of which every connection has a copy
KNOWN_PERSONS = 2000  # of iti8_feed and iti21_p99: a request file each
FILL_PIECE = 250_000  # imports between two looks at the outbox
SCALE_GOALS = {"scale_find_1e7": 0.65, "scale_register_1e7": 0.50}  # of the rate at a tenth of the entries
REGISTRY_TABLES = ("code", "metadata_dictionary", "repository", "unique_id", "submission_set", "document_entry", "folder",
                   "association", "repository_document", "repository_document_kind")


@dataclasses.dataclass
class Row:
    """One line of the table and one entry of the JSON file."""

    name: str
    value: float
    unit: str
    floor: float = None  # H, or the peer
    ratio: float = None
    reference: float = None  # the ratio to plain pgbench or nginx
    goal: str = ""
    met: bool = None
    p50_ms: float = None
    p99_ms: float = None
    connections: int = None
    counts: list = dataclasses.field(default_factory=list)  # each connection count, with each floor


def _at_least(ratio, goal):
    return f">= {goal:.0%}", ratio >= goal


def _median(measure, runs):
    found = [measure() for _ in range(runs)]
    return sorted(found, key=lambda m: m["rate"])[len(found) // 2]


class Operation:
    """One transaction: a request (bytes, its XML) or several requests in turn, and the parts that make up its H."""

    def __init__(self, bench, name, goal, request, *, modulo, expect='Success"', reference="pgbench", port="https_port"):
        self.bench, self.name, self.goal, self.modulo, self.expect = bench, name, goal, modulo, expect
        self.reference, self.port = reference, getattr(bench.server, port)
        requests = request if isinstance(request, list) else [request[0]]
        self.paths = [bench.file(f"{name}.{index}", content) for index, content in enumerate(requests)]
        self.body = None if isinstance(request, list) else bench.file(f"{name}.xml", request[1])
        self.parts = {}
        self.composed = None
        self.script = None

    def add_part(self, name, measure):
        """measure(connections, seconds) gives a result with rate."""
        self.parts[name] = measure
        return self

    def add_local(self, name, *options):
        """A subcommand of floor."""
        return self.add_part(name, lambda count, seconds: self.bench.kit.part(name, count, seconds, *options))

    def add_sax(self):
        """The request's metadata or query through SAX2."""
        return self.add_local("sax", "--input", str(self.body))

    def add_transfer(self, name, answer_bytes):
        """The request's bytes in and so many out, over the same TLS."""
        def measure(count, seconds):
            with self.bench.kit.floor_server("http", answer_bytes) as port:
                return self.bench.kit.load(port, self.paths, count, seconds, modulo=self.modulo)
        return self.add_part(name, measure)

    def add_statements(self):
        """The server's own statements for this request in pgbench."""
        self.script = statements.Script(self.bench.server, self._send_one, self.modulo)
        path = self.bench.folder / f"{self.name}.sql"
        options = self.script.write_pgbench(path)

        def measure(count, seconds):
            with floors.frozen(self.bench.server):
                return self.bench.kit.pgbench(self.bench.server, path, options, count, seconds)
        return self.add_part("pgbench", measure)

    def add_nginx(self, size):
        """nginx sending as many bytes over the same TLS."""
        path = self.bench.file(f"nginx_{size}", data.get(f"/{size}"))

        def measure(count, seconds):
            with self.bench.kit.nginx([size]) as port:
                return self.bench.kit.load(port, [path], count, seconds)
        return self.add_part("nginx", measure)

    def set_composed(self, *options):
        """One program that does all parts in as many threads."""
        path = self.bench.folder / f"{self.name}.json"
        self.script.write_json(path)
        conninfo = (f"host={statements.socket_dir(self.bench.server)} port=5432 user=musubi dbname=musubi "
                    f"options='{statements.SESSION}'")

        def measure(count, seconds):
            with floors.frozen(self.bench.server), self.bench.kit.floor_server(
                    "composed", 800, "--script", str(path), "--conninfo", conninfo, *options) as port:
                return self.bench.kit.load(port, self.paths, count, seconds, modulo=self.modulo)
        self.composed = measure
        return self

    def _send_one(self, number):
        found = self.bench.kit.load(self.port, self.paths, 1, 10, "--count", "1", first=number,
                                    modulo=self.modulo, expect=self.expect)
        if found["errors"]:
            raise RuntimeError(f"{self.name}: {found['problem']}")

    def answer_bytes(self):
        """Size of the answer to one request."""
        found = self.bench.kit.load(self.port, self.paths, 1, 10, "--count", "1", modulo=self.modulo,
                                    expect=self.expect)
        if found["errors"]:
            raise RuntimeError(f"{self.name}: {found['problem']}")
        return found["bytes"]

    def value(self, count, seconds):
        """The server itself."""
        found = self.bench.kit.load(self.port, self.paths, count, seconds, modulo=self.modulo,
                                    expect=self.expect)
        self.bench.settle()
        if found["errors"]:
            print(f"  {self.name}: {found['errors']} errors: {found['problem']}", flush=True)
        return found

    def measure(self):
        """The row; every count measures the server and the floors one after the other."""
        bench = self.bench
        counts = []
        for count in bench.counts:
            value = _median(lambda c=count: self.value(c, bench.seconds), bench.runs)
            parts = {name: _median(lambda m=measure, c=count: m(c, bench.floor_seconds), bench.runs)["rate"]
                     for name, measure in self.parts.items()}
            h = 1 / sum(1 / rate for rate in parts.values())
            entry = {"connections": count, "value": value["rate"], "h": h, "ratio": value["rate"] / h,
                     "reference": value["rate"] / parts[self.reference], "p50_ms": value["p50_ms"],
                     "p99_ms": value["p99_ms"], "errors": value["errors"], "floors": parts}
            if self.composed:
                entry["composed"] = _median(lambda c=count: self.composed(c, bench.seconds), bench.runs)
            counts.append(entry)
            bench.print_count(self.name, entry)
        best = max(counts, key=lambda entry: entry["value"])
        goal, met = _at_least(best["ratio"], self.goal)
        bench.add(Row(self.name, best["value"], "1/s", best["h"], best["ratio"], best["reference"], goal, met,
                      best["p50_ms"], best["p99_ms"], best["connections"], counts))
        return counts, best


class FreshAssertions(Operation):
    """A request that comes with another assertion each time; its parts are those of one of them."""

    def __init__(self, bench, name, goal, provider, modulo):
        self.provider, self.request = provider, data.find_documents("LeafClass")
        assertion = self.assertion()
        super().__init__(bench, name, goal, data.with_assertion(self.request, assertion), modulo=modulo)
        self.signed = bench.file(f"{name}.assertion", assertion.encode())

    def assertion(self):
        """A new one, valid for the whole run."""
        return self.provider.assertion(not_on_or_after=saml.instant(6 * 3600))

    def value(self, count, seconds):
        super().value(count, self.bench.seconds / 3)  # as warm as a longer run would be: connections to the database
        paths = [self.bench.file(f"{self.name}.fresh{number}", data.with_assertion(self.request, self.assertion())[0])
                 for number in range(FRESH_ASSERTIONS)]
        found = self.bench.kit.load(self.port, paths, count, 600, "--count", str(len(paths)), modulo=self.modulo, expect=self.expect)
        self.bench.settle()
        if found["errors"]:
            print(f"  {self.name}: {found['errors']} errors: {found['problem']}", flush=True)
        return found


class Bench:
    """The server under test, its data, and the rows measured so far."""

    def __init__(self, arguments):
        self.quick = arguments.quick
        self.runs, self.seconds, self.floor_seconds = (1, 1.5, 1.0) if self.quick else (3, 3.0, 2.0)
        self.counts = COUNTS
        self.patients = 201 if self.quick else max(11, arguments.documents // data.ENTRIES_PER_PATIENT | 1)
        self.documents = self.patients * data.ENTRIES_PER_PATIENT
        self.persons = QUICK_PERSONS if self.quick else PERSONS
        self.known_persons = []
        self.rows = []
        self.folder = _folder()
        self.certs = certs.make(self.folder / "certs", ("server", "bench"))
        user = harness.service_user()
        for path in self.certs.iterdir() if user else ():
            os.chown(path, user.pw_uid, user.pw_gid)
        self.kit = floors.Kit(self.folder, self.certs)
        self.syslog_port = harness.free_ports(1)[0]
        self.audit_records = 0  # that audit.fill() made
        self.server = self._new_server()

    # ------------------------------------------------------------------ set-up

    def _new_server(self, pid_owner="external", xua="off", roles="registry, repository, pix, atna"):
        syslog = f"127.0.0.1:{self.syslog_port}" if "atna" in roles else None
        return harness.Server(data_dir=self.folder, certs=self.certs, mode="enforce", settings={
            "server": {"plain_http_listen": None, "plain_mllp_listen": None, "roles": roles}, "database": {"shared_buffers": "0"},
            "xua": {"registry": xua, "audiences": saml.AUDIENCE}, "audit": {"syslog_tls_listen": syslog},
            "affinity_domain": {"pid_owner": pid_owner}})  # external: patients of the registry are fed like any others

    def start(self, pid_owner="external"):
        """A registered node, and the cipher suite that the server chooses."""
        try:
            self.server.start()
        except harness.ServerFailed:  # somebody else took a port meanwhile; other failures come again
            self.server = self._new_server(pid_owner)
            self.server.start()
        self.server.command("facility", "add", "Bench")
        self.server.command("node", "add", "bench", "--facility", "Bench", "--certificate", str(self.certs / "bench.pem"),
                            "--transactions", "*", "--source", "TEST|HOSPITAL")
        with contextlib.closing(statements.connect(self.server)) as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE node SET roles = '{physician}'")  # documents of every confidentiality
            cursor.execute("INSERT INTO assigning_authority (oid, is_configured, facility) SELECT oid, true, facility.id FROM facility,"
                           " unnest(%s::text[]) oid ON CONFLICT DO NOTHING", (data.LOCAL_AUTHORITIES,))
        time.sleep(3)  # a running server notices new nodes within seconds
        context = ssl.create_default_context(cafile=str(self.certs / "ca.pem"))
        context.check_hostname = False
        context.load_cert_chain(self.certs / "bench.pem", self.certs / "bench.key")
        with socket.create_connection(("127.0.0.1", self.server.https_port)) as plain, context.wrap_socket(plain) as tls:
            self.kit.ciphersuite = tls.cipher()[0] if tls.version() == "TLSv1.3" else None

    def feed(self, prefix, count):
        """Patients by ITI-8, over several connections; all of them take part."""
        with concurrent.futures.ThreadPoolExecutor(FEED_CONNECTIONS) as pool:
            list(pool.map(lambda part: self._feed_some(prefix, range(part, count, FEED_CONNECTIONS)), range(FEED_CONNECTIONS)))
        with contextlib.closing(statements.connect(self.server)) as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO enrolment (patient, is_enrolled, decided_by) SELECT id, true, 'bench' FROM patient_identifier"
                           " WHERE is_xad_pid AND value LIKE 'B' || %s || '%%'", (prefix,))

    def _feed_some(self, prefix, numbers):
        mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllps_port}", self.certs / "bench.pem", self.certs / "bench.key",
                              self.certs / "ca.pem")
        for number in numbers:
            reply = mllp.send(xds.adt("A04", data.patient_id(f"{prefix}{number:012}")))
            if xds.acknowledgement(reply) != "AA":
                raise RuntimeError(f"patient not fed: {reply}")
        mllp.close()

    def fill(self, first, count, patients, prefix=""):
        """Registers documents first..first+count-1 by ITI-41, in turn for each patient; gives the rate."""
        requests = data.write_registry(self.folder / "fill", 400, data.patient_id(prefix + data.MODULO))
        found = self.kit.load(self.server.https_port, requests, 8, 36000, "--count", str(count), first=first, modulo=patients,
                              expect='Success"')
        if found["errors"]:
            raise RuntimeError(f"the registry was not filled: {found['problem']}")
        self.settle()
        with contextlib.closing(statements.connect(self.server)) as connection, connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        return found["rate"]

    def import_stream(self, stream, first, count, modulo):
        """`musubi submission import` of these numbers, made while it reads; gives its summary."""
        command = [str(harness.binary()), "submission", "import", "--json", "--node", "bench", "--config",
                   str(self.server.config_path), "-"]
        with tempfile.TemporaryFile("w+", dir=self.folder) as output:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output) as process:
                fcntl.fcntl(process.stdin, fcntl.F_SETPIPE_SZ, 2 ** 20)
                stream.write(process.stdin, first, count, modulo)
            output.seek(0)
            lines = output.read().splitlines()
        summary = json.loads(lines[-1])
        if process.returncode or summary["stored"] != count:
            raise RuntimeError(f"not imported: {lines[0][:600]}")
        return summary

    def fill_by_import(self, first, count, patients, prefix):
        """As fill(), without documents in the repository; gives the rate."""
        stream = data.Stream(data.patient_id(prefix + data.MODULO))
        seconds = 0
        with contextlib.closing(statements.connect(self.server)) as connection, connection.cursor() as cursor:
            for begin in range(first, first + count, FILL_PIECE):
                with floors.frozen(self.server):
                    piece = min(FILL_PIECE, first + count - begin)
                    seconds += self.import_stream(stream, begin, piece, patients)["seconds"]
                cursor.execute("VACUUM audit_outbox")
            cursor.execute("VACUUM ANALYZE")
        return count / seconds

    def file(self, name, content):
        """A file of the run."""
        path = self.folder / f"{name}.request"
        path.write_bytes(content)
        return path

    def settle(self):
        """Waits until the server has delivered the audit events of writes."""
        with contextlib.closing(statements.connect(self.server)) as connection, connection.cursor() as cursor:
            for _ in range(600):
                cursor.execute("SELECT count(*) FROM audit_outbox")
                if cursor.fetchone()[0] == 0:
                    return
                time.sleep(0.1)

    # ------------------------------------------------------------------ transactions

    def write_operation(self, name, goal, request):
        """ITI-41 or ITI-42: POST, SAX, ..., and the registration transaction."""
        return Operation(self, name, goal, request, modulo=WRITE_PATIENTS).add_transfer("post", 800).add_sax().add_statements()

    def measure_iti41(self, name, size, own_files):
        """ITI-41 and its p99 against one program that does the same."""
        patient = data.patient_id("W" + data.MODULO)
        operation = self.write_operation(name, 0.70, data.iti41(7001 + size, size, patient=patient, arc=31 if own_files else 33))
        operation.add_local("sha", "--bytes", str(size)).add_local("file" if own_files else "segment", "--bytes", str(size))
        operation.set_composed(*(["--own-files"] if own_files else []))
        _, best = operation.measure()
        floor = best["composed"]["p99_ms"]
        self.add(Row(f"{name}_p99", best["p99_ms"], "ms", floor, best["p99_ms"] / floor, best["value"] / best["composed"]["rate"],
                     "<= 4 x", best["p99_ms"] <= 4 * floor, connections=best["connections"]))

    def iti41_100k(self):
        """The row of this name."""
        self.measure_iti41("iti41_100k", SMALL, False)

    def iti41_10m(self):
        """The row of this name."""
        self.measure_iti41("iti41_10m", LARGE, True)

    def iti42(self):
        """The row of this name."""
        request = data.iti42(8001, patient=data.patient_id("W" + data.MODULO), arc=35)
        self.write_operation("iti42", 0.75, request).measure()

    def bulk_import(self):
        """Metadata of another registry, against COPY of the same rows into empty tables."""
        stream = data.Stream(data.patient_id("W" + data.MODULO), IMPORT_ARC)
        count = round(self.seconds * IMPORTS_PER_SECOND)

        def measure():
            first = self.kit.reserve(count)
            self.settle()
            with floors.frozen(self.server):
                summary = self.import_stream(stream, first, count, WRITE_PATIENTS)
                with contextlib.closing(floors.Copy(self.server, self.folder, IMPORT_ARC, first)) as copy:
                    return {"rate": summary["stored_per_second"], "floor": count / copy.seconds(), "rows": copy.rows}
        found = _median(measure, self.runs)
        ratio = found["rate"] / found["floor"]
        self.add(Row("bulk_import", found["rate"], "1/s", found["floor"], ratio, ratio, *_at_least(ratio, 0.30),
                     counts=[{"submissions": count, **found["rows"]}]))

    def read_operation(self, name, goal, request, modulo):
        """ITI-18: SAX, statements, sending the response, audit."""
        operation = Operation(self, name, goal, request, modulo=modulo)
        operation.add_sax().add_statements().add_transfer("response", operation.answer_bytes())
        return operation.add_local("audit", "--bytes", str(AUDIT_BYTES))

    def iti18_leafclass_50(self):
        """FindDocuments, 50 entries; also p99 at 4 connections."""
        counts, _ = self.read_operation("iti18_leafclass_50", 0.70, data.find_documents("LeafClass"), self.patients).measure()
        p99 = counts[0]["p99_ms"]
        self.add(Row("iti18_leafclass_50_p99", p99, "ms", goal="<= 5 ms", met=p99 <= 5, connections=counts[0]["connections"]))

    def iti18_objectref_50(self):
        """The row of this name."""
        self.read_operation("iti18_objectref_50", 0.70, data.find_documents("ObjectRef"), self.patients).measure()

    def iti18_getdocuments(self):
        """The row of this name."""
        self.read_operation("iti18_getdocuments", 0.70, data.get_documents(), self.documents).measure()

    def look_at_users(self):
        """Restarts the server with [xua] registry = record; gives the identity provider that it knows."""
        self.server.close()
        self.server = self._new_server(xua="record")
        provider = saml.IdentityProvider()
        certificate = self.file("idp", provider.pem())
        self.start()
        self.server.command("idp", "add", provider.issuer, "--certificate", str(certificate))
        self.server.command("role", "code", "physician", "physician^^1.2.392.99999.2")  # the user sees what the node sees
        time.sleep(3)
        return provider, certificate

    def xua_unique(self):
        """FindDocuments with a fresh assertion each; H has the check of its signature by xmlsec as one more term."""
        provider, certificate = self.look_at_users()
        operation = FreshAssertions(self, "xua_unique", 0.75, provider, self.patients)
        answer_bytes = operation.answer_bytes()  # its own assertion is known from here on
        operation.add_sax().add_statements().add_transfer("response", answer_bytes).add_local("audit", "--bytes", str(AUDIT_BYTES))
        operation.add_local("xmlsec", "--input", str(operation.signed), "--cert", str(certificate)).measure()

    def xua_reused(self):
        """The same with one assertion, against no assertion."""
        provider, _ = self.look_at_users()
        request = data.find_documents("LeafClass")
        plain = Operation(self, "xua_none", 1, request, modulo=self.patients)
        reused = Operation(self, "xua_reused", 0.95, data.with_assertion(request, provider.assertion(
            not_on_or_after=saml.instant(6 * 3600))), modulo=self.patients)
        counts = []
        for count in self.counts:
            pairs = [(plain.value(count, self.seconds), reused.value(count, self.seconds)) for _ in range(self.runs)]
            rates = [statistics.median(pair[place]["rate"] for pair in pairs) for place in (0, 1)]
            counts.append({"connections": count, "value": rates[1], "without": rates[0], "ratio": rates[1] / rates[0]})
        best = max(counts, key=lambda entry: entry["value"])
        self.add(Row("xua_reused", best["value"], "1/s", best["without"], best["ratio"], None, *_at_least(best["ratio"], 0.95),
                     connections=best["connections"], counts=counts))

    def measure_iti43(self, name, goal, size, arc, documents):
        """Stores documents of the size, then retrieves them in turn."""
        request = self.file(f"{name}.fill", data.iti41(9001 + size, size, patient=data.patient_id("W" + "0" * 12), arc=arc)[0])
        found = self.kit.load(self.server.https_port, [request], 4, 600, "--count", str(documents), first=0, expect='Success"')
        if found["errors"] and "already registered" not in found["problem"]:
            raise RuntimeError(f"documents not stored: {found['problem']}")
        operation = Operation(self, name, goal, data.retrieve(f"1.2.392.99999.{arc}.1{data.MODULO}"), modulo=documents,
                              reference="nginx")
        operation.add_statements().add_nginx(size).add_local("crc", "--bytes", str(size))
        operation.add_local("audit", "--bytes", str(AUDIT_BYTES)).measure()

    def iti43_100k(self):
        """The row of this name."""
        self.measure_iti43("iti43_100k", 0.70, SMALL, 41, SMALL_DOCUMENTS)

    def iti43_10m(self):
        """The row of this name."""
        self.measure_iti43("iti43_10m", 0.80, LARGE, 43, LARGE_DOCUMENTS)

    # ------------------------------------------------------------------ identity

    def fill_persons(self):
        """Persons of one hospital, with what the server would have written; the first ones are read for messages."""
        if self.known_persons:
            return
        self.server.command("authority", "add", data.HOSPITAL_AUTHORITY, "--namespace", "BENCH", "--facility", "Bench", "--source",
                            "TEST|HOSPITAL")
        self.feed("P", 1)  # the affinity domain is there
        began = time.monotonic()
        first = self.kit.persons(statements.conninfo(self.server), data.HOSPITAL_AUTHORITY, self.persons)
        with contextlib.closing(statements.connect(self.server)) as connection, connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("SELECT i.value, d.record FROM patient_demographics d JOIN patient_identifier i ON i.id = d.identifier"
                           " WHERE d.identifier >= %s AND d.identifier < %s ORDER BY i.id", (first, first + KNOWN_PERSONS))
            self.known_persons = cursor.fetchall()
        print(f"{self.persons} persons in {time.monotonic() - began:.0f} s", flush=True)

    def identity_query(self, name, request, **options):
        """The statements, the bytes in and out, audit."""
        self.fill_persons()
        operation = Operation(self, name, 0.70, request, modulo=self.persons, **options)
        operation.add_statements().add_transfer("bytes", operation.answer_bytes())
        return operation.add_local("audit", "--bytes", str(AUDIT_BYTES))

    def iti8_feed(self):
        """A feed that says of a known person what is known; its audit event is one of the statements."""
        self.fill_persons()
        operation = Operation(self, "iti8_feed", 0.70, [data.feed(*person) for person in self.known_persons],
                              modulo=len(self.known_persons), expect="MSA|AA", port="mllps_port")
        operation.add_statements().add_transfer("bytes", operation.answer_bytes()).measure()

    def iti9(self):
        """A hospital's number to the XAD-PID."""
        self.identity_query("iti9", data.pix_query(), expect="PID|||", port="mllps_port").measure()

    def iti45(self):
        """The same in HL7 v3."""
        self.identity_query("iti45", data.pix_query_v3(), expect='"OK"').measure()

    def iti83(self):
        """The same in FHIR."""
        self.identity_query("iti83", data.pixm_query(), expect="targetIdentifier").measure()

    def iti21_p99(self):
        """By name and birth date; persons in turn, so that their pages are not always the same."""
        self.fill_persons()
        operation = Operation(self, "iti21_p99", 0, [data.demographics_query(record) for _, record in self.known_persons],
                              modulo=len(self.known_persons), expect="PID|||", port="mllps_port")
        for count in self.counts:
            found = _median(lambda c=count: operation.value(c, self.seconds), self.runs)
            print(f"    iti21                  c{count:<3} {found['rate']:>9.1f}/s  p50 {found['p50_ms']:.2f} p99 {found['p99_ms']:.2f} ms",
                  flush=True)
            if count == self.counts[0]:
                self.add(Row("iti21_p99", found["p99_ms"], "ms", goal="<= 20 ms", met=found["p99_ms"] <= 20,
                             p50_ms=found["p50_ms"], p99_ms=found["p99_ms"], connections=count,
                             counts=[{"persons": self.persons, "value": found["rate"]}]))

    def matching(self):
        """Record linkage of invented populations, then 200 000 feeds of one to a server of its own."""
        found = matching.evaluate(floors.tool("match_eval"), matching.PERSONS, matching.SEEDS[:1] if self.quick else matching.SEEDS)
        matching.print_kinds(found)
        for name, value, unit, goal, met in matching.goals(found):
            self.add(Row(name, value, unit, goal=goal, met=met))
        self.server.close()
        self.server = self._new_server("self")
        self.start("self")
        count = matching.QUICK_FEEDS if self.quick else matching.FEEDS
        fed = matching.feed(self.kit, self.server, floors.tool("population_feeds"), count)
        numbers, persons, reviews = matching.stored(self.server)
        if fed["errors"]:
            print(f"  matching_feed: {fed['errors']} errors: {fed['problem']}", flush=True)
        print(f"    {numbers} numbers of {persons} persons, {reviews} open reviews", flush=True)
        with floors.frozen(self.server):
            reference = matching.same_writes(self.kit, self.server, self.floor_seconds)
        self.add(Row("matching_feed", fed["rate"], "1/s", reference=fed["rate"] / reference, goal=">= 1000/s",
                     met=fed["rate"] >= 1000 and not fed["errors"], p50_ms=fed["p50_ms"], p99_ms=fed["p99_ms"],
                     connections=matching.CONNECTIONS, counts=[{"feeds": count, "numbers": numbers, "persons": persons,
                                                                "reviews": reviews, "pgbench": reference}]))

    # ------------------------------------------------------------------ audit

    def audit_ingest(self):
        """Messages over TLS until they are records, against receiving them into a file, then COPY without indexes."""
        count = audit.QUICK_MESSAGES if self.quick else audit.MESSAGES

        def measure(connections):
            value, end = audit.ingest(self.kit, self.server, self.syslog_port, connections, count)
            with floors.frozen(self.server):
                copied = audit.copy(self.server, self.folder, end)
                received = audit.receive(self.kit, connections, count)
            h = 1 / (1 / received + 1 / copied["plain"])
            return dict(value, connections=connections, value=value["rate"], h=h, ratio=value["rate"] / h,
                        reference=value["rate"] / copied["indexed"], messages=count,
                        floors={"receive": received, "copy": copied["plain"], "copy_indexed": copied["indexed"]})
        counts = []
        for connections in self.counts:
            counts.append(_median(lambda c=connections: measure(c), self.runs))
            self.print_count("audit_ingest", counts[-1])
        best = max(counts, key=lambda entry: entry["value"])
        self.add(Row("audit_ingest", best["value"], "1/s", best["h"], best["ratio"], best["reference"], *_at_least(best["ratio"], 0.50),
                     connections=best["connections"], counts=counts))

    def fill_audit(self, records):
        """A repository with at least so many records and nothing else."""
        if self.audit_records >= records:
            return
        self.server.close()
        shutil.rmtree(self.folder / "data")
        self.server = self._new_server(roles=audit.LOADED_ROLES)
        self.server.start()
        began = time.monotonic()
        audit.fill(self.server, records)
        self.audit_records = records
        bytes_each = {name: round(size / records) for name, size in audit.sizes(self.server).items()}
        print(f"{records} audit records in {time.monotonic() - began:.0f} s, bytes of each: {bytes_each}", flush=True)
        self.server.close()
        self.server = self._new_server()
        self.start()

    def audit_who_saw(self):
        """The report about patients with many records and with few, after a start with nothing in memory, and again."""
        self.fill_audit(audit.QUICK_SEARCHED if self.quick else audit.SEARCHED)
        self.server.stop()
        audit.drop_caches(self.server)
        self.server.start()
        patients = audit.some_patients(self.audit_records)
        for name in ("audit_who_saw_cold", "audit_who_saw"):
            found = [audit.who_saw(self.server, patient) for patient in patients]
            worst_ms, median_ms = max(found)[0] * 1000, statistics.median(seconds for seconds, _ in found) * 1000
            print(f"    {name}: " + ", ".join(f"{records} in {seconds * 1000:.0f} ms" for seconds, records in found), flush=True)
            self.add(Row(name, worst_ms, "ms", goal="<= 1000 ms", met=worst_ms <= 1000 and all(records for _, records in found),
                         p50_ms=median_ms, counts=[{"records": self.audit_records, "found": found}]))

    def audit_verify(self):
        """The chain and the heads of all records."""
        self.fill_audit(audit.QUICK_VERIFIED if self.quick else audit.VERIFIED)
        found = [audit.verify(self.server) for _ in range(self.runs)]
        seconds, result = sorted(found, key=lambda run: run[0])[len(found) // 2]
        rate = result["records"] / seconds
        is_whole = all(run["finding_count"] == 0 and run["records"] >= self.audit_records for _, run in found)
        self.add(Row("audit_verify", rate, "1/s", goal=">= 200000/s", met=rate >= 200_000 and is_whole, counts=[dict(result)]))

    # ------------------------------------------------------------------ images

    def imaging(self):
        """Images in and out beside Orthanc, and queries in a large index; each row says which peer."""
        self.server.close()
        with imaging.both(self) as archives:
            self.server = archives.server
            self.feed("Q", 1)
            self.imaging_storage(archives)
            self.imaging_retrieval(archives)
            self.imaging_queries(archives)
        self.server = self._new_server()
        self.server.start()

    def imaging_storage(self, archives):
        """C-STORE beside Orthanc as Debian ships it (_shipped), and beside one whose responses do not wait for delayed ACKs."""
        value, shipped, peer = archives.store(imaging.ASSOCIATIONS, True)
        self.add_beside("cstore_4", "1/s", value, peer, 1.2, connections=imaging.ASSOCIATIONS)
        self.add_beside("cstore_4_shipped", "1/s", value, shipped, None, connections=imaging.ASSOCIATIONS)
        value, shipped, peer = archives.store(1, False)
        self.add_beside("cstore_default", "1/s", value, peer, None, connections=1)
        self.add_beside("cstore_default_shipped", "1/s", value, shipped, 5, connections=1)

    def imaging_retrieval(self, archives):
        """The whole study, plain as Orthanc has it, and over TLS as nginx has it."""
        theirs, floor = archives.orthanc_rate(), archives.nginx_rate()
        for name, fetch in (("wado_rs_study", archives.wado_rs), ("rad69_study", archives.rad69)):
            self.add_beside(name, "MB/s", fetch(self.server.plain_port), theirs, 1.2, connections=1)
            self.add_beside(f"{name}_tls", "MB/s", fetch(self.server.https_port, archives.context), floor, 0.70, connections=1)

    def imaging_queries(self, archives):
        """Metadata of the study, then patients' studies by QIDO-RS."""
        value = archives.metadata_ms(self.server.plain_port, "/dicomweb", 9)
        peer = archives.metadata_ms(archives.peer.http_port, "/dicom-web", 1)
        self.add(Row("metadata_1000", value, "ms", peer, value / peer, goal="<= 50 ms", met=value <= 50, connections=1))
        studies = imaging.QUICK_STUDIES if self.quick else imaging.STUDIES
        patients = studies // imaging.STUDIES_PER_PATIENT
        self.feed("Q", patients)
        archives.fill(studies)
        found = _median(lambda: archives.qido(patients, self.counts[0]), self.runs)
        self.add(Row("qido_p99", found["p99_ms"], "ms", goal="<= 10 ms", met=found["p99_ms"] <= 10, p50_ms=found["p50_ms"],
                     p99_ms=found["p99_ms"], connections=self.counts[0], counts=[{"studies": studies, "value": found["rate"]}]))

    def add_beside(self, name, unit, value, peer, goal, **fields):
        """A row of a rate beside that of another program."""
        ratio = value / peer
        self.add(Row(name, value, unit, peer, ratio, goal=f">= {goal:.0%}" if goal else "", met=ratio >= goal if goal else None, **fields))

    # ------------------------------------------------------------------ connections, memory, start

    def measure_connect(self, name, kind, goal):
        """A connection per request, against nginx with the same key and an answer of the same size."""
        ours = self.file("connect", data.get("/registry?wsdl"))
        size = self.kit.load(self.server.https_port, [ours], 1, 10, "--count", "1")["bytes"]
        theirs = self.file("connect_nginx", data.get(f"/{size}"))
        counts = []
        with self.kit.nginx([size]) as port:
            for count in self.counts:
                def run(where, request, c=count):
                    return _median(lambda: self.kit.load(where, [request], c, self.seconds, "--new-connection", kind), self.runs)
                value, floor = run(self.server.https_port, ours), run(port, theirs)
                counts.append({"connections": count, "value": value["rate"], "h": floor["rate"],
                               "ratio": value["rate"] / floor["rate"], "reference": value["rate"] / floor["rate"],
                               "p50_ms": value["p50_ms"], "p99_ms": value["p99_ms"], "errors": value["errors"],
                               "floors": {"nginx": floor["rate"]}})
                self.print_count(name, counts[-1])
        best = max(counts, key=lambda entry: entry["value"])
        self.add(Row(name, best["value"], "1/s", best["h"], best["ratio"], best["ratio"], *_at_least(best["ratio"], goal),
                     best["p50_ms"], best["p99_ms"], best["connections"], counts))

    def connect_full(self):
        """New connections with a full handshake; the first request of a client with Nagle must not wait for a delayed ACK."""
        self.measure_connect("connect_full", "full", 0.65)
        found = self.kit.load(self.server.https_port, [self.folder / "connect.request"], 1, self.seconds, "--new-connection",
                              "full", "--nagle")
        self.add(Row("connect_nagle", found["p50_ms"], "ms", goal="< 40 ms", met=found["p50_ms"] < 40, p50_ms=found["p50_ms"],
                     p99_ms=found["p99_ms"], connections=1))

    def connect_resumed(self):
        """New connections that resume a session."""
        self.measure_connect("connect_resumed", "resumed", 0.80)

    def memory_bytes(self):
        """RssAnon + RssShmem of the server process."""
        lines = pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text(encoding="ascii").splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssShmem")))

    def idle_connection_bytes(self):
        """Memory of the server per idle TLS connection that has sent one request."""
        count = 200 if self.quick else 1000
        request = self.file("idle", data.get("/registry?wsdl"))
        self.restart()  # memory that earlier connections left would hide what these need
        before = self.memory_bytes()
        hold_s = 4 + count / 200
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            load = pool.submit(self.kit.load, self.server.https_port, [request], count, hold_s, "--hold")
            time.sleep(hold_s - 1)
            value = (self.memory_bytes() - before) / count
            if load.result()["errors"]:
                print(f"  idle_connection_bytes: {load.result()['problem']}", flush=True)
        self.add(Row("idle_connection_bytes", value, "bytes", goal="<= 150 kB", met=value <= 150_000, connections=count))

    def restart(self):
        """Orderly stop and start; gives the seconds from exec to ready."""
        self.server.stop()
        began = time.monotonic()
        self.server.start()
        return time.monotonic() - began

    def memory(self):
        """Idle memory and cold start: exec to /health/ready, database present, after an orderly stop."""
        times = [self.restart() for _ in range(self.runs)]
        time.sleep(2)
        value = self.memory_bytes()
        self.add(Row("idle_memory", value, "bytes", goal="< 60 MiB", met=value < 60 * 2 ** 20))
        value = statistics.median(times) * 1000
        self.add(Row("cold_start", value, "ms", goal="< 1000 ms", met=value < 1000))

    def db_bytes_per_document(self):
        """The relations of registry and repository after VACUUM, per registered document."""
        with contextlib.closing(statements.connect(self.server)) as connection, connection.cursor() as cursor:
            sizes = {}
            for table in REGISTRY_TABLES:
                cursor.execute("SELECT pg_total_relation_size(%s)", (table,))
                sizes[table] = cursor.fetchone()[0]
            cursor.execute("SELECT count(*) FROM document_entry")
            documents = cursor.fetchone()[0]
        value = sum(sizes.values()) / documents
        self.add(Row("db_bytes_per_document", value, "bytes", goal="<= 2048", met=value <= 2048,
                     counts=[{"documents": documents, **{table: round(size / documents, 1) for table, size in sizes.items()}}]))

    # ------------------------------------------------------------------ growth

    def scale(self, largest):
        """FindDocuments and registration as the registry grows; latency must not grow with it."""
        register = self.file("scale_register", data.iti42(8002, patient=data.patient_id("W" + data.MODULO), arc=51)[0])
        self.feed("W", WRITE_PATIENTS)
        done = 0
        for exponent in range(4, len(str(largest))):
            patients = 10 ** exponent // data.ENTRIES_PER_PATIENT + 1
            prefix = f"S{exponent}"
            self.feed(prefix, patients)
            rate = self.fill_by_import(done, patients * data.ENTRIES_PER_PATIENT, patients, prefix)
            print(f"{patients * data.ENTRIES_PER_PATIENT} entries of {patients} patients imported at {rate:.0f}/s", flush=True)
            done += patients * data.ENTRIES_PER_PATIENT
            find = self.file("scale_find", data.find_documents("LeafClass", data.patient_id(prefix + data.MODULO))[0])
            self._scale_row(f"scale_find_1e{exponent}", find, patients)
            self._scale_row(f"scale_register_1e{exponent}", register, WRITE_PATIENTS)

    def _scale_row(self, name, path, modulo):
        """Four connections; the peer is the first stage, where there is a goal the one before."""
        found = _median(lambda: self.kit.load(self.server.https_port, [path], 4, self.seconds, modulo=modulo, expect='Success"'),
                        self.runs)
        peer = int(name[-1]) - 1 if name in SCALE_GOALS else 4
        first = next((row for row in self.rows if row.name == f"{name[:-1]}{peer}"), None)
        ratio = first and found["rate"] / first.value
        goal, met = _at_least(ratio, SCALE_GOALS[name]) if name in SCALE_GOALS else ("", None)
        self.add(Row(name, found["rate"], "1/s", first and first.value, ratio, goal=goal, met=met,
                     p50_ms=found["p50_ms"], p99_ms=found["p99_ms"], connections=4))
        self.settle()

    # ------------------------------------------------------------------ results

    def add(self, row):
        """Keeps and prints a row."""
        self.rows.append(row)
        print(format_row(row), flush=True)

    @staticmethod
    def print_count(name, entry):
        """One connection count of an operation."""
        parts = "  ".join(f"{part} {rate:.0f}" for part, rate in entry["floors"].items())
        more = f"  composed {entry['composed']['rate']:.0f} p99 {entry['composed']['p99_ms']:.1f}" if "composed" in entry else ""
        print(f"    {name:<22} c{entry['connections']:<3} {entry['value']:>9.1f}/s  H {entry['h']:>9.1f}  {entry['ratio']:>6.1%}"
              f"  p50 {entry['p50_ms']:.2f} p99 {entry['p99_ms']:.2f} ms   [{parts}{more}]", flush=True)


HEADER = (f"{'name':<24}{'value':>12} {'unit':<6}{'H or peer':>12}{'ratio':>8}{'to plain':>9}{'p50 ms':>9}{'p99 ms':>9}{'conn':>6}"
          f"  {'goal':<10}met")


def format_row(row):
    """A line of the table."""
    def number(value, form):
        return "" if value is None else format(value, form)
    return (f"{row.name:<24}{row.value:>12.1f} {row.unit:<6}{number(row.floor, '.1f'):>12}{number(row.ratio, '.1%'):>8}"
            f"{number(row.reference, '.1%'):>9}{number(row.p50_ms, '.2f'):>9}{number(row.p99_ms, '.2f'):>9}"
            f"{number(row.connections, 'd'):>6}  {row.goal:<10}{'' if row.met is None else 'yes' if row.met else 'NO'}")


def _folder():
    """var/bench in the clone, or /var/lib/musubi-bench where the service user cannot reach the clone; emptied."""
    folder = ROOT / "var" / "bench"
    user = harness.service_user()
    folder.mkdir(parents=True, exist_ok=True)
    if user and subprocess.run(["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "test", "-x",
                                str(folder)], check=False).returncode != 0:
        folder = pathlib.Path("/var/lib/musubi-bench")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def machine(folder):
    """What was measured on."""
    def output(*command):
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    cpu = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
                if line.startswith("model name")), platform.machine())
    versions = subprocess.run([str(harness.binary()), "version"], capture_output=True, text=True, check=False).stdout
    nginx = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True, check=False).stderr
    return {"cpu": cpu, "cpus": os.cpu_count(), "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "kernel": platform.release(), "file_system": output("stat", "-f", "-c", "%T", str(folder)),
            "load_average": os.getloadavg(), "versions": versions.splitlines() + [output("pgbench", "--version"), nginx.strip()]}


OPERATIONS = ("connect_full", "connect_resumed", "idle_connection_bytes", "iti42", "bulk_import", "iti41_100k", "iti41_10m",
              "iti18_leafclass_50", "iti18_objectref_50", "iti18_getdocuments", "iti43_100k", "iti43_10m", "xua_unique", "xua_reused", "iti8_feed", "iti9",
              "iti45", "iti83", "iti21_p99", "memory", "matching", "audit_ingest", "audit_who_saw", "audit_verify",
              "imaging")
NO_REGISTRY = ("iti8_feed", "iti9", "iti45", "iti83", "iti21_p99", "matching", "audit_ingest", "audit_who_saw", "audit_verify",
               "imaging")


def run(bench, wanted, largest):
    """Measures what is wanted."""
    bench.start()
    if "scale" in wanted:
        bench.scale(largest)
        wanted = [name for name in wanted if name != "scale"]
        if not wanted:
            return
    if set(wanted) <= set(NO_REGISTRY):
        for name in wanted:
            getattr(bench, name)()
        return
    bench.feed("", bench.patients)
    bench.feed("W", WRITE_PATIENTS)
    rate = bench.fill(0, bench.documents, bench.patients)
    print(f"{bench.documents} documents of {bench.patients} patients, stored by ITI-41 at {rate:.0f}/s", flush=True)
    bench.db_bytes_per_document()
    for name in wanted:
        if name != "db_bytes_per_document":
            getattr(bench, name)()


def main():
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short run of each, over 20 000 documents")
    parser.add_argument("--json", metavar="FILE", help="write the results to FILE")
    parser.add_argument("--documents", type=int, default=100_000, help="documents in the registry (default 100000)")
    parser.add_argument("--largest", type=int, default=1_000_000, help="last stage of scale (default 1000000)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(OPERATIONS)}, db_bytes_per_document, scale")
    arguments = parser.parse_args()
    wanted = arguments.names or list(OPERATIONS)
    unknown = set(wanted) - set(OPERATIONS) - {"scale", "db_bytes_per_document"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    bench = Bench(arguments)
    described = machine(bench.folder)
    print(f"{described['cpus']} x {described['cpu']}, {described['memory_bytes'] >> 30} GiB, Linux {described['kernel']}, "
          f"{described['file_system']}, load {described['load_average'][0]:.1f}; H = 1/sum(1/floor), best count of {COUNTS}\n{HEADER}")
    try:
        run(bench, wanted, arguments.largest)
    finally:
        bench.server.close()
        shutil.rmtree(bench.folder, ignore_errors=True)
        print(f"\n{HEADER}")
        for row in bench.rows:
            print(format_row(row))
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(
                {"machine": described, "results": [dataclasses.asdict(row) for row in bench.rows]}, indent=1), encoding="utf-8")
    missed = [row.name for row in bench.rows if row.met is False]
    print(f"{sum(row.met is True for row in bench.rows)} goals met" + (f", missed: {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
