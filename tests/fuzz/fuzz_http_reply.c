/* Replies of HTTP servers: what is read must not depend on how the network cut the stream, nor on
 * whether it goes to a receiver. */

#include <sys/socket.h>
#include <unistd.h>

#include "lib/soap/http_connection.h"

#include "tests/fuzz/fuzz.h"

/** A socket takes so much before somebody reads. */
#define STREAM_MAX_BYTES ((size_t)65536)

typedef struct Read {
    bool is_whole;
    bool is_kept;
    int status;
    StrBuf body;
    unsigned begun;
} Read;

static int begin(void *ctx, int status, Str content_type)
{
    Read *read = ctx;
    FUZZ_CHECK(status >= 0 && status <= 999 && content_type.len < STREAM_MAX_BYTES);
    read->begun++;
    return 0;
}

static int take(void *ctx, const void *bytes, size_t len)
{
    Read *read = ctx;
    FUZZ_CHECK(read->begun == 1);
    strbuf_append_bytes(&read->body, bytes, len);
    return 0;
}

/** @param ahead  bytes that have arrived before the reading begins */
static void read_stream(Str stream, size_t ahead, bool is_received, Read *ret_read)
{
    int pair[2];
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    Request *req = request_new(2000);
    HttpConnection connection = {.stream = {.socket = pair[0]}};
    Str rest = str_from_offset(stream, ahead);
    FUZZ_CHECK(send(pair[1], rest.data, rest.len, MSG_NOSIGNAL) == (ssize_t)rest.len);
    shutdown(pair[1], SHUT_WR);
    strbuf_append(&connection.received, str_slice(stream, 0, ahead));
    const HttpReceiver receiver = {ret_read, begin, take};
    HttpReply reply = {0};
    ret_read->is_whole = http_reply_read(&connection, req, is_received ? &receiver : NULL, &reply,
                                         &ret_read->is_kept);
    ret_read->status = reply.status;
    if (!is_received) {
        strbuf_append(&ret_read->body, reply.body);
    }
    FUZZ_CHECK(ret_read->is_whole || !ret_read->is_kept);
    strbuf_done(&connection.received);
    request_free(req);
    close(pair[0]);
    close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2 || len > STREAM_MAX_BYTES) {
        return 0;
    }
    Str stream = {(const char *)bytes + 1, len - 1};
    Read whole = {0};
    Read cut = {0};
    read_stream(stream, 0, true, &whole);
    read_stream(stream, MIN(bytes[0], stream.len), false, &cut);
    FUZZ_CHECK(whole.is_whole == cut.is_whole && whole.status == cut.status);
    FUZZ_CHECK(whole.is_kept == cut.is_kept);
    FUZZ_CHECK(str_equal(strbuf_str(&whole.body), strbuf_str(&cut.body)));
    FUZZ_CHECK(whole.body.len < len);
    strbuf_done(&whole.body);
    strbuf_done(&cut.body);
    return 0;
}
