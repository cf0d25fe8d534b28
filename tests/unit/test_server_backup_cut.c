#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/backup/cut.h"
#include "server/backup/store.h"

#define STREAM_BYTES ((size_t)48 << 20)
#define LEAST_BYTES ((size_t)64 << 10)
#define MAX_CUTS (2 * STREAM_BYTES / LEAST_BYTES)

static uint64_t next_number(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fill_random(char *bytes, size_t len)
{
    uint64_t state = 0x4d7573756269;
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (char)next_number(&state);
    }
}

static void fill_zero(char *bytes, size_t len)
{
    memset(bytes, 0, len);
}

#define ROW_BYTES ((size_t)4096)
#define NEW_BYTES ((size_t)128)

/** Rows as those of an audit trail: in each some numbers are new, the rest is that of all others.
 */
static void fill_rows(char *bytes, size_t len)
{
    uint64_t state = 0x4d7573756269;
    for (size_t i = 0; i < len; i++) {
        const bool is_new = i % ROW_BYTES < NEW_BYTES;
        bytes[i] = is_new ? "0123456789abcdef"[next_number(&state) & 15] : 'x';
    }
}

typedef void (*FillFn)(char *bytes, size_t len);

static char *new_stream(FillFn fill)
{
    char *bytes = malloc(STREAM_BYTES + 1);
    assert_non_null(bytes);
    fill(bytes, STREAM_BYTES);
    return bytes;
}

/** Where pieces end. @return their number */
static size_t cut_all(const char *bytes, size_t len, size_t ends[MAX_CUTS])
{
    BackupCutter cutter;
    size_t count = 0;
    backup_cutter_init(&cutter);
    for (size_t begin = 0; begin < len; begin = ends[count++]) {
        assert_true(count < MAX_CUTS);
        const size_t rest = MIN(len - begin, BACKUP_PIECE_BYTES);
        const size_t piece = backup_cut(&cutter, bytes + begin, rest);
        assert_in_range(piece, 1, rest);
        ends[count] = begin + piece;
    }
    return count;
}

/** Pieces that are within their limits are few enough, and are as large as can be read back. */
static void test_pieces_have_64_kib_to_4_mib_whatever_the_content(void **state)
{
    static const struct {
        FillFn fill;
        size_t most; /* pieces */
        size_t least;
    } rows[] = {
        {fill_random, 48 * 4, 48 * 2},
        {fill_rows, 48 * 4, 48 / 2},
        {fill_zero, 48 * 16, 48 / 4},
    };
    static size_t ends[MAX_CUTS];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *bytes = new_stream(rows[i].fill);
        size_t count = cut_all(bytes, STREAM_BYTES, ends);
        assert_in_range(count, rows[i].least, rows[i].most);
        assert_int_equal(ends[count - 1], STREAM_BYTES);
        for (size_t k = 0; k + 1 < count; k++) {
            size_t begin = k > 0 ? ends[k - 1] : 0;
            assert_in_range(ends[k] - begin, LEAST_BYTES, BACKUP_PIECE_BYTES);
        }
        free(bytes);
    }
}

static void test_a_stream_that_is_short_is_one_piece(void **state)
{
    static const size_t lens[] = {0, 1, LEAST_BYTES - 64, LEAST_BYTES - 1, LEAST_BYTES};
    BackupCutter cutter;
    char *bytes = new_stream(fill_random);
    (void)state;
    backup_cutter_init(&cutter);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        assert_int_equal(backup_cut(&cutter, bytes, lens[i]), lens[i]);
    }
    free(bytes);
}

/** An end that only the limit makes would be another one after an insertion. */
static void test_rows_that_repeat_each_other_are_not_cut_by_the_limit(void **state)
{
    static size_t ends[MAX_CUTS];
    char *bytes = new_stream(fill_rows);
    size_t count = cut_all(bytes, STREAM_BYTES, ends);
    (void)state;
    for (size_t k = 0; k < count; k++) {
        assert_true(ends[k] - (k > 0 ? ends[k - 1] : 0) < BACKUP_PIECE_BYTES);
    }
    free(bytes);
}

static bool has_end(const size_t *ends, size_t count, size_t end)
{
    bool has_end = false;
    for (size_t i = 0; i < count; i++) {
        has_end = has_end || ends[i] == end;
    }
    return has_end;
}

/** The ends behind an inserted byte are those before it, one further, but for a few. */
static void test_an_insertion_makes_few_pieces_new(void **state)
{
    static const FillFn fills[] = {fill_random, fill_rows};
    static const size_t places[] = {0, 100, 1 << 20, 5 << 20, 20000001, STREAM_BYTES - 1};
    static size_t before[MAX_CUTS];
    static size_t after[MAX_CUTS];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(fills) * ARRAY_LEN(places); i++) {
        const size_t place = places[i % ARRAY_LEN(places)];
        char *bytes = new_stream(fills[i / ARRAY_LEN(places)]);
        const size_t before_count = cut_all(bytes, STREAM_BYTES, before);
        memmove(bytes + place + 1, bytes + place, STREAM_BYTES - place);
        bytes[place] = '!';
        const size_t after_count = cut_all(bytes, STREAM_BYTES + 1, after);
        size_t lost = 0;
        for (size_t k = 0; k < before_count; k++) {
            lost += !has_end(after, after_count, before[k] + (before[k] > place));
        }
        assert_in_range(lost, 0, 3);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_have_64_kib_to_4_mib_whatever_the_content),
        cmocka_unit_test(test_a_stream_that_is_short_is_one_piece),
        cmocka_unit_test(test_rows_that_repeat_each_other_are_not_cut_by_the_limit),
        cmocka_unit_test(test_an_insertion_makes_few_pieces_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
