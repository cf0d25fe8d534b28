#pragma once

#include <pthread.h>

#include "lib/ebrim/metadata.h"
#include "repository/blob.h"
#include "repository/repository.h"

/** What the files of this folder share. */
struct Repository {
    RepositoryConfig config; /* borrows what the caller's points to */
    BlobStore *blobs;
    DocumentSink sink;
    struct Sweep *sweep;
};

/** What else is to become true with a registration. */
typedef struct ProvideHook {
    void *ctx;
    /** Queues into the transaction of the document's row; called again if that is repeated. */
    int (*queue)(void *ctx, Request *req, DbConn *conn);
} ProvideHook;

/**
 * Stores and registers a document that this server made, as an ITI-41 of req->principal would be:
 * same checks, rows and audit event.
 * @param submission  with one DocumentEntry; repositoryUniqueId, size and hash are set here
 * @param hook        may be NULL
 */
int repository_provide(Repository *repository, Request *req, Submission *submission, Str content,
                       const ProvideHook *hook) MUST_CHECK;
