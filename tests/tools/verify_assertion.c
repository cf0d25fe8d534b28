/*
 * verify_assertion FILE [CERTIFICATE.pem]: the verdict of lib/saml on one stand-alone document:
 * "accepted NAMEID", or the word of checks.def. Most is granted that a document could ask for: the
 * key is that of the certificate, else the first one inside the document; it is pinned for whatever
 * Issuer the assertion names; every Audience is us, and the time is the one of its Conditions. What
 * is then refused is refused for its form or its signature.
 */

#include <libxml/tree.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/saml/assertion.h"
#include "lib/saml/certificate.h"
#include "lib/saml/instant.h"
#include "lib/saml/names.h"
#include "lib/saml/saml.h"
#include "lib/saml/security_header.h"
#include "lib/xml/base64.h"
#include "lib/xml/dom.h"

#define AUDIENCES_MAX 16

static Str read_file(Arena *arena, const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        perror(path);
        exit(2);
    }
    char *bytes = arena_alloc(arena, 1 << 20);
    size_t len = fread(bytes, 1, 1 << 20, file);
    (void)fclose(file);
    return (Str){bytes, len};
}

/** Reads it twice: the first time tells what its root is called, which is then kept as DOM. */
static const XmlNode *read_document(Request *req, Str bytes, XmlKept *ret_kept)
{
    XmlNode *root = NULL;
    if (xml_read(req, bytes, &root)) {
        return NULL;
    }
    const XmlKeep keep = {str_cstr(req->arena, root->ns), str_cstr(req->arena, root->name), 1};
    XmlReader *reader = xml_reader_new(req->arena, &req->errors, NULL);
    xml_reader_keep(reader, &keep);
    bool is_good = xml_reader_push(reader, bytes.data, bytes.len) == 0 &&
                   xml_reader_finish(reader, &root) == 0 && xml_reader_take_kept(reader, ret_kept);
    xml_reader_free(reader);
    return is_good ? root : NULL;
}

/** The one assertion: the root, or a child of it. */
static SamlCheck find_assertion(const XmlKept *kept, xmlNode **ret_assertion)
{
    xmlNode *root = xmlDocGetRootElement(kept->document);
    if (kept->has_comments) {
        return SAML_COMMENT;
    }
    if (xml_dom_is(root, NS_SAML, "Assertion")) {
        *ret_assertion = root;
        return SAML_GOOD;
    }
    for (xmlNode *child = root->children; child; child = child->next) {
        if (xml_dom_is(child, NS_SAML, "EncryptedAssertion")) {
            return SAML_ENCRYPTED;
        }
        if (!xml_dom_is(child, NS_SAML, "Assertion")) {
            continue;
        }
        if (*ret_assertion) {
            return SAML_ASSERTION_REPEATED;
        }
        *ret_assertion = child;
    }
    return *ret_assertion ? SAML_GOOD : SAML_ASSERTION_MISSING;
}

static const XmlNode *find(const XmlNode *root, const char *ns, const char *name)
{
    const XmlNode *node = root;
    while (node && !xml_is(node, ns, name)) {
        node = xml_after(node, root);
    }
    return node;
}

/** In DER. */
static Str certificate_of(Request *req, const XmlNode *root, const char *file)
{
    SamlCertificate certificate;
    char problem[256];
    if (file) {
        if (!saml_certificate_read(req->arena, file, &certificate, problem, sizeof(problem))) {
            (void)fprintf(stderr, "%s\n", problem);
            return STR_EMPTY;
        }
        return certificate.der;
    }
    const XmlNode *node = find(root, NS_DS, "X509Certificate");
    Base64Decoder decoder = {0};
    size_t len = 0;
    Str text = node ? node->text : STR_EMPTY;
    uint8_t *der = arena_alloc(req->arena, BASE64_DECODED_MAX(text.len));
    return base64_decode(&decoder, text, der, &len) ? (Str){(char *)der, len} : STR_EMPTY;
}

/** Rules that the document meets if anything does. */
static SamlRules rules_for(const XmlNode *assertion, Str *audiences)
{
    SamlRules rules = {.audiences = audiences, .peer_fingerprint = STR_EMPTY};
    const XmlNode *conditions = find(assertion, NS_SAML, "Conditions");
    Str from = xml_attribute(conditions, "NotBefore");
    if (!conditions || !saml_instant_parse(from, &rules.now_us)) {
        rules.now_us = 0;
    }
    for (const XmlNode *node = assertion; node && rules.audience_count < AUDIENCES_MAX;
         node = xml_after(node, assertion)) {
        if (xml_is(node, NS_SAML, "Audience")) {
            audiences[rules.audience_count++] = str_trim(node->text);
        }
    }
    rules.skew_us = INT64_C(86400) * 1000000;
    return rules;
}

static SamlCheck judge(Request *req, Str bytes, const char *certificate_file, Str *ret_name)
{
    XmlKept kept = {0};
    SamlClaims claims;
    Str audiences[AUDIENCES_MAX];
    SamlCandidate candidate = {.root = read_document(req, bytes, &kept)};
    SamlProviders *providers = saml_providers_new();
    SamlCheck check = candidate.root ? find_assertion(&kept, &candidate.dom) : SAML_CHECK_COUNT;
    check = check ? check : saml_assertion_inspect(req->arena, &candidate);
    if (!check) {
        Str issuer = xml_child_text(candidate.tree, NS_SAML, "Issuer");
        (void)!saml_providers_pin(providers, issuer,
                                  certificate_of(req, candidate.root, certificate_file), INT64_MIN,
                                  INT64_MAX);
        SamlKeys keys = saml_providers_find(providers, req->arena, issuer, 0);
        const SamlRules rules = rules_for(candidate.tree, audiences);
        const XmlNode *tree = NULL;
        check = saml_assertion_verify(req->arena, &candidate, &keys, false, &tree);
        check = check ? check : saml_claims_read(req->arena, tree, &rules, &claims);
    }
    *ret_name = check ? STR_EMPTY : claims.user.id;
    saml_providers_free(providers);
    xmlFreeDoc(kept.document);
    return check;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: verify_assertion FILE [CERTIFICATE.pem]\n");
        return 2;
    }
    xml_init();
    saml_init();
    Request *req = request_new(10000);
    Str name = STR_EMPTY;
    SamlCheck check = judge(req, read_file(req->arena, argv[1]), argc > 2 ? argv[2] : NULL, &name);
    if (check == SAML_CHECK_COUNT) {
        printf("xml\n");
    } else if (check) {
        printf("%s\n", saml_check_word(check));
    } else {
        printf("accepted %.*s\n", STR_ARG(name));
    }
    request_free(req);
    return check == SAML_GOOD ? 0 : 1;
}
