#!/usr/bin/python3
"""Writes the rows of the data dictionary (PS3.6) for dictionary.c, from the file that DCMTK brings: implicit VR has no value
representations of its own. Private elements are left out: without their creator they mean nothing."""

import pathlib
import re
import sys

# Of VRs that depend on other elements: what they are where nothing else is known (PS3.5 A.1). XS: US, or SS by (0028,0103).
DEPENDENT = {"ox": "OW", "px": "OW", "lt": "OW", "up": "UL", "xs": "XS"}
ROW = re.compile(r"\((?P<group>[0-9A-Fa-f]{4})(?:-[0-9A-Fa-f]{4})?,(?P<element>[0-9A-Fa-f]{4})(?:-[0-9A-Fa-f]{4})?\)\t(?P<vr>\w\w)\t(?P<keyword>\w+)\t")


def rows(text):
    """{tag: (VR, keyword)}; of a repeating group its first tag."""
    found = {}
    for line in text.splitlines():
        match = ROW.match(line)
        if not match or match["vr"] == "na":
            continue
        tag = int(match["group"] + match["element"], 16)
        found.setdefault(tag, (DEPENDENT.get(match["vr"], match["vr"]), match["keyword"].removeprefix("RETIRED_")))
    return found


def main():
    """make_dictionary.py DICTIONARY OUTPUT"""
    found = rows(pathlib.Path(sys.argv[1]).read_text(encoding="latin-1"))
    if len(found) < 4000:
        sys.exit(f"{sys.argv[1]} holds {len(found)} elements only; it is no data dictionary of DCMTK")
    lines = [f'{{0x{tag:08X}, {"DICOM_VR_US, true" if vr == "XS" else f"DICOM_VR_{vr}, false"}, "{keyword}"}},'
             for tag, (vr, keyword) in sorted(found.items())]
    pathlib.Path(sys.argv[2]).write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
