"""Every step of the demo holds, and every command of README.md's tour answers what the page shows."""

import pathlib
import re
import subprocess
import tempfile
import unittest

from tests.demo import demo
from tests.harness import server as harness

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
# Of the answers that the page shows, what is the same each time.
ANSWERS = (
    "MSA|AA|MSG-0001", "follows from 1001^^^HOSP-A&1.2.392.99999.2.1&ISO by the rule pad", "ResponseStatusType:Success",
    'value="検査結果"', "<xds:mimeType>text/plain</xds:mimeType>", "髙橋 花子 様。退院後の経過は良好です。", 'errorCode="XDSUnknownPatientId"',
    "wsse:FailedAuthentication", "belongs to no registered node.", "tx=ITI-41", "Received Echo Response (Success)",
    "Received Store Response (Success)", '"Alphabetic":"高橋^花子"', "no disclosure rule permits it (musubi disclosure add)",
)


class Tour(unittest.TestCase):
    """A region on ports of its own."""

    def setUp(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="musubi-demo-")))
        self.demo = demo.Demo(folder, type(demo.PORTS)(*harness.free_ports(4)))
        self.addCleanup(self.demo.server.stop_postgres)
        self.addCleanup(self.demo.server.stop)
        self.demo.server.start()

    def here(self, script):
        """A script of the page for this folder, these ports and this program, with more patience."""
        for there, port in zip(demo.PORTS, self.demo.ports):
            script = re.sub(rf"\b{there}\b", str(port), script)
        script = script.replace("var/demo", str(self.demo.folder)).replace("build/release/musubi", str(harness.binary()))
        return script.replace("sleep 2", "sleep 15")

    def test_the_demo_and_the_tour_hold(self):
        self.demo.play()
        self.assertEqual(self.demo.failed, 0, "the steps are printed above")
        page = (ROOT / "README.md").read_text(encoding="utf-8")
        blocks = BLOCK.findall(page[page.index("## A tour"):page.index("## What to read next")])
        script = "".join(text for kind, text in blocks if kind == "sh")
        shown = "".join(text for kind, text in blocks if kind != "sh")
        result = subprocess.run(["bash", "-c", self.here(script)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
        told = result.stdout + result.stderr
        for answer in ANSWERS:
            self.assertIn(answer, shown)
            self.assertIn(answer, told)
        self.assertNotIn("No such file", told)


if __name__ == "__main__":
    unittest.main()
