#pragma once

#include "lib/hl7/demographics.h"

/**
 * An invented population of Japan in the records of its hospitals, with errors: what record linkage
 * is measured on. The same names and the same seed give the same population on every machine.
 *
 * Families live at one address and share a phone; there are twins, and persons who share full name,
 * birth date and sex with another.
 */

#define POPULATION_HOSPITALS 20

/** Rows of population_errors.def. */
typedef enum ErrorKind {
#define ERROR(kind, share, words) ERROR_##kind,
#include "tests/bench/population_errors.def"
#undef ERROR
    ERROR_KINDS,
} ErrorKind;

extern const char *const error_words[ERROR_KINDS];

typedef struct PatientRecord {
    uint32_t person;
    uint32_t hospital;
    uint32_t errors; /* 1 << ErrorKind */
    Demographics demographics;
} PatientRecord;

/** Two persons who look like one. */
typedef struct Lookalikes {
    uint32_t one;
    uint32_t other;
} Lookalikes;

typedef struct Population {
    PatientRecord *records; /* in random order */
    size_t record_count;
    size_t person_count;
    Lookalikes *twins;
    size_t twin_count;
    Lookalikes *namesakes; /* of the same full name, birth date and sex */
    size_t namesake_count;
} Population;

/** Family and given names by frequency. */
typedef struct Names Names;

/** Reads Noun.name.csv of mecab-ipadic, in EUC-JP, or a file of its form in UTF-8.
 * @return NULL: it cannot be read */
const Names *names_read(Arena *arena, const char *path);

/** In the arena. Seed 1 has the error rates that weights are estimated from; others have their own.
 */
const Population *population_new(Arena *arena, const Names *names, size_t person_count,
                                 uint64_t seed);
