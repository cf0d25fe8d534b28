#include "registry/subscriptions/sender.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/soap/client.h"
#include "lib/xml/namespaces.h"
#include "registry/subscriptions/iti53_notify.h"

#define DATABASE_TIMEOUT_MS 10000
#define CONNECT_TIMEOUT_MS 5000
#define ANSWER_TIMEOUT_NS INT64_C(15000000000)

/** The matcher of this process wakes the senders; that of another one does not. */
#define POLL_PAUSE_NS INT64_C(1000000000)
/** Before others have their turn. */
#define NOTIFICATIONS_PER_TURN 50
/** Due subscriptions that are tried for one that no other sender has. */
#define DUE_MAX 32
/** Senders at one server at a time; and a turn that takes longer than this, and others come first.
 */
#define SENDERS_PER_SERVER 2
#define SLOW_NS INT64_C(1000000000)
#define FULL_SERVERS_MAX 16

/** Added to the id of a subscription: the key of its lock. */
#define LOCK_BASE "6005000000000000000"

struct Sender {
    Registry *registry;
    DbPool *pool; /* one connection, whose session has the locks */
    Worker worker;
    HttpClient *http; /* to the consumer of the turn; NULL: not yet */
    Arena *http_arena;
    SenderCrowd *crowd;
    Sender *next;  /* of the crowd */
    StrBuf server; /* HOST:PORT of the turn; empty: none. The lock of the crowd guards it */
};

/** What waits first for a subscription. */
typedef struct Head {
    StoredSubscription subscription;
    int64_t event;
    int32_t part;
    Str message_id;
    Uuid *objects;
    size_t object_count;
    bool was_failing;
} Head;

/* ---- rows ---- */

/* The subscriptions that something waits for, by a walk over the index: there may be many messages
 * for one that does not answer. Those that answered last time come first. */
static const DbStatement select_due = {
    "subscription_due",
    "WITH RECURSIVE w (id) AS ((SELECT subscription FROM subscription_notification"
    "  WHERE refused_at IS NULL ORDER BY subscription LIMIT 1)"
    " UNION ALL SELECT (SELECT subscription FROM subscription_notification"
    "  WHERE refused_at IS NULL AND subscription > w.id ORDER BY subscription LIMIT 1)"
    "  FROM w WHERE w.id IS NOT NULL)"
    " SELECT s.id, split_part(s.consumer, '/', 3) FROM w JOIN subscription s ON s.id = w.id"
    " WHERE s.next_at <= now() AND split_part(s.consumer, '/', 3) <> ALL ($2::text[])"
    " ORDER BY s.attempts > 0, s.next_at LIMIT $1::int4"};

static const DbStatement take_lock = {"subscription_lock",
                                      "SELECT pg_try_advisory_lock(" LOCK_BASE " + $1::int8)"};

static const DbStatement give_locks = {"subscription_unlock",
                                       "SELECT pg_advisory_unlock_all() IS NULL"};

static const DbStatement select_head = {
    "subscription_head",
    "SELECT " SUBSCRIPTION_COLUMNS ", n.event, n.part, n.message_id,"
    " ARRAY(SELECT unnest(n.objects)::text), s.attempts > 0"
    " FROM subscription s JOIN subscription_notification n ON n.subscription = s.id"
    " WHERE s.id = $1::int8 AND s.next_at <= now() AND (s.ends_at IS NULL OR s.ends_at > now())"
    " AND n.refused_at IS NULL ORDER BY n.event, n.part LIMIT 1"};

static const DbStatement delete_sent = {
    "subscription_sent",
    "DELETE FROM subscription_notification WHERE subscription = $1::int8 AND event = $2::int8"
    " AND part = $3::int4"};

static const DbStatement update_delivered = {
    "subscription_delivered",
    "UPDATE subscription SET attempts = 0, next_at = greatest(next_at, now()), last_failure ="
    " CASE WHEN next_at = 'infinity' THEN last_failure ELSE '' END, delivered_at = now(),"
    " delivered_count = delivered_count + 1 WHERE id = $1::int8"};

/* 1 s, 2 s, 4 s ... 5 min. One that was suspended meanwhile stays so (suspension.h). */
static const DbStatement update_failed = {
    "subscription_failed",
    "UPDATE subscription SET attempts = attempts + 1, last_failure = $2::text,"
    " next_at = now() + least(300, 2 ^ least(attempts, 9)) * interval '1 second'"
    " WHERE id = $1::int8 AND next_at < 'infinity'"};

static const DbStatement update_refused = {
    "subscription_refused",
    "UPDATE subscription_notification SET refused_at = now() WHERE subscription = $1::int8"
    " AND event = $2::int8 AND part = $3::int4"};

/* The second half of the objects becomes a part of its own, behind the first one. */
static const DbStatement split_part = {
    "subscription_split",
    "WITH rest AS (INSERT INTO subscription_notification (subscription, event, part, message_id,"
    "  objects, queued_at) SELECT subscription, event, part + $4::int4, $6::uuid,"
    "  objects[($4::int4 + 1):], queued_at FROM subscription_notification"
    "  WHERE subscription = $1::int8 AND event = $2::int8 AND part = $3::int4)"
    " UPDATE subscription_notification SET objects = objects[1:($4::int4)], message_id = $5::uuid"
    " WHERE subscription = $1::int8 AND event = $2::int8 AND part = $3::int4"};

static void bind_head(DbParams *params, Arena *arena, const Head *head)
{
    db_params_init(params, arena);
    db_param_i64(params, head->subscription.id);
    db_param_i64(params, head->event);
    db_param_i32(params, head->part);
}

static void read_head(Arena *arena, const DbResult *rows, Head *ret_head)
{
    enum { EVENT = SUBSCRIPTION_COLUMN_COUNT, PART, MESSAGE_ID, OBJECTS, WAS_FAILING };
    Str *texts = NULL;
    *ret_head = (Head){
        .subscription = stored_subscription_read(arena, rows, 0),
        .event = db_i64(rows, 0, EVENT),
        .part = db_i32(rows, 0, PART),
        .message_id = uuid_urn(arena, db_uuid(rows, 0, MESSAGE_ID)),
        .object_count = db_text_array(rows, 0, OBJECTS, arena, &texts),
        .was_failing = db_bool(rows, 0, WAS_FAILING),
    };
    ret_head->objects = ARENA_ARRAY(arena, Uuid, ret_head->object_count);
    for (size_t i = 0; i < ret_head->object_count; i++) {
        Str urn = str_printf(arena, "urn:uuid:%.*s", STR_ARG(texts[i]));
        (void)!uuid_parse_urn(urn, &ret_head->objects[i]);
    }
}

/** What waits first, while no other sender has the subscription. @return 1, 0: nothing, negative */
static int take_head(Sender *sender, Request *req, int64_t subscription, Head *ret_head)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *results[2] = {NULL, NULL};
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, subscription);
    int rc = db_acquire(sender->pool, req, &conn);
    rc = rc < 0 ? rc : db_queue(conn, req, &take_lock, &params);
    rc = rc < 0 ? rc : db_queue(conn, req, &select_head, &params);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0 || !db_bool(results[0], 0, 0) || db_rows(results[1]) == 0) {
        return rc;
    }
    read_head(req->arena, results[1], ret_head);
    return 1;
}

/** The notification is done with: it was delivered, or there is nothing of it to tell. */
static int finish(Sender *sender, Request *req, const Head *head, bool is_delivered)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbParams id;
    bind_head(&params, req->arena, head);
    db_params_init(&id, req->arena);
    db_param_i64(&id, head->subscription.id);
    int rc = db_acquire(sender->pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    if (rc == 0 && is_delivered) {
        rc = db_queue(conn, req, &update_delivered, &id);
    }
    rc = rc < 0 ? rc : db_queue(conn, req, &delete_sent, &params);
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}

/** @return 0: it is kept, and sent again later, or the next one if it was refused */
static int keep(Sender *sender, Request *req, const Head *head, bool is_refused, Str problem)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbParams failure;
    bind_head(&params, req->arena, head);
    db_params_init(&failure, req->arena);
    db_param_i64(&failure, head->subscription.id);
    db_param_text(&failure, problem);
    int rc = db_acquire(sender->pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_queue(conn, req, &update_failed, &failure);
    if (rc == 0 && is_refused) {
        rc = db_queue(conn, req, &update_refused, &params);
    }
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}

/** @return 1: the halves follow; negative */
static int split(Sender *sender, Request *req, const Head *head)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    bind_head(&params, req->arena, head);
    db_param_i32(&params, (int32_t)(head->object_count / 2));
    db_param_uuid(&params, uuid_new());
    db_param_uuid(&params, uuid_new());
    int rc = db_acquire(sender->pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &split_part, &params, NULL);
    return rc < 0 ? rc : 1;
}

/* ---- sending ---- */

static void forget_consumer(Sender *sender)
{
    http_client_free(sender->http);
    arena_clear(sender->http_arena);
    sender->http = NULL;
}

/** The connection of the turn; its address may have lost its registration since. */
static bool connect_consumer(Sender *sender, Request *req, const Head *head, Str *ret_problem)
{
    const Registry *registry = sender->registry;
    Str fingerprint;
    char problem[300];
    if (!node_directory_may_send_to(registry->config.nodes, req->arena, head->subscription.node_id,
                                    head->subscription.consumer, &fingerprint, ret_problem)) {
        return false;
    }
    if (sender->http != NULL) {
        return true;
    }
    Arena *arena = sender->http_arena;
    const HttpClientConfig config = {.url = str_cstr(arena, head->subscription.consumer),
                                     .tls = registry->config.tls,
                                     .fingerprint = str_cstr(arena, fingerprint),
                                     .may_be_plain = true,
                                     .connect_timeout_ms = CONNECT_TIMEOUT_MS};
    if (registry->config.tls == NULL &&
        str_starts_with(head->subscription.consumer, STR("https:"))) {
        *ret_problem = STR("https needs tls_certificate, tls_key and tls_ca of this server");
        return false;
    }
    sender->http = http_client_new(&config, problem, sizeof(problem));
    if (sender->http == NULL) {
        *ret_problem = str_dup(req->arena, str_from(problem));
    }
    return sender->http != NULL;
}

typedef enum Outcome { ACCEPTED, REFUSED, FAILED } Outcome;

/** A SOAP Fault that blames the message. */
static bool is_refusal(Request *req, const HttpReply *reply, Str *ret_reason)
{
    Request reading = *req;
    XmlNode *root;
    error_list_init(&reading.errors, req->arena);
    if (reply->status < 400 || xml_read(&reading, reply->body, &root) < 0) {
        return false;
    }
    const XmlNode *fault = xml_child(xml_child(root, NS_SOAP12, "Body"), NS_SOAP12, "Fault");
    *ret_reason = fault != NULL ? soap_fault_reason(fault) : STR_EMPTY;
    return fault != NULL && soap_fault_is_of_sender(fault);
}

/** 202, or 200 of those who answer a one-way message. */
static Outcome send_message(Sender *sender, Request *req, Str message, Str *ret_problem)
{
    HttpReply reply;
    Str reason = STR_EMPTY;
    if (http_client_post(sender->http, req,
                         "application/soap+xml; charset=UTF-8; action=\"" ACTION_NOTIFY "\"",
                         message, &reply, ret_problem) < 0) {
        return FAILED;
    }
    if (reply.status == 202 || reply.status == 200) {
        return ACCEPTED;
    }
    bool is_refused = is_refusal(req, &reply, &reason);
    *ret_problem = str_printf(req->arena, "HTTP status %d %.*s", reply.status,
                              STR_ARG(str_shown(req->arena, str_slice(reason, 0, 300))));
    return is_refused ? REFUSED : FAILED;
}

/** Records what is about to be sent, or how it failed; durable on return (contract C4). */
static int record(Sender *sender, Request *req, const Head *head, const Notice *notice,
                  const char *failure)
{
    AuditObject *objects = NULL;
    size_t count = notice_audit_objects(sender->registry, req, notice, &objects);
    const AuditEvent event = {.type = AUDIT_ITI53_NOTIFY,
                              .outcome = failure != NULL ? 8 : 0,
                              .outcome_text = failure != NULL ? str_from(failure) : STR_EMPTY,
                              .remote_endpoint = head->subscription.consumer,
                              .own_name = head->subscription.address,
                              .objects = objects,
                              .object_count = count};
    return audit_record_event(sender->registry->config.audit, req, &event);
}

/** A line when a subscription begins to fail and when it works again. */
static void log_change(const Head *head, bool fails, const char *problem)
{
    long long id = (long long)head->subscription.id;
    if (fails && !head->was_failing) {
        log_warn("event=subscription_failing subscription=%lld detail=\"%s\"", id, problem);
    } else if (!fails && head->was_failing) {
        log_info("event=subscription_recovered subscription=%lld", id);
    }
}

static void allow(Request *req, int64_t ns)
{
    req->deadline_ns = clock_now_ns() + ns;
}

static int deliver_notice(Sender *sender, Request *req, const Head *head, const Notice *notice)
{
    StrBuf message = {0};
    Str problem = STR_EMPTY;
    int rc = record(sender, req, head, notice, NULL);
    if (rc < 0) {
        return rc; /* nothing has left */
    }
    notice_write(req, &head->subscription, head->message_id, notice, &message);
    allow(req, ANSWER_TIMEOUT_NS);
    Outcome outcome = send_message(sender, req, strbuf_str(&message), &problem);
    strbuf_done(&message);
    fail_point("subscription.answered");
    allow(req, DATABASE_TIMEOUT_MS * INT64_C(1000000));
    log_change(head, outcome != ACCEPTED,
               outcome == REFUSED ? "a notification was refused" : "no acknowledgement");
    if (outcome == ACCEPTED) {
        rc = finish(sender, req, head, true);
        return rc < 0 ? rc : 1;
    }
    forget_consumer(sender);
    rc = record(sender, req, head, notice,
                outcome == REFUSED ? "refused by the recipient" : "not acknowledged");
    return rc < 0 ? rc : keep(sender, req, head, outcome == REFUSED, problem);
}

/** Takes on the rights of who subscribed. */
static bool act_for(const Sender *sender, Request *req, const Head *head, Str *ret_problem)
{
    req->transaction = "ITI-53";
    req->endpoint = head->subscription.address;
    req->user = head->subscription.user;
    req->principal =
        stored_subscription_principal(sender->registry, req->arena, head->subscription.node_id);
    bool may = req->principal != NULL && access_may_use(req->principal, "ITI-52");
    *ret_problem = may ? STR_EMPTY : STR("the node may not subscribe any more");
    return may && head->subscription.topic != TOPIC_COUNT;
}

/** What makes too long a message goes in several; what cannot be told at all is put aside. */
static int cannot_tell(Sender *sender, Request *req, const Head *head, int rc)
{
    if (rc == -(int)ERR_TOO_LARGE && head->object_count > 1) {
        return split(sender, req, head);
    }
    if (rc == -(int)ERR_TOO_LARGE || rc == -(int)ERR_XDS_REGISTRY_ERROR) {
        log_change(head, true, "a notification cannot be made");
        return keep(sender, req, head, true,
                    rc == -(int)ERR_TOO_LARGE ? STR("the object is too large for a message")
                                              : STR("stored metadata cannot be read"));
    }
    return rc;
}

/** @return 1: done with, the next one follows; 0: later; negative */
static int deliver(Sender *sender, Request *req, const Head *head)
{
    Notice notice;
    Str problem;
    if (!act_for(sender, req, head, &problem) || !connect_consumer(sender, req, head, &problem)) {
        log_change(head, true, "nothing may be sent to its consumer");
        return keep(sender, req, head, false, problem);
    }
    int rc = notice_read(sender->registry, req, head->subscription.topic, head->objects,
                         head->object_count, &notice);
    if (rc < 0) {
        return cannot_tell(sender, req, head, rc);
    }
    if (notice.object_count == 0) {
        rc = finish(sender, req, head, false);
        return rc < 0 ? rc : 1;
    }
    return deliver_notice(sender, req, head, &notice);
}

/* ---- the crowd ---- */

static size_t count_at(const SenderCrowd *crowd, Str server)
{
    size_t count = 0;
    for (const Sender *one = crowd->first; one != NULL; one = one->next) {
        count += str_equal(strbuf_str(&one->server), server);
    }
    return count;
}

/** @return whether there is room at the server */
static bool enter(Sender *sender, Str server)
{
    pthread_mutex_lock(&sender->crowd->lock);
    bool has_room = count_at(sender->crowd, server) < SENDERS_PER_SERVER;
    if (has_room) {
        strbuf_append(&sender->server, server);
    }
    pthread_mutex_unlock(&sender->crowd->lock);
    return has_room;
}

static void leave(Sender *sender)
{
    pthread_mutex_lock(&sender->crowd->lock);
    strbuf_clear(&sender->server);
    pthread_mutex_unlock(&sender->crowd->lock);
}

/** Binds the servers where there is no room now. */
static void bind_full(const Sender *sender, DbParams *params)
{
    Str servers[FULL_SERVERS_MAX];
    size_t count = 0;
    pthread_mutex_lock(&sender->crowd->lock);
    for (const Sender *one = sender->crowd->first; one != NULL; one = one->next) {
        Str server = strbuf_str(&one->server);
        if (count < FULL_SERVERS_MAX && server.len > 0 &&
            count_at(sender->crowd, server) >= SENDERS_PER_SERVER) {
            servers[count++] = str_dup(params->arena, server);
        }
    }
    pthread_mutex_unlock(&sender->crowd->lock);
    db_param_text_array(params, servers, count);
}

/* ---- turns ---- */

/** One notification with memory of its own. @return 1 done with, 0 nothing more now, negative */
static int step(Sender *sender, int64_t subscription)
{
    Request *req = request_new(DATABASE_TIMEOUT_MS);
    Head head;
    int rc = take_head(sender, req, subscription, &head);
    if (rc > 0) {
        rc = deliver(sender, req, &head);
    }
    request_free(req);
    return rc;
}

/** What waits for one subscription, in order, but not all at once if there is much, or if its
 * consumer takes its time.
 * @return how many notifications are done with; negative */
static int take_turn(Sender *sender, int64_t subscription)
{
    int64_t until_ns = clock_now_ns() + SLOW_NS;
    int count = 0;
    int rc;
    do {
        rc = step(sender, subscription);
        count += rc > 0;
    } while (rc > 0 && count < NOTIFICATIONS_PER_TURN && clock_now_ns() < until_ns &&
             worker_rest_until(&sender->worker, 0));
    forget_consumer(sender);
    return rc < 0 ? rc : count;
}

static int unlock(Sender *sender, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams none;
    db_params_init(&none, req->arena);
    int rc = db_acquire(sender->pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &give_locks, &none, NULL);
}

static int read_due(Sender *sender, Request *req, DbResult **ret_rows)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, DUE_MAX);
    bind_full(sender, &params);
    int rc = db_acquire(sender->pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &select_due, &params, ret_rows);
}

/** A turn at a server, if there is room. @return as take_turn() */
static int take_turn_at(Sender *sender, Request *req, Str server, int64_t subscription)
{
    if (!enter(sender, server)) {
        return 0;
    }
    int count = take_turn(sender, subscription);
    leave(sender);
    allow(req, DATABASE_TIMEOUT_MS * INT64_C(1000000));
    int unlocked = unlock(sender, req);
    return count < 0 || unlocked == 0 ? count : unlocked;
}

/** After a slow turn others may be due. @return whether there was something to do */
static bool take_turns(Sender *sender)
{
    Request *req = request_new(DATABASE_TIMEOUT_MS);
    DbResult *rows = NULL;
    int done = 0;
    bool is_slow = false;
    int rc = read_due(sender, req, &rows);
    for (int row = 0;
         rc == 0 && !is_slow && row < db_rows(rows) && worker_rest_until(&sender->worker, 0);
         row++) {
        int64_t began_ns = clock_now_ns();
        int count = take_turn_at(sender, req, db_text(rows, row, 1), db_i64(rows, row, 0));
        is_slow = clock_now_ns() - began_ns > SLOW_NS;
        rc = MIN(count, 0);
        done += MAX(count, 0);
    }
    request_free(req);
    return rc == 0 && (done > 0 || is_slow);
}

static void *sender_run(void *ctx)
{
    Sender *sender = ctx;
    int64_t pause_ns = 0;
    while (worker_rest_until(&sender->worker, clock_now_ns() + pause_ns)) {
        pause_ns = take_turns(sender) ? 0 : POLL_PAUSE_NS;
    }
    return NULL;
}

/* ---- life ---- */

static void join(Sender *sender, SenderCrowd *crowd)
{
    sender->crowd = crowd;
    pthread_mutex_lock(&crowd->lock);
    sender->next = crowd->first;
    crowd->first = sender;
    pthread_mutex_unlock(&crowd->lock);
}

static void part(Sender *sender)
{
    pthread_mutex_lock(&sender->crowd->lock);
    Sender **at = &sender->crowd->first;
    while (*at != sender) {
        at = &(*at)->next;
    }
    *at = sender->next;
    pthread_mutex_unlock(&sender->crowd->lock);
}

static void destroy(Sender *sender)
{
    part(sender);
    http_client_free(sender->http);
    db_pool_free(sender->pool);
    arena_free(sender->http_arena);
    strbuf_done(&sender->server);
    free(sender);
}

Sender *sender_new(Registry *registry, SenderCrowd *crowd, char *ret_problem, size_t problem_size)
{
    Sender *sender = HEAP_NEW(Sender);
    sender->registry = registry;
    sender->pool = db_pool_beside(registry->config.pool, 1);
    sender->http_arena = arena_new();
    join(sender, crowd);
    int rc = worker_start(&sender->worker, sender_run, sender);
    if (rc != 0) {
        (void)snprintf(ret_problem, problem_size, "no thread: %s", strerror(rc));
        destroy(sender);
        return NULL;
    }
    return sender;
}

void sender_wake(Sender *sender)
{
    worker_wake(&sender->worker);
}

void sender_ask_to_stop(Sender *sender)
{
    if (sender != NULL) {
        worker_ask_to_stop(&sender->worker);
    }
}

void sender_free(Sender *sender)
{
    if (sender != NULL) {
        worker_stop(&sender->worker);
        destroy(sender);
    }
}
