#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file_io.h"

typedef struct Fixture {
    char path[64];
    int fd;
} Fixture;

static int set_up(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    strcpy(fixture->path, "/tmp/musubi-file-XXXXXX");
    fixture->fd = mkstemp(fixture->path);
    assert_true(fixture->fd >= 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    Fixture *fixture = *state;
    close(fixture->fd);
    unlink(fixture->path);
    free(fixture);
    return 0;
}

static void test_whole_file_is_appended(void **state)
{
    const Fixture *fixture = *state;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 200000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *bytes = malloc(sizes[i] + 1);
        memset(bytes, 'a' + (int)i, sizes[i] + 1);
        assert_int_equal(ftruncate(fixture->fd, 0), 0);
        assert_int_equal(io_pwrite_all(fixture->fd, bytes, sizes[i], 0), 0);
        StrBuf buf = {0};
        strbuf_literal(&buf, "before ");
        assert_int_equal(io_read_file(fixture->path, sizes[i], &buf), 0);
        assert_int_equal(buf.len, 7 + sizes[i]);
        assert_memory_equal(buf.data, "before ", 7);
        assert_memory_equal(buf.data + 7, bytes, sizes[i]);
        assert_int_equal(buf.data[buf.len], '\0');
        strbuf_done(&buf);
        free(bytes);
    }
}

static void test_file_beyond_the_limit_is_refused_and_the_buffer_stays(void **state)
{
    const Fixture *fixture = *state;
    StrBuf buf = {0};
    strbuf_literal(&buf, "before");
    assert_int_equal(io_pwrite_all(fixture->fd, "12345", 5, 0), 0);
    assert_int_equal(io_read_file(fixture->path, 4, &buf), -EFBIG);
    assert_string_equal(buf.data, "before");
    assert_int_equal(io_read_file("/tmp", 4, &buf), -EISDIR);
    assert_int_equal(io_read_file("/nowhere", 4, &buf), -ENOENT);
    assert_string_equal(buf.data, "before");
    strbuf_done(&buf);
}

/** What ends in the midst of a write is not taken for written. */
static void test_write_that_is_cut_short_fails(void **state)
{
    const Fixture *fixture = *state;
    const char text[] = "0123456789";
    struct rlimit room;
    struct iovec parts[] = {{WITHOUT_CONST(text), 10}, {WITHOUT_CONST(text), 10}};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &room), 0);
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    const struct rlimit little_room = {15, room.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little_room), 0);
    int at = io_pwrite_all(fixture->fd, text, 10, 10);
    int in_parts = io_pwritev_all(fixture->fd, parts, 2, 0);
    int appended = io_write_all(fixture->fd, text, 10);
    int appended_beyond = io_write_all(fixture->fd, text, 10);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &room), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(at, -EFBIG);
    assert_int_equal(in_parts, -EFBIG);
    assert_int_equal(appended, 0);
    assert_int_equal(appended_beyond, -EFBIG);
}

static void test_parts_are_written_one_behind_the_other(void **state)
{
    const Fixture *fixture = *state;
    char got[10];
    struct iovec parts[] = {{WITHOUT_CONST("ab"), 2}, {NULL, 0}, {WITHOUT_CONST("cde"), 3}};
    assert_int_equal(io_write_all(fixture->fd, "123", 3), 0);
    assert_int_equal(io_write_all(fixture->fd, "456", 3), 0);
    assert_int_equal(io_pwritev_all(fixture->fd, parts, 3, 4), 0);
    assert_int_equal(io_pread_all(fixture->fd, got, 9, 0), 0);
    assert_memory_equal(got, "1234abcde", 9);
    assert_int_equal(io_pread_all(fixture->fd, got, 10, 0), -ENODATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        TEST(test_whole_file_is_appended),
        TEST(test_file_beyond_the_limit_is_refused_and_the_buffer_stays),
        TEST(test_write_that_is_cut_short_fails),
        TEST(test_parts_are_written_one_behind_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
