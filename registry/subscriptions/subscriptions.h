#pragma once

#include "registry/registry_private.h"

/**
 * Document Metadata Subscription: who is told of what is registered, updated or moved. For the
 * files of registry/; the server has registry.h, and subscription_table.h for commands.
 *
 * Spec: ITI TF-1 26; TF-2 3.52 (Subscribe), 3.53 (Notify), 3.54 (Publish).
 */
typedef struct Subscriptions Subscriptions;

/** Starts the threads that find subscribers and send to them. NULL and the reason on failure. */
Subscriptions *subscriptions_new(Registry *registry, char *ret_problem, size_t problem_size);
/** Ends the threads; a notification on its way is waited for. subscriptions_free(NULL) is fine. */
void subscriptions_free(Subscriptions *subscriptions);

/**
 * Queues, in the caller's transaction (db_queue), the event that these SubmissionSets were
 * published: a row each, but only if anybody subscribed. No round trip.
 */
int subscriptions_queue_events(Request *req, DbConn *conn, const Uuid *submission_sets,
                               size_t count) MUST_CHECK;
