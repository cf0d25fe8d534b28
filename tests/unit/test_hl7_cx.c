/* CX and HD: ITI TF-2 Appendix E; patientId in metadata: ITI TF-3 Table 4.2.3.1.7-2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/hl7/cx.h"

#define OID "1.3.6.1.4.1.21367.2005.13.20.1000"

static void test_only_an_oid_with_type_iso_is_of_the_authority(void **state)
{
    static const struct {
        const char *text;
        bool is_own;
        bool has_more;
    } rows[] = {
        {"P1^^^&" OID "&ISO", true, false},
        {"P1^^^NS&" OID "&ISO", true, false},
        {"P1^^^&" OID "&ISO^PI", true, true},
        {"P1^9^^&" OID "&ISO", true, true},
        {"P1^^^&" OID "&ISO^^^", true, false},
        {"^^^&" OID "&ISO", false, false},
        {"P1^^^&" OID "&DNS", false, false},
        {"P1^^^&" OID "&iso", false, false},
        {"P1^^^&" OID, false, false},
        {"P1^^^&" OID ".1&ISO", false, false},
        {"P1^^^&0" OID "&ISO", false, false},
        {"P1^^&" OID "&ISO", false, true},
        {"P1", false, false},
        {"", false, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        Hl7Cx cx = hl7_cx_parse(arena, &er7_standard_delimiters, HL7_UTF_8, str_from(rows[i].text));
        if (hl7_cx_is_of_authority(&cx, STR(OID)) != rows[i].is_own ||
            cx.has_more != rows[i].has_more) {
            fail_msg("row %zu: %s", i, rows[i].text);
        }
        arena_free(arena);
    }
}

static void test_an_identifier_with_delimiters_survives_writing_and_reading(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    Str text = hl7_cx_format(arena, STR("A&B^C\\D"), STR(OID));
    assert_true(str_equal(text, STR("A\\T\\B\\S\\C\\E\\D^^^&" OID "&ISO")));
    Hl7Cx cx = hl7_cx_parse(arena, &er7_standard_delimiters, HL7_UTF_8, text);
    assert_true(str_equal(cx.id, STR("A&B^C\\D")));
    assert_true(hl7_cx_is_of_authority(&cx, STR(OID)));
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_an_oid_with_type_iso_is_of_the_authority),
        cmocka_unit_test(test_an_identifier_with_delimiters_survives_writing_and_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
