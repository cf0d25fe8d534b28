#pragma once

#include "lib/base/request.h"
#include "lib/db/db.h"

/**
 * What must not be removed: documents that are to be kept for a while (table retention_rule), and
 * those under a legal hold (legal_hold). Asked within the transaction that removes.
 */

/** A document, or a version of its DocumentEntry, that somebody wants to remove. */
typedef struct RetainedDocument {
    size_t document; /* position in the caller's list; handed back */
    Str unique_id;
    int64_t patient;    /* row of patient_identifier; 0: unknown */
    int32_t facility;   /* that submitted it */
    int32_t class_code; /* interned */
    int64_t since_us;   /* the later of creationTime and registration */
} RetainedDocument;

/** Queues the lock that a new hold or rule waits for until the transaction ends, and that waits
 * for one that is being made: so each removal comes wholly before it or sees it. */
int retention_queue_lock(Request *req, DbConn *conn) MUST_CHECK;

/** The other side, for whoever makes or ends a hold or rule: waits for removals under way. */
int retention_lock_all(Request *req, DbConn *conn) MUST_CHECK;

/**
 * Adds ERR_LOCAL_POLICY_RESTRICTION for each document (by position) that must stay: names the hold,
 * or the rule and until when it forbids the removal. Behind retention_queue_lock().
 * @param ret_is_kept  one for each position; NULL: not wanted
 * @return 0 also if there are such documents, or a negative ErrorCode of the database
 */
int retention_check(Request *req, DbConn *conn, const RetainedDocument *documents, size_t count,
                    bool *ret_is_kept) MUST_CHECK;
