#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "atna/audit.h"
#include "lib/base/clock.h"
#include "lib/tls/tls.h"

#include "tests/unit/certificates.h"

#define DAY 86400L
#define PATH_SIZE 256
#define PATIENCE_NS INT64_C(90000000000)

/* An Audit Record Repository that notes what it reads. */
typedef struct Repository {
    int listener;
    uint16_t port;
    SSL_CTX *ctx;
    pthread_t thread;
    atomic_bool is_stopping;
    atomic_int connections;
    int broken_connections; /* so many first connections are cut after their first bytes */
    pthread_mutex_t lock;
    StrBuf received; /* of connections that were not cut; guarded by lock */
} Repository;

typedef struct Fixture {
    char directory[64];
    char spool[PATH_SIZE];
    char trust[PATH_SIZE];
    char certificate[PATH_SIZE];
    char key[PATH_SIZE];
    char url[64];
    char problem[256];
    Request *req;
    Tls *tls;
    Repository repository;
    AuditConfig config;
} Fixture;

static void serve_connection(Repository *repository, int fd)
{
    char bytes[4096];
    int number = atomic_fetch_add(&repository->connections, 1);
    SSL *ssl = SSL_new(repository->ctx);
    SSL_set_fd(ssl, fd);
    int n = SSL_accept(ssl) == 1 ? 1 : 0;
    while (n > 0) {
        n = SSL_read(ssl, bytes, sizeof bytes);
        if (number < repository->broken_connections) {
            n = 0;
        } else if (n > 0) {
            pthread_mutex_lock(&repository->lock);
            strbuf_append_bytes(&repository->received, bytes, (size_t)n);
            pthread_mutex_unlock(&repository->lock);
        } else {
            SSL_shutdown(ssl);
        }
    }
    SSL_free(ssl);
    close(fd);
    ERR_clear_error();
}

static void *repository_run(void *ctx)
{
    Repository *repository = ctx;
    while (!atomic_load(&repository->is_stopping)) {
        struct pollfd ready = {.fd = repository->listener, .events = POLLIN};
        int fd = poll(&ready, 1, 50) > 0 ? accept(repository->listener, NULL, NULL) : -1;
        if (fd >= 0) {
            serve_connection(repository, fd);
        }
    }
    return NULL;
}

/** Has an address at once; answers from repository_start() on. */
static void repository_bind(Fixture *f)
{
    Repository *repository = &f->repository;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    pthread_mutex_init(&repository->lock, NULL);
    repository->ctx = tls_server_context(f->tls, f->problem, sizeof f->problem);
    assert_non_null(repository->ctx);
    repository->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(repository->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(repository->listener, (struct sockaddr *)&address, &len), 0);
    repository->port = ntohs(address.sin_port);
}

static void repository_start(Fixture *f)
{
    assert_int_equal(listen(f->repository.listener, 16), 0);
    pthread_create(&f->repository.thread, NULL, repository_run, &f->repository);
}

static void repository_stop(Fixture *f)
{
    atomic_store(&f->repository.is_stopping, true);
    pthread_join(f->repository.thread, NULL);
}

static void make_certificates(Fixture *f)
{
    TestCertificate ca =
        test_certificate_new(&(TestCertificateSpec){"CA", NULL, true, -DAY, DAY, 1, false});
    TestCertificate node =
        test_certificate_new(&(TestCertificateSpec){"node", &ca, false, -DAY, DAY, 2, false});
    test_pem_certificate(f->directory, "ca.pem", &ca, f->trust, PATH_SIZE);
    test_pem_certificate(f->directory, "node.pem", &node, f->certificate, PATH_SIZE);
    test_pem_key(f->directory, "node.key", &node, f->key, PATH_SIZE);
    test_certificate_done(&ca);
    test_certificate_done(&node);
}

static int set_up(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    snprintf(f->directory, sizeof f->directory, "/tmp/test-drain-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->spool, sizeof f->spool, "%s/audit", f->directory);
    make_certificates(f);
    const TlsSettings settings = {.certificate = f->certificate, .key = f->key, .ca = f->trust};
    f->tls = tls_new(&settings, f->problem, sizeof f->problem);
    assert_non_null(f->tls);
    f->req = request_new(600000);
    repository_bind(f);
    snprintf(f->url, sizeof f->url, "tls://127.0.0.1:%u", (unsigned)f->repository.port);
    f->config = (AuditConfig){.directory = f->spool,
                              .repository = f->url,
                              .source_id = "test",
                              .host_name = "registry.example",
                              .tls = f->tls};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    Fixture *f = *state;
    close(f->repository.listener);
    SSL_CTX_free(f->repository.ctx);
    strbuf_done(&f->repository.received);
    pthread_mutex_destroy(&f->repository.lock);
    tls_free(f->tls);
    request_free(f->req);
    test_directory_remove(f->directory);
    free(f);
    return 0;
}

static Audit *start_audit(Fixture *f, DbPool *pool)
{
    Audit *audit = audit_new(&f->config, pool, f->problem, sizeof f->problem);
    if (audit == NULL) {
        fail_msg("%s", f->problem);
    }
    return audit;
}

/** An event whose text is NUMBER, Japanese included: octets are counted, not characters. */
static AuditEvent event_number(Fixture *f, int number)
{
    return (AuditEvent){.type = AUDIT_ITI43_EXPORT,
                        .outcome = 8,
                        .outcome_text = str_printf(f->req->arena, "[%d] 結び", number)};
}

static void record_event(Fixture *f, Audit *audit, int number)
{
    AuditEvent event = event_number(f, number);
    assert_int_equal(audit_record_event(audit, f->req, &event), 0);
}

static bool has_received(Fixture *f, int number)
{
    Str text = str_printf(f->req->arena, "[%d] ", number);
    pthread_mutex_lock(&f->repository.lock);
    bool found = str_contains(strbuf_str(&f->repository.received), text);
    pthread_mutex_unlock(&f->repository.lock);
    return found;
}

static void wait_for_event(Fixture *f, int number)
{
    int64_t deadline_ns = clock_now_ns() + PATIENCE_NS;
    while (!has_received(f, number)) {
        assert_true(clock_now_ns() < deadline_ns);
        usleep(10000);
    }
}

static void wait_for_backlog(Audit *audit, uint64_t backlog)
{
    int64_t deadline_ns = clock_now_ns() + PATIENCE_NS;
    while (audit_backlog(audit) != backlog) {
        assert_true(clock_now_ns() < deadline_ns);
        usleep(10000);
    }
}

/** Cuts one frame off; fails unless it is MSG-LEN SP HEADER SP XML. */
static Str next_frame(Str *rest)
{
    uint64_t len = 0;
    size_t space = str_find_char(*rest, ' ');
    assert_true(str_to_u64(str_slice(*rest, 0, space), &len));
    Str message = str_slice(*rest, space + 1, len);
    assert_int_equal(message.len, len);
    *rest = str_from_offset(*rest, space + 1 + len);
    return message;
}

/* RFC 5425 4.3, RFC 5424 6; PRI and MSGID: ITI TF-2 3.20.4.1. */
static void test_events_arrive_octet_counted_with_the_syslog_header(void **state)
{
    Fixture *f = *state;
    char header[80];
    snprintf(header, sizeof header, " registry.example musubi %d IHE+RFC-3881 - <AuditMessage>",
             (int)getpid());
    repository_start(f);
    Audit *audit = start_audit(f, NULL);
    for (int i = 0; i < 3; i++) {
        record_event(f, audit, i);
    }
    wait_for_backlog(audit, 0);
    audit_free(audit);
    repository_stop(f);
    Str rest = strbuf_str(&f->repository.received);
    for (int i = 0; i < 3; i++) {
        Str message = next_frame(&rest);
        assert_true(str_starts_with(message, STR("<85>1 2")));
        assert_true(str_contains(message, str_from(header)));
        assert_true(str_ends_with(message, STR("</AuditMessage>")));
    }
    assert_int_equal(rest.len, 0);
}

static void test_delivered_events_are_not_sent_again(void **state)
{
    Fixture *f = *state;
    Audit *audit = start_audit(f, NULL);
    record_event(f, audit, 1);
    assert_int_equal(audit_backlog(audit), 1);
    repository_start(f);
    wait_for_backlog(audit, 0);
    audit_free(audit);
    audit = start_audit(f, NULL);
    assert_int_equal(audit_backlog(audit), 0);
    record_event(f, audit, 2);
    audit_free(audit);
    repository_stop(f);
    Str rest = strbuf_str(&f->repository.received);
    assert_true(str_contains(next_frame(&rest), STR("[1]")));
    assert_true(str_contains(next_frame(&rest), STR("[2]")));
    assert_int_equal(rest.len, 0);
}

/* TF-2 3.20.4.1: the sender stores, and forwards after reconnection. */
static void test_events_wait_for_a_repository_that_is_away(void **state)
{
    Fixture *f = *state;
    Audit *audit = start_audit(f, NULL);
    record_event(f, audit, 1);
    audit_free(audit);
    audit = start_audit(f, NULL);
    record_event(f, audit, 2);
    assert_int_equal(audit_backlog(audit), 2);
    repository_start(f);
    wait_for_event(f, 2);
    assert_true(has_received(f, 1));
    wait_for_backlog(audit, 0);
    audit_free(audit);
    repository_stop(f);
}

/* What a lost connection swallowed after the write was accepted is sent again. */
static void test_events_of_a_lost_connection_are_sent_again(void **state)
{
    Fixture *f = *state;
    f->repository.broken_connections = 2;
    repository_start(f);
    Audit *audit = start_audit(f, NULL);
    for (int i = 0; i < 50; i++) {
        record_event(f, audit, i);
    }
    wait_for_event(f, 49);
    for (int i = 0; i < 50; i++) {
        assert_true(has_received(f, i));
    }
    wait_for_backlog(audit, 0);
    assert_true(atomic_load(&f->repository.connections) >= 3);
    audit_free(audit);
    repository_stop(f);
}

/* RFC 9525: audit events go to the host that is configured, not to whoever the authorities know. */
static void test_repository_is_held_to_its_name_or_fingerprint(void **state)
{
    Fixture *f = *state;
    TlsCertificate certificate;
    assert_true(tls_certificate_from_file(f->req->arena, f->certificate, &certificate, f->problem,
                                          sizeof f->problem));
    repository_start(f);
    f->config.repository = /* another name of the same address */
        str_printf(f->req->arena, "tls://127.1:%u", (unsigned)f->repository.port).data;
    Audit *audit = start_audit(f, NULL);
    record_event(f, audit, 1);
    usleep(300000);
    assert_false(has_received(f, 1));
    audit_free(audit);

    f->config.fingerprint = str_cstr(f->req->arena, certificate.fingerprint);
    audit = start_audit(f, NULL);
    wait_for_event(f, 1);
    audit_free(audit);
    repository_stop(f);
}

static void test_wrong_settings_are_named(void **state)
{
    Fixture *f = *state;
    const struct {
        const char *repository;
        Tls *tls;
        const char *problem;
    } cases[] = {
        {"udp://127.0.0.1", f->tls, "expected local or tls://HOST:PORT"},
        {"tls://", f->tls, "expected local or tls://HOST:PORT"},
        {"tls://host:0", f->tls, "expected local or tls://HOST:PORT"},
        {"tls://host:65536", f->tls, "expected local or tls://HOST:PORT"},
        {"tls://[::1", f->tls, "expected local or tls://HOST:PORT"},
        {"tls://[::1]x", f->tls, "expected local or tls://HOST:PORT"},
        {"tls://host", NULL, "tls_ca"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->config.repository = cases[i].repository;
        f->config.tls = cases[i].tls;
        assert_null(audit_new(&f->config, NULL, f->problem, sizeof f->problem));
        if (strstr(f->problem, cases[i].problem) == NULL) {
            fail_msg("case %zu: %s", i, f->problem);
        }
    }
}

/* Outbox: needs a PostgreSQL, whose conninfo is in MUSUBI_TEST_CONNINFO. */

static const DbStatement statement_count = {"test_outbox_count",
                                            "SELECT count(*) FROM audit_outbox"};

static DbPool *open_database(Fixture *f)
{
    const char *conninfo = getenv("MUSUBI_TEST_CONNINFO");
    if (conninfo == NULL) {
        print_message("skipped: MUSUBI_TEST_CONNINFO does not name a PostgreSQL\n");
        skip();
    }
    Str own_schema =
        str_printf(f->req->arena, "%s options='-c search_path=test_atna_drain'", conninfo);
    DbPool *pool = db_pool_new(own_schema.data, 4);
    DbConn *conn = NULL;
    assert_int_equal(db_acquire(pool, f->req, &conn), 0);
    assert_int_equal(
        db_run_script(
            conn, f->req,
            "DROP SCHEMA IF EXISTS test_atna_drain CASCADE; CREATE SCHEMA test_atna_drain;"
            "CREATE TABLE audit_outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " queued_at timestamptz NOT NULL DEFAULT now(), message text NOT NULL)"),
        0);
    db_release(conn);
    return pool;
}

/** One transaction with this many events. */
static void queue_events(Fixture *f, Audit *audit, DbPool *pool, int count, bool commits)
{
    DbConn *conn = NULL;
    DbResult **results = ARENA_ARRAY(f->req->arena, DbResult *, (size_t)count);
    assert_int_equal(db_acquire(pool, f->req, &conn), 0);
    assert_int_equal(db_queue_begin(conn, f->req), 0);
    for (int i = 0; i < count; i++) {
        AuditEvent event = event_number(f, i);
        event.type = AUDIT_ITI42_IMPORT;
        assert_int_equal(audit_queue_event(audit, conn, f->req, &event), 0);
    }
    if (commits) {
        assert_int_equal(db_commit(conn, f->req, results), 0);
    }
    db_release(conn);
}

static int64_t rows_in_outbox(Fixture *f, DbPool *pool)
{
    DbConn *conn = NULL;
    DbParams none;
    DbResult *result = NULL;
    db_params_init(&none, f->req->arena);
    assert_int_equal(db_acquire(pool, f->req, &conn), 0);
    assert_int_equal(db_exec(conn, f->req, &statement_count, &none, &result), 0);
    db_release(conn);
    return db_i64(result, 0, 0);
}

typedef struct Order {
    int count;
    bool is_in_order;
} Order;

static int check_order(void *ctx, const AuditRecord *record)
{
    Order *order = ctx;
    char expected[16];
    snprintf(expected, sizeof expected, "[%d] ", order->count++);
    order->is_in_order = order->is_in_order && str_contains(record->message, str_from(expected));
    return 0;
}

/* Events of writes go through the outbox, in the order in which they were queued. */
static void test_committed_events_move_from_outbox_to_spool_in_order(void **state)
{
    enum { COUNT = 1200 };
    Fixture *f = *state;
    unsigned damaged = 0;
    Order order = {.is_in_order = true};
    f->config.repository = "local";
    DbPool *pool = open_database(f);
    Audit *audit = start_audit(f, pool);
    queue_events(f, audit, pool, 3, false);
    queue_events(f, audit, pool, COUNT, true);
    audit_free(audit);
    assert_int_equal(rows_in_outbox(f, pool), 0);
    assert_int_equal(
        audit_spool_read(f->spool, check_order, &order, &damaged, f->problem, sizeof f->problem),
        0);
    assert_true(order.is_in_order);
    assert_int_equal(order.count, COUNT);
    db_pool_free(pool);
}

static int count_record(void *ctx, const AuditRecord *record)
{
    (void)record;
    ++*(int *)ctx;
    return 0;
}

/* Several processes may serve one database; each event goes to exactly one spool. */
static void test_two_processes_share_an_outbox_without_duplicates(void **state)
{
    enum { COUNT = 2000 };
    Fixture *f = *state;
    unsigned damaged = 0;
    int count = 0;
    char second[PATH_SIZE];
    AuditConfig config = f->config;
    config.repository = "local";
    f->config.repository = "local";
    snprintf(second, sizeof second, "%s/audit2", f->directory);
    config.directory = second;
    DbPool *pool = open_database(f);
    Audit *audit = start_audit(f, pool);
    Audit *other = audit_new(&config, pool, f->problem, sizeof f->problem);
    assert_non_null(other);
    queue_events(f, audit, pool, COUNT, true);
    audit_free(audit);
    audit_free(other);
    assert_int_equal(rows_in_outbox(f, pool), 0);
    assert_int_equal(
        audit_spool_read(f->spool, count_record, &count, &damaged, f->problem, sizeof f->problem),
        0);
    assert_int_equal(
        audit_spool_read(second, count_record, &count, &damaged, f->problem, sizeof f->problem), 0);
    assert_int_equal(count, COUNT);
    db_pool_free(pool);
}

int main(void)
{
#define WITH_REPOSITORY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_REPOSITORY(test_events_arrive_octet_counted_with_the_syslog_header),
        WITH_REPOSITORY(test_delivered_events_are_not_sent_again),
        WITH_REPOSITORY(test_events_wait_for_a_repository_that_is_away),
        WITH_REPOSITORY(test_events_of_a_lost_connection_are_sent_again),
        WITH_REPOSITORY(test_repository_is_held_to_its_name_or_fingerprint),
        WITH_REPOSITORY(test_wrong_settings_are_named),
        WITH_REPOSITORY(test_committed_events_move_from_outbox_to_spool_in_order),
        WITH_REPOSITORY(test_two_processes_share_an_outbox_without_duplicates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
