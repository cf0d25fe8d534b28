#include "lib/xml/tree.h"

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
    Str path = STR_EMPTY;
    for (; node; node = node->parent) {
        unsigned place = place_among_siblings(node);
        if (place) {
            path = str_printf(arena, "/%.*s[%u]%.*s", STR_ARG(node->name), place, STR_ARG(path));
        } else {
            path = str_printf(arena, "/%.*s%.*s", STR_ARG(node->name), STR_ARG(path));
        }
    }
    return path;
}
