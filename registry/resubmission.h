#pragma once

#include "registry/store.h"

/**
 * Contract C3: whoever sends a message again because its reply was lost learns that nothing is left
 * to do. Adds that as a fault if the SubmissionSet of the message is registered with the same
 * metadata, documents, Folders and Associations. Ids do not count, symbolic or not, of objects or
 * of their parts: only what they stand for.
 *
 * @param prepared         as for a new registration
 * @param ret_is_repeated  set to true if it is
 */
int resubmission_check(Registry *registry, Request *req, DbConn *conn,
                       const PreparedSubmission *prepared, const RegistryState *state,
                       bool *ret_is_repeated) MUST_CHECK;
