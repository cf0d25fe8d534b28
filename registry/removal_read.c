#include "registry/removal_read.h"

#include <stdlib.h>

#include "lib/access/retention.h"

/* Kinds and types: 0 DocumentEntry, 1 SubmissionSet, 2 Folder, 3 Association; 0 HasMember;
 * submission_set_status: 2 Reference. */
_Static_assert(OBJECT_DOCUMENT_ENTRY == 0 && OBJECT_SUBMISSION_SET == 1 && OBJECT_FOLDER == 2,
               "literals of removal_read.c");
_Static_assert(ASSOCIATION_HAS_MEMBER == 0, "literals of removal_read.c");

/* ---- statements; $1 the entryUUIDs that the request names ---- */

#define SQL_ENDS                                                                                   \
    "SELECT unnest($1::uuid[])"                                                                    \
    " UNION SELECT source_object FROM association WHERE entry_uuid = ANY ($1::uuid[])"             \
    " UNION SELECT target_object FROM association WHERE entry_uuid = ANY ($1::uuid[])"
/* The first version has no lid: it is its own. */
#define SQL_LIDS(table)                                                                            \
    "SELECT coalesce(lid, entry_uuid) FROM " table " WHERE entry_uuid = ANY ($1::uuid[])"
#define SQL_WITH_VERSIONS(table)                                                                   \
    "ARRAY(" SQL_ENDS " UNION " SQL_LIDS(table) " UNION SELECT entry_uuid FROM " table             \
                                                " WHERE lid = ANY (ARRAY(" SQL_LIDS(table) ")))"

/* What is to be held before anything is locked; none of it ever changes. */
#define SQL_FORESEEN(table)                                                                        \
    "SELECT patient, unique_id, entry_uuid = ANY ($1::uuid[]) FROM " table                         \
    " WHERE entry_uuid = ANY (ARRAY(" SQL_ENDS "))"
static const DbStatement select_foreseen = {
    "removal_foreseen", SQL_FORESEEN("document_entry") " UNION ALL " SQL_FORESEEN(
                            "folder") " UNION ALL " SQL_FORESEEN("submission_set")};
enum { FORESEEN_PATIENT, FORESEEN_UNIQUE_ID, FORESEEN_IS_NAMED };

static const DbStatement lock_unique_ids = {
    "removal_lock_unique_ids",
    "SELECT digest FROM unique_id WHERE digest = ANY ($1::uuid[]) ORDER BY digest FOR UPDATE"};

/* Both are run twice: the second run sees the versions that an update has left for which the first
 * one waited. */
static const DbStatement lock_documents = {
    "removal_lock_documents",
    "SELECT entry_uuid, patient, source_facility, status, unique_id, coalesce(lid, entry_uuid),"
    " class_code, confidentiality_code, coalesce(service_start_time, creation_time)"
    " FROM document_entry WHERE entry_uuid = ANY (" SQL_WITH_VERSIONS(
        "document_entry") ")"
                          " ORDER BY entry_uuid FOR UPDATE"};
static const DbStatement lock_folders = {
    "removal_lock_folders",
    "SELECT entry_uuid, patient, source_facility, status, unique_id, coalesce(lid, entry_uuid)"
    " FROM folder WHERE entry_uuid = ANY (" SQL_WITH_VERSIONS(
        "folder") ")"
                  " ORDER BY entry_uuid FOR UPDATE"};
static const DbStatement lock_associations = {
    "removal_lock_associations",
    "SELECT entry_uuid, source_object, target_object, source_kind, target_kind FROM association"
    " WHERE entry_uuid = ANY ($1::uuid[]) ORDER BY entry_uuid FOR UPDATE"};
static const DbStatement lock_sets = {
    "removal_lock_sets",
    "SELECT entry_uuid, patient, source_facility, status, unique_id, entry_uuid"
    " FROM submission_set WHERE entry_uuid = ANY (ARRAY(" SQL_ENDS "))"
    " ORDER BY entry_uuid FOR UPDATE"};
enum {
    ENTRY_UUID,
    PATIENT,
    SOURCE_FACILITY,
    STATUS,
    UNIQUE_ID,
    LID,
    CLASS_CODE,
    CONFIDENTIALITY,
    EFFECTIVE,
};
enum { SOURCE = ENTRY_UUID + 1, TARGET, SOURCE_KIND, TARGET_KIND };

/* As many as an answer tells of. */
static const DbStatement select_references = {
    "removal_references",
    "SELECT entry_uuid, CASE WHEN source_object = ANY ($1::uuid[]) THEN source_object"
    "   ELSE target_object END FROM association"
    " WHERE (source_object = ANY ($1::uuid[]) OR target_object = ANY ($1::uuid[]))"
    " AND entry_uuid <> ALL ($1::uuid[]) ORDER BY entry_uuid LIMIT 201"};

static const DbStatement select_ends = {
    "removal_ends",
    "WITH ends AS (SELECT DISTINCT u.id, u.kind FROM association a CROSS JOIN LATERAL"
    "   (VALUES (a.source_object, a.source_kind), (a.target_object, a.target_kind)) u (id, kind)"
    "   WHERE a.entry_uuid = ANY ($1::uuid[]) AND a.source_kind = 1 AND u.kind <> 3"
    "    AND u.id <> ALL ($1::uuid[]))"
    " SELECT id, kind::smallint, CASE kind"
    "   WHEN 1 THEN EXISTS (SELECT FROM association r WHERE r.source_object = ends.id"
    "     AND r.entry_uuid <> ALL ($1::uuid[]))"
    "   ELSE EXISTS (SELECT FROM association r WHERE r.target_object = ends.id"
    "     AND r.source_kind = 1 AND r.type = 0 AND r.submission_set_status <> 2"
    "     AND r.entry_uuid <> ALL ($1::uuid[])) END FROM ends ORDER BY id"};

/* ---- what is to be held ---- */

/** What is known of the named objects before they are locked. */
typedef struct Foreseen {
    UuidSet digests; /* of the uniqueIds of what is to go */
    RemovalPatient *patients;
    size_t patient_count;
    Str *identifiers; /* of patients, each once */
    size_t identifier_count;
} Foreseen;

static int compare_patients(const void *a, const void *b)
{
    const RemovalPatient *left = a;
    const RemovalPatient *right = b;
    return (left->id > right->id) - (left->id < right->id);
}

Str removal_patient_identifier(const RemovalRead *read, int64_t patient)
{
    const RemovalPatient key = {.id = patient};
    const RemovalPatient *found =
        read->patient_count == 0
            ? NULL
            : bsearch(&key, read->patients, read->patient_count, sizeof(key), compare_patients);
    return found != NULL ? found->identifier : STR_EMPTY;
}

static int compare_texts(const void *a, const void *b)
{
    return str_compare(*(const Str *)a, *(const Str *)b);
}

static void read_foreseen(Arena *arena, const DbResult *rows, Foreseen *foreseen)
{
    size_t count = (size_t)db_rows(rows);
    uuid_set_init(&foreseen->digests, arena);
    foreseen->patients = ARENA_ARRAY(arena, RemovalPatient, count);
    for (int row = 0; row < db_rows(rows); row++) {
        foreseen->patients[row].id = db_i64(rows, row, FORESEEN_PATIENT);
        if (db_bool(rows, row, FORESEEN_IS_NAMED)) {
            uuid_set_add(&foreseen->digests, uuid_digest(db_text(rows, row, FORESEEN_UNIQUE_ID)));
        }
    }
    uuid_set_close(&foreseen->digests);
    if (count > 0) {
        qsort(foreseen->patients, count, sizeof(RemovalPatient), compare_patients);
    }
    for (size_t i = 0; i < count; i++) {
        size_t kept = foreseen->patient_count;
        if (kept == 0 || foreseen->patients[kept - 1].id != foreseen->patients[i].id) {
            foreseen->patients[foreseen->patient_count++] = foreseen->patients[i];
        }
    }
}

static int name_patients(const Registry *registry, Request *req, DbConn *conn, Foreseen *foreseen)
{
    const PatientDirectory *directory = registry->config.patients;
    size_t count = foreseen->patient_count;
    int64_t *ids = ARENA_ARRAY(req->arena, int64_t, count);
    int64_t *survivors = ARENA_ARRAY(req->arena, int64_t, count);
    Str *identifiers = ARENA_ARRAY(req->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        ids[i] = foreseen->patients[i].id;
    }
    int rc = count == 0 ? 0
                        : directory->identifiers(directory->ctx, req, conn, ids, count, identifiers,
                                                 survivors);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        foreseen->patients[i].identifier = identifiers[i];
    }
    if (rc < 0 || count == 0) {
        return rc;
    }
    qsort(identifiers, count, sizeof(Str), compare_texts);
    foreseen->identifiers = identifiers;
    for (size_t i = 0; i < count; i++) {
        size_t kept = foreseen->identifier_count;
        if (kept == 0 || !str_equal(identifiers[kept - 1], identifiers[i])) {
            identifiers[foreseen->identifier_count++] = identifiers[i];
        }
    }
    return 0;
}

static int queue_set(Request *req, DbConn *conn, const DbStatement *statement, const UuidSet *set)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, set->items, set->count);
    return db_queue(conn, req, statement, &params);
}

static int foresee(const Registry *registry, Request *req, DbConn *conn, const UuidSet *named,
                   Foreseen *ret_foreseen)
{
    enum { BEGUN_LOCK, BEGUN_FORESEEN, BEGUN_COUNT };
    DbResult *results[BEGUN_COUNT];
    *ret_foreseen = (Foreseen){0};
    int rc = db_queue_begin(conn, req);
    rc = rc < 0 ? rc : retention_queue_lock(req, conn);
    rc = rc < 0 ? rc : queue_set(req, conn, &select_foreseen, named);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0) {
        return rc;
    }
    read_foreseen(req->arena, results[BEGUN_FORESEEN], ret_foreseen);
    return name_patients(registry, req, conn, ret_foreseen);
}

/* ---- the batch ---- */

typedef struct Batch {
    DbResult *documents;
    DbResult *folders;
    DbResult *associations;
    DbResult *sets;
    DbResult *references;
    DbResult *ends;
} Batch;

static int run_batch(const Registry *registry, Request *req, DbConn *conn, const UuidSet *named,
                     const Foreseen *foreseen, Batch *ret_batch)
{
    static const DbStatement *const locks[] = {
        &lock_documents,    &lock_documents, &lock_folders,      &lock_folders,
        &lock_associations, &lock_sets,      &select_references, &select_ends};
    enum { UNIQUE_IDS = 1 };
    const PatientDirectory *patients = registry->config.patients;
    DbResult *results[UNIQUE_IDS + PATIENT_LOCK_STATEMENTS_MAX + ARRAY_LEN(locks)];
    const PatientQuestion question = {.patient_ids = foreseen->identifiers,
                                      .count = foreseen->identifier_count};
    size_t lock_count = 0;
    int rc = queue_set(req, conn, &lock_unique_ids, &foreseen->digests);
    if (rc == 0 && question.count > 0) {
        rc = patients->queue_lock(patients->ctx, req, conn, &question, &lock_count);
    }
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(locks); i++) {
        rc = queue_set(req, conn, locks[i], named);
    }
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc == 0) {
        DbResult **first = results + UNIQUE_IDS + lock_count;
        *ret_batch = (Batch){.documents = first[1],
                             .folders = first[3],
                             .associations = first[4],
                             .sets = first[5],
                             .references = first[6],
                             .ends = first[7]};
    }
    return rc;
}

/* ---- rows ---- */

/** Everything that is locked but Associations, in order of entryUUID. */
typedef struct Locked {
    RemovalObject *items;
    Uuid *lids; /* of items, before they are sorted */
    size_t count;
} Locked;

static int compare_objects(const void *a, const void *b)
{
    return uuid_compare(&((const RemovalObject *)a)->object.entry_uuid,
                        &((const RemovalObject *)b)->object.entry_uuid);
}

static const RemovalObject *find_locked(const Locked *locked, Uuid entry_uuid)
{
    const RemovalObject key = {.object.entry_uuid = entry_uuid};
    return locked->count == 0 ? NULL
                              : bsearch(&key, locked->items, locked->count, sizeof(RemovalObject),
                                        compare_objects);
}

static void read_locked(Arena *arena, const DbResult *rows, ObjectKind kind, Locked *locked)
{
    for (int row = 0; row < db_rows(rows); row++) {
        RemovalObject *object = &locked->items[locked->count];
        AccessObject *access = &object->object.access;
        *object = (RemovalObject){
            .object = {.entry_uuid = db_uuid(rows, row, ENTRY_UUID),
                       .kind = kind,
                       .patient = db_i64(rows, row, PATIENT),
                       .access = {.status = db_i16(rows, row, STATUS),
                                  .source_facility = db_i32(rows, row, SOURCE_FACILITY),
                                  .effective_us = INT64_MIN}},
            .unique_id = db_text(rows, row, UNIQUE_ID),
        };
        locked->lids[locked->count++] = db_uuid(rows, row, LID);
        if (kind == OBJECT_DOCUMENT_ENTRY) {
            int32_t *codes;
            access->class_code = db_i32(rows, row, CLASS_CODE);
            access->confidentiality_count = db_i32_array(rows, row, CONFIDENTIALITY, arena, &codes);
            access->confidentiality_codes = codes;
            access->effective_us = db_timestamp_or(rows, row, EFFECTIVE, INT64_MIN);
        }
    }
}

/** An object that stays while another one with its lid goes. Before the objects are sorted. */
static void read_versions(Arena *arena, const UuidSet *named, const Locked *locked,
                          RemovalState *state)
{
    UuidSet going;
    uuid_set_init(&going, arena);
    for (size_t i = 0; i < locked->count; i++) {
        if (uuid_set_has(named, locked->items[i].object.entry_uuid)) {
            uuid_set_add(&going, locked->lids[i]);
        }
    }
    uuid_set_close(&going);
    state->versions = ARENA_ARRAY(arena, RemovalVersion, locked->count);
    for (size_t i = 0; i < locked->count; i++) {
        Uuid entry_uuid = locked->items[i].object.entry_uuid;
        if (!uuid_set_has(named, entry_uuid) && uuid_set_has(&going, locked->lids[i])) {
            state->versions[state->version_count++] =
                (RemovalVersion){.entry_uuid = entry_uuid, .lid = locked->lids[i]};
        }
    }
}

static RemovalObject read_association(const DbResult *rows, int row, const Locked *locked)
{
    RemovalObject association = {
        .source = db_uuid(rows, row, SOURCE),
        .target = db_uuid(rows, row, TARGET),
        .source_kind = (ObjectKind)db_i16(rows, row, SOURCE_KIND),
        .target_kind = (ObjectKind)db_i16(rows, row, TARGET_KIND),
    };
    const RemovalObject *source = find_locked(locked, association.source);
    const RemovalObject *target = find_locked(locked, association.target);
    if (source != NULL) {
        association.object = source->object;
        association.source_object = &source->object;
    }
    if (target != NULL && association.source_kind == OBJECT_SUBMISSION_SET) {
        association.member = &target->object;
    }
    association.object.entry_uuid = db_uuid(rows, row, ENTRY_UUID);
    association.object.kind = OBJECT_ASSOCIATION;
    return association;
}

static void read_references(Arena *arena, const DbResult *rows, RemovalState *state)
{
    state->reference_count = (size_t)db_rows(rows);
    state->references = ARENA_ARRAY(arena, RemovalReference, state->reference_count);
    for (int row = 0; row < db_rows(rows); row++) {
        state->references[row] = (RemovalReference){.association = db_uuid(rows, row, 0),
                                                    .removed_end = db_uuid(rows, row, 1)};
    }
}

static void read_ends(Arena *arena, const DbResult *rows, RemovalState *state)
{
    state->end_count = (size_t)db_rows(rows);
    state->ends = ARENA_ARRAY(arena, RemovalEnd, state->end_count);
    for (int row = 0; row < db_rows(rows); row++) {
        state->ends[row] = (RemovalEnd){.entry_uuid = db_uuid(rows, row, 0),
                                        .kind = (ObjectKind)db_i16(rows, row, 1),
                                        .is_held = db_bool(rows, row, 2)};
    }
}

static void read_state(Arena *arena, const UuidSet *named, const Batch *batch, RemovalState *state)
{
    size_t capacity = (size_t)db_rows(batch->documents) + (size_t)db_rows(batch->folders) +
                      (size_t)db_rows(batch->sets);
    Locked locked = {.items = ARENA_ARRAY(arena, RemovalObject, capacity),
                     .lids = ARENA_ARRAY(arena, Uuid, capacity)};
    *state = (RemovalState){0};
    read_locked(arena, batch->documents, OBJECT_DOCUMENT_ENTRY, &locked);
    read_locked(arena, batch->folders, OBJECT_FOLDER, &locked);
    read_locked(arena, batch->sets, OBJECT_SUBMISSION_SET, &locked);
    read_versions(arena, named, &locked, state);
    if (locked.count > 0) {
        qsort(locked.items, locked.count, sizeof(RemovalObject), compare_objects);
    }
    state->objects =
        ARENA_ARRAY(arena, RemovalObject, locked.count + (size_t)db_rows(batch->associations));
    for (size_t i = 0; i < locked.count; i++) {
        if (uuid_set_has(named, locked.items[i].object.entry_uuid)) {
            state->objects[state->object_count++] = locked.items[i];
        }
    }
    for (int row = 0; row < db_rows(batch->associations); row++) {
        state->objects[state->object_count++] = read_association(batch->associations, row, &locked);
    }
    if (state->object_count > 0) {
        qsort(state->objects, state->object_count, sizeof(RemovalObject), compare_objects);
    }
    read_references(arena, batch->references, state);
    read_ends(arena, batch->ends, state);
}

int removal_read(Registry *registry, Request *req, DbConn *conn, const UuidSet *named,
                 RemovalRead *ret_read)
{
    Foreseen foreseen;
    Batch batch = {0};
    int rc = foresee(registry, req, conn, named, &foreseen);
    rc = rc < 0 ? rc : run_batch(registry, req, conn, named, &foreseen, &batch);
    if (rc < 0) {
        return rc;
    }
    read_state(req->arena, named, &batch, &ret_read->state);
    ret_read->patients = foreseen.patients;
    ret_read->patient_count = foreseen.patient_count;
    return 0;
}
