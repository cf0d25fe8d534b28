#pragma once

#include "pix/identity.h"

/**
 * Who is told of changes (ITI-10, ITI-46, and as Patient Identity Source of our own domain ITI-8
 * and ITI-64): durable queue, one order per subscriber, a thread that sends.
 */

typedef struct Subscribers Subscribers;

typedef struct SubscribersConfig {
    Pix *pix;
    Tls *tls; /* NULL: no mllps, no https */
    const char *sending_application;
    const char *sending_facility;
    const char *manager_oid; /* MSH-3 of ITI-64, sender.device of ITI-46 */
} SubscribersConfig;

/** Starts the sending thread. NULL and the reason on failure. */
Subscribers *subscribers_new(const SubscribersConfig *config, char *ret_problem,
                             size_t problem_size);
void subscribers_free(Subscribers *subscribers);

/* The functions that queue want nothing queued on conn (db_sync() first); subscribers may be NULL.
 */

/** Whether anybody is subscribed: cheap, asked before each of the following. Of a snapshot in
 * memory that is renewed every second. */
bool subscribers_has_consumers(const Subscribers *subscribers);
bool subscribers_has_registries(const Subscribers *subscribers);

/** Queues, within the caller's transaction, ITI-10 and ITI-46 for the consumers in whose domains
 * the set of identifiers changed. The callers queues it after its own changes: the rows are read
 * when the message is made. */
int subscribers_queue_person(Subscribers *subscribers, Request *req, DbConn *conn,
                             int64_t person) MUST_CHECK;
/** Queues ITI-8 A04 of a minted XAD-PID to every other registry. */
int subscribers_queue_xad_pid(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person,
                              int64_t identifier, Str value) MUST_CHECK;
/** Queues ITI-8 A40 within the affinity domain. */
int subscribers_queue_merge(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person,
                            Str subsumed, Str survivor) MUST_CHECK;
/** Queues ITI-64: documents of local (CX) move from one XAD-PID (value) to another; subsumed (CX)
 * may be empty. */
int subscribers_queue_move(Subscribers *subscribers, Request *req, DbConn *conn, int64_t person,
                           Str from, Str to, Str local, Str subsumed) MUST_CHECK;

/** After the commit: wakes the thread, and waits until every registry has acknowledged the
 * announcement of this identifier.
 * @return 0, or -ERR_HL7_INTERNAL: not in time; the queue keeps it */
int subscribers_await_announcement(Subscribers *subscribers, Request *req,
                                   int64_t identifier) MUST_CHECK;
/** After the commit: wakes the thread. */
void subscribers_wake(Subscribers *subscribers);
