#pragma once

#include "pix/matching/match.h"

/** What the files of matching share: the parts of a profile, and texts that are compared. */

#define MATCH_PHONES_MAX 3

/** The texts of a profile; a name is its family part and the given part that follows. */
typedef enum ProfileField {
    PROFILE_KANJI, /* a name with at least one ideograph */
    PROFILE_KANJI_GIVEN,
    PROFILE_KANA, /* a name in kana alone */
    PROFILE_KANA_GIVEN,
    PROFILE_LATIN, /* reading_of_kana() of the kana, else reading_of_romaji() */
    PROFILE_LATIN_GIVEN,
    PROFILE_BIRTH_DATE,  /* YYYY, YYYYMM, YYYYMMDD */
    PROFILE_BIRTH_ORDER, /* PID-25: which of a multiple birth */
    PROFILE_SEX,         /* M or F */
    PROFILE_POSTAL_CODE,
    PROFILE_PLACE,   /* of the address, what is before the first number */
    PROFILE_NUMBERS, /* the numbers that follow, at most three: 1-2-3 */
    PROFILE_PHONE,   /* and MATCH_PHONES_MAX - 1 more */
    PROFILE_FIELD_COUNT = PROFILE_PHONE + MATCH_PHONES_MAX,
} ProfileField;

/** A text that is empty is not known. */
struct MatchProfile {
    Str fields[PROFILE_FIELD_COUNT];
};

/** A name as spelt in one way, whichever way it was written (kana_latin.def, romaji.def), long
 * vowels as short ones. Both take a normal form; in the arena. */
Str reading_of_kana(Arena *arena, Str kana);
Str reading_of_romaji(Arena *arena, Str romaji);

/** An address as place and numbers. */
typedef struct Residence {
    Str place;
    Str numbers;
} Residence;

Residence match_residence(Arena *arena, Str address);
