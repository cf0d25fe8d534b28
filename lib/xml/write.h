#pragma once

#include "lib/base/str.h"

/** Appends text with & < > " and control characters escaped, safe in content and in attributes. */
void xml_append_escaped(StrBuf *buf, Str text);

/** Appends the text that xml_append_escaped() made this from. */
void xml_append_unescaped(StrBuf *buf, Str escaped);
