"""FHIR over a real server: rights, audit, limits, large results (ITI TF-2 Z.7, 3.20; FHIR R4 3.1.1.3)."""

import base64
import json
import re
import types
import urllib.parse

from conformance import fhir
from tests.harness.waiting import becomes
from tests.integration import common

DOMAIN = "1.2.392.99999.4.21"
OTHER = "1.2.392.99999.4.22"


def patient(number, family, domain=DOMAIN):
    """A Patient as JSON."""
    return json.dumps({"resourceType": "Patient", "identifier": [{"system": f"urn:oid:{domain}", "value": str(number)}],
                       "name": [{"family": family, "given": [f"Given{number}"]}], "gender": "male",
                       "birthDate": f"{1920 + number % 80}-{1 + number % 12:02}-{1 + number % 28:02}"}).encode()


class FhirCase(common.ServerCase):
    """A server with a domain."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("authority", "add", DOMAIN)
        cls.server.wait_until_refreshed()

    def target(self, role=None):
        """Where requests of this role go."""
        if role is None:
            return types.SimpleNamespace(base=f"http://127.0.0.1:{self.server.plain_port}")
        return types.SimpleNamespace(base=f"https://127.0.0.1:{self.server.https_port}", ca=self.certs / "ca.pem",
                                     cert=self.certs / f"{role}.pem", key=self.certs / f"{role}.key")

    def ask(self, method, path, body=None, role=None, **headers):
        """(status, resource or None)"""
        kind = {"Content-Type": fhir.TYPES["json"]} if body else {}
        status, _, raw = fhir.exchange(self.target(role), method, path, body, {**kind, **headers})
        return status, json.loads(raw) if raw else None

    def put(self, number, family, domain=DOMAIN, role=None):
        """ITI-104."""
        return self.ask("PUT", f"Patient?identifier=urn:oid:{domain}|{number}", patient(number, family, domain), role)


class Open(FhirCase):
    """A server that takes everything."""

    def events(self, transaction):
        """Audit messages of a transaction."""
        text = self.server.command("audit", "search", f'csd-code="{transaction}"', check=False).stdout
        return re.findall(r"<AuditMessage>.*?</AuditMessage>", text, re.S)

    def test_query_is_recorded_with_its_question_and_whose_data_came_back(self):
        self.put(1, "Audited")
        before = len(self.events("ITI-78"))
        status, bundle = self.ask("GET", "Patient?family=Audited", **{"X-Request-Id": "request-1"})
        self.assertEqual((status, bundle["total"]), (200, 1))
        event = self.events("ITI-78")[before]
        question = base64.b64decode(re.search(r"<ParticipantObjectQuery>(.*?)<", event).group(1)).decode()
        self.assertRegex(question, r"^GET http://.*/fhir/Patient\?family=Audited$")
        self.assertIn('ParticipantObjectID="request-1"', event)
        mine = next(i["value"] for i in bundle["entry"][0]["resource"]["identifier"] if not i["system"].endswith(DOMAIN))
        self.assertIn(f'ParticipantObjectID="{mine}^^^', event)

    def test_refused_query_is_recorded_too(self):
        before = len(self.events("ITI-83"))
        status, _ = self.ask("GET", f"Patient/$ihe-pix?sourceIdentifier=urn:oid:{DOMAIN}|nobody")
        self.assertEqual(status, 404)
        self.assertIn('EventOutcomeIndicator="8"', self.events("ITI-83")[before])

    def test_feed_is_recorded_by_its_effect(self):
        before = len(self.events("ITI-104"))
        self.assertEqual(self.put(2, "Fed")[0], 201)
        self.assertEqual(self.put(2, "Fed")[0], 200)
        self.assertEqual(self.ask("DELETE", f"Patient?identifier=urn:oid:{DOMAIN}|2")[0], 204)
        events = []

        def are_there():
            events[:] = self.events("ITI-104")[before:]
            return len(events) >= 3
        becomes(are_there)  # the outbox is emptied every second
        self.assertEqual([re.search('EventActionCode="(.)"', event).group(1) for event in events], ["C", "U", "D"])

    def test_too_large_body_is_413(self):
        status, outcome = self.ask("PUT", f"Patient?identifier=urn:oid:{DOMAIN}|3", b"[" * (5 << 20))
        self.assertEqual((status, outcome["issue"][0]["code"]), (413, "too-long"))

    def test_pages_lead_through_a_large_result(self):
        for number in range(100, 220):
            self.assertEqual(self.put(number, "Paged")[0], 201)
        found, path, pages = [], "Patient?family=Paged", 0
        while path:
            status, bundle = self.ask("GET", path)
            self.assertEqual((status, bundle["total"]), (200, 120))
            found += [entry["resource"]["id"] for entry in bundle["entry"]]
            links = {link["relation"]: link["url"] for link in bundle["link"]}
            path = urllib.parse.unquote(links["next"].partition("/fhir/")[2]) if "next" in links else None
            pages += 1
        self.assertEqual((len(found), len(set(found)), pages), (120, 120, 3))


class Enforced(FhirCase):
    """Mutual TLS with registered nodes."""

    roles = ("gateway-a", "gateway-b", "viewer-a", "stranger")
    mode = "enforce"
    settings = {"server": {"plain_http_listen": "", "plain_mllp_listen": ""}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("facility", "add", "Hospital A")
        for role, transactions in (("gateway-a", "ITI-104,ITI-83"), ("gateway-b", "ITI-104"), ("viewer-a", "ITI-78")):
            cls.server.command("node", "add", role, "--facility", "Hospital A", "--certificate", str(cls.certs / f"{role}.pem"),
                               "--transactions", transactions)
        cls.server.command("authority", "add", OTHER, "--node", "gateway-b")
        cls.server.wait_until_refreshed()

    def test_each_node_may_do_what_it_is_registered_for(self):
        self.assertEqual(self.put(1, "Allowed", role="gateway-a")[0], 201)
        self.assertEqual(self.ask("GET", "Patient?family=Allowed", role="viewer-a")[0], 200)
        for role, method, path in (("viewer-a", "GET", f"Patient/$ihe-pix?sourceIdentifier=urn:oid:{DOMAIN}|1"),
                                   ("gateway-a", "GET", "Patient?family=Allowed"), ("gateway-b", "GET", "Patient/1")):
            status, outcome = self.ask(method, path, role=role)
            self.assertEqual((status, outcome["issue"][0]["code"]), (403, "forbidden"), (role, path))
            self.assertIn(role, outcome["issue"][0]["diagnostics"])

    def test_capabilities_need_a_registered_node_only(self):
        self.assertEqual(self.ask("GET", "metadata", role="viewer-a")[0], 200)
        self.assertEqual(self.ask("GET", "metadata", role="stranger")[0], 403)

    def test_domain_of_another_node_is_not_fed(self):
        status, outcome = self.put(2, "Foreign", OTHER, "gateway-a")
        self.assertEqual(status, 422, outcome)
        self.assertEqual(self.put(2, "Foreign", OTHER, "gateway-b")[0], 201)
