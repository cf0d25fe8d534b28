#pragma once

#include <stdatomic.h>

#include "atna/atna.h"
#include "atna/spool.h"

/** What the files of atna/ share. Private to this folder. */

typedef struct Drain Drain;

struct Audit {
    AuditConfig config;
    DbPool *pool; /* borrowed; NULL: there is no outbox */
    Spool *spool;
    Drain *drain;
    atomic_uint_fast64_t
        outbox_count; /* rows of audit_outbox when last looked at; at most 10 000 */
    atomic_uint_fast64_t unsent_count; /* spooled, not yet confirmed by the remote repository */
};

/** The repository is another host: what is spooled is sent, then removed. */
bool audit_is_remote(const Audit *audit);

/** Appends one message to the spool, without waiting for it to be durable. @return as
 * spool_append() */
int audit_append(Audit *audit, int64_t recorded_us, Str message, uint64_t *ret_ticket) MUST_CHECK;
