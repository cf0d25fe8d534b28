/* Resources in JSON and XML: one tree, read from either, written to either (FHIR R4 2.6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/fhir/read.h"
#include "lib/xml/read.h"

static Request *req;

static int set_up(void **state)
{
    (void)state;
    xml_init();
    req = request_new(600000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    request_free(req);
    return 0;
}

static void expect_written(const FhirNode *node, FhirFormat format, const char *expected)
{
    StrBuf buf = {0};
    fhir_write(&buf, format, node);
    assert_string_equal(buf.data, expected);
    strbuf_done(&buf);
}

#define XML_HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"

/* JSON and XML of one resource (FHIR R4 2.6.1, 2.6.2): lists, extensions, resources in resources,
 * half-width kana, IBM extension kanji, a variation sequence. */
static const char json[] =
    "{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"entry\":[{\"resource\":{"
    "\"resourceType\":\"Patient\",\"extension\":[{\"url\":\"http://example.org/m\","
    "\"valueString\":\"\xe4\xbd\x90\"}],\"identifier\":[{\"system\":\"urn:oid:1.2\",\"value\":"
    "\"A&<>\\\"1\"}],\"name\":[{\"family\":"
    "\"\xe9\xab\x99\xef\xa8\x91\xe8\xbe\xbb\xf3\xa0\x84\x80\","
    "\"given\":[\"\xef\xbd\xb1\xef\xbd\xb2\",\"\xe2\x91\xa0\"]},{\"family\":\"B\"}]},\"search\":"
    "{\"mode\":\"match\"}},{\"fullUrl\":\"urn:uuid:1\"}]}";
static const char xml[] = XML_HEAD
    "<Bundle xmlns=\"http://hl7.org/fhir\"><type value=\"searchset\"/><entry><resource><Patient>"
    "<extension url=\"http://example.org/m\"><valueString value=\"\xe4\xbd\x90\"/></extension>"
    "<identifier><system value=\"urn:oid:1.2\"/><value value=\"A&amp;&lt;&gt;&quot;1\"/>"
    "</identifier><name><family value=\"\xe9\xab\x99\xef\xa8\x91\xe8\xbe\xbb\xf3\xa0\x84\x80\"/>"
    "<given value=\"\xef\xbd\xb1\xef\xbd\xb2\"/><given value=\"\xe2\x91\xa0\"/></name><name>"
    "<family value=\"B\"/></name></Patient></resource><search><mode value=\"match\"/></search>"
    "</entry><entry><fullUrl value=\"urn:uuid:1\"/></entry></Bundle>";

static void test_json_and_xml_of_one_resource_are_one_tree(void **state)
{
    const FhirNode *node = NULL;
    (void)state;
    assert_int_equal(fhir_read(req, FHIR_JSON, STR(json), &node), 0);
    expect_written(node, FHIR_JSON, json);
    expect_written(node, FHIR_XML, xml);
    assert_int_equal(fhir_read(req, FHIR_XML, STR(xml), &node), 0);
    expect_written(node, FHIR_XML, xml);
    expect_written(node, FHIR_JSON, json);
}

static void test_json_values_keep_their_text_and_kind(void **state)
{
    const FhirNode *node = NULL;
    (void)state;
    Str text = STR("\xef\xbb\xbf {\"resourceType\" : \"Basic\" , \"a\":[1.50, -0, 2e+10,null], "
                   "\"b\":true,\"c\":{},\"_b\":{\"id\":\"x\"},\"d\":[],\"e\":\"\\u9ad9\\ud83d"
                   "\\ude00\\/\\n\"} ");
    assert_int_equal(fhir_read(req, FHIR_JSON, text, &node), 0);
    expect_written(node, FHIR_JSON,
                   "{\"resourceType\":\"Basic\",\"a\":[1.50,-0,2e+10],\"b\":true,\"c\":{},"
                   "\"e\":\"\xe9\xab\x99\xf0\x9f\x98\x80/\\u000a\"}");
}

/* What could mean two things, or cannot be written in the other format, is refused. */
static void test_doubtful_json_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{\"resourceType\":\"Patient\"",
        "{\"resourceType\":\"Patient\"}x",
        "{\"resourceType\":\"Patient\",}",
        "{\"resourceType\":\"Patient\",\"id\":\"1\",\"id\":\"2\"}",
        "{\"resourceType\":\"Patient\",\"a\":[[1]]}",
        "{\"resourceType\":\"Patient\",\"a\":[1,]}",
        "{\"resourceType\":\"Patient\",\"a\":01}",
        "{\"resourceType\":\"Patient\",\"a\":1.}",
        "{\"resourceType\":\"Patient\",\"a\":tru}",
        "{\"resourceType\":\"Patient\",\"a\":\"\x01\"}",
        "{\"resourceType\":\"Patient\",\"a\":\"\\u0000\"}",
        "{\"resourceType\":\"Patient\",\"a\":\"\\ud83d\"}",
        "{\"resourceType\":\"Patient\",\"a\":\"\\x\"}",
        "{\"resourceType\":\"Patient\",\"a\":\"\xff\"}",
        "{\"resourceType\":\"Patient\",\"a\":\"",
        "{\"resourceType\":\"Patient\",\"a\":\"\\",
        "{\"a\":1}",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const FhirNode *node = NULL;
        Str text = str_from(texts[i]);
        if (fhir_read(req, FHIR_JSON, text, &node) != -(int)ERR_FHIR_STRUCTURE) {
            fail_msg("%zu: %s", i, texts[i]);
        }
    }
}

static void test_deep_and_endless_resources_are_refused(void **state)
{
    StrBuf deep = {0};
    StrBuf wide = {0};
    const FhirNode *node = NULL;
    (void)state;
    strbuf_literal(&deep, "{\"resourceType\":\"Patient\"");
    for (int i = 0; i < FHIR_DEPTH_MAX; i++) {
        strbuf_literal(&deep, ",\"a\":{\"b\":1");
    }
    assert_int_equal(fhir_read(req, FHIR_JSON, strbuf_str(&deep), &node), -(int)ERR_FHIR_STRUCTURE);
    strbuf_literal(&wide, "{\"resourceType\":\"Patient\",\"a\":[0");
    for (int i = 0; i < FHIR_NODES_MAX; i++) {
        strbuf_literal(&wide, ",1");
    }
    strbuf_literal(&wide, "]}");
    assert_int_equal(fhir_read(req, FHIR_JSON, strbuf_str(&wide), &node), -(int)ERR_TOO_LARGE);
    strbuf_done(&deep);
    strbuf_done(&wide);
}

static void test_xml_of_another_namespace_is_refused(void **state)
{
    const FhirNode *node = NULL;
    (void)state;
    assert_int_equal(fhir_read(req, FHIR_XML, STR("<Patient/>"), &node), -(int)ERR_FHIR_STRUCTURE);
    assert_int_equal(fhir_read(req, FHIR_XML, STR("<Patient"), &node), -(int)ERR_SOAP_SENDER);
}

/* FHIR R4 3.1.0.1.11; ITI TF-2 Z.6. */
static void test_format_is_chosen_by_accept(void **state)
{
    static const struct {
        const char *accept;
        int expected; /* -1: none */
    } rows[] = {
        {"", FHIR_JSON},
        {"*/*", FHIR_JSON},
        {"application/fhir+xml", FHIR_XML},
        {"application/fhir+xml;q=0.5, application/fhir+json;q=0.9", FHIR_JSON},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", FHIR_XML},
        {"application/fhir+xml; fhirVersion=4.0", FHIR_XML},
        {"Text/XML", FHIR_XML},
        {"application/fhir+json;q=0", -1},
        {"text/html", -1},
        {"text/turtle", -1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        FhirFormat format = FHIR_JSON;
        bool is_found = fhir_format_accept(str_from(rows[i].accept), &format);
        if ((is_found ? (int)format : -1) != rows[i].expected) {
            fail_msg("%s", rows[i].accept);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_json_and_xml_of_one_resource_are_one_tree, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_json_values_keep_their_text_and_kind, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_doubtful_json_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deep_and_endless_resources_are_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_xml_of_another_namespace_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test(test_format_is_chosen_by_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
