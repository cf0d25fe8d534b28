"""What befalls an Audit Record Repository: backups of another day, lost keys, months that end, other servers beside it (ITI-20)."""

import contextlib
import datetime
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import time
import unittest
import uuid

import psycopg2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.harness import server as harness
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import common
from tests.integration import test_audit_repository as repository


def as_owner(server, *statements):
    """Runs statements as the owner of the tables."""
    connection = psycopg2.connect(host=f"{server.dir}/data/postgres", user="musubi_owner", dbname="musubi")
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


def give_to_service(folder):
    """A folder that this test wrote belongs to the account of the server again."""
    user = harness.service_user()
    for path in (folder, *folder.rglob("*")) if user else ():
        os.chown(path, user.pw_uid, user.pw_gid)


class Restored(repository.Site):
    """data_dir comes back from a backup that is older than the database."""

    def test_what_comes_after_an_older_data_dir_came_back_is_stored(self):
        audit = self.server.dir / "data" / "audit"
        kept = self.server.dir / "kept"
        self.send(repository.frame(repository.message(1, **{"viewer-1": "before-backup"})))
        self.wait_for(1, b"before-backup")
        self.server.stop()
        shutil.copytree(audit, kept)
        self.server.start()
        self.send(*(repository.frame(repository.message(n, **{f"viewer-{n}": f"after-backup-{n}"})) for n in range(200)))
        self.wait_for(200, b"after-backup")
        self.server.stop()
        shutil.rmtree(audit)
        shutil.copytree(kept, audit)
        give_to_service(audit)
        self.server.start()
        self.send(repository.frame(repository.message(1, **{"viewer-1": "after-restore"})))
        self.wait_for(1, b"after-restore")
        self.assertIn("event=audit_spool_replaced", self.server.log())
        self.assertEqual(len(self.wait_for(200, b"after-backup")), 200)
        self.server.stop()
        shutil.rmtree(audit / "received")
        self.server.start()
        self.send(repository.frame(repository.message(1, **{"viewer-1": "after-removal"})))
        self.wait_for(1, b"after-removal")
        self.assertEqual(self.verify()[0], 0)


class KilledDatabase(repository.Site):
    """PostgreSQL is killed while records are loaded: what it had not yet written is still in the spool."""

    KILLS = 4
    MESSAGES = 15000

    def test_what_a_killed_database_had_not_written_is_loaded_again(self):
        for kill in range(self.KILLS):
            before = self.newest()
            self.send(*(repository.frame(repository.message(n, **{f"viewer-{n}": f"killed-{kill}-{n}"}))
                        for n in range(self.MESSAGES)))
            wait_until(lambda newest=before: self.newest() > newest, self.server.log)
            self.kill_postgres()
            wait_until(self.has_database, self.server.log)
        wait_until(lambda: self.count() >= self.KILLS * self.MESSAGES, self.server.log, 4 * PATIENCE_S)
        self.assertEqual(self.count(), self.KILLS * self.MESSAGES)
        self.assertNotIn("event=audit_chain_lost", self.server.log(), "a head was signed for what was not durable")
        self.assertEqual(self.verify()[0], 0)

    def kill_postgres(self):
        """kill -9 of the postmaster and of all its children: nothing is written any more."""
        postmaster = self.server.postmaster_pid()
        children = [int(pid) for task in pathlib.Path(f"/proc/{postmaster}/task").iterdir()
                    for pid in (task / "children").read_text().split()]
        for pid in (postmaster, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def has_database(self):
        """Whether PostgreSQL answers again."""
        try:
            return self.newest() >= 0
        except psycopg2.Error:
            return False

    def count(self):
        """Different messages of this test, and no other, that are stored."""
        try:
            rows = self.rows("SELECT count(*), count(DISTINCT substring(raw FROM position('killed-'::bytea IN raw) FOR 16))"
                             " FROM audit_record WHERE position('killed-'::bytea IN raw) > 0")
        except psycopg2.Error:
            return 0
        self.assertEqual(rows[0][0], rows[0][1], "a record is stored twice")
        return rows[0][0]


class Retention(unittest.TestCase):
    """[audit] retention: whole months go, an anchor says so, and verify knows the difference (DESIGN: audit verify)."""

    DAYS_AGO = (200, 199, 170, 140, 110, 80, 50, 20)
    RETENTION_DAYS = 90

    def setUp(self):
        self.server = harness.Server(settings={"audit": {"syslog_udp_listen": f"127.0.0.1:{harness.free_ports(1)[0]}",
                                                         "syslog_udp_allow": "127.0.0.1"}})
        self.addCleanup(self.server.close)
        audit = self.server.dir / "data" / "audit"
        (audit / "received").mkdir(parents=True)
        self.now_s = time.time()  # midnight may pass while a test runs
        self.write_spool(audit / "received", self.DAYS_AGO)
        give_to_service(self.server.dir / "data")

    def write_spool(self, folder, days_ago):
        """Messages as if they had been received so many days ago: the loader takes the time from the spool."""
        with open(folder / f"{1:016x}.spool", "wb") as spool:
            for days in days_ago:
                payload = b"udp:@127.0.0.1\n0\n" + repository.message(1, **{"viewer-1": f"days-ago-{days}"})
                spool.write(spool_record(int((self.now_s - days * 86400) * 1_000_000), payload))

    def set_retention(self, days):
        """Writes it into the configuration of the server that stands still."""
        text = self.server.config_path.read_text(encoding="utf-8")
        text = "".join(line for line in text.splitlines(True) if not line.startswith("retention"))
        self.server.config_path.write_text(text.replace("[audit]\n", f"[audit]\nretention = {days}d\n"), encoding="utf-8")

    def days(self):
        """Which of the messages are stored."""
        return [int(n) for (n,) in common.rows(
            self.server, "SELECT substring(convert_from(raw, 'UTF8') FROM 'days-ago-([0-9]+)') FROM audit_record WHERE"
                         " position('days-ago-'::bytea IN raw) > 0 ORDER BY sequence")]

    def months(self):
        """The partitions."""
        return [name for (name,) in common.rows(self.server, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent ="
                                                             " 'audit_record'::regclass ORDER BY 1")]

    def verify(self):
        """musubi audit verify: exit status and its text."""
        done = self.server.command("audit", "verify", check=False)
        return done.returncode, done.stdout + done.stderr

    def load(self):
        """Starts the server, which keeps everything, until all is loaded."""
        self.server.start()
        wait_until(lambda: self.days() == list(self.DAYS_AGO), self.days)

    def expected(self):
        """Of the messages those whose month was not over by the retention."""
        oldest = time.gmtime(time.time() - self.RETENTION_DAYS * 86400)
        return [d for d in self.DAYS_AGO if time.gmtime(self.now_s - d * 86400)[:2] >= oldest[:2]]

    def drop(self):
        """Starts the server with a retention, until it has removed what is over."""
        self.server.stop()
        self.set_retention(self.RETENTION_DAYS)
        self.server.start()
        wait_until(lambda: set(self.days()) == set(self.expected()), lambda: f"{self.days()} {self.server.log()[-2000:]}")

    def test_whole_months_are_removed_behind_an_anchor_and_verify_stays_clean(self):
        self.load()
        self.assertEqual(self.verify()[0], 0, self.verify())
        before = self.months()
        as_owner(self.server, "INSERT INTO audit_login SELECT sequence, event_at, received_at FROM audit_record")
        self.drop()
        self.assertLess(len(self.months()), len(before))
        logins = common.rows(self.server, "SELECT count(*), count(*) FILTER (WHERE received_at < (SELECT min(received_at) FROM"
                                          " audit_record)) FROM audit_login")
        self.assertEqual([(count > 0, removed) for count, removed in logins], [(True, 0)])
        self.server.wait_for_log("event=audit_month_removed")
        self.assertEqual(self.verify()[0], 0, self.verify())
        anchors = common.rows(self.server, "SELECT count(*) FROM audit_head WHERE purpose = 'anchor'")[0][0]
        self.assertGreaterEqual(anchors, 1)
        self.server.stop()
        self.server.start()
        self.assertEqual(self.verify()[0], 0, self.verify())

    def test_a_month_that_goes_without_an_anchor_is_found(self):
        self.load()
        as_owner(self.server, f"DROP TABLE {self.months()[0]}")
        status, text = self.verify()
        self.assertEqual(status, 1)
        self.assertIn("record 1 is missing", text)

    def test_a_month_that_goes_behind_the_anchors_is_found(self):
        self.load()
        self.drop()
        as_owner(self.server, f"DROP TABLE {self.months()[0]}")
        status, text = self.verify()
        self.assertEqual(status, 1)
        self.assertIn("is missing", text)

    def test_the_service_role_removes_nothing_before_its_time_whatever_anchors_it_writes(self):
        self.load()
        service = psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi", dbname="musubi")
        self.addCleanup(service.close)
        for statement in (
                "INSERT INTO audit_head SELECT id, 1000000, 'anchor', hash, public_key, signed_at, signature FROM audit_chain;"
                f" SELECT audit_drop_partition(to_timestamp({self.now_s - self.DAYS_AGO[0] * 86400}))",
                "UPDATE audit_retention SET days = 31", "INSERT INTO audit_retention (days) VALUES (31)"):
            with self.subTest(statement=statement), service.cursor() as cursor:
                with self.assertRaises(psycopg2.Error):
                    cursor.execute(statement)
                service.rollback()
        self.assertEqual(self.days(), list(self.DAYS_AGO))

    def test_months_of_a_chain_that_was_given_up_are_removed_too(self):
        self.load()
        self.server.stop()
        self.server.start()
        as_owner(self.server, "UPDATE audit_chain SET sequence = sequence - 1")  # as an older backup would
        self.server.stop()
        self.server.start()
        self.server.wait_for_log("event=audit_chain_lost")
        as_owner(self.server, "UPDATE audit_chain SET sequence = sequence + 1 WHERE id = 1")
        self.drop()
        self.assertEqual(self.verify()[0], 0, self.verify())


CRC32C = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F63B78 if _byte & 1 else 0)
    CRC32C.append(_byte)


def spool_record(recorded_us, payload):
    """A record of a spool (atna/README.md)."""
    checked = struct.pack("<Iq", len(payload), recorded_us) + payload
    crc = 0xFFFFFFFF
    for byte in checked:
        crc = CRC32C[(crc ^ byte) & 255] ^ crc >> 8
    return struct.pack("<I", crc ^ 0xFFFFFFFF) + checked


class Heads(repository.Site):
    """What the heads say that are kept elsewhere, and what becomes of their key."""

    def setUp(self):
        self.audit = self.server.dir / "data" / "audit"
        self.send(*(repository.frame(repository.message(n)) for n in range(5)))
        wait_until(lambda: self.verify()[0] == 0, self.server.log)

    def texts(self, *arguments):
        """What verify finds."""
        return [finding["text"] for finding in self.verify(*arguments)[1]["findings"]]

    def test_a_file_without_heads_proves_nothing(self):
        kept = self.server.dir / "kept.txt"
        for content, text in (("", "no signed head"), ("\n\n", "no signed head"), ("\0\xff" * 100, "1 lines are no signed heads"),
                              ("musubi-audit-head-1\n" * 1000, "1000 lines are no signed heads")):
            with self.subTest(content=content[:20]):
                kept.write_bytes(content.encode("latin-1"))
                self.assertIn(text, "\n".join(self.texts("--head", str(kept))))
        self.assertEqual(self.server.command("audit", "verify", "--head", str(self.server.dir / "none"), check=False).returncode, 3)

    def test_heads_of_another_chain_of_the_future_and_of_another_key_are_told(self):
        key = ed25519.Ed25519PrivateKey.generate()
        line = self.server.command("audit", "head").stdout.strip()
        kept = self.server.dir / "kept.txt"
        own = serialization.load_pem_private_key((self.audit / "head.key").read_bytes(), None)
        sequence = int(re.search(r"sequence=(\d+)", line)[1])
        other = f"urn:uuid:{uuid.uuid4()}"
        cases = (  # (changes, key, what verify says)
            ({"chain": other}, own, "the database does not have this chain"),
            ({"chain": other}, key, "not signed by this server, but with the key"),
            ({"sequence": str(sequence + 1000)}, own, "is missing: the head in"),
            ({"sequence": str(sequence - 1)}, own, "is not what the head in"),
            ({}, key, "not signed by this server, but with the key"),
        )
        for changes, signer, text in cases:
            with self.subTest(changes=changes, own=signer is own):
                kept.write_text((signed_head(line, signer, **changes) + "\n") * 300, encoding="ascii")
                found = self.texts("--head", str(kept))
                self.assertIn(text, "\n".join(found))
        kept.write_text(line, encoding="ascii")
        self.assertEqual(self.texts("--head", str(kept)), [])

    def test_a_history_that_was_signed_again_does_not_have_the_heads_that_were_copied(self):
        own = serialization.load_pem_private_key((self.audit / "head.key").read_bytes(), None)
        self.server.stop()  # which copies the newest head
        copied = (self.server.dir / "heads.txt").read_text(encoding="ascii").splitlines()
        line = max(copied, key=lambda text: int(re.search(r"sequence=(\d+)", text)[1]))
        with open(self.server.dir / "heads.txt", "a", encoding="ascii") as heads:
            heads.write(signed_head(line, own, hash="00" * 32) + "\n")  # the true history is the other one
        self.server.start()
        self.send(repository.frame(repository.message(1, **{"viewer-1": "after-the-fork"})))
        self.wait_for(1, b"after-the-fork")
        self.assertIn("is not what the head in", "\n".join(self.texts()))
        (self.server.dir / "heads.txt").write_text("\n".join(copied) + "\n", encoding="ascii")
        self.assertEqual(self.texts(), [])

    def test_a_lost_key_is_told_and_what_it_signed_counts_again_once_it_is_trusted(self):
        key_file, trusted = self.audit / "head.key", self.audit / "head.trusted"
        public = re.search(r" key=([0-9a-f]{64})", self.server.command("audit", "head").stdout)[1]
        self.server.stop()
        key_file.unlink()
        self.server.start()
        self.server.wait_for_log("event=audit_key_made")
        self.send(repository.frame(repository.message(1, **{"viewer-1": "after-the-key"})))
        self.wait_for(1, b"after-the-key")
        found = self.texts()
        self.assertEqual(len(found), 1, found)
        self.assertIn(public, found[0])
        self.assertIn("head.trusted", found[0])
        trusted.write_text(f"{public} until the disk failed\n", encoding="ascii")
        self.assertEqual(self.texts(), [])
        trusted.write_text(f"{public}\nno key\n", encoding="ascii")
        self.assertIn("1 lines are no public keys", "\n".join(self.texts()))
        trusted.write_text(f"{public}\n", encoding="ascii")
        kept = key_file.read_bytes()
        key_file.unlink()
        self.assertIn("head.key is missing", "\n".join(self.texts()))
        key_file.write_bytes(kept)
        self.assertEqual(self.texts(), [])


def signed_head(line, key, **changes):
    """A head with other values, signed with a key."""
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
    for name, value in {"key": public, **changes}.items():
        line = re.sub(rf" {name}=\S+", f" {name}={value}", line)
    statement = line.partition(" signature=")[0]
    return f"{statement} signature={key.sign(statement.encode()).hex()}"


class Open(common.ServerCase):
    """Access mode open: whoever has a certificate of the authority may send."""

    roles = ("server", "stranger")
    tls_port = harness.free_ports(1)[0]
    settings = {"audit": {"syslog_tls_listen": f"127.0.0.1:{tls_port}"}}

    def send_as(self, name, text):
        """One message on a connection of its own."""
        folder = self.server.certs
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        with context.wrap_socket(socket.create_connection(("127.0.0.1", self.tls_port), timeout=PATIENCE_S), server_hostname="127.0.0.1") as tls:
            tls.sendall(repository.frame(repository.message(1, **{"viewer-1": text})))
            tls.unwrap()

    def senders(self, text):
        """Of the records with this text."""
        return [sender for (sender,) in common.rows(
            self.server, "SELECT sender FROM audit_record WHERE position(%s::bytea IN raw) > 0", text.encode())]

    def test_a_sender_with_a_very_long_name_stops_nothing(self):
        folder = self.server.certs
        authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        key = serialization.load_pem_private_key((folder / "stranger.key").read_bytes(), None)
        units = [x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, os.urandom(32).hex()) for _ in range(150)]
        now = datetime.datetime.utcnow()
        certificate = x509.CertificateBuilder(
            authority.subject, x509.Name(units), key.public_key(), x509.random_serial_number(), now - datetime.timedelta(1),
            now + datetime.timedelta(1)).sign(signer, hashes.SHA256())
        (folder / "long.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        shutil.copyfile(folder / "stranger.key", folder / "long.key")
        self.send_as("long", "of-long-name")
        self.send_as("stranger", "of-short-name")
        wait_until(lambda: self.senders("of-short-name"), self.server.log)
        self.assertEqual(self.senders("of-short-name"), ["tls:CN=stranger,O=Musubi test@127.0.0.1"])
        (sender,) = self.senders("of-long-name")
        self.assertRegex(sender, "^tls:OU=.{500,600}@127.0.0.1$")


class TwoServers(unittest.TestCase):
    """Two servers load into one database: each has a chain of its own."""

    def setUp(self):
        self.servers = []
        self.first = self.make()
        self.first.start()

    def make(self):
        """A server of this site: the first one's PostgreSQL is everybody's."""
        settings = {"audit": {"syslog_udp_listen": f"127.0.0.1:{harness.free_ports(1)[0]}", "syslog_udp_allow": "127.0.0.1"}}
        if self.servers:
            socket_folder = f"{self.servers[0].dir}/data/postgres"
            settings["database"] = {"embedded": "no", "conninfo": f"host={socket_folder} user=musubi dbname=musubi",
                                    "owner_conninfo": f"host={socket_folder} user=musubi_owner dbname=musubi",
                                    "shared_buffers": None}
        server = harness.Server(settings=settings)
        self.servers.append(server)
        self.addCleanup(server.close)
        return server

    def say(self, server, text):
        """A message to one of them, over UDP."""
        port = int(re.search(r"syslog_udp_listen = \S+:(\d+)", server.config_path.read_text(encoding="utf-8"))[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(repository.message(1, **{"viewer-1": text}), ("127.0.0.1", port))

    def stored(self, text):
        """How often a text is there."""
        return common.rows(self.first, "SELECT count(*) FROM audit_record WHERE position(%s::bytea IN raw) > 0", text.encode())[0][0]

    def verify(self, server):
        """Exit status and output."""
        done = server.command("audit", "verify", check=False)
        return done.returncode, done.stdout + done.stderr

    def test_each_verifies_what_both_have_stored_once_it_trusts_the_key_of_the_other(self):
        second = self.make()
        second.start()
        for number in range(20):
            for name, server in (("one", self.first), ("two", second)):
                self.say(server, f"{name}-{number:02d}")
        wait_until(lambda: self.stored("one-19") and self.stored("two-19"), self.first.log)
        self.assertEqual(common.rows(self.first, "SELECT count(DISTINCT chain) FROM audit_record")[0][0], 2)
        status, text = self.verify(self.first)
        self.assertEqual(status, 1)
        self.assertEqual(text.count("head.trusted"), 1, text)
        for server, other in ((self.first, second), (second, self.first)):
            public = re.search(r" key=(\S+)", other.command("audit", "head").stdout)[1]
            (server.dir / "data" / "audit" / "head.trusted").write_text(f"{public} the other server\n", encoding="ascii")
            self.assertEqual(self.verify(server)[0], 0, self.verify(server))

    def test_a_copy_of_the_data_dir_loses_nothing_of_either(self):
        second = self.make()
        self.say(self.first, "before-the-copy")
        wait_until(lambda: self.stored("before-the-copy") == 1, self.first.log)
        shutil.copytree(self.first.dir / "data" / "audit", second.dir / "data" / "audit")
        give_to_service(second.dir / "data")
        second.start()
        for number in range(50):
            self.say(self.first, f"one-{number:02d}")
            self.say(second, f"two-{number:02d}")
            time.sleep(0.02)
        for name in ("one", "two"):
            for number in range(50):
                wait_until(lambda text=f"{name}-{number:02d}": self.stored(text) > 0, f"{name}-{number:02d}")
        wait_until(lambda: "its data_dir is a copy of this one" in self.first.log() + second.log(), second.log)
        self.assertEqual(self.verify(self.first)[0], 0, self.verify(self.first))


if __name__ == "__main__":
    unittest.main()
