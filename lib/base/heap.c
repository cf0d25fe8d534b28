#include "lib/base/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_end(void *memory, size_t count, size_t item_bytes)
{
    if (!memory) {
        (void)fprintf(stderr, "level=error msg=\"out of memory\" items=%zu item_bytes=%zu\n", count,
                      item_bytes);
        abort();
    }
    return memory;
}

void *heap_zeroed(size_t count, size_t item_bytes)
{
    return or_end(calloc(MAX(count, (size_t)1), item_bytes), count, item_bytes);
}

void *heap_room(size_t size_bytes)
{
    return or_end(malloc(MAX(size_bytes, (size_t)1)), size_bytes, 1);
}

void *heap_resized(void *items, size_t count, size_t item_bytes)
{
    return or_end(reallocarray(items, MAX(count, (size_t)1), item_bytes), count, item_bytes);
}

void *heap_grow(void *items, size_t *capacity, size_t first, size_t item_bytes)
{
    *capacity = *capacity ? 2 * *capacity : first;
    return heap_resized(items, *capacity, item_bytes);
}

char *heap_text(Str text)
{
    char *copy = heap_room(text.len + 1);
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    copy[text.len] = '\0';
    return copy;
}
