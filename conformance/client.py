"""An XDS.b client in plain Python: SOAP 1.2 SIMPLE and MTOM over HTTP(S), HL7 v2 over MLLP(S), and a writer of submissions.

Shares no code with the server. Needs Python 3.11 and lxml.
"""

import base64
import dataclasses
import datetime
import hashlib
import http.client
import itertools
import os
import re
import socket
import ssl
import time
import urllib.parse
import uuid
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

NS = {
    "soap": "http://www.w3.org/2003/05/soap-envelope",
    "wsa": "http://www.w3.org/2005/08/addressing",
    "rim": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0",
    "rs": "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0",
    "lcm": "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0",
    "query": "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0",
    "xds": "urn:ihe:iti:xds-b:2007",
    "iherad": "urn:ihe:rad:xdsi-b:2009",
    "rmd": "urn:ihe:iti:rmd:2017",
    "xop": "http://www.w3.org/2004/08/xop/include",
    "hl7": "urn:hl7-org:v3",
}
ACTIONS = {
    "ITI-18": "urn:ihe:iti:2007:RegistryStoredQuery",
    "ITI-38": "urn:ihe:iti:2007:CrossGatewayQuery",
    "ITI-39": "urn:ihe:iti:2007:CrossGatewayRetrieve",
    "ITI-41": "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b",
    "ITI-42": "urn:ihe:iti:2007:RegisterDocumentSet-b",
    "ITI-43": "urn:ihe:iti:2007:RetrieveDocumentSet",
    "ITI-51": "urn:ihe:iti:2009:MultiPatientStoredQuery",
    "ITI-52": "http://docs.oasis-open.org/wsn/bw-2/NotificationProducer/SubscribeRequest",
    "ITI-57": "urn:ihe:iti:2010:UpdateDocumentSet",
    "ITI-61": "urn:ihe:iti:2010:RegisterOnDemandDocumentEntry",
    "ITI-62": "urn:ihe:iti:2010:DeleteDocumentSet",
    "ITI-86": "urn:ihe:iti:2017:RemoveDocuments",
    "ITI-92": "urn:ihe:iti:2018:RestrictedUpdateDocumentSet",
    "RAD-69": "urn:ihe:rad:2009:RetrieveImagingDocumentSet",
    "RAD-75": "urn:ihe:rad:2011:CrossGatewayRetrieveImagingDocumentSet",
    "ITI-55": "urn:hl7-org:v3:PRPA_IN201305UV02:CrossGatewayPatientDiscovery",
}
IDLE_S = 30  # longer than this no connection is kept
STATUS = "urn:oasis:names:tc:ebxml-regrep:StatusType:"
HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
IHE_ASSOCIATION = "urn:ihe:iti:2007:AssociationType:"
STABLE = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
QUERIES = {
    "FindDocuments": "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
    "FindSubmissionSets": "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9",
    "FindFolders": "urn:uuid:958f3006-baad-4929-a4de-ff1114824431",
    "GetAll": "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3",
    "GetDocuments": "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4",
    "GetFolders": "urn:uuid:5737b14c-8a1a-4539-b659-e03a34a5e1e4",
    "GetAssociations": "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155",
    "GetDocumentsAndAssociations": "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a",
    "GetSubmissionSets": "urn:uuid:51224314-5390-4169-9b91-b1980040715a",
    "GetSubmissionSetAndContents": "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83",
    "GetFolderAndContents": "urn:uuid:b909a503-523d-4517-8acf-8e5834dfc4c7",
    "GetFoldersForDocument": "urn:uuid:10cae35a-c7f9-4cf5-b61e-fc3278ffb578",
    "GetRelatedDocuments": "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6",
    "FindDocumentsByReferenceId": "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492",
    "FindDocumentsForMultiplePatients": "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f",
    "FindFoldersForMultiplePatients": "urn:uuid:50d3f5ac-39a2-11de-a1ca-b366239e58df",
}
_counter = itertools.count(1)
_run = f"{os.getpid()}.{int.from_bytes(os.urandom(4), 'big')}"


def new_oid():
    """A uniqueId that no other run uses."""
    return f"1.2.392.99999.77.{_run}.{next(_counter)}"


def new_urn():
    """A fresh entryUUID."""
    return f"urn:uuid:{uuid.uuid4()}"


# ---------------------------------------------------------------------------------------------- HTTP and SOAP


@dataclasses.dataclass
class Reply:
    """What came back: HTTP status, headers, the envelope, and the MIME parts by Content-ID."""

    status: int
    headers: dict
    raw: bytes
    envelope: object
    parts: dict

    @property
    def body(self):
        """First element of soap:Body."""
        return self.envelope.find("soap:Body", NS)[0] if self.envelope is not None else None

    @property
    def outcome(self):
        """Success, PartialSuccess, Failure, or Fault; of HL7 v3 the acknowledgement: CA, CE, CR, AA, AE, AR."""
        body = self.body
        if body is None or etree.QName(body).localname == "Fault":
            return "Fault"
        if etree.QName(body).namespace == NS["hl7"]:
            return body.xpath("string(hl7:acknowledgement/hl7:typeCode/@code)", namespaces=NS)
        response = body if "status" in body.attrib else body.find("rs:RegistryResponse", NS)
        return response.get("status").rsplit(":", 1)[1]

    @property
    def errors(self):
        """[(errorCode, codeContext, location, severity)]; of HL7 v3 the acknowledgementDetails"""
        details = self.envelope.iterfind(".//hl7:acknowledgementDetail", NS)
        found = [(d.find("hl7:code", NS).get("code"), d.findtext("hl7:text", "", NS), d.findtext("hl7:location", "", NS),
                  {"E": "Error"}.get(d.get("typeCode"), "Warning")) for d in details]
        return found + [(e.get("errorCode"), e.get("codeContext"), e.get("location"), e.get("severity").rsplit(":", 1)[1])
                for e in self.envelope.iterfind(".//rs:RegistryError", NS)]

    def objects(self, name="*"):
        """Registry objects of a query's answer, by local name."""
        return self.envelope.findall(f".//rim:RegistryObjectList/rim:{name}", NS)

    def documents(self):
        """{DocumentUniqueId: bytes} of a Retrieve."""
        found = {}
        for response in self.body.iterfind("xds:DocumentResponse", NS):
            document = response.find("xds:Document", NS)
            include = document.find("xop:Include", NS)
            if include is None:
                content = base64.b64decode(document.text or "")
            else:
                content = self.parts[urllib.parse.unquote(include.get("href")[4:])]
            found[response.findtext("xds:DocumentUniqueId", namespaces=NS)] = content
        return found


def envelope(action, body, message_id=None, reply_to=None):
    """A SOAP 1.2 envelope with WS-Addressing headers as bytes."""
    message_id = message_id or new_urn()
    reply_to = reply_to or NS["wsa"] + "/anonymous"
    return (f'<soap:Envelope xmlns:soap="{NS["soap"]}" xmlns:wsa="{NS["wsa"]}"><soap:Header>'
            f'<wsa:Action soap:mustUnderstand="1">{escape(action)}</wsa:Action>'
            f'<wsa:MessageID>{escape(message_id)}</wsa:MessageID>'
            f'<wsa:ReplyTo><wsa:Address>{escape(reply_to)}</wsa:Address></wsa:ReplyTo>'
            f'</soap:Header><soap:Body>{body}</soap:Body></soap:Envelope>').encode()


def mtom(root, attachments, boundary=None, root_last=False):
    """(Content-Type, bytes) of an MTOM package; attachments is [(content id, media type, bytes)]."""
    boundary = boundary or f"MIMEBoundary{uuid.uuid4().hex}"
    parts = [("root@musubi.test", 'application/xop+xml; charset=UTF-8; type="application/soap+xml"', root), *attachments]
    if root_last:
        parts.append(parts.pop(0))
    chunks = []
    for content_id, media_type, content in parts:
        chunks += [f"--{boundary}\r\nContent-Type: {media_type}\r\nContent-Transfer-Encoding: binary\r\n"
                   f"Content-ID: <{content_id}>\r\n\r\n".encode(), content, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode())
    content_type = (f'multipart/related; boundary="{boundary}"; type="application/xop+xml"; '
                    'start="<root@musubi.test>"; start-info="application/soap+xml"')
    return content_type, b"".join(chunks)


def _split_mime(content_type, raw):
    boundary = re.search(r'boundary="?([^";]+)"?', content_type).group(1).encode()
    parts = {}
    first = None
    sections = raw.split(b"--" + boundary)
    if not sections[-1].startswith(b"--"):
        raise ValueError("the multipart reply has no final boundary")
    for section in sections[1:-1]:
        head, _, content = section.partition(b"\r\n\r\n")
        match = re.search(rb"content-id:\s*<([^>]+)>", head, re.I)
        content = content[:-2]
        if first is None:
            first = content
        if match:
            parts[match.group(1).decode()] = content
    return first, parts


def parse_reply(status, headers, raw):
    """A Reply from its parts; the names of headers are as HTTP servers write them."""
    kind = headers.get("Content-Type", "")
    root, parts = (_split_mime(kind, raw) if kind.startswith("multipart/") else (raw, {}))
    return Reply(status, headers, raw, etree.fromstring(root) if "xml" in kind else None, parts)


class SoapClient:
    """Sends SOAP messages to one server, connection kept alive. base is http://host:port or https://host:port."""

    def __init__(self, base, cert=None, key=None, ca=None, timeout_s=90):
        self.url = urllib.parse.urlsplit(base)
        self.timeout_s = timeout_s
        self.context = None
        if self.url.scheme == "https":
            self.context = ssl.create_default_context(cafile=str(ca))
            self.context.check_hostname = False
            if cert:
                self.context.load_cert_chain(str(cert), str(key))
        self.connection = None
        self.used_at = 0.0

    def _connect(self):
        if self.context:
            return http.client.HTTPSConnection(self.url.hostname, self.url.port, timeout=self.timeout_s,
                                               context=self.context)
        return http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=self.timeout_s)

    def opened(self):
        """The connection that is kept, or a new one: servers close those on which nothing is asked."""
        if time.monotonic() - self.used_at > IDLE_S:
            self.close()
        if self.connection is None:
            self.connection = self._connect()
        self.used_at = time.monotonic()
        return self.connection

    def close(self):
        """Closes the kept connection."""
        if self.connection:
            self.connection.close()
            self.connection = None

    def post(self, path, content_type, content, headers=None):
        """One raw POST; gives Reply with what could be parsed."""
        connection = self.opened()
        try:
            connection.request("POST", path, content, {"Content-Type": content_type, **(headers or {})})
            response = connection.getresponse()
            raw = response.read()
        except BaseException:
            self.close()
            raise
        return parse_reply(response.status, dict(response.headers), raw)

    def send(self, path, transaction, body, attachments=None, as_mtom=None):
        """Sends the body of a transaction; MTOM when there are attachments or as_mtom says so."""
        action = ACTIONS.get(transaction, transaction)
        message = envelope(action, body)
        if attachments or as_mtom:
            return self.post(path, *mtom(message, attachments or []))
        return self.post(path, f'application/soap+xml; charset=UTF-8; action="{action}"', message)

    def provide(self, submission, as_mtom=True):
        """ITI-41."""
        return self.send("/repository", "ITI-41", submission.provide_xml(),
                         submission.attachments() if as_mtom else None, as_mtom)

    def register(self, submission):
        """ITI-42."""
        return self.send("/registry", "ITI-42", submission.register_xml())

    def query(self, name, parameters, return_type="LeafClass"):
        """ITI-18. parameters: {"$name": value text, or list of value texts for repeated rim:Value} or a list of pairs."""
        return self.send("/registry", "ITI-18", query_xml(name, parameters, return_type))

    def retrieve(self, requests, home=None):
        """ITI-43. requests: [(repositoryUniqueId, documentUniqueId)]"""
        return self.send("/repository", "ITI-43", retrieve_xml(requests, home), as_mtom=True)

    def retrieve_images(self, requests, syntaxes, home=None):
        """RAD-69. requests: [(study UID, series UID, repositoryUniqueId, SOP Instance UID)]"""
        return self.send("/imaging", "RAD-69", retrieve_images_xml(requests, syntaxes, home), as_mtom=True)


def query_xml(name, parameters, return_type="LeafClass", home=None):
    """An AdhocQueryRequest; name is a query's name or its UUID."""
    pairs = parameters.items() if isinstance(parameters, dict) else parameters
    slots = "".join(
        f"<rim:Slot name={quoteattr(key)}><rim:ValueList>"
        + "".join(f"<rim:Value>{escape(v)}</rim:Value>" for v in ([value] if isinstance(value, str) else value))
        + "</rim:ValueList></rim:Slot>" for key, value in pairs)
    home_xml = f" home={quoteattr(home)}" if home else ""
    return (f'<query:AdhocQueryRequest xmlns:query="{NS["query"]}" xmlns:rim="{NS["rim"]}">'
            f'<query:ResponseOption returnComposedObjects="true" returnType="{return_type}"/>'
            f'<rim:AdhocQuery id="{QUERIES.get(name, name)}"{home_xml}>{slots}</rim:AdhocQuery></query:AdhocQueryRequest>')


def document_request_xml(repository, document, home=None):
    """One xds:DocumentRequest."""
    home_xml = f"<xds:HomeCommunityId>{escape(home)}</xds:HomeCommunityId>" if home else ""
    return (f"<xds:DocumentRequest>{home_xml}<xds:RepositoryUniqueId>{escape(repository)}</xds:RepositoryUniqueId>"
            f"<xds:DocumentUniqueId>{escape(document)}</xds:DocumentUniqueId></xds:DocumentRequest>")


def retrieve_xml(requests, home=None):
    """A RetrieveDocumentSetRequest; a request may have a home of its own behind the two ids."""
    return (f'<xds:RetrieveDocumentSetRequest xmlns:xds="{NS["xds"]}">'
            + "".join(document_request_xml(repository, document, *(own or [home])) for repository, document, *own in requests)
            + "</xds:RetrieveDocumentSetRequest>")


def remove_xml(requests):
    """A RemoveObjectsRequest of entryUUIDs (ITI-62), or, where they are pairs of ids, a RemoveDocumentsRequest (ITI-86)."""
    if isinstance(requests[0], str):
        refs = "".join(f"<rim:ObjectRef id={quoteattr(identifier)}/>" for identifier in requests)
        return (f'<lcm:RemoveObjectsRequest xmlns:lcm="{NS["lcm"]}" xmlns:rim="{NS["rim"]}"><rim:ObjectRefList>{refs}</rim:ObjectRefList>'
                "</lcm:RemoveObjectsRequest>")
    return (f'<rmd:RemoveDocumentsRequest xmlns:rmd="{NS["rmd"]}" xmlns:xds="{NS["xds"]}">'
            + "".join(document_request_xml(repository, document, *own) for repository, document, *own in requests)
            + "</rmd:RemoveDocumentsRequest>")


def retrieve_images_xml(requests, syntaxes, home=None):
    """A RetrieveImagingDocumentSetRequest (RAD-69): a StudyRequest for each study, a SeriesRequest for each series."""
    studies = {}
    for study, series, repository, instance, *own in requests:
        studies.setdefault(study, {}).setdefault(series, []).append(document_request_xml(repository, instance, *(own or [home])))
    return (f'<iherad:RetrieveImagingDocumentSetRequest xmlns:iherad="{NS["iherad"]}" xmlns:xds="{NS["xds"]}">' + "".join(
        f"<iherad:StudyRequest studyInstanceUID={quoteattr(study)}>" + "".join(
            f"<iherad:SeriesRequest seriesInstanceUID={quoteattr(series)}>{''.join(documents)}</iherad:SeriesRequest>"
            for series, documents in of_study.items()) + "</iherad:StudyRequest>" for study, of_study in studies.items())
        + "<iherad:TransferSyntaxUIDList>"
        + "".join(f"<iherad:TransferSyntaxUID>{escape(syntax)}</iherad:TransferSyntaxUID>" for syntax in syntaxes)
        + "</iherad:TransferSyntaxUIDList></iherad:RetrieveImagingDocumentSetRequest>")


# ---------------------------------------------------------------------------------------------- submissions

CODES = {  # attribute -> (scheme UUID, code, coding scheme, display)
    "classCode": ("urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a", "REPORTS", "1.3.6.1.4.1.19376.1.2.6.1", "Reports"),
    "confidentialityCode": ("urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f", "N", "2.16.840.1.113883.5.25", "normal"),
    "formatCode": ("urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d", "urn:ihe:iti:xds:2017:mimeTypeSufficient",
                   "1.3.6.1.4.1.19376.1.2.3", "mimeType Sufficient"),
    "healthcareFacilityTypeCode": ("urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1", "22232009",
                                   "2.16.840.1.113883.6.96", "Hospital"),
    "practiceSettingCode": ("urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead", "394802001",
                            "2.16.840.1.113883.6.96", "General medicine"),
    "typeCode": ("urn:uuid:f0306f51-975f-434e-a61c-c59651d33983", "34133-9", "2.16.840.1.113883.6.1",
                 "Summary of episode note"),
}
EVENT_CODE_LIST = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
CONTENT_TYPE_CODE = ("urn:uuid:aa543740-bdda-424e-8c96-df4873be8500", "34133-9", "2.16.840.1.113883.6.1",
                     "Summary of episode note")
FOLDER_CODE_LIST = "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5"


def slot_xml(name, *values):
    """One rim:Slot."""
    return (f"<rim:Slot name={quoteattr(name)}><rim:ValueList>"
            + "".join(f"<rim:Value>{escape(v)}</rim:Value>" for v in values) + "</rim:ValueList></rim:Slot>")


def name_xml(text):
    """One rim:Name."""
    return f"<rim:Name><rim:LocalizedString value={quoteattr(text)}/></rim:Name>"


def classification_xml(owner, scheme, code, coding_scheme, display):
    """One coded attribute (TF-3 4.2.3.1.2)."""
    return (f'<rim:Classification id="{new_urn()}" classifiedObject={quoteattr(owner)} classificationScheme="{scheme}" '
            f'nodeRepresentation={quoteattr(code)}>{slot_xml("codingScheme", coding_scheme)}{name_xml(display)}'
            "</rim:Classification>")


def identifier_xml(owner, scheme, value, name):
    """One rim:ExternalIdentifier (TF-3 4.2.3.1.3)."""
    return (f'<rim:ExternalIdentifier id="{new_urn()}" registryObject={quoteattr(owner)} identificationScheme="{scheme}" '
            f"value={quoteattr(value)}>{name_xml(name)}</rim:ExternalIdentifier>")


def author_xml(owner, scheme, person, institution="Musubi Hospital"):
    """One author (TF-3 4.2.3.1.4)."""
    return (f'<rim:Classification id="{new_urn()}" classifiedObject={quoteattr(owner)} classificationScheme="{scheme}" '
            f'nodeRepresentation="">{slot_xml("authorPerson", person)}{slot_xml("authorInstitution", institution)}'
            "</rim:Classification>")


@dataclasses.dataclass
class Document:
    """One DocumentEntry with its content. Change a field to make it wrong or special."""

    patient: str
    content: bytes = b"content"
    mime_type: str = "text/plain"
    unique_id: str = dataclasses.field(default_factory=new_oid)
    id: str = "Document01"
    title: str = "Report"
    codes: dict = dataclasses.field(default_factory=lambda: dict(CODES))
    event_codes: list = dataclasses.field(default_factory=list)
    author: str = "^Yamada^Taro"
    slots: dict = dataclasses.field(default_factory=dict)
    object_type: str = STABLE
    repository_uid: str = "1.3.6.1.4.1.21367.2011.2.3.7"
    source_patient: str = None

    def xml(self, registering):
        """The rim:ExtrinsicObject; registering adds what a repository adds (ITI-42)."""
        slots = {
            "creationTime": ["20260401093000"],
            "languageCode": ["ja-JP"],
            "serviceStartTime": ["202604010900"],
            "serviceStopTime": ["202604010930"],
            "sourcePatientId": [self.source_patient or self.patient],
        }
        if registering:
            slots.update({"hash": [hashlib.sha1(self.content).hexdigest()], "size": [str(len(self.content))],
                          "repositoryUniqueId": [self.repository_uid]})
        slots.update(self.slots)
        slot_text = "".join(slot_xml(k, *v) for k, v in slots.items() if v is not None)
        code_text = "".join(classification_xml(self.id, *code) for code in self.codes.values() if code)
        code_text += "".join(classification_xml(self.id, EVENT_CODE_LIST, *code) for code in self.event_codes)
        return (f'<rim:ExtrinsicObject id={quoteattr(self.id)} mimeType={quoteattr(self.mime_type)} '
                f'objectType="{self.object_type}">{slot_text}{name_xml(self.title)}'
                + author_xml(self.id, "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d", self.author) + code_text
                + identifier_xml(self.id, "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427", self.patient,
                                 "XDSDocumentEntry.patientId")
                + identifier_xml(self.id, "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab", self.unique_id,
                                 "XDSDocumentEntry.uniqueId") + "</rim:ExtrinsicObject>")


@dataclasses.dataclass
class Folder:
    """One Folder."""

    patient: str
    unique_id: str = dataclasses.field(default_factory=new_oid)
    id: str = "Folder01"
    title: str = "Episode"
    codes: list = dataclasses.field(default_factory=lambda: [("EPISODE", "1.2.392.99999.9", "Episode")])

    def xml(self):
        """The rim:RegistryPackage."""
        return (f'<rim:RegistryPackage id={quoteattr(self.id)}>{name_xml(self.title)}'
                f'<rim:Classification id="{new_urn()}" classifiedObject={quoteattr(self.id)} '
                'classificationNode="urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2"/>'
                + "".join(classification_xml(self.id, FOLDER_CODE_LIST, *code) for code in self.codes)
                + identifier_xml(self.id, "urn:uuid:f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a", self.patient,
                                 "XDSFolder.patientId")
                + identifier_xml(self.id, "urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a", self.unique_id,
                                 "XDSFolder.uniqueId") + "</rim:RegistryPackage>")


def association_xml(kind, source, target, slots=None, identifier=None, inner=""):
    """One rim:Association."""
    slot_text = "".join(slot_xml(k, *v) for k, v in (slots or {}).items())
    return (f'<rim:Association id={quoteattr(identifier or new_urn())} associationType="{kind}" '
            f'sourceObject={quoteattr(source)} targetObject={quoteattr(target)}>{slot_text}{inner}</rim:Association>')


@dataclasses.dataclass
class Submission:
    """One SubmissionSet with its documents, folders and further associations (as XML texts)."""

    patient: str
    documents: list = dataclasses.field(default_factory=list)
    folders: list = dataclasses.field(default_factory=list)
    associations: list = dataclasses.field(default_factory=list)
    unique_id: str = dataclasses.field(default_factory=new_oid)
    source_id: str = "1.3.6.1.4.1.21367.4"
    id: str = "SubmissionSet01"
    submission_time: str = None
    author: str = "^Yamada^Taro"
    content_type: tuple = CONTENT_TYPE_CODE

    def set_xml(self):
        """The SubmissionSet as rim:RegistryPackage."""
        now = self.submission_time or datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d%H%M%S")
        return (f'<rim:RegistryPackage id={quoteattr(self.id)}>{slot_xml("submissionTime", now)}'
                f'<rim:Classification id="{new_urn()}" classifiedObject={quoteattr(self.id)} '
                'classificationNode="urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"/>'
                + author_xml(self.id, "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d", self.author)
                + classification_xml(self.id, *self.content_type)
                + identifier_xml(self.id, "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8", self.unique_id,
                                 "XDSSubmissionSet.uniqueId")
                + identifier_xml(self.id, "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832", self.source_id,
                                 "XDSSubmissionSet.sourceId")
                + identifier_xml(self.id, "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446", self.patient,
                                 "XDSSubmissionSet.patientId") + "</rim:RegistryPackage>")

    def register_xml(self, registering=True):
        """The lcm:SubmitObjectsRequest."""
        members = [association_xml(HAS_MEMBER, self.id, d.id, {"SubmissionSetStatus": ["Original"]})
                   for d in self.documents]
        members += [association_xml(HAS_MEMBER, self.id, f.id) for f in self.folders]
        return (f'<lcm:SubmitObjectsRequest xmlns:lcm="{NS["lcm"]}" xmlns:rim="{NS["rim"]}"><rim:RegistryObjectList>'
                + "".join(d.xml(registering) for d in self.documents) + "".join(f.xml() for f in self.folders)
                + self.set_xml() + "".join(members) + "".join(self.associations)
                + "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>")

    def attachments(self):
        """MIME parts of the documents."""
        return [(f"{index}@musubi.test", d.mime_type, d.content) for index, d in enumerate(self.documents)]

    def provide_xml(self, inline=False):
        """The xds:ProvideAndRegisterDocumentSetRequest with xop:Include, or base64 inside."""
        def content(index, document):
            if inline:
                return base64.b64encode(document.content).decode()
            return f'<xop:Include xmlns:xop="{NS["xop"]}" href="cid:{index}@musubi.test"/>'
        return (f'<xds:ProvideAndRegisterDocumentSetRequest xmlns:xds="{NS["xds"]}">{self.register_xml(False)}'
                + "".join(f"<xds:Document id={quoteattr(d.id)}>{content(i, d)}</xds:Document>"
                          for i, d in enumerate(self.documents))
                + "</xds:ProvideAndRegisterDocumentSetRequest>")


# ---------------------------------------------------------------------------------------------- HL7 v2


def adt(event, identifiers, merged=None, sender=("TEST", "HOSPITAL"), version="2.3.1", charset="", name="Test^Patient"):
    """An ADT message as text; identifiers is PID-3, merged is MRG-1 for A40."""
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d%H%M%S")
    segments = [f"MSH|^~\\&|{sender[0]}|{sender[1]}|MUSUBI|CENTER|{stamp}||ADT^{event}|{uuid.uuid4().hex[:20]}|P|{version}"
                + (f"||||||{charset}" if charset else ""), f"EVN|{event}|{stamp}", f"PID|||{identifiers}||{name}"]
    segments.append(f"MRG|{merged}" if merged else "PV1||O")
    return "\r".join(segments) + "\r"


class MllpClient:
    """HL7 v2 over MLLP, one connection."""

    def __init__(self, address, cert=None, key=None, ca=None, timeout_s=90):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout_s)
        if ca:
            context = ssl.create_default_context(cafile=str(ca))
            context.check_hostname = False
            if cert:
                context.load_cert_chain(str(cert), str(key))
            self.socket = context.wrap_socket(self.socket)

    def send(self, message, encoding="utf-8"):
        """Sends one message and gives the reply as text; it is in the same character set or in UTF-8."""
        data = message if isinstance(message, bytes) else message.encode(encoding)
        self.socket.sendall(b"\x0b" + data + b"\x1c\r")
        reply = b""
        while not reply.endswith(b"\x1c\r"):
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError("the connection was closed without an acknowledgement")
            reply += piece
        in_utf8 = b"|UNICODE UTF-8" in reply.split(b"\r", 1)[0]
        return reply[1:-2].decode("utf-8" if in_utf8 else encoding)

    def close(self):
        """Closes the connection."""
        self.socket.close()


def er7_field(reply, path):
    """The raw field "PID-3" of the first segment PID, "PID:2-3" of the second; None if there is no such segment."""
    name, number = path.split("-")
    name, _, sequence = name.partition(":")
    segments = [line.split("|") for line in reply.split("\r") if line.startswith(name + "|")]
    if len(segments) < int(sequence or 1):
        return None
    segment = segments[int(sequence or 1) - 1]
    at = int(number) - (name == "MSH")
    return segment[at] if at < len(segment) else ""


def acknowledgement(reply):
    """MSA-1 of an ACK."""
    match = re.search(r"(?:^|\r)MSA\|(\w\w)", reply)
    return match.group(1) if match else None
