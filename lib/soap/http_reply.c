#include <string.h>

#include "lib/soap/http_connection.h"

#define HEADERS_MAX_BYTES ((size_t)32 << 10)
#define BODY_MAX_BYTES ((size_t)16 << 20)
#define CHUNK_LINE_MAX_BYTES ((size_t)256)
#define READ_BYTES ((size_t)65536)

/** Where the body of a reply goes. */
typedef struct Body {
    const HttpReceiver *receiver; /* NULL: kept */
    StrBuf kept;
    int64_t deadline_ns;
} Body;

static Str unused(const HttpConnection *connection)
{
    return str_from_offset(strbuf_str(&connection->received), connection->used);
}

/** Forgets what was used: a long reply passes in constant memory. */
static void compact(HttpConnection *connection)
{
    Str rest = unused(connection);
    if (connection->used > 0) {
        memmove(connection->received.data, rest.data, rest.len);
        connection->received.len = rest.len;
        connection->used = 0;
    }
}

/** Reads some more; false at the end of the connection, on failure and at the deadline. */
static bool receive(HttpConnection *connection, int64_t deadline_ns)
{
    compact(connection);
    char *room = strbuf_reserve(&connection->received, READ_BYTES);
    size_t count = tls_connection_read(&connection->stream, room, READ_BYTES, deadline_ns);
    connection->received.len += count;
    connection->has_received |= count > 0;
    return count > 0;
}

/**
 * Takes bytes up to and without the terminator; false if it does not come within limit.
 * @param ret_bytes  borrowed until the next read
 */
static bool take_until(HttpConnection *connection, Str terminator, size_t limit,
                       int64_t deadline_ns, Str *ret_bytes)
{
    size_t at;
    while ((at = str_find(unused(connection), terminator)) == SIZE_MAX) {
        if (unused(connection).len >= limit + terminator.len || !receive(connection, deadline_ns)) {
            return false;
        }
    }
    if (at > limit) {
        return false;
    }
    *ret_bytes = str_slice(unused(connection), 0, at);
    connection->used += at + terminator.len;
    return true;
}

static bool keep(Body *body, Str bytes)
{
    if (body->receiver) {
        return body->receiver->bytes(body->receiver->ctx, bytes.data, bytes.len) == 0;
    }
    if (bytes.len > BODY_MAX_BYTES - body->kept.len) {
        return false;
    }
    strbuf_append(&body->kept, bytes);
    return true;
}

static bool take_bytes(HttpConnection *connection, uint64_t len, Body *body)
{
    while (len > 0) {
        Str piece = unused(connection);
        if (piece.len == 0 && !receive(connection, body->deadline_ns)) {
            return false;
        }
        piece = unused(connection);
        piece.len = (size_t)MIN(len, (uint64_t)piece.len);
        if (!keep(body, piece)) {
            return false;
        }
        connection->used += piece.len;
        len -= piece.len;
    }
    return true;
}

/** Value of a header; empty if absent. */
static Str header_value(Str headers, Str name)
{
    Str rest = headers;
    Str line;
    while (str_split_next(&rest, '\n', &line)) {
        size_t colon = str_find_char(line, ':');
        if (colon != SIZE_MAX && str_equal_ci(str_slice(line, 0, colon), name)) {
            return str_trim(str_from_offset(line, colon + 1));
        }
    }
    return STR_EMPTY;
}

/** "HTTP/1.1 200 OK" */
static bool parse_status(Str headers, int *ret_status)
{
    uint64_t status;
    if (!str_starts_with(headers, STR("HTTP/1.")) ||
        !str_to_u64(str_slice(headers, 9, 3), &status)) {
        return false;
    }
    *ret_status = (int)status;
    return true;
}

/** chunk-size [ chunk-ext ] (RFC 9112 7.1) */
static bool parse_chunk_size(Str line, uint64_t *ret_size)
{
    Str digits = str_trim(str_slice(line, 0, MIN(str_find_char(line, ';'), line.len)));
    uint64_t size = 0;
    if (str_is_empty(digits) || digits.len > 8) {
        return false;
    }
    for (size_t i = 0; i < digits.len; i++) {
        char c = digits.data[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return false;
        }
        size = size * 16 + (uint64_t)digit;
    }
    *ret_size = size;
    return true;
}

/** trailer-section CRLF (RFC 9112 7.1.2), of which nothing is wanted. */
static bool take_trailer(HttpConnection *connection, int64_t deadline_ns)
{
    Str field;
    size_t bytes = 0;
    do {
        if (!take_until(connection, STR("\r\n"), HEADERS_MAX_BYTES - bytes, deadline_ns, &field)) {
            return false;
        }
        bytes += field.len;
    } while (!str_is_empty(field) && bytes < HEADERS_MAX_BYTES);
    return str_is_empty(field);
}

static bool take_chunks(HttpConnection *connection, Body *body)
{
    for (;;) {
        Str line;
        uint64_t size;
        if (!take_until(connection, STR("\r\n"), CHUNK_LINE_MAX_BYTES, body->deadline_ns, &line) ||
            !parse_chunk_size(line, &size)) {
            return false;
        }
        if (size == 0) {
            return take_trailer(connection, body->deadline_ns);
        }
        if (!take_bytes(connection, size, body) ||
            !take_until(connection, STR("\r\n"), 0, body->deadline_ns, &line)) {
            return false;
        }
    }
}

static bool take_body(HttpConnection *connection, Str headers, int status, Body *body)
{
    Str coding = header_value(headers, STR("Transfer-Encoding"));
    Str stated = header_value(headers, STR("Content-Length"));
    if (str_equal_ci(coding, STR("chunked"))) {
        return take_chunks(connection, body);
    }
    uint64_t length = 0;
    bool has_none = status == 204 || (status == 202 && str_is_empty(stated));
    return str_is_empty(coding) && (has_none || str_to_u64(stated, &length)) &&
           take_bytes(connection, length, body);
}

bool http_reply_read(HttpConnection *connection, Request *req, const HttpReceiver *receiver,
                     HttpReply *reply, bool *ret_is_kept)
{
    Str headers;
    do {
        if (!take_until(connection, STR("\r\n\r\n"), HEADERS_MAX_BYTES, req->deadline_ns,
                        &headers) ||
            !parse_status(headers, &reply->status)) {
            return false;
        }
    } while (reply->status == 100);
    headers = str_dup(req->arena, headers);
    reply->content_type = header_value(headers, STR("Content-Type"));
    Body body = {.receiver = receiver, .deadline_ns = req->deadline_ns};
    bool is_whole =
        (!receiver || receiver->begin(receiver->ctx, reply->status, reply->content_type) == 0) &&
        take_body(connection, headers, reply->status, &body);
    reply->body = str_dup(req->arena, strbuf_str(&body.kept));
    strbuf_done(&body.kept);
    *ret_is_kept = is_whole && str_is_empty(unused(connection)) &&
                   str_starts_with(headers, STR("HTTP/1.1")) &&
                   !str_equal_ci(header_value(headers, STR("Connection")), STR("close"));
    return is_whole;
}
