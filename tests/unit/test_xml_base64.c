#include "lib/xml/base64.h"

#include "tests/unit/xml_fixture.h"

/* RFC 4648 section 10, and xs:base64Binary: white space anywhere. */
static void test_text_is_decoded_however_it_is_cut(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *bytes;
    } CASES[] = {
        {"", ""},
        {"Zg==", "f"},
        {"Zm8=", "fo"},
        {"Zm9v", "foo"},
        {"Zm9vYg==", "foob"},
        {"Zm9vYmE=", "fooba"},
        {"Zm9vYmFy", "foobar"},
        {" Z m\r\n9 v\tYg= =\n", "foob"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Str text = str_from(CASES[i].text);
        for (size_t step = 1; step <= text.len; step++) {
            Base64Decoder decoder = {0};
            uint8_t bytes[64];
            size_t total = 0;
            for (size_t at = 0; at < text.len; at += step) {
                size_t len = 0;
                assert_true(
                    base64_decode(&decoder, str_slice(text, at, step), bytes + total, &len));
                assert_true(len <= BASE64_DECODED_MAX(step));
                total += len;
            }
            assert_true(base64_is_complete(&decoder));
            assert_str((Str){(const char *)bytes, total}, CASES[i].bytes);
        }
    }
}

static void test_what_is_not_base64_is_refused(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "Zm9*", "=", "Z===", "Zg==Zg==", "Zg===", "Zm8==", "Zm9v-_", "Zm\xff"};
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Base64Decoder decoder = {0};
        uint8_t bytes[64];
        size_t len = 0;
        if (base64_decode(&decoder, str_from(CASES[i]), bytes, &len)) {
            fail_msg("case %zu was accepted", i);
        }
    }
}

static void test_text_that_is_cut_short_is_not_complete(void **state)
{
    (void)state;
    static const char *const CASES[] = {"Z", "Zm", "Zm9", "Zm9vY", "Zg="};
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Base64Decoder decoder = {0};
        uint8_t bytes[64];
        size_t len = 0;
        assert_true(base64_decode(&decoder, str_from(CASES[i]), bytes, &len));
        assert_false(base64_is_complete(&decoder));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_decoded_however_it_is_cut),
        cmocka_unit_test(test_what_is_not_base64_is_refused),
        cmocka_unit_test(test_text_that_is_cut_short_is_not_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
