#include "registry/registration.h"

#include <stdlib.h>

#include "lib/base/fail.h"
#include "registry/attempts.h"
#include "registry/consent.h"
#include "registry/permission.h"
#include "registry/resubmission.h"
#include "registry/store.h"
#include "registry/submitter.h"
#include "registry/subscriptions/subscriptions.h"

/** One registration on its way: what its attempts share. */
typedef struct Registration {
    Registry *registry;
    Request *req;
    DbConn *conn;
    const PreparedSubmission *prepared;
    TransactionHook hook;
    void *caller;
    bool *is_repeated; /* set by resubmission_check() */
} Registration;

int registration_check(Registry *registry, Request *req, const Submission *submission,
                       SubmissionKind kind)
{
    const RegistryConfig *config = &registry->config;
    const CodeSets *codes = config->code_check == CODE_CHECK_OFF ? NULL : *config->codes;
    const CodeSets *strict = config->code_check == CODE_CHECK_STRICT ? codes : NULL;
    int rc = submission_check(req, submission, kind, strict);
    if (rc == 0 && config->code_check == CODE_CHECK_WARN) {
        submission_check_codes(req, submission, codes, SEVERITY_WARNING);
    }
    return rc;
}

/** The end that a registered object must allow: what gets replaced, and the Folder that gets a
 * member. Other relationships leave their target as it is. */
static const ObjectReference *changed_end(const Association *association)
{
    if (association->type == ASSOCIATION_HAS_MEMBER) {
        return &association->source;
    }
    return association_type_replaces(association->type) ? &association->target : NULL;
}

/** How many ends of Associations are neither in the submission nor the node's own: whether they are
 * there is decided in one round trip, also if none is. */
static size_t count_foreign_ends(const Registration *registration, const RegistryState *state)
{
    size_t count = 0;
    const Association *a = registration->prepared->submission->associations;
    for (; a != NULL; a = a->next) {
        const ObjectReference *ends[] = {&a->source, &a->target};
        for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
            const StoredObject *stored = registry_state_find(state, ends[i]->uuid);
            count += !ends[i]->is_in_submission &&
                     (stored == NULL || !access_may_submit_for(registration->req->principal,
                                                               stored->access.source_facility));
        }
    }
    return count;
}

/** Marks what the node may not name: it is as unknown to it as what is not registered. */
static int hide_objects(const Registration *registration, RegistryState *state)
{
    Request *req = registration->req;
    if (permission_names_all(req) || count_foreign_ends(registration, state) == 0) {
        return 0;
    }
    int64_t *patients = ARENA_ARRAY(req->arena, int64_t, state->object_count);
    for (size_t i = 0; i < state->object_count; i++) {
        patients[i] = state->objects[i].patient;
    }
    int rc = access_prepare(req, patients, state->object_count);
    for (size_t i = 0; i < state->object_count && rc == 0; i++) {
        bool may;
        rc = permission_to_name(req, &state->objects[i], &may);
        state->objects[i].is_hidden = rc == 0 && !may;
    }
    return rc;
}

/** Registered objects that the submission changes. */
static int check_change_access(const Registration *registration, const RegistryState *state)
{
    Request *req = registration->req;
    const AccessScope *scope;
    int rc = access_open(req, state->patient.id, ACCESS_CHANGE, &scope);
    if (rc < 0) {
        return rc;
    }
    for (const Association *a = registration->prepared->submission->associations; a != NULL;
         a = a->next) {
        const ObjectReference *end = changed_end(a);
        const StoredObject *stored =
            end == NULL || end->is_in_submission ? NULL : registry_state_find(state, end->uuid);
        if (stored != NULL && !stored->is_hidden && !access_decide(scope, &stored->access)) {
            permission_refuse(req, "change", end->text);
        }
    }
    return 0;
}

/** Everything that the registry's content decides; adds every fault found. Who submits for others
 * is told no more than that: what is known of their numbers would be an answer. */
static int judge(const Registration *registration, const RegistryState *state)
{
    Request *req = registration->req;
    unsigned errors_before = req->errors.error_count;
    submitter_check(registration->registry, req, registration->prepared->submission);
    if (req->errors.error_count > errors_before) {
        return -(int)ERR_FORBIDDEN;
    }
    int rc = resubmission_check(registration->registry, req, registration->conn,
                                registration->prepared, state, registration->is_repeated);
    if (rc < 0) {
        return rc;
    }
    rc = submission_rules_check(req, registration->prepared->submission, state);
    int opened = permission_to_submit(req, registration->prepared->submission, state->patient.id);
    opened = opened < 0 ? opened : check_change_access(registration, state);
    rc = rc < 0 ? rc : opened;
    opened = consent_check(registration->registry, req, registration->conn,
                           registration->prepared->submission, state);
    rc = rc < 0 ? rc : opened;
    if (rc == 0 && req->errors.error_count > errors_before) {
        rc = -(int)ERR_FORBIDDEN;
    }
    return rc;
}

int registration_judge(Registry *registry, Request *req, DbConn *conn,
                       const PreparedSubmission *prepared, const RegistryState *state)
{
    bool is_repeated;
    const Registration registration = {registry, req, conn, prepared, NULL, NULL, &is_repeated};
    return judge(&registration, state);
}

/** Subscribers are told of it. */
static int queue_event(Request *req, DbConn *conn, const PreparedSubmission *prepared)
{
    return subscriptions_queue_events(req, conn, &prepared->submission->submission_set->entry_uuid,
                                      1);
}

static int compare_ids(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

int registration_tell_repository(const Registry *registry, Request *req, DbConn *conn,
                                 int64_t *patients, size_t count)
{
    const DocumentFollower *documents = registry->config.documents;
    if (documents == NULL || documents->registered == NULL || count == 0) {
        return 0;
    }
    qsort(patients, count, sizeof(*patients), compare_ids);
    return documents->registered(documents->ctx, req, conn, patients, count);
}

/** What is made when asked for is no document that there is something to tell of. */
static int tell_repository(const Registration *registration, const RegistryState *state)
{
    const DocumentEntry *first = registration->prepared->submission->documents;
    int64_t patient = state->patient.id;
    bool has_documents = first != NULL && !first->is_on_demand;
    return registration_tell_repository(registration->registry, registration->req,
                                        registration->conn, &patient, has_documents ? 1 : 0);
}

/** One transaction; the caller rolls back on failure. */
static int attempt(void *ctx)
{
    const Registration *registration = ctx;
    Request *req = registration->req;
    DbConn *conn = registration->conn;
    RegistryState state;
    int rc = store_read_state(registration->registry, req, conn, registration->prepared, &state);
    if (rc < 0) {
        return rc;
    }
    fail_point("iti42.claimed");
    rc = hide_objects(registration, &state);
    rc = rc < 0 ? rc : judge(registration, &state);
    if (rc < 0) {
        return rc;
    }
    fail_point("iti42.checked");
    rc = store_queue(req, conn, registration->prepared, &state);
    rc = rc < 0 ? rc : queue_event(req, conn, registration->prepared);
    rc = rc < 0 ? rc
                : consent_store(registration->registry, req, conn, registration->prepared,
                                state.patient.id);
    rc = rc < 0 ? rc : tell_repository(registration, &state);
    if (rc == 0 && registration->hook != NULL) {
        rc = registration->hook(registration->caller, req, conn);
    }
    if (rc < 0) {
        return rc;
    }
    fail_point("iti42.inserted");
    rc = db_commit(conn, req, NULL);
    if (rc == 0) {
        fail_point("iti42.committed");
    }
    return rc;
}

int registration_run(Registry *registry, Request *req, Submission *submission, SubmissionKind kind,
                     TransactionHook hook, void *caller)
{
    bool is_repeated;
    return registration_run_once(registry, req, submission, kind, hook, caller, &is_repeated);
}

int registration_run_once(Registry *registry, Request *req, Submission *submission,
                          SubmissionKind kind, TransactionHook hook, void *caller,
                          bool *ret_is_repeated)
{
    *ret_is_repeated = false;
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
    Registration registration = {registry, req, conn, prepared, hook, caller, ret_is_repeated};
    return attempts_run(req, conn, attempt, &registration);
}
