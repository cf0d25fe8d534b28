#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repository/blob.h"

/** Where the bytes of one document are. */
typedef struct BlobLocation {
    BlobPlace place;
    uint32_t segment; /* BLOB_IN_SEGMENT */
    uint64_t offset;  /* of the record in its segment; 0 in a file */
    uint64_t size_bytes;
    int64_t written_us;
} BlobLocation;

/** A map of SHA-256 to location in memory; zero-initialise it. Not thread-safe. */
typedef struct LocationEntry {
    uint8_t sha256[32];
    BlobLocation location;
    bool is_removal; /* the name is to go */
} LocationEntry;

typedef struct LocationTable {
    LocationEntry *entries;
    uint8_t *states; /* of each entry: 0 free, 1 used, 2 was used */
    size_t capacity; /* a power of two */
    size_t count;    /* used */
    size_t filled;   /* used, or was used */
} LocationTable;

void location_table_done(LocationTable *table);
LocationEntry *location_table_find(const LocationTable *table, const uint8_t sha256[32]);
/** Adds or overwrites. */
void location_table_put(LocationTable *table, const LocationEntry *entry);
void location_table_remove(LocationTable *table, const uint8_t sha256[32]);
/** The first used entry at or after *index, which is moved behind it; NULL at the end. */
const LocationEntry *location_table_next(const LocationTable *table, size_t *index);
