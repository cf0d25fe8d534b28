#pragma once

#include "lib/base/arena.h"
#include "lib/base/str.h"

/** An element tree in an arena: what a transaction reads. Names and values are UTF-8, entities
 * resolved. */

typedef struct XmlAttribute {
    Str ns; /* empty if the attribute has no prefix */
    Str name;
    Str value;
} XmlAttribute;

typedef struct XmlNode {
    Str ns;   /* namespace name; empty if none */
    Str name; /* local name */
    Str text; /* all character data directly inside, joined over comments and CDATA; not trimmed */
    XmlAttribute *attributes;
    size_t attribute_count;
    struct XmlNode *parent;
    struct XmlNode *first_child;
    struct XmlNode *last_child;
    struct XmlNode *next;
    unsigned line;     /* in the message, for error texts; 0 if unknown */
    uint32_t document; /* 1-based number of the diverted xds:Document content (lib/soap/receive.h);
                          0 if none */
} XmlNode;

/** Namespaces compare by name, never by prefix. */
bool xml_is(const XmlNode *node, const char *ns, const char *name);
/** First child element with this name, or NULL; node may be NULL. */
XmlNode *xml_child(const XmlNode *node, const char *ns, const char *name);
/** Next sibling with this name, or NULL. */
XmlNode *xml_next(const XmlNode *node, const char *ns, const char *name);
/** Value of an attribute without namespace; {NULL, 0} if absent. */
Str xml_attribute(const XmlNode *node, const char *name);
/** Trimmed text of the first such child; empty if absent. */
Str xml_child_text(const XmlNode *node, const char *ns, const char *name);
/**
 * "/Envelope/Body/SubmitObjectsRequest[1]/..." in the arena, for RegistryError/@location. Names are
 * the sender's: long ones are cut, and of a long path the end is given.
 */
Str xml_path(Arena *arena, const XmlNode *node);
/** Puts a node behind the children of parent. */
void xml_append_child(XmlNode *parent, XmlNode *node);
/** The next element in document order among those below top; NULL after the last. */
const XmlNode *xml_after(const XmlNode *node, const XmlNode *top);
