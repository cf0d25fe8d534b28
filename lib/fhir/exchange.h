#pragma once

#include "lib/base/request.h"
#include "lib/fhir/format.h"
#include "lib/fhir/parameters.h"

/** What a client wants back of a change (Prefer: return=; FHIR R4 3.1.0.5). */
typedef enum FhirReturn { FHIR_RETURN_OUTCOME, FHIR_RETURN_MINIMAL } FhirReturn;

/**
 * One FHIR request with room for its reply: what a transaction's handler gets.
 *
 * The handler sets status, and reply where there is a body, and returns 0; or it returns a negative
 * ErrorCode, and the reply is an OperationOutcome made of req->errors with the HTTP status of the
 * first of them, or with status where the handler has set it. Everything is in req->arena.
 */
typedef struct FhirExchange {
    Request *req;
    Str base;                  /* "https://host:8443/fhir", for absolute URLs */
    Str path;                  /* behind base, without slash: "Patient/17" */
    Str id;                    /* logical id in the path; empty: none */
    FhirParameters parameters; /* of the query string, and of the form of a POST _search */
    const FhirNode *resource;  /* of the body; NULL: none */
    Str request_text;          /* request line, headers and body, for the audit record */
    bool is_strict;            /* Prefer: handling=strict (FHIR R4 3.1.1.4.4) */
    FhirReturn wanted;

    int status;
    const FhirNode *reply;
    Str location; /* header Location; empty: none */
} FhirExchange;

/** @param module  Pix *, ...: whoever serves the transaction */
typedef int (*FhirHandler)(void *module, FhirExchange *exchange);
