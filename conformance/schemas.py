"""Holds answers of HL7 v3 against the schemas of the normative edition 2008, where the reference data (MUSUBI_REFERENCE) is."""

import os
import pathlib

from lxml import etree

FOLDER = "ihe/schema/hl7v3/HL7V3/NE2008/multicacheschemas"
HL7 = "urn:hl7-org:v3"
_schemas = {}


def is_there():
    """Whether there are schemas to hold answers against."""
    return (pathlib.Path(os.environ.get("MUSUBI_REFERENCE", "/nonexistent")) / FOLDER).is_dir()


def fault(body):
    """What is wrong with an answer; None: nothing, or it is no message of HL7 v3, or there is no schema."""
    name = etree.QName(body).localname
    if etree.QName(body).namespace != HL7 or not is_there():
        return None
    if name not in _schemas:
        path = pathlib.Path(os.environ["MUSUBI_REFERENCE"]) / FOLDER / f"{name}.xsd"
        _schemas[name] = etree.XMLSchema(etree.parse(str(path)))
    schema = _schemas[name]
    alone = etree.fromstring(etree.tostring(body))
    return None if schema.validate(alone) else str(schema.error_log.last_error)
