#include "atna/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "atna/drain.h"
#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/log.h"

/** What must be free: more than the spool takes at once. */
#define MIN_ROOM_BYTES ((off_t)2 << 20)

static const DbStatement statement_queue = {"audit_outbox_insert",
                                            "INSERT INTO audit_outbox (message) VALUES ($1::text)"};

bool audit_is_remote(const Audit *audit)
{
    return strcmp(audit->config.repository, "local") != 0;
}

Audit *audit_new(const AuditConfig *config, DbPool *pool, char *ret_problem, size_t problem_size)
{
    Audit *audit = calloc(1, sizeof *audit);
    if (audit == NULL) {
        abort();
    }
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

int audit_queue_event(Audit *audit, DbConn *conn, Request *req, const AuditEvent *event)
{
    StrBuf message = {0};
    DbParams params;
    audit_message_write(audit, req, event, &message);
    db_params_init(&params, req->arena);
    db_param_text(&params, str_dup(req->arena, strbuf_str(&message)));
    strbuf_done(&message);
    return db_queue(conn, req, &statement_queue, &params);
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

int audit_record_event(Audit *audit, Request *req, const AuditEvent *event)
{
    _cleanup_(strbuf_done) StrBuf message = {0};
    uint64_t ticket = 0;
    audit_message_write(audit, req, event, &message);
    int rc = audit_append(audit, clock_utc_us(), strbuf_str(&message), &ticket);
    if (rc == 0) {
        fail_point("audit.appended");
        rc = spool_sync(audit->spool, ticket);
    }
    if (rc < 0) {
        return refuse(audit, req, rc);
    }
    fail_point("audit.synced");
    return 0;
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
