#include "lib/saml/assertion.h"

#include <libxml/tree.h>

#include "lib/saml/key_info.h"
#include "lib/saml/names.h"
#include "lib/saml/signature.h"
#include "lib/xml/dom.h"

/* ---- Digest ---- */

/** As much as assertions mostly have. */
#define DIGESTED_BYTES 16384

/** A piece with its kind and length, so that no two series of pieces give the same bytes. */
static void add(StrBuf *buf, char kind, const xmlChar *text)
{
    size_t len = text ? (size_t)xmlStrlen(text) : 0;
    uint32_t length = (uint32_t)len;
    strbuf_append_char(buf, kind);
    strbuf_append_bytes(buf, &length, sizeof(length));
    strbuf_append_bytes(buf, text, len);
}

static void add_namespaces(StrBuf *buf, const xmlNs *ns)
{
    for (; ns; ns = ns->next) {
        add(buf, 'p', ns->prefix);
        add(buf, 'n', ns->href);
    }
}

static void add_name(StrBuf *buf, char kind, const xmlNs *ns, const xmlChar *name)
{
    add(buf, kind, name);
    add(buf, 'p', ns ? ns->prefix : NULL);
    add(buf, 'n', ns ? ns->href : NULL);
}

static void add_texts(StrBuf *buf, const xmlNode *children)
{
    for (; children; children = children->next) {
        add(buf, 't', children->content);
    }
}

static void add_element(StrBuf *buf, const xmlNode *element)
{
    add_name(buf, 'e', element->ns, element->name);
    add_namespaces(buf, element->nsDef);
    for (const xmlAttr *attribute = element->properties; attribute; attribute = attribute->next) {
        add_name(buf, 'a', attribute->ns, attribute->name);
        add_texts(buf, attribute->children);
    }
}

/** Namespaces that elements around it declare. */
static void add_context(StrBuf *buf, const xmlNode *assertion)
{
    for (const xmlNode *node = assertion->parent; node && node->type == XML_ELEMENT_NODE;
         node = node->parent) {
        add(buf, 'c', NULL);
        add_namespaces(buf, node->nsDef);
    }
}

SamlDigest saml_assertion_digest(struct _xmlNode *assertion)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    SamlDigest digest;
    (void)strbuf_reserve(&buf, DIGESTED_BYTES);
    add_context(&buf, assertion);
    for (const xmlNode *node = assertion; node;) {
        if (node->type == XML_ELEMENT_NODE) {
            add_element(&buf, node);
        } else {
            add(&buf, 't', node->content);
        }
        if (node->type == XML_ELEMENT_NODE && node->children) {
            node = node->children;
            continue;
        }
        while (node != assertion && !node->next) {
            node = node->parent;
            add(&buf, 'z', NULL);
        }
        node = node == assertion ? NULL : node->next;
    }
    if (EVP_Q_digest(NULL, "SHA256", NULL, buf.data, buf.len, digest.bytes, NULL) != 1) {
        abort();
    }
    return digest;
}

/* ---- Checks ---- */

/** Attributes that some reader could take for an ID: ID, Id, id, wsu:Id, xml:id. */
static bool is_id_attribute(const XmlAttribute *attribute)
{
    return attribute->name.len == 2 && str_equal_ci(attribute->name, STR("id"));
}

/** What the assertion's ID could be confused with, in the whole message. */
static SamlCheck check_alone(const XmlNode *root, Str id)
{
    unsigned ids = 0;
    unsigned assertions = 0;
    for (const XmlNode *node = root; node; node = xml_after(node, root)) {
        assertions += xml_is(node, NS_SAML, "Assertion");
        for (size_t i = 0; i < node->attribute_count; i++) {
            ids +=
                is_id_attribute(&node->attributes[i]) && str_equal(node->attributes[i].value, id);
        }
    }
    return assertions != 1 ? SAML_ASSERTION_REPEATED : ids != 1 ? SAML_ID_REPEATED : SAML_GOOD;
}

SamlCheck saml_assertion_inspect(Arena *arena, SamlCandidate *candidate)
{
    candidate->tree = xml_tree_of_dom(arena, candidate->dom);
    Str id = xml_attribute(candidate->tree, "ID");
    SamlCheck check = saml_assertion_check_form(candidate->tree);
    check = check ? check : check_alone(candidate->root, id);
    return check ? check : saml_signature_check_form(candidate->tree, id);
}

/** By the keys that the signature does not contradict. */
static SamlCheck verify_signature(Arena *arena, const SamlCandidate *candidate,
                                  const SamlKeys *keys)
{
    const XmlNode *signature = xml_child(candidate->tree, NS_DS, "Signature");
    const XmlNode *key_info = xml_child(signature, NS_DS, "KeyInfo");
    EVP_PKEY **agreeing = ARENA_ARRAY(arena, EVP_PKEY *, keys->count);
    size_t count = 0;
    for (size_t i = 0; i < keys->count; i++) {
        if (saml_key_info_agrees(arena, key_info, &keys->keys[i])) {
            agreeing[count++] = keys->keys[i].key;
        }
    }
    return count == 0 ? SAML_SIGNATURE_KEY : saml_signature_verify(candidate->dom, agreeing, count);
}

SamlCheck saml_assertion_verify(Arena *arena, const SamlCandidate *candidate, const SamlKeys *keys,
                                bool is_verified, const XmlNode **ret_tree)
{
    if (keys->count == 0) {
        return keys->known_count == 0 ? SAML_ISSUER_UNKNOWN : SAML_ISSUER_KEY_EXPIRED;
    }
    SamlCheck check = is_verified ? SAML_GOOD : verify_signature(arena, candidate, keys);
    if (check) {
        return check;
    }
    /* of what was verified before, the tree that was inspected is such a copy already */
    *ret_tree = is_verified ? candidate->tree : xml_tree_of_dom(arena, candidate->dom);
    return SAML_GOOD;
}
