#include "pix/subscribers/subscriber_table.h"

/* ---- storing ---- */

static const DbStatement count_subscribers = {
    "subscriber_count",
    "SELECT count(*) FROM identity_subscriber WHERE removed_at IS NULL AND name <> $1::text"};

/* A name keeps its kind while it is in use: its queue holds messages of that kind. */
static const DbStatement upsert_subscriber = {
    "subscriber_upsert",
    "INSERT INTO identity_subscriber (name, kind, url, fingerprint, receiving_application,"
    " receiving_facility, authorities)"
    " VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::integer[])"
    " ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, url = excluded.url,"
    " fingerprint = excluded.fingerprint, receiving_application = excluded.receiving_application,"
    " receiving_facility = excluded.receiving_facility, authorities = excluded.authorities,"
    " removed_at = NULL"
    " WHERE identity_subscriber.kind = excluded.kind OR identity_subscriber.removed_at IS NOT NULL"
    " RETURNING xmax = 0 OR NOT EXISTS (SELECT FROM identity_subscriber old"
    " WHERE old.name = $1::text AND old.removed_at IS NULL)"};

int subscriber_table_count_others(DbConn *conn, Request *req, Str name, int64_t *ret_count)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, name);
    int rc = db_exec(conn, req, &count_subscribers, &params, &rows);
    if (rc == 0) {
        *ret_count = db_i64(rows, 0, 0);
    }
    return rc;
}

int subscriber_table_store(DbConn *conn, Request *req, const SubscriberRow *row,
                           SubscriberStored *ret_stored)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, row->name);
    db_param_text(&params, row->kind);
    db_param_text(&params, row->url);
    db_param_text(&params, row->fingerprint);
    db_param_text(&params, row->application);
    db_param_text(&params, row->facility);
    db_param_i32_array(&params, row->authorities, row->authority_count);
    int rc = db_exec(conn, req, &upsert_subscriber, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    if (db_rows(rows) == 0) {
        *ret_stored = SUBSCRIBER_OF_OTHER_KIND;
    } else {
        *ret_stored = db_bool(rows, 0, 0) ? SUBSCRIBER_ADDED : SUBSCRIBER_CHANGED;
    }
    return 0;
}

/* ---- reading ---- */

static const DbStatement select_subscribers = {
    "subscriber_list",
    "SELECT s.name, s.kind, s.url, s.receiving_application, s.receiving_facility,"
    " ARRAY(SELECT coalesce(nullif(namespace, ''), oid) FROM assigning_authority"
    "  WHERE id = ANY (s.authorities) ORDER BY 1),"
    " q.queued, q.refused, q.oldest, q.failure"
    " FROM identity_subscriber s CROSS JOIN LATERAL ("
    "SELECT count(*) FILTER (WHERE refused_at IS NULL) AS queued,"
    " count(*) FILTER (WHERE refused_at IS NOT NULL) AS refused,"
    " min(queued_at) FILTER (WHERE refused_at IS NULL) AS oldest,"
    " coalesce((array_agg(last_failure ORDER BY attempts DESC, id DESC)"
    "  FILTER (WHERE last_failure <> ''))[1], '') AS failure"
    " FROM identity_notification WHERE subscriber = s.id) q"
    " WHERE s.removed_at IS NULL ORDER BY s.name"};

enum {
    COLUMN_NAME,
    COLUMN_KIND,
    COLUMN_URL,
    COLUMN_APPLICATION,
    COLUMN_FACILITY,
    COLUMN_AUTHORITIES,
    COLUMN_QUEUED,
    COLUMN_REFUSED,
    COLUMN_OLDEST,
    COLUMN_FAILURE,
};

static SubscriberState read_state(Arena *arena, const DbResult *rows, int row)
{
    SubscriberState state = {
        .name = db_text(rows, row, COLUMN_NAME),
        .kind = db_text(rows, row, COLUMN_KIND),
        .url = db_text(rows, row, COLUMN_URL),
        .application = db_text(rows, row, COLUMN_APPLICATION),
        .facility = db_text(rows, row, COLUMN_FACILITY),
        .queued = db_i64(rows, row, COLUMN_QUEUED),
        .refused = db_i64(rows, row, COLUMN_REFUSED),
        .oldest_us = db_timestamp_or(rows, row, COLUMN_OLDEST, INT64_MIN),
        .last_failure = db_text(rows, row, COLUMN_FAILURE),
    };
    state.authority_count = db_text_array(rows, row, COLUMN_AUTHORITIES, arena, &state.authorities);
    return state;
}

int subscriber_table_read(DbConn *conn, Request *req, SubscriberState **ret_states,
                          size_t *ret_count)
{
    DbResult *rows = NULL;
    int rc = db_exec(conn, req, &select_subscribers, NULL, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_states = ARENA_ARRAY(req->arena, SubscriberState, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_states)[i] = read_state(req->arena, rows, (int)i);
    }
    return 0;
}

/* ---- removing, trying again ---- */

static const DbStatement lock_subscriber = {
    "subscriber_lock",
    "SELECT id FROM identity_subscriber WHERE name = $1::text AND removed_at IS NULL FOR UPDATE"};

static const DbStatement remove_subscriber = {
    "subscriber_remove",
    "UPDATE identity_subscriber SET removed_at = now() WHERE id = $1::integer"};

static const DbStatement lock_announced = {
    "subscriber_lock_announced",
    "SELECT i.id FROM patient_identifier i WHERE i.id IN (SELECT xad_pid FROM"
    " identity_notification WHERE subscriber = $1::integer) ORDER BY i.id FOR NO KEY UPDATE"};

static const DbStatement delete_queue = {
    "subscriber_delete_queue", "DELETE FROM identity_notification WHERE subscriber = $1::integer"};

static const DbStatement delete_told = {"subscriber_delete_told",
                                        "DELETE FROM identity_told WHERE subscriber = $1::integer"};

/* Nobody else is waited for. */
static const DbStatement update_announced = {
    "subscriber_update_announced",
    "UPDATE patient_identifier i SET is_announced = true WHERE i.id = ANY ($1::bigint[])"
    " AND NOT EXISTS (SELECT FROM identity_notification n WHERE n.xad_pid = i.id)"};

/* What a consumer refused and what is superseded since then must not be told after what is newer.
 */
static const DbStatement delete_superseded = {
    "subscriber_delete_superseded",
    "DELETE FROM identity_notification n USING identity_told t WHERE n.subscriber = $1::integer"
    " AND n.refused_at IS NOT NULL AND t.subscriber = n.subscriber AND t.person = n.person"
    " AND t.notification <> n.id"};

static const DbStatement retry_subscriber = {
    "subscriber_retry",
    "UPDATE identity_notification SET refused_at = NULL, next_at = now() WHERE subscriber ="
    " $1::integer"};

int subscriber_table_lock(DbConn *conn, Request *req, Str name, int32_t *ret_id)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, name);
    int rc = db_exec(conn, req, &lock_subscriber, &params, &rows);
    if (rc == 0) {
        *ret_id = db_rows(rows) > 0 ? db_i32(rows, 0, 0) : 0;
    }
    return rc;
}

static int run_with_id(DbConn *conn, Request *req, const DbStatement *statement, int32_t id,
                       DbResult **ret_rows)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, id);
    return db_exec(conn, req, statement, &params, ret_rows);
}

int subscriber_table_remove(DbConn *conn, Request *req, int32_t id, int64_t *ret_dropped)
{
    DbResult *locked = NULL;
    DbResult *dropped = NULL;
    DbParams params;
    int rc = run_with_id(conn, req, &lock_announced, id, &locked);
    rc = rc < 0 ? rc : run_with_id(conn, req, &delete_queue, id, &dropped);
    rc = rc < 0 ? rc : run_with_id(conn, req, &delete_told, id, NULL);
    rc = rc < 0 ? rc : run_with_id(conn, req, &remove_subscriber, id, NULL);
    if (rc < 0) {
        return rc;
    }
    int64_t *announced = ARENA_ARRAY(req->arena, int64_t, (size_t)db_rows(locked));
    for (int row = 0; row < db_rows(locked); row++) {
        announced[row] = db_i64(locked, row, 0);
    }
    *ret_dropped = db_affected(dropped);
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, announced, (size_t)db_rows(locked));
    return db_exec(conn, req, &update_announced, &params, NULL);
}

int subscriber_table_retry(DbConn *conn, Request *req, int32_t id, int64_t *ret_count)
{
    DbResult *updated = NULL;
    int rc = run_with_id(conn, req, &delete_superseded, id, NULL);
    rc = rc < 0 ? rc : run_with_id(conn, req, &retry_subscriber, id, &updated);
    if (rc == 0) {
        *ret_count = db_affected(updated);
    }
    return rc;
}
