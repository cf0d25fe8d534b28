"""kill -9 during C-STORE: every instance with status 0000H is there and whole, every other one wholly there or not at all.

The senders are DCMTK's storescu, and what they were told is what they print. After each restart every instance of the cycle and some
of earlier ones are fetched by WADO-RS and compared with what was sent; what was cut off is sent again and must then be taken.
"""

import collections
import hashlib
import http.client
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

from tests.fault import site as sites
from tests.harness import dicom, server as harness
from tests.integration import common

SENDERS = 4
FILES = 40  # of each sender: more than are sent before the end
SIDES = (32, 512, 800)  # pixels: in a segment, in a segment, a file of its own (above segment_max_document)
STEPS = ("arrival.blob_durable", "arrival.committed", None, None)
WORK_S = 1.2
STEP_TIMEOUT_S = 5
CHECKED_AGAIN = 20  # instances of earlier cycles
SENT = re.compile(r"Sending file: (\S+)|Received Store Response \((.*)\)")

Sent = collections.namedtuple("Sent", "study series uid sha256 path")


def data_set_digest(file):
    """SHA-256 of the data set of a whole file."""
    return hashlib.sha256(file[144 + int.from_bytes(file[140:144], "little"):]).hexdigest()


class Imaging:
    """The cycles of one run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.dicom_port = harness.free_ports(1)[0]
        self.server = harness.Server(settings={
            "server": {"roles": "registry, repository, pix, atna, imaging"},
            "imaging": {"plain_dicom_listen": f"127.0.0.1:{self.dicom_port}", "manifest_delay": "7d"}})
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="musubi-imaging-"))
        self.kept = []  # acknowledged in earlier cycles
        self.faults = []
        self.reached = collections.Counter()
        self.counts = collections.Counter()
        self.pixels = [dicom.pixels(side) for side in SIDES]

    # ------------------------------------------------------------------ sending

    def prepare(self, cycle):
        """The files of one cycle, by path."""
        shutil.rmtree(self.folder)
        sent = {}
        for sender in range(SENDERS):
            study = dicom.Study(cycle * SENDERS + sender, "P1")
            folder = self.folder / str(sender)
            folder.mkdir(parents=True)
            sizes = [dicom.Series(study, series=index, size=side, content=self.pixels[index]) for index, side in enumerate(SIDES)]
            for number in range(FILES):
                series = sizes[number % len(SIDES)]
                path = folder / f"{number:03}.dcm"
                content = bytes(series.file(number))
                path.write_bytes(content)
                sent[str(path)] = Sent(study.uid, study.series_uid(series.series), series.sop_uid(number), data_set_digest(content), path)
        return sent

    def command(self, *paths):
        """storescu of these files."""
        return ["storescu", "-v", "-aet", "SENDER", "-aec", "MUSUBI", "127.0.0.1", str(self.dicom_port), *map(str, paths)]

    def start_senders(self):
        """One association each."""
        return [subprocess.Popen(self.command(*sorted((self.folder / str(sender)).iterdir())), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True) for sender in range(SENDERS)]

    def told(self, senders):
        """({path: what the sender was told}); None: sent, not answered."""
        found = {}
        for sender in senders:
            path = None
            for name, status in SENT.findall(sender.communicate(timeout=60)[1]):
                path = name or path
                found[path] = None if name else status
        for path, status in found.items():
            if status not in (None, "Success"):
                self.counts["refused"] += 1
        return found

    # ------------------------------------------------------------------ the end

    def end(self, step, who):
        """Waits for the step or a random time, then kills the rest."""
        if step:
            deadline = time.monotonic() + STEP_TIMEOUT_S
            while self.server.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            self.reached[step] += self.server.process.poll() is not None
        else:
            time.sleep(self.random.uniform(0.02, WORK_S))
        self.server.kill()
        if who == "both":
            sites.signal_all([pid for pid in [self.server.postmaster_pid()] if pid], signal.SIGKILL)

    def start(self, step=None):
        """Starts it, with a step at which it ends if there is one."""
        self.server.environment.pop("MUSUBI_FAIL_AT", None)
        if step:
            self.server.environment["MUSUBI_FAIL_AT"] = f"{step}:{self.random.randint(1, 60)}"
        self.server.start()

    # ------------------------------------------------------------------ checks

    def fetch(self, sent):
        """Digest of the data set that is served; None: it is not there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.plain_port, timeout=30)
        try:
            connection.request("GET", f"/dicomweb/studies/{sent.study}/series/{sent.series}/instances/{sent.uid}",
                               headers={"Accept": "application/dicom; transfer-syntax=*"})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status == 404:
            return None
        return data_set_digest(content) if response.status == 200 else f"status {response.status}"

    def check(self, sent, is_acknowledged):
        """One instance after the restart."""
        found = self.fetch(sent)
        if found == sent.sha256:
            self.counts["there, not acknowledged"] += not is_acknowledged
        elif found is not None:
            self.faults.append(f"NOT WHOLE: {sent.uid}: {found}")
        elif is_acknowledged:
            self.faults.append(f"LOST: {sent.uid} was acknowledged")

    def send_again(self, cut_off):
        """What was sent and not answered must be taken now, whether it is there or not."""
        if not cut_off:
            return
        result = subprocess.run(self.command(*(sent.path for sent in cut_off)), capture_output=True, text=True, timeout=60, check=False)
        taken = sum(status == "Success" for _, status in SENT.findall(result.stderr))
        if result.returncode or taken != len(cut_off):
            self.faults.append(f"SENT AGAIN: {taken} of {len(cut_off)} taken: {result.stderr[-300:]}")
        for sent in cut_off:
            self.check(sent, True)

    def cycle(self, number):
        """One life and its end."""
        step, who = STEPS[number % len(STEPS)], self.random.choice(("server", "both"))
        files = self.prepare(number)
        if step:
            self.server.stop()
            self.start(step)
        senders = self.start_senders()
        self.end(step, who)
        told = self.told(senders)
        self.start()
        acknowledged = [files[path] for path, status in told.items() if status == "Success"]
        cut_off = [files[path] for path, status in told.items() if status is None]
        for path, sent in files.items():
            self.check(sent, told.get(path) == "Success")
        self.send_again(cut_off)
        for sent in self.random.sample(self.kept, min(CHECKED_AGAIN, len(self.kept))):
            self.check(sent, True)
        result = self.server.command("fsck", check=False)
        if result.returncode:
            self.faults += [f"fsck: {line}" for line in (result.stdout + result.stderr).splitlines()]
        self.kept += acknowledged + cut_off
        self.counts.update({"acknowledged": len(acknowledged), "cut off": len(cut_off)})

    def run(self):
        """All cycles; gives the exit status."""
        began = time.monotonic()
        number = 0
        try:
            self.start()
            common.feed(self.server, "P1")
            for number in range(1, self.arguments.cycles + 1):
                self.cycle(number)
                if number % 25 == 0 or self.faults:
                    print(f"cycle {number}: {dict(self.counts)}, {time.monotonic() - began:.0f} s", flush=True)
                if self.faults and not self.arguments.keep_going:
                    break
            for sent in self.kept:
                self.check(sent, True)
        finally:
            self.server.stop()
            self.server.stop_postgres()
            shutil.rmtree(self.folder, ignore_errors=True)
        return self.report(number)

    def report(self, cycles):
        """Prints counts and verdict; gives the exit status."""
        if not self.counts["acknowledged"] or not self.counts["cut off"]:
            self.faults.append("NOTHING TESTED: no instance was acknowledged, or none was cut off")
        if cycles >= 2 * len(STEPS):
            self.faults += [f"NEVER REACHED: {step}" for step in STEPS if step and not self.reached[step]]
        for fault in self.faults[:20]:
            print(fault)
        print(f"{dict(self.counts)}; killed at {dict(self.reached)}")
        print(f"{cycles} cycles: {len(self.faults)} faults")
        if self.faults:
            print(f"kept for a look: {self.server.dir}")
            return 1
        self.server.close()
        return 0
