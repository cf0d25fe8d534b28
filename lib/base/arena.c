#include "lib/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (16 * 1024)
/** Allocations above this get a block of their own, so that they do not waste the rest of the
 * current one. */
#define LARGE_BYTES (BLOCK_BYTES / 4)

typedef struct Block {
    struct Block *next;
    size_t used;
    size_t size;
    alignas(max_align_t) unsigned char data[];
} Block;

typedef struct Deferred {
    void (*fn)(void *object);
    void *object;
    struct Deferred *next;
} Deferred;

struct Arena {
    Block *current; /* small allocations come from here; older blocks follow */
    Block *large;
    Deferred *deferred;
    size_t size_bytes;
};

static _Noreturn void out_of_memory(size_t size_bytes)
{
    (void)fprintf(stderr, "level=error msg=\"out of memory\" bytes=%zu\n", size_bytes);
    abort();
}

static Block *block_new(Arena *arena, size_t size_bytes)
{
    if (size_bytes > SIZE_MAX - sizeof(Block)) {
        out_of_memory(size_bytes);
    }
    Block *block = malloc(sizeof(Block) + size_bytes);
    if (!block) {
        out_of_memory(size_bytes);
    }
    *block = (Block){.size = size_bytes};
    arena->size_bytes += sizeof(Block) + size_bytes;
    return block;
}

Arena *arena_new(void)
{
    Arena *arena = calloc(1, sizeof(*arena));
    if (!arena) {
        out_of_memory(sizeof(*arena));
    }
    arena->current = block_new(arena, BLOCK_BYTES);
    return arena;
}

static void free_blocks(Arena *arena, Block *block)
{
    while (block) {
        Block *next = block->next;
        arena->size_bytes -= sizeof(Block) + block->size;
        free(block);
        block = next;
    }
}

void arena_clear(Arena *arena)
{
    while (arena->deferred) {
        Deferred *deferred = arena->deferred;
        arena->deferred = deferred->next;
        deferred->fn(deferred->object);
    }
    free_blocks(arena, arena->large);
    free_blocks(arena, arena->current->next);
    arena->large = NULL;
    arena->current->next = NULL;
    arena->current->used = 0;
}

void arena_free(Arena *arena)
{
    if (!arena) {
        return;
    }
    arena_clear(arena);
    free(arena->current);
    free(arena);
}

void arena_freep(Arena **arena)
{
    arena_free(*arena);
    *arena = NULL;
}

void *arena_alloc(Arena *arena, size_t size_bytes)
{
    const size_t align = alignof(max_align_t);
    if (size_bytes > SIZE_MAX - align) {
        out_of_memory(size_bytes);
    }
    size_t rounded = (size_bytes + align - 1) & ~(align - 1);
    if (rounded > LARGE_BYTES) {
        Block *block = block_new(arena, rounded);
        block->next = arena->large;
        arena->large = block;
        return block->data;
    }
    if (arena->current->size - arena->current->used < rounded) {
        Block *block = block_new(arena, BLOCK_BYTES);
        block->next = arena->current;
        arena->current = block;
    }
    void *memory = arena->current->data + arena->current->used;
    arena->current->used += rounded;
    return memory;
}

void *arena_calloc(Arena *arena, size_t count, size_t size_bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, size_bytes, &total)) {
        out_of_memory(SIZE_MAX);
    }
    return memset(arena_alloc(arena, total), 0, total);
}

void *arena_grow(Arena *arena, const void *items, size_t *capacity, size_t first, size_t item_bytes)
{
    size_t wanted;
    if (__builtin_mul_overflow(*capacity, (size_t)2, &wanted)) {
        out_of_memory(SIZE_MAX);
    }
    wanted = wanted ? wanted : first;
    void *larger = arena_calloc(arena, wanted, item_bytes);
    if (*capacity) {
        memcpy(larger, items, *capacity * item_bytes);
    }
    *capacity = wanted;
    return larger;
}

void arena_defer(Arena *arena, void (*fn)(void *object), void *object)
{
    Deferred *deferred = arena_alloc(arena, sizeof(*deferred));
    *deferred = (Deferred){.fn = fn, .object = object, .next = arena->deferred};
    arena->deferred = deferred;
}

size_t arena_size_bytes(const Arena *arena)
{
    return arena->size_bytes;
}
