#include "pix/matching/normal_form.h"

#include <assert.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>

/** More of a text than this is not compared. */
#define TEXT_MAX_BYTES 32768

/** What is compared: letters, digits, marks, and signs that stand for a character that a system
 * could not write. Spaces, punctuation, mathematical signs (minus, equals) and controls are not. */
#define COMPARED_MASK (U_GC_L_MASK | U_GC_N_MASK | U_GC_M_MASK | U_GC_SO_MASK)

#define VOICED_MARK 0x3099

/** The folded text under construction. */
typedef struct Folded {
    uint8_t *utf8;
    size_t len;
    size_t last;    /* where the last character begins */
    UChar32 before; /* the last character; 0 if there is none that could be repeated or voiced */
} Folded;

/* As long as its table. NOLINTNEXTLINE(readability-function-size) */
static UChar32 common_form(UChar32 c)
{
    switch (c) {
#define FORM(variant, common)                                                                      \
    case variant:                                                                                  \
        return common;
#include "pix/matching/kanji_forms.def"
#undef FORM
    default:
        return c;
    }
}

static UChar32 as_katakana(UChar32 c)
{
    bool is_hiragana = (c >= 0x3041 && c <= 0x3096) || c == 0x309D || c == 0x309E;
    return is_hiragana ? c + 0x60 : c;
}

/** A Latin letter without its diacritics (Ō, é). */
static UChar32 without_marks(UChar32 c)
{
    bool is_latin = (c >= 0xC0 && c < 0x250) || (c >= 0x1E00 && c < 0x1F00);
    if (!is_latin) {
        return c;
    }
    UErrorCode status = U_ZERO_ERROR;
    UChar parts[8];
    int32_t count = unorm2_getDecomposition(unorm2_getNFKCCasefoldInstance(&status), c, parts,
                                            (int32_t)ARRAY_LEN(parts), &status);
    return U_SUCCESS(status) && count > 0 && parts[0] < 0x80 ? parts[0] : c;
}

/** カ with its mark, as one character; negative if there is none. */
static UChar32 composed(UChar32 before, UChar32 mark)
{
    UErrorCode status = U_ZERO_ERROR;
    const UNormalizer2 *form = unorm2_getNFKCCasefoldInstance(&status);
    return before ? unorm2_composePair(form, before, mark) : U_SENTINEL;
}

static void append(Folded *folded, UChar32 c)
{
    folded->last = folded->len;
    folded->before = c;
    uint32_t code = (uint32_t)c;
    U8_APPEND_UNSAFE(folded->utf8, folded->len, code);
}

/** Iteration marks: 々 and ヽ repeat what is before them, ヾ voices it; a mark that stands alone is
 * kept. */
static void append_repeated(Folded *folded, UChar32 mark)
{
    UChar32 voiced = mark == U'ヾ' ? composed(folded->before, VOICED_MARK) : U_SENTINEL;
    UChar32 repeated = voiced >= 0 ? voiced : folded->before;
    append(folded, repeated ? repeated : mark);
}

static void fold_other(Folded *folded, UChar32 c, bool is_pattern)
{
    UChar32 folded_char = common_form(as_katakana(without_marks(c)));
    UChar32 voiced;
    switch (folded_char) {
    case U'々':
    case U'〻':
    case U'ヽ':
    case U'ヾ':
        append_repeated(folded, folded_char);
        return;
    case U'ー': /* long vowel mark: written as a hyphen as often */
        return;
    case VOICED_MARK:
    case 0x309A: /* semi-voiced */
        voiced = composed(folded->before, folded_char);
        if (voiced >= 0) {
            folded->len = folded->last;
        }
        append(folded, voiced >= 0 ? voiced : folded_char);
        return;
    default:
        break;
    }
    if (is_pattern && (folded_char == '*' || folded_char == '?')) {
        append(folded, folded_char);
        folded->before = 0;
    } else if ((U_MASK(u_charType(folded_char)) & COMPARED_MASK) &&
               !(folded_char >= 0x300 && folded_char < 0x370)) {
        append(folded, folded_char);
    }
}

static bool is_ascii(Str text)
{
    unsigned char all = 0;
    for (size_t i = 0; i < text.len; i++) {
        all |= (unsigned char)text.data[i];
    }
    return all < 0x80;
}

static Str fold_ascii(Arena *arena, Str text, bool is_pattern)
{
    char *to = arena_alloc(arena, text.len);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c >= 'A' && c <= 'Z') {
            to[len++] = (char)(c + ('a' - 'A'));
        } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                   (is_pattern && (c == '*' || c == '?'))) {
            to[len++] = c;
        }
    }
    return (Str){to, len};
}

/** NFKC with case folded, and without what is invisible (variation selectors among it). */
static const UChar *compatible(Arena *arena, const UChar *text, int32_t len, int32_t *ret_len)
{
    UErrorCode status = U_ZERO_ERROR;
    const UNormalizer2 *form = unorm2_getNFKCCasefoldInstance(&status);
    assert(U_SUCCESS(status));
    if (unorm2_spanQuickCheckYes(form, text, len, &status) == len) {
        *ret_len = len;
        return text;
    }
    for (int32_t size = 2 * len + 16;;) {
        UChar *to = ARENA_ARRAY(arena, UChar, (size_t)size);
        status = U_ZERO_ERROR;
        *ret_len = unorm2_normalize(form, text, len, to, size, &status);
        if (status != U_BUFFER_OVERFLOW_ERROR) {
            assert(U_SUCCESS(status));
            return to;
        }
        size = *ret_len + 1;
    }
}

/** The characters of compatible(), of a text that is not empty. */
static const UChar32 *compatible_characters(Arena *arena, Str text, int32_t *ret_count)
{
    int32_t size = (int32_t)text.len + 1;
    UChar *units = ARENA_ARRAY(arena, UChar, (size_t)size);
    int32_t len = 0;
    UErrorCode status = U_ZERO_ERROR;
    u_strFromUTF8WithSub(units, size, &len, text.data, (int32_t)text.len, 0xFFFD, NULL, &status);
    const UChar *folded = compatible(arena, units, len, &len);
    UChar32 *characters = ARENA_ARRAY(arena, UChar32, (size_t)len + 1);
    u_strToUTF32(characters, len + 1, ret_count, folded, len, &status);
    assert(U_SUCCESS(status));
    return characters;
}

static Str fold(Arena *arena, Str text, bool is_pattern)
{
    text = str_slice(text, 0, TEXT_MAX_BYTES);
    if (text.len == 0) {
        return STR_EMPTY;
    }
    if (is_ascii(text)) {
        return fold_ascii(arena, text, is_pattern);
    }
    int32_t count = 0;
    const UChar32 *characters = compatible_characters(arena, text, &count);
    Folded folded = {.utf8 = arena_alloc(arena, U8_MAX_LENGTH * (size_t)count)};
    for (int32_t i = 0; i < count; i++) {
        fold_other(&folded, characters[i], is_pattern);
    }
    return (Str){(const char *)folded.utf8, folded.len};
}

Str normal_text(Arena *arena, Str text)
{
    return fold(arena, text, false);
}

Str normal_pattern(Arena *arena, Str pattern)
{
    return fold(arena, pattern, true);
}

/** Letters and digits of ASCII out of a normal form. */
static Str keep_ascii(Arena *arena, Str text, bool with_letters)
{
    Str folded = normal_text(arena, text);
    char *to = arena_alloc(arena, folded.len);
    size_t len = 0;
    for (size_t i = 0; i < folded.len; i++) {
        char c = folded.data[i];
        if ((c >= '0' && c <= '9') || (with_letters && c >= 'a' && c <= 'z')) {
            to[len++] = c;
        }
    }
    return (Str){to, len};
}

/** A number of Japan has 10 or 11 digits with its leading 0: the country code is in place of the 0,
 * or, wrongly, before it (+81 (0)90). */
Str normal_phone(Arena *arena, Str phone)
{
    Str digits = keep_ascii(arena, phone, false);
    if (!str_starts_with(digits, STR("81")) || digits.len < 11 || digits.len > 13) {
        return digits;
    }
    Str national = str_from_offset(digits, str_starts_with(digits, STR("810")) ? 3 : 2);
    return str_printf(arena, "0%.*s", STR_ARG(national));
}

Str normal_postal_code(Arena *arena, Str postal_code)
{
    return keep_ascii(arena, postal_code, true);
}
