"""The Audit Record Repository: what it takes, what it refuses, what it keeps, and that its chain shows every change (ITI-20)."""

import csv
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import threading
import unittest

import psycopg2

from tests.harness import server as harness
from tests.harness.waiting import PATIENCE_S, becomes, wait_until
from tests.integration import common

HEADER = b"<85>1 2026-04-01T00:30:00.130Z registry.example hie 4711 IHE+RFC-3881 - "
PATIENT = f"ARR-1^^^&amp;{harness.AUTHORITY}&amp;ISO"
DEFECTS = re.findall(r'^DEFECT\(\w+,\s+"([^"]+)"', (harness.ROOT / "atna" / "defects.def").read_text(encoding="utf-8"), re.M)
KINDS = re.findall(r'^KIND\(\w+,\s+"([^"]+)"', (harness.ROOT / "atna" / "record_kinds.def").read_text(encoding="utf-8"), re.M)
DICOM, DICOM_CODE, _, OTHER_XML, SYSLOG_ONLY, UNDECODABLE = KINDS


def message(number=1, **changes):
    """A DICOM audit message that is as it should be, but for the changes: text of it, and what replaces it."""
    text = (f'<AuditMessage><EventIdentification EventActionCode="R" EventDateTime="2026-04-01T00:30:00.120Z"'
            ' EventOutcomeIndicator="0"><EventID csd-code="110106" codeSystemName="DCM" originalText="Export"/>'
            '<EventTypeCode csd-code="ITI-43" codeSystemName="IHE Transactions" originalText="Retrieve Document Set"/>'
            f'</EventIdentification><ActiveParticipant UserID="viewer-{number}" UserIsRequestor="true"'
            ' NetworkAccessPointID="192.0.2.7" NetworkAccessPointTypeCode="2"><RoleIDCode csd-code="110153"'
            ' codeSystemName="DCM" originalText="Source Role ID"/></ActiveParticipant><AuditSourceIdentification'
            ' AuditSourceID="test-source"/><ParticipantObjectIdentification'
            f' ParticipantObjectID="{PATIENT}" ParticipantObjectTypeCode="1" ParticipantObjectTypeCodeRole="1">'
            '<ParticipantObjectIDTypeCode csd-code="2" codeSystemName="RFC-3881" originalText="Patient Number"/>'
            '</ParticipantObjectIdentification></AuditMessage>')
    for old, new in changes.items():
        text = text.replace(old, new)
    return HEADER + text.encode()


def frame(body):
    """Octet-counted (RFC 5425 4.3)."""
    return b"%d %s" % (len(body), body)


class Site(unittest.TestCase):
    """A server with both transports; mode enforce."""

    @classmethod
    def setUpClass(cls):
        cls.certs = common.make_certs(("server", "gateway-a", "gateway-b", "stranger"))
        cls.tls_port, cls.udp_port = harness.free_ports(2)
        user = harness.service_user()
        for path in cls.certs.iterdir() if user else ():
            os.chown(path, user.pw_uid, user.pw_gid)
        cls.server = harness.Server(certs=cls.certs, mode="enforce", settings={
            "server": {"plain_http_listen": None, "plain_mllp_listen": None},
            "audit": {"syslog_tls_listen": f"127.0.0.1:{cls.tls_port}", "syslog_udp_listen": f"127.0.0.1:{cls.udp_port}",
                      "syslog_udp_allow": "127.0.0.1, 2001:db8::/32", "head_copy": "heads.txt"}})
        cls.addClassCleanup(cls.server.close)
        cls.server.start()
        cls.server.command("facility", "add", "Hospital A")
        for node, transactions in (("gateway-a", "ITI-20"), ("gateway-b", "ITI-41")):
            cls.server.command("node", "add", node, "--facility", "Hospital A", "--transactions", transactions,
                               "--certificate", str(cls.certs / f"{node}.pem"))
        cls.server.wait_until_refreshed()

    @classmethod
    def connect(cls, role="gateway-a"):
        """A TLS connection with the certificate of a role; None: without one."""
        context = ssl.create_default_context(cafile=str(cls.certs / "ca.pem"))
        if role:
            context.load_cert_chain(cls.certs / f"{role}.pem", cls.certs / f"{role}.key")
        return context.wrap_socket(socket.create_connection(("127.0.0.1", cls.tls_port), timeout=PATIENCE_S),
                                   server_hostname="127.0.0.1")

    @classmethod
    def is_refused(cls, role):
        """Whether the server ends the connection; a TLS 1.3 client learns after its handshake that it was refused."""
        try:
            with cls.connect(role) as tls:
                return tls.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def send(self, *frames):
        """Writes frames on a connection of their own and ends it in order."""
        with self.connect() as tls:
            tls.sendall(b"".join(frames))
            tls.unwrap()

    def rows(self, statement, *values):
        """Rows of the server's database."""
        return common.rows(self.server, statement, *values)

    def newest(self):
        """Sequence of the last record."""
        return self.rows("SELECT coalesce(max(sequence), 0) FROM audit_record")[0][0]

    def wait_for(self, count, raw_like):
        """Waits until so many records hold a text, and gives sequence, kind, defects by name, and the rest of each."""
        statement = ("SELECT sequence, kind, defects, event_id, event_types, action, outcome, source_id, sender, raw, event_at"
                     " FROM audit_record WHERE position(%s::bytea IN raw) > 0 ORDER BY sequence")
        found = []

        def are_there():
            found[:] = self.rows(statement, raw_like)
            return len(found) >= count
        becomes(are_there)
        self.assertEqual(len(found), count, self.server.log()[-2000:])
        return [dict(zip(("sequence", "kind", "defects", "event_id", "event_types", "action", "outcome", "source_id", "sender",
                          "raw", "event_at"),
                         (row[0], KINDS[row[1]], {name for bit, name in enumerate(DEFECTS) if row[2] >> bit & 1}, *row[3:9],
                          bytes(row[9]), row[10])))
                for row in found]

    def verify(self, *arguments):
        """musubi audit verify: exit status and its JSON."""
        done = self.server.command("audit", "verify", "--json", *arguments, check=False)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.returncode, json.loads(done.stdout)


class Repository(Site):
    """What is taken and what is refused."""

    # ---- what is taken (TF-2 3.20.4.1; RFC 5424, 5425, 5426)

    def test_a_message_over_tls_is_stored_as_it_came_and_found_by_its_keys(self):
        body = message(1, **{"viewer-1": "東京-viewer"})
        self.send(frame(body))
        record = self.wait_for(1, "東京-viewer".encode())[0]
        self.assertEqual((record["kind"], record["defects"]), (DICOM, set()))
        self.assertEqual(record["raw"], body)
        self.assertEqual((record["event_id"], record["event_types"], record["action"], record["outcome"], record["source_id"]),
                         ("110106", ["ITI-43"], "R", 0, "test-source"))
        self.assertEqual(record["sender"], "tls:gateway-a@127.0.0.1")
        self.assertEqual(record["event_at"].isoformat(), "2026-04-01T00:30:00.120000+00:00")
        for kind, text in (("patient", "ARR-1"), ("patient", f"ARR-1^{harness.AUTHORITY}"), ("user", "東京-viewer"),
                           ("node", "192.0.2.7"), ("node", "gateway-a"), ("event", "iti-43"), ("event", "110106"),
                           ("source", "test-source")):
            found = self.rows("SELECT count(*) FROM audit_record WHERE sequence = %s AND keys @> ARRAY[('x' || left(encode("
                              "sha256(convert_to(%s, 'UTF8')), 'hex'), 16))::bit(64)::bigint]", record["sequence"],
                              f"{kind}:{text}")
            self.assertEqual(found[0][0], 1, (kind, text))

    def test_nothing_is_refused_for_its_content(self):
        cases = [  # what is sent, kind, defects that must be named
            (HEADER + b"case-01 no XML at all", SYSLOG_ONLY, {"no-audit-message"}),
            (HEADER + b"<case-02/>", OTHER_XML, {"no-audit-message"}),
            (HEADER + b"<AuditMessage>case-03", SYSLOG_ONLY, {"xml-refused"}),
            (HEADER + b'<!DOCTYPE a [<!ENTITY b "c">]><AuditMessage>case-04</AuditMessage>', SYSLOG_ONLY, {"xml-refused"}),
            (HEADER + b"<AuditMessage>case-05 \xff\xfe</AuditMessage>", SYSLOG_ONLY, {"not-utf8", "xml-refused"}),
            (b"case-06 \x00\x01\x02", UNDECODABLE, {"no-header", "not-utf8"}),
            (b"<13>Oct 11 22:14:15 host app: case-07", SYSLOG_ONLY, {"bsd-header"}),
            (message().replace(b"viewer-1", b"case-08").replace(b"<85>1", b"<14>1"), DICOM, {"header-pri"}),
            (message().replace(b"viewer-1", b"case-09").replace(b"- <Audit", b"- \xef\xbb\xbf<Audit"), DICOM, {"byte-order-mark"}),
            (message().replace(b"viewer-1", b"case-10").replace(b"csd-code", b"code"), DICOM_CODE, {"code-attribute"}),
            (message().replace(b"viewer-1", b"case-11").replace(b' - <Audit', b' [x@1 a="\\]\\""][y b="c"] <Audit'), DICOM, set()),
            (message().replace(b"viewer-1", b"case-12").replace(b"00:30:00.120Z", b"00:30:00"), DICOM, {"time-without-zone"}),
            (message().replace(b"viewer-1", b"case-13").replace(b"IHE+RFC-3881", b"-"), DICOM, {"header-msgid"}),
            (message().replace(b"viewer-1", b"case-14") + b"\n", DICOM, {"trailing-lf"}),
            (message().replace(b"viewer-1", b"case-15") + b" " * 900000, DICOM, set()),
        ]
        self.send(*(frame(body) for body, _, _ in cases))
        for number, (body, kind, defects) in enumerate(cases, 1):
            with self.subTest(case=number):
                record = self.wait_for(1, b"case-%02d" % number)[0]
                self.assertEqual(record["raw"], body)
                self.assertEqual(record["kind"], kind)
                self.assertEqual(record["defects"], defects | record["defects"] & {"no-audit-message"})
        counted = self.rows("SELECT record_count FROM audit_sender_defect WHERE sender = 'tls:gateway-a@127.0.0.1' AND"
                            " defect = %s", DEFECTS.index("bsd-header"))
        self.assertEqual(counted, [(1,)])

    def test_frames_without_octet_count_are_tolerated(self):
        self.send(message(1, **{"viewer-1": "lf-framed"}) + b"\n", frame(message(1, **{"viewer-1": "counted-after"})))
        self.assertEqual(self.wait_for(1, b"lf-framed")[0]["defects"], {"lf-frame"})
        self.assertEqual(self.wait_for(1, b"counted-after")[0]["defects"], set())

    def test_broken_framing_ends_the_connection_and_keeps_what_came_before(self):
        for number, bad in enumerate((b"0123 x", b"12345678 x", b"x", b"12x", b"9999999 x", b" 12 x", b"-1 x")):
            with self.subTest(bad=bad):
                marker = f"before-broken-{number}"
                with self.connect() as tls:
                    tls.sendall(frame(message(1, **{"viewer-1": marker})) + bad)
                    self.assertEqual(tls.recv(1), b"")
                self.wait_for(1, marker.encode())
        self.server.wait_for_log(r'event=syslog_closed peer=127.0.0.1 node="?gateway-a"? messages=1 problem="MSG-LEN')

    def test_a_message_that_is_cut_off_is_not_kept(self):
        before = len(self.server.log())
        with self.connect() as tls:
            tls.sendall(frame(message(1, **{"viewer-1": "whole-one"})) + frame(message(1, **{"viewer-1": "cut-one"}))[:-5])
            self.wait_for(1, b"whole-one")
        self.server.wait_for_log("the connection ended within a frame, which is not kept", before)
        self.send(frame(message(1, **{"viewer-1": "behind-the-cut"})))
        self.wait_for(1, b"behind-the-cut")
        self.wait_for(0, b"cut-one")

    def test_udp_is_taken_from_allowed_addresses_and_marked(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(message(1, **{"viewer-1": "over-udp"}), ("127.0.0.1", self.udp_port))
            udp.sendto(message(1, **{"viewer-1": "large-udp"}) + b" " * 60000, ("127.0.0.1", self.udp_port))
        self.assertEqual(self.wait_for(1, b"over-udp")[0]["sender"], "udp:@127.0.0.1")
        self.wait_for(1, b"large-udp")
        self.assertEqual(self.rows("SELECT is_trusted FROM audit_sender WHERE sender = 'udp:@127.0.0.1'"), [(False,)])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.2", 0))
            stranger.sendto(message(1, **{"viewer-1": "not-allowed"}), ("127.0.0.1", self.udp_port))
        self.server.wait_for_log("syslog_udp_dropped peer=127.0.0.2")
        self.wait_for(0, b"not-allowed")

    # ---- who is refused (TF-2 3.19.6)

    def test_only_a_registered_node_with_the_right_is_served(self):
        for role, reason in (("stranger", "unregistered"), ("gateway-b", "rights"), (None, "no-certificate")):
            with self.subTest(role=role):
                before = len(self.server.log())
                self.assertTrue(self.is_refused(role))
                self.server.wait_for_log(reason, before)
        self.send(frame(message(1, **{"viewer-1": "with-the-right"})))
        self.wait_for(1, b"with-the-right")
        with socket.create_connection(("127.0.0.1", self.tls_port), timeout=PATIENCE_S) as plain:
            plain.sendall(frame(message(1, **{"viewer-1": "plain-text"})))
            try:
                while plain.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        self.wait_for(0, b"plain-text")

    # ---- samples of others

    @unittest.skipUnless(os.environ.get("MUSUBI_REFERENCE"), "MUSUBI_REFERENCE names no folder")
    def test_all_samples_are_stored_and_their_defects_named(self):
        samples = pathlib.Path(os.environ["MUSUBI_REFERENCE"], "ihe", "samples")
        before = self.newest()
        sent = []
        for folder in ("iti-20", "iti-20-mesa"):
            with open(samples / folder / "INDEX.tsv", encoding="utf-8") as index:
                for row in csv.DictReader(index, delimiter="\t"):
                    body = (samples / folder / row["file"]).read_bytes()
                    is_frame = row["file"].endswith("-raw.txt")
                    sent.append((row, body.partition(b" ")[2] if is_frame else HEADER + body.rstrip()))
        self.send(*(frame(body) for _, body in sent))

        def stored():
            return {bytes(raw): (KINDS[kind], {name for bit, name in enumerate(DEFECTS) if defects >> bit & 1}, event_id)
                    for raw, kind, defects, event_id in self.rows("SELECT raw, kind, defects, event_id FROM audit_record"
                                                                  " WHERE sequence > %s AND sender LIKE 'tls:%%'", before)}
        wait_until(lambda: {body for _, body in sent} <= set(stored()), lambda: f"{len(stored())} of {len(sent)} are stored")
        found = stored()
        for row, body in sent:
            with self.subTest(file=row["file"]):
                kind, defects, event_id = found[body]
                self.assertRegex(event_id, r"^(1101\d\d|IHE\d{4})$")
                check = row.get("schema check (xmllint)") or row.get("schema check") or ""
                if "schema-valid" in check and "NOT" not in check:
                    self.assertEqual(kind, DICOM)
                    self.assertLessEqual(defects, {"no-user-id"})  # empty in two, which the schema lets pass
                elif "frame" not in row.get("note / expected", "") and not row["file"].endswith(("-raw.txt", "atna.xml")):
                    self.assertIn(kind, ("dicom-code", "rfc3881"))
                    self.assertIn("code-attribute", defects)

    # ---- the chain

    def test_own_events_are_records_too(self):
        wait_until(lambda: self.rows("SELECT 1 FROM audit_record WHERE sender = 'own:musubi@' AND event_id = '110100'"))

    def test_the_service_role_gives_nobody_rights(self):
        connection = psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi", dbname="musubi")
        self.addCleanup(connection.close)
        for statement in ("UPDATE access_role SET level = 2", "INSERT INTO access_role VALUES ('x', 2, true)",
                          "INSERT INTO access_role_code VALUES ('x', 'y', 'physician')", "UPDATE access_role_code SET role = 'physician'",
                          "INSERT INTO access_role_confidentiality SELECT 'node', id FROM code", "DELETE FROM access_role_confidentiality",
                          "INSERT INTO consent_policy VALUES ('1.2', 'x', true)", "UPDATE consent_policy SET is_enrolment = true",
                          "INSERT INTO consent_policy_disclosure (policy, is_permit, level) VALUES ('1.2', true, 2)",
                          "UPDATE enrolment SET is_enrolled = true", "DELETE FROM enrolment", "DELETE FROM disclosure",
                          "UPDATE break_glass SET acknowledged_at = now()", "DELETE FROM break_glass",
                          "UPDATE node SET transactions = '{*}'", "UPDATE identity_provider SET revoked_at = NULL"):
            with self.subTest(statement=statement), connection.cursor() as cursor:
                with self.assertRaisesRegex(psycopg2.Error, "permission denied"):
                    cursor.execute(statement)
                connection.rollback()

    def test_the_service_role_can_add_and_read_and_nothing_else(self):
        name = self.rows("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_record'::regclass")[0][0]
        connection = psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi", dbname="musubi")
        self.addCleanup(connection.close)
        for statement in ("UPDATE audit_record SET outcome = 0", "DELETE FROM audit_record", "TRUNCATE audit_record",
                          f"DROP TABLE {name}", f"SELECT * FROM {name}", f"UPDATE {name} SET outcome = 0", f"DELETE FROM {name}",
                          "UPDATE audit_head SET sequence = 1", "DELETE FROM audit_head", "DELETE FROM audit_chain",
                          "SELECT audit_drop_partition(now())"):
            with self.subTest(statement=statement), connection.cursor() as cursor:
                with self.assertRaises(psycopg2.Error):
                    cursor.execute(statement)
                connection.rollback()

    def test_a_fresh_head_is_signed_and_verify_takes_it(self):
        self.send(frame(message(1, **{"viewer-1": "head-me"})))
        self.wait_for(1, b"head-me")
        line = self.server.command("audit", "head").stdout
        self.assertRegex(line, r"^musubi-audit-head-1 chain=urn:uuid:\S+ purpose=head sequence=\d+ hash=[0-9a-f]{64} time=\S+Z"
                               r" key=[0-9a-f]{64} signature=[0-9a-f]{128}\n$")
        kept = self.server.dir / "kept.txt"
        kept.write_text(line, encoding="ascii")
        self.assertEqual(self.verify("--head", str(kept))[0], 0)
        kept.write_text(line.replace("sequence=", "sequence=1"), encoding="ascii")
        status, found = self.verify("--head", str(kept))
        self.assertEqual(status, 1)
        self.assertIn("not signed", json.dumps(found["findings"]))

    def test_the_defects_of_senders_are_shown(self):
        self.send(frame(b"<13>Oct 11 22:14:15 host app: shown-defect"))
        self.wait_for(1, b"shown-defect")
        senders = json.loads(self.server.command("status", "--json").stdout)["audit_senders"]
        sender = next(s for s in senders if s["sender"] == "tls:gateway-a@127.0.0.1")
        self.assertGreaterEqual(sender["defects"]["bsd-header"], 1)
        self.assertIn('musubi_audit_defects{sender="tls:gateway-a@127.0.0.1",defect="bsd-header"}', self.server.admin("/metrics"))


class Tampered(Site):
    """What somebody with the rights of the owner of the tables changes shows (DESIGN: audit verify)."""

    def setUp(self):
        self.connection = psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi_owner", dbname="musubi")
        self.addCleanup(self.connection.close)
        if self.newest() < 300:
            self.send(*(frame(message(number)) for number in range(300)))
            self.wait_for(300, b"viewer-")

    def change(self, *statements):
        """Runs them, and gives what verify then says; what was changed is put back."""
        with self.connection.cursor() as cursor:
            for table in ("audit_record", "audit_head", "audit_chain"):
                cursor.execute(f"CREATE TABLE IF NOT EXISTS saved_{table} AS TABLE {table}")
            for statement in statements:
                cursor.execute(statement)
            self.connection.commit()
            result = self.verify()
            cursor.execute("DELETE FROM audit_head; DELETE FROM audit_chain; DELETE FROM audit_record")
            for table in ("audit_chain", "audit_head", "audit_record"):
                overriding = "OVERRIDING SYSTEM VALUE" if table == "audit_chain" else ""
                cursor.execute(f"INSERT INTO {table} {overriding} SELECT * FROM saved_{table}; DROP TABLE saved_{table}")
            self.connection.commit()
        return result


def _tampering(name, first_bad, *statements):
    def test(self):
        self.assertEqual(self.verify()[0], 0)
        status, found = self.change(*statements)
        self.assertEqual(status, 1, found)
        if first_bad:
            self.assertEqual(found["first_bad"]["sequence"], first_bad, found)
        self.assertEqual(self.verify()[0], 0)
    setattr(Tampered, f"test_{name}", test)


_LAST = "(SELECT max(sequence) FROM audit_record)"
_OLDER_END = ("UPDATE audit_chain c SET sequence = h.sequence, hash = h.hash, signed_at = h.signed_at, signature = h.signature"
              " FROM (SELECT * FROM audit_head ORDER BY sequence LIMIT 1) h")
_tampering("an_edited_record_is_found", 100, "UPDATE audit_record SET raw = raw || 'x'::bytea WHERE sequence = 100")
_tampering("an_edited_column_is_found", 101, "UPDATE audit_record SET sender = 'tls:gateway-z@127.0.0.1' WHERE sequence = 101")
_tampering("edited_keys_are_found", 102, "UPDATE audit_record SET keys = keys[2:] WHERE sequence = 102")
_tampering("an_edited_hash_is_found", 103, "UPDATE audit_record SET hash = sha256(hash) WHERE sequence = 103")
_tampering("a_removed_record_is_found", 104, "DELETE FROM audit_record WHERE sequence = 104")
_tampering("the_first_record_removed_is_found", 1, "DELETE FROM audit_record WHERE sequence = 1")
_tampering("records_that_changed_places_are_found", 110,
           "UPDATE audit_record SET sequence = 331 - sequence WHERE sequence IN (110, 221)")
_tampering("a_record_that_is_there_twice_is_found", 120, "INSERT INTO audit_record SELECT * FROM audit_record WHERE sequence = 120")
_tampering("a_record_before_the_first_is_found", None, "INSERT INTO audit_record SELECT chain, 0, received_at, event_at, sender, kind,"
           " defects, event_id, event_types, action, outcome, source_id, keys, raw, hash FROM audit_record WHERE sequence = 120")
_tampering("a_record_behind_the_end_is_found", None, "INSERT INTO audit_record SELECT chain, sequence + 1, received_at, event_at, sender,"
           " kind, defects, event_id, event_types, action, outcome, source_id, keys, raw, hash FROM audit_record WHERE sequence ="
           f" {_LAST}")
_tampering("a_tail_cut_is_found", 250, "DELETE FROM audit_record WHERE sequence >= 250")
_tampering("a_tail_cut_with_an_older_head_is_found", None, "DELETE FROM audit_record WHERE sequence > (SELECT min(sequence) FROM"
           " audit_head)", _OLDER_END, "DELETE FROM audit_head WHERE sequence > (SELECT sequence FROM audit_chain)")
_tampering("all_removed_is_found", 1, "DELETE FROM audit_record", "DELETE FROM audit_head", "DELETE FROM audit_chain")
_tampering("a_chain_without_its_row_is_found", None, "DELETE FROM audit_head", "DELETE FROM audit_chain")


class Killed(Site):
    """kill -9 while messages come (contract: what was fully read is in the chain once)."""

    def test_kill_loses_nothing_that_was_read_and_doubles_nothing(self):
        sent = 0
        for cycle in range(3):
            done = threading.Event()
            count = [sent]

            def feed():
                try:
                    with self.connect() as tls:
                        while not done.is_set():
                            body = message(1, **{"viewer-1": f"kill-{count[0]:06d}"})
                            tls.sendall(frame(body))
                            count[0] += 1
                except OSError:
                    pass

            feeder = threading.Thread(target=feed)
            feeder.start()
            acknowledged = wait_until(lambda known=self.newest(): self.newest() if self.newest() > known + 100 else 0)
            self.server.process.send_signal(signal.SIGKILL)
            self.server.process.wait()
            done.set()
            feeder.join()
            sent = count[0]
            self.server.start()
            self.assertGreaterEqual(self.newest(), acknowledged, cycle)
        self.send(frame(message(1, **{"viewer-1": "behind-the-kills"})))
        self.wait_for(1, b"behind-the-kills")  # records are made in the order in which the messages came
        numbers = [int(n) for (n,) in self.rows("SELECT substring(convert_from(raw, 'UTF8') FROM 'kill-([0-9]+)') FROM audit_record"
                                                " WHERE position('kill-'::bytea IN raw) > 0 ORDER BY sequence")]
        self.assertGreater(len(numbers), 100)
        self.assertEqual(len(numbers), len(set(numbers)))
        self.assertEqual(numbers, sorted(numbers))
        gaps = sum(b != a + 1 for a, b in zip(numbers, numbers[1:]))
        self.assertLessEqual(gaps, 3)  # one per kill: what was in the sockets
        sequences = self.rows("SELECT count(*), min(sequence), max(sequence) FROM audit_record")[0]
        self.assertEqual((sequences[0], sequences[1]), (sequences[2], 1))
        self.assertEqual(self.verify()[0], 0)


if __name__ == "__main__":
    unittest.main()
