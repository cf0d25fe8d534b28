#!/usr/bin/python3
"""Runs the test suites and ends with one line `N passed, N failed, N skipped`.

Each suite is a row of SUITES: a command and how its results are counted. `--full` adds the slow ones, `--only NAME`
runs one. Reference data is found by MUSUBI_REFERENCE, default ../shared; suites that need it say so when it is absent.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"
AT_ONCE = 2
sys.path.insert(0, str(ROOT))

from tests.harness import postgres  # noqa: E402  pylint: disable=wrong-import-position

Suite = collections.namedtuple("Suite", "name command needs_reference is_slow")

AUDIT = ["test_audit", "test_transaction_audit"]
TRUST = ["test_access_commands", "test_containment", "test_hostile", "test_prober", "test_tls", "test_xua"]
DICOM = ["test_dicom"]
IMAGING = ["test_imaging"]
IDENTITY = ["test_fhir", "test_hl7_v3", "test_identity", "test_moves", "test_names"]
UPKEEP = ["test_backup", "test_migration"]
CHANGES = ["test_changes", "test_history", "test_on_demand", "test_removal", "test_updates"]
EXCHANGE = ["test_asynchronous", "test_gateway", "test_initiating", "test_lying_communities"]
NOTIFICATION = ["test_subscribers", "test_subscriptions"]

SUITES = [
    Suite("unit", ["meson", "test", "-C", "build/release", "--no-rebuild", "--suite", "unit", "--print-errorlogs"], False, False),
    Suite("lint", ["meson", "test", "-C", "build/release", "--no-rebuild", "--suite", "lint", "--print-errorlogs"], False, False),
    Suite("fuzz corpora", ["meson", "test", "-C", "build/release", "--no-rebuild", "--suite", "fuzz", "--print-errorlogs"], False, False),
    Suite("integration", [PYTHON, "-m", "tests.integration", *(f"-{name}" for name in AUDIT + TRUST + DICOM + IMAGING + IDENTITY + UPKEEP + CHANGES + EXCHANGE + NOTIFICATION)], False, False),
    Suite("audit", [PYTHON, "-m", "tests.integration", *AUDIT], False, False),
    Suite("trust", [PYTHON, "-m", "tests.integration", *TRUST], False, False),
    Suite("dicom", [PYTHON, "-m", "tests.integration", *DICOM], False, False),
    Suite("imaging", [PYTHON, "-m", "tests.integration", *IMAGING], False, False),
    Suite("identity", [PYTHON, "-m", "tests.integration", *IDENTITY], False, False),
    Suite("changes", [PYTHON, "-m", "tests.integration", *CHANGES], False, False),
    Suite("exchange", [PYTHON, "-m", "tests.integration", *EXCHANGE], False, False),
    Suite("notification", [PYTHON, "-m", "tests.integration", *NOTIFICATION], False, False),
    Suite("upkeep", [PYTHON, "-m", "tests.integration", *UPKEEP], False, False),
    Suite("conformance", [PYTHON, "conformance/run.py", "--start-server"], False, False),
    Suite("nist replay", [PYTHON, "-m", "tests.integration.nist_replay"], True, False),
    Suite("hl7 replay", [PYTHON, "-m", "tests.integration.hl7_replay"], True, False),
    Suite("samples", [PYTHON, "-m", "tests.integration.samples"], True, False),
    *[Suite(name, [PYTHON, "-m", "tests.full.builds", name], False, True)
      for name in ("sanitizers", "threads", "clang", "valgrind", "format", "tidy")],
    Suite("tls scanner", [PYTHON, "-m", "tests.full.scanner"], False, True),
    Suite("imaging clients", [PYTHON, "-m", "tests.full.imaging_clients"], False, True),
    Suite("imaging size", [PYTHON, "-m", "tests.full.imaging_size"], False, True),
]


def reference():
    """Folder of the reference data, or None."""
    path = pathlib.Path(os.environ.get("MUSUBI_REFERENCE", ROOT.parent / "shared"))
    return path if (path / "ihe").is_dir() else None


def count(output):
    """(passed, failed, skipped) from the closing lines of a suite."""
    plain = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", output, re.M)
    if plain:
        return tuple(int(n or 0) for n in plain[-1])
    numbers = {label: int(n) for label, n in re.findall(r"^(Ok|Fail|Timeout|Skipped|Unexpected Pass):\s+(\d+)", output, re.M)}
    if "Ok" in numbers:
        return (numbers["Ok"], numbers.get("Fail", 0) + numbers.get("Timeout", 0) + numbers.get("Unexpected Pass", 0),
                numbers.get("Skipped", 0))
    return None


def run(suite, environment):
    """Runs one suite, unit tests with a PostgreSQL of their own; gives its counts."""
    if suite.name != "unit":
        return run_command(suite, environment)
    with postgres.private_postgres() as conninfo:
        return run_command(suite, dict(environment, MUSUBI_TEST_CONNINFO=conninfo))


def run_command(suite, environment):
    """Runs the command of a suite; its output is on ours when it has ended, since another may run beside it."""
    began = time.monotonic()
    print(f"== {suite.name} begins", flush=True)
    process = subprocess.run(suite.command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, errors="replace", check=False)
    counts = count(process.stdout)
    ending = ""
    if counts is None or (process.returncode and counts[1] == 0):
        ending = f"{suite.name}: ended with status {process.returncode} without telling a failure\n"
        counts = (counts[0] if counts else 0, 1, counts[2] if counts else 0)
    print(f"== {suite.name}\n{process.stdout}{ending}-- {suite.name}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped "
          f"in {time.monotonic() - began:.0f} s", flush=True)
    return counts


def waits(suite):
    """Whether a suite mostly waits for servers that it starts: two of these run at once."""
    return not suite.is_slow and suite.command[0] == PYTHON


def main():
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", action="append", help="name of a suite; may repeat")
    arguments = parser.parse_args()
    environment = dict(os.environ)
    folder = reference()
    if folder:
        environment["MUSUBI_REFERENCE"] = str(folder)
    wanted = []
    total = [0, 0, 0]
    for suite in SUITES:
        if arguments.only and suite.name not in arguments.only:
            continue
        if suite.is_slow and not arguments.full and not arguments.only:
            continue
        if suite.needs_reference and not folder:
            print(f"== {suite.name}: skipped, no reference data (set MUSUBI_REFERENCE)")
            total[2] += 1
            continue
        wanted.append(suite)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for counts in [*(run(suite, environment) for suite in wanted if not waits(suite)),
                       *pool.map(lambda suite: run(suite, environment), filter(waits, wanted))]:
            total = [a + b for a, b in zip(total, counts)]
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
