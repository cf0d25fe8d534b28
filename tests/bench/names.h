#pragma once

#include "tests/bench/population.h"
#include "tests/bench/random_numbers.h"

typedef struct Name {
    Str kanji;
    Str kana; /* full-width katakana */
    long cost;
    char sex; /* F or M, of a given name */
} Name;

/** Names in the order of their cost; those of one reading are found by by_kana. */
typedef struct NameList {
    const Name **by_cost;
    const Name **by_kana;
    double *sums; /* of the weights of by_cost up to and with each */
    size_t count;
} NameList;

struct Names {
    NameList families;
    NameList givens;
};

/** By frequency, with a skew as that of Japan's names. */
const Name *names_draw(const NameList *list, Rng *rng);
/** As names_draw(), of this sex. */
const Name *names_draw_given(const NameList *list, Rng *rng, char sex);
/** Another name of the same reading; NULL if there is none. */
const Name *names_homophone(const NameList *list, Rng *rng, const Name *name);
