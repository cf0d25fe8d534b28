#pragma once

#include "repository/blob.h"

/** Some bytes of a stored file, every block checked as it is read (contract C5). */

typedef struct FilePart {
    BlobReader *reader;
    uint64_t skip; /* of what the reader gives next */
    uint64_t left;
    bool is_encapsulated; /* item headers between fragments are left out */
    uint32_t item_left;   /* of the fragment that is read */
    uint8_t head[8];      /* of the next item */
    unsigned head_len;
    StrBuf block;
} FilePart;

/** Zero-initialised before; file_part_done() after success. @return as blob_reader_open(), or
 * -ERR_CORRUPT: the file has no such bytes */
int file_part_open(FilePart *part, BlobStore *blobs, const uint8_t sha256[32], uint64_t offset,
                   uint64_t length) MUST_CHECK;

/**
 * A frame of encapsulated pixel data: the values of its fragments, one after the other (PS3.5 A.4).
 * @param offset  of the value of its first fragment; length up to the end of the last
 */
int file_part_open_frame(FilePart *part, BlobStore *blobs, const uint8_t sha256[32],
                         uint64_t offset, uint64_t length) MUST_CHECK;

/** Appends the next bytes to buf. @return 1 more, 0 these were the last, -ERR_CORRUPT, -ERR_IO */
int file_part_next(FilePart *part, StrBuf *buf) MUST_CHECK;
void file_part_done(FilePart *part);
