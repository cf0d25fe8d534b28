#pragma once

#include "lib/base/str.h"

/**
 * Whether the text fits the pattern: `any` stands for any characters, `one` for one (UTF-8), all
 * others for themselves; there is no escape character. Takes time of pattern length times text
 * length at most.
 */
bool wildcard_matches(Str pattern, Str text, char any, char one);
