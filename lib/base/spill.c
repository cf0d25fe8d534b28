#include "lib/base/spill.h"

#include <fcntl.h>
#include <sys/statvfs.h>

#define RESERVE_BYTES ((uint64_t)1 << 30)

static bool has_reserve(const SpillRoom *room, uint64_t bytes)
{
    struct statvfs disk;
    return statvfs(room->directory, &disk) == 0 &&
           (uint64_t)disk.f_bavail * disk.f_frsize >= RESERVE_BYTES + bytes;
}

bool spill_room_take(SpillRoom *room, uint64_t bytes)
{
    uint64_t used = atomic_fetch_add(&room->used_bytes, bytes);
    bool is_taken =
        bytes <= room->limit_bytes && used <= room->limit_bytes - bytes && has_reserve(room, bytes);
    if (!is_taken) {
        atomic_fetch_sub(&room->used_bytes, bytes);
    }
    return is_taken;
}

void spill_room_give_back(SpillRoom *room, uint64_t bytes)
{
    atomic_fetch_sub(&room->used_bytes, bytes);
}

int spill_file_open(const SpillRoom *room)
{
    return open(room->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}
