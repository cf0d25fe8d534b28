#include "repository/hold.h"

/** "blobs" as a number. */
#define HOLD_LOCK "422827813491"

static const DbStatement take_statement = {"repository_hold_take",
                                           "SELECT pg_advisory_lock(" HOLD_LOCK ") IS NOT NULL"};
static const DbStatement end_statement = {"repository_hold_end",
                                          "SELECT pg_advisory_unlock(" HOLD_LOCK ")"};
static const DbStatement ask_statement = {"repository_hold_ask",
                                          "SELECT pg_try_advisory_xact_lock_shared(" HOLD_LOCK ")"};

static int ask(DbConn *conn, Request *req, const DbStatement *statement, bool *ret_answer)
{
    DbResult *result = NULL;
    int rc = db_exec(conn, req, statement, NULL, &result);
    if (rc == 0) {
        *ret_answer = db_bool(result, 0, 0);
    }
    return rc;
}

int repository_hold_take(DbConn *conn, Request *req)
{
    return db_exec(conn, req, &take_statement, NULL, NULL);
}

int repository_hold_end(DbConn *conn, Request *req, bool *ret_was_held)
{
    return ask(conn, req, &end_statement, ret_was_held);
}

int repository_hold_ask(DbConn *conn, Request *req, bool *ret_may_free)
{
    return ask(conn, req, &ask_statement, ret_may_free);
}
