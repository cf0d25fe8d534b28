#include "registry/attempts.h"

int attempts_run(Request *req, DbConn *conn, AttemptFn attempt, void *ctx)
{
    const ErrorList before = req->errors;
    for (unsigned attempts = 1;; attempts++) {
        int rc = attempt(ctx);
        if (rc == 0) {
            return 0;
        }
        bool is_raced = db_is_raced(conn, rc);
        int rollback = db_rollback(conn, req);
        if (!is_raced || rollback < 0 || attempts == ATTEMPTS_MAX) {
            return rc;
        }
        error_list_rewind(&req->errors, &before);
    }
}
