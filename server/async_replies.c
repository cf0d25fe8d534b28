#include "server/async_replies.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/soap/http_client.h"
#include "server/kept_reply.h"
#include "server/metrics.h"

#define SENDERS 8
/** A node whose addresses hang leaves threads to the others. */
#define SENDING_PER_NODE 2
#define SECOND_NS INT64_C(1000000000)
#define BACKOFF_MAX_S 60
#define CONNECT_TIMEOUT_MS 10000
#define ATTEMPT_MS 30000
/** A receiver that takes less is too slow. */
#define LEAST_BYTES_PER_MS 256
#define DRAIN_NS (10 * SECOND_NS)
#define PROBLEM_BYTES 400

typedef enum State { RESERVED, WAITING, SENDING } State;

struct AsyncReply {
    AsyncReplies *owner;
    AsyncReply *next;
    State state;
    int32_t node_id;
    KeptReply content;
    Request *of; /* what audit and journal ask of its request; the next two are in its arena */
    Str address;
    const char *content_type;
    unsigned attempts;
    int64_t posted_ns;
    int64_t due_ns;
    HttpClient *client; /* while it is sent */
};

struct AsyncReplies {
    AsyncRepliesConfig config;
    SpillRoom room;
    pthread_mutex_t lock; /* guards what follows, and state, due_ns and client of each reply */
    pthread_cond_t changed;
    AsyncReply *first; /* in the order of their requests */
    unsigned count;
    uint64_t delivered, repeated, lost, refused; /* since the start */
    bool is_draining;                            /* each is offered once more */
    bool is_stopping;
    pthread_t threads[SENDERS];
};

/* ---- places ---- */

static unsigned count_of_node(const AsyncReplies *replies, int32_t node_id, State least)
{
    unsigned count = 0;
    for (const AsyncReply *one = replies->first; one; one = one->next) {
        count += one->node_id == node_id && one->state >= least;
    }
    return count;
}

int async_reply_reserve(AsyncReplies *replies, Request *req, AsyncReply **ret_place)
{
    AsyncReply *place = HEAP_NEW(AsyncReply);
    *place = (AsyncReply){.owner = replies, .node_id = req->principal->node_id};
    pthread_mutex_lock(&replies->lock);
    unsigned max = replies->config.max_waiting;
    bool is_full = replies->count >= max ||
                   count_of_node(replies, place->node_id, RESERVED) >= MAX(max / 4, 1U);
    if (is_full) {
        replies->refused++;
    } else {
        AsyncReply **end = &replies->first;
        while (*end) {
            end = &(*end)->next;
        }
        *end = place;
        replies->count++;
    }
    pthread_mutex_unlock(&replies->lock);
    if (is_full) {
        free(place);
        return error_add(&req->errors, ERR_XDS_REGISTRY_BUSY, "wsa:ReplyTo",
                         "too many asynchronous replies wait to be taken; take those of earlier "
                         "requests, ask again later, or ask for a reply on the connection");
    }
    *ret_place = place;
    return 0;
}

static void leave(AsyncReply *place)
{
    AsyncReplies *replies = place->owner;
    AsyncReply **at = &replies->first;
    while (*at != place) {
        at = &(*at)->next;
    }
    *at = place->next;
    replies->count--;
    pthread_cond_broadcast(&replies->changed);
}

static void place_free(AsyncReply *place)
{
    kept_reply_drop(&place->content);
    request_free(place->of);
    free(place);
}

void async_reply_give_up(AsyncReply *place)
{
    if (!place) {
        return;
    }
    pthread_mutex_lock(&place->owner->lock);
    leave(place);
    pthread_mutex_unlock(&place->owner->lock);
    place_free(place);
}

int async_reply_fill(AsyncReply *place, Request *req, BodySource *source)
{
    return kept_reply_make(&place->content, req, &place->owner->room, source);
}

static const Principal *copy_principal(Arena *arena, const Principal *from)
{
    Principal *copy = ARENA_NEW(arena, Principal);
    *copy = (Principal){
        .node_id = from->node_id,
        .node_name = str_dup(arena, from->node_name),
        .facility_id = from->facility_id,
        .facility_name = str_dup(arena, from->facility_name),
        .certificate_subject = str_dup(arena, from->certificate_subject),
        .certificate_fingerprint = str_dup(arena, from->certificate_fingerprint),
    };
    return copy;
}

/** What outlives the request of it. */
static Request *copy_request(const Request *req)
{
    Request *copy = request_new(0);
    Arena *arena = copy->arena;
    memcpy(copy->ref, req->ref, sizeof(copy->ref));
    copy->transaction = req->transaction;
    copy->principal = copy_principal(arena, req->principal);
    copy->message_id = str_dup(arena, req->message_id);
    copy->peer_address = str_dup(arena, req->peer_address);
    copy->endpoint = str_dup(arena, req->endpoint);
    copy->reply_to = str_dup(arena, req->reply_to);
    copy->is_repository = req->is_repository;
    return copy;
}

void async_reply_post(AsyncReply *place, const Request *req, Str address, const char *content_type)
{
    AsyncReplies *replies = place->owner;
    place->of = copy_request(req);
    place->address = str_dup(place->of->arena, address);
    place->content_type = str_cstr(place->of->arena, str_from(content_type));
    place->posted_ns = clock_now_ns();
    pthread_mutex_lock(&replies->lock);
    place->due_ns = place->posted_ns;
    place->state = WAITING;
    pthread_cond_broadcast(&replies->changed);
    pthread_mutex_unlock(&replies->lock);
}

/* ---- one attempt ---- */

/** What the other side answers; its body is of no interest. */
typedef struct Answer {
    int status; /* 0: none yet */
} Answer;

static int answer_begin(void *ctx, int status, Str content_type)
{
    Answer *answer = ctx;
    (void)content_type;
    answer->status = status;
    return 0;
}

static int answer_bytes(void *ctx, const void *bytes, size_t len)
{
    (void)ctx;
    (void)bytes;
    (void)len;
    return 0;
}

typedef enum Verdict { TAKEN, AGAIN, NEVER } Verdict;

/** Redirects are not followed. What the receiver says of our message will not change; that there
 * is nothing at the address may. */
static Verdict verdict_of(int status)
{
    bool may_change = status == 0 || status == 404 || status == 408 || status == 429;
    return status >= 200 && status < 300                  ? TAKEN
           : status >= 300 && status < 500 && !may_change ? NEVER
                                                          : AGAIN;
}

static void set_client(AsyncReply *reply, HttpClient *client)
{
    pthread_mutex_lock(&reply->owner->lock);
    reply->client = client;
    if (client && reply->owner->is_stopping) {
        http_client_interrupt(client);
    }
    pthread_mutex_unlock(&reply->owner->lock);
}

static Verdict exchange(AsyncReply *reply, HttpClient *client, Request *req, Str *ret_problem)
{
    KeptReplyReader reader;
    const BodySource source = kept_reply_source(&reader, &reply->content);
    const HttpMessage message = {
        .content_type = reply->content_type,
        .source = &source,
        .source_bytes = (int64_t)kept_reply_bytes(&reply->content),
    };
    Answer answer = {0};
    const HttpReceiver receiver = {&answer, answer_begin, answer_bytes};
    HttpReply ignored;
    set_client(reply, client);
    int rc = http_client_send(client, req, &message, &receiver, &ignored, ret_problem);
    set_client(reply, NULL);
    if (rc == 0 || answer.status > 0) {
        *ret_problem = str_printf(req->arena, "HTTP status %d", answer.status);
    }
    return verdict_of(answer.status);
}

/** The address is looked up each time: its registration may have been removed. */
static Verdict attempt(AsyncReply *reply, Request *req, Str *ret_problem)
{
    const AsyncRepliesConfig *config = &reply->owner->config;
    Str fingerprint;
    char problem[PROBLEM_BYTES];
    if (!node_directory_may_send_to(config->nodes, req->arena, reply->node_id, reply->address,
                                    &fingerprint, ret_problem)) {
        return NEVER;
    }
    const HttpClientConfig http = {
        .url = str_cstr(req->arena, reply->address),
        .tls = config->tls,
        .fingerprint = str_cstr(req->arena, fingerprint),
        .may_be_plain = true, /* to loopback, as the directory says */
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
    };
    if (!config->tls && str_starts_with(reply->address, STR("https:"))) {
        *ret_problem = STR("this server has no certificate ([server] tls_certificate)");
        return NEVER;
    }
    HttpClient *client = http_client_new(&http, problem, sizeof(problem));
    if (!client) {
        *ret_problem = str_dup(req->arena, str_from(problem));
        return NEVER;
    }
    Verdict verdict = exchange(reply, client, req, ret_problem);
    http_client_free(client);
    return verdict;
}

/* ---- what becomes of it ---- */

/** A line for musubi trace. Of the address only what stands before its query. */
static void note(const AsyncReply *reply, Arena *arena, const char *outcome, Str problem)
{
    const Request *of = reply->of;
    Str shown = str_slice(reply->address, 0, str_find_char(reply->address, '?'));
    Str line = str_printf(
        arena, "ref=%s tx=%s node=%s reply=%s attempts=%u ms=%.1f out=%lu address=%s id=%s%s%s",
        of->ref, of->transaction, log_quote(arena, of->principal->node_name), outcome,
        reply->attempts, (double)(clock_now_ns() - reply->posted_ns) / 1e6,
        kept_reply_bytes(&reply->content), log_quote(arena, shown),
        log_quote(arena, of->message_id), str_is_empty(problem) ? "" : " problem=",
        str_is_empty(problem) ? "" : log_quote(arena, problem));
    journal_note(reply->owner->config.journal, line);
}

/** The requester was told that the reply comes (HTTP 202), and it does not. */
static void record_lost(const AsyncReply *reply, Str problem)
{
    Request *req = reply->of;
    const AuditEvent event = {
        .type = AUDIT_UNDELIVERED_REPLY,
        .outcome = 8,
        .outcome_text = str_printf(req->arena, "%s: %.*s, reference %s", req->transaction,
                                   STR_ARG(problem), req->ref),
        .remote_endpoint = reply->address,
    };
    req->deadline_ns = clock_now_ns() + ATTEMPT_MS * INT64_C(1000000);
    (void)!audit_record_event(reply->owner->config.audit, req, &event); /* nothing is given out */
}

/** @param verdict  AGAIN while there is time for it */
static void settle(AsyncReply *reply, Verdict verdict, Str problem)
{
    static const char *const names[] = {"delivered", "waits", "lost"};
    AsyncReplies *replies = reply->owner;
    _cleanup_(arena_freep) Arena *arena = arena_new();
    if (verdict != AGAIN || reply->attempts == 1) {
        note(reply, arena, names[verdict], verdict == TAKEN ? STR_EMPTY : problem);
    }
    if (verdict == NEVER) {
        record_lost(reply, problem);
    }
    pthread_mutex_lock(&replies->lock);
    replies->delivered += verdict == TAKEN;
    replies->repeated += verdict == AGAIN;
    replies->lost += verdict == NEVER;
    reply->state = WAITING;
    if (verdict != AGAIN) {
        leave(reply);
    }
    pthread_cond_broadcast(&replies->changed);
    pthread_mutex_unlock(&replies->lock);
    if (verdict != AGAIN) {
        place_free(reply);
    }
}

static void send_once(AsyncReply *reply, bool is_last)
{
    const AsyncRepliesConfig *config = &reply->owner->config;
    uint64_t transfer_ms = kept_reply_bytes(&reply->content) / LEAST_BYTES_PER_MS;
    Request *req = request_new(ATTEMPT_MS + (unsigned)MIN(transfer_ms, UINT64_C(3600000)));
    Str problem = STR_EMPTY;
    Verdict verdict = attempt(reply, req, &problem);
    int64_t backoff_s = MIN(INT64_C(1) << MIN(reply->attempts, 10U), BACKOFF_MAX_S);
    int64_t due_ns = clock_now_ns() + backoff_s * SECOND_NS;
    reply->attempts++;
    if (verdict == AGAIN &&
        (is_last || due_ns - reply->posted_ns > (int64_t)config->retry_for_ms * 1000000)) {
        verdict = NEVER;
    }
    pthread_mutex_lock(&reply->owner->lock);
    reply->due_ns = due_ns;
    pthread_mutex_unlock(&reply->owner->lock);
    settle(reply, verdict, problem);
    request_free(req);
}

/* ---- threads ---- */

/** The first reply that may be sent now. @param ret_due_ns  else when to look again */
static AsyncReply *next_due(const AsyncReplies *replies, int64_t *ret_due_ns)
{
    int64_t now_ns = clock_now_ns();
    *ret_due_ns = now_ns + BACKOFF_MAX_S * SECOND_NS;
    for (AsyncReply *one = replies->first; one; one = one->next) {
        bool is_due = one->due_ns <= now_ns || replies->is_draining;
        if (one->state == WAITING && is_due &&
            count_of_node(replies, one->node_id, SENDING) < SENDING_PER_NODE) {
            return one;
        }
        if (one->state == WAITING && !is_due) {
            *ret_due_ns = MIN(*ret_due_ns, one->due_ns);
        }
    }
    return NULL;
}

static void *run(void *ctx)
{
    AsyncReplies *replies = ctx;
    pthread_mutex_lock(&replies->lock);
    while (!replies->is_stopping) {
        int64_t due_ns;
        AsyncReply *reply = next_due(replies, &due_ns);
        if (!reply) {
            (void)thread_wait_until(&replies->changed, &replies->lock, due_ns);
            continue;
        }
        bool is_last = replies->is_draining;
        reply->state = SENDING;
        pthread_mutex_unlock(&replies->lock);
        send_once(reply, is_last);
        pthread_mutex_lock(&replies->lock);
    }
    pthread_mutex_unlock(&replies->lock);
    return NULL;
}

AsyncReplies *async_replies_new(const AsyncRepliesConfig *config)
{
    AsyncReplies *replies = HEAP_NEW(AsyncReplies);
    replies->config = *config;
    replies->room.directory = config->spill_directory;
    replies->room.limit_bytes = config->spill_bytes;
    pthread_mutex_init(&replies->lock, NULL);
    thread_condition_init(&replies->changed);
    for (size_t i = 0; i < SENDERS; i++) {
        if (thread_start(&replies->threads[i], run, replies) != 0) {
            abort();
        }
    }
    return replies;
}

/** Whoever is still sending afterwards is interrupted. */
static void drain(AsyncReplies *replies)
{
    int64_t until_ns = clock_now_ns() + DRAIN_NS;
    pthread_mutex_lock(&replies->lock);
    replies->is_draining = true;
    pthread_cond_broadcast(&replies->changed);
    while (replies->first && clock_now_ns() < until_ns) {
        (void)thread_wait_until(&replies->changed, &replies->lock, until_ns);
    }
    replies->is_stopping = true;
    for (AsyncReply *one = replies->first; one; one = one->next) {
        if (one->client) {
            http_client_interrupt(one->client);
        }
    }
    pthread_cond_broadcast(&replies->changed);
    pthread_mutex_unlock(&replies->lock);
}

void async_replies_free(AsyncReplies *replies)
{
    if (!replies) {
        return;
    }
    drain(replies);
    for (size_t i = 0; i < SENDERS; i++) {
        (void)pthread_join(replies->threads[i], NULL);
    }
    while (replies->first) {
        settle(replies->first, NEVER, STR("this server was stopped"));
    }
    pthread_mutex_destroy(&replies->lock);
    pthread_cond_destroy(&replies->changed);
    free(replies);
}

NodeDirectory *async_replies_nodes(const AsyncReplies *replies)
{
    return replies->config.nodes;
}

void async_replies_gauges(AsyncReplies *replies, StrBuf *buf)
{
    pthread_mutex_lock(&replies->lock);
    const struct {
        const char *name, *help;
        double value;
    } rows[] = {
        {"async_replies_waiting", "Asynchronous replies that are promised and not yet sent.",
         replies->count},
        {"async_replies_delivered", "Asynchronous replies taken since the start.",
         (double)replies->delivered},
        {"async_replies_repeated", "Attempts since the start that will be repeated.",
         (double)replies->repeated},
        {"async_replies_lost", "Asynchronous replies since the start that nobody took.",
         (double)replies->lost},
        {"async_replies_refused", "Requests since the start for which too many replies waited.",
         (double)replies->refused},
    };
    pthread_mutex_unlock(&replies->lock);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        metrics_gauge(buf, rows[i].name, rows[i].help, rows[i].value);
    }
}
