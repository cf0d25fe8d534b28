#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/db/db.h"

/* Needs a PostgreSQL whose conninfo is in MUSUBI_TEST_CONNINFO; host must be a directory with its
 * UNIX socket. */

/** Far more than anything takes that is not held up. */
#define PATIENCE_NS INT64_C(120000000000)
/** How late an end may be on a machine that is busy with other things; without a deadline there is
 * none. */
#define LATE_NS INT64_C(30000000000)

static const char *conninfo;

typedef struct Fixture {
    DbPool *pool;
    Request *req;
    DbConn *conn;
    DbParams params;
} Fixture;

static int setup(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->pool = db_pool_new(conninfo, 2);
    fixture->req = request_new(600000);
    db_params_init(&fixture->params, fixture->req->arena);
    *state = fixture;
    return db_acquire(fixture->pool, fixture->req, &fixture->conn);
}

static int teardown(void **state)
{
    Fixture *fixture = *state;
    db_release(fixture->conn);
    request_free(fixture->req);
    db_pool_free(fixture->pool);
    free(fixture);
    return 0;
}

static DbResult *exec(Fixture *fixture, DbConn *conn, const char *name, const char *sql)
{
    const DbStatement statement = {name, sql};
    DbResult *result = NULL;
    int rc = db_exec(conn, fixture->req, &statement, &fixture->params, &result);
    if (rc < 0) {
        fail_msg("%s: %s", name, db_last_failure());
    }
    return result;
}

static void test_every_type_returns_as_it_was_bound(void **state)
{
    Fixture *fixture = *state;
    DbParams *params = &fixture->params;
    const Uuid uuid = uuid_new();
    const int64_t instant_us = 1775003400120000; /* 2026-04-01T00:30:00.120Z */

    db_param_bool(params, true);
    db_param_i16(params, -7);
    db_param_i32(params, INT32_MIN);
    db_param_i64(params, INT64_MAX);
    db_param_text(params, STR("\xe7\xb5\x90\xe3\x81\xb3"));
    db_param_text_or_null(params, STR_EMPTY);
    db_param_bytes(params, STR("\0\1\2"));
    db_param_uuid(params, uuid);
    db_param_timestamp(params, instant_us);
    db_param_null(params);
    DbResult *row =
        exec(fixture, fixture->conn, "types",
             "SELECT $1::bool, $2::smallint, $3::integer, $4::bigint, $5::text, $6::text, "
             "$7::bytea, $8::uuid, "
             "$9::timestamptz, $10::integer, extract(epoch FROM $9::timestamptz)::bigint");

    assert_int_equal(db_rows(row), 1);
    assert_true(db_bool(row, 0, 0));
    assert_int_equal(db_i16(row, 0, 1), -7);
    assert_int_equal(db_i32(row, 0, 2), INT32_MIN);
    assert_true(db_i64(row, 0, 3) == INT64_MAX);
    assert_true(str_equal(db_text(row, 0, 4), STR("\xe7\xb5\x90\xe3\x81\xb3")));
    assert_true(db_is_null(row, 0, 5));
    assert_true(str_equal(db_text(row, 0, 6), STR("\0\1\2")));
    assert_true(uuid_equal(db_uuid(row, 0, 7), uuid));
    assert_true(db_timestamp(row, 0, 8) == instant_us);
    assert_true(db_is_null(row, 0, 9));
    assert_int_equal(db_i64(row, 0, 10), instant_us / 1000000);
}

static void test_arrays_return_as_they_were_bound(void **state)
{
    Fixture *fixture = *state;
    DbParams *params = &fixture->params;
    Arena *arena = fixture->req->arena;
    const int32_t i32[] = {1, -2, 3};
    const int64_t i64[] = {INT64_MIN, 0};
    const Str text[] = {STR_INIT("a,\"b"), {NULL, 0}, STR_INIT("")};
    int32_t *ret_i32 = NULL;
    int64_t *ret_i64 = NULL;
    Str *ret_text = NULL;

    db_param_i32_array(params, i32, ARRAY_LEN(i32));
    db_param_i64_array(params, i64, ARRAY_LEN(i64));
    db_param_text_array(params, text, ARRAY_LEN(text));
    db_param_i32_array(params, NULL, 0);
    DbResult *row =
        exec(fixture, fixture->conn, "arrays",
             "SELECT $1::integer[], $2::bigint[], $3::text[], $4::integer[], NULL::text[]");

    assert_int_equal(db_i32_array(row, 0, 0, arena, &ret_i32), 3);
    assert_memory_equal(ret_i32, i32, sizeof(i32));
    assert_int_equal(db_i64_array(row, 0, 1, arena, &ret_i64), 2);
    assert_memory_equal(ret_i64, i64, sizeof(i64));
    assert_int_equal(db_text_array(row, 0, 2, arena, &ret_text), 3);
    assert_true(str_equal(ret_text[0], text[0]));
    assert_null(ret_text[1].data);
    assert_non_null(ret_text[2].data);
    assert_int_equal(db_i32_array(row, 0, 3, arena, &ret_i32), 0);
    assert_int_equal(db_text_array(row, 0, 4, arena, &ret_text), 0);
}

static void test_uuid_bytea_and_time_arrays_unnest(void **state)
{
    Fixture *fixture = *state;
    DbParams *params = &fixture->params;
    const Uuid uuids[] = {uuid_new(), uuid_new()};
    const Str bytes[] = {STR_INIT("\0x"), STR_INIT("y")};
    const int64_t times_us[] = {0, 1775003400120000};

    db_param_uuid_array(params, uuids, 2);
    db_param_bytes_array(params, bytes, 2);
    db_param_timestamp_array(params, times_us, 2);
    DbResult *rows = exec(fixture, fixture->conn, "unnest",
                          "SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::timestamptz[])");
    assert_int_equal(db_rows(rows), 2);
    for (int i = 0; i < 2; i++) {
        assert_true(uuid_equal(db_uuid(rows, i, 0), uuids[i]));
        assert_true(str_equal(db_text(rows, i, 1), bytes[i]));
        assert_true(db_timestamp(rows, i, 2) == times_us[i]);
    }
}

static const DbStatement select_number = {"select_number", "SELECT $1::bigint"};
static const DbStatement divide_by_zero = {"divide_by_zero",
                                           "SELECT 1 / ($1::bigint - $1::bigint)"};

static int queue_number(Fixture *fixture, const DbStatement *statement, int64_t number)
{
    DbParams params;
    db_params_init(&params, fixture->req->arena);
    db_param_i64(&params, number);
    return db_queue(fixture->conn, fixture->req, statement, &params);
}

static void test_results_of_a_batch_come_in_order(void **state)
{
    Fixture *fixture = *state;
    DbResult *results[100];

    for (int round = 0; round < 2; round++) { /* the second time nothing is prepared */
        for (int i = 0; i < 100; i++) {
            assert_int_equal(queue_number(fixture, &select_number, i), 0);
        }
        assert_int_equal(db_sync(fixture->conn, fixture->req, results), 0);
        for (int i = 0; i < 100; i++) {
            assert_int_equal(db_i64(results[i], 0, 0), i);
        }
    }
}

static void test_a_failed_statement_fails_its_batch_only(void **state)
{
    Fixture *fixture = *state;
    DbResult *results[3];

    assert_int_equal(queue_number(fixture, &divide_by_zero, 1), 0);
    assert_int_equal(queue_number(fixture, &select_number, 2), 0); /* its Parse is skipped too */
    assert_int_equal(db_sync(fixture->conn, fixture->req, results), -ERR_DATABASE);
    assert_non_null(strstr(db_last_failure(), "22012"));
    assert_null(results[1]);

    assert_int_equal(queue_number(fixture, &select_number, 3), 0);
    assert_int_equal(db_sync(fixture->conn, fixture->req, results), 0);
    assert_int_equal(db_i64(results[0], 0, 0), 3);
}

static void test_an_error_text_holds_neither_sql_nor_values(void **state)
{
    Fixture *fixture = *state;
    const DbStatement cast = {"bad_cast", "SELECT $1::text::integer"};

    db_param_text(&fixture->params, STR("Yamada"));
    assert_int_equal(db_exec(fixture->conn, fixture->req, &cast, &fixture->params, NULL),
                     -ERR_DATABASE);
    Str context = fixture->req->errors.first->context;
    assert_false(str_contains(context, STR("Yamada")));
    assert_false(str_contains(context, STR("SELECT")));
    assert_null(strstr(db_last_failure(), "Yamada"));
    assert_non_null(strstr(db_last_failure(), "22P02"));
}

static void test_acquire_says_busy_when_no_connection_is_free_in_time(void **state)
{
    Fixture *fixture = *state;
    Request *late = request_new(50);
    DbConn *second = NULL;
    DbConn *third = NULL;

    assert_int_equal(db_acquire(fixture->pool, fixture->req, &second), 0);
    assert_int_equal(db_acquire(fixture->pool, late, &third), -ERR_DATABASE_BUSY);
    assert_true(clock_now_ns() >= late->deadline_ns);
    db_release(second);
    request_free(late);
}

static void test_release_rolls_back_what_is_open(void **state)
{
    Fixture *fixture = *state;

    exec(fixture, fixture->conn, "drop", "DROP TABLE IF EXISTS test_release");
    exec(fixture, fixture->conn, "create", "CREATE TABLE test_release (id integer)");
    assert_int_equal(db_queue_begin(fixture->conn, fixture->req), 0);
    exec(fixture, fixture->conn, "insert", "INSERT INTO test_release VALUES (1)");
    db_releasep(&fixture->conn);
    assert_int_equal(db_acquire(fixture->pool, fixture->req, &fixture->conn), 0);
    assert_int_equal(db_rows(exec(fixture, fixture->conn, "read", "SELECT id FROM test_release")),
                     0);
    exec(fixture, fixture->conn, "drop", "DROP TABLE IF EXISTS test_release");
}

static void test_a_connection_that_the_server_closed_is_replaced(void **state)
{
    Fixture *fixture = *state;
    DbConn *killer = NULL;
    int64_t pid =
        db_i64(exec(fixture, fixture->conn, "pid", "SELECT pg_backend_pid()::bigint"), 0, 0);

    assert_int_equal(db_acquire(fixture->pool, fixture->req, &killer), 0);
    db_releasep(&fixture->conn);
    db_param_i64(&fixture->params, pid);
    exec(fixture, killer, "kill", "SELECT pg_terminate_backend($1::bigint::integer, 5000)");
    fixture->params.count = 0;
    assert_int_equal(db_acquire(fixture->pool, fixture->req, &fixture->conn), 0);
    int64_t new_pid =
        db_i64(exec(fixture, fixture->conn, "pid", "SELECT pg_backend_pid()::bigint"), 0, 0);
    assert_int_not_equal(new_pid, pid);
    db_release(killer);
}

static void test_a_statement_ends_at_the_deadline_of_the_request(void **state)
{
    Fixture *fixture = *state;
    const DbStatement sleep_long = {"sleep_long", "SELECT pg_sleep(20)"};

    fixture->req->deadline_ns = clock_now_ns() + 100000000;
    assert_int_equal(db_exec(fixture->conn, fixture->req, &sleep_long, NULL, NULL), -ERR_DATABASE);
    fixture->req->deadline_ns = clock_now_ns() + PATIENCE_NS;
    db_releasep(&fixture->conn);
    assert_int_equal(db_acquire(fixture->pool, fixture->req, &fixture->conn), 0);
    exec(fixture, fixture->conn, "still_works", "SELECT 1");
}

typedef struct Sum {
    int64_t total;
    int64_t rows;
    int64_t stop_after;
} Sum;

static int add_row(void *ctx, Request *req, const DbResult *row)
{
    Sum *sum = ctx;
    sum->total += db_i64(row, 0, 0);
    sum->rows++;
    return sum->rows == sum->stop_after
               ? error_add(&req->errors, ERR_XDS_REGISTRY_ERROR, NULL, "stop")
               : 0;
}

static const DbStatement series = {"series", "SELECT generate_series(1, 100000)::bigint"};

/* A server that takes nothing (stopped, swapped out, its disk hangs) holds nobody beyond the
 * deadline, however much there is to send. */
static void test_sending_ends_at_the_deadline_of_the_request(void **state)
{
    enum { LARGE = 32 * 1024 * 1024 };
    Fixture *fixture = *state;
    const DbStatement length = {"deadline_length", "SELECT length($1::text)"};
    DbResult *row = exec(fixture, fixture->conn, "deadline_pid", "SELECT pg_backend_pid()::bigint");
    pid_t backend = (pid_t)db_i64(row, 0, 0);
    char *text = arena_alloc(fixture->req->arena, LARGE);
    memset(text, 'x', LARGE);
    db_params_init(&fixture->params, fixture->req->arena);
    db_param_text(&fixture->params, (Str){text, LARGE});

    DbResult *result;
    fixture->req->deadline_ns = clock_now_ns() + PATIENCE_NS; /* also under a sanitizer */
    assert_int_equal(db_exec(fixture->conn, fixture->req, &length, &fixture->params, &result), 0);
    assert_int_equal(db_i32(result, 0, 0), LARGE);

    assert_int_equal(kill(backend, SIGSTOP), 0);
    fixture->req->deadline_ns = clock_now_ns() + 300000000;
    int rc = db_exec(fixture->conn, fixture->req, &length, &fixture->params, &result);
    int64_t late_ns = clock_now_ns() - fixture->req->deadline_ns;
    kill(backend, SIGCONT);
    assert_int_equal(rc, -(int)ERR_DATABASE);
    assert_in_range(late_ns, 0, LATE_NS);
}

static void test_a_stream_gives_every_row_once(void **state)
{
    Fixture *fixture = *state;

    for (int round = 0; round < 2; round++) {
        Sum sum = {0};
        assert_int_equal(db_stream(fixture->conn, fixture->req, &series, NULL, add_row, &sum), 0);
        assert_int_equal(sum.rows, 100000);
        assert_int_equal(sum.total, 100000LL * 100001 / 2);
    }
}

static void test_a_stream_stops_when_the_callback_says_so(void **state)
{
    Fixture *fixture = *state;
    Sum sum = {.stop_after = 10};

    assert_int_equal(db_stream(fixture->conn, fixture->req, &series, NULL, add_row, &sum),
                     -ERR_XDS_REGISTRY_ERROR);
    assert_int_equal(sum.rows, 10);
    db_releasep(&fixture->conn);
    assert_int_equal(db_acquire(fixture->pool, fixture->req, &fixture->conn), 0);
    exec(fixture, fixture->conn, "still_works", "SELECT 1");
}

static void test_a_script_is_run_whole_or_not_at_all(void **state)
{
    Fixture *fixture = *state;

    assert_int_equal(
        db_run_script(fixture->conn, fixture->req,
                      "DROP TABLE IF EXISTS test_script; CREATE TABLE test_script (id integer);"),
        0);
    assert_int_equal(db_run_script(fixture->conn, fixture->req,
                                   "INSERT INTO test_script VALUES (1); SELECT 1/0;"),
                     -ERR_DATABASE);
    assert_int_equal(db_rows(exec(fixture, fixture->conn, "read", "SELECT id FROM test_script")),
                     0);
    assert_int_equal(db_run_script(fixture->conn, fixture->req, "DROP TABLE test_script"), 0);
}

static const DbStatement copy_rows = {
    "copy_rows", "COPY test_copy (id, name, codes) FROM STDIN (FORMAT binary)"};

static void add_copied_row(Fixture *fixture, DbCopy *copy, int16_t id, Str name)
{
    static const int32_t codes[] = {7, 8};
    DbParams *row = &fixture->params;
    db_params_init(row, fixture->req->arena);
    db_param_i16(row, id);
    db_param_text_or_null(row, name);
    db_param_i32_array(row, codes, ARRAY_LEN(codes));
    db_copy_add(copy, row);
}

static int run_copy(Fixture *fixture, int16_t first, int count)
{
    DbCopy copy;
    db_copy_init(&copy, &copy_rows);
    for (int i = 0; i < count; i++) {
        add_copied_row(fixture, &copy, (int16_t)(first + i), i % 2 == 0 ? STR("even") : STR_EMPTY);
    }
    db_params_init(&fixture->params, fixture->req->arena);
    int rc = db_queue_begin(fixture->conn, fixture->req);
    rc = rc < 0 ? rc : db_sync(fixture->conn, fixture->req, NULL);
    rc = rc < 0 ? rc : db_copy_run(fixture->conn, fixture->req, &copy);
    db_copy_done(&copy);
    return rc < 0 ? rc : db_commit(fixture->conn, fixture->req, NULL);
}

static void test_copied_rows_are_part_of_the_transaction(void **state)
{
    Fixture *fixture = *state;

    assert_int_equal(db_run_script(fixture->conn, fixture->req,
                                   "DROP TABLE IF EXISTS test_copy; CREATE TABLE test_copy"
                                   " (id smallint PRIMARY KEY, name text, codes integer[])"),
                     0);
    assert_int_equal(run_copy(fixture, 0, 1000), 0);
    assert_int_equal(run_copy(fixture, 1000, 0), 0);
    assert_int_equal(run_copy(fixture, 999, 1000), -ERR_DATABASE);
    assert_non_null(strstr(db_last_failure(), "23505"));
    db_rollback(fixture->conn, fixture->req);
    assert_int_equal(run_copy(fixture, 1000, 24), 0);
    DbResult *row = exec(fixture, fixture->conn, "copied",
                         "SELECT count(*), count(name), sum(id), sum(codes[2]) FROM test_copy");
    assert_int_equal(db_i64(row, 0, 0), 1024);
    assert_int_equal(db_i64(row, 0, 1), 512);
    assert_int_equal(db_i64(row, 0, 2), 1023 * 1024 / 2);
    assert_int_equal(db_i64(row, 0, 3), 8 * 1024);
    assert_int_equal(db_run_script(fixture->conn, fixture->req, "DROP TABLE test_copy"), 0);
}

/** A man in the middle of a UNIX socket that, when armed, swallows the server's answer to one
 * COMMIT (and, if told so, all that came before it) and hangs up; or stops to pass on what the
 * server says. */
typedef struct Proxy {
    char directory[32];
    struct sockaddr_un server;
    int listener;
    pthread_t thread;
    atomic_bool is_armed;
    atomic_bool is_stopping;
    bool loses_all_answers; /* when armed, not only the one to COMMIT */
    atomic_uint mute_after; /* answers that are passed on; 0: all */
    unsigned answers;
} Proxy;

/** The CommandComplete of COMMIT. What the server said before it may come by the same read(). */
static const char commit_complete[] = "C\0\0\0\x0b"
                                      "COMMIT";

static bool forward(Proxy *proxy, int from, int to, bool is_answer)
{
    char buffer[16384];
    ssize_t n = read(from, buffer, sizeof(buffer));
    if (n <= 0) {
        return false;
    }
    bool is_armed = is_answer && proxy->is_armed;
    const char *cut =
        is_armed ? memmem(buffer, (size_t)n, commit_complete, sizeof(commit_complete)) : NULL;
    ssize_t passed = cut ? cut - buffer : n;
    proxy->answers += is_answer;
    bool is_mute = (is_armed && proxy->loses_all_answers) ||
                   (is_answer && proxy->mute_after > 0 && proxy->answers >= proxy->mute_after);
    proxy->is_armed = proxy->is_armed && !cut;
    return (is_mute || write(to, buffer, (size_t)passed) == passed) && !cut;
}

static void relay(Proxy *proxy, int client)
{
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    bool is_open =
        connect(server, (const struct sockaddr *)&proxy->server, sizeof(proxy->server)) == 0;

    while (is_open && !proxy->is_stopping) {
        struct pollfd fds[] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
        poll(fds, 2, 50);
        is_open = (!fds[0].revents || forward(proxy, client, server, false)) &&
                  (!fds[1].revents || forward(proxy, server, client, true));
    }
    close(server);
    close(client);
}

static void *proxy_run(void *arg)
{
    Proxy *proxy = arg;
    while (!proxy->is_stopping) {
        struct pollfd pfd = {.fd = proxy->listener, .events = POLLIN};
        if (poll(&pfd, 1, 50) > 0) {
            relay(proxy, accept(proxy->listener, NULL, NULL));
        }
    }
    return NULL;
}

static void proxy_start(Fixture *fixture, Proxy *proxy)
{
    struct sockaddr_un own = {.sun_family = AF_UNIX};
    DbResult *row = exec(fixture, fixture->conn, "socket",
                         "SELECT split_part(current_setting('unix_socket_directories'), ',', 1), "
                         "current_setting('port')");

    proxy->server.sun_family = AF_UNIX;
    snprintf(proxy->server.sun_path, sizeof(proxy->server.sun_path), "%.*s/.s.PGSQL.%.*s",
             STR_ARG(db_text(row, 0, 0)), STR_ARG(db_text(row, 0, 1)));
    strcpy(proxy->directory, "/tmp/musubi-proxy-XXXXXX");
    assert_non_null(mkdtemp(proxy->directory));
    snprintf(own.sun_path, sizeof(own.sun_path), "%s/.s.PGSQL.5432", proxy->directory);
    proxy->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(proxy->listener, (const struct sockaddr *)&own, sizeof(own)), 0);
    assert_int_equal(listen(proxy->listener, 5), 0);
    assert_int_equal(pthread_create(&proxy->thread, NULL, proxy_run, proxy), 0);
}

static void proxy_stop(Proxy *proxy)
{
    char path[64];
    proxy->is_stopping = true;
    pthread_join(proxy->thread, NULL);
    close(proxy->listener);
    snprintf(path, sizeof(path), "%s/.s.PGSQL.5432", proxy->directory);
    unlink(path);
    rmdir(proxy->directory);
}

/** Commits one row through a proxy that loses the answer; the row is there in any case.
 * @param ret_id  what INSERT returned; -1 nothing
 * @return what db_commit() said */
static int commit_and_lose_answer(Fixture *fixture, bool loses_all_answers, int64_t *ret_id)
{
    const DbStatement insert = {"insert",
                                "INSERT INTO test_commit VALUES ($1::bigint) RETURNING id"};
    Proxy proxy = {.loses_all_answers = loses_all_answers};
    char text[256];
    DbConn *conn = NULL;
    DbResult *results[1];

    exec(fixture, fixture->conn, "drop", "DROP TABLE IF EXISTS test_commit");
    exec(fixture, fixture->conn, "create", "CREATE TABLE test_commit (id bigint)");
    proxy_start(fixture, &proxy);
    snprintf(text, sizeof(text), "%s host=%s port=5432", conninfo, proxy.directory);
    DbPool *pool = db_pool_new(text, 1);
    assert_int_equal(db_acquire(pool, fixture->req, &conn), 0);

    proxy.is_armed = true;
    db_param_i64(&fixture->params, 42);
    assert_int_equal(db_queue_begin(conn, fixture->req), 0);
    assert_int_equal(db_queue(conn, fixture->req, &insert, &fixture->params), 0);
    int rc = db_commit(conn, fixture->req, results);
    *ret_id = results[0] ? db_i64(results[0], 0, 0) : -1;
    db_release(conn);
    db_pool_free(pool);
    proxy_stop(&proxy);
    assert_false(proxy.is_armed);

    fixture->params.count = 0;
    assert_int_equal(db_rows(exec(fixture, fixture->conn, "read", "SELECT id FROM test_commit")),
                     1);
    exec(fixture, fixture->conn, "drop", "DROP TABLE IF EXISTS test_commit");
    return rc;
}

/* Durability contract C1: a commit whose answer is lost is found to be committed. */
static void test_a_commit_whose_answer_is_lost_is_resolved(void **state)
{
    Fixture *fixture = *state;
    int64_t id = 0;

    assert_int_equal(commit_and_lose_answer(fixture, false, &id), 0);
    assert_int_equal(id, 42);
    assert_int_equal(fixture->req->errors.count, 0);
}

/* Durability contract C1, C3: without the transaction's id nobody can tell, and nothing is
 * promised. */
static void test_a_commit_whose_every_answer_is_lost_is_unknown(void **state)
{
    Fixture *fixture = *state;
    int64_t id = 0;

    assert_int_equal(commit_and_lose_answer(fixture, true, &id), -ERR_DATABASE);
    assert_int_equal(id, -1);
    assert_true(str_contains(fixture->req->errors.last->context, STR("unknown")));
}

/* A server that takes the connection and then says nothing, or nothing behind its ReadyForQuery,
 * holds nobody beyond the deadline. */
static void test_connecting_ends_at_the_deadline_of_the_request(void **state)
{
    Fixture *fixture = *state;
    for (unsigned mute_after = 1; mute_after <= 2; mute_after++) {
        Proxy proxy = {.mute_after = mute_after};
        char text[256];
        DbConn *conn = NULL;
        proxy_start(fixture, &proxy);
        snprintf(text, sizeof(text), "%s host=%s port=5432", conninfo, proxy.directory);
        DbPool *pool = db_pool_new(text, 1);
        Request *late = request_new(300);
        alarm(90);
        int rc = db_acquire(pool, late, &conn);
        int64_t late_ns = clock_now_ns() - late->deadline_ns;
        alarm(0);
        assert_int_equal(rc, -(int)ERR_DATABASE);
        assert_in_range(late_ns, 0, LATE_NS);
        assert_non_null(strstr(db_last_failure(), "deadline"));
        request_free(late);
        db_pool_free(pool);
        proxy_stop(&proxy);
    }
}

typedef struct Terminator {
    Fixture *fixture;
    int32_t backend;
} Terminator;

/** Ends the backend once it is inside COMMIT. */
static void *terminate_in_commit(void *arg)
{
    const Terminator *terminator = arg;
    DbConn *conn = NULL;
    DbParams params;
    DbResult *killed = NULL;
    bool is_killed = false;
    const DbStatement kill = {
        "kill", "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE pid = $1::integer AND query LIKE 'COMMIT%' AND state = 'active'"};
    Request *req = request_new(600000);

    db_params_init(&params, req->arena);
    db_param_i32(&params, terminator->backend);
    int rc = db_acquire(terminator->fixture->pool, req, &conn);
    while (rc == 0 && !is_killed && clock_now_ns() < req->deadline_ns) {
        usleep(20000);
        rc = db_exec(conn, req, &kill, &params, &killed);
        is_killed = rc == 0 && db_rows(killed) > 0;
    }
    if (rc < 0) {
        print_message("terminate_in_commit: %s\n", db_last_failure());
    }
    db_release(conn);
    request_free(req);
    return NULL;
}

/* Durability contract C1: a backend that ends inside COMMIT has not committed, and we know it. */
static void test_a_commit_that_the_server_aborts_is_reported_as_rolled_back(void **state)
{
    Fixture *fixture = *state;
    Terminator terminator = {.fixture = fixture};
    pthread_t killer;

    assert_int_equal(
        db_run_script(fixture->conn, fixture->req,
                      "DROP TABLE IF EXISTS test_abort; CREATE TABLE test_abort (id bigint);"
                      "CREATE OR REPLACE FUNCTION test_slow() RETURNS trigger LANGUAGE plpgsql AS "
                      "'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';"
                      "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON test_abort DEFERRABLE "
                      "INITIALLY DEFERRED "
                      "FOR EACH ROW EXECUTE FUNCTION test_slow()"),
        0);
    assert_int_equal(db_queue_begin(fixture->conn, fixture->req), 0);
    exec(fixture, fixture->conn, "insert_abort", "INSERT INTO test_abort VALUES (1)");
    terminator.backend =
        db_i32(exec(fixture, fixture->conn, "backend", "SELECT pg_backend_pid()"), 0, 0);
    pthread_create(&killer, NULL, terminate_in_commit, &terminator);
    assert_int_equal(db_commit(fixture->conn, fixture->req, NULL), -ERR_DATABASE);
    pthread_join(killer, NULL);
    assert_false(str_contains(fixture->req->errors.last->context, STR("unknown")));

    db_releasep(&fixture->conn);
    assert_int_equal(db_acquire(fixture->pool, fixture->req, &fixture->conn), 0);
    assert_int_equal(db_rows(exec(fixture, fixture->conn, "read", "SELECT id FROM test_abort")), 0);
    assert_int_equal(db_run_script(fixture->conn, fixture->req,
                                   "DROP TABLE test_abort; DROP FUNCTION test_slow()"),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_type_returns_as_it_was_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arrays_return_as_they_were_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uuid_bytea_and_time_arrays_unnest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_results_of_a_batch_come_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_failed_statement_fails_its_batch_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_error_text_holds_neither_sql_nor_values, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_acquire_says_busy_when_no_connection_is_free_in_time,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_release_rolls_back_what_is_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_connection_that_the_server_closed_is_replaced, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_statement_ends_at_the_deadline_of_the_request, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_sending_ends_at_the_deadline_of_the_request, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_stream_gives_every_row_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_stream_stops_when_the_callback_says_so, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_script_is_run_whole_or_not_at_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copied_rows_are_part_of_the_transaction, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_commit_whose_answer_is_lost_is_resolved, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_commit_whose_every_answer_is_lost_is_unknown, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_connecting_ends_at_the_deadline_of_the_request, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_commit_that_the_server_aborts_is_reported_as_rolled_back, setup, teardown),
    };

    conninfo = getenv("MUSUBI_TEST_CONNINFO");
    if (!conninfo) {
        print_message("skipped: MUSUBI_TEST_CONNINFO does not name a PostgreSQL to test against\n");
        return 77; /* meson counts this as a skip */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
