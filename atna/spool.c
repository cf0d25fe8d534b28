#include "atna/spool.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atna/spool_file.h"
#include "lib/base/file_io.h"
#include "lib/base/heap.h"

/** A new segment is begun when the current one is longer. */
#define SEGMENT_BYTES (UINT64_C(64) << 20)

/**
 * Zeros are written ahead of the records, this many at a time: a record then changes neither the
 * length of the file nor its blocks, and its fdatasync costs half (measured 290 and 140 us).
 */
#define ROOM_BYTES (UINT64_C(1) << 20)

/**
 * Appending and syncing: records are written under the lock, one after the other; then the first
 * that wants durability becomes the leader and syncs without the lock, while others append and
 * wait. Tickets are total byte counts, so that one number says what is durable.
 */
struct Spool {
    int directory;
    int lock_file; /* held by flock() as long as we may write */
    pthread_mutex_t lock;
    pthread_cond_t synced; /* a leader has finished */
    int file;              /* current segment */
    SpoolPosition end;     /* written */
    uint64_t room_end;     /* length of the current segment; zeros from end on */
    SpoolPosition durable_end;
    uint64_t appended_bytes; /* since spool_open() */
    uint64_t synced_bytes;
    bool is_syncing;
    bool is_trusted;
};

/** Makes the current segment durable. The caller holds the lock, and nobody else syncs. */
static void sync_locked(Spool *spool)
{
    if (fdatasync(spool->file) < 0) {
        spool->is_trusted = false;
        return;
    }
    spool->synced_bytes = spool->appended_bytes;
    spool->durable_end = spool->end;
}

/** Goes on in a new segment. The caller holds the lock. @return 0 or a negative errno */
static int begin_segment_locked(Spool *spool, uint64_t segment)
{
    char name[SPOOL_NAME_SIZE];
    spool_segment_name(segment, name);
    int file = openat(spool->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) {
        return -errno;
    }
    if (io_sync_directory(spool->directory) < 0) {
        spool->is_trusted = false;
        close(file);
        return -EIO;
    }
    if (spool->file >= 0) {
        close(spool->file);
    }
    spool->file = file;
    spool->end = (SpoolPosition){segment, 0};
    spool->durable_end = spool->end;
    spool->room_end = 0;
    return 0;
}

/** Takes back the room behind the last record. A failure leaves zeros, which readers know. */
static void cut_room_locked(Spool *spool)
{
    if (ftruncate(spool->file, (off_t)spool->end.offset) == 0) {
        spool->room_end = spool->end.offset;
    }
}

static int roll_if_full_locked(Spool *spool)
{
    while (spool->is_syncing) {
        pthread_cond_wait(&spool->synced, &spool->lock);
    }
    if (spool->end.offset < SEGMENT_BYTES) {
        return 0; /* another thread was faster */
    }
    if (spool->is_trusted) {
        cut_room_locked(spool);
        sync_locked(spool);
    }
    pthread_cond_broadcast(&spool->synced);
    return spool->is_trusted ? begin_segment_locked(spool, spool->end.segment + 1) : -EIO;
}

/** Undoes a failed write; a full disk is no reason to distrust the spool, any other failure is. */
static void undo_write_locked(Spool *spool, int error)
{
    if (error != ENOSPC && error != EDQUOT) {
        spool->is_trusted = false;
    }
    if (ftruncate(spool->file, (off_t)spool->end.offset) < 0) {
        spool->is_trusted = false;
    }
    spool->room_end = spool->end.offset;
}

/** Writes zeros where the next records go. On a full disk there is none: the record itself may
 * still fit. */
static void make_room_locked(Spool *spool)
{
    static const char zeros[64 * 1024];
    uint64_t begin = MAX(spool->room_end, spool->end.offset);
    uint64_t at = begin;
    int rc = 0;
    while (rc == 0 && at < begin + ROOM_BYTES) {
        rc = io_pwrite_all(spool->file, zeros, sizeof zeros, at);
        at += sizeof zeros;
    }
    if (rc == 0) {
        spool->room_end = at;
    } else {
        undo_write_locked(spool, -rc);
    }
}

/** Writes all bytes at the end of the records, or leaves the segment as it was. */
static int write_locked(Spool *spool, const char *bytes, size_t len)
{
    if (spool->end.offset + len > spool->room_end) {
        make_room_locked(spool);
    }
    int rc = spool->is_trusted ? io_pwrite_all(spool->file, bytes, len, spool->end.offset) : -EIO;
    if (rc < 0) {
        undo_write_locked(spool, -rc);
        return rc;
    }
    spool->end.offset += len;
    spool->room_end = MAX(spool->room_end, spool->end.offset);
    spool->appended_bytes += len;
    return 0;
}

int spool_append_frames(Spool *spool, Str frames, uint64_t *ret_ticket)
{
    pthread_mutex_lock(&spool->lock);
    int rc = spool->is_trusted ? 0 : -EIO;
    if (rc == 0 && spool->end.offset >= SEGMENT_BYTES) {
        rc = roll_if_full_locked(spool);
    }
    if (rc == 0) {
        rc = write_locked(spool, frames.data, frames.len);
    }
    if (rc == 0) {
        *ret_ticket = spool->appended_bytes;
    }
    pthread_mutex_unlock(&spool->lock);
    return rc;
}

int spool_append(Spool *spool, int64_t recorded_us, Str message, uint64_t *ret_ticket)
{
    _cleanup_(strbuf_done) StrBuf frame = {0};
    if (message.len == 0 || message.len > SPOOL_MAX_MESSAGE_BYTES) {
        return -EMSGSIZE;
    }
    size_t begin = spool_frame_begin(&frame);
    strbuf_append(&frame, message);
    spool_frame_end(&frame, begin, recorded_us);
    return spool_append_frames(spool, strbuf_str(&frame), ret_ticket);
}

/** As leader: syncs what is written by now. The caller holds the lock, which is free meanwhile. */
static void lead_sync(Spool *spool)
{
    uint64_t appended_bytes = spool->appended_bytes;
    SpoolPosition end = spool->end;
    int file = spool->file;
    spool->is_syncing = true;
    pthread_mutex_unlock(&spool->lock);
    bool ok = fdatasync(file) == 0;
    pthread_mutex_lock(&spool->lock);
    spool->is_syncing = false;
    if (ok) {
        spool->synced_bytes = appended_bytes;
        spool->durable_end = end;
    } else {
        spool->is_trusted = false;
    }
    pthread_cond_broadcast(&spool->synced);
}

int spool_sync(Spool *spool, uint64_t ticket)
{
    pthread_mutex_lock(&spool->lock);
    while (spool->is_trusted && spool->synced_bytes < ticket) {
        if (spool->is_syncing) {
            pthread_cond_wait(&spool->synced, &spool->lock);
        } else {
            lead_sync(spool);
        }
    }
    int rc = spool->synced_bytes >= ticket ? 0 : -EIO;
    pthread_mutex_unlock(&spool->lock);
    return rc;
}

bool spool_is_trusted(Spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    bool is_trusted = spool->is_trusted;
    pthread_mutex_unlock(&spool->lock);
    return is_trusted;
}

SpoolPosition spool_durable_end(Spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    SpoolPosition end = spool->durable_end;
    pthread_mutex_unlock(&spool->lock);
    return end;
}

/* Opening. */

static int open_directory(Spool *spool, const char *directory)
{
    int rc = io_open_directory(AT_FDCWD, directory, &spool->directory);
    if (rc < 0) {
        return rc;
    }
    spool->lock_file =
        openat(spool->directory, SPOOL_LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return spool->lock_file < 0 ? -errno : 0;
}

/** Where the newest segment ends, if it holds whole records only; a torn one is left as it is. */
static bool find_clean_end(const char *directory, uint64_t segment, uint64_t *ret_offset)
{
    SpoolReader *reader = spool_reader_new(directory, (SpoolPosition){segment, 0});
    AuditRecord record;
    int rc = 0;
    do {
        rc = spool_reader_next(reader, NULL, &record);
    } while (rc > 0);
    *ret_offset = spool_reader_position(reader).offset;
    bool is_clean = rc == 0 && spool_reader_is_at_clean_end(reader);
    spool_reader_free(reader);
    return is_clean;
}

/** Goes on at the end of the newest segment, or in a new one if a crash tore it. */
static int open_segment(Spool *spool, const char *directory)
{
    uint64_t newest = 0;
    uint64_t offset = 0;
    char name[SPOOL_NAME_SIZE];
    int rc = spool_newest_segment(directory, &newest);
    if (rc < 0) {
        return rc;
    }
    if (newest == 0 || !find_clean_end(directory, newest, &offset)) {
        return begin_segment_locked(spool, newest + 1);
    }
    spool_segment_name(newest, name);
    spool->file = openat(spool->directory, name, O_WRONLY | O_CLOEXEC);
    if (spool->file < 0) {
        return -errno;
    }
    spool->end = (SpoolPosition){newest, offset};
    spool->room_end = offset; /* whatever zeros are left there are written again */
    sync_locked(spool);       /* a killed process may have left records that were never synced */
    return spool->is_trusted ? 0 : -EIO;
}

Spool *spool_open(const char *directory, char *ret_problem, size_t problem_size)
{
    Spool *spool = HEAP_NEW(Spool);
    *spool = (Spool){.directory = -1, .lock_file = -1, .file = -1, .is_trusted = true};
    pthread_mutex_init(&spool->lock, NULL);
    pthread_cond_init(&spool->synced, NULL);
    int rc = open_directory(spool, directory);
    if (rc < 0) {
        snprintf(ret_problem, problem_size, "%s: %s", directory, strerror(-rc));
        goto failed;
    }
    if (flock(spool->lock_file, LOCK_EX | LOCK_NB) < 0) {
        snprintf(ret_problem, problem_size, "%s: another process writes to this audit spool",
                 directory);
        goto failed;
    }
    rc = open_segment(spool, directory);
    if (rc < 0) {
        snprintf(ret_problem, problem_size, "%s: no segment can be opened: %s", directory,
                 strerror(-rc));
        goto failed;
    }
    return spool;

failed:
    spool_close(spool);
    return NULL;
}

void spool_close(Spool *spool)
{
    if (spool == NULL) {
        return;
    }
    if (spool->file >= 0 && spool->is_trusted) {
        cut_room_locked(spool);
    }
    io_closep(&spool->file);
    io_closep(&spool->lock_file);
    io_closep(&spool->directory);
    pthread_cond_destroy(&spool->synced);
    pthread_mutex_destroy(&spool->lock);
    free(spool);
}

void spool_remove_before(Spool *spool, SpoolPosition delivered)
{
    char name[SPOOL_NAME_SIZE];
    for (uint64_t segment = delivered.segment; segment > 1; segment--) {
        spool_segment_name(segment - 1, name);
        if (unlinkat(spool->directory, name, 0) < 0) {
            return; /* what is older went earlier; what stays is only space */
        }
    }
}
