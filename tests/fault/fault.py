#!/usr/bin/python3
"""The fault kit: `fault.py kill|power|errors|identity|update|notify|imaging|remove|tamper|backup --cycles N`, `fault.py consistency|changes --seconds N`,
`fault.py audit --messages N`.

Exit status 0: the contract held, 1: it did not, 77: not possible here."""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from tests.fault import audit, backup, changes, consistency, errors, identity, imaging, kill, notify, power, removal, tamper, update  # noqa: E402  pylint: disable=wrong-import-position


def main():
    """Runs one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kill", "power", "errors", "identity", "update", "imaging", "remove", "consistency", "changes", "audit", "tamper",
                                         "backup", "notify"))
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=60, help="consistency, changes: how long the connections work")
    parser.add_argument("--messages", type=int, default=100_000, help="audit: how many are sent")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is random; printed")
    parser.add_argument("--two-processes", action="store_true", help="kill: registry and repository as two processes")
    parser.add_argument("--without-sync", choices=power.VOLUMES,
                        help="power: what is on this file system is never synced; exit status 0 when the test notices")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first fault")
    arguments = parser.parse_args()
    if arguments.what in ("consistency", "changes"):
        return {"consistency": consistency, "changes": changes}[arguments.what].run(arguments.seconds, arguments.seed)
    if arguments.what == "audit":
        print(f"audit: {arguments.messages} messages, seed {arguments.seed}", flush=True)
        return audit.Audit(arguments).run()
    print(f"{arguments.what}: {arguments.cycles} cycles, seed {arguments.seed}", flush=True)
    return {"kill": kill.Kill, "power": power.Power, "errors": errors.Errors,
            "identity": identity.Identity, "update": update.UpdateKill, "notify": notify.Notify, "imaging": imaging.Imaging,
            "remove": removal.Removal, "tamper": tamper.Tamper, "backup": backup.Backup}[arguments.what](arguments).run()


if __name__ == "__main__":
    sys.exit(main())
