#include "pix/matching/match_compare.h"

#include "pix/matching/match_profile.h"
#include "pix/matching/match_text.h"

/** Built-in thresholds, in bits, of the default rule. */
#define LINK_THRESHOLD 30.0
#define REVIEW_THRESHOLD 18.0

/** The longer of two names, or places, of which one character may differ. */
#define NAME_NEAR_CHARS 3
#define PLACE_NEAR_CHARS 4
#define PHONE_NEAR_DIGITS 9

const char *const match_attributes[ATTRIBUTE_COUNT] = {
    "family", "given", "birth", "order", "sex", "phone", "residence",
};

const MatchLevel match_levels[LEVEL_COUNT] = {
#define LEVEL(attribute, name, weight, ceiling, words)                                             \
    {attribute, STR_INIT(#name), weight, ceiling, STR_INIT(words)},
#include "pix/matching/match_weights.def"
#undef LEVEL
};

static Str field(const MatchProfile *profile, size_t index)
{
    return profile->fields[index];
}

/* ---- names ---- */

/** Levels of a family name; those of a given name stand in the same order. */
static const Level family_levels[4][4] = {
    /* reading:       unknown        same                  near                 different */
    [TEXT_UNKNOWN] = {FAMILY_MISSING, FAMILY_READING, FAMILY_NEAR, FAMILY_DIFFERENT},
    [TEXT_SAME] = {FAMILY_KANJI, FAMILY_SAME, FAMILY_KANJI_ALONE, FAMILY_KANJI_ALONE},
    [TEXT_NEAR] = {FAMILY_NEAR, FAMILY_READING_ALONE, FAMILY_NEAR, FAMILY_DIFFERENT},
    [TEXT_DIFFERENT] = {FAMILY_DIFFERENT, FAMILY_READING_ALONE, FAMILY_DIFFERENT, FAMILY_DIFFERENT},
};

static TextAgreement compare_names(const MatchProfile *one, size_t part, const MatchProfile *other,
                                   size_t other_part, ProfileField script)
{
    return text_compare(field(one, script + part), field(other, script + other_part),
                        NAME_NEAR_CHARS);
}

/** Whether two kanji names of one reading contradict it: one that is the other with a character
 * more is read longer. Twins are named so. */
static bool is_contained(Str one, Str other)
{
    return str_starts_with(one, other) || str_starts_with(other, one) ||
           str_ends_with(one, other) || str_ends_with(other, one);
}

/** Part 0 is the family name, 1 the given; as a level of the family name. */
static Level name_level(const MatchProfile *one, size_t part, const MatchProfile *other,
                        size_t other_part)
{
    TextAgreement kanji = compare_names(one, part, other, other_part, PROFILE_KANJI);
    TextAgreement reading = compare_names(one, part, other, other_part, PROFILE_KANA);
    if (reading == TEXT_UNKNOWN) {
        reading = compare_names(one, part, other, other_part, PROFILE_LATIN);
    }
    Level level = family_levels[kanji][reading];
    if (level == FAMILY_READING_ALONE &&
        is_contained(field(one, PROFILE_KANJI + part), field(other, PROFILE_KANJI + other_part))) {
        return FAMILY_NEAR;
    }
    return level;
}

static bool is_same_name(Level family_level)
{
    return family_level <= FAMILY_READING_ALONE;
}

/** As written; or with family and given name exchanged, if then both are the same. */
static void add_names(Agreement *agreement, const MatchProfile *one, const MatchProfile *other)
{
    Level family = name_level(one, 0, other, 0);
    Level given = name_level(one, 1, other, 1);
    if (!is_same_name(family) && !is_same_name(given)) {
        Level family_as_given = name_level(one, 0, other, 1);
        Level given_as_family = name_level(one, 1, other, 0);
        if (is_same_name(family_as_given) && is_same_name(given_as_family)) {
            family = family_as_given;
            given = given_as_family;
        }
    }
    agreement->levels[FAMILY] = family;
    agreement->levels[GIVEN] = given - FAMILY_SAME + GIVEN_SAME;
}

/* ---- the other attributes ---- */

static Level birth_level(Str one, Str other)
{
    switch (text_compare(one, other, 8)) {
    case TEXT_UNKNOWN:
        return BIRTH_MISSING;
    case TEXT_SAME:
        return one.len == 8 ? BIRTH_SAME : BIRTH_PARTIAL;
    case TEXT_NEAR:
        return one.len == other.len ? BIRTH_NEAR : BIRTH_DIFFERENT;
    case TEXT_DIFFERENT:
        break;
    }
    bool is_part = str_starts_with(one, other) || str_starts_with(other, one);
    /* month and day exchanged */
    bool is_exchanged = one.len == 8 && other.len == 8 &&
                        str_equal(str_slice(one, 0, 4), str_slice(other, 0, 4)) &&
                        str_equal(str_slice(one, 4, 2), str_slice(other, 6, 2)) &&
                        str_equal(str_slice(one, 6, 2), str_slice(other, 4, 2));
    if (is_part) {
        return BIRTH_PARTIAL;
    }
    return is_exchanged ? BIRTH_NEAR : BIRTH_DIFFERENT;
}

static Level phone_level(const MatchProfile *one, const MatchProfile *other)
{
    Level best = PHONE_MISSING;
    for (size_t i = 0; i < MATCH_PHONES_MAX * MATCH_PHONES_MAX; i++) {
        Str a = field(one, PROFILE_PHONE + i / MATCH_PHONES_MAX);
        Str b = field(other, PROFILE_PHONE + i % MATCH_PHONES_MAX);
        TextAgreement agreement = text_compare(a, b, PHONE_NEAR_DIGITS);
        if (agreement == TEXT_SAME) {
            return PHONE_SAME;
        }
        if (agreement == TEXT_NEAR && a.len == b.len) {
            best = PHONE_NEAR;
        } else if (agreement != TEXT_UNKNOWN && best == PHONE_MISSING) {
            best = PHONE_DIFFERENT;
        }
    }
    return best;
}

/** The numbers may lack the last ones. */
static bool is_same_numbers(Str one, Str other)
{
    Str shorter = one.len < other.len ? one : other;
    Str longer = one.len < other.len ? other : one;
    return str_equal(one, other) ||
           (str_find_char(shorter, '-') != SIZE_MAX && str_starts_with(longer, shorter) &&
            longer.data[shorter.len] == '-');
}

/** Three numbers each, of which one differs. */
static bool is_near_numbers(Str one, Str other)
{
    size_t count = 0;
    size_t different = 0;
    while (one.data && other.data) {
        Str a;
        Str b;
        if (!str_split_next(&one, '-', &a) || !str_split_next(&other, '-', &b)) {
            return false;
        }
        count++;
        different += !str_equal(a, b);
    }
    return !one.data && !other.data && count == 3 && different == 1;
}

/** Prefecture and municipality may be left out in front. */
static bool is_same_place(Str one, Str other)
{
    if (str_is_empty(one) || str_is_empty(other)) {
        return false;
    }
    TextAgreement agreement = text_compare(one, other, PLACE_NEAR_CHARS);
    return agreement != TEXT_DIFFERENT || str_ends_with(one, other) || str_ends_with(other, one);
}

static Level residence_level(const MatchProfile *one, const MatchProfile *other)
{
    TextAgreement code =
        text_compare(field(one, PROFILE_POSTAL_CODE), field(other, PROFILE_POSTAL_CODE), SIZE_MAX);
    Str numbers = field(one, PROFILE_NUMBERS);
    Str other_numbers = field(other, PROFILE_NUMBERS);
    if (str_is_empty(numbers) || str_is_empty(other_numbers)) {
        if (code == TEXT_SAME) {
            return RESIDENCE_POSTAL_CODE;
        }
        return code == TEXT_DIFFERENT ? RESIDENCE_DIFFERENT : RESIDENCE_MISSING;
    }
    bool is_street = is_same_numbers(numbers, other_numbers) &&
                     (code == TEXT_SAME ||
                      is_same_place(field(one, PROFILE_PLACE), field(other, PROFILE_PLACE)));
    if (is_street) {
        return code == TEXT_DIFFERENT ? RESIDENCE_STREET : RESIDENCE_SAME;
    }
    if (code == TEXT_SAME) {
        return is_near_numbers(numbers, other_numbers) ? RESIDENCE_NEAR : RESIDENCE_NEIGHBOURHOOD;
    }
    return RESIDENCE_DIFFERENT;
}

/** A level of three: same, different, missing. */
static Level equal_level(Str one, Str other, Level same)
{
    if (str_is_empty(one) || str_is_empty(other)) {
        return same + 2;
    }
    return str_equal(one, other) ? same : same + 1;
}

Agreement match_agreement(const MatchProfile *one, const MatchProfile *other)
{
    Agreement agreement;
    add_names(&agreement, one, other);
    agreement.levels[BIRTH] =
        birth_level(field(one, PROFILE_BIRTH_DATE), field(other, PROFILE_BIRTH_DATE));
    agreement.levels[ORDER] =
        equal_level(field(one, PROFILE_BIRTH_ORDER), field(other, PROFILE_BIRTH_ORDER), ORDER_SAME);
    agreement.levels[SEX] =
        equal_level(field(one, PROFILE_SEX), field(other, PROFILE_SEX), SEX_SAME);
    agreement.levels[PHONE] = phone_level(one, other);
    agreement.levels[RESIDENCE] = residence_level(one, other);
    return agreement;
}

/* ---- verdict ---- */

MatchVerdict match_ceiling(const Agreement *agreement)
{
    MatchVerdict ceiling = MAX(match_levels[agreement->levels[PHONE]].ceiling,
                               match_levels[agreement->levels[RESIDENCE]].ceiling);
    for (size_t i = 0; i < PHONE; i++) {
        ceiling = MIN(ceiling, match_levels[agreement->levels[i]].ceiling);
    }
    return ceiling;
}

static MatchVerdict weighted_verdict(const MatchConfig *config, const Agreement *agreement,
                                     double score)
{
    double link = config->link_threshold > 0 ? config->link_threshold : LINK_THRESHOLD;
    double review = config->review_threshold > 0 ? config->review_threshold : REVIEW_THRESHOLD;
    MatchVerdict verdict = MATCH_DIFFERENT;
    if (score >= link) {
        verdict = MATCH_SAME;
    } else if (score >= review) {
        verdict = MATCH_REVIEW;
    }
    return MIN(verdict, match_ceiling(agreement));
}

/** Equal family and given name in one script, birth date and sex. */
static MatchVerdict strict_verdict(const Agreement *agreement)
{
    bool is_same = is_same_name(agreement->levels[FAMILY]) &&
                   agreement->levels[GIVEN] <= GIVEN_READING_ALONE &&
                   agreement->levels[BIRTH] == BIRTH_SAME && agreement->levels[SEX] == SEX_SAME;
    return is_same ? MATCH_SAME : MATCH_DIFFERENT;
}

static Str write_evidence(Arena *arena, const Agreement *agreement)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (agreement->levels[i] != ORDER_MISSING) {
            strbuf_printf(&buf, "%s%s=%.*s", buf.len > 0 ? " " : "", match_attributes[i],
                          STR_ARG(str_lower(arena, match_levels[agreement->levels[i]].name)));
        }
    }
    return str_dup(arena, strbuf_str(&buf));
}

Match match_compare(const MatchConfig *config, Arena *arena, const MatchProfile *one,
                    const MatchProfile *other)
{
    Agreement agreement = match_agreement(one, other);
    Match match = {.evidence = STR_EMPTY};
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        match.score += match_levels[agreement.levels[i]].weight;
    }
    match.verdict = config->rule == MATCH_RULE_NAME_BIRTHDATE_SEX
                        ? strict_verdict(&agreement)
                        : weighted_verdict(config, &agreement, match.score);
    if (match.verdict != MATCH_DIFFERENT) {
        match.evidence = write_evidence(arena, &agreement);
    }
    return match;
}

/* ---- evidence in words ---- */

/** The level that "family=same" names; LEVEL_COUNT if none does. */
static size_t find_level(Str item)
{
    Str attribute;
    Str rest = item;
    if (!str_split_next(&rest, '=', &attribute)) {
        return LEVEL_COUNT;
    }
    size_t i = 0;
    while (i < LEVEL_COUNT &&
           !(str_equal(attribute, str_from(match_attributes[match_levels[i].attribute])) &&
             str_equal_ci(rest, match_levels[i].name))) {
        i++;
    }
    return i;
}

Str match_explain(Arena *arena, Str evidence)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    Str rest = evidence;
    Str item;
    while (str_split_next(&rest, ' ', &item)) {
        size_t level = find_level(item);
        if (level < LEVEL_COUNT && !str_is_empty(match_levels[level].words)) {
            strbuf_printf(&buf, "%s%.*s", buf.len > 0 ? "; " : "",
                          STR_ARG(match_levels[level].words));
        }
    }
    return str_dup(arena, strbuf_str(&buf));
}
