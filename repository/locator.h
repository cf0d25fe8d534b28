#pragma once

#include "repository/location.h"

/**
 * SHA-256 -> place of the bytes, in LMDB: an index that can be rebuilt, so it is committed in
 * batches by a thread of its own and never waited for. What is not committed yet is in memory,
 * where every look-up goes first. Each transaction also stores the segment place up to which
 * everything is in it; start-up replays the segments from there.
 */
typedef struct Locator Locator;

/** Where a replay may begin, as it is now: asked before each batch is taken. */
typedef void (*LocatorPlaceFn)(void *ctx, uint32_t *ret_number, uint64_t *ret_offset);

Locator *locator_open(const char *directory, bool is_read_only, char *ret_problem,
                      size_t problem_size);
/** Starts the writer thread; not for a read-only locator. */
int locator_start(Locator *locator, LocatorPlaceFn settled_place, void *ctx) MUST_CHECK;
/** Commits what is in memory and stops the thread. */
void locator_close(Locator *locator);

/** False after EIO or a panic of LMDB. */
bool locator_is_trusted(const Locator *locator);

/** Stored with the last committed batch; zeros if nothing was. */
int locator_settled_place(Locator *locator, uint32_t *ret_number, uint64_t *ret_offset) MUST_CHECK;

/** @return 1 found, 0 unknown, -ERR_CORRUPT the entry is damaged, -ERR_STORAGE */
int locator_find(Locator *locator, const uint8_t sha256[32], BlobLocation *ret_location) MUST_CHECK;
void locator_put(Locator *locator, const uint8_t sha256[32], const BlobLocation *location);
void locator_remove(Locator *locator, const uint8_t sha256[32]);

/** Returns when everything put before is committed. @return 0 or -ERR_STORAGE */
int locator_flush(Locator *locator) MUST_CHECK;

/** Calls fn for every committed entry, in short transactions; fn returns 0 to go on. */
typedef int (*LocatorFn)(void *ctx, const uint8_t sha256[32], const BlobLocation *location);
int locator_iterate(Locator *locator, LocatorFn fn, void *ctx) MUST_CHECK;

/** Removes the index files of a locator that nobody has open. @return 0 or -errno */
int locator_destroy(const char *directory) MUST_CHECK;
