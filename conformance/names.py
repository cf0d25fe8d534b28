"""Names that scenarios write as ${table:name} in place of URNs: ${scheme:classCode}, ${association:RPLC}, ${status:Approved}."""

from conformance import client as xds

TABLES = {
    # classificationScheme, classificationNode, identificationScheme (TF-3 4.2.3.2 to 4.2.3.4)
    "scheme": {
        **{attribute: code[0] for attribute, code in xds.CODES.items()},
        "eventCodeList": xds.EVENT_CODE_LIST,
        "contentTypeCode": xds.CONTENT_TYPE_CODE[0],
        "codeList": xds.FOLDER_CODE_LIST,
        "author": "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d",
        "submissionAuthor": "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d",
        "documentation": "urn:uuid:abd807a3-4432-4053-87b4-fd82c643d1f3",
        "limitedMetadata": "urn:uuid:ab9b591b-83ab-4d03-8f5d-f93b1fb92e85",
        "SubmissionSet": "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd",
        "Folder": "urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2",
        "XDSDocumentEntry.patientId": "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427",
        "XDSDocumentEntry.uniqueId": "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab",
        "XDSSubmissionSet.patientId": "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446",
        "XDSSubmissionSet.sourceId": "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832",
        "XDSSubmissionSet.uniqueId": "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8",
        "XDSFolder.patientId": "urn:uuid:f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a",
        "XDSFolder.uniqueId": "urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a",
    },
    "type": {"Stable": xds.STABLE, "On-Demand": "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"},
    "status": {name: xds.STATUS + name for name in ("Approved", "Deprecated", "Submitted")},
    # TF-3 4.2.2; the 2010 ones belong to the On-Demand and Metadata Update profiles
    "association": {
        "HasMember": xds.HAS_MEMBER,
        **{name: xds.IHE_ASSOCIATION + name for name in ("RPLC", "XFRM", "APND", "XFRM_RPLC", "signs")},
        **{name: f"urn:ihe:iti:2010:AssociationType:{name}"
           for name in ("IsSnapshotOf", "UpdateAvailabilityStatus", "SubmitAssociation")},
    },
    "action": xds.ACTIONS,
}
