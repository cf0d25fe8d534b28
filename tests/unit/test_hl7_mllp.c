/* MLLP framing: HL7 v2 Transport Specification, ITI TF-2 C.2.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/hl7/mllp.h"

/** Pushes bytes; each payload and the event that ended the stream are appended to log. */
static void push_all(MllpParser *parser, Str bytes, StrBuf *log)
{
    for (;;) {
        switch (mllp_parser_push(parser, &bytes)) {
        case MLLP_FRAME:
            strbuf_printf(log, "[%.*s]", STR_ARG(strbuf_str(&parser->payload)));
            break;
        case MLLP_TOO_LARGE:
            strbuf_literal(log, "too large");
            return;
        case MLLP_BROKEN:
            strbuf_literal(log, "broken");
            return;
        case MLLP_MORE:
            return;
        }
    }
}

/* Every stream is pushed whole, then cut at each byte: the cut must not matter. */
static void test_frames_are_the_same_wherever_the_stream_is_cut(void **state)
{
    static const struct {
        Str stream;
        const char *expected;
    } rows[] = {
        {STR_INIT("\x0bMSH|A\r\x1c\r"), "[MSH|A\r]"},
        {STR_INIT("\x0b"
                  "A\x1c\r\x0b"
                  "B\x1c\r"),
         "[A][B]"},
        {STR_INIT("\x0b"
                  "A\x1c\x0b"
                  "B\x1c"),
         "[A][B]"}, /* CR behind 0x1C missing */
        {STR_INIT("noise\r\n\x0b"
                  "A\x1c\r\n\n\x0b"
                  "B\x1c\r"),
         "[A][B]"},
        {STR_INIT("\x0b\x1c\r"), "[]"},
        {STR_INIT("\x0b"
                  "A"),
         ""},
        {STR_INIT("\x0b"
                  "A\x0b"
                  "B\x1c\r"),
         "broken"}, /* a second start within a frame */
        {STR_INIT("\x0b"
                  "0123456789ABCDEF\x1c\r"),
         "[0123456789ABCDEF]"}, /* exactly the limit */
        {STR_INIT("\x0b"
                  "0123456789ABCDEFG\x1c\r"),
         "too large"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t cut = 0; cut <= rows[i].stream.len; cut++) {
            _cleanup_(mllp_parser_done) MllpParser parser;
            _cleanup_(strbuf_done) StrBuf log = {0};
            strbuf_literal(&log, "");
            mllp_parser_init(&parser, 16);
            push_all(&parser, str_slice(rows[i].stream, 0, cut), &log);
            if (!str_equal(strbuf_str(&log), STR("too large")) &&
                !str_equal(strbuf_str(&log), STR("broken"))) {
                push_all(&parser, str_from_offset(rows[i].stream, cut), &log);
            }
            if (!str_equal(strbuf_str(&log), str_from(rows[i].expected))) {
                fail_msg("row %zu cut at %zu: %s", i, cut, log.data);
            }
        }
    }
}

static void test_a_peer_that_sends_only_noise_is_given_up(void **state)
{
    (void)state;
    static char noise[MLLP_NOISE_MAX_BYTES + 1];
    memset(noise, 'x', sizeof(noise));
    _cleanup_(mllp_parser_done) MllpParser parser;
    mllp_parser_init(&parser, 16);
    Str within = {noise, MLLP_NOISE_MAX_BYTES};
    assert_int_equal(mllp_parser_push(&parser, &within), MLLP_MORE);
    Str beyond = {noise, 1};
    assert_int_equal(mllp_parser_push(&parser, &beyond), MLLP_BROKEN);
}

static void test_a_frame_is_written_as_it_is_read(void **state)
{
    (void)state;
    _cleanup_(strbuf_done) StrBuf frame = {0};
    mllp_append_frame(&frame, STR("MSH|A\r"));
    assert_int_equal(frame.len, 9);
    assert_memory_equal(frame.data, "\x0bMSH|A\r\x1c\r", 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_are_the_same_wherever_the_stream_is_cut),
        cmocka_unit_test(test_a_peer_that_sends_only_noise_is_given_up),
        cmocka_unit_test(test_a_frame_is_written_as_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
