#include <assert.h>
#include <endian.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

#include "lib/db/connection.h"

/* COPY's binary form: signature, flags, header extension; then per row the number of fields and
 * each with its length (-1 NULL); then -1 (PostgreSQL: COPY, Binary Format). */
static const char copy_header[] =
    "PGCOPY\n\377\r\n\0" /* flags */ "\0\0\0\0" /* extension */ "\0\0\0\0";
#define COPY_HEADER_LEN (sizeof(copy_header) - 1)
#define COPY_END "\377\377"

/** What libpq gets at once; it copies. */
#define COPY_PIECE_BYTES ((size_t)1 << 20)

void db_copy_init(DbCopy *copy, const DbStatement *statement)
{
    *copy = (DbCopy){.statement = statement};
    strbuf_append_bytes(&copy->bytes, copy_header, COPY_HEADER_LEN);
}

void db_copy_done(DbCopy *copy)
{
    strbuf_done(&copy->bytes);
}

void db_copy_clear(DbCopy *copy)
{
    strbuf_truncate(&copy->bytes, COPY_HEADER_LEN);
    copy->row_count = 0;
}

void db_copy_add(DbCopy *copy, const DbParams *row)
{
    size_t len = sizeof(uint16_t);
    for (int i = 0; i < row->count; i++) {
        len += sizeof(uint32_t) + (row->values[i] != NULL ? (size_t)row->lengths[i] : 0);
    }
    char *at = strbuf_reserve(&copy->bytes, len);
    uint16_t field_count = htobe16((uint16_t)row->count);
    memcpy(at, &field_count, sizeof(field_count));
    at += sizeof(field_count);
    for (int i = 0; i < row->count; i++) {
        size_t field_len = row->values[i] != NULL ? (size_t)row->lengths[i] : 0;
        uint32_t wire = htobe32(row->values[i] != NULL ? (uint32_t)field_len : UINT32_MAX);
        memcpy(at, &wire, sizeof(wire));
        at += sizeof(wire);
        if (field_len > 0) {
            memcpy(at, row->values[i], field_len);
            at += field_len;
        }
    }
    copy->bytes.len += len;
    copy->row_count++;
}

/** The next result, which must have this status. */
static bool expect(DbConn *conn, const DbStatement *statement, int64_t deadline_ns,
                   ExecStatusType status)
{
    PGresult *result = NULL;
    if (!connection_next_result(conn, deadline_ns, &result)) {
        return false;
    }
    bool is_expected = PQresultStatus(result) == status;
    if (!is_expected && result != NULL) {
        failure_set_result(conn, statement->name, result);
    }
    PQclear(result);
    return is_expected;
}

/** libpq keeps what the server does not take yet. @return false: the connection is lost, closed */
static bool send_rows(DbConn *conn, const DbStatement *statement, Str rows)
{
    bool is_sent = true;
    for (size_t at = 0; is_sent && at < rows.len; at += COPY_PIECE_BYTES) {
        Str piece = str_slice(rows, at, COPY_PIECE_BYTES);
        is_sent = PQputCopyData(conn->pg, piece.data, (int)piece.len) == 1;
    }
    if (!is_sent || PQputCopyEnd(conn->pg, NULL) != 1) {
        failure_set("%s: %s", statement->name, PQerrorMessage(conn->pg));
        connection_close(conn);
        return false;
    }
    return true;
}

/** Takes what is left of a command, so that the connection is free for the next one. */
static void drain(DbConn *conn, int64_t deadline_ns)
{
    PGresult *result = NULL;
    while (conn->pg != NULL && connection_next_result(conn, deadline_ns, &result) &&
           result != NULL) {
        PQclear(result);
    }
}

/** COPY is no statement of the extended protocol, which pipelines need. */
static bool begin(DbConn *conn, const DbStatement *statement)
{
    if (conn->pg == NULL || !PQexitPipelineMode(conn->pg) ||
        !PQsendQuery(conn->pg, statement->sql)) {
        failure_set("%s: the connection is closed or has statements queued", statement->name);
        connection_close(conn);
        return false;
    }
    return true;
}

static void end(DbConn *conn, int64_t deadline_ns)
{
    drain(conn, deadline_ns);
    if (conn->pg != NULL && !PQenterPipelineMode(conn->pg)) {
        connection_close(conn);
    }
}

int db_copy_run(DbConn *conn, Request *req, DbCopy *copy)
{
    const DbStatement *statement = copy->statement;
    assert(conn->slot_count == 0);
    if (copy->row_count == 0) {
        return 0;
    }
    strbuf_literal(&copy->bytes, COPY_END);
    if (!begin(conn, statement)) {
        return failure_add(req);
    }
    bool is_good = expect(conn, statement, req->deadline_ns, PGRES_COPY_IN) &&
                   send_rows(conn, statement, strbuf_str(&copy->bytes)) &&
                   expect(conn, statement, req->deadline_ns, PGRES_COMMAND_OK);
    end(conn, req->deadline_ns);
    return is_good ? 0 : failure_add(req);
}

/** Whether a message of the server is a row, and not the header or the end; both are cut off. A
 * message has one row, and the first one may have the header before it. */
static bool is_row(Str *message)
{
    if (str_starts_with(*message, (Str){copy_header, COPY_HEADER_LEN})) {
        *message = str_from_offset(*message, COPY_HEADER_LEN);
    }
    return message->len > sizeof(COPY_END) - 1;
}

/** @return 0 at the end, what the callback returned, or -ERR_DATABASE: the connection is lost */
static int read_rows(DbConn *conn, Request *req, const DbStatement *statement, DbCopyRowFn row,
                     void *ctx)
{
    for (;;) {
        char *bytes = NULL;
        int len = PQgetCopyData(conn->pg, &bytes, 1);
        if (len == 0) {
            if (connection_wait(PQsocket(conn->pg), POLLIN, req->deadline_ns) &&
                PQconsumeInput(conn->pg)) {
                continue;
            }
            failure_set("%s: time is over, or the connection was lost", statement->name);
            return failure_add(req);
        }
        if (len < 0) {
            return 0; /* the end, or an error, which the result tells */
        }
        Str message = {bytes, (size_t)len};
        int rc = is_row(&message) ? row(ctx, message) : 0;
        PQfreemem(bytes);
        if (rc < 0) {
            return rc;
        }
    }
}

int db_copy_read(DbConn *conn, Request *req, const DbStatement *statement, DbCopyRowFn row,
                 void *ctx)
{
    assert(conn->slot_count == 0);
    if (!begin(conn, statement)) {
        return failure_add(req);
    }
    if (!expect(conn, statement, req->deadline_ns, PGRES_COPY_OUT)) {
        end(conn, req->deadline_ns);
        return failure_add(req);
    }
    int rc = read_rows(conn, req, statement, row, ctx);
    if (rc < 0) {
        connection_close(conn);
        return rc;
    }
    bool is_good = expect(conn, statement, req->deadline_ns, PGRES_COMMAND_OK);
    end(conn, req->deadline_ns);
    return is_good ? 0 : failure_add(req);
}
