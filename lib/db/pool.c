#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/db/connection.h"

/** How long a release may take to roll back before the connection is dropped instead. */
#define ROLLBACK_TIMEOUT_NS 2000000000LL

/**
 * A commit is durable before it is answered (contract C1), whatever the cluster's default.
 * Every statement is one that an index serves with any values, so it is planned once, as that; a
 * plan made while a table was still empty would else read the whole table until the next ANALYZE.
 */
static const char session_options[] =
    "-c statement_timeout=60s -c lock_timeout=10s "
    "-c idle_in_transaction_session_timeout=60s "
    "-c synchronous_commit=on "
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off";

struct DbPool {
    char *conninfo;
    pthread_mutex_t lock;
    pthread_cond_t released;
    DbConn *free_list; /* last used first, so that few stay warm */
    unsigned size;
    unsigned in_use;
};

static void *allocate(size_t count, size_t size_bytes)
{
    void *memory = calloc(count, size_bytes);
    if (!memory) {
        abort();
    }
    return memory;
}

DbPool *db_pool_new(const char *conninfo, unsigned size)
{
    DbPool *pool = allocate(1, sizeof(*pool));
    pthread_condattr_t attributes;

    pool->conninfo = strdup(conninfo);
    if (!pool->conninfo) {
        abort();
    }
    pool->size = size > 0 ? size : 1;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->released, &attributes);
    pthread_condattr_destroy(&attributes);
    return pool;
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
 */
static int64_t read_incarnation(PGconn *pg)
{
    int64_t incarnation = 0;
    PGresult *result =
        PQexec(pg, "SELECT (extract(epoch FROM stats_reset) * 1000000)::bigint FROM pg_stat_wal");

    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        Str text = str_from(PQgetvalue(result, 0, 0));
        if (!str_to_i64(text, &incarnation)) {
            incarnation = 0;
        }
    }
    PQclear(result);
    return incarnation;
}

bool connection_open(DbConn *conn)
{
    /* What stands before dbname is a default that the conninfo text may override. */
    static const char *const keywords[] = {"application_name",
                                           "connect_timeout",
                                           "tcp_user_timeout",
                                           "options",
                                           "client_encoding",
                                           "dbname",
                                           NULL};
    const char *values[] = {"musubi", "5", "30000", session_options, "UTF8", conn->pool->conninfo,
                            NULL};

    connection_close(conn);
    conn->pg = PQconnectdbParams(keywords, values, 1);
    if (PQstatus(conn->pg) != CONNECTION_OK) {
        failure_set("connect: %s", PQerrorMessage(conn->pg));
        strcpy(conn->sqlstate, "08001");
        connection_close(conn);
        return false;
    }
    PQsetNoticeReceiver(conn->pg, notice_received, conn);
    conn->incarnation = read_incarnation(conn->pg);
    /* nothing waits for a server that does not take what is sent: connection_next_result() sends it
     */
    if (!PQenterPipelineMode(conn->pg) || PQsetnonblocking(conn->pg, 1) != 0) {
        failure_set("connect: %s", PQerrorMessage(conn->pg));
        connection_close(conn);
        return false;
    }
    return true;
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
    struct timespec until = {.tv_sec = deadline_ns / 1000000000,
                             .tv_nsec = deadline_ns % 1000000000};
    DbConn *conn = NULL;
    int rc = 0;

    pthread_mutex_lock(&pool->lock);
    while (!pool->free_list && pool->in_use >= pool->size && rc == 0) {
        rc = pthread_cond_timedwait(&pool->released, &pool->lock, &until);
    }
    if (pool->free_list) {
        conn = pool->free_list;
        pool->free_list = conn->next_free;
        pool->in_use++;
    } else if (pool->in_use < pool->size) {
        conn = allocate(1, sizeof(*conn));
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
    if ((!conn->pg || is_stale(conn)) && !connection_open(conn)) {
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
    connection_rollback(conn, clock_now_ns() + ROLLBACK_TIMEOUT_NS);
    pool_give(conn->pool, conn);
}

void db_releasep(DbConn **conn)
{
    db_release(*conn);
    *conn = NULL;
}

const char *db_sqlstate(const DbConn *conn)
{
    return conn->sqlstate;
}
