#pragma once

#include "lib/fhir/exchange.h"
#include "server/transactions.h"

/** The table of fhir_transactions.def. */

typedef enum FhirBody {
    FHIR_BODY_NONE,
    FHIR_BODY_RESOURCE, /* JSON or XML */
    FHIR_BODY_FORM,     /* application/x-www-form-urlencoded */
} FhirBody;

typedef struct FhirTransaction {
    Str method;
    Str path;
    const char *number; /* "ITI-83"; "" needs no right */
    FhirBody body;
    Module module;
    FhirHandler handler;
} FhirTransaction;

/**
 * The row for a request.
 *
 * @param path     below /fhir, percent-decoded
 * @param ret_id   the logical id in the path; empty: none
 * @param ret_allowed  in the arena: "GET, PUT": the methods of this path; empty: no such path
 * @return NULL if there is none
 */
const FhirTransaction *fhir_transaction_find(Arena *arena, Str method, Str path, Str *ret_id,
                                             Str *ret_allowed);
