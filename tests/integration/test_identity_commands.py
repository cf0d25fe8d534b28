"""The operator's side of patient identity: authorities, facilities, patients, review queue (DESIGN 5, 9)."""

import json
import pathlib
import re
import tempfile
import time

from tests.harness import server as harness
from tests.integration import common

HEADER = "namespace,oid,facility,kind,source_application,source_facility,valid_from,valid_to"


class Commands(common.ServerCase):
    """One server, and the commands beside it."""

    def csv(self, text, encoding="utf-8"):
        """A file for import."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name) / "rows.csv"
        path.write_bytes(text.encode(encoding))
        return str(path)

    def run_json(self, *arguments):
        """What a command prints with --json."""
        return json.loads(self.server.command(*arguments, "--json").stdout)

    def refused(self, *arguments):
        """The texts of a command that must end with 2."""
        result = self.server.command(*arguments, check=False)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        return result.stderr


class Authorities(Commands):
    """musubi authority and facility."""

    def authorities(self):
        """{OID: what list says}."""
        return {row["oid"]: row for row in self.run_json("authority", "list")}

    def test_an_authority_is_added_shown_changed_and_revoked(self):
        self.server.command("authority", "add", "1.2.3.1", "--namespace", "HOSPA", "--facility", "病院A", "--kind", "EMR",
                            "--source", "HIS|HOSPITAL A", "--valid-from", "2024-04-01", "--valid-to", "2099/3/31")
        row = self.run_json("authority", "show", "HOSPA")
        self.assertEqual((row["oid"], row["facility"], row["kind"], row["source_application"], row["source_facility"]),
                         ("1.2.3.1", "病院A", "emr", "HIS", "HOSPITAL A"))
        self.assertEqual((row["valid_from"], row["valid_to"], row["is_valid"]), ("2024-04-01", "2099-03-31", True))
        self.assertIn("病院A", [facility["name"] for facility in self.run_json("facility", "list")])
        self.server.command("authority", "add", "1.2.3.1", "--namespace", "HOSPA", "--kind", "other")
        self.assertEqual(self.authorities()["1.2.3.1"]["kind"], "other")
        self.assertEqual(self.authorities()["1.2.3.1"]["valid_to"], "")
        self.server.command("authority", "revoke", "HOSPA")
        row = self.authorities()["1.2.3.1"]
        self.assertFalse(row["is_valid"])
        self.assertRegex(row["valid_to"], r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$")
        self.assertEqual(self.server.command("authority", "revoke", "HOSPA", check=False).returncode, 1)
        self.assertEqual(self.server.command("authority", "show", "NOBODY", check=False).returncode, 1)

    def test_each_fault_of_an_authority_is_told_with_its_remedy(self):
        self.server.command("authority", "add", "1.2.4.1", "--namespace", "TAKEN")
        cases = (
            (("1.2..3",), "OID"),
            (("1.2.4.2", "--namespace", "A^B"), "namespace"),
            (("1.2.4.2", "--namespace", "TAKEN"), "1.2.4.1"),
            (("1.2.4.2", "--kind", "his"), "emr, pacs, department or other"),
            (("1.2.4.2", "--source", "HIS"), "MSH-4"),
            (("1.2.4.2", "--valid-from", "1.4.2024"), "YYYY-MM-DD"),
            (("1.2.4.2", "--valid-from", "2024-04-02", "--valid-to", "2024-04-01"), "before valid_from"),
            (("1.2.4.2", "--derive", "1.2.4.1"), "pad=10"),
            (("1.2.4.2", "--derive", "1.2.4.1,pad=99"), "pad=10"),
            (("1.2.4.2", "--derive", "1.2.4.9,pad=10"), "not configured"),
            (("1.2.4.2", "--derive", "1.2.4.2,pad=10"), "leads back"),
            (("1.2.4.2", "--node", "nobody"), "node list"),
            ((harness.AUTHORITY, "--derive", "1.2.4.1,pad=10"), "derive from nothing"),
        )
        for arguments, text in cases:
            with self.subTest(arguments):
                self.assertIn(text, self.refused("authority", "add", *arguments))
        self.assertNotIn("1.2.4.2", self.authorities())

    def test_one_day_is_a_period_and_the_affinity_domain_may_have_a_source(self):
        self.server.command("authority", "add", "1.2.5.1", "--valid-from", "2024-04-01", "--valid-to", "2024-04-01")
        self.server.command("authority", "add", harness.AUTHORITY, "--kind", "other", "--source", "*|CENTER")
        self.assertTrue(self.authorities()[harness.AUTHORITY]["is_affinity_domain"])

    def test_an_import_is_checked_wholly_and_stored_wholly_or_not_at_all(self):
        good = "NSA,1.2.6.1,A,emr,HIS,A,2024-04-01,\nNSB,1.2.6.2,A,pacs,*,*,,2099-12-31\n"
        bad = self.csv(f"{HEADER}\n{good}NSA,1.2.6.3,B,emr,HIS,B,,\nNSD,1.2.6,B,robot,HIS,,x,\nNSE,1.2.6.2,,,,,,\n")
        texts = self.refused("authority", "import", bad)
        for expected in (":4: namespace NSA", ":5: write a kind", ":5: write both MSH-3", ":5: write a day", ":6: this OID"):
            self.assertIn(expected, texts)
        self.assertNotIn("1.2.6.1", self.authorities())
        path = self.csv(f"{HEADER}\n{good}")
        self.assertIn("2", self.server.command("authority", "import", path, "--dry-run").stdout)
        self.assertNotIn("1.2.6.1", self.authorities())
        self.server.command("authority", "import", path)
        self.assertEqual(self.authorities()["1.2.6.2"]["valid_to"], "2099-12-31")
        swapped = self.csv(f"{HEADER}\nNSB,1.2.6.1,A,emr,HIS,A,,\nNSA,1.2.6.2,A,pacs,*,*,,\n")
        self.server.command("authority", "import", swapped)
        self.assertEqual(self.authorities()["1.2.6.1"]["namespace"], "NSB")

    def test_an_import_may_be_utf8_with_a_mark_or_cp932(self):
        for number, encoding in enumerate(("utf-8", "utf-8-sig", "cp932")):
            path = self.csv(f"{HEADER}\r\nNS{number},1.2.7.{number},髙島病院①,emr,HIS,{number},,\r\n", encoding)
            self.server.command("authority", "import", path)
            self.assertEqual(self.authorities()[f"1.2.7.{number}"]["facility"], "髙島病院①")

    def test_domains_derive_within_one_import_and_never_in_a_circle(self):
        header = HEADER + ",source_node,derive"
        self.server.command("authority", "import", self.csv(
            f'{header}\nPACS8,1.2.8.2,C,pacs,,,,,,"1.2.8.1,pad=10"\nEMR8,1.2.8.1,C,emr,HIS,C,,,,\n'))
        self.assertEqual(self.authorities()["1.2.8.2"]["derive"], "1.2.8.1,pad=10")
        self.assertIn("leads back", self.refused("authority", "add", "1.2.8.1", "--derive", "1.2.8.2,strip-zeros"))

    def test_a_network_of_300_hospitals_is_imported_in_a_second(self):
        rows = "".join(f"H{n}{kind},1.2.9.{n}.{i},hospital {n},{kind},{kind.upper()},H{n},2020-04-01,\n"
                       for n in range(300) for i, kind in enumerate(("emr", "pacs", "department")))
        path = self.csv(f"{HEADER}\n{rows}")
        begin = time.monotonic()
        self.server.command("authority", "import", path)
        self.assertLess(time.monotonic() - begin, 1)
        self.assertEqual(sum(oid.startswith("1.2.9.") for oid in self.authorities()), 900)

    def test_facilities_are_imported(self):
        self.server.command("facility", "import", self.csv("name\n中央病院\n中央病院\n東診療所\n", "cp932"))
        names = [facility["name"] for facility in self.run_json("facility", "list")]
        self.assertEqual((names.count("中央病院"), names.count("東診療所")), (1, 1))
        self.assertIn(":3:", self.refused("facility", "import", self.csv(f"name\nA\n{'x' * 65}\n")))
