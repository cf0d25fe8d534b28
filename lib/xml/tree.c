#include "lib/xml/tree.h"

#include <stdio.h>

enum {
    PATH_MAX_BYTES = 2048,
    NAME_MAX_BYTES = 64, /* of an element, in a path */
    STEP_MAX_BYTES = NAME_MAX_BYTES + sizeof("/[4294967295]"),
};

bool xml_is(const XmlNode *node, const char *ns, const char *name)
{
    return node && str_equal(node->name, str_from(name)) && str_equal(node->ns, str_from(ns));
}

/** The node itself or the first sibling after it that has this name. */
static XmlNode *find_from(XmlNode *node, const char *ns, const char *name)
{
    while (node && !xml_is(node, ns, name)) {
        node = node->next;
    }
    return node;
}

XmlNode *xml_child(const XmlNode *node, const char *ns, const char *name)
{
    return node ? find_from(node->first_child, ns, name) : NULL;
}

XmlNode *xml_next(const XmlNode *node, const char *ns, const char *name)
{
    return node ? find_from(node->next, ns, name) : NULL;
}

Str xml_attribute(const XmlNode *node, const char *name)
{
    Str wanted = str_from(name);
    for (size_t i = 0; node && i < node->attribute_count; i++) {
        const XmlAttribute *attribute = &node->attributes[i];
        if (str_is_empty(attribute->ns) && str_equal(attribute->name, wanted)) {
            return attribute->value;
        }
    }
    return (Str){NULL, 0};
}

Str xml_child_text(const XmlNode *node, const char *ns, const char *name)
{
    const XmlNode *child = xml_child(node, ns, name);
    return child ? str_trim(child->text) : STR_EMPTY;
}

/** 1-based place among the siblings of the same name; 0 if the node is the only one. */
static unsigned place_among_siblings(const XmlNode *node)
{
    unsigned place = 0;
    unsigned count = 0;
    for (const XmlNode *other = node->parent ? node->parent->first_child : NULL; other;
         other = other->next) {
        if (str_equal(other->name, node->name) && str_equal(other->ns, node->ns)) {
            count++;
            if (other == node) {
                place = count;
            }
        }
    }
    return count > 1 ? place : 0;
}

Str xml_path(Arena *arena, const XmlNode *node)
{
    char path[PATH_MAX_BYTES];
    size_t start = sizeof(path);
    for (; node; node = node->parent) {
        char step[STEP_MAX_BYTES];
        Str name = str_slice(node->name, 0, NAME_MAX_BYTES);
        unsigned place = place_among_siblings(node);
        int len = place ? snprintf(step, sizeof(step), "/%.*s[%u]", STR_ARG(name), place)
                        : snprintf(step, sizeof(step), "/%.*s", STR_ARG(name));
        if ((size_t)len > start) {
            break;
        }
        start -= (size_t)len;
        memcpy(path + start, step, (size_t)len);
    }
    return str_dup(arena, (Str){path + start, sizeof(path) - start});
}

void xml_append_child(XmlNode *parent, XmlNode *node)
{
    node->parent = parent;
    if (parent->last_child) {
        parent->last_child->next = node;
    } else {
        parent->first_child = node;
    }
    parent->last_child = node;
}

const XmlNode *xml_after(const XmlNode *node, const XmlNode *top)
{
    if (node->first_child) {
        return node->first_child;
    }
    while (node != top && !node->next) {
        node = node->parent;
    }
    return node == top ? NULL : node->next;
}
