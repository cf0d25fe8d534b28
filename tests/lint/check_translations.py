#!/usr/bin/python3
"""Every row of server/language_ja.def translates a text that stands in server/, or is shown by it."""

import pathlib
import re
import sys

SERVER = pathlib.Path(__file__).resolve().parents[2] / "server"
JOINTS = re.compile(r'"\s+(?:DEFAULT_CONFIG\s+)?"|"\s+DEFAULT_CONFIG\b')
ROW = re.compile(r'^TEXT\("((?:[^"\\]|\\.)*)"', re.M)


def main():
    """Prints rows whose English is gone; the exit status tells whether there are any."""
    sources = "".join(JOINTS.sub("", path.read_text(encoding="utf-8")) for path in sorted(SERVER.glob("*.c"))
                      if path.name != "language.c")
    for path in (SERVER / "commands.def", SERVER.parent / "pix" / "identity_counts.def", SERVER / "time_services.def", SERVER / "audit_columns.def", SERVER.parent / "pix" / "link_reasons.def"):
        sources += JOINTS.sub("", path.read_text(encoding="utf-8"))
    rows = ROW.findall(re.sub(r'"\s*\n\s*"', "", (SERVER / "language_ja.def").read_text(encoding="utf-8")))
    gone = [text for text in rows if f'"{text}' not in sources]
    for text in gone:
        print(f"language_ja.def: no source has this text: {text}")
    print(f"{len(rows)} texts, {len(gone)} faults")
    return 1 if gone or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
