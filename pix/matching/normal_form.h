#pragma once

#include "lib/base/str.h"

/**
 * Texts as search and matching compare them (ICU): two writings of one thing have one normal form.
 * Results are in the arena; empty in, empty out.
 */

/** A name or an address part: NFKC, lower case, hiragana as katakana, old and variant kanji as new
 * ones (kanji_forms.def), small kana as large, Latin letters without diacritics, 々 as what it
 * repeats; without spaces, punctuation and long vowel marks. */
Str normal_text(Arena *arena, Str text);
/** As normal_text(), but '*' and '?' stay: a pattern. */
Str normal_pattern(Arena *arena, Str pattern);
/** Digits alone; the country code 81 becomes a leading 0. */
Str normal_phone(Arena *arena, Str phone);
/** Letters and digits alone. */
Str normal_postal_code(Arena *arena, Str postal_code);
