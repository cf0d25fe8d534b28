/* Acknowledgements: ITI TF-2 C.2.3; HL7 tables 0008 and 0357. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/hl7/ack.h"
#include "lib/hl7/reply.h"

typedef struct Reply {
    Request *req;
    const Er7Message *request;
    StrBuf octets;
    const Er7Message *message; /* the reply, read again */
} Reply;

static Reply reply_begin(Str payload)
{
    Reply reply = {.req = request_new(600000)};
    reply.request = er7_read(reply.req->arena, &reply.req->errors, payload);
    return reply;
}

static void reply_write(Reply *reply)
{
    ErrorList errors;
    hl7_ack_write(reply->req, reply->request, &reply->octets);
    error_list_init(&errors, reply->req->arena);
    reply->message = er7_read(reply->req->arena, &errors, strbuf_str(&reply->octets));
    assert_non_null(reply->message);
    assert_int_equal(errors.count, 0);
}

static void reply_done(Reply *reply)
{
    strbuf_done(&reply->octets);
    request_free(reply->req);
}

static void assert_field(const Reply *reply, const char *segment, size_t number, size_t field,
                         const char *expected)
{
    const Er7Segment *found = er7_segment(reply->message, str_from(segment), number);
    Str text = er7_field(reply->message, found, field);
    if (!str_equal(text, str_from(expected))) {
        fail_msg("%s-%zu is %s", segment, field, str_cstr(reply->req->arena, text));
    }
}

#define REQUEST(version, rest)                                                                     \
    "MSH|^~\\&|EMR|CLINIC^1.2^ISO|REG|NET|20260401||ADT^A04^ADT_A01|C\\T\\1|T|" version rest       \
    "\rPID|||1\r"

static void test_acceptance_swaps_the_parties_and_echoes_the_control_id(void **state)
{
    (void)state;
    _cleanup_(reply_done) Reply reply = reply_begin(STR(REQUEST("2.5", "")));
    reply_write(&reply);
    assert_field(&reply, "MSH", 1, 3, "REG");
    assert_field(&reply, "MSH", 1, 4, "NET");
    assert_field(&reply, "MSH", 1, 5, "EMR");
    assert_field(&reply, "MSH", 1, 6, "CLINIC^1.2^ISO");
    assert_field(&reply, "MSH", 1, 9, "ACK^A04^ACK");
    assert_field(&reply, "MSH", 1, 11, "T");
    assert_field(&reply, "MSH", 1, 12, "2.5");
    assert_field(&reply, "MSH", 1, 18, "");
    assert_field(&reply, "MSA", 1, 1, "AA");
    assert_field(&reply, "MSA", 1, 2, "C\\T\\1");
    assert_null(er7_segment(reply.message, STR("ERR"), 1));
    Str control_id = er7_field(reply.message, reply.message->segments, 10);
    assert_in_range(control_id.len, 1, 20);
    assert_true(str_ends_with(strbuf_str(&reply.octets), STR("\r")));
}

static void test_errors_are_written_as_version_2_5_has_them(void **state)
{
    (void)state;
    _cleanup_(reply_done) Reply reply = reply_begin(STR(REQUEST("2.5", "")));
    error_add(&reply.req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, "PID^1^3^1^4", "send A&B");
    error_add(&reply.req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, "PID^1^5", "second");
    reply_write(&reply);
    assert_field(&reply, "MSA", 1, 1, "AE");
    assert_field(&reply, "ERR", 1, 1, "");
    assert_field(&reply, "ERR", 1, 2, "PID^1^3^1^4");
    assert_field(&reply, "ERR", 1, 3, "204^Unknown key identifier^HL70357");
    assert_field(&reply, "ERR", 1, 4, "E");
    assert_field(&reply, "ERR", 2, 3, "101^Required field missing^HL70357");
    Str text = er7_field(reply.message, er7_segment(reply.message, STR("ERR"), 1), 8);
    Str expected = str_printf(reply.req->arena, "send A\\T\\B [ref %s]", reply.req->ref);
    assert_true(str_equal(text, expected));
}

/* ERR of HL7 v2.3.1 has one field: segment, sequence, field, code. */
static void test_peers_of_version_2_3_1_get_err_1_as_well(void **state)
{
    static const struct {
        const char *location;
        const char *err_1;
    } rows[] = {
        {"PID^1^3^1^4", "PID^1^3^204&Unknown key identifier&HL70357"},
        {"MSH^1", "MSH^1^^204&Unknown key identifier&HL70357"},
        {NULL, "^^^204&Unknown key identifier&HL70357"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(reply_done) Reply reply = reply_begin(STR(REQUEST("2.3.1", "")));
        error_add(&reply.req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, rows[i].location, "no");
        reply_write(&reply);
        assert_field(&reply, "MSH", 1, 9, "ACK^A04");
        assert_field(&reply, "ERR", 1, 1, rows[i].err_1);
        assert_field(&reply, "ERR", 1, 2, rows[i].location ? rows[i].location : "");
    }
}

/* AE: the sender must change the message; AR: it may send the same again. */
static void test_the_code_says_whether_sending_again_can_help(void **state)
{
    static const struct {
        ErrorCode code;
        const char *expected;
    } rows[] = {
        {ERR_HL7_SEGMENT_SEQUENCE, "AE"},
        {ERR_HL7_REQUIRED_FIELD_MISSING, "AE"},
        {ERR_HL7_DATA_TYPE, "AE"},
        {ERR_HL7_TABLE_VALUE_NOT_FOUND, "AE"},
        {ERR_HL7_UNKNOWN_KEY_IDENTIFIER, "AE"},
        {ERR_HL7_DUPLICATE_KEY_IDENTIFIER, "AE"},
        {ERR_HL7_UNSUPPORTED_MESSAGE_TYPE, "AR"},
        {ERR_HL7_UNSUPPORTED_EVENT_CODE, "AR"},
        {ERR_HL7_UNSUPPORTED_PROCESSING_ID, "AR"},
        {ERR_HL7_UNSUPPORTED_VERSION_ID, "AR"},
        {ERR_HL7_RECORD_LOCKED, "AR"},
        {ERR_HL7_INTERNAL, "AR"},
        {ERR_DATABASE_BUSY, "AR"},
        {ERR_FORBIDDEN, "AR"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Request *req = request_new(600000);
        assert_string_equal(hl7_reply_code(&req->errors), "AA");
        error_add(&req->errors, rows[i].code, NULL, "no");
        assert_string_equal(hl7_reply_code(&req->errors), rows[i].expected);
        request_free(req);
    }
}

static void test_the_reply_keeps_the_character_set_if_it_can_hold_the_text(void **state)
{
    static const struct {
        const char *text;
        const char *msh_18;
        const char *msh_20;
    } rows[] = {
        {"髙", "~ISO IR87", "ISO 2022-1994"}, {"丂", "UNICODE UTF-8", ""}, /* only in JIS X 0212 */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(reply_done) Reply reply =
            reply_begin(STR(REQUEST("2.5", "||||||~ISO IR87||ISO 2022-1994")));
        error_add(&reply.req->errors, ERR_HL7_DATA_TYPE, NULL, "%s", rows[i].text);
        reply_write(&reply);
        assert_field(&reply, "MSH", 1, 18, rows[i].msh_18);
        assert_field(&reply, "MSH", 1, 20, rows[i].msh_20);
        Str text = er7_field(reply.message, er7_segment(reply.message, STR("ERR"), 1), 8);
        assert_true(str_starts_with(text, str_from(rows[i].text)));
    }
}

static void test_other_delimiters_are_answered_in_the_recommended_ones(void **state)
{
    (void)state;
    _cleanup_(reply_done) Reply reply =
        reply_begin(STR("MSH#*!/@#EMR|1*2#F#R#N#20260401##ADT*A04#C1#P#2.5\r"));
    reply_write(&reply);
    assert_field(&reply, "MSH", 1, 5, "EMR\\F\\1^2");
    assert_field(&reply, "MSH", 1, 9, "ACK^A04^ACK");
}

static void test_a_message_without_header_is_rejected_without_control_id(void **state)
{
    (void)state;
    _cleanup_(reply_done) Reply reply = reply_begin(STR("GET / HTTP/1.1"));
    reply_write(&reply);
    assert_field(&reply, "MSH", 1, 9, "ACK^^ACK");
    assert_field(&reply, "MSA", 1, 1, "AE");
    assert_field(&reply, "MSA", 1, 2, "");
    assert_field(&reply, "ERR", 1, 3, "100^Segment sequence error^HL70357");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acceptance_swaps_the_parties_and_echoes_the_control_id),
        cmocka_unit_test(test_errors_are_written_as_version_2_5_has_them),
        cmocka_unit_test(test_peers_of_version_2_3_1_get_err_1_as_well),
        cmocka_unit_test(test_the_code_says_whether_sending_again_can_help),
        cmocka_unit_test(test_the_reply_keeps_the_character_set_if_it_can_hold_the_text),
        cmocka_unit_test(test_other_delimiters_are_answered_in_the_recommended_ones),
        cmocka_unit_test(test_a_message_without_header_is_rejected_without_control_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
