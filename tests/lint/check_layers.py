#!/usr/bin/python3
"""Reads the #include lines and fails on an arrow that points up, or on a private header of another folder (CONTRIBUTING.md).

lib/base <- other lib/* <- lib/ebrim <- atna <- registry, repository, pix <- server; what stands higher includes what stands
lower. Tests may include anything.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
RANKS = {"lib/base": 0, "lib": 1, "lib/ebrim": 2, "atna": 3, "registry": 4, "repository": 4, "pix": 4, "server": 5}
# The headers of these folders that others may include; server has none.
PUBLIC = {
    "atna": {
        "atna/atna.h", "atna/iti81.h", "atna/logins.h", "atna/record_search.h", "atna/repository.h", "atna/restored.h",
        "atna/sender_counts.h", "atna/syslog_frame.h", "atna/verify.h",
    },
    "registry": {
        "registry/gateway/communities.h", "registry/gateway/gateway.h", "registry/history.h", "registry/registry.h",
        "registry/subscriptions/subscription_table.h",
    },
    "repository": {
        "repository/hold.h", "repository/imaging/dicomweb.h", "repository/imaging/imaging.h", "repository/imaging/study_copies.h",
        "repository/repository.h",
    },
    "pix": {
        "pix/authorities.h", "pix/authority_table.h", "pix/identity.h", "pix/identity_counts.h", "pix/link_reasons.def",
        "pix/link_view.h", "pix/matching/match.h", "pix/messages.def", "pix/person_view.h", "pix/pix.h",
        "pix/subscribers/subscriber_table.h", "pix/subscribers/subscribers.h",
    },
    "server": set(),
}


def folder_of(path):
    """lib/xml for lib/xml/read.h, registry for registry/imaging/x.h; None outside the architecture."""
    parts = pathlib.PurePosixPath(path).parts
    folder = "/".join(parts[:2]) if parts[0] == "lib" else parts[0]
    return folder if rank(folder) is not None else None


def rank(folder):
    """Height of a folder."""
    return RANKS.get(folder, RANKS["lib"] if folder.startswith("lib/") else None)


def fault_of(source, header):
    """What is wrong with source including header, or None."""
    here, there = folder_of(source), folder_of(header)
    if there is None:
        return f"{header} is in no folder of the architecture"
    if here == there:
        return None
    if rank(there) > rank(here):
        return f"{header} stands above {here}"
    if rank(there) == rank(here) and there in PUBLIC:
        return f"{here} and {there} are siblings and meet in lib/ebrim only"
    if there in PUBLIC and header not in PUBLIC[there]:
        return f"{header} is private to {there}"
    return None


def main():
    """Checks every C file and .def of the tree."""
    faults = count = 0
    for path in sorted(p for folder in {f.partition("/")[0] for f in RANKS} for p in (ROOT / folder).rglob("*")):
        if path.suffix not in (".c", ".h", ".def", ".cc"):
            continue
        source = path.relative_to(ROOT).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match or "/" not in match.group(1):  # without a folder: made by the build
                continue
            count += 1
            fault = fault_of(source, match.group(1))
            if fault:
                faults += 1
                print(f"{source}:{number}: {fault}")
    print(f"{count} includes, {faults} faults")
    return 1 if faults or not count else 0


if __name__ == "__main__":
    sys.exit(main())
