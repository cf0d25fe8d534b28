#pragma once

#include "lib/base/arena.h"
#include "lib/base/uuid.h"

/** A set of UUIDs: first filled, then closed (sorted, without repetition), then asked. In the
 * arena. */
typedef struct UuidSet {
    Arena *arena;
    Uuid *items;
    size_t count;
    size_t capacity;
} UuidSet;

void uuid_set_init(UuidSet *set, Arena *arena);
void uuid_set_add(UuidSet *set, Uuid uuid);
/** To be called before uuid_set_has(), again after further additions. */
void uuid_set_close(UuidSet *set);
/** Where it is in items; it is there. */
size_t uuid_set_find(const UuidSet *set, Uuid uuid);
bool uuid_set_has(const UuidSet *set, Uuid uuid);
