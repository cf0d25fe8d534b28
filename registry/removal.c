#include "registry/removal.h"

#include <stdlib.h>

#include "lib/access/retention.h"
#include "lib/base/fail.h"
#include "registry/attempts.h"
#include "registry/consent.h"
#include "registry/permission.h"
#include "registry/removal_read.h"
#include "registry/retained.h"
#include "registry/store_rows.h"

/** One removal on its way: what its attempts share. */
typedef struct Removal {
    Registry *registry;
    Request *req;
    DbConn *conn;
    const Str *ids;
    size_t id_count;
    UuidSet named;
} Removal;

/* ---- access ---- */

/** A SubmissionSet of another facility is not told of: its title may tell of what is hidden. */
static int may_name(Request *req, const StoredObject *object, bool *ret_may)
{
    if (object->kind == OBJECT_SUBMISSION_SET) {
        *ret_may = access_may_submit_for(req->principal, object->access.source_facility);
        return 0;
    }
    return permission_to_name(req, object, ret_may);
}

/** The objects by which it is decided about this one: itself, or the ends of an Association. A
 * membership is also that of what the SubmissionSet holds: so whoever removes a document can remove
 * what others say about it, and a SubmissionSet of a move, which is nobody's, in the end too. */
static size_t deciding(const RemovalObject *object, const StoredObject *ret_objects[2])
{
    size_t count = 0;
    if (object->object.kind != OBJECT_ASSOCIATION) {
        ret_objects[count++] = &object->object;
        return count;
    }
    if (object->source_object != NULL) {
        ret_objects[count++] = object->source_object;
    }
    if (object->member != NULL) {
        ret_objects[count++] = object->member;
    }
    return count;
}

/** Marks what the node may not know of. In as many round trips whether it is there or not. */
static int hide_objects(Request *req, RemovalState *state)
{
    if (permission_names_all(req)) {
        return 0;
    }
    int64_t *patients = ARENA_ARRAY(req->arena, int64_t, state->object_count);
    for (size_t i = 0; i < state->object_count; i++) {
        patients[i] = state->objects[i].object.patient;
    }
    int rc = access_prepare(req, patients, state->object_count);
    for (size_t i = 0; i < state->object_count && rc == 0; i++) {
        const StoredObject *objects[2];
        size_t count = deciding(&state->objects[i], objects);
        bool may = false;
        for (size_t n = 0; n < count && rc == 0 && !may; n++) {
            rc = may_name(req, objects[n], &may);
        }
        state->objects[i].object.is_hidden = rc == 0 && !may;
    }
    return rc;
}

static int may_change(Request *req, const StoredObject *object, bool *ret_may)
{
    const AccessScope *scope;
    int rc = access_open(req, object->patient, ACCESS_CHANGE, &scope);
    if (rc == 0) {
        *ret_may = access_decide(scope, &object->access);
    }
    return rc;
}

/** Adds a fault for each object that is to be known, and not to be removed. */
static int check_access(Request *req, const RemovalState *state)
{
    int rc = 0;
    for (size_t i = 0; i < state->object_count && rc == 0; i++) {
        const RemovalObject *object = &state->objects[i];
        const StoredObject *objects[2];
        size_t count = deciding(object, objects);
        bool may = object->object.is_hidden;
        for (size_t n = 0; n < count && rc == 0 && !may; n++) {
            rc = may_change(req, objects[n], &may);
        }
        if (rc == 0 && !may) {
            permission_refuse(req, "remove", uuid_urn(req->arena, object->object.entry_uuid));
        }
    }
    return rc;
}

/* ---- the verdict ---- */

static bool is_kind(const RemovalObject *object, ObjectKind kind)
{
    return object->object.kind == kind;
}

static UuidSet entries_of(Arena *arena, const RemovalState *state, ObjectKind kind)
{
    UuidSet entries;
    uuid_set_init(&entries, arena);
    for (size_t i = 0; i < state->object_count; i++) {
        if (is_kind(&state->objects[i], kind)) {
            uuid_set_add(&entries, state->objects[i].object.entry_uuid);
        }
    }
    return entries;
}

static int check_retention(Request *req, DbConn *conn, const RemovalState *state)
{
    const UuidSet entries = entries_of(req->arena, state, OBJECT_DOCUMENT_ENTRY);
    RetainedDocument *documents;
    size_t count;
    if (entries.count == 0) {
        return 0;
    }
    int rc = retained_of_entries(req, conn, &entries, &documents, &count);
    return rc < 0 ? rc : retention_check(req, conn, documents, count, NULL);
}

/** Everything that the registry's content decides; adds every fault found. */
static int judge(const Removal *removal, const RemovalState *state)
{
    Request *req = removal->req;
    const Error *before = req->errors.last;
    unsigned errors_before = req->errors.error_count;
    int rules = removal_rules_check(req, removal->ids, removal->id_count, state);
    int rc = check_access(req, state);
    if (rc == 0 && req->errors.error_count == errors_before) {
        rc = check_retention(req, removal->conn, state);
    }
    rc = rc < 0 ? rc : rules;
    return rc < 0 ? rc : submission_rules_result(req, before, errors_before);
}

/* ---- rows ---- */

static const DbStatement delete_documents = {
    "removal_delete_documents", "DELETE FROM document_entry WHERE entry_uuid = ANY ($1::uuid[])"};
static const DbStatement delete_folders = {
    "removal_delete_folders", "DELETE FROM folder WHERE entry_uuid = ANY ($1::uuid[])"};
static const DbStatement delete_associations = {
    "removal_delete_associations", "DELETE FROM association WHERE entry_uuid = ANY ($1::uuid[])"};
static const DbStatement delete_sets = {
    "removal_delete_sets", "DELETE FROM submission_set WHERE entry_uuid = ANY ($1::uuid[])"};

/* A uniqueId is free again when no object has it. */
static const DbStatement free_unique_ids = {
    "removal_free_unique_ids",
    "DELETE FROM unique_id u USING unnest($1::uuid[], $2::text[])"
    " AS gone (digest, unique_id) WHERE u.digest = gone.digest"
    " AND NOT EXISTS (SELECT FROM document_entry d WHERE hashtext(d.unique_id) ="
    "   hashtext(gone.unique_id) AND d.unique_id = gone.unique_id)"
    " AND NOT EXISTS (SELECT FROM folder f WHERE hashtext(f.unique_id) ="
    "   hashtext(gone.unique_id) AND f.unique_id = gone.unique_id)"
    " AND NOT EXISTS (SELECT FROM submission_set s WHERE hashtext(s.unique_id) ="
    "   hashtext(gone.unique_id) AND s.unique_id = gone.unique_id)"};

static const DbStatement insert_removals = {
    "removal_insert",
    "INSERT INTO removal (is_bytes, node, user_id, unique_id, patient_id, entry_uuid)"
    " SELECT false, $1::text, $2::text, unique_id, patient_id, entry_uuid"
    " FROM unnest($3::text[], $4::text[], $5::uuid[]) AS gone (unique_id, patient_id, entry_uuid)"};

static int queue_deletions(const Removal *removal)
{
    static const DbStatement *const deletions[] = {&delete_associations, &delete_documents,
                                                   &delete_folders, &delete_sets};
    DbParams params;
    int rc = 0;
    db_params_init(&params, removal->req->arena);
    db_param_uuid_array(&params, removal->named.items, removal->named.count);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(deletions); i++) {
        rc = db_queue(removal->conn, removal->req, deletions[i], &params);
    }
    return rc;
}

/** lastUpdateTime of Folders that lose a document (TF-3 4.2.3.4.6). */
static int queue_touches(const Removal *removal, const RemovalState *state)
{
    UuidSet folders;
    uuid_set_init(&folders, removal->req->arena);
    for (size_t i = 0; i < state->object_count; i++) {
        const RemovalObject *object = &state->objects[i];
        if (is_kind(object, OBJECT_ASSOCIATION) && object->source_kind == OBJECT_FOLDER &&
            !uuid_set_has(&removal->named, object->source)) {
            uuid_set_add(&folders, object->source);
        }
    }
    uuid_set_close(&folders);
    return folders.count == 0
               ? 0
               : store_queue_touch(removal->req, removal->conn, &folders, store_now_us());
}

/** DocumentEntries of the request. */
typedef struct GoneDocuments {
    Str *unique_ids;
    Str *patient_ids;
    Uuid *entry_uuids;
    size_t count;
} GoneDocuments;

static GoneDocuments gone_documents(Arena *arena, const RemovalRead *read)
{
    const RemovalState *state = &read->state;
    GoneDocuments gone = {.unique_ids = ARENA_ARRAY(arena, Str, state->object_count),
                          .patient_ids = ARENA_ARRAY(arena, Str, state->object_count),
                          .entry_uuids = ARENA_ARRAY(arena, Uuid, state->object_count)};
    for (size_t i = 0; i < state->object_count; i++) {
        const RemovalObject *object = &state->objects[i];
        if (is_kind(object, OBJECT_DOCUMENT_ENTRY)) {
            gone.unique_ids[gone.count] = object->unique_id;
            gone.patient_ids[gone.count] = removal_patient_identifier(read, object->object.patient);
            gone.entry_uuids[gone.count++] = object->object.entry_uuid;
        }
    }
    return gone;
}

static int queue_removals(const Removal *removal, const GoneDocuments *gone)
{
    const Request *req = removal->req;
    DbParams params;
    if (gone->count == 0) {
        return 0;
    }
    db_params_init(&params, req->arena);
    db_param_text(&params, req->principal != NULL ? req->principal->node_name : STR_EMPTY);
    db_param_text(&params, req->user != NULL ? req->user->id : STR_EMPTY);
    db_param_text_array(&params, gone->unique_ids, gone->count);
    db_param_text_array(&params, gone->patient_ids, gone->count);
    db_param_uuid_array(&params, gone->entry_uuids, gone->count);
    return db_queue(removal->conn, removal->req, &insert_removals, &params);
}

/** Frees the uniqueIds of what goes, but for documents that the repository has or had: there no
 * other bytes may follow. */
static int queue_free(const Removal *removal, const RemovalState *state, const GoneDocuments *gone,
                      const bool *is_known)
{
    Arena *arena = removal->req->arena;
    Uuid *digests = ARENA_ARRAY(arena, Uuid, state->object_count);
    Str *unique_ids = ARENA_ARRAY(arena, Str, state->object_count);
    DbParams params;
    size_t count = 0;
    for (size_t i = 0; i < gone->count; i++) {
        if (!is_known[i]) {
            unique_ids[count++] = gone->unique_ids[i];
        }
    }
    for (size_t i = 0; i < state->object_count; i++) {
        const RemovalObject *object = &state->objects[i];
        if (is_kind(object, OBJECT_SUBMISSION_SET) || is_kind(object, OBJECT_FOLDER)) {
            unique_ids[count++] = object->unique_id;
        }
    }
    for (size_t i = 0; i < count; i++) {
        digests[i] = uuid_digest(unique_ids[i]);
    }
    db_params_init(&params, arena);
    db_param_uuid_array(&params, digests, count);
    db_param_text_array(&params, unique_ids, count);
    return db_queue(removal->conn, removal->req, &free_unique_ids, &params);
}

/** What the repository of this database knows of the documents; their manifests end. */
static int tell_repository(const Removal *removal, const GoneDocuments *gone, bool *ret_is_known)
{
    const DocumentFollower *documents = removal->registry->config.documents;
    return documents == NULL || gone->count == 0
               ? 0
               : documents->withdraw(documents->ctx, removal->req, removal->conn, gone->unique_ids,
                                     gone->count, ret_is_known);
}

/* ---- audit ---- */

static AuditObject audit_object(Request *req, const RemovalObject *object)
{
    return (AuditObject){.kind = AUDIT_OBJECT_REGISTRY_OBJECT,
                         .id = uuid_urn(req->arena, object->object.entry_uuid),
                         .is_erased = true};
}

/** The event of what is removed of one patient (TF-2 3.20.7: one patient, one event). */
static int queue_event(const Removal *removal, const RemovalState *state, Str identifier,
                       const RemovalRead *read)
{
    Request *req = removal->req;
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, state->object_count + 1);
    AuditEvent event = {.type = AUDIT_ITI62_REMOVE, .objects = objects};
    objects[event.object_count++] = (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = identifier};
    for (size_t i = 0; i < state->object_count; i++) {
        const RemovalObject *object = &state->objects[i];
        if (str_equal(removal_patient_identifier(read, object->object.patient), identifier)) {
            objects[event.object_count++] = audit_object(req, object);
        }
    }
    return event.object_count == 1
               ? 0
               : audit_queue_event(removal->registry->config.audit, removal->conn, req, &event);
}

static int queue_events(const Removal *removal, const RemovalRead *read)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < read->patient_count; i++) {
        Str identifier = read->patients[i].identifier;
        bool is_told = false;
        for (size_t earlier = 0; earlier < i && !is_told; earlier++) {
            is_told = str_equal(read->patients[earlier].identifier, identifier);
        }
        rc = is_told ? 0 : queue_event(removal, &read->state, identifier, read);
    }
    return rc;
}

/* ---- one transaction ---- */

static int change(const Removal *removal, const RemovalRead *read)
{
    Request *req = removal->req;
    const UuidSet entries = entries_of(req->arena, &read->state, OBJECT_DOCUMENT_ENTRY);
    const GoneDocuments gone = gone_documents(req->arena, read);
    bool *is_known = ARENA_ARRAY(req->arena, bool, gone.count);
    int rc = consent_remove(removal->registry, req, removal->conn, &entries);
    rc = rc < 0 ? rc : queue_touches(removal, &read->state);
    rc = rc < 0 ? rc : queue_deletions(removal);
    rc = rc < 0 ? rc : db_sync(removal->conn, req, NULL);
    rc = rc < 0 ? rc : tell_repository(removal, &gone, is_known);
    rc = rc < 0 ? rc : queue_free(removal, &read->state, &gone, is_known);
    rc = rc < 0 ? rc : queue_removals(removal, &gone);
    return rc < 0 ? rc : queue_events(removal, read);
}

/** One transaction; the caller rolls back on failure. */
static int attempt(void *ctx)
{
    const Removal *removal = ctx;
    Request *req = removal->req;
    RemovalRead read;
    int rc = removal_read(removal->registry, req, removal->conn, &removal->named, &read);
    if (rc < 0) {
        return rc;
    }
    fail_point("iti62.locked");
    rc = hide_objects(req, &read.state);
    rc = rc < 0 ? rc : judge(removal, &read.state);
    rc = rc < 0 ? rc : change(removal, &read);
    if (rc == 0) {
        fail_point("iti62.changed");
        rc = db_commit(removal->conn, req, NULL);
    }
    if (rc == 0) {
        fail_point("iti62.committed");
    }
    return rc;
}

int removal_run(Registry *registry, Request *req, const Str *ids, size_t count)
{
    Removal removal = {.registry = registry, .req = req, .ids = ids, .id_count = count};
    uuid_set_init(&removal.named, req->arena);
    for (size_t i = 0; i < count; i++) {
        Uuid uuid;
        if (uuid_parse_urn(ids[i], &uuid)) {
            uuid_set_add(&removal.named, uuid);
        }
    }
    uuid_set_close(&removal.named);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(registry->config.pool, req, &conn);
    removal.conn = conn;
    return rc < 0 ? rc : attempts_run(req, conn, attempt, &removal);
}
