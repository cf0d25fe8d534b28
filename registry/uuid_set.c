#include "registry/uuid_set.h"

#include <stdlib.h>

#define FIRST_CAPACITY 64

void uuid_set_init(UuidSet *set, Arena *arena)
{
    *set = (UuidSet){.arena = arena};
}

void uuid_set_add(UuidSet *set, Uuid uuid)
{
    if (set->count == set->capacity) {
        size_t capacity = set->capacity == 0 ? FIRST_CAPACITY : 2 * set->capacity;
        Uuid *items = ARENA_ARRAY(set->arena, Uuid, capacity);
        if (set->count > 0) {
            memcpy(items, set->items, set->count * sizeof(Uuid));
        }
        set->items = items;
        set->capacity = capacity;
    }
    set->items[set->count++] = uuid;
}

void uuid_set_close(UuidSet *set)
{
    if (set->count == 0) {
        return;
    }
    qsort(set->items, set->count, sizeof(Uuid), uuid_compare);
    size_t kept = 1;
    for (size_t i = 1; i < set->count; i++) {
        if (!uuid_equal(set->items[i], set->items[kept - 1])) {
            set->items[kept++] = set->items[i];
        }
    }
    set->count = kept;
}

size_t uuid_set_find(const UuidSet *set, Uuid uuid)
{
    const Uuid *found = bsearch(&uuid, set->items, set->count, sizeof(Uuid), uuid_compare);
    return (size_t)(found - set->items);
}

bool uuid_set_has(const UuidSet *set, Uuid uuid)
{
    return set->count > 0 &&
           bsearch(&uuid, set->items, set->count, sizeof(Uuid), uuid_compare) != NULL;
}
