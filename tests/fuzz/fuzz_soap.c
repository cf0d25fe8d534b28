/* SIMPLE messages, and the pre-scan against libxml2: what is accepted with the content of
 * xds:Document diverted must be what libxml2 sees in the very same bytes without pre-scan and
 * diversion. A disagreement would let a sender store other content than a signature or another
 * reader sees. */

#include <libxml/parser.h>

#include "lib/soap/receive.h"
#include "lib/xml/base64.h"
#include "lib/xml/namespaces.h"
#include "lib/xml/read.h"

#include "tests/fuzz/fuzz.h"

/** Diverted content, one after the other, each closed by DOCUMENT_END; a reference is REFERENCE. */
#define DOCUMENT_END "[end]"
#define REFERENCE "[reference]"

static int divert_open(void *ctx)
{
    (void)ctx;
    return 0;
}

static int divert_bytes(void *ctx, const void *bytes, size_t len)
{
    strbuf_append_bytes(ctx, bytes, len);
    return 0;
}

static int divert_close(void *ctx)
{
    strbuf_literal((StrBuf *)ctx, DOCUMENT_END);
    return 0;
}

static int divert_reference(void *ctx)
{
    strbuf_literal((StrBuf *)ctx, REFERENCE);
    return 0;
}

/* ---- The same bytes, read by libxml2 alone ---- */

static Str from_xml(const xmlChar *text)
{
    return str_from((const char *)text);
}

static bool is_named(const xmlNode *node, const char *ns, const char *name)
{
    return node->type == XML_ELEMENT_NODE && node->ns &&
           str_equal(from_xml(node->ns->href), str_from(ns)) &&
           str_equal(from_xml(node->name), str_from(name));
}

/** Character data directly in the element; its child elements are counted. */
static unsigned direct_text(const xmlNode *node, StrBuf *text)
{
    unsigned elements = 0;
    for (const xmlNode *child = node->children; child; child = child->next) {
        elements += child->type == XML_ELEMENT_NODE;
        if (child->type == XML_TEXT_NODE || child->type == XML_CDATA_SECTION_NODE) {
            strbuf_append(text, from_xml(child->content));
        }
    }
    return elements;
}

/** What should have been diverted from this xds:Document. */
static void expect_document(const xmlNode *node, StrBuf *expected)
{
    StrBuf text = {0};
    if (direct_text(node, &text) > 0) {
        FUZZ_CHECK(str_is_empty(str_trim(strbuf_str(&text))));
        strbuf_literal(expected, REFERENCE);
    } else {
        Base64Decoder decoder = {0};
        size_t len = 0;
        char *decoded = strbuf_reserve(expected, BASE64_DECODED_MAX(text.len));
        FUZZ_CHECK(base64_decode(&decoder, strbuf_str(&text), (uint8_t *)decoded, &len));
        FUZZ_CHECK(base64_is_complete(&decoder));
        expected->len += len;
        strbuf_literal(expected, DOCUMENT_END);
    }
    strbuf_done(&text);
}

/** The element after this one in document order; NULL after the last. */
static const xmlNode *next_element(const xmlNode *node)
{
    const xmlNode *next = node->children;
    while (!next && node) {
        next = node->next;
        node = node->parent && node->parent->type == XML_ELEMENT_NODE ? node->parent : NULL;
    }
    while (next && next->type != XML_ELEMENT_NODE) {
        const xmlNode *other = next->next;
        for (const xmlNode *up = next->parent; !other && up && up->type == XML_ELEMENT_NODE;
             up = up->parent) {
            other = up->next;
        }
        next = other;
    }
    return next;
}

static const XmlNode *next_node(const XmlNode *node)
{
    if (node->first_child) {
        return node->first_child;
    }
    while (node && !node->next) {
        node = node->parent;
    }
    return node ? node->next : NULL;
}

static void compare_element(const xmlNode *theirs, const XmlNode *ours, StrBuf *expected)
{
    FUZZ_CHECK(str_equal(ours->name, from_xml(theirs->name)));
    FUZZ_CHECK(str_equal(ours->ns, theirs->ns ? from_xml(theirs->ns->href) : STR_EMPTY));
    if (is_named(theirs, NS_XDSB, "Document")) {
        FUZZ_CHECK(str_is_empty(ours->text));
        expect_document(theirs, expected);
        return;
    }
    StrBuf text = {0};
    direct_text(theirs, &text);
    /* white space beside an xop:Include is not passed on */
    FUZZ_CHECK(str_equal(ours->text, strbuf_str(&text)) || xml_is(ours, NS_XOP, "Include"));
    strbuf_done(&text);
    size_t attribute_count = 0;
    for (const xmlAttr *attribute = theirs->properties; attribute; attribute = attribute->next) {
        attribute_count++;
    }
    FUZZ_CHECK(attribute_count == ours->attribute_count);
}

static void compare(const uint8_t *bytes, size_t len, const XmlNode *ours, Str diverted)
{
    xmlDocPtr doc = xmlReadMemory((const char *)bytes, (int)len, NULL, NULL,
                                  XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (!doc) {
        return; /* stricter than we are: characters in comments, white space before the XML
                   declaration */
    }
    StrBuf expected = {0};
    const xmlNode *theirs = xmlDocGetRootElement(doc);
    for (; theirs && ours; theirs = next_element(theirs), ours = next_node(ours)) {
        compare_element(theirs, ours, &expected);
    }
    FUZZ_CHECK(!theirs && !ours);
    FUZZ_CHECK(str_equal(strbuf_str(&expected), diverted));
    strbuf_done(&expected);
    xmlFreeDoc(doc);
}

static void read_diverted(const uint8_t *bytes, size_t len)
{
    Request *req = request_new(1000);
    StrBuf diverted = {0};
    XmlDiversion diversion = {.ctx = &diverted,
                              .open = divert_open,
                              .bytes = divert_bytes,
                              .close = divert_close,
                              .reference = divert_reference};
    XmlReader *reader = xml_reader_new(req->arena, &req->errors, &diversion);
    size_t step = 1 + len % 13;
    int r = 0;
    for (size_t at = 0; r == 0 && at < len; at += step) {
        r = xml_reader_push(reader, bytes + at, len - at < step ? len - at : step);
    }
    XmlNode *root = NULL;
    r = r ? r : xml_reader_finish(reader, &root);
    FUZZ_CHECK(r == 0 || error_list_has_errors(&req->errors));
    if (r == 0) {
        compare(bytes, len, root, strbuf_str(&diverted));
    }
    xml_reader_free(reader);
    strbuf_done(&diverted);
    request_free(req);
}

static void receive(const uint8_t *bytes, size_t len)
{
    Request *req = request_new(1000);
    SoapReceiver *receiver = soap_receiver_new(req, STR("application/soap+xml"), NULL);
    FUZZ_CHECK(receiver != NULL);
    SoapMessage *message = NULL;
    int pushed = soap_receiver_push(receiver, bytes, len);
    int r = soap_receiver_finish(receiver, &message);
    FUZZ_CHECK(pushed == 0 || r != 0);
    FUZZ_CHECK(r == 0 ? message->body != NULL : error_list_has_errors(&req->errors));
    soap_receiver_free(receiver);
    request_free(req);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    xml_init();
    read_diverted(bytes, len);
    receive(bytes, len);
    return 0;
}
