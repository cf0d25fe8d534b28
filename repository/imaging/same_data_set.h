#pragma once

#include "repository/blob.h"

/** Where the data set of a stored file (PS3.10) is. */
typedef struct StoredDataSet {
    uint8_t sha256[32];  /* of the file */
    uint64_t size_bytes; /* of the file */
    uint64_t offset;
    int64_t crc32c; /* of the data set; -1: not known */
} StoredDataSet;

/**
 * Whether two stored files have the same data set, byte for byte. They are read only where length
 * and CRC leave it open.
 * @return 0, or as blob_reader_next(): it is not known then
 */
int same_data_set(BlobStore *blobs, const StoredDataSet *a, const StoredDataSet *b,
                  bool *ret_is_same) MUST_CHECK;
