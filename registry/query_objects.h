#pragma once

#include "lib/access/access.h"
#include "registry/load.h"
#include "registry/query_answer.h"
#include "registry/uuid_set.h"

/**
 * The objects of one running query: each is tested with access_decide() as it is read, and goes to
 * the answer, to sets of entryUUIDs for the next step, or nowhere.
 *
 * A SubmissionSet or Folder tells of the documents in it, and has neither class nor
 * confidentiality: one with documents shows only if one of them does, besides by its own source
 * facility.
 */

/** A patient met in a row. */
typedef struct KnownPatient {
    int64_t id;
    const AccessScope *scope; /* for as long as run->reader */
    bool is_in_answer;
} KnownPatient;

/** Patients by id, numbered in the order in which they were met. */
typedef struct PatientTable {
    KnownPatient *items;
    size_t count;
    size_t capacity; /* of items; power of two */
    uint32_t *slots; /* open addressing, 2 * capacity: number + 1, 0 free */
} PatientTable;

struct QueryRun {
    Registry *registry;
    Request *req;
    Request *reader; /* whose rules decide: req, or one that passes by (access_passing()) */
    const QueryRequest *request;
    DbConn *conn;
    const LoadFilters *filters;
    QueryAnswer *answer;
    LoadKeys patient; /* internal ids of the patients that the query names; none if unknown or
                         subsumed */
    PatientTable patients;
};

/** What becomes of the objects of one load. */
typedef struct Selection {
    QueryRun *run;
    bool is_answer;   /* visible ones become part of the answer */
    UuidSet *visible; /* may be NULL */
    UuidSet *denied;  /* may be NULL */
} Selection;

/** With rules, SubmissionSets and Folders take three round trips; two if nothing shows, be it
 * denied or absent: the one takes as long as the other. */
int select_objects(Selection selection, LoadKind kind, LoadKeys keys) MUST_CHECK;

/** Objects become part of the answer; those that do also go to visible, which may be NULL. */
int answer_objects(QueryRun *run, LoadKind kind, LoadKeys keys, UuidSet *visible) MUST_CHECK;

/* The objects that the message names, by the one of both parameters (entryUUID, uniqueId) that it
 * has. */
int select_named_documents(Selection selection) MUST_CHECK;
int select_named_folders(Selection selection) MUST_CHECK;
int select_named_submission_sets(Selection selection) MUST_CHECK;

static inline LoadKeys load_keys_of(const UuidSet *set)
{
    return (LoadKeys){.uuids = set->items, .count = set->count};
}
