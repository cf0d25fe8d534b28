#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/crc32c.h"
#include "lib/base/error.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "repository/locator.h"

/** Entries gather for this long before they are committed together. */
#define BATCH_INTERVAL_NS 100000000L
#define FIRST_MAP_BYTES ((size_t)64 << 20)
#define MAX_READERS 4096
/** Of the lock file, which has 64 bytes for each reader. */
#define LOCK_FILE_BYTES ((off_t)MAX_READERS * 64 + 4096)
/** The data file has blocks ahead of what it uses, so that entries can be removed, and thus room be
 * made, on a full disk. */
#define PAGES_AHEAD 1024
/** At most: pages that one entry changes, and entries to a page when many are added. */
#define PAGES_PER_ENTRY 4
#define ENTRIES_PER_PAGE 16
#define PAGES_PER_BATCH 16
#define ITERATE_CHUNK 512
#define DIGEST_BYTES 32

/** Value of an entry, little-endian; the CRC-32C covers key and value, so that damage is noticed
 * here already. */
typedef struct StoredLocation {
    uint64_t offset;
    uint64_t size_bytes;
    int64_t written_us;
    uint32_t segment;
    uint32_t place;
    uint32_t crc;
    uint32_t zero;
} StoredLocation;

typedef struct StoredPlace {
    uint64_t offset;
    uint32_t number;
    uint32_t zero;
} StoredPlace;

struct Locator {
    MDB_env *env;
    MDB_dbi blobs;
    MDB_dbi meta;
    bool has_tables; /* a read-only look at a locator that holds nothing yet has none */
    bool is_read_only;
    pthread_rwlock_t map_lock; /* write: the map grows, no transaction may be open */
    uint64_t room_bytes;       /* blocks that the data file has; of the writer thread */
    LocatorPlaceFn settled_place;
    void *settled_place_ctx;
    pthread_t thread;
    bool has_thread;
    atomic_bool has_failed;
    pthread_mutex_t lock; /* what follows */
    pthread_cond_t work;
    pthread_cond_t committed;
    LocationTable pending;
    LocationTable committing;
    uint64_t batches_begun;
    uint64_t batches_ended;
    bool has_no_room; /* for the last batch */
    bool is_hurried;  /* somebody waits for the batch */
    bool is_stopping;
};

static const MDB_val place_key = {sizeof("settled") - 1, WITHOUT_CONST("settled")};

static MDB_val value_of(const void *bytes, size_t len)
{
    return (MDB_val){len, WITHOUT_CONST(bytes)};
}

static uint32_t stored_crc(const uint8_t sha256[DIGEST_BYTES], const StoredLocation *stored)
{
    uint32_t crc = crc32c(0, sha256, DIGEST_BYTES);
    return crc32c(crc, stored, offsetof(StoredLocation, crc));
}

static StoredLocation location_encode(const uint8_t sha256[DIGEST_BYTES],
                                      const BlobLocation *location)
{
    StoredLocation stored = {
        .offset = htole64(location->offset),
        .size_bytes = htole64(location->size_bytes),
        .written_us = (int64_t)htole64((uint64_t)location->written_us),
        .segment = htole32(location->segment),
        .place = htole32((uint32_t)location->place),
    };
    stored.crc = htole32(stored_crc(sha256, &stored));
    return stored;
}

/** @return 1, or -ERR_CORRUPT */
static int location_decode(const uint8_t sha256[DIGEST_BYTES], const MDB_val *value,
                           BlobLocation *ret_location)
{
    StoredLocation stored;
    if (value->mv_size != sizeof(stored)) {
        return -ERR_CORRUPT;
    }
    memcpy(&stored, value->mv_data, sizeof(stored));
    if (le32toh(stored.crc) != stored_crc(sha256, &stored)) {
        return -ERR_CORRUPT;
    }
    *ret_location = (BlobLocation){
        .place = le32toh(stored.place) == BLOB_IN_FILE ? BLOB_IN_FILE : BLOB_IN_SEGMENT,
        .segment = le32toh(stored.segment),
        .offset = le64toh(stored.offset),
        .size_bytes = le64toh(stored.size_bytes),
        .written_us = (int64_t)le64toh((uint64_t)stored.written_us),
    };
    return 1;
}

/** Anything but a missing entry, a full map and a full disk means that LMDB can no longer be relied
 * on. */
static int failed(Locator *locator, int rc)
{
    if (!atomic_exchange(&locator->has_failed, true)) {
        log_error("event=locator_failed error=\"%s\"", mdb_strerror(rc));
    }
    return -ERR_STORAGE;
}

/** The file cannot grow now: nothing was changed, and the same batch may succeed later. */
static bool is_lack_of_room(int rc)
{
    return rc == ENOSPC || rc == EDQUOT || rc == EFBIG;
}

static int open_tables(Locator *locator)
{
    MDB_txn *txn;
    unsigned create = locator->is_read_only ? 0 : MDB_CREATE;
    int rc = mdb_txn_begin(locator->env, NULL, locator->is_read_only ? MDB_RDONLY : 0, &txn);
    if (rc != 0) {
        return rc;
    }
    rc = mdb_dbi_open(txn, "blob", create, &locator->blobs);
    if (rc == 0) {
        rc = mdb_dbi_open(txn, "meta", create, &locator->meta);
    }
    locator->has_tables = rc == 0;
    if (rc == MDB_NOTFOUND) {
        rc = 0;
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

/** Gives blocks to the first bytes of a file, which grows if it is shorter. Where the file system
 * cannot promise any, none are. @return 0 or an errno */
static int give_blocks(int fd, off_t bytes)
{
    while (fallocate(fd, 0, 0, bytes) != 0) {
        if (errno != EINTR) {
            return errno == EOPNOTSUPP ? 0 : errno;
        }
    }
    return 0;
}

/** LMDB writes to its lock file through a map: a page that finds no block on a full disk is SIGBUS.
 * It must not be open yet, because closing the file here would let go of LMDB's locks on it. */
static int make_lock_file(const char *directory)
{
    char path[4096];
    if (snprintf(path, sizeof(path), "%s/lock.mdb", directory) >= (int)sizeof(path)) {
        return ENAMETOOLONG;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno;
    }
    int rc = give_blocks(fd, LOCK_FILE_BYTES);
    close(fd);
    return rc;
}

static int open_env(Locator *locator, const char *directory)
{
    int rc = mdb_env_create(&locator->env);
    if (rc != 0) {
        return rc;
    }
    rc = mdb_env_set_maxdbs(locator->env, 2);
    if (rc == 0) {
        rc = mdb_env_set_maxreaders(locator->env, MAX_READERS);
    }
    if (rc == 0 && !locator->is_read_only) {
        rc = mdb_env_set_mapsize(locator->env, FIRST_MAP_BYTES);
    }
    if (rc == 0 && !locator->is_read_only) {
        rc = make_lock_file(directory);
    }
    unsigned flags = MDB_NOTLS | (locator->is_read_only ? MDB_RDONLY : 0);
    if (rc == 0) {
        rc = mdb_env_open(locator->env, directory, flags, 0600);
    }
    int dead_readers;
    if (rc == 0) {
        rc = mdb_reader_check(locator->env, &dead_readers);
    }
    return rc == 0 ? open_tables(locator) : rc;
}

Locator *locator_open(const char *directory, bool is_read_only, char *ret_problem,
                      size_t problem_size)
{
    Locator *locator = HEAP_NEW(Locator);
    locator->is_read_only = is_read_only;
    pthread_rwlock_init(&locator->map_lock, NULL);
    pthread_mutex_init(&locator->lock, NULL);
    thread_condition_init(&locator->work);
    pthread_cond_init(&locator->committed, NULL);
    int rc = open_env(locator, directory);
    if (rc != 0) {
        snprintf(ret_problem, problem_size, "locator %s: %s", directory, mdb_strerror(rc));
        locator_close(locator);
        return NULL;
    }
    return locator;
}

/** Twice the map; called with no transaction of this thread open. */
static int grow_map(Locator *locator)
{
    MDB_envinfo info;
    pthread_rwlock_wrlock(&locator->map_lock);
    int rc = mdb_env_info(locator->env, &info);
    if (rc == 0) {
        rc = mdb_env_set_mapsize(locator->env, info.me_mapsize * 2);
    }
    pthread_rwlock_unlock(&locator->map_lock);
    return rc;
}

static int write_entry(Locator *locator, MDB_txn *txn, const LocationEntry *entry)
{
    MDB_val key = value_of(entry->sha256, DIGEST_BYTES);
    if (entry->is_removal) {
        int rc = mdb_del(txn, locator->blobs, &key, NULL);
        return rc == MDB_NOTFOUND ? 0 : rc;
    }
    StoredLocation stored = location_encode(entry->sha256, &entry->location);
    MDB_val value = value_of(&stored, sizeof(stored));
    return mdb_put(txn, locator->blobs, &key, &value, 0);
}

static int write_batch(Locator *locator, const StoredPlace *place)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(locator->env, NULL, 0, &txn);
    if (rc != 0) {
        return rc;
    }
    size_t index = 0;
    for (const LocationEntry *entry;
         rc == 0 && (entry = location_table_next(&locator->committing, &index));) {
        rc = write_entry(locator, txn, entry);
    }
    MDB_val key = place_key;
    MDB_val value = value_of(place, sizeof(*place));
    if (rc == 0) {
        rc = mdb_put(txn, locator->meta, &key, &value, 0);
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    fail_point("locator.commit");
    return mdb_txn_commit(txn);
}

/**
 * Gives blocks to what the batch may write. LMDB calls a write that a full disk cuts short EIO,
 * which is then not to be told from a broken disk (contract C6).
 *
 * @return 0 or an errno
 */
static int make_room(Locator *locator)
{
    MDB_envinfo info;
    MDB_stat stat;
    mdb_filehandle_t fd;
    int rc = mdb_env_info(locator->env, &info);
    if (rc == 0) {
        rc = mdb_env_stat(locator->env, &stat);
    }
    if (rc == 0) {
        rc = mdb_env_get_fd(locator->env, &fd);
    }
    if (rc != 0) {
        return rc;
    }
    uint64_t entries = locator->committing.count;
    uint64_t tree = info.me_last_pgno + 1;
    uint64_t batch =
        MIN(entries * PAGES_PER_ENTRY, tree) + entries / ENTRIES_PER_PAGE + PAGES_PER_BATCH;
    uint64_t needed_bytes = (tree + batch) * stat.ms_psize;
    uint64_t wanted_bytes = needed_bytes + PAGES_AHEAD * (uint64_t)stat.ms_psize;
    if (needed_bytes + PAGES_AHEAD / 2 * (uint64_t)stat.ms_psize <= locator->room_bytes) {
        return 0;
    }
    rc = give_blocks(fd, (off_t)wanted_bytes);
    if (rc == 0) {
        locator->room_bytes = wanted_bytes;
    }
    return is_lack_of_room(rc) ? give_blocks(fd, (off_t)needed_bytes) : rc;
}

static int commit_batch(Locator *locator, const StoredPlace *place)
{
    int room = make_room(locator);
    if (room != 0) {
        return room;
    }
    for (;;) {
        pthread_rwlock_rdlock(&locator->map_lock);
        int rc = write_batch(locator, place);
        pthread_rwlock_unlock(&locator->map_lock);
        if (rc != MDB_MAP_FULL) {
            return rc;
        }
        rc = grow_map(locator);
        if (rc != 0) {
            return rc;
        }
    }
}

/** What could not be committed waits for the next batch, unless something newer is known of it. */
static void put_back(Locator *locator)
{
    size_t index = 0;
    for (const LocationEntry *entry; (entry = location_table_next(&locator->committing, &index));) {
        if (!location_table_find(&locator->pending, entry->sha256)) {
            location_table_put(&locator->pending, entry);
        }
    }
    location_table_done(&locator->committing);
}

/** One line when the trouble begins, one when it is over. */
static void note_room(Locator *locator, bool has_room)
{
    if (locator->has_no_room == !has_room) {
        return;
    }
    locator->has_no_room = !has_room;
    if (has_room) {
        log_info("event=locator_has_room_again");
    } else {
        log_warn("event=locator_has_no_room remedy=\"make room on the file system of the locator; "
                 "entries wait in memory\"");
    }
}

/** Commits what is pending; the lock is held, but not during the transaction. */
static void take_batch(Locator *locator)
{
    uint32_t number;
    uint64_t offset;
    locator->batches_begun++;
    locator->is_hurried = false;
    /* The place is asked for before the batch is taken: what is settled later may be named again,
     * never missed. */
    locator->settled_place(locator->settled_place_ctx, &number, &offset);
    locator->committing = locator->pending;
    locator->pending = (LocationTable){0};
    pthread_mutex_unlock(&locator->lock);

    StoredPlace place = {.offset = htole64(offset), .number = htole32(number)};
    int rc = commit_batch(locator, &place);

    pthread_mutex_lock(&locator->lock);
    if (rc == 0) {
        location_table_done(&locator->committing);
    } else if (is_lack_of_room(rc)) {
        put_back(locator);
    } else {
        failed(locator, rc); /* the batch stays in memory: what was stored stays readable */
    }
    note_room(locator, !is_lack_of_room(rc));
    locator->batches_ended = locator->batches_begun;
    pthread_cond_broadcast(&locator->committed);
}

/** Lets entries gather, unless somebody waits. */
static void wait_for_batch(Locator *locator)
{
    while (locator->pending.count == 0 && !locator->is_hurried && !locator->is_stopping) {
        pthread_cond_wait(&locator->work, &locator->lock);
    }
    int64_t until_ns = clock_now_ns() + BATCH_INTERVAL_NS;
    bool is_early = true;
    while (is_early && !locator->is_hurried && !locator->is_stopping) {
        is_early = thread_wait_until(&locator->work, &locator->lock, until_ns);
    }
}

static void *writer_thread(void *ctx)
{
    Locator *locator = ctx;
    pthread_mutex_lock(&locator->lock);
    while (!atomic_load(&locator->has_failed)) {
        wait_for_batch(locator);
        bool is_last = locator->is_stopping;
        take_batch(locator);
        if (is_last) {
            break;
        }
    }
    pthread_mutex_unlock(&locator->lock);
    return NULL;
}

int locator_start(Locator *locator, LocatorPlaceFn settled_place, void *ctx)
{
    locator->settled_place = settled_place;
    locator->settled_place_ctx = ctx;
    locator->has_thread = thread_start(&locator->thread, writer_thread, locator) == 0;
    return locator->has_thread ? 0 : -ERR_STORAGE;
}

void locator_close(Locator *locator)
{
    if (!locator) {
        return;
    }
    if (locator->has_thread) {
        pthread_mutex_lock(&locator->lock);
        locator->is_stopping = true;
        pthread_cond_signal(&locator->work);
        pthread_mutex_unlock(&locator->lock);
        pthread_join(locator->thread, NULL);
    }
    if (locator->env) {
        mdb_env_close(locator->env);
    }
    location_table_done(&locator->pending);
    location_table_done(&locator->committing);
    pthread_cond_destroy(&locator->committed);
    pthread_cond_destroy(&locator->work);
    pthread_mutex_destroy(&locator->lock);
    pthread_rwlock_destroy(&locator->map_lock);
    free(locator);
}

bool locator_is_trusted(const Locator *locator)
{
    return !atomic_load(&locator->has_failed);
}

/** Takes over the size that another process has given the map; called with no transaction of this
 * thread open. */
static void adopt_map_size(Locator *locator)
{
    pthread_rwlock_wrlock(&locator->map_lock);
    mdb_env_set_mapsize(locator->env, 0);
    pthread_rwlock_unlock(&locator->map_lock);
}

/** A short read transaction, so that the map can grow in between. @return 0, or -ERR_STORAGE */
static int read_begin(Locator *locator, MDB_txn **ret_txn)
{
    for (;;) {
        pthread_rwlock_rdlock(&locator->map_lock);
        int rc = mdb_txn_begin(locator->env, NULL, MDB_RDONLY, ret_txn);
        if (rc == 0) {
            return 0;
        }
        pthread_rwlock_unlock(&locator->map_lock);
        if (rc != MDB_MAP_RESIZED) {
            return failed(locator, rc);
        }
        adopt_map_size(locator);
    }
}

static void read_end(Locator *locator, MDB_txn *txn)
{
    mdb_txn_abort(txn);
    pthread_rwlock_unlock(&locator->map_lock);
}

int locator_settled_place(Locator *locator, uint32_t *ret_number, uint64_t *ret_offset)
{
    *ret_number = 0;
    *ret_offset = 0;
    if (!locator->has_tables) {
        return 0;
    }
    MDB_txn *txn;
    int rc = read_begin(locator, &txn);
    if (rc < 0) {
        return rc;
    }
    MDB_val key = place_key;
    MDB_val value;
    rc = mdb_get(txn, locator->meta, &key, &value);
    StoredPlace place = {0};
    if (rc == 0 && value.mv_size == sizeof(place)) {
        memcpy(&place, value.mv_data, sizeof(place));
    }
    read_end(locator, txn);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        return failed(locator, rc);
    }
    *ret_number = le32toh(place.number);
    *ret_offset = le64toh(place.offset);
    return 0;
}

/** @return 1 it is there, 0 it is to go, -1 nothing is known in memory */
static int find_in_memory(Locator *locator, const uint8_t sha256[32], BlobLocation *ret_location)
{
    pthread_mutex_lock(&locator->lock);
    const LocationEntry *entry = location_table_find(&locator->pending, sha256);
    if (!entry) {
        entry = location_table_find(&locator->committing, sha256);
    }
    int verdict = !entry ? -1 : !entry->is_removal;
    if (verdict == 1) {
        *ret_location = entry->location;
    }
    pthread_mutex_unlock(&locator->lock);
    return verdict;
}

int locator_find(Locator *locator, const uint8_t sha256[32], BlobLocation *ret_location)
{
    int verdict = find_in_memory(locator, sha256, ret_location);
    if (verdict >= 0 || !locator->has_tables) {
        return verdict > 0;
    }
    MDB_txn *txn;
    int rc = read_begin(locator, &txn);
    if (rc < 0) {
        return rc;
    }
    MDB_val key = value_of(sha256, DIGEST_BYTES);
    MDB_val value;
    int found = mdb_get(txn, locator->blobs, &key, &value);
    if (found == 0) {
        rc = location_decode(sha256, &value, ret_location);
    }
    read_end(locator, txn);
    if (found == 0 || found == MDB_NOTFOUND) {
        return rc;
    }
    failed(locator, found);
    return -ERR_CORRUPT;
}

static void add_pending(Locator *locator, const LocationEntry *entry)
{
    pthread_mutex_lock(&locator->lock);
    location_table_put(&locator->pending, entry);
    if (locator->pending.count == 1) {
        pthread_cond_signal(&locator->work);
    }
    pthread_mutex_unlock(&locator->lock);
}

void locator_put(Locator *locator, const uint8_t sha256[32], const BlobLocation *location)
{
    LocationEntry entry = {.location = *location};
    memcpy(entry.sha256, sha256, sizeof(entry.sha256));
    add_pending(locator, &entry);
}

void locator_remove(Locator *locator, const uint8_t sha256[32])
{
    LocationEntry entry = {.is_removal = true};
    memcpy(entry.sha256, sha256, sizeof(entry.sha256));
    add_pending(locator, &entry);
}

int locator_flush(Locator *locator)
{
    if (!locator->has_thread) {
        return 0;
    }
    pthread_mutex_lock(&locator->lock);
    uint64_t wanted = locator->batches_begun + 1;
    while (locator->batches_ended < wanted && locator_is_trusted(locator)) {
        locator->is_hurried = true;
        pthread_cond_signal(&locator->work);
        pthread_cond_wait(&locator->committed, &locator->lock);
    }
    bool is_done = locator_is_trusted(locator) && !locator->has_no_room;
    pthread_mutex_unlock(&locator->lock);
    return is_done ? 0 : -ERR_STORAGE;
}

typedef struct Chunk {
    uint8_t sha256[ITERATE_CHUNK][DIGEST_BYTES];
    BlobLocation locations[ITERATE_CHUNK];
    size_t count;
    uint8_t next[DIGEST_BYTES]; /* where the next chunk begins */
    bool is_last;
} Chunk;

/** Copies the next entries out of LMDB; a damaged one is passed over here and found by who looks it
 * up. */
static int read_chunk(Locator *locator, Chunk *chunk)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    int rc = read_begin(locator, &txn);
    if (rc < 0) {
        return rc;
    }
    chunk->count = 0;
    rc = mdb_cursor_open(txn, locator->blobs, &cursor);
    if (rc != 0) {
        read_end(locator, txn);
        return failed(locator, rc);
    }
    MDB_val key = value_of(chunk->next, DIGEST_BYTES);
    MDB_val value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && chunk->count < ITERATE_CHUNK) {
        if (key.mv_size == DIGEST_BYTES &&
            location_decode(key.mv_data, &value, &chunk->locations[chunk->count]) > 0) {
            memcpy(chunk->sha256[chunk->count++], key.mv_data, DIGEST_BYTES);
        }
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (rc == 0) {
        memcpy(chunk->next, key.mv_data, DIGEST_BYTES);
    }
    chunk->is_last = rc != 0;
    mdb_cursor_close(cursor);
    read_end(locator, txn);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : failed(locator, rc);
}

int locator_iterate(Locator *locator, LocatorFn fn, void *ctx)
{
    int rc = locator_flush(locator);
    if (rc < 0 || !locator->has_tables) {
        return rc;
    }
    Chunk *chunk = HEAP_NEW(Chunk);
    do {
        rc = read_chunk(locator, chunk);
        for (size_t i = 0; i < chunk->count && rc == 0; i++) {
            rc = fn(ctx, chunk->sha256[i], &chunk->locations[i]);
        }
    } while (rc == 0 && !chunk->is_last);
    free(chunk);
    return rc;
}

int locator_destroy(const char *directory)
{
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[4096];
        if (snprintf(path, sizeof(path), "%s/%s", directory, files[i]) >= (int)sizeof(path)) {
            return -ENAMETOOLONG;
        }
        if (unlink(path) != 0 && errno != ENOENT) {
            return -errno;
        }
    }
    return 0;
}
