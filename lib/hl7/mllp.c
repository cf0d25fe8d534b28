#include "lib/hl7/mllp.h"

/* A buffer that one large message has made is not kept for the rest of a long connection. */
#define KEPT_BYTES ((size_t)256 * 1024)

void mllp_parser_init(MllpParser *parser, size_t max_bytes)
{
    *parser = (MllpParser){.max_bytes = max_bytes};
}

void mllp_parser_done(MllpParser *parser)
{
    strbuf_done(&parser->payload);
}

static void begin_next(MllpParser *parser)
{
    if (parser->payload.cap > KEPT_BYTES) {
        strbuf_done(&parser->payload);
    }
    strbuf_clear(&parser->payload);
    parser->is_complete = false;
}

/** Discards what is before 0x0B. */
static MllpEvent skip_to_start(MllpParser *parser, Str *bytes)
{
    size_t start = str_find_char(*bytes, MLLP_START);
    Str skipped = str_slice(*bytes, 0, start);
    for (size_t i = 0; i < skipped.len; i++) {
        parser->noise_bytes += skipped.data[i] != '\r' && skipped.data[i] != '\n';
    }
    *bytes = start == SIZE_MAX ? STR_EMPTY : str_from_offset(*bytes, start + 1);
    parser->is_in_frame = start != SIZE_MAX;
    return parser->noise_bytes > MLLP_NOISE_MAX_BYTES ? MLLP_BROKEN : MLLP_MORE;
}

/** Takes payload up to 0x1C. */
static MllpEvent take_payload(MllpParser *parser, Str *bytes)
{
    size_t end = str_find_char(*bytes, MLLP_END);
    Str piece = str_slice(*bytes, 0, end);
    if (piece.len > parser->max_bytes - parser->payload.len) {
        return MLLP_TOO_LARGE;
    }
    if (str_find_char(piece, MLLP_START) != SIZE_MAX) {
        return MLLP_BROKEN;
    }
    strbuf_append(&parser->payload, piece);
    if (end == SIZE_MAX) {
        *bytes = STR_EMPTY;
        return MLLP_MORE;
    }
    *bytes = str_from_offset(*bytes, end + 1);
    parser->is_in_frame = false;
    parser->is_complete = true;
    parser->noise_bytes = 0;
    return MLLP_FRAME;
}

MllpEvent mllp_parser_push(MllpParser *parser, Str *bytes)
{
    if (parser->is_complete) {
        begin_next(parser);
    }
    if (!parser->is_in_frame) {
        MllpEvent event = skip_to_start(parser, bytes);
        if (event != MLLP_MORE || !parser->is_in_frame) {
            return event;
        }
    }
    return take_payload(parser, bytes);
}

void mllp_append_frame(StrBuf *buf, Str payload)
{
    strbuf_append_char(buf, MLLP_START);
    strbuf_append(buf, payload);
    strbuf_append_char(buf, MLLP_END);
    strbuf_append_char(buf, '\r');
}
