#include "registry/subscriptions/subscription_table.h"

#include "registry/subscriptions/stored_subscription.h"

static const DbStatement select_totals = {
    "subscription_totals",
    "SELECT (SELECT count(*) FROM subscription),"
    " (SELECT count(*) FROM subscription WHERE next_at = 'infinity'),"
    " (SELECT count(*) FROM (SELECT FROM subscription_event LIMIT 100000) e),"
    " (SELECT count(*) FROM (SELECT FROM subscription_notification WHERE refused_at IS NULL"
    "  LIMIT 100000) w),"
    " (SELECT count(*) FROM (SELECT FROM subscription_notification WHERE refused_at IS NOT NULL"
    "  LIMIT 100000) r),"
    " coalesce((SELECT extract(epoch FROM now() - min(queued_at))::int8 FROM"
    "  (SELECT queued_at FROM subscription_notification WHERE refused_at IS NULL LIMIT 100000) o),"
    "  0)"};

int subscription_table_totals(DbConn *conn, Request *req, SubscriptionTotals *ret_totals)
{
    DbResult *rows = NULL;
    int rc = db_exec(conn, req, &select_totals, NULL, &rows);
    if (rc == 0) {
        *ret_totals = (SubscriptionTotals){.subscriptions = db_i64(rows, 0, 0),
                                           .suspended = db_i64(rows, 0, 1),
                                           .events = db_i64(rows, 0, 2),
                                           .waiting = db_i64(rows, 0, 3),
                                           .refused = db_i64(rows, 0, 4),
                                           .oldest_s = db_i64(rows, 0, 5)};
    }
    return rc;
}

static const DbStatement select_states = {
    "subscription_states",
    "SELECT s.id, coalesce(n.name, ''), CASE WHEN cardinality(s.user_texts) > 1"
    " THEN s.user_texts[1] || '@' || s.user_texts[2] ELSE '' END, s.consumer, s.topic, s.filter,"
    " s.address, s.reference, s.created_at, s.ends_at, s.delivered_at, s.delivered_count,"
    " q.waiting, q.refused, q.oldest, s.last_failure, s.next_at = 'infinity'"
    " FROM subscription s LEFT JOIN node n ON n.id = s.node CROSS JOIN LATERAL ("
    "SELECT count(*) FILTER (WHERE refused_at IS NULL) AS waiting,"
    " count(*) FILTER (WHERE refused_at IS NOT NULL) AS refused,"
    " min(queued_at) FILTER (WHERE refused_at IS NULL) AS oldest"
    " FROM subscription_notification WHERE subscription = s.id) q"
    " WHERE $1::int8 = 0 OR s.id = $1::int8 ORDER BY s.id"};

enum {
    COLUMN_ID,
    COLUMN_NODE,
    COLUMN_USER,
    COLUMN_CONSUMER,
    COLUMN_TOPIC,
    COLUMN_FILTER,
    COLUMN_ADDRESS,
    COLUMN_REFERENCE,
    COLUMN_CREATED,
    COLUMN_ENDS,
    COLUMN_DELIVERED_AT,
    COLUMN_DELIVERED,
    COLUMN_WAITING,
    COLUMN_REFUSED,
    COLUMN_OLDEST,
    COLUMN_FAILURE,
    COLUMN_SUSPENDED,
};

static SubscriptionState read_state(Arena *arena, const DbResult *rows, int row)
{
    return (SubscriptionState){
        .id = db_i64(rows, row, COLUMN_ID),
        .node = db_text(rows, row, COLUMN_NODE),
        .user = db_text(rows, row, COLUMN_USER),
        .consumer = db_text(rows, row, COLUMN_CONSUMER),
        .topic = db_text(rows, row, COLUMN_TOPIC),
        .filter = db_text(rows, row, COLUMN_FILTER),
        .reference = stored_subscription_address(arena, db_text(rows, row, COLUMN_ADDRESS),
                                                 db_uuid(rows, row, COLUMN_REFERENCE)),
        .created_us = db_timestamp(rows, row, COLUMN_CREATED),
        .ends_us = db_timestamp_or(rows, row, COLUMN_ENDS, INT64_MIN),
        .delivered_us = db_timestamp_or(rows, row, COLUMN_DELIVERED_AT, INT64_MIN),
        .delivered = db_i64(rows, row, COLUMN_DELIVERED),
        .waiting = db_i64(rows, row, COLUMN_WAITING),
        .refused = db_i64(rows, row, COLUMN_REFUSED),
        .oldest_us = db_timestamp_or(rows, row, COLUMN_OLDEST, INT64_MIN),
        .last_failure = db_text(rows, row, COLUMN_FAILURE),
        .is_suspended = db_bool(rows, row, COLUMN_SUSPENDED),
    };
}

int subscription_table_read(DbConn *conn, Request *req, int64_t id, SubscriptionState **ret_states,
                            size_t *ret_count)
{
    DbResult *rows = NULL;
    int rc = db_exec_id(conn, req, &select_states, id, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_states = ARENA_ARRAY(req->arena, SubscriptionState, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_states)[i] = read_state(req->arena, rows, (int)i);
    }
    return 0;
}

static const DbStatement remove_subscription = {"subscription_remove",
                                                "DELETE FROM subscription WHERE id = $1::int8"};

static const DbStatement hasten_subscription = {
    "subscription_hasten",
    "UPDATE subscription SET next_at = now(), attempts = 0 WHERE id = $1::int8"};

static const DbStatement retry_refused = {
    "subscription_retry_refused",
    "UPDATE subscription_notification SET refused_at = NULL WHERE subscription = $1::int8"
    " AND refused_at IS NOT NULL"};

int subscription_table_remove(DbConn *conn, Request *req, int64_t id)
{
    DbResult *rows = NULL;
    int rc = db_exec_id(conn, req, &remove_subscription, id, &rows);
    return rc < 0 ? rc : db_affected(rows) > 0;
}

int subscription_table_retry(DbConn *conn, Request *req, int64_t id)
{
    DbResult *rows = NULL;
    int rc = db_exec_id(conn, req, &hasten_subscription, id, &rows);
    rc = rc < 0 ? rc : db_exec_id(conn, req, &retry_refused, id, NULL);
    return rc < 0 ? rc : db_affected(rows) > 0;
}
