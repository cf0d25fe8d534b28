#pragma once

#include "lib/db/db.h"
#include "lib/soap/document_sink.h"

/** Rows of repository_document, which alone says what ITI-43 may serve; what many documents have
 * alike is in rows of repository_document_kind. */

/** SQL: both tables, and the patientId of d and k. */
#define DOCUMENT_AND_KIND "repository_document d JOIN repository_document_kind k ON k.id = d.kind"
#define DOCUMENT_PATIENT_ID "d.patient_id_number || k.patient_id_authority"

typedef enum DocumentState {
    DOCUMENT_PENDING = 0, /* stored and retrievable, its ITI-42 not yet answered */
    DOCUMENT_REGISTERED = 1,
    DOCUMENT_QUARANTINED = 2,
    DOCUMENT_REMOVED = 3,
} DocumentState;

typedef struct DocumentRow {
    Str unique_id;
    DocumentState state;
    uint64_t size_bytes;
    uint8_t sha1[20];
    uint8_t sha256[32];
    Str mime_type;
    Str patient_id;             /* CX */
    int32_t source_facility;    /* 0: unknown */
    Str class_code;             /* code^^scheme */
    const Str *confidentiality; /* code^^scheme each */
    size_t confidentiality_count;
    int64_t effective_us; /* serviceStartTime, else creationTime; INT64_MIN: neither */
    int64_t stored_us;    /* read only */
    Str generator;        /* of a snapshot of an On-Demand document; empty: it is none; read only */
    int64_t patient;      /* row of patient_identifier, 0: unknown here; read only */
    int32_t class_code_id;             /* interned (table code), 0: unknown here; read only */
    int32_t *confidentiality_code_ids; /* as many as confidentiality; read only */
} DocumentRow;

typedef struct DocumentRows {
    DocumentRow *items; /* sorted by the bytes of unique_id */
    size_t count;
} DocumentRows;

/** All rows of these uniqueIds, whatever their state, in one query. In req->arena. */
int document_rows_find(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                       DocumentRows *ret_rows) MUST_CHECK;
/** The same, locked in order of digest until the transaction ends. */
int document_rows_lock(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                       DocumentRows *ret_rows) MUST_CHECK;
/** NULL if there is none. */
const DocumentRow *document_rows_get(const DocumentRows *rows, Str unique_id);

/**
 * Queues the INSERTs of all rows of a transaction. A row that is there already is left as it is,
 * apart from its state: identical content is accepted, a removed one comes back with the new
 * attributes; different content fails the transaction. Transactions that make the same kinds or
 * rows wait for each other in one order, so that they cannot deadlock: all kinds by digest, then
 * all rows by digest.
 */
int document_rows_queue(Request *req, DbConn *conn, const DocumentRow *rows,
                        size_t count) MUST_CHECK;

/** These documents are of this patient (CX of the same authority) from now on; one statement. */
int document_rows_set_patient(Request *req, DbConn *conn, Str patient_id, const Str *unique_ids,
                              size_t count) MUST_CHECK;

/** Queues the end of a pending registration: only rows that are pending become removed. */
int document_rows_queue_registered(Request *req, DbConn *conn, const Str *unique_ids,
                                   size_t count) MUST_CHECK;
int document_rows_queue_removed(Request *req, DbConn *conn, const Str *unique_ids,
                                size_t count) MUST_CHECK;

/** Queues the end of documents on request (ITI-86): their bytes are not named any more, and table
 * removal tells who asked for it. */
int document_rows_queue_erased(Request *req, DbConn *conn, const DocumentRow *const *rows,
                               size_t count) MUST_CHECK;

/** The rows that have been pending since before that time, at most limit. */
int document_rows_find_pending(Request *req, DbConn *conn, int64_t before_us, int32_t limit,
                               DocumentRows *ret_rows) MUST_CHECK;

/** For each digest, whether a row names it, of a document that is not removed or of an image.
 * ret_is_named has count items. */
int document_rows_name(Request *req, DbConn *conn, const Str *sha256, size_t count,
                       bool *ret_is_named) MUST_CHECK;
