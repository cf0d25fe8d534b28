/* Parameters of searches (FHIR R4 3.1.1.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/fhir/parameters.h"

static Request *req;

static int set_up(void **state)
{
    (void)state;
    req = request_new(600000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    request_free(req);
    return 0;
}

static void assert_str(Str text, const char *expected)
{
    assert_string_equal(str_cstr(req->arena, text), expected);
}

static void test_names_modifiers_and_values_are_decoded(void **state)
{
    FhirParameters parameters = {0};
    size_t index = 0;
    (void)state;
    assert_int_equal(fhir_parameters_read(req, &parameters,
                                          STR("&family:exact=%E9%AB%99+x&a=1&given=b%26&a=2&c")),
                     0);
    const FhirParameter *family = fhir_parameters_next(&parameters, "family", &index);
    assert_str(family->modifier, "exact");
    assert_str(family->value, "\xe9\xab\x99 x");
    index = 0;
    assert_str(fhir_parameters_next(&parameters, "a", &index)->value, "1");
    assert_str(fhir_parameters_next(&parameters, "a", &index)->value, "2");
    assert_null(fhir_parameters_next(&parameters, "a", &index));
    assert_str(fhir_parameters_value(&parameters, "given"), "b&");
    StrBuf buf = {0};
    fhir_parameters_write_used(&buf, &parameters, NULL); /* c was asked for by nobody */
    assert_string_equal(buf.data, "family:exact=%E9%AB%99%20x&a=1&given=b%26&a=2");
    strbuf_done(&buf);
}

static void test_broken_percent_encoding_is_refused(void **state)
{
    static const char *const texts[] = {"a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "%c3=1"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        FhirParameters parameters = {0};
        assert_int_equal(fhir_parameters_read(req, &parameters, str_from(texts[i])),
                         -(int)ERR_FHIR_INVALID);
    }
}

static void test_alternatives_and_tokens_know_escapes(void **state)
{
    Str rest = STR("urn:oid:1.2|a\\,b\\|c,urn:oid:3|,|x,y\\");
    Str item;
    (void)state;
    static const struct {
        bool has_separator;
        const char *system;
        const char *code;
    } expected[] = {{true, "urn:oid:1.2", "a,b|c"},
                    {true, "urn:oid:3", ""},
                    {true, "", "x"},
                    {false, "", "y\\"}};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_true(fhir_value_next(&rest, &item));
        FhirToken token = fhir_token_parse(req->arena, item);
        assert_int_equal(token.has_separator, expected[i].has_separator);
        assert_str(token.system, expected[i].system);
        assert_str(token.code, expected[i].code);
    }
    assert_false(fhir_value_next(&rest, &item));
}

static void test_dates_have_a_prefix_and_a_precision(void **state)
{
    static const struct {
        const char *text;
        FhirPrefix prefix;
        const char *digits; /* NULL: refused */
        const char *after;
        const char *before;
    } rows[] = {
        {"1958-01-30", FHIR_PREFIX_EQ, "19580130", "19580131", "19580129"},
        {"ge1958-01-31", FHIR_PREFIX_GE, "19580131", "19580201", "19580130"},
        {"lt2000-03-01T10:00:00Z", FHIR_PREFIX_LT, "20000301", "20000302", "20000229"},
        {"sa1999-12", FHIR_PREFIX_GT, "199912", "200001", "199911"},
        {"ap1999-12-31", FHIR_PREFIX_AP, "19991231", "20000101", "19991230"},
        {"ne1999", FHIR_PREFIX_NE, "1999", "2000", "1998"},
        {"eb2000-01", FHIR_PREFIX_LT, "200001", "200002", "199912"},
        {"1999-02-29", FHIR_PREFIX_EQ, NULL, NULL, NULL},
        {"1999-13", FHIR_PREFIX_EQ, NULL, NULL, NULL},
        {"1999-1-1", FHIR_PREFIX_EQ, NULL, NULL, NULL},
        {"19990101", FHIR_PREFIX_EQ, NULL, NULL, NULL},
        {"xx1999", FHIR_PREFIX_EQ, NULL, NULL, NULL},
        {"1999T10:00", FHIR_PREFIX_EQ, NULL, NULL, NULL},
        {"", FHIR_PREFIX_EQ, NULL, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        FhirDate date;
        bool is_good = fhir_date_parse(str_from(rows[i].text), &date);
        assert_int_equal(is_good, rows[i].digits != NULL);
        if (is_good) {
            assert_int_equal(date.prefix, rows[i].prefix);
            assert_str(fhir_date_digits(req->arena, date), rows[i].digits);
            assert_str(fhir_date_digits(req->arena, fhir_date_step(date, 1)), rows[i].after);
            assert_str(fhir_date_digits(req->arena, fhir_date_step(date, -1)), rows[i].before);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names_modifiers_and_values_are_decoded, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_broken_percent_encoding_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_alternatives_and_tokens_know_escapes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_dates_have_a_prefix_and_a_precision, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
