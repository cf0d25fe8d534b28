#pragma once

#include "lib/access/access.h"
#include "lib/ebrim/metadata.h"
#include "lib/ebrim/patient_directory.h"

/**
 * The rules of a registration that depend on what the registry already holds (TF-2 3.42.4.1.3.3
 * to 3.42.4.1.3.5). Pure: what the database knows comes in as RegistryState, read and locked by
 * store.c inside the transaction.
 */

#define SHA1_LEN 20

/** One uniqueId of the submission. */
typedef struct UniqueIdClaim {
    Uuid digest; /* key of table unique_id: first 16 bytes of the SHA-256 */
    Str unique_id;
    ObjectKind kind;
    int64_t size_bytes; /* DocumentEntry; -1 none */
    Str hash;           /* DocumentEntry: SHA1_LEN bytes; empty none */
    bool is_taken;      /* the registry held it before; the fields below say as what */
    ObjectKind taken_kind;
    int64_t taken_size_bytes;
    Str taken_hash;
} UniqueIdClaim;

/** An object of the registry that the submission refers to. */
typedef struct StoredObject {
    Uuid entry_uuid;
    ObjectKind kind; /* OBJECT_DOCUMENT_ENTRY or OBJECT_FOLDER */
    int64_t patient; /* internal id of the surviving patient */
    bool is_on_demand;
    bool is_transformation; /* source of an XFRM */
    bool is_hidden;         /* the sender may not know of it */
    AccessObject access;
} StoredObject;

/** Folder.entry_uuid holds document: for the propagation of a replacement. */
typedef struct FolderMembership {
    Uuid folder;
    Uuid document;
} FolderMembership;

/** What the registry holds about one submission. */
typedef struct RegistryState {
    UniqueIdClaim *claims; /* in order of digest */
    size_t claim_count;
    Patient patient; /* SubmissionSet.patientId, which all objects share (TF-3 4.2.1.3) */
    const Str *source_patient_ids; /* in order; of other submissions too */
    const int64_t *source_owners;  /* patient whose number each is; 0: not known here */
    size_t source_count;
    StoredObject
        *objects; /* in order of entry_uuid: what Associations name outside the submission */
    size_t object_count;
    Uuid *taken_uuids; /* submitted entryUUIDs that exist */
    size_t taken_uuid_count;
    FolderMembership *memberships; /* of the documents that get replaced, in Approved Folders; of
                                      those that replace them too, if they are registered */
    size_t membership_count;
} RegistryState;

/** Whether the source replaces the target, which then becomes Deprecated (TF-3 4.2.2.2.3). */
static inline bool association_type_replaces(AssociationType type)
{
    return type == ASSOCIATION_RPLC || type == ASSOCIATION_XFRM_RPLC;
}

/** The claim of SubmissionSet.uniqueId; there is exactly one. */
const UniqueIdClaim *registry_state_set_claim(const RegistryState *state);

/** The claim of a uniqueId of the submission. */
const UniqueIdClaim *registry_state_find_claim(const RegistryState *state, Str unique_id);

/** XAD-PID (internal id) of the patient whose number it is; 0: not known here as anybody's. */
int64_t registry_state_source_owner(const RegistryState *state, Str source_patient_id);

/** The stored object with this entryUUID, or NULL. */
const StoredObject *registry_state_find(const RegistryState *state, Uuid entry_uuid);

/**
 * Checks 13, 15 to 22 and 25 to 29 of TF-2 3.42.4.1.3; adds every fault found.
 *
 * @param submission  passed submission_check()
 * @return 0, or the negative ErrorCode of the first error
 */
int submission_rules_check(Request *req, const Submission *submission,
                           const RegistryState *state) MUST_CHECK;

/** The part of it that looks at no Association: patient, sourcePatientIds, uniqueIds and
 * entryUUIDs. Adds every fault found. */
void submission_rules_check_common(Request *req, const Submission *submission,
                                   const RegistryState *state);

/** The negative ErrorCode of the first error since then, 0 if there is none. */
int submission_rules_result(const Request *req, const Error *before, unsigned errors_before);
