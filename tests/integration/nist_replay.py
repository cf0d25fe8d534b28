"""Replays the NIST XDS Toolkit scenarios of the reference data, all of them, against a real server over mutual TLS.

A step passes, or it is LISTED: the tool leaves it out, or its plan contradicts the standard. Anything else fails the suite: a step
that fails, one that is left out without being listed, one that was listed for another reason than it fails for now, and a listed one
that passes, or that is there no more.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from lxml import etree

from tests.harness import certs, server as harness
from tests.integration import imaging, nist_images

HOME = "urn:oid:1.3.6.1.4.1.21367.13.70.200"  # of the scenarios
SHOWN_CHARS = 300
# step: (what the tool says, why that is right)
LISTED = {
    "11897/no_matching_classcode/no_matching_classcode": (
        "draft", "not sent: wants Failure of a well-formed query that matches nothing, which is a Success without objects (TF-3 4.2.4; "
                 "TF-2 3.18.4.1.2.3.7.1)"),
    "12375/submit/submit": (
        "limitedMetadata is not allowed",
        "a Metadata-Limited Document Source of XDR, for a Document Recipient of XDR (TF-1 15.1); what is sent to an XDS Document "
        "Repository shall not have limitedMetadata and shall have what this leaves out (TF-3 4.3.1, Table 4.3.1-3: X and R)"),
    "20000d/query_for_fd_de_assoc/validate": (
        "report targetObject02 of 20000d/query_for_ss_assoc, which no step produces",
        "not done: the plan has commented out the report that it asserts, since the HasMember that it is about is asked of ITI-64 "
        "(3.64.4.1.3.1.6) and not yet of ITI-57 (XDS Metadata Update 3.57.4.1.3.3.3)"),
    **dict.fromkeys(("20000f/query_by_uniqueid/uniqueid_query", "20000f/query_by_uniqueid/validate"), (
        "draft", "not sent: wants the second version of a Folder whose update its own test requires to fail, and a failed request changes "
                 "nothing (XDS Metadata Update 3.57.4.1.3.1)")),
}


def replay(reference, server, folder, standard, verbose):
    """Runs the tool over the whole folder; gives its steps."""
    scenarios = reference / "ihe" / "nist-scenarios"
    base = f"https://127.0.0.1:{server.https_port}"
    result = folder / "result.json"
    command = ["/usr/bin/python3", str(reference / "tools" / "nist_replay.py"), "--scenarios", str(scenarios), "--keep-going",
               "--registry", f"{base}/registry", "--repository", f"{base}/repository", "--recipient", f"{base}/repository",
               "--responding-gateway", f"{base}/gateway", "--home", HOME,
               "--imaging", f"{base}/imaging", "--wado", f"{base}/wado", "--imaging-uid", imaging.IMAGING_UID, "--images", str(standard),
               "--mllp", f"127.0.0.1:{server.mllps_port}", "--mllp-tls",
               "--cert", str(folder / "gateway-a.pem"), "--key", str(folder / "gateway-a.key"), "--ca", str(folder / "ca.pem"),
               "--assigning-authority", harness.AUTHORITY, "--repository-uid", harness.REPOSITORY_UID,
               "--schemas", str(reference / "ihe" / "schema"), "--codes", str(codes(reference)), "--json", str(result)]
    done = subprocess.run(command + ["--verbose"] * verbose, capture_output=True, text=True, timeout=1800, check=False)
    if verbose:
        print(done.stderr)
    if not result.exists():
        raise AssertionError(done.stdout[-3000:] + done.stderr[-3000:])
    lacking = [line for line in done.stdout.splitlines() if line.startswith("#")]
    print("\n".join(lacking + [f"the tool: {done.stdout.splitlines()[-1]}"]))
    return json.loads(result.read_text())["steps"]


def codes(reference):
    """The codes of the affinity domain."""
    return reference / "ihe" / "codes" / "nist2__codes.xml"


def planned(scenarios):
    """Every step of every plan, in the index of its test or not."""
    for plan in scenarios.glob("*/*/testplan.xml"):
        for step in etree.parse(plan).iterfind("TestStep"):
            yield f"{plan.parts[-3]}/{plan.parts[-2]}/{step.get('id')}"


def judge(name, result, reason):
    """("ok", "FAIL" or "SKIP", text) of a step of the tool."""
    said = reason if len(reason) <= SHOWN_CHARS else reason[:SHOWN_CHARS] + "..."
    if name not in LISTED:
        return ("ok", "") if result == "ok" else ("FAIL", said or result) if result == "FAIL" else ("FAIL", f"left out, not listed: {said}")
    pattern, why = LISTED[name]
    if result == "ok":
        return "FAIL", f"passes: it is not to be listed as {why}"
    if not re.search(pattern, reason):
        return "FAIL", f"listed for another reason: {said}"
    return "SKIP", f"{why} [{said}]"


def verdicts(steps, manifests, scenarios):
    """(verdict, step, text) of every step, by the tool or, where that leaves out what a source submits, by this suite."""
    seen = set()
    for step in steps:
        name = f"{step['test']}/{step['section']}/{step['step']}"
        seen.add(name)
        if name in manifests:
            faults = manifests[name]
            yield ("FAIL", name, "; ".join(faults)) if faults else ("ok", name, f"checked by this suite; the tool says: {step['reason']}")
        else:
            verdict, text = judge(name, step["result"], step["reason"])
            yield verdict, f"{name} - {step['transaction']}", text
    for name in sorted((set(planned(scenarios)) | set(LISTED)) - seen):
        yield "FAIL", name, "the tool has no such step: " + ("it is listed, but not there" if name in LISTED else "it was never run")


def main():
    """Starts a server configured as the tool's README asks, and replays. It makes no patient summaries: the plans count what a query
    gives of a patient, and GetAll of 15803 asks for On-Demand entries too."""
    reference = pathlib.Path(os.environ["MUSUBI_REFERENCE"])
    scenarios = reference / "ihe" / "nist-scenarios"
    verbose = "--verbose" in sys.argv
    with tempfile.TemporaryDirectory(prefix="musubi-nist-") as temporary:
        folder = certs.make(pathlib.Path(temporary) / "certs", ("server", "gateway-a"))
        user = harness.service_user()
        os.chmod(temporary, 0o755)
        if user:
            for path in folder.iterdir():
                os.chown(path, user.pw_uid, user.pw_gid)
        port = imaging.free_port()
        settings = imaging.settings(port, manifest_delay="2s") | {
            "affinity_domain": {"codes": codes(reference), "code_check": "strict", "home_community_id": HOME}}
        with harness.Server(certs=folder, settings=settings) as server:
            studies = nist_images.Studies(reference, server, port, pathlib.Path(temporary))
            manifests = studies.check_manifests()
            steps = replay(reference, server, folder, studies.standard, verbose)
            if verbose:
                print(server.log())
    counts = {"ok": 0, "FAIL": 0, "SKIP": 0}
    for verdict, name, text in verdicts(steps, manifests, scenarios):
        counts[verdict] += 1
        if text:
            print(f"{verdict} {name}: {text}")
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    return 1 if counts["FAIL"] or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
