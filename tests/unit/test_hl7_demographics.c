/* Demographics: PID of HL7 v2.5 3.4.2; ITI TF-2 Appendix C (empty and null), Table 3.21-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/hl7/demographics.h"

static Demographics read_pid(Arena *arena, const char *payload)
{
    ErrorList errors;
    Demographics demographics;
    error_list_init(&errors, arena);
    const Er7Message *message = er7_read(arena, &errors, str_from(payload));
    assert_non_null(message);
    assert_int_equal(errors.count, 0);
    demographics_from_pid(message, er7_segment(message, STR("PID"), 1), &demographics);
    return demographics;
}

static void assert_str(Str text, const char *expected)
{
    if (!str_equal(text, str_from(expected))) {
        fail_msg("\"%.*s\" instead of \"%s\"", STR_ARG(text), expected);
    }
}

#define MSH "MSH|^~\\&|A|B|C|D|2026||ADT^A04^ADT_A01|1|P|2.5\r"
#define MSH_UTF_8 "MSH|^~\\&|A|B|C|D|2026||ADT^A04^ADT_A01|1|P|2.5||||||UNICODE UTF-8\r"

/* What was fed comes back: every field, with its repetitions and escapes. */
static void test_a_record_survives_writing_and_reading(void **state)
{
    static const struct {
        const char *payload;
        const char *written;
    } rows[] = {
        {MSH "PID|||1||A^B~C^D|M|19700101|F\r", "A^B~C^D|M|19700101|F"},
        {MSH "PID|||1|\r", ""},
        {MSH "PID|||1||A&van^B\\T\\\\F\\^\\H\\\r", "A&van^B\\T\\\\F\\^\\H\\"},
        {MSH "PID||||||||F||||||||||||||||||||US\r", "|||F|||||||||||||||||||US"}, /* PID-28 */
        {MSH "PID|||1||A|||||||||||||||||||||||||Y|AL\r",
         "A||||||||||||||||||||||||Y|AL"}, /* no row for PID-27 */
        {"MSH#*!/@#A#B#C#D#2026##ADT*A04#1#P#2.5\rPID###1##A@x*B!/S/^\r",
         "A&x^B~\\S\\\\S\\"}, /* other delimiters */
        {"MSH|^~\\&|A|B|C|D|2026||ADT^A04^ADT_A01|1|P|2.5||||||8859/1\r"
         "PID|||1||\\XE9\\^\\X0D\\\r",
         "\xC3\xA9^\\X0D\\"}, /* octets of the message's character set */
        {MSH_UTF_8 "PID|||1||\xE9\xAB\x99^\\XE5\\\r", "\xE9\xAB\x99^\\E\\XE5\\E\\"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        Demographics fed = read_pid(arena, rows[i].payload);
        Str written = demographics_write(arena, &fed);
        if (!str_equal(written, str_from(rows[i].written))) {
            fail_msg("row %zu: %.*s", i, STR_ARG(written));
        }
        Demographics read;
        demographics_read(written, &read);
        for (size_t field = 0; field < DEMOGRAPHIC_COUNT; field++) {
            assert_true(str_equal(read.fields[field], fed.fields[field]));
        }
        arena_free(arena);
    }
}

/* TF-2 Appendix C: an empty field changes nothing, two quotes delete. */
static void test_a_feed_changes_what_it_values(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    Demographics held = read_pid(arena, MSH "PID|||1||A^B|M^N|1970|F\r");
    Demographics fed = read_pid(arena, MSH "PID|||1||C^D||\"\"|\r");
    demographics_update(&held, &fed);
    assert_str(demographics_write(arena, &held), "C^D|M^N||F");
    arena_free(arena);
}

static void test_fields_of_pid_stand_at_their_numbers(void **state)
{
    (void)state;
    static const struct {
        size_t first;
        size_t last;
        const char *text;
    } rows[] = {
        {5, 8, "|A^B|||F"},
        {26, 28, "|||US"},
        {33, 36, "||||"},
        {8, 8, "|F"},
    };
    Arena *arena = arena_new();
    Demographics held = read_pid(arena, MSH "PID|||1||A^B|||F||||||||||||||||||||US\r");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        StrBuf buf = {0};
        demographics_append_pid(&buf, &held, rows[i].first, rows[i].last);
        assert_str(strbuf_str(&buf), rows[i].text);
        strbuf_done(&buf);
    }
    arena_free(arena);
}

static void test_names_are_read_with_type_and_representation(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    PersonName *names = NULL;
    Demographics held =
        read_pid(arena, MSH "PID|||1||Yamada&de^Hana\\T\\ko^M^Jr^Dr^MD^L^A~~^^~\"\"^X\r");
    assert_int_equal(demographics_names(arena, &held, DEMOGRAPHIC_name, &names), 2);
    assert_str(names[0].family, "Yamada");
    assert_str(names[0].given, "Hana&ko");
    assert_str(names[0].further_given, "M");
    assert_str(names[0].suffix, "Jr");
    assert_str(names[0].prefix, "Dr");
    assert_str(names[0].type, "L");
    assert_str(names[0].representation, "A");
    assert_str(names[1].family, ""); /* null */
    assert_str(names[1].given, "X");
    assert_int_equal(demographics_names(arena, &held, DEMOGRAPHIC_alias, &names), 0);
    arena_free(arena);
}

/* XTN: HL7 v2.5 2.A.89; the older form has everything in XTN-1. */
static void test_a_phone_number_is_found_in_every_form(void **state)
{
    static const struct {
        const char *field;
        const char *number;
        const char *email;
    } rows[] = {
        {"098-123-4567^PRN^PH", "098-123-4567", ""},
        {"^PRN^PH^^81^98^1234567^12", "+81-98-1234567 x12", ""},
        {"^PRN^PH^^^^1234567", "1234567", ""},
        {"old^PRN^PH^^^^^^^^^098-999", "098-999", ""},
        {"^NET^Internet^a@b.jp", "", "a@b.jp"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        Telecom *telecoms = NULL;
        Demographics held = {0};
        held.fields[DEMOGRAPHIC_phone_business] = str_from(rows[i].field);
        assert_int_equal(demographics_telecoms(arena, &held, &telecoms), 1);
        assert_str(telecoms[0].number, rows[i].number);
        assert_str(telecoms[0].email, rows[i].email);
        assert_true(telecoms[0].is_business);
        arena_free(arena);
    }
}

static void test_the_birth_date_is_cut_to_its_day(void **state)
{
    static const struct {
        const char *field;
        const char *date;
    } rows[] = {
        {"19710412", "19710412"},
        {"1971", "1971"},
        {"197104", "197104"},
        {"19710412093000+0900", "19710412"},
        {"197104120930", "19710412"},
        {"19710412093000.123-0500", "19710412"},
        {"1971-04-12", ""},
        {"197113", ""},
        {"19710230", ""},
        {"197", ""},
        {"", ""},
        {"\"\"", ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        Demographics held = {0};
        held.fields[DEMOGRAPHIC_birth_time] = str_from(rows[i].field);
        assert_str(demographics_birth_date(arena, &held), rows[i].date);
        arena_free(arena);
    }
}

/* What other surfaces write is read again as it was. */
static void test_parts_survive_writing_and_reading(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    Demographics held = {0};
    const PersonName names[] = {
        {.family = STR("A^B"), .given = STR("C~D"), .type = STR("L"), .representation = STR("I")},
        {.given = STR("E")},
        {.family = STR_EMPTY},
    };
    const Address address = {.street = STR("1-2|3"), .postal_code = STR("900"), .type = STR("H")};
    const Telecom telecoms[] = {{.number = STR("098"), .use = STR("PRN"), .equipment = STR("PH")},
                                {.email = STR("a&b"), .is_business = true}};
    demographics_set_names(arena, &held, DEMOGRAPHIC_name, names, ARRAY_LEN(names));
    demographics_set_addresses(arena, &held, &address, 1);
    demographics_set_telecoms(arena, &held, telecoms, ARRAY_LEN(telecoms));
    demographics_set_value(arena, &held, DEMOGRAPHIC_sex, STR("F"));
    assert_str(demographics_write(arena, &held),
               "A\\S\\B^C\\R\\D^^^^^L^I~^E|||F|||1-2\\F\\3^^^^900^^H||098^PRN^PH|^^^a\\T\\b");

    PersonName *read_names = NULL;
    Address *read_addresses = NULL;
    Telecom *read_telecoms = NULL;
    assert_int_equal(demographics_names(arena, &held, DEMOGRAPHIC_name, &read_names), 2);
    assert_str(read_names[0].family, "A^B");
    assert_str(read_names[0].given, "C~D");
    assert_int_equal(demographics_addresses(arena, &held, &read_addresses), 1);
    assert_str(read_addresses[0].street, "1-2|3");
    assert_str(read_addresses[0].type, "H");
    assert_int_equal(demographics_telecoms(arena, &held, &read_telecoms), 2);
    assert_str(read_telecoms[1].email, "a&b");
    assert_str(demographics_value(arena, &held, DEMOGRAPHIC_sex), "F");
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_survives_writing_and_reading),
        cmocka_unit_test(test_a_feed_changes_what_it_values),
        cmocka_unit_test(test_fields_of_pid_stand_at_their_numbers),
        cmocka_unit_test(test_names_are_read_with_type_and_representation),
        cmocka_unit_test(test_a_phone_number_is_found_in_every_form),
        cmocka_unit_test(test_the_birth_date_is_cut_to_its_day),
        cmocka_unit_test(test_parts_survive_writing_and_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
