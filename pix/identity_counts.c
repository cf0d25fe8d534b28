#include "pix/identity_counts.h"

const IdentityCountRow identity_count_rows[IDENTITY_COUNT_TOTAL] = {
#define IDENTITY_COUNT(name, label, help, sql) {#name, label, help},
#include "pix/identity_counts.def"
#undef IDENTITY_COUNT
};

static const DbStatement select_counts = {"identity_counts", "SELECT true"
#define IDENTITY_COUNT(name, label, help, sql) ", (" sql ")"
#include "pix/identity_counts.def"
#undef IDENTITY_COUNT
};

int identity_counts_read(DbConn *conn, Request *req, int64_t ret_counts[IDENTITY_COUNT_TOTAL])
{
    DbResult *result = NULL;
    int rc = db_exec(conn, req, &select_counts, NULL, &result);

    for (int i = 0; rc == 0 && i < IDENTITY_COUNT_TOTAL; i++) {
        ret_counts[i] = db_i64(result, 0, i + 1);
    }
    return rc;
}
