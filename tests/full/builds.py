"""Builds the tree with another compiler or sanitizer and runs the unit tests and fuzz corpora there.

    python3 -m tests.full.builds NAME      NAME: sanitizers | threads | clang | valgrind | format | tidy
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

from tests.harness import postgres

ROOT = pathlib.Path(__file__).resolve().parents[2]
CXX = {"gcc": "g++", "clang": "clang++"}
# name: (compiler, options of meson setup, options of meson test)
BUILDS = {
    "sanitizers": ("gcc", ["-Db_sanitize=address,undefined", "-Db_lundef=false", "--buildtype=debug"], []),
    "threads": ("gcc", ["-Db_sanitize=thread", "-Db_lundef=false", "--buildtype=debugoptimized"], []),
    "clang": ("clang", ["--buildtype=debugoptimized", "--werror"], []),
    "valgrind": ("gcc", ["--buildtype=debug"], ["--wrap=valgrind --quiet --error-exitcode=9 --leak-check=full "
                                                "--errors-for-leak-kinds=definite", "--timeout-multiplier=20"]),
}


def run_build(name):
    """Builds and tests; gives the exit status."""
    compiler, setup, test = BUILDS[name]
    folder = ROOT / "build" / name
    if not (folder / "build.ninja").exists():
        subprocess.run(["meson", "setup", str(folder), str(ROOT), *setup], check=True, env=dict(os.environ, CC=compiler, CXX=CXX[compiler]),
                       stdout=subprocess.DEVNULL)
    if subprocess.run(["ninja", "-C", str(folder), "--quiet"], check=False).returncode:
        print("0 passed, 1 failed")
        return 1
    with postgres.private_postgres() as conninfo:
        return subprocess.run(["meson", "test", "-C", str(folder), "--no-rebuild", "--suite", "unit", "--suite", "fuzz",
                               "--timeout-multiplier=5", "--print-errorlogs", *test],
                              env=dict(os.environ, MUSUBI_TEST_CONNINFO=conninfo), check=False).returncode


def sources():
    """C and C++ files that somebody wrote."""
    listing = subprocess.run(["git", "ls-files", "*.c", "*.cc", "*.h"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listing.stdout.split() if not (ROOT / name).read_text(encoding="utf-8").startswith("/* Generated")]


def run_format():
    """clang-format would change nothing."""
    failed = 0
    for name in sources():
        result = subprocess.run(["clang-format", "--dry-run", "--Werror", name], cwd=ROOT, capture_output=True, check=False)
        if result.returncode:
            failed += 1
            print(f"FAIL {name}: run clang-format -i {name}")
    print(f"{len(sources()) - failed} passed, {failed} failed")
    return 1 if failed else 0


def run_tidy():
    """clang-tidy finds nothing in the program's own sources."""
    folder = ROOT / "build" / "clang"
    if not (folder / "build.ninja").exists():
        subprocess.run(["meson", "setup", str(folder), str(ROOT), *BUILDS["clang"][1]], check=True, env=dict(os.environ, CC="clang", CXX=CXX["clang"]),
                       stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", str(folder), "--quiet"], check=True)

    def findings(name):
        return subprocess.run(["clang-tidy", "-p", str(folder), "--quiet", name], cwd=ROOT, capture_output=True, text=True,
                              check=False).stdout

    failed = 0
    names = [name for name in sources() if name.endswith(".c") and not name.startswith("tests/")]
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as processes:
        for name, found in zip(names, processes.map(findings, names)):
            if re.search(r"(warning|error):", found):
                failed += 1
                print(f"FAIL {name}\n{found[:1500]}", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


def main():
    """Runs what was asked for."""
    name = sys.argv[1]
    if name == "format":
        return run_format()
    if name == "tidy":
        return run_tidy()
    return run_build(name)


if __name__ == "__main__":
    sys.exit(main())
