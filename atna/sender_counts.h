#pragma once

#include "lib/db/db.h"

/** What the Audit Record Repository counts of its senders: tables audit_sender,
 * audit_sender_defect. */

typedef struct AuditDefectCount {
    const char *name; /* row of atna/defects.def */
    int64_t record_count;
} AuditDefectCount;

typedef struct AuditSenderCount {
    Str sender;
    int64_t record_count;
    int64_t last_us; /* UTC */
    AuditDefectCount *defects;
    size_t defect_count;
} AuditSenderCount;

/** @param ret_senders  by name; in req->arena */
int audit_sender_counts_read(DbConn *conn, Request *req, AuditSenderCount **ret_senders,
                             size_t *ret_count) MUST_CHECK;
