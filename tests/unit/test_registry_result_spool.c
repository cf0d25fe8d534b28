#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "registry/result_spool.h"

#include "tests/unit/xml_fixture.h"

/* Answers of any size in constant memory: records come back whole and in order, from memory or
 * disk. */

static const char *directory(void)
{
    const char *path = getenv("TMPDIR");
    return path != NULL ? path : "/tmp";
}

/** The record of this number: its length and bytes follow from it. */
static Str record(char *buf, size_t number, size_t max_len)
{
    size_t len = number * 611953 % (max_len + 1);
    memset(buf, (int)('a' + number % 26), len);
    return (Str){buf, len};
}

static void round_trip(Request *req, size_t count, size_t max_len, bool is_on_disk)
{
    ResultSpool *spool = result_spool_new(directory());
    char *buf = malloc(max_len + 1);
    for (size_t i = 0; i < count; i++) {
        Str whole = record(buf, i, max_len);
        const Str parts[] = {str_slice(whole, 0, whole.len / 3),
                             str_from_offset(whole, whole.len / 3)};
        assert_int_equal(result_spool_append(spool, req, parts, ARRAY_LEN(parts)), 0);
    }
    assert_int_equal(result_spool_finish(spool, req), 0);
    assert_int_equal(result_spool_is_on_disk(spool), is_on_disk);
    Str found;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(result_spool_next(spool, &found), 1);
        if (!str_equal(found, record(buf, i, max_len))) {
            fail_msg("record %zu of %zu came back changed", i, count);
        }
    }
    assert_int_equal(result_spool_next(spool, &found), 0);
    assert_int_equal(result_spool_next(spool, &found), 0);
    free(buf);
    result_spool_free(spool);
}

static void test_small_answers_stay_in_memory(void **state)
{
    round_trip(*state, 0, 0, false);
    round_trip(*state, 1, 100, false);
    round_trip(*state, 1000, 1000, false);
}

static void test_large_answers_go_to_disk_and_come_back_whole(void **state)
{
    round_trip(*state, 10000, 1000, true);
    round_trip(*state, 300, 100000, true);
}

static void test_a_record_may_be_larger_than_what_is_read_at_once(void **state)
{
    round_trip(*state, 5, 3 * 1024 * 1024, true);
}

static void test_no_room_on_disk_is_an_error_for_the_sender(void **state)
{
    Request *req = *state;
    ResultSpool *spool = result_spool_new("/nonexistent/directory");
    char *bytes = calloc(1, RESULT_SPOOL_MEMORY_BYTES);
    const Str part = {bytes, RESULT_SPOOL_MEMORY_BYTES};
    assert_int_equal(result_spool_append(spool, req, &part, 1), 0);
    assert_int_equal(result_spool_append(spool, req, &part, 1), -ERR_XDS_REGISTRY_OUT_OF_RESOURCES);
    assert_error(req, ERR_XDS_REGISTRY_OUT_OF_RESOURCES, "no room");
    free(bytes);
    result_spool_free(spool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REQUEST_TEST(test_small_answers_stay_in_memory),
        REQUEST_TEST(test_large_answers_go_to_disk_and_come_back_whole),
        REQUEST_TEST(test_a_record_may_be_larger_than_what_is_read_at_once),
        REQUEST_TEST(test_no_room_on_disk_is_an_error_for_the_sender),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
