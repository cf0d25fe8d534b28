#include "server/command/document_stream.h"

#include <errno.h>
#include <unistd.h>

#define READ_BYTES ((size_t)256 * 1024)
#define SEPARATOR '\0'

void document_stream_init(DocumentStream *stream, int fd, size_t max_bytes)
{
    *stream = (DocumentStream){.fd = fd, .max_bytes = max_bytes};
}

void document_stream_done(DocumentStream *stream)
{
    strbuf_done(&stream->bytes);
}

/** Moves what was not handed out to the front and reads more behind it. @return false: errno */
static bool read_more(DocumentStream *stream)
{
    StrBuf *bytes = &stream->bytes;
    size_t left = bytes->len - stream->at;
    if (stream->at > 0 && left > 0) {
        memmove(bytes->data, bytes->data + stream->at, left);
    }
    bytes->len = left;
    stream->at = 0;
    char *room = strbuf_reserve(bytes, READ_BYTES);
    ssize_t got;
    do {
        got = read(stream->fd, room, READ_BYTES);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return false;
    }
    bytes->len += (size_t)got;
    stream->has_ended = got == 0;
    return true;
}

/** Takes what is before the next separator, or before the end. @return false: more is to be read */
static bool take_piece(DocumentStream *stream, size_t *searched, Str *ret_piece)
{
    Str rest = str_from_offset(strbuf_str(&stream->bytes), stream->at);
    size_t found = str_find_char(str_from_offset(rest, *searched), SEPARATOR);
    if (found == SIZE_MAX && !stream->has_ended) {
        *searched = rest.len;
        return false;
    }
    size_t len = found == SIZE_MAX ? rest.len : *searched + found;
    *ret_piece = str_slice(rest, 0, len);
    stream->at += len + (found != SIZE_MAX);
    *searched = 0;
    return true;
}

/** What is too large is dropped as it arrives. */
static void skip_if_too_large(DocumentStream *stream, size_t *searched)
{
    if (stream->is_skipping || *searched > stream->max_bytes) {
        stream->is_skipping = true;
        stream->at = stream->bytes.len;
        *searched = 0;
    }
}

static bool has_more(const DocumentStream *stream)
{
    return !stream->has_ended || stream->at < stream->bytes.len;
}

DocumentStreamEvent document_stream_next(DocumentStream *stream, Str *ret_document)
{
    size_t searched = 0;
    while (has_more(stream) || stream->is_skipping) {
        Str piece;
        if (!take_piece(stream, &searched, &piece)) {
            skip_if_too_large(stream, &searched);
            if (!read_more(stream)) {
                return DOCUMENT_STREAM_FAILED;
            }
            continue;
        }
        if (stream->is_skipping || piece.len > stream->max_bytes) {
            stream->is_skipping = false;
            return DOCUMENT_STREAM_TOO_LARGE;
        }
        if (!str_is_empty(str_trim(piece))) {
            *ret_document = piece;
            return DOCUMENT_STREAM_DOCUMENT;
        }
    }
    return DOCUMENT_STREAM_END;
}
