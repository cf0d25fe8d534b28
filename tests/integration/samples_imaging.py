"""The imaging samples of the reference data: manifests that a source provides (rad-68) and requests for their images (rad-69, rad-75).

A manifest is provided as it is. The metadata beside it have the elements of XDS.a: as they stand they are refused (the table in
samples.py says so), so they are written in those of XDS.b, with codes, times and texts as they are. Images that the samples name
are stored first, pictures of ours under those UIDs. A request is sent as it is, where every source that it asks is
unknown (of rad-75 with the homeCommunityId of this community, which all of them name); then with each of the sources that it asks taken for this one.
"""

import re
import subprocess

from lxml import etree

from conformance import client as xds, dicomweb, fhir
from tests.harness import server as harness

SOURCE = "1.3.6.1.4.1.21367.13.80.110"  # Retrieve Location UID of the manifests
COMMUNITY_A, COMMUNITY_B, SELF_TEST = "1.3.6.1.4.1.21367.13.71.101", "1.3.6.1.4.1.21367.13.71.102", "1.3.6.1.4.1.21367.102.1.1"
NOBODY = COMMUNITY_B + ".999"
HOME, HOME_ONE, HOME_TWO = "urn:oid:1.3.6.1.4.1.21367.13.70.201", "1.3.6.1.4.1.21367.13.71.201.1", "1.3.6.1.4.1.21367.13.71.201.2"
PATIENT_ID = "SAMPLE"
UNKNOWN_SUFFIX = ".999"  # of an instance that a sample calls unknown
AS_IT_IS = ("", "Failure", "XDSUnknownRepositoryId", 0)
ORDER = ("Slot", "Name", "Description", "Classification", "ExternalIdentifier")

MANIFESTS = {  # sample: how many images it lists
    "nist2__IDS-DEPT001-a_kos.dcm": 1, "nist2__IDS-DEPT012-a_kos.dcm": 1, "nist2__IDS-DEPT021-a_kos.dcm": 1,
    "nist2__IDS-DEPT024-a_kos.dcm": 10, "nist2__IDS-DEPT025-a_kos.dcm": 1, "nist2__IDS-DEPT041-a_kos.dcm": 1,
}
RETRIEVALS = {  # sample: [(source that is this one, outcome, error codes, how many images come)]
    "nist2__idc_4837_selftest-rad-69.xml": [AS_IT_IS, (SELF_TEST, "Success", "", 1)],
    "nist2__iig_2018-5401b_Rad69RetrieveRequest.xml": [AS_IT_IS, (COMMUNITY_A, "Success", "", 2)],
    "nist2__iig_2018-5401c_Rad69RetrieveRequest.xml": [AS_IT_IS, (COMMUNITY_B, "Success", "", 6)],
    "nist2__iig_2018-5402b_Rad69RetrieveRequest.xml": [AS_IT_IS, (COMMUNITY_A, "Success", "", 1)],
    "nist2__iig_2018-5403a_Rad69RetrieveRequest.xml": [AS_IT_IS, (COMMUNITY_A, "PartialSuccess", "XDSUnknownRepositoryId", 1),
                                                       (COMMUNITY_B, "PartialSuccess", "XDSUnknownRepositoryId", 6)],
    "nist2__iig_2018-5404b_Rad69RetrieveRequest.xml": [AS_IT_IS, (COMMUNITY_A, "Failure", "XDSDocumentUniqueIdError", 0)],
    "nist2__iig_2018-5404c_Rad69RetrieveRequest.xml": [AS_IT_IS, (NOBODY, "Success", "", 1)],
    "nist2__iig_2018-5405b_Rad69RetrieveRequest.xml": [AS_IT_IS, (COMMUNITY_A, "PartialSuccess", "XDSUnknownRepositoryId", 1),
                                                       (COMMUNITY_B, "Failure", "XDSUnknownRepositoryId XDSDocumentUniqueIdError", 0)],
}
GATEWAY_RETRIEVALS = {  # of rad-75, likewise
    "nist2__rig_2018-5421a_Rad75RetrieveRequest.xml": [AS_IT_IS, (HOME_ONE, "Success", "", 1)],
    "nist2__rig_2018-5421c_Rad75RetrieveRequest.xml": [AS_IT_IS, (HOME_TWO, "Success", "", 5)],
    "nist2__rig_2018-5422a_Rad75RetrieveRequest.xml": [AS_IT_IS, (HOME_ONE, "Success", "", 1)],
    "nist2__rig_2018-5423a_Rad75RetrieveRequest.xml": [AS_IT_IS, (HOME_ONE, "PartialSuccess", "XDSUnknownRepositoryId", 1),
                                                       (HOME_TWO, "PartialSuccess", "XDSUnknownRepositoryId", 1)],
    "nist2__rig_2018-5424a_Rad75RetrieveRequest.xml": [AS_IT_IS, (HOME_ONE, "Failure", "XDSRepositoryError", 0)],
    "nist2__rig_2018-5424c_Rad75RetrieveRequest.xml": [AS_IT_IS, (HOME_TWO + ".999", "Success", "", 1)],
}
LISTED = {f"rad-75/{name}" for name in GATEWAY_RETRIEVALS} | {f"rad-68/{name}" for name in MANIFESTS} | {f"rad-69/{name}" for name in RETRIEVALS}


class Unexpected(Exception):
    """An outcome that the index does not state."""


def expect(holds, text):
    """Raises unless it holds."""
    if not holds:
        raise Unexpected(text)


class Sender:
    """A server, what is stored there, and how its replies are judged."""

    def __init__(self, server, schemas, adopt):
        self.server = server
        self.base = f"http://127.0.0.1:{server.plain_port}"
        self.soap = xds.SoapClient(self.base)
        self.schemas = schemas
        self.adopt = adopt
        self.stored = set()

    def judge(self, reply, outcome, codes=""):
        """The outcome, exactly these codes, and a reply that is valid."""
        expect(reply.outcome == outcome, f"{reply.outcome} instead of {outcome}: {reply.errors or reply.raw[-600:]}")
        expect({error[0] for error in reply.errors} == set(codes.split()), f"errors {reply.errors}")
        expect(self.schemas.fault(reply.body) is None, str(self.schemas.fault(reply.body)))

    def store(self, images):
        """STOW-RS of pictures under these (study, series, instance), those that are not there yet."""
        fresh = sorted(images - self.stored)
        if not fresh:
            return
        files = [dicomweb.make_file({"patient": PATIENT_ID, "study": study, "series": series, "instance": instance})
                 for study, series, instance in fresh]
        kind = f'multipart/related; type="application/dicom"; boundary={dicomweb.BOUNDARY}'
        status, _, raw = fhir.exchange(self, "POST", "/dicomweb/studies", dicomweb.multipart(files), {"Content-Type": kind})
        expect(status == 200, f"HTTP {status} of images: {raw[:300]}")
        self.stored.update(fresh)


# ---------------------------------------------------------------------------------------------- manifests


def read_manifest(path):
    """(SOP Instance UID, {(study, series, instance)} of the evidence, Retrieve Location UIDs)"""
    text = subprocess.run(["dcmdump", "-q", "+L", path], check=True, capture_output=True, text=True, timeout=60).stdout
    evidence = text[text.index("(0040,a375)"):text.index("(0040,a504)")]
    study = re.search(r"\(0020,000d\) UI \[([\d.]+)\]", evidence).group(1)
    found = set()
    for instances, series in re.findall(r"\(0008,1199\)(.*?)\(0020,000e\) UI \[([\d.]+)\]", evidence, re.S):
        found.update((study, series, uid) for uid in re.findall(r"\(0008,1155\) UI \[([\d.]+)\]", instances))
    return re.search(r"\(0008,0018\) UI \[([\d.]+)\]", text).group(1), found, set(re.findall(r"\(0040,e011\) UI \[([\d.]+)\]", evidence))


def rank(node):
    """Where an element stands among its siblings in ebRIM 3.0."""
    name = etree.QName(node).localname
    return ORDER.index(name) if name in ORDER else len(ORDER)


def modern(node):
    """The same in the namespace and the order of ebRIM 3.0."""
    made = etree.Element("{%s}%s" % (xds.NS["rim"], etree.QName(node).localname), dict(node.attrib))
    made.text = node.text
    made.extend([modern(child) for child in sorted(node.iterchildren("{*}*"), key=rank)])
    return made


def modern_metadata(raw):
    """The metadata of XDS.a as those of XDS.b; the SubmissionSet has an id of ours."""
    objects = modern(etree.fromstring(raw)[0])
    for node in objects.findall("rim:ObjectRef", xds.NS):
        objects.remove(node)
    for number, node in enumerate(objects.iter()):
        name = etree.QName(node).localname
        if name in ("Classification", "ExternalIdentifier", "Association"):
            node.set("id", f"id{number}")
        if name == "ExternalIdentifier":
            node.set("registryObject", node.getparent().get("id"))
        if name == "Association":
            node.set("associationType", f"urn:oasis:names:tc:ebxml-regrep:AssociationType:{node.get('associationType')}")
    objects.tag = "{%s}RegistryObjectList" % xds.NS["rim"]
    return objects


def provide(sender, path, count):
    """RAD-68 of a manifest, and then what a consumer does with it."""
    content = path.read_bytes()
    unique_id, images, locations = read_manifest(path)
    expect((len(images), locations) == (count, {SOURCE}), f"it lists {images} at {locations}")
    sender.store(images)
    metadata = modern_metadata(path.with_name(path.name.replace("_kos.dcm", "_metadata.xml")).read_bytes())
    sender.adopt(metadata)
    body = (f'<xds:ProvideAndRegisterDocumentSetRequest xmlns:xds="{xds.NS["xds"]}"><lcm:SubmitObjectsRequest xmlns:lcm="{xds.NS["lcm"]}">'
            f'{etree.tostring(metadata, encoding="unicode")}</lcm:SubmitObjectsRequest>'
            f'<xds:Document id="Document01"><xop:Include xmlns:xop="{xds.NS["xop"]}" href="cid:kos@musubi.test"/></xds:Document>'
            "</xds:ProvideAndRegisterDocumentSetRequest>")
    sender.judge(sender.soap.send("/repository", "ITI-41", body, [("kos@musubi.test", "application/dicom", content)]), "Success")
    reply = sender.soap.retrieve([(harness.REPOSITORY_UID, unique_id)])
    sender.judge(reply, "Success")
    expect(reply.documents() == {unique_id: content}, "the manifest that comes back is not the one that was provided")
    reply = sender.soap.retrieve_images([(study, series, SOURCE, uid) for study, series, uid in images], [dicomweb.EXPLICIT])
    sender.judge(reply, "Success")
    expect(set(reply.documents()) == {uid for _, _, uid in images}, "not every image comes that the manifest lists")


# ---------------------------------------------------------------------------------------------- requests


def named(request):
    """{(study, series, instance)} of a request, without those that the sample calls unknown."""
    found = set()
    for series in request.iter("{%s}SeriesRequest" % xds.NS["iherad"]):
        found.update((series.getparent().get("studyInstanceUID"), series.get("seriesInstanceUID"), uid)
                     for uid in series.xpath("xds:DocumentRequest/xds:DocumentUniqueId/text()", namespaces=xds.NS)
                     if not uid.endswith(UNKNOWN_SUFFIX))
    return found


def homes(body, name):
    """{(SOP Instance UID, homeCommunityId or None)} of what is asked for, or of what comes."""
    return {(node.findtext("xds:DocumentUniqueId", namespaces=xds.NS), node.findtext("xds:HomeCommunityId", namespaces=xds.NS))
            for node in body.iter("{%s}%s" % (xds.NS["xds"], name))}


def retrieve(sender, path, variants, to=("/imaging", "RAD-69")):
    """RAD-69 as it is, and of this source."""
    sender.store(named(etree.parse(path).getroot()))
    for source, outcome, codes, count in variants:
        request = etree.parse(path).getroot()
        for node in request.iter("{%s}RepositoryUniqueId" % xds.NS["xds"]):
            node.text = SOURCE if node.text == source else node.text
        reply = sender.soap.send(*to, etree.tostring(request, encoding="unicode"), as_mtom=True)
        sender.judge(reply, outcome, codes)
        expect(len(reply.documents()) == count, f"{len(reply.documents())} images of {source or 'no source'} instead of {count}")
        expect(set(reply.documents()) <= {uid for _, _, uid in named(request)}, "images that nobody asked for")
        expect(homes(reply.body, "DocumentResponse") <= homes(request, "DocumentRequest"), "images with another home than was asked for")
        expect(all(content[128:132] == b"DICM" and uid.encode() in content for uid, content in reply.documents().items()), "images that are others")


def retrieve_across(sender, path, variants):
    """RAD-75, likewise; every error is of this community."""
    retrieve(sender, path, variants, ("/gateway", "RAD-75"))
    request = etree.parse(path).getroot()
    reply = sender.soap.send("/gateway", "RAD-75", etree.tostring(request, encoding="unicode"), as_mtom=True)
    expect({error[2] for error in reply.errors} == {HOME}, f"locations of {reply.errors}")


def run(server, reference, schemas, adopt):
    """Sends every sample; adopt(metadata) makes patient and ids ours. Gives (passed, [what failed])."""
    sender = Sender(server, schemas, adopt)
    samples = [("rad-68", name, provide, count) for name, count in MANIFESTS.items()]
    samples += [("rad-69", name, retrieve, variants) for name, variants in RETRIEVALS.items()]
    samples += [("rad-75", name, retrieve_across, variants) for name, variants in GATEWAY_RETRIEVALS.items()]
    failures = []
    for folder, name, outcome, expected in samples:
        try:
            outcome(sender, reference / folder / name, expected)
        except Unexpected as problem:
            failures.append(f"{folder}/{name}: {problem}")
    sender.soap.close()
    return len(samples) - len(failures), failures
