"""Runs the measuring programs: load (the client), floor (the parts), pgbench, nginx."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from tests.bench import statements
from tests.harness import server as harness

NOTHING = {"rate": 0.0, "p50_ms": 0.0, "p99_ms": 0.0, "errors": 0, "bytes": 0, "done": 0, "problem": ""}


def tool(name):
    """A program of this folder, built beside the server."""
    return str(harness.binary().resolve().parent.parent / "tests" / "bench" / name)


def _run(command, **options):
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:3])} ...: {result.stderr[-600:] or result.stdout[-600:]}")
    return result.stdout


class Kit:
    """The programs, with what they share: certificates, cipher suite, folder."""

    def __init__(self, folder, certificates):
        self.folder = folder
        self.certs = certificates
        self.ciphersuite = None
        self._next_number = 2 * 10 ** 11  # beyond those of Script and of what fills the registry

    def _tls(self, name):
        return ["--cert", str(self.certs / f"{name}.pem"), "--key", str(self.certs / f"{name}.key"),
                "--ca", str(self.certs / "ca.pem")]

    def load(self, port, requests, connections, seconds, *options, first=None, modulo=1, expect=None):
        """One run of the load generator; numbers go on where the last run ended, so that no request is sent twice."""
        if first is None:
            first = self._next_number
        command = [tool("load"), "--port", str(port), *self._tls("bench"), "--connections", str(connections),
                   "--seconds", str(seconds), "--first", str(first), "--modulo", str(modulo), *options]
        for path in requests:
            command += ["--request", str(path)]
        command += ["--expect", expect] if expect else []
        command += ["--ciphersuite", self.ciphersuite] if self.ciphersuite else []
        found = json.loads(_run(command))
        self._next_number = max(self._next_number, first + found["done"] + found["errors"] + connections)
        return found

    @staticmethod
    def persons(conninfo, authority, count):
        """Fills the tables of the PIX manager; gives the id of the first person."""
        return int(_run([tool("persons"), "--conninfo", conninfo, "--authority", authority, "--count", str(count)]))

    def reserve(self, count):
        """The first of so many numbers that no other request has."""
        first = self._next_number
        self._next_number += count
        return first

    def part(self, name, threads, seconds, *options):
        """One run of a part that needs no network."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            return json.loads(_run([tool("floor"), name, "--threads", str(threads), "--seconds", str(seconds),
                                    "--dir", folder, *options]))

    @contextlib.contextmanager
    def floor_server(self, name, answer_bytes, *options):
        """floor http, composed or syslog; gives its port."""
        port = harness.free_ports(1)[0]
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            command = [tool("floor"), name, "--port", str(port), *self._tls("server"), "--bytes", str(answer_bytes), *options]
            with _process(command + (["--dir", folder] if name in ("composed", "syslog") else []), port):
                yield port

    @contextlib.contextmanager
    def nginx(self, files):
        """nginx with the server's key and mutual TLS, serving files of these sizes as /SIZE; gives its port."""
        port = harness.free_ports(1)[0]
        folder = self.folder / "nginx"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for size in files:
            (folder / str(size)).write_bytes(os.urandom(size))
        suite = f"ssl_conf_command Ciphersuites {self.ciphersuite};" if self.ciphersuite else ""
        (folder / "nginx.conf").write_text(f"""
            daemon off; worker_processes {os.cpu_count()}; pid {folder}/pid; error_log {folder}/error.log;
            {"user root;" if os.geteuid() == 0 else ""}
            events {{ worker_connections 4096; }}
            http {{
              access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=100;
              client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
              uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; default_type application/octet-stream;
              server {{
                listen 127.0.0.1:{port} ssl backlog=1024; root {folder};
                ssl_certificate {self.certs}/server.pem; ssl_certificate_key {self.certs}/server.key;
                ssl_client_certificate {self.certs}/ca.pem; ssl_verify_client on; ssl_protocols TLSv1.2 TLSv1.3; {suite}
                ssl_session_cache shared:bench:10m; ssl_session_tickets on; ssl_buffer_size 16k;
              }}
            }}""", encoding="utf-8")
        with _process(["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], port):
            yield port

    @staticmethod
    def pgbench(server, script, options, clients, seconds):
        """The script in pgbench over the server's UNIX socket, as its service role."""
        text = _run(["pgbench", "-n", "-M", "prepared", "-h", statements.socket_dir(server), "-U", "musubi", "-f", str(script),
                     "-c", str(clients), "-j", str(min(clients, os.cpu_count())), "-T", str(max(1, round(seconds))), *options,
                     "musubi"], env=dict(os.environ, PGOPTIONS=statements.SESSION))
        return dict(NOTHING, rate=float(text.split("tps = ")[1].split()[0]))


class Copy:
    """Plain COPY of what an import stored into empty tables with the same columns, indexes and constraints."""

    # $FIRST: number of the first submission (data.py); the other tables follow from these two
    _NEW = "SELECT * FROM {} WHERE unique_id LIKE '1.2.392.99999.{}.1%' AND right(unique_id, 12)::bigint >= {}"
    _DIGESTS = "SELECT encode(substr(sha256(convert_to(unique_id, 'UTF8')), 1, 16), 'hex')::uuid FROM ({}) AS new"

    def __init__(self, server, folder, arc, first):
        self._connection = statements.connect(server)
        self._folder = folder / "copy"
        self._folder.mkdir(exist_ok=True)
        self._folder.chmod(0o777)  # PostgreSQL itself writes and reads there
        documents, sets = self._NEW.format("document_entry", arc, first), self._NEW.format("submission_set", arc + 1, first)
        self._tables = {
            "unique_id": f"SELECT * FROM unique_id WHERE digest IN ({self._DIGESTS.format(documents)})"
                         f" OR digest IN ({self._DIGESTS.format(sets)})",
            "submission_set": sets, "document_entry": documents,
            "association": f"SELECT * FROM association WHERE source_object IN (SELECT entry_uuid FROM ({sets}) AS new)",
            "audit_outbox": "SELECT * FROM audit_outbox"}
        with self._connection.cursor() as cursor:
            self.rows = {}
            for table, rows in self._tables.items():
                cursor.execute(f"COPY ({rows}) TO '{self._folder}/{table}' (FORMAT binary)")
                self.rows[table] = cursor.rowcount

    def seconds(self):
        """How long the rows take."""
        total = 0
        with self._connection.cursor() as cursor:
            for table in self._tables:
                cursor.execute(f"CREATE TABLE copied (LIKE {table} INCLUDING ALL)")
                began = time.monotonic()
                cursor.execute(f"COPY copied FROM '{self._folder}/{table}' (FORMAT binary)")
                total += time.monotonic() - began
                cursor.execute("DROP TABLE copied")
        return total

    def close(self):
        """Removes the files."""
        self._connection.close()
        shutil.rmtree(self._folder)


@contextlib.contextmanager
def _process(command, port):
    """A server process of ours, from when it listens."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(500):
            if process.poll() is not None:
                raise RuntimeError(f"{pathlib.Path(command[0]).name} ended: {process.stderr.read()[-600:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.01)
        yield process
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


@contextlib.contextmanager
def frozen(server):
    """Stops the server process (not its PostgreSQL) while the statements run without it, and removes the audit events that
    they queued."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.closing(statements.connect(server)) as connection, connection.cursor() as cursor:
            # by ctid, which needs no statistics: they say that the table is empty
            cursor.execute("DELETE FROM audit_outbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM audit_outbox FOR UPDATE SKIP LOCKED))")
        os.kill(server.process.pid, signal.SIGCONT)
