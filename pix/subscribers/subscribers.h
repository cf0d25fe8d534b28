#pragma once

#include "atna/atna.h"
#include "lib/tls/tls.h"
#include "pix/authorities.h"
#include "pix/pix.h"

/**
 * Who is told of changes (ITI-10, ITI-46, and as Patient Identity Source of our own domain ITI-8
 * and ITI-64): durable queue, one order per subscriber, a thread for each that sends.
 */

typedef struct Subscribers Subscribers;

typedef struct SubscribersConfig {
    DbPool *pool; /* all borrowed */
    Audit *audit;
    AuthorityDirectory *authorities;
    Tls *tls; /* NULL: no mllps, no https */
    const char *sending_application;
    const char *sending_facility;
    const char *manager_oid; /* MSH-3 of ITI-64, sender.device of ITI-46 */
    bool is_sending;         /* starts the threads; false in commands, which only queue */
} SubscribersConfig;

/** Who may be subscribed: rows of subscriber_kinds.def. */
typedef enum SubscriberKind {
#define SUBSCRIBER_KIND(name, kind, scheme, plain_scheme) SUBSCRIBER_##name,
#include "pix/subscribers/subscriber_kinds.def"
#undef SUBSCRIBER_KIND
    SUBSCRIBER_KIND_COUNT
} SubscriberKind;

/** @return false: there is no such kind */
bool subscriber_kind_parse(Str text, SubscriberKind *ret_kind) MUST_CHECK;
/** Whether a subscriber of this kind can be reached there. */
bool subscriber_url_is_good(SubscriberKind kind, Str url);
/** "mllps://HOST:PORT ...", for a fault. */
const char *subscriber_url_forms(SubscriberKind kind);

/** Reads the subscribers and starts what sends. NULL and the reason on failure. */
Subscribers *subscribers_new(const SubscribersConfig *config, char *ret_problem,
                             size_t problem_size);
/** Ends the threads; a message on its way is waited for. subscribers_free(NULL) is fine. */
void subscribers_free(Subscribers *subscribers);

/** Reads the subscribers anew; called every second. */
int subscribers_refresh(Subscribers *subscribers, Request *req) MUST_CHECK;

/** Of all subscribers; those that were removed have none. */
int subscribers_counts(Subscribers *subscribers, Request *req,
                       NotificationCounts *ret_counts) MUST_CHECK;

/** Whether anybody is subscribed: cheap, asked before each of the following. Of the snapshot in
 * memory. */
bool subscribers_has_consumers(const Subscribers *subscribers);
bool subscribers_has_registries(const Subscribers *subscribers);

/**
 * Queues, in transactions of its own, ITI-8 A04 of every XAD-PID for a registry that was added: in
 * order, so that a merge of two of them comes later. Called when all processes know the registry.
 * @return 0; also if there is no such registry, with *ret_count 0
 */
int subscribers_announce_known(Subscribers *subscribers, Request *req, Str name,
                               int64_t *ret_count) MUST_CHECK;

/* The following queue messages within the caller's transaction, of which nothing else may be
 * queued (db_queue) at that moment. The caller has made its own changes before, and holds a lock
 * that orders it with others that change the same persons. */

/** ITI-10 and ITI-46 for the consumers in whose domains the identifiers of this person are no
 * longer those that they were last told; called for each person that lost or gained one. */
int subscribers_queue_person(Subscribers *subscribers, Request *req, DbConn *conn,
                             int64_t person) MUST_CHECK;
/** ITI-8 A04 of a minted XAD-PID to every other registry. Sets patient_identifier.is_announced to
 * whether there is none to wait for. */
int subscribers_queue_xad_pid(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person,
                              int64_t identifier, Str value) MUST_CHECK;
/** ITI-8 A40 within the affinity domain; values of its authority. */
int subscribers_queue_merge(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person,
                            Str subsumed, Str survivor) MUST_CHECK;
/** ITI-64: documents of local (CX) move from one XAD-PID (value) to another; subsumed (CX) may be
 * empty. */
int subscribers_queue_move(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person,
                           Str from, Str to, Str local, Str subsumed) MUST_CHECK;

/** After the commit: wakes the threads, and waits until every registry has acknowledged the
 * announcement of this identifier, at most 10 s.
 * @return 0, or -ERR_HL7_INTERNAL: not in time; the queue keeps it */
int subscribers_await_announcement(Subscribers *subscribers, Request *req,
                                   int64_t identifier) MUST_CHECK;
/** After the commit: wakes the threads. */
void subscribers_wake(Subscribers *subscribers);
