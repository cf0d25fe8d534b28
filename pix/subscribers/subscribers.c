#include "pix/subscribers/subscribers.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/base/url.h"
#include "pix/subscribers/subscribers_private.h"

#define START_TIMEOUT_MS 30000

static const struct {
    Str text;
    Str scheme;
    Str plain_scheme;
    const char *forms;
} kinds[SUBSCRIBER_KIND_COUNT] = {
#define SUBSCRIBER_KIND(name, kind, scheme, plain_scheme)                                          \
    {STR_INIT(kind), STR_INIT(scheme), STR_INIT(plain_scheme),                                     \
     (plain_scheme)[0] ? scheme "://HOST:PORT or, on this host, " plain_scheme "://127.0.0.1:PORT" \
                       : scheme "://HOST:PORT/PATH"},
#include "pix/subscribers/subscriber_kinds.def"
#undef SUBSCRIBER_KIND
};

/* ---- kinds ---- */

bool subscriber_kind_parse(Str text, SubscriberKind *ret_kind)
{
    for (size_t i = 0; i < SUBSCRIBER_KIND_COUNT; i++) {
        if (str_equal(text, kinds[i].text)) {
            *ret_kind = (SubscriberKind)i;
            return true;
        }
    }
    return false;
}

static bool is_loopback(Str host)
{
    return str_starts_with(host, STR("127.")) || str_equal(host, STR("::1")) ||
           str_equal(host, STR("localhost"));
}

bool subscriber_url_is_good(SubscriberKind kind, Str text)
{
    Url url;
    if (!url_parse(text, &url) || str_is_empty(url.port)) {
        return false;
    }
    bool is_plain =
        !str_is_empty(kinds[kind].plain_scheme) && str_equal(url.scheme, kinds[kind].plain_scheme);
    bool has_path = kind == SUBSCRIBER_CONSUMER_V3;
    return (is_plain ? is_loopback(url.host) : str_equal(url.scheme, kinds[kind].scheme)) &&
           (has_path || str_is_empty(url.path));
}

const char *subscriber_url_forms(SubscriberKind kind)
{
    return kinds[kind].forms;
}

/* ---- snapshot ---- */

static const DbStatement select_subscribers = {
    "subscribers_select",
    "SELECT id, kind, name, url, fingerprint, receiving_application, receiving_facility,"
    " authorities FROM identity_subscriber WHERE removed_at IS NULL ORDER BY id"};

Subscriber subscriber_copy(Arena *arena, const Subscriber *subscriber)
{
    Subscriber copy = *subscriber;
    int32_t *authorities = ARENA_ARRAY(arena, int32_t, copy.authority_count);
    for (size_t i = 0; i < copy.authority_count; i++) {
        authorities[i] = subscriber->authorities[i];
    }
    copy.authorities = authorities;
    copy.name = str_dup(arena, copy.name);
    copy.url = str_dup(arena, copy.url);
    copy.fingerprint = str_dup(arena, copy.fingerprint);
    copy.receiving_application = str_dup(arena, copy.receiving_application);
    copy.receiving_facility = str_dup(arena, copy.receiving_facility);
    return copy;
}

/** Rows of a kind that this version does not know are left out. */
static SubscriberList read_rows(const DbResult *rows)
{
    Arena *arena = arena_new();
    Subscriber *items = ARENA_ARRAY(arena, Subscriber, (size_t)db_rows(rows));
    SubscriberList list = {arena, items, 0};
    for (int row = 0; row < db_rows(rows); row++) {
        SubscriberKind kind = SUBSCRIBER_KIND_COUNT;
        int32_t *authorities = NULL;
        size_t authority_count = db_i32_array(rows, row, 7, arena, &authorities);
        if (!subscriber_kind_parse(db_text(rows, row, 1), &kind)) {
            continue;
        }
        const Subscriber borrowed = {
            .id = db_i32(rows, row, 0),
            .kind = kind,
            .name = db_text(rows, row, 2),
            .url = db_text(rows, row, 3),
            .fingerprint = db_text(rows, row, 4),
            .receiving_application = db_text(rows, row, 5),
            .receiving_facility = db_text(rows, row, 6),
            .authorities = authorities,
            .authority_count = authority_count,
        };
        items[list.count++] = subscriber_copy(arena, &borrowed);
    }
    return list;
}

static bool is_same(const Subscriber *one, const Subscriber *other)
{
    return one->id == other->id && str_equal(one->url, other->url) &&
           str_equal(one->fingerprint, other->fingerprint);
}

/** The thread of a subscriber that is reached as before goes on. */
static NotificationSender *take_sender(Subscribers *subscribers, const Subscriber *subscriber)
{
    for (size_t i = 0; i < subscribers->list.count; i++) {
        NotificationSender *sender = subscribers->senders[i];
        if (is_same(&subscribers->list.items[i], subscriber)) {
            subscribers->senders[i] = NULL;
            return sender;
        }
    }
    return NULL;
}

static NotificationSender *start_sender(Subscribers *subscribers, const Subscriber *subscriber)
{
    char problem[512];
    NotificationSender *sender =
        notification_sender_new(subscribers, subscriber, problem, sizeof(problem));
    if (!sender) {
        _cleanup_(arena_freep) Arena *arena = arena_new();
        log_warn("event=subscriber_failing subscriber=%s detail=%s",
                 log_quote(arena, subscriber->name), log_quote(arena, str_from(problem)));
    }
    return sender;
}

static size_t count_kind(const SubscriberList *list, bool is_registry)
{
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        count += (list->items[i].kind == SUBSCRIBER_REGISTRY) == is_registry;
    }
    return count;
}

static void stop_senders(NotificationSender **senders, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        notification_sender_ask_to_stop(senders[i]);
    }
    for (size_t i = 0; i < count; i++) {
        notification_sender_free(senders[i]);
    }
}

static bool is_changed(const SubscriberList *list, const SubscriberList *other)
{
    bool is_equal = list->count == other->count;
    for (size_t i = 0; is_equal && i < list->count; i++) {
        const Subscriber *a = &list->items[i];
        const Subscriber *b = &other->items[i];
        is_equal = is_same(a, b) && str_equal(a->receiving_application, b->receiving_application) &&
                   str_equal(a->receiving_facility, b->receiving_facility) &&
                   a->authority_count == b->authority_count &&
                   memcmp(a->authorities, b->authorities,
                          a->authority_count * sizeof(*a->authorities)) == 0;
    }
    return !is_equal;
}

/** Takes over a new list; threads of who left are ended outside of the lock. */
static void replace_list(Subscribers *subscribers, SubscriberList list)
{
    NotificationSender **senders = ARENA_ARRAY(list.arena, NotificationSender *, list.count);
    pthread_mutex_lock(&subscribers->lock);
    for (size_t i = 0; subscribers->config.is_sending && i < list.count; i++) {
        senders[i] = take_sender(subscribers, &list.items[i]);
        if (!senders[i]) {
            senders[i] = start_sender(subscribers, &list.items[i]);
        }
    }
    SubscriberList old_list = subscribers->list;
    NotificationSender **old_senders = subscribers->senders;
    subscribers->list = list;
    subscribers->senders = senders;
    atomic_store(&subscribers->consumer_count, count_kind(&list, false));
    atomic_store(&subscribers->registry_count, count_kind(&list, true));
    pthread_mutex_unlock(&subscribers->lock);
    stop_senders(old_senders, old_list.count);
    arena_free(old_list.arena);
}

int subscribers_refresh(Subscribers *subscribers, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *rows = NULL;
    int rc = db_acquire(subscribers->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_subscribers, NULL, &rows);
    if (rc < 0) {
        return rc;
    }
    /* only this thread replaces the list, so it may be read without the lock */
    SubscriberList list = read_rows(rows);
    if (subscribers->list.arena && !is_changed(&subscribers->list, &list)) {
        arena_free(list.arena);
    } else {
        replace_list(subscribers, list);
    }
    return 0;
}

Subscribers *subscribers_new(const SubscribersConfig *config, char *ret_problem,
                             size_t problem_size)
{
    Subscribers *subscribers = HEAP_NEW(Subscribers);
    subscribers->config = *config;
    pthread_mutex_init(&subscribers->lock, NULL);
    pthread_mutex_init(&subscribers->announced_lock, NULL);
    thread_condition_init(&subscribers->announced);
    Request *req = request_new(START_TIMEOUT_MS);
    bool is_read = subscribers_refresh(subscribers, req) == 0;
    request_free(req);
    if (!is_read) {
        (void)snprintf(ret_problem, problem_size, "the subscribers cannot be read: %s",
                       db_last_failure());
        subscribers_free(subscribers);
        return NULL;
    }
    return subscribers;
}

void subscribers_free(Subscribers *subscribers)
{
    if (!subscribers) {
        return;
    }
    stop_senders(subscribers->senders, subscribers->list.count);
    arena_free(subscribers->list.arena);
    pthread_cond_destroy(&subscribers->announced);
    pthread_mutex_destroy(&subscribers->announced_lock);
    pthread_mutex_destroy(&subscribers->lock);
    free(subscribers);
}

bool subscribers_has_consumers(const Subscribers *subscribers)
{
    return subscribers && atomic_load(&subscribers->consumer_count) > 0;
}

bool subscribers_has_registries(const Subscribers *subscribers)
{
    return subscribers && atomic_load(&subscribers->registry_count) > 0;
}

static const DbStatement count_notifications = {
    "subscribers_count", "SELECT (SELECT count(*) FROM (SELECT FROM identity_notification"
                         "  WHERE refused_at IS NULL LIMIT 100000) q),"
                         " (SELECT count(*) FROM (SELECT FROM identity_notification"
                         "  WHERE refused_at IS NOT NULL LIMIT 100000) r)"};

int subscribers_counts(Subscribers *subscribers, Request *req, NotificationCounts *ret_counts)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbResult *rows = NULL;
    int rc = db_acquire(subscribers->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &count_notifications, NULL, &rows);
    if (rc == 0) {
        *ret_counts = (NotificationCounts){db_i64(rows, 0, 0), db_i64(rows, 0, 1)};
    }
    return rc;
}

SubscriberList subscribers_hold(Subscribers *subscribers, Arena *arena, bool is_registry)
{
    pthread_mutex_lock(&subscribers->lock);
    const SubscriberList *list = &subscribers->list;
    Subscriber *items = ARENA_ARRAY(arena, Subscriber, list->count);
    SubscriberList held = {arena, items, 0};
    for (size_t i = 0; i < list->count; i++) {
        if ((list->items[i].kind == SUBSCRIBER_REGISTRY) == is_registry) {
            items[held.count++] = subscriber_copy(arena, &list->items[i]);
        }
    }
    pthread_mutex_unlock(&subscribers->lock);
    return held;
}

void subscribers_wake(Subscribers *subscribers)
{
    pthread_mutex_lock(&subscribers->lock);
    for (size_t i = 0; i < subscribers->list.count; i++) {
        notification_sender_wake(subscribers->senders[i]);
    }
    pthread_mutex_unlock(&subscribers->lock);
}
