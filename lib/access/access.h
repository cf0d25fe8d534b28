#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/request.h"

/**
 * Who may do what: the one place in lib that knows policy (default deny).
 *
 * Principal = the TLS node, later with the XUA user. access_open() compiles the rules that concern
 * one principal and one patient, access_decide() is then a pure test on each object, called on
 * every object of every surface.
 */

typedef struct Principal {
    int32_t node_id;     /* 0: none (open mode, unregistered) */
    Str node_name;       /* "gateway-a"; "anonymous" in open mode without certificate */
    int32_t facility_id; /* 0: none */
    Str facility_name;
    bool is_operator;
    bool may_do_everything; /* [access] mode = open */
    /** Bit set, see access_transaction_bit(); meaningless if may_do_everything. */
    uint64_t transactions;
    Str certificate_subject;     /* RFC 2253, for audit; empty without TLS */
    Str certificate_fingerprint; /* SHA-256, 64 lower-case hexadecimal digits; empty without TLS */
} Principal;

/** Bit of a transaction name ("ITI-42") in Principal.transactions; 0 if the name is unknown. */
uint64_t access_transaction_bit(const char *transaction);

/** Whether this principal may use this transaction at all. */
bool access_may_use(const Principal *principal, const char *transaction);

/** What a decision looks at; the same for every surface. */
typedef struct AccessObject {
    int32_t source_facility; /* 0: unknown */
    int32_t class_code;      /* interned code ids of the registry; 0: none */
    const int32_t *confidentiality_codes;
    size_t confidentiality_count;
    int16_t status;       /* 0 Approved, 1 Deprecated */
    int64_t effective_us; /* serviceStartTime, else creationTime; INT64_MIN if neither */
} AccessObject;

typedef enum AccessPurpose {
    ACCESS_LIST,
    ACCESS_VIEW,
    ACCESS_DOWNLOAD,
    ACCESS_SUBMIT,
    ACCESS_CHANGE
} AccessPurpose;

typedef struct AccessScope AccessScope;

/**
 * Compiles the rules for req->principal on one patient. In the request's arena; never NULL.
 * @param patient_id  internal id of the patient; 0 when the object has none
 */
const AccessScope *access_open(Request *req, int64_t patient_id, AccessPurpose purpose);

/** A pure test. @return true: may see or do it */
bool access_decide(const AccessScope *scope, const AccessObject *object);
