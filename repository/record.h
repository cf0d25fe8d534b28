#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What is stored with every document, so that it describes itself: a fixed part and one CRC-32C per
 * block of the body. In a segment: fixed part, CRC list, body, zeros up to the next multiple of
 * RECORD_ALIGN_BYTES. In a file of its own: body, CRC list, fixed part.
 *
 * Fixed part, little-endian:
 *     0  magic "MUSUBIR1"      8  state (4)          12  block count (4)     16  size in bytes (8)
 *    24  written, µs UTC (8)  32  SHA-256 (32)       64  SHA-1 (20)          84  header CRC-32C (4)
 *    88  segment nonce (16)  104  zeros (8)
 * The header CRC covers fixed part and CRC list, with state and the CRC itself taken as zero: a
 * tombstone changes four bytes and nothing else. The nonce is random for each segment, so that the
 * body of a document cannot pass for a record.
 */
#define RECORD_BLOCK_BYTES ((size_t)65536)
#define RECORD_ALIGN_BYTES ((uint64_t)4096)
#define RECORD_FIXED_BYTES ((size_t)112)
#define RECORD_STATE_OFFSET ((uint64_t)8)
#define RECORD_NONCE_BYTES ((size_t)16)

typedef enum RecordState { RECORD_LIVE = 0x4556494c, RECORD_DEAD = 0x44414544 } RecordState;

typedef struct RecordHeader {
    uint32_t state; /* RecordState; anything else is damage */
    uint32_t block_count;
    uint64_t size_bytes;
    int64_t written_us;
    uint8_t sha256[32];
    uint8_t sha1[20];                  /* zeros of one that is no document of XDS */
    uint8_t nonce[RECORD_NONCE_BYTES]; /* zeros in a file of its own */
} RecordHeader;

/** CRC-32C of each block of a body that passes by; items are little-endian, as stored. */
typedef struct BlockCrcs {
    uint32_t *items;
    size_t count;
    size_t capacity;
    uint32_t partial;
    size_t partial_len;
} BlockCrcs;

void block_crcs_update(BlockCrcs *crcs, const void *bytes, size_t len);
/** The body has ended: a block that is not full is closed. */
void block_crcs_finish(BlockCrcs *crcs);
void block_crcs_done(BlockCrcs *crcs);

/** Fixed part and CRC list. */
uint64_t record_header_bytes(uint64_t size_bytes);
/** Room in a segment: header and body, rounded up. */
uint64_t record_total_bytes(uint64_t size_bytes);
uint64_t record_align(uint64_t offset);

void record_encode(const RecordHeader *header, const uint32_t *crcs,
                   uint8_t ret_fixed[RECORD_FIXED_BYTES]);

/** Reads the fixed part. @return false without the magic, or if size and block count disagree */
bool record_decode(const uint8_t fixed[RECORD_FIXED_BYTES], RecordHeader *ret_header);

/** Whether the header CRC fits the fixed part and its CRC list. */
bool record_is_intact(const uint8_t fixed[RECORD_FIXED_BYTES], const uint32_t *crcs, size_t count);

/** Whether these bytes are that block of the body. */
bool record_block_is_intact(const uint32_t *crcs, size_t block, const void *bytes, size_t len);

/** Length of a block: RECORD_BLOCK_BYTES, or the rest. */
size_t record_block_bytes(uint64_t size_bytes, uint64_t block);
