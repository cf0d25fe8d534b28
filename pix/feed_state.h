#pragma once

#include "pix/feed_match.h"

/** What the steps of a feed hand on: identity_feed.c reads and decides, feed_write.c writes. */

/** One identifier of the feed with its record. */
typedef struct FedRecord {
    const Identifier *identifier;
    const IdentityRow *row; /* NULL: new */
    int64_t id;             /* of row, or allocated */
    Str held;               /* demographics_write() of what is held; data NULL: no record */
    Str held_profile;
    Str record;                  /* what is held after this feed */
    const MatchProfile *profile; /* of record; NULL: not made yet */
    int64_t keys[MATCH_KEYS_MAX];
    size_t key_count;
    bool is_changed;
} FedRecord;

/** A feed at work; made anew for each attempt. */
typedef struct FeedState {
    const IdentityFeed *feed;
    FedRecord *records;
    size_t count;
    IdentityRows found;    /* of the identifiers named */
    Candidates candidates; /* of all records */
    int64_t *persons;      /* those that become one, the one that stays first */
    size_t person_count;   /* 0: a new person */
    int64_t target;
    bool is_minting;
    int64_t minted_id;
    bool awaits_announcement; /* of minted_id */
    IdentityRows locked;
} FeedState;

/** Binds authority[] and value[] of the identifiers. */
void feed_state_bind_names(const FeedState *state, Request *req, DbParams *params);

/** Whether this is one of the persons that become one. */
bool feed_state_is_chosen(const FeedState *state, int64_t person);

/** The XAD-PID that the message itself names, NULL if none. */
const FedRecord *feed_state_named_xad_pid(const FeedState *state);

/**
 * Queues what was decided, with its audit events; the caller commits.
 * @param has_awaited  links waited for these identifiers, and do no longer
 */
int feed_write(Pix *pix, const FeedState *state, Request *req, DbConn *conn,
               bool has_awaited) MUST_CHECK;
