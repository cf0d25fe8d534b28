#pragma once

#include "lib/hl7/demographics.h"

/**
 * Whether two records are of one patient (Fellegi-Sunter). Pure: a verdict depends on the two
 * records and the configuration alone, never on what else is known or in which order it came, so
 * that the same feeds in any order give the same persons.
 */

typedef enum MatchRule {
    MATCH_RULE_WEIGHTED,           /* the default, for Japan */
    MATCH_RULE_NAME_BIRTHDATE_SEX, /* equal family and given name, birth date and sex */
} MatchRule;

typedef struct MatchConfig {
    MatchRule rule;
    double link_threshold;   /* at or above: the same patient; 0: the built-in one */
    double review_threshold; /* at or above: a person decides; 0: the built-in one */
} MatchConfig;

#define MATCH_KEYS_MAX 12

/** Normal forms of one record: what is compared. In an arena. */
typedef struct MatchProfile MatchProfile;

const MatchProfile *match_profile_new(Arena *arena, const Demographics *demographics);

/** As a text column (patient_demographics.match_profile), and back; a text of another version of
 * this format, or a damaged one, gives NULL. */
Str match_profile_write(Arena *arena, const MatchProfile *profile);
const MatchProfile *match_profile_read(Arena *arena, Str text);

/** Blocking: two records that can match have a key in common. Sorted, each once.
 * @return how many, at most MATCH_KEYS_MAX; 0: too little is known to match by */
size_t match_profile_keys(const MatchConfig *config, const MatchProfile *profile,
                          int64_t ret_keys[MATCH_KEYS_MAX]);

typedef enum MatchVerdict { MATCH_DIFFERENT, MATCH_REVIEW, MATCH_SAME } MatchVerdict;

typedef struct Match {
    MatchVerdict verdict;
    double score;
    Str evidence; /* "kana=same kanji=variant birth=same ...": attributes and levels of agreement,
                     never values; in the arena */
} Match;

Match match_compare(const MatchConfig *config, Arena *arena, const MatchProfile *one,
                    const MatchProfile *other);

/** evidence in words for an operator: "same kana name; kanji differ in old and new forms; ..." */
Str match_explain(Arena *arena, Str evidence);
