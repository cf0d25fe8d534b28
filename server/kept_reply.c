#include "server/kept_reply.h"

#include "lib/base/file_io.h"

#define MEMORY_BYTES ((size_t)1 << 20)
#define PIECE_BYTES ((size_t)65536)

static int no_room(KeptReply *kept, Request *req)
{
    atomic_fetch_add(&kept->room->refused_count, 1);
    return error_add(&req->errors, ERR_XDS_REGISTRY_OUT_OF_RESOURCES, NULL,
                     "the reply is large and there is no room to keep it until it is sent; ask for "
                     "less, ask again later, or ask for a reply on the connection");
}

/** Moves the text to the end of the file. */
static int flush(KeptReply *kept, Request *req)
{
    if (!spill_room_take(kept->room, kept->text.len)) {
        return no_room(kept, req);
    }
    kept->file_bytes += kept->text.len;
    if (kept->fd < 0) {
        kept->fd = spill_file_open(kept->room);
    }
    if (kept->fd < 0 || io_pwrite_all(kept->fd, kept->text.data, kept->text.len,
                                      kept->file_bytes - kept->text.len) < 0) {
        return no_room(kept, req);
    }
    strbuf_clear(&kept->text);
    return 0;
}

static int take(KeptReply *kept, Request *req, const BodySource *source)
{
    int more;
    do {
        more = source->next(source->ctx, &kept->text);
        if (more < 0) {
            return error_add(&req->errors, ERR_SOAP_RECEIVER, NULL,
                             "a part of the reply cannot be read; it is whole in no case");
        }
        if (kept->text.len > MEMORY_BYTES) {
            int rc = flush(kept, req);
            if (rc < 0) {
                return rc;
            }
        }
    } while (more > 0);
    return 0;
}

int kept_reply_make(KeptReply *kept, Request *req, SpillRoom *room, BodySource *source)
{
    kept_reply_drop(kept);
    *kept = (KeptReply){.room = room, .fd = -1};
    int rc = take(kept, req, source);
    if (source->done) {
        source->done(source->ctx);
    }
    if (rc < 0) {
        kept_reply_drop(kept);
    }
    return rc;
}

void kept_reply_drop(KeptReply *kept)
{
    if (!kept->room) {
        return;
    }
    io_closep(&kept->fd);
    spill_room_give_back(kept->room, kept->file_bytes);
    strbuf_done(&kept->text);
    *kept = (KeptReply){.fd = -1};
}

uint64_t kept_reply_bytes(const KeptReply *kept)
{
    return kept->file_bytes + kept->text.len;
}

static int next_of_file(KeptReplyReader *reader, StrBuf *buf)
{
    size_t len = (size_t)MIN(reader->kept->file_bytes - reader->position, (uint64_t)PIECE_BYTES);
    char *room = strbuf_reserve(buf, len);
    if (io_pread_all(reader->kept->fd, room, len, reader->position) < 0) {
        return -(int)ERR_IO;
    }
    buf->len += len;
    reader->position += len;
    return 1;
}

static int next(void *ctx, StrBuf *buf)
{
    KeptReplyReader *reader = ctx;
    const KeptReply *kept = reader->kept;
    if (reader->position < kept->file_bytes) {
        return next_of_file(reader, buf);
    }
    Str rest = str_from_offset(strbuf_str(&kept->text), reader->position - kept->file_bytes);
    Str piece = str_slice(rest, 0, PIECE_BYTES);
    strbuf_append(buf, piece);
    reader->position += piece.len;
    return piece.len < rest.len;
}

BodySource kept_reply_source(KeptReplyReader *reader, const KeptReply *kept)
{
    *reader = (KeptReplyReader){.kept = kept};
    return (BodySource){.ctx = reader, .next = next};
}
