/* MLLP framing: the frames must not depend on how the network cut the stream. */

#include "lib/hl7/mllp.h"

#include "tests/fuzz/fuzz.h"

#define LIMIT_BYTES 64

/** Pushes the stream in pieces of at most piece bytes; payloads and the end are written to log. */
static void push_in_pieces(Str stream, size_t piece, StrBuf *log)
{
    MllpParser parser;
    mllp_parser_init(&parser, LIMIT_BYTES);
    MllpEvent event = MLLP_MORE;
    for (size_t at = 0; at < stream.len && (event == MLLP_MORE || event == MLLP_FRAME);
         at += piece) {
        Str rest = str_slice(stream, at, piece);
        while ((event = mllp_parser_push(&parser, &rest)) == MLLP_FRAME) {
            FUZZ_CHECK(parser.payload.len <= LIMIT_BYTES);
            mllp_append_frame(log, strbuf_str(&parser.payload));
        }
    }
    strbuf_append(log, event == MLLP_MORE || event == MLLP_FRAME ? STR("open") : STR("closed"));
    mllp_parser_done(&parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return 0;
    }
    Str stream = {(const char *)bytes + 1, len - 1};
    StrBuf whole = {0};
    StrBuf cut = {0};
    push_in_pieces(stream, stream.len + 1, &whole);
    push_in_pieces(stream, (size_t)bytes[0] % 16 + 1, &cut);
    FUZZ_CHECK(str_equal(strbuf_str(&whole), strbuf_str(&cut)));
    strbuf_done(&whole);
    strbuf_done(&cut);
    return 0;
}
