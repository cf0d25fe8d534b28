#include "pix/matching/match_text.h"

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

static size_t count_chars(Str s)
{
    size_t count = 0;
    for (size_t i = 0; i < s.len; i++) {
        count += !is_continuation(s.data[i]);
    }
    return count;
}

/** The first character. */
static Str first_char(Str s)
{
    size_t len = s.len > 0 ? 1 : 0;
    while (len < s.len && is_continuation(s.data[len])) {
        len++;
    }
    return str_slice(s, 0, len);
}

static Str without_first(Str s)
{
    return str_from_offset(s, first_char(s).len);
}

/** Takes off what both texts begin with. */
static void skip_common(Str *one, Str *other)
{
    Str a = first_char(*one);
    while (a.len > 0 && str_starts_with(*other, a)) {
        *one = str_from_offset(*one, a.len);
        *other = str_from_offset(*other, a.len);
        a = first_char(*one);
    }
}

/** Whether one edit leads from one to the other, which begin with different characters. */
static bool is_one_edit(Str one, Str other)
{
    Str a = without_first(one);
    Str b = without_first(other);
    bool is_exchange = str_starts_with(b, first_char(one)) &&
                       str_starts_with(a, first_char(other)) &&
                       str_equal(without_first(a), without_first(b));
    return str_equal(a, b) || str_equal(a, other) || str_equal(one, b) || is_exchange;
}

TextAgreement text_compare(Str one, Str other, size_t min_chars)
{
    if (str_is_empty(one) || str_is_empty(other)) {
        return TEXT_UNKNOWN;
    }
    if (str_equal(one, other)) {
        return TEXT_SAME;
    }
    if (MAX(count_chars(one), count_chars(other)) < min_chars) {
        return TEXT_DIFFERENT;
    }
    skip_common(&one, &other);
    return is_one_edit(one, other) ? TEXT_NEAR : TEXT_DIFFERENT;
}

int32_t text_next_char(Str *rest)
{
    static const unsigned char lead_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    Str octets = first_char(*rest);
    int32_t c = (unsigned char)octets.data[0] & lead_bits[MIN(octets.len, 4)];
    for (size_t i = 1; i < octets.len; i++) {
        c = c << 6 | ((unsigned char)octets.data[i] & 0x3F);
    }
    *rest = str_from_offset(*rest, octets.len);
    return c;
}
