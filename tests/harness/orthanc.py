"""Orthanc with its DICOMweb plugin, as Debian ships them, as a child of ours on ports of 127.0.0.1."""

import http.client
import json
import os
import pathlib
import subprocess
import time

from tests.harness import server as harness

PROGRAM = "/usr/sbin/Orthanc"
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
AE_TITLE = "ORTHANC"
START_S = 180


class OrthancError(Exception):
    """Orthanc ended, or did not do what it was asked for."""


class Orthanc:
    """One process. Its own defaults (index in SQLite, files synced) but for ports, folders and who may store.

    has_no_delay: Debian's DCMTK leaves the algorithm of Nagle on, so that every response of Orthanc as it is shipped, two
    writes, waits for the sender's delayed ACK (40 ms). TCP_NODELAY in its environment takes that away."""

    def __init__(self, folder, settings=None, has_no_delay=False):
        self.has_no_delay = has_no_delay
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.dicom_port, self.http_port = harness.free_ports(2)
        self.process = None
        configuration = {
            "Name": "peer", "StorageDirectory": str(self.folder / "storage"), "IndexDirectory": str(self.folder / "storage"),
            "StorageCompression": False, "Plugins": [PLUGIN], "HttpPort": self.http_port, "DicomPort": self.dicom_port,
            "DicomAet": AE_TITLE, "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False, "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "HttpVerbose": False, "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, **(settings or {})}
        (self.folder / "orthanc.json").write_text(json.dumps(configuration, indent=1), encoding="utf-8")

    def __enter__(self):
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment.pop("TCP_NODELAY", None)
        if self.has_no_delay:
            environment["TCP_NODELAY"] = "1"
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([PROGRAM, str(self.folder / "orthanc.json")], stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                self.get("/system")
                return self
            except OSError:
                time.sleep(0.05)
        log = (self.folder / "log").read_text(errors="replace")
        self.close()
        raise OrthancError(f"Orthanc did not start: {log[-2000:]}")

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Ends the process; the folder stays."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def request(self, method, path, body=None):
        """(status, bytes) of its REST API."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=300)
        try:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, content)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def get(self, path):
        """What a resource of the REST API says."""
        return self._value("GET", path, None)

    def post(self, path, body):
        """The answer to a call of the REST API."""
        return self._value("POST", path, body)

    def _value(self, method, path, body):
        status, content = self.request(method, path, body)
        if status != 200:
            raise OrthancError(f"{method} {path}: {status} {content[:500]}")
        return json.loads(content)

    def count(self):
        """How many instances it holds."""
        return self.get("/statistics")["CountInstances"]
