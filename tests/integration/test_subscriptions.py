"""Document Metadata Subscription: ITI-52, 53, 54 with real consumers (ITI TF-2 3.52, 3.53, 3.54; contract C3, C4)."""

import datetime
import json
import threading
import time
import unittest

from lxml import etree

from conformance import client as xds
from tests.harness import memory, receivers
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.integration import audit_records, common

WSNT = "http://docs.oasis-open.org/wsn/b-2"
NS = {**xds.NS, "wsnt": WSNT}
SUBSCRIBE = "http://docs.oasis-open.org/wsn/bw-2/NotificationProducer/SubscribeRequest"
UNSUBSCRIBE = "http://docs.oasis-open.org/wsn/bw-2/SubscriptionManager/UnsubscribeRequest"
NOTIFY = "http://docs.oasis-open.org/wsn/bw-2/NotificationConsumer/Notify"
DIALECT = "http://docs.oasis-open.org/wsn/t-1/TopicExpression/Simple"
DOCUMENTS = "urn:uuid:aa2332d0-f8fe-11e0-be50-0800200c9a66"
DOCUMENTS_OF_ANY = "urn:uuid:742790e0-aba6-43d6-9f1f-e43ed9790b79"
SETS = "urn:uuid:fbede94e-dbdc-4f6b-bc1f-d730e677cece"
SETS_OF_ANY = "urn:uuid:868cad3d-ec09-4565-b66c-1be10d034399"
FULL = "ihe:FullDocumentEntry"
MINIMAL = "ihe:MinimalDocumentEntry"
SET = "ihe:SubmissionSetMetadata"
LIFE_S = 12  # of a subscription that a test sees end: it is made and used before
ANSWER_S = 15  # so long the server waits for the answer of a consumer


def subscribe_xml(consumer, topic, query, parameters, end=None, dialect=DIALECT, more=""):
    """The body of a Subscribe."""
    slots = "".join(xds.slot_xml(name, *([values] if isinstance(values, str) else values)) for name, values in parameters)
    end = f"<wsnt:InitialTerminationTime>{end}</wsnt:InitialTerminationTime>" if end else ""
    return (f'<wsnt:Subscribe xmlns:wsnt="{WSNT}" xmlns:wsa="{NS["wsa"]}" xmlns:rim="{NS["rim"]}">'
            f'<wsnt:ConsumerReference><wsa:Address>{consumer}</wsa:Address></wsnt:ConsumerReference>'
            f'<wsnt:Filter><wsnt:TopicExpression Dialect="{dialect}">{topic}</wsnt:TopicExpression>'
            f'<rim:AdhocQuery id="{query}">{slots}</rim:AdhocQuery>{more}</wsnt:Filter>{end}</wsnt:Subscribe>')


def document_filter(number, *more):
    """Parameters of the filter of DocumentEntries of a patient."""
    return [("$XDSDocumentEntryPatientId", f"'{common.patient(number)}'"), *more]


class Notice:
    """A Notify as a consumer got it."""

    def __init__(self, message):
        self.head, self.raw = message
        self.envelope = etree.fromstring(self.raw)
        self.message_id = self.header("MessageID")

    def header(self, name):
        """A WS-Addressing header."""
        return self.envelope.findtext(f"soap:Header/wsa:{name}", namespaces=NS)

    def text(self, path):
        """Text of an element below the NotificationMessage."""
        return self.envelope.findtext(f"soap:Body/wsnt:Notify/wsnt:NotificationMessage/{path}", namespaces=NS)

    @property
    def objects(self):
        """What is in the RegistryObjectList."""
        path = ("soap:Body/wsnt:Notify/wsnt:NotificationMessage/wsnt:Message/lcm:SubmitObjectsRequest/rim:RegistryObjectList")
        return list(self.envelope.find(path, NS))

    @property
    def unique_ids(self):
        """uniqueIds of whole DocumentEntries."""
        return [o.xpath(f"string(rim:ExternalIdentifier[@identificationScheme='{common.UNIQUE_ID_SCHEME}']/@value)", namespaces=NS)
                for o in self.objects]


class Case(common.ServerCase):
    """One server; each test has consumers of its own."""

    role = None

    def consumer(self, answer=None, tls=None, **options):
        """A consumer until the end of the test."""
        receiver = receivers.ReplyReceiver(answer, tls, **options)
        self.addCleanup(receiver.stop)
        return receiver

    def send(self, soap, action, body, to=None, reply_to=None):
        """A message to /dsub."""
        message = xds.envelope(action, body, reply_to=reply_to).decode()
        if reply_to:
            message = message.replace("</soap:Header>", f"<wsa:FaultTo><wsa:Address>{reply_to}</wsa:Address></wsa:FaultTo></soap:Header>")
        if to:
            message = message.replace("</soap:Header>", f"<wsa:To>{to}</wsa:To></soap:Header>")
        return soap.post("/dsub", f'application/soap+xml; charset=UTF-8; action="{action}"', message.encode())

    def subscribe(self, soap, consumer, topic=FULL, query=DOCUMENTS, parameters=None, end=None):
        """Subscribes; gives the SubscriptionReference."""
        parameters = document_filter("P1") if parameters is None else parameters
        reply = self.send(soap, SUBSCRIBE, subscribe_xml(consumer, topic, query, parameters, end))
        self.assertEqual(reply.status, 200, reply.raw[:2000])
        self.assertEqual(reply.body.tag, f"{{{WSNT}}}SubscribeResponse")
        self.assertEqual(reply.envelope.findtext("soap:Header/wsa:Action", namespaces=NS), SUBSCRIBE.replace("Request", "Response"))
        return reply.body.findtext("wsnt:SubscriptionReference/wsa:Address", namespaces=NS)

    def unsubscribe(self, soap, reference):
        """The reply to Unsubscribe."""
        return self.send(soap, UNSUBSCRIBE, f'<wsnt:Unsubscribe xmlns:wsnt="{WSNT}"/>', reference)

    def notices(self, consumer, count, timeout_s=PATIENCE_S):
        """So many, and no more."""
        messages = consumer.wait(count, timeout_s)
        self.assertEqual(len(messages), count)
        return [Notice(m) for m in messages]

    def quiet(self, consumer, count=0, wait_s=1.5):
        """No more than these come."""
        time.sleep(wait_s)
        self.assertEqual(len(consumer.messages), count)

    def register(self, soap, *args, **fields):
        """Registers a document; gives its submission."""
        submission = common.submission(*(args or ("P1",)), **fields)
        self.assert_success(soap.provide(submission))
        return submission

    def listed(self, reference):
        """Its row of musubi subscription list."""
        rows = json.loads(self.server.command("subscription", "list", "--json").stdout)
        return next((row for row in rows if row["reference"] == reference), None)


class Subscriptions(Case):
    """Open mode: consumers on loopback."""

    def test_each_topic_tells_what_its_table_row_says(self):
        """3.53.4.1.2, Table 3.52.5.3-1"""
        soap = self.soap()
        full, minimal, sets = self.consumer(), self.consumer(), self.consumer()
        reference = self.subscribe(soap, full.url())
        self.subscribe(soap, minimal.url(), MINIMAL)
        self.subscribe(soap, sets.url(), SET, SETS, [("$XDSSubmissionSetPatientId", f"'{common.patient('P1')}'")])
        submission = self.register(soap)
        notice = self.notices(full, 1)[0]
        self.assertEqual(notice.unique_ids, [submission.documents[0].unique_id])
        self.assertEqual([etree.QName(o).localname for o in notice.objects], ["ExtrinsicObject"])
        self.assertEqual(notice.header("Action"), NOTIFY)
        self.assertEqual(notice.header("To"), full.url())
        self.assertEqual(notice.text("wsnt:SubscriptionReference/wsa:Address"), reference)
        self.assertEqual(notice.text("wsnt:ProducerReference/wsa:Address"), reference.partition("?")[0])
        self.assertEqual(notice.text("wsnt:Topic"), FULL)
        self.assertIn('action="' + NOTIFY, notice.head)
        entry = notice.objects[0].get("id")
        [reference_object] = self.notices(minimal, 1)[0].objects
        self.assertEqual((reference_object.tag, dict(reference_object.attrib), len(reference_object)),
                         (f"{{{NS['rim']}}}ObjectRef", {"id": entry}, 0))
        [package] = self.notices(sets, 1)[0].objects
        self.assertEqual(etree.QName(package).localname, "RegistryPackage")
        self.assertIn(submission.unique_id, etree.tostring(package).decode())

    def test_filters_choose_as_stored_queries_do(self):
        """3.52.5.2: parameters are a conjunction, values alternatives"""
        soap = self.soap()
        matching, other, any_patient, author, recipient = (self.consumer() for _ in range(5))
        self.subscribe(soap, matching.url(), parameters=document_filter("P2", ("$XDSDocumentEntryAuthorPerson", "('%Yamada%')")))
        self.subscribe(soap, other.url(), parameters=document_filter("P2", ("$XDSDocumentEntryClassCode", "('no^^1.2.3')")))
        self.subscribe(soap, any_patient.url(), query=DOCUMENTS_OF_ANY,
                       parameters=[("$XDSDocumentEntryAuthorPerson", "('%Suzuki%','%Tan_ka%')")])
        self.subscribe(soap, author.url(), SET, SETS_OF_ANY, [("$XDSSubmissionSetSourceId", "('1.2.3.4.5')")])
        self.subscribe(soap, recipient.url(), SET, SETS_OF_ANY, [("$XDSSubmissionSetIntendedRecipient", "('Some Hospital%')")])
        self.register(soap, "P2")
        self.register(soap, "P3", author="^Tanaka^Ichiro")
        addressed = common.submission("P3")
        xml = addressed.provide_xml().replace('<rim:RegistryPackage id="SubmissionSet01">',
            '<rim:RegistryPackage id="SubmissionSet01">' + xds.slot_xml("intendedRecipient", "Some Hospital^^^^^^^^^1.2.3.9.1789.45"), 1)
        self.assert_success(soap.send("/repository", "ITI-41", xml, addressed.attachments(), True))
        self.notices(matching, 1)
        self.notices(any_patient, 1)
        self.assertIn(addressed.unique_id.encode(), self.notices(recipient, 1)[0].raw)
        self.quiet(other)
        self.quiet(author, wait_s=0)
        self.quiet(matching, 1, wait_s=0)

    def test_order_replacement_and_update(self):
        """3.54.4.1.1: publication of, or update to, a DocumentEntry; in the order of the events"""
        soap = self.soap()
        consumer = self.consumer()
        self.subscribe(soap, consumer.url(), parameters=document_filter("P4"))
        first = self.register(soap, "P4")
        entry = common.find(soap, "P4")[first.documents[0].unique_id]
        renewed = xds.Document(common.patient("P4"), b"content", unique_id=first.documents[0].unique_id, title="Better")
        self.assert_success(soap.send("/registry", "ITI-57", common.version_xml(renewed, entry, "1")))
        latest = common.find(soap, "P4")[first.documents[0].unique_id]
        replacement = xds.Submission(common.patient("P4"), documents=[xds.Document(common.patient("P4"), b"new")])
        replacement.associations = [xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", "Document01", latest)]
        self.assert_success(soap.provide(replacement))
        new = common.find(soap, "P4")[replacement.documents[0].unique_id]
        self.assert_success(soap.send("/registry", "ITI-57", common.status_xml(common.patient("P4"), new, xds.STATUS + "Approved",
                                                                               xds.STATUS + "Deprecated")))
        later = [self.register(soap, "P4").documents[0].unique_id for _ in range(5)]
        notices = self.notices(consumer, 9)
        told = [n.unique_ids[0] for n in notices]
        self.assertEqual(told, [first.documents[0].unique_id, first.documents[0].unique_id, replacement.documents[0].unique_id,
                                replacement.documents[0].unique_id, *later])
        self.assertEqual([n.objects[0].find("rim:VersionInfo", NS).get("versionName") for n in notices[:2]], ["1", "2"])
        self.assertEqual(notices[1].objects[0].get("id"), latest)
        self.assertTrue(notices[3].objects[0].get("status").endswith("Deprecated"))
        self.assertEqual(len({n.message_id for n in notices}), 9)

    def test_a_consumer_that_is_down_is_told_later_and_in_order(self):
        soap = self.soap()
        consumer = self.consumer()
        reference = self.subscribe(soap, consumer.url(), parameters=document_filter("P5"))
        consumer.stop()
        told = [self.register(soap, "P5").documents[0].unique_id for _ in range(3)]
        wait_until(lambda: self.listed(reference)["last_failure"] != "" and self.listed(reference)["waiting"] == 3)
        self.assertIn("musubi_subscription_notifications_waiting 3", self.server.admin("/metrics"))
        self.assertIn("3 notifications waiting", self.server.command("status").stdout)
        consumer.start()
        self.server.command("subscription", "retry", str(self.listed(reference)["id"]))
        self.assertEqual([n.unique_ids[0] for n in self.notices(consumer, 3)], told)
        wait_until(lambda: self.listed(reference)["waiting"] == 0)
        row = self.listed(reference)
        self.assertEqual((row["delivered"], row["last_failure"]), (3, ""))

    def test_no_answer_or_an_error_is_tried_again_and_a_sender_fault_is_put_aside(self):
        soap = self.soap()
        answers = [None, 503, 202]
        consumer = self.consumer(lambda message: answers.pop(0) if answers else 202)
        self.subscribe(soap, consumer.url(), parameters=document_filter("P6"))
        self.register(soap, "P6")
        notices = self.notices(consumer, 3)
        self.assertEqual(len({n.message_id for n in notices}), 1)
        self.assertEqual(len({n.raw for n in notices}), 1)

    def test_a_consumer_that_hangs_holds_up_no_other(self):
        soap = self.soap()
        over = threading.Event()
        self.addCleanup(over.set)
        hanging, other = self.consumer(lambda message: over.wait(60) and None), self.consumer()
        references = [self.subscribe(soap, hanging.url(), parameters=document_filter("P6")) for _ in range(12)]
        references.append(self.subscribe(soap, other.url(), parameters=document_filter("P6")))
        for count in (1, 2, 3):
            self.register(self.soap(), "P6")
            self.notices(other, count, ANSWER_S)
        for reference in references:
            self.unsubscribe(soap, reference)

    def test_consumers_that_dawdle_hold_up_no_other(self):
        """As many as there are senders, each of which takes what it is told, after two seconds."""
        soap = self.soap()
        over = threading.Event()
        self.addCleanup(over.set)
        dawdling = [self.consumer(lambda message: 202 if over.wait(2) else 202) for _ in range(4)]
        other = self.consumer()
        references = [self.subscribe(soap, c.url(), parameters=document_filter("P9")) for c in dawdling]
        told = [self.register(soap, "P9").documents[0].unique_id for _ in range(25)]
        for consumer in dawdling:
            self.assertGreaterEqual(len(consumer.wait(1, 20)), 1)
        references.append(self.subscribe(soap, other.url(), parameters=document_filter("P9")))
        late = self.register(soap, "P9").documents[0].unique_id
        self.assertEqual([n.unique_ids[0] for n in self.notices(other, 1, 30)], [late])
        over.set()
        for consumer in dawdling:
            self.assertEqual([n.unique_ids[0] for n in self.notices(consumer, 26, 60)], [*told, late])
        for reference in references:
            self.unsubscribe(soap, reference)

    def test_what_is_too_large_for_one_message_comes_in_several(self):
        soap = self.soap()
        consumer, entries = self.consumer(), []
        for _ in range(2):
            documents = [xds.Document(common.patient("P7"), b"content", id=xds.new_urn(), slots={f"urn:x:{n}": ["x" * 250] * 600 for n in range(4)})
                         for _ in range(15)]
            self.assert_success(soap.provide(xds.Submission(common.patient("P7"), documents)))
            entries += [d.id for d in documents]
        reference = self.subscribe(soap, consumer.url(), parameters=document_filter("P7"))
        change = xds.Submission(common.patient("P7"))
        change.associations = [xds.association_xml(common.UPDATE_STATUS, change.id, entry,
                                                   {"OriginalStatus": [xds.STATUS + "Approved"], "NewStatus": [xds.STATUS + "Deprecated"]})
                               for entry in entries]
        self.assert_success(soap.send("/registry", "ITI-57", change.register_xml()))
        wait_until(lambda: sum(len(Notice(m).objects) for m in list(consumer.messages)) >= len(entries))
        wait_until(lambda: self.listed(reference)["waiting"] == 0)
        notices = [Notice(m) for m in consumer.messages]
        self.assertEqual(sorted(o.get("id") for n in notices for o in n.objects), sorted(entries))
        self.assertEqual(len({n.message_id for n in notices}), len(notices))

    def test_many_subscriptions_and_events_are_matched_in_constant_memory(self):
        soap = self.soap()
        consumer = self.consumer()
        self.subscribe(soap, consumer.url(), query=DOCUMENTS_OF_ANY, parameters=[("$XDSDocumentEntryAuthorPerson", "('%Nobody%')")])
        common.rows(self.server, "INSERT INTO subscription (reference, address, node, consumer, topic, filter, patient, user_texts, user_roles,"
                                 " user_purposes) SELECT gen_random_uuid(), address, node, consumer, topic, filter, patient, user_texts,"
                                 " user_roles, user_purposes FROM subscription, generate_series(1, 2000) WHERE consumer = %s RETURNING 1",
                    consumer.url())
        last = self.subscribe(soap, consumer.url(), parameters=document_filter("P8"))
        before = memory.server_bytes(self.server.process.pid)
        peak = [before]
        told = [self.register(soap, "P8").documents[0].unique_id for _ in range(40)]

        def is_all_told():
            peak[0] = max(peak[0], memory.server_bytes(self.server.process.pid))
            return len(consumer.messages) == len(told)
        wait_until(is_all_told, timeout_s=3 * PATIENCE_S)
        self.assertEqual([Notice(m).unique_ids[0] for m in consumer.messages], told)
        self.assertLess(peak[0] - before, 100 * common.MIB)
        self.unsubscribe(soap, last)
        common.rows(self.server, "DELETE FROM subscription WHERE consumer = %s RETURNING 1", consumer.url())

    def test_unsubscribe_drops_what_waits_and_ends(self):
        """3.52.4.3"""
        soap = self.soap()
        consumer = self.consumer()
        reference = self.subscribe(soap, consumer.url(), parameters=document_filter("P7"))
        consumer.stop()
        self.register(soap, "P7")
        wait_until(lambda: self.listed(reference)["waiting"] == 1)
        reply = self.unsubscribe(soap, reference)
        self.assertEqual((reply.status, reply.body.tag), (200, f"{{{WSNT}}}UnsubscribeResponse"), reply.raw)
        consumer.start()
        self.register(soap, "P7")
        self.quiet(consumer)
        self.assertIsNone(self.listed(reference))
        reply = self.unsubscribe(soap, reference)
        self.assertEqual(reply.status, 400)
        self.assertIn(b"ResourceUnknownFault", reply.raw)

    def test_subscription_ends_by_itself(self):
        """3.52.4.1.3: xs:duration and xs:dateTime"""
        soap = self.soap()
        consumer = self.consumer()
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=LIFE_S)
        references = [self.subscribe(soap, consumer.url(), parameters=document_filter("P8"), end=end)
                      for end in (f"PT{LIFE_S}.5S", end.isoformat(), "P1Y2M3DT4H5M6S")]
        self.register(soap, "P8")
        self.notices(consumer, 3)
        wait_until(lambda: [self.listed(r) is None for r in references] == [True, True, False])
        self.register(soap, "P8")
        self.notices(consumer, 4)
        self.quiet(consumer, 4)

    def test_faults_have_the_detail_of_ws_notification(self):
        """3.52.4.1.3"""
        soap = self.soap()
        url = "http://127.0.0.1:9/nobody"
        good = document_filter("P1")
        past = "2010-05-31T00:00:00.00000Z"
        cases = [
            ("TopicExpressionDialectUnknownFault", subscribe_xml(url, FULL, DOCUMENTS, good, dialect="urn:x")),
            ("InvalidTopicExpressionFault", subscribe_xml(url, "ihe:Full/x", DOCUMENTS, good)),
            ("TopicNotSupportedFault", subscribe_xml(url, "ihe:FolderMetadata", DOCUMENTS, good)),
            ("InvalidFilterFault", subscribe_xml(url, FULL, xds.QUERIES["FindDocuments"], good)),
            ("InvalidFilterFault", subscribe_xml(url, FULL, SETS, [("$XDSSubmissionSetPatientId", "'1^^^&1.2.3&ISO'")])),
            ("InvalidFilterFault", subscribe_xml(url, FULL, DOCUMENTS, [])),
            ("InvalidFilterFault", subscribe_xml(url, FULL, DOCUMENTS, [*good, ("$XDSDocumentEntryStatus", "('x')")])),
            ("InvalidFilterFault", subscribe_xml(url, FULL, DOCUMENTS, [*good, ("$XDSDocumentEntryClassCode", "('x')")])),
            ("InvalidFilterFault", subscribe_xml(url, FULL, DOCUMENTS, good, more="<wsnt:MessageContent/>")),
            ("UnacceptableInitialTerminationTimeFault", subscribe_xml(url, FULL, DOCUMENTS, good, past)),
            ("UnacceptableInitialTerminationTimeFault", subscribe_xml(url, FULL, DOCUMENTS, good, "-P1D")),
            ("UnacceptableInitialTerminationTimeFault", subscribe_xml(url, FULL, DOCUMENTS, good, "tomorrow")),
            ("SubscribeCreationFailedFault", subscribe_xml("https://elsewhere.example/n", FULL, DOCUMENTS, good)),
            ("SubscribeCreationFailedFault", subscribe_xml("", FULL, DOCUMENTS, good)),
        ]
        for fault, body in cases:
            with self.subTest(fault=fault, body=body[-300:]):
                reply = self.send(soap, SUBSCRIBE, body)
                self.assertEqual((reply.status, reply.outcome), (400, "Fault"), reply.raw)
                [detail] = reply.body.find("soap:Detail", NS)
                self.assertEqual(detail.tag, f"{{{WSNT}}}{fault}")
                self.assertEqual(detail[0].tag, "{http://docs.oasis-open.org/wsrf/bf-2}Timestamp")
                self.assertEqual(reply.envelope.findtext("soap:Header/wsa:Action", namespaces=NS), "http://docs.oasis-open.org/wsn/fault")

    def test_publish_tells_again_what_is_registered(self):
        """3.54.4.1: a one-way message"""
        soap = self.soap()
        consumer = self.consumer()
        self.subscribe(soap, consumer.url(), parameters=document_filter("P9"))
        submission = self.register(soap, "P9")
        notice = self.notices(consumer, 1)[0]
        entry = notice.objects[0].get("id")

        def publish(identifier, reply_to=None):
            body = (f'<wsnt:Notify xmlns:wsnt="{WSNT}" xmlns:wsa="{NS["wsa"]}"><wsnt:NotificationMessage><wsnt:ProducerReference>'
                    '<wsa:Address>urn:oid:1.3.6.1.4.1.21367.4</wsa:Address></wsnt:ProducerReference><wsnt:Message>'
                    + submission.register_xml().replace('"Document01"', f'"{identifier}"').replace('"SubmissionSet01"', f'"{xds.new_urn()}"')
                    + "</wsnt:Message></wsnt:NotificationMessage></wsnt:Notify>")
            return self.send(soap, NOTIFY, body, reply_to=reply_to)
        reply = publish(entry)
        self.assertEqual((reply.status, reply.raw), (202, b""))
        again = self.notices(consumer, 2)[1]
        self.assertEqual(again.unique_ids, notice.unique_ids)
        self.assertNotEqual(again.message_id, notice.message_id)
        nobody = f"{NS['wsa']}/none"  # as some senders write into every one-way message
        self.assertEqual(publish(entry, nobody).status, 202)
        for reply_to in (None, nobody):
            reply = publish(xds.new_urn(), reply_to)
            self.assertEqual((reply.status, reply.outcome), (400, "Fault"))
            self.assertIn(b"ITI-42", reply.raw)

    def test_audit_of_subscribe_notify_and_unsubscribe(self):
        """3.52.6.1, 3.53.5.1"""
        soap = self.soap()
        consumer = self.consumer()
        reference = self.subscribe(soap, consumer.url(), parameters=document_filter("P3"))
        self.register(soap, "P3")
        entry = self.notices(consumer, 1)[0].objects[0].get("id")
        self.unsubscribe(soap, reference)

        def found(*texts):
            output = self.server.command("audit", "search", reference if "ITI-52" in texts else entry, check=False).stdout
            return all(text in output for text in texts)
        wait_until(lambda: found("ITI-52", "110112", 'EventActionCode="C"', 'EventActionCode="D"'))
        wait_until(lambda: found("ITI-53", "110106", "document entry object type", consumer.url()))


SENDER_FAULT = (f'<s:Envelope xmlns:s="{NS["soap"]}"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code><s:Reason>'
                '<s:Text xml:lang="en">no</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>').encode()


class Bounds(Case):
    """What nobody takes does not pile up: WS-BaseNotification leaves to the producer what becomes of a subscription then."""

    def suspended(self, reference):
        """Its row, once nothing more is queued for it."""
        wait_until(lambda: self.listed(reference)["suspended"])
        return self.listed(reference)

    def assert_on_record(self, number):
        """One audit message says that it was suspended."""
        records = audit_records.of_messages(self.server, f"musubi:subscription/{number}", 1)
        suspended = audit_records.base64_of(f"subscription {number}: suspended,")[:32]
        self.assertEqual([audit_records.codes(r) for r in records if suspended in audit_records.text(r)], [("110113", "110128", "E", "0")])


class BoundOfTime(Bounds):
    """[subscriptions] retry_for"""

    settings = {"subscriptions": {"retry_for": "8s"}}

    def test_one_whose_recipient_takes_nothing_is_suspended_and_goes_on_in_order_when_told_to(self):
        soap = self.soap()
        consumer, other = self.consumer(), self.consumer()
        reference, kept = (self.subscribe(soap, c.url(), parameters=document_filter("P1")) for c in (consumer, other))
        consumer.stop()
        told = [self.register(soap, "P1").documents[0].unique_id for _ in range(2)]
        row = self.suspended(reference)
        self.assertIn("[subscriptions] retry_for", row["last_failure"])
        self.assertIn("127.0.0.1", row["last_failure"])
        self.assertEqual(row["waiting"], 2)
        self.assert_on_record(row["id"])
        self.server.wait_for_log(f"event=subscription_suspended subscription={row['id']} ")
        self.assertIn("suspended", self.server.command("subscription", "list").stdout)
        self.assertIn("musubi_subscriptions_suspended 1\n", self.server.admin("/metrics"))
        self.assertEqual(json.loads(self.server.command("status", "--json").stdout)["subscriptions"]["suspended"], 1)
        # nothing is queued for it, all for the other
        missed = self.register(soap, "P1").documents[0].unique_id
        self.assertEqual([n.unique_ids[0] for n in self.notices(other, 3)], [*told, missed])
        self.assertEqual(self.listed(reference)["waiting"], 2)
        consumer.start()
        self.server.command("subscription", "retry", str(row["id"]))
        self.assertEqual([n.unique_ids[0] for n in self.notices(consumer, 2)], told)
        wait_until(lambda: self.listed(reference)["waiting"] == 0)
        told.append(self.register(soap, "P1").documents[0].unique_id)
        self.assertEqual([n.unique_ids[0] for n in self.notices(consumer, 3)], told)
        row = self.listed(reference)
        self.assertEqual((row["suspended"], row["last_failure"]), (False, ""))
        self.assert_on_record(row["id"])
        for each in (reference, kept):
            self.unsubscribe(soap, each)


class BoundOfNumber(Bounds):
    """[subscriptions] max_waiting"""

    settings = {"subscriptions": {"max_waiting": "4"}}

    def test_one_whose_recipient_refuses_or_dawdles_is_suspended_when_too_many_wait(self):
        soap = self.soap()
        over = threading.Event()
        self.addCleanup(over.set)
        refusing = self.consumer(lambda message: (400, SENDER_FAULT))
        dawdling = self.consumer(lambda message: 202 if over.wait(ANSWER_S - 5) else 202)
        references = [self.subscribe(soap, c.url(), parameters=document_filter("P2")) for c in (refusing, dawdling)]

        def are_suspended():
            self.register(soap, "P2")
            return all(self.listed(reference)["suspended"] for reference in references)
        wait_until(are_suspended)
        over.set()
        for reference in references:
            row = self.suspended(reference)
            self.assertIn("[subscriptions] max_waiting", row["last_failure"])
        waiting = self.listed(references[0])["waiting"] + self.listed(references[0])["refused"]
        self.register(soap, "P2")
        wait_until(lambda: common.rows(self.server, "SELECT count(*) FROM subscription_event") == [(0,)])
        row = self.listed(references[0])
        self.assertEqual(row["waiting"] + row["refused"], waiting)
        # an acknowledgement that was on its way does not let it go on
        self.assertTrue(self.listed(references[1])["suspended"])
        for reference in references:
            self.assertEqual(self.unsubscribe(soap, reference).status, 200)


class Rights(Case):
    """Enforced: nodes of two hospitals, consumers with mutual TLS."""

    mode = "enforce"
    roles = ("gateway-a", "gateway-b", "stranger")
    settings = {"server": {"plain_node": "feeder"}, "affinity_domain": {"pid_owner": "external"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name, role in (("Hospital A", "gateway-a"), ("Hospital B", "gateway-b")):
            cls.server.command("facility", "add", name)
            cls.server.command("node", "add", role, "--facility", name, "--transactions", "*", "--certificate",
                               str(cls.certs / f"{role}.pem"))
        cls.server.command("node", "add", "feeder", "--facility", "Hospital A", "--transactions", "*", "--source", "*|*")
        cls.server.wait_until_refreshed()
        common.feed(cls.server, "P1", "P2")
        for number in ("P1", "P2"):
            cls.server.command("patient", "enroll", number)

    def https_consumer(self, node):
        """A consumer with mutual TLS at a registered address of the node."""
        consumer = self.consumer(tls=receivers.tls_context(self.certs, node))
        self.server.command("node", "endpoint", "add", node, consumer.url())
        self.server.wait_until_refreshed()
        return consumer

    def disclose(self, *arguments):
        """Hospital A shows its documents to Hospital B."""
        output = self.server.command("disclosure", "add", "--patient", "*", "--source", "Hospital A", "--reader", "Hospital B",
                                     "--permit", "--json", *arguments).stdout
        return output

    def test_only_what_the_subscriber_may_know_at_that_moment_is_told(self):
        soap_a, soap_b = self.soap("gateway-a"), self.soap("gateway-b")
        own, foreign = self.https_consumer("gateway-a"), self.https_consumer("gateway-b")
        sets = self.https_consumer("gateway-b")
        self.subscribe(soap_a, own.url())
        reference = self.subscribe(soap_b, foreign.url(), MINIMAL)
        self.subscribe(soap_b, sets.url(), SET, SETS, [("$XDSSubmissionSetPatientId", f"'{common.patient('P1')}'")])
        self.register(soap_a)
        self.notices(own, 1)
        self.quiet(foreign)
        self.quiet(sets, wait_s=0)
        self.assertEqual(self.listed(reference)["waiting"], 0)
        # between event and delivery a disclosure ends
        self.disclose()
        self.register(soap_a)
        self.notices(foreign, 1)
        self.notices(sets, 1)
        wait_until(lambda: self.listed(reference)["delivered"] == 1)  # the acknowledgement has come
        foreign.stop()
        self.register(soap_a)
        self.notices(sets, 2)
        wait_until(lambda: self.listed(reference)["waiting"] == 1)
        number = json.loads(self.server.command("disclosure", "list", "--json").stdout)[0]
        self.server.command("disclosure", "revoke", str(number.get("id", number.get("number", 1))))
        foreign.start()
        self.server.command("subscription", "retry", str(self.listed(reference)["id"]))
        wait_until(lambda: self.listed(reference)["waiting"] == 0)
        self.quiet(foreign, 1)

    def test_only_registered_addresses_and_own_subscriptions(self):
        soap_a, soap_b = self.soap("gateway-a"), self.soap("gateway-b")
        consumer = self.consumer(tls=receivers.tls_context(self.certs, "gateway-a"))
        reply = self.send(soap_a, SUBSCRIBE, subscribe_xml(consumer.url(), FULL, DOCUMENTS, document_filter("P2")))
        self.assertIn(b"SubscribeCreationFailedFault", reply.raw)
        self.assertIn(b"musubi node endpoint add gateway-a", reply.raw)
        self.server.command("node", "endpoint", "add", "gateway-a", consumer.url())
        self.server.wait_until_refreshed()
        reference = self.subscribe(soap_a, consumer.url(), parameters=document_filter("P2"))
        self.assertIn(b"ResourceUnknownFault", self.unsubscribe(soap_b, reference).raw)
        self.server.command("node", "endpoint", "remove", "gateway-a", consumer.url())
        self.server.wait_until_refreshed()
        self.register(soap_a, "P2")
        wait_until(lambda: "endpoint add" in self.listed(reference)["last_failure"])
        self.quiet(consumer, wait_s=0)


if __name__ == "__main__":
    unittest.main()
