#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/request.h"
#include "lib/base/str.h"
#include "lib/base/uuid.h"

/**
 * PostgreSQL: a bounded pool of connections, statements prepared once per connection, values always
 * bound, results in binary. Every function that fails adds to the ErrorList: DATABASE_BUSY when no
 * connection is free in time, else DATABASE with no detail for strangers; db_last_failure() has the
 * detail for the log.
 */

typedef struct DbPool DbPool;
typedef struct DbConn DbConn;

/** Opened lazily; conninfo is a libpq string. */
DbPool *db_pool_new(const char *conninfo, unsigned size);
void db_pool_free(DbPool *pool);

/** Another pool for the same database: for threads that hold locks of a session, or that must not
 * keep connections from requests. */
DbPool *db_pool_beside(const DbPool *pool, unsigned size);

/**
 * Another pool for the same database, as it was at an instant: tables of objects, patients and
 * rules have the rows of then, and now() is that instant; every other table is that of today. What
 * answers a query answers what it would have answered then. Nothing can be written.
 */
DbPool *db_pool_as_of(const DbPool *pool, unsigned size, int64_t utc_us);

/** Waits until a connection is free, at most until req->deadline_ns. */
int db_acquire(DbPool *pool, Request *req, DbConn **ret_conn) MUST_CHECK;

/** Gives the connection back; an open transaction is rolled back. db_release(NULL) is fine. */
void db_release(DbConn *conn);
void db_releasep(DbConn **conn);

/** One statement of the program: constant SQL with $1..$n, each parameter cast in the SQL to its
 * type. */
typedef struct DbStatement {
    const char *name; /* unique in the program, [a-z0-9_]+ */
    const char *sql;
} DbStatement;

#define DB_MAX_PARAMS 48

/** Values of $1..$n in order, in PostgreSQL's binary form; bytes in the arena, or borrowed until
 * sent. */
typedef struct DbParams {
    Arena *arena;
    int count;
    const char *values[DB_MAX_PARAMS];
    int lengths[DB_MAX_PARAMS];
} DbParams;

void db_params_init(DbParams *params, Arena *arena);
void db_param_null(DbParams *params);
void db_param_bool(DbParams *params, bool value);
void db_param_i16(DbParams *params, int16_t value);
void db_param_i32(DbParams *params, int32_t value);
void db_param_i64(DbParams *params, int64_t value);
void db_param_text(DbParams *params, Str value);         /* borrowed */
void db_param_text_or_null(DbParams *params, Str value); /* empty becomes NULL */
void db_param_bytes(DbParams *params, Str value);        /* bytea, borrowed */
void db_param_uuid(DbParams *params, Uuid value);
void db_param_timestamp(DbParams *params, int64_t utc_us); /* timestamptz */
void db_param_i32_array(DbParams *params, const int32_t *values, size_t count);
void db_param_i64_array(DbParams *params, const int64_t *values, size_t count);
/** A value whose data is NULL is the SQL NULL. */
void db_param_text_array(DbParams *params, const Str *values, size_t count);
void db_param_bytes_array(DbParams *params, const Str *values, size_t count);
void db_param_uuid_array(DbParams *params, const Uuid *values, size_t count);
void db_param_timestamp_array(DbParams *params, const int64_t *values, size_t count);

/** Rows in memory; freed with the arena that it was read into. */
typedef struct DbResult DbResult;

int db_rows(const DbResult *result);
/** The SQL NULL reads as 0, false or a text of no bytes where a reader does not ask first. */
bool db_is_null(const DbResult *result, int row, int column);
bool db_bool(const DbResult *result, int row, int column);
int16_t db_i16(const DbResult *result, int row, int column);
int32_t db_i32(const DbResult *result, int row, int column);
int64_t db_i64(const DbResult *result, int row, int column);
int64_t db_timestamp(const DbResult *result, int row, int column);
/** As db_timestamp(), with a value for the SQL NULL. */
int64_t db_timestamp_or(const DbResult *result, int row, int column, int64_t if_null);
/** text, bytea; borrowed from the result. */
Str db_text(const DbResult *result, int row, int column);
/** bytea of exactly len bytes, copied. @return false, with nothing copied: it has another length */
bool db_bytes(const DbResult *result, int row, int column, void *ret_bytes, size_t len) MUST_CHECK;
Uuid db_uuid(const DbResult *result, int row, int column);
/** Arrays, copied to the arena; NULL column gives count 0. */
size_t db_i32_array(const DbResult *result, int row, int column, Arena *arena,
                    int32_t **ret_values);
size_t db_i64_array(const DbResult *result, int row, int column, Arena *arena,
                    int64_t **ret_values);
size_t db_text_array(const DbResult *result, int row, int column, Arena *arena, Str **ret_values);
/** Rows that an INSERT, UPDATE or DELETE touched. */
int64_t db_affected(const DbResult *result);

/** Runs one statement and waits. ret_result may be NULL. */
int db_exec(DbConn *conn, Request *req, const DbStatement *statement, const DbParams *params,
            DbResult **ret_result) MUST_CHECK;
/** As db_exec(), of a statement whose one parameter is a row's id. */
int db_exec_id(DbConn *conn, Request *req, const DbStatement *statement, int64_t id,
               DbResult **ret_result) MUST_CHECK;

/**
 * Pipeline: db_queue() sends without waiting, db_sync() waits for all queued and gives their
 * results in order. After a failed statement the rest of the batch is skipped by PostgreSQL and
 * db_sync() fails.
 * @param ret_results  room for as many as were queued; NULL if not wanted
 */
int db_queue(DbConn *conn, Request *req, const DbStatement *statement,
             const DbParams *params) MUST_CHECK;
int db_sync(DbConn *conn, Request *req, DbResult **ret_results) MUST_CHECK;

/** Queues BEGIN (READ COMMITTED) as part of the next batch. */
int db_queue_begin(DbConn *conn, Request *req) MUST_CHECK;

/** Queues a BEGIN as part of the next batch after which all statements, until the connection is
 * given back, read one state of the database and may not write. */
int db_queue_snapshot(DbConn *conn, Request *req) MUST_CHECK;

/**
 * Queues COMMIT behind what is queued and waits. A connection lost meanwhile is resolved with
 * pg_xact_status() on a new one, until req->deadline_ns.
 * @return 0 committed; -ERR_DATABASE rolled back, or still unknown (the error text then says
 * "unknown")
 */
int db_commit(DbConn *conn, Request *req, DbResult **ret_results) MUST_CHECK;
int db_rollback(DbConn *conn, Request *req);

/**
 * Rows of one table in bulk: COPY ... FROM STDIN (FORMAT binary), collected in memory first. A
 * field is of the column's own type: nothing is cast, smallint takes db_param_i16(). Columns left
 * out of the list get their defaults.
 */
typedef struct DbCopy {
    const DbStatement *statement; /* COPY table (columns) FROM STDIN (FORMAT binary) */
    StrBuf bytes;
    size_t row_count;
} DbCopy;

void db_copy_init(DbCopy *copy, const DbStatement *statement);
void db_copy_done(DbCopy *copy);
/** Forgets the rows, for the next use. */
void db_copy_clear(DbCopy *copy);
/** Adds one row, its fields in the order of the columns; copied. */
void db_copy_add(DbCopy *copy, const DbParams *row);
/**
 * Sends all rows and waits; part of the open transaction, of which nothing may be queued at that
 * moment. No rows: no round trip.
 */
int db_copy_run(DbConn *conn, Request *req, DbCopy *copy) MUST_CHECK;

/**
 * Rows in the form of COPY (SELECT ...) TO STDOUT (FORMAT binary), one by one without holding them
 * in memory; a transaction may be open, of which nothing may be queued. COPY takes no values: the
 * SQL asks current_setting() for what set_config() was given before.
 *
 * @param row  gets the field count and the fields, each with its length; returns 0 to go on, or a
 * negative ErrorCode to stop, which ends the connection
 */
typedef int (*DbCopyRowFn)(void *ctx, Str row);
int db_copy_read(DbConn *conn, Request *req, const DbStatement *statement, DbCopyRowFn row,
                 void *ctx) MUST_CHECK;

/**
 * Whether the transaction that failed with rc lost a race, so that a new one may end otherwise:
 * serialization failure, deadlock, and a key that another one inserted since it was looked up (the
 * next attempt finds it).
 */
bool db_is_raced(const DbConn *conn, int rc);

/**
 * Rows one by one without holding them in memory; a DbResult with row 0 is valid during each call.
 * @param row  returns 0 to go on, or a negative ErrorCode to stop
 */
typedef int (*DbRowFn)(void *ctx, Request *req, const DbResult *row);
int db_stream(DbConn *conn, Request *req, const DbStatement *statement, const DbParams *params,
              DbRowFn row, void *ctx) MUST_CHECK;

/** Detail of the last failure on this thread, for the log line; holds no bound values. */
const char *db_last_failure(void);

/** Runs SQL text of several statements (a migration) in one transaction. */
int db_run_script(DbConn *conn, Request *req, const char *sql) MUST_CHECK;
