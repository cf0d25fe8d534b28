/* Assertions in messages: the checks before and after the signature on whatever bytes, with a key
 * that signed nothing, so that acceptance is a fault. And the two trees of one message, which are
 * made of the same events, must say the same: else a signature could be checked on another text
 * than the one that is read. */

#include <libxml/tree.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "lib/saml/assertion.h"
#include "lib/saml/saml.h"
#include "lib/saml/security_header.h"
#include "lib/saml/signature.h"
#include "lib/xml/dom.h"
#include "lib/xml/namespaces.h"

#include "tests/fuzz/fuzz.h"

#define NOW_US INT64_C(1800000000000000)

static void check_same_attributes(const XmlNode *a, const XmlNode *b)
{
    FUZZ_CHECK(a->attribute_count == b->attribute_count);
    for (size_t i = 0; i < a->attribute_count; i++) {
        FUZZ_CHECK(str_equal(a->attributes[i].ns, b->attributes[i].ns));
        FUZZ_CHECK(str_equal(a->attributes[i].name, b->attributes[i].name));
        FUZZ_CHECK(str_equal(a->attributes[i].value, b->attributes[i].value));
    }
}

static void check_same(const XmlNode *a, const XmlNode *b)
{
    const XmlNode *of_a = a;
    const XmlNode *of_b = b;
    while (of_a && of_b) {
        FUZZ_CHECK(str_equal(of_a->ns, of_b->ns));
        FUZZ_CHECK(str_equal(of_a->name, of_b->name));
        FUZZ_CHECK(str_equal(of_a->text, of_b->text));
        check_same_attributes(of_a, of_b);
        of_a = xml_after(of_a, a);
        of_b = xml_after(of_b, b);
    }
    FUZZ_CHECK(!of_a && !of_b);
}

/** The kept headers in both trees, in their order. */
static void compare_trees(Arena *arena, const XmlNode *root, const xmlDoc *document)
{
    const XmlNode *header = root->first_child;
    const XmlNode *node = NULL;
    for (; header; header = header->next) {
        for (node = header->first_child; node; node = node->next) {
            if (xml_is(node, NS_WSSE, "Security")) {
                break;
            }
        }
        if (node) {
            break;
        }
    }
    for (const xmlNode *of_header = xmlDocGetRootElement(document)->children; of_header;
         of_header = of_header->next) {
        if (of_header->children) {
            FUZZ_CHECK(node);
            check_same(node, xml_tree_of_dom(arena, of_header->children));
            return;
        }
    }
}

static EVP_PKEY *key_of_nobody(void)
{
    static EVP_PKEY *key;
    if (!key) {
        key = EVP_RSA_gen(2048);
    }
    return key;
}

static void check_assertion(Request *req, const XmlNode *root, xmlNode *dom)
{
    static const Str audiences[] = {STR_INIT("https://musubi.example/xua")};
    const SamlRules rules = {.audiences = audiences,
                             .audience_count = 1,
                             .skew_us = 60000000,
                             .now_us = NOW_US,
                             .peer_fingerprint = STR("00")};
    SamlCandidate candidate = {.dom = dom, .root = root};
    SamlDigest digest = saml_assertion_digest(dom);
    SamlDigest again = saml_assertion_digest(dom);
    FUZZ_CHECK(memcmp(digest.bytes, again.bytes, sizeof(digest.bytes)) == 0);
    SamlClaims claims;
    if (saml_assertion_inspect(req->arena, &candidate) == SAML_GOOD) {
        EVP_PKEY *keys[] = {key_of_nobody()};
        FUZZ_CHECK(saml_signature_verify(dom, keys, 1) == SAML_SIGNATURE_WRONG);
    }
    if (saml_claims_read(req->arena, candidate.tree, &rules, &claims) == SAML_GOOD) {
        FUZZ_CHECK(claims.user.id.len > 0 && claims.not_on_or_after_us > NOW_US - 60000000);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static bool is_ready;
    if (!is_ready) {
        xml_init();
        saml_init();
        is_ready = true;
    }
    Request *req = request_new(1000);
    XmlReader *reader = xml_reader_new(req->arena, &req->errors, NULL);
    XmlNode *root = NULL;
    XmlKept kept;
    xml_reader_keep(reader, &SAML_KEEP);
    if (xml_reader_push(reader, bytes, len) == 0 && xml_reader_finish(reader, &root) == 0 &&
        xml_reader_take_kept(reader, &kept)) {
        xmlNode *dom = NULL;
        compare_trees(req->arena, root, kept.document);
        if (saml_security_header_read(kept.document, NOW_US, 60000000, &dom) == SAML_GOOD && dom) {
            check_assertion(req, root, dom);
        }
        xmlFreeDoc(kept.document);
    }
    xml_reader_free(reader);
    request_free(req);
    return 0;
}
