/* HL7 v2 messages: reading, every accessor, and the acknowledgement, which must itself be a message
 * that can be read without fault. */

#include "lib/hl7/ack.h"
#include "lib/hl7/cx.h"

#include "tests/fuzz/fuzz.h"

#define FIELDS_MAX 20

/** Every leaf that is read must be UTF-8 without NUL: it goes into the database and into XML. */
static void read_fields(const Er7Message *message, const Er7Segment *segment)
{
    const Er7Delimiters *delimiters = &message->delimiters;
    for (size_t number = 1; number <= FIELDS_MAX; number++) {
        Str field = er7_field(message, segment, number);
        Str repetition = er7_repetition(delimiters, field, 1);
        Hl7Cx cx = hl7_cx_parse(message->arena, delimiters, message->charset, repetition);
        Str texts[] = {cx.id, cx.namespace_id, cx.universal_id,
                       er7_value(message, segment, number, 1), er7_standardize(message, field)};
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            FUZZ_CHECK(str_is_utf8(texts[i]));
        }
    }
}

/** What is written must be read again without fault. */
static void check_reply(Arena *arena, Str reply)
{
    ErrorList errors;
    error_list_init(&errors, arena);
    const Er7Message *message = er7_read(arena, &errors, reply);
    FUZZ_CHECK(message && !error_list_has_errors(&errors));
    FUZZ_CHECK(er7_segment(message, STR("MSA"), 1) == &message->segments[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    Request *req = request_new(60000);
    Str payload = {(const char *)bytes, len};
    const Er7Message *message = er7_read(req->arena, &req->errors, payload);
    for (size_t i = 0; message && i < MIN(message->segment_count, 50); i++) {
        read_fields(message, &message->segments[i]);
    }
    StrBuf reply = {0};
    hl7_ack_write(req, message, &reply);
    check_reply(req->arena, strbuf_str(&reply));
    strbuf_done(&reply);
    request_free(req);
    return 0;
}
