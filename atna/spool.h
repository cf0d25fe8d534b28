#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "atna/atna.h"

/**
 * Durable, append-only queue of audit messages in segment files of one directory. Thread-safe.
 * Private to this folder; README.md has the file format.
 */
typedef struct Spool Spool;

/** A place in the spool: before the record at this offset. {0, 0} is before everything. */
typedef struct SpoolPosition {
    uint64_t segment;
    uint64_t offset;
} SpoolPosition;

/** Longest message; a longer one is refused when it is appended. */
#define SPOOL_MAX_MESSAGE_BYTES (64U << 20)

/** Opens or makes the directory. One process at a time. */
Spool *spool_open(const char *directory, char *ret_problem, size_t problem_size);

/** spool_close(NULL) is fine. */
void spool_close(Spool *spool);

/** A record in the form of the file: the message is what was added to the buffer between the two
 * calls. @return where it begins */
size_t spool_frame_begin(StrBuf *buf);
void spool_frame_end(StrBuf *buf, size_t begin, int64_t recorded_us);

/** Writes whole records, all of them or none; else as spool_append(). */
int spool_append_frames(Spool *spool, Str frames, uint64_t *ret_ticket) MUST_CHECK;

/**
 * Writes one record; it is not durable before spool_sync(ticket).
 * @return 0, or a negative errno: -EIO for ever once the spool can no longer be trusted
 */
int spool_append(Spool *spool, int64_t recorded_us, Str message, uint64_t *ret_ticket) MUST_CHECK;

/**
 * Waits until everything up to the ticket is durable. One caller syncs for all that wait meanwhile.
 * A failed sync is never tried again: the spool is not trusted from then on (contract C6).
 * @return 0 or -EIO
 */
int spool_sync(Spool *spool, uint64_t ticket) MUST_CHECK;

bool spool_is_trusted(Spool *spool);

/** Where the durable part ends. */
SpoolPosition spool_durable_end(Spool *spool);

/** Removes the segments before the one of this position: all they hold was delivered. */
void spool_remove_before(Spool *spool, SpoolPosition delivered);

/** The cursor file says what was delivered; {0, 0} if there is none or it cannot be read. */
SpoolPosition spool_cursor_load(const char *directory);
/** @return 0 or a negative errno */
int spool_cursor_store(const char *directory, SpoolPosition delivered) MUST_CHECK;

/** Reads records in order. Not thread-safe. */
typedef struct SpoolReader SpoolReader;

SpoolReader *spool_reader_new(const char *directory, SpoolPosition from);
void spool_reader_free(SpoolReader *reader);

/**
 * The next record; its message is valid until the next call.
 * @param limit  where to stop; NULL: at the end of the files
 * @return 1, 0 at the end, or a negative errno
 */
int spool_reader_next(SpoolReader *reader, const SpoolPosition *limit,
                      AuditRecord *ret_record) MUST_CHECK;

/** audit_spool_read() from a place on. */
int spool_read_from(const char *directory, SpoolPosition from, AuditRecordFn callback, void *ctx,
                    unsigned *ret_damaged, char *ret_problem, size_t problem_size) MUST_CHECK;

/** After the last record that was returned. */
SpoolPosition spool_reader_position(const SpoolReader *reader);
