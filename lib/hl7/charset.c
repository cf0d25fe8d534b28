#include "lib/hl7/charset.h"

#include <stdlib.h>

#include "lib/text/code_point.h"
#include "lib/text/jis_tables.h"

#define ESCAPE 0x1b
#define JAPANESE (HL7_JIS_X_0201 | HL7_JIS_X_0208 | HL7_JIS_X_0212)

const char hl7_charset_names[] = ""
#define CHARSET(name, bit) "\"" name "\" "
#include "lib/hl7/charset.def"
#undef CHARSET
    ;

static const struct {
    Str name;
    Hl7CharsetBit bit;
} charsets[] = {
    {STR_INIT(""), HL7_ASCII},
#define CHARSET(name, bit) {STR_INIT(name), bit},
#include "lib/hl7/charset.def"
#undef CHARSET
};

static Hl7Charset charset_bit(Str name)
{
    for (size_t i = 0; i < ARRAY_LEN(charsets); i++) {
        if (str_equal(name, charsets[i].name)) {
            return charsets[i].bit;
        }
    }
    return 0;
}

bool hl7_charset_parse(Str msh_18, char repetition_separator, Hl7Charset *ret_charset)
{
    Hl7Charset charset = 0;
    Str rest = msh_18;
    Str name;
    while (str_split_next(&rest, repetition_separator, &name)) {
        Hl7Charset bit = charset_bit(str_trim(name));
        if (bit == 0) {
            return false;
        }
        charset |= bit;
    }
    if (charset == 0) {
        charset = HL7_ASCII;
    }
    bool is_alone = (charset & (charset - 1)) == 0;
    if (!is_alone && (charset & (HL7_UTF_8 | HL7_LATIN_1))) {
        return false;
    }
    *ret_charset = charset;
    return true;
}

/* ---- decoding ---- */

static bool is_plain(uint8_t octet)
{
    return (octet >= 0x20 && octet < 0x7f) || octet == '\t' || octet == '\r' || octet == '\n';
}

/** How many octets from the start of s are printing ASCII, TAB, CR or LF. */
static size_t plain_run(Str s)
{
    size_t len = 0;
    while (len < s.len && is_plain((uint8_t)s.data[len])) {
        len++;
    }
    return len;
}

/** Decodes one character that is not plain. @return octets used, 0 if it cannot be decoded */
static size_t decode_single(Hl7Charset charset, Str s, StrBuf *utf8)
{
    uint8_t octet = (uint8_t)s.data[0];
    if (charset & HL7_UTF_8) {
        uint32_t point;
        size_t len = octet < 0x80 ? 0 : code_point_read(s, &point);
        strbuf_append_bytes(utf8, s.data, len);
        return len;
    }
    /* 80 to 9F of 8859/1 are control characters: whoever sends them means another set */
    if ((charset & HL7_LATIN_1) && octet >= 0xa0) {
        code_point_append(utf8, octet);
        return 1;
    }
    if ((charset & HL7_JIS_X_0201) && octet >= 0xa1 && octet <= 0xdf) {
        code_point_append(utf8, 0xff61u - 0xa1u + octet);
        return 1;
    }
    return 0;
}

/* What ISO-2022-JP escape sequences designate. */
typedef enum Designation { SET_ASCII, SET_ROMAN, SET_KATAKANA, SET_0208, SET_0212 } Designation;

static const struct {
    Str sequence;
    Designation set;
} designations[] = {
    {STR_INIT("\x1b(B"), SET_ASCII},    {STR_INIT("\x1b(J"), SET_ROMAN},
    {STR_INIT("\x1b(I"), SET_KATAKANA}, {STR_INIT("\x1b$B"), SET_0208},
    {STR_INIT("\x1b$(D"), SET_0212},    {STR_INIT("\x1b$@"), SET_0208},
};

/** @return length of the escape sequence at the start of s, 0 if it is none that we know */
static size_t read_designation(Str s, Designation *ret_set)
{
    for (size_t i = 0; i < ARRAY_LEN(designations); i++) {
        if (str_starts_with(s, designations[i].sequence)) {
            *ret_set = designations[i].set;
            return designations[i].sequence.len;
        }
    }
    return 0;
}

static size_t decode_katakana(Str s, StrBuf *utf8)
{
    uint8_t octet = (uint8_t)s.data[0];
    if (octet < 0x21 || octet > 0x5f) {
        return 0;
    }
    code_point_append(utf8, 0xff61u - 0x21u + octet);
    return 1;
}

static size_t decode_two_byte(const uint16_t *table, Str s, StrBuf *utf8)
{
    if (s.len < 2) {
        return 0;
    }
    uint16_t point = jis_code_point(table, (uint8_t)s.data[0], (uint8_t)s.data[1]);
    if (point == 0) {
        return 0;
    }
    code_point_append(utf8, point);
    return 2;
}

/** Decodes what is not plain text of a one-byte set. @return octets used, 0 if it cannot be decoded
 */
static size_t decode_designated(Hl7Charset charset, Designation *set, Str s, StrBuf *utf8)
{
    char octet = s.data[0];
    if (octet == ESCAPE) {
        return read_designation(s, set);
    }
    if (octet == '\r' || octet == '\n') { /* RFC 1468: a line begins in ASCII */
        *set = SET_ASCII;
        strbuf_append_char(utf8, octet);
        return 1;
    }
    if (octet == ' ' || octet == '\t') {
        strbuf_append_char(utf8, octet);
        return 1;
    }
    switch (*set) {
    case SET_KATAKANA:
        return decode_katakana(s, utf8);
    case SET_0208:
        return decode_two_byte(jis_x_0208_to_unicode, s, utf8);
    case SET_0212:
        return decode_two_byte(jis_x_0212_to_unicode, s, utf8);
    case SET_ASCII:
    case SET_ROMAN: /* 5C and 7E stay backslash and tilde, as CP932 has them: they are HL7
                       delimiters */
        break;
    }
    return decode_single(charset, s, utf8);
}

bool hl7_charset_decode(Hl7Charset charset, Str octets, StrBuf *utf8, size_t *ret_offset)
{
    Designation set = SET_ASCII;
    size_t at = 0;
    while (at < octets.len) {
        Str rest = str_from_offset(octets, at);
        size_t used = set == SET_ASCII || set == SET_ROMAN ? plain_run(rest) : 0;
        if (used > 0) {
            if (memchr(rest.data, '\r', used)) {
                set = SET_ASCII;
            }
            strbuf_append_bytes(utf8, rest.data, used);
        } else if (charset & JAPANESE) {
            used = decode_designated(charset, &set, rest, utf8);
        } else {
            used = decode_single(charset, rest, utf8);
        }
        if (used == 0) {
            *ret_offset = at;
            return false;
        }
        at += used;
    }
    return true;
}

/* ---- encoding ---- */

static int compare_pair(const void *key, const void *item)
{
    uint32_t point = *(const uint32_t *)key;
    uint16_t other = ((const JisPair *)item)->code_point;
    return (point > other) - (point < other);
}

/** @return the two bytes as a number, 0 if the set does not hold the character */
static uint16_t find_code(const JisPair *pairs, size_t count, uint32_t point)
{
    const JisPair *pair = bsearch(&point, pairs, count, sizeof(*pairs), compare_pair);
    return pair ? pair->code : 0;
}

/** @return the code of the character in the first designation that holds it, 0 if there is none */
static uint16_t japanese_code(Hl7Charset charset, uint32_t point, Designation *ret_set)
{
    if (point >= 0xff61 && point <= 0xff9f) {
        *ret_set = SET_KATAKANA;
        return (uint16_t)(point - 0xff61 + 0x21);
    }
    uint16_t code = 0;
    if (charset & HL7_JIS_X_0208) {
        *ret_set = SET_0208;
        code = find_code(jis_x_0208_from_unicode, jis_x_0208_from_unicode_count, point);
    }
    if (code == 0 && (charset & HL7_JIS_X_0212)) {
        *ret_set = SET_0212;
        code = find_code(jis_x_0212_from_unicode, jis_x_0212_from_unicode_count, point);
    }
    return code;
}

static void designate(StrBuf *octets, Designation *current, Designation set)
{
    if (*current == set) {
        return;
    }
    *current = set;
    for (size_t i = 0; i < ARRAY_LEN(designations); i++) {
        if (designations[i].set == set) {
            strbuf_append(octets, designations[i].sequence);
            return;
        }
    }
}

/** Appends one character; set is the designation in force before and after it. */
static bool encode_code_point(Hl7Charset charset, Designation *set, uint32_t point, StrBuf *octets)
{
    if (point < 0x80) {
        designate(octets, set, SET_ASCII);
        strbuf_append_char(octets, (char)point);
        return true;
    }
    if (charset & HL7_LATIN_1) {
        strbuf_append_char(octets, (char)point);
        return point >= 0xa0 && point <= 0xff;
    }
    Designation needed = SET_ASCII;
    uint16_t code = charset & JAPANESE ? japanese_code(charset, point, &needed) : 0;
    if (code == 0) {
        return false;
    }
    designate(octets, set, needed);
    if (code > 0xff) {
        strbuf_append_char(octets, (char)(code >> 8));
    }
    strbuf_append_char(octets, (char)(code & 0xff));
    return true;
}

static bool encode_all(Hl7Charset charset, Str utf8, StrBuf *octets)
{
    Designation set = SET_ASCII;
    size_t at = 0;
    while (at < utf8.len) {
        uint32_t point = 0;
        size_t used = code_point_read(str_from_offset(utf8, at), &point);
        if (used == 0 || !encode_code_point(charset, &set, point, octets)) {
            return false;
        }
        at += used;
    }
    designate(octets, &set, SET_ASCII);
    return true;
}

bool hl7_charset_encode(Hl7Charset charset, Str utf8, StrBuf *octets)
{
    if (charset & HL7_UTF_8) {
        strbuf_append(octets, utf8);
        return true;
    }
    size_t before = octets->len;
    if (encode_all(charset, utf8, octets)) {
        return true;
    }
    octets->len = before;
    return false;
}
