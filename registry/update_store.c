#include "registry/update_store.h"

#include "lib/base/dtm.h"
#include "registry/consent.h"
#include "registry/propagation.h"
#include "registry/replacement.h"
#include "registry/store_rows.h"

static const DbStatement supersede_documents = {
    "update_supersede_documents", "UPDATE document_entry SET status = 1, is_latest = false"
                                  " WHERE entry_uuid = ANY ($1::uuid[])"};
static const DbStatement supersede_folders = {"update_supersede_folders",
                                              "UPDATE folder SET status = 1, is_latest = false"
                                              " WHERE entry_uuid = ANY ($1::uuid[])"};
static const DbStatement end_associations = {
    "update_end_associations",
    "UPDATE association SET status = 1 WHERE entry_uuid = ANY ($1::uuid[])"};

#define SQL_SET_STATUS(table)                                                                      \
    "UPDATE " table " t SET status = s.status FROM unnest($1::uuid[], $2::int[])"                  \
    " AS s (entry_uuid, status) WHERE t.entry_uuid = s.entry_uuid"
static const DbStatement set_status_documents = {"update_status_documents",
                                                 SQL_SET_STATUS("document_entry")};
static const DbStatement set_status_folders = {"update_status_folders", SQL_SET_STATUS("folder")};
static const DbStatement set_status_associations = {"update_status_associations",
                                                    SQL_SET_STATUS("association")};

static const DbStatement set_bytes = {
    "update_bytes", "UPDATE unique_id u SET size_bytes = NULLIF(c.size_bytes, -1),"
                    " hash = NULLIF(c.hash, ''::bytea)"
                    " FROM unnest($1::uuid[], $2::bigint[], $3::bytea[])"
                    " AS c (digest, size_bytes, hash) WHERE u.digest = c.digest"};

/** One update on its way. */
typedef struct Update {
    Registry *registry;
    Request *req;
    DbConn *conn;
    const PreparedSubmission *prepared;
    const UpdateState *state;
    const UpdatedObject *updated;
    size_t updated_count;
} Update;

static Update make_update(Registry *registry, Request *req, DbConn *conn,
                          const PreparedSubmission *prepared, const UpdateState *state)
{
    Update update = {
        .registry = registry, .req = req, .conn = conn, .prepared = prepared, .state = state};
    update.updated =
        updated_objects(req->arena, prepared->submission, state, &update.updated_count);
    return update;
}

static int queue_uuids(const Update *update, const DbStatement *statement, const UuidSet *uuids)
{
    if (uuids->count == 0) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, update->req->arena);
    db_param_uuid_array(&params, uuids->items, uuids->count);
    return db_queue(update->conn, update->req, statement, &params);
}

/* ---- what ends ---- */

static UuidSet previous_versions(const Update *update, ObjectKind kind)
{
    UuidSet set;
    uuid_set_init(&set, update->req->arena);
    for (size_t i = 0; i < update->updated_count; i++) {
        if (update->updated[i].kind == kind) {
            uuid_set_add(&set, update->updated[i].previous->object.entry_uuid);
        }
    }
    uuid_set_close(&set);
    return set;
}

static int queue_superseded(const Update *update)
{
    const UuidSet documents = previous_versions(update, OBJECT_DOCUMENT_ENTRY);
    const UuidSet folders = previous_versions(update, OBJECT_FOLDER);
    UuidSet links;
    uuid_set_init(&links, update->req->arena);
    for (size_t i = 0; i < update->state->links.count; i++) {
        uuid_set_add(&links, update->state->links.items[i].entry_uuid);
    }
    uuid_set_close(&links);
    int rc = queue_uuids(update, &supersede_documents, &documents);
    rc = rc < 0 ? rc : queue_uuids(update, &supersede_folders, &folders);
    return rc < 0 ? rc : queue_uuids(update, &end_associations, &links);
}

/* ---- changes of status ---- */

typedef struct StatusChanges {
    Uuid *uuids;
    int32_t *statuses;
    size_t count;
} StatusChanges;

static StatusChanges status_changes(Arena *arena, size_t capacity)
{
    return (StatusChanges){.uuids = ARENA_ARRAY(arena, Uuid, capacity),
                           .statuses = ARENA_ARRAY(arena, int32_t, capacity)};
}

static void add_change(StatusChanges *changes, const Association *association)
{
    changes->uuids[changes->count] = association->target.uuid;
    changes->statuses[changes->count++] = association->new_status;
}

static int queue_changes(const Update *update, const DbStatement *statement,
                         const StatusChanges *changes)
{
    if (changes->count == 0) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, update->req->arena);
    db_param_uuid_array(&params, changes->uuids, changes->count);
    db_param_i32_array(&params, changes->statuses, changes->count);
    return db_queue(update->conn, update->req, statement, &params);
}

/** Of what is registered; a version that the message makes gets its status with its row. */
static int queue_status(const Update *update)
{
    const Submission *submission = update->prepared->submission;
    Arena *arena = update->req->arena;
    StatusChanges documents = status_changes(arena, submission->association_count);
    StatusChanges folders = status_changes(arena, submission->association_count);
    StatusChanges associations = status_changes(arena, submission->association_count);
    for (const Association *a = submission->associations; a != NULL; a = a->next) {
        if (a->type != ASSOCIATION_UPDATE_AVAILABILITY_STATUS || a->target.is_in_submission) {
            continue;
        }
        const StoredVersion *version = update_state_find(update->state, a->target.uuid);
        if (version == NULL) {
            add_change(&associations, a);
        } else {
            add_change(version->object.kind == OBJECT_FOLDER ? &folders : &documents, a);
        }
    }
    int rc = queue_changes(update, &set_status_documents, &documents);
    rc = rc < 0 ? rc : queue_changes(update, &set_status_folders, &folders);
    return rc < 0 ? rc : queue_changes(update, &set_status_associations, &associations);
}

/* ---- new versions ---- */

/** A Deprecated version, which only a Restricted Update may change, has a Deprecated successor
 * (3.92.4.1.3). */
static int16_t new_status(const UpdatedObject *updated)
{
    return updated->status != NULL ? (int16_t)updated->status->new_status
                                   : updated->previous->object.access.status;
}

/** To another patient; not to the one that its patient was merged into. */
static bool moves(const Update *update, const UpdatedObject *updated)
{
    return updated->previous->object.patient != update->state->registry.patient.survivor;
}

/** Whose row it is stays as it was: what takes a merge back finds it there. */
static int64_t new_patient(const Update *update, const UpdatedObject *updated)
{
    return moves(update, updated) ? update->state->registry.patient.id
                                  : updated->previous->stored_patient;
}

static int queue_versions(const Update *update)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < update->updated_count; i++) {
        const UpdatedObject *updated = &update->updated[i];
        const StoredVersion *previous = updated->previous;
        const int64_t patient = new_patient(update, updated);
        const RowVersion version = {.lid = updated->lid,
                                    .version = previous->version + 1,
                                    .source_facility = previous->object.access.source_facility,
                                    .status = new_status(updated),
                                    .last_update_us = previous->last_update_us};
        rc = updated->kind == OBJECT_DOCUMENT_ENTRY
                 ? store_queue_document(update->req, update->conn,
                                        &update->prepared->documents[updated->position], patient,
                                        &version)
                 : store_queue_folder(update->req, update->conn,
                                      &update->prepared->folders[updated->position], patient,
                                      &version);
    }
    return rc;
}

/** Documents with this uniqueId are compared with what they are by now. */
static int queue_bytes(const Update *update, const SubmittedDocument *submitted)
{
    Arena *arena = update->req->arena;
    Uuid *digests = ARENA_ARRAY(arena, Uuid, update->updated_count);
    int64_t *sizes = ARENA_ARRAY(arena, int64_t, update->updated_count);
    Str *hashes = ARENA_ARRAY(arena, Str, update->updated_count);
    size_t count = 0;
    for (size_t i = 0; i < update->updated_count; i++) {
        const UpdatedObject *updated = &update->updated[i];
        if (updated->document != NULL &&
            update_changes_bytes(updated->previous, &submitted[updated->position])) {
            digests[count] = uuid_digest(updated->unique_id);
            sizes[count] = submitted[updated->position].size_bytes;
            hashes[count++] = submitted[updated->position].hash;
        }
    }
    if (count == 0) {
        return 0;
    }
    DbParams params;
    db_params_init(&params, arena);
    db_param_uuid_array(&params, digests, count);
    db_param_i64_array(&params, sizes, count);
    db_param_bytes_array(&params, hashes, count);
    return db_queue(update->conn, update->req, &set_bytes, &params);
}

/* ---- Associations ---- */

/** lastUpdateTime of the registered Folders that got a member; a new version keeps the one of the
 * version before. */
static int queue_touched(const Update *update, const AssociationRows *rows)
{
    UuidSet touched;
    uuid_set_init(&touched, update->req->arena);
    for (size_t i = 0; i < rows->count; i++) {
        bool is_registered = rows->source_kind[i] == OBJECT_FOLDER &&
                             update_state_find(update->state, rows->source[i]) != NULL;
        if (is_registered) {
            uuid_set_add(&touched, rows->source[i]);
        }
    }
    uuid_set_close(&touched);
    return store_queue_touch(update->req, update->conn, &touched, store_now_us());
}

static int queue_links(const Update *update)
{
    const Submission *submission = update->prepared->submission;
    const RegistryState *registry = &update->state->registry;
    FolderMembership *memberships;
    size_t membership_count;
    int rc =
        replacement_memberships(update->req, submission, registry, &memberships, &membership_count);
    if (rc < 0) {
        return rc;
    }
    AssociationRows rows =
        association_rows(update->req->arena, submission->association_count + 2 * membership_count +
                                                 update->state->links.count);
    association_rows_add_submitted(&rows, update->prepared, registry);
    association_rows_add_memberships(&rows, submission, memberships, membership_count);
    rc = propagate_links(update->registry, update->req, update->state, update->updated,
                         update->updated_count, &rows);
    rc = rc < 0 ? rc : store_queue_associations(update->req, update->conn, &rows);
    return rc < 0 ? rc : queue_touched(update, &rows);
}

int update_store_queue(Registry *registry, Request *req, DbConn *conn,
                       const PreparedSubmission *prepared, const SubmittedDocument *submitted,
                       const UpdateState *state)
{
    const Update update = make_update(registry, req, conn, prepared, state);
    int rc = queue_superseded(&update);
    rc = rc < 0 ? rc : queue_status(&update);
    rc = rc < 0 ? rc : store_queue_deprecation(req, conn, prepared->submission);
    rc = rc < 0 ? rc : store_queue_set(req, conn, prepared, state->registry.patient.id);
    rc = rc < 0 ? rc : queue_versions(&update);
    rc = rc < 0 ? rc : queue_bytes(&update, submitted);
    return rc < 0 ? rc : queue_links(&update);
}

/* ---- what follows ---- */

static bool has_same_terms(const ConsentTerms *a, const ConsentTerms *b)
{
    return a->class_code == b->class_code && a->format_code == b->format_code &&
           a->start_us == b->start_us && a->stop_us == b->stop_us &&
           a->event_code_count == b->event_code_count &&
           (a->event_code_count == 0 ||
            memcmp(a->event_code_list, b->event_code_list,
                   a->event_code_count * sizeof(*a->event_code_list)) == 0);
}

static int64_t time_or_none(Str dtm)
{
    int64_t utc_us;
    return dtm_parse(dtm, &utc_us) ? utc_us : INT64_MIN;
}

/** What a consent document says stays as it was where its terms do: to say it again would make it
 * the last decision of the patient. */
static void collect_version(const Update *update, const UpdatedObject *updated,
                            ConsentChanges *changes)
{
    const PreparedDocument *document = &update->prepared->documents[updated->position];
    const ConsentTerms terms = {
        .class_code = document->codes[CODE_CLASS],
        .format_code = document->codes[CODE_FORMAT],
        .event_code_list = document->event_code_list,
        .event_code_count = document->entry->event_code_list.count,
        .start_us = time_or_none(document->entry->service_start_time),
        .stop_us = time_or_none(document->entry->service_stop_time),
    };
    bool was_approved = updated->previous->object.access.status == STATUS_APPROVED;
    bool is_approved = new_status(updated) == STATUS_APPROVED;
    if (was_approved == is_approved && !moves(update, updated) &&
        has_same_terms(&updated->previous->terms, &terms)) {
        return;
    }
    if (was_approved) {
        uuid_set_add(&changes->ended, updated->previous->object.entry_uuid);
    }
    if (is_approved) {
        uuid_set_add(&changes->begun, updated->entry_uuid);
    }
}

static void collect_changes(const Update *update, ConsentChanges *changes)
{
    uuid_set_init(&changes->ended, update->req->arena);
    uuid_set_init(&changes->begun, update->req->arena);
    for (size_t i = 0; i < update->updated_count; i++) {
        if (update->updated[i].kind == OBJECT_DOCUMENT_ENTRY) {
            collect_version(update, &update->updated[i], changes);
        }
    }
    for (const Association *a = update->prepared->submission->associations; a; a = a->next) {
        const StoredVersion *version =
            a->type == ASSOCIATION_UPDATE_AVAILABILITY_STATUS && !a->target.is_in_submission
                ? update_state_find(update->state, a->target.uuid)
                : NULL;
        if (version != NULL && version->object.kind == OBJECT_DOCUMENT_ENTRY) {
            uuid_set_add(a->new_status == STATUS_APPROVED ? &changes->begun : &changes->ended,
                         a->target.uuid);
        } else if (association_type_replaces(a->type)) {
            uuid_set_add(&changes->ended, a->target.uuid);
        }
    }
}

/** Documents that went to another patient. */
static int follow_patients(const Update *update)
{
    const DocumentFollower *documents = update->registry->config.documents;
    Str *unique_ids = ARENA_ARRAY(update->req->arena, Str, update->updated_count);
    size_t count = 0;
    for (size_t i = 0; i < update->updated_count; i++) {
        const UpdatedObject *updated = &update->updated[i];
        if (updated->kind == OBJECT_DOCUMENT_ENTRY && moves(update, updated)) {
            unique_ids[count++] = updated->unique_id;
        }
    }
    if (count == 0 || documents == NULL) {
        return 0;
    }
    int rc = db_sync(update->conn, update->req, NULL);
    return rc < 0 ? rc
                  : documents->follow(documents->ctx, update->req, update->conn,
                                      update->prepared->submission->submission_set->patient_id,
                                      unique_ids, count);
}

int update_store_follow(Registry *registry, Request *req, DbConn *conn,
                        const PreparedSubmission *prepared, const UpdateState *state)
{
    const Update update = make_update(registry, req, conn, prepared, state);
    ConsentChanges changes;
    collect_changes(&update, &changes);
    int rc = follow_patients(&update);
    return rc < 0 ? rc : consent_update(registry, req, conn, prepared->submission, &changes);
}
