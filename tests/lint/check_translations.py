#!/usr/bin/python3
"""Every row of server/language_ja.def translates a text that stands in server/, or is shown by it; and every command and option has one."""

import pathlib
import re
import sys

SERVER = pathlib.Path(__file__).resolve().parents[2] / "server"
PIX = SERVER.parent / "pix"
TABLES = (SERVER / "command/commands.def", SERVER / "time_services.def", SERVER / "command/audit_columns.def", PIX / "identity_counts.def",
          PIX / "link_reasons.def")
DEFAULT_CONFIG = re.compile(r'"\s*DEFAULT_CONFIG\b(?:\s*")?')
JOINTS = re.compile(r'"\s*\n\s*"')
ROW = re.compile(r'^TEXT\("((?:[^"\\]|\\.)*)"', re.M)
HELP = re.compile(r'^(?:COMMAND|    (?:TEXT|FLAG)_OPTION)\((?:[^"]|"(?:[^"\\]|\\.)*")*?"((?:[^"\\]|\\.)+)"\),?$', re.M)


def texts_of(path):
    """A source whose literals in pieces are whole."""
    return JOINTS.sub("", DEFAULT_CONFIG.sub('"', path.read_text(encoding="utf-8")))


def main():
    """Prints rows whose English is gone, and help that has none; the exit status tells whether there are any."""
    sources = "".join(texts_of(path) for path in (*sorted(SERVER.rglob("*.c")), *TABLES) if path.name != "language.c")
    rows = ROW.findall(texts_of(SERVER / "language_ja.def"))
    gone = [text for text in rows if f'"{text}' not in sources]
    helps = [text for name in ("command/commands.def", "options.c") for text in HELP.findall(texts_of(SERVER / name))]
    lacking = sorted(set(helps) - set(rows))
    for text in gone:
        print(f"language_ja.def: no source has this text: {text}")
    for text in lacking:
        print(f"language_ja.def: a help text is not translated: {text}")
    print(f"{len(rows)} texts, {len(helps)} of help, {len(gone) + len(lacking)} faults")
    return 1 if gone or lacking or not rows or not helps else 0


if __name__ == "__main__":
    sys.exit(main())
