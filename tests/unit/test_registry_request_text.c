#include "lib/xml/read.h"
#include "registry/request_text.h"

#include "tests/unit/xml_fixture.h"

/* TF-2 3.18.5.1: the audit event carries the whole AdhocQueryRequest. */

typedef struct TextCase {
    const char *received;
    const char *written;
} TextCase;

static void test_names_attributes_and_text_are_kept(void **state)
{
    static const TextCase cases[] = {
        {"<q:a xmlns:q='urn:q'/>", "<a xmlns=\"urn:q\"/>"},
        {"<a><b x='1'/><b>t</b></a>", "<a><b x=\"1\"/><b>t</b></a>"},
        {"<q:a xmlns:q='urn:q' xmlns:r='urn:r'>\n <r:b><r:c>'x' &lt; &amp;</r:c></r:b>\n</q:a>",
         "<a xmlns=\"urn:q\"><b xmlns=\"urn:r\"><c>'x' &lt; &amp;</c></b></a>"},
        {"<q:a xmlns:q='urn:q'><b/></q:a>", "<a xmlns=\"urn:q\"><b xmlns=\"\"/></a>"},
        {"<a xmlns:i='urn:i' y='&quot;' i:t='z'> </a>",
         "<a y=\"&quot;\" xmlns:a1=\"urn:i\" a1:t=\"z\"> </a>"},
    };
    Request *req = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        XmlNode *root;
        StrBuf text = {0};
        assert_int_equal(xml_read(req, str_from(cases[i].received), &root), 0);
        request_text_write(root, &text);
        assert_str(strbuf_str(&text), cases[i].written);
        strbuf_done(&text);
    }
}

static void test_deep_nesting_is_closed_again(void **state)
{
    Request *req = *state;
    StrBuf received = {0};
    for (int i = 0; i < 90; i++) {
        strbuf_literal(&received, "<a>");
    }
    for (int i = 0; i < 90; i++) {
        strbuf_literal(&received, "</a>");
    }
    XmlNode *root;
    StrBuf text = {0};
    assert_int_equal(xml_read(req, strbuf_str(&received), &root), 0);
    request_text_write(root, &text);
    assert_int_equal(text.len, 89 * strlen("<a></a>") + strlen("<a/>"));
    assert_int_equal(xml_read(req, strbuf_str(&text), &root), 0);
    strbuf_done(&received);
    strbuf_done(&text);
}

int main(void)
{
    xml_init();
    const struct CMUnitTest tests[] = {
        REQUEST_TEST(test_names_attributes_and_text_are_kept),
        REQUEST_TEST(test_deep_nesting_is_closed_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
