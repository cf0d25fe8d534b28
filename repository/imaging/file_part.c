#include "repository/imaging/file_part.h"

#define ITEM_HEAD_BYTES 8

int file_part_open(FilePart *part, BlobStore *blobs, const uint8_t sha256[32], uint64_t offset,
                   uint64_t length)
{
    uint64_t end;
    int rc = blob_reader_open(blobs, sha256, &part->reader);
    if (rc < 0) {
        return rc;
    }
    if (__builtin_add_overflow(offset, length, &end) ||
        end > blob_reader_size_bytes(part->reader)) {
        file_part_done(part);
        return -ERR_CORRUPT;
    }
    part->skip = blob_reader_seek(part->reader, offset);
    part->left = length;
    return 0;
}

int file_part_open_frame(FilePart *part, BlobStore *blobs, const uint8_t sha256[32],
                         uint64_t offset, uint64_t length)
{
    part->is_encapsulated = true;
    return offset < ITEM_HEAD_BYTES || length > UINT64_MAX - ITEM_HEAD_BYTES
               ? -ERR_CORRUPT
               : file_part_open(part, blobs, sha256, offset - ITEM_HEAD_BYTES,
                                length + ITEM_HEAD_BYTES);
}

static uint32_t read_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

/** The values of items without their headers: FFFE,E000 and a length. */
static int take_items(FilePart *part, Str bytes, StrBuf *buf)
{
    while (bytes.len > 0) {
        if (part->item_left > 0) {
            Str value = str_slice(bytes, 0, MIN((size_t)part->item_left, bytes.len));
            strbuf_append(buf, value);
            part->item_left -= (uint32_t)value.len;
            bytes = str_from_offset(bytes, value.len);
            continue;
        }
        part->head[part->head_len++] = (uint8_t)bytes.data[0];
        bytes = str_from_offset(bytes, 1);
        if (part->head_len == ITEM_HEAD_BYTES) {
            if (read_u32(part->head) != 0xE000FFFE) {
                return -ERR_CORRUPT;
            }
            part->item_left = read_u32(&part->head[4]);
            part->head_len = 0;
        }
    }
    return 0;
}

/** What of the block that was appended at begin belongs to the part. */
static void cut_block(FilePart *part, StrBuf *block, size_t begin)
{
    size_t len = (size_t)MIN((uint64_t)(block->len - begin) - part->skip, part->left);
    if (part->skip > 0) {
        memmove(block->data + begin, block->data + begin + part->skip, len);
    }
    strbuf_truncate(block, begin + len);
    part->skip = 0;
    part->left -= len;
}

int file_part_next(FilePart *part, StrBuf *buf)
{
    StrBuf *block = part->is_encapsulated ? &part->block : buf;
    if (part->left == 0) {
        return 0;
    }
    strbuf_clear(&part->block);
    size_t begin = block->len;
    int rc = blob_reader_next(part->reader, block);
    if (rc < 0) {
        return rc;
    }
    cut_block(part, block, begin);
    if ((rc == 0 && part->left > 0) ||
        (part->is_encapsulated && take_items(part, strbuf_str(block), buf) < 0)) {
        return -ERR_CORRUPT;
    }
    return part->left > 0;
}

void file_part_done(FilePart *part)
{
    blob_reader_free(part->reader);
    strbuf_done(&part->block);
    *part = (FilePart){0};
}
