#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/thread.h"
#include "lib/db/connection.h"

/** How long a release may take to roll back before the connection is dropped instead. */
#define ROLLBACK_TIMEOUT_NS 2000000000LL

/**
 * A commit is durable before it is answered (contract C1), whatever the cluster's default.
 * Every statement is one that an index serves with any values, so it is planned once, as that; a
 * plan made while a table was still empty would else read the whole table until the next ANALYZE.
 * Rows that an index names are scattered over the table: many of them are asked of the disk at a
 * time.
 */
static const char session_options[] =
    "-c statement_timeout=60s -c lock_timeout=10s "
    "-c idle_in_transaction_session_timeout=60s "
    "-c synchronous_commit=on "
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off "
    "-c effective_io_concurrency=200";

/** The views of this schema hide the tables of their names (migrations/0022_history.sql). */
#define PAST_SCHEMA "public_past"

struct DbPool {
    char *conninfo;
    char *options; /* of each session */
    pthread_mutex_t lock;
    pthread_cond_t released;
    DbConn *free_list; /* last used first, so that few stay warm */
    unsigned size;
    unsigned in_use;
};

static DbPool *pool_new(const char *conninfo, const char *options, unsigned size)
{
    DbPool *pool = HEAP_NEW(DbPool);

    pool->conninfo = heap_text(str_from(conninfo));
    pool->options = heap_text(str_from(options));
    pool->size = size > 0 ? size : 1;
    pthread_mutex_init(&pool->lock, NULL);
    thread_condition_init(&pool->released);
    return pool;
}

DbPool *db_pool_new(const char *conninfo, unsigned size)
{
    return pool_new(conninfo, session_options, size);
}

DbPool *db_pool_beside(const DbPool *pool, unsigned size)
{
    return pool_new(pool->conninfo, pool->options, size);
}

DbPool *db_pool_as_of(const DbPool *pool, unsigned size, int64_t utc_us)
{
    char options[sizeof(session_options) + 256];

    (void)snprintf(options, sizeof(options),
                   "%s -c default_transaction_read_only=on"
                   " -c search_path=" PAST_SCHEMA ",pg_catalog,public -c musubi.as_of=%lld",
                   session_options, (long long)utc_us);
    return pool_new(pool->conninfo, options, size);
}

static void connection_free(DbConn *conn)
{
    connection_close(conn);
    free(conn->prepared);
    free(conn->slots);
    free(conn);
}

void db_pool_free(DbPool *pool)
{
    if (!pool) {
        return;
    }
    while (pool->free_list) {
        DbConn *conn = pool->free_list;
        pool->free_list = conn->next_free;
        connection_free(conn);
    }
    pthread_cond_destroy(&pool->released);
    pthread_mutex_destroy(&pool->lock);
    free(pool->conninfo);
    free(pool->options);
    free(pool);
}

/** The server says that a commit is durable here but not on the standby that it was to wait for. */
static void notice_received(void *arg, const PGresult *notice)
{
    DbConn *conn = arg;
    const char *sqlstate = PQresultErrorField(notice, PG_DIAG_SQLSTATE);

    if (sqlstate && (strcmp(sqlstate, "01000") == 0 || strcmp(sqlstate, "57P01") == 0)) {
        conn->commit_is_doubtful = true;
    }
}

/**
 * The statistics are reset by crash recovery and by nothing else that this program does, so their
 * age tells whether a transaction id may have been given out twice.
 * @return false: the connection is lost, closed
 */
static bool read_incarnation(DbConn *conn, int64_t deadline_ns)
{
    static const DbStatement statement = {
        "db_incarnation",
        "SELECT coalesce((extract(epoch FROM stats_reset) * 1000000)::bigint, 0) FROM pg_stat_wal"};
    _cleanup_(arena_freep) Arena *arena = arena_new();
    DbResult *result = NULL;

    if (!connection_queue(conn, SLOT_STATEMENT, &statement, NULL)) {
        return false;
    }
    BatchOutcome outcome = connection_sync(conn, deadline_ns, arena, &result, NULL);
    conn->incarnation = outcome == BATCH_DONE && db_rows(result) == 1 ? db_i64(result, 0, 0) : 0;
    return outcome != BATCH_LOST;
}

/** Drives libpq through its handshake. Names are looked up before, within the resolver's limits. */
static bool finish_connecting(PGconn *pg, int64_t deadline_ns)
{
    PostgresPollingStatusType next =
        PQstatus(pg) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;

    while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
        short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (!connection_wait(PQsocket(pg), events, deadline_ns)) {
            failure_set("connect: the database did not answer before the deadline");
            return false;
        }
        next = PQconnectPoll(pg);
    }
    if (next != PGRES_POLLING_OK) {
        failure_set("connect: %s", PQerrorMessage(pg));
        return false;
    }
    return true;
}

bool connection_open(DbConn *conn, int64_t deadline_ns)
{
    /* What stands before dbname is a default that the conninfo text may override. A host of several
     * that does not answer is given up after tcp_user_timeout: libpq's connect_timeout works in its
     * blocking calls only. */
    static const char *const keywords[] = {"application_name", "tcp_user_timeout", "options",
                                           "client_encoding",  "dbname",           NULL};
    const char *values[] = {"musubi", "10000", conn->pool->options, "UTF8", conn->pool->conninfo,
                            NULL};

    connection_close(conn);
    conn->pg = PQconnectStartParams(keywords, values, 1);
    if (!finish_connecting(conn->pg, deadline_ns)) {
        strcpy(conn->sqlstate, "08001");
        connection_close(conn);
        return false;
    }
    PQsetNoticeReceiver(conn->pg, notice_received, conn);
    /* nothing waits for a server that does not take what is sent: connection_next_result() sends it
     */
    if (!PQenterPipelineMode(conn->pg) || PQsetnonblocking(conn->pg, 1) != 0) {
        failure_set("connect: %s", PQerrorMessage(conn->pg));
        connection_close(conn);
        return false;
    }
    return read_incarnation(conn, deadline_ns);
}

void connection_close(DbConn *conn)
{
    PQfinish(conn->pg);
    conn->pg = NULL;
    conn->slot_count = 0;
    for (size_t i = 0; i < conn->prepared_cap; i++) {
        free(conn->prepared[i].name);
        conn->prepared[i] = (PreparedName){0};
    }
    conn->prepared_count = 0;
}

/**
 * Whether an idle connection has anything to read: the server closed it (restart, crash of another
 * backend) or says good-bye. One system call.
 */
static bool is_stale(const DbConn *conn)
{
    char byte;
    ssize_t n = recv(PQsocket(conn->pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return n >= 0 || (errno != EAGAIN && errno != EINTR);
}

/** Takes a free connection, or a new one while fewer than size exist. @return NULL: the deadline
 * passed */
static DbConn *pool_take(DbPool *pool, int64_t deadline_ns)
{
    DbConn *conn = NULL;
    bool has_time = true;

    pthread_mutex_lock(&pool->lock);
    while (!pool->free_list && pool->in_use >= pool->size && has_time) {
        has_time = thread_wait_until(&pool->released, &pool->lock, deadline_ns);
    }
    if (pool->free_list) {
        conn = pool->free_list;
        pool->free_list = conn->next_free;
        pool->in_use++;
    } else if (pool->in_use < pool->size) {
        conn = HEAP_NEW(DbConn);
        conn->pool = pool;
        pool->in_use++;
    }
    pthread_mutex_unlock(&pool->lock);
    return conn;
}

static void pool_give(DbPool *pool, DbConn *conn)
{
    pthread_mutex_lock(&pool->lock);
    conn->next_free = pool->free_list;
    pool->free_list = conn;
    pool->in_use--;
    pthread_cond_signal(&pool->released);
    pthread_mutex_unlock(&pool->lock);
}

int db_acquire(DbPool *pool, Request *req, DbConn **ret_conn)
{
    DbConn *conn = pool_take(pool, req->deadline_ns);

    if (!conn) {
        failure_set("no database connection was free before the deadline");
        return error_add(
            &req->errors, ERR_DATABASE_BUSY, NULL,
            "the server is busy: no database connection became free in time; send the same "
            "message again later");
    }
    conn->sqlstate[0] = '\0';
    if ((!conn->pg || is_stale(conn)) && !connection_open(conn, req->deadline_ns)) {
        pool_give(pool, conn);
        return failure_add(req);
    }
    *ret_conn = conn;
    return 0;
}

void db_release(DbConn *conn)
{
    if (!conn) {
        return;
    }
    connection_leave_transaction(conn, clock_now_ns() + ROLLBACK_TIMEOUT_NS);
    pool_give(conn->pool, conn);
}

void db_releasep(DbConn **conn)
{
    db_release(*conn);
    *conn = NULL;
}

bool db_is_raced(const DbConn *conn, int rc)
{
    static const char *const races[] = {"40001", "40P01", "23505"};
    for (size_t i = 0; rc == -(int)ERR_DATABASE && i < ARRAY_LEN(races); i++) {
        if (strcmp(conn->sqlstate, races[i]) == 0) {
            return true;
        }
    }
    return false;
}
