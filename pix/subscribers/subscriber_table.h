#pragma once

#include "lib/db/db.h"

/**
 * Table identity_subscriber and the queues as an operator sees and changes them: `musubi
 * subscriber`, `musubi status`. Each function that changes something is part of the caller's
 * transaction; texts are in the arena of the request.
 */

/** As an operator wrote it; checked. */
typedef struct SubscriberRow {
    Str name;
    Str kind; /* subscriber_kinds.def */
    Str url;
    Str fingerprint; /* of its certificate; empty: not pinned */
    Str application;
    Str facility;
    const int32_t *authorities; /* rows of assigning_authority; none: all */
    size_t authority_count;
} SubscriberRow;

typedef enum SubscriberStored {
    SUBSCRIBER_ADDED,
    SUBSCRIBER_CHANGED,
    SUBSCRIBER_OF_OTHER_KIND, /* nothing was stored: a name keeps its kind while it is in use */
} SubscriberStored;

/** How many there are beside this name. */
int subscriber_table_count_others(DbConn *conn, Request *req, Str name,
                                  int64_t *ret_count) MUST_CHECK;

int subscriber_table_store(DbConn *conn, Request *req, const SubscriberRow *row,
                           SubscriberStored *ret_stored) MUST_CHECK;

/** One subscriber with its queue. */
typedef struct SubscriberState {
    Str name;
    Str kind;
    Str url;
    Str application;
    Str facility;
    Str *authorities; /* namespaces, or OIDs; none: all */
    size_t authority_count;
    int64_t queued;
    int64_t refused;
    int64_t oldest_us; /* of what is queued; INT64_MIN: nothing is */
    Str last_failure;  /* empty: none */
} SubscriberState;

/** By name. */
int subscriber_table_read(DbConn *conn, Request *req, SubscriberState **ret_states,
                          size_t *ret_count) MUST_CHECK;

/**
 * Locks one: whoever is queueing for it has committed then, and whoever comes later sees what the
 * caller's transaction did.
 * @param ret_id  0: there is none
 */
int subscriber_table_lock(DbConn *conn, Request *req, Str name, int32_t *ret_id) MUST_CHECK;

/**
 * Removes a locked one with its queue; XAD-PIDs that only it was waited for may be handed out.
 * @param ret_dropped  messages that it had not taken
 */
int subscriber_table_remove(DbConn *conn, Request *req, int32_t id,
                            int64_t *ret_dropped) MUST_CHECK;

/**
 * Has everything sent at once that a locked one has not taken, but for what is superseded.
 * @param ret_count  messages
 */
int subscriber_table_retry(DbConn *conn, Request *req, int32_t id, int64_t *ret_count) MUST_CHECK;
