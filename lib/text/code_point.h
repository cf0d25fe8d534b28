#pragma once

#include <stdint.h>

#include "lib/base/str.h"

/** Appends a code point, not a surrogate and at most 10FFFF, as UTF-8 (RFC 3629). */
void code_point_append(StrBuf *utf8, uint32_t point);

/** @param s  not empty
 *  @return length of the well-formed sequence at the start of s, 0 if there is none */
size_t code_point_read(Str s, uint32_t *ret_point);
