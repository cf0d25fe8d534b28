"""Replays the NIST XDS Toolkit scenarios of the reference data against a real server over mutual TLS.

Runs the tests that registry and repository answer for (WANTED). A step that the tool skips is listed with its reason; a
failing step fails the suite.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

from tests.harness import certs, server as harness
from tests.integration import common, imaging

WANTED = [
    "12344", "12346", "12361", "12374",  # load data
    "11897", "11898", "11899", "11901", "11902", "11903", "11904", "11905", "11906", "11907", "11908", "11909", "12368", "15803",
    "11990", "11991", "11992", "11993", "11996", "11998", "11998a", "11999", "12000", "12002", "12022", "12323", "12326",
    "12364", "12370", "15805", "15806",
    "15800", "15800b", "15800d", "15801", "15802", "20000", "20000b", "20000d", "20000f", "20001", "20002", "20003", "20007", "20100a",
    "21000", "21002", "21004",  # metadata update (ITI-57)
    "30000", "30001", "30002", "30004", "30006", "30007",  # removal of metadata (ITI-62)
    "50000", "50002",  # removal of documents (ITI-86)
    "40000", "40000b", "40000d", "40001b", "40007",  # restricted update (ITI-92)
    "16101", "16101b", "16102", "16103",  # documents that change patient (ITI-64)
    "ids_4805", "ids_4806", "ids_4808", "ids_4809", "ids_4810", "ids_4812", "ids_4820", "ids_2018-4810", "ids_2018-4801a",
    "ids_2018-4801c", "ids_2018-4803a", "ids_2018-4803c",  # the imaging document source
    "11966", "11981", "11983", "11986", "12021", "12029", "12369", "12371", "12375", "15816",
]
NO_IMAGES = "the images that it asks for are not among the reference data"
# Steps that cannot pass here, with the reason.
NOT_OFFERED = {
    "ids_4808/": NO_IMAGES, "ids_2018-4803a/": NO_IMAGES, "ids_2018-4803c/": NO_IMAGES, "ids_2018-4810/case-00": NO_IMAGES,
    "12375/": "a Metadata-Limited Document Source; XDS forbids limited metadata, only an XDR Recipient takes it (TF-3 Table 4.3.1-3)",
    **dict.fromkeys(("30006/apnd_rplc", "30006/eval_submit/eval_apnd_rplc", "30006/remove/remove_replacement_submissionset",
                     "30006/remove/remove_append_submissionset", "30006/remove/now_remove_replacement_submissionset",
                     "30007/apnd_rplc", "30007/eval_submit/eval_apnd_rplc", "30007/remove/remove_all",
                     "30007/eval_remove/eval_orig_contents", "30007/eval_remove/eval_rplc_contents"),
                    "appends to an XFRM_RPLC; a transformation shall not be appended to (TF-3 4.2.2.2.1)"),
}


def replay(reference, server, folder, verbose=False):
    """Runs the tool; gives its output lines."""
    scenarios = reference / "ihe" / "nist-scenarios"
    present = [name for name in WANTED if (scenarios / name).is_dir()]
    command = ["/usr/bin/python3", str(reference / "tools" / "nist_replay.py"), "--scenarios", str(scenarios), "--keep-going",
               "--registry", f"https://127.0.0.1:{server.https_port}/registry",
               "--repository", f"https://127.0.0.1:{server.https_port}/repository",
               "--recipient", f"https://127.0.0.1:{server.https_port}/repository",
               "--imaging", f"https://127.0.0.1:{server.https_port}/imaging", "--wado", f"https://127.0.0.1:{server.https_port}/wado",
               "--imaging-uid", imaging.IMAGING_UID,
               "--mllp", f"127.0.0.1:{server.mllps_port}", "--mllp-tls",
               "--cert", str(folder / "gateway-a.pem"), "--key", str(folder / "gateway-a.key"), "--ca", str(folder / "ca.pem"),
               "--assigning-authority", harness.AUTHORITY, "--schemas", str(reference / "ihe" / "schema"),
               "--repository-uid", harness.REPOSITORY_UID, "--only", ",".join(present)]
    if verbose:
        command.append("--verbose")
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if verbose:
        print(result.stderr)
    if not result.stdout.strip():
        print(result.stderr[-3000:])
    return result.stdout.splitlines()


def push_studies(reference, server, port, temporary):
    """The studies that the imaging scenarios ask for; of one only its manifest is at hand, whose image is made."""
    for folder in sorted((reference / "dicom").glob("study-IDS-*")):
        number = folder.name.removeprefix("study-")
        common.feed(server, number)
        files = sorted(folder.glob("nist2__0*.dcm")) or stand_ins(folder / "nist2__kos.dcm", number, temporary)
        imaging.store(port, *files, options=("-xe", "-R"))


def stand_ins(manifest, number, folder):
    """An image for each that a manifest names."""
    text = subprocess.run(["dcmdump", "-Un", str(manifest)], check=True, capture_output=True, text=True, timeout=60).stdout
    study = re.search(r"^\(0020,000d\) UI \[([\d.]+)\]", text, re.M).group(1)
    evidence = text[text.index("(0040,a375)"):text.index("(0040,a730)")]
    series = re.search(r"\(0020,000e\) UI \[([\d.]+)\]", evidence).group(1)
    made = []
    for sop_class, uid in re.findall(r"\(0008,1150\) UI \[([\d.]+)\].*?\(0008,1155\) UI \[([\d.]+)\]", evidence, re.S):
        instance = imaging.Instance(number, study, series, sop_class=sop_class, tags={"0008,0018": f"UI {uid}"})
        made.append(instance.write(folder))
    return made


def main():
    """Starts a server configured as the tool's README asks, and replays."""
    reference = pathlib.Path(os.environ["MUSUBI_REFERENCE"])
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory(prefix="musubi-nist-") as temporary:
        folder = certs.make(pathlib.Path(temporary) / "certs", ("server", "gateway-a"))
        user = harness.service_user()
        os.chmod(temporary, 0o755)
        if user:
            for path in folder.iterdir():
                os.chown(path, user.pw_uid, user.pw_gid)
        port = imaging.free_port()
        settings = imaging.settings(port) | {"affinity_domain": {"codes": reference / "ihe" / "codes" / "nist2__codes.xml", "code_check": "strict"}}
        with harness.Server(certs=folder, settings=settings) as server:
            push_studies(reference, server, port, temporary)
            lines = replay(reference, server, folder, "--verbose" in sys.argv)
            if "--verbose" in sys.argv:
                print(server.log())
    for line in lines:
        word, _, rest = line.partition(" ")
        not_offered = next((why for prefix, why in NOT_OFFERED.items() if rest.startswith(prefix)), None)
        if word == "FAIL" and not_offered:
            word = "SKIP"
            line = f"SKIP {rest} [{not_offered}]"
        passed += word == "ok"
        failed += word == "FAIL"
        skipped += word == "SKIP"
        if word in ("FAIL", "SKIP"):
            print(line)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
