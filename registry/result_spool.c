#include "registry/result_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/file_io.h"
#include "lib/base/heap.h"
#include "lib/base/macros.h"

#define READ_BYTES (256 * 1024)

/** Before each record. */
typedef uint32_t RecordLength;

struct ResultSpool {
    const char *directory;
    int fd;           /* -1: all is in memory */
    StrBuf buf;       /* written: not yet in the file; read: a piece of the file, or all */
    size_t position;  /* in buf, of the next record to read */
    off_t file_bytes; /* written to the file */
    off_t file_read;  /* of them, read into buf */
};

ResultSpool *result_spool_new(const char *directory)
{
    ResultSpool *spool = HEAP_NEW(ResultSpool);
    spool->directory = directory;
    spool->fd = -1;
    return spool;
}

void result_spool_free(ResultSpool *spool)
{
    if (spool == NULL) {
        return;
    }
    if (spool->fd >= 0) {
        (void)close(spool->fd);
    }
    strbuf_done(&spool->buf);
    free(spool);
}

size_t result_spool_bytes(const ResultSpool *spool)
{
    return (size_t)spool->file_bytes + spool->buf.len;
}

bool result_spool_is_on_disk(const ResultSpool *spool)
{
    return spool->fd >= 0;
}

static int add_io_error(Request *req)
{
    return error_add(&req->errors, ERR_XDS_REGISTRY_OUT_OF_RESOURCES, NULL,
                     "the answer is large and there is no room to prepare it; ask again later, or "
                     "narrow the query");
}

/** Moves buf to the end of the file. */
static int flush(ResultSpool *spool, Request *req)
{
    if (spool->fd < 0) {
        spool->fd = open(spool->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (spool->fd < 0) {
            return add_io_error(req);
        }
    }
    if (io_pwrite_all(spool->fd, spool->buf.data, spool->buf.len, (uint64_t)spool->file_bytes) <
        0) {
        return add_io_error(req);
    }
    spool->file_bytes += (off_t)spool->buf.len;
    strbuf_clear(&spool->buf);
    return 0;
}

int result_spool_append(ResultSpool *spool, Request *req, const Str *parts, size_t part_count)
{
    size_t len = 0;
    for (size_t i = 0; i < part_count; i++) {
        len += parts[i].len;
    }
    if (len > UINT32_MAX) {
        return add_io_error(req);
    }
    if (spool->buf.len > 0 &&
        spool->buf.len + sizeof(RecordLength) + len > RESULT_SPOOL_MEMORY_BYTES) {
        int r = flush(spool, req);
        if (r < 0) {
            return r;
        }
    }
    RecordLength prefix = (RecordLength)len;
    strbuf_append_bytes(&spool->buf, &prefix, sizeof(prefix));
    for (size_t i = 0; i < part_count; i++) {
        strbuf_append(&spool->buf, parts[i]);
    }
    return 0;
}

int result_spool_finish(ResultSpool *spool, Request *req)
{
    if (spool->fd < 0) {
        return 0;
    }
    int r = flush(spool, req);
    strbuf_done(&spool->buf); /* reading takes a smaller piece */
    return r;
}

/** Makes at least wanted unread bytes available in buf. @return 1, 0 at the end, -ERR_IO */
static int fill(ResultSpool *spool, size_t wanted)
{
    size_t left = spool->buf.len - spool->position;
    if (left >= wanted) {
        return 1;
    }
    if (spool->fd < 0 || spool->file_read == spool->file_bytes) {
        return left == 0 ? 0 : -(int)ERR_IO;
    }
    if (left > 0) {
        memmove(spool->buf.data, spool->buf.data + spool->position, left);
    }
    spool->buf.len = left;
    spool->position = 0;
    while (spool->buf.len < wanted) {
        char *end = strbuf_reserve(&spool->buf, MAX((size_t)READ_BYTES, wanted));
        ssize_t n = pread(spool->fd, end, MAX((size_t)READ_BYTES, wanted), spool->file_read);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -(int)ERR_IO;
        }
        spool->buf.len += (size_t)n;
        spool->file_read += n;
    }
    return 1;
}

int result_spool_next(ResultSpool *spool, Str *ret_record)
{
    RecordLength len;
    int r = fill(spool, sizeof(len));
    if (r <= 0) {
        return r;
    }
    memcpy(&len, spool->buf.data + spool->position, sizeof(len));
    r = fill(spool, sizeof(len) + len);
    if (r <= 0) {
        return r < 0 ? r : -(int)ERR_IO;
    }
    *ret_record = (Str){spool->buf.data + spool->position + sizeof(len), len};
    spool->position += sizeof(len) + len;
    return 1;
}
