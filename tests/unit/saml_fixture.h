#pragma once

#include <libxml/tree.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

/* xmlsec.h comes before the others */
/* clang-format off */
#include <xmlsec/xmlsec.h>
#include <xmlsec/openssl/evp.h>
#include <xmlsec/xmltree.h>
#include <xmlsec/xmldsig.h>
/* clang-format on */

#include "lib/saml/saml.h"

#include "tests/unit/xml_fixture.h"

/* What the tests of lib/saml share: a message with an assertion, and an identity provider that
 * signs with xmlsec. */

#define FIXTURE_NOW_US INT64_C(1800000000000000) /* 2027-01-15T08:00:00Z */
#define FIXTURE_AUDIENCE "https://musubi.example/xua"

#define FIXTURE_SIGNATURE                                                                          \
    "<ds:Signature xmlns:ds='http://www.w3.org/2000/09/xmldsig#'><ds:SignedInfo>"                  \
    "<ds:CanonicalizationMethod Algorithm='http://www.w3.org/2001/10/xml-exc-c14n#'/>"             \
    "<ds:SignatureMethod Algorithm='http://www.w3.org/2001/04/xmldsig-more#rsa-sha256'/>"          \
    "<ds:Reference URI='#_a1'><ds:Transforms>"                                                     \
    "<ds:Transform Algorithm='http://www.w3.org/2000/09/xmldsig#enveloped-signature'/>"            \
    "<ds:Transform Algorithm='http://www.w3.org/2001/10/xml-exc-c14n#'/></ds:Transforms>"          \
    "<ds:DigestMethod Algorithm='http://www.w3.org/2001/04/xmlenc#sha256'/><ds:DigestValue/>"      \
    "</ds:Reference></ds:SignedInfo><ds:SignatureValue/></ds:Signature>"

#define FIXTURE_ASSERTION                                                                          \
    "<saml:Assertion xmlns:saml='urn:oasis:names:tc:SAML:2.0:assertion' ID='_a1' Version='2.0' "   \
    "IssueInstant='2027-01-15T08:00:00Z'><saml:Issuer>https://idp.example</"                       \
    "saml:Issuer>" FIXTURE_SIGNATURE                                                               \
    "<saml:Subject><saml:NameID SPProvidedID='al'>tanaka</saml:NameID><saml:SubjectConfirmation "  \
    "Method='urn:oasis:names:tc:SAML:2.0:cm:bearer'/></saml:Subject>"                              \
    "<saml:Conditions NotBefore='2027-01-15T08:00:00Z' NotOnOrAfter='2027-01-15T08:05:00Z'>"       \
    "<saml:AudienceRestriction><saml:Audience>" FIXTURE_AUDIENCE "</saml:Audience>"                \
    "</saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement "                           \
    "AuthnInstant='2027-01-15T07:59:00Z'><saml:AuthnContext><saml:AuthnContextClassRef>password"   \
    "</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"                       \
    "<saml:AttributeStatement><saml:Attribute Name='urn:oasis:names:tc:xacml:2.0:subject:role'>"   \
    "<saml:AttributeValue><Role xmlns='urn:hl7-org:v3' code='doctor' codeSystem='1.2' "            \
    "displayName='Doctor'/></saml:AttributeValue><saml:AttributeValue>nurse</saml:AttributeValue>" \
    "</saml:Attribute><saml:Attribute Name='urn:ihe:iti:bppc:2007:docid'><saml:AttributeValue>"    \
    "urn:oid:1.2.3</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>"               \
    "</saml:Assertion>"

/** The text with one piece, which must be there, replaced. */
static inline Str fixture_edit(Arena *arena, const char *text, const char *old, const char *new)
{
    Str all = str_from(text);
    size_t at = str_find(all, str_from(old));
    if (at == SIZE_MAX) {
        fail_msg("\"%s\" is not in the text", old);
    }
    return str_printf(arena, "%.*s%s%.*s", STR_ARG(str_slice(all, 0, at)), new,
                      STR_ARG(str_from_offset(all, at + strlen(old))));
}

/** A message in both of its trees. */
typedef struct FixtureMessage {
    XmlNode *root;
    XmlKept kept; /* freed with the arena */
    xmlNode *assertion;
} FixtureMessage;

static void fixture_free_document(void *document)
{
    xmlFreeDoc(document);
}

/** An envelope with this header block; namespaces are further declarations of the envelope. */
static inline FixtureMessage fixture_message(Request *req, const char *namespaces, Str security)
{
    FixtureMessage message = {0};
    Str text = str_printf(
        req->arena,
        "<e:Envelope xmlns:e='http://www.w3.org/2003/05/soap-envelope' %s><e:Header>%.*s</e:Header>"
        "<e:Body><x/></e:Body></e:Envelope>",
        namespaces, STR_ARG(security));
    XmlReader *reader = xml_reader_new(req->arena, &req->errors, NULL);
    xml_reader_keep(reader, &SAML_KEEP);
    int rc = xml_reader_push(reader, text.data, text.len);
    rc = rc ? rc : xml_reader_finish(reader, &message.root);
    if (rc || !xml_reader_take_kept(reader, &message.kept)) {
        fail_msg("%.*s", STR_ARG(text));
    }
    xml_reader_free(reader);
    arena_defer(req->arena, fixture_free_document, message.kept.document);
    const xmlNode *header = xmlDocGetRootElement(message.kept.document)->children;
    message.assertion = header->children->children;
    return message;
}

static inline Str fixture_security(Arena *arena, Str assertion)
{
    return str_printf(arena, "<w:Security xmlns:w='" NS_WSSE "'>%.*s</w:Security>",
                      STR_ARG(assertion));
}

/** Puts digest and signature into an assertion with an empty ds:Signature. */
static inline Str fixture_sign(Arena *arena, Str assertion, EVP_PKEY *key)
{
    xmlDoc *document =
        xmlReadMemory(assertion.data, (int)assertion.len, NULL, NULL, XML_PARSE_NONET);
    assert_non_null(document);
    xmlNode *root = xmlDocGetRootElement(document);
    xmlAttr *id = xmlHasProp(root, (const xmlChar *)"ID");
    xmlAddID(NULL, document, id->children->content, id);
    xmlSecDSigCtx *context = xmlSecDSigCtxCreate(NULL);
    EVP_PKEY_up_ref(key);
    context->signKey = xmlSecKeyCreate();
    assert_int_equal(xmlSecKeySetValue(context->signKey, xmlSecOpenSSLEvpKeyAdopt(key)), 0);
    xmlNode *signature = xmlSecFindNode(root, xmlSecNodeSignature, xmlSecDSigNs);
    assert_int_equal(xmlSecDSigCtxSign(context, signature), 0);
    xmlSecDSigCtxDestroy(context);
    xmlBuffer *buffer = xmlBufferCreate();
    xmlNodeDump(buffer, document, root, 0, 0);
    Str signed_text = str_dup(arena, str_from((const char *)xmlBufferContent(buffer)));
    xmlBufferFree(buffer);
    xmlFreeDoc(document);
    return signed_text;
}
