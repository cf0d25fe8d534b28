#include "registry/gateway/kept_documents.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/file_io.h"

#define PIECE_BYTES 65536

/** A document in the file. */
typedef struct KeptDocument {
    DocumentContent content; /* first: what the receiver sees */
    uint64_t offset;
} KeptDocument;

static int add_no_room(Request *req)
{
    return error_add(&req->errors, ERR_XDS_REPOSITORY_OUT_OF_RESOURCES, NULL,
                     "the documents are large and there is no room to pass them on; ask again "
                     "later, or for fewer at a time");
}

static int sink_open(void *ctx, Request *req, DocumentContent **ret_content)
{
    KeptDocuments *kept = ctx;
    if (kept->fd < 0) {
        kept->fd = open(kept->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (kept->fd < 0) {
            return add_no_room(req);
        }
    }
    KeptDocument *document = ARENA_NEW(req->arena, KeptDocument);
    document->offset = kept->size_bytes;
    *ret_content = &document->content;
    return 0;
}

static int sink_write(void *ctx, Request *req, DocumentContent *content, const void *bytes,
                      size_t len)
{
    KeptDocuments *kept = ctx;
    if (len > KEPT_DOCUMENTS_MAX_BYTES - kept->size_bytes ||
        io_pwrite_all(kept->fd, bytes, len, kept->size_bytes) < 0) {
        return add_no_room(req);
    }
    kept->size_bytes += len;
    content->size_bytes += len;
    return 0;
}

static int sink_close(void *ctx, Request *req, DocumentContent *content)
{
    (void)ctx;
    (void)req;
    (void)content;
    return 0;
}

/** The file goes as a whole. */
static void sink_abandon(void *ctx, DocumentContent *content)
{
    (void)ctx;
    (void)content;
}

void kept_documents_init(KeptDocuments *kept, const char *directory)
{
    *kept = (KeptDocuments){
        .sink = {kept, sink_open, sink_write, sink_close, sink_abandon},
        .directory = directory,
        .fd = -1,
    };
}

void kept_documents_done(KeptDocuments *kept)
{
    io_closep(&kept->fd);
}

/** A document on its way out. */
typedef struct KeptSource {
    int fd;
    uint64_t offset;
    uint64_t end;
} KeptSource;

static int source_next(void *ctx, StrBuf *buf)
{
    KeptSource *source = ctx;
    size_t len = (size_t)MIN(source->end - source->offset, (uint64_t)PIECE_BYTES);
    if (len > 0 && io_pread_all(source->fd, strbuf_reserve(buf, len), len, source->offset) < 0) {
        return -(int)ERR_IO;
    }
    buf->len += len;
    source->offset += len;
    return source->offset < source->end ? 1 : 0;
}

BodySource kept_documents_source(const KeptDocuments *kept, Arena *arena,
                                 const DocumentContent *content)
{
    const KeptDocument *document = (const KeptDocument *)content;
    KeptSource *source = ARENA_NEW(arena, KeptSource);
    *source =
        (KeptSource){kept->fd, document->offset, document->offset + document->content.size_bytes};
    return (BodySource){.ctx = source, .next = source_next};
}
