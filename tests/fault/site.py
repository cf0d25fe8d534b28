"""What gets broken: one server, or a repository and a registry as two processes."""

import os
import pathlib
import shutil
import signal
import time

from conformance import client as xds
from tests.harness import server as harness
from tests.integration import common

PATIENTS = tuple(f"P{n}" for n in range(1, 7))


class Clients:
    """One thread's connections to the site."""

    def __init__(self, site):
        self.registry = common.client(site.registry)
        self.repository = common.client(site.repository)

    def close(self):
        """Closes both."""
        self.registry.close()
        self.repository.close()


class Site:
    """The servers under test and how to end and restart them."""

    def __init__(self, two_processes=False, data_dir=None, wrapper_environment=None):
        self.two_processes = two_processes
        self.environment = wrapper_environment or {}
        self.certs = None
        if two_processes:
            self.certs = common.make_certs(("server",))
            self.registry = harness.Server(certs=self.certs, settings={"server": {"roles": "registry, pix, atna"}})
            url = f"https://127.0.0.1:{self.registry.https_port}/registry"
            self.repository = harness.Server(certs=self.certs, settings={
                "server": {"roles": "repository, atna", "mllp_listen": "", "plain_mllp_listen": ""},
                "repository": {"registry_url": url}})
        else:
            self.registry = self.repository = harness.Server(data_dir=data_dir)
        self.servers = [self.registry] if self.registry is self.repository else [self.registry, self.repository]

    def start(self, fail_at=None):
        """Starts what does not run; a step of MUSUBI_FAIL_AT goes to all."""
        for server in self.servers:
            if server.process is None or server.process.poll() is not None:
                server.environment = dict(os.environ, **self.environment)
                if fail_at:
                    server.environment["MUSUBI_FAIL_AT"] = fail_at
                try:
                    server.start()
                except harness.ServerFailed:
                    if not fail_at or server.process.poll() != -signal.SIGKILL:
                        raise  # some steps are passed while it starts

    def feed(self):
        """The patients that the workload writes for."""
        common.feed(self.registry, *PATIENTS)

    def kill_servers(self):
        """kill -9 of every server process."""
        for server in self.servers:
            server.kill()

    def postmasters(self):
        """Process ids of the postmasters."""
        return [pid for pid in (server.postmaster_pid() for server in self.servers) if pid]

    def kill_postgres(self):
        """kill -9 of every postmaster."""
        signal_all(self.postmasters(), signal.SIGKILL)

    def has_ended(self):
        """Whether a server process is gone."""
        return any(server.process.poll() is not None for server in self.servers)

    def wait_ready(self, seconds=90):
        """Waits for servers that lost their PostgreSQL."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(server.process.poll() is None and server.is_ready() for server in self.servers):
                return True
            time.sleep(0.02)
        return False

    def findings(self, command):
        """Lines of musubi fsck or scrub; none if all is well."""
        lines = []
        for server in self.servers if command == "audit" else [self.repository]:
            result = server.command(command, check=False)
            if result.returncode != 0:
                lines += result.stdout.splitlines() + result.stderr.splitlines()
        return lines

    def audit_text(self):
        """Every audit message that is on record."""
        return "".join(server.command("audit", "search", check=False).stdout for server in self.servers)

    def clients(self):
        """Connections for one thread."""
        return Clients(self)

    def stop(self):
        """Stops everything; the folders stay."""
        for server in reversed(self.servers):
            server.stop()
            server.stop_postgres()

    def close(self):
        """Stops everything and removes its folders."""
        for server in reversed(self.servers):
            server.close()
        if self.certs:
            shutil.rmtree(self.certs, ignore_errors=True)


def signal_all(pids, number):
    """Sends a signal to processes, whether they are still there or not."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def with_children(pids):
    """These processes and their children."""
    found = set(pids)
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) in pids:
            found.add(int(status.parent.name))
    return found


def data_dir(site):
    """data_dir of the repository."""
    return pathlib.Path(site.repository.dir) / "data"


def mllp(site):
    """A connection for feeds."""
    return xds.MllpClient(f"127.0.0.1:{site.registry.mllp_port}")
