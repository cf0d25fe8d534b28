#pragma once

#include "pix/matching/match.h"

/** How two records agree, attribute by attribute: what a verdict is made of, and what its weights
 * are estimated from. */

typedef enum Attribute {
    FAMILY,
    GIVEN,
    BIRTH,
    ORDER,
    SEX,
    PHONE,
    RESIDENCE,
    ATTRIBUTE_COUNT,
} Attribute;

extern const char *const match_attributes[ATTRIBUTE_COUNT];

/** Rows of match_weights.def. */
typedef enum Level {
#define LEVEL(attribute, name, weight, ceiling, words) attribute##_##name,
#include "pix/matching/match_weights.def"
#undef LEVEL
    LEVEL_COUNT,
} Level;

typedef struct MatchLevel {
    Attribute attribute;
    Str name;
    double weight; /* bits */
    MatchVerdict ceiling;
    Str words;
} MatchLevel;

extern const MatchLevel match_levels[LEVEL_COUNT];

/** The level of each attribute. */
typedef struct Agreement {
    Level levels[ATTRIBUTE_COUNT];
} Agreement;

Agreement match_agreement(const MatchProfile *one, const MatchProfile *other);

/** The most that can come of it, whatever the weights sum to. */
MatchVerdict match_ceiling(const Agreement *agreement);
