#pragma once

#include "atna/head.h"
#include "atna/keys.h"
#include "atna/spool.h"

/** Records on their way into table audit_record: chained and counted, as rows of one COPY. Private
 * to this folder. */

/** Where a chain ends. */
typedef struct ChainEnd {
    uint64_t sequence;
    ChainHash hash;
    int64_t received_us; /* of the last record; INT64_MIN: there is none */
} ChainEnd;

/** Table audit_sender, as much as one batch adds. */
typedef struct SenderCount {
    Str sender;
    int64_t last_us;
    int64_t record_count;
    int64_t defect_counts[AUDIT_DEFECT_COUNT];
} SenderCount;

typedef struct Batch {
    Arena *arena; /* of the counters */
    Arena *record_arena;
    ChainHasher *hasher;
    RecordReader reader;
    KeyList keys;
    int32_t chain_id;
    DbCopy copy;
    DbCopy logins; /* rows of table audit_login */
    ChainEnd begin;
    ChainEnd end;
    SenderCount *senders;
    size_t sender_count;
    size_t sender_cap;
    int64_t month_end_us;   /* of the month of the last record */
    int64_t *new_months_us; /* a time in each month that this batch begins; in the arena */
    size_t new_month_count;
} Batch;

void batch_init(Batch *batch);
void batch_done(Batch *batch);

/** Forgets what is in it: the next record follows on this end. */
void batch_begin(Batch *batch, int32_t chain_id, const ChainEnd *end);

/**
 * Reads, chains and counts one record.
 *
 * @param sender   as audit_sender_text() has it; borrowed
 * @param defects  of the frame
 */
void batch_add(Batch *batch, int64_t received_us, Str sender, uint64_t defects, Str raw);

/** Rows, and whether it is time to store them. */
size_t batch_row_count(const Batch *batch);
bool batch_is_full(const Batch *batch);
