#pragma once

#include "lib/base/request.h"
#include "lib/db/db.h"

/**
 * What patient identity asks of a registry of the same database: moving documents to another
 * patient, within the caller's transaction (ITI TF-2 3.64.4.1.3). registry/ fills it in.
 */

/** One XAD-PID link change: the documents of one local identifier. */
typedef struct PatientMove {
    int64_t from_patient;    /* internal id of the previous XAD-PID; the caller holds its row */
    int64_t to_patient;      /* internal id of the new one; may be the same; held too */
    Str to_identifier;       /* CX of the new XAD-PID */
    Str local_identifier;    /* CX "id^^^&oid&ISO": sourcePatientId of what moves, or, with
                                subsumed_identifier, what it becomes */
    Str subsumed_identifier; /* CX: sourcePatientId of what moves; empty: local_identifier */
    Str source_id;           /* sourceId of the SubmissionSet: OID of the sender of ITI-64 */
} PatientMove;

/** Size and hash of a document, as metadata has them. */
typedef struct DocumentBytes {
    Str unique_id;
    int64_t size_bytes;
    Str hash; /* SHA-1, 20 bytes */
} DocumentBytes;

typedef enum DocumentHolding {
    HOLDING_NONE,
    HOLDING_SAME,
    HOLDING_OTHER, /* with another size or hash */
} DocumentHolding;

/**
 * What a registry asks of a repository of the same database when documents come, move or their
 * metadata change: that its own rows name the new patient, and whether it knows better. repository/
 * fills it in.
 */
typedef struct DocumentFollower {
    void *ctx;
    /** Documents that are not here are no error. Within the open transaction of conn.
     * @param patient_id  CX of the new XAD-PID */
    int (*follow)(void *ctx, Request *req, DbConn *conn, Str patient_id, const Str *unique_ids,
                  size_t count);
    /** What it holds of these documents. ret_holdings has count items. */
    int (*compare)(void *ctx, Request *req, DbConn *conn, const DocumentBytes *documents,
                   size_t count, DocumentHolding *ret_holdings);
    /** These documents have no DocumentEntry any more (ITI-62): what it keeps about them as
     * manifests of images, or to make them on demand, ends. Within the open transaction of conn.
     * @param ret_is_known  whether it has or had bytes under the uniqueId; count items */
    int (*withdraw)(void *ctx, Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                    bool *ret_is_known);
    /** NULL: it is of no interest. Patients (rows of patient_identifier, in order) got documents:
     * queues what follows from that into the open transaction of conn. */
    int (*registered)(void *ctx, Request *req, DbConn *conn, const int64_t *patients, size_t count);
} DocumentFollower;

typedef struct PatientMover {
    void *ctx;
    /**
     * Makes a new version (next version, same logicalID, new entryUUID, predecessor Deprecated) of
     * every Approved DocumentEntry of from_patient with this sourcePatientId, with one
     * SubmissionSet for all. Nothing to move: no SubmissionSet. Statements run on conn, inside the
     * caller's open transaction.
     * @param ret_submission_set  entryUUID of the SubmissionSet; all zero: nothing moved
     */
    int (*move)(void *ctx, Request *req, DbConn *conn, const PatientMove *move,
                Uuid *ret_submission_set, size_t *ret_moved);
    /**
     * Undoes a move(): each DocumentEntry that this SubmissionSet moved, and that is now
     * from_patient's with this sourcePatientId (subsumed_identifier, else local_identifier), gets a
     * new version with to_patient, and content and sourcePatientId of the version before the move.
     */
    int (*move_back)(void *ctx, Request *req, DbConn *conn, const Uuid *submission_set,
                     const PatientMove *move, Uuid *ret_submission_set, size_t *ret_moved);
} PatientMover;
