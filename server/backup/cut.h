#pragma once

#include <stddef.h>
#include <stdint.h>

/**
 * Where a stream is cut into pieces: where its content says, so that equal content is cut alike
 * wherever it stands, and an insertion makes one or two pieces new instead of all behind it.
 *
 * A rolling hash of the last 64 bytes (gear: shifted, plus a fixed random number for each byte)
 * ends a piece where some of its bits are zero. Random bytes are cut into about 300 KiB. Rows that
 * repeat each other have fewer different places, so from 512 KiB on fewer bits must be zero: a
 * piece that ends only because it is full would end elsewhere after an insertion.
 */
typedef struct BackupCutter {
    uint64_t gears[256];
} BackupCutter;

void backup_cutter_init(BackupCutter *cutter);

/**
 * The length of the piece that the bytes begin with: 64 KiB to BACKUP_PIECE_BYTES.
 * @param len  less than BACKUP_PIECE_BYTES only at the end of the stream, where the last piece is
 *             what is left
 */
size_t backup_cut(const BackupCutter *cutter, const char *bytes, size_t len);
