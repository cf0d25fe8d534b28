#pragma once

#include <pthread.h>

#include "lib/ebrim/metadata.h"
#include "repository/blob.h"
#include "repository/repository.h"

/** Looks into documents whose formatCode says that they are manifests of images; imaging/ fills it
 * in. */
typedef struct ManifestCheck {
    void *ctx;
    /** @param ret_found  in the arena, for queue(); untouched: nothing is to be queued */
    int (*inspect)(void *ctx, Request *req, const DocumentEntry *entry, const uint8_t sha256[32],
                   void **ret_found);
    int (*queue)(void *ctx, Request *req, DbConn *conn, int32_t facility, void *found);
} ManifestCheck;

/** What the files of this folder share. */
struct Repository {
    RepositoryConfig config; /* borrows what the caller's points to */
    BlobStore *blobs;
    DocumentSink sink;
    struct Sweep *sweep;
    const struct Generator *generator; /* of On-Demand documents; NULL: none is made */
    const PatientStudies *studies;     /* NULL: without images */
    struct OnDemandMaker *maker;
    pthread_mutex_t snapshot_lock;  /* whoever makes a snapshot */
    const ManifestCheck *manifests; /* NULL: without images; set before the first request */
};

/** In what the transactions that retrieve documents differ (ITI-43, ITI-39). */
typedef struct RetrieveTransaction {
    AuditEventType event;
    bool is_cross_gateway; /* each request names this community, and so does each error */
} RetrieveTransaction;

/** Handles one of them from its message to the reply, with its audit events. */
int retrieve_documents(Repository *repository, SoapExchange *exchange,
                       const RetrieveTransaction *transaction);

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
