"""The whole corpus, the same for the same seed except for the ids within messages.

    python3 -m tests.hostile.corpus FOLDER [SEED]      writes each input as a file
"""

import pathlib
import random
import re
import sys

from tests.hostile import fhir_cases, hl7_cases, http_cases, mime_cases, saml_cases, syslog_cases, tls_cases, xml_cases

SEED = 20260401
GENERATORS = (http_cases, xml_cases, mime_cases, saml_cases, fhir_cases, hl7_cases, syslog_cases, tls_cases)


def cases(seed=SEED):
    """Every Case, one after the other: the large ones are not kept."""
    for generator in GENERATORS:
        yield from generator.cases(random.Random(seed))


def main():
    """Writes the corpus."""
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases(int(sys.argv[2]) if len(sys.argv) > 2 else SEED)):
        name = re.sub(r"[^\w.-]+", "_", case.name)[:80]
        (folder / f"{number:04}-{case.listener}-{name}").write_bytes(case.content)


if __name__ == "__main__":
    main()
