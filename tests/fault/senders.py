"""Senders of audit messages over mutual TLS (RFC 5425): rsyslog, syslog-ng fed by loggen, and one that breaks off.

The two daemons exclude each other as packages, and each would become the system's own log daemon: so their packages are unpacked
into var/daemons and run from there; only their libraries are installed.
"""

import os
import pathlib
import socket
import ssl
import subprocess
import threading
import time

from tests.harness import server as harness

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "var" / "daemons"
PACKAGES = ("rsyslog", "rsyslog-openssl", "syslog-ng-core")
LIBRARIES = "usr/lib/x86_64-linux-gnu"

MESSAGE = (
    '<AuditMessage><EventIdentification EventActionCode="R" EventDateTime="2026-04-01T00:30:00.{thousandth:03}Z"'
    ' EventOutcomeIndicator="0"><EventID csd-code="110106" codeSystemName="DCM" originalText="Export"/>'
    '<EventTypeCode csd-code="ITI-43" codeSystemName="IHE Transactions" originalText="Retrieve Document Set"/></EventIdentification>'
    '<ActiveParticipant UserID="https://repository.example/repository" UserIsRequestor="false" NetworkAccessPointID="192.0.2.9"'
    ' NetworkAccessPointTypeCode="2"><RoleIDCode csd-code="110153" codeSystemName="DCM" originalText="Source Role ID"/>'
    '</ActiveParticipant><ActiveParticipant UserID="doctor-{user}" UserIsRequestor="true"/>'
    '<AuditSourceIdentification AuditSourceID="{sender}"/>'
    '<ParticipantObjectIdentification ParticipantObjectID="{patient:08}^^^&amp;1.2.392.99999.60&amp;ISO" ParticipantObjectTypeCode="1"'
    ' ParticipantObjectTypeCodeRole="1"><ParticipantObjectIDTypeCode csd-code="2" codeSystemName="RFC-3881"'
    ' originalText="Patient Number"/></ParticipantObjectIdentification>'
    '<ParticipantObjectIdentification ParticipantObjectID="{sender}-{number:08}" ParticipantObjectTypeCode="2"'
    ' ParticipantObjectTypeCodeRole="3"><ParticipantObjectIDTypeCode csd-code="9" codeSystemName="RFC-3881"'
    ' originalText="Report Number"/></ParticipantObjectIdentification></AuditMessage>')


def message(sender, number):
    """One AuditMessage; its document is SENDER-NUMBER."""
    return MESSAGE.format(sender=sender, number=number, thousandth=number % 1000, user=number % 500, patient=number % 20000)


def framed(sender, number):
    """The same as a frame of RFC 5425."""
    text = f"<85>1 2026-04-01T00:30:00.000Z {sender}.example test 1 IHE+RFC-3881 - {message(sender, number)}".encode()
    return b"%d %b" % (len(text), text)


def unpack():
    """The folder of the daemons; unpacked at the first call."""
    if not (FOLDER / "usr").is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=FOLDER, check=True, stderr=subprocess.DEVNULL)
        for package in FOLDER.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(FOLDER)], check=True)
    return FOLDER


def _wait_for_port(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nothing listens at port {port}")


class Daemon:
    """A process with a folder of its own."""

    def __init__(self, folder, certs, name):
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir()
        self.name, self.certs = name, pathlib.Path(certs)
        self.processes = []

    def run(self, *command, **environment):
        """Starts a process that stop() ends."""
        with open(self.folder / "log", "ab") as log:
            self.processes.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=self.folder,
                                                   env=dict(os.environ, **environment)))

    def write(self, name, text):
        """A file in its folder."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def write_messages(self, count):
        """A file with the messages 0..count-1, a line each."""
        with open(self.folder / "messages", "w", encoding="utf-8") as file:
            file.writelines(message(self.name, number) + "\n" for number in range(count))
        return self.folder / "messages"

    def stop(self):
        """Ends what was started."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.processes = []


class Rsyslog(Daemon):
    """rsyslog reads a file and sends its lines."""

    def __init__(self, folder, certs, port, count):
        super().__init__(folder, certs, "rsyslog")
        root = unpack()
        path = self.write_messages(count)
        config = self.write("rsyslog.conf", f"""
global(workDirectory="{self.folder}" maxMessageSize="64k" defaultNetstreamDriver="ossl"
       defaultNetstreamDriverCAFile="{certs}/ca.pem" defaultNetstreamDriverCertFile="{certs}/rsyslog.pem"
       defaultNetstreamDriverKeyFile="{certs}/rsyslog.key")
module(load="imfile")
template(name="audit" type="string"
         string="<85>1 %timegenerated:::date-rfc3339% rsyslog.example rsyslog - IHE+RFC-3881 - %msg%")
input(type="imfile" File="{path}" Tag="audit" ruleset="forward")
ruleset(name="forward" queue.type="LinkedList" queue.size="20000") {{
    action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" TCP_Framing="octet-counted" template="audit"
           StreamDriver="ossl" StreamDriverMode="1" StreamDriverAuthMode="x509/certvalid"
           action.resumeRetryCount="-1" action.resumeInterval="1")
}}
""")
        self.run(root / "usr/sbin/rsyslogd", "-n", "-f", config, "-i", self.folder / "pid", "-M", root / LIBRARIES / "rsyslog")


class SyslogNg(Daemon):
    """loggen sends the lines of a file to syslog-ng, which sends them on."""

    def __init__(self, folder, certs, port, count):
        super().__init__(folder, certs, "syslog-ng")
        root = unpack()
        path = self.write_messages(count)
        own_port = harness.free_ports(1)[0]
        environment = {"SYSLOGNG_PREFIX": str(root / "usr"), "LD_LIBRARY_PATH": str(root / "usr/lib/syslog-ng")}
        config = self.write("syslog-ng.conf", f"""@version: 3.38
options {{ log-msg-size(65536); time-reopen(1); stats-freq(0); }};
source loggen {{ network(ip("127.0.0.1") port({own_port}) transport("tcp") flags(no-parse) log-iw-size(20000)); }};
destination repository {{ syslog("127.0.0.1" port({port}) transport("tls") log-fifo-size(40000)
    tls(ca-file("{certs}/ca.pem") cert-file("{certs}/syslog-ng.pem") key-file("{certs}/syslog-ng.key"))); }};
log {{ source(loggen); destination(repository); flags(flow-control); }};
""")
        self.run(root / "usr/sbin/syslog-ng", "-F", "--no-caps", "-f", config, "-R", self.folder / "persist", "-p", self.folder / "pid",
                 "-c", self.folder / "control", f"--module-path={root / 'usr/lib/syslog-ng/3.38'}", **environment)
        _wait_for_port(own_port)
        self.run(root / "usr/bin/loggen", "--inet", "--stream", "--dont-parse", f"--read-file={path}", f"--number={count}",
                 "--rate=100000", "--interval=3600", "--quiet", "127.0.0.1", own_port, **environment)


class Breaker:
    """Sends messages over many connections and breaks each off in the middle of one, without a goodbye of TLS: what was sent whole
    before the end of the connection has been read whole."""

    PER_CONNECTION = 500

    def __init__(self, certs, port, count, name="breaker", first=0):
        self.name, self.port, self.numbers = name, port, range(first, first + count)
        self.context = ssl.create_default_context(cafile=f"{certs}/ca.pem")
        self.context.load_cert_chain(f"{certs}/{name}.pem", f"{certs}/{name}.key")
        self.thread = threading.Thread(target=self._run)
        self.problem = None
        self.thread.start()

    def _send(self, first, last):
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain:
            tls = self.context.wrap_socket(plain, server_hostname="localhost")
            tls.sendall(b"".join(framed(self.name, number) for number in range(first, last)))
            tls.sendall(framed(self.name, last)[:-100])
            raw = socket.socket(fileno=tls.detach())
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(60)
            while raw.recv(65536):  # until the server has seen the end
                pass
            raw.close()

    def _run(self):
        try:
            for first in self.numbers[::self.PER_CONNECTION]:
                self._send(first, min(first + self.PER_CONNECTION, self.numbers.stop))
        except OSError as problem:
            self.problem = problem

    def stop(self):
        """Waits until all is sent."""
        self.thread.join()
