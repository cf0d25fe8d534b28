#include "lib/dicom/spill.h"

#include <fcntl.h>

#include "lib/base/error.h"
#include "lib/base/file_io.h"

#define PIECE_BYTES ((uint64_t)256 << 10)

static bool take_room(SpillRoom *room, uint64_t bytes)
{
    if (!room->directory) {
        return false;
    }
    const bool is_taken = atomic_fetch_add(&room->used_bytes, bytes) + bytes <= room->limit_bytes;
    if (!is_taken) {
        atomic_fetch_sub(&room->used_bytes, bytes);
    }
    return is_taken;
}

static bool open_file(Spill *spill)
{
    if (!spill->is_open) {
        spill->fd = open(spill->room->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        spill->is_open = spill->fd >= 0;
    }
    return spill->is_open;
}

bool spill_write(Spill *spill, Str bytes)
{
    if (!take_room(spill->room, bytes.len)) {
        return false;
    }
    if (!open_file(spill) ||
        io_pwrite_all(spill->fd, bytes.data, bytes.len, spill->written_bytes) < 0) {
        atomic_fetch_sub(&spill->room->used_bytes, bytes.len);
        return false;
    }
    spill->written_bytes += bytes.len;
    return true;
}

uint64_t spill_left_bytes(const Spill *spill)
{
    return spill->written_bytes - spill->read_bytes;
}

int spill_read(Spill *spill, StrBuf *buf)
{
    const size_t len = (size_t)MIN(spill_left_bytes(spill), PIECE_BYTES);
    if (len == 0) {
        return 0;
    }
    char *place = strbuf_reserve(buf, len);
    if (io_pread_all(spill->fd, place, len, spill->read_bytes) < 0) {
        return -(int)ERR_IO;
    }
    buf->len += len;
    spill->read_bytes += len;
    return 0;
}

void spill_done(Spill *spill)
{
    if (spill->is_open) {
        io_closep(&spill->fd);
        atomic_fetch_sub(&spill->room->used_bytes, spill->written_bytes);
    }
    *spill = (Spill){.room = spill->room};
}
