#pragma once

#include <pthread.h>

#include "repository/blob.h"
#include "repository/repository.h"

/** What the files of this folder share. */
struct Repository {
    RepositoryConfig config; /* borrows what the caller's points to */
    BlobStore *blobs;
    DocumentSink sink;
    struct Sweep *sweep;
};
