#include "lib/saml/signature.h"

/* xmlsec.h comes before the others */
/* clang-format off */
#include <xmlsec/xmlsec.h>
#include <xmlsec/errors.h>
#include <xmlsec/openssl/app.h>
#include <xmlsec/openssl/crypto.h>
#include <xmlsec/openssl/evp.h>
#include <xmlsec/xmldsig.h>
/* clang-format on */

#include <stdlib.h>

#include "lib/saml/names.h"
#include "lib/xml/dom.h"

/* ---- Libraries ---- */

void saml_signature_init(void)
{
    if (xmlSecInit() < 0 || xmlSecCheckVersion() != 1 || xmlSecOpenSSLAppInit(NULL) < 0 ||
        xmlSecOpenSSLInit() < 0) {
        abort();
    }
    xmlSecErrorsSetCallback(NULL); /* it would write to stderr */
}

bool saml_key_is_good(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        return EVP_PKEY_get_bits(key) >= 2048;
    case EVP_PKEY_EC:
        return EVP_PKEY_get_bits(key) >= 256;
    default:
        return false;
    }
}

/* ---- Form ---- */

#define SIGNATURE_MORE "http://www.w3.org/2001/04/xmldsig-more#"

static const char *const canonicalizations[] = {C14N_EXCLUSIVE, C14N_EXCLUSIVE_COMMENTS, NULL};

static const char *const signature_methods[] = {
    SIGNATURE_MORE "rsa-sha256",
    SIGNATURE_MORE "rsa-sha384",
    SIGNATURE_MORE "rsa-sha512",
    SIGNATURE_MORE "ecdsa-sha256",
    SIGNATURE_MORE "ecdsa-sha384",
    SIGNATURE_MORE "ecdsa-sha512",
    NULL,
};

static const char *const digest_methods[] = {
    "http://www.w3.org/2001/04/xmlenc#sha256",
    SIGNATURE_MORE "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512",
    NULL,
};

static bool is_one_of(Str text, const char *const *names)
{
    while (*names && !str_equal(text, str_from(*names))) {
        names++;
    }
    return *names != NULL;
}

static bool has_algorithm(const XmlNode *node, const char *const *allowed)
{
    return is_one_of(xml_attribute(node, "Algorithm"), allowed);
}

/** The element that comes next in a sequence, if it is this one; steps over it. */
static const XmlNode *take(const XmlNode **next, const char *name)
{
    const XmlNode *node = *next;
    if (!node || !xml_is(node, NS_DS, name)) {
        return NULL;
    }
    *next = node->next;
    return node;
}

static unsigned count_signatures(const XmlNode *assertion)
{
    unsigned count = 0;
    for (const XmlNode *node = assertion; node; node = xml_after(node, assertion)) {
        count += xml_is(node, NS_DS, "Signature");
    }
    return count;
}

/** Exclusive canonicalization may name prefixes; nothing else has parameters. */
static bool has_only_prefix_list(const XmlNode *transform)
{
    const XmlNode *child = transform->first_child;
    return !child || (xml_is(child, NS_EXC_C14N, "InclusiveNamespaces") && !child->next &&
                      !child->first_child);
}

/** Enveloped signature, then exclusive canonicalization: the implicit one is not exclusive. */
static SamlCheck check_transforms(const XmlNode *transforms)
{
    const XmlNode *next = transforms ? transforms->first_child : NULL;
    const XmlNode *enveloped = take(&next, "Transform");
    const XmlNode *canonical = take(&next, "Transform");
    bool is_good = enveloped && canonical && !next && !enveloped->first_child &&
                   str_equal(xml_attribute(enveloped, "Algorithm"), STR(TRANSFORM_ENVELOPED)) &&
                   has_algorithm(canonical, canonicalizations) && has_only_prefix_list(canonical);
    return is_good ? SAML_GOOD : SAML_SIGNATURE_TRANSFORM;
}

/** Reference ::= Transforms, DigestMethod, DigestValue */
static SamlCheck check_reference(const XmlNode *reference, Str id)
{
    Str uri = xml_attribute(reference, "URI");
    if (!str_starts_with(uri, STR("#")) || !str_equal(str_from_offset(uri, 1), id)) {
        return SAML_SIGNATURE_REFERENCE;
    }
    const XmlNode *next = reference->first_child;
    SamlCheck check = check_transforms(take(&next, "Transforms"));
    if (check) {
        return check;
    }
    const XmlNode *method = take(&next, "DigestMethod");
    const XmlNode *value = take(&next, "DigestValue");
    if (!method || method->first_child || !value || value->first_child || next) {
        return SAML_SIGNATURE_FORM;
    }
    return has_algorithm(method, digest_methods) ? SAML_GOOD : SAML_SIGNATURE_ALGORITHM;
}

/** SignedInfo ::= CanonicalizationMethod, SignatureMethod, Reference */
static SamlCheck check_signed_info(const XmlNode *signed_info, Str id)
{
    const XmlNode *next = signed_info->first_child;
    const XmlNode *canonical = take(&next, "CanonicalizationMethod");
    const XmlNode *method = take(&next, "SignatureMethod");
    const XmlNode *reference = take(&next, "Reference");
    if (!canonical || !method || method->first_child) {
        return SAML_SIGNATURE_FORM;
    }
    if (!reference || next) {
        return SAML_SIGNATURE_REFERENCE;
    }
    if (!has_algorithm(canonical, canonicalizations) || !has_only_prefix_list(canonical) ||
        !has_algorithm(method, signature_methods)) {
        return SAML_SIGNATURE_ALGORITHM;
    }
    return check_reference(reference, id);
}

/** Signature ::= SignedInfo, SignatureValue, KeyInfo? */
SamlCheck saml_signature_check_form(const XmlNode *assertion, Str id)
{
    const XmlNode *signature = xml_child(assertion, NS_DS, "Signature");
    if (!signature) {
        return SAML_SIGNATURE_MISSING;
    }
    const XmlNode *next = signature->first_child;
    const XmlNode *signed_info = take(&next, "SignedInfo");
    const XmlNode *value = take(&next, "SignatureValue");
    (void)take(&next, "KeyInfo");
    if (count_signatures(assertion) != 1 || !signed_info || !value || value->first_child || next) {
        return SAML_SIGNATURE_FORM;
    }
    return check_signed_info(signed_info, id);
}

/* ---- Verification ---- */

static xmlNode *find_signature(const xmlNode *assertion)
{
    xmlNode *child = assertion->children;
    while (child && !xml_dom_is(child, NS_DS, "Signature")) {
        child = child->next;
    }
    return child;
}

/** Only ID of this assertion can be referred to, and it leads to this assertion. */
static bool register_id(xmlNode *assertion)
{
    xmlAttr *attribute = xmlHasProp(assertion, (const xmlChar *)"ID");
    xmlChar *value =
        attribute ? xmlNodeListGetString(assertion->doc, attribute->children, 1) : NULL;
    bool is_registered = value &&
                         (xmlGetID(assertion->doc, value) == attribute ||
                          xmlAddID(NULL, assertion->doc, value, attribute)) &&
                         xmlGetID(assertion->doc, value) == attribute;
    xmlFree(value);
    return is_registered;
}

/** The form was checked; xmlsec holds the same list against what it does itself. */
static bool allow_only(xmlSecDSigCtx *context)
{
    const xmlSecTransformId of_reference[] = {
        xmlSecTransformEnvelopedId,
        xmlSecTransformExclC14NId,
        xmlSecTransformExclC14NWithCommentsId,
        xmlSecOpenSSLTransformSha256Id,
        xmlSecOpenSSLTransformSha384Id,
        xmlSecOpenSSLTransformSha512Id,
    };
    const xmlSecTransformId of_signature[] = {
        xmlSecTransformExclC14NId,           xmlSecTransformExclC14NWithCommentsId,
        xmlSecOpenSSLTransformRsaSha256Id,   xmlSecOpenSSLTransformRsaSha384Id,
        xmlSecOpenSSLTransformRsaSha512Id,   xmlSecOpenSSLTransformEcdsaSha256Id,
        xmlSecOpenSSLTransformEcdsaSha384Id, xmlSecOpenSSLTransformEcdsaSha512Id,
    };
    bool is_set = true;
    context->enabledReferenceUris = xmlSecTransformUriTypeSameDocument;
    for (size_t i = 0; i < ARRAY_LEN(of_reference); i++) {
        is_set = is_set && xmlSecDSigCtxEnableReferenceTransform(context, of_reference[i]) == 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(of_signature); i++) {
        is_set = is_set && xmlSecDSigCtxEnableSignatureTransform(context, of_signature[i]) == 0;
    }
    return is_set;
}

/** A key for xmlsec that shares ours; the caller frees it. */
static xmlSecKey *share_key(EVP_PKEY *key)
{
    EVP_PKEY_up_ref(key);
    xmlSecKeyData *value = xmlSecOpenSSLEvpKeyAdopt(key);
    if (!value) {
        EVP_PKEY_free(key);
        return NULL;
    }
    xmlSecKey *shared = xmlSecKeyCreate();
    if (!shared || xmlSecKeySetValue(shared, value) < 0) {
        xmlSecKeyDataDestroy(value);
        xmlSecKeyDestroy(shared);
        return NULL;
    }
    return shared;
}

/** Without a key manager: with one, even an empty one, a key in the message would be believed. */
static bool verify_with(xmlNode *signature, EVP_PKEY *key)
{
    xmlSecDSigCtx *context = xmlSecDSigCtxCreate(NULL);
    bool is_good = false;
    if (context && allow_only(context) && (context->signKey = share_key(key))) {
        is_good = xmlSecDSigCtxVerify(context, signature) == 0 &&
                  context->status == xmlSecDSigStatusSucceeded &&
                  xmlSecPtrListGetSize(&context->signedInfoReferences) == 1 &&
                  xmlSecPtrListGetSize(&context->manifestReferences) == 0;
    }
    if (context) {
        xmlSecDSigCtxDestroy(context);
    }
    return is_good;
}

SamlCheck saml_signature_verify(struct _xmlNode *assertion, EVP_PKEY *const *keys, size_t key_count)
{
    xmlNode *signature = find_signature(assertion);
    bool is_good = false;
    if (signature && register_id(assertion)) {
        for (size_t i = 0; i < key_count && !is_good; i++) {
            is_good = verify_with(signature, keys[i]);
        }
    }
    return is_good ? SAML_GOOD : SAML_SIGNATURE_WRONG;
}
