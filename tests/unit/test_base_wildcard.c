/* Patterns of text parameters (ITI TF-2 3.18.4.1.2.3.5: SQL LIKE, no escape character) and of
 * demographics queries (3.21.4.1.3.2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/macros.h"
#include "lib/base/wildcard.h"

typedef struct Case {
    const char *pattern;
    const char *text;
    bool matches;
} Case;

/* Each answer is also PostgreSQL's to text LIKE pattern ESCAPE ''. */
static const Case cases[] = {
    {"", "", true},
    {"", "a", false},
    {"a", "", false},
    {"a", "a", true},
    {"a", "A", false},
    {"a", "ab", false},
    {"b", "ab", false},
    {"%", "", true},
    {"%", "anything", true},
    {"%%", "", true},
    {"_", "", false},
    {"_", "a", true},
    {"_", "ab", false},
    {"a%", "abc", true},
    {"%c", "abc", true},
    {"%b%", "abc", true},
    {"%d%", "abc", false},
    {"a%c", "ac", true},
    {"a%c", "abcbc", true},
    {"a%c", "abcb", false},
    {"%ab", "aab", true},
    {"%aab%aab", "aaabaaab", true},
    {"%_", "", false},
    {"%_", "ab", true},
    {"_%_", "a", false},
    {"_%_", "ab", true},
    {"a_c%", "abcd", true},
    {"a_c%", "acd", false},
    /* no escape character */
    {"a\\%", "a%", false},
    {"a\\%", "a\\b", true},
    {"a\\_", "a\\b", true},
    {"\\", "\\", true},
    {"%\\\\%", "^O\\\\S", true},
    /* other characters mean themselves */
    {"a.*[b]", "a.*[b]", true},
    {"a.*", "abc", false},
    /* _ is a character, not a byte */
    {"_", "山", true},
    {"__", "山", false},
    {"^_田^%", "^山田^一", true},
    {"%田^_", "^山田^一", true},
    {"_一", "一", false},
};

static void test_patterns_match_as_like_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (wildcard_matches(str_from(cases[i].pattern), str_from(cases[i].text), '%', '_') !=
            cases[i].matches) {
            fail_msg("\"%s\" LIKE \"%s\" is not %d", cases[i].text, cases[i].pattern,
                     cases[i].matches);
        }
    }
}

static void test_other_characters_may_be_the_wildcards(void **state)
{
    (void)state;
    assert_true(wildcard_matches(STR("ya*da?"), STR("yamada_"), '*', '?'));
    assert_false(wildcard_matches(STR("ya%"), STR("yamada"), '*', '?'));
}

/** The time of a matcher that tries every way to share the text out grows as 2 to the number of %.
 */
static void test_many_percent_signs_take_no_time(void **state)
{
    (void)state;
    StrBuf pattern = {0};
    StrBuf text = {0};
    for (int i = 0; i < 1000; i++) {
        strbuf_literal(&pattern, "%a");
        strbuf_literal(&text, "aaaa");
    }
    strbuf_literal(&pattern, "%b");
    int64_t start_ns = clock_now_ns();
    assert_false(wildcard_matches(strbuf_str(&pattern), strbuf_str(&text), '%', '_'));
    assert_true(clock_now_ns() - start_ns < INT64_C(30000000000));
    strbuf_done(&pattern);
    strbuf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns_match_as_like_does),
        cmocka_unit_test(test_other_characters_may_be_the_wildcards),
        cmocka_unit_test(test_many_percent_signs_take_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
