#pragma once

#include "registry/submission_rules.h"
#include "registry/uuid_set.h"

/**
 * The rules of ITI-57 and ITI-92 that depend on what the registry holds (XDS Metadata Update
 * 3.57.4.1.3, Restricted Metadata Update 3.92.4.1.3). Pure: update_read.c reads and locks the
 * state.
 */

/** What decides whether a DocumentEntry is a consent document, and what that says. */
typedef struct ConsentTerms {
    int32_t class_code; /* interned codes */
    int32_t format_code;
    const int32_t *event_code_list;
    size_t event_code_count;
    int64_t start_us; /* INT64_MIN: none */
    int64_t stop_us;
} ConsentTerms;

/** A registered version of a DocumentEntry or Folder. */
typedef struct StoredVersion {
    StoredObject object;
    Uuid lid;
    int32_t version;
    bool is_latest;
    Str unique_id;
    int64_t stored_patient; /* before merges */
    /* DocumentEntry */
    bool is_offline;
    int64_t size_bytes; /* -1 none */
    Str hash;           /* SHA1_LEN bytes; empty none */
    int32_t repository;
    Str source_patient_id;
    ConsentTerms terms;
    /* known only if update_tells_otherwise() of the document */
    bool is_held_here;    /* in a repository of this database */
    bool has_other_bytes; /* that, or another DocumentEntry, has another size or hash than told */
    /* Folder */
    int64_t last_update_us;
} StoredVersion;

typedef struct StoredAssociation {
    Uuid entry_uuid;
    Uuid source;
    Uuid target;
    AssociationType type;
    ObjectKind source_kind;
    ObjectKind target_kind;
    AvailabilityStatus status;
    bool is_target_approved;
    Str metadata;
} StoredAssociation;

typedef struct StoredAssociationList {
    StoredAssociation *items;
    size_t count;
} StoredAssociationList;

/** What the registry holds about one update. */
typedef struct UpdateState {
    RegistryState registry;  /* its objects are those of versions, in the same order */
    StoredVersion *versions; /* in order of entry_uuid */
    StoredAssociationList
        named; /* of which the message changes the status; in order of entry_uuid */
    StoredAssociationList links; /* Approved memberships in Folders and relationships of what gets a
                                    new version */
    StoredAssociationList equal; /* Approved ones with the ends of named or submitted ones */
} UpdateState;

/** An updated object of the message, of either kind. */
typedef struct UpdatedObject {
    ObjectKind kind;
    const RimObject *object;
    Uuid entry_uuid;
    Uuid lid;
    Str unique_id;
    const Association *member;     /* HasMember with PreviousVersion */
    const Association *status;     /* UpdateAvailabilityStatus, or NULL */
    const DocumentEntry *document; /* or NULL */
    size_t position;               /* among those of its kind */
    const StoredVersion *previous; /* the latest version; NULL: unknown */
} UpdatedObject;

/** DocumentEntries of the message, then its Folders. In the arena. */
UpdatedObject *updated_objects(Arena *arena, const Submission *submission, const UpdateState *state,
                               size_t *ret_count);

/** The version with this entryUUID, or NULL. */
const StoredVersion *update_state_find(const UpdateState *state, Uuid entry_uuid);
const StoredAssociation *update_state_find_association(const UpdateState *state, Uuid entry_uuid);

/** The registered objects that the Association of an update changes or names, as far as there are:
 * ends of what is submitted, the target of a change of status, or the ends of that. */
size_t update_named_objects(const UpdateState *state, const Association *association,
                            const StoredVersion *ret_versions[2]);

/** A document as the message has it, beside its typed form. */
typedef struct SubmittedDocument {
    int64_t size_bytes; /* -1 none */
    Str hash;           /* SHA1_LEN bytes; empty none */
    int32_t repository;
} SubmittedDocument;

/** Whether the message gives the document another size or hash. */
bool update_changes_bytes(const StoredVersion *previous, const SubmittedDocument *submitted);
/** The same, or another repositoryUniqueId: then it counts what is held. */
bool update_tells_otherwise(const StoredVersion *previous, const SubmittedDocument *submitted);

/**
 * Adds every fault found.
 *
 * @param submission  passed submission_check()
 * @param submitted   its documents, in order
 * @return 0, or the negative ErrorCode of the first error
 */
int update_rules_check(Request *req, SubmissionKind kind, const Submission *submission,
                       const SubmittedDocument *submitted, const UpdateState *state) MUST_CHECK;
