#pragma once

#include "lib/xml/tree.h"

struct _xmlNode; /* libxml2's xmlNode */

/**
 * Appends an element of a DOM that the reader kept as text, with every namespace declaration that
 * is in scope: what is signed in it by exclusive canonicalization stays as it was (Canonical XML
 * 1.0 of the subtree; comments are left out).
 * @return false: libxml2 could not, and buf is as it was
 */
bool xml_dom_append(StrBuf *buf, struct _xmlNode *element) MUST_CHECK;

/** xml_is() for an element of a DOM; false for anything else than an element. */
bool xml_dom_is(const struct _xmlNode *node, const char *ns, const char *name);

/**
 * Walks over an element of a DOM that the reader kept (XmlKeep) and makes the same tree that the
 * reader makes of events: a copy in the arena. Iterative; text is joined as in the reader.
 */
XmlNode *xml_tree_of_dom(Arena *arena, const struct _xmlNode *element) NONNULL_RETURN;
