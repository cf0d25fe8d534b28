#pragma once

#include "atna/batch.h"

/** The tables of the repository, as the loader changes them. Private to this folder. */

enum { SPOOL_RECEIVED, SPOOL_OWN, SPOOL_COUNT };

/** The row of table audit_chain. */
typedef struct ChainRow {
    int32_t id;
    ChainEnd end;
    SpoolPosition loaded[SPOOL_COUNT]; /* what the spools hold before these is in the chain */
} ChainRow;

/** Reads the row of this chain, which is made, with its first head, if there is none. */
int chain_store_open(DbPool *pool, Request *req, Uuid chain, const HeadKey *key,
                     ChainRow *ret_row) MUST_CHECK;

/**
 * Adds the rows of a batch in one transaction with the new end of the chain, its head, and where
 * the spools are now. They survive a power cut only once chain_store_confirm() has returned, so
 * that the next batch need not wait for the disk. A chain that does not end where the batch begins
 * fails with ERR_DATABASE, as everything does: then only chain_store_open() knows what is stored.
 */
int chain_store_batch(DbPool *pool, Request *req, Batch *batch, const Head *head,
                      const SpoolPosition loaded[SPOOL_COUNT]) MUST_CHECK;

/** Waits until every batch that was stored before is durable, on disk and at synchronous standbys.
 */
int chain_store_confirm(DbPool *pool, Request *req) MUST_CHECK;

/** Merges the keys of records that were added lately into their index, which searches are faster
 * by. */
int chain_store_merge_keys(DbPool *pool, Request *req) MUST_CHECK;

/** Adds a row of audit_head; one that is there stays. */
int chain_store_head(DbPool *pool, Request *req, int32_t chain_id, const Head *head) MUST_CHECK;

/** What the spools hold before these places is in the chain; {0, 0} if the database does not know
 * the chain. */
int chain_store_loaded(DbConn *conn, Request *req, Uuid chain,
                       SpoolPosition ret_loaded[SPOOL_COUNT]) MUST_CHECK;

/**
 * The oldest month of audit_record that was over before this time.
 *
 * @param ret_month_us  its beginning
 * @return 1, 0 if there is no such month, or a negative ErrorCode
 */
int chain_store_oldest_month(DbPool *pool, Request *req, int64_t before_us,
                             int64_t *ret_month_us) MUST_CHECK;

/** A chain that has records in a month or before it. */
typedef struct ChainPart {
    int32_t id;
    Uuid chain;
    uint8_t key[HEAD_KEY_BYTES]; /* that signs its heads */
    int64_t received_us;         /* of the last record of the chain, whenever that was */
    uint64_t sequence;           /* of the last record of the month */
    ChainHash hash;              /* of that record */
} ChainPart;

/** The chains that have records up to the end of this month; in the arena. */
int chain_store_month_parts(DbPool *pool, Request *req, int64_t month_us, ChainPart **ret_parts,
                            size_t *ret_count) MUST_CHECK;

/** Removes that month. Fails while a chain has records there that no anchor covers, and when the
 * owner of the tables wants them kept (table audit_retention). */
int chain_store_drop_month(DbPool *pool, Request *req, int64_t month_us) MUST_CHECK;
