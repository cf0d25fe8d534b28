#include <errno.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "repository/record.h"

#include "repository_fixture.h"

#define SMALL ((size_t)100000)
#define WRITERS 12
#define FIRST_SEED 100U
#define SYNC_US 20000

/** What every fdatasync of this program goes through: those of writing threads are slow. */
static _Thread_local bool is_writing_thread;
static struct {
    atomic_bool is_to_fail; /* one of them, at once */
    atomic_uint now;
    atomic_uint most;
} syncs;

int fdatasync(int fd)
{
    if (!is_writing_thread) {
        return (int)syscall(SYS_fdatasync, fd);
    }
    if (atomic_exchange(&syncs.is_to_fail, false)) {
        errno = EIO;
        return -1;
    }
    unsigned now = atomic_fetch_add(&syncs.now, 1) + 1;
    unsigned most = atomic_load(&syncs.most);
    while (now > most && !atomic_compare_exchange_weak(&syncs.most, &most, now)) {
    }
    (void)usleep(SYNC_US);
    int rc = (int)syscall(SYS_fdatasync, fd);
    atomic_fetch_sub(&syncs.now, 1);
    return rc;
}

/** Contract C5: a corrupt byte is never served, wherever it is. */
static void test_flipped_byte_in_a_record_is_never_served(void **state)
{
    Fixture *fixture = *state;
    uint64_t header = record_header_bytes(SMALL);
    const struct {
        const char *what;
        uint64_t offset; /* in the record */
    } cases[] = {
        {"magic", 0},
        {"state", 8},
        {"block count", 12},
        {"size", 16},
        {"written time", 24},
        {"SHA-256", 40},
        {"SHA-1", 70},
        {"header CRC", 84},
        {"nonce", 90},
        {"CRC of a block", RECORD_FIXED_BYTES + 1},
        {"first byte of the body", header},
        {"last byte of the body", header + SMALL - 1},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t sha256[32];
        BlobInfo info;
        StrBuf got = {0};
        fixture_put_seed(fixture, SMALL, 100 + i, sha256);
        assert_true(blob_store_stat(fixture->store, sha256, &info));
        fixture_flip(fixture, info.file, info.offset + cases[i].offset);
        int rc = fixture_get(fixture, sha256, &got);
        if (rc != -ERR_CORRUPT) {
            fail_msg("damaged %s: %d", cases[i].what, rc);
        }
        uint8_t *bytes = fixture_bytes(SMALL, 100 + i);
        assert_memory_equal(strbuf_str(&got).data, bytes, got.len);
        free(bytes);
        strbuf_done(&got);
    }
}

static void test_damaged_record_is_written_anew_when_the_document_comes_again(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[32];
    BlobInfo info;
    fixture_put_seed(fixture, SMALL, 1, sha256);
    assert_true(blob_store_stat(fixture->store, sha256, &info));
    fixture_flip(fixture, info.file, info.offset + record_header_bytes(SMALL) + 70000);
    fixture_put_seed(fixture, SMALL, 1, sha256);
    fixture_assert_holds(fixture, sha256, SMALL, 1);
}

static void test_new_segment_is_begun_beyond_the_limit(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[16][32];
    BlobInfo first;
    BlobInfo last;
    for (unsigned i = 0; i < 16; i++) {
        fixture_put_seed(fixture, SMALL, i, sha256[i]);
    }
    assert_true(blob_store_stat(fixture->store, sha256[0], &first));
    assert_true(blob_store_stat(fixture->store, sha256[15], &last));
    assert_string_equal(first.file, "segments/0000000001.seg");
    assert_string_equal(last.file, "segments/0000000002.seg");
    assert_true(fixture_file_bytes(fixture, first.file) <= 1 << 20);
    for (unsigned i = 0; i < 16; i++) {
        fixture_assert_holds(fixture, sha256[i], SMALL, i);
    }
}

static void test_records_are_found_again_without_the_locator(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[3][32];
    char problem[256];
    const size_t sizes[] = {0, 5, SMALL};
    for (unsigned i = 0; i < 3; i++) {
        fixture_put_seed(fixture, sizes[i], i, sha256[i]);
    }
    fixture_close_store(fixture);
    assert_int_equal(blob_store_rebuild_locator(&fixture->config, problem, sizeof(problem)), 0);
    fixture_open_store(fixture);
    for (unsigned i = 0; i < 3; i++) {
        fixture_assert_holds(fixture, sha256[i], sizes[i], i);
    }
}

/** A crash may leave a record whose header is on disk and whose body is not. */
static void test_torn_record_is_passed_over_and_those_behind_it_are_found(void **state)
{
    Fixture *fixture = *state;
    uint8_t torn[32];
    uint8_t whole[32];
    BlobInfo info;
    char problem[256];
    StrBuf got = {0};
    fixture_put_seed(fixture, SMALL, 1, torn);
    fixture_put_seed(fixture, SMALL, 2, whole);
    assert_true(blob_store_stat(fixture->store, torn, &info));
    fixture_flip(fixture, info.file, info.offset + record_header_bytes(SMALL) + SMALL - 1);
    fixture_close_store(fixture);
    assert_int_equal(blob_store_rebuild_locator(&fixture->config, problem, sizeof(problem)), 0);
    fixture_open_store(fixture);
    assert_false(blob_store_stat(fixture->store, torn, &info));
    assert_int_equal(fixture_get(fixture, torn, &got), -ERR_STORAGE);
    fixture_assert_holds(fixture, whole, SMALL, 2);
}

static void test_cut_tail_of_a_segment_is_ignored(void **state)
{
    Fixture *fixture = *state;
    uint8_t kept[32];
    uint8_t cut[32];
    uint8_t later[32];
    BlobInfo info;
    char problem[256];
    fixture_put_seed(fixture, SMALL, 1, kept);
    fixture_put_seed(fixture, SMALL, 2, cut);
    assert_true(blob_store_stat(fixture->store, cut, &info));
    fixture_close_store(fixture);
    int fd = fixture_open_blob(fixture, info.file);
    assert_int_equal(ftruncate(fd, (off_t)info.offset + 50), 0);
    close(fd);
    assert_int_equal(blob_store_rebuild_locator(&fixture->config, problem, sizeof(problem)), 0);
    fixture_open_store(fixture);
    fixture_assert_holds(fixture, kept, SMALL, 1);
    assert_false(blob_store_stat(fixture->store, cut, &info));
    fixture_put_seed(fixture, SMALL, 3, later);
    fixture_assert_holds(fixture, later, SMALL, 3);
}

/** The body of a document is a copied record: it must not come to life when the segment is
 * replayed. */
static void test_record_inside_a_body_is_not_taken_for_one(void **state)
{
    Fixture *fixture = *state;
    uint8_t inner[32];
    uint8_t outer[32];
    BlobInfo info;
    char problem[256];
    fixture_put_seed(fixture, 3000, 1, inner);
    assert_true(blob_store_stat(fixture->store, inner, &info));
    uint8_t *bytes = calloc(1, 5 * RECORD_ALIGN_BYTES);
    int fd = fixture_open_blob(fixture, info.file);
    uint64_t into = RECORD_ALIGN_BYTES - record_header_bytes(5 * RECORD_ALIGN_BYTES);
    assert_int_equal(pread(fd, bytes + into, 3500, (off_t)info.offset), 3500);
    memset(bytes + into + 88, 'x', RECORD_NONCE_BYTES);
    close(fd);
    fixture_put(fixture, bytes, 5 * RECORD_ALIGN_BYTES, outer);
    free(bytes);
    assert_true(blob_store_stat(fixture->store, outer, &info));
    fixture_flip(fixture, info.file, info.offset); /* the outer record is torn */
    blob_store_mark_dying(fixture->store, inner);
    assert_int_equal(blob_store_delete(fixture->store, inner), 1);
    fixture_close_store(fixture);
    assert_int_equal(blob_store_rebuild_locator(&fixture->config, problem, sizeof(problem)), 0);
    fixture_open_store(fixture);
    assert_false(blob_store_stat(fixture->store, inner, &info));
}

static void test_deleted_record_gives_its_space_back_and_stays_away(void **state)
{
    Fixture *fixture = *state;
    uint8_t gone[32];
    uint8_t kept[32];
    BlobInfo info;
    struct stat before;
    struct stat after;
    char problem[256];
    fixture_put_seed(fixture, SMALL, 1, gone);
    fixture_put_seed(fixture, SMALL, 2, kept);
    assert_true(blob_store_stat(fixture->store, gone, &info));
    int fd = fixture_open_blob(fixture, info.file);
    assert_int_equal(fstat(fd, &before), 0);
    blob_store_mark_dying(fixture->store, gone);
    assert_int_equal(blob_store_delete(fixture->store, gone), 1);
    assert_int_equal(fstat(fd, &after), 0);
    close(fd);
    assert_int_equal(after.st_size, before.st_size);
    assert_true(before.st_blocks - after.st_blocks >= (blkcnt_t)record_total_bytes(SMALL) / 512);
    assert_false(blob_store_stat(fixture->store, gone, &info));
    fixture_close_store(fixture);
    assert_int_equal(blob_store_rebuild_locator(&fixture->config, problem, sizeof(problem)), 0);
    fixture_open_store(fixture);
    assert_false(blob_store_stat(fixture->store, gone, &info));
    fixture_assert_holds(fixture, kept, SMALL, 2);
}

/** What is refused takes no room, however small it is and however often it comes. */
static void test_documents_given_up_leave_no_blocks_behind(void **state)
{
    Fixture *fixture = *state;
    uint8_t kept[2][32];
    BlobInfo info;
    struct stat before;
    struct stat after;
    char problem[256];
    fixture_put_seed(fixture, 300, 1, kept[0]);
    assert_true(blob_store_stat(fixture->store, kept[0], &info));
    int fd = fixture_open_blob(fixture, info.file);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(fstat(fd, &before), 0);
    for (unsigned i = 0; i < 50; i++) {
        uint8_t *bytes = fixture_bytes(300, 100 + i);
        blob_writer_abandon(fixture_writer(fixture->store, fixture->req, bytes, 300));
        free(bytes);
    }
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(fstat(fd, &after), 0);
    close(fd);
    assert_int_equal(after.st_blocks, before.st_blocks);
    fixture_put_seed(fixture, 300, 2, kept[1]);
    fixture_close_store(fixture);
    assert_int_equal(blob_store_rebuild_locator(&fixture->config, problem, sizeof(problem)), 0);
    fixture_open_store(fixture);
    fixture_assert_holds(fixture, kept[0], 300, 1);
    fixture_assert_holds(fixture, kept[1], 300, 2);
}

/** A full disk is no broken one: when there is room again, documents are taken again. */
static void test_segment_that_could_not_be_begun_is_begun_later(void **state)
{
    Fixture *fixture = *state;
    const struct rlimit no_room = {0, RLIM_INFINITY};
    struct rlimit room;
    uint8_t sha256[32];
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &room), 0);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &no_room), 0);
    Request *req = request_new(600000);
    BlobWriter *writer;
    assert_int_equal(blob_writer_open(fixture->store, req, &writer), 0);
    assert_int_equal(blob_writer_write(writer, req, "text", 4), 0);
    int rc = blob_writer_close(writer, req);
    blob_writer_abandon(writer);
    request_free(req);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &room), 0);
    signal(SIGXFSZ, before);
    assert_true(rc < 0);
    assert_true(blob_store_is_writable(fixture->store));
    fixture_put_seed(fixture, SMALL, 1, sha256);
    fixture_assert_holds(fixture, sha256, SMALL, 1);
}

typedef struct Writing {
    pthread_t thread;
    Fixture *fixture;
    unsigned seed;
    bool is_stored;
} Writing;

static void *write_one(void *ctx)
{
    Writing *writing = ctx;
    BlobStore *store = writing->fixture->store;
    uint8_t *bytes = fixture_bytes(SMALL, writing->seed);
    Request *req = request_new(600000);
    BlobWriter *writer = NULL;
    is_writing_thread = true;
    int rc = blob_writer_open(store, req, &writer);
    rc = rc < 0 ? rc : blob_writer_write(writer, req, bytes, SMALL);
    rc = rc < 0 ? rc : blob_writer_close(writer, req);
    if (rc < 0) {
        blob_writer_abandon(writer);
    }
    writing->is_stored = rc == 0 && blob_writers_commit(store, req, &writer, 1) == 0;
    request_free(req);
    free(bytes);
    return NULL;
}

/** @return how many were told that theirs is stored */
static unsigned write_at_once(Fixture *fixture)
{
    Writing writings[WRITERS];
    unsigned stored = 0;
    for (unsigned i = 0; i < WRITERS; i++) {
        writings[i] = (Writing){.fixture = fixture, .seed = FIRST_SEED + i};
        assert_int_equal(pthread_create(&writings[i].thread, NULL, write_one, &writings[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(writings[i].thread, NULL), 0);
        stored += writings[i].is_stored;
    }
    return stored;
}

static void test_several_syncs_are_under_way_at_once(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[32];
    fixture_put_seed(fixture, SMALL, 1, sha256); /* the segment is begun */
    atomic_store(&syncs.most, 0);
    unsigned stored = write_at_once(fixture);
    assert_int_equal(stored, WRITERS);
    /* four, and that of a new segment's first page */
    assert_in_range(atomic_load(&syncs.most), 2, 5);
    for (unsigned i = 0; i < WRITERS; i++) {
        uint8_t *bytes = fixture_bytes(SMALL, FIRST_SEED + i);
        SHA256(bytes, SMALL, sha256);
        free(bytes);
        fixture_assert_holds(fixture, sha256, SMALL, FIRST_SEED + i);
    }
}

/** Contract C6: whichever of several syncs fails, nobody is told any more that a document is
 * stored. */
static void test_sync_that_fails_fails_all_who_wait(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[32];
    fixture_put_seed(fixture, SMALL, 1, sha256);
    atomic_store(&syncs.is_to_fail, true);
    unsigned stored = write_at_once(fixture);
    assert_int_equal(stored, 0);
    assert_false(blob_store_is_writable(fixture->store));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)
        TEST(test_flipped_byte_in_a_record_is_never_served),
        TEST(test_damaged_record_is_written_anew_when_the_document_comes_again),
        TEST(test_new_segment_is_begun_beyond_the_limit),
        TEST(test_records_are_found_again_without_the_locator),
        TEST(test_torn_record_is_passed_over_and_those_behind_it_are_found),
        TEST(test_cut_tail_of_a_segment_is_ignored),
        TEST(test_record_inside_a_body_is_not_taken_for_one),
        TEST(test_segment_that_could_not_be_begun_is_begun_later),
        TEST(test_deleted_record_gives_its_space_back_and_stays_away),
        TEST(test_several_syncs_are_under_way_at_once),
        TEST(test_sync_that_fails_fails_all_who_wait),
        TEST(test_documents_given_up_leave_no_blocks_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
