#pragma once

#include "lib/access/access.h"
#include "lib/base/uuid.h"
#include "lib/db/db.h"

/**
 * What the registry was: the life of one document, and what a query would have found at an instant.
 * Every change keeps what was before (migrations/0022_history.sql). What a transaction changes has
 * one instant, taken after its locks and before its COMMIT.
 */

typedef struct Registry Registry;

/** A version of a DocumentEntry; also one that was removed. */
typedef struct HistoryVersion {
    Uuid entry_uuid;
    Uuid lid;
    Str unique_id;
    Str patient;        /* id of its patientId today, without authority */
    Str facility;       /* that registered it; empty: none */
    Str submission_set; /* uniqueId; empty: not known */
    int32_t version;
    int64_t came_us;    /* INT64_MIN: not known */
    int64_t removed_us; /* INT64_MAX: it is there */
    int16_t status;     /* when it was removed, if it was */
    bool is_offline;
} HistoryVersion;

/** A change of one version. */
typedef struct HistoryChange {
    int64_t at_us;
    Str transaction; /* of the database: changes with the same came together */
    Uuid entry_uuid;
    Str submission_set; /* uniqueId of the one that came with the change; empty: none did */
    int16_t old_status; /* 0 Approved, 1 Deprecated */
    int16_t new_status;
    bool was_latest;
    bool is_latest;
    bool was_offline;
    bool is_offline;
} HistoryChange;

/** A relationship with another document. */
typedef struct HistoryRelation {
    Str type; /* "RPLC" */
    Uuid source;
    Uuid target;
    Str source_unique_id;
    Str target_unique_id;
    int64_t came_us;    /* of its source; INT64_MIN: not known */
    int64_t removed_us; /* INT64_MAX: it is there */
} HistoryRelation;

/** In the order of time; in the arena of the request. */
typedef struct History {
    HistoryVersion *versions;
    size_t version_count; /* 0: there never was such a document */
    HistoryChange *changes;
    size_t change_count;
    HistoryRelation *relations;
    size_t relation_count;
    int64_t begin_us; /* changes before this are not known */
} History;

/**
 * The life of every DocumentEntry with this uniqueId, entryUUID or lid.
 * @param conn  of an account that reads every table
 */
int registry_history_read(DbConn *conn, Request *req, Str name, History *ret_history) MUST_CHECK;

/** What is asked of the past: the parameters of FindDocuments that an operator needs. Borrowed. */
typedef struct PastQuestion {
    int64_t at_us;
    Str patient;         /* CX */
    const Str *statuses; /* URNs */
    size_t status_count;
    const Str *class_codes; /* "CODE^^SCHEME" */
    size_t class_code_count;
    const Str *type_codes;
    size_t type_code_count;
} PastQuestion;

/** A DocumentEntry as it was; of one that was removed since, what is left. */
typedef struct PastDocument {
    Uuid entry_uuid;
    Str unique_id;
    Str facility;
    Str class_code; /* "CODE^^SCHEME" */
    Str type_code;
    int32_t version;
    int16_t status;
    int64_t came_us;
    int64_t removed_us; /* INT64_MAX: it is still there */
} PastDocument;

/**
 * What FindDocuments would have answered at an instant to req->principal and req->user, Stable and
 * On-Demand entries: it is run by the very code that answers ITI-18, on the tables and by the rules
 * of then.
 *
 * @param past  db_pool_as_of() of that instant; also in req->principal->rules
 * @return 0; -ERR_CONFIGURATION: history does not reach so far, or the database is not that of then
 */
int registry_past_query(const Registry *registry, DbPool *past, Request *req,
                        const PastQuestion *question, PastDocument **ret_documents,
                        size_t *ret_count) MUST_CHECK;
