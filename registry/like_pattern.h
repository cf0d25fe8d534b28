#pragma once

#include "lib/base/str.h"

/**
 * Whether the text is LIKE the pattern: % stands for any characters, _ for one (UTF-8), and there
 * is no escape character. Takes time of pattern length times text length at most.
 *
 * Spec: ITI TF-2 3.18.4.1.2.3.5
 */
bool like_pattern_matches(Str pattern, Str text);
