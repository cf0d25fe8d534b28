#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/language.h"
#include "server/options.h"

static const struct {
    const char *english;
    const char *japanese;
} texts[] = {
#define TEXT(english, japanese) {english, japanese},
#include "server/language_ja.def"
#undef TEXT
};

/** The next conversion of a format, with its width and precision: "%.*s"; NULL behind the last. */
static const char *next_conversion(const char **format, size_t *ret_len)
{
    const char *begin = strchr(*format, '%');
    if (!begin) {
        return NULL;
    }
    *ret_len = strcspn(begin, "dsfu") + 1;
    *format = begin + *ret_len;
    return begin;
}

static void test_translations_take_the_same_arguments(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const char *english = texts[i].english;
        const char *japanese = texts[i].japanese;
        const char *a;
        do {
            size_t a_len = 0;
            size_t b_len = 0;
            a = next_conversion(&english, &a_len);
            const char *b = next_conversion(&japanese, &b_len);
            if (!a != !b || a_len != b_len || (a && memcmp(a, b, a_len) != 0)) {
                fail_msg("%s", texts[i].english);
            }
        } while (a);
    }
}

static void test_texts_follow_the_language(void **state)
{
    (void)state;
    assert_string_equal(tr("roles"), "roles");
    assert_false(language_set("fr"));
    assert_true(language_set("ja"));
    assert_string_equal(tr("roles"), "役割");
    assert_string_equal(tr("no row has this"), "no row has this");
    assert_true(language_set("en"));
    assert_string_equal(tr("roles"), "roles");
}

static void test_japanese_fills_two_columns_each(void **state)
{
    (void)state;
    assert_int_equal(language_pad("roles", 18), 18);
    assert_int_equal(language_pad("役割", 18), 18 + 2); /* 6 bytes, 4 columns */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_translations_take_the_same_arguments),
        cmocka_unit_test(test_texts_follow_the_language),
        cmocka_unit_test(test_japanese_fills_two_columns_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
