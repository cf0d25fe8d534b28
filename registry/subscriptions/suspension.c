#include "registry/subscriptions/suspension.h"

#include "lib/base/log.h"

#define SUSPENDED_AT_ONCE 100

/* One that answers, but too slowly, has twice the room: so one that an operator has sent again can
 * work off what waits. What was refused counts too. A suspended one is due at infinity. */
static const DbStatement suspend = {
    "subscription_suspend",
    "WITH over AS (SELECT s.id, coalesce(w.queued_at <= now() - $1::int8 * interval"
    "  '1 millisecond', false) AS is_old"
    "  FROM subscription s LEFT JOIN LATERAL (SELECT queued_at FROM subscription_notification"
    "   WHERE subscription = s.id AND refused_at IS NULL ORDER BY event, part LIMIT 1) w"
    "  ON s.attempts > 0"
    "  WHERE s.next_at < 'infinity' AND (w.queued_at <= now() - $1::int8 * interval"
    "   '1 millisecond' OR EXISTS (SELECT FROM subscription_notification WHERE subscription = s.id"
    "   OFFSET $2::int8 * CASE WHEN s.attempts > 0 THEN 1 ELSE 2 END))"
    "  ORDER BY s.id LIMIT $3::int4 FOR UPDATE OF s SKIP LOCKED)"
    " UPDATE subscription s SET next_at = 'infinity', last_failure = left(CASE WHEN is_old"
    "  THEN 'suspended: its recipient took nothing for [subscriptions] retry_for'"
    "  ELSE 'suspended: more waits for its recipient than [subscriptions] max_waiting' END"
    "  || CASE WHEN s.last_failure = '' THEN '' ELSE '; ' || s.last_failure END, 1000)"
    " FROM over WHERE s.id = over.id RETURNING s.id, is_old"};

/** Durable with the change itself, as one that an operator makes (server/changes.def). */
static int record(Registry *registry, Request *req, DbConn *conn, long long id, const char *why)
{
    const AuditObject object = {
        .kind = AUDIT_OBJECT_RULE,
        .id = str_printf(req->arena, "musubi:subscription/%lld", id),
        .name = str_printf(req->arena, "%lld", id),
        .description = str_printf(req->arena, "subscription %lld: suspended, %s", id, why),
    };
    const AuditEvent event = {
        .type = AUDIT_NETWORK_CONFIGURATION, .objects = &object, .object_count = 1};
    return audit_queue_event(registry->config.audit, conn, req, &event);
}

static const char *why_of(const DbResult *rows, int row)
{
    return db_bool(rows, row, 1) ? "nothing was taken for too long" : "too much waits";
}

int subscriptions_suspend(Registry *registry, Request *req, DbPool *pool)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, registry->config.notify_for_ms);
    db_param_i64(&params, registry->config.notifications_max);
    db_param_i32(&params, SUSPENDED_AT_ONCE);
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : db_exec(conn, req, &suspend, &params, &rows);
    for (int row = 0; rc == 0 && row < db_rows(rows); row++) {
        rc = record(registry, req, conn, (long long)db_i64(rows, row, 0), why_of(rows, row));
    }
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    for (int row = 0; rc == 0 && row < db_rows(rows); row++) {
        log_warn("event=subscription_suspended subscription=%lld detail=\"%s\"",
                 (long long)db_i64(rows, row, 0), why_of(rows, row));
    }
    return rc;
}
