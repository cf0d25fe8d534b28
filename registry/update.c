#include "registry/update.h"

#include "lib/base/fail.h"
#include "registry/attempts.h"
#include "registry/consent.h"
#include "registry/permission.h"
#include "registry/resubmission.h"
#include "registry/submitter.h"
#include "registry/subscriptions/subscriptions.h"
#include "registry/update_read.h"
#include "registry/update_store.h"

/** One update on its way: what its attempts share. */
typedef struct Update {
    Registry *registry;
    Request *req;
    DbConn *conn;
    SubmissionKind kind;
    const PreparedSubmission *prepared;
    const SubmittedDocument *submitted;
    TransactionHook hook;
    void *caller;
} Update;

/* ---- access ---- */

/** Marks what the node may not name: it is as unknown to it as what is not registered. In as many
 * round trips whether it is there or not. */
static int hide_objects(const Update *update, UpdateState *state)
{
    Request *req = update->req;
    RegistryState *objects = &state->registry;
    if (permission_names_all(req)) {
        return 0;
    }
    int64_t *patients = ARENA_ARRAY(req->arena, int64_t, objects->object_count);
    for (size_t i = 0; i < objects->object_count; i++) {
        patients[i] = objects->objects[i].patient;
    }
    int rc = access_prepare(req, patients, objects->object_count);
    for (size_t i = 0; i < objects->object_count && rc == 0; i++) {
        bool may;
        rc = permission_to_name(req, &objects->objects[i], &may);
        objects->objects[i].is_hidden = rc == 0 && !may;
        state->versions[i].object.is_hidden = objects->objects[i].is_hidden;
    }
    return rc;
}

static int check_change(Request *req, const StoredVersion *version, Str id)
{
    return version == NULL || version->object.is_hidden
               ? 0
               : permission_to_change(req, &version->object, id);
}

/** An Association is its source's: the Folder that holds, the document that refers to another. What
 * a submitted one replaces is changed too. */
static int check_association_access(const Update *update, const UpdateState *state,
                                    const Association *association)
{
    const StoredVersion *named[2];
    if (association->target.is_in_submission ||
        update_named_objects(state, association, named) == 0) {
        return 0;
    }
    int rc = check_change(update->req, named[0], association->object->id);
    if (rc == 0 && association_type_replaces(association->type)) {
        rc = check_change(update->req, update_state_find(state, association->target.uuid),
                          association->target.text);
    }
    return rc;
}

static int check_change_access(const Update *update, const UpdateState *state)
{
    const Submission *submission = update->prepared->submission;
    size_t count;
    const UpdatedObject *updated = updated_objects(update->req->arena, submission, state, &count);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = check_change(update->req, updated[i].previous, updated[i].object->lid);
    }
    for (const Association *a = submission->associations; rc == 0 && a != NULL; a = a->next) {
        rc = check_association_access(update, state, a);
    }
    return rc;
}

/* ---- one transaction ---- */

/** Everything that the registry's content decides; adds every fault found. As in a registration,
 * who submits for others is told no more than that. */
static int judge(const Update *update, const UpdateState *state)
{
    Request *req = update->req;
    Submission *submission = update->prepared->submission;
    unsigned errors_before = req->errors.error_count;
    bool is_repeated = false;
    submitter_check(update->registry, req, submission);
    if (req->errors.error_count > errors_before) {
        return -(int)ERR_FORBIDDEN;
    }
    int rc = resubmission_check(update->registry, req, update->conn, update->prepared,
                                &state->registry, &is_repeated);
    if (rc < 0) {
        return rc;
    }
    rc = update_rules_check(req, update->kind, submission, update->submitted, state);
    int opened = permission_to_submit(req, submission, state->registry.patient.id);
    opened = opened < 0 ? opened : check_change_access(update, state);
    rc = rc < 0 ? rc : opened;
    if (rc == 0) {
        rc = consent_check(update->registry, req, update->conn, submission, &state->registry);
    }
    if (rc == 0 && req->errors.error_count > errors_before) {
        rc = -(int)ERR_FORBIDDEN;
    }
    return rc;
}

/** One transaction; the caller rolls back on failure. */
static int attempt(void *ctx)
{
    const Update *update = ctx;
    Request *req = update->req;
    DbConn *conn = update->conn;
    UpdateState state;
    int rc =
        update_read_state(update->registry, req, conn, update->prepared, update->submitted, &state);
    if (rc < 0) {
        return rc;
    }
    fail_point("iti57.locked");
    rc = hide_objects(update, &state);
    rc = rc < 0 ? rc : judge(update, &state);
    rc = rc < 0 ? rc
                : update_store_queue(update->registry, req, conn, update->prepared,
                                     update->submitted, &state);
    rc = rc < 0 ? rc
                : subscriptions_queue_events(
                      req, conn, &update->prepared->submission->submission_set->entry_uuid, 1);
    rc = rc < 0 ? rc : update_store_follow(update->registry, req, conn, update->prepared, &state);
    if (rc == 0 && update->hook != NULL) {
        rc = update->hook(update->caller, req, conn);
    }
    if (rc < 0) {
        return rc;
    }
    fail_point("iti57.changed");
    rc = db_commit(conn, req, NULL);
    if (rc == 0) {
        fail_point("iti57.committed");
    }
    return rc;
}

static const SubmittedDocument *submitted_documents(Arena *arena,
                                                    const PreparedSubmission *prepared)
{
    size_t count = prepared->submission->document_count;
    SubmittedDocument *submitted = ARENA_ARRAY(arena, SubmittedDocument, count);
    for (size_t i = 0; i < count; i++) {
        submitted[i] = (SubmittedDocument){.size_bytes = prepared->documents[i].size_bytes,
                                           .hash = prepared->documents[i].hash,
                                           .repository = prepared->documents[i].repository};
    }
    return submitted;
}

int update_run(Registry *registry, Request *req, SubmissionKind kind, Submission *submission,
               TransactionHook hook, void *caller)
{
    int rc = registration_check(registry, req, submission, kind);
    if (rc < 0) {
        return rc;
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    rc = db_acquire(registry->config.pool, req, &conn);
    if (rc < 0) {
        return rc;
    }
    PreparedSubmission *prepared;
    rc = store_prepare(registry, req, conn, submission, &prepared);
    if (rc < 0) {
        return rc;
    }
    Update update = {.registry = registry,
                     .req = req,
                     .conn = conn,
                     .kind = kind,
                     .prepared = prepared,
                     .submitted = submitted_documents(req->arena, prepared),
                     .hook = hook,
                     .caller = caller};
    return attempts_run(req, conn, attempt, &update);
}
