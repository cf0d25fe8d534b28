#include "lib/soap/mime.h"

#include "tests/unit/xml_fixture.h"

/** Parts as "{id|type}content{/}". */
static int see_begin(void *ctx, const MimePart *part)
{
    strbuf_printf(ctx, "{%.*s|%.*s}", STR_ARG(part->content_id), STR_ARG(part->content_type));
    return 0;
}

static int see_bytes(void *ctx, const void *bytes, size_t len)
{
    strbuf_append_bytes(ctx, bytes, len);
    return 0;
}

static int see_end(void *ctx)
{
    strbuf_literal((StrBuf *)ctx, "{/}");
    return 0;
}

static int parse(Request *req, const MimeLimits *limits, Str text, size_t step, StrBuf *seen)
{
    MimeEvents events = {
        .ctx = seen, .part_begin = see_begin, .part_bytes = see_bytes, .part_end = see_end};
    MimeParser *parser = mime_parser_new(&req->errors, STR("b"), limits, &events);
    int r = 0;
    for (size_t at = 0; r == 0 && at < text.len; at += step) {
        Str piece = str_dup(req->arena, str_slice(text, at, step));
        r = mime_parser_push(parser, piece.data, piece.len);
    }
    r = r ? r : mime_parser_finish(parser);
    mime_parser_free(parser);
    return r;
}

/* RFC 2046 5.1.1, and the senders that write LF or stray white space. */
static void test_parts_are_found_however_the_message_is_cut(void **state)
{
    static const struct {
        const char *text;
        const char *parts;
    } CASES[] = {
        {"--b\r\nContent-ID: <1>\r\nContent-Type: t\r\n\r\nx\r\n--b--", "{1|t}x{/}"},
        {"\r\n--b\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n", "{|}x{/}{|}y{/}"},
        {"preamble --b\r\n-- b\r\n--b  \t\r\n\r\nx\r\n--b--epilogue\r\n--b\r\n", "{|}x{/}"},
        /* what only resembles a delimiter is content */
        {"--b\r\n\r\n\r\r\n\r\n-\r\n--\r\n--x\n--b --b\r\r\n--b--",
         "{|}\r\r\n\r\n-\r\n--\r\n--x\n--b --b\r{/}"},
        {"--b\r\n\r\n\r\n--b\r\nContent-ID: 2\r\n\r\n\r\n\r\n--b--", "{|}{/}{2|}\r\n{/}"},
        /* an empty part's empty line ends with the delimiter's line end */
        {"--b\r\nContent-ID: 2\r\n\r\n--b--", "{2|}{/}"},
        {"--b\nContent-ID: <1>\n\nx\r\n\ny\n--b--\n", "{1|}x\r\n\ny{/}"},
        {"--b\r\ncontent-id:  <1> \r\nContent-Type: multi;\r\n\tpart\nX-Other: <\r\n\r\nx\r\n--b--",
         "{1|multi;  \tpart}x{/}"},
        {"--b\r\nContent-Transfer-Encoding: BASE64\r\n\r\nZm9v\r\nYg==\r\n--b--", "{|}foob{/}"},
        {"--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\nZm9v\r\n--b--", "{|}Zm9v{/}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Str text = str_from(CASES[i].text);
        for (size_t step = 1; step <= text.len; step++) {
            Request *req = *state;
            StrBuf seen = {0};
            if (parse(req, &MIME_LIMITS, text, step, &seen) != 0) {
                fail_msg("case %zu step %zu: %.*s", i, step, STR_ARG(req->errors.first->context));
            }
            assert_str(strbuf_str(&seen), CASES[i].parts);
            strbuf_done(&seen);
        }
    }
}

static void test_broken_messages_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } CASES[] = {
        {"", "does not hold the boundary"},
        {"no boundary here\r\n", "does not hold the boundary"},
        {"x--b\r\n\r\nx\r\n--b--", "no MIME part"},
        {"--b\r\n\r\nx", "cut short"},
        {"--b\r\n\r\nx\r\n--b\r\n", "cut short"},
        {"--b\r\n\r\nx\r\n--b-", "cut short"},
        /* in a message with CRLF a boundary after a bare LF is content */
        {"--b\r\n\r\nx\n--b--", "cut short"},
        {"--b\r\n\r\nx\r\n--bc\r\n\r\n\r\n--b--", "follows the boundary"},
        {"--b\r\n\r\nx\r\n--b-x\r\n", "follows the boundary"},
        {"--b\r\nno colon\r\n\r\nx\r\n--b--", "no ':'"},
        {"--b\r\nContent-ID: 1\r\nContent-ID: 1\r\n\r\nx\r\n--b--", "may occur once"},
        {"--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nx\r\n--b--",
         "quoted-printable; send binary"},
        {"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n*\r\n--b--", "not base64"},
        {"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nZm9\r\n--b--", "cut short"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        for (size_t step = 1; step < 100; step += 98) {
            Request *req = request_new(600000);
            StrBuf seen = {0};
            if (parse(req, &MIME_LIMITS, str_from(CASES[i].text), step, &seen) == 0) {
                fail_msg("case %zu was accepted", i);
            }
            assert_error(req, ERR_SOAP_SENDER, CASES[i].says);
            strbuf_done(&seen);
            request_free(req);
        }
    }
}

static void test_headers_parts_and_preamble_are_bounded(void **state)
{
    (void)state;
    static const MimeLimits AT = {.header_bytes = 18, .parts = 2};
    static const char *const CASES[] = {
        "--b\r\nX: 4567890123456789\r\n\r\n\r\n--b--",
        "--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b--",
        "01234567890123456789\r\n--b\r\n\r\n\r\n--b--",
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Request *req = request_new(600000);
        StrBuf seen = {0};
        assert_int_equal(parse(req, &MIME_LIMITS, str_from(CASES[i]), 5, &seen), 0);
        if (parse(req, &AT, str_from(CASES[i]), 5, &seen) == 0) {
            fail_msg("case %zu was accepted", i);
        }
        strbuf_done(&seen);
        request_free(req);
    }
}

/* RFC 2046 5.1.1: boundary := 0*69<bchars> bcharsnospace */
static void test_unusable_boundaries_are_refused(void **state)
{
    Request *req = *state;
    char boundary[71];
    memset(boundary, 'x', sizeof(boundary));
    MimeEvents events = {0};
    assert_null(mime_parser_new(&req->errors, STR(""), &MIME_LIMITS, &events));
    assert_null(mime_parser_new(&req->errors, STR("a\nb"), &MIME_LIMITS, &events));
    assert_null(mime_parser_new(&req->errors, (Str){boundary, 71}, &MIME_LIMITS, &events));
    MimeParser *parser = mime_parser_new(&req->errors, (Str){boundary, 70}, &MIME_LIMITS, &events);
    assert_non_null(parser);
    mime_parser_free(parser);
}

/* RFC 2045 5.1 */
static void test_content_types_are_read(void **state)
{
    Request *req = *state;
    ContentType type;
    assert_true(content_type_parse(
        req->arena, STR(" Multipart/Related ;START=\"<a;\\\"b>\" ; boundary = x-1 ;; "), &type));
    assert_str(type.media_type, "multipart/related");
    assert_str(content_type_parameter(&type, "start"), "<a;\"b>");
    assert_str(content_type_parameter(&type, "boundary"), "x-1");
    assert_str(content_type_parameter(&type, "type"), "");
    static const char *const BAD[] = {"", "text", "a/b; c", "a/b; c=\"d", "a/b; c=\"d\" e=f"};
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        if (content_type_parse(req->arena, str_from(BAD[i]), &type)) {
            fail_msg("case %zu was accepted", i);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REQUEST_TEST(test_parts_are_found_however_the_message_is_cut),
        REQUEST_TEST(test_broken_messages_are_refused),
        REQUEST_TEST(test_headers_parts_and_preamble_are_bounded),
        REQUEST_TEST(test_unusable_boundaries_are_refused),
        REQUEST_TEST(test_content_types_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
