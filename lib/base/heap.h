#pragma once

#include "lib/base/macros.h"
#include "lib/base/str.h"

/**
 * Memory that outlives a request; the caller frees it with free(). What is exhausted ends the
 * process, as in an Arena: sizes that senders decide are bounded before they come here.
 */

/** One zeroed object, or count of them. */
#define HEAP_NEW(Type) ((Type *)heap_zeroed(1, sizeof(Type)))
#define HEAP_ARRAY(Type, count) ((Type *)heap_zeroed((count), sizeof(Type)))

/** Never NULL, also for a count of 0. */
void *heap_zeroed(size_t count, size_t item_bytes) MUST_CHECK;

/** Bytes of any content. */
void *heap_room(size_t size_bytes) MUST_CHECK;

/** items with room for count; the old pointer is gone. */
void *heap_resized(void *items, size_t count, size_t item_bytes) MUST_CHECK;

/** items with room for twice as many; for first, if there was none. As arena_grow(). */
void *heap_grow(void *items, size_t *capacity, size_t first, size_t item_bytes) MUST_CHECK;

/** With a NUL behind it. */
char *heap_text(Str text) MUST_CHECK;
