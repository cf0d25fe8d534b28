#include "repository/imaging/commitments.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "repository/imaging/imaging_state.h"
#include "repository/imaging/outgoing.h"

#define DATABASE_TIMEOUT_MS 10000
#define POLL_PAUSE_NS INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
/** First part of the keys of the locks; the second is the duty. */
#define LOCK_CLASS "1347831380"
/** Failure Reasons (PS3.3 C.14.1.1). */
#define REASON_PROCESSING 0x0110
#define REASON_NO_INSTANCE 0x0112
#define REASON_CLASS_CONFLICT 0x0119

typedef struct Duty Duty;

/** @return 1: something was done, 0: there was nothing to do, or negative */
typedef int (*DutyFn)(Duty *duty, Request *req);

/** What one thread does. */
struct Duty {
    Commitments *commitments;
    DbPool *pool; /* one connection, whose session has the lock */
    int32_t lock;
    DutyFn step;
    Worker worker;
    bool is_started;
    bool is_failing;
};

struct Commitments {
    Imaging *imaging;
    Duty checks;
    Duty reports;
};

/* ---- rows ---- */

static const DbStatement insert_request = {
    "imaging_commitment_insert",
    "INSERT INTO imaging_commitment (node, facility, ae_title, transaction_uid, sop_classes, "
    "sop_instances) VALUES ($1::integer, $2::integer, $3::text, $4::text, $5::text[], $6::text[]) "
    "ON CONFLICT DO NOTHING RETURNING id",
};

static const DbStatement delete_old = {
    "imaging_commitment_delete_old",
    "DELETE FROM imaging_commitment WHERE closed_at < now() - interval '30 days'",
};

/* Of the session: a process that dies gives it up at once. It is taken anew each time, since a
 * connection may have been replaced; the count that the session keeps does no harm. */
static const DbStatement take_lock = {"imaging_commitment_lock",
                                      "SELECT pg_try_advisory_lock(" LOCK_CLASS ", $1::int4)"};

static const DbStatement select_unchecked = {
    "imaging_commitment_unchecked",
    "SELECT id, facility, sop_classes, sop_instances FROM imaging_commitment "
    "WHERE closed_at IS NULL AND reasons IS NULL ORDER BY id LIMIT 1",
};

static const DbStatement select_stored = {
    "imaging_commitment_stored",
    "SELECT coalesce(i.sop_class, ''), coalesce(i.sha256, '') "
    "FROM unnest($2::text[]) WITH ORDINALITY w (uid, at) LEFT JOIN imaging_instance i "
    "ON i.sop_instance = w.uid AND i.facility = $1::integer AND i.variant = 0 ORDER BY w.at",
};

static const DbStatement update_checked = {
    "imaging_commitment_checked",
    "UPDATE imaging_commitment SET reasons = $2::integer[], due_at = clock_timestamp() "
    "WHERE id = $1::bigint",
};

static const DbStatement select_due = {
    "imaging_commitment_due",
    "SELECT id, node, facility, ae_title, transaction_uid, sop_classes, sop_instances, reasons, "
    "attempts FROM imaging_commitment WHERE closed_at IS NULL AND reasons IS NOT NULL "
    "AND due_at <= clock_timestamp() ORDER BY due_at, id LIMIT 1",
};

static const DbStatement update_reported = {
    "imaging_commitment_reported",
    "UPDATE imaging_commitment SET closed_at = clock_timestamp(), failure = '', "
    "attempts = attempts + 1 WHERE id = $1::bigint",
};

/* One that does not answer is tried once for all that it is owed: 4 s, 8 s ... 1 h, for 3 days. */
static const DbStatement update_failed = {
    "imaging_commitment_failed",
    "UPDATE imaging_commitment SET attempts = greatest(attempts, $3::integer + 1), "
    "failure = $4::text, due_at = clock_timestamp() + "
    "least(3600, 2 ^ least($3::integer + 2, 12)) * interval '1 second', "
    "closed_at = CASE WHEN received_at < now() - interval '3 days' THEN clock_timestamp() END "
    "WHERE node = $1::integer AND ae_title = $2::text AND closed_at IS NULL "
    "AND reasons IS NOT NULL",
};

int commitments_add(Commitments *commitments, Request *req, const CommitmentRequest *request)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_i32(&params, request->node);
    db_param_i32(&params, request->facility);
    db_param_text(&params, request->ae_title);
    db_param_text(&params, request->transaction_uid);
    db_param_text_array(&params, request->sop_classes, request->count);
    db_param_text_array(&params, request->sop_instances, request->count);
    int rc = db_acquire(commitments->imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &insert_request, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    worker_wake(&commitments->checks.worker);
    return db_rows(rows);
}

/** @return 1 with the row; 0: there is none, or another process has the duty; negative */
static int take_row(const Duty *duty, Request *req, const DbStatement *statement,
                    DbResult **ret_rows)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *results[2] = {NULL, NULL};
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, duty->lock);
    int rc = db_acquire(duty->pool, req, &conn);
    rc = rc < 0 ? rc : db_queue(conn, req, &take_lock, &params);
    rc = rc < 0 ? rc : db_queue(conn, req, statement, NULL);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0) {
        return rc;
    }
    *ret_rows = results[1];
    return db_bool(results[0], 0, 0) && db_rows(results[1]) > 0;
}

static int run(const Duty *duty, Request *req, const DbStatement *statement, const DbParams *params,
               DbResult **ret_rows)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    req->deadline_ns = clock_now_ns() + DATABASE_TIMEOUT_MS * NS_PER_MS;
    int rc = db_acquire(duty->pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, statement, params, ret_rows);
}

/* ---- what is stored ---- */

/** Whether every block of the file is as it was written. */
static bool is_whole(const Imaging *imaging, Str sha256)
{
    BlobReader *reader = NULL;
    int rc = sha256.len == 32
                 ? blob_reader_open(imaging->blobs, (const uint8_t *)sha256.data, &reader)
                 : -ERR_CORRUPT;
    rc = rc < 0 ? rc : blob_reader_verify(reader);
    blob_reader_free(reader);
    return rc == 0;
}

static int32_t reason_of(const Imaging *imaging, Str sop_class, Str stored_class, Str sha256)
{
    if (str_is_empty(stored_class)) {
        return REASON_NO_INSTANCE;
    }
    if (!str_equal(stored_class, sop_class)) {
        return REASON_CLASS_CONFLICT;
    }
    return is_whole(imaging, sha256) ? 0 : REASON_PROCESSING;
}

/** @return false: the server stops */
static bool check_instances(Duty *duty, const Str *sop_classes, const DbResult *stored,
                            size_t count, int32_t *reasons)
{
    for (size_t i = 0; i < count; i++) {
        if (!worker_rest_until(&duty->worker, clock_now_ns())) {
            return false;
        }
        reasons[i] = reason_of(duty->commitments->imaging, sop_classes[i],
                               db_text(stored, (int)i, 0), db_text(stored, (int)i, 1));
    }
    return true;
}

static int check_next(Duty *duty, Request *req)
{
    DbResult *row = NULL;
    DbResult *stored = NULL;
    Str *sop_classes;
    Str *sop_instances;
    DbParams params;
    int rc = take_row(duty, req, &select_unchecked, &row);
    if (rc <= 0) {
        return rc;
    }
    size_t count = db_text_array(row, 0, 2, req->arena, &sop_classes);
    (void)db_text_array(row, 0, 3, req->arena, &sop_instances);
    db_params_init(&params, req->arena);
    db_param_i32(&params, db_i32(row, 0, 1));
    db_param_text_array(&params, sop_instances, count);
    rc = run(duty, req, &select_stored, &params, &stored);
    int32_t *reasons = ARENA_ARRAY(req->arena, int32_t, count);
    if (rc < 0 || !check_instances(duty, sop_classes, stored, count, reasons)) {
        return rc;
    }
    db_params_init(&params, req->arena);
    db_param_i64(&params, db_i64(row, 0, 0));
    db_param_i32_array(&params, reasons, count);
    rc = run(duty, req, &update_checked, &params, NULL);
    fail_point("commitment.checked");
    worker_wake(&duty->commitments->reports.worker);
    return rc < 0 ? rc : 1;
}

/* ---- reports ---- */

static void put_references(Arena *arena, const DbResult *row, StrBuf *fields)
{
    Str *sop_classes;
    Str *sop_instances;
    int32_t *reasons;
    size_t count = db_text_array(row, 0, 5, arena, &sop_classes);
    (void)db_text_array(row, 0, 6, arena, &sop_instances);
    size_t reason_count = db_i32_array(row, 0, 7, arena, &reasons);
    for (size_t i = 0; i < count; i++) {
        int32_t reason = i < reason_count ? reasons[i] : REASON_PROCESSING;
        _cleanup_(strbuf_done) StrBuf text = {0};
        strbuf_printf(&text, "%.*s %.*s", STR_ARG(sop_classes[i]), STR_ARG(sop_instances[i]));
        if (reason != 0) {
            strbuf_printf(&text, " %d", (int)reason);
        }
        worker_put(fields, reason ? WORKER_FAILED_INSTANCE : WORKER_REFERENCE, strbuf_str(&text));
    }
}

static int send_report(const Imaging *imaging, Request *req, const Ae *to, const DbResult *row)
{
    static const Str context =
        STR_INIT("1.2.840.10008.1.20.1 1.2.840.10008.1.2.1 1.2.840.10008.1.2");
    const OutgoingSide side = {imaging->config.workers, imaging->config.tls,
                               imaging->config.ae_title};
    _cleanup_(strbuf_done) StrBuf fields = {0};
    Outgoing *outgoing = NULL;
    uint16_t status = 0;
    int rc = outgoing_open(&side, req, to, &context, 1, &outgoing);
    if (rc < 0) {
        return rc;
    }
    worker_put(&fields, WORKER_TRANSACTION_UID, db_text(row, 0, 4));
    put_references(req->arena, row, &fields);
    rc = outgoing_order(outgoing, req, WORKER_SAYS_REPORT, strbuf_str(&fields), &status);
    outgoing_release(outgoing);
    if (rc == 0 && status != 0) {
        rc = error_add(&req->errors, ERR_DICOM_PEER, NULL,
                       "AE %.*s answers N-EVENT-REPORT with status %04X", STR_ARG(to->title),
                       status);
    }
    return rc;
}

/** A line when reports begin to fail and when they go again. */
static void log_change(Duty *duty, const Request *req, bool fails)
{
    if (fails && !duty->is_failing) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        log_warn("event=commitment_report_failing detail=%s",
                 log_quote(arena, req->errors.first ? req->errors.first->context : STR_EMPTY));
    } else if (!fails && duty->is_failing) {
        log_info("event=commitment_report_recovered");
    }
    duty->is_failing = fails;
}

static int mark_failed(const Duty *duty, Request *req, const DbResult *row)
{
    DbParams params;
    Str problem = req->errors.first ? req->errors.first->context : STR_EMPTY;
    db_params_init(&params, req->arena);
    db_param_i32(&params, db_i32(row, 0, 1));
    db_param_text(&params, db_text(row, 0, 3));
    db_param_i32(&params, db_i32(row, 0, 8));
    db_param_text(&params, str_shown(req->arena, problem));
    return run(duty, req, &update_failed, &params, NULL);
}

static int mark_reported(const Duty *duty, Request *req, const DbResult *row)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, db_i64(row, 0, 0));
    int rc = run(duty, req, &update_reported, &params, NULL);
    return rc < 0 ? rc : run(duty, req, &delete_old, NULL, NULL);
}

static int report_next(Duty *duty, Request *req)
{
    Imaging *imaging = duty->commitments->imaging;
    DbResult *row = NULL;
    int rc = take_row(duty, req, &select_due, &row);
    if (rc <= 0) {
        return rc;
    }
    const Principal asker = {.node_id = db_i32(row, 0, 1), .facility_id = db_i32(row, 0, 2)};
    const Ae *to = ae_directory_destination(imaging->aes, req->arena, &asker, db_text(row, 0, 3));
    rc = to && to->node == asker.node_id
             ? send_report(imaging, req, to, row)
             : error_add(&req->errors, ERR_DICOM_DESTINATION, NULL,
                         "AE %.*s is not registered with an address any more",
                         STR_ARG(db_text(row, 0, 3)));
    log_change(duty, req, rc < 0);
    fail_point("commitment.reported");
    rc = rc < 0 ? mark_failed(duty, req, row) : mark_reported(duty, req, row);
    return rc < 0 ? rc : 1;
}

/* ---- threads ---- */

static void *duty_run(void *ctx)
{
    Duty *duty = ctx;
    int64_t next_ns = 0;
    do {
        Request *req = request_new(DATABASE_TIMEOUT_MS);
        int rc = duty->step(duty, req);
        next_ns = clock_now_ns() + (rc > 0 ? 0 : POLL_PAUSE_NS);
        request_free(req);
    } while (worker_rest_until(&duty->worker, next_ns));
    return NULL;
}

static bool start(Duty *duty, Commitments *commitments, int32_t lock, DutyFn step)
{
    duty->commitments = commitments;
    duty->pool = db_pool_beside(commitments->imaging->config.pool, 1);
    duty->lock = lock;
    duty->step = step;
    duty->is_started = worker_start(&duty->worker, duty_run, duty) == 0;
    return duty->is_started;
}

static void stop(Duty *duty)
{
    if (duty->is_started) {
        worker_stop(&duty->worker);
    }
    db_pool_free(duty->pool);
}

Commitments *commitments_new(Imaging *imaging, char *ret_problem, size_t problem_size)
{
    Commitments *commitments = HEAP_NEW(Commitments);
    commitments->imaging = imaging;
    /* who wakes must stand before who is woken is asked */
    if (!start(&commitments->reports, commitments, 2, report_next) ||
        !start(&commitments->checks, commitments, 1, check_next)) {
        (void)snprintf(ret_problem, problem_size, "no thread for storage commitment");
        commitments_free(commitments);
        return NULL;
    }
    return commitments;
}

void commitments_free(Commitments *commitments)
{
    if (!commitments) {
        return;
    }
    stop(&commitments->checks);
    stop(&commitments->reports);
    free(commitments);
}
