#pragma once

/* Canonical URLs of the extensions and code systems of a Patient (FHIR R4; ITI PDQm). */

#define URL_PDQM_PATIENT "https://profiles.ihe.net/ITI/PDQm/StructureDefinition/IHE.PDQm.Patient"
#define URL_EN_REPRESENTATION "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
#define URL_MOTHERS_MAIDEN_NAME "http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName"
#define URL_V3_MARITAL_STATUS "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
#define URL_V2_MARITAL_STATUS "http://terminology.hl7.org/CodeSystem/v2-0002"
#define URL_LANGUAGES "urn:ietf:bcp:47"
