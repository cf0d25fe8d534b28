/** One document on its way into the store: hashed while it comes, placed when it is whole, named in
 * the locator when it is durable. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "repository/blob_store_private.h"

typedef struct BlobWriterState {
    BlobStore *store;
    EVP_MD_CTX *sha1; /* NULL: not wanted */
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

/* ---- taking bytes ---- */

static int refuse(Request *req, int rc)
{
    if (rc == -ENOSPC || rc == -EDQUOT) {
        return error_add(&req->errors, ERR_XDS_REPOSITORY_OUT_OF_RESOURCES, NULL,
                         "the repository has no room left: nothing was stored; send the same "
                         "message again when the operator has made room");
    }
    if (blob_store_is_passing(rc)) {
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
    BlobWriter *writer = HEAP_NEW(BlobWriter);
    BlobWriterState *state = HEAP_NEW(BlobWriterState);
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

void blob_writer_skip_sha1(BlobWriter *writer)
{
    EVP_MD_CTX_free(writer->state->sha1);
    writer->state->sha1 = NULL;
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
    state->buffer = heap_resized(state->buffer, state->capacity, 1);
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
    if ((state->sha1 && !EVP_DigestUpdate(state->sha1, bytes, len)) ||
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
    state->is_duplicate = blob_store_holds(store, &writer->content);
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
    if ((state->sha1 && !EVP_DigestFinal_ex(state->sha1, writer->content.sha1, NULL)) ||
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

/* ---- committing ---- */

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
                    blob_store_open_location(store, writer->content.sha256, &known, &reader) == 0 &&
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
    blob_store_unmark(store, writer->content.sha256);
    locator_put(store->locator, writer->content.sha256, &location);
    return 0;
}

/** What close() relied on may have been freed while the rest of a slow message arrived. */
static int confirm_duplicate(BlobWriter *writer)
{
    BlobLocation location;
    BlobStore *store = writer->state->store;
    if (blob_store_find(store, writer->content.sha256, &location) != 1) {
        return -EAGAIN;
    }
    blob_store_unmark(store, writer->content.sha256);
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

/* ---- as a sink ---- */

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
