#include "lib/soap/community.h"
#include "lib/soap/registry_response.h"
#include "lib/soap/reply.h"
#include "lib/xml/namespaces.h"

#include "tests/unit/soap_fixture.h"

static XmlNode *read_back(Request *req, Str text)
{
    XmlNode *root = NULL;
    if (xml_read(req, text, &root) != 0) {
        fail_msg("%.*s", STR_ARG(text));
    }
    return root;
}

static XmlNode *child(const XmlNode *node, const char *ns, const char *name)
{
    XmlNode *found = xml_child(node, ns, name);
    if (!found) {
        fail_msg("no element %s", name);
    }
    return found;
}

/* SOAP 1.2 part 1 section 5.4, part 2 section 7.5.2.2; WS-Addressing 1.0 SOAP binding section 6 */
static void test_every_error_has_its_fault(void **state)
{
    (void)state;
    static const struct {
        ErrorCode code;
        unsigned http_status;
        const char *value;
        const char *subcode;
        const char *action;
    } CASES[] = {
        {ERR_SOAP_SENDER, 400, "env:Sender", NULL, NS_WSA "/soap/fault"},
        {ERR_TOO_LARGE, 400, "env:Sender", NULL, NS_WSA "/soap/fault"},
        {ERR_SOAP_VERSION_MISMATCH, 500, "env:VersionMismatch", NULL, NS_WSA "/soap/fault"},
        {ERR_SOAP_MUST_UNDERSTAND, 500, "env:MustUnderstand", NULL, NS_WSA "/soap/fault"},
        {ERR_SOAP_ACTION_NOT_SUPPORTED, 400, "env:Sender", "wsa:ActionNotSupported",
         NS_WSA "/fault"},
        {ERR_SOAP_ADDRESSING_HEADER_REQUIRED, 400, "env:Sender",
         "wsa:MessageAddressingHeaderRequired", NS_WSA "/fault"},
        {ERR_SOAP_INVALID_ADDRESSING_HEADER, 400, "env:Sender", "wsa:InvalidAddressingHeader",
         NS_WSA "/fault"},
        {ERR_FORBIDDEN, 400, "env:Sender", "wsse:FailedAuthentication", NS_WSA "/soap/fault"},
        {ERR_SOAP_RECEIVER, 500, "env:Receiver", NULL, NS_WSA "/soap/fault"},
        {ERR_DATABASE, 500, "env:Receiver", NULL, NS_WSA "/soap/fault"},
        {ERR_XDS_REPOSITORY_BUSY, 500, "env:Receiver", NULL, NS_WSA "/soap/fault"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Request *req = request_new(600000);
        req->message_id = STR("urn:uuid:<1>");
        error_add(&req->errors, CASES[i].code, NULL, "first & \"worst\"");
        error_add(&req->errors, ERR_SOAP_SENDER, NULL, "second");
        StrBuf buf = {0};
        assert_int_equal(soap_fault_write(req, NULL, &buf), CASES[i].http_status);
        XmlNode *envelope = read_back(req, strbuf_str(&buf));
        assert_true(xml_is(envelope, NS_SOAP12, "Envelope"));
        XmlNode *header = child(envelope, NS_SOAP12, "Header");
        assert_str(xml_child_text(header, NS_WSA, "Action"), CASES[i].action);
        assert_str(xml_child_text(header, NS_WSA, "RelatesTo"), "urn:uuid:<1>");
        XmlNode *fault = child(child(envelope, NS_SOAP12, "Body"), NS_SOAP12, "Fault");
        XmlNode *code = child(fault, NS_SOAP12, "Code");
        assert_str(xml_child_text(code, NS_SOAP12, "Value"), CASES[i].value);
        XmlNode *subcode = xml_child(code, NS_SOAP12, "Subcode");
        assert_str(xml_child_text(subcode, NS_SOAP12, "Value"),
                   CASES[i].subcode ? CASES[i].subcode : "");
        Str expected = str_printf(req->arena, "first & \"worst\"; second [ref %s]", req->ref);
        assert_str(xml_child_text(child(fault, NS_SOAP12, "Reason"), NS_SOAP12, "Text"),
                   str_cstr(req->arena, expected));
        strbuf_done(&buf);
        request_free(req);
    }
}

static void test_a_fault_without_errors_is_ours(void **state)
{
    Request *req = *state;
    StrBuf buf = {0};
    assert_int_equal(soap_fault_write(req, NULL, &buf), 500);
    assert_contains(strbuf_str(&buf), "env:Receiver");
    assert_false(str_contains(strbuf_str(&buf), STR("RelatesTo")));
    strbuf_done(&buf);
}

/* WS-Addressing 1.0 Core 3.4, SOAP binding 3.4 */
static void test_a_reply_elsewhere_names_its_addressee_and_his_parameters(void **state)
{
    Request *req = *state;
    XmlNode *parameters;
    assert_int_equal(xml_read(req,
                              STR("<p><c:Case xmlns:c='urn:c' c:kind='x'>a &amp; b</c:Case>"
                                  "<d><e>1</e></d></p>"),
                              &parameters),
                     0);
    const SoapAddressee addressee = {STR("https://a/?b&c"), parameters};
    for (size_t round = 0; round < 2; round++) { /* a fault may follow in place of a reply */
        StrBuf buf = {0};
        (void)soap_fault_write(req, &addressee, &buf);
        XmlNode *header = child(read_back(req, strbuf_str(&buf)), NS_SOAP12, "Header");
        assert_str(xml_child_text(header, NS_WSA, "To"), "https://a/?b&c");
        const XmlNode *one = child(header, "urn:c", "Case");
        assert_str(one->text, "a & b");
        assert_int_equal(one->attribute_count, 2);
        assert_str(one->attributes[1].name, "IsReferenceParameter");
        assert_str(one->attributes[1].ns, NS_WSA);
        assert_str(one->attributes[1].value, "true");
        assert_str(xml_child_text(child(header, "", "d"), "", "e"), "1");
        strbuf_done(&buf);
    }
}

/** A source that gives its text in pieces of three bytes, and counts its end. */
typedef struct Pieces {
    Str rest;
    int done_count;
} Pieces;

static int pieces_next(void *ctx, StrBuf *buf)
{
    Pieces *pieces = ctx;
    strbuf_append(buf, str_slice(pieces->rest, 0, 3));
    pieces->rest = str_from_offset(pieces->rest, 3);
    return !str_is_empty(pieces->rest);
}

static void pieces_done(void *ctx)
{
    ((Pieces *)ctx)->done_count++;
}

static BodySource source_of(Pieces *pieces)
{
    return (BodySource){.ctx = pieces, .next = pieces_next, .done = pieces_done};
}

/** Pulls all of it. @return 0, or the source's error */
static int pull(BodySource *source, StrBuf *buf)
{
    int r = 1;
    while (r > 0) {
        r = source->next(source->ctx, buf);
    }
    source->done(source->ctx);
    return r;
}

/* TF-2 3.43.5.1: what we send, we can receive; the length is known in advance. */
static void test_an_mtom_reply_reads_back(void **state)
{
    Request *req = *state;
    req->message_id = STR("urn:uuid:request");
    Pieces first = {.rest = STR("first document\r\n--")};
    Pieces second = {.rest = STR_EMPTY};
    SoapPart parts[] = {
        {.content_id = STR("d1@x"),
         .content_type = STR("text/plain"),
         .size_bytes = 18,
         .source = source_of(&first)},
        {.content_id = STR("d2@x"),
         .content_type = STR("text/x\r\nEvil: 1"),
         .source = source_of(&second)},
    };
    SoapExchange exchange = {.req = req, .parts = parts, .part_count = 2};
    soap_reply_open(&exchange, "urn:reply", true);
    strbuf_literal(&exchange.reply_xml,
                   "<R xmlns='" NS_XDSB "'><Document><x:Include xmlns:x='" NS_XOP
                   "' href='cid:d1%40x'/></Document></R>");
    BodySource source;
    Str content_type = soap_reply_content_type(&exchange);
    int64_t content_length = 0;
    soap_reply_source(&exchange, &source, &content_length);
    StrBuf body = {0};
    assert_int_equal(pull(&source, &body), 0);
    assert_int_equal(content_length, body.len);
    assert_int_equal(first.done_count + second.done_count, 2);
    assert_contains(content_type, "multipart/related; type=\"application/xop+xml\"; start=\"<");
    assert_contains(content_type, "start-info=\"application/soap+xml\"");
    assert_contains(
        strbuf_str(&body),
        "Content-Type: application/xop+xml; charset=UTF-8; type=\"application/soap+xml\"\r\n"
        "Content-Transfer-Encoding: binary\r\nContent-ID: <");
    assert_false(str_contains(strbuf_str(&body), STR("Evil")));

    int open_count = 0;
    DocumentSink sink = MEMORY_SINK(&open_count);
    SoapReceiver *receiver = soap_receiver_new(req, content_type, &sink);
    assert_non_null(receiver);
    assert_int_equal(soap_receiver_push(receiver, body.data, body.len), 0);
    SoapMessage *message = NULL;
    assert_int_equal(soap_receiver_finish(receiver, &message), 0);
    assert_str(message->action, "urn:reply");
    assert_str(xml_child_text(message->header, NS_WSA, "RelatesTo"), "urn:uuid:request");
    assert_int_equal(message->document_count, 2);
    assert_str(memory_bytes(message->documents[0].content), "first document\r\n--");
    assert_true(message->documents[0].is_referenced);
    assert_str(message->documents[1].content_type, "application/octet-stream");
    assert_int_equal(message->documents[1].content->size_bytes, 0);
    soap_receiver_free(receiver);
    strbuf_done(&body);
    strbuf_done(&exchange.reply_xml);
}

/* A body element that is made while it is sent, before documents. */
static void test_a_source_that_tells_its_size_makes_the_length_known(void **state)
{
    Request *req = *state;
    Pieces rest = {.rest = STR("<b/><b/></R>")};
    Pieces document = {.rest = STR("document")};
    SoapPart part = {.content_id = STR("d"), .size_bytes = 8, .source = source_of(&document)};
    SoapExchange exchange = {.req = req,
                             .reply_source = source_of(&rest),
                             .reply_source_bytes = rest.rest.len,
                             .parts = &part,
                             .part_count = 1};
    soap_reply_open(&exchange, "urn:reply", true);
    strbuf_literal(&exchange.reply_xml, "<R>");
    BodySource source;
    int64_t content_length = 0;
    soap_reply_source(&exchange, &source, &content_length);
    StrBuf body = {0};
    assert_int_equal(pull(&source, &body), 0);
    assert_int_equal(content_length, body.len);
    assert_contains(strbuf_str(&body), "<R><b/><b/></R></env:Body></env:Envelope>\r\n--");
    assert_int_equal(rest.done_count + document.done_count, 2);
    strbuf_done(&body);
    strbuf_done(&exchange.reply_xml);
}

static void test_a_simple_reply_with_a_source_has_no_known_length(void **state)
{
    Request *req = *state;
    Pieces rest = {.rest = STR("<b/><b/></R>")};
    SoapExchange exchange = {.req = req, .reply_source = source_of(&rest)};
    soap_reply_open(&exchange, "urn:reply", false);
    strbuf_literal(&exchange.reply_xml, "<R>");
    BodySource source;
    int64_t content_length = 0;
    soap_reply_source(&exchange, &source, &content_length);
    assert_int_equal(content_length, -1);
    assert_str(soap_reply_content_type(&exchange),
               "application/soap+xml; charset=UTF-8; action=\"urn:reply\"");
    StrBuf body = {0};
    assert_int_equal(pull(&source, &body), 0);
    XmlNode *envelope = read_back(req, strbuf_str(&body));
    XmlNode *reply = child(child(envelope, NS_SOAP12, "Body"), "", "R");
    assert_non_null(xml_next(reply->first_child, "", "b"));
    assert_int_equal(rest.done_count, 1);
    strbuf_done(&body);
    strbuf_done(&exchange.reply_xml);
}

/* TF-2 Appendix V.8: as MTOM or not, a reply without parts is one text and ends. */
static void test_a_reply_of_one_text_is_taken_whole(void **state)
{
    for (int as_mtom = 0; as_mtom < 2; as_mtom++) {
        SoapExchange exchange = {.req = *state};
        StrBuf text = {0};
        soap_reply_open(&exchange, "urn:reply", as_mtom);
        strbuf_literal(&exchange.reply_xml, "<R/>");
        assert_true(soap_reply_take(&exchange, &text));
        assert_contains(strbuf_str(&text), "<R/></env:Body></env:Envelope>");
        assert_int_equal(str_ends_with(strbuf_str(&text), STR("--\r\n")), as_mtom);
        assert_int_equal(exchange.reply_xml.len, 0);
        strbuf_done(&text);
    }
}

/* The length was announced, so a part of another size would shift all that follows. */
static void test_a_part_of_another_size_cuts_the_reply(void **state)
{
    (void)state;
    for (uint64_t size_bytes = 2; size_bytes <= 4; size_bytes += 2) {
        Request *req = request_new(600000);
        Pieces three = {.rest = STR("abc")};
        SoapPart part = {
            .content_id = STR("d"), .size_bytes = size_bytes, .source = source_of(&three)};
        SoapExchange exchange = {.req = req, .parts = &part, .part_count = 1};
        soap_reply_open(&exchange, "urn:reply", true);
        BodySource source;
        int64_t content_length = 0;
        soap_reply_source(&exchange, &source, &content_length);
        StrBuf body = {0};
        assert_int_equal(pull(&source, &body), -(int)ERR_CORRUPT);
        assert_int_equal(three.done_count, 1);
        strbuf_done(&body);
        strbuf_done(&exchange.reply_xml);
        request_free(req);
    }
}

/* TF-3 4.2.4.1: highestSeverity, severity, errorCode, codeContext, location; the body of the
 * element is empty. */
static void test_a_registry_response_lists_every_error(void **state)
{
    Request *req = *state;
    error_warn(&req->errors, ERR_XDS_EXTRA_METADATA_NOT_SAVED, NULL, "slot <x>");
    error_add(&req->errors, ERR_XDS_UNKNOWN_PATIENT_ID, "/a/b", "unknown");
    StrBuf buf = {0};
    registry_response_write(req, "urn:status", &buf);
    XmlNode *response = read_back(req, strbuf_str(&buf));
    assert_true(xml_is(response, NS_RS, "RegistryResponse"));
    assert_str(xml_attribute(response, "status"), "urn:status");
    XmlNode *list = child(response, NS_RS, "RegistryErrorList");
    assert_str(xml_attribute(list, "highestSeverity"), URN_SEVERITY_ERROR);
    XmlNode *warning = child(list, NS_RS, "RegistryError");
    assert_str(xml_attribute(warning, "errorCode"), "XDSExtraMetadataNotSaved");
    assert_str(xml_attribute(warning, "severity"), URN_SEVERITY_WARNING);
    assert_str(xml_attribute(warning, "codeContext"),
               str_cstr(req->arena, str_printf(req->arena, "slot <x> [ref %s]", req->ref)));
    assert_null(xml_attribute(warning, "location").data);
    XmlNode *error = xml_next(warning, NS_RS, "RegistryError");
    assert_str(xml_attribute(error, "errorCode"), "XDSUnknownPatientId");
    assert_str(xml_attribute(error, "severity"), URN_SEVERITY_ERROR);
    assert_str(xml_attribute(error, "location"), "/a/b");
    assert_null(error->next);
    strbuf_done(&buf);
}

/** The location of the error of this number, as it is written. */
static const char *location_of(Request *req, unsigned number)
{
    StrBuf buf = {0};
    registry_error_list_write(req, &buf);
    XmlNode *error = child(read_back(req, strbuf_str(&buf)), NS_RS, "RegistryError");
    while (number-- > 0) {
        error = xml_next(error, NS_RS, "RegistryError");
    }
    strbuf_done(&buf);
    return str_cstr(req->arena, xml_attribute(error, "location"));
}

/* ITI TF-2 3.38.4.1.3, 3.39.4.1.3: also of what is only counted. */
static void test_every_error_of_a_gateway_names_its_community(void **state)
{
    Request *req = *state;
    req->community = STR("urn:oid:1.2.3");
    error_add(&req->errors, ERR_XDS_UNKNOWN_REPOSITORY_ID, "1.9.8", "one");
    error_add(&req->errors, ERR_XDS_REPOSITORY_ERROR, NULL, "two");
    for (unsigned i = 0; i < ERROR_LIST_KEPT_MAX; i++) {
        error_add(&req->errors, ERR_XDS_REPOSITORY_ERROR, NULL, "more");
    }
    assert_string_equal(location_of(req, 0), "1.9.8 urn:oid:1.2.3");
    assert_string_equal(location_of(req, 1), "urn:oid:1.2.3");
    assert_string_equal(location_of(req, ERROR_LIST_KEPT_MAX), "urn:oid:1.2.3");
}

/* RAD TF-2 4.75: the location is the community alone, and nothing of what was in it is lost. */
static void test_locations_go_into_the_texts(void **state)
{
    Request *req = *state;
    req->community = STR("urn:oid:1.2.3");
    error_add(&req->errors, ERR_XDS_UNKNOWN_REPOSITORY_ID, "1.9.8", "not here");
    error_add(&req->errors, ERR_XDS_UNKNOWN_REPOSITORY_ID, "1.9.8", "1.9.8 is not here");
    error_add(&req->errors, ERR_XDS_UNKNOWN_REPOSITORY_ID, NULL, "nowhere");
    community_take_locations(req, "DocumentUniqueId");
    const char *const expected[] = {"DocumentUniqueId 1.9.8: not here", "1.9.8 is not here",
                                    "nowhere"};
    const Error *error = req->errors.first;
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++, error = error->next) {
        assert_str(error->context, expected[i]);
        assert_string_equal(location_of(req, i), "urn:oid:1.2.3");
    }
}

/* ITI TF-3 Table 4.2.4.1-2; a homeCommunityId is compared as it is written (TF-2 3.18.4.1.2.3.8).
 */
static void test_a_request_is_for_this_community(void **state)
{
    static const struct {
        const char *home;
        int expected;
    } cases[] = {
        {"urn:oid:1.2.3", 0},
        {"", -(int)ERR_XDS_MISSING_HOME_COMMUNITY_ID},
        {"urn:oid:1.2.33", -(int)ERR_XDS_UNKNOWN_COMMUNITY},
        {"1.2.3", -(int)ERR_XDS_UNKNOWN_COMMUNITY},
        {"URN:OID:1.2.3", -(int)ERR_XDS_UNKNOWN_COMMUNITY},
    };
    Request *req = *state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const unsigned before = req->errors.error_count;
        assert_int_equal(community_check(req, STR("urn:oid:1.2.3"), str_from(cases[i].home),
                                         "HomeCommunityId", "1.9.8"),
                         cases[i].expected);
        assert_int_equal(req->errors.error_count, before + (cases[i].expected < 0 ? 1 : 0));
    }
}

/* A sender that corrects what is listed has to know that this is not all. */
static void test_the_list_says_how_many_it_leaves_out(void **state)
{
    Request *req = *state;
    for (unsigned i = 0; i < ERROR_LIST_KEPT_MAX + 7; i++) {
        error_warn(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, NULL, "w%u", i);
        error_add(&req->errors, ERR_XDS_REGISTRY_METADATA_ERROR, NULL, "e%u", i);
    }
    StrBuf buf = {0};
    registry_error_list_write(req, &buf);
    unsigned counts[2] = {0};
    const XmlNode *last[2] = {NULL};
    for (const XmlNode *error = read_back(req, strbuf_str(&buf))->first_child; error;
         error = error->next) {
        Severity severity = str_equal(xml_attribute(error, "severity"), STR(URN_SEVERITY_ERROR))
                                ? SEVERITY_ERROR
                                : SEVERITY_WARNING;
        counts[severity]++;
        last[severity] = error;
    }
    for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
        assert_int_equal(counts[i], ERROR_LIST_KEPT_MAX + 1);
        assert_str(xml_attribute(last[i], "errorCode"), "XDSRegistryError");
    }
    assert_true(str_starts_with(xml_attribute(last[SEVERITY_ERROR], "codeContext"),
                                STR("7 more errors are not listed;")));
    assert_true(str_starts_with(xml_attribute(last[SEVERITY_WARNING], "codeContext"),
                                STR("7 more warnings are not listed;")));
    strbuf_done(&buf);
}

static void test_only_warnings_have_the_severity_warning(void **state)
{
    Request *req = *state;
    error_warn(&req->errors, ERR_XDS_EXTRA_METADATA_NOT_SAVED, NULL, "x");
    StrBuf buf = {0};
    registry_error_list_write(req, &buf);
    assert_str(xml_attribute(read_back(req, strbuf_str(&buf)), "highestSeverity"),
               URN_SEVERITY_WARNING);
    strbuf_done(&buf);
}

static void test_success_has_no_error_list(void **state)
{
    StrBuf buf = {0};
    registry_response_write(*state, "urn:status", &buf);
    assert_null(read_back(*state, strbuf_str(&buf))->first_child);
    strbuf_done(&buf);
}

static int set_up_xml(void **state)
{
    (void)state;
    xml_init();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REQUEST_TEST(test_every_error_has_its_fault),
        REQUEST_TEST(test_a_fault_without_errors_is_ours),
        REQUEST_TEST(test_a_reply_elsewhere_names_its_addressee_and_his_parameters),
        REQUEST_TEST(test_an_mtom_reply_reads_back),
        REQUEST_TEST(test_a_source_that_tells_its_size_makes_the_length_known),
        REQUEST_TEST(test_a_simple_reply_with_a_source_has_no_known_length),
        REQUEST_TEST(test_a_reply_of_one_text_is_taken_whole),
        REQUEST_TEST(test_a_part_of_another_size_cuts_the_reply),
        REQUEST_TEST(test_a_registry_response_lists_every_error),
        REQUEST_TEST(test_every_error_of_a_gateway_names_its_community),
        REQUEST_TEST(test_locations_go_into_the_texts),
        REQUEST_TEST(test_a_request_is_for_this_community),
        REQUEST_TEST(test_the_list_says_how_many_it_leaves_out),
        REQUEST_TEST(test_only_warnings_have_the_severity_warning),
        REQUEST_TEST(test_success_has_no_error_list),
    };
    return cmocka_run_group_tests(tests, set_up_xml, NULL);
}
