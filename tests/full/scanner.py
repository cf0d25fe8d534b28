"""testssl.sh, the scanner that auditors use, against every listener with both presets: it finds nothing below the preset.

    python3 -m tests.full.scanner
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from tests.integration import test_tls_matrix

FAULTS = ("LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL")
# Properties of the test authority's certificates, none of the server.
OF_THE_CERTIFICATES = {"cert_revocation"}
CHECKS = ["-p", "-s", "-f", "-P", "-S", "-U"]  # protocols, ciphers, forward secrecy, preference, certificate, vulnerabilities


def scan(listener, authority):
    """The faults that testssl.sh finds, as (id, severity, text); None if it could not scan."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        subprocess.run(["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", *CHECKS, "--add-ca", authority,
                        "--jsonfile", str(report), f"127.0.0.1:{listener.port}"], check=False, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, timeout=600)
        if not report.exists():
            return None
        findings = json.loads(report.read_text(encoding="utf-8"))
    if not any(finding["id"] == "TLS1_3" for finding in findings):
        return None
    return [(finding["id"], finding["severity"], finding["finding"]) for finding in findings
            if finding["severity"] in FAULTS and finding["id"] not in OF_THE_CERTIFICATES]


def run(case):
    """Scans the listeners of one preset; gives (passed, failed)."""
    passed = failed = 0
    case.setUpClass()
    try:
        for listener in case.listeners:
            faults = scan(listener, str(case.certs / "ca.pem"))
            passed += faults == []
            failed += faults != []
            if faults != []:
                print(f"FAIL {case.preset} {listener.name}: {faults or 'no scan'}", flush=True)
    finally:
        case.doClassCleanups()
    return passed, failed


def main():
    """Both presets."""
    results = [run(case) for case in (test_tls_matrix.Matrix, test_tls_matrix.MatrixBcp195)]
    passed, failed = (sum(column) for column in zip(*results))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
