#include "lib/soap/envelope.h"

#include "tests/unit/soap_fixture.h"

#define ENV                                                                                        \
    "<e:Envelope xmlns:e='http://www.w3.org/2003/05/soap-envelope' "                               \
    "xmlns:a='http://www.w3.org/2005/08/addressing'>"
#define ACTION "<a:Action e:mustUnderstand='1'> urn:do </a:Action>"
#define ID "<a:MessageID>urn:uuid:1</a:MessageID>"
#define BODY "<e:Body><q xmlns='u'/></e:Body></e:Envelope>"
#define ANON "http://www.w3.org/2005/08/addressing/anonymous"
#define SIMPLE "application/soap+xml; charset=UTF-8; action=\"urn:do\""
#define MTOM                                                                                       \
    "multipart/related; type=\"application/xop+xml\"; start=\"<r@x>\"; "                           \
    "start-info=\"application/soap+xml\"; "                                                        \
    "boundary=b"

/** Receives the whole text in steps. @return result of finish, or of the push that failed */
static int receive(SoapReceiver *receiver, Str text, size_t step, SoapMessage **ret_message)
{
    for (size_t at = 0; at < text.len; at += step) {
        Str piece = str_slice(text, at, step);
        int r = soap_receiver_push(receiver, piece.data, piece.len);
        if (r) {
            SoapMessage *message = NULL;
            assert_int_not_equal(soap_receiver_finish(receiver, &message), 0);
            return r;
        }
    }
    return soap_receiver_finish(receiver, ret_message);
}

static void test_a_simple_message_is_received(void **state)
{
    Request *req = *state;
    static const char TEXT[] =
        "<?xml version='1.0' encoding='UTF-8'?>" ENV "<e:Header>" ACTION ID
        "<a:To>http://h/registry</a:To>"
        "<a:ReplyTo><a:Address>" ANON "</a:Address></a:ReplyTo></e:Header>" BODY;
    SoapReceiver *receiver = soap_receiver_new(req, STR(SIMPLE), NULL);
    assert_non_null(receiver);
    SoapMessage *message = NULL;
    assert_int_equal(receive(receiver, STR(TEXT), 11, &message), 0);
    assert_false(message->is_mtom);
    assert_str(message->action, "urn:do");
    assert_str(message->message_id, "urn:uuid:1");
    assert_str(message->to, "http://h/registry");
    assert_str(message->reply_to, ANON);
    assert_str(req->message_id, "urn:uuid:1");
    assert_true(xml_is(message->body, "u", "q"));
    assert_true(xml_is(message->header, "http://www.w3.org/2003/05/soap-envelope", "Header"));
    assert_int_equal(message->document_count, 0);
    soap_receiver_free(receiver);
}

#define REPLY_TO(address) "<a:ReplyTo><a:Address> " address " </a:Address></a:ReplyTo>"
#define FAULT_TO(address) "<a:FaultTo><a:Address>" address "</a:Address></a:FaultTo>"

/* WS-Addressing 1.0 Core 3.4; TF-2 Appendix V.5 */
static void test_replies_and_faults_have_an_addressee_or_none(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        const char *reply_to, *fault_to; /* empty: the connection */
    } rows[] = {
        {"", "", ""},
        {REPLY_TO(ANON), "", ""},
        {REPLY_TO("https://a/r"), "https://a/r", "https://a/r"},
        {REPLY_TO("https://a/r") FAULT_TO("https://a/f"), "https://a/r", "https://a/f"},
        {REPLY_TO("https://a/r") FAULT_TO(ANON), "https://a/r", ""},
        {REPLY_TO(ANON) FAULT_TO("https://a/f"), "", "https://a/f"},
        {FAULT_TO("https://a/f"), "", "https://a/f"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Request *req = request_new(600000);
        SoapReceiver *receiver = soap_receiver_new(req, STR(SIMPLE), NULL);
        SoapMessage *message = NULL;
        Str text = str_printf(req->arena, "%s%s%s%s", ENV "<e:Header>" ACTION ID, rows[i].headers,
                              "</e:Header>", BODY);
        SoapAddressee reply = {0};
        SoapAddressee fault = {0};
        assert_int_equal(receive(receiver, text, 4096, &message), 0);
        assert_int_equal(soap_reply_addressee(message, &reply), rows[i].reply_to[0] != '\0');
        assert_int_equal(soap_fault_addressee(message, &fault), rows[i].fault_to[0] != '\0');
        assert_str(reply.address, rows[i].reply_to);
        assert_str(fault.address, rows[i].fault_to);
        soap_receiver_free(receiver);
        request_free(req);
    }
}

/* TF-2 Appendix V.3, SOAP 1.2 part 1 section 5: what the headers and the body must be. */
static void test_faulty_envelopes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        ErrorCode code;
        const char *says;
    } CASES[] = {
        {ENV BODY, ERR_SOAP_ADDRESSING_HEADER_REQUIRED, "wsa:Action"},
        {ENV "<e:Header>" ID "</e:Header>" BODY, ERR_SOAP_ADDRESSING_HEADER_REQUIRED, "wsa:Action"},
        {ENV "<e:Header><a:Action> </a:Action>" ID "</e:Header>" BODY,
         ERR_SOAP_ADDRESSING_HEADER_REQUIRED, "wsa:Action"},
        {ENV "<e:Header>" ACTION "</e:Header>" BODY, ERR_SOAP_ADDRESSING_HEADER_REQUIRED,
         "wsa:MessageID"},
        {ENV "<e:Header>" ACTION ACTION ID "</e:Header>" BODY, ERR_SOAP_INVALID_ADDRESSING_HEADER,
         "wsa:Action occurs more than once"},
        {ENV "<e:Header>" ACTION ID ID "</e:Header>" BODY, ERR_SOAP_INVALID_ADDRESSING_HEADER,
         "wsa:MessageID"},
        {ENV "<e:Header>" ACTION ID "<a:From/><a:From/></e:Header>" BODY,
         ERR_SOAP_INVALID_ADDRESSING_HEADER, "wsa:From"},
        {ENV "<e:Header>" ACTION ID "<a:FaultTo/><a:FaultTo/></e:Header>" BODY,
         ERR_SOAP_INVALID_ADDRESSING_HEADER, "wsa:FaultTo"},
        {ENV "<e:Header>" ACTION ID "<x e:mustUnderstand='true' xmlns='urn:x'/></e:Header>" BODY,
         ERR_SOAP_MUST_UNDERSTAND, "{urn:x}x"},
        {ENV "<e:Header>" ACTION ID "</e:Header><e:Body/></e:Envelope>", ERR_SOAP_SENDER,
         "exactly one element"},
        {ENV "<e:Header>" ACTION ID "</e:Header><e:Body><q/><q/></e:Body></e:Envelope>",
         ERR_SOAP_SENDER, "exactly one element"},
        {ENV "<e:Header>" ACTION ID "</e:Header></e:Envelope>", ERR_SOAP_SENDER, "one Body"},
        {ENV "<e:Body><q/></e:Body><e:Header>" ACTION ID "</e:Header></e:Envelope>",
         ERR_SOAP_SENDER, "one Body"},
        {"<Envelope xmlns='http://schemas.xmlsoap.org/soap/envelope/'/>", ERR_SOAP_VERSION_MISMATCH,
         "SOAP 1.1"},
        {"<Envelope/>", ERR_SOAP_VERSION_MISMATCH, "send Envelope"},
        {"<q xmlns='u'/>", ERR_SOAP_SENDER, "{u}q"},
        {ENV "<e:Header>", ERR_SOAP_SENDER, "closed"},
        {"", ERR_SOAP_SENDER, "no XML"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Request *req = request_new(600000);
        SoapReceiver *receiver = soap_receiver_new(req, STR(SIMPLE), NULL);
        SoapMessage *message = NULL;
        if (receive(receiver, str_from(CASES[i].text), 4096, &message) != -(int)CASES[i].code) {
            fail_msg("case %zu", i);
        }
        assert_error(req, CASES[i].code, CASES[i].says);
        soap_receiver_free(receiver);
        request_free(req);
    }
}

/* SOAP 1.2 part 1 section 2.4: mandatory is what is for us; wsse:Security and wsa are understood.
 */
static void test_headers_that_need_no_fault_are_tolerated(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "<x e:mustUnderstand='0' xmlns='urn:x'/>",
        "<x mustUnderstand='1' xmlns='urn:x'/>",
        "<x e:mustUnderstand='1' e:role='http://www.w3.org/2003/05/soap-envelope/role/none' "
        "xmlns='urn:x'/>",
        "<Security e:mustUnderstand='1' "
        "xmlns='http://docs.oasis-open.org/wss/2004/01/"
        "oasis-200401-wss-wssecurity-secext-1.0.xsd'><b/></Security>",
        "<a:Other e:mustUnderstand='1'/>",
        "<a:ReplyTo><a:Address>\n " ANON " </a:Address></a:ReplyTo>",
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Request *req = request_new(600000);
        SoapReceiver *receiver = soap_receiver_new(req, STR(SIMPLE), NULL);
        Str text = str_printf(req->arena, "%s%s%s%s", ENV "<e:Header>" ACTION ID, CASES[i],
                              "</e:Header>", BODY);
        SoapMessage *message = NULL;
        if (receive(receiver, text, 4096, &message) != 0) {
            fail_msg("case %zu: %.*s", i, STR_ARG(req->errors.first->context));
        }
        soap_receiver_free(receiver);
        request_free(req);
    }
}

static void test_a_fault_of_the_body_still_knows_the_message_id(void **state)
{
    Request *req = *state;
    SoapReceiver *receiver = soap_receiver_new(req, STR(SIMPLE), NULL);
    SoapMessage *message = NULL;
    assert_int_not_equal(
        receive(receiver, STR(ENV "<e:Header>" ACTION ID "</e:Header><e:Body/></e:Envelope>"), 4096,
                &message),
        0);
    assert_str(req->message_id, "urn:uuid:1");
    soap_receiver_free(receiver);
}

/* TF-2 Appendix V.3.2: SOAP 1.2 only. */
static void test_content_types_decide_what_is_received(void **state)
{
    (void)state;
    static const struct {
        const char *content_type;
        const char *says; /* NULL: accepted */
    } CASES[] = {
        {"application/soap+xml", NULL},
        {"Application/SOAP+xml;charset=utf-8", NULL},
        {MTOM, NULL},
        {"multipart/related; boundary=b", NULL},
        {"multipart/related; boundary=\"b c\"; type=\"application/xop+xml\"; "
         "start-info=\"application/soap+xml; action=x\"",
         NULL},
        {"text/xml; charset=utf-8", "application/soap+xml"},
        {"", "application/soap+xml"},
        {"application/json", "application/soap+xml"},
        {"multipart/form-data; boundary=b", "application/soap+xml"},
        {"application/soap+xml; charset=Shift_JIS", "send UTF-8"},
        {"multipart/related; type=\"application/xop+xml\"", "boundary"},
        {"multipart/related; boundary=b; type=\"text/xml\"", "application/xop+xml"},
        {"multipart/related; boundary=b; start-info=\"text/xml\"", "application/soap+xml"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Request *req = request_new(600000);
        SoapReceiver *receiver = soap_receiver_new(req, str_from(CASES[i].content_type), NULL);
        if ((receiver != NULL) != (CASES[i].says == NULL)) {
            fail_msg("case %zu", i);
        }
        if (!receiver) {
            assert_error(req, ERR_SOAP_SENDER, CASES[i].says);
        }
        soap_receiver_free(receiver);
        request_free(req);
    }
}

#define HEADER "<e:Header>" ACTION ID "</e:Header>"
#define PNR                                                                                        \
    "<e:Body><P xmlns='urn:ihe:iti:xds-b:2007' xmlns:x='http://www.w3.org/2004/08/xop/include'>"
#define END "</P></e:Body></e:Envelope>"
#define ROOT                                                                                       \
    "--b\r\nContent-Type: application/xop+xml; charset=UTF-8; "                                    \
    "type=\"application/soap+xml\"\r\nContent-ID: <r@x>\r\n\r\n"
#define PART(id, content)                                                                          \
    "\r\n--b\r\nContent-Type: text/plain\r\nContent-ID: " id "\r\n\r\n" content
#define FINAL "\r\n--b--\r\n"

/** Documents as "id:bytes:referenced;" in order of arrival, then the numbers of the xds:Document
 * elements. */
static Str describe(Request *req, const SoapMessage *message)
{
    Str text = STR_EMPTY;
    for (size_t i = 0; i < message->document_count; i++) {
        const SoapDocument *document = &message->documents[i];
        assert_true(((const MemoryContent *)document->content)->is_closed);
        text = str_printf(req->arena, "%.*s%.*s:%.*s:%d;", STR_ARG(text),
                          STR_ARG(document->content_id), STR_ARG(memory_bytes(document->content)),
                          document->is_referenced);
    }
    for (const XmlNode *node = message->body->first_child; node; node = node->next) {
        text = str_printf(req->arena, "%.*s %u", STR_ARG(text), node->document);
    }
    return text;
}

/* TF-2 Appendix V.8, 3.41.4.1.2: optimised or not, mixed, parts in any place. */
static void test_documents_reach_the_sink_however_they_are_sent(void **state)
{
    (void)state;
    static const struct {
        const char *content_type;
        const char *text;
        const char *documents;
    } CASES[] = {
        {MTOM,
         ROOT ENV HEADER PNR
         "<Document id='1'><x:Include href='cid:d%401'/></Document>" END PART("<d@1>", "one") FINAL,
         "d@1:one:1; 1"},
        {MTOM,
         ROOT ENV HEADER PNR
         "<Document id='1'>Zm9v</Document><Document><x:Include href='cid:d'/></Document>" END PART(
             "d", "\r\n--") FINAL,
         ":foo:1;d:\r\n--:1; 1 2"},
        {MTOM,
         "--b\r\nContent-ID: <d>\r\n\r\none" PART("<e>", "two") "\r\n" ROOT ENV HEADER
             PNR "<Document><x:Include href='cid:e'/></Document><Document/>" END FINAL,
         "d:one:0;e:two:1;::1; 2 3"},
        {"multipart/related; boundary=b", ROOT ENV HEADER PNR END PART("<e>", "") FINAL, "e::0;"},
        {"multipart/related; boundary=b; start=\"r@x\"", ROOT ENV HEADER PNR "<o/>" END FINAL,
         " 0"},
        {SIMPLE, ENV HEADER PNR "<Document>\nZm9v\nYg==\n</Document>" END, ":foob:1; 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        for (size_t step = 1; step < 4096; step += step < 90 ? 1 : 2000) {
            Request *req = request_new(600000);
            int open_count = 0;
            DocumentSink sink = MEMORY_SINK(&open_count);
            SoapReceiver *receiver = soap_receiver_new(req, str_from(CASES[i].content_type), &sink);
            SoapMessage *message = NULL;
            if (receive(receiver, str_from(CASES[i].text), step, &message) != 0) {
                fail_msg("case %zu: %.*s", i, STR_ARG(req->errors.first->context));
            }
            assert_str(describe(req, message), CASES[i].documents);
            soap_receiver_free(receiver);
            assert_int_equal(open_count, 0);
            request_free(req);
        }
    }
}

static void test_faulty_packages_are_refused_and_nothing_is_kept(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } CASES[] = {
        {ROOT ENV HEADER PNR "<Document><x:Include href='cid:e'/></Document>" END PART("<d>", "one")
             FINAL,
         "names no MIME part"},
        {ROOT ENV HEADER PNR
         "<Document><x:Include href='http://e'/></Document>" END PART("<d>", "one") FINAL,
         "names no MIME part"},
        {ROOT ENV HEADER PNR "<Document><x:Include/></Document>" END PART("<d>", "one") FINAL,
         "names no MIME part"},
        {ROOT ENV HEADER PNR
         "<Document><x:Include href='cid:%zz'/></Document>" END PART("<d>", "one") FINAL,
         "names no MIME part"},
        {ROOT ENV HEADER PNR "<Document><x:Include href='cid:d'/></Document><Document><x:Include "
                             "href='cid:d'/></Document>" END PART("<d>", "one") FINAL,
         "another one names already"},
        {ROOT ENV HEADER PNR END PART("<d>", "one") PART("d", "two") FINAL, "two MIME parts"},
        {ROOT ENV HEADER PNR END "\r\n" ROOT ENV HEADER PNR END FINAL, "root part"},
        {"--b\r\nContent-ID: <d>\r\n\r\none" FINAL, "no MIME part has the Content-ID r@x"},
        {ROOT ENV HEADER PNR END PART("<d>", "one"), "cut short"},
        {ROOT ENV HEADER PNR "<Document>Zm9v" FINAL, "closed"},
        {"--b\r\nContent-ID: <r@x>\r\nContent-Type: text/xml\r\n\r\n" ENV HEADER PNR END FINAL,
         "application/xop+xml"},
        {ROOT "<Envelope xmlns='http://schemas.xmlsoap.org/soap/envelope/'/>" FINAL, "SOAP 1.1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        for (size_t step = 1; step < 4096; step += 4000) {
            Request *req = request_new(600000);
            int open_count = 0;
            DocumentSink sink = MEMORY_SINK(&open_count);
            SoapReceiver *receiver = soap_receiver_new(req, STR(MTOM), &sink);
            SoapMessage *message = NULL;
            if (receive(receiver, str_from(CASES[i].text), step, &message) == 0) {
                fail_msg("case %zu was accepted", i);
            }
            assert_contains(req->errors.first->context, CASES[i].says);
            soap_receiver_free(receiver);
            assert_int_equal(open_count, 0);
            request_free(req);
        }
    }
}

static void test_an_endpoint_without_documents_refuses_parts(void **state)
{
    Request *req = *state;
    SoapReceiver *receiver = soap_receiver_new(req, STR(MTOM), NULL);
    SoapMessage *message = NULL;
    assert_int_not_equal(
        receive(receiver, STR(ROOT ENV HEADER PNR END PART("<d>", "one") FINAL), 9, &message), 0);
    assert_error(req, ERR_SOAP_SENDER, "takes no documents");
    soap_receiver_free(receiver);
}

static void test_a_taken_document_is_not_abandoned(void **state)
{
    Request *req = *state;
    int open_count = 0;
    DocumentSink sink = MEMORY_SINK(&open_count);
    SoapReceiver *receiver = soap_receiver_new(req, STR(MTOM), &sink);
    SoapMessage *message = NULL;
    assert_int_equal(
        receive(receiver, STR(ROOT ENV HEADER PNR END PART("<d>", "one") PART("<e>", "two") FINAL),
                50, &message),
        0);
    DocumentContent *content = soap_message_take_document(receiver, 1);
    soap_receiver_free(receiver);
    assert_int_equal(open_count, 1);
    assert_str(memory_bytes(content), "two");
    memory_abandon(&open_count, content);
}

static int fail_write(void *ctx, Request *req, DocumentContent *content, const void *bytes,
                      size_t len)
{
    (void)ctx;
    (void)content;
    (void)bytes;
    (void)len;
    return error_add(&req->errors, ERR_STORAGE, NULL, "no space");
}

/* Describing a fault costs time that grows with the message: only those are that are reported. */
static void test_references_that_lead_nowhere_are_reported_up_to_a_limit(void **state)
{
    enum { REFERENCES = 40000 };
    Request *req = *state;
    int open_count = 0;
    DocumentSink sink = MEMORY_SINK(&open_count);
    StrBuf text = {0};
    strbuf_literal(&text, ROOT ENV HEADER PNR);
    for (int i = 0; i < REFERENCES; i++) {
        strbuf_literal(&text, "<Document><x:Include href='cid:no'/></Document>");
    }
    strbuf_literal(&text, END FINAL);
    SoapReceiver *receiver = soap_receiver_new(req, STR(MTOM), &sink);
    SoapMessage *message = NULL;
    assert_int_equal(receive(receiver, strbuf_str(&text), 65536, &message), -(int)ERR_SOAP_SENDER);
    assert_int_equal(req->errors.count, ERROR_LIST_KEPT_MAX);
    soap_receiver_free(receiver);
    strbuf_done(&text);
}

/** One document, as a part and inline. */
static const char *const one_document[] = {
    ROOT ENV HEADER PNR END PART("<d>", "one") FINAL,
    ROOT ENV HEADER PNR "<Document>Zm9v</Document>" END FINAL,
};

/* TF-3 4.2.4: that there is no room is an error of the transaction, not a SOAP fault. */
static void test_documents_that_the_sink_refuses_leave_the_message_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(one_document); i++) {
        Request *req = request_new(600000);
        int open_count = 0;
        DocumentSink sink = MEMORY_SINK(&open_count);
        sink.write = fail_write;
        SoapReceiver *receiver = soap_receiver_new(req, STR(MTOM), &sink);
        SoapMessage *message = NULL;
        assert_int_equal(receive(receiver, str_from(one_document[i]), 4096, &message), 0);
        assert_int_equal(req->errors.count, 1);
        assert_int_equal(req->errors.first->code, ERR_STORAGE);
        assert_null(message->documents[0].content);
        assert_int_equal(open_count, 0); /* given up at once: it takes room that there is not */
        soap_receiver_free(receiver);
        assert_int_equal(open_count, 0);
        request_free(req);
    }
}

static int unexpected_open(void *ctx, Request *req, DocumentContent **ret_content)
{
    (void)ctx;
    (void)req;
    (void)ret_content;
    fail_msg("the sink was asked");
    return -1;
}

/** Whoever may not store documents does not make the repository write a byte. */
static void test_documents_to_be_dropped_never_reach_the_sink(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(one_document); i++) {
        Request *req = request_new(600000);
        DocumentSink sink = {.open = unexpected_open};
        SoapReceiver *receiver = soap_receiver_new(req, STR(MTOM), &sink);
        SoapMessage *message = NULL;
        soap_receiver_drop_documents(receiver);
        assert_int_equal(receive(receiver, str_from(one_document[i]), 4096, &message), 0);
        assert_int_equal(req->errors.count, 0);
        assert_int_equal(message->document_count, 1);
        assert_null(message->documents[0].content);
        soap_receiver_free(receiver);
        request_free(req);
    }
}

/** Inline documents are as many as MIME parts may be. */
static void test_documents_in_a_message_are_limited(void **state)
{
    Request *req = *state;
    int open_count = 0;
    DocumentSink sink = MEMORY_SINK(&open_count);
    StrBuf text = {0};
    strbuf_literal(&text, ENV HEADER PNR);
    for (int i = 0; i < 1001; i++) {
        strbuf_literal(&text, "<Document>Zm9v</Document>");
    }
    strbuf_literal(&text, END);
    SoapReceiver *receiver = soap_receiver_new(req, STR(SIMPLE), &sink);
    SoapMessage *message = NULL;
    assert_int_equal(receive(receiver, strbuf_str(&text), 4096, &message), -(int)ERR_TOO_LARGE);
    soap_receiver_free(receiver);
    assert_int_equal(open_count, 0);
    strbuf_done(&text);
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
        REQUEST_TEST(test_a_simple_message_is_received),
        REQUEST_TEST(test_replies_and_faults_have_an_addressee_or_none),
        REQUEST_TEST(test_faulty_envelopes_are_refused),
        REQUEST_TEST(test_headers_that_need_no_fault_are_tolerated),
        REQUEST_TEST(test_a_fault_of_the_body_still_knows_the_message_id),
        REQUEST_TEST(test_content_types_decide_what_is_received),
        REQUEST_TEST(test_documents_reach_the_sink_however_they_are_sent),
        REQUEST_TEST(test_faulty_packages_are_refused_and_nothing_is_kept),
        REQUEST_TEST(test_an_endpoint_without_documents_refuses_parts),
        REQUEST_TEST(test_a_taken_document_is_not_abandoned),
        REQUEST_TEST(test_references_that_lead_nowhere_are_reported_up_to_a_limit),
        REQUEST_TEST(test_documents_that_the_sink_refuses_leave_the_message_good),
        REQUEST_TEST(test_documents_to_be_dropped_never_reach_the_sink),
        REQUEST_TEST(test_documents_in_a_message_are_limited),
    };
    return cmocka_run_group_tests(tests, set_up_xml, NULL);
}
