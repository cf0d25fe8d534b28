#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/db/connection.h"

static const DbStatement statement_begin = {"db_begin", "BEGIN ISOLATION LEVEL READ COMMITTED"};
static const DbStatement statement_snapshot = {"db_snapshot",
                                               "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"};
static const DbStatement statement_xact_id = {"db_xact_id", "SELECT pg_current_xact_id()"};
static const DbStatement statement_commit = {"db_commit", "COMMIT"};
static const DbStatement statement_rollback = {"db_rollback", "ROLLBACK"};
static const DbStatement statement_xact_status = {"db_xact_status",
                                                  "SELECT pg_xact_status($1::xid8)"};

/** Between two questions whether a lost transaction has ended, or whether the server is back. */
#define RESOLVE_PAUSE_NS 20000000

typedef enum CommitOutcome { COMMITTED, ROLLED_BACK, UNKNOWN } CommitOutcome;

int db_queue_begin(DbConn *conn, Request *req)
{
    conn->xact_id = 0;
    if (!connection_queue(conn, SLOT_CONTROL, &statement_begin, NULL) ||
        !connection_queue(conn, SLOT_XACT_ID, &statement_xact_id, NULL)) {
        return failure_add(req);
    }
    return 0;
}

int db_queue_snapshot(DbConn *conn, Request *req)
{
    return connection_queue(conn, SLOT_CONTROL, &statement_snapshot, NULL) ? 0 : failure_add(req);
}

/** One question on a new connection. @return false: no answer yet, ask again */
static bool ask_xact_status(DbConn *conn, Request *req, int64_t xact_id, int64_t incarnation,
                            CommitOutcome *ret_outcome)
{
    DbParams params;
    DbResult *result = NULL;

    if (!conn->pg && !connection_open(conn, req->deadline_ns)) {
        return false;
    }
    db_params_init(&params, req->arena);
    db_param_i64(&params, xact_id);
    if (!connection_queue(conn, SLOT_STATEMENT, &statement_xact_status, &params)) {
        return false;
    }
    BatchOutcome outcome = connection_sync(conn, req->deadline_ns, req->arena, &result, NULL);
    if (outcome == BATCH_REFUSED && strcmp(conn->sqlstate, "22023") == 0) {
        *ret_outcome =
            ROLLED_BACK; /* "in the future": the crash forgot the id, so it never committed */
        return true;
    }
    if (outcome != BATCH_DONE || db_rows(result) != 1) {
        return false;
    }
    Str status = db_text(result, 0, 0);
    if (str_equal(status, STR("in progress"))) {
        return false;
    }
    *ret_outcome = UNKNOWN;
    if (str_equal(status, STR("aborted"))) {
        *ret_outcome = ROLLED_BACK;
    } else if (str_equal(status, STR("committed")) && conn->incarnation == incarnation) {
        *ret_outcome = COMMITTED; /* after a crash the id may have gone to another transaction */
    }
    return true;
}

/** Finds out what became of a transaction whose connection broke, until the deadline. */
static CommitOutcome resolve(DbConn *conn, Request *req, int64_t xact_id, int64_t incarnation)
{
    const struct timespec pause = {.tv_nsec = RESOLVE_PAUSE_NS};
    CommitOutcome outcome = UNKNOWN;

    if (xact_id == 0) {
        return UNKNOWN;
    }
    while (!ask_xact_status(conn, req, xact_id, incarnation, &outcome)) {
        if (clock_now_ns() + RESOLVE_PAUSE_NS >= req->deadline_ns) {
            return UNKNOWN;
        }
        nanosleep(&pause, NULL);
    }
    return outcome;
}

static int add_unknown(Request *req)
{
    return error_add(&req->errors, ERR_DATABASE, NULL,
                     "the outcome is unknown: the database was lost while the transaction was "
                     "committed; send the "
                     "same message again, which is safe");
}

static bool has_all(DbResult **results, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!results[i]) {
            return false;
        }
    }
    return true;
}

int db_commit(DbConn *conn, Request *req, DbResult **ret_results)
{
    const int64_t incarnation = conn->incarnation;
    const size_t expected = ret_results ? connection_statement_count(conn) : 0;
    bool committed = false;

    conn->commit_is_doubtful = false;
    /* The id must be on its way to us before the server begins to commit. */
    if (conn->pg && conn->xact_id == 0 && !PQsendFlushRequest(conn->pg)) {
        connection_close(conn);
    }
    if (!connection_queue(conn, SLOT_COMMIT, &statement_commit, NULL)) {
        return failure_add(req); /* COMMIT was never sent */
    }
    BatchOutcome outcome =
        connection_sync(conn, req->deadline_ns, req->arena, ret_results, &committed);
    if (outcome == BATCH_DONE && committed) {
        return conn->commit_is_doubtful ? add_unknown(req) : 0;
    }
    if (outcome != BATCH_LOST) {
        connection_rollback(conn, req->deadline_ns);
        return failure_add(req);
    }
    switch (resolve(conn, req, conn->xact_id, incarnation)) {
    case COMMITTED:
        return has_all(ret_results, expected) ? 0 : add_unknown(req);
    case ROLLED_BACK:
        return failure_add(req);
    case UNKNOWN:
        break;
    }
    return add_unknown(req);
}

void connection_rollback(DbConn *conn, int64_t deadline_ns)
{
    if (conn->pg && conn->slot_count > 0) {
        connection_sync(conn, deadline_ns, NULL, NULL, NULL);
    }
    if (!conn->pg || PQtransactionStatus(conn->pg) == PQTRANS_IDLE) {
        return;
    }
    if (!connection_queue(conn, SLOT_CONTROL, &statement_rollback, NULL) ||
        connection_sync(conn, deadline_ns, NULL, NULL, NULL) != BATCH_DONE) {
        connection_close(conn);
    }
}

void connection_leave_transaction(DbConn *conn, int64_t deadline_ns)
{
    bool is_clean =
        conn->pg && conn->slot_count == 0 && PQtransactionStatus(conn->pg) == PQTRANS_INTRANS;
    if (is_clean && connection_queue(conn, SLOT_CONTROL, &statement_rollback, NULL) &&
        PQflush(conn->pg) == 0) {
        return;
    }
    connection_rollback(conn, deadline_ns);
}

int db_rollback(DbConn *conn, Request *req)
{
    connection_rollback(conn, req->deadline_ns);
    return 0;
}

static bool run_simple(DbConn *conn, const char *sql)
{
    PGresult *result = PQexec(conn->pg, sql);
    ExecStatusType status = PQresultStatus(result);
    bool is_good =
        status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;

    if (!is_good) {
        failure_set_result(conn, "script", result);
    }
    PQclear(result);
    return is_good;
}

int db_run_script(DbConn *conn, Request *req, const char *sql)
{
    if (conn->slot_count > 0 && connection_statement_count(conn) == 0) { /* of who had it before */
        connection_sync(conn, req->deadline_ns, NULL, NULL, NULL);
    }
    if (!conn->pg || !PQexitPipelineMode(conn->pg)) {
        failure_set("script: the connection is closed or has statements queued");
        return failure_add(req);
    }
    bool is_inside = PQtransactionStatus(conn->pg) != PQTRANS_IDLE;
    bool is_good = (is_inside || run_simple(conn, "BEGIN")) &&
                   run_simple(conn, "SET LOCAL statement_timeout = 0") && run_simple(conn, sql) &&
                   (is_inside || run_simple(conn, "COMMIT"));
    if (!PQenterPipelineMode(conn->pg)) {
        connection_close(conn);
    } else if (!is_good) {
        connection_rollback(conn, req->deadline_ns);
    }
    return is_good ? 0 : failure_add(req);
}
