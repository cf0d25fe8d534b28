"""Replays the HL7 v2 PIX/PDQ scenarios of the reference data (ITI-8, ITI-9, ITI-21, ITI-30) against a real server over mutual TLS.

Two servers, as the suites want other matching: `name-birthdate-sex` for the second, the default for the others. The domains come
from the tool itself. A step that the tool skips is listed with its reason; a failing step fails the suite.
"""

import csv
import os
import pathlib
import subprocess
import sys
import tempfile

from tests.harness import certs, server as harness

RUNS = [("openhie,ssmix2", {}), ("mesa", {"matching": {"rule": "name-birthdate-sex"}})]
COLUMNS = ("namespace", "oid", "facility", "kind", "source_application", "source_facility", "valid_from", "valid_to")


def tool(reference, *arguments):
    """Runs the tool; gives its output lines."""
    result = subprocess.run(["/usr/bin/python3", str(reference / "tools" / "hl7_replay.py"), *arguments], capture_output=True,
                            text=True, timeout=1800, check=False)
    if not result.stdout.strip():
        print(result.stderr[-3000:])
    return result.stdout.splitlines()


def configure(reference, server, suites):
    """Imports the domains that the suites feed; the one that others may quote is no hospital's own numbering."""
    path = server.dir / "authorities.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in csv.DictReader(tool(reference, "--print-domains", "--suite", suites), delimiter="\t"):
            if row["role"] == "source":
                kind = "other" if row["note"].startswith("other sources may quote") else "emr"
                writer.writerow((row["namespace"], row["oid"], row["suite"], kind, row["application"], row["facility"], "", ""))
    done = server.command("authority", "import", str(path), check=False)
    if done.returncode != 0:
        raise SystemExit(f"authority import failed: {done.stdout}{done.stderr}")
    server.wait_until_refreshed()


def replay(reference, folder, suites, settings):
    """One server, one run of the tool."""
    with harness.Server(certs=folder, settings=settings) as server:
        configure(reference, server, suites)
        verbose = ["--verbose"] if "--verbose" in sys.argv else []
        return tool(reference, "--data", str(reference / "hl7v2"), "--suite", suites, "--mllp", f"127.0.0.1:{server.mllps_port}",
                    "--tls", "--cert", str(folder / "gateway-a.pem"), "--key", str(folder / "gateway-a.key"),
                    "--ca", str(folder / "ca.pem"), *verbose)


def main():
    """Runs every suite on a server configured as the tool's README asks."""
    reference = pathlib.Path(os.environ["MUSUBI_REFERENCE"])
    lines = []
    with tempfile.TemporaryDirectory(prefix="musubi-hl7-") as temporary:
        folder = certs.make(pathlib.Path(temporary) / "certs", ("server", "gateway-a"))
        user = harness.service_user()
        os.chmod(temporary, 0o755)
        if user:
            for path in folder.iterdir():
                os.chown(path, user.pw_uid, user.pw_gid)
        for suites, settings in RUNS:
            lines += replay(reference, folder, suites, settings)
    counts = {word: sum(line.startswith(word + " ") for line in lines) for word in ("ok", "FAIL", "SKIP")}
    shown = ("FAIL", "SKIP", " ") if "--verbose" in sys.argv else ("FAIL", "SKIP")
    for line in lines:
        if line.startswith(shown):
            print(line)
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    return 1 if counts["FAIL"] or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
