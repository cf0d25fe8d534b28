#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/macros.h"

/**
 * Room on disk for temporary files of one purpose: how much all of them take at most, whoever sends
 * how much. Zeroed but for directory and limit. Thread-safe.
 */
typedef struct SpillRoom {
    const char *directory; /* for temporary files without a name; borrowed */
    uint64_t limit_bytes;
    atomic_uint_fast64_t used_bytes;
    atomic_uint_fast64_t refused_count; /* of what there was no room for; whoever says so counts */
} SpillRoom;

/** Takes room, to be given back. @return false: there is none, and nothing is to be written; the
 * last GiB of the file system is for what must not be lost */
bool spill_room_take(SpillRoom *room, uint64_t bytes) MUST_CHECK;
void spill_room_give_back(SpillRoom *room, uint64_t bytes);

/** A file without a name in the room. @return a descriptor, or -1 */
int spill_file_open(const SpillRoom *room) MUST_CHECK;
