#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "atna/audit.h"
#include "atna/spool.h"

#define FIRST_SEGMENT "0000000000000001.spool"
#define SECOND_SEGMENT "0000000000000002.spool"

/* The program's fdatasync(), in place of the C library's: counts, and fails when told so. */
static atomic_int sync_count;
static atomic_bool sync_fails;

int fdatasync(int fd)
{
    atomic_fetch_add(&sync_count, 1);
    if (atomic_load(&sync_fails)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

typedef struct Fixture {
    char parent[32];
    char directory[64];
    char problem[256];
    Arena *arena;
} Fixture;

static int set_up(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    snprintf(f->parent, sizeof f->parent, "/tmp/test-spool-XXXXXX");
    assert_non_null(mkdtemp(f->parent));
    snprintf(f->directory, sizeof f->directory, "%s/audit", f->parent);
    f->arena = arena_new();
    atomic_store(&sync_fails, false);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    Fixture *f = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- '%s'", f->parent);
    assert_int_equal(system(command), 0);
    arena_free(f->arena);
    free(f);
    return 0;
}

static Spool *open_spool(Fixture *f)
{
    Spool *spool = spool_open(f->directory, f->problem, sizeof f->problem);
    assert_non_null(spool);
    return spool;
}

static void append(Spool *spool, int64_t recorded_us, Str message)
{
    uint64_t ticket = 0;
    assert_int_equal(spool_append(spool, recorded_us, message, &ticket), 0);
    assert_int_equal(spool_sync(spool, ticket), 0);
}

/** "first|second|" of everything in the directory. */
typedef struct Contents {
    Arena *arena;
    Str text;
    int count;
    unsigned damaged;
} Contents;

static int on_record(void *ctx, const AuditRecord *record)
{
    Contents *contents = ctx;
    contents->count++;
    if (record->message.len < 100) {
        contents->text = str_printf(contents->arena, "%.*s%.*s|", STR_ARG(contents->text),
                                    STR_ARG(record->message));
    }
    return 0;
}

static Contents read_all(Fixture *f)
{
    Contents contents = {.arena = f->arena};
    assert_int_equal(audit_spool_read(f->directory, on_record, &contents, &contents.damaged,
                                      f->problem, sizeof f->problem),
                     0);
    return contents;
}

static void expect_contents(Fixture *f, const char *text, unsigned damaged)
{
    Contents contents = read_all(f);
    Str expected = str_from(text);
    if (!str_equal(contents.text, expected)) {
        fail_msg("spool holds \"%.*s\", expected \"%s\"", STR_ARG(contents.text), text);
    }
    assert_int_equal(contents.damaged, damaged);
}

static off_t size_of(Fixture *f, const char *file)
{
    char path[128];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", f->directory, file);
    return stat(path, &status) == 0 ? status.st_size : -1;
}

/** Cuts the file to len bytes, then adds the bytes given. */
static void damage(Fixture *f, const char *file, off_t len, Str bytes)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", f->directory, file);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, len), 0);
    assert_int_equal(pwrite(fd, bytes.data, bytes.len, len), (ssize_t)bytes.len);
    close(fd);
}

static void test_records_are_read_in_order_after_reopening(void **state)
{
    Fixture *f = *state;
    Spool *spool = open_spool(f);
    append(spool, 1, STR("one"));
    append(spool, 2, STR("two"));
    spool_close(spool);
    spool = open_spool(f);
    append(spool, 3, STR("three"));
    expect_contents(f, "one|two|three|", 0);
    spool_close(spool);
    assert_int_equal(size_of(f, FIRST_SEGMENT), 3 * 16 + 11);
    assert_int_equal(size_of(f, SECOND_SEGMENT), -1);
}

/* A crash may leave any part of the last record, or bytes that were never written. Zeros are room
 * for records to come. */
static void test_torn_tail_is_ignored_and_left_as_it_is(void **state)
{
    Fixture *f = *state;
    const struct {
        off_t len; /* two records of 16 + 3 bytes are there */
        Str bytes;
        const char *survives;
        bool is_torn;
    } cases[] = {
        {38, STR_INIT(""), "one|two|new|", false},
        {37, STR_INIT(""), "one|new|", true},
        {25, STR_INIT(""), "one|new|", true},
        {19, STR_INIT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "one|new|", false},
        {36, STR_INIT("xx"), "one|new|", true},
        {38, STR_INIT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0x"), "one|two|new|", true},
        {38, STR_INIT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "one|two|new|", false},
        {38, STR_INIT("\1\2\3\4\xff\xff\xff\xff\0\0\0\0\0\0\0\0"), "one|two|new|", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Spool *spool = open_spool(f);
        append(spool, 1, STR("one"));
        append(spool, 2, STR("two"));
        spool_close(spool);
        damage(f, FIRST_SEGMENT, cases[i].len, cases[i].bytes);
        bool is_torn = cases[i].is_torn;
        off_t size = size_of(f, FIRST_SEGMENT);
        spool = open_spool(f);
        append(spool, 3, STR("new"));
        expect_contents(f, cases[i].survives, is_torn ? 1 : 0);
        if (is_torn) {
            assert_int_equal(size_of(f, FIRST_SEGMENT), size);
        }
        spool_close(spool);
        tear_down(state);
        set_up(state);
        f = *state;
    }
}

static void test_second_writer_is_refused(void **state)
{
    Fixture *f = *state;
    Spool *spool = open_spool(f);
    assert_null(spool_open(f->directory, f->problem, sizeof f->problem));
    assert_non_null(strstr(f->problem, "another process"));
    spool_close(spool);
}

static void test_full_segment_is_followed_by_a_new_one(void **state)
{
    Fixture *f = *state;
    const size_t len = 9U << 20;
    char *bytes = malloc(len);
    memset(bytes, 'x', len);
    Spool *spool = open_spool(f);
    for (int i = 0; i < 8; i++) {
        append(spool, i, (Str){bytes, len});
    }
    append(spool, 9, STR("last"));
    assert_int_equal(spool_durable_end(spool).segment, 2);
    Contents contents = read_all(f);
    assert_int_equal(contents.count, 9);
    assert_int_equal(contents.damaged, 0);
    spool_remove_before(spool, (SpoolPosition){2, 0});
    expect_contents(f, "last|", 0);
    assert_int_equal(size_of(f, FIRST_SEGMENT), -1);
    spool_close(spool);
    free(bytes);
}

static void test_empty_and_giant_messages_are_refused(void **state)
{
    Fixture *f = *state;
    uint64_t ticket = 0;
    Spool *spool = open_spool(f);
    assert_int_equal(spool_append(spool, 1, STR_EMPTY, &ticket), -EMSGSIZE);
    assert_int_equal(
        spool_append(spool, 1, (Str){"", (size_t)SPOOL_MAX_MESSAGE_BYTES + 1}, &ticket), -EMSGSIZE);
    assert_true(spool_is_trusted(spool));
    spool_close(spool);
}

static void test_reader_stops_at_the_limit_and_goes_on_when_it_moves(void **state)
{
    Fixture *f = *state;
    AuditRecord record;
    Spool *spool = open_spool(f);
    append(spool, 1, STR("one"));
    SpoolPosition limit = spool_durable_end(spool);
    append(spool, 2, STR("two"));
    SpoolReader *reader = spool_reader_new(f->directory, (SpoolPosition){0, 0});
    assert_int_equal(spool_reader_next(reader, &limit, &record), 1);
    assert_int_equal(record.recorded_us, 1);
    assert_int_equal(spool_reader_next(reader, &limit, &record), 0);
    limit = spool_durable_end(spool);
    assert_int_equal(spool_reader_next(reader, &limit, &record), 1);
    assert_true(str_equal(record.message, STR("two")));
    spool_reader_free(reader);
    spool_close(spool);
}

static void test_cursor_survives_and_a_damaged_one_means_the_beginning(void **state)
{
    Fixture *f = *state;
    spool_close(open_spool(f));
    assert_int_equal(spool_cursor_load(f->directory).segment, 0);
    assert_int_equal(spool_cursor_store(f->directory, (SpoolPosition){3, 4711}), 0);
    SpoolPosition cursor = spool_cursor_load(f->directory);
    assert_int_equal(cursor.segment, 3);
    assert_int_equal(cursor.offset, 4711);
    damage(f, "cursor", 0, STR("garbage"));
    assert_int_equal(spool_cursor_load(f->directory).segment, 0);
}

/* Records that come while a reader is in the middle are read, each once. */
static void test_a_reader_goes_on_behind_what_it_had_read_ahead(void **state)
{
    Fixture *f = *state;
    Spool *spool = open_spool(f);
    for (int has_limit = 0; has_limit < 2; has_limit++) {
        SpoolReader *reader = spool_reader_new(f->directory, spool_durable_end(spool));
        for (int i = 0; i < 100; i++) {
            AuditRecord record;
            append(spool, i, STR("record"));
            SpoolPosition limit = spool_durable_end(spool);
            append(spool, i, STR("behind the limit"));
            assert_int_equal(spool_reader_next(reader, has_limit ? &limit : NULL, &record), 1);
            assert_int_equal(record.recorded_us, i);
            assert_true(str_equal(record.message, STR("record")));
            if (has_limit) {
                assert_int_equal(spool_reader_next(reader, &limit, &record), 0);
            }
            while (spool_reader_next(reader, NULL, &record) > 0) {
                assert_true(str_equal(record.message, STR("behind the limit")));
            }
        }
        spool_reader_free(reader);
    }
    spool_close(spool);
}

typedef struct Writer {
    Spool *spool;
    int failures;
} Writer;

enum { WRITERS = 8, RECORDS_PER_WRITER = 200 };

static void *writer_run(void *ctx)
{
    Writer *writer = ctx;
    for (int i = 0; i < RECORDS_PER_WRITER; i++) {
        uint64_t ticket = 0;
        if (spool_append(writer->spool, i, STR("record"), &ticket) < 0 ||
            spool_sync(writer->spool, ticket) < 0) {
            writer->failures++;
        }
    }
    return NULL;
}

/* Group commit, one fdatasync for all that wait. */
static void test_one_sync_serves_all_that_wait(void **state)
{
    Fixture *f = *state;
    pthread_t threads[WRITERS];
    Writer writers[WRITERS];
    Spool *spool = open_spool(f);
    atomic_store(&sync_count, 0);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (Writer){spool, 0};
        pthread_create(&threads[i], NULL, writer_run, &writers[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(writers[i].failures, 0);
    }
    assert_int_equal(read_all(f).count, WRITERS * RECORDS_PER_WRITER);
    assert_true(atomic_load(&sync_count) < WRITERS * RECORDS_PER_WRITER);
    spool_close(spool);
}

/* Contracts C4 and C6: after EIO nothing is recorded any more, and no sync is tried again. */
static void test_failed_sync_ends_the_trust_for_good(void **state)
{
    Fixture *f = *state;
    const AuditConfig config = {.directory = f->directory,
                                .repository = "local",
                                .source_id = "test",
                                .host_name = "localhost"};
    const AuditEvent event = {.type = AUDIT_ITI18_QUERY};
    Request *req = request_new(600000);
    Audit *audit = audit_new(&config, NULL, f->problem, sizeof f->problem);
    assert_non_null(audit);
    assert_int_equal(audit_record_event(audit, req, &event), 0);
    assert_true(audit_is_writable(audit));

    atomic_store(&sync_fails, true);
    assert_int_equal(audit_record_event(audit, req, &event), -ERR_IO);
    assert_int_equal(req->errors.error_count, 1);

    atomic_store(&sync_fails, false);
    atomic_store(&sync_count, 0);
    assert_int_equal(audit_record_event(audit, req, &event), -ERR_IO);
    assert_int_equal(atomic_load(&sync_count), 0);
    assert_false(audit_is_writable(audit));
    audit_free(audit);
    request_free(req);
}

static void test_missing_parent_directory_is_named(void **state)
{
    Fixture *f = *state;
    assert_null(spool_open("/nonexistent/audit", f->problem, sizeof f->problem));
    assert_non_null(strstr(f->problem, "/nonexistent/audit"));
}

int main(void)
{
#define WITH_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_DIRECTORY(test_records_are_read_in_order_after_reopening),
        WITH_DIRECTORY(test_torn_tail_is_ignored_and_left_as_it_is),
        WITH_DIRECTORY(test_second_writer_is_refused),
        WITH_DIRECTORY(test_full_segment_is_followed_by_a_new_one),
        WITH_DIRECTORY(test_empty_and_giant_messages_are_refused),
        WITH_DIRECTORY(test_reader_stops_at_the_limit_and_goes_on_when_it_moves),
        WITH_DIRECTORY(test_a_reader_goes_on_behind_what_it_had_read_ahead),
        WITH_DIRECTORY(test_cursor_survives_and_a_damaged_one_means_the_beginning),
        WITH_DIRECTORY(test_one_sync_serves_all_that_wait),
        WITH_DIRECTORY(test_failed_sync_ends_the_trust_for_good),
        WITH_DIRECTORY(test_missing_parent_directory_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
