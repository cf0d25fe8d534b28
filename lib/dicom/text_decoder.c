#include "lib/dicom/text_decoder.h"

#include "lib/text/code_point.h"
#include "lib/text/jis_tables.h"

#define SPECIFIC_CHARACTER_SET DICOM_TAG(0x0008, 0x0005)
#define ESCAPE_BYTE 0x1b
#define BIT(set) (UINT32_C(1) << (set))

_Static_assert(CHARSET_COUNT <= 32, "a bit for each set");

/* ---- declarations ---- */

static const char *const terms[CHARSET_COUNT] = {
#define CHARACTER_SET(name, defined_terms, description) [CHARSET_##name] = (defined_terms),
#include "lib/dicom/character_sets.def"
#undef CHARACTER_SET
};

/** The digits after "IR" (ISO_IR 100, ISO 2022 IR 100, and misspellings: ISO-IR 100, ISO2022IR100),
 * or the whole term if it has none. */
static Str term_key(Str term)
{
    Str trimmed = str_trim(term);
    size_t at = str_find(trimmed, STR("IR"));
    if (at == SIZE_MAX) {
        return trimmed;
    }
    Str number = str_from_offset(trimmed, at + 2);
    while (number.len && (number.data[0] < '0' || number.data[0] > '9')) {
        number = str_from_offset(number, 1);
    }
    return number;
}

/** CHARSET_DEFAULT also for a term that nobody defined. */
static CharacterSet set_of_term(Str term)
{
    Str key = term_key(term);
    for (size_t set = CHARSET_DEFAULT + 1; set < CHARSET_COUNT && key.len; set++) {
        Str rest = str_from(terms[set]);
        Str defined;
        while (str_split_next(&rest, '|', &defined)) {
            if (str_equal_ci(key, term_key(defined))) {
                return (CharacterSet)set;
            }
        }
    }
    return CHARSET_DEFAULT;
}

TextDeclaration text_declaration_of(CharacterSet set)
{
    return (TextDeclaration){.first = set, .shown = set, .declared = BIT(set)};
}

TextDeclaration text_declaration(const DicomDataset *dataset)
{
    const DicomElement *element = NULL;
    for (; dataset && !element; dataset = dataset->parent) {
        element = dicom_find(dataset, SPECIFIC_CHARACTER_SET);
    }
    TextDeclaration declaration = text_declaration_of(CHARSET_DEFAULT);
    Str rest = element ? element->value : STR_EMPTY;
    Str term;
    for (size_t i = 0; str_split_next(&rest, '\\', &term); i++) {
        CharacterSet set = set_of_term(term);
        declaration.first = i == 0 ? set : declaration.first;
        declaration.shown = i <= 1 ? set : declaration.shown;
        declaration.declared |= BIT(set);
        declaration.has_extension |= i > 0 || str_contains(term, STR("2022"));
    }
    return declaration;
}

/* ---- sets of bytes above 7F ---- */

/** The closed list of ICU's converters; the others are read by tables of our own. The larger sets
 * stand for those that they contain: GB 18030 for GB 2312 and GBK, CP949 for KS X 1001. */
static const char *const converter_names[CHARSET_COUNT] = {
    [CHARSET_LATIN_2] = "ISO-8859-2",      [CHARSET_LATIN_3] = "ISO-8859-3",
    [CHARSET_LATIN_4] = "ISO-8859-4",      [CHARSET_CYRILLIC] = "ISO-8859-5",
    [CHARSET_ARABIC] = "ISO-8859-6",       [CHARSET_GREEK] = "ISO-8859-7",
    [CHARSET_HEBREW] = "ISO-8859-8",       [CHARSET_LATIN_5] = "ISO-8859-9",
    [CHARSET_LATIN_9] = "ISO-8859-15",     [CHARSET_THAI] = "TIS-620",
    [CHARSET_KOREAN] = "windows-949-2000", [CHARSET_CHINESE] = "gb18030",
    [CHARSET_GB18030] = "gb18030",         [CHARSET_GBK] = "gb18030",
};

/** What a reader of one set found at the start of the rest. */
typedef struct Found {
    size_t len;
    uint32_t point; /* 0: no character */
    bool is_cut;
} Found;

static const Found unreadable = {1, 0, false};

/** The value ends inside of a character. */
static Found cut(Str rest)
{
    return (Found){rest.len, 0, true};
}

static uint8_t byte_at(Str s, size_t at)
{
    return (uint8_t)s.data[at];
}

static UConverter *converter(TextDecoder *decoder, CharacterSet set)
{
    if (!decoder->converters[set]) {
        UErrorCode status = U_ZERO_ERROR;
        UConverter *opened = ucnv_open(converter_names[set], &status);
        if (!opened) {
            return NULL;
        }
        ucnv_setToUCallBack(opened, UCNV_TO_U_CALLBACK_STOP, NULL, NULL, NULL, &status);
        decoder->converters[set] = opened;
    }
    return decoder->converters[set];
}

static Found read_by_icu(TextDecoder *decoder, Str rest)
{
    UConverter *icu = converter(decoder, decoder->g1);
    if (!icu) {
        return unreadable;
    }
    const char *at = rest.data;
    UErrorCode status = U_ZERO_ERROR;
    UChar32 point = ucnv_getNextUChar(icu, &at, rest.data + rest.len, &status);
    size_t len = (size_t)(at - rest.data);
    if (U_SUCCESS(status) && point >= 0xa0 && point != 0xfffd) {
        return (Found){len, (uint32_t)point, false};
    }
    ucnv_reset(icu);
    if (status == U_TRUNCATED_CHAR_FOUND) {
        return cut(rest);
    }
    /* bytes of the set without a character belong together: the second may be 5C */
    return (Found){status == U_INVALID_CHAR_FOUND ? len : 1, 0, false};
}

static Found read_utf_8(TextDecoder *decoder, Str rest)
{
    (void)decoder;
    Found found = {0};
    found.len = code_point_read(rest, &found.point);
    if (found.len && found.point >= 0xa0) {
        return found;
    }
    uint8_t lead = byte_at(rest, 0);
    size_t need = lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1;
    bool is_continued = true;
    for (size_t i = 1; i < rest.len && i < need; i++) {
        is_continued &= (byte_at(rest, i) & 0xc0) == 0x80;
    }
    return rest.len < need && is_continued ? cut(rest) : unreadable;
}

static Found read_latin_1(TextDecoder *decoder, Str rest)
{
    (void)decoder;
    uint8_t byte = byte_at(rest, 0);
    return byte >= 0xa0 ? (Found){1, byte, false} : unreadable;
}

static Found read_katakana(TextDecoder *decoder, Str rest)
{
    (void)decoder;
    uint8_t byte = byte_at(rest, 0);
    return byte >= 0xa1 && byte <= 0xdf ? (Found){1, 0xff61U - 0xa1U + byte, false} : unreadable;
}

/** CP932: rows 1 to 94 as ISO-2022-JP has them, and the IBM extensions from FA40. */
static uint32_t shift_jis_pair(uint8_t lead, uint8_t trail)
{
    unsigned column = trail - (trail > 0x7fU ? 0x41U : 0x40U);
    if (lead >= 0xfa) {
        unsigned index = (lead - 0xfaU) * (2 * JIS_ROWS) + column;
        return index < CP932_IBM_COUNT ? cp932_ibm_extensions[index] : 0;
    }
    unsigned row = (lead - (lead < 0xa0 ? 0x81U : 0xc1U)) * 2 + column / JIS_ROWS;
    return jis_code_point(jis_x_0208_to_unicode, (uint8_t)(row + 0x21),
                          (uint8_t)(column % JIS_ROWS + 0x21));
}

static Found read_shift_jis(TextDecoder *decoder, Str rest)
{
    uint8_t lead = byte_at(rest, 0);
    if (lead == 0x80 || lead == 0xa0 || lead > 0xfc) {
        return unreadable;
    }
    if (lead > 0xa0 && lead < 0xe0) {
        return read_katakana(decoder, rest);
    }
    if (rest.len < 2) {
        return cut(rest);
    }
    uint8_t trail = byte_at(rest, 1);
    if (trail < 0x40 || trail == 0x7f || trail > 0xfc) {
        return unreadable;
    }
    /* where no character is assigned the two bytes still belong together: a trail may be 5C */
    return (Found){2, shift_jis_pair(lead, trail), false};
}

static Found read_euc_jp(TextDecoder *decoder, Str rest)
{
    uint8_t lead = byte_at(rest, 0);
    size_t need = lead == 0x8f ? 3 : 2;
    if (lead != 0x8e && lead != 0x8f && (lead < 0xa1 || lead > 0xfe)) {
        return unreadable;
    }
    if (rest.len < need) {
        return cut(rest);
    }
    Str tail = str_from_offset(rest, need == 3 || lead == 0x8e ? 1 : 0);
    Found found = unreadable;
    if (lead == 0x8e) {
        found = read_katakana(decoder, tail);
    } else if (byte_at(tail, 0) >= 0xa1 && byte_at(tail, 1) >= 0xa1) {
        found.point = jis_code_point(need == 3 ? jis_x_0212_to_unicode : jis_x_0208_to_unicode,
                                     byte_at(tail, 0) & 0x7f, byte_at(tail, 1) & 0x7f);
    }
    found.len = found.point ? need : 1;
    return found;
}

typedef Found ReadHigh(TextDecoder *decoder, Str rest);

/** How bytes above 7F of a set are read; NULL: the set has none. */
static ReadHigh *const high_readers[CHARSET_COUNT] = {
    [CHARSET_LATIN_1] = read_latin_1, [CHARSET_LATIN_2] = read_by_icu,
    [CHARSET_LATIN_3] = read_by_icu,  [CHARSET_LATIN_4] = read_by_icu,
    [CHARSET_CYRILLIC] = read_by_icu, [CHARSET_ARABIC] = read_by_icu,
    [CHARSET_GREEK] = read_by_icu,    [CHARSET_HEBREW] = read_by_icu,
    [CHARSET_LATIN_5] = read_by_icu,  [CHARSET_LATIN_9] = read_by_icu,
    [CHARSET_THAI] = read_by_icu,     [CHARSET_KATAKANA] = read_katakana,
    [CHARSET_KOREAN] = read_by_icu,   [CHARSET_CHINESE] = read_by_icu,
    [CHARSET_UTF_8] = read_utf_8,     [CHARSET_GB18030] = read_by_icu,
    [CHARSET_GBK] = read_by_icu,      [CHARSET_SHIFT_JIS] = read_shift_jis,
    [CHARSET_EUC_JP] = read_euc_jp,
};

/* ---- code extension ---- */

#define G0_NONE G0_ASCII
static const struct {
    Str sequence;
    bool is_g1;
    TextG0 g0;
    CharacterSet set;
} escapes[] = {
#define ESCAPE_G0 false
#define ESCAPE_G1 true
#define ESCAPE(sequence, invoked_as, contents, charset)                                            \
    {STR_INIT(sequence), ESCAPE_##invoked_as, G0_##contents, CHARSET_##charset},
#include "lib/dicom/escapes.def"
#undef ESCAPE
};

/** What value 1 says (PS3.5 6.1.2.5.3). */
static void reset(TextDecoder *decoder)
{
    CharacterSet first = decoder->declaration.first;
    decoder->g0 = first == CHARSET_KATAKANA ? G0_ROMAN : G0_ASCII;
    decoder->g1 = high_readers[first] ? first : CHARSET_DEFAULT;
}

/** ASCII and JIS X 0201 Roman are where every writer of ISO-2022-JP returns to, declared or not. */
static bool is_allowed(const TextDeclaration *declaration, TextG0 g0, CharacterSet set)
{
    const uint32_t japanese = BIT(CHARSET_KATAKANA) | BIT(CHARSET_JIS_0208) | BIT(CHARSET_JIS_0212);
    bool is_return =
        set == CHARSET_DEFAULT || (g0 == G0_ROMAN && (declaration->declared & japanese) != 0);
    return declaration->has_extension && (is_return || (declaration->declared & BIT(set)));
}

/** @return length of the escape sequence at the start of the rest; 0: none that is known */
static size_t read_escape(TextDecoder *decoder)
{
    Str after = str_from_offset(decoder->rest, 1);
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
        if (!str_starts_with(after, escapes[i].sequence)) {
            continue;
        }
        if (!is_allowed(&decoder->declaration, escapes[i].g0, escapes[i].set)) {
            decoder->departed |= BIT(escapes[i].set);
        }
        if (escapes[i].is_g1) {
            decoder->g1 = escapes[i].set;
        } else {
            decoder->g0 = escapes[i].g0;
        }
        return 1 + escapes[i].sequence.len;
    }
    return 0;
}

/** Where value 1 has no bytes above 7F and no escape says what they are: the declared set that has
 * some. Writers of Korean leave the escape out after a delimiter, or everywhere. */
static CharacterSet implied_g1(TextDecoder *decoder)
{
    for (size_t set = 0; set < CHARSET_COUNT; set++) {
        if ((decoder->declaration.declared & BIT(set)) && high_readers[set]) {
            decoder->departed |= BIT(set);
            return (CharacterSet)set;
        }
    }
    return CHARSET_DEFAULT;
}

static Found read_high(TextDecoder *decoder)
{
    if (decoder->g1 == CHARSET_DEFAULT) {
        decoder->g1 = implied_g1(decoder);
    }
    ReadHigh *reader = high_readers[decoder->g1];
    return reader ? reader(decoder, decoder->rest) : unreadable;
}

static bool is_delimiter(const TextDecoder *decoder, uint8_t byte)
{
    return byte == '\r' || byte == '\n' || byte == '\f' || byte == '\t' ||
           (byte && strchr(decoder->delimiters, byte));
}

/** A byte of one-byte sets. */
static Found read_single(TextDecoder *decoder, uint8_t byte)
{
    if (is_delimiter(decoder, byte)) {
        reset(decoder);
        return (Found){1, byte, false};
    }
    if (byte < 0x20 || byte == 0x7f) {
        return unreadable;
    }
    bool is_roman = decoder->g0 == G0_ROMAN;
    uint32_t point = is_roman && byte == '\\' ? 0xa5U : is_roman && byte == '~' ? 0x203eU : byte;
    return (Found){1, point, false};
}

/** Two bytes of a set of 94 rows. A byte without a second one is a delimiter before which nobody
 * returned to value 1, or nothing. */
static Found read_pair(TextDecoder *decoder, const uint16_t *table)
{
    Str rest = decoder->rest;
    uint8_t first = byte_at(rest, 0);
    if (rest.len > 1 && byte_at(rest, 1) > 0x20 && byte_at(rest, 1) < 0x7f) {
        return (Found){2, jis_code_point(table, first, byte_at(rest, 1)), false};
    }
    if (is_delimiter(decoder, first)) {
        return read_single(decoder, first);
    }
    return rest.len == 1 ? cut(rest) : unreadable;
}

/** A byte below 80. */
static Found read_low(TextDecoder *decoder)
{
    uint8_t byte = byte_at(decoder->rest, 0);
    if (byte <= 0x20 || byte == 0x7f) {
        return read_single(decoder, byte);
    }
    switch (decoder->g0) {
    case G0_KATAKANA:
        return byte <= 0x5f ? (Found){1, 0xff61U - 0x21U + byte, false} : unreadable;
    case G0_JIS_0208:
        return read_pair(decoder, jis_x_0208_to_unicode);
    case G0_JIS_0212:
        return read_pair(decoder, jis_x_0212_to_unicode);
    case G0_ASCII:
    case G0_ROMAN:
        break;
    }
    return read_single(decoder, byte);
}

void text_decoder_start(TextDecoder *decoder, const TextDeclaration *declaration,
                        const char *delimiters, Str value)
{
    decoder->declaration = *declaration;
    decoder->delimiters = delimiters;
    decoder->rest = value;
    reset(decoder);
}

void text_decoder_done(TextDecoder *decoder)
{
    for (size_t i = 0; i < CHARSET_COUNT; i++) {
        ucnv_close(decoder->converters[i]);
    }
}

bool text_decoder_next(TextDecoder *decoder, TextChar *ret_char)
{
    size_t escape = 1;
    while (decoder->rest.len && byte_at(decoder->rest, 0) == ESCAPE_BYTE && escape) {
        escape = read_escape(decoder);
        decoder->rest = str_from_offset(decoder->rest, escape);
    }
    if (decoder->rest.len == 0) {
        return false;
    }
    bool is_high = byte_at(decoder->rest, 0) > 0x7f;
    Found found = is_high ? read_high(decoder) : read_low(decoder);
    *ret_char = (TextChar){
        .point = found.point,
        .bytes = str_slice(decoder->rest, 0, found.len),
        .set = is_high ? decoder->g1 : CHARSET_DEFAULT,
        .is_cut = found.is_cut,
        .is_high = is_high,
    };
    decoder->rest = str_from_offset(decoder->rest, found.len);
    return true;
}
