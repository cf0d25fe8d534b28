#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/hl7/msh.h"
#include "lib/hl7/v3.h"
#include "pix/hl7_v2.h"
#include "pix/subscribers/delivery.h"
#include "pix/subscribers/subscribers_private.h"

#define DATABASE_TIMEOUT_MS 10000
#define CONNECT_TIMEOUT_NS INT64_C(5000000000)
#define ANSWER_TIMEOUT_NS INT64_C(10000000000)

/** Whoever queues in this process wakes the thread; another process does not. */
#define POLL_PAUSE_NS INT64_C(250000000)
/** Until the process that sends for this subscriber may have ended. */
#define LOCK_PAUSE_NS INT64_C(1000000000)
#define FAILURE_PAUSE_NS INT64_C(1000000000)

/** First part of the key of the lock; the second is the subscriber. */
#define LOCK_CLASS "1347831379"

struct NotificationSender {
    Subscribers *subscribers;
    Arena *arena;
    Subscriber subscriber;
    DbPool *pool; /* one connection, whose session has the lock */
    Delivery *delivery;
    Worker worker;
    int64_t next_ns; /* of the next step */
    bool is_failing;
};

/** The message at the head of the queue. */
typedef struct Head {
    int64_t id;
    int64_t person;
    NotificationKind kind;
    Str message_id;
    Str content;
    Str *patients;
    size_t patient_count;
    int64_t xad_pid; /* 0: announces none */
    int64_t wait_ms; /* until it may be sent */
} Head;

/* ---- rows ---- */

/* Of the session: a process that dies gives it up at once, and no message is sent by two. It is
 * taken anew before each message, since a connection may have been replaced; the count that the
 * session keeps does no harm. */
static const DbStatement take_lock = {"notification_lock",
                                      "SELECT pg_try_advisory_lock(" LOCK_CLASS ", $1::int4)"};

static const DbStatement select_head = {
    "notification_head",
    "SELECT id, person, kind, message_id, content, patients, coalesce(xad_pid, 0),"
    " (extract(epoch FROM greatest(next_at - now(), interval '0')) * 1000)::int8"
    " FROM identity_notification WHERE subscriber = $1::int4 AND refused_at IS NULL"
    " ORDER BY id LIMIT 1"};

/* 1 s, 2 s, 4 s ... 5 min */
static const DbStatement update_failed = {
    "notification_failed",
    "UPDATE identity_notification SET attempts = attempts + 1, last_failure = $2::text,"
    " next_at = now() + least(300, 2 ^ least(attempts, 9)) * interval '1 second'"
    " WHERE id = $1::int8"};

static const DbStatement update_refused = {
    "notification_refused",
    "UPDATE identity_notification SET attempts = attempts + 1, last_failure = $2::text,"
    " refused_at = now() WHERE id = $1::int8"};

static const DbStatement delete_sent = {"notification_sent",
                                        "DELETE FROM identity_notification WHERE id = $1::int8"};

/* Two registries that acknowledge at once must not both see the other's message. */
static const DbStatement lock_xad_pid = {
    "notification_lock_xad_pid",
    "SELECT FROM patient_identifier WHERE id = $1::int8 FOR NO KEY UPDATE"};

static const DbStatement update_announced = {
    "notification_announced",
    "UPDATE patient_identifier SET is_announced = true WHERE id = $1::int8 AND NOT is_announced"
    " AND NOT EXISTS (SELECT FROM identity_notification WHERE xad_pid = $1::int8)"};

static int queue_with_id(DbConn *conn, Request *req, const DbStatement *statement, int64_t id)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    return db_queue(conn, req, statement, &params);
}

static NotificationKind kind_of(Str text)
{
    size_t i = 0;
    while (i < NOTIFICATION_KIND_COUNT && !str_equal(text, notification_rows[i].kind)) {
        i++;
    }
    return (NotificationKind)i;
}

static void read_head(Request *req, const DbResult *rows, Head *ret_head)
{
    *ret_head = (Head){
        .id = db_i64(rows, 0, 0),
        .person = db_i64(rows, 0, 1),
        .kind = kind_of(db_text(rows, 0, 2)),
        .message_id = db_text(rows, 0, 3),
        .content = db_text(rows, 0, 4),
        .xad_pid = db_i64(rows, 0, 6),
        .wait_ms = db_i64(rows, 0, 7),
    };
    ret_head->patient_count = db_text_array(rows, 0, 5, req->arena, &ret_head->patients);
}

/** @return 1 with the head; 0: nothing to send, and next_ns says when to look again; negative */
static int take_head(NotificationSender *sender, Request *req, Head *ret_head)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *results[2] = {NULL, NULL};
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, sender->subscriber.id);
    int rc = db_acquire(sender->pool, req, &conn);
    rc = rc < 0 ? rc : db_queue(conn, req, &take_lock, &params);
    rc = rc < 0 ? rc : db_queue(conn, req, &select_head, &params);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0) {
        return rc;
    }
    bool is_ours = db_bool(results[0], 0, 0);
    if (!is_ours || db_rows(results[1]) == 0) {
        sender->next_ns = clock_now_ns() + (is_ours ? POLL_PAUSE_NS : LOCK_PAUSE_NS);
        return 0;
    }
    read_head(req, results[1], ret_head);
    sender->next_ns = clock_now_ns() + MIN(ret_head->wait_ms * 1000000, LOCK_PAUSE_NS);
    return ret_head->wait_ms == 0 && ret_head->kind < NOTIFICATION_KIND_COUNT;
}

/** What hangs on an announcement: the XAD-PID may be handed out, and its person is told anew. */
static int finish_announcement(NotificationSender *sender, Request *req, DbConn *conn,
                               const Head *head)
{
    DbResult *updated = NULL;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, head->xad_pid);
    int rc = db_exec(conn, req, &update_announced, &params, &updated);
    if (rc == 0 && db_affected(updated) > 0) {
        rc = subscribers_queue_person(sender->subscribers, req, conn, head->person);
    }
    return rc;
}

static int mark_sent(NotificationSender *sender, Request *req, const Head *head)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(sender->pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    if (rc == 0 && head->xad_pid != 0) {
        rc = queue_with_id(conn, req, &lock_xad_pid, head->xad_pid);
    }
    rc = rc < 0 ? rc : queue_with_id(conn, req, &delete_sent, head->id);
    if (rc == 0 && head->xad_pid != 0) {
        rc = db_sync(conn, req, NULL);
        rc = rc < 0 ? rc : finish_announcement(sender, req, conn, head);
    }
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    if (rc == 0 && head->xad_pid != 0) {
        pthread_mutex_lock(&sender->subscribers->announced_lock);
        pthread_cond_broadcast(&sender->subscribers->announced);
        pthread_mutex_unlock(&sender->subscribers->announced_lock);
        subscribers_wake(sender->subscribers);
    }
    return rc;
}

static int mark(NotificationSender *sender, Request *req, const DbStatement *statement,
                const Head *head, Str problem)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, head->id);
    db_param_text(&params, problem);
    int rc = db_acquire(sender->pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, statement, &params, NULL);
}

/* ---- audit ---- */

/** Names the parties as the message does (TF-2 3.10.5.1); those of HL7 v3 are the node and the
 * URL (TF-2 3.46.5.1). */
static void name_parties(const Head *head, Request *req, AuditEvent *event)
{
    const Er7Message *message = er7_read(req->arena, &req->errors, head->content);
    if (message) {
        event->own_name =
            hl7_party(req->arena, message, MSH_SENDING_FACILITY, MSH_SENDING_APPLICATION);
        event->remote_name =
            hl7_party(req->arena, message, MSH_RECEIVING_FACILITY, MSH_RECEIVING_APPLICATION);
    }
}

static int append_event(NotificationSender *sender, Request *req, AuditEventType type,
                        const Head *head, size_t first, size_t count, const char *failure)
{
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, count);
    bool is_v3 = notification_rows[head->kind].protocol == PROTOCOL_HL7_V3;
    const V3Id v3_id = {.root = str_from(sender->subscribers->config.manager_oid),
                        .extension = head->message_id};
    Str message_id = is_v3 ? v3_id_text(req->arena, v3_id) : head->message_id;
    for (size_t i = 0; i < count; i++) {
        objects[i] = (AuditObject){.kind = AUDIT_OBJECT_PATIENT,
                                   .id = head->patients[first + i],
                                   .message_id = message_id,
                                   .is_v3 = is_v3};
    }
    AuditEvent event = {
        .type = type,
        .outcome = failure ? 8 : 0,
        .outcome_text = failure ? str_from(failure) : STR_EMPTY,
        .remote_endpoint = sender->subscriber.url,
        .objects = objects,
        .object_count = count,
    };
    if (!is_v3) {
        name_parties(head, req, &event);
    }
    return audit_append_event(sender->subscribers->config.audit, req, &event);
}

/** Records what is about to be sent, or how it failed; durable on return. */
static int record(NotificationSender *sender, Request *req, const Head *head, const char *failure)
{
    const NotificationRow *row = &notification_rows[head->kind];
    bool has_second = row->audit != row->audit_of_second && head->patient_count > 1;
    size_t count = has_second ? 1 : head->patient_count;
    int rc = append_event(sender, req, row->audit, head, 0, count, failure);
    if (rc == 0 && has_second) {
        rc = append_event(sender, req, row->audit_of_second, head, 1, 1, failure);
    }
    return rc < 0 ? rc : audit_settle(sender->subscribers->config.audit, req);
}

/* ---- steps ---- */

/** A line when it begins to fail and when it works again. What a receiver writes is not logged. */
static void log_change(NotificationSender *sender, bool fails, Str detail)
{
    if (fails != sender->is_failing) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        const char *name = log_quote(arena, sender->subscriber.name);
        if (fails) {
            log_warn("event=subscriber_failing subscriber=%s detail=%s", name,
                     log_quote(arena, detail));
        } else {
            log_info("event=subscriber_recovered subscriber=%s", name);
        }
    }
    sender->is_failing = fails;
}

static int64_t deadline_in(int64_t ns)
{
    return clock_now_ns() + ns;
}

/** Sends one message. @return 0 when the row says what became of it, or negative */
static int deliver(NotificationSender *sender, Request *req, const Head *head)
{
    Str problem = STR_EMPTY;
    req->transaction = notification_rows[head->kind].transaction;
    req->deadline_ns = deadline_in(CONNECT_TIMEOUT_NS);
    if (!delivery_connect(sender->delivery, req, &problem)) {
        log_change(sender, true, problem);
        req->deadline_ns = deadline_in(DATABASE_TIMEOUT_MS * INT64_C(1000000));
        return mark(sender, req, &update_failed, head, problem);
    }
    int rc = record(sender, req, head, NULL);
    if (rc < 0) {
        return rc; /* nothing has left */
    }
    req->deadline_ns = deadline_in(ANSWER_TIMEOUT_NS);
    DeliveryOutcome outcome =
        delivery_send(sender->delivery, req, head->message_id, head->content, &problem);
    fail_point("notification.answered");
    req->deadline_ns = deadline_in(DATABASE_TIMEOUT_MS * INT64_C(1000000));
    if (outcome == DELIVERY_ACCEPTED) {
        log_change(sender, false, STR_EMPTY);
        return mark_sent(sender, req, head);
    }
    bool is_refused = outcome == DELIVERY_REFUSED;
    log_change(sender, true,
               is_refused ? STR("a message was refused") : STR("a message was not acknowledged"));
    rc = record(sender, req, head, is_refused ? "refused by the receiver" : "not acknowledged");
    return rc < 0 ? rc
                  : mark(sender, req, is_refused ? &update_refused : &update_failed, head, problem);
}

/** @return whether the next step follows at once */
static bool step(NotificationSender *sender)
{
    Request *req = request_new(DATABASE_TIMEOUT_MS);
    Head head;
    int rc = take_head(sender, req, &head);
    bool has_head = rc > 0;
    if (has_head) {
        rc = deliver(sender, req, &head);
    }
    if (rc < 0) {
        log_change(sender, true, str_from(db_last_failure()));
        sender->next_ns = clock_now_ns() + FAILURE_PAUSE_NS;
    }
    request_free(req);
    return has_head && rc == 0;
}

static void *sender_run(void *ctx)
{
    NotificationSender *sender = ctx;
    do {
        sender->next_ns = clock_now_ns();
        while (step(sender) && worker_rest_until(&sender->worker, 0)) {
        }
    } while (worker_rest_until(&sender->worker, sender->next_ns));
    return NULL;
}

/* ---- life ---- */

static void sender_destroy(NotificationSender *sender)
{
    delivery_free(sender->delivery);
    db_pool_free(sender->pool);
    arena_free(sender->arena);
    free(sender);
}

NotificationSender *notification_sender_new(Subscribers *subscribers, const Subscriber *subscriber,
                                            char *ret_problem, size_t problem_size)
{
    NotificationSender *sender = HEAP_NEW(NotificationSender);
    sender->subscribers = subscribers;
    sender->arena = arena_new();
    sender->subscriber = subscriber_copy(sender->arena, subscriber);
    sender->pool = db_pool_beside(subscribers->config.pool, 1);
    sender->delivery = delivery_new(&subscribers->config, subscriber, ret_problem, problem_size);
    if (!sender->delivery) {
        sender_destroy(sender);
        return NULL;
    }
    int rc = worker_start(&sender->worker, sender_run, sender);
    if (rc != 0) {
        (void)snprintf(ret_problem, problem_size, "no thread: %s", strerror(rc));
        sender_destroy(sender);
        return NULL;
    }
    return sender;
}

void notification_sender_ask_to_stop(NotificationSender *sender)
{
    if (sender) {
        worker_ask_to_stop(&sender->worker);
    }
}

void notification_sender_free(NotificationSender *sender)
{
    if (sender) {
        worker_stop(&sender->worker);
        sender_destroy(sender);
    }
}

void notification_sender_wake(NotificationSender *sender)
{
    if (sender) {
        worker_wake(&sender->worker);
    }
}
