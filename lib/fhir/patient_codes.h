#pragma once

#include "lib/base/str.h"

/** Codes that mean the same in FHIR and HL7 v2 (patient_codes.def). */
typedef enum FhirCodeMap {
    FHIR_GENDER,
    FHIR_NAME_USE,
    FHIR_REPRESENTATION,
    FHIR_ADDRESS_USE,
    FHIR_TELECOM_SYSTEM,
    FHIR_MARITAL_STATUS,
} FhirCodeMap;

/** Empty if there is none. */
Str fhir_code_to_v2(FhirCodeMap map, Str code);
Str fhir_code_from_v2(FhirCodeMap map, Str code);
