#pragma once

#include "lib/db/db.h"

/** How much the identity manager holds and what is left to do: rows of identity_counts.def. */

typedef enum IdentityCountId {
#define IDENTITY_COUNT(name, label, help, sql) IDENTITY_COUNT_##name,
#include "server/identity_counts.def"
#undef IDENTITY_COUNT
    IDENTITY_COUNT_TOTAL
} IdentityCountId;

typedef struct IdentityCountRow {
    const char *name;
    const char *label;
    const char *help;
} IdentityCountRow;

extern const IdentityCountRow identity_count_rows[IDENTITY_COUNT_TOTAL];

/** Counts now: a pass over the identifiers. */
int identity_counts_read(DbConn *conn, Request *req,
                         int64_t ret_counts[IDENTITY_COUNT_TOTAL]) MUST_CHECK;

/** Counts for a page that is read every few seconds: renewed at most once a minute. */
typedef struct IdentityGauges IdentityGauges;

IdentityGauges *identity_gauges_new(DbPool *pool);
void identity_gauges_free(IdentityGauges *gauges);

/** Appends a gauge for each row; nothing while the database does not answer. */
void identity_gauges_write(IdentityGauges *gauges, Request *req, StrBuf *buf);
