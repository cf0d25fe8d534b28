#include "registry/store.h"

#include <openssl/sha.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/dtm.h"

#define MICROSECONDS_PER_SECOND 1000000

/* Memberships that one submission may propagate: several replacements of one entry in many Folders
 * multiply. */
#define MAX_PROPAGATIONS 10000

/* The first statement of every registration: whoever comes second waits here for the first one's
 * outcome. The order of digest makes all transactions wait in the same order. */
static const DbStatement CLAIM_UNIQUE_IDS = {
    "unique_id_claim", "INSERT INTO unique_id (digest, kind, size_bytes, hash)"
                       " SELECT digest, kind, NULLIF(size_bytes, -1), NULLIF(hash, ''::bytea)"
                       "   FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::bytea[]) AS c "
                       "(digest, kind, size_bytes, hash)"
                       "  ORDER BY digest ON CONFLICT DO NOTHING RETURNING digest"};
static const DbStatement SELECT_UNIQUE_IDS = {
    "unique_id_select", "SELECT digest, kind, COALESCE(size_bytes, -1), COALESCE(hash, ''::bytea)"
                        "  FROM unique_id WHERE digest = ANY ($1::uuid[])"};

static const DbStatement SELECT_TAKEN_UUIDS = {
    "entry_uuid_select",
    "SELECT entry_uuid FROM document_entry WHERE entry_uuid = ANY ($1::uuid[])"
    " UNION ALL SELECT entry_uuid FROM submission_set WHERE entry_uuid = ANY ($1::uuid[])"
    " UNION ALL SELECT entry_uuid FROM folder WHERE entry_uuid = ANY ($1::uuid[])"
    " UNION ALL SELECT entry_uuid FROM association WHERE entry_uuid = ANY ($1::uuid[])"};

/* A lock that the replacement of the same entry waits for; it then sees the status that this one
 * left. */
static const DbStatement LOCK_DOCUMENTS = {
    "document_entry_lock",
    "SELECT entry_uuid, patient, status, is_on_demand, source_facility, class_code,"
    "       confidentiality_code, COALESCE(service_start_time, creation_time)"
    "  FROM document_entry WHERE entry_uuid = ANY ($1::uuid[])"
    " ORDER BY entry_uuid FOR NO KEY UPDATE"};

/* $1 Folders that Associations name, $2 replaced documents: the Folders that hold them get the
 * replacement. ARRAY() keeps it an index scan. Membership cannot change any more: whoever adds a
 * document to a Folder locks the document first. */
static const DbStatement LOCK_FOLDERS = {
    "folder_lock",
    "SELECT entry_uuid, patient, status, source_facility FROM folder"
    " WHERE entry_uuid = ANY (ARRAY(SELECT unnest($1::uuid[]) UNION"
    "       SELECT source_object FROM association"
    "        WHERE target_object = ANY ($2::uuid[]) AND type = $3::int AND source_kind = $4::int))"
    " ORDER BY entry_uuid FOR NO KEY UPDATE"};
static const DbStatement SELECT_MEMBERSHIPS = {
    "folder_membership_select",
    "SELECT source_object, target_object FROM association"
    " WHERE target_object = ANY ($1::uuid[]) AND type = $2::int AND source_kind = $3::int"
    " ORDER BY target_object"};

static const DbStatement DEPRECATE_DOCUMENTS = {
    "document_entry_deprecate",
    "UPDATE document_entry SET status = $3::int"
    " WHERE status <> $3::int AND entry_uuid = ANY (ARRAY(SELECT unnest($1::uuid[]) UNION"
    "       SELECT source_object FROM association"
    "        WHERE target_object = ANY ($1::uuid[]) AND type = ANY ($2::int[])))"};
static const DbStatement TOUCH_FOLDERS = {
    "folder_touch",
    "UPDATE folder SET last_update_time = GREATEST(last_update_time, $2::timestamptz)"
    " WHERE entry_uuid = ANY ($1::uuid[])"};

static const DbStatement INSERT_SUBMISSION_SET = {
    "submission_set_insert",
    "INSERT INTO submission_set (entry_uuid, patient, submission_time, content_type_code,"
    " source_facility, status, unique_id, source_id, author_person, metadata)"
    " VALUES ($1::uuid, $2::bigint, $3::timestamptz, $4::int, $5::int, $6::int, $7::text, $8::text,"
    " $9::text[], $10::bytea)"};
static const DbStatement INSERT_DOCUMENT_ENTRY = {
    "document_entry_insert",
    "INSERT INTO document_entry (entry_uuid, patient, size_bytes, creation_time, "
    "service_start_time,"
    " service_stop_time, version, class_code, type_code, format_code, practice_setting_code,"
    " healthcare_facility_type_code, repository, source_facility, status, is_on_demand, is_latest,"
    " hash, unique_id, source_patient_id, confidentiality_code, event_code_list, author_person,"
    " reference_id_list, metadata)"
    " VALUES ($1::uuid, $2::bigint, $3::bigint, $4::timestamptz, $5::timestamptz, $6::timestamptz, "
    "1,"
    " $7::int, $8::int, $9::int, $10::int, $11::int, $12::int, $13::int, $14::int, $15::boolean, "
    "true,"
    " $16::bytea, $17::text, $18::text, $19::int[], $20::int[], $21::text[], $22::text[], "
    "$23::bytea)"};
static const DbStatement INSERT_FOLDER = {
    "folder_insert", "INSERT INTO folder (entry_uuid, patient, last_update_time, version,"
                     " source_facility, status, is_latest, unique_id, code_list, metadata)"
                     " VALUES ($1::uuid, $2::bigint, $3::timestamptz, 1, $4::int, $5::int, true,"
                     " $6::text, $7::int[], $8::bytea)"};
static const DbStatement INSERT_ASSOCIATIONS = {
    "association_insert",
    "INSERT INTO association (entry_uuid, source_object, target_object, type, source_kind,"
    " target_kind, submission_set_status, status, metadata)"
    " SELECT entry_uuid, source_object, target_object, type, source_kind, target_kind,"
    "        submission_set_status, $8::int, NULLIF(metadata, ''::bytea)"
    "   FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::int[], $6::int[], $7::int[],"
    "               $9::bytea[])"
    "     AS a (entry_uuid, source_object, target_object, type, source_kind, target_kind,"
    "           submission_set_status, metadata)"};

/* ---- before the transaction ---- */

static void append_codes(Code *codes, size_t *count, const CodeList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        codes[(*count)++] = list->items[i];
    }
}

static size_t code_count(const Submission *submission)
{
    size_t count = 1;
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        count += SINGLE_CODE_COUNT + d->confidentiality_code.count + d->event_code_list.count;
    }
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        count += f->code_list.count;
    }
    return count;
}

/** All codes of the submission, in the order in which assign_codes() hands their ids out. */
static const Code *collect_codes(Arena *arena, const Submission *submission, size_t *ret_count)
{
    Code *codes = ARENA_ARRAY(arena, Code, code_count(submission));
    size_t count = 0;
    codes[count++] = submission->submission_set->content_type_code;
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        codes[count + CODE_CLASS] = d->class_code;
        codes[count + CODE_TYPE] = d->type_code;
        codes[count + CODE_FORMAT] = d->format_code;
        codes[count + CODE_PRACTICE_SETTING] = d->practice_setting_code;
        codes[count + CODE_HEALTHCARE_FACILITY_TYPE] = d->healthcare_facility_type_code;
        count += SINGLE_CODE_COUNT;
        append_codes(codes, &count, &d->confidentiality_code);
        append_codes(codes, &count, &d->event_code_list);
    }
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        append_codes(codes, &count, &f->code_list);
    }
    *ret_count = count;
    return codes;
}

static void assign_codes(PreparedSubmission *prepared, const int32_t *ids)
{
    const Submission *submission = prepared->submission;
    prepared->content_type_code = *ids++;
    for (size_t i = 0; i < submission->document_count; i++) {
        PreparedDocument *document = &prepared->documents[i];
        document->codes = ids;
        document->confidentiality_code = document->codes + SINGLE_CODE_COUNT;
        document->event_code_list =
            document->confidentiality_code + document->entry->confidentiality_code.count;
        ids = document->event_code_list + document->entry->event_code_list.count;
    }
    for (size_t i = 0; i < submission->folder_count; i++) {
        prepared->folders[i].code_list = ids;
        ids += prepared->folders[i].folder->code_list.count;
    }
}

static int intern_codes(Registry *registry, Request *req, DbConn *conn,
                        PreparedSubmission *prepared)
{
    size_t count;
    const Code *codes = collect_codes(req->arena, prepared->submission, &count);
    int32_t *ids = ARENA_ARRAY(req->arena, int32_t, count);
    int rc = code_table_intern(registry->codes, req, conn, codes, count, ids);
    if (rc < 0) {
        return rc;
    }
    assign_codes(prepared, ids);
    return 0;
}

static int intern_repositories(Registry *registry, Request *req, DbConn *conn,
                               PreparedSubmission *prepared)
{
    size_t count = prepared->submission->document_count;
    Str *unique_ids = ARENA_ARRAY(req->arena, Str, count);
    int32_t *ids = ARENA_ARRAY(req->arena, int32_t, count);
    for (size_t i = 0; i < count; i++) {
        unique_ids[i] = prepared->documents[i].entry->repository_unique_id;
    }
    int rc = code_table_intern_repositories(registry->codes, req, conn, unique_ids, count, ids);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        prepared->documents[i].repository = ids[i];
    }
    return 0;
}

/** 40 hexadecimal digits to SHA1_LEN bytes; empty if there is no hash. */
static Str hash_bytes(Arena *arena, Str hexadecimal)
{
    char *bytes = arena_alloc(arena, SHA1_LEN);
    return str_unhex(hexadecimal, bytes, SHA1_LEN) ? (Str){bytes, SHA1_LEN} : STR_EMPTY;
}

static void prepare_objects(Registry *registry, Arena *arena, PreparedSubmission *prepared)
{
    const Submission *submission = prepared->submission;
    const SubmissionSet *set = submission->submission_set;
    prepared->set_metadata = rendered_make(arena, registry->dictionaries, OBJECT_SUBMISSION_SET,
                                           set->object, set->entry_uuid);
    size_t i = 0;
    for (const DocumentEntry *d = submission->documents; d != NULL; d = d->next) {
        prepared->documents[i++] = (PreparedDocument){
            .entry = d,
            .size_bytes = str_is_empty(d->size) ? -1 : (int64_t)d->size_bytes,
            .hash = hash_bytes(arena, d->hash),
            .metadata = rendered_make(arena, registry->dictionaries, OBJECT_DOCUMENT_ENTRY,
                                      d->object, d->entry_uuid),
        };
    }
    i = 0;
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        prepared->association_metadata[i++] = rendered_make(
            arena, registry->dictionaries, OBJECT_ASSOCIATION, a->object, a->entry_uuid);
    }
    i = 0;
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        prepared->folders[i++] = (PreparedFolder){
            .folder = f,
            .metadata = rendered_make(arena, registry->dictionaries, OBJECT_FOLDER, f->object,
                                      f->entry_uuid),
        };
    }
}

int store_prepare(Registry *registry, Request *req, DbConn *conn, const Submission *submission,
                  PreparedSubmission **ret_prepared)
{
    PreparedSubmission *prepared = ARENA_NEW(req->arena, PreparedSubmission);
    prepared->submission = submission;
    prepared->documents = ARENA_ARRAY(req->arena, PreparedDocument, submission->document_count);
    prepared->folders = ARENA_ARRAY(req->arena, PreparedFolder, submission->folder_count);
    prepared->association_metadata = ARENA_ARRAY(req->arena, Str, submission->association_count);
    prepare_objects(registry, req->arena, prepared);
    int rc = intern_codes(registry, req, conn, prepared);
    if (rc < 0) {
        return rc;
    }
    rc = intern_repositories(registry, req, conn, prepared);
    if (rc < 0) {
        return rc;
    }
    *ret_prepared = prepared;
    return 0;
}

/* ---- what the registry holds already ---- */

/** Growing set of UUIDs, sorted and without repetition after uuid_set_close(). */
typedef struct UuidSet {
    Uuid *items;
    size_t count;
} UuidSet;

static UuidSet uuid_set(Arena *arena, size_t capacity)
{
    return (UuidSet){.items = ARENA_ARRAY(arena, Uuid, capacity)};
}

static void uuid_set_add(UuidSet *set, Uuid uuid)
{
    set->items[set->count++] = uuid;
}

static void uuid_set_close(UuidSet *set)
{
    if (set->count == 0) {
        return;
    }
    qsort(set->items, set->count, sizeof(Uuid), uuid_compare);
    size_t kept = 1;
    for (size_t i = 1; i < set->count; i++) {
        if (!uuid_equal(set->items[i], set->items[kept - 1])) {
            set->items[kept++] = set->items[i];
        }
    }
    set->count = kept;
}

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
    size_t objects = 1 + submission->document_count + submission->folder_count;
    Questions questions = {
        .submitted = uuid_set(arena, objects + submission->association_count),
        .referenced = uuid_set(arena, 2 * submission->association_count),
        .replaced = uuid_set(arena, submission->association_count),
    };
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

static UniqueIdClaim make_claim(ObjectKind kind, Str unique_id, int64_t size_bytes, Str hash)
{
    unsigned char sha256[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)unique_id.data, unique_id.len, sha256);
    UniqueIdClaim claim = {
        .unique_id = unique_id, .kind = kind, .size_bytes = size_bytes, .hash = hash};
    memcpy(claim.digest.bytes, sha256, sizeof(claim.digest.bytes));
    return claim;
}

static int compare_claims(const void *a, const void *b)
{
    return uuid_compare(&((const UniqueIdClaim *)a)->digest, &((const UniqueIdClaim *)b)->digest);
}

static void collect_claims(Arena *arena, const PreparedSubmission *prepared, RegistryState *state)
{
    const Submission *submission = prepared->submission;
    size_t count = 1 + submission->document_count + submission->folder_count;
    UniqueIdClaim *claims = ARENA_ARRAY(arena, UniqueIdClaim, count);
    size_t n = 0;
    claims[n++] =
        make_claim(OBJECT_SUBMISSION_SET, submission->submission_set->unique_id, -1, STR_EMPTY);
    for (size_t i = 0; i < submission->document_count; i++) {
        const PreparedDocument *d = &prepared->documents[i];
        claims[n++] =
            make_claim(OBJECT_DOCUMENT_ENTRY, d->entry->unique_id, d->size_bytes, d->hash);
    }
    for (const Folder *f = submission->folders; f != NULL; f = f->next) {
        claims[n++] = make_claim(OBJECT_FOLDER, f->unique_id, -1, STR_EMPTY);
    }
    qsort(claims, n, sizeof(*claims), compare_claims);
    state->claims = claims;
    state->claim_count = n;
}

static int queue_claims(Request *req, DbConn *conn, const RegistryState *state)
{
    size_t count = state->claim_count;
    Uuid *digests = ARENA_ARRAY(req->arena, Uuid, count);
    int32_t *kinds = ARENA_ARRAY(req->arena, int32_t, count);
    int64_t *sizes = ARENA_ARRAY(req->arena, int64_t, count);
    Str *hashes = ARENA_ARRAY(req->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        digests[i] = state->claims[i].digest;
        kinds[i] = (int32_t)state->claims[i].kind;
        sizes[i] = state->claims[i].size_bytes;
        hashes[i] = state->claims[i].hash;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, digests, count);
    db_param_i32_array(&params, kinds, count);
    db_param_i64_array(&params, sizes, count);
    db_param_bytes_array(&params, hashes, count);
    return db_queue(conn, req, &CLAIM_UNIQUE_IDS, &params);
}

static int queue_uuids(Request *req, DbConn *conn, const DbStatement *statement,
                       const UuidSet *uuids)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, uuids->items, uuids->count);
    return db_queue(conn, req, statement, &params);
}

static int queue_lock_folders(Request *req, DbConn *conn, const Questions *questions)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, questions->referenced.items, questions->referenced.count);
    db_param_uuid_array(&params, questions->replaced.items, questions->replaced.count);
    db_param_i32(&params, ASSOCIATION_HAS_MEMBER);
    db_param_i32(&params, OBJECT_FOLDER);
    return db_queue(conn, req, &LOCK_FOLDERS, &params);
}

static int queue_memberships(Request *req, DbConn *conn, const Questions *questions)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, questions->replaced.items, questions->replaced.count);
    db_param_i32(&params, ASSOCIATION_HAS_MEMBER);
    db_param_i32(&params, OBJECT_FOLDER);
    return db_queue(conn, req, &SELECT_MEMBERSHIPS, &params);
}

/** The results of the first batch, in the order in which its statements were queued. */
typedef struct FirstBatch {
    DbResult *claimed;
    DbResult *taken_uuids; /* NULL: not asked (also below) */
    DbResult *documents;
    DbResult *folders;
    DbResult *memberships;
} FirstBatch;

/** Sends BEGIN, the claims, and only the questions that this submission raises. */
static int run_first_batch(Request *req, DbConn *conn, const RegistryState *state,
                           const Questions *questions, FirstBatch *ret_batch)
{
    DbResult *results[5];
    DbResult **places[5];
    size_t count = 0;
    int rc = db_queue_begin(conn, req);
    rc = rc < 0 ? rc : queue_claims(req, conn, state);
    places[count++] = &ret_batch->claimed;
    if (questions->submitted.count > 0) {
        rc = rc < 0 ? rc : queue_uuids(req, conn, &SELECT_TAKEN_UUIDS, &questions->submitted);
        places[count++] = &ret_batch->taken_uuids;
    }
    if (questions->referenced.count > 0) {
        rc = rc < 0 ? rc : queue_uuids(req, conn, &LOCK_DOCUMENTS, &questions->referenced);
        places[count++] = &ret_batch->documents;
        rc = rc < 0 ? rc : queue_lock_folders(req, conn, questions);
        places[count++] = &ret_batch->folders;
    }
    if (questions->replaced.count > 0) {
        rc = rc < 0 ? rc : queue_memberships(req, conn, questions);
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

/** Reads what the uniqueIds that could not be claimed stand for. */
static int read_taken_claims(Request *req, DbConn *conn, const DbResult *claimed,
                             RegistryState *state)
{
    if ((size_t)db_rows(claimed) == state->claim_count) {
        return 0;
    }
    for (size_t i = 0; i < state->claim_count; i++) {
        state->claims[i].is_taken = true;
    }
    for (int row = 0; row < db_rows(claimed); row++) {
        find_claim(state, db_uuid(claimed, row, 0))->is_taken = false;
    }
    UuidSet taken = uuid_set(req->arena, state->claim_count);
    for (size_t i = 0; i < state->claim_count; i++) {
        if (state->claims[i].is_taken) {
            uuid_set_add(&taken, state->claims[i].digest);
        }
    }
    int rc = queue_uuids(req, conn, &SELECT_UNIQUE_IDS, &taken);
    DbResult *rows;
    rc = rc < 0 ? rc : db_sync(conn, req, &rows);
    if (rc < 0) {
        return rc;
    }
    for (int row = 0; row < db_rows(rows); row++) {
        UniqueIdClaim *claim = find_claim(state, db_uuid(rows, row, 0));
        claim->taken_kind = (ObjectKind)db_i16(rows, row, 1);
        claim->taken_size_bytes = db_i64(rows, row, 2);
        claim->taken_hash = db_text(rows, row, 3);
    }
    return 0;
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

static void read_objects(Arena *arena, const FirstBatch *batch, RegistryState *state)
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

static void read_taken_uuids(Arena *arena, const DbResult *rows, RegistryState *state)
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

/** Puts the survivor in place of each referenced object's patient; asks only about patients other
 * than the submission's. */
static int resolve_merged_patients(Registry *registry, Request *req, DbConn *conn,
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

static int read_patients(Registry *registry, Request *req, DbConn *conn,
                         const Submission *submission, RegistryState *state)
{
    const PatientDirectory *patients = registry->config.patients;
    int rc = patients->lock(patients->ctx, req, conn, &submission->submission_set->patient_id, 1,
                            &state->patient);
    return rc < 0 ? rc : resolve_merged_patients(registry, req, conn, state);
}

int store_read_state(Registry *registry, Request *req, DbConn *conn,
                     const PreparedSubmission *prepared, RegistryState *ret_state)
{
    RegistryState state = {0};
    FirstBatch batch = {0};
    collect_claims(req->arena, prepared, &state);
    Questions questions = collect_questions(req->arena, prepared->submission);
    int rc = run_first_batch(req, conn, &state, &questions, &batch);
    if (rc < 0) {
        return rc;
    }
    read_taken_uuids(req->arena, batch.taken_uuids, &state);
    read_objects(req->arena, &batch, &state);
    read_memberships(req->arena, batch.memberships, &state);
    rc = read_taken_claims(req, conn, batch.claimed, &state);
    rc = rc < 0 ? rc : read_patients(registry, req, conn, prepared->submission, &state);
    if (rc < 0) {
        return rc;
    }
    *ret_state = state;
    return 0;
}

/* ---- the rows ---- */

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

static AssociationRows association_rows(Arena *arena, size_t capacity)
{
    return (AssociationRows){
        .entry_uuid = ARENA_ARRAY(arena, Uuid, capacity),
        .source = ARENA_ARRAY(arena, Uuid, capacity),
        .target = ARENA_ARRAY(arena, Uuid, capacity),
        .type = ARENA_ARRAY(arena, int32_t, capacity),
        .source_kind = ARENA_ARRAY(arena, int32_t, capacity),
        .target_kind = ARENA_ARRAY(arena, int32_t, capacity),
        .submission_set_status = ARENA_ARRAY(arena, int32_t, capacity),
        .metadata = ARENA_ARRAY(arena, Str, capacity),
    };
}

/** Column submission_set_status. */
enum { SET_STATUS_NONE = 0, SET_STATUS_ORIGINAL = 1, SET_STATUS_REFERENCE = 2 };

static ObjectKind end_kind(const RegistryState *state, const ObjectReference *end)
{
    return end->is_in_submission ? end->kind : registry_state_find(state, end->uuid)->kind;
}

static void add_submitted_associations(const PreparedSubmission *prepared,
                                       const RegistryState *state, AssociationRows *rows)
{
    for (const Association *a = prepared->submission->associations; a != NULL; a = a->next) {
        size_t i = rows->count++;
        rows->entry_uuid[i] = a->entry_uuid;
        rows->source[i] = a->source.uuid;
        rows->target[i] = a->target.uuid;
        rows->type[i] = (int32_t)a->type;
        rows->source_kind[i] = (int32_t)end_kind(state, &a->source);
        rows->target_kind[i] = (int32_t)end_kind(state, &a->target);
        rows->submission_set_status[i] = a->is_original    ? SET_STATUS_ORIGINAL
                                         : a->is_reference ? SET_STATUS_REFERENCE
                                                           : SET_STATUS_NONE;
        rows->metadata[i] = prepared->association_metadata[i];
    }
}

static void add_membership(AssociationRows *rows, Uuid entry_uuid, Uuid source,
                           ObjectKind source_kind, Uuid target, ObjectKind target_kind)
{
    size_t i = rows->count++;
    rows->entry_uuid[i] = entry_uuid;
    rows->source[i] = source;
    rows->target[i] = target;
    rows->type[i] = ASSOCIATION_HAS_MEMBER;
    rows->source_kind[i] = (int32_t)source_kind;
    rows->target_kind[i] = (int32_t)target_kind;
}

static int compare_memberships(const void *a, const void *b)
{
    const FolderMembership *x = a;
    const FolderMembership *y = b;
    int order = uuid_compare(&x->folder, &y->folder);
    return order != 0 ? order : uuid_compare(&x->document, &y->document);
}

/** Sorted set of memberships; propagate() fills one with what the submission asks for, one with
 * what is added. */
typedef struct MembershipSet {
    FolderMembership *items;
    size_t count;
} MembershipSet;

static void membership_set_sort(MembershipSet *set)
{
    if (set->count > 0) {
        qsort(set->items, set->count, sizeof(*set->items), compare_memberships);
    }
}

static bool membership_set_has(const MembershipSet *set, const FolderMembership *membership)
{
    return set->count > 0 && bsearch(membership, set->items, set->count, sizeof(*set->items),
                                     compare_memberships) != NULL;
}

static MembershipSet submitted_memberships(Arena *arena, const AssociationRows *rows)
{
    MembershipSet set = {.items = ARENA_ARRAY(arena, FolderMembership, rows->count)};
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->source_kind[i] == OBJECT_FOLDER) {
            set.items[set.count++] = (FolderMembership){rows->source[i], rows->target[i]};
        }
    }
    membership_set_sort(&set);
    return set;
}

/** First membership of this document; they are in order of document. */
static size_t first_membership(const RegistryState *state, Uuid document)
{
    size_t low = 0;
    size_t high = state->membership_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (uuid_compare(&state->memberships[middle].document, &document) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/** Each replacement in each Approved Folder of what it replaces. */
static int replacement_memberships(Request *req, const Submission *submission,
                                   const RegistryState *state, MembershipSet *ret_set)
{
    MembershipSet set = {0};
    if (state->membership_count > 0) {
        set.items = ARENA_ARRAY(req->arena, FolderMembership, MAX_PROPAGATIONS);
    }
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        if (!association_type_replaces(a->type)) {
            continue;
        }
        for (size_t i = first_membership(state, a->target.uuid);
             i < state->membership_count &&
             uuid_equal(state->memberships[i].document, a->target.uuid);
             i++) {
            if (set.count == MAX_PROPAGATIONS) {
                return error_add(
                    &req->errors, ERR_XDS_REGISTRY_OUT_OF_RESOURCES, NULL,
                    "the replaced documents are in too many Folders: at most %d memberships "
                    "can follow in one submission, send it in parts",
                    MAX_PROPAGATIONS);
            }
            set.items[set.count++] =
                (FolderMembership){state->memberships[i].folder, a->source.uuid};
        }
    }
    membership_set_sort(&set);
    *ret_set = set;
    return 0;
}

/**
 * The replacement becomes a member of the Folder, and the membership one of its SubmissionSet
 * (TF-3 4.2.2.2.3): two Associations made by the registry for each, unless the submission itself
 * asks for the membership.
 */
static void add_propagated_associations(const Submission *submission,
                                        const MembershipSet *submitted,
                                        const MembershipSet *replacements, AssociationRows *rows)
{
    for (size_t i = 0; i < replacements->count; i++) {
        const FolderMembership *membership = &replacements->items[i];
        bool is_repeated = i > 0 && compare_memberships(membership, membership - 1) == 0;
        if (is_repeated || membership_set_has(submitted, membership)) {
            continue;
        }
        Uuid folder_to_document = uuid_new();
        add_membership(rows, folder_to_document, membership->folder, OBJECT_FOLDER,
                       membership->document, OBJECT_DOCUMENT_ENTRY);
        add_membership(rows, uuid_new(), submission->submission_set->entry_uuid,
                       OBJECT_SUBMISSION_SET, folder_to_document, OBJECT_ASSOCIATION);
    }
}

static int collect_associations(Request *req, const PreparedSubmission *prepared,
                                const RegistryState *state, AssociationRows *ret_rows)
{
    const Submission *submission = prepared->submission;
    MembershipSet replacements;
    int rc = replacement_memberships(req, submission, state, &replacements);
    if (rc < 0) {
        return rc;
    }
    *ret_rows =
        association_rows(req->arena, submission->association_count + 2 * replacements.count);
    add_submitted_associations(prepared, state, ret_rows);
    MembershipSet submitted = submitted_memberships(req->arena, ret_rows);
    add_propagated_associations(submission, &submitted, &replacements, ret_rows);
    return 0;
}

static int queue_associations(Request *req, DbConn *conn, const AssociationRows *rows)
{
    if (rows->count == 0) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, rows->entry_uuid, rows->count);
    db_param_uuid_array(&params, rows->source, rows->count);
    db_param_uuid_array(&params, rows->target, rows->count);
    db_param_i32_array(&params, rows->type, rows->count);
    db_param_i32_array(&params, rows->source_kind, rows->count);
    db_param_i32_array(&params, rows->target_kind, rows->count);
    db_param_i32_array(&params, rows->submission_set_status, rows->count);
    db_param_i32(&params, STATUS_APPROVED);
    db_param_bytes_array(&params, rows->metadata, rows->count);
    return db_queue(conn, req, &INSERT_ASSOCIATIONS, &params);
}

/** The replaced entries and their direct XFRM and APND. Queued before the new Associations, so that
 * it does not reach an addendum to the old entry that comes with its replacement. */
static int queue_deprecation(Request *req, DbConn *conn, const Submission *submission)
{
    static const int32_t FOLLOWERS[] = {ASSOCIATION_XFRM, ASSOCIATION_APND};
    UuidSet replaced = uuid_set(req->arena, submission->association_count);
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        if (association_type_replaces(a->type)) {
            uuid_set_add(&replaced, a->target.uuid);
        }
    }
    if (replaced.count == 0) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, replaced.items, replaced.count);
    db_param_i32_array(&params, FOLLOWERS, ARRAY_LEN(FOLLOWERS));
    db_param_i32(&params, STATUS_DEPRECATED);
    return db_queue(conn, req, &DEPRECATE_DOCUMENTS, &params);
}

/** lastUpdateTime of the registered Folders that got a member. */
static int queue_touched_folders(Request *req, DbConn *conn, const RegistryState *state,
                                 const AssociationRows *rows, int64_t now_us)
{
    UuidSet touched = uuid_set(req->arena, rows->count);
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->source_kind[i] == OBJECT_FOLDER &&
            registry_state_find(state, rows->source[i]) != NULL) {
            uuid_set_add(&touched, rows->source[i]);
        }
    }
    if (touched.count == 0) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, touched.items, touched.count);
    db_param_timestamp(&params, now_us);
    return db_queue(conn, req, &TOUCH_FOLDERS, &params);
}

static void bind_dtm(DbParams *params, Str dtm)
{
    int64_t utc_us;
    if (dtm_parse(dtm, &utc_us)) {
        db_param_timestamp(params, utc_us);
    } else {
        db_param_null(params);
    }
}

static void bind_texts(DbParams *params, const StrList *texts)
{
    if (texts->count > 0) {
        db_param_text_array(params, texts->items, texts->count);
    } else {
        db_param_null(params);
    }
}

static int32_t source_facility(const Request *req)
{
    return req->principal != NULL ? req->principal->facility_id : 0;
}

static int queue_submission_set(Request *req, DbConn *conn, const PreparedSubmission *prepared,
                                int64_t patient)
{
    const SubmissionSet *set = prepared->submission->submission_set;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid(&params, set->entry_uuid);
    db_param_i64(&params, patient);
    bind_dtm(&params, set->submission_time);
    db_param_i32(&params, prepared->content_type_code);
    db_param_i32(&params, source_facility(req));
    db_param_i32(&params, STATUS_APPROVED);
    db_param_text(&params, set->unique_id);
    db_param_text(&params, set->source_id);
    bind_texts(&params, &set->author_person);
    db_param_bytes(&params, prepared->set_metadata);
    return db_queue(conn, req, &INSERT_SUBMISSION_SET, &params);
}

static int queue_document(Request *req, DbConn *conn, const PreparedDocument *document,
                          int64_t patient)
{
    const DocumentEntry *entry = document->entry;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid(&params, entry->entry_uuid);
    db_param_i64(&params, patient);
    if (document->size_bytes >= 0) {
        db_param_i64(&params, document->size_bytes);
    } else {
        db_param_null(&params);
    }
    bind_dtm(&params, entry->creation_time);
    bind_dtm(&params, entry->service_start_time);
    bind_dtm(&params, entry->service_stop_time);
    for (size_t i = 0; i < SINGLE_CODE_COUNT; i++) {
        db_param_i32(&params, document->codes[i]);
    }
    db_param_i32(&params, document->repository);
    db_param_i32(&params, source_facility(req));
    db_param_i32(&params, STATUS_APPROVED);
    db_param_bool(&params, entry->is_on_demand);
    db_param_text_or_null(&params, document->hash);
    db_param_text(&params, entry->unique_id);
    db_param_text(&params, entry->source_patient_id);
    db_param_i32_array(&params, document->confidentiality_code, entry->confidentiality_code.count);
    if (entry->event_code_list.count > 0) {
        db_param_i32_array(&params, document->event_code_list, entry->event_code_list.count);
    } else {
        db_param_null(&params);
    }
    bind_texts(&params, &entry->author_person);
    bind_texts(&params, &entry->reference_id_list);
    db_param_bytes(&params, document->metadata);
    return db_queue(conn, req, &INSERT_DOCUMENT_ENTRY, &params);
}

static int queue_folder(Request *req, DbConn *conn, const PreparedFolder *prepared, int64_t patient,
                        int64_t now_us)
{
    const Folder *folder = prepared->folder;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid(&params, folder->entry_uuid);
    db_param_i64(&params, patient);
    db_param_timestamp(&params, now_us);
    db_param_i32(&params, source_facility(req));
    db_param_i32(&params, STATUS_APPROVED);
    db_param_text(&params, folder->unique_id);
    db_param_i32_array(&params, prepared->code_list, folder->code_list.count);
    db_param_bytes(&params, prepared->metadata);
    return db_queue(conn, req, &INSERT_FOLDER, &params);
}

int store_queue(Request *req, DbConn *conn, const PreparedSubmission *prepared,
                const RegistryState *state)
{
    const Submission *submission = prepared->submission;
    /* lastUpdateTime is a DTM with seconds (TF-3 4.2.3.4.6). */
    int64_t now_us = clock_utc_us() / MICROSECONDS_PER_SECOND * MICROSECONDS_PER_SECOND;
    AssociationRows rows;
    int rc = collect_associations(req, prepared, state, &rows);
    rc = rc < 0 ? rc : queue_deprecation(req, conn, submission);
    rc = rc < 0 ? rc : queue_touched_folders(req, conn, state, &rows, now_us);
    rc = rc < 0 ? rc : queue_submission_set(req, conn, prepared, state->patient.id);
    for (size_t i = 0; rc == 0 && i < submission->document_count; i++) {
        rc = queue_document(req, conn, &prepared->documents[i], state->patient.id);
    }
    for (size_t i = 0; rc == 0 && i < submission->folder_count; i++) {
        rc = queue_folder(req, conn, &prepared->folders[i], state->patient.id, now_us);
    }
    return rc < 0 ? rc : queue_associations(req, conn, &rows);
}
