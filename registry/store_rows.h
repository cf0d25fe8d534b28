#pragma once

#include "registry/store.h"

/** Rows of a submission one by one, for those that put them together in another way than
 * store_queue() (update_store.c). */

/** Which version of an object a row is. */
typedef struct RowVersion {
    Uuid lid; /* from the second version on */
    int32_t version;
    int32_t source_facility;
    int16_t status;
    int64_t last_update_us; /* Folder */
} RowVersion;

int store_queue_set(Request *req, DbConn *conn, const PreparedSubmission *prepared,
                    int64_t patient) MUST_CHECK;
int store_queue_document(Request *req, DbConn *conn, const PreparedDocument *document,
                         int64_t patient, const RowVersion *version) MUST_CHECK;
int store_queue_folder(Request *req, DbConn *conn, const PreparedFolder *folder, int64_t patient,
                       const RowVersion *version) MUST_CHECK;

/** The rows of table association, column by column, as unnest() takes them. */
typedef struct AssociationRows {
    Uuid *entry_uuid;
    Uuid *source;
    Uuid *target;
    int32_t *type;
    int32_t *source_kind;
    int32_t *target_kind;
    int32_t *submission_set_status;
    Str *metadata;
    size_t count;
} AssociationRows;

AssociationRows association_rows(Arena *arena, size_t capacity);

/** Those of the message. kinds of ends outside it are those of state. */
void association_rows_add_submitted(AssociationRows *rows, const PreparedSubmission *prepared,
                                    const RegistryState *state);

/** Memberships that a replacement brings (TF-3 4.2.2.2.3), two rows each. */
void association_rows_add_memberships(AssociationRows *rows, const Submission *submission,
                                      const FolderMembership *memberships, size_t count);

int store_queue_associations(Request *req, DbConn *conn, const AssociationRows *rows) MUST_CHECK;

/** Deprecation of what the submission's Associations replace, with its direct XFRM and APND. Queued
 * before the new Associations, so that it does not reach an addendum to the old entry that comes
 * with its replacement. */
int store_queue_deprecation(Request *req, DbConn *conn, const Submission *submission) MUST_CHECK;

/** lastUpdateTime of these Folders. */
int store_queue_touch(Request *req, DbConn *conn, const UuidSet *folders,
                      int64_t now_us) MUST_CHECK;

/** Now, as lastUpdateTime has it: a DTM with seconds (TF-3 4.2.3.4.6). */
int64_t store_now_us(void);
