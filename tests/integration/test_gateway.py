"""The Responding Gateway: who may ask, what may not be known, what is on record, and a server that has no homeCommunityId (ITI TF-2 3.38,
3.39, 3.55; RAD TF-2 4.75). What each message is answered with is in conformance/gateway."""

import re

from conformance import client as xds, dicomweb, fhir
from tests.harness import saml, server as harness
from tests.harness.waiting import becomes, wait_until
from tests.integration import common, test_asynchronous, test_xua, v3_messages as v3
from tests.integration.audit_records import (DESTINATION, SOURCE, base64_of, codes, ids, objects, of_messages, outcome_text, party, question)

HOME, OTHER = "urn:oid:1.2.392.99999.7.1", "urn:oid:1.2.392.99999.7.9"
DOMAIN = "1.2.392.200.7"
SOURCE_UID = "1.2.392.99999.6.9"
PHYSICIAN = "112247003^^2.16.840.1.113883.6.96"
ITI55 = xds.ACTIONS["ITI-55"]


def query_documents(patient, home=None):
    """FindDocuments for ITI-38."""
    return xds.query_xml("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{patient}'",
                                           "$XDSDocumentEntryStatus": f"('{xds.STATUS}Approved')"}, home=home)


def discovery(root, number):
    """ITI-55 of an identifier."""
    body = v3.fill("v3_pdq_query", query_id=xds.new_oid())
    body.find(".//hl7:parameterList", xds.NS).append(v3.element(
        f'<livingSubjectId><value root="{root}" extension="{number}"/><semanticsText>LivingSubject.id</semanticsText></livingSubjectId>'))
    return body


def discover(soap, root, number):
    """The patients that ITI-55 gives: [(root, extension)]."""
    reply = v3.send(soap, discovery(root, number), ITI55, "/gateway")
    if reply.outcome != "AA":
        raise AssertionError(reply.raw)
    return [(i.get("root"), i.get("extension")) for i in reply.body.iterfind(".//hl7:patient/hl7:id", xds.NS)]


def details(found):
    """{type: value} of an object of a record."""
    return {d.get("type"): d.get("value") for d in found.findall("ParticipantObjectDetail")}


class WithoutName(common.ServerCase):
    """A community without homeCommunityId is no community for others."""

    def test_the_gateway_says_what_is_missing(self):
        patient = common.patient("P1")
        for transaction, body in (("ITI-38", query_documents(patient)), ("ITI-39", xds.retrieve_xml([("1.2", "1.3")], OTHER))):
            with self.subTest(transaction=transaction):
                reply = self.soap().send("/gateway", transaction, body, as_mtom=transaction == "ITI-39")
                self.assertEqual((reply.status, reply.outcome), (400, "Fault"))
                self.assertIn(b"[affinity_domain] home_community_id", reply.raw)
        reply = v3.send(self.soap(), discovery(DOMAIN, "1"), ITI55, "/gateway")
        self.assertEqual(reply.outcome, "Fault")

    def test_check_config_says_that_it_is_off(self):
        self.assertIn("gateway: off, until [affinity_domain] home_community_id is set", self.server.command("check-config", check=False).stdout)


class OnRecord(common.ServerCase):
    """Each question of another community with its record."""

    settings = {"server": {"roles": "registry, repository, pix, atna, imaging"}, "imaging": {"unique_id": SOURCE_UID},
                "affinity_domain": {"home_community_id": HOME}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.command("authority", "add", DOMAIN)
        cls.server.wait_until_refreshed()

    def only(self, token, kind):
        """The one record of a transaction that holds the token."""
        found = becomes(lambda: [r for r in of_messages(self.server, token, 1) if codes(r)[1] == kind])
        self.assertEqual(len(found), 1, [codes(r) for r in found])
        return found[0]

    def check_parties(self, record, us, peer):
        """We and the other gateway, at this path."""
        self.assertEqual(party(record, us).get("UserID"), f"http://127.0.0.1:{self.server.plain_port}/gateway")
        self.assertEqual(party(record, us).get("UserIsRequestor"), "false")
        self.assertEqual(party(record, peer).get("UserIsRequestor"), "true")

    def test_query_names_the_community_also_where_the_question_does_not(self):
        for number, home, status in (("P1", None, "Success"), ("P2", HOME, "Success"), ("P3", OTHER, "Failure")):
            with self.subTest(home=home):
                reply = self.soap().send("/gateway", "ITI-38", query_documents(common.patient(number), home))
                self.assertEqual(reply.outcome, status)
                record = self.only(f"{number}^^^", "ITI-38")
                self.assertEqual(codes(record), ("110112", "ITI-38", "E", "0" if status == "Success" else "8"))
                self.check_parties(record, DESTINATION, SOURCE)
                self.assertEqual(ids(record, "1/1"), [common.patient(number)])
                (query,) = objects(record, "2/24")
                self.assertEqual(query.find("ParticipantObjectIDTypeCode").get("csd-code"), "ITI-38")
                self.assertEqual(details(query)["urn:ihe:iti:xca:2010:homeCommunityId"], base64_of(home or HOME))
                self.assertIn("XDSUnknownCommunity" if home == OTHER else "", outcome_text(record))

    def test_retrieval_has_a_record_for_what_comes_and_one_for_what_does_not(self):
        submission = common.submission("P4")
        self.assert_success(self.soap().provide(submission))
        here, foreign = submission.documents[0].unique_id, xds.new_oid()
        body = xds.retrieve_xml([(harness.REPOSITORY_UID, here, HOME), (harness.REPOSITORY_UID, foreign, OTHER)])
        reply = self.soap().send("/gateway", "ITI-39", body, as_mtom=True)
        self.assertEqual((reply.outcome, list(reply.documents())), ("PartialSuccess", [here]))
        for document, home, outcome, patients in ((here, HOME, "0", [common.patient("P4")]), (foreign, OTHER, "8", [])):
            record = self.only(document, "ITI-39")
            self.assertEqual(codes(record), ("110106", "ITI-39", "R", outcome))
            self.check_parties(record, SOURCE, DESTINATION)
            self.assertEqual(ids(record, "1/1"), patients)
            (found,) = objects(record, "2/3")
            self.assertEqual(details(found), {"Repository Unique Id": base64_of(harness.REPOSITORY_UID), "ihe:homeCommunityID": base64_of(home)})

    def test_images(self):
        study, series, instance, absent = (xds.new_oid() for _ in range(4))
        file = dicomweb.make_file({"patient": common.patient("P5"), "study": study, "series": series, "instance": instance})
        kind = f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'
        self.base = f"http://127.0.0.1:{self.server.plain_port}"
        self.assertEqual(fhir.exchange(self, "POST", "/dicomweb/studies", dicomweb.multipart([file]), {"Content-Type": kind})[0], 200)
        wanted = [(study, series, SOURCE_UID, uid) for uid in (instance, absent)]
        body = xds.retrieve_images_xml(wanted, [dicomweb.EXPLICIT], HOME)
        reply = self.soap().send("/gateway", "RAD-75", body, as_mtom=True)
        self.assertEqual((reply.outcome, list(reply.documents())), ("PartialSuccess", [instance]))
        wanted = {("110104", "RAD-75", "R", "0"), ("110104", "RAD-75", "R", "8")}
        wait_until(lambda: {codes(r) for r in of_messages(self.server, study, 4) if codes(r)[1] == "RAD-75"} == wanted)

    def test_discovery_names_whom_it_found_and_keeps_nothing_of_the_question(self):
        v3.feed(self.soap(), [(DOMAIN, "D1")], family="Kiroku")
        before = common.rows(self.server, "SELECT count(*) FROM patient_identifier")
        ((root, number),) = discover(self.soap(), DOMAIN, "D1")
        self.assertEqual(root, harness.AUTHORITY)
        self.assertEqual(discover(self.soap(), DOMAIN, "nobody"), [])
        self.assertEqual(common.rows(self.server, "SELECT count(*) FROM patient_identifier"), before)
        record = self.only(f"{number}^^^", "ITI-55")
        self.assertEqual(codes(record), ("110112", "ITI-55", "E", "0"))
        self.check_parties(record, DESTINATION, SOURCE)
        self.assertEqual(ids(record, "1/1"), [f"{number}^^^&{root}&ISO"])
        (query,) = objects(record, "2/24")
        self.assertEqual(query.find("ParticipantObjectIDTypeCode").get("csd-code"), "ITI-55")
        self.assertIn("D1", question(record))


class Enforced(common.ServerCase):
    """Mode enforce: the gateway of another community is a node, its community a facility, and its users bring assertions."""

    mode = "enforce"
    roles = ("gateway-a", "viewer-b", "viewer-a")
    settings = {"server": {"plain_http_listen": None, "plain_mllp_listen": None}, "affinity_domain": {"home_community_id": HOME},
                "xua": {"registry": "require", "repository": "require", "pix": "record", "audiences": saml.AUDIENCE}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        command = cls.server.command
        cls.idp = saml.IdentityProvider()
        test_xua.register(cls.server, cls.idp, wait=False)
        for facility, node, transactions in (("Hospital A", "gateway-a", "*"), ("Community B", "viewer-b", "ITI-38,ITI-39,ITI-55"),
                                             ("Hospital A", "viewer-a", "ITI-18,ITI-43")):
            command("facility", "add", facility, check=False)
            command("node", "add", node, "--facility", facility, "--certificate", str(cls.certs / f"{node}.pem"), "--transactions", transactions)
        command("role", "code", "physician", PHYSICIAN)
        command("authority", "add", DOMAIN, "--namespace", "HA", "--facility", "Hospital A")
        patients = cls.server.dir / "patients.csv"
        patients.write_text("authority,identifier,family,birth_date\nHA,77,Yamada,1970-01-01\n", encoding="utf-8")
        command("patient", "import", str(patients))
        command("patient", "enroll", "HA:77")
        ((pid,),) = common.rows(cls.server, "SELECT x.value FROM patient_identifier l JOIN patient_identifier x"
                                            " ON x.person = l.person AND x.is_xad_pid WHERE l.value = '77'")
        cls.patient = f"{pid}^^^&{harness.AUTHORITY}&ISO"
        cls.server.wait_until_refreshed()
        cls.document = xds.Document(cls.patient, b"letter")
        soap = common.client(cls.server, "gateway-a")
        cls.provide(soap, cls.patient, cls.document)
        soap.close()

    @classmethod
    def provide(cls, soap, patient, document):
        """ITI-41 with an assertion."""
        submission = xds.Submission(patient, [document])
        message = saml.with_header(xds.envelope(xds.ACTIONS["ITI-41"], submission.provide_xml()), cls.header())
        reply = soap.post("/repository", *xds.mtom(message, submission.attachments()))
        if reply.outcome != "Success":
            raise AssertionError(reply.errors or reply.raw)

    @classmethod
    def header(cls):
        """Of a physician."""
        role = saml.attribute("urn:oasis:names:tc:xacml:2.0:subject:role", saml.coded("Role", *PHYSICIAN.split("^^"), "physician"))
        return saml.security(cls.idp.assertion(attributes=f"<saml:AttributeStatement>{role}</saml:AttributeStatement>"))

    def ask(self, node, transaction, body, path="/gateway"):
        """A question with an assertion."""
        message = saml.with_header(xds.envelope(xds.ACTIONS[transaction], body), self.header())
        soap = self.soap(node)
        if transaction in ("ITI-39", "ITI-43"):
            return soap.post(path, *xds.mtom(message, []))
        return soap.post(path, "application/soap+xml; charset=UTF-8", message)

    def answers(self, patient, unique_id, number):
        """What community B is told, without what differs between any two answers."""
        replies = [self.ask("viewer-b", "ITI-38", query_documents(patient, HOME)).raw,
                   self.ask("viewer-b", "ITI-38", xds.query_xml("GetDocuments", {"$XDSDocumentEntryUniqueId": f"('{unique_id}')"}, home=HOME)).raw,
                   self.ask("viewer-b", "ITI-39", xds.retrieve_xml([(harness.REPOSITORY_UID, unique_id)], HOME)).raw,
                   v3.send(self.soap("viewer-b"), discovery(DOMAIN, number), ITI55, "/gateway").raw]
        varying = rb"\[ref \w{5}\]|urn:uuid:[0-9a-f-]{36}|(?:root|extension)=\"[^\"]*\"|creationTime value=\"[^\"]*\"|[0-9a-f-]{36}"
        return [re.sub(varying, b"", raw.replace(unique_id.encode(), b"")) for raw in replies]

    def test_what_is_not_disclosed_is_as_what_is_not_there_until_it_is(self):
        unknown = f"nobody^^^&{harness.AUTHORITY}&ISO"
        self.assertEqual(self.answers(self.patient, self.document.unique_id, "77"), self.answers(unknown, xds.new_oid(), "78"))
        self.assertEqual(discover(self.soap("viewer-b"), DOMAIN, "77"), [])
        self.server.command("disclosure", "add", "--patient", "HA:77", "--source", "Hospital A", "--reader", "Community B", "--permit",
                            "--level", "download")
        reply = self.ask("viewer-b", "ITI-38", query_documents(self.patient))
        self.assertEqual([e.get("home") for e in reply.objects("ExtrinsicObject")], [HOME], reply.errors or reply.raw)
        reply = self.ask("viewer-b", "ITI-39", xds.retrieve_xml([(harness.REPOSITORY_UID, self.document.unique_id)], HOME))
        self.assertEqual(reply.documents(), {self.document.unique_id: b"letter"})
        self.assertEqual([f"{n}^^^&{root}&ISO" for root, n in discover(self.soap("viewer-b"), DOMAIN, "77")], [self.patient])
        self.on_record()

    def on_record(self):
        """Who asked: the other gateway, and the user of its assertion."""
        found = becomes(lambda: [r for r in of_messages(self.server, self.document.unique_id, 2) if codes(r) == ("110106", "ITI-39", "R", "0")])
        self.assertEqual(len(found), 1)
        people = [p.get("UserName") for p in found[0].findall("ActiveParticipant") if p.get("UserName")]
        self.assertTrue(any(self.idp.issuer in name for name in people), people)

    def test_each_gateway_may_do_what_it_is_registered_for(self):
        reply = self.ask("viewer-b", "ITI-18", query_documents(self.patient), "/registry")
        self.assertEqual(reply.outcome, "Fault")
        self.assertIn(b"ITI-18", reply.raw)
        reply = self.ask("viewer-a", "ITI-38", query_documents(self.patient))
        self.assertEqual(reply.outcome, "Fault")
        self.assertIn(b"ITI-38", reply.raw)

    def test_the_gateway_demands_assertions_as_registry_and_repository_do(self):
        soap = self.soap("viewer-b")
        for transaction, body in (("ITI-38", query_documents(self.patient)), ("ITI-39", xds.retrieve_xml([(harness.REPOSITORY_UID, "1.2")], HOME))):
            reply = soap.send("/gateway", transaction, body, as_mtom=transaction == "ITI-39")
            self.assertEqual((reply.outcome, test_xua.subcode(reply)), ("Fault", "SecurityTokenUnavailable"))


class AtAnAddress(test_asynchronous.Asynchronous):
    """Both ways of exchange are demanded of a Responding Gateway (TF-2 3.38.1, 3.39.1)."""

    settings = {**test_asynchronous.BASE, "affinity_domain": {"pid_owner": "external", "home_community_id": HOME}}

    def test_every_question_may_name_where_its_answer_goes(self):
        soap, receiver = self.soap("gateway-a"), self.receiver()
        submission = common.submission("P1")
        self.assert_success(soap.provide(submission))
        unique_id = submission.documents[0].unique_id
        asked = {"ITI-38": query_documents(common.patient("P1"), HOME),
                 "ITI-39": xds.retrieve_xml([(harness.REPOSITORY_UID, unique_id)], HOME),
                 "ITI-55": xds.etree.tostring(discovery(DOMAIN, "nobody"), encoding="unicode")}
        sent = {}
        for transaction, body in asked.items():
            sent[transaction] = xds.new_urn()
            message = xds.envelope(xds.ACTIONS[transaction], body, sent[transaction], receiver.url())
            kind, content = xds.mtom(message, []) if transaction == "ITI-39" else ("application/soap+xml", message)
            self.assert_accepted(soap.post("/gateway", kind, content))
        replies = {test_asynchronous.addressing(r, "RelatesTo"): r for r in map(test_asynchronous.parsed, receiver.wait(len(asked)))}
        self.assertEqual(set(replies), set(sent.values()))
        self.assertEqual([e.get("home") for e in replies[sent["ITI-38"]].objects("ExtrinsicObject")], [HOME])
        self.assertEqual(replies[sent["ITI-39"]].documents(), {unique_id: b"content"})
        self.assertEqual(replies[sent["ITI-55"]].outcome, "AE")  # of a domain that nobody knows here
