#include "lib/xml/dom.h"

#include <libxml/c14n.h>
#include <libxml/tree.h>

static Str from_xml(const xmlChar *text)
{
    return str_from((const char *)text);
}

bool xml_dom_is(const struct _xmlNode *node, const char *ns, const char *name)
{
    return node->type == XML_ELEMENT_NODE && node->ns &&
           str_equal(from_xml(node->ns->href), str_from(ns)) &&
           str_equal(from_xml(node->name), str_from(name));
}

static Str copy(Arena *arena, const xmlChar *text)
{
    return text ? str_dup(arena, from_xml(text)) : STR_EMPTY;
}

/** Character data directly inside, as the parser resolved it. */
static Str text_of(Arena *arena, const xmlNode *children)
{
    if (children && !children->next && children->type == XML_TEXT_NODE && children->content) {
        return str_dup(arena, from_xml(children->content));
    }
    _cleanup_(strbuf_done) StrBuf text = {0};
    for (const xmlNode *child = children; child; child = child->next) {
        if (child->type == XML_TEXT_NODE) {
            strbuf_append(&text, from_xml(child->content));
        }
    }
    return str_dup(arena, strbuf_str(&text));
}

static void copy_attributes(Arena *arena, const xmlNode *element, XmlNode *node)
{
    for (const xmlAttr *attribute = element->properties; attribute; attribute = attribute->next) {
        node->attribute_count++;
    }
    node->attributes = ARENA_ARRAY(arena, XmlAttribute, node->attribute_count);
    size_t i = 0;
    for (const xmlAttr *attribute = element->properties; attribute; attribute = attribute->next) {
        node->attributes[i++] = (XmlAttribute){
            .ns = attribute->ns ? copy(arena, attribute->ns->href) : STR_EMPTY,
            .name = copy(arena, attribute->name),
            .value = text_of(arena, attribute->children),
        };
    }
}

static XmlNode *copy_element(Arena *arena, const xmlNode *element)
{
    XmlNode *node = ARENA_NEW(arena, XmlNode);
    node->ns = element->ns ? copy(arena, element->ns->href) : STR_EMPTY;
    node->name = copy(arena, element->name);
    node->text = text_of(arena, element->children);
    node->line = element->line;
    copy_attributes(arena, element, node);
    return node;
}

/** The first element among these siblings, or NULL. */
static const xmlNode *element_from(const xmlNode *node)
{
    while (node && node->type != XML_ELEMENT_NODE) {
        node = node->next;
    }
    return node;
}

XmlNode *xml_tree_of_dom(Arena *arena, const struct _xmlNode *element)
{
    XmlNode *root = copy_element(arena, element);
    XmlNode *open = root; /* the copy of at */
    const xmlNode *at = element;
    for (;;) {
        const xmlNode *next = element_from(at->children);
        XmlNode *parent = open;
        while (!next && at != element) { /* nothing below: the next one beside or above */
            next = element_from(at->next);
            at = at->parent;
            parent = parent->parent;
        }
        if (!next) {
            return root;
        }
        XmlNode *node = copy_element(arena, next);
        xml_append_child(parent, node);
        open = node;
        at = next;
    }
}

/* ---- as text ---- */

/** A node of the subtree; parent is given for attributes and namespace declarations. */
static int is_below(void *top, xmlNodePtr node, xmlNodePtr parent)
{
    const xmlNode *at = node->type == XML_NAMESPACE_DECL ? parent : node;
    while (at && at != top) {
        at = at->parent;
    }
    return at != NULL;
}

bool xml_dom_append(StrBuf *buf, struct _xmlNode *element)
{
    xmlOutputBuffer *output = xmlAllocOutputBuffer(NULL);
    if (!output) {
        return false;
    }
    int bytes = xmlC14NExecute(element->doc, is_below, element, XML_C14N_1_0, NULL,
                               /* comments */ 0, output);
    bool is_done = bytes >= 0 && xmlOutputBufferFlush(output) >= 0;
    if (is_done) {
        strbuf_append_bytes(buf, xmlOutputBufferGetContent(output), xmlOutputBufferGetSize(output));
    }
    (void)xmlOutputBufferClose(output);
    return is_done;
}
