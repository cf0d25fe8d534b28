"""What the integration tests share: a server per test class, certificates, patients, small submissions."""

import concurrent.futures
import os
import pathlib
import shutil
import tempfile
import unittest

import psycopg2

from conformance import client as xds
from tests.harness import certs, server as harness

IS_FULL = os.environ.get("MUSUBI_FULL") == "1"
MIB = 1024 * 1024
UPDATE_STATUS = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"
UNIQUE_ID_SCHEME = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"


def patient(number):
    """A patient of the affinity domain as CX."""
    return f"{number}^^^&{harness.AUTHORITY}&ISO"


def feed(server, *numbers):
    """ITI-8 A01 for each number over plain MLLP."""
    mllp = xds.MllpClient(f"127.0.0.1:{server.mllp_port}")
    for number in numbers:
        reply = mllp.send(xds.adt("A01", patient(number)))
        if xds.acknowledgement(reply) != "AA":
            raise AssertionError(reply)
    mllp.close()


def client(server, role=None, timeout_s=90):
    """A SOAP client: plain, or with the certificate of a role."""
    if role is None:
        return xds.SoapClient(f"http://127.0.0.1:{server.plain_port}", timeout_s=timeout_s)
    folder = server.certs
    return xds.SoapClient(f"https://127.0.0.1:{server.https_port}", folder / f"{role}.pem", folder / f"{role}.key",
                          folder / "ca.pem", timeout_s)


def submission(number, content=b"content", **fields):
    """A submission of one document."""
    return xds.Submission(patient(number), [xds.Document(patient(number), content, **fields)])


def version_xml(document, lid, version):
    """The body of ITI-57 that makes a new version of a DocumentEntry; version is the one that it updates."""
    original = xds.slot_xml("SubmissionSetStatus", "Original")
    body = xds.Submission(document.patient, [document]).register_xml().replace(original, original + xds.slot_xml("PreviousVersion", version))
    return body.replace(f'id="{document.id}" mimeType', f'id="{document.id}" lid="{lid}" mimeType')


def status_xml(patient_id, entry, original, new):
    """The body of ITI-57 that changes the status of an object."""
    change = xds.Submission(patient_id)
    change.associations = [xds.association_xml(UPDATE_STATUS, change.id, entry, {"OriginalStatus": [original], "NewStatus": [new]})]
    return change.register_xml()


def find(soap, number, status="Approved", return_type="LeafClass"):
    """FindDocuments: {uniqueId: entryUUID}."""
    reply = soap.query("FindDocuments", {"$XDSDocumentEntryPatientId": f"'{patient(number)}'",
                                         "$XDSDocumentEntryStatus": f"('{xds.STATUS}{status}')"}, return_type)
    if reply.outcome != "Success":
        raise AssertionError(reply.errors or reply.raw)
    return {entry.xpath(f"rim:ExternalIdentifier[@identificationScheme='{UNIQUE_ID_SCHEME}']/@value", namespaces=xds.NS)[0]:
            entry.get("id") for entry in reply.objects("ExtrinsicObject")}


def fetch(soap, *documents):
    """ITI-43 of documents of this repository."""
    return soap.retrieve([(harness.REPOSITORY_UID, d if isinstance(d, str) else d.unique_id) for d in documents])


def rows(server, statement, *values):
    """What a statement gives in the server's own database."""
    connection = psycopg2.connect(host=f"{server.dir}/data/postgres", user="musubi_owner", dbname="musubi")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()
    finally:
        connection.close()


def at_once(*calls):
    """Calls all of them at the same time, each in a thread; gives what they return. What one of them raises is raised when all have ended."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
    return [future.result() for future in futures]


def make_certs(names):
    """Certificates in a folder of their own that the service user can read."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="musubi-certs-"))
    os.chmod(folder, 0o755)
    certs.make(folder, names)
    give_to_service_user(folder)
    return folder


def give_to_service_user(folder):
    """The server, which drops to that account, can read these files."""
    user = harness.service_user()
    for path in folder.iterdir() if user else ():
        os.chown(path, user.pw_uid, user.pw_gid)


class ServerCase(unittest.TestCase):
    """One running server for all tests of the class."""

    settings = {}
    mode = "open"
    roles = ()  # certificates to make; none: plain listeners only

    @classmethod
    def setUpClass(cls):
        """Starts the server and feeds the patients P1 to P9."""
        cls.certs = make_certs(("server", *cls.roles)) if cls.roles else None
        cls.server = harness.Server(settings=cls.settings, certs=cls.certs, mode=cls.mode)
        cls.addClassCleanup(cls.clean_up)
        cls.server.start()
        if cls.mode == "open":
            feed(cls.server, *(f"P{n}" for n in range(1, 10)))

    @classmethod
    def clean_up(cls):
        """Stops the server and removes its folders."""
        cls.server.close()
        if cls.certs:
            shutil.rmtree(cls.certs, ignore_errors=True)

    def soap(self, role=None):
        """A client that is closed after the test."""
        soap = client(self.server, role)
        self.addCleanup(soap.close)
        return soap

    def assert_success(self, reply):
        """The reply is a registry response with Success."""
        self.assertEqual((reply.outcome, reply.errors), ("Success", []), reply.raw[:2000] if reply.outcome == "Fault" else "")
