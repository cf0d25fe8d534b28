#pragma once

#include "lib/db/db.h"

/**
 * Subscriptions and what waits for them as an operator sees and changes them: `musubi
 * subscription`, `musubi status`, the metrics. Texts are in the arena of the request.
 */

typedef struct SubscriptionTotals {
    int64_t subscriptions;
    int64_t suspended; /* of them: nothing is queued for these */
    int64_t events;    /* whose subscribers are not found yet */
    int64_t waiting;  /* notifications; at most 100 000 are counted, here and of each state below */
    int64_t refused;  /* kept for an operator to see */
    int64_t oldest_s; /* since when one waits; 0: none does */
} SubscriptionTotals;

int subscription_table_totals(DbConn *conn, Request *req,
                              SubscriptionTotals *ret_totals) MUST_CHECK;

typedef struct SubscriptionState {
    int64_t id;
    Str node; /* name; empty: nobody registered (open mode) */
    Str user; /* who subscribed, "id@issuer"; empty: no assertion came with it */
    Str consumer;
    Str topic;
    Str filter;    /* rim:AdhocQuery */
    Str reference; /* SubscriptionReference address */
    int64_t created_us;
    int64_t ends_us;      /* INT64_MIN: never */
    int64_t delivered_us; /* last; INT64_MIN: nothing yet */
    int64_t delivered;
    int64_t waiting;
    int64_t refused;
    int64_t oldest_us; /* INT64_MIN: nothing waits */
    bool is_suspended; /* nothing more is queued, and nothing sent (suspension.h) */
    Str last_failure;  /* empty: the last one was delivered */
} SubscriptionState;

/** By id. @param id  0: all of them */
int subscription_table_read(DbConn *conn, Request *req, int64_t id, SubscriptionState **ret_states,
                            size_t *ret_count) MUST_CHECK;

/** Part of the caller's transaction: ends one, with what waits for it. @return 1, 0: there is none,
 * negative */
int subscription_table_remove(DbConn *conn, Request *req, int64_t id) MUST_CHECK;

/** Part of the caller's transaction: has everything sent at once that was not taken, what was
 * refused too; one that was suspended goes on. @return 1, 0: there is none, negative */
int subscription_table_retry(DbConn *conn, Request *req, int64_t id) MUST_CHECK;
