#pragma once

#include "atna/atna.h"
#include "atna/record_search.h"
#include "lib/fhir/capability.h"

/** ITI-81 Retrieve ATNA Audit Event (RESTful ATNA supplement to ITI TF-2): search and read of
 * AuditEvent in the Audit Record Repository. */

/** Who knows the numbers of a person: the identity manager of the same process. */
typedef struct AuditPatients {
    void *ctx;
    /** The keys of the person, or persons, of an identifier (CX, or a number alone), in the
     * request's arena; of the identifier itself where it is not known. */
    int (*keys)(void *ctx, Request *req, Str cx, KeySet *ret_keys);
} AuditPatients;

/** The module of the handlers. All is borrowed. */
typedef struct Iti81 {
    DbPool *pool;
    Audit *audit;
    AuditPatients patients;
} Iti81;

/** AuditEvent in the CapabilityStatement. */
extern const FhirCapability atna_fhir_capability;

int atna_iti81_search(void *iti81, FhirExchange *exchange); /* 3.81.4.1 */
int atna_iti81_read(void *iti81, FhirExchange *exchange);
