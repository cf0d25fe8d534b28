#include "atna/drain.h"

#include <stdio.h>
#include <stdlib.h>

#include "atna/syslog.h"
#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"

#define OUTBOX_BATCH 500
#define OUTBOX_PAUSE_NS INT64_C(250000000)
#define OUTBOX_TIMEOUT_MS 10000

/** A window is what is written at once; as many may wait for confirmation. */
#define WINDOW_BYTES ((size_t)256 << 10)
#define WINDOW_COUNT 64
#define SEND_PAUSE_NS INT64_C(50000000)

/**
 * Syslog has no acknowledgement. A window counts as delivered when the peer's host has acknowledged
 * its bytes and the connection has stood for this long after: time for the peer to take them in. A
 * connection that breaks earlier has everything unconfirmed sent again.
 */
#define SETTLE_NS INT64_C(1000000000)

#define BACKOFF_MIN_NS INT64_C(1000000000)
#define BACKOFF_MAX_NS INT64_C(60000000000)

/* FOR UPDATE SKIP LOCKED: several processes may share a database. The rows go for good when the
 * transaction commits, which is after they are durable in the spool: a crash in between gives
 * duplicates, not a gap. */
static const DbStatement statement_take = {
    "audit_outbox_take",
    "WITH taken AS (DELETE FROM audit_outbox WHERE id = ANY (ARRAY("
    "SELECT id FROM audit_outbox ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED))"
    " RETURNING id, queued_at, message)"
    " SELECT queued_at, message FROM taken ORDER BY id"};
/** After a bulk import millions may wait, and this is asked for each batch of them. */
static const DbStatement statement_count = {
    "audit_outbox_count", "SELECT count(*) FROM (SELECT FROM audit_outbox LIMIT 10000) AS counted"};

typedef struct Window {
    SpoolPosition end;
    uint64_t message_count;
    int64_t sent_ns; /* clock_now_ns() */
} Window;

struct Drain {
    Audit *audit;
    Worker worker;

    /* The thread's own. */
    int64_t outbox_at_ns; /* next look at the outbox */
    bool is_outbox_failing;
    SyslogSender *sender; /* NULL: the spool is the record */
    int64_t send_at_ns;   /* next step of the sender */
    int64_t backoff_ns;
    bool is_sending_failing;
    SpoolReader *reader;
    SpoolPosition delivered;      /* in the cursor file */
    Window windows[WINDOW_COUNT]; /* written, not yet confirmed: a ring */
    size_t first_window;
    size_t window_count;
};

/* Outbox. */

static int spool_rows(Audit *audit, const DbResult *rows)
{
    uint64_t ticket = 0;
    for (int row = 0; row < db_rows(rows); row++) {
        int rc = audit_append(audit, db_timestamp(rows, row, 0), db_text(rows, row, 1), &ticket);
        if (rc < 0) {
            return rc;
        }
    }
    return spool_sync(audit->spool, ticket);
}

/** Moves one batch in one transaction. @return rows moved, or negative */
static int move_batch(Audit *audit, Request *req, DbConn *conn)
{
    DbResult *rows = NULL;
    DbParams none;
    db_params_init(&none, req->arena);
    if (db_queue_begin(conn, req) < 0 || db_queue(conn, req, &statement_take, &none) < 0 ||
        db_sync(conn, req, &rows) < 0) {
        return -ERR_DATABASE;
    }
    if (db_rows(rows) > 0) {
        int rc = spool_rows(audit, rows);
        if (rc < 0) {
            return error_add(&req->errors, ERR_IO, NULL, "audit spool: %s", strerror(-rc));
        }
        fail_point("audit.outbox_spooled");
    }
    return db_commit(conn, req, NULL) < 0 ? -ERR_DATABASE : db_rows(rows);
}

/** A look without a transaction first: an idle server consumes no transaction ids. */
static int move_if_any(Audit *audit, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *count = NULL;
    DbParams none;
    db_params_init(&none, req->arena);
    if (db_acquire(audit->pool, req, &conn) < 0 ||
        db_exec(conn, req, &statement_count, &none, &count) < 0) {
        return -ERR_DATABASE;
    }
    uint64_t waiting = (uint64_t)db_i64(count, 0, 0);
    atomic_store(&audit->outbox_count, waiting);
    int moved = waiting > 0 ? move_batch(audit, req, conn) : 0;
    if (moved > 0) {
        atomic_store(&audit->outbox_count, waiting - MIN(waiting, (uint64_t)moved));
    }
    return moved;
}

/** One line when a trouble begins, one when it is over. */
static void log_change(bool *is_failing, bool fails, const char *what, Str detail)
{
    if (fails && !*is_failing) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        log_warn("event=audit_%s_failing detail=%s", what, log_quote(arena, detail));
    } else if (!fails && *is_failing) {
        log_info("event=audit_%s_recovered", what);
    }
    *is_failing = fails;
}

/** Moves a batch when it is time. */
static void outbox_step(Drain *drain)
{
    Request *req = request_new(OUTBOX_TIMEOUT_MS);
    int moved = move_if_any(drain->audit, req);
    Str detail = moved == -ERR_IO ? req->errors.last->context : str_from(db_last_failure());
    log_change(&drain->is_outbox_failing, moved < 0, "outbox", detail);
    request_free(req);
    drain->outbox_at_ns = moved == OUTBOX_BATCH ? 0 : clock_now_ns() + OUTBOX_PAUSE_NS;
}

/* Sending. */

/** After a connection was lost: everything unconfirmed is sent again. */
static void rewind_to_delivered(Drain *drain)
{
    spool_reader_free(drain->reader);
    drain->reader = spool_reader_new(drain->audit->config.directory, drain->delivered);
    drain->first_window = 0;
    drain->window_count = 0;
}

static void sending_failed(Drain *drain, const char *problem)
{
    log_change(&drain->is_sending_failing, true, "sending", str_from(problem));
    drain->send_at_ns = clock_now_ns() + drain->backoff_ns;
    drain->backoff_ns = MIN(drain->backoff_ns * 2, BACKOFF_MAX_NS);
}

/** Writes down that all up to here was delivered, and frees the space. */
static bool store_delivered(Drain *drain, SpoolPosition delivered)
{
    int rc = spool_cursor_store(drain->audit->config.directory, delivered);
    if (rc < 0) {
        sending_failed(drain, strerror(-rc)); /* nothing is lost: it will be sent again */
        return false;
    }
    drain->delivered = delivered;
    drain->backoff_ns = BACKOFF_MIN_NS;
    log_change(&drain->is_sending_failing, false, "sending", STR_EMPTY);
    spool_remove_before(drain->audit->spool, delivered);
    return true;
}

/** Confirms the oldest windows, those sent before the time given. */
static void confirm_windows(Drain *drain, int64_t sent_before_ns)
{
    SpoolPosition delivered = drain->delivered;
    uint64_t message_count = 0;
    size_t confirmed = 0;
    while (confirmed < drain->window_count) {
        const Window *oldest = &drain->windows[(drain->first_window + confirmed) % WINDOW_COUNT];
        if (oldest->sent_ns > sent_before_ns) {
            break;
        }
        delivered = oldest->end;
        message_count += oldest->message_count;
        confirmed++;
    }
    if (confirmed > 0 && store_delivered(drain, delivered)) {
        drain->first_window = (drain->first_window + confirmed) % WINDOW_COUNT;
        drain->window_count -= confirmed;
        atomic_fetch_sub(&drain->audit->unsent_count, message_count);
    }
}

/** Fills frames up to the size of a window. @return messages in it, or a negative errno */
static int64_t read_window(Drain *drain, StrBuf *frames)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    SpoolPosition limit = spool_durable_end(drain->audit->spool);
    AuditRecord record;
    int64_t message_count = 0;
    while (frames->len < WINDOW_BYTES) {
        int rc = spool_reader_next(drain->reader, &limit, &record);
        if (rc <= 0) {
            return rc < 0 ? rc : message_count;
        }
        syslog_frame_write(&drain->audit->config, &record, arena, frames);
        message_count++;
    }
    return message_count;
}

static bool has_unsent(const Drain *drain)
{
    SpoolPosition end = spool_durable_end(drain->audit->spool);
    SpoolPosition read = spool_reader_position(drain->reader);
    return read.segment < end.segment || read.offset < end.offset;
}

/** Sends the next window. @return true if there may be more */
static bool send_window(Drain *drain)
{
    _cleanup_(strbuf_done) StrBuf frames = {0};
    char problem[256];
    int64_t message_count = read_window(drain, &frames);
    if (message_count < 0) {
        sending_failed(drain, strerror((int)-message_count));
        return false;
    }
    if (message_count == 0) {
        if (has_unsent(drain)) {
            sending_failed(drain, "the newest segment of the spool is damaged");
        }
        return false;
    }
    if (!syslog_sender_write(drain->sender, strbuf_str(&frames), problem, sizeof problem)) {
        sending_failed(drain, problem);
        return false;
    }
    size_t slot = (drain->first_window + drain->window_count) % WINDOW_COUNT;
    drain->windows[slot] =
        (Window){spool_reader_position(drain->reader), (uint64_t)message_count, clock_now_ns()};
    drain->window_count++;
    return true;
}

static bool connect_if_needed(Drain *drain)
{
    char problem[256];
    if (syslog_sender_is_connected(drain->sender)) {
        return true;
    }
    rewind_to_delivered(drain);
    if (!has_unsent(drain)) {
        return false;
    }
    if (!syslog_sender_connect(drain->sender, problem, sizeof problem)) {
        sending_failed(drain, problem);
        return false;
    }
    return true;
}

/** Connects, confirms, sends as much as there is room for. */
static void send_step(Drain *drain)
{
    drain->send_at_ns = clock_now_ns() + SEND_PAUSE_NS;
    if (!connect_if_needed(drain)) {
        return;
    }
    bool is_acknowledged = syslog_sender_is_acknowledged(drain->sender);
    if (!syslog_sender_is_connected(drain->sender)) {
        if (drain->window_count > 0) {
            sending_failed(drain, "the repository closed the connection");
        }
        return;
    }
    if (is_acknowledged) {
        confirm_windows(drain, clock_now_ns() - SETTLE_NS);
    }
    while (drain->window_count < WINDOW_COUNT && send_window(drain)) {
    }
}

/** The last step: a peer that says goodbye has read everything. */
static void send_finish(Drain *drain)
{
    send_step(drain);
    if (syslog_sender_finish(drain->sender)) {
        confirm_windows(drain, INT64_MAX);
    }
}

/** What an earlier process spooled and never saw confirmed. */
static uint64_t count_undelivered(const Drain *drain, SpoolPosition limit)
{
    SpoolReader *reader = spool_reader_new(drain->audit->config.directory, drain->delivered);
    AuditRecord record;
    uint64_t message_count = 0;
    while (spool_reader_next(reader, &limit, &record) > 0) {
        message_count++;
    }
    spool_reader_free(reader);
    return message_count;
}

/* The thread. */

static void *drain_run(void *ctx)
{
    Drain *drain = ctx;
    do {
        int64_t now_ns = clock_now_ns();
        if (now_ns >= drain->outbox_at_ns) {
            outbox_step(drain);
        }
        if (now_ns >= drain->send_at_ns) {
            send_step(drain);
        }
    } while (worker_rest_until(&drain->worker, MIN(drain->outbox_at_ns, drain->send_at_ns)));
    if (drain->audit->pool != NULL) {
        do {
            outbox_step(drain);
        } while (drain->outbox_at_ns == 0);
    }
    if (drain->sender != NULL) {
        send_finish(drain);
    }
    return NULL;
}

static void drain_destroy(Drain *drain)
{
    spool_reader_free(drain->reader);
    syslog_sender_free(drain->sender);
    free(drain);
}

static bool set_up_sending(Drain *drain, char *ret_problem, size_t problem_size)
{
    Audit *audit = drain->audit;
    drain->sender = syslog_sender_new(&audit->config, ret_problem, problem_size);
    if (drain->sender == NULL) {
        return false;
    }
    drain->backoff_ns = BACKOFF_MIN_NS;
    drain->delivered = spool_cursor_load(audit->config.directory);
    atomic_store(&audit->unsent_count, count_undelivered(drain, spool_durable_end(audit->spool)));
    return true;
}

Drain *drain_new(Audit *audit, char *ret_problem, size_t problem_size)
{
    Drain *drain = HEAP_NEW(Drain);
    drain->audit = audit;
    drain->outbox_at_ns = audit->pool != NULL ? 0 : INT64_MAX;
    drain->send_at_ns = audit_is_remote(audit) ? 0 : INT64_MAX;
    if (audit_is_remote(audit) && !set_up_sending(drain, ret_problem, problem_size)) {
        drain_destroy(drain);
        return NULL;
    }
    int rc = worker_start(&drain->worker, drain_run, drain);
    if (rc != 0) {
        snprintf(ret_problem, problem_size, "no thread for audit: %s", strerror(rc));
        drain_destroy(drain);
        return NULL;
    }
    return drain;
}

void drain_free(Drain *drain)
{
    if (drain == NULL) {
        return;
    }
    worker_stop(&drain->worker);
    drain_destroy(drain);
}
