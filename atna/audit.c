#include "atna/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "atna/drain.h"
#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"

/** What must be free: more than the spool takes at once. */
#define MIN_ROOM_BYTES ((off_t)2 << 20)

static const DbStatement statement_queue = {"audit_outbox_insert",
                                            "INSERT INTO audit_outbox (message) VALUES ($1::text)"};

static const DbStatement statement_copy = {
    "audit_outbox_copy", "COPY audit_outbox (message) FROM STDIN (FORMAT binary)"};

bool audit_is_remote(const Audit *audit)
{
    return strcmp(audit->config.repository, "local") != 0;
}

Audit *audit_new(const AuditConfig *config, DbPool *pool, char *ret_problem, size_t problem_size)
{
    Audit *audit = HEAP_NEW(Audit);
    audit->config = *config;
    audit->pool = pool;
    audit->spool = spool_open(config->directory, ret_problem, problem_size);
    if (audit->spool != NULL) {
        audit->drain = drain_new(audit, ret_problem, problem_size);
    }
    if (audit->drain == NULL) {
        audit_free(audit);
        return NULL;
    }
    return audit;
}

Audit *audit_new_outbox(const AuditConfig *config, DbPool *pool)
{
    Audit *audit = HEAP_NEW(Audit);
    audit->config = *config;
    audit->pool = pool;
    return audit;
}

void audit_free(Audit *audit)
{
    if (audit == NULL) {
        return;
    }
    drain_free(audit->drain);
    spool_close(audit->spool);
    free(audit);
}

/** Counted before it is written: the sender may be faster than the return from spool_append(). */
int audit_append(Audit *audit, int64_t recorded_us, Str message, uint64_t *ret_ticket)
{
    uint64_t unsent = audit_is_remote(audit) ? 1 : 0;
    atomic_fetch_add(&audit->unsent_count, unsent);
    int rc = spool_append(audit->spool, recorded_us, message, ret_ticket);
    if (rc < 0) {
        atomic_fetch_sub(&audit->unsent_count, unsent);
    }
    return rc;
}

/** A row of audit_outbox. */
static DbParams outbox_row(const Audit *audit, Request *req, const AuditEvent *event)
{
    StrBuf message = {0};
    DbParams row;
    audit_message_write(audit, req, event, &message);
    db_params_init(&row, req->arena);
    db_param_text(&row, str_dup(req->arena, strbuf_str(&message)));
    strbuf_done(&message);
    return row;
}

int audit_queue_event(Audit *audit, DbConn *conn, Request *req, const AuditEvent *event)
{
    const DbParams row = outbox_row(audit, req, event);
    return db_queue(conn, req, &statement_queue, &row);
}

void audit_copy_init(DbCopy *copy)
{
    db_copy_init(copy, &statement_copy);
}

void audit_copy_event(Audit *audit, DbCopy *copy, Request *req, const AuditEvent *event)
{
    const DbParams row = outbox_row(audit, req, event);
    db_copy_add(copy, &row);
}

/** The row is durable with its own commit. */
static int record_in_outbox(Audit *audit, Request *req, const AuditEvent *event)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    const DbParams row = outbox_row(audit, req, event);
    int rc = db_acquire(audit->pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &statement_queue, &row, NULL);
}

/** What the sender and the operator learn when nothing may be sent. */
static int refuse(const Audit *audit, Request *req, int error)
{
    if (error == -EMSGSIZE) {
        return error_add(&req->errors, ERR_TOO_LARGE, NULL,
                         "this request asks for more than one audit record can hold; ask for fewer "
                         "documents at a time");
    }
    log_error("event=audit_record_failed directory=%s error=%s",
              log_quote(req->arena, str_from(audit->config.directory)),
              log_quote(req->arena, str_from(strerror(-error))));
    return error_add(
        &req->errors, ERR_IO, NULL,
        "the audit record of this access could not be stored, so nothing was sent; the "
        "operator of this server has to look after its audit directory");
}

int audit_append_event(Audit *audit, Request *req, const AuditEvent *event)
{
    if (audit->spool == NULL) {
        return record_in_outbox(audit, req, event);
    }
    _cleanup_(strbuf_done) StrBuf message = {0};
    audit_message_write(audit, req, event, &message);
    int rc = audit_append(audit, clock_utc_us(), strbuf_str(&message), &req->audit_ticket);
    if (rc < 0) {
        return refuse(audit, req, rc);
    }
    fail_point("audit.appended");
    return 0;
}

int audit_settle(Audit *audit, Request *req)
{
    if (req->audit_ticket == 0) {
        return 0;
    }
    int rc = spool_sync(audit->spool, req->audit_ticket);
    if (rc < 0) {
        return refuse(audit, req, rc);
    }
    fail_point("audit.synced");
    return 0;
}

int audit_record_event(Audit *audit, Request *req, const AuditEvent *event)
{
    int rc = audit_append_event(audit, req, event);
    return rc < 0 ? rc : audit_settle(audit, req);
}

uint64_t audit_backlog(Audit *audit)
{
    return atomic_load(&audit->outbox_count) + atomic_load(&audit->unsent_count);
}

bool audit_is_writable(Audit *audit)
{
    return spool_is_trusted(audit->spool);
}

/** Asks the file system for it, which knows of quotas and of what is reserved; gives it back. */
bool audit_has_room(const Audit *audit)
{
    int file = open(audit->config.directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    int error = file < 0 ? errno : posix_fallocate(file, 0, MIN_ROOM_BYTES);
    if (file >= 0) {
        close(file);
    }
    return error != ENOSPC && error != EDQUOT;
}
