#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Persons, or other rows, that were given already; zero-initialise it, free with
 * person_set_done(). */
typedef struct PersonSet {
    int64_t *slots;  /* 0: free */
    size_t capacity; /* a power of two */
    size_t count;
} PersonSet;

/** @param person  not 0. @return false: it was there */
bool person_set_add(PersonSet *set, int64_t person);
void person_set_done(PersonSet *set);
