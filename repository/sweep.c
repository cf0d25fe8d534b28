#include "repository/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/thread.h"
#include "repository/document_rows.h"
#include "repository/hold.h"
#include "repository/repository_private.h"

#define SECOND_US INT64_C(1000000)
#define PASS_INTERVAL_S 3600
#define SETTLE_INTERVAL_S 60
/** Longer than the longest message or reply. */
#define GRACE_S 3600
/** A registration that its own request still waits for is left to it. */
#define PENDING_AGE_US (300 * SECOND_US)
#define REQUEST_TIMEOUT_MS 60000
#define BATCH 256

struct Sweep {
    Repository *repository;
    Worker worker;
};

static int settle_row(Repository *repository, Request *req, const DocumentRow *row)
{
    Str hash = str_hex(req->arena, row->sha1, sizeof(row->sha1));
    const RegistryClient *registry = repository->config.registry;
    int answer = registry->is_registered(registry->ctx, req, row->unique_id, hash);
    if (answer < 0) {
        return answer; /* still unknown: never guessed */
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(repository->config.pool, req, &conn);
    if (rc == 0) {
        rc = db_queue_begin(conn, req);
    }
    if (rc == 0) {
        rc = answer > 0 ? document_rows_queue_registered(req, conn, &row->unique_id, 1)
                        : document_rows_queue_removed(req, conn, &row->unique_id, 1);
    }
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}

static int find_pending(Repository *repository, Request *req, int64_t before_us,
                        DocumentRows *ret_rows)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(repository->config.pool, req, &conn);
    return rc < 0 ? rc : document_rows_find_pending(req, conn, before_us, BATCH, ret_rows);
}

int sweep_settle_pending(Repository *repository, int64_t before_us)
{
    Request *req = request_new(REQUEST_TIMEOUT_MS);
    DocumentRows rows = {0};
    int rc = find_pending(repository, req, before_us, &rows);
    for (size_t i = 0; i < rows.count;
         i++) { /* one that stays unknown does not hold up the others */
        rc = MIN(rc, settle_row(repository, req, &rows.items[i]));
    }
    request_free(req);
    return rc;
}

typedef struct MarkPass {
    Repository *repository;
    int64_t before_us;
    MarkedBlobs *marked;
    MarkedBlob candidates[BATCH];
    size_t count;
} MarkPass;

static void marked_add(MarkedBlobs *marked, const MarkedBlob *blob)
{
    if (marked->count == marked->capacity) {
        marked->items = heap_grow(marked->items, &marked->capacity, BATCH, sizeof(*marked->items));
    }
    marked->items[marked->count++] = *blob;
}

/** Which of these digests a row names. */
static int ask_rows(DbConn *conn, Request *req, const MarkedBlob *blobs, size_t count,
                    bool *ret_is_named)
{
    Str *names = ARENA_ARRAY(req->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        names[i] = (Str){(const char *)blobs[i].sha256, sizeof(blobs[i].sha256)};
    }
    return document_rows_name(req, conn, names, count, ret_is_named);
}

static int mark_candidates(MarkPass *pass)
{
    bool is_named[BATCH];
    Request *req = request_new(REQUEST_TIMEOUT_MS);
    DbConn *conn = NULL;
    int rc = db_acquire(pass->repository->config.pool, req, &conn);
    rc = rc < 0 ? rc : ask_rows(conn, req, pass->candidates, pass->count, is_named);
    db_release(conn);
    request_free(req);
    for (size_t i = 0; rc == 0 && i < pass->count; i++) {
        if (is_named[i]) {
            continue;
        }
        blob_store_mark_dying(pass->repository->blobs, pass->candidates[i].sha256);
        marked_add(pass->marked, &pass->candidates[i]);
    }
    pass->count = 0;
    return rc;
}

static int consider(void *ctx, const BlobInfo *info)
{
    MarkPass *pass = ctx;
    if (info->written_us >= pass->before_us) {
        return 0;
    }
    memcpy(pass->candidates[pass->count++].sha256, info->sha256, sizeof(info->sha256));
    return pass->count == BATCH ? mark_candidates(pass) : 0;
}

int sweep_mark(Repository *repository, int64_t before_us, MarkedBlobs *marked)
{
    MarkPass pass = {.repository = repository, .before_us = before_us, .marked = marked};
    int rc = blob_store_iterate(repository->blobs, consider, &pass);
    return rc < 0 ? rc : mark_candidates(&pass);
}

/** Frees or revives one batch; without an answer from the database all are revived, and while
 * somebody holds the blobs (hold.h). */
static int free_batch(Repository *repository, const MarkedBlob *blobs, size_t count)
{
    Request *req = request_new(REQUEST_TIMEOUT_MS);
    DbConn *conn = NULL;
    bool is_named[BATCH];
    bool may_free = false;
    int rc = db_acquire(repository->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : repository_hold_ask(conn, req, &may_free);
    rc = rc < 0 ? rc : ask_rows(conn, req, blobs, count, is_named);
    may_free = may_free && rc == 0;
    for (size_t i = 0; i < count; i++) {
        if (!may_free || is_named[i]) {
            blob_store_revive(repository->blobs, blobs[i].sha256);
        } else {
            rc = MIN(rc, blob_store_delete(repository->blobs, blobs[i].sha256));
        }
    }
    db_release(conn); /* ends the transaction, and with it what keeps a hold waiting */
    request_free(req);
    return MIN(rc, 0);
}

int sweep_free_marked(Repository *repository, const MarkedBlobs *marked)
{
    int rc = 0;
    for (size_t i = 0; i < marked->count; i += BATCH) {
        rc = MIN(rc,
                 free_batch(repository, &marked->items[i], MIN(marked->count - i, (size_t)BATCH)));
    }
    return rc;
}

/** Waits while unsettled registrations go on being settled. True if the thread is to end. */
static bool wait_and_settle(Sweep *sweep, int64_t seconds)
{
    for (int64_t waited = 0; waited < seconds; waited += SETTLE_INTERVAL_S) {
        if (!worker_rest_until(&sweep->worker,
                               clock_now_ns() + SETTLE_INTERVAL_S * 1000 * SECOND_US)) {
            return true;
        }
        (void)!sweep_settle_pending(sweep->repository, clock_utc_us() - PENDING_AGE_US);
    }
    return false;
}

/** Failures are not reported: a later pass does what this one could not. */
static void *sweep_thread(void *ctx)
{
    Sweep *sweep = ctx;
    Repository *repository = sweep->repository;
    (void)!blob_store_adopt_files(repository->blobs);
    while (!wait_and_settle(sweep, PASS_INTERVAL_S)) {
        MarkedBlobs marked = {0};
        if (!blob_store_is_writable(repository->blobs)) {
            continue;
        }
        bool is_marked = sweep_mark(repository, clock_utc_us() - GRACE_S * SECOND_US, &marked) == 0;
        bool is_stopping = marked.count > 0 && wait_and_settle(sweep, GRACE_S);
        if (is_marked && !is_stopping) {
            (void)!sweep_free_marked(repository, &marked);
        }
        free(marked.items);
        if (is_stopping) {
            break;
        }
    }
    return NULL;
}

Sweep *sweep_start(Repository *repository)
{
    Sweep *sweep = HEAP_NEW(Sweep);
    sweep->repository = repository;
    if (worker_start(&sweep->worker, sweep_thread, sweep) != 0) {
        abort();
    }
    return sweep;
}

void sweep_stop(Sweep *sweep)
{
    if (!sweep) {
        return;
    }
    worker_stop(&sweep->worker);
    free(sweep);
}
