"""XUA (ITI-40): assertions in SOAP that are accepted, attacked, replayed; and the public samples."""

import base64
import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time
import unittest

import psycopg2

from conformance import client as xds
from tests.harness import saml, server as harness
from tests.integration import common, xua_mutations

AUDIENCES = f"{saml.AUDIENCE}, http://ihe.connectathon.XUA/X-ServiceProvider-IHE-Connectathon"
REFUSALS = {"SecurityTokenUnavailable", "InvalidSecurity", "UnsupportedSecurityToken", "UnsupportedAlgorithm", "InvalidSecurityToken", "FailedCheck",
            "FailedAuthentication", "MessageExpired"}


def query_envelope(number="P1"):
    """FindDocuments of a patient."""
    body = xds.query_xml("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{common.patient(number)}'",
                                           "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"})
    return xds.envelope(xds.ACTIONS["ITI-18"], body)


def post(soap, message, path="/registry"):
    """Sends a message as SIMPLE SOAP."""
    return soap.post(path, "application/soap+xml; charset=UTF-8", message)


def ask(soap, *header):
    """ITI-18 with a header."""
    return post(soap, saml.with_header(query_envelope(), "".join(header)))


def subcode(reply):
    """Subcode of a fault without its prefix."""
    return reply.envelope.xpath("string(//*[local-name()='Subcode']/*[local-name()='Value'])").rpartition(":")[2]


def register(server, provider, wait=True):
    """musubi idp add."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(provider.pem())
        file.flush()
        server.command("idp", "add", provider.issuer, "--certificate", file.name)
    if wait:
        server.wait_until_refreshed()


def bind_to_another(server, issuer, ident):
    """As if another process had bound the assertion to a node that is not here."""
    common.rows(server, "INSERT INTO assertion_seen (assertion, not_on_or_after, bound_to)"
                " VALUES (%s, now() + interval '5 minutes', 'tls:another') RETURNING 1",
                hashlib.sha256(f"{len(issuer)}:{issuer}{ident}".encode()).digest())


class Xua(common.ServerCase):
    """A server that demands assertions, over TLS."""

    roles = ("gateway-a", "gateway-b", "viewer-a")
    settings = {"xua": {"registry": "require", "repository": "require", "pix": "record", "audiences": AUDIENCES, "skew": "60s",
                        "authn_contexts": f"{saml.PASSWORD}, urn:oasis:names:tc:SAML:2.0:ac:classes:X509"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.idp = saml.IdentityProvider()
        cls.attacker = saml.IdentityProvider("https://attacker.example")
        register(cls.server, cls.idp)

    def accept(self, soap, *header):
        """It is accepted."""
        reply = ask(soap, *header)
        self.assertEqual((reply.status, reply.outcome), (200, "Success"), reply.raw[:900])

    def line_of(self, reference):
        """The log line of a refused request."""
        return self.server.wait_for_log(f".*ref={reference} .*outcome=Fault.*")[0]

    def refuse(self, soap, expected, check, *header):
        """It is refused with this subcode, and the log names the check."""
        reply = ask(soap, *header)
        self.assertEqual((reply.status, subcode(reply)), (400, expected), reply.raw[:900])
        text = reply.envelope.xpath("string(//*[local-name()='Text'])")
        reference = re.search(r"\[ref (\w+)\]$", text).group(1)
        line = self.line_of(reference)
        self.assertIn(f" check={check} ", line)
        self.assertNotIn("tanaka", line)
        self.assertNotIn(check, text)


class Accepted(Xua):
    """Assertions in the forms that identity providers send."""

    def test_assertions_of_many_forms_are_accepted(self):
        soap = self.soap("viewer-a")
        role = "urn:oasis:names:tc:xacml:2.0:subject:role"
        certificate = re.sub(r"-----[^\n]*-----|\n", "", (self.certs / "viewer-a.pem").read_text(encoding="ascii").partition("-----END")[0])
        holder = (f'<saml:SubjectConfirmation Method="{saml.HOLDER_OF_KEY}"><saml:SubjectConfirmationData><ds:KeyInfo xmlns:ds="{saml.DS}"><ds:X509Data>'
                  f"<ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></saml:SubjectConfirmationData></saml:SubjectConfirmation>")
        bearer = f'<saml:SubjectConfirmation Method="{saml.BEARER}"/>'
        vouches = '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"/>'
        signing = saml.Signing
        forms = {
            "plain": {}, "rsa-sha384": {"signing": signing("rsa-sha384")}, "rsa-sha512": {"signing": signing("rsa-sha512")},
            "sha384": {"signing": signing(digest="sha384")}, "sha512": {"signing": signing(digest="sha512")}, "no key info": {"signing": signing(key_info="")},
            "key value": {"signing": signing(key_info=xua_mutations.key_value(self.idp))}, "prefix list": {"signing": signing(prefixes="saml")},
            "key name": {"signing": signing(key_info="<ds:KeyInfo><ds:KeyName>idp</ds:KeyName></ds:KeyInfo>")},
            "with comments algorithm": {"signing": signing(transforms=(saml.ENVELOPED, saml.EXC_C14N + "WithComments"))},
            "second audience": {"audiences": (("https://other.example", saml.AUDIENCE),)}, "two restrictions": {"audiences": ((saml.AUDIENCE,), (saml.AUDIENCE, "x"))},
            "connectathon audience": {"audiences": (("http://ihe.connectathon.XUA/X-ServiceProvider-IHE-Connectathon",),)},
            "X.509": {"context": "urn:oasis:names:tc:SAML:2.0:ac:classes:X509"}, "no attributes": {"attributes": ""}, "no not before": {"not_before": ""},
            "clock 50 s ahead": lambda: {"not_before": saml.instant(50), "issue_instant": saml.instant(50)},
            "clock 50 s behind": lambda: {"not_on_or_after": saml.instant(-50), "not_before": saml.instant(-350)},
            "offset": {"not_on_or_after": "2100-01-01T09:00:00+09:00"}, "proxy restriction": {"conditions": '<saml:ProxyRestriction Count="0"/>'},
            "one time": {"conditions": "<saml:OneTimeUse/>"}, "holder of key": {"confirmation": holder}, "one of two holds": {"confirmation": vouches + bearer},
            "confirmation data": {"confirmation": bearer.replace("/>", f'><saml:SubjectConfirmationData NotOnOrAfter="{saml.instant(100)}"/></saml:SubjectConfirmation>')},
            "two roles in two statements": {"attributes": saml.attribute_statement() + "<saml:AttributeStatement>"
                                            + saml.attribute(role, "nurse", saml.coded("Role", "a", "1.2", "A")) + "</saml:AttributeStatement>"},
            "unknown attribute": {"attributes": saml.attribute_statement(saml.attribute("urn:x", "<x/>"))}, "alias": {"name_id_attributes": ' SPProvidedID="ta"'},
            "japanese name": {"name_id": "田中花子"}, "escaped name": {"name_id": "a&amp;b &lt;c&gt;"}, "CDATA": {"edit": lambda t: t.replace("tanaka", "<![CDATA[tanaka]]>")},
            "white space": {"edit": lambda t: t.replace("><saml:", ">\n  <saml:")}, "advice": {"edit": lambda t: t.replace(
                "</saml:Conditions>", "</saml:Conditions><saml:Advice><saml:AssertionURIRef>urn:x</saml:AssertionURIRef></saml:Advice>")},
        }
        self.assertGreaterEqual(len(forms), 20)
        for name, form in forms.items():
            with self.subTest(name):
                self.accept(soap, saml.security(self.idp.assertion(**(form() if callable(form) else form))))
        for name, header in {"timestamp": saml.security(saml.timestamp(), self.idp.assertion()), "no mustUnderstand": saml.security(self.idp.assertion(), attributes=""),
                             "role next": saml.security(self.idp.assertion(), attributes=f' soap:role="{saml.SOAP}/role/next"'),
                             "another role beside": saml.security(saml.timestamp(-9, -5), attributes=' soap:role="urn:other"') + saml.security(self.idp.assertion())}.items():
            with self.subTest(name):
                self.accept(soap, header)

    def test_two_keys_of_an_issuer_during_a_renewal_and_a_curve(self):
        soap = self.soap("viewer-a")
        renewed = saml.IdentityProvider(self.idp.issuer)
        curve = saml.IdentityProvider.with_curve(issuer="https://curve.example")
        self.refuse(soap, "FailedCheck", "signature-key", saml.security(renewed.assertion()))
        self.refuse(soap, "InvalidSecurityToken", "issuer-unknown", saml.security(curve.assertion(saml.Signing("ecdsa-sha256"))))
        register(self.server, renewed, wait=False)
        register(self.server, curve)
        for provider, method in ((renewed, "rsa-sha256"), (self.idp, "rsa-sha256"), (curve, "ecdsa-sha256")):
            self.accept(soap, saml.security(provider.assertion(saml.Signing(method))))
        kept = saml.security(renewed.assertion())
        self.accept(soap, kept)
        listed = json.loads(self.server.command("idp", "list", "--json").stdout)
        fingerprints = {row["fingerprint"] for row in listed if row["issuer"] == self.idp.issuer}
        gone = renewed.certificate.fingerprint(saml.hashes.SHA256()).hex()
        self.assertIn(gone, fingerprints)
        self.server.command("idp", "revoke", self.idp.issuer, "--fingerprint", gone)
        self.server.wait_until_refreshed()
        self.refuse(soap, "FailedCheck", "signature-key", kept)  # also what was verified before
        self.accept(soap, saml.security(self.idp.assertion()))
        self.assertEqual(self.server.command("idp", "revoke", "https://nobody.example", check=False).returncode, 1)

    def test_commands_refuse_what_cannot_sign_assertions(self):
        weak = saml.IdentityProvider("https://weak.example", saml.rsa.generate_private_key(public_exponent=65537, key_size=1024))
        with tempfile.TemporaryDirectory() as folder:
            for name, content in {"weak.pem": weak.pem(), "empty.pem": b"", "text.pem": b"no certificate"}.items():
                path = pathlib.Path(folder, name)
                path.write_bytes(content)
                result = self.server.command("idp", "add", "https://weak.example", "--certificate", str(path), check=False)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(name, result.stderr)
        self.assertEqual(self.server.command("idp", "add", "https://weak.example", check=False).returncode, 2)

    def test_the_user_is_in_the_audit_record_and_a_refusal_is_a_failed_login(self):
        soap = self.soap("viewer-a")
        name = f"u{time.time_ns()}"
        self.accept(soap, saml.security(self.idp.assertion(name_id=name, name_id_attributes=' SPProvidedID="al"')))
        self.refuse(soap, "InvalidSecurityToken", "audience", saml.security(self.idp.assertion(name_id=name, audiences=(("x",),))))
        found = self.server.command("audit", "search", name).stdout
        self.assertIn(f"al&lt;{name}@{self.idp.issuer}&gt;", found)
        self.assertIn('csd-code="physician"', found)
        self.assertIn('csd-code="TREATMENT"', found)
        login = self.server.command("audit", "search", "110122").stdout
        self.assertIn('csd-code="110114"', login)
        self.assertIn("audience", login)
        self.assertNotIn(name, login)

    def test_a_refused_submission_leaves_nothing(self):
        soap = self.soap("viewer-a")
        submission = common.submission("P2")

        def provide(header):
            message = saml.with_header(xds.envelope(xds.ACTIONS["ITI-41"], submission.provide_xml()), header)
            return soap.post("/repository", *xds.mtom(message, submission.attachments()))
        count = "SELECT (SELECT count(*) FROM document_entry), (SELECT count(*) FROM repository_document), (SELECT count(*) FROM unique_id)"
        before = common.rows(self.server, count)
        for header in ("", saml.security(self.idp.assertion().replace("tanaka", "x")), saml.security(self.attacker.assertion())):
            reply = provide(header)
            self.assertEqual((reply.status, reply.outcome), (400, "Fault"))
        self.assertEqual(common.rows(self.server, count), before)
        self.assert_success(provide(saml.security(self.idp.assertion())))

    def test_record_takes_requests_without_assertion_and_refuses_bad_ones(self):
        soap = self.soap("viewer-a")
        body = xds.envelope("urn:hl7-org:v3:PRPA_IN201309UV02", '<PRPA_IN201309UV02 xmlns="urn:hl7-org:v3"/>')
        self.assertNotIn(subcode(post(soap, body, "/pix")), REFUSALS)
        self.assertNotIn(subcode(post(soap, saml.with_header(body, saml.security(self.idp.assertion())), "/pix")), REFUSALS)
        bad = saml.security(self.idp.assertion().replace("tanaka", "x"))
        self.assertEqual(subcode(post(soap, saml.with_header(body, bad), "/pix")), "FailedCheck")


class Attacked(Xua):
    """Mutations: none is accepted, and the unmutated assertion is, before and after each batch."""

    def test_no_mutation_is_accepted(self):
        soap = self.soap("viewer-a")
        envelope = query_envelope()
        count = 0
        for batch, mutations in xua_mutations.batches(self.idp, self.attacker).items():
            self.accept(soap, saml.security(self.idp.assertion()))
            for name, mutate in mutations:
                with self.subTest(f"{batch}: {name}"):
                    reply = post(soap, mutate(envelope))
                    self.assertEqual((reply.status, reply.outcome), (400, "Fault"), reply.raw[:600])
                    self.assertTrue(batch in ("text", "wrapping", "headers", "values") or subcode(reply) in REFUSALS, reply.raw[:900])
                    count += 1
            self.accept(soap, saml.security(self.idp.assertion()))
        self.assertGreaterEqual(count, 200)
        print(f" {count} mutations ", end="", flush=True)


class Replayed(Xua):
    """Who may use an assertion again."""

    def restart(self):
        """kill -9, and a new start on the same data."""
        self.server.kill()
        self.server.start()

    def test_an_assertion_serves_the_node_that_presented_it_first_also_after_a_kill(self):
        valid = {"not_on_or_after": saml.instant(3600)}  # longer than this test takes, however busy the machine is
        kept = [saml.security(self.idp.assertion(**valid)) for _ in range(20)]
        once = [saml.security(self.idp.assertion(conditions="<saml:OneTimeUse/>", **valid)) for _ in range(20)]
        accepted = refused = 0
        for header in (*kept, *once):
            self.accept(self.soap("viewer-a"), header)
        for _ in range(2):
            for role in ("viewer-a", "gateway-a", "gateway-b", None):
                soap = self.soap(role)
                for header in kept:
                    if role == "viewer-a":
                        self.accept(soap, header)
                        accepted += 1
                        continue
                    self.refuse(soap, "FailedAuthentication", "used-by-another-node", header)
                    refused += 1
                for header in once:
                    check = "used-before" if role == "viewer-a" else "used-by-another-node"
                    self.refuse(soap, "InvalidSecurityToken" if role == "viewer-a" else "FailedAuthentication", check, header)
                    refused += 1
            self.restart()
        self.assertEqual((accepted, refused), (40, 280))

    def test_of_many_who_present_it_at_once_one_wins(self):
        for conditions in ("", "<saml:OneTimeUse/>"):
            header = saml.security(self.idp.assertion(conditions=conditions))
            clients = [(role, common.client(self.server, role)) for role in ("viewer-a", "gateway-a", "gateway-b") for _ in range(5)]
            for _, soap in clients:
                ask(soap)  # connected
            with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
                outcomes = list(pool.map(lambda item: (item[0], ask(item[1], header).outcome), clients))
            winners = {role for role, outcome in outcomes if outcome == "Success"}
            self.assertEqual(len(winners), 1, outcomes)
            if conditions:
                self.assertEqual(sum(outcome == "Success" for _, outcome in outcomes), 1, outcomes)
            for _, soap in clients:
                soap.close()

    @contextlib.contextmanager
    def nothing_is_bound(self):
        """Whoever binds an assertion waits until the end of this."""
        connection = psycopg2.connect(host=f"{self.server.dir}/data/postgres", user="musubi_owner", dbname="musubi")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("LOCK TABLE assertion_seen IN EXCLUSIVE MODE")
                yield
        finally:
            connection.close()

    def records_of(self, name):
        """How often the audit trail names a user."""
        return self.server.command("audit", "search", name, check=False).stdout.count(f"{name}@")

    def test_nothing_is_said_before_the_assertion_is_bound(self):
        name = f"u{time.time_ns()}"
        stolen = f"_stolen{name}"
        headers = [saml.security(self.idp.assertion(name_id=name, **more)) for more in ({}, {"id": stolen})]
        bind_to_another(self.server, self.idp.issuer, stolen)
        clients = [self.soap("viewer-a") for _ in headers]
        for soap in clients:
            self.accept(soap, saml.security(self.idp.assertion()))  # connected
        with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
            with self.nothing_is_bound():
                answers = [pool.submit(ask, soap, header) for soap, header in zip(clients, headers)]
                done, _ = concurrent.futures.wait(answers, timeout=1.5)
                self.assertEqual(len(done), 0, "answered before the assertion was bound")
                self.assertEqual(self.records_of(name), 0)
            self.assertEqual([answer.result().outcome for answer in answers], ["Success", "Fault"])
        self.assertEqual(self.records_of(name), 1, "only the request that was served names its user")
        self.refuse(clients[0], "FailedAuthentication", "used-by-another-node", headers[1])

    def test_nothing_was_said_when_the_server_is_killed_before_the_assertion_is_bound(self):
        header = saml.security(self.idp.assertion())
        soap = self.soap("viewer-a")
        self.accept(soap, saml.security(self.idp.assertion()))
        with concurrent.futures.ThreadPoolExecutor(1) as pool, self.nothing_is_bound():
            answer = pool.submit(ask, soap, header)
            concurrent.futures.wait([answer], timeout=0.7)
            self.server.kill()
            self.assertIsNotNone(answer.exception(), "answered before the assertion was bound")
        self.server.start()
        self.accept(self.soap("viewer-a"), header)

    def test_an_assertion_that_cannot_be_bound_serves_nobody(self):
        header = saml.security(self.idp.assertion())
        soap = self.soap("viewer-a")
        common.rows(self.server, "ALTER TABLE assertion_seen RENAME TO assertion_away; SELECT 1")
        try:
            reply = ask(soap, header)
            self.assertEqual(reply.outcome, "Fault", reply.raw[:900])
            self.assertIn(b"could not be noted", reply.raw)
        finally:
            common.rows(self.server, "ALTER TABLE assertion_away RENAME TO assertion_seen; SELECT 1")
        self.accept(soap, header)

    def test_a_refused_user_is_told_nothing_of_the_query(self):
        ident = f"_q{time.time_ns()}"
        bind_to_another(self.server, self.idp.issuer, ident)
        header = saml.security(self.idp.assertion(id=ident))
        texts = set()
        for number in ("P1", "P-unknown"):
            reply = post(self.soap("viewer-a"), saml.with_header(query_envelope(number), header))
            self.assertEqual((reply.status, subcode(reply)), (400, "FailedAuthentication"), reply.raw[:900])
            texts.add(re.sub(r"ref \w+|uuid:[-0-9a-f]+", "", reply.raw.decode()))
        self.assertEqual(len(texts), 1, texts)

    def test_uses_are_forgotten_an_hour_after_the_assertion_has_expired(self):
        for minutes in (59, 61):
            common.rows(self.server, "INSERT INTO assertion_seen (assertion, not_on_or_after, bound_to)"
                        " VALUES (%s, now() - %s * interval '1 minute', 'test') RETURNING 1", bytes([minutes]), minutes)
        self.restart()
        self.assertEqual(common.rows(self.server, "SELECT get_byte(assertion, 0) FROM assertion_seen WHERE bound_to = 'test'"), [(59,)])


class Never(Xua):
    """reuse = never."""

    settings = {"xua": {**Xua.settings["xua"], "reuse": "never"}}

    def test_no_assertion_is_taken_twice(self):
        soap = self.soap("viewer-a")
        headers = [saml.security(self.idp.assertion()) for _ in range(10)]
        for header in headers:
            self.accept(soap, header)
            self.refuse(soap, "InvalidSecurityToken", "used-before", header)
        self.server.kill()
        self.server.start()
        for header in headers:
            self.refuse(self.soap("viewer-a"), "InvalidSecurityToken", "used-before", header)


class Off(common.ServerCase):
    """Without [xua] a header is tolerated."""

    def test_an_assertion_is_not_looked_at(self):
        reply = ask(self.soap(), saml.security("<x/>"))
        self.assertEqual((reply.status, reply.outcome), (200, "Success"), reply.raw[:500])


SHA1 = "signature-algorithm"  # rsa-sha1, and nothing stronger
UNSIGNED = "signature-missing"
ENCRYPTED = "encrypted"
ORDER = "assertion-form"  # not valid by the schema: ds:Signature is not behind Issuer
NESTED = "assertion-repeated"  # a second assertion, in Advice or beside
NO_ASSERTION = "assertion-missing"  # an AuthnRequest, or SAML 1.1
SAMPLES = {  # what each file of the reference data comes to, and so by which rule of the policy a valid one is refused
    "nodesaml__invalid__response.root-resigned-by-attacker-assertion-unsigned-attackers-cert-at-keyinfo.xml": UNSIGNED,
    "nodesaml__invalid__response.root-signed.assertion-invalidly-signed-encrypted.xml": ENCRYPTED,
    "nodesaml__invalid__response.root-signed.assertion-invalidly-signed.xml": SHA1,
    "nodesaml__invalid__response.root-signed.assertion-signed.1advice-unsigned.xml": ORDER,
    "nodesaml__invalid__response.root-signed.assertion-signed.2advice-signed.xml": ORDER,
    "nodesaml__invalid__response.root-signed.assertion-signed.xml": ORDER,
    "nodesaml__invalid__response.root-signed.assertion-unsigned.1advice-unsigned.xml": NESTED,
    "nodesaml__invalid__response.root-signed.assertion-unsigned.xml": UNSIGNED,
    "nodesaml__invalid__response.root-unsigned.assertion-signed-transforms.xml": SHA1,
    "nodesaml__invalid__response.root-unsigned.assertion-signed.1advice-unsigned.xml": ORDER,
    "nodesaml__invalid__response.root-unsigned.assertion-signed.xml": ORDER,
    "nodesaml__invalid__response.root-unsigned.assertion-unsigned.2advice-unsigned.xml": NESTED,
    "nodesaml__invalid__response.root-unsigned.assertion-unsigned.xml": UNSIGNED,
    "nodesaml__valid__response.root-signed.assertion-signed.1advice-signed.xml": ORDER,
    "nodesaml__valid__response.root-signed.assertion-signed.1advice-unsigned.xml": NESTED,
    "nodesaml__valid__response.root-signed.assertion-signed.2advice-unsigned.xml": NESTED,
    "nodesaml__valid__response.root-signed.assertion-signed.xml": SHA1,
    "nodesaml__valid__response.root-signed.assertion-unsigned-13.xml": UNSIGNED,
    "nodesaml__valid__response.root-signed.assertion-unsigned-encrypted.xml": ENCRYPTED,
    "nodesaml__valid__response.root-signed.assertion-unsigned-xd.xml": UNSIGNED,
    "nodesaml__valid__response.root-signed.assertion-unsigned.1advice-unsigned.xml": NESTED,
    "nodesaml__valid__response.root-signed.assertion-unsigned.xml": UNSIGNED,
    "nodesaml__valid__response.root-unsigned.assertion-signed.1advice-signed.xml": ORDER,
    "nodesaml__valid__response.root-unsigned.assertion-signed.xml": SHA1,
    "opensaml__Signed-AuthnRequest-BadTransform.xml": NO_ASSERTION,
    "opensaml__Signed-AuthnRequest-DuplicateIDs.xml": NO_ASSERTION,
    "opensaml__Signed-AuthnRequest-MissingEnvelopedTransform.xml": NO_ASSERTION,
    "opensaml__Signed-AuthnRequest-NonLocalURI.xml": NO_ASSERTION,
    "opensaml__Signed-AuthnRequest-TooManyReferences.xml": NO_ASSERTION,
    "opensaml__Signed-AuthnRequest-Valid.xml": NO_ASSERTION,
    "rubysaml__invalid__duplicated_attributes.xml.base64": SHA1,
    "rubysaml__invalid__encrypted_new_attack.xml.base64": ENCRYPTED,
    "rubysaml__invalid__invalid_signature_position.xml.base64": "xml",
    "rubysaml__invalid__invalid_subjectconfirmation_nb.xml.base64": UNSIGNED,
    "rubysaml__invalid__multiple_signed.xml.base64": SHA1,
    "rubysaml__invalid__no_conditions.xml.base64": UNSIGNED,
    "rubysaml__invalid__no_saml2.xml.base64": NO_ASSERTION,
    "rubysaml__invalid__no_signature.xml.base64": UNSIGNED,
    "rubysaml__invalid__response_invalid_signed_element.xml.base64": SHA1,
    "rubysaml__invalid__response_with_doubled_signed_assertion.xml": NESTED,
    "rubysaml__invalid__signature_wrapping_attack.xml.base64": NESTED,
    "rubysaml__response_node_text_attack.xml.base64": "comment",
    "rubysaml__response_with_signed_assertion_3.xml": SHA1,
}


class Samples(unittest.TestCase):
    """Documents of other projects' test suites, by lib/saml alone (tests/tools/verify_assertion)."""

    @staticmethod
    def verdict(path, certificate=None):
        """What the program prints; the file may be in base64."""
        program = harness.binary().resolve().parent.parent / "tests" / "tools" / "verify_assertion"
        content = path.read_bytes()
        with tempfile.NamedTemporaryFile() as file:
            file.write(base64.b64decode(content) if path.suffix == ".base64" else content)
            file.flush()
            command = [str(program), file.name, *([str(certificate)] if certificate else [])]
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()

    @unittest.skipUnless(os.environ.get("MUSUBI_REFERENCE"), "MUSUBI_REFERENCE is not set")
    def test_every_sample_is_refused_or_accepted_as_the_table_says(self):
        folder = pathlib.Path(os.environ["MUSUBI_REFERENCE"], "ihe", "samples", "saml-signature")
        labels = dict(line.split("\t")[0::4][:2] for line in (folder / "INDEX.tsv").read_text(encoding="utf-8").splitlines()[1:])
        files = [name for name in labels if not name.endswith(".pem")]
        self.assertEqual(sorted(files), sorted(SAMPLES))
        for name in files:
            with self.subTest(name):
                certificate = folder / "nodesaml__cert.pem" if name.startswith("nodesaml") else None
                verdict = self.verdict(folder / name, certificate)
                self.assertEqual(verdict, SAMPLES[name])
                if "INVALID" in labels[name]:
                    self.assertNotIn("accepted", verdict)

    def test_the_program_accepts_a_good_document_and_no_other(self):
        provider = saml.IdentityProvider()
        good = provider.assertion(not_before=saml.instant(), not_on_or_after=saml.instant(900))
        with tempfile.TemporaryDirectory() as folder:
            for name, text, expected in (("good", good, "accepted tanaka"), ("bad", good.replace("tanaka", "x"), "signature-wrong")):
                path = pathlib.Path(folder, name)
                path.write_text(text, encoding="utf-8")
                self.assertEqual(self.verdict(path), expected)


if __name__ == "__main__":
    unittest.main()
