#pragma once

#include "repository/repository.h"

/**
 * The thread that cleans up behind crashes and failures, hourly: takes files back into the locator,
 * settles registrations whose outcome is unknown by asking the registry, and frees blobs that no
 * row names (two phases, see blob.h).
 */
typedef struct Sweep Sweep;

Sweep *sweep_start(Repository *repository);
/** sweep_stop(NULL) is fine. */
void sweep_stop(Sweep *sweep);

/** Settles registrations that have been pending since before that time. @return 0 or a negative
 * ErrorCode */
int sweep_settle_pending(Repository *repository, int64_t before_us) MUST_CHECK;

/** First phase: marks every blob written before that time that no row names. Adds to ret_marked
 * (caller frees items). */
typedef struct MarkedBlob {
    uint8_t sha256[32];
} MarkedBlob;

typedef struct MarkedBlobs {
    MarkedBlob *items;
    size_t count;
    size_t capacity;
} MarkedBlobs;
int sweep_mark(Repository *repository, int64_t before_us, MarkedBlobs *marked) MUST_CHECK;

/** Second phase, after the grace period: frees those that are still named by no row. */
int sweep_free_marked(Repository *repository, const MarkedBlobs *marked) MUST_CHECK;
