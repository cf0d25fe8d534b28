#pragma once

#include "lib/base/str.h"

/** Splits a list that an operator wrote; items are trimmed, empty ones left out, and borrowed.
 * @return how many */
size_t text_list_split(Arena *arena, Str text, const char *separators, Str **ret_items);
