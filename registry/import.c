#include "lib/base/clock.h"
#include "registry/attempts.h"
#include "registry/registration.h"
#include "registry/registration_audit.h"
#include "registry/subscriptions/subscriptions.h"

/* Bulk import: batches of submissions that do not depend on each other share a transaction; all
 * others take the way of ITI-42. */

/** How long one registration may take once its turn has come. */
#define ONE_TIMEOUT_NS INT64_C(60000000000)

/** An item that is tried together with others. */
typedef struct Candidate {
    ImportItem *item;
    StoreItem store;
    bool is_dropped; /* from the common transaction */
    bool is_single;  /* dropped, and its own transaction is to decide */
} Candidate;

/** The common transaction of a batch. */
typedef struct Batch {
    Registry *registry;
    Request *req;
    DbConn *conn;
    Candidate *candidates;
    StoreItem **stores; /* of those not dropped, in order */
    size_t count;
} Batch;

/** Whether the fault is not the submission's. */
static bool is_own_failure(int rc)
{
    return rc == -(int)ERR_DATABASE || rc == -(int)ERR_DATABASE_BUSY || rc == -(int)ERR_IO;
}

/** Notes why it was not stored, with the audit event that ITI-42 demands (TF-2 3.42.5.1). */
static void refuse(Registry *registry, ImportItem *item, int rc)
{
    const RegistrationAudit audit =
        registration_audit(registry, AUDIT_ITI42_IMPORT, item->submission);
    int recorded = registration_audit_failure(&audit, item->req);
    item->outcome = is_own_failure(rc) || recorded < 0 ? IMPORT_FAILED : IMPORT_REFUSED;
}

void registry_import_one(Registry *registry, ImportItem *item)
{
    Request *req = item->req;
    RegistrationAudit audit = registration_audit(registry, AUDIT_ITI42_IMPORT, item->submission);
    bool is_repeated;
    error_list_init(&req->errors, req->arena);
    req->deadline_ns = clock_now_ns() + ONE_TIMEOUT_NS;
    int rc = registration_run_once(registry, req, item->submission, SUBMISSION_ITI42,
                                   registration_audit_queue, &audit, &is_repeated);
    if (rc == 0) {
        item->outcome = IMPORT_STORED;
    } else if (is_repeated) {
        item->outcome = IMPORT_PRESENT;
    } else {
        refuse(registry, item, rc);
    }
}

/** Reads one submission and runs the checks that need no database. */
static int read_item(Registry *registry, ImportItem *item)
{
    if (item->submit_objects_request == NULL) {
        return -(int)ERR_XDS_REGISTRY_METADATA_ERROR;
    }
    int rc = submission_read(item->req, item->submit_objects_request, &item->submission);
    return rc < 0 ? rc
                  : registration_check(registry, item->req, item->submission, SUBMISSION_ITI42);
}

/** Reads all items; those that wait for nobody become candidates. */
static void read_items(Batch *batch, ImportItem *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ImportItem *item = &items[i];
        item->outcome = IMPORT_WAITS;
        int rc = read_item(batch->registry, item);
        if (rc < 0) {
            refuse(batch->registry, item, rc);
        } else if (store_can_copy(item->submission)) {
            batch->candidates[batch->count++] = (Candidate){.item = item};
        }
    }
}

/** Renders them and interns their codes. */
static int prepare(Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        Candidate *candidate = &batch->candidates[i];
        PreparedSubmission *prepared;
        candidate->store.req = candidate->item->req;
        int rc = store_prepare(batch->registry, candidate->store.req, batch->conn,
                               candidate->item->submission, &prepared);
        if (rc < 0) {
            return rc;
        }
        candidate->store.prepared = prepared;
    }
    return 0;
}

static size_t collect_stores(Batch *batch)
{
    size_t kept = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->candidates[i].is_dropped) {
            batch->stores[kept++] = &batch->candidates[i].store;
        }
    }
    return kept;
}

/** A uniqueId that is taken needs a closer look: the same submission again, or the same document,
 * is no fault. */
static bool has_taken_claim(const RegistryState *state)
{
    for (size_t i = 0; i < state->claim_count; i++) {
        if (state->claims[i].is_taken) {
            return true;
        }
    }
    return false;
}

/** Drops what may not be stored, or not here. @return how many */
static size_t judge(Batch *batch)
{
    size_t dropped = 0;
    for (size_t i = 0; i < batch->count; i++) {
        Candidate *candidate = &batch->candidates[i];
        const StoreItem *store = &candidate->store;
        if (candidate->is_dropped) {
            continue;
        }
        candidate->is_single = store->shares_uuid || has_taken_claim(&store->state);
        candidate->is_dropped =
            candidate->is_single || registration_judge(batch->registry, store->req, batch->conn,
                                                       store->prepared, &store->state) < 0;
        dropped += candidate->is_dropped;
    }
    return dropped;
}

/** Subscribers are told of each. */
static int queue_events(const Batch *batch, size_t kept)
{
    Uuid *sets = ARENA_ARRAY(batch->req->arena, Uuid, kept);
    for (size_t i = 0; i < kept; i++) {
        sets[i] = batch->stores[i]->prepared->submission->submission_set->entry_uuid;
    }
    return subscriptions_queue_events(batch->req, batch->conn, sets, kept);
}

/** The rows of all, and the audit event of each. */
static int write_rows(Batch *batch, size_t kept)
{
    DbCopy events;
    StoreCopy rows;
    audit_copy_init(&events);
    store_copy_init(&rows);
    for (size_t i = 0; i < kept; i++) {
        const StoreItem *store = batch->stores[i];
        const RegistrationAudit audit =
            registration_audit(batch->registry, AUDIT_ITI42_IMPORT, store->prepared->submission);
        const AuditEvent event = registration_audit_event(&audit);
        store_copy_add(&rows, store->req, store->prepared, &store->state);
        audit_copy_event(audit.audit, &events, store->req, &event);
    }
    int rc = store_copy_run(&rows, batch->req, batch->conn);
    rc = rc < 0 ? rc : db_copy_run(batch->conn, batch->req, &events);
    rc = rc < 0 ? rc : queue_events(batch, kept);
    store_copy_done(&rows);
    db_copy_done(&events);
    return rc;
}

/** Every submission of an import has documents, of one patient each. */
static int tell_repository(const Batch *batch, size_t kept)
{
    int64_t *patients = ARENA_ARRAY(batch->req->arena, int64_t, kept);
    for (size_t i = 0; i < kept; i++) {
        patients[i] = batch->stores[i]->state.patient.id;
    }
    return registration_tell_repository(batch->registry, batch->req, batch->conn, patients, kept);
}

/**
 * One transaction; the caller rolls back unless it was committed.
 * @return how many were dropped, so that the others have to be tried again; 0: committed
 */
static int attempt(Batch *batch, size_t kept)
{
    int rc = store_read_states(batch->registry, batch->req, batch->conn, batch->stores, kept);
    if (rc < 0) {
        return rc;
    }
    size_t dropped = judge(batch);
    if (dropped > 0) {
        return (int)dropped;
    }
    rc = write_rows(batch, kept);
    rc = rc < 0 ? rc : tell_repository(batch, kept);
    return rc < 0 ? rc : db_commit(batch->conn, batch->req, NULL);
}

/** Tries until all that are left are stored. @return 0, or negative: each has to try alone */
static int store_together(Batch *batch)
{
    unsigned races = 0;
    for (;;) {
        size_t kept = collect_stores(batch);
        int rc = kept > 0 ? attempt(batch, kept) : 0;
        if (rc == 0) {
            return 0;
        }
        bool is_raced = rc < 0 && db_is_raced(batch->conn, rc);
        int rollback = db_rollback(batch->conn, batch->req);
        races += is_raced;
        if (rollback < 0 || (rc < 0 && (!is_raced || races == ATTEMPTS_MAX))) {
            return -(int)ERR_DATABASE;
        }
    }
}

/** What could not be done together is done alone. */
static void settle(Batch *batch, bool is_stored)
{
    for (size_t i = 0; i < batch->count; i++) {
        const Candidate *candidate = &batch->candidates[i];
        if (candidate->is_single || (!candidate->is_dropped && !is_stored)) {
            registry_import_one(batch->registry, candidate->item);
        } else if (candidate->is_dropped) {
            refuse(batch->registry, candidate->item, -(int)ERR_XDS_REGISTRY_ERROR);
        } else {
            candidate->item->outcome = IMPORT_STORED;
        }
    }
}

void registry_import_batch(Registry *registry, Request *req, ImportItem *items, size_t count)
{
    Batch batch = {.registry = registry,
                   .req = req,
                   .candidates = ARENA_ARRAY(req->arena, Candidate, count),
                   .stores = ARENA_ARRAY(req->arena, StoreItem *, count)};
    read_items(&batch, items, count);
    int rc = db_acquire(registry->config.pool, req, &batch.conn);
    rc = rc < 0 ? rc : prepare(&batch);
    rc = rc < 0 ? rc : store_together(&batch);
    db_release(batch.conn);
    settle(&batch, rc == 0);
}
