#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/access/user.h"
#include "lib/base/request.h"
#include "lib/db/db.h"

/**
 * Who may do what: the one place in lib that knows policy (default deny).
 *
 * Principal = the TLS node, whose facility always counts; the roles are those of the user of an
 * assertion (req->user), else the node's own. A user may declare an emergency. access_open() reads
 * the rules that concern one principal and one patient, as they are in the database at that moment;
 * access_decide() is then a pure test on each object, called on every object of every surface.
 * Before a reply leaves, access_settle().
 */

/** Roles whose rules count: names of table access_role. */
typedef struct RoleNames {
    const Str *items;
    size_t count;
} RoleNames;

typedef struct Principal {
    int32_t node_id;     /* 0: none (open mode, unregistered) */
    Str node_name;       /* "gateway-a"; "anonymous" in open mode without certificate */
    int32_t facility_id; /* 0: none */
    Str facility_name;
    const int32_t *facilities; /* besides its own, for which it submits */
    size_t facility_count;
    RoleNames roles; /* of requests without a user; none: "node" */
    bool is_operator;
    bool may_submit;        /* false: it submits nothing, whatever its transactions */
    bool may_do_everything; /* [access] mode = open */
    /** Bit set, see access_transaction_bit(); meaningless if may_do_everything. */
    uint64_t transactions;
    Str certificate_subject;     /* RFC 2253, for audit; empty without TLS */
    Str certificate_fingerprint; /* SHA-256, 64 lower-case hexadecimal digits; empty without TLS */
    DbPool *rules; /* connections for reading rules: never those that a request holds already */
} Principal;

/** Bit of a transaction name ("ITI-42") in Principal.transactions; 0 if the name is unknown. */
uint64_t access_transaction_bit(const char *transaction);

/** Whether this principal may use this transaction at all. */
bool access_may_use(const Principal *principal, const char *transaction);

/** Whether the user declares an emergency, with or without a reason: what he sees by it is recorded
 * each time. @param user  may be NULL */
bool access_declares_emergency(const AccessUser *user);

/** Whether it submits for this facility: its own, or one that the operator added. */
bool access_may_submit_for(const Principal *principal, int32_t facility);

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
    ACCESS_LIST,     /* that it exists, and its metadata: view */
    ACCESS_VIEW,     /* rendered, thumbnail: view */
    ACCESS_DOWNLOAD, /* the original: download */
    ACCESS_SUBMIT,
    ACCESS_CHANGE
} AccessPurpose;

/** Rows of reasons.def. */
typedef enum AccessReason {
#define REASON(name, permits, text) ACCESS_##name,
#include "lib/access/reasons.def"
#undef REASON
    ACCESS_REASON_COUNT
} AccessReason;

typedef struct AccessDecision {
    AccessReason reason;
    int32_t disclosure; /* the row of table disclosure that decided; 0: none */
} AccessDecision;

bool access_permits(AccessReason reason);
/** As reasons.def spells it: "NOT_ENROLLED". */
const char *access_reason_name(AccessReason reason);
/** One sentence for the operator. */
const char *access_reason_text(AccessReason reason);

/** The rules about one principal and one patient, and what was decided by them. */
typedef struct AccessScope AccessScope;

/**
 * Reads the rules for req->principal and req->user on one patient, once per request. In the
 * request's arena.
 *
 * @param patient  row of patient_identifier, merged or not; 0: none, of whom nothing may be read
 * @return 0, or a negative ErrorCode of the database: nothing may be answered then
 */
int access_open(Request *req, int64_t patient, AccessPurpose purpose,
                const AccessScope **ret_scope) MUST_CHECK;

/** The same for many patients in one round trip: access_open() then needs none. It is made also
 * without any, and for those known already: an answer about nothing takes as long as one about what
 * may not be known. */
int access_prepare(Request *req, const int64_t *patients, size_t count) MUST_CHECK;

/**
 * A search passes by many patients and shows few: their rules are read into an arena of its own,
 * by a copy of the request. access_passed() gives back to the request what the copy met: errors,
 * and who was seen by breaking the glass; then the arena may be cleared.
 */
Request access_passing(const Request *req, Arena *arena);
void access_passed(Request *req, const Request *passing);

/** Whether anything at all of the patient could show: what cannot need not be searched, and takes
 * no more time than what is not there. */
bool access_may_see_any(const AccessScope *scope);

/**
 * Only objects of these facilities could show of the patient: what is asked of a database can be
 * limited to them, so that others take no time.
 * @return false: any facility's could
 */
bool access_limits_facilities(const AccessScope *scope, Arena *arena, int32_t **ret_facilities,
                              size_t *ret_count);

/** Whether objects are decided about one by one: not in open mode, where everything shows. */
bool access_has_rules(const Request *req);

/** A pure test. @return true: may see or do it */
bool access_decide(const AccessScope *scope, const AccessObject *object);

/** The same with its reason, for musubi why. */
AccessDecision access_explain(const AccessScope *scope, const AccessObject *object);

/**
 * Whether it may be known that a facility has this patient, with the number and the demographics
 * that the facility gave: its own always, also of a patient 0 (an XAD-PID is still to come), else
 * as the facility's documents may be seen. Class and period of documents, and confidentiality, do
 * not count.
 */
bool access_decide_facility(const AccessScope *scope, int32_t facility);

/** The notice of an emergency that showed something: queues what else belongs to its transaction
 * (an audit event). */
typedef int (*AccessNoticeFn)(void *ctx, Request *req, DbConn *conn, int64_t patient);

/**
 * Stores a notice for each patient of whom the request saw something only by breaking the glass.
 * Must succeed before the reply's first byte. Without any: no round trip.
 */
int access_settle(Request *req, AccessNoticeFn notice, void *ctx) MUST_CHECK;
