#include "lib/access/access.h"
#include "lib/base/fail.h"
#include "repository/document_rows.h"
#include "repository/on_demand.h"

/** Snapshots of On-Demand documents (ITI TF-2 3.43.4.2.3): registered before they are given out. */

#define REQUEST_TIMEOUT_MS 30000

static const DbStatement select_facility = {"on_demand_facility",
                                            "SELECT id FROM facility WHERE name = $1::text"};

static const DbStatement update_kept = {
    "on_demand_kept",
    "UPDATE on_demand_document SET snapshot_unique_id = $2::text WHERE unique_id = $1::text"};

static const DbStatement update_generator = {
    "on_demand_generator",
    "UPDATE repository_document SET generator = $2::text WHERE digest = $1::uuid"};

int on_demand_principal(const Repository *repository, Request *req, Principal *ret_server)
{
    Str facility = str_from(repository->config.on_demand.facility);
    DbParams params;
    DbResult *rows;
    *ret_server =
        (Principal){.node_name = STR("musubi"), .may_submit = true, .may_do_everything = true};
    if (str_is_empty(facility)) {
        return 0;
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, facility);
    int rc = db_acquire(repository->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_facility, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    if (db_rows(rows) == 0) {
        return error_add(&req->errors, ERR_CONFIGURATION, NULL,
                         "[repository] on_demand_facility %.*s is not known: musubi facility add",
                         STR_ARG(facility));
    }
    ret_server->facility_id = db_i32(rows, 0, 0);
    return 0;
}

static const DbStatement insert_listed = {
    "on_demand_list", "INSERT INTO on_demand_snapshot (digest, documents, studies)"
                      " VALUES ($1::uuid, $2::text[], $3::text[]) ON CONFLICT DO NOTHING"};

/** One snapshot on its way. */
typedef struct Keeping {
    Repository *repository;
    Request *req; /* the server's own */
    const OnDemandRow *row;
    const MadeDocument *made;
    OnDemandRow now; /* row as it is behind the lock */
    OnDemandEntry entry;
    bool is_there; /* the very same bytes are kept already */
} Keeping;

static int queue_listed(Request *req, DbConn *conn, const MadeDocument *made)
{
    const PatientRecord *record = &made->record;
    Str *documents = ARENA_ARRAY(req->arena, Str, record->document_count);
    Str *studies = ARENA_ARRAY(req->arena, Str, record->study_count);
    DbParams params;
    for (size_t i = 0; i < record->document_count; i++) {
        documents[i] = record->documents[i].listed.unique_id;
    }
    for (size_t i = 0; i < record->study_count; i++) {
        studies[i] = record->studies[i].study_uid;
    }
    db_params_init(&params, req->arena);
    db_param_uuid(&params, uuid_digest(made->unique_id));
    db_param_text_array(&params, documents, record->document_count);
    db_param_text_array(&params, studies, record->study_count);
    return db_queue(conn, req, &insert_listed, &params);
}

/** Rows of the transaction that registers. */
static int queue_kept(void *ctx, Request *req, DbConn *conn)
{
    const Keeping *keeping = ctx;
    DbParams kept;
    DbParams made;
    db_params_init(&kept, req->arena);
    db_param_text(&kept, keeping->row->unique_id);
    db_param_text(&kept, keeping->made->unique_id);
    db_params_init(&made, req->arena);
    db_param_uuid(&made, uuid_digest(keeping->made->unique_id));
    db_param_text(&made, keeping->row->generator->name);
    int rc = db_queue(conn, req, &update_generator, &made);
    rc = rc < 0 ? rc : queue_listed(req, conn, keeping->made);
    return rc < 0 ? rc : db_queue(conn, req, &update_kept, &kept);
}

static bool is_registered(const DocumentRegistration *registrations, size_t count, size_t document)
{
    bool is = false;
    for (size_t i = 0; i < count && !is; i++) {
        is = registrations[i].document == document;
    }
    return is;
}

/** The Approved entry of a uniqueId, as it is registered now. */
static bool find_approved(const DocumentRegistration *registrations, size_t count, size_t document,
                          Uuid *ret_entry)
{
    for (size_t i = 0; i < count; i++) {
        if (registrations[i].document == document &&
            registrations[i].access.status == STATUS_APPROVED) {
            *ret_entry = registrations[i].entry_uuid;
            return true;
        }
    }
    return false;
}

/** What is there: the snapshot itself, the one before it, and the On-Demand entry. */
static int look_up(Keeping *keeping)
{
    const DocumentCatalogue *catalogue = keeping->repository->config.catalogue;
    Request *req = keeping->req;
    DocumentRows rows;
    OnDemandRow *found;
    DocumentRegistration *registrations;
    size_t found_count = 0;
    size_t count = 0;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(keeping->repository->config.pool, req, &conn);
    rc = rc < 0 ? rc : document_rows_find(req, conn, &keeping->made->unique_id, 1, &rows);
    rc = rc < 0 ? rc : on_demand_find(req, conn, &keeping->row->unique_id, 1, &found, &found_count);
    if (rc < 0 || found_count == 0) {
        return rc < 0 ? rc : -(int)ERR_DATABASE;
    }
    keeping->now = found[0];
    enum { ON_DEMAND, BEFORE, SAME };
    const Str names[] = {[ON_DEMAND] = keeping->row->unique_id,
                         [BEFORE] = keeping->now.snapshot_unique_id,
                         [SAME] = keeping->made->unique_id};
    rc =
        catalogue->find(catalogue->ctx, req, conn, names, ARRAY_LEN(names), &registrations, &count);
    keeping->is_there = rc == 0 && rows.count > 0 && rows.items[0].state == DOCUMENT_REGISTERED &&
                        !str_is_empty(rows.items[0].generator) &&
                        is_registered(registrations, count, SAME);
    if (rc == 0 && !keeping->is_there &&
        !find_approved(registrations, count, ON_DEMAND, &keeping->entry.of)) {
        rc = error_add(&req->errors, ERR_XDS_REPOSITORY_ERROR, NULL,
                       "the On-Demand entry is not Approved any more");
    }
    keeping->entry.is_replacement =
        rc == 0 && find_approved(registrations, count, BEFORE, &keeping->entry.replaced);
    return rc;
}

static int provide(Keeping *keeping)
{
    const ProvideHook hook = {.ctx = keeping, .queue = queue_kept};
    Principal server;
    Submission *submission;
    int rc = on_demand_principal(keeping->repository, keeping->req, &server);
    rc = rc < 0 ? rc
                : on_demand_submission(keeping->repository, keeping->req, &keeping->entry,
                                       &submission);
    if (rc < 0) {
        return rc;
    }
    keeping->req->principal = &server;
    rc = repository_provide(keeping->repository, keeping->req, submission,
                            strbuf_str(&keeping->made->content), &hook);
    keeping->req->principal = NULL;
    if (rc == 0) {
        fail_point("on_demand.kept");
    }
    return rc;
}

/** One at a time, so that each finds the one before it. */
static int keep(Keeping *keeping)
{
    pthread_mutex_lock(&keeping->repository->snapshot_lock);
    int rc = look_up(keeping);
    if (rc == 0 && !keeping->is_there) {
        rc = provide(keeping);
    }
    pthread_mutex_unlock(&keeping->repository->snapshot_lock);
    return rc;
}

int on_demand_keep(Repository *repository, Request *reader, const OnDemandRow *row,
                   const MadeDocument *made)
{
    bool sees_all = false;
    Request asking = *reader;
    error_list_init(&asking.errors, reader->arena);
    int rc = on_demand_sees_all(repository, &asking, row->generator, row->patient, NULL, &sees_all);
    reader->rules = asking.rules; /* whom he saw by breaking the glass */
    if (rc < 0 || !sees_all) {
        return rc;
    }
    Request *req = request_new(REQUEST_TIMEOUT_MS);
    req->transaction = "ITI-41";
    req->is_repository = true;
    Keeping keeping = {
        .repository = repository,
        .req = req,
        .row = row,
        .made = made,
        .entry = {.generator = row->generator,
                  .patient_id = made->patient_id,
                  .unique_id = made->unique_id,
                  .entry = uuid_new(),
                  .set = uuid_new(),
                  .is_snapshot = true,
                  .created_us = made->record.as_of_us},
    };
    rc = keep(&keeping);
    request_free(req);
    return rc < 0 ? rc : 1;
}
