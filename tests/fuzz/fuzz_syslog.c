/* Syslog over TLS: the messages must not depend on how the network cut the stream, and each is
 * read. */

#include "atna/keys.h"
#include "atna/syslog_frame.h"
#include "lib/xml/read.h"

#include "tests/fuzz/fuzz.h"

/** Reads a message; what is found must be as the tables take it, whatever was read before. */
static void check_message(Str message)
{
    static RecordReader reader;
    static KeyList keys;
    Arena *arena = arena_new();
    AuditContent content;
    AuditContent again;
    KeyList fresh = {0};
    const AuditSender sender = {AUDIT_TLS, STR_INIT("a"), STR_INIT("192.0.2.7")};
    record_read(arena, message, true, 0, &content);
    record_reader_read(&reader, arena, message, true, 0, &again);
    keys_of_record(&fresh, &content, &sender);
    keys_of_record(&keys, &again, &sender);
    FUZZ_CHECK(content.kind == again.kind && content.defects == again.defects);
    FUZZ_CHECK(fresh.count == keys.count);
    FUZZ_CHECK(memcmp(fresh.values, keys.values, keys.count * sizeof(*keys.values)) == 0);
    FUZZ_CHECK(content.kind < AUDIT_KIND_COUNT);
    FUZZ_CHECK(content.defects >> AUDIT_DEFECT_COUNT == 0);
    FUZZ_CHECK(str_is_utf8(content.message.event_id.code));
    FUZZ_CHECK(str_is_utf8(content.message.source_id));
    FUZZ_CHECK(keys.count >= 2);
    key_list_done(&fresh);
    arena_free(arena);
}

static void push_in_pieces(Str stream, size_t piece, bool is_read, StrBuf *log)
{
    SyslogFramer framer = {0};
    SyslogFrameResult result = SYSLOG_FRAME_MORE;
    for (size_t at = 0; at < stream.len && result != SYSLOG_FRAME_BROKEN; at += piece) {
        Str part = str_slice(stream, at, piece);
        Str message = STR_EMPTY;
        uint64_t defects = 0;
        const char *problem = NULL;
        memcpy(syslog_framer_reserve(&framer, part.len), part.data, part.len);
        syslog_framer_add(&framer, part.len);
        while ((result = syslog_framer_next(&framer, &message, &defects, &problem)) ==
               SYSLOG_FRAME_MESSAGE) {
            FUZZ_CHECK(message.len <= AUDIT_MESSAGE_MAX_BYTES);
            strbuf_printf(log, "%zu ", message.len);
            strbuf_append(log, message);
            if (is_read) {
                check_message(message);
            }
        }
    }
    strbuf_append(log, result == SYSLOG_FRAME_BROKEN ? STR("closed") : STR("open"));
    syslog_framer_done(&framer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return 0;
    }
    Str stream = {(const char *)bytes + 1, len - 1};
    StrBuf whole = {0};
    StrBuf cut = {0};
    xml_init();
    push_in_pieces(stream, stream.len + 1, true, &whole);
    push_in_pieces(stream, (size_t)bytes[0] % 16 + 1, false, &cut);
    FUZZ_CHECK(str_equal(strbuf_str(&whole), strbuf_str(&cut)));
    strbuf_done(&whole);
    strbuf_done(&cut);
    return 0;
}
