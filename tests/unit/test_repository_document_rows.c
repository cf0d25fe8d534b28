/* Rows of repository_document: what one transaction writes, the next one reads. */
#include <pthread.h>

#include "repository/document_rows.h"

#include "tests/unit/repository_service.h"

#define THREADS 8

static DocumentRow row_of(Str unique_id)
{
    return (DocumentRow){.unique_id = unique_id,
                         .state = DOCUMENT_REGISTERED,
                         .size_bytes = 5,
                         .sha1 = {1, 2, 3},
                         .sha256 = {4, 5, 6},
                         .mime_type = STR("text/plain"),
                         .patient_id = STR("P1^^^&1.2.3&ISO"),
                         .class_code = STR("REPORT^^1.2.9")};
}

static int store(DbPool *pool, const DocumentRow *rows, size_t count)
{
    Request *req = request_new(600000);
    DbConn *conn = NULL;
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : document_rows_queue(req, conn, rows, count);
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    db_release(conn);
    request_free(req);
    return rc;
}

static DocumentRows find(Service *service, Request *req, const Str *unique_ids, size_t count)
{
    DbConn *conn = NULL;
    DocumentRows rows;
    assert_int_equal(db_acquire(service->pool, req, &conn), 0);
    assert_int_equal(document_rows_find(req, conn, unique_ids, count, &rows), 0);
    db_release(conn);
    return rows;
}

static void assert_same(size_t i, const DocumentRow *got, const DocumentRow *expected)
{
    bool is_same = got != NULL && got->state == expected->state &&
                   got->size_bytes == expected->size_bytes &&
                   memcmp(got->sha1, expected->sha1, sizeof(got->sha1)) == 0 &&
                   memcmp(got->sha256, expected->sha256, sizeof(got->sha256)) == 0 &&
                   str_equal(got->mime_type, expected->mime_type) &&
                   str_equal(got->patient_id, expected->patient_id) &&
                   got->source_facility == expected->source_facility &&
                   str_equal(got->class_code, expected->class_code) &&
                   got->confidentiality_count == expected->confidentiality_count;
    for (size_t c = 0; is_same && c < expected->confidentiality_count; c++) {
        is_same = str_equal(got->confidentiality[c], expected->confidentiality[c]);
    }
    if (!is_same) {
        fail_msg("row %zu did not come back as it was stored", i);
    }
}

static int64_t kind_count(const Service *service)
{
    return service_number(service->pool, "kinds", "SELECT count(*) FROM repository_document_kind");
}

/** The audit event of a retrieve and the rules of access need every attribute as it was sent. */
static void test_rows_come_back_as_they_were_stored(void **state)
{
    Service *service = *state;
    static const Str normal[] = {STR_INIT("N^^1.2"), STR_INIT("R^^1.2")};
    static const struct {
        Str mime_type;
        Str patient_id;
        Str class_code;
        size_t confidentiality_count;
        int64_t kinds; /* so far */
    } cases[] = {
        {STR_INIT("text/plain"), STR_INIT("P1^^^&1.2.3&ISO"), STR_INIT("A^^1"), 0, 1},
        {STR_INIT("text/plain"), STR_INIT("P2^^^&1.2.3&ISO"), STR_INIT("A^^1"), 0, 1},
        {STR_INIT("text/plain"), STR_INIT("患者^^^&1.2.3&ISO"), STR_INIT("A^^1"), 0, 1},
        {STR_INIT("text/plain"), STR_INIT("P2^^^&1.2.4&ISO"), STR_INIT("A^^1"), 0, 2},
        {STR_INIT("text/plain"), STR_INIT("P2"), STR_INIT("A^^1"), 0, 3},
        {STR_INIT("text/plain"), STR_INIT(""), STR_INIT("A^^1"), 0, 3},
        {STR_INIT("text/plain"), STR_INIT("^^^&1.2.3&ISO"), STR_INIT("A^^1"), 0, 3},
        {STR_INIT("text/xml"), STR_INIT("P1^^^&1.2.3&ISO"), STR_INIT("A^^1"), 0, 4},
        {STR_INIT("text/xml"), STR_INIT("P1^^^&1.2.3&ISO"), STR_INIT("B^^1"), 0, 5},
        {STR_INIT("text/xml"), STR_INIT("P1^^^&1.2.3&ISO"), STR_INIT("B^^1"), 1, 6},
        {STR_INIT("text/xml"), STR_INIT("P1^^^&1.2.3&ISO"), STR_INIT("B^^1"), 2, 7},
        {STR_INIT("text/xml"), STR_INIT("P1^^^&1.2.3&ISO"), STR_INIT(""), 2, 8},
        {STR_INIT("text/xml"), STR_INIT("P9^^^&1.2.3&ISO"), STR_INIT("B^^1"), 2, 8},
    };
    Request *req = request_new(600000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        DocumentRow row = row_of(str_printf(req->arena, "1.2.3.%zu", i));
        row.state = i % 2 == 0 ? DOCUMENT_PENDING : DOCUMENT_REGISTERED;
        row.source_facility = (int32_t)i;
        row.mime_type = cases[i].mime_type;
        row.patient_id = cases[i].patient_id;
        row.class_code = cases[i].class_code;
        row.confidentiality = normal;
        row.confidentiality_count = cases[i].confidentiality_count;
        assert_int_equal(store(service->pool, &row, 1), 0);
        DocumentRows found = find(service, req, &row.unique_id, 1);
        assert_same(i, document_rows_get(&found, row.unique_id), &row);
        assert_int_equal(kind_count(service), cases[i].kinds);
    }
    request_free(req);
}

static void test_rows_of_one_transaction_share_their_kind(void **state)
{
    Service *service = *state;
    const DocumentRow rows[] = {row_of(STR("1.1")), row_of(STR("1.2")), row_of(STR("1.3"))};
    assert_int_equal(store(service->pool, rows, 3), 0);
    assert_int_equal(kind_count(service), 1);
    Request *req = request_new(600000);
    const Str asked[] = {STR("1.3"), STR("1.9"), STR("1.1")};
    DocumentRows found = find(service, req, asked, 3);
    assert_int_equal(found.count, 2);
    assert_non_null(document_rows_get(&found, STR("1.1")));
    assert_null(document_rows_get(&found, STR("1.2")));
    assert_null(document_rows_get(&found, STR("1.9")));
    request_free(req);
}

/** document_rows_queue(): attributes stay those of the first submitter, until the document is gone.
 */
static void test_only_a_removed_row_takes_new_attributes(void **state)
{
    Service *service = *state;
    DocumentRow first = row_of(STR("1.2.3"));
    DocumentRow second = first;
    second.mime_type = STR("text/xml");
    second.patient_id = STR("P2^^^&1.2.4&ISO");
    second.source_facility = 7;
    assert_int_equal(store(service->pool, &first, 1), 0);
    assert_int_equal(store(service->pool, &second, 1), 0);
    Request *req = request_new(600000);
    DocumentRows found = find(service, req, &first.unique_id, 1);
    assert_same(0, document_rows_get(&found, first.unique_id), &first);
    service_run(service->pool, "UPDATE repository_document SET state = 3");
    assert_int_equal(store(service->pool, &second, 1), 0);
    found = find(service, req, &first.unique_id, 1);
    assert_same(1, document_rows_get(&found, first.unique_id), &second);
    DocumentRow other = first;
    other.sha256[0]++;
    assert_true(store(service->pool, &other, 1) < 0);
    request_free(req);
}

typedef struct Racer {
    DbPool *pool;
    pthread_barrier_t *start;
    char unique_id[16];
    int rc;
} Racer;

static void *race(void *ctx)
{
    Racer *racer = ctx;
    DocumentRow row = row_of(str_from(racer->unique_id));
    pthread_barrier_wait(racer->start);
    racer->rc = store(racer->pool, &row, 1);
    return NULL;
}

/** The first documents of a kind, all at once: each finds the kind, whoever made it. */
static void test_a_new_kind_is_made_once_by_racing_transactions(void **state)
{
    Service *service = *state;
    DbPool *pool = db_pool_new(service->conninfo, THREADS);
    pthread_barrier_t start;
    pthread_t threads[THREADS];
    Racer racers[THREADS];
    pthread_barrier_init(&start, NULL, THREADS);
    for (int round = 0; round < 5; round++) {
        service_run(service->pool,
                    "TRUNCATE repository_document; TRUNCATE repository_document_kind");
        for (int i = 0; i < THREADS; i++) {
            racers[i] = (Racer){.pool = pool, .start = &start};
            snprintf(racers[i].unique_id, sizeof(racers[i].unique_id), "1.%d", i);
            assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(racers[i].rc, 0);
        }
        assert_int_equal(kind_count(service), 1);
        assert_int_equal(service_rows(service, DOCUMENT_REGISTERED), THREADS);
    }
    pthread_barrier_destroy(&start);
    db_pool_free(pool);
}

#define NEW_KINDS 6

/** A submission with documents of NEW_KINDS kinds that nobody has seen. */
typedef struct NewKinds {
    DbPool *pool;
    pthread_barrier_t *start;
    const char *prefix; /* of the uniqueIds */
    bool is_reversed;   /* the kinds come in the opposite order */
    int round;
    int rc;
} NewKinds;

static void *store_new_kinds(void *ctx)
{
    NewKinds *racer = ctx;
    Request *req = request_new(600000);
    DocumentRow rows[NEW_KINDS];
    for (int i = 0; i < NEW_KINDS; i++) {
        int kind = racer->is_reversed ? NEW_KINDS - 1 - i : i;
        rows[i] = row_of(str_printf(req->arena, "%s.%d.%d", racer->prefix, racer->round, i));
        rows[i].class_code = str_printf(req->arena, "%d-%d^^1.2.9", racer->round, kind);
    }
    pthread_barrier_wait(racer->start);
    racer->rc = store(racer->pool, rows, NEW_KINDS);
    request_free(req);
    return NULL;
}

/** A repository whose registry is remote does not try a deadlock again: its ITI-41 would fail. */
static void test_new_kinds_in_opposite_order_do_not_deadlock(void **state)
{
    Service *service = *state;
    DbPool *pool = db_pool_new(service->conninfo, 2);
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, 2);
    int failed = 0;
    for (int round = 0; round < 200 && failed == 0; round++) {
        NewKinds racers[] = {{pool, &start, "1.1", false, round, 0},
                             {pool, &start, "1.2", true, round, 0}};
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, store_new_kinds, &racers[i]), 0);
        }
        for (int i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
            failed += racers[i].rc != 0;
        }
    }
    pthread_barrier_destroy(&start);
    db_pool_free(pool);
    assert_int_equal(failed, 0);
}

int main(void)
{
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        puts("skipped: MUSUBI_TEST_CONNINFO names no PostgreSQL");
        return 77;
    }
    xml_init();
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, service_set_up, service_tear_down)
        TEST(test_rows_come_back_as_they_were_stored),
        TEST(test_rows_of_one_transaction_share_their_kind),
        TEST(test_only_a_removed_row_takes_new_attributes),
        TEST(test_a_new_kind_is_made_once_by_racing_transactions),
        TEST(test_new_kinds_in_opposite_order_do_not_deadlock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
