#include "registry/store_state.h"

#include <stdlib.h>

/* The first statement of every registration: whoever comes second waits here for the first one's
 * outcome. All transactions wait in the same order: the parameters come sorted by digest, and
 * unnest() keeps their order. */
static const DbStatement claim_unique_ids = {
    "unique_id_claim", "INSERT INTO unique_id (digest, kind, size_bytes, hash)"
                       " SELECT digest, kind, NULLIF(size_bytes, -1), NULLIF(hash, ''::bytea)"
                       "   FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::bytea[]) AS c "
                       "(digest, kind, size_bytes, hash)"
                       " ON CONFLICT DO NOTHING RETURNING digest"};

/* Held: a removal that frees it waits, or has done so. */
static const DbStatement select_unique_ids = {
    "unique_id_select", "SELECT digest, kind, COALESCE(size_bytes, -1), COALESCE(hash, ''::bytea)"
                        "  FROM unique_id WHERE digest = ANY ($1::uuid[])"
                        " ORDER BY digest FOR KEY SHARE"};

/* One entryUUID is one object, whatever its kind (TF-3 4.2.3.1.5), but each kind has its own table
 * and primary key. So whoever chooses an entryUUID holds it until the end of the transaction, and
 * select_taken_uuids, which comes behind, sees what others that had it before have left. Sorted, as
 * all locks are. A submission with many takes all there are, in one: PostgreSQL keeps locks in a
 * table of fixed size. */
#define HELD_UUIDS_MAX 64
#define ALL_UUIDS "1, 0"
#define ONE_UUID "2, key"
static const DbStatement hold_uuids = {
    "entry_uuid_hold",
    "SELECT pg_advisory_xact_lock_shared(" ALL_UUIDS "), pg_advisory_xact_lock(" ONE_UUID ")"
    "  FROM (SELECT DISTINCT uuid_hash(u) AS key FROM unnest($1::uuid[]) u ORDER BY key) keys"};
static const DbStatement hold_all_uuids = {"entry_uuid_hold_all",
                                           "SELECT pg_advisory_xact_lock(" ALL_UUIDS ")"};

/** How often a claim that was taken and is free a moment later is tried again. */
#define CLAIM_ROUNDS_MAX 3

static const DbStatement select_taken_uuids = {
    "entry_uuid_select",
    "SELECT entry_uuid FROM document_entry WHERE entry_uuid = ANY ($1::uuid[])"
    " UNION ALL SELECT entry_uuid FROM submission_set WHERE entry_uuid = ANY ($1::uuid[])"
    " UNION ALL SELECT entry_uuid FROM folder WHERE entry_uuid = ANY ($1::uuid[])"
    " UNION ALL SELECT entry_uuid FROM association WHERE entry_uuid = ANY ($1::uuid[])"};

/* A lock that the replacement of the same entry waits for; it then sees the status that this one
 * left. Whoever replaces ($3) changes the followers too, and another submission may refer to them:
 * one order for all. */
#define LOCKED_DOCUMENTS SQL_WITH_FOLLOWERS("$1", "$3", "$4")
static const DbStatement lock_documents = {
    "document_entry_lock",
    "WITH locked AS MATERIALIZED"
    " (SELECT entry_uuid, patient, status, is_on_demand, source_facility, class_code,"
    "         confidentiality_code, COALESCE(service_start_time, creation_time) AS effective"
    "    FROM document_entry WHERE entry_uuid = ANY (" LOCKED_DOCUMENTS ")"
    "   ORDER BY entry_uuid FOR NO KEY UPDATE)"
    " SELECT locked.*, EXISTS (SELECT FROM association WHERE type = $2::int"
    "                             AND source_object = locked.entry_uuid)"
    "   FROM locked WHERE entry_uuid = ANY ($1::uuid[])"};

/* $1 Folders that Associations name, $2 replaced documents: the Folders that hold them get the
 * replacement. ARRAY() keeps it an index scan. Membership cannot change any more: whoever adds a
 * document to a Folder locks the document first. */
static const DbStatement lock_folders = {
    "folder_lock",
    "SELECT entry_uuid, patient, status, source_facility FROM folder"
    " WHERE entry_uuid = ANY (ARRAY(SELECT unnest($1::uuid[]) UNION"
    "       SELECT source_object FROM association"
    "        WHERE target_object = ANY ($2::uuid[]) AND type = $3::int AND source_kind = $4::int"
    "          AND status = 0))"
    " ORDER BY entry_uuid FOR NO KEY UPDATE"};

static const DbStatement select_memberships = {
    "folder_membership_select",
    "SELECT source_object, target_object FROM association"
    " WHERE target_object = ANY ($1::uuid[]) AND type = $2::int AND source_kind = $3::int"
    " AND status = 0 ORDER BY target_object"};

/** UUIDs that the registry must look at. */
typedef struct Questions {
    UuidSet submitted;  /* entryUUIDs that the sender chose */
    UuidSet referenced; /* ends of Associations outside the submission */
    UuidSet replaced;   /* those of them that get replaced */
} Questions;

static void ask_submitted(Questions *questions, const RimObject *object, Uuid entry_uuid)
{
    if (str_starts_with(object->id, STR("urn:uuid:"))) {
        uuid_set_add(&questions->submitted, entry_uuid);
    }
}

static void ask_referenced(Questions *questions, const ObjectReference *reference)
{
    if (!reference->is_in_submission) {
        uuid_set_add(&questions->referenced, reference->uuid);
    }
}

static Questions collect_questions(Arena *arena, const Submission *submission)
{
    Questions questions;
    uuid_set_init(&questions.submitted, arena);
    uuid_set_init(&questions.referenced, arena);
    uuid_set_init(&questions.replaced, arena);
    ask_submitted(&questions, submission->submission_set->object,
                  submission->submission_set->entry_uuid);
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        ask_submitted(&questions, d->object, d->entry_uuid);
    }
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        ask_submitted(&questions, f->object, f->entry_uuid);
    }
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        ask_submitted(&questions, a->object, a->entry_uuid);
        ask_referenced(&questions, &a->source);
        ask_referenced(&questions, &a->target);
        if (association_type_replaces(a->type) && !a->target.is_in_submission) {
            uuid_set_add(&questions.replaced, a->target.uuid);
        }
    }
    uuid_set_close(&questions.submitted);
    uuid_set_close(&questions.referenced);
    uuid_set_close(&questions.replaced);
    return questions;
}

UniqueIdClaim store_make_claim(ObjectKind kind, Str unique_id, int64_t size_bytes, Str hash)
{
    return (UniqueIdClaim){.digest = uuid_digest(unique_id),
                           .unique_id = unique_id,
                           .kind = kind,
                           .size_bytes = size_bytes,
                           .hash = hash};
}

static int compare_claims(const void *a, const void *b)
{
    return uuid_compare(&((const UniqueIdClaim *)a)->digest, &((const UniqueIdClaim *)b)->digest);
}

void store_sort_claims(RegistryState *state)
{
    qsort(state->claims, state->claim_count, sizeof(*state->claims), compare_claims);
}

static void collect_claims(Arena *arena, const PreparedSubmission *prepared, RegistryState *state)
{
    const Submission *submission = prepared->submission;
    size_t count = 1 + submission->document_count + submission->folder_count;
    UniqueIdClaim *claims = ARENA_ARRAY(arena, UniqueIdClaim, count);
    size_t n = 0;
    claims[n++] = store_make_claim(OBJECT_SUBMISSION_SET, submission->submission_set->unique_id, -1,
                                   STR_EMPTY);
    for (size_t i = 0; i < submission->document_count; i++) {
        const PreparedDocument *d = &prepared->documents[i];
        claims[n++] =
            store_make_claim(OBJECT_DOCUMENT_ENTRY, d->entry->unique_id, d->size_bytes, d->hash);
    }
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        claims[n++] = store_make_claim(OBJECT_FOLDER, f->unique_id, -1, STR_EMPTY);
    }
    state->claims = claims;
    state->claim_count = n;
    store_sort_claims(state);
}

/** The values of claim_unique_ids. */
typedef struct ClaimRows {
    Uuid *digests;
    int32_t *kinds;
    int64_t *sizes;
    Str *hashes;
    size_t count;
} ClaimRows;

static ClaimRows claim_rows(Arena *arena, size_t capacity)
{
    return (ClaimRows){
        .digests = ARENA_ARRAY(arena, Uuid, capacity),
        .kinds = ARENA_ARRAY(arena, int32_t, capacity),
        .sizes = ARENA_ARRAY(arena, int64_t, capacity),
        .hashes = ARENA_ARRAY(arena, Str, capacity),
    };
}

static void add_claim(ClaimRows *rows, const UniqueIdClaim *claim)
{
    size_t i = rows->count++;
    rows->digests[i] = claim->digest;
    rows->kinds[i] = (int32_t)claim->kind;
    rows->sizes[i] = claim->size_bytes;
    rows->hashes[i] = claim->hash;
}

static int queue_claim_rows(Request *req, DbConn *conn, const ClaimRows *rows)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, rows->digests, rows->count);
    db_param_i32_array(&params, rows->kinds, rows->count);
    db_param_i64_array(&params, rows->sizes, rows->count);
    db_param_bytes_array(&params, rows->hashes, rows->count);
    return db_queue(conn, req, &claim_unique_ids, &params);
}

int store_queue_claims(Request *req, DbConn *conn, const UniqueIdClaim *claims, size_t count)
{
    ClaimRows rows = claim_rows(req->arena, count);
    for (size_t i = 0; i < count; i++) {
        add_claim(&rows, &claims[i]);
    }
    return queue_claim_rows(req, conn, &rows);
}

static int queue_uuids(Request *req, DbConn *conn, const DbStatement *statement,
                       const UuidSet *uuids)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, uuids->items, uuids->count);
    return db_queue(conn, req, statement, &params);
}

int store_queue_submitted(Request *req, DbConn *conn, const UuidSet *submitted)
{
    int rc = submitted->count <= HELD_UUIDS_MAX ? queue_uuids(req, conn, &hold_uuids, submitted)
                                                : db_queue(conn, req, &hold_all_uuids, NULL);
    return rc < 0 ? rc : queue_uuids(req, conn, &select_taken_uuids, submitted);
}

static int queue_lock_documents(Request *req, DbConn *conn, const Questions *questions)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, questions->referenced.items, questions->referenced.count);
    db_param_i32(&params, ASSOCIATION_XFRM);
    db_param_uuid_array(&params, questions->replaced.items, questions->replaced.count);
    store_bind_followers(&params);
    return db_queue(conn, req, &lock_documents, &params);
}

static int queue_lock_folders(Request *req, DbConn *conn, const Questions *questions)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, questions->referenced.items, questions->referenced.count);
    db_param_uuid_array(&params, questions->replaced.items, questions->replaced.count);
    db_param_i32(&params, ASSOCIATION_HAS_MEMBER);
    db_param_i32(&params, OBJECT_FOLDER);
    return db_queue(conn, req, &lock_folders, &params);
}

static int queue_memberships(Request *req, DbConn *conn, const Questions *questions)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, questions->replaced.items, questions->replaced.count);
    db_param_i32(&params, ASSOCIATION_HAS_MEMBER);
    db_param_i32(&params, OBJECT_FOLDER);
    return db_queue(conn, req, &select_memberships, &params);
}

/* ---- sourcePatientIds ---- */

static int compare_texts(const void *a, const void *b)
{
    return str_compare(*(const Str *)a, *(const Str *)b);
}

static void add_source_patients(const Submission *submission, Str *texts, size_t *count)
{
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        texts[(*count)++] = d->source_patient_id;
    }
}

/** Puts them in order, each once. @return how many are left */
static size_t sort_texts(Str *texts, size_t count)
{
    size_t kept = 0;
    if (count > 1) {
        qsort(texts, count, sizeof(Str), compare_texts);
    }
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || !str_equal(texts[kept - 1], texts[i])) {
            texts[kept++] = texts[i];
        }
    }
    return kept;
}

size_t store_source_patients(Arena *arena, const Submission *submission, Str **ret_texts)
{
    Str *texts = ARENA_ARRAY(arena, Str, submission->document_count);
    size_t count = 0;
    add_source_patients(submission, texts, &count);
    *ret_texts = texts;
    return sort_texts(texts, count);
}

UuidSet store_submitted_uuids(Arena *arena, const Submission *submission)
{
    return collect_questions(arena, submission).submitted;
}

/** The results of the batch, in the order in which its statements were queued. */
typedef struct StateBatch {
    DbResult *claimed;
    DbResult *held_uuids; /* says nothing; NULL: not asked (also below) */
    DbResult *taken_uuids;
    DbResult *patient;
    DbResult *documents;
    DbResult *folders;
    DbResult *memberships;
} StateBatch;

/** Sends BEGIN, the claims, the patient's lock, and only the questions that this submission raises.
 * The patient comes before its documents, as in a move (patient_move.c): who waits for the one
 * holds none of the others. */
static int run_state_batch(const Registry *registry, Request *req, DbConn *conn,
                           const Submission *submission, const PatientQuestion *patient,
                           const RegistryState *state, StateBatch *ret_batch)
{
    const Questions questions = collect_questions(req->arena, submission);
    const PatientDirectory *patients = registry->config.patients;
    DbResult *results[7 + PATIENT_LOCK_STATEMENTS_MAX];
    DbResult **places[7 + PATIENT_LOCK_STATEMENTS_MAX];
    size_t count = 0;
    size_t lock_count = 0;
    int rc = db_queue_begin(conn, req);
    rc = rc < 0 ? rc : store_queue_claims(req, conn, state->claims, state->claim_count);
    places[count++] = &ret_batch->claimed;
    if (questions.submitted.count > 0) {
        rc = rc < 0 ? rc : store_queue_submitted(req, conn, &questions.submitted);
        places[count++] = &ret_batch->held_uuids;
        places[count++] = &ret_batch->taken_uuids;
    }
    rc = rc < 0 ? rc : patients->queue_lock(patients->ctx, req, conn, patient, &lock_count);
    for (size_t i = 0; i < lock_count; i++) {
        places[count++] = &ret_batch->patient; /* of the last one in the end */
    }
    if (questions.referenced.count > 0) {
        rc = rc < 0 ? rc : queue_lock_documents(req, conn, &questions);
        places[count++] = &ret_batch->documents;
        rc = rc < 0 ? rc : queue_lock_folders(req, conn, &questions);
        places[count++] = &ret_batch->folders;
    }
    if (questions.replaced.count > 0) {
        /* Again: whoever waited for the update of a Folder sees the new version only now. */
        rc = rc < 0 ? rc : queue_lock_folders(req, conn, &questions);
        places[count++] = &ret_batch->folders;
        rc = rc < 0 ? rc : queue_memberships(req, conn, &questions);
        places[count++] = &ret_batch->memberships;
    }
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        *places[i] = results[i];
    }
    return 0;
}

static UniqueIdClaim *find_claim(const RegistryState *state, Uuid digest)
{
    const UniqueIdClaim key = {.digest = digest};
    return bsearch(&key, state->claims, state->claim_count, sizeof(UniqueIdClaim), compare_claims);
}

/** Marks the claims whose digest is not among those that were free. */
static void note_taken_claims(const DbResult *claimed, RegistryState *state)
{
    for (size_t i = 0; i < state->claim_count; i++) {
        state->claims[i].is_taken = true;
    }
    for (int row = 0; row < db_rows(claimed); row++) {
        find_claim(state, db_uuid(claimed, row, 0))->is_taken = false;
    }
}

/** @param ret_are_there  false: a removal has freed one of them */
static int read_taken_claims(Request *req, DbConn *conn, RegistryState *state, bool *ret_are_there)
{
    UuidSet taken;
    uuid_set_init(&taken, req->arena);
    for (size_t i = 0; i < state->claim_count; i++) {
        if (state->claims[i].is_taken) {
            uuid_set_add(&taken, state->claims[i].digest);
        }
    }
    uuid_set_close(&taken);
    *ret_are_there = true;
    if (taken.count == 0) {
        return 0;
    }
    int rc = queue_uuids(req, conn, &select_unique_ids, &taken);
    DbResult *rows;
    rc = rc < 0 ? rc : db_sync(conn, req, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_are_there = (size_t)db_rows(rows) == taken.count;
    for (int row = 0; row < db_rows(rows); row++) {
        UniqueIdClaim *claim = find_claim(state, db_uuid(rows, row, 0));
        claim->taken_kind = (ObjectKind)db_i16(rows, row, 1);
        claim->taken_size_bytes = db_i64(rows, row, 2);
        claim->taken_hash = db_text(rows, row, 3);
    }
    return 0;
}

static int claim_again(Request *req, DbConn *conn, RegistryState *state)
{
    ClaimRows claims = claim_rows(req->arena, state->claim_count);
    DbResult *claimed;
    for (size_t i = 0; i < state->claim_count; i++) {
        if (state->claims[i].is_taken) {
            add_claim(&claims, &state->claims[i]);
        }
    }
    int rc = queue_claim_rows(req, conn, &claims);
    rc = rc < 0 ? rc : db_sync(conn, req, &claimed);
    for (int row = 0; rc == 0 && row < db_rows(claimed); row++) {
        find_claim(state, db_uuid(claimed, row, 0))->is_taken = false;
    }
    return rc;
}

int store_read_taken_claims(Request *req, DbConn *conn, RegistryState *state)
{
    for (int round = 0; round < CLAIM_ROUNDS_MAX; round++) {
        bool are_there;
        int rc = read_taken_claims(req, conn, state, &are_there);
        if (rc < 0 || are_there) {
            return rc;
        }
        rc = claim_again(req, conn, state);
        if (rc < 0) {
            return rc;
        }
    }
    return error_add(&req->errors, ERR_XDS_REGISTRY_BUSY, NULL,
                     "the uniqueIds of the message are being registered and removed by others at "
                     "this moment; send it again");
}

static StoredObject read_document(const DbResult *rows, int row, Arena *arena)
{
    int32_t *confidentiality;
    size_t count = db_i32_array(rows, row, 6, arena, &confidentiality);
    return (StoredObject){
        .entry_uuid = db_uuid(rows, row, 0),
        .kind = OBJECT_DOCUMENT_ENTRY,
        .patient = db_i64(rows, row, 1),
        .is_on_demand = db_bool(rows, row, 3),
        .is_transformation = db_bool(rows, row, 8),
        .access =
            {
                .status = db_i16(rows, row, 2),
                .source_facility = db_i32(rows, row, 4),
                .class_code = db_i32(rows, row, 5),
                .confidentiality_codes = confidentiality,
                .confidentiality_count = count,
                .effective_us = db_is_null(rows, row, 7) ? INT64_MIN : db_timestamp(rows, row, 7),
            },
    };
}

static StoredObject read_folder(const DbResult *rows, int row)
{
    return (StoredObject){
        .entry_uuid = db_uuid(rows, row, 0),
        .kind = OBJECT_FOLDER,
        .patient = db_i64(rows, row, 1),
        .access =
            {
                .status = db_i16(rows, row, 2),
                .source_facility = db_i32(rows, row, 3),
                .effective_us = INT64_MIN,
            },
    };
}

static int compare_objects(const void *a, const void *b)
{
    return uuid_compare(&((const StoredObject *)a)->entry_uuid,
                        &((const StoredObject *)b)->entry_uuid);
}

static void read_objects(Arena *arena, const StateBatch *batch, RegistryState *state)
{
    if (batch->documents == NULL) {
        return;
    }
    size_t capacity = (size_t)db_rows(batch->documents) + (size_t)db_rows(batch->folders);
    state->objects = ARENA_ARRAY(arena, StoredObject, capacity);
    for (int row = 0; row < db_rows(batch->documents); row++) {
        state->objects[state->object_count++] = read_document(batch->documents, row, arena);
    }
    for (int row = 0; row < db_rows(batch->folders); row++) {
        state->objects[state->object_count++] = read_folder(batch->folders, row);
    }
    if (state->object_count > 0) {
        qsort(state->objects, state->object_count, sizeof(StoredObject), compare_objects);
    }
}

void store_read_taken_uuids(Arena *arena, const DbResult *rows, RegistryState *state)
{
    if (rows == NULL) {
        return;
    }
    state->taken_uuids = ARENA_ARRAY(arena, Uuid, (size_t)db_rows(rows));
    for (int row = 0; row < db_rows(rows); row++) {
        state->taken_uuids[state->taken_uuid_count++] = db_uuid(rows, row, 0);
    }
}

/** Keeps the memberships in Approved Folders: the others get no replacement (TF-3 4.2.2.2.3). */
static void read_memberships(Arena *arena, const DbResult *rows, RegistryState *state)
{
    if (rows == NULL) {
        return;
    }
    state->memberships = ARENA_ARRAY(arena, FolderMembership, (size_t)db_rows(rows));
    for (int row = 0; row < db_rows(rows); row++) {
        FolderMembership membership = {.folder = db_uuid(rows, row, 0),
                                       .document = db_uuid(rows, row, 1)};
        const StoredObject *folder = registry_state_find(state, membership.folder);
        if (folder != NULL && folder->access.status == STATUS_APPROVED) {
            state->memberships[state->membership_count++] = membership;
        }
    }
}

int store_resolve_merged_patients(const Registry *registry, Request *req, DbConn *conn,
                                  RegistryState *state)
{
    size_t *positions = ARENA_ARRAY(req->arena, size_t, state->object_count);
    int64_t *ids = ARENA_ARRAY(req->arena, int64_t, state->object_count);
    size_t count = 0;
    for (size_t i = 0; i < state->object_count; i++) {
        if (state->objects[i].patient != state->patient.survivor) {
            positions[count] = i;
            ids[count++] = state->objects[i].patient;
        }
    }
    if (count == 0) {
        return 0;
    }
    Str *identifiers = ARENA_ARRAY(req->arena, Str, count);
    int64_t *survivors = ARENA_ARRAY(req->arena, int64_t, count);
    const PatientDirectory *patients = registry->config.patients;
    int rc = patients->identifiers(patients->ctx, req, conn, ids, count, identifiers, survivors);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        state->objects[positions[i]].patient = survivors[i];
    }
    return 0;
}

void store_read_patients(const Registry *registry, Request *req, const DbResult *result,
                         const PatientQuestion *question, Patient *ret_patients,
                         RegistryState *state)
{
    const PatientDirectory *patients = registry->config.patients;
    int64_t *owners = ARENA_ARRAY(req->arena, int64_t, question->source_count);
    patients->locked(patients->ctx, req, result, question, ret_patients, owners);
    state->source_patient_ids = question->source_patient_ids;
    state->source_owners = owners;
    state->source_count = question->source_count;
}

int store_read_state(Registry *registry, Request *req, DbConn *conn,
                     const PreparedSubmission *prepared, RegistryState *ret_state)
{
    RegistryState state = {0};
    StateBatch batch = {0};
    collect_claims(req->arena, prepared, &state);
    const Submission *submission = prepared->submission;
    Str *sources;
    size_t source_count = store_source_patients(req->arena, submission, &sources);
    const PatientQuestion question = {.patient_ids = &submission->submission_set->patient_id,
                                      .count = 1,
                                      .source_patient_ids = sources,
                                      .source_count = source_count};
    int rc = run_state_batch(registry, req, conn, submission, &question, &state, &batch);
    if (rc < 0) {
        return rc;
    }
    store_read_taken_uuids(req->arena, batch.taken_uuids, &state);
    read_objects(req->arena, &batch, &state);
    read_memberships(req->arena, batch.memberships, &state);
    store_read_patients(registry, req, batch.patient, &question, &state.patient, &state);
    note_taken_claims(batch.claimed, &state);
    rc = store_read_taken_claims(req, conn, &state);
    rc = rc < 0 ? rc : store_resolve_merged_patients(registry, req, conn, &state);
    if (rc < 0) {
        return rc;
    }
    *ret_state = state;
    return 0;
}

/* ---- many submissions at once ---- */

/** The claims of all items in order of digest. */
typedef struct ClaimList {
    UniqueIdClaim **items;
    size_t count;
} ClaimList;

static int compare_claim_pointers(const void *a, const void *b)
{
    return compare_claims(*(UniqueIdClaim *const *)a, *(UniqueIdClaim *const *)b);
}

static ClaimList collect_all_claims(Arena *arena, StoreItem *const *items, size_t count)
{
    ClaimList all = {0};
    for (size_t i = 0; i < count; i++) {
        items[i]->state = (RegistryState){0};
        collect_claims(items[i]->req->arena, items[i]->prepared, &items[i]->state);
        all.count += items[i]->state.claim_count;
    }
    all.items = ARENA_ARRAY(arena, UniqueIdClaim *, all.count);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t c = 0; c < items[i]->state.claim_count; c++) {
            all.items[n++] = &items[i]->state.claims[c];
        }
    }
    qsort(all.items, all.count, sizeof(UniqueIdClaim *), compare_claim_pointers);
    return all;
}

static int queue_all_claims(Request *req, DbConn *conn, const ClaimList *all)
{
    ClaimRows rows = claim_rows(req->arena, all->count);
    for (size_t i = 0; i < all->count; i++) {
        add_claim(&rows, all->items[i]);
    }
    return queue_claim_rows(req, conn, &rows);
}

/** What was inserted came back in the order in which it was sent. */
static void note_claimed(const ClaimList *all, const DbResult *claimed)
{
    int row = 0;
    for (size_t i = 0; i < all->count; i++) {
        UniqueIdClaim *claim = all->items[i];
        bool is_claimed =
            row < db_rows(claimed) && uuid_equal(claim->digest, db_uuid(claimed, row, 0));
        row += is_claimed;
        claim->is_taken = !is_claimed;
    }
    for (size_t i = 1; i < all->count; i++) {
        if (uuid_equal(all->items[i - 1]->digest, all->items[i]->digest)) {
            all->items[i - 1]->is_taken = true;
            all->items[i]->is_taken = true;
        }
    }
}

static UuidSet submitted_by(const StoreItem *item)
{
    return store_submitted_uuids(item->req->arena, item->prepared->submission);
}

/** Marks the items of which another one chose the same entryUUID: no primary key would notice if
 * their kinds differ. */
static void note_shared_uuids(Arena *arena, StoreItem *const *items, size_t count,
                              const UuidSet *all)
{
    StoreItem **owners = ARENA_ARRAY(arena, StoreItem *, all->count);
    for (size_t i = 0; i < count; i++) {
        const UuidSet own = submitted_by(items[i]);
        for (size_t n = 0; n < own.count; n++) {
            StoreItem **owner = &owners[uuid_set_find(all, own.items[n])];
            if (*owner != NULL) {
                (*owner)->shares_uuid = true;
                items[i]->shares_uuid = true;
            }
            *owner = items[i];
        }
    }
}

/** All entryUUIDs that the senders chose. */
static UuidSet collect_submitted(Arena *arena, StoreItem *const *items, size_t count)
{
    UuidSet all;
    uuid_set_init(&all, arena);
    for (size_t i = 0; i < count; i++) {
        const UuidSet own = submitted_by(items[i]);
        for (size_t n = 0; n < own.count; n++) {
            uuid_set_add(&all, own.items[n]);
        }
    }
    size_t repeated = all.count;
    uuid_set_close(&all);
    if (repeated > all.count) {
        note_shared_uuids(arena, items, count, &all);
    }
    return all;
}

/** Hands the entryUUIDs that exist to the items that submit them. */
static void note_taken_uuids(StoreItem *const *items, size_t count, const DbResult *rows)
{
    for (size_t i = 0; db_rows(rows) > 0 && i < count; i++) {
        Arena *arena = items[i]->req->arena;
        const UuidSet own = submitted_by(items[i]);
        RegistryState *state = &items[i]->state;
        state->taken_uuids = ARENA_ARRAY(arena, Uuid, own.count);
        for (int row = 0; row < db_rows(rows); row++) {
            Uuid taken = db_uuid(rows, row, 0);
            if (uuid_set_has(&own, taken) && state->taken_uuid_count < own.count) {
                state->taken_uuids[state->taken_uuid_count++] = taken;
            }
        }
    }
}

static Str patient_id(const StoreItem *item)
{
    return item->prepared->submission->submission_set->patient_id;
}

/** Items whose patients are in order, so that each patient is asked for once. */
static int compare_patients(const void *a, const void *b)
{
    return str_compare(patient_id(*(StoreItem *const *)a), patient_id(*(StoreItem *const *)b));
}

static size_t collect_patients(StoreItem **sorted, size_t count, Str *ret_identifiers)
{
    size_t kept = 0;
    qsort(sorted, count, sizeof(StoreItem *), compare_patients);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || !str_equal(ret_identifiers[kept - 1], patient_id(sorted[i]))) {
            ret_identifiers[kept++] = patient_id(sorted[i]);
        }
    }
    return kept;
}

static void note_patients(StoreItem *const *sorted, size_t count, const Str *identifiers,
                          const Patient *patients, const RegistryState *sources)
{
    size_t patient = 0;
    for (size_t i = 0; i < count; i++) {
        RegistryState *state = &sorted[i]->state;
        patient += !str_equal(identifiers[patient], patient_id(sorted[i]));
        state->patient = patients[patient];
        state->source_patient_ids = sources->source_patient_ids;
        state->source_owners = sources->source_owners;
        state->source_count = sources->source_count;
    }
}

/** The patients and sourcePatientIds of all items.
 * @param sorted  comes out in order of patient */
static PatientQuestion ask_patients(Arena *arena, StoreItem **sorted, size_t count)
{
    size_t document_count = 0;
    for (size_t i = 0; i < count; i++) {
        document_count += sorted[i]->prepared->submission->document_count;
    }
    Str *identifiers = ARENA_ARRAY(arena, Str, count);
    Str *sources = ARENA_ARRAY(arena, Str, document_count);
    size_t source_count = 0;
    for (size_t i = 0; i < count; i++) {
        add_source_patients(sorted[i]->prepared->submission, sources, &source_count);
    }
    return (PatientQuestion){.patient_ids = identifiers,
                             .count = collect_patients(sorted, count, identifiers),
                             .source_patient_ids = sources,
                             .source_count = sort_texts(sources, source_count)};
}

int store_read_states(Registry *registry, Request *req, DbConn *conn, StoreItem *const *items,
                      size_t count)
{
    const PatientDirectory *directory = registry->config.patients;
    const ClaimList claims = collect_all_claims(req->arena, items, count);
    const UuidSet submitted = collect_submitted(req->arena, items, count);
    StoreItem **sorted = ARENA_ARRAY(req->arena, StoreItem *, count);
    memcpy(sorted, items, count * sizeof(StoreItem *));
    const PatientQuestion question = ask_patients(req->arena, sorted, count);

    enum { CLAIMED, HELD_UUIDS, TAKEN_UUIDS, PATIENTS };
    DbResult *results[PATIENTS + PATIENT_LOCK_STATEMENTS_MAX];
    size_t lock_count = 0;
    int rc = db_queue_begin(conn, req);
    rc = rc < 0 ? rc : queue_all_claims(req, conn, &claims);
    rc = rc < 0 ? rc : store_queue_submitted(req, conn, &submitted);
    rc = rc < 0 ? rc : directory->queue_lock(directory->ctx, req, conn, &question, &lock_count);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0) {
        return rc;
    }
    note_claimed(&claims, results[CLAIMED]);
    note_taken_uuids(items, count, results[TAKEN_UUIDS]);
    Patient *patients = ARENA_ARRAY(req->arena, Patient, question.count);
    RegistryState sources = {0};
    store_read_patients(registry, req, results[PATIENTS + lock_count - 1], &question, patients,
                        &sources);
    note_patients(sorted, count, question.patient_ids, patients, &sources);
    return 0;
}
