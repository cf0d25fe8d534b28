#pragma once

#include <stddef.h>
#include <stdint.h>

/** Numbers that are the same on every machine (SplitMix64). */
typedef struct Rng {
    uint64_t state;
} Rng;

static inline uint64_t rng_next(Rng *rng)
{
    uint64_t z = rng->state += 0x9E3779B97F4A7C15U;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    return z ^ z >> 31;
}

/** 0 <= number < 1. */
static inline double rng_fraction(Rng *rng)
{
    return (double)(rng_next(rng) >> 11) / 9007199254740992.0;
}

/** 0 <= number < limit. */
static inline size_t rng_below(Rng *rng, size_t limit)
{
    return (size_t)(rng_fraction(rng) * (double)limit);
}

static inline int rng_happens(Rng *rng, double probability)
{
    return rng_fraction(rng) < probability;
}
