#include <sys/statvfs.h>

#include "registry/subscriptions/subscription_table.h"
#include "server/audit_gauges.h"
#include "server/imaging_gauges.h"
#include "server/process.h"
#include "server/time_sync.h"

/* Health and metrics: what the process and its modules hold. */

static bool is_database_there(Process *p, Request *req)
{
    static const DbStatement ping = {"serve_ping", "SELECT 1"};
    DbConn *conn = NULL;
    bool is_there =
        db_acquire(p->services.pool, req, &conn) == 0 && db_exec(conn, req, &ping, NULL, NULL) == 0;
    db_release(conn);
    return is_there;
}

bool process_is_ready(void *ctx, Request *req, StrBuf *reason)
{
    Process *p = ctx;
    if (p->is_stopping) {
        strbuf_literal(reason, "stopping\n");
    }
    if (!is_database_there(p, req)) {
        strbuf_literal(reason, "the database does not answer\n");
    }
    if (p->services.repository && !repository_is_writable(p->services.repository)) {
        strbuf_literal(reason,
                       "the blob store failed and takes no documents; see the log, then restart\n");
    }
    if (!audit_is_writable(p->services.audit)) {
        strbuf_literal(reason, "the audit spool failed; see the log, then restart\n");
    } else if (!audit_has_room(p->services.audit)) {
        strbuf_literal(reason, "the audit spool has no room; make some in data_dir/audit\n");
    }
    if (p->services.audit_repository &&
        !audit_repository_is_writable(p->services.audit_repository)) {
        strbuf_literal(reason,
                       "the spool of received audit messages failed; see the log, then restart\n");
    }
    return reason->len == 0;
}

/** ITI-1: the clock as the kernel knows it. */
static void write_clock_gauges(StrBuf *buf)
{
    TimeSync sync;
    time_sync_read(&sync);
    metrics_gauge(buf, "clock_synchronized",
                  "1: the clock follows a time server (ITI-1 Maintain Time), 0: it does not.",
                  sync.is_synchronized);
    metrics_gauge(buf, "clock_offset_seconds", "What the kernel still has to correct of the clock.",
                  sync.offset_seconds);
    metrics_gauge(buf, "clock_max_error_seconds",
                  "The most that the clock can differ from its time server.",
                  sync.max_error_seconds);
}

/** What waits to be told of new documents (ITI-53). */
static void write_subscription_gauges(DbPool *pool, Request *req, StrBuf *buf)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    SubscriptionTotals totals;
    if (db_acquire(pool, req, &conn) < 0 || subscription_table_totals(conn, req, &totals) < 0) {
        return;
    }
    metrics_gauge(buf, "subscriptions", "Subscriptions to document metadata.",
                  (double)totals.subscriptions);
    metrics_gauge(buf, "subscriptions_suspended",
                  "Subscriptions whose recipients took nothing for too long.",
                  (double)totals.suspended);
    metrics_gauge(buf, "subscription_events_waiting",
                  "Submissions whose subscribers are not found yet.", (double)totals.events);
    metrics_gauge(buf, "subscription_notifications_waiting",
                  "Notifications that recipients have not acknowledged yet.",
                  (double)totals.waiting);
    metrics_gauge(buf, "subscription_notifications_refused",
                  "Notifications that recipients have refused.", (double)totals.refused);
    metrics_gauge(buf, "subscription_oldest_seconds",
                  "How long the notification that waits longest has waited.",
                  (double)totals.oldest_s);
}

/** Documents of other communities on their way. */
static void write_gateway_gauges(InitiatingGateway *gateway, StrBuf *buf)
{
    const GatewayCounts counts = initiating_gateway_counts(gateway);
    metrics_gauge(buf, "gateway_spill_bytes",
                  "Room that documents of other communities on their way take.",
                  (double)counts.spill_bytes);
    metrics_counter(buf, "gateway_spill_refused_total",
                    "Answers of other communities that there was no room for.",
                    (double)counts.spill_refused);
}

void process_write_gauges(void *ctx, Request *req, StrBuf *buf)
{
    Process *p = ctx;
    struct statvfs disk;
    NotificationCounts notifications;
    if (pix_notification_counts(p->services.pix, req, &notifications) == 0) {
        metrics_gauge(buf, "subscriber_queue_messages",
                      "Messages that subscribers have not acknowledged yet.",
                      (double)notifications.queued);
        metrics_gauge(buf, "subscriber_refused_messages", "Messages that subscribers have refused.",
                      (double)notifications.refused);
    }
    if (p->services.registry) {
        write_subscription_gauges(p->services.pool, req, buf);
    }
    metrics_gauge(buf, "audit_backlog", "Audit events that are not delivered yet.",
                  (double)audit_backlog(p->services.audit));
    write_clock_gauges(buf);
    if (p->services.audit_repository) {
        AuditRepositoryCounts counts;
        audit_repository_counts(p->services.audit_repository, &counts);
        metrics_gauge(buf, "audit_received", "Audit messages of others since the start.",
                      (double)counts.received);
        metrics_gauge(buf, "audit_waiting", "Received audit messages that are not records yet.",
                      (double)counts.waiting);
        metrics_gauge(buf, "audit_sequence", "The last record of the audit chain.",
                      (double)counts.sequence);
        metrics_gauge(buf, "audit_udp_dropped", "Datagrams of addresses that are not allowed.",
                      (double)syslog_listener_dropped(p->syslog));
        audit_gauges_write(p->services.pool, req, buf);
    }
    if (p->services.initiating) {
        write_gateway_gauges(p->services.initiating, buf);
    }
    async_replies_gauges(p->replies, buf);
    metrics_counter(buf, "tables_refreshed",
                    "How often what operators change was read anew: nodes, authorities, "
                    "subscribers, identity providers, application entities.",
                    (double)atomic_load(&p->refresh_count));
    metrics_gauge(buf, "http_connections", "Open HTTP connections.",
                  (double)watchdog_count(p->watchdog));
    identity_gauges_write(p->identity_gauges, req, buf);
    if (p->services.imaging) {
        imaging_gauges_write(p->services.imaging, p->services.workers, req, buf);
    }
    certificate_watch_gauges(&p->certificates, req->arena, buf);
    if (statvfs(p->config->server.data_dir, &disk) == 0) {
        metrics_gauge(buf, "data_free_bytes", "Free space of the file system of data_dir.",
                      (double)disk.f_bavail * (double)disk.f_frsize);
    }
}
