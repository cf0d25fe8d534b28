#pragma once

#include <stdbool.h>

#include "lib/base/str.h"

/** Attribute matching of queries (PS3.4 C.2.2.2): a key that is not empty against a value. */

typedef enum QueryMatching {
    MATCHING_NONE,
    MATCHING_NAME,
    MATCHING_TEXT,
    MATCHING_LIST,
    MATCHING_DATE,
    MATCHING_TIME,
    MATCHING_NUMBER,
    MATCHING_PERSON,
} QueryMatching;

/** @param is_fuzzy  names: each word of the key begins a word of the name */
bool query_matches(Arena *arena, QueryMatching matching, bool is_fuzzy, Str key, Str value);

/** Whether the key has * or ?, and so names no single value. */
bool query_is_wildcard(Str key);

/**
 * The days of a key of dates: YYYYMMDD, or a range that may be open.
 * @return false: it is none
 */
bool query_date_range(Arena *arena, Str key, Str *ret_first, Str *ret_last);
