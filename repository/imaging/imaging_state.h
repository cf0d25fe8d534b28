#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "repository/blob.h"
#include "repository/imaging/ae_directory.h"
#include "repository/imaging/imaging.h"
#include "repository/repository_private.h"

/** What the files of this folder share. */
struct Imaging {
    ImagingConfig config; /* borrows what the caller's points to */
    BlobStore *blobs;     /* of the repository */
    struct ManifestMaker *manifests;
    ManifestCheck manifest_check; /* of documents that sources provide */
    AeDirectory *aes;
    struct Commitments *commitments;
    pthread_mutex_t conversations_lock;
    DicomConversation *conversations; /* those that are open */
    struct Stow *uploads;             /* STOW-RS, those that have a process; the same lock */
    atomic_int_fast64_t stored;       /* instances since the start */
    pthread_mutex_t counts_lock;      /* one reader counts, the others wait for what it finds */
    ImagingCounts counts;
    int64_t counted_ns; /* 0: never */
};
