#pragma once

#include "atna/record_read.h"

/**
 * Searches in table audit_record, in the order of event_at, chain, sequence. Records are read one
 * by one and never all held; there is no limit on how many are found.
 *
 *     RecordSearch search = record_search_of(from_us, to_us);
 *     record_search_add(arena, &search, AUDIT_KEY_USER, key_set);
 *     record_search_bounds(conn, req, &bounds);
 *     record_search_each(conn, req, &search, &bounds, take, ctx);
 */

/** Keys of which a record has at least one. */
typedef struct KeySet {
    const int64_t *keys;
    size_t count;
} KeySet;

#define RECORD_KEY_SETS_MAX 8

/** Values of which a column has one; none: whatever it has. */
typedef struct TextSet {
    const Str *items;
    size_t count;
} TextSet;

/** A record as it was found; borrowed during the call. */
typedef struct FoundRecord {
    int32_t chain;
    int64_t sequence;
    int64_t received_us;
    int64_t event_us;
    Str sender; /* column sender */
    uint64_t defects;
    Str raw;
    Str hash; /* SHA-256, bytes */
    AuditContent content;
} FoundRecord;

/** @return 0 to go on, or a negative ErrorCode to stop */
typedef int (*FoundRecordFn)(void *ctx, Request *req, const FoundRecord *record);

/** What a search asks for: all of it must be met. Everything is borrowed. */
typedef struct RecordSearch {
    int64_t from_us; /* event_at; INT64_MIN: no bound */
    int64_t to_us;   /* no longer at this instant; INT64_MAX: no bound */
    KeySet key_sets[RECORD_KEY_SETS_MAX];
    AuditKeyKind kinds[RECORD_KEY_SETS_MAX]; /* the rarest first: its index is used */
    size_t key_set_count;
    TextSet event_ids;
    TextSet event_types;
    TextSet actions;
    TextSet senders;
    const int32_t *outcomes;
    size_t outcome_count;
    Str text;           /* bytes that the message holds; empty: whatever it holds */
    bool only_messages; /* AuditMessages, and nothing else that was received */
    /** What columns cannot tell, on the record as it was read; NULL: nothing. */
    bool (*is_match)(const void *ctx, const FoundRecord *record);
    const void *match_ctx;
} RecordSearch;

RecordSearch record_search_of(int64_t from_us, int64_t to_us);

/** One more set of keys that has to be met; the keys are borrowed. False: there are too many. */
bool record_search_add(RecordSearch *search, AuditKeyKind kind, KeySet keys) MUST_CHECK;

/**
 * Where each chain ended at one moment. What came later is not found: a search that goes on from
 * page to page finds what there was at its beginning, each record once.
 */
typedef struct RecordBounds {
    const int32_t *chains;
    const int64_t *sequences;
    size_t count;
} RecordBounds;

int record_search_bounds(DbConn *conn, Request *req, RecordBounds *ret_bounds) MUST_CHECK;

/** A place in the order of searches. */
typedef struct RecordPlace {
    int64_t event_us;
    int32_t chain;
    int64_t sequence;
} RecordPlace;

/** Calls back for every record that is found. */
int record_search_each(DbConn *conn, Request *req, const RecordSearch *search,
                       const RecordBounds *bounds, FoundRecordFn found, void *ctx) MUST_CHECK;

/**
 * Calls back for the next records, at most `limit`.
 * @param after         NULL: from the beginning
 * @param ret_has_more  whether there is one more behind them
 */
int record_search_page(DbConn *conn, Request *req, const RecordSearch *search,
                       const RecordBounds *bounds, const RecordPlace *after, size_t limit,
                       FoundRecordFn found, void *ctx, bool *ret_has_more) MUST_CHECK;

/**
 * How many a search finds.
 * @param most  more than this are told as most + 1, also where that many have to be tested; 0: all
 *              are counted
 */
int record_search_count(DbConn *conn, Request *req, const RecordSearch *search,
                        const RecordBounds *bounds, uint64_t most, uint64_t *ret_count) MUST_CHECK;

/** Calls back for the record with this number, if there is one. */
int record_search_one(DbConn *conn, Request *req, int32_t chain, int64_t sequence,
                      FoundRecordFn found, void *ctx) MUST_CHECK;
