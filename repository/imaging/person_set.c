#include "repository/imaging/person_set.h"

#include <stdlib.h>

#include "lib/base/heap.h"

#define FIRST_CAPACITY 64

/** Where it is, or where it goes. */
static int64_t *slot_of(const PersonSet *set, int64_t person)
{
    size_t at = (size_t)((uint64_t)person * UINT64_C(0x9E3779B97F4A7C15) >> 20);
    while (set->slots[at & (set->capacity - 1)] != 0 &&
           set->slots[at & (set->capacity - 1)] != person) {
        at++;
    }
    return &set->slots[at & (set->capacity - 1)];
}

static void grow(PersonSet *set)
{
    PersonSet larger = {.capacity = set->capacity ? set->capacity * 2 : FIRST_CAPACITY,
                        .count = set->count};
    larger.slots = heap_zeroed(larger.capacity, sizeof(*larger.slots));
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->slots[i] != 0) {
            *slot_of(&larger, set->slots[i]) = set->slots[i];
        }
    }
    free(set->slots);
    *set = larger;
}

bool person_set_add(PersonSet *set, int64_t person)
{
    if (set->count * 2 >= set->capacity) {
        grow(set);
    }
    int64_t *slot = slot_of(set, person);
    if (*slot == person) {
        return false;
    }
    *slot = person;
    set->count++;
    return true;
}

void person_set_done(PersonSet *set)
{
    free(set->slots);
    *set = (PersonSet){0};
}
