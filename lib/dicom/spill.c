#include "lib/dicom/spill.h"

#include "lib/base/error.h"
#include "lib/base/file_io.h"

#define PIECE_BYTES ((uint64_t)256 << 10)

static bool open_file(Spill *spill)
{
    if (!spill->is_open) {
        spill->fd = spill_file_open(spill->room);
        spill->is_open = spill->fd >= 0;
    }
    return spill->is_open;
}

bool spill_write(Spill *spill, Str bytes)
{
    if (!spill_room_take(spill->room, bytes.len)) {
        return false;
    }
    if (!open_file(spill) ||
        io_pwrite_all(spill->fd, bytes.data, bytes.len, spill->written_bytes) < 0) {
        spill_room_give_back(spill->room, bytes.len);
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
        spill_room_give_back(spill->room, spill->written_bytes);
    }
    *spill = (Spill){.room = spill->room};
}
