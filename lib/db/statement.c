#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/db/connection.h"

/** PostgreSQL cuts longer statement names, silently. */
#define MAX_NAME_LEN 63

static size_t name_hash(const char *name)
{
    uint64_t hash = 14695981039346656037ULL; /* FNV-1a */
    for (; *name; name++) {
        hash = (hash ^ (unsigned char)*name) * 1099511628211ULL;
    }
    return (size_t)(hash ^ (hash >> 32));
}

/** Where the name is or would go; the table is never full. */
static PreparedName *prepared_slot(PreparedName *table, size_t cap, const char *name)
{
    size_t i = name_hash(name) & (cap - 1);
    while (table[i].name && strcmp(table[i].name, name) != 0) {
        i = (i + 1) & (cap - 1);
    }
    return &table[i];
}

static void prepared_grow(DbConn *conn)
{
    size_t cap = conn->prepared_cap ? conn->prepared_cap * 2 : 64;
    PreparedName *table = HEAP_ARRAY(PreparedName, cap);
    for (size_t i = 0; i < conn->prepared_cap; i++) {
        if (conn->prepared[i].name) {
            *prepared_slot(table, cap, conn->prepared[i].name) = conn->prepared[i];
        }
    }
    free(conn->prepared);
    conn->prepared = table;
    conn->prepared_cap = cap;
}

static PreparedName *prepared_find(DbConn *conn, const char *name)
{
    if (conn->prepared_count * 2 >= conn->prepared_cap) {
        prepared_grow(conn);
    }
    PreparedName *entry = prepared_slot(conn->prepared, conn->prepared_cap, name);
    if (!entry->name) {
        assert(strlen(name) <= MAX_NAME_LEN);
        entry->name = heap_text(str_from(name));
        conn->prepared_count++;
    }
    return entry;
}

static void slot_push(DbConn *conn, SlotKind kind, const DbStatement *statement)
{
    if (conn->slot_count == conn->slot_cap) {
        conn->slots = heap_grow(conn->slots, &conn->slot_cap, 32, sizeof(*conn->slots));
    }
    conn->slots[conn->slot_count++] = (Slot){kind, statement};
}

/** Notes why the connection cannot be used any more, and closes it. */
static bool connection_lose(DbConn *conn, const char *doing)
{
    failure_set("%s: %s", doing, conn->pg ? PQerrorMessage(conn->pg) : "the connection is closed");
    strcpy(conn->sqlstate, "08006");
    connection_close(conn);
    return false;
}

bool connection_queue(DbConn *conn, SlotKind kind, const DbStatement *statement,
                      const DbParams *params)
{
    int formats[DB_MAX_PARAMS];
    int count = params ? params->count : 0;

    if (!conn->pg) {
        return connection_lose(conn, statement->name);
    }
    PreparedName *entry = prepared_find(conn, statement->name);
    if (!entry->is_prepared) {
        if (!PQsendPrepare(conn->pg, statement->name, statement->sql, 0, NULL)) {
            return connection_lose(conn, statement->name);
        }
        slot_push(conn, SLOT_PREPARE, statement);
        entry->is_prepared = true;
    }
    for (int i = 0; i < count; i++) {
        formats[i] = 1;
    }
    if (!PQsendQueryPrepared(conn->pg, statement->name, count, count ? params->values : NULL,
                             count ? params->lengths : NULL, count ? formats : NULL, 1)) {
        return connection_lose(conn, statement->name);
    }
    slot_push(conn, kind, statement);
    return true;
}

bool connection_wait(int fd, short events, int64_t deadline_ns)
{
    for (;;) {
        int64_t left_ms = (deadline_ns - clock_now_ns() + 999999) / 1000000;
        struct pollfd pfd = {.fd = fd, .events = events};

        if (left_ms <= 0) {
            return false;
        }
        int n = poll(&pfd, 1, (int)MIN(left_ms, INT_MAX));
        if (n > 0) {
            return true;
        }
        if (n < 0 && errno != EINTR) {
            return false;
        }
    }
}

bool connection_next_result(DbConn *conn, int64_t deadline_ns, PGresult **ret_result)
{
    while (PQisBusy(conn->pg)) {
        int is_unsent = PQflush(conn->pg);
        if (is_unsent < 0) {
            return connection_lose(conn, "send");
        }
        if (!connection_wait(PQsocket(conn->pg), is_unsent ? POLLIN | POLLOUT : POLLIN,
                             deadline_ns)) {
            failure_set("the database did not answer before the deadline");
            strcpy(conn->sqlstate, "08006");
            connection_close(conn);
            return false;
        }
        if (!PQconsumeInput(conn->pg)) {
            return connection_lose(conn, "receive");
        }
    }
    *ret_result = PQgetResult(conn->pg);
    return true;
}

bool connection_note_result(DbConn *conn, const Slot *slot, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        if (slot->kind == SLOT_XACT_ID) {
            const DbResult row = {.pg = result};
            conn->xact_id = db_i64(&row, 0, 0);
        }
        return true;
    }
    if (slot->kind == SLOT_PREPARE) {
        prepared_find(conn, slot->statement->name)->is_prepared = false;
    }
    if (status != PGRES_PIPELINE_ABORTED) {
        failure_set_result(conn, slot->statement->name, result);
    }
    return false;
}

static void handle_result(const Slot *slot, PGresult *result, bool is_good, Arena *arena,
                          DbResult ***next_result, bool *ret_committed)
{
    if (is_good && slot->kind == SLOT_COMMIT && ret_committed) {
        *ret_committed = strcmp(PQcmdStatus(result), "COMMIT") == 0;
    }
    if (slot->kind == SLOT_STATEMENT && *next_result) {
        if (is_good) {
            **next_result = result_new(arena, result);
            result = NULL;
        }
        (*next_result)++;
    }
    PQclear(result);
}

/** Takes the one result of a slot and the NULL behind it. */
static bool take_result(DbConn *conn, int64_t deadline_ns, PGresult **ret_result)
{
    PGresult *result = NULL;
    PGresult *end = NULL;

    if (!connection_next_result(conn, deadline_ns, &result)) {
        return false;
    }
    if (!result) {
        return connection_lose(conn, "receive");
    }
    if (PQresultStatus(result) != PGRES_PIPELINE_SYNC) {
        if (!connection_next_result(conn, deadline_ns, &end)) {
            PQclear(result);
            return false;
        }
        PQclear(end);
    }
    *ret_result = result;
    return true;
}

size_t connection_statement_count(const DbConn *conn)
{
    size_t count = 0;
    for (size_t i = 0; i < conn->slot_count; i++) {
        count += conn->slots[i].kind == SLOT_STATEMENT;
    }
    return count;
}

BatchOutcome connection_sync(DbConn *conn, int64_t deadline_ns, Arena *arena,
                             DbResult **ret_results, bool *ret_committed)
{
    BatchOutcome outcome = BATCH_DONE;
    PGresult *result = NULL;

    if (ret_results) {
        memset(ret_results, 0, connection_statement_count(conn) * sizeof(DbResult *));
    }
    if (!conn->pg || !PQpipelineSync(conn->pg)) {
        connection_lose(conn, "send");
        return BATCH_LOST;
    }
    for (size_t i = 0; i < conn->slot_count; i++) {
        if (!take_result(conn, deadline_ns, &result)) {
            return outcome == BATCH_REFUSED ? BATCH_REFUSED : BATCH_LOST;
        }
        bool is_good = connection_note_result(conn, &conn->slots[i], result);
        if (!is_good && PQstatus(conn->pg) == CONNECTION_BAD) {
            PQclear(result);
            connection_close(conn);
            return outcome == BATCH_REFUSED ? BATCH_REFUSED : BATCH_LOST;
        }
        if (!is_good) {
            outcome = BATCH_REFUSED;
        }
        handle_result(&conn->slots[i], result, is_good, arena, &ret_results, ret_committed);
    }
    conn->slot_count = 0;
    if (!take_result(conn, deadline_ns, &result)) {
        return outcome == BATCH_REFUSED ? BATCH_REFUSED : BATCH_LOST;
    }
    PQclear(result);
    return outcome;
}

int db_queue(DbConn *conn, Request *req, const DbStatement *statement, const DbParams *params)
{
    return connection_queue(conn, SLOT_STATEMENT, statement, params) ? 0 : failure_add(req);
}

int db_sync(DbConn *conn, Request *req, DbResult **ret_results)
{
    BatchOutcome outcome = connection_sync(conn, req->deadline_ns, req->arena, ret_results, NULL);
    return outcome == BATCH_DONE ? 0 : failure_add(req);
}

int db_exec(DbConn *conn, Request *req, const DbStatement *statement, const DbParams *params,
            DbResult **ret_result)
{
    DbResult *result = NULL;

    assert(connection_statement_count(conn) == 0);
    int rc = db_queue(conn, req, statement, params);
    if (rc < 0) {
        return rc;
    }
    rc = db_sync(conn, req, ret_result ? &result : NULL);
    if (rc == 0 && ret_result) {
        *ret_result = result;
    }
    return rc;
}

int db_exec_id(DbConn *conn, Request *req, const DbStatement *statement, int64_t id,
               DbResult **ret_result)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    return db_exec(conn, req, statement, &params, ret_result);
}
