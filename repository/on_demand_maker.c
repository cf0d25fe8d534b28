#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/hl7/cx.h"
#include "repository/on_demand.h"

/** Registers the On-Demand entries that registrations have noted (ITI TF-2 3.61). */

#define NS_PER_MS INT64_C(1000000)
#define REST_MS 1000
#define REQUEST_TIMEOUT_MS 30000
/** What could not be registered is tried again so often. */
#define RETRY_MS 60000
#define ROUND_MAX 256

struct OnDemandMaker {
    Repository *repository;
    Worker worker;
};

/* Of the patient as it is now. $1 those that failed too */
static const DbStatement select_due = {
    "on_demand_due",
    "SELECT d.unique_id, x.value, a.oid FROM on_demand_document d "
    "JOIN patient_identifier i ON i.id = d.patient "
    "JOIN patient_identifier x ON x.id = coalesce(i.survivor, i.id) "
    "JOIN assigning_authority a ON a.id = x.authority "
    "WHERE d.registered_at IS NULL AND d.generator = $2::text AND (d.failure = '' OR $1::boolean) "
    "ORDER BY d.noted_at LIMIT 256",
};

static const DbStatement update_registered = {
    "on_demand_registered", "UPDATE on_demand_document SET registered_at = now(), failure = '' "
                            "WHERE unique_id = $1::text"};

static const DbStatement update_failure = {
    "on_demand_failure",
    "UPDATE on_demand_document SET failure = $2::text WHERE unique_id = $1::text"};

typedef struct Making {
    Repository *repository;
    OnDemandEntry entry;
    Str set_unique_id;
} Making;

/** In the transaction that registers. */
static int queue_made(void *ctx, Request *req, DbConn *conn)
{
    const Making *making = ctx;
    const AuditObject objects[] = {
        {.kind = AUDIT_OBJECT_PATIENT, .id = making->entry.patient_id},
        {.kind = AUDIT_OBJECT_SUBMISSION_SET, .id = making->set_unique_id},
    };
    const AuditEvent event = {
        .type = AUDIT_ITI61_IMPORT, .objects = objects, .object_count = ARRAY_LEN(objects)};
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text(&params, making->entry.unique_id);
    int rc = db_queue(conn, req, &update_registered, &params);
    return rc < 0 ? rc : audit_queue_event(making->repository->config.audit, conn, req, &event);
}

/** The same ids each time: an attempt whose end is not known is repeated, and not made twice. */
static int make_one(Request *req, Making *making)
{
    const RegistryClient *registry = making->repository->config.registry;
    const Uuid origin = uuid_digest(making->entry.unique_id);
    Principal server;
    Submission *submission;
    making->entry.entry = uuid_derive(origin, 0);
    making->entry.set = uuid_derive(origin, 1);
    int rc = on_demand_principal(making->repository, req, &server);
    rc = rc < 0 ? rc : on_demand_submission(making->repository, req, &making->entry, &submission);
    if (rc < 0) {
        return rc;
    }
    making->set_unique_id = submission->submission_set->unique_id;
    fail_point("on_demand.made");
    req->principal = &server;
    rc = registry->register_on_demand(registry->ctx, req, submission, queue_made, making);
    req->principal = NULL;
    if (rc == 0) {
        fail_point("on_demand.registered");
    }
    return rc;
}

static void record_failure(Making *making, Request *req)
{
    const Error *error = req->errors.first;
    Str reason = error ? error->context : STR("it could not be registered");
    DbParams params;
    log_warn("event=on_demand document=%.*s outcome=Failure error=%s",
             STR_ARG(making->entry.unique_id), error ? error_ihe_code(error->code, true) : "");
    req->deadline_ns = clock_now_ns() + REQUEST_TIMEOUT_MS * NS_PER_MS;
    db_params_init(&params, req->arena);
    db_param_text(&params, making->entry.unique_id);
    db_param_text(&params, reason);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    if (db_acquire(making->repository->config.pool, req, &conn) == 0) {
        (void)!db_exec(conn, req, &update_failure, &params, NULL);
    }
}

static void make(Making *making)
{
    Request *req = request_new(REQUEST_TIMEOUT_MS);
    req->transaction = "ITI-61";
    req->is_repository = true;
    if (make_one(req, making) < 0) {
        record_failure(making, req);
    }
    request_free(req);
}

static int find_due(Repository *repository, Request *req, bool with_failed, DbResult **ret_rows)
{
    DbParams params;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    db_params_init(&params, req->arena);
    db_param_bool(&params, with_failed);
    db_param_text(&params, repository->generator->name);
    int rc = db_acquire(repository->config.pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &select_due, &params, ret_rows);
}

/** @return whether there may be more at once */
static bool make_round(OnDemandMaker *maker, bool with_failed)
{
    Request *req = request_new(REQUEST_TIMEOUT_MS);
    DbResult *rows = NULL;
    int count = find_due(maker->repository, req, with_failed, &rows) < 0 ? 0 : db_rows(rows);
    bool goes_on = true;
    for (int i = 0; i < count && goes_on; i++) {
        Making making = {
            .repository = maker->repository,
            .entry = {.unique_id = db_text(rows, i, 0),
                      .generator = maker->repository->generator,
                      .patient_id =
                          hl7_cx_format(req->arena, db_text(rows, i, 1), db_text(rows, i, 2))},
        };
        make(&making);
        goes_on = worker_rest_until(&maker->worker, 0);
    }
    request_free(req);
    return goes_on && count == ROUND_MAX && !with_failed;
}

static void *run(void *ctx)
{
    OnDemandMaker *maker = ctx;
    int64_t retry_ns = 0;
    while (worker_rest_until(&maker->worker, clock_now_ns() + REST_MS * NS_PER_MS)) {
        bool with_failed = clock_now_ns() >= retry_ns;
        if (with_failed) {
            retry_ns = clock_now_ns() + RETRY_MS * NS_PER_MS;
        }
        while (make_round(maker, with_failed)) {
            with_failed = false;
        }
    }
    return NULL;
}

OnDemandMaker *on_demand_maker_start(Repository *repository)
{
    OnDemandMaker *maker = HEAP_NEW(OnDemandMaker);
    maker->repository = repository;
    if (worker_start(&maker->worker, run, maker) != 0) {
        abort();
    }
    return maker;
}

void on_demand_maker_stop(OnDemandMaker *maker)
{
    if (maker) {
        worker_stop(&maker->worker);
        free(maker);
    }
}
