#pragma once

#include "registry/store.h"
#include "registry/update_rules.h"

/**
 * Begins the transaction of an update: claims SubmissionSet.uniqueId, holds the patient, locks and
 * reads the latest versions of what is updated and whatever else the message names, and the
 * Associations of it. One round trip; more if a uniqueId is taken, an object belongs to a merged
 * patient, or size or hash of a document change.
 *
 * @param submitted  of prepared, in order
 */
int update_read_state(Registry *registry, Request *req, DbConn *conn,
                      const PreparedSubmission *prepared, const SubmittedDocument *submitted,
                      UpdateState *ret_state) MUST_CHECK;
