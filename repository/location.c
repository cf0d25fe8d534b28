#include "repository/location.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/heap.h"

enum { SLOT_FREE, SLOT_USED, SLOT_WAS_USED };

/** Digests are evenly spread already: any eight bytes are the hash. */
static size_t first_slot(const LocationTable *table, const uint8_t sha256[32])
{
    uint64_t hash;
    memcpy(&hash, sha256, sizeof(hash));
    return (size_t)hash & (table->capacity - 1);
}

void location_table_done(LocationTable *table)
{
    free(table->entries);
    free(table->states);
    *table = (LocationTable){0};
}

LocationEntry *location_table_find(const LocationTable *table, const uint8_t sha256[32])
{
    if (table->capacity == 0) {
        return NULL;
    }
    for (size_t slot = first_slot(table, sha256); table->states[slot] != SLOT_FREE;
         slot = (slot + 1) & (table->capacity - 1)) {
        if (table->states[slot] == SLOT_USED &&
            memcmp(table->entries[slot].sha256, sha256, 32) == 0) {
            return &table->entries[slot];
        }
    }
    return NULL;
}

static void insert_new(LocationTable *table, const LocationEntry *entry)
{
    size_t slot = first_slot(table, entry->sha256);
    while (table->states[slot] == SLOT_USED) {
        slot = (slot + 1) & (table->capacity - 1);
    }
    table->filled += table->states[slot] == SLOT_FREE;
    table->count++;
    table->states[slot] = SLOT_USED;
    table->entries[slot] = *entry;
}

/** Keeps at least half of the slots free, so that every probe ends. */
static void make_room(LocationTable *table)
{
    if (table->capacity > 0 && (table->filled + 1) * 2 <= table->capacity) {
        return;
    }
    LocationTable larger = {.capacity = 64};
    while (larger.capacity < (table->count + 1) * 4) {
        larger.capacity *= 2;
    }
    larger.entries = heap_zeroed(larger.capacity, sizeof(*larger.entries));
    larger.states = heap_zeroed(larger.capacity, sizeof(*larger.states));
    size_t index = 0;
    for (const LocationEntry *entry; (entry = location_table_next(table, &index));) {
        insert_new(&larger, entry);
    }
    LocationTable smaller = *table;
    *table = larger;
    location_table_done(&smaller);
}

void location_table_put(LocationTable *table, const LocationEntry *entry)
{
    LocationEntry *known = location_table_find(table, entry->sha256);
    if (known) {
        *known = *entry;
        return;
    }
    make_room(table);
    insert_new(table, entry);
}

void location_table_remove(LocationTable *table, const uint8_t sha256[32])
{
    LocationEntry *known = location_table_find(table, sha256);
    if (!known) {
        return;
    }
    table->states[known - table->entries] = SLOT_WAS_USED;
    table->count--;
}

const LocationEntry *location_table_next(const LocationTable *table, size_t *index)
{
    while (*index < table->capacity) {
        size_t slot = (*index)++;
        if (table->states[slot] == SLOT_USED) {
            return &table->entries[slot];
        }
    }
    return NULL;
}
