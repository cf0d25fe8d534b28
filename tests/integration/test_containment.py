"""What the serving process gives up, and that it still does its work without it."""

import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import unittest

from tests.harness import certs, server as harness
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import common

PRIVILEGED_PORT = 997


def status_of(pid):
    """/proc/PID/status as {key: value}."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", text, re.M))


def core_limits(pid):
    """Soft and hard limit of core files."""
    text = pathlib.Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    return re.search(r"^Max core file size\s+(\S+)\s+(\S+)", text, re.M).groups()


def threads_of(pid):
    """The process and its threads."""
    return [int(path.name) for path in pathlib.Path(f"/proc/{pid}/task").iterdir()]


class Contained(common.ServerCase):
    """A server with TLS, as an operator runs it."""

    roles = ("gateway-a",)

    def test_every_thread_is_confined_and_without_privileges(self):
        for thread in threads_of(self.server.process.pid):
            try:
                status = status_of(thread)
            except (FileNotFoundError, ProcessLookupError):  # of a connection, and over
                continue
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertEqual(int(status[kind], 16), 0)
            if os.geteuid() == 0:
                self.assertEqual(set(status["Uid"].split()), {str(harness.service_user().pw_uid)})
                self.assertEqual((status["Groups"], int(status["CapBnd"], 16)), ("", 0))

    def test_neither_the_server_nor_its_database_leaves_core_files(self):
        for pid in (self.server.process.pid, self.server.postmaster_pid()):
            self.assertEqual(core_limits(pid), ("0", "0"))

    @unittest.skipUnless(os.geteuid() == 0, "as the same user, /proc of a process that is not dumpable cannot be listed at all")
    def test_the_server_is_not_dumpable(self):
        """PR_SET_DUMPABLE 0: the files in /proc then belong to root."""
        self.assertEqual(os.stat(f"/proc/{self.server.process.pid}/environ").st_uid, 0)

    def test_status_and_check_config_name_what_holds(self):
        shown = self.server.command("status").stdout
        self.assertRegex(shown, r"(?m)^sandbox\s+(files and )?system calls")
        self.assertNotIn("sandbox is not complete", self.server.log())

    def test_a_killed_database_is_started_again(self):
        """By the keeper: the serving process may not run programs."""
        before = self.server.postmaster_pid()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: self.server.has_new_postgres(before), self.server.log)
        self.assertIn("P1^^^", str(common.rows(self.server, "SELECT 'P1^^^'")))
        self.assert_success(self.soap().provide(common.submission("P1")))

    def served_certificate(self):
        """What a client of the HTTPS listener sees, DER."""
        context = ssl.create_default_context(cafile=self.certs / "ca.pem")
        context.load_cert_chain(self.certs / "gateway-a.pem", self.certs / "gateway-a.key")
        with socket.create_connection(("127.0.0.1", self.server.https_port), PATIENCE_S) as connection:
            with context.wrap_socket(connection, server_hostname="localhost") as tls:
                return tls.getpeercert(binary_form=True)

    def test_files_that_are_replaced_by_name_are_read_on_sighup(self):
        """A new file under the old name, as editors and certificate tools leave it."""
        before = self.served_certificate()
        fresh = self.certs / "fresh"
        fresh.mkdir()
        for name in ("ca.pem", "ca.key"):
            shutil.copy(self.certs / name, fresh / name)
        certs.make_one(fresh, "server")
        for name in ("server.pem", "server.key"):
            if harness.service_user():
                os.chown(fresh / name, harness.service_user().pw_uid, harness.service_user().pw_gid)
            os.replace(fresh / name, self.certs / name)
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.served_certificate() != before, self.server.log)


class SwitchedOff(unittest.TestCase):
    """[server] sandbox = no, for debuggers."""

    def test_it_is_said_at_the_start_and_by_check_config(self):
        with harness.Server(settings={"server": {"sandbox": "no"}}) as server:
            self.assertIn('in_force="off: [server] sandbox = no"', server.log())
            self.assertEqual(status_of(server.process.pid)["Seccomp"], "0")
            checked = server.command("check-config", check=False)
            self.assertIn("sandbox = no", checked.stdout + checked.stderr)


@unittest.skipUnless(os.geteuid() == 0, "only root binds ports below 1024")
class PrivilegedPort(unittest.TestCase):
    """Ports are bound before root is given up."""

    def test_a_port_below_1024_is_served(self):
        server = harness.Server(settings={"server": {"plain_http_listen": f"127.0.0.1:{PRIVILEGED_PORT}"}})
        server.plain_port = PRIVILEGED_PORT
        with server:
            common.feed(server, "P1")
            soap = common.client(server)
            self.assertEqual(common.find(soap, "P1"), {})
            soap.close()


if __name__ == "__main__":
    unittest.main()
