#pragma once

#include "registry/registry_private.h"
#include "registry/submission_rules.h"
#include "registry/uuid_set.h"

/**
 * Submissions into rows (TF-2 3.42.4.1.3.1: all objects or none). One registration is
 *
 *   store_prepare()     before the transaction: rendered metadata, interned codes
 *   store_read_state()  BEGIN, claim of the uniqueIds, locks, what the registry holds already
 *   store_queue()       the inserts and updates, to be committed by db_commit()
 */

/** The single codes of a DocumentEntry, first in PreparedDocument.codes. */
typedef enum SingleCode {
    CODE_CLASS,
    CODE_TYPE,
    CODE_FORMAT,
    CODE_PRACTICE_SETTING,
    CODE_HEALTHCARE_FACILITY_TYPE,
    SINGLE_CODE_COUNT,
} SingleCode;

/** Column association.submission_set_status. */
typedef enum SetStatus { SET_STATUS_NONE, SET_STATUS_ORIGINAL, SET_STATUS_REFERENCE } SetStatus;

/** Column document_entry.document_availability; NULL: online. */
enum { AVAILABILITY_OFFLINE = 1 };

static inline SetStatus submission_set_status(const Association *association)
{
    if (association->is_original) {
        return SET_STATUS_ORIGINAL;
    }
    return association->is_reference ? SET_STATUS_REFERENCE : SET_STATUS_NONE;
}

/**
 * SQL of an uuid[]: these objects, and what is deprecated with replaced ones, their direct XFRM and
 * APND (TF-3 4.2.2.2.3). Each argument is a parameter's place; ARRAY() keeps the use of it an index
 * scan. store_bind_followers() binds the types.
 */
#define SQL_WITH_FOLLOWERS(uuids, replaced, types)                                                 \
    "ARRAY(SELECT unnest(" uuids "::uuid[]) UNION SELECT source_object FROM association"           \
    " WHERE target_object = ANY (" replaced "::uuid[]) AND type = ANY (" types "::int[]))"

void store_bind_followers(DbParams *params);

/** A DTM (TF-3 Table 4.2.3.1.7-2) as timestamptz; NULL for an empty one. */
void store_bind_dtm(DbParams *params, Str dtm);

typedef struct PreparedDocument {
    const DocumentEntry *entry;
    const int32_t *codes;                /* SINGLE_CODE_COUNT items */
    const int32_t *confidentiality_code; /* entry->confidentiality_code.count items */
    const int32_t *event_code_list;      /* entry->event_code_list.count items */
    int32_t repository;
    int64_t size_bytes; /* -1 none */
    Str hash;           /* SHA1_LEN bytes; empty none */
    Str metadata;       /* lib/ebrim/rendered.h */
} PreparedDocument;

typedef struct PreparedFolder {
    const Folder *folder;
    const int32_t *code_list; /* folder->code_list.count items */
    Str metadata;
} PreparedFolder;

/** A submission as its rows need it; independent of the attempt. In the request's arena. */
typedef struct PreparedSubmission {
    Submission *submission;
    PreparedDocument *documents; /* submission->document_count items, in order */
    PreparedFolder *folders;     /* submission->folder_count items, in order */
    int32_t content_type_code;
    Str set_metadata;
    Str *association_metadata; /* submission->association_count items, in order; empty: columns say
                                  all */
} PreparedSubmission;

/** @param submission  passed submission_check(); borrowed */
int store_prepare(Registry *registry, Request *req, DbConn *conn, Submission *submission,
                  PreparedSubmission **ret_prepared) MUST_CHECK;

/**
 * Begins the transaction: claims the uniqueIds as its first statement, then locks the patient,
 * and what the submission refers to in order of entryUUID. One round trip; more only if a
 * uniqueId is taken or a referenced object belongs to a merged patient.
 */
int store_read_state(Registry *registry, Request *req, DbConn *conn,
                     const PreparedSubmission *prepared, RegistryState *ret_state) MUST_CHECK;

/**
 * Queues all rows of the submission, the deprecation of what it replaces with its direct APND and
 * XFRM, the propagation of each replacement into the Approved Folders of its target
 * (TF-3 4.2.2.2.3), and lastUpdateTime of every Folder touched (TF-2 3.42.4.1.3.6). Nothing is sent
 * for good before db_commit().
 */
int store_queue(Request *req, DbConn *conn, const PreparedSubmission *prepared,
                const RegistryState *state) MUST_CHECK;

/**
 * Many submissions in one transaction:
 *
 *   store_prepare()      of each
 *   store_read_states()  as store_read_state(), one round trip for all of them
 *   store_copy_add()     of each; store_copy_run() sends the rows of all by COPY
 *
 * Only for submissions that store_can_copy(): new DocumentEntries and their membership in the
 * SubmissionSet, none of them a consent document. What else there is (Folders, relationships,
 * references to registered objects) depends on the order of submissions.
 */
bool store_can_copy(const Submission *submission);

/** A submission among others. */
typedef struct StoreItem {
    Request *req; /* of its own: arena and errors */
    const PreparedSubmission *prepared;
    RegistryState state;
    bool shares_uuid; /* another item chose the same entryUUID */
} StoreItem;

/**
 * Begins the transaction and fills in the states. A uniqueId that two of the items have is taken in
 * both. Of claims that are taken nothing more is read.
 */
int store_read_states(Registry *registry, Request *req, DbConn *conn, StoreItem *const *items,
                      size_t count) MUST_CHECK;

/** The rows of several submissions, to be sent at once. */
typedef struct StoreCopy {
    DbCopy submission_sets;
    DbCopy document_entries;
    DbCopy associations;
} StoreCopy;

void store_copy_init(StoreCopy *copy);
void store_copy_done(StoreCopy *copy);
/** @param req  of the submission */
void store_copy_add(StoreCopy *copy, Request *req, const PreparedSubmission *prepared,
                    const RegistryState *state);
int store_copy_run(StoreCopy *copy, Request *req, DbConn *conn) MUST_CHECK;
