#!/usr/bin/python3
"""Lists error codes and query parameters that no scenario names: of lib/base/error_codes.def and registry/queries.def.

Exit status 1 if there is one beyond EXEMPT, or if EXEMPT holds one that a scenario does name.
"""

import pathlib
import re
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

EXEMPT = {
    # Need a server without room or without registry: tests/integration and tests/fault show them.
    "XDSRegistryBusy", "XDSRepositoryBusy", "XDSRegistryOutOfResources", "XDSRepositoryOutOfResources",
    "XDSRegistryNotAvailable",
    # Needs another community that is not there: tests/integration/test_initiating.py.
    "XDSUnavailableCommunity",
    # Need rules of retention, or a document of two hospitals: tests/integration/test_removal.py shows them.
    "LocalPolicyRestrictionError", "XDSRemoveDocumentsError",
    # Everything is stored, nothing is cut, and content is not looked into.
    "XDSExtraMetadataNotSaved", "XDSTooManyResults", "InvalidDocumentContent",
}


def steps():
    """Every step of every scenario and population."""
    for path in [*HERE.rglob("scenario.toml"), *(HERE / "given").glob("*.toml")]:
        yield from tomllib.loads(path.read_text(encoding="utf-8"))["step"]


def error_codes():
    """IHE codes of the table."""
    return set(re.findall(r'^ERROR\(\w+,\s+"(\w+)"', (ROOT / "lib/base/error_codes.def").read_text(encoding="utf-8"), re.M))


def query_parameters():
    """{"FindDocuments $XDSDocumentEntryStatus", ...} of the table."""
    found, query = set(), None
    for kind, text in re.findall(r'^\s*(QUERY|PARAM)\((.*)\)$', (ROOT / "registry/queries.def").read_text(encoding="utf-8"), re.M):
        if kind == "QUERY":
            query = text.split(",")[1].strip()
            found.add(query)
        else:
            found.add(f"{query} {text.split(',')[0].strip(chr(34))}")
    return found


def named():
    """What the scenarios name; a parameter counts where the query succeeds."""
    found = set()
    for step in steps():
        expect = step.get("expect", {})
        found.update([expect["error"]] if "error" in expect else expect.get("errors", []))
        if "query" in step and expect.get("status") == "Success":
            found.add(step["query"])
            found.update(f"{step['query']} {name}" for name, _ in step.get("parameters", []))
    return found


def main():
    """Prints what is missing."""
    wanted, have = error_codes() | query_parameters(), named()
    missing = sorted(wanted - have - EXEMPT)
    stale = sorted(EXEMPT & have)
    for name in missing:
        print(f"no scenario names {name}")
    for name in stale:
        print(f"a scenario names {name}: take it out of EXEMPT")
    print(f"{len(wanted & have)} of {len(wanted)} covered, {len(EXEMPT)} exempt")
    return 1 if missing or stale or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
