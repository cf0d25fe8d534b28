#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/crc32c.h"
#include "lib/base/dtm.h"
#include "lib/base/oid.h"
#include "lib/base/str.h"
#include "lib/base/uuid.h"

/* RFC 3629 section 4: no overlong forms, no surrogates, nothing above U+10FFFF; NUL is refused on
 * entry. */
static void test_malformed_utf8_is_recognized(void **state)
{
    (void)state;
    const struct {
        Str text;
        bool is_good;
    } cases[] = {
        {STR_INIT("abc"), true},
        {STR_INIT("\xe5\xb1\xb1"), true},
        {STR_INIT("\xf0\xa0\xae\xb7"), true},
        {STR_INIT("\xc0\x80"), false},
        {STR_INIT("\xed\xa0\x80"), false},
        {STR_INIT("\xf4\x90\x80\x80"), false},
        {STR_INIT("a\0b"), false},
        {STR_INIT("\xe5\xb1"), false},
        {STR_INIT("\x80"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (str_is_utf8(cases[i].text) != cases[i].is_good) {
            fail_msg("case %zu", i);
        }
    }
}

static void test_numbers_are_whole_decimal_and_do_not_overflow(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    assert_true(str_to_u64(STR("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    assert_false(str_to_u64(STR(""), &u));
    assert_false(str_to_u64(STR("1 "), &u));
    assert_true(str_to_i64(STR("-9223372036854775808"), &i));
    assert_true(i == INT64_MIN);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
    assert_false(str_to_i64(STR("-"), &i));
}

/* ITI TF-3 Table 4.2.3.1.7-2: DTM has 4, 6, 8, 10, 12 or 14 digits, each field in its range. */
static void test_dtm_is_range_checked(void **state)
{
    (void)state;
    const struct {
        Str text;
        int64_t seconds; /* -1: refused */
    } cases[] = {
        {STR_INIT("1970"), 0},
        {STR_INIT("19700102"), 86400},
        {STR_INIT("20040229123456"), 1078058096},
        {STR_INIT("20050229"), -1},
        {STR_INIT("200413"), -1},
        {STR_INIT("2004010124"), -1},
        {STR_INIT("20040101000060"), -1},
        {STR_INIT("200"), -1},
        {STR_INIT("20040101+0900"), -1},
        {STR_INIT("200401011"), -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t us = -1000000;
        bool good = dtm_parse(cases[i].text, &us);
        if (good != (cases[i].seconds >= 0) || us != cases[i].seconds * 1000000) {
            fail_msg("case %zu: %lld", i, (long long)us);
        }
    }
}

/* ITI TF-2 Appendix B: at most 64 characters, no leading zeros in arcs. */
static void test_oid_grammar(void **state)
{
    (void)state;
    assert_true(oid_is_valid(STR("1.3.6.1.4.1.21367")));
    assert_true(oid_is_valid(STR("1.0")));
    assert_true(oid_is_valid(STR("1.234.2.3.4.5")));
    assert_false(oid_is_valid(STR("1")));
    assert_false(oid_is_valid(STR("1.02")));
    assert_false(oid_is_valid(STR("1..2")));
    assert_false(oid_is_valid(STR("1.2.")));
    assert_false(oid_is_valid(STR("1.2a")));
    assert_false(
        oid_is_valid(STR("1.1111111111111111111111111111111111111111111111111111111111111111")));
    assert_true(oid_is_valid_urn(STR("urn:oid:1.2.3")));
    assert_false(oid_is_valid_urn(STR("1.2.3")));
}

/* ITI TF-3 Table 4.2.3.1.7-2: UUIDs are lower case. */
static void test_uuid_reads_what_it_writes_and_refuses_upper_case(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    Uuid uuid = uuid_new();
    Uuid again;
    assert_true(uuid_parse_urn(uuid_urn(arena, uuid), &again));
    assert_true(uuid_equal(uuid, again));
    assert_false(uuid_parse_urn(STR("urn:uuid:7EDCA82F-054D-47F2-A032-9B2A5B5186C1"), &again));
    assert_false(uuid_parse_urn(STR("urn:uuid:7edca82f054d-47f2-a032-9b2a5b5186c1-"), &again));
    assert_false(uuid_parse_urn(STR("Document01"), &again));
    assert_false(uuid_equal(uuid_derive(uuid, 1), uuid_derive(uuid, 2)));
    assert_true(uuid_equal(uuid_derive(uuid, 1), uuid_derive(uuid, 1)));
    arena_free(arena);
}

static void test_a_word_is_found_as_a_whole(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        const char *word;
        bool is_there;
    } cases[] = {
        {"2.3.1 2.5", "2.5", true}, {"2.3.1 2.5", "2.3.1", true}, {"2.3.1 2.5", "2.3", false},
        {"2.3.1 2.5", "", false},   {"", "2.5", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (str_has_word(str_from(cases[i].words), str_from(cases[i].word)) != cases[i].is_there) {
            fail_msg("case %zu", i);
        }
    }
}

static void test_split_gives_empty_items_too(void **state)
{
    (void)state;
    Str rest = STR("a^^b^");
    Str item;
    const char *expected[] = {"a", "", "b", ""};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_true(str_split_next(&rest, '^', &item));
        assert_true(str_equal(item, str_from(expected[i])));
    }
    assert_false(str_split_next(&rest, '^', &item));
}

/* RFC 3629: what a reply shows is well-formed, also where a text was cut inside a character. */
static void test_a_shown_text_is_well_formed_utf8(void **state)
{
    (void)state;
    static const struct {
        Str text;
        const char *shown;
    } cases[] = {
        {STR_INIT("\xe9\xab\x99\xe6\xa9\x8b"), "\xe9\xab\x99\xe6\xa9\x8b"},
        {STR_INIT("\xe9\xab\x99\xe6\xa9"), "\xe9\xab\x99??"},
        {STR_INIT("\xff/\xc0\x80"), "?/??"},
        {STR_INIT("a\0b"), "a?b"},
        {STR_INIT(""), ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        Str shown = str_shown(arena, cases[i].text);
        assert_true(str_equal(shown, str_from(cases[i].shown)));
    }
}

/* What others wrote is shown on an operator's terminal: ECMA-48 control characters, C1 included,
 * and the bidirectional controls of Unicode stay out. */
static void test_what_is_printed_moves_no_cursor_and_turns_no_text(void **state)
{
    (void)state;
    static const struct {
        Str text;
        const char *printed;
    } cases[] = {
        {STR_INIT("\xe9\xab\x99\xe6\xa9\x8b A-1"), "\xe9\xab\x99\xe6\xa9\x8b A-1"},
        {STR_INIT("a\x1b[2Jb\r\nc\x7f"), "a [2Jb  c "},
        {STR_INIT("\xc2\x9b"
                  "31m\xc2\x85\xc2\xa0"),
         " 31m \xc2\xa0"},
        {STR_INIT("\xe2\x80\xae"
                  "a\xe2\x80\xa8\xe2\x81\xa6\xe2\x80\x8f"),
         " a   "},
        {STR_INIT("\xe2\x80\x94\xe2\x81\xa0"), "\xe2\x80\x94\xe2\x81\xa0"},
        {STR_INIT("a\0\x9b"), "a??"},
        {STR_INIT(""), ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        Str printed = str_printable(arena, cases[i].text);
        assert_true(str_equal(printed, str_from(cases[i].printed)));
    }
}

/* RFC 4648 section 10 test vectors. */
static void test_base64_vectors(void **state)
{
    (void)state;
    const char *cases[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        StrBuf buf = {0};
        strbuf_append_base64(&buf, cases[i][0], strlen(cases[i][0]));
        assert_string_equal(buf.data, cases[i][1]);
        strbuf_done(&buf);
    }
}

/* RFC 3720 appendix B.4 test vector of CRC-32C: 32 bytes of zeros; and continuation in pieces. */
static void test_crc32c_vector_and_continuation(void **state)
{
    (void)state;
    unsigned char zeros[32] = {0};
    assert_int_equal(crc32c(0, zeros, sizeof(zeros)), 0x8a9136aau);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_utf8_is_recognized),
        cmocka_unit_test(test_a_shown_text_is_well_formed_utf8),
        cmocka_unit_test(test_what_is_printed_moves_no_cursor_and_turns_no_text),
        cmocka_unit_test(test_numbers_are_whole_decimal_and_do_not_overflow),
        cmocka_unit_test(test_dtm_is_range_checked),
        cmocka_unit_test(test_oid_grammar),
        cmocka_unit_test(test_uuid_reads_what_it_writes_and_refuses_upper_case),
        cmocka_unit_test(test_a_word_is_found_as_a_whole),
        cmocka_unit_test(test_split_gives_empty_items_too),
        cmocka_unit_test(test_base64_vectors),
        cmocka_unit_test(test_crc32c_vector_and_continuation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
