"""Sends the real sample messages of the reference data and compares each outcome with what its INDEX.tsv states.

A sample is sent as it is, with four exceptions, because they are not what a sample is about: one without an envelope gets one, and
one whose envelope lacks wsa:MessageID or has the wsa:Action of another transaction gets what it needs, patients become patients that
were fed, SubmissionSet and Folder uniqueIds become fresh ones, and documents whose content the sample leaves out get some (their
stated hash and size then go). HTTP dumps are sent with their own Content-Type and body.
Those of other communities go to /gateway, of the community that the requests of images name. HL7 v3 samples go to /pix, in an envelope of ours, with the identifier domains that they name configured and the patients that they
ask for or merge known. Manifests and requests of images are in samples_imaging.py; samples_exchange.py sends those of updates,
removals, subscriptions and other communities again, where what they name is there.
EXPECTED has a row for every sample; `why` says what decides where INDEX.tsv leaves it open. Replies are validated against
the schemas.
"""

import os
import pathlib
import re
import sys

from lxml import etree

from conformance import client as xds, schemas as v3_schemas
from tests.harness import server as harness
from tests.integration import samples_exchange, samples_fhir, samples_imaging, v3_messages as v3

PATIENT = f"{samples_imaging.PATIENT_ID}^^^&{harness.AUTHORITY}&ISO"
ROOTS = {  # body root -> (path, transaction)
    "ProvideAndRegisterDocumentSetRequest": ("/repository", "ITI-41"),
    "SubmitObjectsRequest": ("/registry", "ITI-42"),
    "AdhocQueryRequest": ("/registry", "ITI-18"),
    "RetrieveDocumentSetRequest": ("/repository", "ITI-43"),
    "RemoveObjectsRequest": ("/registry", "ITI-62"),
    "RemoveDocumentsRequest": ("/repository", "ITI-86"),
    "Subscribe": ("/dsub", "ITI-52"),
}
GATEWAY_ROOTS = {"AdhocQueryRequest": ("/gateway", "ITI-38"), "RetrieveDocumentSetRequest": ("/gateway", "ITI-39")}
V3_DOMAINS = (
    "1.3.6.1.4.1.21367.2017.2.5.89", "1.3.6.1.4.1.21367.2017.2.5.93", "1.3.6.1.4.1.21367.2017.2.5.103", "2.16.756.5.30.1.127.3.10.3",
    "2.16.840.1.113883.3.37.4.1.1.2.1.1", "2.16.840.1.113883.3.37.4.1.1.2.611.1", "1.2.3.4.5.1000", "1.2.3.4.666",
    "1.3.6.1.4.1.21367.2005.1.1", "1.3.6.1.4.1.21367.2005.1.2", "2.16.756.5.30.1.1176.19.1", "1.2.840.114350.1.13.99997.2.3412",
    "2.16.840.1.113883.4.1", "1.2.840.114350.1.13.99998.8734")
V3_PATIENTS = (  # identifiers of one patient each, that samples ask for or merge
    (("1.3.6.1.4.1.21367.2017.2.5.103", "900010"), ("1.3.6.1.4.1.21367.2017.2.5.93", "E1"), ("2.16.756.5.30.1.127.3.10.3", "E2")),
    (("1.3.6.1.4.1.21367.2005.1.1", "PIX10501"), ("1.3.6.1.4.1.21367.2005.1.2", "M1")),
    (("2.16.840.1.113883.3.37.4.1.1.2.1.1", "142025"),), (("2.16.840.1.113883.3.37.4.1.1.2.1.1", "704686"),))
OF_FOLDER = {"iti-51": "ITI-51", "iti-57": "ITI-57"}  # folder: transaction of its messages, where the body alone does not tell
OF_XDS_A = "metadata of XDS.a"
A_REPLY = "a reply is no request"
GATEWAY_V3 = (xds.ACTIONS["ITI-55"], "/gateway")
FOREIGN = "asks another repository"
OTHER_HOME = "asks another community"
UNQUOTED = "values without quotes, as in the sample that INDEX.tsv calls invalid"
EXPECTED = {  # sample: (outcome, of a Failure all its error codes, a text that the reply must hold, why)
    "iti-41/epdex__ITI-41_request_raw.xml": ("Fault", "boundary", "the boundary of the header is not the one of the body"),
    "iti-41/epdex__ITI-41_response_raw.xml": ("Fault", "", A_REPLY),
    "iti-41/ipf__ProvideAndRegisterDocumentSet.xml": ("Success", "", ""),
    "iti-41/nist2__http-mtom-pnr.txt": ("Failure", "XDSRegistryMetadataError", "codes without display name (TF-3 4.2.3.1.2)"),
    "iti-41/nist2__pnr-assoc-to-self.xml": ("Failure", "XDSRegistryMetadataError", ""),
    "iti-41/nist2__pnr-bad-uplink.xml": ("Failure", "XDSRegistryMetadataError", ""),
    "iti-41/nist2__pnr-limited.xml": ("Failure", "XDSRegistryMetadataError", "limited metadata is forbidden in XDS (TF-3 Table 4.3.1-3)"),
    "iti-41/nist2__soap-pnr-element-order.xml": ("Failure", "XDSRegistryMetadataError", ""),
    "iti-41/nist2__soap-pnr-resp.xml": ("Fault", "", A_REPLY),
    "iti-41/nist2__soap-pnr.xml": ("Success", "", ""),
    "iti-41/ohimxds__PnRBasicMtom.xml": ("Fault", "", "minimal framing around no message"),
    "iti-41/ohimxds__pnr-no-epid.xml": ("Success", "", ""),
    "iti-41/ohimxds__pnr1.xml": ("Success", "", ""),
    "iti-41/ohimxds__pnrResponse_wSOAP.xml": ("Fault", "", A_REPLY),
    "iti-41/openxds__ProvideAndRegisterDocumentSet-bRequest.xml": ("Fault", "base64", "the inline content is not base64"),
    "iti-41/openxds__ProvideAndRegisterDocumentSet-bResponse.xml": ("Fault", "", A_REPLY),
    "iti-41/openxds__document_replacement.xml": ("Failure", "UnresolvedReferenceException,XDSRegistryMetadataError", "replaces what is not registered; $placeholders$ for ids"),
    "iti-41/openxds__submit_document.xml": ("Failure", "XDSRegistryMetadataError", "a template whose $placeholders$ are no identifiers"),
    "iti-41/xcasrc__PnR_request.xml": ("Failure", "XDSRegistryMetadataError,UnresolvedReferenceException", "its Classifications name objects that it does not hold"),
    "iti-42/ipf__SubmitObjectsRequest_ebrs30.xml": ("Failure", "XDSRegistryMetadataError", "without hash, required in ITI-42"),
    "iti-42/ipf__SubmitObjectsRequest_ebrs30_update_nonstandard_association.xml": ("Failure", "XDSRegistryMetadataError", ""),
    "iti-42/ipf__SubmitObjectsRequest_ebrs3_extra_metadata.xml": ("Failure", "XDSRegistryMetadataError", "without hash, required in ITI-42"),
    "iti-42/ohimxds__RegisterDocumentSet-bRequest_SOAP.xml": ("Failure", "XDSRegistryMetadataError", "without hash, size, repositoryUniqueId"),
    "iti-42/ohimxds__RegisterDocumentSet-bResponse_SOAP.xml": ("Fault", "", A_REPLY),
    "iti-42/wxdsb__register_req.xml": ("Failure", "XDSRegistryMetadataError", "the hash is base64, not 40 hexadecimal digits"),
    "iti-42/wxdsb__register_res.xml": ("Fault", "", A_REPLY),
    "iti-42/x2fhir__iti-42.xml": ("Failure", "XDSRegistryMetadataError", "lid differs from id, which only ITI-57 allows; ids are missing"),
    "iti-51/ipf__iti51request.xml": ("Success", "", ""),
    "iti-52-dsub/nist2__dsub_publish_single_doc.xml": ("Fault", "", OF_XDS_A),
    "iti-52-dsub/nist2__dsub_subscribe_testplan.xml": ("Fault", "InvalidFilterFault", "FindDocuments is no filter (TF-2 3.52.5.2)"),
    "iti-57/ipf__SubmitObjectsRequest_ebrs30_update.xml": ("Failure", "XDSMetadataVersionError,XDSMetadataUpdateError", "it updates what is not registered"),
    "iti-62/wxdsb__remove_req.xml": ("Failure", "UnresolvedReferenceException", "it removes what is not registered"),
    "iti-62/wxdsb__remove_res.xml": ("Fault", "", A_REPLY),
    "iti-62/xcasrc__IT_iti-62_request.xml": ("Failure", "XDSRegistryMetadataError ObjectRefList", "its ObjectRefList is empty"),
    "iti-86/xcasrc__IT_iti-86_request.xml": ("Failure", "XDSUnknownRepositoryId", FOREIGN),
    "iti-18/epdex__ITI-18_request_raw.xml": ("Success", "", ""),
    "iti-18/epdex__ITI-18_response_raw.xml": ("Fault", "", A_REPLY),
    "iti-18/nist2__soap-sq-req.xml": ("Success", "", ""),
    "iti-18/nist2__sq-req-bad-pid-format.xml": ("Failure", "XDSRegistryError", ""),
    "iti-18/nist2__sq-req-bad-stat-format1.xml": ("Failure", "XDSRegistryError", ""),
    "iti-18/nist2__sq-req-missing-stat.xml": ("Failure", "XDSStoredQueryMissingParam", ""),
    "iti-18/nist2__sq-req.xml": ("Success", "", ""),
    "iti-18/nist2__sq-resp-lc-no-status.xml": ("Fault", "", A_REPLY),
    "iti-18/nist2__sq-resp-lc.xml": ("Fault", "", A_REPLY),
    "iti-18/nist2__sq-resp-objectref.xml": ("Fault", "", A_REPLY),
    "iti-18/ohimxds__adhocQueryRequest_wSOAP.xml": ("Failure", "XDSRegistryError", UNQUOTED),
    "iti-18/ohimxds__adhocQueryResponse_wSOAP.xml": ("Fault", "", A_REPLY),
    "iti-18/openxds__RegistryStoredQueryFindDocs.xml": ("Success", "", ""),
    "iti-18/openxds__RegistryStoredQueryFindDocsResponse.xml": ("Fault", "", A_REPLY),
    "iti-18/xcasrc__iti18-iti40-request.xml": ("Success", "", ""),
    "iti-43/epdex__ITI-43_request_raw.xml": ("Failure", "XDSUnknownRepositoryId", FOREIGN),
    "iti-43/epdex__ITI-43_response_raw.xml": ("Fault", "", A_REPLY),
    "iti-43/nist2__soap-ret-req-order.xml": ("Failure", "XDSRepositoryMetadataError", ""),
    "iti-43/nist2__soap-ret-req.xml": ("Failure", "XDSUnknownRepositoryId", FOREIGN),
    "iti-43/nist2__soap-ret-resp.xml": ("Fault", "", A_REPLY),
    "iti-43/openxds__RetrieveDocumentSetRequest.xml": ("Failure", "XDSUnknownRepositoryId", FOREIGN),
    "iti-43/openxds__RetrieveDocumentSetResponse.xml": ("Fault", "", A_REPLY),
    "iti-43/xcasrc__IT_iti-43_request.xml": ("Failure", "XDSUnknownRepositoryId", FOREIGN),
    "iti-44/epdex__ITI-44_request_raw.xml": ("CA", "", ""),
    "iti-44/epdex__ITI-44_response_raw.xml": ("Fault", "", A_REPLY),
    "iti-44/ipf__A01_Response.xml": ("CA", "", ""),
    "iti-44/ipf__A08_Response.xml": ("CA", "", ""),
    "iti-44/ipf__A40_Response.xml": ("CA", "", ""),
    "iti-44/ipf__Ack.xml": ("Fault", "", A_REPLY),
    "iti-44/ipf__PIX_FEED_MERGE_Maximal_Request.xml": ("CE", "1.2.3.4.666", "the two identifiers are of different domains"),
    "iti-44/ipf__PIX_FEED_REG_Maximal_Request.xml": ("CE", "patient/id[3]", "an id without root"),
    "iti-44/ipf__iti44-multipatient-request-1.xml": ("CE", "more than one patient", ""),
    "iti-44/ipf__prpa-invalid.xml": ("CE", "idA", ""),
    "iti-44/ipf__type-ns-good.xml": ("Fault", "", A_REPLY),
    "iti-44/ipf__type-ns-wrong.xml": ("Fault", "", A_REPLY),
    "iti-44/msihe__PatientRegistryRecordAdded.xml": ("Fault", "not offered", "an interaction of an earlier edition"),
    "iti-45/epdex__ITI-45_request_raw.xml": ("AA", 'extension="E1"', ""),
    "iti-45/epdex__ITI-45_response_raw.xml": ("Fault", "", A_REPLY),
    "iti-45/ipf__07_PIXQuery1Response.xml": ("Fault", "", A_REPLY),
    "iti-45/ipf__NistPixpdq_Mesa10501-04_Example_01.xml": ("AA", 'extension="M1"', ""),
    "iti-45/ipf__NistPixpdq_Mesa10502-03~UnknownId_Example_01.xml": ("AE", 'code="204"', ""),
    "iti-47/epdex__ITI-47_request_raw.xml": ("AA", 'code="NF"', "nobody has the identifier"),
    "iti-47/epdex__ITI-47_response_raw.xml": ("Fault", "", A_REPLY),
    "iti-47/ipf__01_PDQQuery1.xml": ("AA", 'code="NF"', "nobody is called so"),
    "iti-47/ipf__03_PDQQueryEmptyResponse.xml": ("Fault", "", A_REPLY),
    "iti-47/ipf__PDQ.xml": ("AA", 'code="NF"', "nobody is called so"),
    "iti-47/ipf__PDQ_ID_Query.xml": ("AA", 'code="NF"', "nobody has the identifiers"),
    "iti-47/ipf__PDQ_Maximal_Query_Response.xml": ("Fault", "", A_REPLY),
    "iti-47/ipf__PDQ_connectathon2011_namespaces_issue.xml": ("AA", 'code="NF"', "nobody is called so"),
    "iti-47/ipf__PDQ_with_PID4.xml": ("AA", 'code="NF"', "nobody was born then"),
    "iti-38-39/nist2__soap-xcq-req.xml": ("Success", "", ""),
    "iti-38-39/nist2__soap-xcr-req.xml": ("Failure", "XDSUnknownCommunity", OTHER_HOME),
    "iti-38-39/nist2__soap-xret-resp-homeless.xml": ("Fault", "", A_REPLY),
    "iti-38-39/nist2__soap-xret-resp.xml": ("Fault", "", A_REPLY),
    "iti-38-39/xcasrc__IT_iti-38_request.xml": ("Success", "", ""),
    "iti-38-39/xcasrc__IT_iti-39_request.xml": ("Failure", "XDSUnknownCommunity", OTHER_HOME),
    "iti-55/ipf__iti55-sample-request.xml": ("AA", 'code="NF"', "nobody is called so, and nobody has the identifiers"),
    "iti-55/ipf__iti55-sample-response.xml": ("Fault", "", A_REPLY),
    "rad-68/nist2__IDS-DEPT001-a_metadata.xml": ("Fault", "", OF_XDS_A),
    "rad-68/nist2__IDS-DEPT012-a_metadata.xml": ("Fault", "", OF_XDS_A),
    "rad-68/nist2__IDS-DEPT021-a_metadata.xml": ("Fault", "", OF_XDS_A),
    "rad-68/nist2__IDS-DEPT024-a_metadata.xml": ("Fault", "", OF_XDS_A),
    "rad-68/nist2__IDS-DEPT025-a_metadata.xml": ("Fault", "", OF_XDS_A),
    "rad-68/nist2__IDS-DEPT041-a_metadata.xml": ("Fault", "", OF_XDS_A),
    "rad-68/wustl__SubmitObjetsRequest_Example.xml": ("Fault", "", "the request is in the namespace of its answer"),
    "generic-malformed/ipf__CDADocumentWithXXEInjection.xml": ("Fault", "document type", ""),
    "generic-malformed/nist2__empty-soap-wrapper.xml": ("Fault", "body", ""),
    "generic-malformed/nist2__regresp-suc-err.xml": ("Fault", "", A_REPLY),
    "generic-malformed/nist2__xml-parse-error.xml": ("Fault", "well-formed", ""),
    "generic-malformed/nodesaml__response.root-signed.multiple-root-elements.xml": ("Fault", "well-formed", ""),
    "generic-malformed/rubysaml__attackxee.xml": ("Fault", "document type", ""),
}


def fresh(tree):
    """Patients that were fed, uniqueIds that nobody used."""
    for node in tree.iter("{%s}ExternalIdentifier" % xds.NS["rim"]):
        name = node.xpath("string(rim:Name/rim:LocalizedString/@value)", namespaces=xds.NS)
        if name.endswith(".patientId"):
            node.set("value", PATIENT)
        elif name in ("XDSSubmissionSet.uniqueId", "XDSFolder.uniqueId") and "$" not in node.get("value"):
            node.set("value", xds.new_oid())


def give_content(body):
    """A document for every ExtrinsicObject that the sample leaves without one; what it states of the content goes."""
    objects = {o.get("id"): o for o in body.iter("{%s}ExtrinsicObject" % xds.NS["rim"])}
    present = {d.get("id") for d in body.iter("{%s}Document" % xds.NS["xds"])}
    for slot in [s for o in objects.values() for s in o if s.get("name") in ("hash", "size")]:
        slot.getparent().remove(slot)
    for identifier in objects.keys() - present:
        document = etree.SubElement(body, "{%s}Document" % xds.NS["xds"], id=identifier)
        document.text = "c2FtcGxl"


def split_dump(raw):
    """(Content-Type, body) of an HTTP dump, or None."""
    head, separator, body = raw.replace(b"\r\n", b"\n").partition(b"\n\n")
    match = re.search(rb"^content-type:\s*(multipart/[^\n]+(?:\n[ \t][^\n]+)*)", head, re.I | re.M)
    if not separator or not match:
        return None
    return re.sub(rb"\s+", b" ", match.group(1)).decode(), body.replace(b"\n", b"\r\n")


def know_v3(server):
    """Configures the domains of the samples and feeds their patients."""
    for oid in V3_DOMAINS:
        server.command("authority", "add", oid)
    server.wait_until_refreshed()
    soap = xds.SoapClient(f"http://127.0.0.1:{server.plain_port}")
    for number, identifiers in enumerate(V3_PATIENTS):
        v3.feed(soap, identifiers, family=f"試験{number}", birth=f"1956040{number + 1}")
    soap.close()


def send(soap, folder, raw):
    """Sends one sample; gives the Reply."""
    dump = split_dump(raw)
    if dump:
        patient = re.sub(rb'[^"\'<>]+\^\^\^&amp;[0-9.]+&amp;ISO', PATIENT.replace("&", "&amp;").encode(), dump[1])
        return soap.post("/repository", dump[0], patient)
    try:
        tree = etree.fromstring(raw, etree.XMLParser(resolve_entities=False, no_network=True))
        if folder in ("iti-44", "iti-45", "iti-47", "iti-55"):
            return v3.send(soap, next(tree.iter("{%s}*" % xds.NS["hl7"])), *(GATEWAY_V3 if folder == "iti-55" else ()))
        body = None if tree.getroottree().docinfo.doctype else next(iter(tree.iter(*("{*}" + root for root in ROOTS))), None)
    except etree.XMLSyntaxError:
        body = None
    if body is None:
        path = {"iti-41": "/repository", "iti-43": "/repository", "iti-38-39": "/gateway"}.get(folder, "/registry")
        return soap.post(path, "application/soap+xml", raw)
    path, transaction = (GATEWAY_ROOTS if folder == "iti-38-39" else ROOTS)[etree.QName(body).localname]
    transaction = OF_FOLDER.get(folder, transaction)
    fresh(body)
    if transaction == "ITI-41":
        give_content(body)
    whole = tree if tree.tag == "{%s}Envelope" % xds.NS["soap"] else body
    message = samples_exchange.complete(whole, xds.ACTIONS[transaction])
    if transaction in ("ITI-39", "ITI-41", "ITI-43"):
        parts = [(href.decode(), "text/plain", b"sample") for href in re.findall(rb'href="cid:([^"]+)"', message)]
        return soap.post(path, *xds.mtom(message, parts))
    return soap.post(path, "application/soap+xml; charset=UTF-8", message)


class Schemas:
    """The reply bodies' schemas."""

    def __init__(self, folder):
        self.by_root = {}
        for root, name in (("RegistryResponse", "rs.xsd"), ("AdhocQueryResponse", "query.xsd"),
                           ("RetrieveDocumentSetResponse", "XDS.b_DocumentRepository.xsd")):
            self.by_root[root] = etree.XMLSchema(etree.parse(str(folder / name)))

    def fault(self, body):
        """What is wrong with a reply body, or None."""
        if etree.QName(body).namespace == xds.NS["hl7"]:
            return v3_schemas.fault(body)
        schema = self.by_root.get(etree.QName(body).localname)
        if schema is None:
            return None if etree.QName(body).localname == "Fault" else f"unexpected {body.tag}"
        copy = etree.fromstring(etree.tostring(body))
        for include in list(copy.iter("{%s}Include" % xds.NS["xop"])):
            include.getparent().text = ""
            include.getparent().remove(include)
        return None if schema.validate(copy) else str(schema.error_log.last_error)


def judge(reply, expected, schemas):
    """None, or why the reply is not what was expected."""
    outcome, text, _ = expected
    if reply.outcome != outcome:
        return f"{reply.outcome} instead of {outcome}: {reply.errors or reply.raw[-600:]}"
    codes, _, text = text.partition(" ") if outcome == "Failure" else ("", "", text)
    if codes and {error[0] for error in reply.errors} != set(codes.split(",")):
        return f"{outcome} with {reply.errors} instead of {codes}"
    if text and text.encode() not in reply.raw:
        return f"{outcome} without {text!r}: {reply.errors or reply.raw[-600:]}"
    if outcome == "Success" and reply.objects():
        return f"{len(reply.objects())} objects of patients that nobody knows"
    return schemas.fault(reply.body)


def unlisted(folder, expected):
    """Every row of every INDEX.tsv has an expectation, and every file a row."""
    for name in sorted({sample.split("/")[0] for sample in expected}):
        rows = [line.split("\t")[0] for line in (folder / name / "INDEX.tsv").read_text(encoding="utf-8").splitlines()[1:]]
        files = {path.name for path in (folder / name).iterdir()} - {"INDEX.tsv"}
        for problem, names in (("without an expectation", {*rows, *files} - {s.partition("/")[2] for s in expected if s.startswith(name + "/")}),
                               ("without a row in INDEX.tsv", files - {*rows}), ("without its file", {*rows} - files)):
            if names:
                yield f"{name}: {problem}: {sorted(names)}"


def main():
    """Sends every sample."""
    reference = pathlib.Path(os.environ["MUSUBI_REFERENCE"])
    schemas = Schemas(reference / "ihe" / "schema" / "xds-nist-v3")
    passed = failed = 0
    settings = {"server": {"roles": "registry, repository, pix, atna, imaging"}, "imaging": {"unique_id": samples_imaging.SOURCE},
                "affinity_domain": {"home_community_id": samples_imaging.HOME}}
    with harness.Server(settings=settings) as server:
        xds.MllpClient(f"127.0.0.1:{server.mllp_port}").send(xds.adt("A01", PATIENT))
        samples_fhir.configure(server)
        know_v3(server)
        for name, expected in EXPECTED.items():
            soap = xds.SoapClient(f"http://127.0.0.1:{server.plain_port}")
            reply = send(soap, name.split("/")[0], (reference / "ihe" / "samples" / name).read_bytes())
            soap.close()
            problem = judge(reply, expected, schemas)
            passed += problem is None
            failed += problem is not None
            if problem:
                print(f"FAIL {name}: {problem}")
        fhir_passed, failures = samples_fhir.run(server, reference / "ihe" / "samples" / samples_fhir.FOLDER)
        imaging_passed, imaging_failures = samples_imaging.run(server, reference / "ihe" / "samples", schemas, fresh)
        failures += imaging_failures
        exchange_passed, exchange_failures = samples_exchange.run(server, reference / "ihe" / "samples", schemas, fresh)
        failures += exchange_failures
        passed += fhir_passed + imaging_passed + exchange_passed
        failed += len(failures)
        for failure in failures:
            print(f"FAIL {failure}")
    for problem in unlisted(reference / "ihe" / "samples", EXPECTED.keys() | samples_imaging.LISTED):
        failed += 1
        print(f"FAIL {problem}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
