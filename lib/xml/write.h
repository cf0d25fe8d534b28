#pragma once

#include "lib/base/str.h"
#include "lib/xml/tree.h"

/** Appends UTF-8 text with & < > " and control characters escaped, safe in content and in
 * attributes; what XML cannot have is replaced. */
void xml_append_escaped(StrBuf *buf, Str text);

/** Appends the text that xml_append_escaped() made this from. */
void xml_append_unescaped(StrBuf *buf, Str escaped);

/**
 * Appends an element with all that is in it, as XML of its own: namespaces are declared where they
 * change. xsi:type loses its prefix, whose declaration the tree does not have: the type is one of
 * the element's namespace. Text beside child elements comes before them.
 *
 * @param ns  default namespace at the place where it goes; "" if there is none
 */
void xml_append_tree(StrBuf *buf, const XmlNode *node, const char *ns);
