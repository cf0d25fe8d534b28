#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/base/fail.h"
#include "lib/base/file_io.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "repository/blob_store_private.h"

struct BlobReader {
    int fd;
    uint64_t body_offset;
    uint64_t size_bytes;
    uint64_t block_count;
    uint64_t next_block;
    uint32_t *crcs;
};

/* ---- opening ---- */

static int problem_errno(char *ret_problem, size_t size, const char *path, int rc)
{
    char text[128];
    snprintf(ret_problem, size, "%s: %s", path, strerror_r(-rc, text, sizeof(text)));
    return rc;
}

static int take_lock(int directory_fd, int *ret_fd)
{
    int fd = openat(directory_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

static int open_directories(BlobStore *store, const BlobStoreConfig *config, char *ret_problem,
                            size_t problem_size)
{
    int rc = io_open_directory(AT_FDCWD, config->blobs_dir, &store->directory_fd);
    if (rc == 0 && !config->is_read_only) {
        rc = take_lock(store->directory_fd, &store->lock_fd);
        if (rc == -EWOULDBLOCK) {
            snprintf(ret_problem, problem_size, "%s is in use by another process",
                     config->blobs_dir);
            return rc;
        }
    }
    if (rc == 0) {
        rc = io_open_directory(store->directory_fd, "segments", &store->segments_fd);
    }
    if (rc == 0) {
        rc = file_store_open(&store->files, store->directory_fd, config->is_read_only);
    }
    store->has_files = rc == 0;
    return rc < 0 ? problem_errno(ret_problem, problem_size, config->blobs_dir, rc) : 0;
}

static int make_locator_directory(const char *directory)
{
    _cleanup_(io_closep) int fd = -1;
    return io_open_directory(AT_FDCWD, directory, &fd);
}

static void settled_place(void *ctx, uint32_t *ret_number, uint64_t *ret_offset)
{
    BlobStore *store = ctx;
    segment_settled_place(store->segments, ret_number, ret_offset);
}

/** A record that the locator may have missed. The first of several copies stays the one that is
 * named. */
static int replay_record(void *ctx, const RecordHeader *header, uint32_t number, uint64_t offset)
{
    BlobStore *store = ctx;
    BlobLocation location = {
        .place = BLOB_IN_SEGMENT,
        .segment = number,
        .offset = offset,
        .size_bytes = header->size_bytes,
        .written_us = header->written_us,
    };
    BlobLocation known;
    if (locator_find(store->locator, header->sha256, &known) != 1) {
        locator_put(store->locator, header->sha256, &location);
    }
    return 0;
}

static int open_for_writing(BlobStore *store, const BlobStoreConfig *config, char *ret_problem,
                            size_t problem_size)
{
    uint32_t number;
    uint64_t offset;
    if (locator_settled_place(store->locator, &number, &offset) < 0) {
        snprintf(ret_problem, problem_size, "locator %s cannot be read", config->locator_dir);
        return -EIO;
    }
    int rc = segment_store_open(store->segments_fd, config->segment_max_bytes, &store->segments);
    if (rc == 0) {
        rc = segment_replay(store->segments_fd, number, offset, replay_record, store);
    }
    if (rc == 0 && locator_start(store->locator, settled_place, store) < 0) {
        rc = -EAGAIN;
    }
    return rc < 0 ? problem_errno(ret_problem, problem_size, config->blobs_dir, rc) : 0;
}

BlobStore *blob_store_open(const BlobStoreConfig *config, char *ret_problem, size_t problem_size)
{
    BlobStore *store = HEAP_NEW(BlobStore);
    store->config = *config;
    store->directory_fd = store->lock_fd = store->segments_fd = -1;
    pthread_rwlock_init(&store->place_lock, NULL);
    pthread_mutex_init(&store->dying_lock, NULL);
    store->sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    store->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);

    int rc = open_directories(store, config, ret_problem, problem_size);
    if (rc == 0 && (rc = make_locator_directory(config->locator_dir)) < 0) {
        problem_errno(ret_problem, problem_size, config->locator_dir, rc);
    }
    if (rc == 0) {
        store->locator =
            locator_open(config->locator_dir, config->is_read_only, ret_problem, problem_size);
        rc = store->locator ? 0 : -EIO;
    }
    if (rc == 0 && !config->is_read_only) {
        rc = open_for_writing(store, config, ret_problem, problem_size);
    }
    if (rc < 0) {
        blob_store_close(store);
        return NULL;
    }
    return store;
}

void blob_store_close(BlobStore *store)
{
    if (!store) {
        return;
    }
    locator_close(store->locator);
    segment_store_close(store->segments);
    if (store->has_files) {
        file_store_close(&store->files);
    }
    io_closep(&store->segments_fd);
    io_closep(&store->lock_fd);
    io_closep(&store->directory_fd);
    EVP_MD_free(store->sha1);
    EVP_MD_free(store->sha256);
    location_table_done(&store->dying);
    pthread_mutex_destroy(&store->dying_lock);
    pthread_rwlock_destroy(&store->place_lock);
    free(store);
}

bool blob_store_is_writable(const BlobStore *store)
{
    return store->segments && segment_store_is_trusted(store->segments) &&
           !atomic_load(&store->files.has_failed) && locator_is_trusted(store->locator);
}

/* ---- finding ---- */

bool blob_store_is_passing(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -EAGAIN;
}

static int adopt_file(void *ctx, const RecordHeader *header)
{
    BlobStore *store = ctx;
    BlobLocation location = {
        .place = BLOB_IN_FILE,
        .size_bytes = header->size_bytes,
        .written_us = header->written_us,
    };
    BlobLocation known;
    if (locator_find(store->locator, header->sha256, &known) == 1) {
        return 0;
    }
    if (file_sync_name(&store->files, header->sha256) < 0) {
        return -ERR_STORAGE;
    }
    locator_put(store->locator, header->sha256, &location);
    return 0;
}

/** A file names itself by its content: what the locator lost in a crash is found by its name. */
static int find_file(BlobStore *store, const uint8_t sha256[32], BlobLocation *ret_location)
{
    _cleanup_(io_closep) int fd = -1;
    RecordHeader header;
    uint32_t *crcs;
    int rc = file_open_for_reading(&store->files, sha256, &fd);
    if (rc < 0) {
        return blob_store_is_passing(rc) ? -ERR_XDS_REPOSITORY_BUSY : 0;
    }
    if (file_read_record(fd, &header, &crcs) < 0) {
        return -ERR_CORRUPT;
    }
    free(crcs);
    if (memcmp(header.sha256, sha256, sizeof(header.sha256)) != 0) {
        return -ERR_CORRUPT;
    }
    if (!store->config.is_read_only && adopt_file(store, &header) < 0) {
        return -ERR_STORAGE;
    }
    *ret_location = (BlobLocation){
        .place = BLOB_IN_FILE,
        .size_bytes = header.size_bytes,
        .written_us = header.written_us,
    };
    return 1;
}

int blob_store_find(BlobStore *store, const uint8_t sha256[32], BlobLocation *ret_location)
{
    int found = locator_find(store->locator, sha256, ret_location);
    return found == 0 ? find_file(store, sha256, ret_location) : found;
}

static int storage_code(int rc)
{
    if (blob_store_is_passing(rc)) {
        return -ERR_XDS_REPOSITORY_BUSY;
    }
    return rc == -ENOENT || rc == -EBADMSG || rc == -ENODATA ? -ERR_CORRUPT : -ERR_IO;
}

/** Reads header and CRC list of a record in a segment. @return 0 or -errno */
static int read_segment_record(const BlobStore *store, const BlobLocation *location, int *ret_fd,
                               RecordHeader *ret_header, uint32_t **ret_crcs)
{
    char path[BLOB_PATH_MAX];
    segment_path(location->segment, path, sizeof(path));
    _cleanup_(io_closep) int fd = openat(store->directory_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    uint8_t fixed[RECORD_FIXED_BYTES];
    int rc = io_pread_all(fd, fixed, sizeof(fixed), location->offset);
    if (rc < 0) {
        return rc;
    }
    if (!record_decode(fixed, ret_header) || ret_header->size_bytes != location->size_bytes) {
        return -EBADMSG;
    }
    uint32_t *crcs = HEAP_ARRAY(uint32_t, (size_t)ret_header->block_count + 1);
    rc = io_pread_all(fd, crcs, ret_header->block_count * sizeof(*crcs),
                      location->offset + RECORD_FIXED_BYTES);
    if (rc == 0 && !record_is_intact(fixed, crcs, ret_header->block_count)) {
        rc = -EBADMSG;
    }
    if (rc < 0) {
        free(crcs);
        return rc;
    }
    *ret_crcs = crcs;
    *ret_fd = io_take_fd(&fd);
    return 0;
}

static int read_record(const BlobStore *store, const uint8_t sha256[32],
                       const BlobLocation *location, int *ret_fd, RecordHeader *ret_header,
                       uint32_t **ret_crcs)
{
    if (location->place == BLOB_IN_SEGMENT) {
        return read_segment_record(store, location, ret_fd, ret_header, ret_crcs);
    }
    int fd;
    int rc = file_open_for_reading(&store->files, sha256, &fd);
    if (rc < 0) {
        return rc;
    }
    rc = file_read_record(fd, ret_header, ret_crcs);
    if (rc < 0) {
        close(fd);
    } else {
        *ret_fd = fd;
    }
    return rc;
}

int blob_store_open_location(const BlobStore *store, const uint8_t sha256[32],
                             const BlobLocation *location, BlobReader **ret_reader)
{
    int fd = -1;
    RecordHeader header = {0};
    uint32_t *crcs = NULL;
    int rc = read_record(store, sha256, location, &fd, &header, &crcs);
    if (rc != 0) {
        return storage_code(rc);
    }
    BlobReader *reader = HEAP_NEW(BlobReader);
    reader->fd = fd;
    reader->crcs = crcs;
    reader->size_bytes = header.size_bytes;
    reader->block_count = header.block_count;
    reader->body_offset = location->place == BLOB_IN_FILE
                              ? 0
                              : location->offset + record_header_bytes(header.size_bytes);
    if (header.state != RECORD_LIVE || header.size_bytes != location->size_bytes ||
        memcmp(header.sha256, sha256, sizeof(header.sha256)) != 0) {
        blob_reader_free(reader);
        return -ERR_CORRUPT;
    }
    *ret_reader = reader;
    return 0;
}

void blob_store_unmark(BlobStore *store, const uint8_t sha256[32])
{
    pthread_mutex_lock(&store->dying_lock);
    location_table_remove(&store->dying, sha256);
    pthread_mutex_unlock(&store->dying_lock);
}

bool blob_store_holds(BlobStore *store, const DocumentContent *content)
{
    BlobLocation location;
    bool is_small = content->size_bytes <= store->config.segment_max_document_bytes;
    int found = is_small ? locator_find(store->locator, content->sha256, &location)
                         : blob_store_find(store, content->sha256, &location);
    BlobReader *reader;
    if (found != 1 || blob_store_open_location(store, content->sha256, &location, &reader) < 0) {
        return false;
    }
    int rc = blob_reader_verify(reader);
    blob_reader_free(reader);
    if (rc < 0) {
        return false;
    }
    blob_store_unmark(store, content->sha256);
    return true;
}

/* ---- reading ---- */

int blob_reader_open(BlobStore *store, const uint8_t sha256[32], BlobReader **ret_reader)
{
    BlobLocation location;
    int found = blob_store_find(store, sha256, &location);
    if (found <= 0) {
        return found < 0 ? found : -ERR_STORAGE;
    }
    return blob_store_open_location(store, sha256, &location, ret_reader);
}

uint64_t blob_reader_size_bytes(const BlobReader *reader)
{
    return reader->size_bytes;
}

static int read_block(const BlobReader *reader, uint64_t block, void *bytes, size_t len)
{
    int rc = io_pread_all(reader->fd, bytes, len, reader->body_offset + block * RECORD_BLOCK_BYTES);
    if (rc < 0) {
        return storage_code(rc);
    }
    return record_block_is_intact(reader->crcs, (size_t)block, bytes, len) ? 0 : -ERR_CORRUPT;
}

int blob_reader_verify(BlobReader *reader)
{
    uint8_t *block = heap_room(RECORD_BLOCK_BYTES);
    int rc = 0;
    for (uint64_t i = 0; i < reader->block_count && rc == 0; i++) {
        rc = read_block(reader, i, block, record_block_bytes(reader->size_bytes, i));
    }
    free(block);
    return rc;
}

int blob_reader_next(BlobReader *reader, StrBuf *buf)
{
    if (reader->next_block == reader->block_count) {
        return 0;
    }
    size_t len = record_block_bytes(reader->size_bytes, reader->next_block);
    char *place = strbuf_reserve(buf, len);
    int rc = read_block(reader, reader->next_block, place, len);
    if (rc < 0) {
        return rc;
    }
    buf->len += len;
    reader->next_block++;
    return reader->next_block < reader->block_count;
}

uint64_t blob_reader_seek(BlobReader *reader, uint64_t offset)
{
    reader->next_block = MIN(offset / RECORD_BLOCK_BYTES, reader->block_count);
    return offset % RECORD_BLOCK_BYTES;
}

void blob_reader_free(BlobReader *reader)
{
    if (!reader) {
        return;
    }
    close(reader->fd);
    free(reader->crcs);
    free(reader);
}

/* ---- upkeep ---- */

static BlobInfo info_of(const uint8_t sha256[32], const BlobLocation *location)
{
    BlobInfo info = {
        .size_bytes = location->size_bytes,
        .place = location->place,
        .offset = location->offset,
        .written_us = location->written_us,
    };
    memcpy(info.sha256, sha256, sizeof(info.sha256));
    if (location->place == BLOB_IN_SEGMENT) {
        segment_path(location->segment, info.file, sizeof(info.file));
    } else {
        file_path(sha256, info.file, sizeof(info.file));
    }
    return info;
}

bool blob_store_stat(BlobStore *store, const uint8_t sha256[32], BlobInfo *ret_info)
{
    BlobLocation location;
    if (blob_store_find(store, sha256, &location) != 1) {
        return false;
    }
    *ret_info = info_of(sha256, &location);
    return true;
}

typedef struct IterateCall {
    int (*fn)(void *ctx, const BlobInfo *info);
    void *ctx;
} IterateCall;

static int iterate_one(void *ctx, const uint8_t sha256[32], const BlobLocation *location)
{
    const IterateCall *call = ctx;
    BlobInfo info = info_of(sha256, location);
    return call->fn(call->ctx, &info);
}

int blob_store_iterate(BlobStore *store, int (*fn)(void *ctx, const BlobInfo *info), void *ctx)
{
    IterateCall call = {fn, ctx};
    return locator_iterate(store->locator, iterate_one, &call);
}

void blob_store_mark_dying(BlobStore *store, const uint8_t sha256[32])
{
    LocationEntry mark = {0};
    memcpy(mark.sha256, sha256, sizeof(mark.sha256));
    pthread_mutex_lock(&store->dying_lock);
    location_table_put(&store->dying, &mark);
    pthread_mutex_unlock(&store->dying_lock);
}

void blob_store_revive(BlobStore *store, const uint8_t sha256[32])
{
    blob_store_unmark(store, sha256);
}

static bool is_marked(BlobStore *store, const uint8_t sha256[32])
{
    pthread_mutex_lock(&store->dying_lock);
    bool is_dying = location_table_find(&store->dying, sha256) != NULL;
    pthread_mutex_unlock(&store->dying_lock);
    return is_dying;
}

/** The name goes first, durably: a name without bytes would be taken for a stored document after a
 * crash. */
static int delete_marked(BlobStore *store, const uint8_t sha256[32])
{
    BlobLocation location;
    int rc = locator_find(store->locator, sha256, &location);
    if (rc != 1) {
        return rc;
    }
    locator_remove(store->locator, sha256);
    rc = locator_flush(store->locator);
    if (rc < 0) {
        return rc;
    }
    fail_point("blob.delete_unnamed");
    rc = location.place == BLOB_IN_SEGMENT
             ? segment_delete(store->segments, location.segment, location.offset)
             : file_delete(&store->files, sha256);
    return rc < 0 ? -ERR_STORAGE : 1;
}

int blob_store_delete(BlobStore *store, const uint8_t sha256[32])
{
    pthread_rwlock_wrlock(&store->place_lock);
    int rc = is_marked(store, sha256) ? delete_marked(store, sha256) : 0;
    pthread_rwlock_unlock(&store->place_lock);
    blob_store_unmark(store, sha256);
    return rc;
}

int blob_store_adopt_files(BlobStore *store)
{
    return file_store_walk(&store->files, adopt_file, store) < 0 ? -ERR_STORAGE : 0;
}

int blob_store_rebuild_locator(const BlobStoreConfig *config, char *ret_problem,
                               size_t problem_size)
{
    _cleanup_(io_closep) int directory_fd = -1;
    _cleanup_(io_closep) int lock_fd = -1;
    int rc = io_open_directory(AT_FDCWD, config->blobs_dir, &directory_fd);
    if (rc == 0) {
        rc = take_lock(directory_fd, &lock_fd);
    }
    if (rc == 0) {
        rc = locator_destroy(config->locator_dir);
    }
    if (rc < 0) {
        problem_errno(ret_problem, problem_size, config->blobs_dir, rc);
        return -ERR_STORAGE;
    }
    io_closep(&lock_fd);
    BlobStore *store = blob_store_open(config, ret_problem, problem_size);
    if (!store) {
        return -ERR_STORAGE;
    }
    rc = blob_store_adopt_files(store);
    if (rc == 0) {
        rc = locator_flush(store->locator);
    }
    if (rc < 0) {
        snprintf(ret_problem, problem_size, "%s: the locator could not be written",
                 config->locator_dir);
    }
    blob_store_close(store);
    return rc;
}
