#pragma once

#include "lib/base/str.h"

/** How two texts of UTF-8 agree. */
typedef enum TextAgreement { TEXT_UNKNOWN, TEXT_SAME, TEXT_NEAR, TEXT_DIFFERENT } TextAgreement;

/** TEXT_NEAR: one character more, less, other, or two neighbours exchanged, in texts of which the
 * longer has at least min_chars. TEXT_UNKNOWN: one of them is empty. */
TextAgreement text_compare(Str one, Str other, size_t min_chars);

/** Takes the first character off *rest, which is UTF-8 and not empty. */
int32_t text_next_char(Str *rest);
