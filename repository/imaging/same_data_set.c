#include "repository/imaging/same_data_set.h"

#include <string.h>

#include "repository/imaging/file_part.h"

/** One of two files that are read side by side. */
typedef struct Side {
    FilePart part;
    StrBuf buf;
    size_t used;
    bool is_at_end;
} Side;

static int side_open(Side *side, BlobStore *blobs, const StoredDataSet *data_set)
{
    return file_part_open(&side->part, blobs, data_set->sha256, data_set->offset,
                          data_set->size_bytes - data_set->offset);
}

static void side_done(Side *side)
{
    if (side->part.reader) {
        file_part_done(&side->part);
    }
    strbuf_done(&side->buf);
}

/** At least one byte, or the end. */
static int side_fill(Side *side)
{
    while (side->used == side->buf.len && !side->is_at_end) {
        strbuf_clear(&side->buf);
        side->used = 0;
        int rc = file_part_next(&side->part, &side->buf);
        if (rc < 0) {
            return rc;
        }
        side->is_at_end = rc == 0;
    }
    return 0;
}

static int compare(Side *a, Side *b, bool *ret_is_same)
{
    for (;;) {
        int rc = side_fill(a);
        rc = rc < 0 ? rc : side_fill(b);
        if (rc < 0) {
            return rc;
        }
        size_t len = MIN(a->buf.len - a->used, b->buf.len - b->used);
        if (len == 0) {
            *ret_is_same = a->used == a->buf.len && b->used == b->buf.len;
            return 0;
        }
        if (memcmp(a->buf.data + a->used, b->buf.data + b->used, len) != 0) {
            *ret_is_same = false;
            return 0;
        }
        a->used += len;
        b->used += len;
    }
}

int same_data_set(BlobStore *blobs, const StoredDataSet *a, const StoredDataSet *b,
                  bool *ret_is_same)
{
    bool is_known_to_differ = a->crc32c >= 0 && b->crc32c >= 0 && a->crc32c != b->crc32c;
    *ret_is_same = memcmp(a->sha256, b->sha256, sizeof(a->sha256)) == 0;
    if (*ret_is_same || is_known_to_differ ||
        a->size_bytes - a->offset != b->size_bytes - b->offset) {
        return 0;
    }
    Side sides[2] = {0};
    int rc = side_open(&sides[0], blobs, a);
    rc = rc < 0 ? rc : side_open(&sides[1], blobs, b);
    rc = rc < 0 ? rc : compare(&sides[0], &sides[1], ret_is_same);
    side_done(&sides[0]);
    side_done(&sides[1]);
    return rc;
}
