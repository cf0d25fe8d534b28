"""HL7 v3 of a running server: audit, restarts, who may go on with a query, memory (ITI TF-2 3.44 to 3.47)."""

import base64
import pathlib
import re

from lxml import etree

from conformance import client as xds
from tests.harness.waiting import becomes, wait_until
from tests.integration import common, v3_messages as v3

DOMAIN = "1.2.392.99999.4.11"
OTHER = "1.2.392.99999.4.12"
MANY = 10_000 if common.IS_FULL else 300


class HL7v3(common.ServerCase):
    """Two domains, any node."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for oid in (DOMAIN, OTHER):
            cls.server.command("authority", "add", oid, "--kind", "emr")
        cls.server.wait_until_refreshed()

    def records(self, text, count):
        """The audit messages that hold a text, waiting until there are so many."""
        def found():
            output = self.server.command("audit", "search", text, check=False).stdout
            return [etree.fromstring(record) for record in re.findall(r"<AuditMessage>.*?</AuditMessage>", output, re.S)]
        return wait_until(lambda: records if len(records := found()) >= count else [],
                          lambda: f"{len(found())} audit messages with {text}")

    def assert_detail(self, record, message_id):
        """Every participant object names the message by its II (ITI TF-2 3.44.5.1)."""
        for found in record.findall("ParticipantObjectIdentification"):
            detail = found.find("ParticipantObjectDetail[@type='II']")
            self.assertEqual(base64.b64decode(detail.get("value")).decode(), message_id)

    def test_query_is_audited_with_its_parameters_and_patients(self):
        soap = self.soap()
        v3.feed(soap, [(DOMAIN, "AUDIT1"), (OTHER, "AUDIT2")])
        query = v3.fill("v3_pix_query", root=DOMAIN, id="AUDIT1", control="audited-query")
        self.assertEqual(v3.send(soap, query).outcome, "AA")
        record = next(r for r in self.records("AUDIT2", 2) if r.find(".//EventTypeCode").get("csd-code") == "ITI-45")
        patients = [o.get("ParticipantObjectID") for o in record.findall("ParticipantObjectIdentification[@ParticipantObjectTypeCode='1']")]
        self.assertEqual(patients[0], f"AUDIT1^^^&{DOMAIN}&ISO")
        self.assertIn(f"AUDIT2^^^&{OTHER}&ISO", patients)
        asked = etree.fromstring(base64.b64decode(record.findtext(".//ParticipantObjectQuery")))
        self.assertEqual(etree.QName(asked).localname, "queryByParameter")
        self.assertEqual(asked.xpath("string(//hl7:patientIdentifier/hl7:value/@extension)", namespaces=xds.NS), "AUDIT1")
        self.assert_detail(record, "audited-query@1.2.392.99999.50.1")

    def test_merge_is_audited_as_deletion_and_update(self):
        soap = self.soap()
        v3.feed(soap, [(DOMAIN, "SUBSUMED")], birth="19330303", family="統合")
        v3.feed(soap, [(DOMAIN, "SURVIVOR")], birth="19440404", family="存続")
        merge = v3.fill("v3_merge", root=DOMAIN, survivor="SURVIVOR", subsumed="SUBSUMED", control="merge-1")
        self.assertEqual(v3.send(soap, merge).outcome, "CA")
        for patient, action in (("SUBSUMED", "D"), ("SURVIVOR", "U")):
            records = becomes(lambda number=patient, kind=action: [
                r for r in self.records(number, 2) if r.find("EventIdentification").get("EventActionCode") == kind])
            self.assertEqual(len(records), 1)
            self.assert_detail(records[0], "merge-1@1.2.392.99999.50.1")

    def test_refused_feed_is_audited_as_a_failure(self):
        soap = self.soap()
        body = v3.fill("v3_add", root="1.2.392.99999.4.99", id="REFUSED")
        self.assertEqual(v3.send(soap, body).outcome, "CE")
        (record,) = self.records("REFUSED", 1)
        self.assertEqual(record.find("EventIdentification").get("EventOutcomeIndicator"), "8")

    def test_query_goes_on_after_a_restart(self):
        soap = self.soap()
        for number in range(1, 6):
            v3.feed(soap, [(DOMAIN, f"RESTART{number}")], family="再起動", given=f"{number}", birth=f"1950010{number}")
        first = v3.send(soap, v3.query_by_family("restart", "再起動", 2))
        self.assertEqual(self.quantities(first), ["5", "2", "3"])
        soap.close()
        self.server.stop()
        self.server.start()
        second = v3.send(self.soap(), *v3.go_on("restart", 10))
        self.assertEqual(self.quantities(second), ["5", "3", "0"])
        both = self.identifiers(first) + self.identifiers(second)
        self.assertEqual(sorted(both), [f"RESTART{number}" for number in range(1, 6)])

    def test_all_matches_come_without_a_quantity(self):
        soap = self.soap()
        for number in range(MANY):
            month, day = divmod(number, 28)
            v3.feed(soap, [(DOMAIN, f"MANY{number}")], family="多数", given=f"{number}",
                    birth=f"{1900 + month // 12 % 100}{month % 12 + 1:02d}{day + 1:02d}")
        before = self.peak_bytes(is_new=True)
        reply = v3.send(soap, v3.query_by_family("many", "多数"))
        self.assertEqual(self.quantities(reply), [str(MANY), str(MANY), "0"])
        self.assertEqual(len(set(self.identifiers(reply))), MANY)
        used = self.peak_bytes() - before
        print(f"{MANY} matches: answer {len(reply.raw) >> 10} KiB, server {used >> 10} KiB more at its peak")
        self.assertLess(used, 8 * len(reply.raw) + (8 << 20))

    def peak_bytes(self, is_new=False):
        """The most memory that the server has had, from now on if is_new."""
        folder = pathlib.Path(f"/proc/{self.server.process.pid}")
        if is_new:
            (folder / "clear_refs").write_text("5", encoding="ascii")
        return 1024 * int(re.search(r"^VmHWM:\s+(\d+) kB", (folder / "status").read_text(encoding="ascii"), re.M).group(1))

    def quantities(self, reply):
        """Total, current, remaining."""
        ack = reply.body.find(".//hl7:queryAck", xds.NS)
        return [ack.find(f"hl7:result{name}Quantity", xds.NS).get("value") for name in ("Total", "Current", "Remaining")]

    def identifiers(self, reply):
        """The extensions of Patient.id in the domain."""
        return reply.body.xpath(f"//hl7:patient/hl7:id[@root='{DOMAIN}']/@extension", namespaces=xds.NS)
