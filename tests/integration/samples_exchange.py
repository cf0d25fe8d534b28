"""The samples of updates, removals, queries of many patients, subscriptions and other communities, with what each presupposes.

As they stand they meet a server that knows nothing of what they name; the table in samples.py says what comes then. Here the
objects that a sample names are registered first, under the ids that it names; patients, repositories and homeCommunityIds of
the samples become those of this server. Answers of other communities are answered to this server's Initiating Gateway, with the
id of its own request.
"""

import base64
import copy
import re

from lxml import etree

from conformance import client as xds
from tests.harness import receivers, server as harness
from tests.integration import common, samples_imaging, test_subscriptions as dsub, v3_messages as v3
from tests.integration.samples_imaging import HOME, expect

APPROVED, DEPRECATED = xds.STATUS + "Approved", xds.STATUS + "Deprecated"
OFFLINE = "urn:ihe:iti:2010:DocumentAvailability:Offline"
SOAP = "application/soap+xml; charset=UTF-8"
CHANGED = "samples_update"
QUERIED = ("samples_1", "samples_2", "samples_3")
ACROSS = "samples_across"
SUBSCRIBED = "samples_dsub"


def complete(tree, action):
    """The message of a sample in an envelope: its own, with the wsa:Action and wsa:MessageID that it needs; else one of ours."""
    if tree.tag != "{%s}Envelope" % xds.NS["soap"]:
        return xds.envelope(action, etree.tostring(tree, encoding="unicode", with_tail=False))
    header = tree.find("soap:Header", xds.NS)
    if header is None:
        header = etree.Element("{%s}Header" % xds.NS["soap"])
        tree.insert(0, header)
    for name, text in (("Action", action), ("MessageID", xds.new_urn())):
        node = header.find("wsa:" + name, xds.NS)
        if node is None:
            node = etree.SubElement(header, f"{{{xds.NS['wsa']}}}{name}")
            node.text = text
        elif name == "Action":
            node.text = text
    return etree.tostring(tree)


def sample(path, *changes):
    """A sample with texts replaced; each has to be there."""
    raw = path.read_bytes()
    for old, new in changes:
        expect(old.encode() in raw, f"{old} is not in {path.name}")
        raw = raw.replace(old.encode(), new.replace("&", "&amp;").encode())
    return etree.fromstring(raw)


def post(sender, path, transaction, tree):
    """Sends a sample; documents come and go as MTOM packages."""
    message = complete(tree, xds.ACTIONS[transaction])
    if transaction in ("ITI-39", "ITI-43"):
        return sender.soap.post(path, *xds.mtom(message, []))
    return sender.soap.post(path, SOAP, message)


def registered(sender, number, *documents, associations=()):
    """Provides documents of a patient."""
    submission = xds.Submission(common.patient(number), list(documents))
    submission.associations = list(associations)
    sender.judge(sender.soap.provide(submission), "Success")
    return submission


def versions(sender, lid):
    """{(versionName, status, documentAvailability)} of a DocumentEntry."""
    reply = sender.soap.query("GetDocuments", {"$XDSDocumentEntryLogicalID": f"('{lid}')", "$MetadataLevel": "2"})
    sender.judge(reply, "Success")
    return {(entry.find("rim:VersionInfo", xds.NS).get("versionName"), entry.get("status"),
             entry.xpath("string(rim:Slot[@name='documentAvailability']/rim:ValueList/rim:Value)", namespaces=xds.NS))
            for entry in reply.objects("ExtrinsicObject")}


def unique_ids(reply):
    """uniqueIds of the DocumentEntries of an answer, sorted."""
    return sorted(entry.xpath(f"string(rim:ExternalIdentifier[@identificationScheme='{common.UNIQUE_ID_SCHEME}']/@value)", namespaces=xds.NS)
                  for entry in reply.objects("ExtrinsicObject"))


# ---------------------------------------------------------------------------------------------- update and removal


def first_version(request, lid):
    """What the request updates, as it is registered: under the id that becomes its logical one."""
    first = copy.deepcopy(request)
    added = "//rim:Association[@id='Assoc2'] | //rim:Slot[@name='PreviousVersion' or @name='documentAvailability']"
    for node in first.xpath(added, namespaces=xds.NS):
        node.getparent().remove(node)
    for node in first.xpath("//*[@lid]"):
        del node.attrib["lid"]
    return etree.tostring(first, encoding="unicode").replace('"Document01"', f'"{lid}"')


def update(sender, path):
    """ITI-57: it makes version 2 of one DocumentEntry and deprecates another."""
    request = etree.parse(path).getroot()
    entry = request.find(".//rim:ExtrinsicObject", xds.NS)
    lid, target = entry.get("lid"), request.xpath("string(//rim:Association[@id='Assoc2']/@targetObject)", namespaces=xds.NS)
    sender.adopt(request)
    sender.judge(sender.soap.send("/registry", "ITI-42", first_version(request, lid)), "Success")
    registered(sender, samples_imaging.PATIENT_ID, xds.Document(common.patient(samples_imaging.PATIENT_ID), id=target))
    expect(versions(sender, lid) == {("1", APPROVED, "")}, "the version before is not there")
    sender.adopt(request)
    sender.judge(post(sender, "/registry", "ITI-57", request), "Success")
    found = versions(sender, lid)
    expect({v[:2] for v in found} == {("1", DEPRECATED), ("2", APPROVED)} and ("2", APPROVED, OFFLINE) in found, f"versions {found}")
    expect({v[:2] for v in versions(sender, target)} == {("1", DEPRECATED)}, "the other document is not Deprecated")
    sender.adopt(request)
    sender.judge(post(sender, "/registry", "ITI-57", request), "Failure", "XDSMetadataVersionError XDSMetadataUpdateError")


def shape(element):
    """An element without its text: name, names of its attributes, children."""
    return element.tag, sorted(element.attrib), [shape(child) for child in element.iterchildren("{*}*")]


def remove(sender, path):
    """ITI-62: one object. A relationship goes alone, with the answer that the sample answer is; a DocumentEntry does not."""
    (identifier,) = etree.parse(path).xpath("//rim:ObjectRef/@id", namespaces=xds.NS)
    fault = sender.soap.post("/registry", SOAP, path.read_bytes())
    expect((fault.outcome, b"wsa:Action says ITI-18" in fault.raw) == ("Fault", True), f"with its own Action: {fault.raw[-300:]}")
    expected = etree.parse(path.with_name("wxdsb__remove_res.xml")).getroot().find("soap:Body", xds.NS)[0]
    target, source = (xds.Document(common.patient(CHANGED), id=xds.new_urn()) for _ in range(2))
    registered(sender, CHANGED, target)
    registered(sender, CHANGED, source, associations=[xds.association_xml(xds.IHE_ASSOCIATION + "APND", source.id, target.id, identifier=identifier)])

    def lookup():
        return len(sender.soap.query("GetAssociations", {"$uuid": f"('{source.id}')"}).objects("Association"))

    expect(lookup() == 2, "the relationship is not there")
    reply = post(sender, "/registry", "ITI-62", etree.parse(path).getroot())
    sender.judge(reply, "Success")
    expect((shape(reply.body), reply.body.get("status")) == (shape(expected), expected.get("status")), f"the answer is {reply.raw[-300:]}")
    expect(lookup() == 1, "the relationship is still there")
    sender.judge(post(sender, "/registry", "ITI-62", etree.parse(path).getroot()), "Failure", "UnresolvedReferenceException")
    registered(sender, CHANGED, xds.Document(common.patient(CHANGED), id=identifier))
    sender.judge(post(sender, "/registry", "ITI-62", etree.parse(path).getroot()), "Failure", "ReferencesExistException")
    expect(versions(sender, identifier) == {("1", APPROVED, "")}, "it is removed although its SubmissionSet refers to it")


def remove_named(sender, path):
    """ITI-62: its ObjectRefList is empty; with what a submission made in it, all of that goes."""
    document = xds.Document(common.patient(CHANGED), id=xds.new_urn())
    submission = xds.Submission(common.patient(CHANGED), [document], id=xds.new_urn())
    sender.judge(sender.soap.provide(submission), "Success")

    def find():
        found = sender.soap.query("GetSubmissionSetAndContents", {"$XDSSubmissionSetEntryUUID": f"'{submission.id}'"})
        sender.judge(found, "Success")
        return found.objects()

    ids = [node.get("id") for node in find()]
    expect(len(ids) == 3, f"a submission of {ids}")
    request = etree.parse(path).getroot()
    refs = request.find(".//rim:ObjectRefList", xds.NS)
    for identifier in ids:
        etree.SubElement(refs, "{%s}ObjectRef" % xds.NS["rim"], id=identifier)
    sender.judge(post(sender, "/registry", "ITI-62", request), "Success")
    expect(not find() and not versions(sender, document.id), "something of the submission is still there")


def remove_document(sender, path):
    """ITI-86: of this repository it is removed, once; its DocumentEntry stays."""
    document = xds.Document(common.patient(CHANGED), b"to be removed", id=xds.new_urn())
    registered(sender, CHANGED, document)
    community = "2.16.578.1.12.4.5.100.1.1"
    changes = [(f">{community}.2<", f">{harness.REPOSITORY_UID}<"), (f">{community}<", f">{HOME}<")]
    sender.judge(post(sender, "/repository", "ITI-86", sample(path, *changes)), "Failure", "XDSDocumentUniqueIdError")
    changes.append(("0145ca61-6ea3-44d4-95bb-3506d6c14e4f", document.unique_id))
    sender.judge(post(sender, "/repository", "ITI-86", sample(path, *changes)), "Success")
    sender.judge(common.fetch(sender.soap, document), "Failure", "XDSDocumentUniqueIdError")
    sender.judge(post(sender, "/repository", "ITI-86", sample(path, *changes)), "Failure", "XDSDocumentUniqueIdError")
    expect(versions(sender, document.id) == {("1", APPROVED, "")}, "the DocumentEntry is changed")


# ---------------------------------------------------------------------------------------------- queries


def query_many(sender, path):
    """ITI-51: the documents of the two patients that it names, and of nobody else; Approved ones."""
    documents = {number: xds.Document(common.patient(number), id=xds.new_urn()) for number in QUERIED}
    for number, document in documents.items():
        registered(sender, number, document)
    newer = xds.Document(common.patient(QUERIED[1]), id=xds.new_urn())
    registered(sender, QUERIED[1], newer, associations=[xds.association_xml(xds.IHE_ASSOCIATION + "RPLC", newer.id, documents[QUERIED[1]].id)])
    request = sample(path, ("' 1^^^&amp;1.2.3.4&amp;ISO'", f"'{common.patient(QUERIED[0])}'"), ("'2^^^&amp;1.2.3.4&amp;ISO'", f"'{common.patient(QUERIED[1])}'"))
    reply = post(sender, "/registry", "ITI-51", request)
    sender.judge(reply, "Success")
    expect(unique_ids(reply) == sorted([documents[QUERIED[0]].unique_id, newer.unique_id]), f"documents {unique_ids(reply)}")


def query_across(sender, path, patient, matching):
    """ITI-38: the documents of the patient that match, with this community as their home."""
    codes = dict(xds.CODES, classCode=(xds.CODES["classCode"][0], "value", "scheme", "Value"))
    common_one, special = xds.Document(common.patient(ACROSS), id=xds.new_urn()), xds.Document(common.patient(ACROSS), id=xds.new_urn(), codes=codes)
    before = unique_ids(post(sender, "/gateway", "ITI-38", sample(path, (patient, common.patient(ACROSS)))))
    registered(sender, ACROSS, common_one, special)
    reply = post(sender, "/gateway", "ITI-38", sample(path, (patient, common.patient(ACROSS))))
    sender.judge(reply, "Success")
    wanted = {"special": [special.unique_id], "all": [common_one.unique_id, special.unique_id]}[matching]
    expect(unique_ids(reply) == sorted(before + wanted), f"documents {unique_ids(reply)}")
    expect({entry.get("home") for entry in reply.objects("ExtrinsicObject")} == {HOME}, "objects without the home of this community")


def query_by_class(sender, path):
    """ITI-38 with a classCode; as it is it lacks the headers of WS-Addressing."""
    fault = sender.soap.post("/gateway", SOAP, path.read_bytes())
    expect((fault.outcome, b"MessageAddressingHeaderRequired" in fault.raw) == ("Fault", True), f"without wsa:MessageID: {fault.raw[-300:]}")
    query_across(sender, path, "c4d77e21d0dd487^^^&amp;1.3.6.1.4.1.21367.2005.3.7&amp;ISO", "special")


def query_all(sender, path):
    """ITI-38 of a patient."""
    query_across(sender, path, "17855599120^^^&amp;2.16.578.1.12.4.1.4.1&amp;ISO", "all")


# ---------------------------------------------------------------------------------------------- documents of communities


def retrieve_two(sender, path):
    """ITI-39 of two documents in two repositories: one of them here, then both."""
    first, second = (xds.Document(common.patient(ACROSS), text, id=xds.new_urn()) for text in (b"first", b"second"))
    registered(sender, ACROSS, first, second)
    changes = [("urn:oid:1.2.3.5", HOME), ("1.3.6.1.4.2300", first.unique_id), ("1.3.6.1.4.2301", second.unique_id), ("1.3.6.1.4.1000", harness.REPOSITORY_UID)]
    reply = post(sender, "/gateway", "ITI-39", sample(path, *changes))
    sender.judge(reply, "PartialSuccess", "XDSUnknownRepositoryId")
    expect(reply.documents() == {first.unique_id: b"first"}, f"documents {reply.documents()}")
    reply = post(sender, "/gateway", "ITI-39", sample(path, *changes, ("1.3.6.1.4.2000", harness.REPOSITORY_UID)))
    sender.judge(reply, "Success")
    expect(reply.documents() == {first.unique_id: b"first", second.unique_id: b"second"}, f"documents {reply.documents()}")
    expect_like(reply, path.with_name("nist2__soap-xret-resp.xml"))


def retrieve_one(sender, path):
    """ITI-39 of a document."""
    document = xds.Document(common.patient(ACROSS), b"one", id=xds.new_urn())
    registered(sender, ACROSS, document)
    community = "2.16.578.1.12.4.5.100.1.1"
    changes = [(f">{community}.2<", f">{harness.REPOSITORY_UID}<"), (f">urn:oid:{community}<", f">{HOME}<")]
    sender.judge(post(sender, "/gateway", "ITI-39", sample(path, *changes)), "Failure", "XDSDocumentUniqueIdError")
    reply = post(sender, "/gateway", "ITI-39", sample(path, *changes, ("8f3b8038-5122-4e1b-8af4-29bb8759e8ae", document.unique_id)))
    sender.judge(reply, "Success")
    expect(reply.documents() == {document.unique_id: b"one"}, f"documents {reply.documents()}")


def expect_like(reply, path):
    """Our answer has the elements of the sample answer, in its order."""
    expected = etree.parse(path).getroot().find("soap:Body", xds.NS)[0]
    for response in reply.body.iterfind("xds:DocumentResponse", xds.NS):
        found = [child.tag for child in response]
        wanted = [child.tag for child in expected.find("xds:DocumentResponse", xds.NS)]
        expect(found == wanted and response.findtext("xds:HomeCommunityId", namespaces=xds.NS) == HOME, f"elements {found}")
    expect(shape(reply.body[0]) == shape(expected[0]), "the RegistryResponse differs")


class SampleGateway(receivers.Receiver):
    """A Responding Gateway that answers everything with one sample answer to ITI-39."""

    def __init__(self, text):
        self.sample = text
        super().__init__()

    def _exchange(self, connection):
        data = self._read_until(connection, lambda data: b"\r\n\r\n" in data)
        length = int(re.search(rb"(?i)content-length: (\d+)", data).group(1))
        while len(data.partition(b"\r\n\r\n")[2]) < length:
            data += self._read_until(connection, bool)
        asked = re.search(rb"MessageID[^>]*>([^<]+)<", data).group(1).decode()
        envelope = re.sub(r"(RelatesTo>)[^<]+", lambda match: match.group(1) + asked, self.sample)
        self._keep(asked)
        content_type, body = xds.mtom(envelope.encode(), [])
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return True


def answered(sender, text):
    """The answer that this server's Initiating Gateway gives where another community answers like the sample; its homes; the community."""
    home = re.findall(r"HomeCommunityId>(urn:oid:[\d.]+)<", text)[-1]
    gateway = SampleGateway(text)
    try:
        sender.server.command("community", "add", home, "--name", "sample", "--url", f"http://127.0.0.1:{gateway.port}/gateway")
        reply = sender.soap.send("/initiating", "ITI-43", xds.retrieve_xml(2 * [("1.3.6.1.4.1000", "1.3.6.1.4.2300")], home), as_mtom=True)
        expect(len(gateway.messages) == 1, f"the community was asked {len(gateway.messages)} times")
    finally:
        sender.server.command("community", "remove", home)
        gateway.stop()
    return reply, [r.findtext("xds:HomeCommunityId", namespaces=xds.NS) for r in reply.body.iterfind("xds:DocumentResponse", xds.NS)], home


def answer_is_valid(sender, path):
    """Both documents go on, with their home; one that comes as another community's does not."""
    text = path.read_text(encoding="utf-8")
    reply, homes, home = answered(sender, text)
    sender.judge(reply, "Success")
    expect(homes == [home, home], f"homes {homes}")
    expect(set(reply.documents().values()) == {base64.b64decode("UjBsR09EbGhjZ0dTQUxNQUFBUUNBRU1tQ1p0dU1GUXhEUzhi")}, f"documents {reply.documents()}")
    reply, homes, home = answered(sender, text.replace(f">{home}<", ">urn:oid:1.2.4<", 1))
    sender.judge(reply, "PartialSuccess", "XDSUnknownCommunity")
    expect(homes == [home], f"homes {homes}")


def answer_is_invalid(sender, path):
    """The document without homeCommunityId is left out, and said to be; the error of the community goes on too."""
    reply, homes, home = answered(sender, path.read_text(encoding="utf-8"))
    sender.judge(reply, "PartialSuccess", "XDSMissingHomeCommunityId XDSRepositoryError")
    expect(homes == [home], f"homes {homes}")
    expect({error[2] for error in reply.errors} == {"1.3.6.1.4.2300", home}, f"locations of {reply.errors}")


# ---------------------------------------------------------------------------------------------- subscriptions


def subscription(path, consumer, *changes):
    """The Subscribe of the test plan, to one of our consumers."""
    patient = "st3498702^^^&amp;1.3.6.1.4.1.21367.2005.3.7&amp;ISO"
    tree = sample(path, ("https://NotificationRecipientServer/xdsBnotification", consumer), (patient, common.patient(SUBSCRIBED)), *changes)
    return next(tree.iter("{%s}Subscribe" % dsub.WSNT))


def subscribe(sender, path):
    """ITI-52: each thing that has changed since it was written is a fault of its own; then a subscription, and what triggers it."""
    consumer = receivers.ReplyReceiver()
    try:
        changes = []
        for change, fault in ((("14d4debf-8f97-4251-9a74-a90016b0af0d", dsub.DOCUMENTS.rpartition(":")[2]), "InvalidFilterFault"),
                              (("'Emergency Department'", "'264372000^^2.16.840.1.113883.6.96'"), "InvalidFilterFault"),
                              (("2010-05-31T00:00:00.00000Z", "2099-05-31T00:00:00.00000Z"), "UnacceptableInitialTerminationTimeFault")):
            reply = post(sender, "/dsub", "ITI-52", subscription(path, consumer.url(), *changes))
            expect((reply.outcome, fault.encode() in reply.raw) == ("Fault", True), f"before {change}: {reply.raw[-600:]}")
            changes.append(change)
        reply = post(sender, "/dsub", "ITI-52", subscription(path, consumer.url(), *changes))
        expect(reply.body.tag == "{%s}SubscribeResponse" % dsub.WSNT, f"the answer is {reply.raw[-600:]}")
        expect(reply.body.findtext("wsnt:TerminationTime", namespaces=dsub.NS).startswith("2099-05-31T00:00:00"), "another end of the subscription")
        registered(sender, SUBSCRIBED, xds.Document(common.patient(SUBSCRIBED), id=xds.new_urn()))
        unique_id = publish(sender, path.with_name("nist2__dsub_publish_single_doc.xml"))
        notices = [dsub.Notice(message) for message in consumer.wait(2, 3)]
        expect([n.unique_ids for n in notices] == [[unique_id]], f"{len(notices)} notifications")
        reference = "wsnt:SubscriptionReference/wsa:Address"
        expect(notices[0].text(reference) == reply.body.findtext(reference, namespaces=dsub.NS), "a notification of another subscription")
    finally:
        consumer.stop()


def publish(sender, path):
    """The document that triggers a notification, in elements of XDS.b and in a SubmissionSet of ours; gives its uniqueId."""
    entry = samples_imaging.modern_metadata(path.read_bytes()).find("rim:ExtrinsicObject", xds.NS)
    unique_id = xds.new_oid()
    for node in entry.iter("{%s}ExternalIdentifier" % xds.NS["rim"]):
        name = node.xpath("string(rim:Name/rim:LocalizedString/@value)", namespaces=xds.NS)
        node.set("value", {"XDSDocumentEntry.uniqueId": unique_id, "XDSDocumentEntry.patientId": common.patient(SUBSCRIBED)}[name])
    submission = etree.fromstring(xds.Submission(common.patient(SUBSCRIBED), [xds.Document(common.patient(SUBSCRIBED), id=entry.get("id"))]).register_xml())
    ours = submission.find(".//rim:ExtrinsicObject", xds.NS)
    ours.getparent().replace(ours, entry)
    sender.judge(sender.soap.send("/registry", "ITI-42", etree.tostring(submission, encoding="unicode")), "Success")
    return unique_id


# ---------------------------------------------------------------------------------------------- patients of communities


def paths(element, base=""):
    """Names of the elements below, as paths."""
    here = f"{base}/{etree.QName(element).localname}"
    return {here}.union(*(paths(child, here) for child in element.iterchildren("{*}*")))


NOT_FED = "/(addr|telecom|providerOrganization/name|asOtherIDs)(/|$)"  # the last: only the affinity domain's is told


def content(element):
    """An element with its text, without the white space between elements."""
    return element.tag, dict(element.attrib), (element.text or "").strip(), [content(child) for child in element.iterchildren("{*}*")]


def discover(sender, path):
    """ITI-55: the patient whom it describes; the answer has the elements of the sample answer, but those that nobody fed."""
    v3.feed(sender.soap, [("1.2.840.114350.1.13.99997.2.3412", "1234"), ("2.16.840.1.113883.4.1", "58910")],
            family="Jones", given="Jimmy", gender="M", birth="19630805")
    asked = etree.parse(path).getroot()
    reply = v3.send(sender.soap, asked, xds.ACTIONS["ITI-55"], "/gateway")
    sender.judge(reply, "AA")
    code = reply.body.xpath("string(//hl7:queryAck/hl7:queryResponseCode/@code)", namespaces=xds.NS)
    events = reply.body.findall("hl7:controlActProcess/hl7:subject/hl7:registrationEvent", xds.NS)
    expect((code, len(events)) == ("OK", 1), f"{code}, {len(events)} patients")
    patient = events[0].find("hl7:subject1/hl7:patient", xds.NS)
    expect(patient.find("hl7:id", xds.NS).get("root") == harness.AUTHORITY, "a patient of another domain")
    expect(patient.xpath("string(hl7:patientPerson/hl7:name/hl7:family)", namespaces=xds.NS) == "Jones", "another patient")
    expect(events[0].xpath("string(hl7:custodian/hl7:assignedEntity/hl7:id/@root)", namespaces=xds.NS) == HOME.rpartition(":")[2], "another custodian")
    model = etree.parse(path.with_name("ipf__iti55-sample-response.xml")).getroot().find(".//hl7:registrationEvent", xds.NS)
    expect(paths(events[0]) <= paths(model), f"elements {paths(events[0]) - paths(model)}")
    lacking = {path for path in paths(model) - paths(events[0]) if not re.search(NOT_FED, path)}
    expect(not lacking, f"no {lacking}")
    told, echoed = (content(tree.find("hl7:controlActProcess/hl7:queryByParameter", xds.NS)) for tree in (asked, reply.body))
    expect(told == echoed, f"the query is not repeated as it was asked: {echoed}")


SAMPLES = {
    "iti-57/ipf__SubmitObjectsRequest_ebrs30_update.xml": update,
    "iti-62/wxdsb__remove_req.xml": remove,
    "iti-62/xcasrc__IT_iti-62_request.xml": remove_named,
    "iti-86/xcasrc__IT_iti-86_request.xml": remove_document,
    "iti-51/ipf__iti51request.xml": query_many,
    "iti-38-39/nist2__soap-xcq-req.xml": query_by_class,
    "iti-38-39/xcasrc__IT_iti-38_request.xml": query_all,
    "iti-38-39/nist2__soap-xcr-req.xml": retrieve_two,
    "iti-38-39/xcasrc__IT_iti-39_request.xml": retrieve_one,
    "iti-38-39/nist2__soap-xret-resp.xml": answer_is_valid,
    "iti-38-39/nist2__soap-xret-resp-homeless.xml": answer_is_invalid,
    "iti-52-dsub/nist2__dsub_subscribe_testplan.xml": subscribe,
    "iti-55/ipf__iti55-sample-request.xml": discover,
}


def run(server, reference, schemas, adopt):
    """Sends every sample; adopt(metadata) makes patient and ids ours. Gives (passed, [what failed])."""
    common.feed(server, CHANGED, *QUERIED, ACROSS, SUBSCRIBED)
    sender = samples_imaging.Sender(server, schemas, adopt)
    failures = []
    for name, check in SAMPLES.items():
        try:
            check(sender, reference / name)
        except samples_imaging.Unexpected as problem:
            failures.append(f"{name}: {problem}")
    sender.soap.close()
    return len(SAMPLES) - len(failures), failures
