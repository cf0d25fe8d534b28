#include "lib/soap/http_client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/url.h"
#include "lib/tls/connection.h"

#define IDLE_MAX 16
#define HEADERS_MAX_BYTES ((size_t)32 << 10)
#define BODY_MAX_BYTES ((size_t)16 << 20)
#define CHUNK_LINE_MAX_BYTES ((size_t)256)
#define READ_BYTES ((size_t)16384)
#define PROBLEM_BYTES ((size_t)400)

typedef struct HttpConnection {
    TlsConnection stream;
    StrBuf received; /* not yet used */
    size_t used;
    struct HttpConnection *next;
} HttpConnection;

struct HttpClient {
    char *host;
    char *port;
    char *path;
    TlsPeer peer;
    SSL_CTX *context;
    pthread_mutex_t lock;
    HttpConnection *idle;
    size_t idle_count;
};

/* ---- set-up ---- */

static char *copy_text(Str text)
{
    char *copy = strndup(text.data, text.len);
    if (!copy) {
        abort();
    }
    return copy;
}

static bool parse_url(HttpClient *client, Str text)
{
    Url url;
    if (!url_parse(text, &url) || !str_equal(url.scheme, STR("https"))) {
        return false;
    }
    client->host = copy_text(url.host);
    client->port = copy_text(str_is_empty(url.port) ? STR("443") : url.port);
    client->path = copy_text(str_is_empty(url.path) ? STR("/") : url.path);
    return true;
}

HttpClient *http_client_new(const HttpClientConfig *config, char *ret_problem, size_t problem_size)
{
    HttpClient *client = calloc(1, sizeof(*client));
    if (!client) {
        abort();
    }
    pthread_mutex_init(&client->lock, NULL);
    if (!parse_url(client, str_from(config->url))) {
        snprintf(ret_problem, problem_size, "%s is not of the form https://host:port/path",
                 config->url);
        http_client_free(client);
        return NULL;
    }
    client->peer = (TlsPeer){client->host, config->fingerprint};
    client->context = tls_client_context(config->tls, ret_problem, problem_size);
    if (!client->context) {
        http_client_free(client);
        return NULL;
    }
    return client;
}

static void connection_free(HttpConnection *connection)
{
    if (!connection) {
        return;
    }
    tls_connection_close(&connection->stream);
    strbuf_done(&connection->received);
    free(connection);
}

void http_client_free(HttpClient *client)
{
    if (!client) {
        return;
    }
    HttpConnection *next;
    for (HttpConnection *connection = client->idle; connection; connection = next) {
        next = connection->next;
        connection_free(connection);
    }
    SSL_CTX_free(client->context);
    pthread_mutex_destroy(&client->lock);
    free(client->host);
    free(client->port);
    free(client->path);
    free(client);
}

/* ---- connections ---- */

static HttpConnection *connection_new(const HttpClient *client, int64_t deadline_ns,
                                      char *ret_problem)
{
    TlsConnection stream;
    if (!tls_connection_open(&stream, client->context, &client->peer, client->port, deadline_ns,
                             ret_problem, PROBLEM_BYTES)) {
        return NULL;
    }
    HttpConnection *connection = calloc(1, sizeof(*connection));
    if (!connection) {
        abort();
    }
    connection->stream = stream;
    return connection;
}

static HttpConnection *take_idle(HttpClient *client)
{
    pthread_mutex_lock(&client->lock);
    HttpConnection *connection = client->idle;
    if (connection) {
        client->idle = connection->next;
        client->idle_count--;
    }
    pthread_mutex_unlock(&client->lock);
    return connection;
}

static void give_back(HttpClient *client, HttpConnection *connection)
{
    strbuf_clear(&connection->received);
    connection->used = 0;
    pthread_mutex_lock(&client->lock);
    bool is_kept = client->idle_count < IDLE_MAX;
    if (is_kept) {
        connection->next = client->idle;
        client->idle = connection;
        client->idle_count++;
    }
    pthread_mutex_unlock(&client->lock);
    if (!is_kept) {
        connection_free(connection);
    }
}

/* ---- one exchange ---- */

static Str unused(const HttpConnection *connection)
{
    return str_from_offset(strbuf_str(&connection->received), connection->used);
}

/** Reads some more; false at the end of the connection, on failure and at the deadline. */
static bool receive(HttpConnection *connection, int64_t deadline_ns)
{
    char *room = strbuf_reserve(&connection->received, READ_BYTES);
    size_t count = tls_connection_read(&connection->stream, room, READ_BYTES, deadline_ns);
    connection->received.len += count;
    return count > 0;
}

/** Takes bytes up to and without the terminator; false if it does not come within limit. */
static bool take_until(HttpConnection *connection, Arena *arena, Str terminator, size_t limit,
                       int64_t deadline_ns, Str *ret_bytes)
{
    size_t at;
    while ((at = str_find(unused(connection), terminator)) == SIZE_MAX) {
        if (unused(connection).len > limit || !receive(connection, deadline_ns)) {
            return false;
        }
    }
    if (at > limit) {
        return false;
    }
    *ret_bytes = str_dup(arena, str_slice(unused(connection), 0, at));
    connection->used += at + terminator.len;
    return true;
}

static bool take_bytes(HttpConnection *connection, size_t len, int64_t deadline_ns, StrBuf *body)
{
    while (unused(connection).len < len) {
        if (!receive(connection, deadline_ns)) {
            return false;
        }
    }
    strbuf_append_bytes(body, unused(connection).data, len);
    connection->used += len;
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
static bool parse_chunk_size(Str line, size_t *ret_size)
{
    Str digits = str_trim(str_slice(line, 0, MIN(str_find_char(line, ';'), line.len)));
    size_t size = 0;
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
        size = size * 16 + (size_t)digit;
    }
    *ret_size = size;
    return true;
}

static bool take_chunks(HttpConnection *connection, Arena *arena, int64_t deadline_ns, StrBuf *body)
{
    for (;;) {
        Str line;
        size_t size;
        if (!take_until(connection, arena, STR("\r\n"), CHUNK_LINE_MAX_BYTES, deadline_ns, &line) ||
            !parse_chunk_size(line, &size) || size > BODY_MAX_BYTES - body->len) {
            return false;
        }
        if (size == 0) {
            break;
        }
        if (!take_bytes(connection, size, deadline_ns, body) ||
            !take_until(connection, arena, STR("\r\n"), 0, deadline_ns, &line)) {
            return false;
        }
    }
    Str trailer;
    do {
        if (!take_until(connection, arena, STR("\r\n"), HEADERS_MAX_BYTES, deadline_ns, &trailer)) {
            return false;
        }
    } while (!str_is_empty(trailer));
    return true;
}

static bool take_body(HttpConnection *connection, Arena *arena, Str headers, int64_t deadline_ns,
                      StrBuf *body)
{
    Str coding = header_value(headers, STR("Transfer-Encoding"));
    if (str_equal_ci(coding, STR("chunked"))) {
        return take_chunks(connection, arena, deadline_ns, body);
    }
    uint64_t length;
    return str_is_empty(coding) &&
           str_to_u64(header_value(headers, STR("Content-Length")), &length) &&
           length <= BODY_MAX_BYTES && take_bytes(connection, (size_t)length, deadline_ns, body);
}

static bool take_reply(HttpConnection *connection, Request *req, HttpReply *reply,
                       bool *ret_is_kept)
{
    Str headers;
    do {
        if (!take_until(connection, req->arena, STR("\r\n\r\n"), HEADERS_MAX_BYTES,
                        req->deadline_ns, &headers) ||
            !parse_status(headers, &reply->status)) {
            return false;
        }
    } while (reply->status == 100);
    StrBuf body = {0};
    bool is_whole = take_body(connection, req->arena, headers, req->deadline_ns, &body);
    reply->content_type = header_value(headers, STR("Content-Type"));
    reply->body = str_dup(req->arena, strbuf_str(&body));
    strbuf_done(&body);
    *ret_is_kept = is_whole && str_starts_with(headers, STR("HTTP/1.1")) &&
                   !str_equal_ci(header_value(headers, STR("Connection")), STR("close"));
    return is_whole;
}

/** @return true if a whole reply came; the connection is given back or freed */
static bool run_exchange(HttpClient *client, HttpConnection *connection, Request *req, Str head,
                         Str body, HttpReply *reply, bool *ret_is_untouched)
{
    bool is_kept = false;
    bool is_good = tls_connection_write(&connection->stream, head, req->deadline_ns) &&
                   tls_connection_write(&connection->stream, body, req->deadline_ns) &&
                   take_reply(connection, req, reply, &is_kept);
    *ret_is_untouched = !is_good && connection->received.len == 0;
    if (is_kept) {
        give_back(client, connection);
    } else {
        connection_free(connection);
    }
    return is_good;
}

int http_client_post(HttpClient *client, Request *req, const char *content_type, Str body,
                     HttpReply *ret_reply, Str *ret_problem)
{
    bool is_ipv6 = strchr(client->host, ':') != NULL;
    Str head = str_printf(
        req->arena,
        "POST %s HTTP/1.1\r\nHost: %s%s%s:%s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
        client->path, is_ipv6 ? "[" : "", client->host, is_ipv6 ? "]" : "", client->port,
        content_type, body.len);
    bool is_untouched = false;
    HttpConnection *connection = take_idle(client);
    if (connection && run_exchange(client, connection, req, head, body, ret_reply, &is_untouched)) {
        return 0;
    }
    char problem[PROBLEM_BYTES] = "the connection broke before the reply was whole";
    if (!connection || is_untouched) {
        connection = connection_new(client, req->deadline_ns, problem);
        if (connection &&
            run_exchange(client, connection, req, head, body, ret_reply, &is_untouched)) {
            return 0;
        }
    }
    *ret_problem = str_dup(req->arena, str_from(problem));
    return -ERR_IO;
}
