#pragma once

#include "lib/db/db.h"

/** How much the identity manager holds and what is left to do: rows of identity_counts.def. */

typedef enum IdentityCountId {
#define IDENTITY_COUNT(name, label, help, sql) IDENTITY_COUNT_##name,
#include "pix/identity_counts.def"
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
