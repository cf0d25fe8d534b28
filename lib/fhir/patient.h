#pragma once

#include "lib/base/request.h"
#include "lib/fhir/node.h"
#include "lib/hl7/demographics.h"

/** The Patient resource and the one form of demographics that all surfaces share (IHE.PDQm.Patient,
 * IHE.PIXm.Patient; FHIR R4 Patient; ITI TF-2 Appendix Z). */

/**
 * Reads everything that demographics can hold; the rest is accepted and left out. Adds every fault.
 *
 * @param location  FHIRPath of the patient, for errors: "Patient"
 * @return 0, or -ERR_FHIR_INVALID
 */
int fhir_patient_read(Request *req, const FhirNode *patient, const char *location,
                      Demographics *ret_demographics) MUST_CHECK;

/** For a resource that stands for the whole patient (PUT): what it does not say is deleted, as far
 * as a Patient could have said it. */
void fhir_patient_mark_absent(Demographics *demographics);

typedef struct FhirIdentifier {
    Str system; /* "urn:oid:1.2.3" */
    Str value;
    Str assigner; /* display name of the authority; empty: none */
} FhirIdentifier;

typedef struct FhirPatient {
    Str id;             /* logical id */
    int64_t updated_us; /* 0: not known */
    const FhirIdentifier *identifiers;
    size_t identifier_count;
    const Demographics *demographics;
} FhirPatient;

/** Fills an empty Patient resource. */
void fhir_patient_write(Arena *arena, FhirNode *resource, const FhirPatient *patient);

/** Adds an element of type Identifier. */
void fhir_identifier_write(Arena *arena, FhirNode *parent, const char *name,
                           const FhirIdentifier *identifier);
