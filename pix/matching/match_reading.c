#include "pix/matching/match_profile.h"
#include "pix/matching/match_text.h"

static Str kana_letters(int32_t c)
{
    switch (c) {
#define KANA(kana, letters)                                                                        \
    case kana:                                                                                     \
        return STR(letters);
#include "pix/matching/kana_latin.def"
#undef KANA
    default:
        return STR_EMPTY;
    }
}

static const struct {
    Str written;
    Str letters;
} spellings[] = {
#define ROMAJI(written, letters) {STR_INIT(written), STR_INIT(letters)},
#include "pix/matching/romaji.def"
#undef ROMAJI
};

static char at(Str s, size_t i)
{
    return i < s.len ? s.data[i] : (char)0;
}

static bool is_vowel(char c)
{
    return c == 'a' || c == 'i' || c == 'u' || c == 'e' || c == 'o';
}

/** ou, oo, oh and uu are long vowels, which romaji does not show; iy is how a system without small
 * kana leads to it (キヨウ for キョウ). */
static Str shorten(Str letters, char *to)
{
    size_t len = 0;
    for (size_t i = 0; i < letters.len; i++) {
        char before = len ? to[len - 1] : (char)0;
        char c = letters.data[i];
        bool is_long = (before == 'o' &&
                        (c == 'o' || c == 'u' || (c == 'h' && !is_vowel(at(letters, i + 1))))) ||
                       (before == 'u' && c == 'u');
        if (is_long) {
            continue;
        }
        if (c == 'y' && before == 'i') {
            len--;
        }
        to[len++] = c;
    }
    return (Str){to, len};
}

Str reading_of_kana(Arena *arena, Str kana)
{
    char *letters = arena_alloc(arena, kana.len); /* a kana has three octets, and two letters */
    size_t len = 0;
    Str rest = kana;
    while (rest.len > 0) {
        Str more = kana_letters(text_next_char(&rest));
        memcpy(letters + len, more.data, more.len);
        len += more.len;
    }
    return shorten((Str){letters, len}, letters);
}

/** How many letters of romaji the next row takes; *ret_letters is what they stand for. */
static size_t next_spelling(Str romaji, Str *ret_letters)
{
    char c = romaji.data[0];
    bool is_doubled = !is_vowel(c) && c != 'n' && c != 'm' && c == at(romaji, 1);
    if (is_doubled || str_starts_with(romaji, STR("tch"))) {
        *ret_letters = STR("tu"); /* ッ, which is folded to ツ */
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
        if (str_starts_with(romaji, spellings[i].written)) {
            *ret_letters = spellings[i].letters;
            return spellings[i].written.len;
        }
    }
    *ret_letters = str_slice(romaji, 0, 1);
    return 1;
}

Str reading_of_romaji(Arena *arena, Str romaji)
{
    char *letters = arena_alloc(arena, 2 * romaji.len);
    size_t len = 0;
    Str rest = romaji;
    while (rest.len > 0) {
        Str more;
        rest = str_from_offset(rest, next_spelling(rest, &more));
        memcpy(letters + len, more.data, more.len);
        len += more.len;
    }
    return shorten((Str){letters, len}, letters);
}
