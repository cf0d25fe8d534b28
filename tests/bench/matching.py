"""Record linkage: how good it is on invented populations, and how fast patients are fed with it."""

import contextlib
import json
import pathlib
import subprocess
import time

from tests.bench import statements

NAMES = "/usr/share/mecab/dic/ipadic/Noun.name.csv"  # of Debian's mecab-ipadic
PERSONS = 200_000
SEEDS = (2, 3, 4, 5, 6)  # seed 1 gave the weights
FEEDS, QUICK_FEEDS = 200_000, 20_000
CONNECTIONS = 8
HOSPITALS = 20
ARC = "1.2.392.99999.77"
AUDIT_BYTES = 1200
LOOKALIKES = 2000  # pairs of twins and of persons of one name and birthday, at least


def evaluate(tool, persons, seeds=SEEDS):
    """What match_eval says of each seed."""
    output = subprocess.run([str(tool), NAMES, str(persons), *map(str, seeds)], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def print_kinds(found):
    """Recall for each kind of error and seed."""
    kinds = list(found[0]["kinds"])
    print("    linked pairs of records of one person, by what is wrong with one of the two, for each seed")
    print("    " + f"{'':<36}" + "".join(f"{entry['seed']:>9}" for entry in found))
    for kind in kinds:
        shares = [entry["kinds"][kind] for entry in found]
        print("    " + f"{kind:<36}" + "".join(f"{linked / max(1, every):>9.2%}" for linked, every in shares))
    for name in ("precision", "recall", "one_error", "two_errors", "review"):
        print("    " + f"{name:<36}" + "".join(f"{entry[name]:>9.3%}" for entry in found))
    for name in ("records", "twins", "namesakes", "lookalikes_linked", "false_pairs"):
        print("    " + f"{name:<36}" + "".join(f"{entry[name]:>9}" for entry in found), flush=True)


def goals(found):
    """(name, value, unit, goal, met) of each figure: the worst of the seeds."""
    precision = min(entry["precision"] for entry in found)
    recall = min(entry["recall"] for entry in found)
    review = max(entry["review"] for entry in found)
    linked = sum(entry["lookalikes_linked"] for entry in found)
    lookalikes = min(entry["twins"] + entry["namesakes"] for entry in found)
    partitions = all(entry["same_partition"] for entry in found)
    return (("matching_precision", 100 * precision, "%", ">= 99.95%", precision >= 0.9995),
            ("matching_recall", 100 * recall, "%", ">= 97%", recall >= 0.97),
            ("matching_lookalikes", linked, "pairs", f"0 of {lookalikes}", linked == 0 and lookalikes >= LOOKALIKES),
            ("matching_review", 100 * review, "%", "< 1%", review < 0.01),
            ("matching_partition", float(partitions), "", "the same", partitions))


def feed(kit, server, tool, count):
    """Feeds records of 20 hospitals, each new; gives the result of load."""
    for hospital in range(HOSPITALS):
        server.command("authority", "add", f"{ARC}.{hospital}", "--namespace", f"H{hospital}", "--facility", "Bench", "--source",
                       "TEST|HOSPITAL")
    time.sleep(3)  # a running server notices new authorities within seconds
    path = kit.folder / "feeds.mllp"
    with open(path, "wb") as file:
        subprocess.run([str(tool), NAMES, str(PERSONS), str(SEEDS[0]), str(count), ARC], check=True, stdout=file)
    return kit.load(server.mllps_port, [], CONNECTIONS, 36000, "--frames", str(path), "--count", str(count), first=0,
                    expect="MSA|AA")


def stored(server):
    """What the feeds came to: identifiers, persons, open reviews."""
    with contextlib.closing(statements.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM patient_identifier WHERE NOT is_xad_pid),"
                       " (SELECT count(DISTINCT person) FROM patient_identifier WHERE NOT is_xad_pid),"
                       " (SELECT count(*) FROM link_decision WHERE verdict IS NULL)")
        return cursor.fetchone()


def same_writes(kit, server, seconds):
    """Rate of pgbench that writes the rows of a new person, into the tables as the feeds left them."""
    with contextlib.closing(statements.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT min(authority) FILTER (WHERE is_xad_pid), min(authority) FILTER (WHERE NOT is_xad_pid)"
                       " FROM patient_identifier")
        own, local = cursor.fetchone()
    options = [f"--define=own={own}", f"--define=local={local}", "--define=audit=" + "x" * AUDIT_BYTES]
    return kit.pgbench(server, pathlib.Path(__file__).with_name("same_writes.sql"), options, CONNECTIONS, seconds)["rate"]
