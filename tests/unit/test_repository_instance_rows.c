#include <pthread.h>

#include "tests/unit/imaging_fixture.h"

static void assert_number(const Images *images, const char *name, const char *sql, int64_t expected)
{
    int64_t found = service_number(images->service->pool, name, sql);
    if (found != expected) {
        fail_msg("%s: %lld instead of %lld", name, (long long)found, (long long)expected);
    }
}

/** The identity of an instance is (facility, SOP Instance UID); other bytes under the same are
 * kept, flagged, and never overwrite. */
static void test_what_comes_again_is_known_or_kept_beside_the_first(void **state)
{
    Images *images = *state;
    static const struct {
        Image image;
        InstanceRowOutcome expected;
    } cases[] = {
        {{"1.2.1", "1.2.1.1", "1.2.1.1.1", .bytes = "a"}, INSTANCE_ADDED},
        {{"1.2.1", "1.2.1.1", "1.2.1.1.1", .bytes = "a"}, INSTANCE_THERE},
        {{"1.2.1", "1.2.1.1", "1.2.1.1.1", .bytes = "b"}, INSTANCE_VARIANT},
        {{"1.2.1", "1.2.1.1", "1.2.1.1.1", .bytes = "b"}, INSTANCE_THERE},
        {{"1.2.1", "1.2.1.1", "1.2.1.1.1", .bytes = "c"}, INSTANCE_VARIANT},
        {{"1.2.1", "1.2.1.1", "1.2.1.1.2", .bytes = "d"}, INSTANCE_ADDED},
        {{"1.2.1", "1.2.1.2", "1.2.1.2.1", .bytes = "e"}, INSTANCE_ADDED},
        /* another patient under the same UIDs: another study */
        {{"1.2.1", "1.2.1.1", "1.2.1.1.3", .bytes = "f", .patient = "A2"}, INSTANCE_ADDED},
        /* another hospital's copy: the same and other bytes are first ones there */
        {{"1.2.1", "1.2.1.1", "1.2.1.1.1", .bytes = "a", .facility = 2, .authority = 3},
         INSTANCE_ADDED},
        {{"1.2.1", "1.2.1.1", "1.2.1.1.2", .bytes = "x", .facility = 2, .authority = 3},
         INSTANCE_ADDED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        InstanceRowOutcome outcome = image_insert(images->service->pool, &cases[i].image);
        if (outcome != cases[i].expected) {
            fail_msg("case %zu: outcome %d instead of %d", i, (int)outcome, (int)cases[i].expected);
        }
    }
    assert_number(images, "studies", "SELECT count(*) FROM imaging_study", 3);
    assert_number(images, "series", "SELECT count(*) FROM imaging_series", 4);
    assert_number(images, "served", "SELECT count(*) FROM imaging_instance WHERE variant = 0", 6);
    assert_number(images, "variants",
                  "SELECT count(*) FROM imaging_instance WHERE sop_instance = '1.2.1.1.1' "
                  "AND facility = 1 AND variant IN (1, 2)",
                  2);
    assert_number(images, "flagged",
                  "SELECT count(*) FROM imaging_study WHERE flags & 4 <> 0 AND facility = 1 "
                  "AND patient_number = 'A1'",
                  1);
    assert_number(images, "unflagged", "SELECT count(*) FROM imaging_study WHERE flags = 0", 2);
    assert_number(
        images, "astray",
        "SELECT count(*) FROM imaging_instance i JOIN imaging_series r ON r.id = i.series "
        "WHERE r.study <> i.study",
        0);
}

/** A CD that comes back under another patient: both studies are for an operator to look at. */
static void test_an_instance_that_changes_its_study_flags_both(void **state)
{
    Images *images = *state;
    static const Image before = {"1.2.8", "1.2.8.1", "1.2.8.1.1", .bytes = "a"};
    static const Image after = {"1.2.8", "1.2.8.1", "1.2.8.1.1", "A2", .bytes = "b"};
    static const Image aside = {"1.2.9", "1.2.9.1", "1.2.9.1.1", .bytes = "c"};
    assert_int_equal(image_insert(images->service->pool, &before), INSTANCE_ADDED);
    assert_int_equal(image_insert(images->service->pool, &aside), INSTANCE_ADDED);
    assert_int_equal(image_insert(images->service->pool, &after), INSTANCE_VARIANT);
    assert_number(images, "flagged",
                  "SELECT count(*) FROM imaging_study WHERE flags & 4 <> 0 AND study_uid = '1.2.8'",
                  2);
    assert_number(images, "unflagged", "SELECT count(*) FROM imaging_study WHERE flags = 0", 1);
}

typedef struct Sender {
    pthread_t thread;
    DbPool *pool;
    unsigned number;
} Sender;

#define SENDERS 4
#define EACH 25

/** Its own instances, and one that all send. */
static void *send_images(void *ctx)
{
    const Sender *sender = ctx;
    for (unsigned i = 0; i < EACH; i++) {
        char sop[32];
        snprintf(sop, sizeof(sop), "1.2.5.1.%u.%u", sender->number, i);
        const Image image = {.study = "1.2.5", .series = "1.2.5.1", .sop = sop};
        assert_int_equal(image_insert(sender->pool, &image), INSTANCE_ADDED);
        const Image common = {.study = "1.2.5", .series = "1.2.5.1", .sop = "1.2.5.1.9"};
        InstanceRowOutcome outcome = image_insert(sender->pool, &common);
        assert_true(outcome == INSTANCE_ADDED || outcome == INSTANCE_THERE);
    }
    return NULL;
}

static void test_four_at_once_make_one_study_and_lose_nothing(void **state)
{
    Images *images = *state;
    Sender senders[SENDERS];
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (Sender){.pool = images->service->pool, .number = i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_images, &senders[i]), 0);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
    }
    assert_number(images, "studies", "SELECT count(*) FROM imaging_study", 1);
    assert_number(images, "series", "SELECT count(*) FROM imaging_series", 1);
    assert_number(images, "all", "SELECT count(*) FROM imaging_instance", SENDERS * EACH + 1);
    assert_number(images, "variants", "SELECT count(*) FROM imaging_instance WHERE variant > 0", 0);
}

typedef struct Attempt {
    DbPool *pool;
    InstanceRowOutcome outcome;
} Attempt;

/** Once, under another series than that of who is as fast. */
static void *attempt_once(void *ctx)
{
    Attempt *attempt = ctx;
    Request *req = request_new(600000);
    const Image image = {"1.2.6", "1.2.6.2", "1.2.6.1.1", .bytes = "b"};
    InstanceRecord record = image_record(req->arena, &image);
    NewInstance instance = image_row(&image, &record);
    attempt->outcome = image_attempt(attempt->pool, req, &instance);
    request_free(req);
    return NULL;
}

/** Who comes too late leaves nothing: no series, no study without an instance. */
static void test_an_attempt_that_lost_a_race_leaves_no_empty_series(void **state)
{
    Images *images = *state;
    DbPool *pool = images->service->pool;
    Request *req = images_request(images);
    const Image image = {"1.2.5", "1.2.6.1", "1.2.6.1.1", .bytes = "a"};
    InstanceRecord record = image_record(req->arena, &image);
    NewInstance instance = image_row(&image, &record);
    Attempt attempt = {.pool = pool};
    DbConn *conn = NULL;
    DbResult *results[2];
    pthread_t thread;
    assert_int_equal(db_acquire(pool, req, &conn), 0);
    assert_int_equal(db_queue_begin(conn, req), 0);
    assert_int_equal(instance_rows_queue(req, conn, &instance), 0);
    assert_int_equal(db_sync(conn, req, results), 0);
    assert_int_equal(pthread_create(&thread, NULL, attempt_once, &attempt), 0);
    while (service_number(pool, "waiting",
                          "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                          "AND query LIKE 'WITH same AS %'") == 0) {
    }
    assert_int_equal(db_commit(conn, req, results), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(attempt.outcome, INSTANCE_ROW_RACED);
    assert_number(images, "studies", "SELECT count(*) FROM imaging_study", 1);
    assert_number(images, "series", "SELECT count(*) FROM imaging_series", 1);
    db_release(conn);
    request_free(req);
}

int main(void)
{
    if (!getenv("MUSUBI_TEST_CONNINFO")) {
        puts("skipped: MUSUBI_TEST_CONNINFO names no PostgreSQL");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_comes_again_is_known_or_kept_beside_the_first,
                                        images_set_up, images_tear_down),
        cmocka_unit_test_setup_teardown(test_an_instance_that_changes_its_study_flags_both,
                                        images_set_up, images_tear_down),
        cmocka_unit_test_setup_teardown(test_an_attempt_that_lost_a_race_leaves_no_empty_series,
                                        images_set_up, images_tear_down),
        cmocka_unit_test_setup_teardown(test_four_at_once_make_one_study_and_lose_nothing,
                                        images_set_up, images_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
