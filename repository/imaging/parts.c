#include "repository/imaging/parts.h"

#include "lib/base/uuid.h"

typedef struct PartsSource {
    Parts parts;
    Str boundary; /* empty: a single part by itself */
    size_t next_part;
    bool is_in_part;
    bool is_whole;
    StrBuf first; /* made before the reply began */
    int first_rc; /* what next() said of it */
} PartsSource;

static int begin_part(PartsSource *source, StrBuf *buf)
{
    Str type;
    Str location = STR_EMPTY;
    const bool is_first = source->next_part == 0;
    int rc = source->parts.begin(source->parts.ctx, source->next_part++, &type, &location);
    if (rc < 0 || source->boundary.len == 0) {
        return rc;
    }
    strbuf_printf(buf, "%s--%.*s\r\nContent-Type: %.*s\r\n", is_first ? "" : "\r\n",
                  STR_ARG(source->boundary), STR_ARG(type));
    if (!str_is_empty(location)) {
        strbuf_printf(buf, "Content-Location: %.*s\r\n", STR_ARG(location));
    }
    strbuf_literal(buf, "\r\n");
    return 0;
}

/** Parts one after the other, until buf has something or all are over. */
static int make_next(PartsSource *source, StrBuf *buf)
{
    const size_t before = buf->len;
    while (buf->len == before || source->is_in_part) {
        int rc = 0;
        if (!source->is_in_part) {
            if (source->next_part == source->parts.count) {
                break;
            }
            rc = begin_part(source, buf);
            source->is_in_part = rc == 0;
        }
        rc = rc < 0 ? rc : source->parts.next(source->parts.ctx, buf);
        if (rc < 0) {
            return rc;
        }
        source->is_in_part = rc > 0;
        if (rc > 0) {
            return 1;
        }
    }
    if (source->next_part < source->parts.count) {
        return 1;
    }
    if (source->boundary.len > 0) {
        strbuf_printf(buf, "\r\n--%.*s--\r\n", STR_ARG(source->boundary));
    }
    source->is_whole = true;
    return 0;
}

static int source_next(void *ctx, StrBuf *buf)
{
    PartsSource *source = ctx;
    if (source->first.len == 0) {
        return make_next(source, buf);
    }
    strbuf_append(buf, strbuf_str(&source->first));
    strbuf_done(&source->first);
    return source->first_rc;
}

static void source_done(void *ctx)
{
    PartsSource *source = ctx;
    strbuf_done(&source->first);
    source->parts.done(source->parts.ctx, source->is_whole);
}

static Str content_type(Arena *arena, Str type, Str boundary)
{
    return str_printf(arena, "multipart/related; type=\"%.*s\"; boundary=\"%.*s\"", STR_ARG(type),
                      STR_ARG(boundary));
}

int parts_reply(DicomwebExchange *exchange, const Parts *parts, bool is_multipart, Str type)
{
    Arena *arena = exchange->req->arena;
    PartsSource *source = ARENA_NEW(arena, PartsSource);
    *source = (PartsSource){.parts = *parts};
    if (is_multipart) {
        Str urn = uuid_urn(arena, uuid_new());
        source->boundary = str_from_offset(urn, sizeof("urn:uuid:") - 1);
    }
    int rc = make_next(source, &source->first);
    if (rc < 0) {
        source_done(source);
        if (error_list_has_errors(&exchange->req->errors)) {
            return rc;
        }
        return error_add(&exchange->req->errors, (ErrorCode)(-rc), NULL,
                         "what is stored is damaged or cannot be read now, and is not given out; "
                         "ask again later, or ask the operator to restore it");
    }
    source->first_rc = rc;
    exchange->status = 200;
    exchange->reply_type = is_multipart ? content_type(arena, type, source->boundary) : type;
    exchange->source = (BodySource){source, source_next, source_done};
    return 0;
}
