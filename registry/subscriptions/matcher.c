#include "registry/subscriptions/matcher.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "registry/load.h"
#include "registry/subscriptions/stored_subscription.h"
#include "registry/subscriptions/suspension.h"
#include "registry/uuid_set.h"

#define DATABASE_TIMEOUT_MS 30000
#define POLL_PAUSE_NS INT64_C(200000000)
#define FAILURE_PAUSE_NS INT64_C(1000000000)
#define SUSPEND_PAUSE_NS INT64_C(5000000000)
/** Of one transaction: so many, and no further one once it has lasted this long. */
#define EVENTS_MAX 64
#define ROUND_NS INT64_C(1000000000)
/** That are in memory at a time. */
#define SUBSCRIPTIONS_AT_ONCE ((size_t)100)
/** Of one notification: a Notify stays within what recipients read. */
#define OBJECTS_PER_NOTIFICATION ((size_t)500)

/** Key of the lock of the process that matches. */
#define MATCHER_LOCK "6004000000000000000"

struct Matcher {
    Registry *registry;
    void (*queued)(void *ctx);
    void *ctx;
    DbPool *pool; /* one connection, whose session has the lock */
    Worker worker;
    bool is_failing;
    int64_t suspend_at_ns; /* when it is looked next for what nobody takes */
};

/** One round: a transaction. */
typedef struct Round {
    Matcher *matcher;
    Request *req;
    DbConn *conn;
    size_t queued; /* notifications */
    bool has_more; /* events that wait for the next round */
} Round;

/** What a subscriber may know is decided when it is told. */
static const Principal matching = {.may_do_everything = true};

typedef struct Event {
    int64_t id;
    Uuid submission_set;
} Event;

/* ---- SQL ---- */

/* Of the session, as the lock of a sender (pix/subscribers). */
static const DbStatement take_lock = {"subscription_matcher_lock",
                                      "SELECT pg_try_advisory_lock(" MATCHER_LOCK ")"};

static const DbStatement delete_ended = {"subscription_delete_ended",
                                         "DELETE FROM subscription WHERE ends_at <= now()"};

static const DbStatement select_events = {
    "subscription_event_select",
    "SELECT e.id, e.submission_set, s.patient FROM subscription_event e"
    " LEFT JOIN submission_set s ON s.entry_uuid = e.submission_set ORDER BY e.id LIMIT $1::int4"};

/* What comes after the subscription, by the sequence that both draw from. Nothing for one that is
 * suspended (suspension.h). */
static const DbStatement select_candidates = {
    "subscription_candidates", "SELECT s.id FROM subscription s"
                               " WHERE s.patient = ANY (ARRAY['', $1::text]) AND s.id < $2::int8"
                               " AND (s.ends_at IS NULL OR s.ends_at > now())"
                               " AND s.next_at < 'infinity' ORDER BY s.id"};

static const DbStatement select_subscriptions = {
    "subscription_read_some", "SELECT " SUBSCRIPTION_COLUMNS " FROM subscription s"
                              " WHERE s.id = ANY ($1::int8[]) ORDER BY s.id"};

/* One that is being unsubscribed is waited for, and then gone. */
static const DbStatement insert_notification = {
    "subscription_notification_insert",
    "INSERT INTO subscription_notification (subscription, event, part, message_id, objects)"
    " SELECT id, $2::int8, $3::int4, $4::uuid, $5::uuid[] FROM subscription WHERE id = $1::int8"
    " FOR KEY SHARE"};

static const DbStatement delete_events = {
    "subscription_event_delete", "DELETE FROM subscription_event WHERE id = ANY ($1::int8[])"};

/* ---- one event and one subscription ---- */

static int add_match(void *ctx, Request *req UNUSED, const LoadedObject *object)
{
    uuid_set_add(ctx, object->entry_uuid);
    return 0;
}

/** The objects of the event that match the filter: the statement of a stored query, over these
 * objects alone (TF-2 3.52.5.2). */
static int find_matches(const Round *round, Request *req, const Event *event,
                        const SubscriptionFilter *filter, UuidSet *ret_matches)
{
    LoadFilters *filters = NULL;
    const LoadKeys keys = {.uuids = &event->submission_set, .count = 1};
    bool is_set = topic_objects(filter->topic) == OBJECT_SUBMISSION_SET;
    int rc =
        load_filters_new(round->matcher->registry, req, round->conn, filter->request, &filters);
    rc = rc < 0 ? rc
                : load_objects(round->conn, req,
                               is_set ? LOAD_SUBMISSION_SETS_OF_EVENT : LOAD_DOCUMENTS_OF_EVENT,
                               &keys, filters, false, add_match, ret_matches);
    uuid_set_close(ret_matches);
    return rc;
}

static int queue_notification(Round *round, Request *req, int64_t subscription, const Event *event,
                              int32_t part, const Uuid *objects, size_t count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, subscription);
    db_param_i64(&params, event->id);
    db_param_i32(&params, part);
    db_param_uuid(&params, uuid_new());
    db_param_uuid_array(&params, objects, count);
    round->queued++;
    return db_exec(round->conn, req, &insert_notification, &params, NULL);
}

static void log_unmatched(int64_t subscription, const char *problem)
{
    log_warn("event=subscription_unmatched subscription=%lld problem=\"%s\"",
             (long long)subscription, problem);
}

/** What cannot be judged of one subscription holds up no other. @return negative: the database */
static int match(Round *round, Request *req, const Event *event,
                 const StoredSubscription *subscription)
{
    SubscriptionFilter filter;
    UuidSet matches;
    ErrorList before = req->errors;
    uuid_set_init(&matches, req->arena);
    if (subscription->topic == TOPIC_COUNT ||
        subscription_filter_restore(req, subscription->topic, subscription->filter, &filter) < 0) {
        error_list_rewind(&req->errors, &before);
        log_unmatched(subscription->id, "its filter is of another version of this program");
        return 0;
    }
    int rc = find_matches(round, req, event, &filter, &matches);
    if (rc == -(int)ERR_XDS_REGISTRY_ERROR) {
        error_list_rewind(&req->errors, &before);
        log_unmatched(subscription->id, "stored metadata cannot be read");
        return 0;
    }
    for (size_t at = 0; rc == 0 && at < matches.count; at += OBJECTS_PER_NOTIFICATION) {
        rc =
            queue_notification(round, req, subscription->id, event, (int32_t)at, matches.items + at,
                               MIN(OBJECTS_PER_NOTIFICATION, matches.count - at));
    }
    return rc;
}

/* ---- rounds ---- */

/** Memory and time of its own, for there may be very many. */
static Request *request_for_some(void)
{
    Request *req = request_new(DATABASE_TIMEOUT_MS);
    req->principal = &matching;
    return req;
}

static int match_some(Round *round, const Event *event, const int64_t *ids, size_t count)
{
    DbParams params;
    DbResult *rows = NULL;
    Request *req = request_for_some();
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, ids, count);
    int rc = db_exec(round->conn, req, &select_subscriptions, &params, &rows);
    for (int row = 0; rc == 0 && row < db_rows(rows); row++) {
        const StoredSubscription subscription = stored_subscription_read(req->arena, rows, row);
        rc = match(round, req, event, &subscription);
    }
    request_free(req);
    return rc;
}

static int match_all(Round *round, Request *req, const Event *event, Str patient)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, patient);
    db_param_i64(&params, event->id);
    int rc = db_exec(round->conn, req, &select_candidates, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    size_t count = (size_t)db_rows(rows);
    int64_t *ids = ARENA_ARRAY(req->arena, int64_t, count);
    for (size_t i = 0; i < count; i++) {
        ids[i] = db_i64(rows, (int)i, 0);
    }
    for (size_t at = 0; rc == 0 && at < count; at += SUBSCRIPTIONS_AT_ONCE) {
        rc = match_some(round, event, ids + at, MIN(SUBSCRIPTIONS_AT_ONCE, count - at));
    }
    return rc;
}

/** @param patient  the CX that filters name; empty: nobody's */
static int match_event(Round *round, const Event *event, Str patient)
{
    Request *req = request_for_some();
    int rc = match_all(round, req, event, patient);
    request_free(req);
    return rc;
}

/** CX of the patients of these events; empty for a SubmissionSet that is gone. */
static int name_patients(const Round *round, const DbResult *events, Str **ret_patients)
{
    Arena *arena = round->req->arena;
    size_t count = (size_t)db_rows(events);
    int64_t *ids = ARENA_ARRAY(arena, int64_t, count);
    size_t *rows = ARENA_ARRAY(arena, size_t, count);
    int64_t *survivors = ARENA_ARRAY(arena, int64_t, count);
    Str *identifiers = ARENA_ARRAY(arena, Str, count);
    Str *patients = ARENA_ARRAY(arena, Str, count);
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
        patients[i] = STR_EMPTY;
        if (!db_is_null(events, (int)i, 2)) {
            rows[known] = i;
            ids[known++] = db_i64(events, (int)i, 2);
        }
    }
    const PatientDirectory *directory = round->matcher->registry->config.patients;
    int rc = known == 0 ? 0
                        : directory->identifiers(directory->ctx, round->req, round->conn, ids,
                                                 known, identifiers, survivors);
    for (size_t i = 0; rc == 0 && i < known; i++) {
        patients[rows[i]] = identifiers[i];
    }
    *ret_patients = patients;
    return rc;
}

/** @return how many events are done with, or negative */
static int match_events(Round *round)
{
    DbParams params;
    DbResult *rows = NULL;
    Str *patients = NULL;
    db_params_init(&params, round->req->arena);
    db_param_i32(&params, EVENTS_MAX);
    int rc = db_exec(round->conn, round->req, &select_events, &params, &rows);
    rc = rc < 0 ? rc : name_patients(round, rows, &patients);
    if (rc < 0 || db_rows(rows) == 0) {
        return rc;
    }
    int64_t *ids = ARENA_ARRAY(round->req->arena, int64_t, (size_t)db_rows(rows));
    int count = 0;
    int64_t until_ns = clock_now_ns() + ROUND_NS;
    while (rc == 0 && count < db_rows(rows) && (count == 0 || clock_now_ns() < until_ns)) {
        const Event event = {.id = db_i64(rows, count, 0),
                             .submission_set = db_uuid(rows, count, 1)};
        rc = match_event(round, &event, patients[count]);
        ids[count++] = event.id;
    }
    round->has_more = count < db_rows(rows) || count == EVENTS_MAX;
    round->req->deadline_ns = clock_now_ns() + DATABASE_TIMEOUT_MS * INT64_C(1000000);
    db_params_init(&params, round->req->arena);
    db_param_i64_array(&params, ids, (size_t)count);
    rc = rc < 0 ? rc : db_queue(round->conn, round->req, &delete_events, &params);
    fail_point("subscription.matched");
    rc = rc < 0 ? rc : db_commit(round->conn, round->req, NULL);
    return rc < 0 ? rc : count;
}

/** @return how many events are done with, 0 also if another process matches; negative */
static int run_round(Round *round)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *results[3] = {NULL, NULL, NULL};
    DbParams none;
    db_params_init(&none, round->req->arena);
    int rc = db_acquire(round->matcher->pool, round->req, &conn);
    rc = rc < 0 ? rc : db_queue(conn, round->req, &take_lock, &none);
    rc = rc < 0 ? rc : db_sync(conn, round->req, results);
    if (rc < 0 || !db_bool(results[0], 0, 0)) {
        return rc;
    }
    round->conn = conn;
    rc = db_exec(conn, round->req, &delete_ended, &none, NULL);
    rc = rc < 0 ? rc : db_queue_begin(conn, round->req);
    rc = rc < 0 ? rc : db_sync(conn, round->req, NULL);
    return rc < 0 ? rc : match_events(round);
}

static void log_change(Matcher *matcher, bool fails)
{
    if (fails != matcher->is_failing) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        if (fails) {
            log_warn("event=subscriptions_failing detail=%s",
                     log_quote(arena, str_from(db_last_failure())));
        } else {
            log_info("event=subscriptions_recovered");
        }
    }
    matcher->is_failing = fails;
}

/** Now and then. @return negative: the database */
static int suspend(Matcher *matcher)
{
    if (clock_now_ns() < matcher->suspend_at_ns) {
        return 0;
    }
    Request *req = request_new(DATABASE_TIMEOUT_MS);
    int rc = subscriptions_suspend(matcher->registry, req, matcher->pool);
    request_free(req);
    matcher->suspend_at_ns = clock_now_ns() + SUSPEND_PAUSE_NS;
    return rc;
}

static void *matcher_run(void *ctx)
{
    Matcher *matcher = ctx;
    int64_t pause_ns = 0;
    while (worker_rest_until(&matcher->worker, clock_now_ns() + pause_ns)) {
        Request *req = request_new(DATABASE_TIMEOUT_MS);
        req->principal = &matching;
        Round round = {.matcher = matcher, .req = req};
        int rc = run_round(&round);
        request_free(req);
        int suspended = rc < 0 ? rc : suspend(matcher);
        log_change(matcher, suspended < 0);
        pause_ns = rc < 0 ? FAILURE_PAUSE_NS : round.has_more ? 0 : POLL_PAUSE_NS;
        if (rc > 0 && round.queued > 0) {
            matcher->queued(matcher->ctx);
        }
    }
    return NULL;
}

/* ---- life ---- */

Matcher *matcher_new(Registry *registry, void (*queued)(void *ctx), void *ctx, char *ret_problem,
                     size_t problem_size)
{
    Matcher *matcher = HEAP_NEW(Matcher);
    *matcher = (Matcher){.registry = registry,
                         .queued = queued,
                         .ctx = ctx,
                         .pool = db_pool_beside(registry->config.pool, 1)};
    int rc = worker_start(&matcher->worker, matcher_run, matcher);
    if (rc != 0) {
        (void)snprintf(ret_problem, problem_size, "no thread: %s", strerror(rc));
        db_pool_free(matcher->pool);
        free(matcher);
        return NULL;
    }
    return matcher;
}

void matcher_ask_to_stop(Matcher *matcher)
{
    if (matcher != NULL) {
        worker_ask_to_stop(&matcher->worker);
    }
}

void matcher_free(Matcher *matcher)
{
    if (matcher != NULL) {
        worker_stop(&matcher->worker);
        db_pool_free(matcher->pool);
        free(matcher);
    }
}
