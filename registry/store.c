#include "registry/store.h"

#include "lib/base/clock.h"
#include "lib/base/dtm.h"
#include "lib/ebrim/vocabulary.h"
#include "registry/consent.h"
#include "registry/replacement.h"
#include "registry/store_rows.h"

#define MICROSECONDS_PER_SECOND 1000000

static const DbStatement deprecate_documents = {
    "document_entry_deprecate",
    "UPDATE document_entry SET status = $3::int"
    " WHERE status <> $3::int AND entry_uuid = ANY (" SQL_WITH_FOLLOWERS("$1", "$1", "$2") ")"};

static const DbStatement touch_folders = {
    "folder_touch",
    "UPDATE folder SET last_update_time = GREATEST(last_update_time, $2::timestamptz)"
    " WHERE entry_uuid = ANY ($1::uuid[])"};

/* Columns and values of one row, for INSERT and for COPY alike: the values are of the columns' own
 * types, which COPY does not cast to. */
#define SUBMISSION_SET_COLUMNS                                                                     \
    "submission_set (entry_uuid, patient, submission_time, content_type_code, source_facility,"    \
    " status, unique_id, source_id, metadata)"
#define DOCUMENT_ENTRY_COLUMNS                                                                     \
    "document_entry (entry_uuid, patient, size_bytes, creation_time, service_start_time,"          \
    " service_stop_time, version, class_code, type_code, format_code, practice_setting_code,"      \
    " healthcare_facility_type_code, repository, source_facility, status, is_on_demand,"           \
    " is_latest, hash, unique_id, source_patient_id, confidentiality_code, event_code_list,"       \
    " reference_id_list, metadata, lid, document_availability)"
#define FIRST_VERSION 1

static const DbStatement insert_submission_set = {
    "submission_set_insert",
    "INSERT INTO " SUBMISSION_SET_COLUMNS
    " VALUES ($1::uuid, $2::bigint, $3::timestamptz, $4::int, $5::int, $6::smallint, $7::text,"
    " $8::text, $9::bytea)"};

static const DbStatement submission_sets_copy = {
    "submission_set_copy", "COPY " SUBMISSION_SET_COLUMNS " FROM STDIN (FORMAT binary)"};

static const DbStatement insert_document_entry = {
    "document_entry_insert",
    "INSERT INTO " DOCUMENT_ENTRY_COLUMNS
    " VALUES ($1::uuid, $2::bigint, $3::bigint, $4::timestamptz, $5::timestamptz, $6::timestamptz,"
    " $7::int, $8::int, $9::int, $10::int, $11::int, $12::int, $13::int, $14::int, $15::smallint,"
    " $16::boolean, $17::boolean, $18::bytea, $19::text, $20::text, $21::int[], $22::int[],"
    " $23::text[], $24::bytea, $25::uuid, $26::smallint)"};

static const DbStatement document_entries_copy = {
    "document_entry_copy", "COPY " DOCUMENT_ENTRY_COLUMNS " FROM STDIN (FORMAT binary)"};

static const DbStatement insert_folder = {
    "folder_insert", "INSERT INTO folder (entry_uuid, patient, last_update_time, version,"
                     " source_facility, status, is_latest, unique_id, code_list, metadata, lid)"
                     " VALUES ($1::uuid, $2::bigint, $3::timestamptz, $4::int, $5::int, $6::int,"
                     " true, $7::text, $8::int[], $9::bytea, $10::uuid)"};

static const DbStatement insert_associations = {
    "association_insert",
    "INSERT INTO association (entry_uuid, source_object, target_object, type, source_kind,"
    " target_kind, submission_set_status, status, metadata)"
    " SELECT entry_uuid, source_object, target_object, type, source_kind, target_kind,"
    "        submission_set_status, $8::int, metadata"
    "   FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::int[], $6::int[], $7::int[],"
    "               $9::bytea[])"
    "     AS a (entry_uuid, source_object, target_object, type, source_kind, target_kind,"
    "           submission_set_status, metadata)"};

static const DbStatement associations_copy = {
    "association_copy",
    "COPY association (entry_uuid, source_object, target_object, type, source_kind, target_kind,"
    " submission_set_status, status, metadata) FROM STDIN (FORMAT binary)"};

AssociationRows association_rows(Arena *arena, size_t capacity)
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

/** Outside the submission there is a DocumentEntry or Folder of state, or, in an update, an
 * Association whose status changes. */
static ObjectKind end_kind(const RegistryState *state, const ObjectReference *end)
{
    if (end->is_in_submission) {
        return end->kind;
    }
    const StoredObject *stored = registry_state_find(state, end->uuid);
    return stored != NULL ? stored->kind : OBJECT_ASSOCIATION;
}

void association_rows_add_submitted(AssociationRows *rows, const PreparedSubmission *prepared,
                                    const RegistryState *state)
{
    size_t position = 0;
    for (const Association *a = prepared->submission->associations; a != NULL; a = a->next) {
        size_t i = rows->count++;
        rows->entry_uuid[i] = a->entry_uuid;
        rows->source[i] = a->source.uuid;
        rows->target[i] = a->target.uuid;
        rows->type[i] = (int32_t)a->type;
        rows->source_kind[i] = (int32_t)end_kind(state, &a->source);
        rows->target_kind[i] = (int32_t)end_kind(state, &a->target);
        rows->submission_set_status[i] = (int32_t)submission_set_status(a);
        rows->metadata[i] = prepared->association_metadata[position++];
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
    rows->metadata[i] = STR_EMPTY;
}

/**
 * A replacement becomes a member of the Folder, and the membership one of its SubmissionSet (TF-3
 * 4.2.2.2.3): two Associations made by the registry.
 */
void association_rows_add_memberships(AssociationRows *rows, const Submission *submission,
                                      const FolderMembership *memberships, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Uuid membership = uuid_new();
        add_membership(rows, membership, memberships[i].folder, OBJECT_FOLDER,
                       memberships[i].document, OBJECT_DOCUMENT_ENTRY);
        add_membership(rows, uuid_new(), submission->submission_set->entry_uuid,
                       OBJECT_SUBMISSION_SET, membership, OBJECT_ASSOCIATION);
    }
}

static int collect_associations(Request *req, const PreparedSubmission *prepared,
                                const RegistryState *state, AssociationRows *ret_rows)
{
    const Submission *submission = prepared->submission;
    FolderMembership *propagated;
    size_t count;
    int rc = replacement_memberships(req, submission, state, &propagated, &count);
    if (rc < 0) {
        return rc;
    }
    *ret_rows = association_rows(req->arena, submission->association_count + 2 * count);
    association_rows_add_submitted(ret_rows, prepared, state);
    association_rows_add_memberships(ret_rows, submission, propagated, count);
    return 0;
}

int store_queue_associations(Request *req, DbConn *conn, const AssociationRows *rows)
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
    return db_queue(conn, req, &insert_associations, &params);
}

void store_bind_followers(DbParams *params)
{
    static const int32_t followers[] = {ASSOCIATION_XFRM, ASSOCIATION_APND};
    db_param_i32_array(params, followers, ARRAY_LEN(followers));
}

int store_queue_deprecation(Request *req, DbConn *conn, const Submission *submission)
{
    UuidSet replaced;
    uuid_set_init(&replaced, req->arena);
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
    store_bind_followers(&params);
    db_param_i32(&params, STATUS_DEPRECATED);
    return db_queue(conn, req, &deprecate_documents, &params);
}

int store_queue_touch(Request *req, DbConn *conn, const UuidSet *folders, int64_t now_us)
{
    if (folders->count == 0) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, folders->items, folders->count);
    db_param_timestamp(&params, now_us);
    return db_queue(conn, req, &touch_folders, &params);
}

/** lastUpdateTime of the registered Folders that got a member. */
static int queue_touched_folders(Request *req, DbConn *conn, const RegistryState *state,
                                 const AssociationRows *rows, int64_t now_us)
{
    UuidSet touched;
    uuid_set_init(&touched, req->arena);
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->source_kind[i] == OBJECT_FOLDER &&
            registry_state_find(state, rows->source[i]) != NULL) {
            uuid_set_add(&touched, rows->source[i]);
        }
    }
    return store_queue_touch(req, conn, &touched, now_us);
}

void store_bind_dtm(DbParams *params, Str dtm)
{
    int64_t utc_us;
    if (dtm_parse(dtm, &utc_us)) {
        db_param_timestamp(params, utc_us);
    } else {
        db_param_null(params);
    }
}

/** The row of SUBMISSION_SET_COLUMNS. */
static DbParams submission_set_row(const Request *req, const PreparedSubmission *prepared,
                                   int64_t patient)
{
    const SubmissionSet *set = prepared->submission->submission_set;
    DbParams row;
    db_params_init(&row, req->arena);
    db_param_uuid(&row, set->entry_uuid);
    db_param_i64(&row, patient);
    store_bind_dtm(&row, set->submission_time);
    db_param_i32(&row, prepared->content_type_code);
    db_param_i32(&row, prepared->submission->source_facility);
    db_param_i16(&row, STATUS_APPROVED);
    db_param_text(&row, set->unique_id);
    db_param_text(&row, set->source_id);
    db_param_bytes(&row, prepared->set_metadata);
    return row;
}

int store_queue_set(Request *req, DbConn *conn, const PreparedSubmission *prepared, int64_t patient)
{
    const DbParams row = submission_set_row(req, prepared, patient);
    return db_queue(conn, req, &insert_submission_set, &row);
}

/** The first version, of the submission's facility. */
static RowVersion first_version(const Submission *submission, int64_t now_us)
{
    return (RowVersion){.version = FIRST_VERSION,
                        .source_facility = submission->source_facility,
                        .status = STATUS_APPROVED,
                        .last_update_us = now_us};
}

/** NULL for the first version: it is its own. */
static void bind_lid(DbParams *params, const RowVersion *version)
{
    if (version->version > FIRST_VERSION) {
        db_param_uuid(params, version->lid);
    } else {
        db_param_null(params);
    }
}

/** The row of DOCUMENT_ENTRY_COLUMNS. */
static DbParams document_row(const Request *req, const PreparedDocument *document, int64_t patient,
                             const RowVersion *version)
{
    const DocumentEntry *entry = document->entry;
    DbParams row;
    db_params_init(&row, req->arena);
    db_param_uuid(&row, entry->entry_uuid);
    db_param_i64(&row, patient);
    if (document->size_bytes >= 0) {
        db_param_i64(&row, document->size_bytes);
    } else {
        db_param_null(&row);
    }
    store_bind_dtm(&row, entry->creation_time);
    store_bind_dtm(&row, entry->service_start_time);
    store_bind_dtm(&row, entry->service_stop_time);
    db_param_i32(&row, version->version);
    for (size_t i = 0; i < SINGLE_CODE_COUNT; i++) {
        db_param_i32(&row, document->codes[i]);
    }
    db_param_i32(&row, document->repository);
    db_param_i32(&row, version->source_facility);
    db_param_i16(&row, version->status);
    db_param_bool(&row, entry->is_on_demand);
    db_param_bool(&row, true);
    db_param_text_or_null(&row, document->hash);
    db_param_text(&row, entry->unique_id);
    db_param_text(&row, entry->source_patient_id);
    db_param_i32_array(&row, document->confidentiality_code, entry->confidentiality_code.count);
    if (entry->event_code_list.count > 0) {
        db_param_i32_array(&row, document->event_code_list, entry->event_code_list.count);
    } else {
        db_param_null(&row);
    }
    if (entry->reference_id_list.count > 0) {
        db_param_text_array(&row, entry->reference_id_list.items, entry->reference_id_list.count);
    } else {
        db_param_null(&row);
    }
    db_param_bytes(&row, document->metadata);
    bind_lid(&row, version);
    if (str_equal(entry->document_availability, STR(URN_AVAILABILITY_OFFLINE))) {
        db_param_i16(&row, AVAILABILITY_OFFLINE);
    } else {
        db_param_null(&row);
    }
    return row;
}

int store_queue_document(Request *req, DbConn *conn, const PreparedDocument *document,
                         int64_t patient, const RowVersion *version)
{
    const DbParams row = document_row(req, document, patient, version);
    return db_queue(conn, req, &insert_document_entry, &row);
}

int store_queue_folder(Request *req, DbConn *conn, const PreparedFolder *prepared, int64_t patient,
                       const RowVersion *version)
{
    const Folder *folder = prepared->folder;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid(&params, folder->entry_uuid);
    db_param_i64(&params, patient);
    db_param_timestamp(&params, version->last_update_us);
    db_param_i32(&params, version->version);
    db_param_i32(&params, version->source_facility);
    db_param_i32(&params, version->status);
    db_param_text(&params, folder->unique_id);
    db_param_i32_array(&params, prepared->code_list, folder->code_list.count);
    db_param_bytes(&params, prepared->metadata);
    bind_lid(&params, version);
    return db_queue(conn, req, &insert_folder, &params);
}

int64_t store_now_us(void)
{
    return clock_utc_us() / MICROSECONDS_PER_SECOND * MICROSECONDS_PER_SECOND;
}

int store_queue(Request *req, DbConn *conn, const PreparedSubmission *prepared,
                const RegistryState *state)
{
    const Submission *submission = prepared->submission;
    int64_t now_us = store_now_us();
    const RowVersion first = first_version(submission, now_us);
    AssociationRows rows = {0};
    int rc = collect_associations(req, prepared, state, &rows);
    rc = rc < 0 ? rc : store_queue_deprecation(req, conn, submission);
    rc = rc < 0 ? rc : queue_touched_folders(req, conn, state, &rows, now_us);
    rc = rc < 0 ? rc : store_queue_set(req, conn, prepared, state->patient.id);
    for (size_t i = 0; rc == 0 && i < submission->document_count; i++) {
        rc = store_queue_document(req, conn, &prepared->documents[i], state->patient.id, &first);
    }
    for (size_t i = 0; rc == 0 && i < submission->folder_count; i++) {
        rc = store_queue_folder(req, conn, &prepared->folders[i], state->patient.id, &first);
    }
    return rc < 0 ? rc : store_queue_associations(req, conn, &rows);
}

bool store_can_copy(const Submission *submission)
{
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        if (a->type != ASSOCIATION_HAS_MEMBER || !a->source.is_in_submission ||
            !a->target.is_in_submission) {
            return false;
        }
    }
    return submission->folder_count == 0 && !consent_has_document(submission);
}

static void copy_associations(Arena *arena, const AssociationRows *rows, DbCopy *copy)
{
    for (size_t i = 0; i < rows->count; i++) {
        DbParams row;
        db_params_init(&row, arena);
        db_param_uuid(&row, rows->entry_uuid[i]);
        db_param_uuid(&row, rows->source[i]);
        db_param_uuid(&row, rows->target[i]);
        db_param_i16(&row, (int16_t)rows->type[i]);
        db_param_i16(&row, (int16_t)rows->source_kind[i]);
        db_param_i16(&row, (int16_t)rows->target_kind[i]);
        db_param_i16(&row, (int16_t)rows->submission_set_status[i]);
        db_param_i16(&row, STATUS_APPROVED);
        db_param_bytes(&row, rows->metadata[i]);
        db_copy_add(copy, &row);
    }
}

void store_copy_init(StoreCopy *copy)
{
    db_copy_init(&copy->submission_sets, &submission_sets_copy);
    db_copy_init(&copy->document_entries, &document_entries_copy);
    db_copy_init(&copy->associations, &associations_copy);
}

void store_copy_done(StoreCopy *copy)
{
    db_copy_done(&copy->submission_sets);
    db_copy_done(&copy->document_entries);
    db_copy_done(&copy->associations);
}

void store_copy_add(StoreCopy *copy, Request *req, const PreparedSubmission *prepared,
                    const RegistryState *state)
{
    const Submission *submission = prepared->submission;
    const RowVersion first = first_version(submission, 0);
    const DbParams set = submission_set_row(req, prepared, state->patient.id);
    db_copy_add(&copy->submission_sets, &set);
    for (size_t i = 0; i < submission->document_count; i++) {
        const DbParams document =
            document_row(req, &prepared->documents[i], state->patient.id, &first);
        db_copy_add(&copy->document_entries, &document);
    }
    AssociationRows rows = association_rows(req->arena, submission->association_count);
    association_rows_add_submitted(&rows, prepared, state);
    copy_associations(req->arena, &rows, &copy->associations);
}

int store_copy_run(StoreCopy *copy, Request *req, DbConn *conn)
{
    int rc = db_copy_run(conn, req, &copy->submission_sets);
    rc = rc < 0 ? rc : db_copy_run(conn, req, &copy->document_entries);
    return rc < 0 ? rc : db_copy_run(conn, req, &copy->associations);
}
