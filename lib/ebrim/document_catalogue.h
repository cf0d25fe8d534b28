#pragma once

#include "lib/access/access.h"
#include "lib/access/retention.h"

/** As what a document is registered: one DocumentEntry of its uniqueId. */
typedef struct DocumentRegistration {
    size_t document; /* index of the uniqueId that was asked for */
    Uuid entry_uuid;
    int64_t patient; /* row of patient_identifier */
    AccessObject access;
} DocumentRegistration;

/**
 * What a repository asks of a registry of the same database: who may have a document is decided by
 * its DocumentEntries, as ITI-18 does, however often and for whom it was registered. registry/
 * fills it in.
 */
typedef struct DocumentCatalogue {
    void *ctx;
    /** The newest versions of all DocumentEntries with these uniqueIds, in the arena. */
    int (*find)(void *ctx, Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                DocumentRegistration **ret_registrations, size_t *ret_count);
    /** All versions of them, for whoever wants to remove documents: document is the index. */
    int (*find_retained)(void *ctx, Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                         RetainedDocument **ret_documents, size_t *ret_count);
} DocumentCatalogue;
