"""The systemd unit: valid, and as closed as SECURITY.md says."""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
EXPOSURE_MAX = 2.0  # of 10, by systemd-analyze security


def run(*arguments):
    """The CompletedProcess of a command."""
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not installed")
class Unit(unittest.TestCase):
    """packaging/ as systemd reads it."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        text = (PACKAGING / "musubi.service.in").read_text(encoding="utf-8")
        text = re.sub(r"@bindir@/\w+", "/bin/true", text).replace("@docdir@", "/usr/share/doc/musubi")
        self.unit = self.folder / "musubi.service"
        self.unit.write_text(text, encoding="utf-8")

    def test_systemd_finds_no_fault(self):
        result = run("systemd-analyze", "verify", "--man=no", str(self.unit))
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_it_is_closed(self):
        result = run("systemd-analyze", "security", "--offline=yes", "--no-pager", str(self.unit))
        exposure = re.search(r"exposure level for \S+: ([\d.]+)", result.stdout)
        self.assertIsNotNone(exposure, result.stderr)
        self.assertLessEqual(float(exposure.group(1)), EXPOSURE_MAX)

    def test_the_account_is_made(self):
        result = run("systemd-sysusers", "--dry-run", "--root", str(self.folder), str(PACKAGING / "musubi.sysusers"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("'musubi'", result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
