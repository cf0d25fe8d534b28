#pragma once

#include "lib/base/str.h"

/** Appends text with & < > " and control characters escaped, safe in content and in attributes. */
void xml_append_escaped(StrBuf *buf, Str text);
