#include "pix/matching/match_profile.h"
#include "pix/matching/normal_form.h"

#define NUMBERS_MAX 3

/** Between the numbers of an address; never part of a building's name there. */
static const Str separators[] = {
    STR_INIT("-"),      STR_INIT("\u2010"), STR_INIT("\u2011"), STR_INIT("\u2012"),
    STR_INIT("\u2013"), STR_INIT("\u2014"), STR_INIT("\u2015"), STR_INIT("\u2212"),
    STR_INIT("\uFF0D"), STR_INIT("ー"),     STR_INIT("ｰ"),      STR_INIT(" "),
    STR_INIT("　"),
};

/** Words after a number, which may be left out: 1丁目2番地3号 is 1-2-3. Longer ones first. */
static const Str number_words[] = {
    STR_INIT("丁目"), STR_INIT("番地ノ"), STR_INIT("番地"),
    STR_INIT("番"),   STR_INIT("号"),     STR_INIT("ノ"),
};

static const Str kanji_digits[] = {
    STR_INIT("一"), STR_INIT("二"), STR_INIT("三"), STR_INIT("四"), STR_INIT("五"),
    STR_INIT("六"), STR_INIT("七"), STR_INIT("八"), STR_INIT("九"),
};

/** The first of texts that s begins with; count if none. */
static size_t find_prefix(Str s, const Str *texts, size_t count)
{
    size_t i = 0;
    while (i < count && !str_starts_with(s, texts[i])) {
        i++;
    }
    return i;
}

/** Normal form of the pieces between separators, a space between two of them. */
static Str normal_pieces(Arena *arena, Str address)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    size_t start = 0;
    size_t i = 0;
    while (i <= address.len) {
        size_t found = find_prefix(str_from_offset(address, i), separators, ARRAY_LEN(separators));
        bool is_separator = found < ARRAY_LEN(separators);
        if (is_separator || i == address.len) {
            strbuf_append(&buf, normal_text(arena, str_slice(address, start, i - start)));
            strbuf_append_char(&buf, ' ');
            i += is_separator ? separators[found].len : 1;
            start = i;
        } else {
            i++;
        }
    }
    return str_dup(arena, strbuf_str(&buf));
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/** A number at the beginning of s: digits, or a kanji from 1 to 9 before 丁目.
 * @return how many octets it has; 0: there is none */
static size_t leading_number(Str s, char ret_digit[1], Str *ret_number)
{
    size_t len = 0;
    while (len < s.len && is_digit(s.data[len])) {
        len++;
    }
    if (len > 0) {
        *ret_number = str_slice(s, 0, len);
        return len;
    }
    size_t digit = find_prefix(s, kanji_digits, ARRAY_LEN(kanji_digits));
    if (digit < ARRAY_LEN(kanji_digits) &&
        str_starts_with(str_from_offset(s, kanji_digits[digit].len), STR("丁目"))) {
        ret_digit[0] = (char)('1' + digit);
        *ret_number = (Str){ret_digit, 1};
        return kanji_digits[digit].len;
    }
    return 0;
}

/** The numbers at the beginning of s, joined by hyphens. */
static void append_numbers(StrBuf *numbers, Str s)
{
    size_t count = 0;
    while (s.len > 0 && count < NUMBERS_MAX) {
        char digit[1];
        Str number;
        size_t len = leading_number(s, digit, &number);
        size_t word = find_prefix(s, number_words, ARRAY_LEN(number_words));
        if (len > 0) {
            if (count++ > 0) {
                strbuf_append_char(numbers, '-');
            }
            strbuf_append(numbers, number);
        } else if (s.data[0] == ' ') {
            len = 1;
        } else if (word < ARRAY_LEN(number_words)) {
            len = number_words[word].len;
        } else {
            return; /* a building */
        }
        s = str_from_offset(s, len);
    }
}

Residence match_residence(Arena *arena, Str address)
{
    Str text = normal_pieces(arena, address);
    _cleanup_(strbuf_done) StrBuf place = {0};
    _cleanup_(strbuf_done) StrBuf numbers = {0};
    for (size_t i = 0; i < text.len; i++) {
        char digit[1];
        Str number;
        Str rest = str_from_offset(text, i);
        if (leading_number(rest, digit, &number) > 0) {
            append_numbers(&numbers, rest);
            break;
        }
        if (text.data[i] != ' ') {
            strbuf_append_char(&place, text.data[i]);
        }
    }
    return (Residence){str_dup(arena, strbuf_str(&place)), str_dup(arena, strbuf_str(&numbers))};
}
