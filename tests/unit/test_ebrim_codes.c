/* Affinity domain codes (ITI TF-2 3.42.4.1.3.3.3, 3.42.4.1.3.3.4). */
#include <unistd.h>

#include "tests/unit/ebrim_fixture.h"

#define CLASS_CODE "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
#define TYPE_CODE "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
#define LOINC "2.16.840.1.113883.6.1"

static void test_a_code_is_known_with_its_scheme_in_its_set_only(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        const char *code;
        const char *scheme;
        bool is_known;
    } cases[] = {
        {TYPE_CODE, "18842-5", LOINC, true},
        {TYPE_CODE, "18842-5", "1.2.3", false},
        {TYPE_CODE, "18842-6", LOINC, false},
        {CLASS_CODE, "18842-5", LOINC, false},
        {"urn:uuid:00000000-0000-0000-0000-000000000000", "18842-5", LOINC, false},
        {TYPE_CODE, "", "", false},
    };
    CodeSets *codes = fixture_codes();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool is_known = code_sets_has(codes, str_from(cases[i].set), str_from(cases[i].code),
                                      str_from(cases[i].scheme));
        if (is_known != cases[i].is_known) {
            fail_msg("case %zu", i);
        }
    }
    assert_true(code_sets_has_mime_type(codes, STR("application/pdf")));
    assert_false(code_sets_has_mime_type(codes, STR("application/x-pdf")));
    code_sets_free(codes);
}

static void test_nearest_codes_come_best_first(void **state)
{
    Request *req = *state;
    static const struct {
        const char *set;
        const char *code;
        const char *scheme;
        const char *first;
    } cases[] = {
        /* the code with a wrong scheme */
        {TYPE_CODE, "18748-4", "LOINC", "18748-4^^" LOINC " (Diagnostic imaging study)"},
        /* its display name in its place */
        {TYPE_CODE, "consult note", LOINC, "11488-4^^" LOINC " (Consult note)"},
        /* another case, a slip, a beginning */
        {CLASS_CODE, "Report", "1.2.392.200270.4.1", "REPORT^^1.2.392.200270.4.1 (報告書)"},
        {CLASS_CODE, "REFERAL", "1.2.392.200270.4.1", "REFERRAL^^1.2.392.200270.4.1 (紹介状)"},
        {CLASS_CODE, "REF", "1.2.392.200270.4.1", "REFERRAL^^1.2.392.200270.4.1 (紹介状)"},
        {CODE_SET_MIME_TYPE, "application/x-pdf", "", "application/pdf"},
    };
    CodeSets *codes = fixture_codes();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Str nearest = code_sets_nearest(codes, req->arena, str_from(cases[i].set),
                                        str_from(cases[i].code), str_from(cases[i].scheme));
        if (!str_starts_with(nearest, str_from(cases[i].first))) {
            fail_msg("case %zu: %.*s", i, STR_ARG(nearest));
        }
    }
    Str none = code_sets_nearest(codes, req->arena, STR("urn:uuid:x"), STR("A"), STR("B"));
    assert_str(none, "");
    code_sets_free(codes);
}

static void test_nearest_names_three_codes_at_most(void **state)
{
    Request *req = *state;
    CodeSets *codes = fixture_codes();
    Str nearest = code_sets_nearest(codes, req->arena, STR(TYPE_CODE), STR("99999-9"), STR(LOINC));
    unsigned count = 0;
    Str rest = nearest;
    Str item;
    while (str_split_next(&rest, ',', &item)) {
        count++;
    }
    assert_int_equal(count, 3);
    code_sets_free(codes);
}

/** A file that cannot serve is refused with a reason that names it. */
static void test_a_bad_file_is_refused_with_its_name_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *problem;
    } cases[] = {
        {"<Codes>\n<CodeType name='a' classScheme='b'>\n<Code code='c'/></CodeType></Codes>",
         ":3: a Code needs"},
        {"<Codes/>", "no codes found"},
        {"no XML", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[] = "/tmp/test_ebrim_codes_XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        size_t len = strlen(cases[i].text);
        assert_int_equal(write(fd, cases[i].text, len), len);
        (void)close(fd);
        char problem[300] = "";
        CodeSets *codes = code_sets_load(path, problem, sizeof(problem));
        (void)unlink(path);
        assert_null(codes);
        if (!strstr(problem, path) || !strstr(problem, cases[i].problem)) {
            fail_msg("case %zu: %s", i, problem);
        }
    }
    char problem[300] = "";
    assert_null(code_sets_load("/nonexistent/codes.xml", problem, sizeof(problem)));
    assert_non_null(strstr(problem, "/nonexistent/codes.xml"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EBRIM_TEST(test_a_code_is_known_with_its_scheme_in_its_set_only),
        EBRIM_TEST(test_nearest_codes_come_best_first),
        EBRIM_TEST(test_nearest_names_three_codes_at_most),
        EBRIM_TEST(test_a_bad_file_is_refused_with_its_name_and_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
