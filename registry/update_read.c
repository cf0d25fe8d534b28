#include "registry/update_read.h"

#include <stdlib.h>

#include "registry/store_state.h"

/* ---- statements; $1 lids, $2 entryUUIDs that the message names ---- */

/* Kinds and types: 0 DocumentEntry, 2 Folder; 0 HasMember, 2 XFRM, 7
 * UpdateAvailabilityStatus. */
_Static_assert(OBJECT_DOCUMENT_ENTRY == 0 && OBJECT_FOLDER == 2, "literals of update_read.c");
_Static_assert(ASSOCIATION_HAS_MEMBER == 0 && ASSOCIATION_XFRM == 2, "literals of update_read.c");

/* The first version has no lid: it is its own. */
#define SQL_LATEST(table)                                                                          \
    "SELECT entry_uuid FROM " table " WHERE lid = ANY ($1::uuid[]) AND is_latest"                  \
    " UNION SELECT entry_uuid FROM " table                                                         \
    " WHERE entry_uuid = ANY ($1::uuid[]) AND lid IS NULL AND is_latest"
#define SQL_NAMED                                                                                  \
    " UNION SELECT unnest($2::uuid[])"                                                             \
    " UNION SELECT source_object FROM association WHERE entry_uuid = ANY ($2::uuid[])"             \
    " UNION SELECT target_object FROM association WHERE entry_uuid = ANY ($2::uuid[])"

/* Other ends of relationships, which are locked too: of two updates that repeat a relationship,
 * each between its new version and the one that the other ends, none would be right. */
#define SQL_NEIGHBOURS                                                                             \
    " UNION SELECT source_object FROM association WHERE status = 0 AND source_kind = 0"            \
    " AND target_object = ANY (ARRAY(" SQL_LATEST(                                                 \
        "document_entry") "))"                                                                     \
                          " UNION SELECT target_object FROM association WHERE status = 0"          \
                          " AND source_kind = 0 AND target_kind = 0"                               \
                          " AND source_object = ANY (ARRAY(" SQL_LATEST("document_entry") "))"

/* Both are run twice: whoever waits for another update gets the version that has been the latest
 * so far, locked; the second run sees what the other one left. */
static const DbStatement lock_documents = {
    "update_lock_documents",
    "WITH locked AS MATERIALIZED (SELECT d.* FROM document_entry d WHERE d.entry_uuid = ANY"
    " (ARRAY(" SQL_LATEST("document_entry") SQL_NAMED SQL_NEIGHBOURS
    ")) ORDER BY d.entry_uuid FOR NO KEY UPDATE)"
    " SELECT entry_uuid, coalesce(lid, entry_uuid), patient, version, source_facility, status,"
    " is_latest, unique_id, is_on_demand, class_code, confidentiality_code,"
    " coalesce(service_start_time, creation_time), coalesce(document_availability, 0),"
    " coalesce(size_bytes, -1), coalesce(hash, ''::bytea), repository, source_patient_id,"
    " format_code, event_code_list, service_start_time, service_stop_time,"
    " EXISTS (SELECT FROM association WHERE type = 2"
    "   AND source_object = locked.entry_uuid) FROM locked"
    " WHERE entry_uuid = ANY (ARRAY(" SQL_LATEST("document_entry") SQL_NAMED
    "))"
    " ORDER BY entry_uuid"};
enum {
    ENTRY_UUID,
    LID,
    PATIENT,
    VERSION,
    SOURCE_FACILITY,
    STATUS,
    IS_LATEST,
    UNIQUE_ID,
    COMMON_COUNT,
    IS_ON_DEMAND = COMMON_COUNT,
    CLASS_CODE,
    CONFIDENTIALITY,
    EFFECTIVE,
    AVAILABILITY,
    SIZE,
    HASH,
    REPOSITORY,
    SOURCE_PATIENT_ID,
    FORMAT_CODE,
    EVENT_CODES,
    SERVICE_START,
    SERVICE_STOP,
    IS_TRANSFORMATION,
    LAST_UPDATE_TIME = COMMON_COUNT,
};

/* Also the Folders that hold what gets a new version, or is replaced ($3): they get that. */
static const DbStatement lock_folders = {
    "update_lock_folders",
    "SELECT entry_uuid, coalesce(lid, entry_uuid), patient, version, source_facility, status,"
    " is_latest, unique_id, last_update_time FROM folder WHERE entry_uuid = ANY"
    " (ARRAY(" SQL_LATEST("folder") SQL_NAMED
    " UNION SELECT source_object FROM association WHERE type = 0 AND source_kind = 2"
    "   AND status = 0 AND target_object = ANY (ARRAY(" SQL_LATEST(
        "document_entry") " UNION SELECT unnest($3::uuid[])))))"
                          " ORDER BY entry_uuid FOR NO KEY UPDATE"};

#define ASSOCIATION_COLUMNS                                                                        \
    "a.entry_uuid, a.source_object, a.target_object, a.type, a.source_kind, a.target_kind,"        \
    " a.status, a.metadata"
static const DbStatement lock_associations = {
    "update_lock_associations", "SELECT " ASSOCIATION_COLUMNS ", true FROM association a"
                                " WHERE a.entry_uuid = ANY ($1::uuid[])"
                                " ORDER BY a.entry_uuid FOR NO KEY UPDATE"};

/* Approved memberships in Folders and relationships of the latest versions. */
static const DbStatement select_links = {
    "update_links",
    "WITH old AS MATERIALIZED (" SQL_LATEST("document_entry") " UNION " SQL_LATEST(
        "folder") ")"
                  " SELECT " ASSOCIATION_COLUMNS ", d.status = 0 FROM association a"
                  " JOIN document_entry d ON d.entry_uuid = a.target_object WHERE a.entry_uuid = "
                  "ANY (ARRAY("
                  " SELECT entry_uuid FROM association WHERE source_object = ANY (ARRAY(SELECT "
                  "entry_uuid FROM"
                  "   old)) UNION SELECT entry_uuid FROM association"
                  "   WHERE target_object = ANY (ARRAY(SELECT entry_uuid FROM old))))"
                  " AND a.status = 0 AND a.target_kind = 0 AND a.source_kind = ANY ('{0,2}')"
                  " ORDER BY a.entry_uuid"};

/* $1 sources, $2 targets; $3 what the message names, whose ends are sources and targets too */
#define SQL_AMONG(column, ends)                                                                    \
    " a." column " = ANY (" ends "::uuid[] || ARRAY(SELECT " column                                \
    " FROM association WHERE entry_uuid = ANY ($3::uuid[])))"
static const DbStatement select_equal = {
    "update_equal",
    "SELECT " ASSOCIATION_COLUMNS ", true FROM association a WHERE a.status = 0"
    " AND" SQL_AMONG("source_object", "$1") " AND" SQL_AMONG("target_object", "$2")};

static const DbStatement select_memberships = {
    "update_memberships", "SELECT a.source_object, a.target_object FROM association a"
                          " JOIN folder f ON f.entry_uuid = a.source_object AND f.status = 0"
                          " WHERE a.target_object = ANY ($1::uuid[]) AND a.type = 0"
                          " AND a.status = 0 ORDER BY a.target_object"};

/* Other DocumentEntries with one of these uniqueIds. $1 uniqueIds, $2 their lids */
static const DbStatement select_twins = {
    "update_twins",
    "SELECT DISTINCT m.lid FROM unnest($1::text[], $2::uuid[]) AS m (unique_id, lid)"
    " JOIN document_entry d ON hashtext(d.unique_id) = hashtext(m.unique_id)"
    " AND d.unique_id = m.unique_id AND coalesce(d.lid, d.entry_uuid) <> m.lid"};

/* ---- what is asked ---- */

typedef struct Questions {
    UuidSet submitted;
    UuidSet lids;
    UuidSet named;
    UuidSet sources; /* of submitted Associations */
    UuidSet targets;
    UuidSet replaced;
    UuidSet filed; /* that, and what replaces it: whose Folders are asked for */
} Questions;

static void ask_association(Questions *questions, const Association *association)
{
    if (association->type == ASSOCIATION_UPDATE_AVAILABILITY_STATUS) {
        if (!association->target.is_in_submission) {
            uuid_set_add(&questions->named, association->target.uuid);
        }
    } else if (!association->source.is_in_submission) {
        uuid_set_add(&questions->named, association->source.uuid);
        uuid_set_add(&questions->named, association->target.uuid);
        uuid_set_add(&questions->sources, association->source.uuid);
        uuid_set_add(&questions->targets, association->target.uuid);
        if (association_type_replaces(association->type)) {
            uuid_set_add(&questions->replaced, association->target.uuid);
            uuid_set_add(&questions->filed, association->target.uuid);
            uuid_set_add(&questions->filed, association->source.uuid);
        }
    }
}

static Questions collect_questions(Arena *arena, const Submission *submission)
{
    Questions questions;
    UuidSet *sets[] = {&questions.lids,    &questions.named,    &questions.sources,
                       &questions.targets, &questions.replaced, &questions.filed};
    questions.submitted = store_submitted_uuids(arena, submission);
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        uuid_set_init(sets[i], arena);
    }
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        uuid_set_add(&questions.lids, d->lid);
    }
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        uuid_set_add(&questions.lids, f->lid);
    }
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        ask_association(&questions, a);
    }
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        uuid_set_close(sets[i]);
    }
    return questions;
}

static int queue_sets(Request *req, DbConn *conn, const DbStatement *statement,
                      const UuidSet *first, const UuidSet *second)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, first->items, first->count);
    if (second != NULL) {
        db_param_uuid_array(&params, second->items, second->count);
    }
    return db_queue(conn, req, statement, &params);
}

static int queue_three_sets(Request *req, DbConn *conn, const DbStatement *statement,
                            const UuidSet *first, const UuidSet *second, const UuidSet *third)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, first->items, first->count);
    db_param_uuid_array(&params, second->items, second->count);
    db_param_uuid_array(&params, third->items, third->count);
    return db_queue(conn, req, statement, &params);
}

/** The uniqueIds as claims. Only that of the SubmissionSet is new: those of documents are those of
 * their earlier versions, or the message is refused. */
static void make_claims(Arena *arena, const PreparedSubmission *prepared,
                        const SubmittedDocument *submitted, RegistryState *state)
{
    const Submission *submission = prepared->submission;
    state->claims = ARENA_ARRAY(arena, UniqueIdClaim, 1 + submission->document_count);
    state->claims[state->claim_count++] = store_make_claim(
        OBJECT_SUBMISSION_SET, submission->submission_set->unique_id, -1, STR_EMPTY);
    for (size_t i = 0; i < submission->document_count; i++) {
        UniqueIdClaim claim =
            store_make_claim(OBJECT_DOCUMENT_ENTRY, prepared->documents[i].entry->unique_id,
                             submitted[i].size_bytes, submitted[i].hash);
        claim.is_taken = true;
        claim.taken_kind = OBJECT_DOCUMENT_ENTRY;
        claim.taken_size_bytes = claim.size_bytes;
        claim.taken_hash = claim.hash;
        state->claims[state->claim_count++] = claim;
    }
}

/* ---- the batch ---- */

typedef struct Batch {
    DbResult *claimed;
    DbResult *held_uuids;
    DbResult *taken_uuids;
    DbResult *patient;
    DbResult *documents;
    DbResult *folders;
    DbResult *associations;
    DbResult *links;
    DbResult *equal;
    DbResult *memberships;
} Batch;

enum { BATCH_MAX = 12 + PATIENT_LOCK_STATEMENTS_MAX };

/** Where the results go, in the order of the statements. */
typedef struct Places {
    DbResult **items[BATCH_MAX];
    size_t count;
} Places;

static void put(Places *places, DbResult **place)
{
    places->items[places->count++] = place;
}

static int queue_locks(Request *req, DbConn *conn, const Questions *questions, Batch *batch,
                       Places *places)
{
    int rc = 0;
    for (int run = 0; run < 2 && rc == 0; run++) {
        rc = queue_sets(req, conn, &lock_documents, &questions->lids, &questions->named);
        put(places, &batch->documents);
    }
    for (int run = 0; run < 2 && rc == 0; run++) {
        rc = queue_three_sets(req, conn, &lock_folders, &questions->lids, &questions->named,
                              &questions->replaced);
        put(places, &batch->folders);
    }
    rc = rc < 0 ? rc : queue_sets(req, conn, &lock_associations, &questions->named, NULL);
    put(places, &batch->associations);
    rc = rc < 0 ? rc : queue_sets(req, conn, &select_links, &questions->lids, NULL);
    put(places, &batch->links);
    if (questions->named.count > 0) {
        rc = rc < 0 ? rc
                    : queue_three_sets(req, conn, &select_equal, &questions->sources,
                                       &questions->targets, &questions->named);
        put(places, &batch->equal);
    }
    if (questions->replaced.count > 0) {
        rc = rc < 0 ? rc : queue_sets(req, conn, &select_memberships, &questions->filed, NULL);
        put(places, &batch->memberships);
    }
    return rc;
}

static int run_batch(const Registry *registry, Request *req, DbConn *conn,
                     const Questions *questions, const PatientQuestion *patient,
                     const UniqueIdClaim *set, Batch *batch)
{
    const PatientDirectory *patients = registry->config.patients;
    DbResult *results[BATCH_MAX];
    Places places = {.count = 0};
    size_t lock_count = 0;
    int rc = db_queue_begin(conn, req);
    rc = rc < 0 ? rc : store_queue_claims(req, conn, set, 1);
    put(&places, &batch->claimed);
    if (questions->submitted.count > 0) {
        rc = rc < 0 ? rc : store_queue_submitted(req, conn, &questions->submitted);
        put(&places, &batch->held_uuids);
        put(&places, &batch->taken_uuids);
    }
    rc = rc < 0 ? rc : patients->queue_lock(patients->ctx, req, conn, patient, &lock_count);
    for (size_t i = 0; i < lock_count; i++) {
        put(&places, &batch->patient); /* of the last one in the end */
    }
    rc = rc < 0 ? rc : queue_locks(req, conn, questions, batch, &places);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    for (size_t i = 0; rc == 0 && i < places.count; i++) {
        *places.items[i] = results[i];
    }
    return rc;
}

/* ---- rows ---- */

static StoredVersion read_common(const DbResult *rows, int row, ObjectKind kind)
{
    return (StoredVersion){
        .object = {.entry_uuid = db_uuid(rows, row, ENTRY_UUID),
                   .kind = kind,
                   .patient = db_i64(rows, row, PATIENT),
                   .access = {.status = db_i16(rows, row, STATUS),
                              .source_facility = db_i32(rows, row, SOURCE_FACILITY),
                              .effective_us = INT64_MIN}},
        .lid = db_uuid(rows, row, LID),
        .version = db_i32(rows, row, VERSION),
        .is_latest = db_bool(rows, row, IS_LATEST),
        .unique_id = db_text(rows, row, UNIQUE_ID),
        .stored_patient = db_i64(rows, row, PATIENT),
        .size_bytes = -1,
    };
}

static StoredVersion read_document(const DbResult *rows, int row, Arena *arena)
{
    StoredVersion version = read_common(rows, row, OBJECT_DOCUMENT_ENTRY);
    int32_t *codes;
    AccessObject *access = &version.object.access;
    access->class_code = db_i32(rows, row, CLASS_CODE);
    access->confidentiality_count = db_i32_array(rows, row, CONFIDENTIALITY, arena, &codes);
    access->confidentiality_codes = codes;
    access->effective_us = db_timestamp_or(rows, row, EFFECTIVE, INT64_MIN);
    version.object.is_on_demand = db_bool(rows, row, IS_ON_DEMAND);
    version.object.is_transformation = db_bool(rows, row, IS_TRANSFORMATION);
    version.is_offline = db_i32(rows, row, AVAILABILITY) == AVAILABILITY_OFFLINE;
    version.size_bytes = db_i64(rows, row, SIZE);
    version.hash = db_text(rows, row, HASH);
    version.repository = db_i32(rows, row, REPOSITORY);
    version.source_patient_id = db_text(rows, row, SOURCE_PATIENT_ID);
    version.terms = (ConsentTerms){
        .class_code = access->class_code,
        .format_code = db_i32(rows, row, FORMAT_CODE),
        .start_us = db_timestamp_or(rows, row, SERVICE_START, INT64_MIN),
        .stop_us = db_timestamp_or(rows, row, SERVICE_STOP, INT64_MIN),
    };
    if (!db_is_null(rows, row, EVENT_CODES)) {
        version.terms.event_code_count = db_i32_array(rows, row, EVENT_CODES, arena, &codes);
        version.terms.event_code_list = codes;
    }
    return version;
}

static int compare_versions(const void *a, const void *b)
{
    return uuid_compare(&((const StoredVersion *)a)->object.entry_uuid,
                        &((const StoredVersion *)b)->object.entry_uuid);
}

static void read_versions(Arena *arena, const Batch *batch, UpdateState *state)
{
    size_t capacity = (size_t)db_rows(batch->documents) + (size_t)db_rows(batch->folders);
    size_t count = 0;
    state->versions = ARENA_ARRAY(arena, StoredVersion, capacity);
    for (int row = 0; row < db_rows(batch->documents); row++) {
        state->versions[count++] = read_document(batch->documents, row, arena);
    }
    for (int row = 0; row < db_rows(batch->folders); row++) {
        state->versions[count] = read_common(batch->folders, row, OBJECT_FOLDER);
        state->versions[count++].last_update_us =
            db_timestamp(batch->folders, row, LAST_UPDATE_TIME);
    }
    if (count > 0) {
        qsort(state->versions, count, sizeof(StoredVersion), compare_versions);
    }
    state->registry.object_count = count;
    state->registry.objects = ARENA_ARRAY(arena, StoredObject, count);
}

static StoredAssociationList read_associations(Arena *arena, const DbResult *rows)
{
    StoredAssociationList list = {0};
    if (rows == NULL) {
        return list;
    }
    list.items = ARENA_ARRAY(arena, StoredAssociation, (size_t)db_rows(rows));
    for (int row = 0; row < db_rows(rows); row++) {
        list.items[list.count++] = (StoredAssociation){
            .entry_uuid = db_uuid(rows, row, 0),
            .source = db_uuid(rows, row, 1),
            .target = db_uuid(rows, row, 2),
            .type = (AssociationType)db_i16(rows, row, 3),
            .source_kind = (ObjectKind)db_i16(rows, row, 4),
            .target_kind = (ObjectKind)db_i16(rows, row, 5),
            .status = (AvailabilityStatus)db_i16(rows, row, 6),
            .metadata = db_text(rows, row, 7),
            .is_target_approved = db_bool(rows, row, 8),
        };
    }
    return list;
}

static void read_memberships(Arena *arena, const DbResult *rows, RegistryState *state)
{
    size_t count = rows != NULL ? (size_t)db_rows(rows) : 0;
    state->memberships = ARENA_ARRAY(arena, FolderMembership, count);
    for (size_t i = 0; i < count; i++) {
        state->memberships[state->membership_count++] = (FolderMembership){
            .folder = db_uuid(rows, (int)i, 0), .document = db_uuid(rows, (int)i, 1)};
    }
}

/** Survivors in place of patients, in both forms of the objects. */
static int resolve_patients(const Registry *registry, Request *req, DbConn *conn,
                            UpdateState *state)
{
    RegistryState *objects = &state->registry;
    for (size_t i = 0; i < objects->object_count; i++) {
        objects->objects[i] = state->versions[i].object;
    }
    int rc = store_resolve_merged_patients(registry, req, conn, objects);
    for (size_t i = 0; rc == 0 && i < objects->object_count; i++) {
        state->versions[i].object.patient = objects->objects[i].patient;
    }
    return rc;
}

/* ---- documents of which other bytes, or another place, are told ---- */

/** The latest version of the document, if so. */
static StoredVersion *find_changed(UpdateState *state, const DocumentEntry *document,
                                   const SubmittedDocument *submitted)
{
    for (size_t i = 0; i < state->registry.object_count; i++) {
        StoredVersion *v = &state->versions[i];
        if (v->is_latest && uuid_equal(v->lid, document->lid) &&
            v->object.kind == OBJECT_DOCUMENT_ENTRY) {
            return update_tells_otherwise(v, submitted) ? v : NULL;
        }
    }
    return NULL;
}

static int ask_repository(const Registry *registry, Request *req, DbConn *conn,
                          const DocumentBytes *bytes, size_t count, StoredVersion *const *changed)
{
    const DocumentFollower *documents = registry->config.documents;
    DocumentHolding *holdings = ARENA_ARRAY(req->arena, DocumentHolding, count);
    int rc = documents == NULL
                 ? 0
                 : documents->compare(documents->ctx, req, conn, bytes, count, holdings);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        changed[i]->is_held_here = holdings[i] != HOLDING_NONE;
        changed[i]->has_other_bytes = holdings[i] == HOLDING_OTHER;
    }
    return rc;
}

static int ask_twins(Request *req, DbConn *conn, const DocumentBytes *bytes, size_t count,
                     StoredVersion *const *changed)
{
    Str *unique_ids = ARENA_ARRAY(req->arena, Str, count);
    Uuid *lids = ARENA_ARRAY(req->arena, Uuid, count);
    for (size_t i = 0; i < count; i++) {
        unique_ids[i] = bytes[i].unique_id;
        lids[i] = changed[i]->lid;
    }
    DbParams params;
    DbResult *rows;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, unique_ids, count);
    db_param_uuid_array(&params, lids, count);
    int rc = db_exec(conn, req, &select_twins, &params, &rows);
    for (int row = 0; rc == 0 && row < db_rows(rows); row++) {
        for (size_t i = 0; i < count; i++) {
            changed[i]->has_other_bytes =
                changed[i]->has_other_bytes || uuid_equal(lids[i], db_uuid(rows, row, 0));
        }
    }
    return rc;
}

static int read_bytes(const Registry *registry, Request *req, DbConn *conn,
                      const Submission *submission, const SubmittedDocument *submitted,
                      UpdateState *state)
{
    DocumentBytes *bytes = ARENA_ARRAY(req->arena, DocumentBytes, submission->document_count);
    StoredVersion **changed = ARENA_ARRAY(req->arena, StoredVersion *, submission->document_count);
    size_t count = 0;
    size_t position = 0;
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next, position++) {
        StoredVersion *version = find_changed(state, d, &submitted[position]);
        if (version != NULL) {
            changed[count] = version;
            bytes[count++] = (DocumentBytes){.unique_id = d->unique_id,
                                             .size_bytes = submitted[position].size_bytes,
                                             .hash = submitted[position].hash};
        }
    }
    if (count == 0) {
        return 0;
    }
    int rc = ask_repository(registry, req, conn, bytes, count, changed);
    return rc < 0 ? rc : ask_twins(req, conn, bytes, count, changed);
}

/* ---- the whole state ---- */

static int read_batch(Registry *registry, Request *req, DbConn *conn,
                      const PreparedSubmission *prepared, const SubmittedDocument *submitted,
                      const Questions *questions, UpdateState *state)
{
    const Submission *submission = prepared->submission;
    Str *sources;
    size_t source_count = store_source_patients(req->arena, submission, &sources);
    const PatientQuestion patient = {.patient_ids = &submission->submission_set->patient_id,
                                     .count = 1,
                                     .source_patient_ids = sources,
                                     .source_count = source_count};
    Batch batch = {0};
    int rc =
        run_batch(registry, req, conn, questions, &patient, &state->registry.claims[0], &batch);
    if (rc < 0) {
        return rc;
    }
    state->registry.claims[0].is_taken = db_rows(batch.claimed) == 0;
    store_read_taken_uuids(req->arena, batch.taken_uuids, &state->registry);
    store_read_patients(registry, req, batch.patient, &patient, &state->registry.patient,
                        &state->registry);
    read_versions(req->arena, &batch, state);
    state->named = read_associations(req->arena, batch.associations);
    state->links = read_associations(req->arena, batch.links);
    state->equal = read_associations(req->arena, batch.equal);
    read_memberships(req->arena, batch.memberships, &state->registry);
    rc = resolve_patients(registry, req, conn, state);
    return rc < 0 ? rc : read_bytes(registry, req, conn, submission, submitted, state);
}

/** What the uniqueId of the SubmissionSet is, if it is taken. The claims come in order then. */
static int read_taken_set(Request *req, DbConn *conn, RegistryState *state)
{
    RegistryState set = {.claims = &state->claims[0], .claim_count = 1};
    int rc = state->claims[0].is_taken ? store_read_taken_claims(req, conn, &set) : 0;
    store_sort_claims(state);
    return rc;
}

int update_read_state(Registry *registry, Request *req, DbConn *conn,
                      const PreparedSubmission *prepared, const SubmittedDocument *submitted,
                      UpdateState *ret_state)
{
    const Questions questions = collect_questions(req->arena, prepared->submission);
    UpdateState state = {0};
    make_claims(req->arena, prepared, submitted, &state.registry);
    int rc = read_batch(registry, req, conn, prepared, submitted, &questions, &state);
    rc = rc < 0 ? rc : read_taken_set(req, conn, &state.registry);
    if (rc < 0) {
        return rc;
    }
    *ret_state = state;
    return 0;
}
