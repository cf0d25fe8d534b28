#pragma once

#include <stddef.h>

#include "lib/base/macros.h"

/**
 * Memory that is freed all at once. A request has one; parsed messages, rows and replies live
 * there. Arena functions never return NULL: limits are checked where bytes come in, and real
 * exhaustion ends the process. Not thread-safe: one thread uses an arena at a time.
 */
typedef struct Arena Arena;

Arena *arena_new(void);

/** Runs the deferred functions, last first, then frees everything. arena_free(NULL) is fine. */
void arena_free(Arena *arena);
void arena_freep(Arena **arena);

/** As arena_free, but keeps the first block for the next use. */
void arena_clear(Arena *arena);

/** Memory aligned for any type; contents undefined. size_bytes may be 0. */
void *arena_alloc(Arena *arena, size_t size_bytes) NONNULL_RETURN;

/** Zeroed memory for count items; an overflowing product ends the process. */
void *arena_calloc(Arena *arena, size_t count, size_t size_bytes) NONNULL_RETURN;

/**
 * A full array with room for twice as many items; the new ones are zeroed. The old array stays
 * where it is, so an array of n items costs less than two of them in the arena.
 *
 * @param items     may be NULL while *capacity is 0
 * @param capacity  in: how many items there are and fit; out: how many fit now
 * @param first     how many fit at first
 */
void *arena_grow(Arena *arena, const void *items, size_t *capacity, size_t first,
                 size_t item_bytes) NONNULL_RETURN;

/** Ties a foreign object to the arena: fn(object) runs in arena_free(). */
void arena_defer(Arena *arena, void (*fn)(void *object), void *object);

/** Bytes asked from the system so far. */
size_t arena_size_bytes(const Arena *arena);

#define ARENA_NEW(arena, type) ((type *)arena_calloc((arena), 1, sizeof(type)))
#define ARENA_ARRAY(arena, type, count) ((type *)arena_calloc((arena), (count), sizeof(type)))
