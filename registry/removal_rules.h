#pragma once

#include "registry/submission_rules.h"
#include "registry/uuid_set.h"

/**
 * The rules of ITI-62 Remove Metadata (Remove Metadata and Documents 3.62.4.1.3). Pure:
 * removal_read.c reads and locks the state.
 */

/** A registered object that the request names. */
typedef struct RemovalObject {
    StoredObject object; /* of an Association: patient and access are those of its source */
    Str unique_id;       /* empty: Association */
    /* Association */
    Uuid source;
    Uuid target;
    ObjectKind source_kind;
    ObjectKind target_kind;
    const StoredObject *source_object; /* NULL: an Association */
    const StoredObject *member;        /* of a SubmissionSet's, its target; else NULL */
} RemovalObject;

/** An Association that stays, and an end of it that is to go. */
typedef struct RemovalReference {
    Uuid association;
    Uuid removed_end;
} RemovalReference;

/** What stays of the ends of a SubmissionSet's Association that is to go. */
typedef struct RemovalEnd {
    Uuid entry_uuid;
    ObjectKind kind;
    bool is_held; /* in another SubmissionSet, not by Reference; or it is one, and holds more */
} RemovalEnd;

/** A version that stays, of an object of which another one is to go. */
typedef struct RemovalVersion {
    Uuid entry_uuid;
    Uuid lid;
} RemovalVersion;

typedef struct RemovalState {
    RemovalObject
        *objects; /* in order of entryUUID: what the request names and the node may know */
    size_t object_count;
    RemovalReference *references;
    size_t reference_count;
    RemovalEnd *ends;
    size_t end_count;
    RemovalVersion *versions;
    size_t version_count;
} RemovalState;

/**
 * Adds every fault found:
 *
 * | condition | code |
 * |---|---|
 * | an id that is no UUID, of nothing registered, or of what the node may not know |
 * UnresolvedReferenceException | | an Association stays of which an end goes |
 * ReferencesExistException | | a DocumentEntry or Folder stays without a SubmissionSet that holds
 * it (by more than Reference), or a SubmissionSet that holds nothing |
 * XDSUnreferencedObjectException | | versions of an object stay while others go: the model knows no
 * gaps, and one version must be the latest | XDSMetadataModelException |
 *
 * Without a fault of the first kind the others are judged.
 *
 * @param ids  as the request names them
 * @return 0, or the negative ErrorCode of the first error
 */
int removal_rules_check(Request *req, const Str *ids, size_t count,
                        const RemovalState *state) MUST_CHECK;
