#include "server/listener_mllp.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/hl7/mllp.h"
#include "lib/hl7/reply.h"

#define READ_BYTES 16384
#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define RATE_GRACE_NS (10 * NS_PER_S)

struct MllpListener {
    MllpListenerConfig config;
    StreamListener *stream;
};

/** One conversation, on its thread. */
typedef struct Connection {
    const MllpListener *listener;
    const StreamConnection *stream;
} Connection;

static int64_t after_ms(unsigned ms)
{
    return clock_now_ns() + ms * NS_PER_MS;
}

/* ---- messages ---- */

static Request *new_request(const Connection *connection, size_t received_bytes)
{
    Request *req = request_new(connection->listener->config.request_timeout_ms);
    req->peer_address = str_from(stream_address(connection->stream));
    req->received_bytes = received_bytes;
    req->principal = stream_principal(connection->stream, req->arena);
    return req;
}

static void finish(const Connection *connection, Request *req, const char *outcome)
{
    const MllpListenerConfig *config = &connection->listener->config;
    config->finished(config->ctx, req, outcome);
    request_free(req);
}

/** Handles one message and writes its acknowledgement. @return whether the connection goes on */
static bool answer(const Connection *connection, Str payload)
{
    const MllpListenerConfig *config = &connection->listener->config;
    _cleanup_(strbuf_done) StrBuf reply = {0};
    _cleanup_(strbuf_done) StrBuf frame = {0};
    Request *req = new_request(connection, payload.len);
    if (!stream_may_go_on(connection->stream, req->principal)) {
        request_free(req);
        return false;
    }
    bool is_sent = false;
    if (pix_hl7_message(config->pix, req, payload, &reply) == 0) {
        mllp_append_frame(&frame, strbuf_str(&reply));
        is_sent = stream_write_all(connection->stream, strbuf_str(&frame),
                                   after_ms(config->frame_timeout_ms));
        req->sent_bytes = is_sent ? frame.len : 0;
    }
    finish(connection, req, is_sent ? hl7_reply_code(&req->errors) : "closed");
    return is_sent;
}

/** Tells the server of a frame that ends its connection. */
static void report_frame(const Connection *connection, const MllpParser *parser, ErrorCode code,
                         const char *problem)
{
    Request *req = new_request(connection, parser->payload.len);
    if (req->principal) {
        error_add(&req->errors, code, NULL, "%s", problem);
        (void)!pix_hl7_record_unreadable(connection->listener->config.pix, req);
        finish(connection, req, "closed");
    } else {
        request_free(req);
    }
}

/** What a connection remembers between two reads. */
typedef struct Conversation {
    MllpParser parser;
    int64_t idle_deadline_ns;
    int64_t frame_began_ns; /* 0: between frames */
    char buffer[READ_BYTES];
} Conversation;

/** By when the next bytes must be here. */
static int64_t read_deadline(const MllpListenerConfig *config, const Conversation *conversation)
{
    if (!conversation->parser.is_in_frame) {
        return conversation->idle_deadline_ns;
    }
    int64_t began_ns = conversation->frame_began_ns;
    int64_t bytes = (int64_t)conversation->parser.payload.len;
    int64_t by_rate = began_ns + RATE_GRACE_NS + bytes * NS_PER_S / config->min_bytes_per_second;
    return MIN(began_ns + config->frame_timeout_ms * NS_PER_MS, by_rate);
}

/** Reads the next bytes. @return whether the conversation goes on */
static bool read_more(const Connection *connection, Conversation *conversation, Str *ret_bytes)
{
    bool is_in_frame = conversation->parser.is_in_frame;
    if (is_in_frame && conversation->frame_began_ns == 0) {
        conversation->frame_began_ns = clock_now_ns();
    }
    size_t len = 0;
    StreamEnd end =
        stream_read(connection->stream, conversation->buffer, sizeof(conversation->buffer),
                    read_deadline(&connection->listener->config, conversation), &len);
    if (end == STREAM_DONE) {
        *ret_bytes = (Str){conversation->buffer, len};
        return true;
    }
    if (is_in_frame && end != STREAM_STOPPED) {
        report_frame(connection, &conversation->parser, ERR_HL7_SEGMENT_SEQUENCE,
                     end == STREAM_TIMED_OUT ? "the MLLP frame arrived too slowly"
                                             : "the connection ended within an MLLP frame");
    }
    return false;
}

/** Answers the frame that is whole. @return whether the conversation goes on */
static bool answer_frame(const Connection *connection, Conversation *conversation)
{
    if (!answer(connection, strbuf_str(&conversation->parser.payload))) {
        return false;
    }
    conversation->frame_began_ns = 0;
    conversation->idle_deadline_ns = after_ms(connection->listener->config.idle_timeout_ms);
    return !stream_is_stopping(connection->stream);
}

/** Frames in, acknowledgements out, until one side has enough. */
static void converse(const Connection *connection, Conversation *conversation)
{
    Str bytes = STR_EMPTY;
    bool goes_on = true;
    while (goes_on) {
        switch (mllp_parser_push(&conversation->parser, &bytes)) {
        case MLLP_MORE:
            goes_on = read_more(connection, conversation, &bytes);
            break;
        case MLLP_FRAME:
            goes_on = answer_frame(connection, conversation);
            break;
        case MLLP_TOO_LARGE:
            report_frame(connection, &conversation->parser, ERR_TOO_LARGE,
                         "the MLLP frame exceeds the limit");
            goes_on = false;
            break;
        case MLLP_BROKEN:
            report_frame(connection, &conversation->parser, ERR_HL7_SEGMENT_SEQUENCE,
                         "the MLLP framing is broken");
            goes_on = false;
            break;
        }
    }
}

/* ---- listener ---- */

static void run_conversation(void *ctx, const StreamConnection *stream)
{
    const MllpListener *listener = ctx;
    const Connection connection = {.listener = listener, .stream = stream};
    Conversation conversation;
    mllp_parser_init(&conversation.parser, listener->config.max_frame_bytes);
    conversation.frame_began_ns = 0;
    conversation.idle_deadline_ns = after_ms(listener->config.idle_timeout_ms);
    converse(&connection, &conversation);
    mllp_parser_done(&conversation.parser);
}

static unsigned or_default(unsigned value, unsigned default_value)
{
    return value ? value : default_value;
}

static void fill_defaults(MllpListenerConfig *config)
{
    config->frame_timeout_ms = or_default(config->frame_timeout_ms, 45000);
    config->min_bytes_per_second = or_default(config->min_bytes_per_second, 1024);
    config->idle_timeout_ms = or_default(config->idle_timeout_ms, 600000);
    config->request_timeout_ms = or_default(config->request_timeout_ms, 30000);
    if (config->max_frame_bytes == 0) {
        config->max_frame_bytes = MLLP_FRAME_MAX_BYTES;
    }
}

MllpListener *mllp_listener_bind(const MllpListenerConfig *config, char *ret_problem,
                                 size_t problem_size)
{
    MllpListener *listener = HEAP_NEW(MllpListener);
    listener->config = *config;
    fill_defaults(&listener->config);
    listener->config.stream.ctx = listener;
    listener->config.stream.converse = run_conversation;
    listener->stream = stream_listener_bind(&listener->config.stream, ret_problem, problem_size);
    if (!listener->stream) {
        free(listener);
        return NULL;
    }
    return listener;
}

bool mllp_listener_start(MllpListener *listener, char *ret_problem, size_t problem_size)
{
    return stream_listener_start(listener->stream, ret_problem, problem_size);
}

unsigned mllp_listener_port(const MllpListener *listener)
{
    return stream_listener_port(listener->stream);
}

void mllp_listener_free(MllpListener *listener)
{
    if (listener) {
        stream_listener_free(listener->stream);
        free(listener);
    }
}
