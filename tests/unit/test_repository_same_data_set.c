#include "repository/imaging/same_data_set.h"

#include "tests/unit/repository_fixture.h"

#define DATA_SET_BYTES ((size_t)200000) /* some blocks of 64 KiB */

/** A file: a header of some length, and a data set. */
static StoredDataSet store_file(Fixture *fixture, size_t offset, const uint8_t *bytes, size_t len)
{
    static const uint8_t header[1024];
    BlobWriter *writer;
    StoredDataSet file = {.size_bytes = offset + len, .offset = offset, .crc32c = -1};
    assert_int_equal(blob_writer_open(fixture->store, fixture->req, &writer), 0);
    assert_int_equal(blob_writer_write(writer, fixture->req, header, offset), 0);
    assert_int_equal(blob_writer_write(writer, fixture->req, bytes, len), 0);
    assert_int_equal(blob_writer_close(writer, fixture->req), 0);
    memcpy(file.sha256, writer->content.sha256, sizeof(file.sha256));
    assert_int_equal(blob_writers_commit(fixture->store, fixture->req, &writer, 1), 0);
    return file;
}

static bool is_same(Fixture *fixture, const StoredDataSet *a, const StoredDataSet *b)
{
    bool same = false;
    assert_int_equal(same_data_set(fixture->store, a, b, &same), 0);
    return same;
}

/** One instance that came by two ways has two files, whose headers differ in content and length. */
static void test_data_sets_are_compared_without_their_headers(void **state)
{
    Fixture *fixture = *state;
    uint8_t *bytes = fixture_bytes(DATA_SET_BYTES, 1);
    StoredDataSet first = store_file(fixture, 300, bytes, DATA_SET_BYTES);
    const size_t offsets[] = {0, 299, 300, 512, 1024};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
        StoredDataSet second = store_file(fixture, offsets[i], bytes, DATA_SET_BYTES);
        assert_true(is_same(fixture, &first, &second));
        assert_true(is_same(fixture, &second, &first));
    }
    free(bytes);
}

/** Other bytes under a known UID are another instance, wherever they differ, and whatever their CRC
 * says. */
static void test_every_byte_counts(void **state)
{
    Fixture *fixture = *state;
    uint8_t *bytes = fixture_bytes(DATA_SET_BYTES, 2);
    StoredDataSet first = store_file(fixture, 300, bytes, DATA_SET_BYTES);
    const size_t places[] = {0, 65535, 65536, 131000, DATA_SET_BYTES - 1};
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        bytes[places[i]] ^= 1;
        StoredDataSet second = store_file(fixture, 512, bytes, DATA_SET_BYTES);
        bytes[places[i]] ^= 1;
        first.crc32c = second.crc32c = 7; /* as if it were the same */
        assert_false(is_same(fixture, &first, &second));
    }
    StoredDataSet shorter = store_file(fixture, 512, bytes, DATA_SET_BYTES - 1);
    assert_false(is_same(fixture, &first, &shorter));
    free(bytes);
}

/** What differs by its CRC is not read: here it could not be. */
static void test_a_different_crc_spares_the_reading(void **state)
{
    Fixture *fixture = *state;
    const StoredDataSet a = {.sha256 = {1}, .size_bytes = 500, .offset = 300, .crc32c = 1};
    StoredDataSet b = {.sha256 = {2}, .size_bytes = 500, .offset = 300, .crc32c = 2};
    assert_false(is_same(fixture, &a, &b));
    b.crc32c = -1; /* not known: it has to be read */
    bool same;
    assert_true(same_data_set(fixture->store, &a, &b, &same) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_data_sets_are_compared_without_their_headers,
                                        fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_every_byte_counts, fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_a_different_crc_spares_the_reading, fixture_set_up,
                                        fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
