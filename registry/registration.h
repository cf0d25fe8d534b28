#pragma once

#include "registry/store.h"

/** Queues the caller's own rows (db_queue) into the transaction of a registration; once per
 * attempt. */
typedef int (*TransactionHook)(void *caller, Request *req, DbConn *conn);

/**
 * Registers a submission in one database transaction: all objects or none (TF-2 3.42.4.1.3.1). Runs
 * every check of ITI-42 first, and adds every fault found. The core of ITI-42 and of a repository
 * of the same process.
 *
 * @param kind  SUBMISSION_ITI42 or SUBMISSION_ITI61
 * @param hook  called after all checks have passed, before COMMIT; may be NULL
 * @return 0, or the negative ErrorCode of the first error in req->errors
 */
int registration_run(Registry *registry, Request *req, Submission *submission, SubmissionKind kind,
                     TransactionHook hook, void *caller) MUST_CHECK;

/**
 * As registration_run(), and says whether it failed because the very same submission is registered
 * already, so that nothing is left to do (contract C3).
 */
int registration_run_once(Registry *registry, Request *req, Submission *submission,
                          SubmissionKind kind, TransactionHook hook, void *caller,
                          bool *ret_is_repeated) MUST_CHECK;

/* The steps of a registration, for those that share a transaction (import.c). */

/** The checks that need no database. */
int registration_check(Registry *registry, Request *req, const Submission *submission,
                       SubmissionKind kind) MUST_CHECK;

/** Tells the repository of the same database, within the transaction, that these patients got
 * documents (sorted here). */
int registration_tell_repository(const Registry *registry, Request *req, DbConn *conn,
                                 int64_t *patients, size_t count) MUST_CHECK;

/** Everything that the registry's content decides, by a state whose transaction is open; adds every
 * fault found. */
int registration_judge(Registry *registry, Request *req, DbConn *conn,
                       const PreparedSubmission *prepared, const RegistryState *state) MUST_CHECK;
