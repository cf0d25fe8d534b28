#include "repository/record.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/crc32c.h"
#include "lib/base/heap.h"
#include "lib/base/macros.h"

static const char magic[8] = "MUSUBIR1";

enum {
    AT_STATE = 8,
    AT_BLOCK_COUNT = 12,
    AT_SIZE = 16,
    AT_WRITTEN = 24,
    AT_SHA256 = 32,
    AT_SHA1 = 64,
    AT_CRC = 84,
    AT_NONCE = 88,
};

static void put_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static void put_u64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
}

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

static void close_block(BlockCrcs *crcs)
{
    if (crcs->count == crcs->capacity) {
        crcs->items = heap_grow(crcs->items, &crcs->capacity, 16, sizeof(*crcs->items));
    }
    crcs->items[crcs->count++] = htole32(crcs->partial);
    crcs->partial = 0;
    crcs->partial_len = 0;
}

void block_crcs_update(BlockCrcs *crcs, const void *bytes, size_t len)
{
    const uint8_t *rest = bytes;
    while (len > 0) {
        size_t step = MIN(len, RECORD_BLOCK_BYTES - crcs->partial_len);
        crcs->partial = crc32c(crcs->partial, rest, step);
        crcs->partial_len += step;
        if (crcs->partial_len == RECORD_BLOCK_BYTES) {
            close_block(crcs);
        }
        rest += step;
        len -= step;
    }
}

void block_crcs_finish(BlockCrcs *crcs)
{
    if (crcs->partial_len > 0) {
        close_block(crcs);
    }
}

void block_crcs_done(BlockCrcs *crcs)
{
    free(crcs->items);
    *crcs = (BlockCrcs){0};
}

/** Blocks of a body of this size. */
static uint64_t count_blocks(uint64_t size_bytes)
{
    return size_bytes / RECORD_BLOCK_BYTES + (size_bytes % RECORD_BLOCK_BYTES != 0);
}

uint64_t record_header_bytes(uint64_t size_bytes)
{
    return RECORD_FIXED_BYTES + count_blocks(size_bytes) * sizeof(uint32_t);
}

uint64_t record_align(uint64_t offset)
{
    return (offset + RECORD_ALIGN_BYTES - 1) / RECORD_ALIGN_BYTES * RECORD_ALIGN_BYTES;
}

uint64_t record_total_bytes(uint64_t size_bytes)
{
    return record_align(record_header_bytes(size_bytes) + size_bytes);
}

static uint32_t header_crc(const uint8_t fixed[RECORD_FIXED_BYTES], const uint32_t *crcs,
                           size_t count)
{
    uint8_t copy[RECORD_FIXED_BYTES];
    memcpy(copy, fixed, sizeof(copy));
    put_u32(copy + AT_STATE, 0);
    put_u32(copy + AT_CRC, 0);
    uint32_t crc = crc32c(0, copy, sizeof(copy));
    return count ? crc32c(crc, crcs, count * sizeof(*crcs)) : crc;
}

void record_encode(const RecordHeader *header, const uint32_t *crcs,
                   uint8_t ret_fixed[RECORD_FIXED_BYTES])
{
    memset(ret_fixed, 0, RECORD_FIXED_BYTES);
    memcpy(ret_fixed, magic, sizeof(magic));
    put_u32(ret_fixed + AT_STATE, header->state);
    put_u32(ret_fixed + AT_BLOCK_COUNT, header->block_count);
    put_u64(ret_fixed + AT_SIZE, header->size_bytes);
    put_u64(ret_fixed + AT_WRITTEN, (uint64_t)header->written_us);
    memcpy(ret_fixed + AT_SHA256, header->sha256, sizeof(header->sha256));
    memcpy(ret_fixed + AT_SHA1, header->sha1, sizeof(header->sha1));
    memcpy(ret_fixed + AT_NONCE, header->nonce, sizeof(header->nonce));
    put_u32(ret_fixed + AT_CRC, header_crc(ret_fixed, crcs, header->block_count));
}

bool record_decode(const uint8_t fixed[RECORD_FIXED_BYTES], RecordHeader *ret_header)
{
    if (memcmp(fixed, magic, sizeof(magic)) != 0) {
        return false;
    }
    uint64_t size_bytes = get_u64(fixed + AT_SIZE);
    uint32_t block_count = get_u32(fixed + AT_BLOCK_COUNT);
    if (count_blocks(size_bytes) != block_count) {
        return false;
    }
    ret_header->state = get_u32(fixed + AT_STATE);
    ret_header->block_count = block_count;
    ret_header->size_bytes = size_bytes;
    ret_header->written_us = (int64_t)get_u64(fixed + AT_WRITTEN);
    memcpy(ret_header->sha256, fixed + AT_SHA256, sizeof(ret_header->sha256));
    memcpy(ret_header->sha1, fixed + AT_SHA1, sizeof(ret_header->sha1));
    memcpy(ret_header->nonce, fixed + AT_NONCE, sizeof(ret_header->nonce));
    return true;
}

bool record_is_intact(const uint8_t fixed[RECORD_FIXED_BYTES], const uint32_t *crcs, size_t count)
{
    return get_u32(fixed + AT_CRC) == header_crc(fixed, crcs, count);
}

bool record_block_is_intact(const uint32_t *crcs, size_t block, const void *bytes, size_t len)
{
    return le32toh(crcs[block]) == crc32c(0, bytes, len);
}

size_t record_block_bytes(uint64_t size_bytes, uint64_t block)
{
    return (size_t)MIN((uint64_t)RECORD_BLOCK_BYTES, size_bytes - block * RECORD_BLOCK_BYTES);
}
