#pragma once

#include "registry/registration.h"

/**
 * Updates registered objects in one database transaction: all operations of the message or none
 * (XDS Metadata Update 3.57.4.1.3, Restricted Metadata Update 3.92.4.1.3). Runs every check first,
 * and adds every fault found.
 *
 * @param kind  SUBMISSION_ITI57 or SUBMISSION_ITI92
 * @param hook  called after all checks have passed, before COMMIT; may be NULL
 * @return 0, or the negative ErrorCode of the first error in req->errors
 */
int update_run(Registry *registry, Request *req, SubmissionKind kind, Submission *submission,
               TransactionHook hook, void *caller) MUST_CHECK;
