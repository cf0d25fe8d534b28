#pragma once

#include <openssl/evp.h>
#include <pthread.h>

#include "repository/blob.h"
#include "repository/blob_file.h"
#include "repository/locator.h"
#include "repository/segment.h"

/** What blob_store.c and blob_writer.c share. */

struct BlobStore {
    BlobStoreConfig config; /* its texts are not kept */
    int directory_fd;
    int lock_fd;
    int segments_fd;
    FileStore files;
    bool has_files;
    SegmentStore *segments; /* NULL if read-only */
    Locator *locator;
    EVP_MD *sha1;
    EVP_MD *sha256;
    /** Read: naming a place in the locator, or relying on one. Write: taking a place away. */
    pthread_rwlock_t place_lock;
    pthread_mutex_t dying_lock;
    LocationTable dying; /* marked by the sweep */
};

/** Whether the fault (an errno, negative) is the moment's, and says nothing of what is stored. */
bool blob_store_is_passing(int rc);

/** @return 1 found, 0 unknown, -ERR_CORRUPT, -ERR_STORAGE, -ERR_XDS_REPOSITORY_BUSY */
int blob_store_find(BlobStore *store, const uint8_t sha256[32], BlobLocation *ret_location);

/** Opens what the locator names, if its record is intact, alive and of that document. @return 0,
 * -ERR_CORRUPT, -ERR_IO, -ERR_XDS_REPOSITORY_BUSY */
int blob_store_open_location(const BlobStore *store, const uint8_t sha256[32],
                             const BlobLocation *location, BlobReader **ret_reader);

/**
 * Whether the store holds these bytes already, in a record that can be relied on: a damaged one is
 * written anew. The place lock is held for reading.
 */
bool blob_store_holds(BlobStore *store, const DocumentContent *content);

/** The sweep does not free it any more. */
void blob_store_unmark(BlobStore *store, const uint8_t sha256[32]);
