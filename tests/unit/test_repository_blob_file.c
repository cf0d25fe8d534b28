#include <dirent.h>

#include "repository/record.h"

#include "repository_fixture.h"

#define LARGE ((size_t)700001)

static unsigned count_files(const Fixture *fixture, const char *folder)
{
    char path[256];
    unsigned count = 0;
    snprintf(path, sizeof(path), "%s/%s", fixture->blobs, folder);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count;
}

static void test_large_document_is_a_file_named_by_its_content(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[32];
    BlobInfo info;
    char name[80];
    fixture_put_seed(fixture, LARGE, 1, sha256);
    assert_true(blob_store_stat(fixture->store, sha256, &info));
    assert_int_equal(info.place, BLOB_IN_FILE);
    Str hex = str_hex(fixture->req->arena, sha256, 32);
    snprintf(name, sizeof(name), "files/%.2s/%.*s", hex.data, STR_ARG(hex));
    assert_string_equal(info.file, name);
    fixture_assert_holds(fixture, sha256, LARGE, 1);
    assert_int_equal(count_files(fixture, "tmp"), 0);
}

static void test_flipped_byte_in_a_file_is_never_served(void **state)
{
    Fixture *fixture = *state;
    uint64_t length = LARGE + record_header_bytes(LARGE);
    const uint64_t offsets[] = {0,           65536,        LARGE - 1,    LARGE,
                                LARGE + 4,   length - 112, length - 104, length - 96,
                                length - 80, length - 28};
    for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        uint8_t sha256[32];
        BlobInfo info;
        StrBuf got = {0};
        fixture_put_seed(fixture, LARGE, 50 + i, sha256);
        assert_true(blob_store_stat(fixture->store, sha256, &info));
        fixture_flip(fixture, info.file, offsets[i]);
        int rc = fixture_get(fixture, sha256, &got);
        if (rc != -ERR_CORRUPT) {
            fail_msg("damage at %llu: %d", (unsigned long long)offsets[i], rc);
        }
        uint8_t *bytes = fixture_bytes(LARGE, 50 + i);
        assert_memory_equal(strbuf_str(&got).data, bytes, got.len);
        free(bytes);
        strbuf_done(&got);
    }
}

static void test_abandoned_upload_leaves_nothing(void **state)
{
    Fixture *fixture = *state;
    uint8_t *bytes = fixture_bytes(LARGE, 1);
    BlobWriter *writer;
    assert_int_equal(blob_writer_open(fixture->store, fixture->req, &writer), 0);
    assert_int_equal(blob_writer_write(writer, fixture->req, bytes, LARGE), 0);
    assert_int_equal(count_files(fixture, "tmp"), 1);
    blob_writer_abandon(writer);
    assert_int_equal(count_files(fixture, "tmp"), 0);
    blob_writer_abandon(fixture_writer(fixture->store, fixture->req, bytes, LARGE));
    assert_int_equal(count_files(fixture, "tmp"), 0);
    free(bytes);
}

static void test_upload_that_a_crash_interrupted_is_removed_at_start(void **state)
{
    Fixture *fixture = *state;
    char path[256];
    fixture_close_store(fixture);
    snprintf(path, sizeof(path), "%s/tmp/leftover", fixture->blobs);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    fixture_open_store(fixture);
    assert_int_equal(count_files(fixture, "tmp"), 0);
}

/** The locator is committed off the reply path: a crash before loses the entry, not the document.
 */
static void test_file_that_the_locator_lost_is_found_by_its_name(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[32];
    char command[256];
    fixture_put_seed(fixture, LARGE, 1, sha256);
    fixture_close_store(fixture);
    snprintf(command, sizeof(command), "rm -f '%s'/*.mdb", fixture->locator);
    assert_int_equal(system(command), 0);
    fixture_open_store(fixture);
    fixture_assert_holds(fixture, sha256, LARGE, 1);
}

static int count_one(void *ctx, const BlobInfo *info)
{
    assert_true(info->size_bytes > 0);
    ++*(unsigned *)ctx;
    return 0;
}

static void test_lost_files_come_back_into_the_locator(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[32];
    char command[256];
    unsigned count = 0;
    fixture_put_seed(fixture, LARGE, 1, sha256);
    fixture_put_seed(fixture, LARGE, 2, sha256);
    fixture_close_store(fixture);
    snprintf(command, sizeof(command), "rm -f '%s'/*.mdb", fixture->locator);
    assert_int_equal(system(command), 0);
    fixture_open_store(fixture);
    assert_int_equal(blob_store_iterate(fixture->store, count_one, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(blob_store_adopt_files(fixture->store), 0);
    assert_int_equal(blob_store_iterate(fixture->store, count_one, &count), 0);
    assert_int_equal(count, 2);
}

static void test_deleted_file_is_gone(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[32];
    BlobInfo info;
    StrBuf got = {0};
    fixture_put_seed(fixture, LARGE, 1, sha256);
    blob_store_mark_dying(fixture->store, sha256);
    assert_int_equal(blob_store_delete(fixture->store, sha256), 1);
    assert_false(blob_store_stat(fixture->store, sha256, &info));
    assert_int_equal(fixture_get(fixture, sha256, &got), -ERR_STORAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)
        TEST(test_large_document_is_a_file_named_by_its_content),
        TEST(test_flipped_byte_in_a_file_is_never_served),
        TEST(test_abandoned_upload_leaves_nothing),
        TEST(test_upload_that_a_crash_interrupted_is_removed_at_start),
        TEST(test_file_that_the_locator_lost_is_found_by_its_name),
        TEST(test_lost_files_come_back_into_the_locator),
        TEST(test_deleted_file_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
