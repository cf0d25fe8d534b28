#pragma once

#include "registry/store.h"

/**
 * Consent documents (BPPC, ITI TF-3 5.1): a DocumentEntry with a formatCode of BPPC is the
 * patient's decision. Its eventCodeList names the policies that he acknowledges; what they mean is
 * in the tables consent_policy and consent_policy_disclosure; it holds from serviceStartTime until
 * serviceStopTime. Several documents of a patient add up, and the last one decides whether he takes
 * part. Whatever a document said ends with its replacement or deprecation, and moves with it.
 */

/** Adds an error for each consent document without a policy, or with one that is not known: a
 * consent that nobody understands must not look accepted. So for one whose sourcePatientId is not
 * known as a number of its patient: whoever knows a patientId decides nothing for him. So for each
 * uniqueId that would belong to a consent and to a document of another facility or patient: who
 * replaces the one would end the other. The transaction is open. */
int consent_check(const Registry *registry, Request *req, DbConn *conn,
                  const Submission *submission, const RegistryState *state) MUST_CHECK;

/**
 * Puts into the transaction of a registration what its consent documents say, the end of what those
 * said that it replaced, and an audit event. Behind store_queue(); waits for what is queued.
 */
int consent_store(Registry *registry, Request *req, DbConn *conn,
                  const PreparedSubmission *prepared, int64_t patient) MUST_CHECK;

/** DocumentEntries that count no more, and those that count from now on. */
typedef struct ConsentChanges {
    UuidSet ended; /* entryUUIDs of versions that are Deprecated now; they may be in it twice */
    UuidSet begun;
} ConsentChanges;

/** The same for an update (ITI-57, ITI-92): what the ended versions said ends, and what the begun
 * ones say begins. Behind what the update queued; waits for that if there is anything to change. */
int consent_update(Registry *registry, Request *req, DbConn *conn, const Submission *submission,
                   const ConsentChanges *changes) MUST_CHECK;

/** The end of what these DocumentEntries said that are about to be removed (ITI-62), unless
 * another entry of the same uniqueId is still Approved. Before their rows go; waits. */
int consent_remove(Registry *registry, Request *req, DbConn *conn,
                   const UuidSet *removed) MUST_CHECK;

/** Whether the submission holds one. */
bool consent_has_document(const Submission *submission);

/** What these documents said of some patients is said of another one from now on (ITI-64), unless
 * he has decided otherwise since. */
int consent_move(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                 const int64_t *from_patients, size_t from_count, int64_t to_patient) MUST_CHECK;
