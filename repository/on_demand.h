#pragma once

#include "repository/document_rows.h"
#include "repository/generator.h"
#include "repository/repository_private.h"

/**
 * On-Demand documents that this server makes (ITI TF-2 3.43.4.2.2, 3.43.4.2.3). Of each patient
 * with documents there is a row of on_demand_document and an On-Demand DocumentEntry of its
 * uniqueId. The content is made at each retrieval, of what this reader may see; its uniqueId
 * follows from its bytes.
 *
 * Snapshots (on_demand_persistence): only what a reader got who may see everything of the patient
 * is kept, so that all snapshots of a patient are one line; and a snapshot is given out to none but
 * who may see everything of the patient at that moment, and know of all that it lists.
 */

/** A row of on_demand_document that is registered. In the request's arena. */
typedef struct OnDemandRow {
    Str unique_id;
    int64_t patient;            /* row of patient_identifier */
    const Generator *generator; /* NULL: this version of the server does not have it */
    int64_t noted_us;
    Str snapshot_unique_id; /* the newest; empty: none */
} OnDemandRow;

/** Those of these uniqueIds that there are. */
int on_demand_find(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                   OnDemandRow **ret_rows, size_t *ret_count) MUST_CHECK;

/** What was made. The texts are in the arena of its reader. */
typedef struct MadeDocument {
    Str unique_id;
    Str patient_id; /* CX of the patient as it is now */
    StrBuf content; /* made_document_done() */
    PatientRecord record;
} MadeDocument;

void made_document_done(MadeDocument *made);

/** Makes it for the reader of the request. */
int on_demand_make(const Repository *repository, Request *reader, const OnDemandRow *row,
                   MadeDocument *ret_made) MUST_CHECK;

/**
 * Whether the reader may see everything of the patient that this generator would show.
 * @param snapshot  that he may also know of everything that it lists, which may have become
 * Deprecated, another patient's or removed since; NULL: only as it is now
 */
int on_demand_sees_all(const Repository *repository, Request *reader, const Generator *generator,
                       int64_t patient, const DocumentRow *snapshot, bool *ret_sees_all) MUST_CHECK;

/**
 * Keeps it as a Stable document, if its reader may see everything of the patient: registered as a
 * snapshot of the On-Demand entry, in the place of the snapshot before.
 * @return 1 kept; 0 it is not for all who may see it; negative: it could not be kept, errors are
 * not the reader's
 */
int on_demand_keep(Repository *repository, Request *reader, const OnDemandRow *row,
                   const MadeDocument *made) MUST_CHECK;

/** As whom the server registers what it makes. Looks the facility up. */
int on_demand_principal(const Repository *repository, Request *req,
                        Principal *ret_server) MUST_CHECK;

/** One DocumentEntry with its SubmissionSet, for on_demand_submission(). */
typedef struct OnDemandEntry {
    const Generator *generator;
    Str patient_id; /* CX */
    Str unique_id;
    Uuid entry;
    Uuid set;
    bool is_snapshot; /* a Stable entry, with the next ones */
    int64_t created_us;
    Uuid of;             /* entryUUID of the On-Demand entry */
    bool is_replacement; /* of the next */
    Uuid replaced;
} OnDemandEntry;

int on_demand_submission(const Repository *repository, Request *req, const OnDemandEntry *entry,
                         Submission **ret_submission) MUST_CHECK;

/** The thread that registers On-Demand entries of patients that got documents. */
typedef struct OnDemandMaker OnDemandMaker;
OnDemandMaker *on_demand_maker_start(Repository *repository);
/** on_demand_maker_stop(NULL) is fine. */
void on_demand_maker_stop(OnDemandMaker *maker);

/** DocumentFollower.registered; ctx is the Generator. */
int on_demand_note(void *generator, Request *req, DbConn *conn, const int64_t *patients,
                   size_t count);

/** These have no DocumentEntry any more: queues their end. Their patients get another one with
 * their next document. */
int on_demand_queue_withdrawn(Request *req, DbConn *conn, const Str *unique_ids,
                              size_t count) MUST_CHECK;
