#include "lib/ebrim/patient_move.h"

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/oid.h"
#include "lib/hl7/cx.h"
#include "registry/consent.h"
#include "registry/patient_move_set.h"
#include "registry/patient_move_sql.h"
#include "registry/subscriptions/subscriptions.h"

/* Documents that go to another patient (ITI-64 and what a link or merge of local identifiers does,
 * TF-2 3.64.4.1.3), and back. The order of the statements matters: the versions, then what names
 * them. */

/** Documents that are read at once, where each is looked at. */
#define BATCH_COUNT 512

typedef struct Ids {
    int64_t *items;
    size_t count;
} Ids;

/** One move on its way. */
typedef struct Move {
    Registry *registry;
    Request *req;
    DbConn *conn;
    const PatientMove *move;
    const Uuid *undone;            /* SubmissionSet of the move that is undone; NULL: none is */
    Ids from;                      /* patients whose documents move */
    Ids to;                        /* to_patient and those that were merged into it */
    const Str *source_patient_ids; /* spellings of what moves */
    size_t source_patient_id_count;
    Str new_source_patient_id; /* empty: as before */
    MoveSet set;
} Move;

/** A statement, and the one for an undo. */
typedef struct Step {
    const DbStatement *forward;
    const DbStatement *back;
} Step;

static const DbStatement *statement_of(const Move *move, Step step)
{
    return move->undone != NULL ? step.back : step.forward;
}

/* ---- who and what ---- */

static bool has_id(const Ids *ids, int64_t id)
{
    for (size_t i = 0; i < ids->count; i++) {
        if (ids->items[i] == id) {
            return true;
        }
    }
    return false;
}

/** The patient and those that were merged into it: the rows of documents name the one that they
 * were registered for. */
static int find_ids(const Move *move, int64_t patient, Str identifier, Ids *ret_ids)
{
    const PatientDirectory *patients = move->registry->config.patients;
    Ids merged = {0};
    int rc = patients->ids(patients->ctx, move->req, move->conn, &identifier, 1, &merged.items,
                           &merged.count);
    if (rc < 0) {
        return rc;
    }
    if (!has_id(&merged, patient)) {
        merged = (Ids){.items = ARENA_NEW(move->req->arena, int64_t), .count = 1};
        merged.items[0] = patient;
    }
    *ret_ids = merged;
    return 0;
}

static int find_patients(Move *move)
{
    const PatientDirectory *patients = move->registry->config.patients;
    Str identifier;
    int64_t survivor;
    int rc = patients->identifiers(patients->ctx, move->req, move->conn, &move->move->from_patient,
                                   1, &identifier, &survivor);
    if (rc == 0 && survivor != move->move->from_patient) {
        identifier = STR_EMPTY; /* merged away: those that went with it are the survivor's */
    }
    rc = rc < 0 ? rc : find_ids(move, move->move->from_patient, identifier, &move->from);
    return rc < 0 ? rc
                  : find_ids(move, move->move->to_patient, move->move->to_identifier, &move->to);
}

/** Whether both name the same identifier: by OID where both have it, else by namespace. */
static bool is_same_identifier(const Hl7Cx *a, const Hl7Cx *b)
{
    if (!str_equal(a->id, b->id)) {
        return false;
    }
    if (!str_is_empty(a->universal_id) && !str_is_empty(b->universal_id)) {
        return str_equal(a->universal_id, b->universal_id);
    }
    return !str_is_empty(a->namespace_id) && str_equal(a->namespace_id, b->namespace_id);
}

/** The spellings of the local identifier among the sourcePatientIds of the patient. */
static int find_source_patient_ids(Move *move)
{
    Arena *arena = move->req->arena;
    const PatientMove *asked = move->move;
    Str wanted = str_is_empty(asked->subsumed_identifier) ? asked->local_identifier
                                                          : asked->subsumed_identifier;
    const Hl7Cx local = hl7_cx_parse(arena, &er7_standard_delimiters, HL7_UTF_8, wanted);
    DbParams params;
    DbResult *rows;
    db_params_init(&params, arena);
    db_param_i64_array(&params, move->from.items, move->from.count);
    static const Step select = {&select_source_patient_ids, &select_source_patient_ids_back};
    int rc = db_exec(move->conn, move->req, statement_of(move, select), &params, &rows);
    if (rc < 0) {
        return rc;
    }
    Str *found = ARENA_ARRAY(arena, Str, (size_t)db_rows(rows));
    for (int row = 0; row < db_rows(rows); row++) {
        const Str text = db_text(rows, row, 0);
        const Hl7Cx cx = hl7_cx_parse(arena, &er7_standard_delimiters, HL7_UTF_8, text);
        if (is_same_identifier(&local, &cx)) {
            found[move->source_patient_id_count++] = text;
        }
    }
    move->source_patient_ids = found;
    return 0;
}

/* ---- versions ---- */

/** The parameters that name what moves. */
static DbParams chosen(const Move *move)
{
    DbParams params;
    db_params_init(&params, move->req->arena);
    db_param_i64_array(&params, move->from.items, move->from.count);
    db_param_text_array(&params, move->source_patient_ids, move->source_patient_id_count);
    if (move->undone != NULL) {
        db_param_uuid(&params, *move->undone);
    } else {
        db_param_null(&params);
    }
    return params;
}

/** Versions that end, each once, with the metadata of the HasMember that names it. */
static void bind_previous_versions(const Move *move, DbParams *params, const DbResult *versions)
{
    Arena *arena = move->req->arena;
    size_t count = (size_t)db_rows(versions);
    int32_t *numbers = ARENA_ARRAY(arena, int32_t, count);
    Str *metadata = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = db_i32(versions, (int)i, 0);
        metadata[i] = move_set_render_membership(move->registry, arena, numbers[i]);
    }
    db_param_i32_array(params, numbers, count);
    db_param_bytes_array(params, metadata, count);
}

/** @param versions  of lock_moved: version, count, facility */
static int make_set(const Move *move, const DbResult *versions)
{
    Arena *arena = move->req->arena;
    int32_t facility = db_i32(versions, 0, 2);
    for (int row = 1; row < db_rows(versions); row++) {
        facility = MIN(facility, db_i32(versions, row, 2));
    }
    DbParams params;
    db_params_init(&params, arena);
    db_param_uuid(&params, move->set.entry_uuid);
    db_param_i64(&params, move->move->to_patient);
    db_param_timestamp(&params, move->set.submission_time_us);
    db_param_i32(&params, move->registry->move_content_type_id);
    db_param_i32(&params, facility);
    db_param_text(&params, move->set.unique_id);
    db_param_uuid(&params, uuid_digest(move->set.unique_id));
    db_param_text(&params, move->set.source_id);
    db_param_bytes(&params, move_set_render(move->registry, arena, &move->set));
    return db_exec(move->conn, move->req, &insert_move_set, &params, NULL);
}

static int queue_of_set(const Move *move, const DbStatement *statement, bool has_patients)
{
    DbParams params;
    db_params_init(&params, move->req->arena);
    db_param_uuid(&params, move->set.entry_uuid);
    if (has_patients) {
        db_param_i64_array(&params, move->to.items, move->to.count);
    }
    return db_queue(move->conn, move->req, statement, &params);
}

static int queue_versions(const Move *move, const DbResult *versions)
{
    static const Step step = {&make_versions, &make_versions_back};
    DbParams params = chosen(move);
    db_param_uuid(&params, move->set.entry_uuid);
    bind_previous_versions(move, &params, versions);
    db_param_i64(&params, move->move->to_patient);
    db_param_text_or_null(&params, move->new_source_patient_id);
    int rc = db_queue(move->conn, move->req, statement_of(move, step), &params);
    rc = rc < 0 ? rc : queue_of_set(move, &retire_versions, false);
    return rc < 0 ? rc : queue_of_set(move, &move_references, false);
}

/* ---- what is done with each document ---- */

/** @return 1 the new version's rendered object differs, 0 it does not, or -ERR_CORRUPT */
static int revise(const Move *move, Arena *arena, Str metadata, Str *ret_metadata)
{
    RenderDictionaries *dictionaries = move->registry->dictionaries;
    int rc = rendered_renew_ids(arena, dictionaries, metadata, ret_metadata);
    if (rc < 0 || str_is_empty(move->new_source_patient_id)) {
        return rc;
    }
    rc = rendered_set_slot(arena, dictionaries, *ret_metadata, "sourcePatientId",
                           move->new_source_patient_id, ret_metadata);
    return rc < 0 ? rc : 1;
}

/** Ids of parts (3.64.4.1.3.1.4) and sourcePatientId in the rendered objects. */
static int change_metadata(const Move *move, Request *batch, const DbResult *rows)
{
    size_t count = (size_t)db_rows(rows);
    Uuid *uuids = ARENA_ARRAY(batch->arena, Uuid, count);
    Str *metadata = ARENA_ARRAY(batch->arena, Str, count);
    size_t changed = 0;
    for (size_t i = 0; i < count; i++) {
        uuids[changed] = db_uuid(rows, (int)i, 0);
        int rc = revise(move, batch->arena, db_text(rows, (int)i, 2), &metadata[changed]);
        if (rc < 0) {
            return error_add(&batch->errors, ERR_CORRUPT, NULL,
                             "stored metadata cannot be read; the operator of the registry has to "
                             "repair it");
        }
        changed += (size_t)rc;
    }
    if (changed == 0) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, batch->arena);
    db_param_uuid_array(&params, uuids, changed);
    db_param_bytes_array(&params, metadata, changed);
    return db_exec(move->conn, batch, &set_metadata, &params, NULL);
}

/** Decisions of the patient that are documents, and the repository. */
static int tell_followers(const Move *move, Request *batch, const DbResult *rows)
{
    const DocumentFollower *documents = move->registry->config.documents;
    size_t count = (size_t)db_rows(rows);
    Str *unique_ids = ARENA_ARRAY(batch->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        unique_ids[i] = db_text(rows, (int)i, 1);
    }
    int rc = consent_move(batch, move->conn, unique_ids, count, move->from.items, move->from.count,
                          move->move->to_patient);
    if (rc < 0 || documents == NULL) {
        return rc;
    }
    return documents->follow(documents->ctx, batch, move->conn, move->move->to_identifier,
                             unique_ids, count);
}

/** @return 1 more to come, 0 that was the last, or a negative ErrorCode */
static int follow_batch(const Move *move, Request *batch, Uuid *last)
{
    DbParams params;
    DbResult *rows;
    db_params_init(&params, batch->arena);
    db_param_uuid(&params, move->set.entry_uuid);
    db_param_uuid(&params, *last);
    db_param_i32(&params, BATCH_COUNT);
    int rc = db_exec(move->conn, batch, &select_made, &params, &rows);
    if (rc < 0 || db_rows(rows) == 0) {
        return rc;
    }
    *last = db_uuid(rows, db_rows(rows) - 1, 0);
    bool is_last = db_rows(rows) < BATCH_COUNT;
    rc = change_metadata(move, batch, rows);
    rc = rc < 0 ? rc : tell_followers(move, batch, rows);
    return rc < 0 ? rc : !is_last;
}

/** Goes over the new versions, in bounded memory. */
static int follow_documents(const Move *move)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    Uuid last = {0};
    int rc;
    do {
        arena_clear(arena);
        Request batch = *move->req;
        batch.arena = arena;
        rc = follow_batch(move, &batch, &last);
        move->req->errors = batch.errors;
    } while (rc > 0);
    return rc;
}

/* ---- what names the documents ---- */

static int move_folders(const Move *move)
{
    DbResult *versions;
    int rc = queue_of_set(move, &select_folder_versions, true);
    rc = rc < 0 ? rc : db_sync(move->conn, move->req, &versions);
    if (rc < 0 || db_rows(versions) == 0) {
        return rc;
    }
    DbParams params;
    db_params_init(&params, move->req->arena);
    db_param_uuid(&params, move->set.entry_uuid);
    db_param_i64_array(&params, move->to.items, move->to.count);
    bind_previous_versions(move, &params, versions);
    db_param_i64(&params, move->move->to_patient);
    return db_exec(move->conn, move->req, &make_folder_versions, &params, NULL);
}

static int move_links(const Move *move)
{
    static const Step relationships = {&move_relationships, &move_relationships_back};
    static const Step memberships = {&move_memberships, &move_memberships_back};
    int rc = move_folders(move);
    rc = rc < 0 ? rc : queue_of_set(move, statement_of(move, relationships), true);
    rc = rc < 0 ? rc : queue_of_set(move, statement_of(move, memberships), true);
    return rc < 0 ? rc : db_sync(move->conn, move->req, NULL);
}

/* ---- the whole move ---- */

static MoveSet new_set(Arena *arena, Str source_id)
{
    MoveSet set = {
        .entry_uuid = uuid_new(), .source_id = source_id, .submission_time_us = clock_utc_us()};
    set.unique_id = oid_of_uuid(arena, set.entry_uuid);
    return set;
}

static int64_t count_of(const DbResult *versions)
{
    int64_t count = 0;
    for (int row = 0; row < db_rows(versions); row++) {
        count += db_i64(versions, row, 1);
    }
    return count;
}

static int run(Move *move, Uuid *ret_submission_set, size_t *ret_moved)
{
    static const Step lock = {&lock_moved, &lock_moved_back};
    DbResult *versions;
    const DbParams params = chosen(move);
    int rc = db_exec(move->conn, move->req, statement_of(move, lock), &params, &versions);
    if (rc < 0) {
        return rc;
    }
    int64_t count = count_of(versions);
    if (count > 0) {
        move->set = new_set(move->req->arena, move->move->source_id);
        rc = make_set(move, versions);
        rc = rc < 0 ? rc : queue_versions(move, versions);
        rc = rc < 0 ? rc
                    : subscriptions_queue_events(move->req, move->conn, &move->set.entry_uuid, 1);
        rc = rc < 0 ? rc : db_sync(move->conn, move->req, NULL);
        fail_point("iti64.versions");
        rc = rc < 0 ? rc : follow_documents(move);
        rc = rc < 0 ? rc : move_links(move);
        fail_point("iti64.links");
    }
    if (rc < 0) {
        return rc;
    }
    *ret_submission_set = move->set.entry_uuid;
    *ret_moved = (size_t)count;
    return 0;
}

static int move_documents(void *registry, Request *req, DbConn *conn, const PatientMove *asked,
                          Uuid *ret_submission_set, size_t *ret_moved)
{
    Move move = {.registry = registry, .req = req, .conn = conn, .move = asked};
    bool is_renamed = !str_is_empty(asked->subsumed_identifier);
    if (asked->from_patient == asked->to_patient && !is_renamed) {
        *ret_submission_set = (Uuid){0};
        *ret_moved = 0;
        return 0;
    }
    move.new_source_patient_id = is_renamed ? asked->local_identifier : STR_EMPTY;
    int rc = find_patients(&move);
    rc = rc < 0 ? rc : find_source_patient_ids(&move);
    return rc < 0 ? rc : run(&move, ret_submission_set, ret_moved);
}

static int move_documents_back(void *registry, Request *req, DbConn *conn,
                               const Uuid *submission_set, const PatientMove *asked,
                               Uuid *ret_submission_set, size_t *ret_moved)
{
    Move move = {
        .registry = registry, .req = req, .conn = conn, .move = asked, .undone = submission_set};
    int rc = find_patients(&move);
    rc = rc < 0 ? rc : find_source_patient_ids(&move);
    return rc < 0 ? rc : run(&move, ret_submission_set, ret_moved);
}

PatientMover registry_patient_mover(Registry *registry)
{
    return (PatientMover){
        .ctx = registry, .move = move_documents, .move_back = move_documents_back};
}
