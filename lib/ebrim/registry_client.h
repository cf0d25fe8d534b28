#pragma once

#include "lib/base/request.h"
#include "lib/db/db.h"
#include "lib/ebrim/metadata.h"

/**
 * How a repository registers: a direct call into the registry of this process, or ITI-42 to a
 * remote one. server/main.c fills it in; registry/ and repository/ never include each other.
 */
typedef struct RegistryClient {
    void *ctx;
    /** A local registry runs the repository's rows in its own transaction (contract C2). */
    bool is_local;
    /** The URL that register_submission() calls, for the audit event; NULL if local. */
    const char *endpoint;
    /**
     * Registers the submission: all objects or none.
     * @param in_transaction  local only: called once inside the transaction, after all checks have
     * passed and before COMMIT, to queue (db_queue) the caller's own rows; may be NULL
     * @return 0, or a negative ErrorCode; every error and warning of the registry is in
     * req->errors. -ERR_XDS_REGISTRY_NOT_AVAILABLE: the outcome is unknown
     */
    int (*register_submission)(void *ctx, Request *req, Submission *submission,
                               int (*in_transaction)(void *caller, Request *req, DbConn *conn),
                               void *caller);
    /** Local only, else NULL: the same with On-Demand DocumentEntries (ITI-61). */
    int (*register_on_demand)(void *ctx, Request *req, Submission *submission,
                              int (*in_transaction)(void *caller, Request *req, DbConn *conn),
                              void *caller);
    /** Asks whether this document is registered (GetDocuments): 1 yes, 0 no, negative unknown. */
    int (*is_registered)(void *ctx, Request *req, Str document_unique_id, Str hash);
    /** Local only, else NULL: the Approved DocumentEntries of this document become Deprecated, with
     * what the caller queues, for a document that was made by this server itself. */
    int (*deprecate)(void *ctx, Request *req, Str document_unique_id,
                     int (*in_transaction)(void *caller, Request *req, DbConn *conn), void *caller);
} RegistryClient;
