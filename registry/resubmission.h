#pragma once

#include "registry/store.h"

/** The registration under which a SubmissionSet.uniqueId is known. */
typedef struct EarlierRegistration {
    bool is_identical; /* same metadata, documents, Folders and Associations */
    Uuid entry_uuid;   /* of its SubmissionSet */
    int64_t registered_at_us;
} EarlierRegistration;

/**
 * Compares a submission whose SubmissionSet.uniqueId is taken with what was registered under it
 * (contract C3: after a lost reply a sender learns that nothing is left to do). Ids do not count,
 * symbolic or not, of objects or of their parts: only what they stand for.
 *
 * @param prepared  as for a new registration
 * @param patient   internal id of SubmissionSet.patientId
 */
int resubmission_compare(Registry *registry, Request *req, DbConn *conn,
                         const PreparedSubmission *prepared, int64_t patient,
                         EarlierRegistration *ret_earlier) MUST_CHECK;
