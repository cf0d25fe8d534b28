#include "repository/imaging/query_match.h"

#include "lib/base/wildcard.h"
#include "lib/dicom/text.h"

/** Digits of a date or time, one more than a value has. */
#define DATE_DIGITS 8
#define TIME_DIGITS 12

bool query_is_wildcard(Str key)
{
    return str_find_char(key, '*') != SIZE_MAX || str_find_char(key, '?') != SIZE_MAX;
}

static bool matches_pattern(Str key, Str value)
{
    return query_is_wildcard(key) ? wildcard_matches(key, value, '*', '?') : str_equal(key, value);
}

static bool matches_text(Str key, Str value)
{
    Str item;
    key = str_trim(key);
    if (matches_pattern(key, str_trim(value))) {
        return true;
    }
    while (str_split_next(&value, '\\', &item)) {
        if (matches_pattern(key, str_trim(item))) {
            return true;
        }
    }
    return false;
}

static bool matches_list(Str key, Str value)
{
    Str wanted;
    while (str_split_next(&key, '\\', &wanted)) {
        if (matches_text(wanted, value)) {
            return true;
        }
    }
    return false;
}

/* ---- names ---- */

/** Without what does not count: case, and empty components at the end. */
static Str plain_name(Arena *arena, Str group)
{
    group = str_trim(group);
    while (group.len > 0 &&
           (group.data[group.len - 1] == '^' || group.data[group.len - 1] == ' ')) {
        group.len--;
    }
    return str_lower(arena, group);
}

static bool is_separator(char c)
{
    return c == '^' || c == '=' || c == ' ' || c == '\\';
}

static bool next_word(Str *rest, Str *ret_word)
{
    size_t begin = 0;
    while (begin < rest->len && is_separator(rest->data[begin])) {
        begin++;
    }
    size_t end = begin;
    while (end < rest->len && !is_separator(rest->data[end])) {
        end++;
    }
    *ret_word = str_slice(*rest, begin, end - begin);
    *rest = str_from_offset(*rest, end);
    return ret_word->len > 0;
}

static bool has_word(Str name, Str wanted)
{
    Str word;
    while (next_word(&name, &word)) {
        if (str_starts_with(word, wanted)) {
            return true;
        }
    }
    return false;
}

static bool matches_words(Arena *arena, Str key, Str value)
{
    Str words = str_lower(arena, key);
    Str name = str_lower(arena, value);
    Str word;
    while (next_word(&words, &word)) {
        while (word.len > 0 && word.data[word.len - 1] == '*') {
            word.len--;
        }
        if (!has_word(name, word)) {
            return false;
        }
    }
    return true;
}

static bool matches_name(Arena *arena, Str key, Str value)
{
    PersonName wanted = dicom_person_name(key);
    PersonName name = dicom_person_name(value);
    bool is_one_group = str_is_empty(wanted.groups[1]) && str_is_empty(wanted.groups[2]);
    bool has_all = true;
    bool has_any = false;
    for (size_t i = 0; i < ARRAY_LEN(name.groups); i++) {
        Str group = plain_name(arena, name.groups[i]);
        has_all = has_all && (str_is_empty(wanted.groups[i]) ||
                              matches_pattern(plain_name(arena, wanted.groups[i]), group));
        has_any = has_any || (!str_is_empty(group) &&
                              matches_pattern(plain_name(arena, wanted.groups[0]), group));
    }
    return is_one_group ? has_any || has_all : has_all;
}

/* ---- dates and times ---- */

/** The digits, filled up on the right. */
static Str digits_of(Arena *arena, Str text, size_t count, char fill)
{
    char *digits = arena_alloc(arena, count);
    size_t len = 0;
    for (size_t i = 0; i < text.len && len < count; i++) {
        if (text.data[i] >= '0' && text.data[i] <= '9') {
            digits[len++] = text.data[i];
        }
    }
    while (len < count) {
        digits[len++] = fill;
    }
    return (Str){digits, count};
}

/** A key without any means no day and no time. */
static bool has_digit(Str key)
{
    for (size_t i = 0; i < key.len; i++) {
        if (key.data[i] >= '0' && key.data[i] <= '9') {
            return true;
        }
    }
    return false;
}

static bool matches_range(Arena *arena, Str key, Str value, size_t digits)
{
    key = str_trim(key);
    value = str_trim(value);
    size_t dash = str_find_char(key, '-');
    Str first = dash == SIZE_MAX ? key : str_slice(key, 0, dash);
    Str last = dash == SIZE_MAX ? key : str_from_offset(key, dash + 1);
    Str at = digits_of(arena, value, digits, '0');
    return has_digit(key) && !str_is_empty(value) &&
           str_compare(at, digits_of(arena, first, digits, '0')) >= 0 &&
           str_compare(at, digits_of(arena, last, digits, '9')) <= 0;
}

bool query_date_range(Arena *arena, Str key, Str *ret_first, Str *ret_last)
{
    key = str_trim(key);
    size_t dash = str_find_char(key, '-');
    if (str_is_empty(key) || query_is_wildcard(key)) {
        return false;
    }
    *ret_first =
        digits_of(arena, dash == SIZE_MAX ? key : str_slice(key, 0, dash), DATE_DIGITS, '0');
    *ret_last =
        digits_of(arena, dash == SIZE_MAX ? key : str_from_offset(key, dash + 1), DATE_DIGITS, '9');
    return true;
}

/** IS, which may have a sign (PS3.5 6.2). */
static bool read_number(Str text, int64_t *ret_number)
{
    bool has_plus = text.len > 1 && text.data[0] == '+';
    return str_to_i64(has_plus ? str_from_offset(text, 1) : text, ret_number);
}

static bool matches_number(Str key, Str value)
{
    int64_t wanted;
    int64_t number;
    key = str_trim(key);
    value = str_trim(value);
    return read_number(key, &wanted) && read_number(value, &number) ? wanted == number
                                                                    : matches_pattern(key, value);
}

bool query_matches(Arena *arena, QueryMatching matching, bool is_fuzzy, Str key, Str value)
{
    switch (matching) {
    case MATCHING_NAME:
        return is_fuzzy ? matches_words(arena, key, value) : matches_name(arena, key, value);
    case MATCHING_TEXT:
        return matches_text(key, value);
    case MATCHING_LIST:
        return matches_list(key, value);
    case MATCHING_DATE:
        return matches_range(arena, key, value, DATE_DIGITS);
    case MATCHING_TIME:
        return matches_range(arena, key, value, TIME_DIGITS);
    case MATCHING_NUMBER:
        return matches_number(key, value);
    case MATCHING_NONE:
    case MATCHING_PERSON:
        break;
    }
    return true;
}
