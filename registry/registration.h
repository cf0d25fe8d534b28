#pragma once

#include "registry/registry_private.h"

/** Queues the caller's own rows (db_queue) into the transaction of a registration; once per
 * attempt. */
typedef int (*TransactionHook)(void *caller, Request *req, DbConn *conn);

/**
 * Registers a submission in one database transaction: all objects or none (TF-2 3.42.4.1.3.1). Runs
 * every check of ITI-42 first, and adds every fault found. The core of ITI-42 and of a repository
 * of the same process.
 *
 * @param hook  called after all checks have passed, before COMMIT; may be NULL
 * @return 0, or the negative ErrorCode of the first error in req->errors
 */
int registration_run(Registry *registry, Request *req, const Submission *submission,
                     TransactionHook hook, void *caller) MUST_CHECK;
