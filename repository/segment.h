#pragma once

#include "lib/base/macros.h"
#include "repository/record.h"

/**
 * Append-only segments for small documents: files "segments/NNNNNNNNNN.seg" of records (record.h)
 * behind a page that names the segment and its nonce. Records are 4 KiB aligned, so that a deleted
 * one can be punched out and leaves a hole.
 *
 * A place is reserved under a lock and written outside it. One fdatasync serves everyone who has
 * written before it begins: the first to come leads it, and the others follow. A few may be under
 * way at once, each of everything that is not known to be durable; only when they all are does a
 * newcomer wait for one to end. After a failed sync or write nothing is written any more (contract
 * C6). Functions return 0 or -errno.
 *
 * No room is made ahead, unlike in the audit spool: zeros written twice cost more than the sync
 * saves once documents have some 100 KB (half the throughput), and fallocate() alone saves nothing,
 * since unwritten extents are journalled as well.
 */
typedef struct SegmentStore SegmentStore;

/** A record on its way: written, perhaps not yet durable, not yet in the locator. */
typedef struct SegmentSlot SegmentSlot;

/** Opens the folder for writing and begins behind everything that is there. Directory fd is
 * borrowed. */
int segment_store_open(int directory_fd, uint64_t max_bytes, SegmentStore **ret_store) MUST_CHECK;
void segment_store_close(SegmentStore *store);
bool segment_store_is_trusted(SegmentStore *store);

/** Writes a record; not yet durable. The nonce in header is filled in. */
int segment_append(SegmentStore *store, RecordHeader *header, const BlockCrcs *crcs,
                   const void *body, SegmentSlot **ret_slot) MUST_CHECK;
uint32_t segment_slot_number(const SegmentSlot *slot);
uint64_t segment_slot_offset(const SegmentSlot *slot);

/** Returns when everything appended before the call is durable. */
int segment_sync(SegmentStore *store) MUST_CHECK;

/** The record is in the locator now, or (undo) is gone and its space freed. Both free the slot. */
void segment_slot_settle(SegmentStore *store, SegmentSlot *slot);
void segment_slot_undo(SegmentStore *store, SegmentSlot *slot);

/** Everything before this place is settled: where a replay may begin. */
void segment_settled_place(SegmentStore *store, uint32_t *ret_number, uint64_t *ret_offset);

/** Takes a record away, durably, with all its space. */
int segment_delete(SegmentStore *store, uint32_t number, uint64_t offset) MUST_CHECK;

/** Writes "segments/NNNNNNNNNN.seg". */
void segment_path(uint32_t number, char *ret_path, size_t size);

/**
 * Calls fn for every whole, live record from a place on, after checking all of its blocks: torn
 * ones (a crash before they were acknowledged) are passed over. Every segment is made durable
 * before its records are named.
 */
typedef int (*SegmentRecordFn)(void *ctx, const RecordHeader *header, uint32_t number,
                               uint64_t offset);
int segment_replay(int directory_fd, uint32_t from_number, uint64_t from_offset, SegmentRecordFn fn,
                   void *ctx) MUST_CHECK;
