/** What subscribers are told: queued in the transaction of the change, and waited for behind it. */
#include "lib/base/clock.h"
#include "lib/base/thread.h"
#include "pix/found_identifiers.h"
#include "pix/subscribers/subscribers_private.h"

#define BATCH_TIMEOUT_MS 30000
#define ANNOUNCEMENT_WAIT_NS INT64_C(10000000000)
/** What is left of the request's time for its reply. */
#define REPLY_TIME_NS INT64_C(500000000)
/** How often the table is looked at while another process may be the one that sends. */
#define ANNOUNCEMENT_POLL_NS INT64_C(100000000)

/* ---- queueing ---- */

static const DbStatement insert_notification = {
    "subscribers_insert_notification",
    "INSERT INTO identity_notification (subscriber, person, kind, message_id, content, patients,"
    " xad_pid) SELECT id, $2::int8, $3::text, $4::text, $5::text, $6::text[], nullif($7::int8, 0)"
    " FROM identity_subscriber WHERE id = $1::int4 AND removed_at IS NULL FOR KEY SHARE"};

/* Who was never told of a person that has nothing for him need not be remembered. */
static const DbStatement tell_consumer = {
    "subscribers_tell_consumer",
    "WITH told AS (INSERT INTO identity_told (subscriber, person, digest, notification)"
    " SELECT $1::int4, $2::int8, sha256(convert_to($7::text, 'UTF8')),"
    "  nextval('identity_notification_id_seq')"
    "  WHERE $7::text <> '' OR EXISTS (SELECT FROM identity_told"
    "   WHERE subscriber = $1::int4 AND person = $2::int8)"
    " ON CONFLICT (subscriber, person) DO UPDATE SET digest = excluded.digest,"
    "  notification = excluded.notification"
    "  WHERE identity_told.digest <> excluded.digest RETURNING subscriber, notification)"
    "INSERT INTO identity_notification (id, subscriber, person, kind, message_id, content,"
    " patients) OVERRIDING SYSTEM VALUE"
    " SELECT told.notification, s.id, $2::int8, $3::text, $4::text, $5::text, $6::text[]"
    " FROM told JOIN identity_subscriber s ON s.id = told.subscriber"
    " WHERE s.removed_at IS NULL AND $7::text <> '' FOR KEY SHARE OF s"};

/* A new XAD-PID that other registries do not know yet is not among them; once they do, its person
 * is told again. */
static const DbStatement select_identifiers = {
    "subscribers_select_identifiers",
    "SELECT authority, value FROM patient_identifier"
    " WHERE person = $1::int8 AND survivor IS NULL AND is_announced ORDER BY authority, id"};

static const DbStatement select_demographics = {
    "subscribers_select_demographics",
    "SELECT d.record FROM patient_identifier i JOIN patient_demographics d ON d.identifier = i.id"
    " WHERE i.person = $1::int8 AND i.survivor IS NULL ORDER BY d.updated_at DESC, d.identifier"
    " LIMIT 1"};

static const DbStatement update_announced = {
    "subscribers_update_announced",
    "UPDATE patient_identifier SET is_announced = n.is_announced FROM (SELECT NOT EXISTS (SELECT"
    " FROM identity_notification WHERE xad_pid = $1::int8) AS is_announced) n"
    " WHERE id = $1::int8 AND patient_identifier.is_announced <> n.is_announced"};

static void bind(DbParams *params, const NotificationRoute *route, int64_t person,
                 const Notification *message)
{
    db_params_init(params, route->arena);
    db_param_i32(params, route->subscriber->id);
    db_param_i64(params, person);
    db_param_text(params, notification_rows[message->kind].kind);
    db_param_text(params, message->message_id);
    db_param_text(params, message->content);
    db_param_text_array(params, message->patients, message->patient_count);
}

static int queue(DbConn *conn, Request *req, const NotificationRoute *route, int64_t person,
                 const Notification *message, int64_t xad_pid)
{
    DbParams params;
    bind(&params, route, person, message);
    db_param_i64(&params, xad_pid);
    return db_queue(conn, req, &insert_notification, &params);
}

static int read_identifiers(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person,
                            FoundIdentifier **ret_identifiers, size_t *ret_count)
{
    DbResult *rows = NULL;
    int rc = db_exec_id(conn, req, &select_identifiers, person, &rows);
    if (rc < 0) {
        return rc;
    }
    size_t count = (size_t)db_rows(rows);
    int32_t *authorities = ARENA_ARRAY(req->arena, int32_t, count);
    Str *values = ARENA_ARRAY(req->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        authorities[i] = db_i32(rows, (int)i, 0);
        values[i] = db_text(rows, (int)i, 1);
    }
    *ret_count = found_identifiers_make(
        req->arena, authority_directory_hold(subscribers->config.authorities, req->arena),
        authorities, values, count, NULL, 0, ret_identifiers);
    return 0;
}

static bool is_of_interest(const Subscriber *subscriber, const AssigningAuthority *authority)
{
    for (size_t i = 0; i < subscriber->authority_count; i++) {
        if (subscriber->authorities[i] == authority->id) {
            return true;
        }
    }
    return subscriber->authority_count == 0;
}

/** Queues one person for one consumer; the statement drops it if nothing changed. */
static int tell(DbConn *conn, const NotificationRoute *route, Request *req, int64_t person,
                const FoundIdentifier *identifiers, size_t count)
{
    FoundIdentifier *wanted = ARENA_ARRAY(req->arena, FoundIdentifier, count);
    size_t wanted_count = 0;
    StrBuf set = {0};
    for (size_t i = 0; i < count; i++) {
        if (is_of_interest(route->subscriber, identifiers[i].authority)) {
            wanted[wanted_count++] = identifiers[i];
            strbuf_append(&set, hl7_cx_format(req->arena, identifiers[i].value,
                                              identifiers[i].authority->oid));
            strbuf_append_char(&set, '~');
        }
    }
    Notification message = {
        .kind = NOTIFICATION_UPDATE_V2, .message_id = STR_EMPTY, .content = STR_EMPTY};
    if (wanted_count > 0) {
        message = route->subscriber->kind == SUBSCRIBER_CONSUMER_V3
                      ? iti46_notify_v3_make(route, wanted, wanted_count)
                      : iti10_notify_v2_make(route, wanted, wanted_count);
    }
    DbParams params;
    bind(&params, route, person, &message);
    db_param_text(&params, str_dup(req->arena, strbuf_str(&set)));
    strbuf_done(&set);
    return db_queue(conn, req, &tell_consumer, &params);
}

int subscribers_queue_person(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person)
{
    FoundIdentifier *identifiers = NULL;
    size_t count = 0;
    SubscriberList list = subscribers_hold(subscribers, req->arena, false);
    if (list.count == 0) {
        return 0;
    }
    int rc = read_identifiers(subscribers, req, conn, person, &identifiers, &count);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        const NotificationRoute route = {req->arena, &subscribers->config, &list.items[i]};
        rc = tell(conn, &route, req, person, identifiers, count);
    }
    return rc < 0 ? rc : db_sync(conn, req, NULL);
}

static int read_demographics(Request *req, DbConn *conn, int64_t person, Demographics *ret)
{
    DbResult *rows = NULL;
    int rc = db_exec_id(conn, req, &select_demographics, person, &rows);
    *ret = (Demographics){0};
    if (rc == 0 && db_rows(rows) == 1) {
        demographics_read(db_text(rows, 0, 0), ret);
    }
    return rc;
}

/** An identifier of the affinity domain. */
static FoundIdentifier own_identifier(Subscribers *subscribers, Arena *arena, Str value)
{
    const Authorities *authorities =
        authority_directory_hold(subscribers->config.authorities, arena);
    return (FoundIdentifier){.authority = authorities->affinity_domain, .value = value};
}

int subscribers_queue_xad_pid(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person,
                              int64_t identifier, Str value)
{
    Demographics demographics;
    SubscriberList list = subscribers_hold(subscribers, req->arena, true);
    const FoundIdentifier xad_pid = own_identifier(subscribers, req->arena, value);
    int rc = read_demographics(req, conn, person, &demographics);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        const NotificationRoute route = {req->arena, &subscribers->config, &list.items[i]};
        Notification message = iti08_send_announcement_make(&route, &xad_pid, &demographics);
        rc = queue(conn, req, &route, person, &message, identifier);
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, identifier);
    rc = rc < 0 ? rc : db_queue(conn, req, &update_announced, &params);
    return rc < 0 ? rc : db_sync(conn, req, NULL);
}

int subscribers_queue_merge(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person,
                            Str subsumed, Str survivor)
{
    Demographics demographics;
    SubscriberList list = subscribers_hold(subscribers, req->arena, true);
    const FoundIdentifier kept = own_identifier(subscribers, req->arena, survivor);
    const FoundIdentifier gone = own_identifier(subscribers, req->arena, subsumed);
    int rc = read_demographics(req, conn, person, &demographics);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        const NotificationRoute route = {req->arena, &subscribers->config, &list.items[i]};
        Notification message = iti08_send_merge_make(&route, &kept, &gone, &demographics);
        rc = queue(conn, req, &route, person, &message, 0);
    }
    return rc < 0 ? rc : db_sync(conn, req, NULL);
}

int subscribers_queue_move(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person,
                           Str from, Str to, Str local, Str subsumed)
{
    SubscriberList list = subscribers_hold(subscribers, req->arena, true);
    const FoundIdentifier previous = own_identifier(subscribers, req->arena, from);
    const FoundIdentifier next = own_identifier(subscribers, req->arena, to);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        const NotificationRoute route = {req->arena, &subscribers->config, &list.items[i]};
        Notification message = iti64_send_make(&route, &previous, &next, local, subsumed);
        rc = queue(conn, req, &route, person, &message, 0);
    }
    return rc < 0 ? rc : db_sync(conn, req, NULL);
}

/* ---- a registry that comes later ---- */

static const DbStatement select_known = {
    "subscribers_select_known",
    "SELECT i.id, i.person, i.value, coalesce((SELECT d.record FROM patient_identifier x"
    " JOIN patient_demographics d ON d.identifier = x.id WHERE x.person = i.person"
    " AND x.survivor IS NULL ORDER BY d.updated_at DESC LIMIT 1), '')"
    " FROM patient_identifier i WHERE i.id > $1::int8 AND i.is_xad_pid AND i.survivor IS NULL"
    " ORDER BY i.id LIMIT 1000"};

/** @param after_id  the last one that was queued; moved on. @return how many, or negative */
static int announce_batch(Subscribers *subscribers, Request *req, DbConn *conn,
                          const NotificationRoute *route, int64_t *after_id)
{
    DbResult *rows = NULL;
    int rc = db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : db_exec_id(conn, req, &select_known, *after_id, &rows);
    for (int row = 0; rc == 0 && row < db_rows(rows); row++) {
        Demographics demographics;
        const FoundIdentifier xad_pid =
            own_identifier(subscribers, req->arena, db_text(rows, row, 2));
        demographics_read(db_text(rows, row, 3), &demographics);
        Notification message = iti08_send_announcement_make(route, &xad_pid, &demographics);
        rc = queue(conn, req, route, db_i64(rows, row, 1), &message, 0);
        *after_id = db_i64(rows, row, 0);
    }
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    return rc < 0 ? rc : db_rows(rows);
}

/** A batch with memory of its own. */
static int announce_next(Subscribers *subscribers, Request *req, const Subscriber *registry,
                         int64_t *after_id)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    Request *batch = request_new(BATCH_TIMEOUT_MS);
    const NotificationRoute route = {batch->arena, &subscribers->config, registry};
    int rc = db_acquire(subscribers->config.pool, req, &conn);
    rc = rc < 0 ? rc : announce_batch(subscribers, batch, conn, &route, after_id);
    if (batch->errors.first) {
        (void)error_add(&req->errors, batch->errors.first->code, NULL, "%.*s",
                        STR_ARG(batch->errors.first->context));
    }
    request_free(batch);
    return rc;
}

int subscribers_announce_known(Subscribers *subscribers, Request *req, Str name, int64_t *ret_count)
{
    SubscriberList list = subscribers_hold(subscribers, req->arena, true);
    int64_t count = 0;
    int rc = 0;
    for (size_t i = 0; i < list.count; i++) {
        int64_t after_id = 0;
        if (!str_equal(list.items[i].name, name)) {
            continue;
        }
        do {
            rc = announce_next(subscribers, req, &list.items[i], &after_id);
            count += MAX(rc, 0);
        } while (rc > 0);
    }
    if (rc == 0) {
        *ret_count = count;
    }
    return rc;
}

/* ---- after the commit ---- */

static const DbStatement select_announced = {
    "subscribers_select_announced",
    "SELECT is_announced FROM patient_identifier WHERE id = $1::int8"};

/* A registry that is waited for is tried at once, however long it has been away. */
static const DbStatement hasten_announcement = {
    "subscribers_hasten_announcement",
    "UPDATE identity_notification SET next_at = now() WHERE id = ANY (ARRAY("
    "SELECT n.id FROM (SELECT DISTINCT subscriber FROM identity_notification"
    "  WHERE xad_pid = $1::int8 AND refused_at IS NULL) s"
    " CROSS JOIN LATERAL (SELECT id FROM identity_notification WHERE subscriber = s.subscriber"
    "  AND refused_at IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) n))"
    " AND next_at > now()"};

static int hasten(Subscribers *subscribers, Request *req, int64_t identifier)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(subscribers->config.pool, req, &conn);
    return rc < 0 ? rc : db_exec_id(conn, req, &hasten_announcement, identifier, NULL);
}

static int read_announced(Subscribers *subscribers, Request *req, int64_t identifier,
                          bool *ret_is_announced)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *rows = NULL;
    int rc = db_acquire(subscribers->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec_id(conn, req, &select_announced, identifier, &rows);
    *ret_is_announced = rc == 0 && db_rows(rows) == 1 && db_bool(rows, 0, 0);
    return rc;
}

int subscribers_await_announcement(Subscribers *subscribers, Request *req, int64_t identifier)
{
    int64_t deadline_ns =
        MIN(req->deadline_ns - REPLY_TIME_NS, clock_now_ns() + ANNOUNCEMENT_WAIT_NS);
    bool is_announced = false;
    int rc = hasten(subscribers, req, identifier);
    subscribers_wake(subscribers);
    rc = rc < 0 ? rc : read_announced(subscribers, req, identifier, &is_announced);
    while (rc == 0 && !is_announced && clock_now_ns() < deadline_ns) {
        pthread_mutex_lock(&subscribers->announced_lock);
        (void)thread_wait_until(&subscribers->announced, &subscribers->announced_lock,
                                MIN(deadline_ns, clock_now_ns() + ANNOUNCEMENT_POLL_NS));
        pthread_mutex_unlock(&subscribers->announced_lock);
        rc = read_announced(subscribers, req, identifier, &is_announced);
    }
    if (rc == 0 && !is_announced) {
        rc = error_add(&req->errors, ERR_HL7_INTERNAL, NULL,
                       "the patient's new identifier in the affinity domain could not be made "
                       "known to every registry of this network in time, so it is not handed out "
                       "yet; send the same message again");
    }
    return rc;
}
