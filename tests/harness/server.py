"""Starts a real Musubi server with its own data directory, private PostgreSQL and free ports, and stops it again."""

import http.client
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time

from tests.harness.ports import free_ports
from tests.harness.waiting import PATIENCE_S, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
AUTHORITY = "1.3.6.1.4.1.21367.2005.13.20.1000"
REPOSITORY_UID = "1.3.6.1.4.1.21367.2011.2.3.7"


def binary():
    """The server to test: MUSUBI_BINARY, else the release build."""
    return pathlib.Path(os.environ.get("MUSUBI_BINARY", ROOT / "build" / "release" / "musubi"))


def service_user():
    """The account that the server drops to when the tests run as root (PostgreSQL refuses root)."""
    if os.geteuid() != 0:
        return None
    for name in ("musubi", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


class ServerFailed(Exception):
    """The server ended or did not become ready."""


class Server:
    """One musubi process. Use as a context manager; the data directory goes with it unless it was given."""

    def __init__(self, data_dir=None, settings=None, certs=None, mode="open", environment=None, wrapper=()):
        self._own_dir = data_dir is None
        self.dir = pathlib.Path(data_dir or tempfile.mkdtemp(prefix="musubi-test-"))
        self.dir.mkdir(parents=True, exist_ok=True)
        self.certs = pathlib.Path(certs) if certs else None
        ports = free_ports(5)
        self.https_port, self.plain_port, self.mllp_port, self.mllps_port, self.admin_port = ports
        self.environment = dict(os.environ, **(environment or {}))
        self.wrapper = list(wrapper)
        self.process = None
        self.log_path = self.dir / "server.log"
        self.config_path = self.dir / "musubi.ini"
        self._write_config(settings or {}, mode)

    def _write_config(self, settings, mode):
        sections = {
            "server": {
                "data_dir": self.dir / "data",
                "roles": "registry, repository, pix, atna",
                "plain_http_listen": f"127.0.0.1:{self.plain_port}",
                "plain_mllp_listen": f"127.0.0.1:{self.mllp_port}",
                "admin_listen": f"127.0.0.1:{self.admin_port}",
            },
            "affinity_domain": {"patient_id_authority": AUTHORITY, "code_check": "off"},
            "repository": {"unique_id": REPOSITORY_UID},
            "database": {"embedded": "yes", "shared_buffers": "64MiB"},
            "access": {"mode": mode},
        }
        if self.certs:
            sections["server"].update({
                "https_listen": f"127.0.0.1:{self.https_port}",
                "mllp_listen": f"127.0.0.1:{self.mllps_port}",
                "tls_certificate": self.certs / "server.pem",
                "tls_key": self.certs / "server.key",
                "tls_ca": self.certs / "ca.pem",
            })
        user = service_user()
        if user:
            sections["server"]["user"] = user.pw_name
        for section, values in settings.items():
            sections.setdefault(section, {}).update(values)
        codes = sections["affinity_domain"].get("codes")
        if codes:  # the service user may not be able to reach the clone
            sections["affinity_domain"]["codes"] = shutil.copyfile(codes, self.dir / "codes.xml")
        lines = []
        for section, values in sections.items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {value}" for key, value in values.items() if value is not None]
            lines.append("")
        (self.dir / "data").mkdir(exist_ok=True)
        self.config_path.write_text("\n".join(lines), encoding="utf-8")
        if user:
            for path in (self.dir, self.dir / "data", self.config_path):
                os.chown(path, user.pw_uid, user.pw_gid)
            os.chmod(self.dir, 0o755)

    def command(self, *arguments, check=True):
        """Runs a musubi command with this server's configuration; gives the CompletedProcess."""
        return subprocess.run([str(binary()), *arguments, "--config", str(self.config_path)], check=check,
                              capture_output=True, text=True, timeout=300)

    def has_new_postgres(self, old):
        """Whether another PostgreSQL than the one with this pid serves, and the server with it."""
        return self.postmaster_pid() not in (None, old) and self.is_ready()

    def start(self, timeout_s=600):
        """Starts and waits for /health/ready."""
        log = open(self.log_path, "ab")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen([*self.wrapper, str(binary()), "serve", "--config", str(self.config_path)],
                                        stderr=log, stdout=log, env=self.environment)
        log.close()
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerFailed(f"serve ended with {self.process.returncode}:\n{self.log()[-3000:]}")
            if self.is_ready():
                return self
            time.sleep(0.02)
        self.kill()
        raise ServerFailed(f"not ready after {timeout_s} s:\n{self.log()[-3000:]}")

    def is_ready(self):
        """Whether /health/ready says 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def admin(self, path):
        """Body of a page of the admin listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def metric(self, name):
        """The value of a metric without labels."""
        return float(re.search(rf"(?m)^musubi_{name} (\S+)$", self.admin("/metrics"))[1])

    def wait_until_refreshed(self):
        """Until the server works with what operators changed before this call: nodes, authorities, subscribers, identity providers and
        application entities are read anew every second. The reading that was under way may have missed it; the one after that has not."""
        before = self.metric("tables_refreshed")
        wait_until(lambda: self.metric("tables_refreshed") >= before + 2, self.log)

    def wait_for_log(self, pattern, before=0):
        """The first match in what the server has written behind so many characters, once it is there with the rest of its line."""
        whole_line = re.compile(rf"(?:{pattern})(?=.*\n)")
        return wait_until(lambda: whole_line.search(self.log(), before), lambda: f"no {pattern} in {self.log()[before:][-3000:]}")

    def log(self):
        """Everything the server wrote to its standard error."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def stop(self, timeout_s=PATIENCE_S):
        """Orderly stop (SIGTERM); gives the exit status."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode if self.process else None

    def kill(self):
        """kill -9 of the server process alone."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def postmaster_pid(self):
        """The pid of the embedded PostgreSQL, or None."""
        folder = self.dir / "data" / "postgres"
        for path in (folder / "postmaster.pid", *folder.glob("*/postmaster.pid")):
            try:
                return int(path.read_text(encoding="utf-8").splitlines()[0])
            except (FileNotFoundError, IndexError, ValueError):
                continue  # not there, or just being written
        return None

    def stop_postgres(self):
        """Ends an embedded PostgreSQL that outlived a killed server."""
        pid = self.postmaster_pid()
        if not pid:
            return
        try:
            os.kill(pid, signal.SIGINT)
            for _ in range(200):
                os.kill(pid, 0)
                time.sleep(0.05)
            os.kill(pid, signal.SIGQUIT)
        except ProcessLookupError:
            pass

    def close(self):
        """Stops everything and removes the data directory if it was ours."""
        if self.process is not None:
            self.stop()
        self.stop_postgres()
        if self._own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.close()
