/* ER7 messages: HL7 v2.5 2.5 to 2.7, ITI TF-2 C.2.2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/hl7/er7.h"

typedef struct Reading {
    Arena *arena;
    ErrorList errors;
    Er7Message *message;
} Reading;

static void reading_done(Reading *reading)
{
    arena_free(reading->arena);
}

static Reading read_message(Str payload)
{
    Reading reading = {.arena = arena_new()};
    error_list_init(&reading.errors, reading.arena);
    reading.message = er7_read(reading.arena, &reading.errors, payload);
    return reading;
}

#define HEADER "MSH|^~\\&|EMR|CLINIC|REG|NET|20260401||ADT^A04|C1|P|2.3.1"

static void test_fields_are_numbered_as_in_the_standard(void **state)
{
    (void)state;
    _cleanup_(reading_done) Reading reading = read_message(
        STR(HEADER "\rEVN|A04\r\nPID|||1^^^NS&1.2.3&ISO~2^^^&1.2.4&ISO|||19700101\rZZZ|x\r"));
    const Er7Message *message = reading.message;
    const Er7Delimiters *delimiters = &message->delimiters;
    const Er7Segment *msh = er7_segment(message, STR("MSH"), 1);
    const Er7Segment *pid = er7_segment(message, STR("PID"), 1);
    assert_int_equal(reading.errors.count, 0);
    assert_int_equal(message->segment_count, 4);
    assert_true(str_equal(er7_field(message, msh, 1), STR("|")));
    assert_true(str_equal(er7_field(message, msh, 2), STR("^~\\&")));
    assert_true(str_equal(er7_field(message, msh, 3), STR("EMR")));
    assert_true(str_equal(er7_value(message, msh, 9, 2), STR("A04")));
    assert_true(str_equal(er7_value(message, msh, 12, 1), STR("2.3.1")));
    assert_true(str_is_empty(er7_field(message, msh, 13)));
    Str ids = er7_field(message, pid, 3);
    assert_int_equal(er7_repetition_count(delimiters, ids), 2);
    Str authority = er7_component(delimiters, er7_repetition(delimiters, ids, 2), 4);
    assert_true(str_equal(er7_subcomponent(delimiters, authority, 2), STR("1.2.4")));
    assert_true(str_equal(er7_value(message, pid, 3, 4), STR("NS")));
    assert_true(str_equal(er7_value(message, pid, 6, 1), STR("19700101")));
    assert_null(er7_segment(message, STR("PV1"), 1));
    assert_true(str_is_empty(er7_field(message, NULL, 3)));
}

static void test_delimiters_are_the_ones_that_msh_declares(void **state)
{
    (void)state;
    _cleanup_(reading_done) Reading reading =
        read_message(STR("MSH#*!/@#EMR\rPID###1*^~&|***NS@1.2.3@ISO!2\r"));
    const Er7Message *message = reading.message;
    const Er7Segment *pid = er7_segment(message, STR("PID"), 1);
    assert_true(str_equal(er7_value(message, pid, 3, 4), STR("")));
    assert_true(str_equal(er7_value(message, pid, 3, 2), STR("^~&|")));
    assert_true(str_equal(er7_standardize(message, er7_field(message, pid, 3)),
                          STR("1^\\S\\\\R\\\\T\\\\F\\^^^NS&1.2.3&ISO~2")));
}

/* HL7 v2.5 2.7: unknown sequences stay as they are. */
static void test_escapes_are_replaced_in_leaves_only(void **state)
{
    static const struct {
        const char *leaf;
        const char *expected;
    } rows[] = {
        {"plain", "plain"},
        {"a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"},
        {"\\X41\\\\X0D0A\\", "A\r\n"},
        {"\\XE5B1B1\\", "山"},
        {"\\XE5\\", "\\XE5\\"},
        {"\\X00\\", "\\X00\\"},
        {"\\X4\\", "\\X4\\"},
        {"\\X\\", "\\X\\"},
        {"\\H\\bold\\N\\", "\\H\\bold\\N\\"},
        {"\\.br\\", "\\.br\\"},
        {"open\\F", "open\\F"},
        {"\\\\", "\\\\"},
        {"\\", "\\"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new();
        Str text = er7_text(arena, &er7_standard_delimiters, HL7_UTF_8, str_from(rows[i].leaf));
        if (!str_equal(text, str_from(rows[i].expected))) {
            fail_msg("row %zu: %.*s", i, STR_ARG(text));
        }
        arena_free(arena);
    }
}

/* Octets of kanji look like delimiters: 0x5E, 0x7C and 0x26 stand inside these names. */
static void test_kanji_that_look_like_delimiters_do_not_split(void **state)
{
    (void)state;
    _cleanup_(reading_done) Reading reading =
        read_message(STR(HEADER "||||||~ISO IR87||ISO 2022-1994\r"
                                "PID|||1||\x1b$B%^%d|b&!\x1b(B^\x1b$B2V;R\x1b(B\r"));
    const Er7Message *message = reading.message;
    const Er7Segment *pid = er7_segment(message, STR("PID"), 1);
    assert_int_equal(reading.errors.count, 0);
    assert_true(str_equal(er7_value(message, pid, 5, 1), STR("マヤ髙Α")));
    assert_true(str_equal(er7_value(message, pid, 5, 2), STR("花子")));
}

static void test_faults_name_place_and_remedy(void **state)
{
    static const struct {
        Str payload;
        ErrorCode code;
        const char *location;
        const char *text; /* part of the message to the sender */
        bool has_message;
    } rows[] = {
        {STR_INIT(""), ERR_HL7_SEGMENT_SEQUENCE, "MSH^1", "MSH-2", false},
        {STR_INIT("PID|1"), ERR_HL7_SEGMENT_SEQUENCE, "MSH^1", "MSH-2", false},
        {STR_INIT("MSH"), ERR_HL7_SEGMENT_SEQUENCE, "MSH^1", "MSH-2", false},
        {STR_INIT("MSH|^^\\&|"), ERR_HL7_SEGMENT_SEQUENCE, "MSH^1", "MSH-2", false},
        {STR_INIT("MSHA^~\\&A"), ERR_HL7_SEGMENT_SEQUENCE, "MSH^1", "MSH-2", false},
        {STR_INIT("MSH||EMR"), ERR_HL7_SEGMENT_SEQUENCE, "MSH^1", "MSH-2", false},
        {STR_INIT(HEADER "||||||SJIS\rPID|||1\r"), ERR_HL7_TABLE_VALUE_NOT_FOUND, "MSH^1^18",
         "UNICODE UTF-8", true},
        {STR_INIT(HEADER "\rPID|||1||A~B\xe5\xb1\r"), ERR_HL7_DATA_TYPE, "PID^1^5^2", "octet 0xE5",
         true},
        {STR_INIT(HEADER "\rOBX|1\rOBX|\x1b$B\r"), ERR_HL7_DATA_TYPE, "OBX^2^1^1", "OBX-1", true},
        {STR_INIT("MSH|^~\\&|E\xe5"), ERR_HL7_DATA_TYPE, "MSH^1^3^1", "MSH-3", true},
        {STR_INIT(HEADER "\rPID|||1\r" HEADER "\rPID|||2\r"), ERR_HL7_SEGMENT_SEQUENCE, "MSH^2",
         "frame of its own", true},
        {STR_INIT(HEADER "\nPID|||1\n"), ERR_HL7_SEGMENT_SEQUENCE, "MSH^1", "0x0D", true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(reading_done) Reading reading = read_message(rows[i].payload);
        const Error *error = reading.errors.first;
        if (!error || reading.errors.count != 1 || error->code != rows[i].code ||
            !str_equal(error->location, str_from(rows[i].location)) ||
            !str_contains(error->context, str_from(rows[i].text))) {
            fail_msg("row %zu: %u errors, first: %s %s", i, reading.errors.count,
                     error ? str_cstr(reading.arena, error->location) : "",
                     error ? str_cstr(reading.arena, error->context) : "");
        }
        if ((reading.message != NULL) != rows[i].has_message) {
            fail_msg("row %zu: message", i);
        }
    }
}

/* An acknowledgement must find MSH-10 even when the rest cannot be decoded. */
static void test_what_precedes_an_undecodable_octet_stays_readable(void **state)
{
    (void)state;
    _cleanup_(reading_done) Reading reading = read_message(STR(HEADER "\rPID|||\xff\r"));
    const Er7Message *message = reading.message;
    assert_true(str_equal(er7_value(message, message->segments, 10, 1), STR("C1")));
}

static void test_the_number_of_segments_is_bounded(void **state)
{
    (void)state;
    _cleanup_(strbuf_done) StrBuf payload = {0};
    strbuf_literal(&payload, "MSH|^~\\&|\r");
    for (int i = 0; i < ER7_SEGMENTS_MAX; i++) {
        strbuf_literal(&payload, "A\r");
    }
    _cleanup_(reading_done) Reading reading = read_message(strbuf_str(&payload));
    assert_int_equal(reading.errors.count, 1);
    assert_int_equal(reading.errors.first->code, ERR_HL7_SEGMENT_SEQUENCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_are_numbered_as_in_the_standard),
        cmocka_unit_test(test_delimiters_are_the_ones_that_msh_declares),
        cmocka_unit_test(test_escapes_are_replaced_in_leaves_only),
        cmocka_unit_test(test_kanji_that_look_like_delimiters_do_not_split),
        cmocka_unit_test(test_faults_name_place_and_remedy),
        cmocka_unit_test(test_what_precedes_an_undecodable_octet_stays_readable),
        cmocka_unit_test(test_the_number_of_segments_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
