#include "lib/saml/security_header.h"

#include <libxml/tree.h>

#include "lib/saml/instant.h"
#include "lib/saml/names.h"
#include "lib/xml/dom.h"

static Str from_xml(const xmlChar *text)
{
    return str_from((const char *)text);
}

/** Headers of other roles are none of our business (SOAP 1.2 part 1 section 2.2). */
static bool is_for_us(const xmlNode *header)
{
    const xmlAttr *role =
        xmlHasNsProp(WITHOUT_CONST(header), (const xmlChar *)"role", (const xmlChar *)NS_SOAP12);
    Str name = role && role->children ? str_trim(from_xml(role->children->content)) : STR_EMPTY;
    return str_is_empty(name) || str_equal(name, STR(NS_SOAP12 "/role/next")) ||
           str_equal(name, STR(NS_SOAP12 "/role/ultimateReceiver"));
}

static SamlCheck find_security(const xmlDoc *message, xmlNode **ret_security)
{
    const xmlNode *envelope = message ? xmlDocGetRootElement(message) : NULL;
    for (xmlNode *header = envelope ? envelope->children : NULL; header; header = header->next) {
        if (!xml_dom_is(header, NS_SOAP12, "Header")) {
            continue;
        }
        for (xmlNode *block = header->children; block; block = block->next) {
            if (!xml_dom_is(block, NS_WSSE, "Security") || !is_for_us(block)) {
                continue;
            }
            if (*ret_security) {
                return SAML_SECURITY_REPEATED;
            }
            *ret_security = block;
        }
    }
    return SAML_GOOD;
}

/* ---- Timestamp ---- */

/** The text of the one child of this name. @return false: there are several, or it is no instant */
static bool read_time(const xmlNode *timestamp, const char *name, int64_t *ret_utc_us)
{
    unsigned count = 0;
    bool is_good = true;
    for (const xmlNode *child = timestamp->children; child; child = child->next) {
        if (xml_dom_is(child, NS_WSU, name)) {
            xmlChar *text = xmlNodeGetContent(child);
            count++;
            is_good = is_good && saml_instant_parse(str_trim(from_xml(text)), ret_utc_us);
            xmlFree(text);
        }
    }
    return is_good && count <= 1;
}

static SamlCheck check_timestamp(const xmlNode *timestamp, int64_t now_us, int64_t skew_us)
{
    int64_t created_us = INT64_MIN;
    int64_t expires_us = INT64_MAX;
    if (!read_time(timestamp, "Created", &created_us) ||
        !read_time(timestamp, "Expires", &expires_us) ||
        (created_us != INT64_MIN && created_us - skew_us > now_us)) {
        return SAML_TIMESTAMP_FORM;
    }
    return expires_us != INT64_MAX && now_us >= expires_us + skew_us ? SAML_TIMESTAMP_EXPIRED
                                                                     : SAML_GOOD;
}

/* ---- Tokens ---- */

typedef struct Tokens {
    xmlNode *assertion;
    unsigned assertions;
    unsigned encrypted;
    unsigned others; /* elements that are neither */
    unsigned timestamps;
} Tokens;

static SamlCheck note(Tokens *tokens, xmlNode *child, int64_t now_us, int64_t skew_us)
{
    if (xml_dom_is(child, NS_SAML, "Assertion")) {
        tokens->assertion = child;
        tokens->assertions++;
    } else if (xml_dom_is(child, NS_SAML, "EncryptedAssertion")) {
        tokens->encrypted++;
    } else if (xml_dom_is(child, NS_WSU, "Timestamp")) {
        return ++tokens->timestamps > 1 ? SAML_TIMESTAMP_FORM
                                        : check_timestamp(child, now_us, skew_us);
    } else {
        tokens->others += child->type == XML_ELEMENT_NODE;
    }
    return SAML_GOOD;
}

SamlCheck saml_security_header_read(const struct _xmlDoc *message, int64_t now_us, int64_t skew_us,
                                    struct _xmlNode **ret_assertion)
{
    xmlNode *security = NULL;
    Tokens tokens = {0};
    SamlCheck check = find_security(message, &security);
    for (xmlNode *child = security ? security->children : NULL; child && !check;
         child = child->next) {
        check = note(&tokens, child, now_us, skew_us);
    }
    if (check) {
        return check;
    }
    if (tokens.encrypted > 0) {
        return SAML_ENCRYPTED;
    }
    if (tokens.assertions > 1) {
        return SAML_ASSERTION_REPEATED;
    }
    if (tokens.assertions == 0 && tokens.others > 0) {
        return SAML_TOKEN_UNSUPPORTED;
    }
    *ret_assertion = tokens.assertion;
    return SAML_GOOD;
}
