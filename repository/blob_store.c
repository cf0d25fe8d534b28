#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/file_io.h"
#include "lib/base/log.h"
#include "repository/blob.h"
#include "repository/blob_file.h"
#include "repository/locator.h"
#include "repository/segment.h"

struct BlobStore {
    BlobStoreConfig config; /* its texts are not kept */
    int directory_fd;
    int lock_fd;
    int segments_fd;
    FileStore files;
    bool has_files;
    SegmentStore *segments; /* NULL if read-only */
    Locator *locator;
    EVP_MD *sha1;
    EVP_MD *sha256;
    /** Read: naming a place in the locator, or relying on one. Write: taking a place away. */
    pthread_rwlock_t place_lock;
    pthread_mutex_t dying_lock;
    LocationTable dying; /* marked by the sweep */
};

typedef struct BlobWriterState {
    BlobStore *store;
    EVP_MD_CTX *sha1;
    EVP_MD_CTX *sha256;
    BlockCrcs crcs;
    uint8_t *buffer; /* not yet written */
    size_t buffered;
    size_t capacity;
    FileUpload upload; /* fd -1 while the document may still be a small one */
    SegmentSlot *slot; /* written to a segment, not yet in the locator */
    int64_t written_us;
    bool is_duplicate; /* the store holds these bytes already */
} BlobWriterState;

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
    BlobStore *store = calloc(1, sizeof(*store));
    if (!store) {
        abort();
    }
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

/** Whether the fault (an errno, negative) is the moment's, and says nothing of what is stored. */
static bool is_passing(int rc)
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
        return is_passing(rc) ? -ERR_XDS_REPOSITORY_BUSY : 0;
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

/** @return 1 found, 0 unknown, -ERR_CORRUPT, -ERR_STORAGE, -ERR_XDS_REPOSITORY_BUSY */
static int find(BlobStore *store, const uint8_t sha256[32], BlobLocation *ret_location)
{
    int found = locator_find(store->locator, sha256, ret_location);
    return found == 0 ? find_file(store, sha256, ret_location) : found;
}

static int storage_code(int rc)
{
    if (is_passing(rc)) {
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
    uint32_t *crcs = calloc((size_t)ret_header->block_count + 1, sizeof(*crcs));
    if (!crcs) {
        abort();
    }
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

/** Opens what the locator names, if its record is intact, alive and of that document. @return 0,
 * -ERR_CORRUPT, -ERR_IO, -ERR_XDS_REPOSITORY_BUSY */
static int open_location(const BlobStore *store, const uint8_t sha256[32],
                         const BlobLocation *location, BlobReader **ret_reader)
{
    int fd = -1;
    RecordHeader header = {0};
    uint32_t *crcs = NULL;
    int rc = read_record(store, sha256, location, &fd, &header, &crcs);
    if (rc != 0) {
        return storage_code(rc);
    }
    BlobReader *reader = calloc(1, sizeof(*reader));
    if (!reader) {
        abort();
    }
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

static void unmark(BlobStore *store, const uint8_t sha256[32])
{
    pthread_mutex_lock(&store->dying_lock);
    location_table_remove(&store->dying, sha256);
    pthread_mutex_unlock(&store->dying_lock);
}

/**
 * Whether the store holds these bytes already, in a record that can be relied on: a damaged one is
 * written anew. The place lock is held for reading.
 */
static bool is_stored(BlobStore *store, const DocumentContent *content)
{
    BlobLocation location;
    bool is_small = content->size_bytes <= store->config.segment_max_document_bytes;
    int found = is_small ? locator_find(store->locator, content->sha256, &location)
                         : find(store, content->sha256, &location);
    BlobReader *reader;
    if (found != 1 || open_location(store, content->sha256, &location, &reader) < 0) {
        return false;
    }
    int rc = blob_reader_verify(reader);
    blob_reader_free(reader);
    if (rc < 0) {
        return false;
    }
    unmark(store, content->sha256);
    return true;
}

/* ---- writing ---- */

static int refuse(Request *req, int rc)
{
    if (rc == -ENOSPC || rc == -EDQUOT) {
        return error_add(&req->errors, ERR_XDS_REPOSITORY_OUT_OF_RESOURCES, NULL,
                         "the repository has no room left: nothing was stored; send the same "
                         "message again when the operator has made room");
    }
    if (is_passing(rc)) {
        return error_add(&req->errors, ERR_XDS_REPOSITORY_BUSY, NULL,
                         "nothing was stored; send the same message again");
    }
    char text[128];
    log_error("ref=%s event=document_not_stored error=\"%s\"", req->ref,
              strerror_r(-rc, text, sizeof(text)));
    return error_add(&req->errors, ERR_STORAGE, NULL,
                     "the repository's storage has failed and takes no documents: nothing was "
                     "stored; send the same message again later");
}

int blob_writer_open(BlobStore *store, Request *req, BlobWriter **ret_writer)
{
    if (!blob_store_is_writable(store)) {
        return refuse(req, -EROFS);
    }
    BlobWriter *writer = calloc(1, sizeof(*writer));
    BlobWriterState *state = calloc(1, sizeof(*state));
    if (!writer || !state) {
        abort();
    }
    writer->state = state;
    state->store = store;
    state->upload.fd = -1;
    state->sha1 = EVP_MD_CTX_new();
    state->sha256 = EVP_MD_CTX_new();
    if (!state->sha1 || !state->sha256 || !EVP_DigestInit_ex2(state->sha1, store->sha1, NULL) ||
        !EVP_DigestInit_ex2(state->sha256, store->sha256, NULL)) {
        blob_writer_abandon(writer);
        return refuse(req, -EIO);
    }
    *ret_writer = writer;
    return 0;
}

/** Writes the buffer to the document's own file, which is begun with the first such write. */
static int flush_to_file(BlobWriterState *state)
{
    FileStore *files = &state->store->files;
    if (state->upload.fd < 0) {
        int rc = file_upload_begin(files, &state->upload);
        if (rc < 0) {
            return rc;
        }
    }
    int rc = file_upload_write(files, &state->upload, state->buffer, state->buffered);
    state->buffered = 0;
    return rc;
}

static void grow_buffer(BlobWriterState *state, size_t wanted)
{
    size_t limit = (size_t)state->store->config.segment_max_document_bytes;
    size_t capacity = MAX(state->capacity * 2, (size_t)16384);
    while (capacity < wanted) {
        capacity *= 2;
    }
    state->capacity = MIN(capacity, limit);
    state->buffer = realloc(state->buffer, state->capacity);
    if (!state->buffer) {
        abort();
    }
}

/** Takes bytes into the buffer; what does not fit makes the document a large one. */
static int buffer_bytes(BlobWriterState *state, const uint8_t *bytes, size_t len)
{
    size_t limit = (size_t)state->store->config.segment_max_document_bytes;
    while (len > 0) {
        if (state->buffered == limit) {
            int rc = flush_to_file(state);
            if (rc < 0) {
                return rc;
            }
        }
        size_t step = MIN(len, limit - state->buffered);
        if (state->buffered + step > state->capacity) {
            grow_buffer(state, state->buffered + step);
        }
        memcpy(state->buffer + state->buffered, bytes, step);
        state->buffered += step;
        bytes += step;
        len -= step;
    }
    return 0;
}

int blob_writer_write(BlobWriter *writer, Request *req, const void *bytes, size_t len)
{
    BlobWriterState *state = writer->state;
    if (!EVP_DigestUpdate(state->sha1, bytes, len) ||
        !EVP_DigestUpdate(state->sha256, bytes, len)) {
        return refuse(req, -EIO);
    }
    block_crcs_update(&state->crcs, bytes, len);
    writer->content.size_bytes += len;
    int rc = buffer_bytes(state, bytes, len);
    return rc < 0 ? refuse(req, rc) : 0;
}

static void free_buffers(BlobWriterState *state)
{
    free(state->buffer);
    state->buffer = NULL;
    state->buffered = state->capacity = 0;
    block_crcs_done(&state->crcs);
    EVP_MD_CTX_free(state->sha1);
    EVP_MD_CTX_free(state->sha256);
    state->sha1 = state->sha256 = NULL;
}

static RecordHeader header_of(const BlobWriter *writer)
{
    RecordHeader header = {
        .state = RECORD_LIVE,
        .block_count = (uint32_t)writer->state->crcs.count,
        .size_bytes = writer->content.size_bytes,
        .written_us = writer->state->written_us,
    };
    memcpy(header.sha256, writer->content.sha256, sizeof(header.sha256));
    memcpy(header.sha1, writer->content.sha1, sizeof(header.sha1));
    return header;
}

/** Brings the bytes to where they stay, unless they are there already. */
static int place_bytes(BlobWriter *writer)
{
    BlobWriterState *state = writer->state;
    BlobStore *store = state->store;
    pthread_rwlock_rdlock(&store->place_lock);
    state->is_duplicate = is_stored(store, &writer->content);
    pthread_rwlock_unlock(&store->place_lock);
    if (state->is_duplicate) {
        file_upload_end(&store->files, &state->upload);
        return 0;
    }

    RecordHeader header = header_of(writer);
    if (state->upload.fd < 0) {
        return segment_append(store->segments, &header, &state->crcs, state->buffer, &state->slot);
    }
    int rc = flush_to_file(state);
    return rc < 0 ? rc : file_upload_finish(&store->files, &state->upload, &header, &state->crcs);
}

int blob_writer_close(BlobWriter *writer, Request *req)
{
    BlobWriterState *state = writer->state;
    if (!EVP_DigestFinal_ex(state->sha1, writer->content.sha1, NULL) ||
        !EVP_DigestFinal_ex(state->sha256, writer->content.sha256, NULL)) {
        return refuse(req, -EIO);
    }
    block_crcs_finish(&state->crcs);
    state->written_us = clock_utc_us();
    int rc = place_bytes(writer);
    free_buffers(state);
    return rc < 0 ? refuse(req, rc) : 0;
}

void blob_writer_abandon(BlobWriter *writer)
{
    if (!writer) {
        return;
    }
    BlobWriterState *state = writer->state;
    if (state->slot) {
        segment_slot_undo(state->store->segments, state->slot);
    }
    file_upload_end(&state->store->files, &state->upload);
    free_buffers(state);
    free(state);
    free(writer);
}

/** Names a durable record in the locator; if somebody else was faster, this copy goes. */
static void publish_slot(BlobWriter *writer)
{
    BlobWriterState *state = writer->state;
    BlobStore *store = state->store;
    BlobLocation location = {
        .place = BLOB_IN_SEGMENT,
        .segment = segment_slot_number(state->slot),
        .offset = segment_slot_offset(state->slot),
        .size_bytes = writer->content.size_bytes,
        .written_us = state->written_us,
    };
    pthread_mutex_lock(&store->dying_lock);
    BlobLocation known;
    BlobReader *reader = NULL;
    bool is_known = locator_find(store->locator, writer->content.sha256, &known) == 1 &&
                    open_location(store, writer->content.sha256, &known, &reader) == 0 &&
                    blob_reader_verify(reader) == 0;
    blob_reader_free(reader);
    location_table_remove(&store->dying, writer->content.sha256);
    if (!is_known) {
        locator_put(store->locator, writer->content.sha256, &location);
    }
    pthread_mutex_unlock(&store->dying_lock);

    if (is_known) {
        segment_slot_undo(store->segments, state->slot);
    } else {
        segment_slot_settle(store->segments, state->slot);
    }
    state->slot = NULL;
}

static int publish_file(BlobWriter *writer)
{
    BlobWriterState *state = writer->state;
    BlobStore *store = state->store;
    int rc = file_upload_commit(&store->files, &state->upload, writer->content.sha256);
    if (rc < 0) {
        return rc;
    }
    BlobLocation location = {
        .place = BLOB_IN_FILE,
        .size_bytes = writer->content.size_bytes,
        .written_us = state->written_us,
    };
    unmark(store, writer->content.sha256);
    locator_put(store->locator, writer->content.sha256, &location);
    return 0;
}

/** What close() relied on may have been freed while the rest of a slow message arrived. */
static int confirm_duplicate(BlobWriter *writer)
{
    BlobLocation location;
    BlobStore *store = writer->state->store;
    if (find(store, writer->content.sha256, &location) != 1) {
        return -EAGAIN;
    }
    unmark(store, writer->content.sha256);
    return 0;
}

static int publish(BlobWriter *writer)
{
    BlobWriterState *state = writer->state;
    int rc = 0;
    pthread_rwlock_rdlock(&state->store->place_lock);
    if (state->is_duplicate) {
        rc = confirm_duplicate(writer);
    } else if (state->slot) {
        publish_slot(writer);
    } else if (state->upload.fd >= 0) {
        rc = publish_file(writer);
    }
    pthread_rwlock_unlock(&state->store->place_lock);
    return rc;
}

int blob_writers_commit(BlobStore *store, Request *req, BlobWriter **writers, size_t count)
{
    bool has_slots = false;
    for (size_t i = 0; i < count; i++) {
        has_slots |= writers[i]->state->slot != NULL;
    }
    int rc = has_slots ? segment_sync(store->segments) : 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = publish(writers[i]);
    }
    if (rc == 0) {
        fail_point("blob.located");
    }
    for (size_t i = 0; i < count; i++) {
        blob_writer_abandon(writers[i]);
    }
    return rc < 0 ? refuse(req, rc) : 0;
}

static int sink_open(void *ctx, Request *req, DocumentContent **ret_content)
{
    BlobWriter *writer = NULL;
    int rc = blob_writer_open(ctx, req, &writer);
    if (rc == 0) {
        *ret_content = &writer->content;
    }
    return rc;
}

static int sink_write(UNUSED void *ctx, Request *req, DocumentContent *content, const void *bytes,
                      size_t len)
{
    return blob_writer_write((BlobWriter *)content, req, bytes, len);
}

static int sink_close(UNUSED void *ctx, Request *req, DocumentContent *content)
{
    return blob_writer_close((BlobWriter *)content, req);
}

static void sink_abandon(UNUSED void *ctx, DocumentContent *content)
{
    blob_writer_abandon((BlobWriter *)content);
}

DocumentSink blob_store_sink(BlobStore *store)
{
    return (DocumentSink){store, sink_open, sink_write, sink_close, sink_abandon};
}

/* ---- reading ---- */

int blob_reader_open(BlobStore *store, const uint8_t sha256[32], BlobReader **ret_reader)
{
    BlobLocation location;
    int found = find(store, sha256, &location);
    if (found <= 0) {
        return found < 0 ? found : -ERR_STORAGE;
    }
    return open_location(store, sha256, &location, ret_reader);
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
    uint8_t *block = malloc(RECORD_BLOCK_BYTES);
    if (!block) {
        abort();
    }
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
    if (find(store, sha256, &location) != 1) {
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
    unmark(store, sha256);
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
    unmark(store, sha256);
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
