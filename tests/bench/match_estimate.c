/* Estimates the weights of pix/matching/match_weights.def by EM: u from random pairs of records, m
 * and the share of true pairs from the pairs that blocking finds, without looking at who is who.
 * Prints the weights, and then, with the labels of the population, which patterns of agreement
 * score what. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "pix/matching/match_compare.h"

#include "tests/bench/population.h"
#include "tests/bench/random_numbers.h"

#define RANDOM_PAIRS 20000000
#define ROUNDS 100
#define LEVEL_BITS 3 /* of a pattern: levels of one attribute */
#define PATTERN_COUNT (1U << (LEVEL_BITS * ATTRIBUTE_COUNT))
#define FLOOR 1e-6

/** Pairs that agree in one way. */
typedef struct Pattern {
    uint32_t all;
    uint32_t true_pairs;
} Pattern;

typedef struct Key {
    int64_t key;
    uint32_t record;
} Key;

typedef struct Estimate {
    const Population *population;
    const MatchProfile **profiles;
    size_t first[ATTRIBUTE_COUNT]; /* first level of each attribute */
    Pattern *patterns;
    double m[LEVEL_COUNT];
    double u[LEVEL_COUNT];
    double share; /* of true pairs among the candidates */
} Estimate;

static uint32_t pattern_of(const Estimate *estimate, const Agreement *agreement)
{
    uint32_t pattern = 0;
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        pattern |= (uint32_t)(agreement->levels[i] - estimate->first[i]) << (LEVEL_BITS * i);
    }
    return pattern;
}

static Agreement agreement_of(const Estimate *estimate, uint32_t pattern)
{
    Agreement agreement;
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        agreement.levels[i] =
            (Level)(estimate->first[i] + (pattern >> (LEVEL_BITS * i) & ((1U << LEVEL_BITS) - 1)));
    }
    return agreement;
}

static bool is_missing(size_t level)
{
    return str_equal(match_levels[level].name, STR("MISSING"));
}

/** Shares of each attribute's levels that are not missing. */
static void normalize(const double *counts, double *ret_shares)
{
    double sums[ATTRIBUTE_COUNT] = {0};
    for (size_t i = 0; i < LEVEL_COUNT; i++) {
        sums[match_levels[i].attribute] += is_missing(i) ? 0 : counts[i];
    }
    for (size_t i = 0; i < LEVEL_COUNT; i++) {
        double sum = sums[match_levels[i].attribute];
        ret_shares[i] = is_missing(i) || sum <= 0 ? 1.0 : fmax(counts[i] / sum, FLOOR);
    }
}

static void count_random_pairs(Estimate *estimate)
{
    double counts[LEVEL_COUNT] = {0};
    Rng rng = {99};
    for (size_t i = 0; i < RANDOM_PAIRS; i++) {
        size_t one = rng_below(&rng, estimate->population->record_count);
        size_t other = rng_below(&rng, estimate->population->record_count);
        if (one != other) {
            Agreement agreement =
                match_agreement(estimate->profiles[one], estimate->profiles[other]);
            for (size_t k = 0; k < ATTRIBUTE_COUNT; k++) {
                counts[agreement.levels[k]]++;
            }
        }
    }
    normalize(counts, estimate->u);
}

static int compare_keys(const void *a, const void *b)
{
    const Key *one = a;
    const Key *other = b;
    if (one->key != other->key) {
        return one->key > other->key ? 1 : -1;
    }
    return (one->record > other->record) - (one->record < other->record);
}

/** Whether this is the lowest key that two records have in common: each pair is counted once. */
static bool is_first_key(const int64_t *one, size_t one_count, const int64_t *other,
                         size_t other_count, int64_t key)
{
    size_t k = 0;
    for (size_t i = 0; i < one_count && one[i] < key; i++) {
        while (k < other_count && other[k] < one[i]) {
            k++;
        }
        if (k < other_count && other[k] == one[i]) {
            return false;
        }
    }
    return true;
}

static void count_candidates(Estimate *estimate, Arena *arena)
{
    static const MatchConfig config = {.rule = MATCH_RULE_WEIGHTED};
    size_t count = estimate->population->record_count;
    Key *keys = ARENA_ARRAY(arena, Key, count * MATCH_KEYS_MAX);
    int64_t(*own)[MATCH_KEYS_MAX] = arena_calloc(arena, count, sizeof(*own));
    size_t *own_counts = ARENA_ARRAY(arena, size_t, count);
    size_t key_count = 0;
    for (size_t i = 0; i < count; i++) {
        own_counts[i] = match_profile_keys(&config, estimate->profiles[i], own[i]);
        for (size_t k = 0; k < own_counts[i]; k++) {
            keys[key_count++] = (Key){own[i][k], (uint32_t)i};
        }
    }
    qsort(keys, key_count, sizeof(*keys), compare_keys);
    for (size_t i = 0; i < key_count; i++) {
        for (size_t j = i + 1; j < key_count && keys[j].key == keys[i].key; j++) {
            uint32_t one = keys[i].record;
            uint32_t other = keys[j].record;
            if (!is_first_key(own[one], own_counts[one], own[other], own_counts[other],
                              keys[i].key)) {
                continue;
            }
            Agreement agreement =
                match_agreement(estimate->profiles[one], estimate->profiles[other]);
            Pattern *pattern = &estimate->patterns[pattern_of(estimate, &agreement)];
            const PatientRecord *records = estimate->population->records;
            pattern->all++;
            pattern->true_pairs += records[one].person == records[other].person;
        }
    }
}

/** Pairs that can never be one patient count as none of them. */
static double posterior(const Estimate *estimate, const Agreement *agreement)
{
    double m = estimate->share;
    double u = 1 - estimate->share;
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        m *= estimate->m[agreement->levels[i]];
        u *= estimate->u[agreement->levels[i]];
    }
    return match_ceiling(agreement) == MATCH_DIFFERENT ? 0 : m / (m + u);
}

static void maximize(Estimate *estimate)
{
    double counts[LEVEL_COUNT] = {0};
    double all = 0;
    double expected = 0;
    for (uint32_t i = 0; i < PATTERN_COUNT; i++) {
        if (estimate->patterns[i].all == 0) {
            continue;
        }
        Agreement agreement = agreement_of(estimate, i);
        double weight = posterior(estimate, &agreement) * estimate->patterns[i].all;
        all += estimate->patterns[i].all;
        expected += weight;
        for (size_t k = 0; k < ATTRIBUTE_COUNT; k++) {
            counts[agreement.levels[k]] += weight;
        }
    }
    estimate->share = fmin(fmax(expected / all, FLOOR), 1 - FLOOR);
    normalize(counts, estimate->m);
}

static double weight_of(const Estimate *estimate, size_t level)
{
    return is_missing(level) ? 0 : log2(estimate->m[level] / estimate->u[level]);
}

static void print_weights(const Estimate *estimate)
{
    printf("share of true pairs %.4f\n", estimate->share);
    for (size_t i = 0; i < LEVEL_COUNT; i++) {
        printf("%-10s %-14s m %.6f  u %.8f  weight %6.1f\n",
               match_attributes[match_levels[i].attribute], match_levels[i].name.data,
               estimate->m[i], estimate->u[i], weight_of(estimate, i));
    }
}

static void print_patterns(const Estimate *estimate)
{
    for (uint32_t i = 0; i < PATTERN_COUNT; i++) {
        const Pattern *pattern = &estimate->patterns[i];
        if (pattern->all == 0) {
            continue;
        }
        Agreement agreement = agreement_of(estimate, i);
        double score = 0;
        for (size_t k = 0; k < ATTRIBUTE_COUNT; k++) {
            score += weight_of(estimate, agreement.levels[k]);
        }
        printf("%6.1f %d %7u true %7u false ", score, (int)match_ceiling(&agreement),
               pattern->true_pairs, pattern->all - pattern->true_pairs);
        for (size_t k = 0; k < ATTRIBUTE_COUNT; k++) {
            printf(" %s=%s", match_attributes[k], match_levels[agreement.levels[k]].name.data);
        }
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: match_estimate NAMES_CSV PERSONS SEED\n");
        return 2;
    }
    Arena *arena = arena_new();
    const Names *names = names_read(arena, argv[1]);
    if (!names) {
        fprintf(stderr, "%s: no names\n", argv[1]);
        return 3;
    }
    Estimate estimate = {.share = 0.5};
    estimate.population =
        population_new(arena, names, strtoul(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    estimate.patterns = ARENA_ARRAY(arena, Pattern, PATTERN_COUNT);
    size_t count = estimate.population->record_count;
    estimate.profiles = ARENA_ARRAY(arena, const MatchProfile *, count);
    for (size_t i = 0; i < count; i++) {
        estimate.profiles[i] =
            match_profile_new(arena, &estimate.population->records[i].demographics);
    }
    for (size_t i = LEVEL_COUNT; i > 0; i--) {
        estimate.first[match_levels[i - 1].attribute] = i - 1;
    }
    count_random_pairs(&estimate);
    count_candidates(&estimate, arena);
    for (size_t i = 0; i < LEVEL_COUNT; i++) { /* a start in the right direction */
        estimate.m[i] = is_missing(i) ? 1 : match_levels[i].ceiling == MATCH_SAME ? 0.2 : 0.02;
    }
    for (int round = 0; round < ROUNDS; round++) {
        maximize(&estimate);
    }
    print_weights(&estimate);
    print_patterns(&estimate);
    arena_free(arena);
    return 0;
}
