#include <openssl/sha.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "repository_fixture.h"

#define LIMIT ((size_t)256 << 10) /* segment_max_document_bytes of the fixture */

static void test_documents_of_every_size_come_back_as_they_were(void **state)
{
    Fixture *fixture = *state;
    const size_t sizes[] = {0,         1,     4095,      65535,     65536,  65537,
                            LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT, 3000000};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *bytes = fixture_bytes(sizes[i], i);
        uint8_t expected_sha1[20];
        uint8_t expected_sha256[32];
        BlobInfo info;
        BlobWriter *writer = fixture_writer(fixture->store, fixture->req, bytes, sizes[i]);
        SHA1(bytes, sizes[i], expected_sha1);
        SHA256(bytes, sizes[i], expected_sha256);
        assert_int_equal(writer->content.size_bytes, sizes[i]);
        assert_memory_equal(writer->content.sha1, expected_sha1, 20);
        assert_memory_equal(writer->content.sha256, expected_sha256, 32);
        assert_int_equal(blob_writers_commit(fixture->store, fixture->req, &writer, 1), 0);
        assert_true(blob_store_stat(fixture->store, expected_sha256, &info));
        assert_int_equal(info.place, sizes[i] <= LIMIT ? BLOB_IN_SEGMENT : BLOB_IN_FILE);
        fixture_assert_holds(fixture, expected_sha256, sizes[i], i);
        free(bytes);
    }
}

/** Images are named by no SHA-1. */
static void test_document_without_sha1_is_as_any_other(void **state)
{
    static const uint8_t none[20];
    Fixture *fixture = *state;
    uint8_t *bytes = fixture_bytes(1000, 1);
    uint8_t sha256[32];
    BlobWriter *writer;
    assert_int_equal(blob_writer_open(fixture->store, fixture->req, &writer), 0);
    blob_writer_skip_sha1(writer);
    assert_int_equal(blob_writer_write(writer, fixture->req, bytes, 1000), 0);
    assert_int_equal(blob_writer_close(writer, fixture->req), 0);
    assert_memory_equal(writer->content.sha1, none, sizeof(none));
    assert_int_equal(blob_writers_commit(fixture->store, fixture->req, &writer, 1), 0);
    SHA256(bytes, 1000, sha256);
    fixture_assert_holds(fixture, sha256, 1000, 1);
    free(bytes);
}

static void test_equal_documents_are_stored_once(void **state)
{
    Fixture *fixture = *state;
    const size_t sizes[] = {1000, 2 * LIMIT};
    for (unsigned i = 0; i < 2; i++) {
        uint8_t sha256[32];
        BlobInfo first;
        BlobInfo second;
        fixture_put_seed(fixture, sizes[i], i, sha256);
        assert_true(blob_store_stat(fixture->store, sha256, &first));
        fixture_put_seed(fixture, sizes[i], i, sha256);
        assert_true(blob_store_stat(fixture->store, sha256, &second));
        assert_string_equal(first.file, second.file);
        assert_int_equal(first.offset, second.offset);
        assert_int_equal(first.written_us, second.written_us);
    }
}

typedef struct PutThread {
    Fixture *fixture;
    size_t len;
    uint8_t sha256[32];
    pthread_t thread;
} PutThread;

static void *put_thread(void *ctx)
{
    PutThread *self = ctx;
    Request *req = request_new(600000);
    uint8_t *bytes = fixture_bytes(self->len, 77);
    for (unsigned i = 0; i < 20; i++) {
        bytes[0] = (uint8_t)i;
        BlobWriter *writer = fixture_writer(self->fixture->store, req, bytes, self->len);
        memcpy(self->sha256, writer->content.sha256, 32);
        assert_int_equal(blob_writers_commit(self->fixture->store, req, &writer, 1), 0);
    }
    free(bytes);
    request_free(req);
    return NULL;
}

static int count_blob(void *ctx, const BlobInfo *info)
{
    assert_true(info->file[0] != '\0');
    ++*(unsigned *)ctx;
    return 0;
}

static void put_from_eight_threads(Fixture *fixture, size_t len)
{
    PutThread threads[8] = {0};
    unsigned count = 0;
    for (unsigned i = 0; i < 8; i++) {
        threads[i] = (PutThread){.fixture = fixture, .len = len};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, put_thread, &threads[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i].thread, NULL), 0);
        StrBuf got = {0};
        assert_int_equal(fixture_get(fixture, threads[i].sha256, &got), 0);
        assert_int_equal(got.len, len);
        strbuf_done(&got);
    }
    assert_int_equal(blob_store_iterate(fixture->store, count_blob, &count), 0);
    assert_int_equal(count, 20);
}

static void test_eight_threads_store_the_same_small_documents_once(void **state)
{
    put_from_eight_threads(*state, 5000);
}

static void test_eight_threads_store_the_same_large_documents_once(void **state)
{
    put_from_eight_threads(*state, LIMIT + 5000);
}

static void test_blob_that_a_writer_names_again_does_not_die(void **state)
{
    Fixture *fixture = *state;
    const size_t sizes[] = {1000, 2 * LIMIT};
    for (unsigned i = 0; i < 2; i++) {
        uint8_t sha256[32];
        fixture_put_seed(fixture, sizes[i], i, sha256);
        blob_store_mark_dying(fixture->store, sha256);
        fixture_put_seed(fixture, sizes[i], i, sha256);
        assert_int_equal(blob_store_delete(fixture->store, sha256), 0);
        fixture_assert_holds(fixture, sha256, sizes[i], i);
        blob_store_mark_dying(fixture->store, sha256);
        blob_store_revive(fixture->store, sha256);
        assert_int_equal(blob_store_delete(fixture->store, sha256), 0);
        blob_store_mark_dying(fixture->store, sha256);
        assert_int_equal(blob_store_delete(fixture->store, sha256), 1);
        fixture_put_seed(fixture, sizes[i], i, sha256);
        fixture_assert_holds(fixture, sha256, sizes[i], i);
    }
}

static void test_abandoned_document_is_not_stored(void **state)
{
    Fixture *fixture = *state;
    uint8_t *bytes = fixture_bytes(1000, 5);
    uint8_t sha256[32];
    BlobInfo info;
    char problem[256];
    BlobWriter *writer = fixture_writer(fixture->store, fixture->req, bytes, 1000);
    memcpy(sha256, writer->content.sha256, 32);
    blob_writer_abandon(writer);
    assert_false(blob_store_stat(fixture->store, sha256, &info));
    fixture_close_store(fixture);
    assert_int_equal(blob_store_rebuild_locator(&fixture->config, problem, sizeof(problem)), 0);
    fixture_open_store(fixture);
    assert_false(blob_store_stat(fixture->store, sha256, &info));
    free(bytes);
}

/** Fault tests: an acknowledged document survives kill -9 at any later moment, the locator's thread
 * included. */
static void test_acknowledged_documents_survive_a_kill(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[2][32];
    fixture_close_store(fixture);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *bytes = fixture_bytes(i ? 2 * LIMIT : 3000, 40 + i);
        SHA256(bytes, i ? 2 * LIMIT : 3000, sha256[i]);
        free(bytes);
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        uint8_t ignored[32];
        fixture_open_store(fixture);
        fixture_put_seed(fixture, 3000, 40, ignored);
        fixture_put_seed(fixture, 2 * LIMIT, 41, ignored);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    fixture_open_store(fixture);
    fixture_assert_holds(fixture, sha256[0], 3000, 40);
    fixture_assert_holds(fixture, sha256[1], 2 * LIMIT, 41);
}

static void test_store_in_use_is_not_opened_again(void **state)
{
    Fixture *fixture = *state;
    char problem[256] = "";
    assert_null(blob_store_open(&fixture->config, problem, sizeof(problem)));
    assert_non_null(strstr(problem, "in use"));
}

static void test_second_process_may_read_beside_the_server(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[32];
    unsigned count = 0;
    fixture_put_seed(fixture, 1000, 1, sha256);
    assert_int_equal(blob_store_iterate(fixture->store, count_blob, &count), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char problem[256] = "";
        BlobStoreConfig config = fixture->config;
        config.is_read_only = true;
        BlobStore *store = blob_store_open(&config, problem, sizeof(problem));
        BlobInfo info;
        BlobWriter *writer;
        bool is_good = store && blob_store_stat(store, sha256, &info) &&
                       !blob_store_is_writable(store) &&
                       blob_writer_open(store, fixture->req, &writer) < 0;
        _exit(is_good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(count, 1);
}

/** Takes every descriptor that is free. */
static void take_descriptors(struct rlimit *ret_before)
{
    assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_before), 0);
    int first_free = dup(0);
    assert_true(first_free >= 0);
    close(first_free);
    const struct rlimit none = {(rlim_t)first_free, ret_before->rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

/** Many connections at once: a document that cannot be opened now is not a damaged one. */
static void test_lack_of_descriptors_is_told_as_busy(void **state)
{
    enum { SIZES = 2 };
    static const size_t sizes[SIZES] = {1000, 3 << 20}; /* in a segment, in a file */
    Fixture *fixture = *state;
    uint8_t sha256[SIZES][32];
    for (unsigned i = 0; i < SIZES; i++) {
        fixture_put_seed(fixture, sizes[i], i, sha256[i]);
    }
    for (unsigned i = 0; i < SIZES; i++) {
        struct rlimit before;
        BlobReader *reader = NULL;
        take_descriptors(&before);
        int rc = blob_reader_open(fixture->store, sha256[i], &reader);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(rc, -ERR_XDS_REPOSITORY_BUSY);
        fixture_assert_holds(fixture, sha256[i], sizes[i], i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)
        TEST(test_lack_of_descriptors_is_told_as_busy),
        TEST(test_documents_of_every_size_come_back_as_they_were),
        TEST(test_document_without_sha1_is_as_any_other),
        TEST(test_equal_documents_are_stored_once),
        TEST(test_eight_threads_store_the_same_small_documents_once),
        TEST(test_eight_threads_store_the_same_large_documents_once),
        TEST(test_blob_that_a_writer_names_again_does_not_die),
        TEST(test_abandoned_document_is_not_stored),
        TEST(test_acknowledged_documents_survive_a_kill),
        TEST(test_store_in_use_is_not_opened_again),
        TEST(test_second_process_may_read_beside_the_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
