#include "registry/gateway/kept_documents.h"

#include "lib/base/file_io.h"

#define PIECE_BYTES 65536

/** A document in the file. */
typedef struct KeptDocument {
    DocumentContent content; /* first: what the receiver sees */
    uint64_t offset;
} KeptDocument;

static int add_no_room(KeptDocuments *kept, Request *req)
{
    atomic_fetch_add(&kept->room->refused_count, 1);
    return error_add(&req->errors, ERR_XDS_REPOSITORY_OUT_OF_RESOURCES, NULL,
                     "the documents are large and there is no room to pass them on ([gateway] "
                     "spill_size); ask again later, or for fewer at a time");
}

static int sink_open(void *ctx, Request *req, DocumentContent **ret_content)
{
    KeptDocuments *kept = ctx;
    if (kept->fd < 0) {
        kept->fd = spill_file_open(kept->room);
        if (kept->fd < 0) {
            return add_no_room(kept, req);
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
    if (len > kept->room->limit_bytes / 2 - kept->size_bytes || !spill_room_take(kept->room, len)) {
        return add_no_room(kept, req);
    }
    kept->size_bytes += len;
    if (io_pwrite_all(kept->fd, bytes, len, kept->size_bytes - len) < 0) {
        return add_no_room(kept, req);
    }
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

/** All of an answer or none: the file goes as a whole. */
static void sink_abandon(void *ctx, DocumentContent *content)
{
    (void)content;
    kept_documents_done(ctx);
}

void kept_documents_init(KeptDocuments *kept, SpillRoom *room)
{
    *kept = (KeptDocuments){
        .sink = {kept, sink_open, sink_write, sink_close, sink_abandon},
        .room = room,
        .fd = -1,
    };
}

void kept_documents_done(KeptDocuments *kept)
{
    io_closep(&kept->fd);
    spill_room_give_back(kept->room, kept->size_bytes);
    kept->size_bytes = 0;
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
