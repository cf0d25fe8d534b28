#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "repository/locator.h"

#include "repository_fixture.h"

typedef struct Place {
    uint32_t number;
    uint64_t offset;
} Place;

static void settled_place(void *ctx, uint32_t *ret_number, uint64_t *ret_offset)
{
    const Place *place = ctx;
    *ret_number = place->number;
    *ret_offset = place->offset;
}

static const Place PLACE = {7, 8192};

typedef struct LocatorFixture {
    char directory[64];
    Locator *locator;
} LocatorFixture;

static void open_locator(LocatorFixture *fixture)
{
    char problem[256] = "";
    Place *place = (Place *)(uintptr_t)&PLACE;
    fixture->locator = locator_open(fixture->directory, false, problem, sizeof(problem));
    if (!fixture->locator) {
        fail_msg("%s", problem);
    }
    assert_int_equal(locator_start(fixture->locator, settled_place, place), 0);
}

static int set_up(void **state)
{
    LocatorFixture *fixture = calloc(1, sizeof(*fixture));
    strcpy(fixture->directory, "/tmp/musubi-locator-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    open_locator(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    LocatorFixture *fixture = *state;
    char command[128];
    locator_close(fixture->locator);
    snprintf(command, sizeof(command), "rm -rf '%s'", fixture->directory);
    int rc = system(command);
    free(fixture);
    return rc;
}

static void digest_of(unsigned number, uint8_t ret_sha256[32])
{
    uint8_t *bytes = fixture_bytes(32, number);
    memcpy(ret_sha256, bytes, 32);
    free(bytes);
}

static void put(LocatorFixture *fixture, unsigned number)
{
    uint8_t sha256[32];
    digest_of(number, sha256);
    BlobLocation location = {.segment = number, .offset = 4096ULL * number, .size_bytes = number};
    locator_put(fixture->locator, sha256, &location);
}

static int find(LocatorFixture *fixture, unsigned number, BlobLocation *ret_location)
{
    uint8_t sha256[32];
    digest_of(number, sha256);
    return locator_find(fixture->locator, sha256, ret_location);
}

static void test_entry_is_found_before_and_after_it_is_committed(void **state)
{
    LocatorFixture *fixture = *state;
    BlobLocation location;
    put(fixture, 3);
    assert_int_equal(find(fixture, 3, &location), 1);
    assert_int_equal(location.offset, 3 * 4096);
    assert_int_equal(locator_flush(fixture->locator), 0);
    assert_int_equal(find(fixture, 3, &location), 1);
    assert_int_equal(find(fixture, 4, &location), 0);
    locator_close(fixture->locator);
    open_locator(fixture);
    assert_int_equal(find(fixture, 3, &location), 1);
    assert_int_equal(location.segment, 3);
}

static void test_removed_entry_is_unknown_at_once_and_for_good(void **state)
{
    LocatorFixture *fixture = *state;
    BlobLocation location;
    uint8_t sha256[32];
    put(fixture, 3);
    assert_int_equal(locator_flush(fixture->locator), 0);
    digest_of(3, sha256);
    locator_remove(fixture->locator, sha256);
    assert_int_equal(find(fixture, 3, &location), 0);
    assert_int_equal(locator_flush(fixture->locator), 0);
    assert_int_equal(find(fixture, 3, &location), 0);
}

static void test_place_reached_is_stored_with_the_batch(void **state)
{
    LocatorFixture *fixture = *state;
    uint32_t number;
    uint64_t offset;
    put(fixture, 1);
    locator_close(fixture->locator);
    open_locator(fixture);
    assert_int_equal(locator_settled_place(fixture->locator, &number, &offset), 0);
    assert_int_equal(number, PLACE.number);
    assert_int_equal(offset, PLACE.offset);
}

/** 600 000 entries of 80 bytes need more than the 64 MiB that the map begins with. */
static void test_map_grows_while_entries_are_read(void **state)
{
    LocatorFixture *fixture = *state;
    BlobLocation location;
    for (unsigned i = 0; i < 600000; i++) {
        put(fixture, i);
        if (i % 50000 == 0) {
            assert_int_equal(locator_flush(fixture->locator), 0);
            assert_int_equal(find(fixture, i / 2, &location), 1);
        }
    }
    assert_int_equal(locator_flush(fixture->locator), 0);
    assert_true(locator_is_trusted(fixture->locator));
    for (unsigned i = 0; i < 600000; i += 997) {
        assert_int_equal(find(fixture, i, &location), 1);
        assert_int_equal(location.segment, i);
    }
}

static int count_entry(void *ctx, const uint8_t sha256[32], const BlobLocation *location)
{
    uint8_t expected[32];
    digest_of(location->segment, expected);
    assert_memory_equal(sha256, expected, 32);
    ++*(unsigned *)ctx;
    return 0;
}

static rlim_t file_bytes(const LocatorFixture *fixture)
{
    char path[128];
    struct stat file;
    snprintf(path, sizeof(path), "%s/data.mdb", fixture->directory);
    assert_int_equal(stat(path, &file), 0);
    return (rlim_t)file.st_size;
}

/** A full disk is no broken one: entries wait in memory, and go to the file when there is room. The
 * room ends inside a page: LMDB would call the write that it cuts short EIO. */
static void test_entries_wait_for_room(void **state)
{
    enum { ENTRIES = 60000 };
    LocatorFixture *fixture = *state;
    BlobLocation location;
    struct rlimit room;
    put(fixture, 0);
    assert_int_equal(locator_flush(fixture->locator), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &room), 0);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    const struct rlimit no_room = {file_bytes(fixture) + 1000, room.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &no_room), 0);
    for (unsigned i = 1; i < ENTRIES; i++) {
        put(fixture, i);
    }
    int rc = locator_flush(fixture->locator);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &room), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(rc, -ERR_STORAGE);
    assert_true(locator_is_trusted(fixture->locator));
    assert_int_equal(find(fixture, ENTRIES - 1, &location), 1);

    assert_int_equal(locator_flush(fixture->locator), 0);
    locator_close(fixture->locator);
    open_locator(fixture);
    for (unsigned i = 0; i < ENTRIES; i++) {
        assert_int_equal(find(fixture, i, &location), 1);
        assert_int_equal(location.segment, i);
    }
}

/** On a full disk entries can be removed, or no document could be freed. */
static void test_entries_are_removed_without_room(void **state)
{
    LocatorFixture *fixture = *state;
    BlobLocation location;
    struct rlimit room;
    for (unsigned i = 0; i < 2000; i++) {
        put(fixture, i);
    }
    assert_int_equal(locator_flush(fixture->locator), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &room), 0);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    const struct rlimit no_room = {file_bytes(fixture), room.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &no_room), 0);
    locator_close(fixture->locator); /* as after a restart */
    open_locator(fixture);
    int rc = 0;
    for (unsigned i = 0; i < 200 && rc == 0; i++) {
        uint8_t sha256[32];
        digest_of(i, sha256);
        locator_remove(fixture->locator, sha256);
        rc = locator_flush(fixture->locator);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &room), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(rc, 0);
    assert_int_equal(find(fixture, 100, &location), 0);
    assert_int_equal(find(fixture, 200, &location), 1);
}

/** A page of a map that finds no block is SIGBUS: a full disk would end the process. */
static void test_lock_file_has_all_its_blocks(void **state)
{
    const LocatorFixture *fixture = *state;
    char path[128];
    struct stat info;
    snprintf(path, sizeof(path), "%s/lock.mdb", fixture->directory);
    assert_int_equal(stat(path, &info), 0);
    assert_true(info.st_size >= 4096 * 64);
    assert_true(info.st_blocks * 512 >= info.st_size);
}

static void test_iteration_names_every_entry_once(void **state)
{
    LocatorFixture *fixture = *state;
    unsigned count = 0;
    for (unsigned i = 0; i < 2000; i++) {
        put(fixture, i);
    }
    assert_int_equal(locator_iterate(fixture->locator, count_entry, &count), 0);
    assert_int_equal(count, 2000);
}

/** LMDB has no checksums of its own: a damaged value must not lead to another document. */
static void test_flipped_byte_in_an_entry_is_noticed(void **state)
{
    LocatorFixture *fixture = *state;
    char path[128];
    uint8_t sha256[32];
    BlobLocation location;
    put(fixture, 3);
    locator_close(fixture->locator);
    snprintf(path, sizeof(path), "%s/data.mdb", fixture->directory);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    static uint8_t bytes[1 << 20];
    ssize_t len = pread(fd, bytes, sizeof(bytes), 0);
    digest_of(3, sha256);
    unsigned hits = 0;
    for (ssize_t i = 0; i + 40 < len; i++) {
        if (memcmp(bytes + i, sha256, 32) == 0) {
            uint8_t damaged = bytes[i + 32] ^ 0x40; /* the offset follows the key */
            assert_int_equal(pwrite(fd, &damaged, 1, i + 32), 1);
            hits++;
        }
    }
    close(fd);
    assert_true(hits > 0);
    open_locator(fixture);
    assert_int_equal(find(fixture, 3, &location), -ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        TEST(test_entry_is_found_before_and_after_it_is_committed),
        TEST(test_removed_entry_is_unknown_at_once_and_for_good),
        TEST(test_place_reached_is_stored_with_the_batch),
        TEST(test_map_grows_while_entries_are_read),
        TEST(test_entries_wait_for_room),
        TEST(test_entries_are_removed_without_room),
        TEST(test_lock_file_has_all_its_blocks),
        TEST(test_iteration_names_every_entry_once),
        TEST(test_flipped_byte_in_an_entry_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
