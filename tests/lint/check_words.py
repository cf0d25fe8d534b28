#!/usr/bin/python3
"""Fails on marks of unfinished work in tracked files."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# In two pieces, so that this file does not hold them itself.
MARKS = re.compile(r"\b(" + "|".join(a + b for a, b in (("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK"), ("TB", "D"),
                                                        ("W", "IP"))) + r")\b|\bnot (yet )?" + "imple" + r"mented\b")


def main():
    """Greps the tracked text files; skipped (77) in a tree that is no clone."""
    if not (ROOT / ".git").exists():
        return 77
    tracked = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    names = [name for name in tracked.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    faults = 0
    for name in names:
        content = (ROOT / name).read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if MARKS.search(line):
                faults += 1
                print(f"{name}:{number}: {line.strip()[:120]}")
    print(f"{len(names)} files, {faults} faults")
    return 1 if faults or not names else 0


if __name__ == "__main__":
    sys.exit(main())
