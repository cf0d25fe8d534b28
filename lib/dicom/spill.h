#pragma once

#include "lib/base/spill.h"
#include "lib/base/str.h"

/** Bytes that wait on disk for a slow reader, in a file without a name. */

/** Zeroed but for room: nothing waits. */
typedef struct Spill {
    SpillRoom *room;
    bool is_open;
    int fd;
    uint64_t written_bytes;
    uint64_t read_bytes;
} Spill;

/** @return false: there is no room for the bytes, and none of them is taken */
bool spill_write(Spill *spill, Str bytes) MUST_CHECK;
uint64_t spill_left_bytes(const Spill *spill);
/** Appends the next bytes to buf, if any are left. @return 0 or -ERR_IO */
int spill_read(Spill *spill, StrBuf *buf) MUST_CHECK;
/** Gives the room back. */
void spill_done(Spill *spill);
