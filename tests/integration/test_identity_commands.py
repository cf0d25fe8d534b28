"""The operator's side of patient identity: authorities, facilities, patients, review queue."""

import json
import pathlib
import tempfile

import psycopg2

from conformance import client as xds
from tests.harness import pace, server as harness
from tests.integration import audit_records, common

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
        self.server.command("authority", "add", harness.AUTHORITY, "--namespace", "REGION")
        self.server.command("patient", "waiting")
        self.assertEqual(self.authorities()[harness.AUTHORITY]["namespace"], "REGION")

    def test_a_running_server_knows_a_change_as_soon_as_it_has_looked(self):
        """ITI TF-2 3.8.4.1.3.1: only a configured domain is fed, by its source, within its epoch."""
        def fed():
            mllp = xds.MllpClient(f"127.0.0.1:{self.server.mllp_port}")
            reply = mllp.send(xds.adt("A04", "1^^^LIVE&1.2.13.1&ISO", sender=("HIS", "LIVE")))
            mllp.close()
            return xds.acknowledgement(reply)

        self.assertEqual(fed(), "AE")
        add = ("authority", "add", "1.2.13.1", "--namespace", "LIVE")
        for arguments, expected in ((("--source", "HIS|LIVE"), "AA"), (("--source", "HIS|OTHER"), "AE"),
                                    (("--source", "*|LIVE"), "AA"), (("--valid-from", "2099-01-01"), "AE"),
                                    (("--source", "HIS|*"), "AA")):
            self.server.command(*add, *arguments)
            self.server.wait_until_refreshed()
            self.assertEqual(fed(), expected, arguments)
        self.server.command("authority", "revoke", "LIVE")
        self.server.wait_until_refreshed()
        self.assertEqual(fed(), "AE")

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
        seconds, slowdown = pace.timed(self.server.command, "authority", "import", path)
        self.assertLess(seconds, 1 * slowdown)
        self.assertEqual(sum(oid.startswith("1.2.9.") for oid in self.authorities()), 900)

    def test_facilities_are_imported(self):
        self.server.command("facility", "import", self.csv("name\n中央病院\n中央病院\n東診療所\n", "cp932"))
        names = [facility["name"] for facility in self.run_json("facility", "list")]
        self.assertEqual((names.count("中央病院"), names.count("東診療所")), (1, 1))
        self.assertIn(":3:", self.refused("facility", "import", self.csv(f"name\nA\n{'x' * 65}\n")))


PATIENTS = ("authority,identifier,family,given,family_kana,given_kana,family_alphabetic,given_alphabetic,birth_date,sex,"
            "postal_code,address,phone")


class Patients(Commands):
    """musubi patient and authority test, on rows that patient import feeds."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for arguments in (("1.2.10.1", "--namespace", "HA", "--facility", "病院A", "--source", "HIS|A"),
                          ("1.2.10.2", "--namespace", "HAPACS", "--facility", "病院A", "--kind", "pacs",
                           "--derive", "1.2.10.1,pad=10"),
                          ("1.2.10.3", "--namespace", "HB", "--facility", "病院B", "--source", "HIS|B")):
            cls.server.command("authority", "add", *arguments)

    def feed(self, *rows):
        """patient import of rows."""
        return self.server.command("patient", "import", self.csv("\n".join((PATIENTS, *rows))))

    def show(self, identifier):
        """What show --json says."""
        return self.run_json("patient", "show", identifier)

    def xad_pid(self, identifier):
        """The XAD-PID of the person of an identifier."""
        return self.show(identifier)["xad_pid"]

    def test_imported_patients_are_shown_with_every_script(self):
        self.feed("HA,1001,髙橋,花子,タカハシ,ハナコ,Takahashi,Hanako,1970-01-02,F,150-0001,東京都渋谷区1-2,03-1234-5678")
        for identifier in ("HA:1001", "1.2.10.1:1001", "urn:oid:1.2.10.1:1001", "1001^^^HA", "1001^^^&1.2.10.1&ISO"):
            person = self.show(identifier)
            self.assertEqual(person["asked"], "1001^^^HA&1.2.10.1&ISO")
        self.assertEqual(self.show(person["xad_pid"])["person"], person["person"])
        local = next(item for item in person["identifiers"] if item["value"] == "1001")
        self.assertEqual([name["family"] for name in local["demographics"]["names"]], ["髙橋", "タカハシ", "Takahashi"])
        self.assertEqual((local["demographics"]["birth_date"], local["demographics"]["sex"]), ("19700102", "F"))
        text = self.server.command("patient", "show", "HA:1001").stdout
        for expected in ("髙橋 花子", "タカハシ", "病院A", "03-1234-5678", person["xad_pid"]):
            self.assertIn(expected, text)
        self.assertNotIn("髙橋", self.server.log())
        self.assertEqual(self.server.command("patient", "show", "HA:9999", check=False).returncode, 1)
        self.assertIn("not configured", self.refused("patient", "show", "1^^^NOBODY"))

    def test_every_row_of_an_import_is_checked_before_the_first_is_fed(self):
        path = self.csv("\n".join((PATIENTS, "HA,2001,一,一,,,,,,,,,", "XX,2002,,,,,,,,,,,", "HA,,,,,,,,,,,,",
                                   "HA,2003,,,,,,,1970-02-30,,,,", "HA,2004,,,,,,,,X,,,", "HA,2001,,,,,,,,,,,")))
        texts = self.refused("patient", "import", path)
        for line, expected in ((3, "authority"), (4, ""), (5, "birth date"), (6, "sex"), (7, "above already")):
            self.assertRegex(texts, rf":{line}: .*{expected}")
        self.assertEqual(self.server.command("patient", "show", "HA:2001", check=False).returncode, 1)
        good = self.csv(f"{PATIENTS}\nHA,2001,一,一,,,,,,,,,\n")
        self.server.command("patient", "import", good, "--dry-run")
        self.assertEqual(self.server.command("patient", "show", "HA:2001", check=False).returncode, 1)
        self.assertRegex(self.server.command("patient", "import", good).stdout, "1 of them new")
        self.assertRegex(self.server.command("patient", "import", good).stdout, "0 of them new")

    def test_a_link_is_made_shown_and_undone(self):
        self.feed("HA,3001,佐藤,一郎,,,,,1980-01-01,M,,,", "HB,3002,鈴木,二郎,,,,,1990-02-02,M,,,")
        before = self.xad_pid("HA:3001"), self.xad_pid("HB:3002")
        self.assertNotEqual(*before)
        self.server.command("patient", "link", "HA:3001", "HB:3002")
        self.assertEqual(self.xad_pid("HA:3001"), self.xad_pid("HB:3002"))
        link = self.show("HB:3002")["links"][-1]
        self.assertEqual((link["reason"], link["undone_at"]), ("manual", None))
        self.assertTrue(link["by"])
        self.assertIn(link["id"], self.server.command("patient", "show", "HB:3002").stdout)
        self.server.command("patient", "undo", link["id"])
        self.assertEqual((self.xad_pid("HA:3001"), self.xad_pid("HB:3002")), before)
        links = {row["id"]: row for row in self.show("HB:3002")["links"]}
        self.assertIsNotNone(links[link["id"]]["undone_at"])
        self.refused("patient", "undo", link["id"])
        self.refused("patient", "undo", "X1")

    def test_every_decision_is_audited(self):
        self.feed("HA,4001,三,三,,,,,1981-01-01,M,,,", "HB,4002,四,四,,,,,1991-02-02,M,,,")
        self.server.command("patient", "link", "HA:4001", "HB:4002")
        for number in ("4001", "4002"):  # fed, then linked: a record is about one patient
            records = audit_records.of_messages(self.server, f"{number}^^^", 2)
            self.assertEqual([audit_records.codes(record) for record in records],
                             [("110110", "", "C", "0"), ("110110", "", "U", "0")])

    def test_unlinked_identifiers_are_two_patients(self):
        self.feed("HA,5001,同姓,同名,,,,,1971-01-01,M,,,", "HB,5002,別,人,,,,,1991-02-02,F,,,")
        self.server.command("patient", "link", "HA:5001", "HB:5002")
        self.server.command("patient", "unlink", "HA:5001", "HB:5002")
        self.assertNotEqual(self.xad_pid("HA:5001"), self.xad_pid("HB:5002"))

    def test_xad_pids_are_merged_and_a_merge_is_undone(self):
        self.feed("HA,6001,五,五,,,,,1972-01-01,M,,,", "HB,6002,六,六,,,,,1992-02-02,F,,,")
        one, other = self.xad_pid("HA:6001"), self.xad_pid("HB:6002")
        self.server.command("patient", "merge", one, other)
        person = self.show("HA:6001")
        self.assertEqual(person["xad_pid"], other)
        merged = next(item for item in person["identifiers"] if item["value"] == one)
        self.assertEqual(merged["merged_into"], other)
        merge = person["merges"][-1]
        self.server.command("patient", "undo", merge["id"])
        self.assertEqual((self.xad_pid("HA:6001"), self.xad_pid("HB:6002")), (one, other))
        self.assertIn("not known", self.refused("patient", "merge", "nobody", other))

    @classmethod
    def clean_up(cls):
        """What the commands did broke no invariant."""
        fsck = cls.server.command("fsck", check=False)
        super().clean_up()
        if (fsck.returncode, fsck.stdout) != (0, "0 findings\n"):
            raise AssertionError(fsck.stdout + fsck.stderr)

    def test_a_number_is_tested_in_every_domain_it_may_belong_to(self):
        self.feed("HA,7001,七,七,,,,,1973-01-01,M,,,", "HB,7001,八,八,,,,,1993-02-02,F,,,")
        candidates = self.run_json("authority", "test", "7001")["candidates"]
        self.assertEqual({item["authority"]["namespace"] for item in candidates if item["state"] == "known"}, {"HA", "HB"})
        derived = self.run_json("authority", "test", "0000007001")["candidates"]
        self.assertEqual([(item["authority"]["namespace"], item["state"]) for item in derived], [("HAPACS", "derived")])
        self.assertIn("7001^^^HA&1.2.10.1&ISO", derived[0]["why"])
        self.assertEqual(derived[0]["xad_pid"], self.xad_pid("HA:7001"))
        own = next(item for item in candidates if item["authority"]["namespace"] == "HA")
        pacs = next(item for item in own["identifiers"] if item["authority"]["namespace"] == "HAPACS")
        self.assertEqual((pacs["value"], pacs["is_derived"]), ("0000007001", True))
        self.assertIn("pad", pacs["why"])
        only = self.run_json("authority", "test", "7001", "--authority", "HB")["candidates"]
        self.assertEqual([item["authority"]["oid"] for item in only], ["1.2.10.3"])
        self.assertIn("7001^^^HA", self.server.command("authority", "test", "0000007001").stdout)
        for nobody in ("7777", "HA:7777", "7777^^^HB"):
            self.assertEqual(self.server.command("authority", "test", nobody, check=False).returncode, 1)


class Review(Commands):
    """musubi patient review, where matching proposes all that it finds."""

    settings = {"matching": {"link_threshold": "1000", "review_threshold": "1"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for oid, name in (("1.2.14.1", "RA"), ("1.2.14.2", "RB")):
            cls.server.command("authority", "add", oid, "--namespace", name)

    def pair(self, number):
        """Feeds one patient of two hospitals: their identifiers and the number of the proposal."""
        rows = (f"{name},{number},双葉,太郎,フタバ,タロウ,,,1975-05-{number},M,150-0001,東京都渋谷区1-2-{number},03-0000-00{number}"
                for name in ("RA", "RB"))
        path = self.csv("\n".join((PATIENTS, *rows)))
        self.server.command("patient", "import", path)
        self.server.command("patient", "import", path)  # no second proposal
        found = [row for row in self.pairs() if f"{number}^^^" in row["one"]["identifier"]]
        self.assertEqual(len(found), 1, found)
        return f"RA:{number}", f"RB:{number}", found[0]

    def pairs(self):
        """The open ones."""
        return json.loads(self.server.command("patient", "review", "--json", check=False).stdout)

    def xad_pids(self, *identifiers):
        """The XAD-PID of each."""
        return [self.run_json("patient", "show", identifier)["xad_pid"] for identifier in identifiers]

    def test_a_proposal_says_why_and_is_accepted_once(self):
        one, other, pair = self.pair(11)
        self.assertTrue(pair["reason"])
        self.assertGreater(pair["score"], 1)
        self.assertEqual(pair["one"]["demographics"]["names"][0]["family"], "双葉")
        text = self.server.command("patient", "review", check=False)
        self.assertEqual(text.returncode, 1)
        self.assertIn(pair["reason"], text.stdout)
        self.assertIn("双葉 太郎", text.stdout)
        self.assertIn(pair["number"], [row["number"] for row in self.run_json("patient", "show", one)["proposals"]])
        before = self.xad_pids(one, other)
        self.assertNotEqual(*before)
        self.server.command("patient", "review", "accept", str(pair["number"]))
        self.assertEqual(*self.xad_pids(one, other))
        self.assertNotIn(pair["number"], [row["number"] for row in self.pairs()])
        again = self.server.command("patient", "review", "reject", str(pair["number"]), check=False)
        self.assertEqual(again.returncode, 1)
        self.assertIn("decided already", again.stdout)
        link = [row for row in self.run_json("patient", "show", other)["links"] if row["reason"] == "review"][-1]
        self.server.command("patient", "undo", link["id"])
        self.assertEqual(self.xad_pids(one, other), before)

    def test_a_rejected_pair_is_never_proposed_again(self):
        one, other, pair = self.pair(12)
        self.server.command("patient", "review", "reject", str(pair["number"]))
        path = self.csv(f"{PATIENTS}\nRB,12,双葉,太郎,フタバ,タロウ,,,1975-05-12,M,,,03-0000-0012\n")
        self.server.command("patient", "import", path)
        self.assertNotEqual(*self.xad_pids(one, other))
        self.assertFalse([row for row in self.pairs() if "12^^^" in row["one"]["identifier"]])

    def test_the_oldest_come_first_and_limit_ends_the_list(self):
        self.pair(13)
        self.pair(14)
        numbers = [row["number"] for row in self.pairs()]
        self.assertEqual(numbers, sorted(numbers))
        first = json.loads(self.server.command("patient", "review", "--limit", "1", "--json", check=False).stdout)
        self.assertEqual([row["number"] for row in first], numbers[:1])
        self.assertEqual(self.server.command("patient", "review", "accept", "999999", check=False).returncode, 1)
        self.refused("patient", "review", "forget", "1")
        self.refused("patient", "review", "--limit", "none")
        self.assertGreaterEqual(self.run_json("status")["open_reviews"], 2)


class Invariants(Commands):
    """fsck finds what nobody should have done to the rows."""

    def owner(self, sql):
        """Runs SQL as the owner of the tables."""
        connection = psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi_owner", dbname="musubi")
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
        connection.close()

    def test_each_broken_invariant_is_found(self):
        self.server.command("authority", "add", "1.2.12.1", "--namespace", "FA")
        path = self.csv("\n".join((PATIENTS, *(f"FA,{n},姓{n},名{n},,,,,197{n}-01-01,M,,," for n in range(9)))))
        self.server.command("patient", "import", path)
        self.assertEqual(self.server.command("fsck", check=False).stdout, "0 findings\n")
        number = "(SELECT id FROM patient_identifier WHERE value = '%d' AND NOT is_xad_pid)"
        person = "(SELECT person FROM patient_identifier WHERE value = '%d' AND NOT is_xad_pid)"
        cases = (
            (f"UPDATE patient_identifier SET person = 999 WHERE id = {number % 0}", "without identifier of the affinity"),
            (f"UPDATE patient_identifier SET is_xad_pid = true, person = 998 WHERE id = {number % 1}", "marked as"),
            (f"UPDATE patient_identifier SET survivor = {number % 3}, merged_at = now() WHERE id = {number % 2}",
             "of another person"),
            (f"UPDATE patient_identifier SET survivor = {number % 4}, merged_at = now() WHERE id = {number % 3}",
             "itself merged away"),
            ("INSERT INTO patient_merge (subsumed, survivor, node, source, message_id)"
             f" VALUES ({number % 5}, {number % 6}, 0, '', '')", "a merge subsumed it"),
            ("INSERT INTO patient_link (identifier, to_person, reason, node, source, message_id)"
             f" VALUES ({number % 5}, {person % 6}, 'manual', 0, '', '')", "last link"),
            ("INSERT INTO patient_link (identifier, to_person, reason, node, source, message_id)"
             " VALUES (999999, 1, 'manual', 0, '', '')", "999999 is named by the history"),
            (f"UPDATE patient_demographics SET identifier = 999998 WHERE identifier = {number % 7}", "999998 is the row"),
            (f"DELETE FROM patient_demographics WHERE identifier = {number % 8}", "search by name and no demographics"),
            ("SELECT 1", "keys for matching and no demographics"),
        )
        for sql, text in cases:
            self.owner(sql)
            result = self.server.command("fsck", check=False)
            self.assertEqual(result.returncode, 1, sql)
            self.assertIn(text, result.stdout)


class Waiting(Commands):
    """pid_owner = external: identifiers without XAD-PID."""

    settings = {"affinity_domain": {"pid_owner": "external"}}

    def test_identifiers_without_xad_pid_are_listed(self):
        self.server.command("authority", "add", "1.2.11.1", "--namespace", "WA")
        self.server.command("patient", "import", self.csv(f"{PATIENTS}\nWA,1,待,人,,,,,,,,,\n"))
        result = self.server.command("patient", "waiting", "--json", check=False)
        self.assertEqual(result.returncode, 1)
        self.assertEqual([row["identifier"] for row in json.loads(result.stdout)], ["1^^^WA&1.2.11.1&ISO"])
        self.assertTrue(self.run_json("patient", "show", "WA:1")["is_waiting"])
        self.assertEqual(self.run_json("status")["waiting_identifiers"], 1)
        self.assertRegex(self.server.command("status").stdout, r"waiting ids +1\n")
        self.assertIn("\nmusubi_waiting_identifiers 1\n", self.server.admin("/metrics"))
