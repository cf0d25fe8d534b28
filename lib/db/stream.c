#include "lib/db/connection.h"

/** Takes the results of what was queued before the streamed statement (its Parse, a BEGIN). */
static int skip_to_last_slot(DbConn *conn, Request *req)
{
    for (size_t i = 0; i + 1 < conn->slot_count; i++) {
        PGresult *result = NULL;
        PGresult *end = NULL;

        if (!connection_next_result(conn, req->deadline_ns, &result)) {
            return failure_add(req);
        }
        bool is_good = connection_note_result(conn, &conn->slots[i], result);
        PQclear(result);
        if (!is_good) {
            connection_close(conn);
            return failure_add(req);
        }
        if (!connection_next_result(conn, req->deadline_ns, &end)) {
            return failure_add(req);
        }
        PQclear(end);
    }
    return 0;
}

/** Hands over the rows; a callback that stops ends the connection, which is the only race-free
 * cancel. */
static int stream_rows(DbConn *conn, Request *req, const Slot *slot, DbRowFn row, void *ctx)
{
    for (;;) {
        DbResult result = {NULL};

        if (!connection_next_result(conn, req->deadline_ns, &result.pg)) {
            return failure_add(req);
        }
        if (!result.pg) {
            return 0;
        }
        if (PQresultStatus(result.pg) == PGRES_SINGLE_TUPLE) {
            int rc = row(ctx, req, &result);
            PQclear(result.pg);
            if (rc < 0) {
                connection_close(conn);
                return rc;
            }
            continue;
        }
        bool is_good = connection_note_result(conn, slot, result.pg);
        PQclear(result.pg);
        if (!is_good) {
            connection_close(conn);
            return failure_add(req);
        }
    }
}

int db_stream(DbConn *conn, Request *req, const DbStatement *statement, const DbParams *params,
              DbRowFn row, void *ctx)
{
    PGresult *sync = NULL;

    if (!connection_queue(conn, SLOT_STATEMENT, statement, params)) {
        return failure_add(req);
    }
    if (!PQpipelineSync(conn->pg)) {
        failure_set("%s: %s", statement->name, PQerrorMessage(conn->pg));
        connection_close(conn);
        return failure_add(req);
    }
    int rc = skip_to_last_slot(conn, req);
    if (rc < 0) {
        return rc;
    }
    PQsetSingleRowMode(conn->pg);
    const Slot slot = conn->slots[conn->slot_count - 1];
    rc = stream_rows(conn, req, &slot, row, ctx);
    if (rc < 0) {
        return rc;
    }
    if (!connection_next_result(conn, req->deadline_ns, &sync)) {
        return failure_add(req);
    }
    PQclear(sync);
    conn->slot_count = 0;
    return 0;
}
