#!/usr/bin/python3
"""Runs libFuzzer (with ASan and UBSan) on one or all targets for a number of seconds each; a crash, a leak, or an input slower
than a second is a failure, and its input stays in build/fuzz/found. New coverage goes to build/fuzz/corpus; merge what is worth
keeping into tests/fuzz/corpus by hand."""

import argparse
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "fuzz"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in (ROOT / "tests" / "fuzz").glob("fuzz_*.c"))


def build():
    """A clang build with the fuzz targets."""
    if not (BUILD / "build.ninja").exists():
        subprocess.run(["meson", "setup", str(BUILD), str(ROOT), "-Dfuzz=true", "-Db_sanitize=address,undefined", "-Db_lundef=false",
                        "-Dc_args=-fsanitize=fuzzer-no-link", "-Dcpp_args=-fsanitize=fuzzer-no-link"],
                       check=True, env=dict(os.environ, CC="clang", CXX="clang++"), stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", str(BUILD), "--quiet"] + [f"tests/fuzz/fuzz_{name}" for name in TARGETS], check=True)


def run(name, seconds):
    """One target; gives (executions, failure text or None)."""
    corpus, found = BUILD / "corpus" / name, BUILD / "found" / name
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    seeds = ROOT / "tests" / "fuzz" / "corpus" / name
    command = [str(BUILD / "tests" / "fuzz" / f"fuzz_{name}"), str(corpus), str(seeds), f"-max_total_time={seconds}", "-timeout=1",
               "-rss_limit_mb=1024", "-max_len=65536", f"-artifact_prefix={found}/", "-print_final_stats=1"]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=seconds + 300,
                            env=dict(os.environ, UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1"))
    executions = re.search(r"number_of_executed_units:\s*(\d+)", result.stderr)
    slowest = re.search(r"slowest_unit_time_sec:\s*(\d+)", result.stderr)
    problem = None
    if result.returncode:
        problem = result.stderr[-3000:]
    elif slowest and int(slowest.group(1)) >= 1:
        problem = f"an input took {slowest.group(1)} s"
    return int(executions.group(1)) if executions else 0, problem


def main():
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default all")
    arguments = parser.parse_args()
    build()
    failed = 0
    chosen = arguments.targets or TARGETS
    for name in chosen:
        executions, problem = run(name, arguments.seconds)
        failed += problem is not None
        print(f"{'FAIL' if problem else 'ok  '} {name}: {executions} inputs in {arguments.seconds} s{': ' + problem if problem else ''}", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
