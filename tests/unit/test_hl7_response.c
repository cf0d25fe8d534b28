/* Answers to queries: ITI TF-2 3.9.4.2.2, 3.21.4.2.2; HL7 table 0208. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/hl7/response.h"

#define MSH(charset)                                                                               \
    "MSH|^~\\&|EMR|CLINIC|PIX|NET|20260401||QBP^Q23^QBP_Q21|C1|P|2.5||||||" charset "\r"
#define PID "PID|||1^^^A&1.2&ISO\r"

/** The segments from MSA on, and MSH-18 before them. */
static Str answer(Request *req, const char *payload, ErrorCode error, const char *found,
                  StrBuf *octets)
{
    const Er7Message *request = er7_read(req->arena, &req->errors, str_from(payload));
    assert_non_null(request);
    assert_int_equal(req->errors.count, 0);
    if (error != ERR_NONE) {
        error_add(&req->errors, error, "QPD^1^3^1^1", "unknown");
    }
    hl7_response_write(req, request, "RSP^K23^RSP_K23", str_from(found), octets);
    Str text = strbuf_str(octets);
    assert_true(str_contains(text, STR("|RSP^K23^RSP_K23|")));
    return str_from_offset(text, str_find(text, STR("MSA|")));
}

static void test_the_status_follows_from_errors_and_findings(void **state)
{
    static const struct {
        const char *payload;
        ErrorCode error;
        const char *found;
        const char *begins;
        const char *ends;
    } rows[] = {
        {MSH("") "QPD|Q|TAG|1^^^A|^^^B~^^^C\rRCP|I\r", ERR_NONE, PID,
         "MSA|AA|C1\rQAK|TAG|OK\rQPD|Q|TAG|1^^^A|^^^B~^^^C\rPID|", PID},
        {MSH("") "QPD|Q|TAG|1^^^A\r", ERR_NONE, "", "MSA|AA|C1\rQAK|TAG|NF\rQPD|",
         "QPD|Q|TAG|1^^^A\r"},
        {MSH("") "QPD|Q|TAG|1^^^A\r", ERR_HL7_UNKNOWN_KEY_IDENTIFIER, PID,
         "MSA|AE|C1\rERR||QPD^1^3^1^1|204^", "\rQAK|TAG|AE\rQPD|Q|TAG|1^^^A\r"},
        {MSH("") "QPD|Q|TAG|1^^^A\r", ERR_DATABASE_BUSY, PID, "MSA|AR|C1\rERR|",
         "\rQAK|TAG|AR\rQPD|Q|TAG|1^^^A\r"},
        {MSH("") "RCP|I\r", ERR_NONE, "", "MSA|AA|C1\rQAK||NF\r", "QAK||NF\r"},
        {"MSH#*!/@#EMR#CLINIC#PIX#NET#2026##QBP*Q23*QBP_Q21#C1#P#2.5\rQPD#Q#T#1***A@1.2@ISO!|\r",
         ERR_NONE, "", "MSA|AA|C1\rQAK|T|NF\rQPD|Q|T|1^^^A&1.2&ISO~\\F\\\r", "\r"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Request *req = request_new(600000);
        StrBuf octets = {0};
        Str text = answer(req, rows[i].payload, rows[i].error, rows[i].found, &octets);
        if (!str_starts_with(text, str_from(rows[i].begins)) ||
            !str_ends_with(text, str_from(rows[i].ends))) {
            fail_msg("row %zu: %s", i, str_cstr(req->arena, text));
        }
        strbuf_done(&octets);
        request_free(req);
    }
}

/* Never transcoded into a set that cannot hold the name: ITI TF-2 C.2.2. */
static void test_the_answer_keeps_the_character_set_if_it_can_hold_the_names(void **state)
{
    static const struct {
        const char *asked;    /* MSH-18 */
        const char *name;     /* UTF-8 */
        const char *answered; /* MSH-18 */
        const char *octets;
    } rows[] = {
        {"", "YAMADA", "", "YAMADA"},
        {"", "\xE5\xB1\xB1", "UNICODE UTF-8", "\xE5\xB1\xB1"},
        {"8859/1", "\xC3\xA9", "8859/1", "\xE9"},
        {"8859/1", "\xE5\xB1\xB1", "UNICODE UTF-8", "\xE5\xB1\xB1"},
        {"~ISO IR87", "\xE5\xB1\xB1", "~ISO IR87", "\x1B$B;3\x1B(B"},
        {"~ISO IR87", "\xE9\xAB\x99", "~ISO IR87", "\x1B$B|b\x1B(B"}, /* IBM extension */
        {"~ISO IR87", "\xE2\x91\xA0", "~ISO IR87", "\x1B$B-!\x1B(B"}, /* NEC row 13 */
        {"~ISO IR87", "\xC3\xA9", "UNICODE UTF-8", "\xC3\xA9"},
        {"ISO IR6~ISO IR87", "\xE5\xB1\xB1", "ISO IR6~ISO IR87", "\x1B$B;3\x1B(B"},
        {"UNICODE UTF-8", "\xF0\xA0\xAE\xB7", "UNICODE UTF-8", "\xF0\xA0\xAE\xB7"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Request *req = request_new(600000);
        StrBuf octets = {0};
        Str payload = str_printf(req->arena, MSH("%s") "QPD|Q|TAG|1^^^A\r", rows[i].asked);
        Str found = str_printf(req->arena, "PID|||1||%s\r", rows[i].name);
        (void)answer(req, str_cstr(req->arena, payload), ERR_NONE, str_cstr(req->arena, found),
                     &octets);
        Str expected = str_printf(req->arena, "PID|||1||%s\r", rows[i].octets);
        Str header = str_printf(req->arena, "|2.5||||||%s", rows[i].answered);
        bool is_header =
            str_is_empty(str_from(rows[i].answered)) || str_contains(strbuf_str(&octets), header);
        if (!str_ends_with(strbuf_str(&octets), expected) || !is_header) {
            fail_msg("row %zu: %s", i, octets.data);
        }
        strbuf_done(&octets);
        request_free(req);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_status_follows_from_errors_and_findings),
        cmocka_unit_test(test_the_answer_keeps_the_character_set_if_it_can_hold_the_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
