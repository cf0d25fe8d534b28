#include "lib/xml/prescan.h"

#include "tests/unit/xml_fixture.h"

/** What the pre-scan put out, and what it diverted as "[bytes]" or "[cid]". */
typedef struct Seen {
    StrBuf xml;
    StrBuf documents;
    unsigned hidden_lines;
} Seen;

static int see_xml(void *ctx, const char *bytes, size_t len, unsigned hidden_lines)
{
    Seen *seen = ctx;
    seen->hidden_lines += hidden_lines;
    strbuf_append_bytes(&seen->xml, bytes, len);
    return 0;
}

static int see_open(void *ctx)
{
    strbuf_append_char(&((Seen *)ctx)->documents, '[');
    return 0;
}

static int see_bytes(void *ctx, const void *bytes, size_t len)
{
    strbuf_append_bytes(&((Seen *)ctx)->documents, bytes, len);
    return 0;
}

static int see_close(void *ctx)
{
    strbuf_append_char(&((Seen *)ctx)->documents, ']');
    return 0;
}

static int see_reference(void *ctx)
{
    strbuf_literal(&((Seen *)ctx)->documents, "[cid]");
    return 0;
}

/** Pushes the text in steps of this many bytes. @return result of the push that failed, or of
 * finish */
static int scan(Request *req, const PrescanLimits *limits, bool divert, Str text, size_t step,
                Seen *seen)
{
    XmlDiversion diversion = {.ctx = seen,
                              .open = see_open,
                              .bytes = see_bytes,
                              .close = see_close,
                              .reference = see_reference};
    Prescan *prescan = prescan_new(&req->errors, limits, see_xml, seen, divert ? &diversion : NULL);
    int r = 0;
    for (size_t at = 0; r == 0 && at < text.len; at += step) {
        Str piece = str_dup(req->arena,
                            str_slice(text, at, step)); /* so that a sanitizer sees its borders */
        r = prescan_push(prescan, piece.data, piece.len);
    }
    r = r ? r : prescan_finish(prescan);
    prescan_free(prescan);
    return r;
}

static void seen_done(Seen *seen)
{
    strbuf_done(&seen->xml);
    strbuf_done(&seen->documents);
    *seen = (Seen){0};
}

#define D "xmlns='urn:ihe:iti:xds-b:2007'"
#define X "xmlns:xop='http://www.w3.org/2004/08/xop/include'"

/* TF-2 Appendix V.8: the parser gets tags and text only. */
static void test_accepted_text_is_put_out_the_same_however_it_is_cut(void **state)
{
    static const struct {
        const char *text;
        const char *xml;
        const char *documents;
    } CASES[] = {
        {"<a/>", "<a/>", ""},
        {"\xef\xbb\xbf<?xml version=\"1.0\" encoding='utf-8'?>\r\n<a b='>\"'>t</a>\n",
         "\r\n<a b='>\"'>t</a>\n", ""},
        {"\n <?xml version='1.0'?><a/>", "<a/>", ""},
        {"<a>1<!-- - -> < & -->2</a><!---->", "<a>12</a>", ""},
        {"<a>&lt;&#x41;&amp;</a>", "<a>&lt;&#x41;&amp;</a>", ""},
        {"<a><![CDATA[<b>&]]x]]]]></a>", "<a>&lt;b&gt;&amp;&#93;&#93;x&#93;&#93;</a>", ""},
        {"<Document " D ">Zm9v</Document>", "<Document " D "></Document>", "[foo]"},
        {"<Document " D " id='a'> Zm&#xD;\n9&#13;v </Document>",
         "<Document " D " id='a'></Document>", "[foo]"},
        {"<Document " D "/>", "<Document " D "/>", "[]"},
        {"<Document " D "> </Document>", "<Document " D "></Document>", "[]"},
        {"<r " D " " X
         "><Document> <xop:Include href='cid:1'/> </Document><Document>Zg==</Document>x</r>",
         "<r " D " " X
         "><Document><xop:Include href='cid:1'/></Document><Document></Document>x</r>",
         "[cid][f]"},
        {"<r " D " " X "><Document><xop:Include href='cid:1'> </xop:Include></Document></r>",
         "<r " D " " X "><Document><xop:Include href='cid:1'></xop:Include></Document></r>",
         "[cid]"},
        /* the prefix decides by its namespace alone, and only where it is in scope */
        {"<x:r "
         "xmlns:x='urn:ihe:iti:xds-b:2007'><x:Document>Zg==</x:Document><Document>*</Document></"
         "x:r>",
         "<x:r "
         "xmlns:x='urn:ihe:iti:xds-b:2007'><x:Document></x:Document><Document>*</Document></x:r>",
         "[f]"},
        {"<r><p " D "/><Document>*</Document></r>", "<r><p " D "/><Document>*</Document></r>", ""},
        {"<r " D "><Document xmlns=''>*</Document><Document>Zg==</Document></r>",
         "<r " D "><Document xmlns=''>*</Document><Document></Document></r>", "[f]"},
        {"<r " D
         "><q xmlns='u'><Document>*</Document></q><Document xmlns:q='u'>Zg==</Document></r>",
         "<r " D "><q xmlns='u'><Document>*</Document></q><Document xmlns:q='u'></Document></r>",
         "[f]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Str text = str_from(CASES[i].text);
        for (size_t step = 1; step <= text.len; step++) {
            Request *req = *state;
            Seen seen = {0};
            int r = scan(req, &PRESCAN_LIMITS, true, text, step, &seen);
            if (r != 0) {
                fail_msg("case %zu: %.*s", i, STR_ARG(req->errors.first->context));
            }
            assert_str(strbuf_str(&seen.xml), CASES[i].xml);
            assert_str(strbuf_str(&seen.documents), CASES[i].documents);
            seen_done(&seen);
        }
    }
}

static void test_without_diversion_documents_stay_text(void **state)
{
    Seen seen = {0};
    Str text = STR("<Document " D ">any <b/> text</Document>");
    assert_int_equal(scan(*state, &PRESCAN_LIMITS, false, text, 7, &seen), 0);
    assert_true(str_equal(strbuf_str(&seen.xml), text));
    seen_done(&seen);
}

/* SOAP 1.2 part 1 section 5: no document type, no processing instructions. UTF-8
 * only. */
static void test_what_no_message_may_hold_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len; /* 0: strlen */
        const char *says;
    } CASES[] = {
        {"", 0, "no XML element"},
        {"  ", 0, "no XML element"},
        {"plain", 0, "does not begin with '<'"},
        {"\xff\xfe<\0a\0", 6, "UTF-16"},
        {"\0<\0a", 4, "UTF-16"},
        {"<\0a\0/\0>\0", 8, "NUL"},
        {"<a>\0</a>", 8, "NUL"},
        {"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", 0, "document type"},
        {"<a><!ELEMENT b></a>", 0, "document type"},
        {"<?xml version='1.0' encoding='Shift_JIS'?><a/>", 0, "send UTF-8"},
        {"<?xml version='1.1'?><a/>", 0, "send 1.0"},
        {"<?xml-stylesheet href='x'?><a/>", 0, "processing instructions"},
        {"<a><?php x ?></a>", 0, "processing instructions"},
        {"<a/><?xml version='1.0'?>", 0, "processing instructions"},
        {"<a>&nbsp;</a>", 0, "not declared"},
        {"<a>R&D</a>", 0, "&amp;"},
        {"<a>&aaaaaaaaaaaaaaaa", 0, "&amp;"},
        {"<a><!-- -- --></a>", 0, "comment"},
        {"<![CDATA[x]]><a/>", 0, "CDATA"},
        {"<a b=c/>", 0, "malformed"},
        {"<a></a></a>", 0, "no start tag"},
        {"<a>", 0, "before its root element is closed"},
        {"<a", 0, "before its root element is closed"},
        {"<a/><!-- ", 0, "before its root element is closed"},
        {"<a xmlns='urn:ihe:iti:xds-b:200&#55;'/>", 0, "character reference"},
        {"<Document " D ">Zm9v<!-- --></Document>", 0, "comment"},
        {"<Document " D "><![CDATA[Zm9v]]></Document>", 0, "CDATA"},
        {"<Document " D ">Zm9</Document>", 0, "cut short"},
        {"<Document " D ">Zm-_</Document>", 0, "not base64"},
        {"<Document " D ">Zm9v&lt;</Document>", 0, "base64"},
        {"<Document " D "><b/></Document>", 0, "holds <b>"},
        {"<Document " D " " X ">Zm9v<xop:Include/></Document>", 0, "exactly one xop:Include"},
        {"<Document " D " " X "><xop:Include/>Zm9v</Document>", 0, "beside"},
        {"<Document " D " " X "><xop:Include>Zm9v</xop:Include></Document>", 0, "beside"},
        {"<Document " D " " X "><xop:Include/><xop:Include/></Document>", 0, "exactly one"},
        {"<Document " D " " X "><xop:Include><b/></xop:Include></Document>", 0, "exactly one"},
        {"<Document " D " xmlns:xop='other'><xop:Include/></Document>", 0, "exactly one"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        size_t len = CASES[i].len ? CASES[i].len : strlen(CASES[i].text);
        for (size_t step = 1; step <= len; step += len > 1 ? len - 1 : 1) {
            Request *req = request_new(600000);
            Seen seen = {0};
            if (scan(req, &PRESCAN_LIMITS, true, (Str){CASES[i].text, len}, step, &seen) == 0) {
                fail_msg("case %zu was accepted", i);
            }
            assert_error(req, ERR_SOAP_SENDER, CASES[i].says);
            seen_done(&seen);
            request_free(req);
        }
    }
}

/* Limits before libxml2. Each text just passes the limit and fails with one less.
 */
static void test_every_limit_is_held(void **state)
{
    (void)state;
    static const PrescanLimits AT = {.tag_bytes = 40,
                                     .attributes = 3,
                                     .namespaces = 2,
                                     .depth = 3,
                                     .elements = 4,
                                     .xml_bytes = 100};
    static const struct {
        const char *text;
        PrescanLimits less;
    } CASES[] = {
        {"<a b='34567890123456789012345678901234'>x</a>", {39, 3, 2, 3, 4, 100}},
        {"<a b='1' c='2' d='3'/>", {40, 2, 2, 3, 4, 100}},
        {"<a xmlns='1' xmlns:c='2'/>", {40, 3, 1, 3, 4, 100}},
        {"<a><b><c/></b></a>", {40, 3, 2, 2, 4, 100}},
        {"<a><b/><b/><b/></a>", {40, 3, 2, 3, 3, 100}},
        {"<a>"
         "45678901234567890123456789012345678901234567890123456789012345678901234567890123456789012"
         "345</a>",
         {40, 3, 2, 3, 4, 98}},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        for (size_t step = 1; step < 200; step += 60) {
            Request *req = request_new(600000);
            Seen seen = {0};
            if (scan(req, &AT, false, str_from(CASES[i].text), step, &seen) != 0) {
                fail_msg("case %zu: %.*s", i, STR_ARG(req->errors.first->context));
            }
            assert_int_equal(scan(req, &CASES[i].less, false, str_from(CASES[i].text), step, &seen),
                             -(int)ERR_TOO_LARGE);
            seen_done(&seen);
            request_free(req);
        }
    }
}

static void test_diverted_content_does_not_count_and_may_be_large(void **state)
{
    Request *req = *state;
    StrBuf text = {0};
    strbuf_literal(&text, "<Document " D ">");
    for (unsigned i = 0; i < 100000; i++) {
        strbuf_literal(&text, "Zm9vYmFyZm9vYmFyZm9v\r\n");
    }
    strbuf_literal(&text, "</Document>");
    PrescanLimits limits = PRESCAN_LIMITS;
    limits.xml_bytes = 100;
    Seen seen = {0};
    assert_int_equal(scan(req, &limits, true, strbuf_str(&text), 65536, &seen), 0);
    assert_int_equal(seen.documents.len, 1500000 + 2);
    assert_int_equal(seen.hidden_lines, 100000);
    seen_done(&seen);
    strbuf_done(&text);
}

static void test_an_error_names_its_line(void **state)
{
    Seen seen = {0};
    assert_int_not_equal(
        scan(*state, &PRESCAN_LIMITS, true, STR("<a>\n<!-- \n -->\n&nbsp;</a>"), 2, &seen), 0);
    assert_error(*state, ERR_SOAP_SENDER, "line 4:");
    seen_done(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REQUEST_TEST(test_accepted_text_is_put_out_the_same_however_it_is_cut),
        REQUEST_TEST(test_without_diversion_documents_stay_text),
        REQUEST_TEST(test_what_no_message_may_hold_is_refused),
        REQUEST_TEST(test_every_limit_is_held),
        REQUEST_TEST(test_diverted_content_does_not_count_and_may_be_large),
        REQUEST_TEST(test_an_error_names_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
