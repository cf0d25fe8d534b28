#include "lib/soap/http_client.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/url.h"
#include "lib/soap/http_connection.h"

#define IDLE_MAX 16
#define PROBLEM_BYTES ((size_t)400)

struct HttpClient {
    char *host;
    char *port;
    char *path;
    TlsPeer peer;
    SSL_CTX *context; /* NULL: plain */
    pthread_mutex_t lock;
    unsigned connect_timeout_ms;
    unsigned kept_ms;
    HttpConnection *idle;
    size_t idle_count;
    HttpConnection *busy; /* in an exchange */
    bool is_interrupted;
};

/* ---- set-up ---- */

static bool parse_url(HttpClient *client, Str text, bool may_be_plain, bool *ret_is_plain)
{
    Url url;
    bool is_good = url_parse(text, &url);
    *ret_is_plain = is_good && may_be_plain && str_equal(url.scheme, STR("http"));
    if (!is_good || (!*ret_is_plain && !str_equal(url.scheme, STR("https")))) {
        return false;
    }
    Str port = *ret_is_plain ? STR("80") : STR("443");
    client->host = heap_text(url.host);
    client->port = heap_text(str_is_empty(url.port) ? port : url.port);
    client->path = heap_text(str_is_empty(url.path) ? STR("/") : url.path);
    return true;
}

HttpClient *http_client_new(const HttpClientConfig *config, char *ret_problem, size_t problem_size)
{
    HttpClient *client = HEAP_NEW(HttpClient);
    pthread_mutex_init(&client->lock, NULL);
    bool is_plain;
    if (!parse_url(client, str_from(config->url), config->may_be_plain, &is_plain)) {
        snprintf(ret_problem, problem_size, "%s is not of the form https://host:port/path",
                 config->url);
        http_client_free(client);
        return NULL;
    }
    client->peer = (TlsPeer){client->host, config->fingerprint};
    client->connect_timeout_ms = config->connect_timeout_ms;
    client->kept_ms = config->kept_ms > 0 ? config->kept_ms : TLS_CONNECTION_KEPT_MS;
    client->context = is_plain ? NULL : tls_client_context(config->tls, ret_problem, problem_size);
    if (!client->context && !is_plain) {
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

static int64_t connect_deadline(const HttpClient *client, int64_t deadline_ns)
{
    int64_t timeout_ns = (int64_t)client->connect_timeout_ms * 1000000;
    return timeout_ns > 0 ? MIN(deadline_ns, clock_now_ns() + timeout_ns) : deadline_ns;
}

static HttpConnection *connection_new(const HttpClient *client, int64_t deadline_ns,
                                      char *ret_problem)
{
    TlsConnection stream;
    deadline_ns = connect_deadline(client, deadline_ns);
    if (!tls_connection_open(&stream, client->context, &client->peer, client->port, deadline_ns,
                             ret_problem, PROBLEM_BYTES)) {
        return NULL;
    }
    HttpConnection *connection = HEAP_NEW(HttpConnection);
    connection->stream = stream;
    return connection;
}

static HttpConnection *pop_idle(HttpClient *client)
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

/** Whether it is open, and nothing has come on it that nobody asked for: that would be taken for
 * the next reply. */
static bool is_quiet(HttpConnection *connection)
{
    char byte;
    size_t count;
    return tls_connection_take(&connection->stream, &byte, sizeof(byte), &count) && count == 0;
}

/** NULL: there is none. */
static HttpConnection *take_idle(HttpClient *client)
{
    HttpConnection *connection = pop_idle(client);
    while (connection &&
           (tls_connection_is_old(&connection->stream, client->kept_ms) || !is_quiet(connection))) {
        connection_free(connection);
        connection = pop_idle(client);
    }
    return connection;
}

static void give_back(HttpClient *client, HttpConnection *connection)
{
    strbuf_clear(&connection->received);
    connection->used = 0;
    connection->has_received = false;
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

static void set_busy(HttpClient *client, HttpConnection *connection)
{
    pthread_mutex_lock(&client->lock);
    connection->next = client->busy;
    client->busy = connection;
    if (client->is_interrupted) {
        (void)shutdown(connection->stream.socket, SHUT_RDWR);
    }
    pthread_mutex_unlock(&client->lock);
}

static void end_busy(HttpClient *client, const HttpConnection *connection)
{
    pthread_mutex_lock(&client->lock);
    HttpConnection **at = &client->busy;
    while (*at != connection) {
        at = &(*at)->next;
    }
    *at = connection->next;
    pthread_mutex_unlock(&client->lock);
}

void http_client_interrupt(HttpClient *client)
{
    pthread_mutex_lock(&client->lock);
    client->is_interrupted = true;
    for (HttpConnection *one = client->busy; one; one = one->next) {
        (void)shutdown(one->stream.socket, SHUT_RDWR);
    }
    pthread_mutex_unlock(&client->lock);
}

/* ---- one exchange ---- */

/** What is sent of one message, and what comes back. */
typedef struct Exchange {
    HttpClient *client;
    Request *req;
    const HttpMessage *message;
    const HttpReceiver *receiver;
    Str head;
    HttpReply *reply;
} Exchange;

static Str request_head(const HttpClient *client, Arena *arena, const HttpMessage *message)
{
    bool is_ipv6 = strchr(client->host, ':') != NULL;
    bool is_chunked = message->source && message->source_bytes < 0;
    int64_t length = (int64_t)message->text.len + (message->source ? message->source_bytes : 0);
    return str_printf(
        arena, "POST %s HTTP/1.1\r\nHost: %s%s%s:%s\r\nContent-Type: %s\r\n%s%.*s\r\n\r\n",
        client->path, is_ipv6 ? "[" : "", client->host, is_ipv6 ? "]" : "", client->port,
        message->content_type, is_chunked ? "Transfer-Encoding: chunked" : "Content-Length: ",
        STR_ARG(is_chunked ? STR_EMPTY : str_printf(arena, "%" PRIi64, length)));
}

/** One chunk (RFC 9112 7.1), or the bytes as they are. */
static bool write_piece(const Exchange *exchange, HttpConnection *connection, Str piece)
{
    int64_t deadline_ns = exchange->req->deadline_ns;
    bool is_chunked = exchange->message->source_bytes < 0;
    char size[32];
    int len = is_chunked ? snprintf(size, sizeof(size), "%zx\r\n", piece.len) : 0;
    return piece.len == 0 ||
           (tls_connection_write(&connection->stream, (Str){size, (size_t)len}, deadline_ns) &&
            tls_connection_write(&connection->stream, piece, deadline_ns) &&
            tls_connection_write(&connection->stream, is_chunked ? STR("\r\n") : STR_EMPTY,
                                 deadline_ns));
}

static bool write_source(const Exchange *exchange, HttpConnection *connection)
{
    const HttpMessage *message = exchange->message;
    StrBuf piece = {0};
    bool is_good = write_piece(exchange, connection, message->text);
    for (int more = 1; is_good && more > 0;) {
        strbuf_clear(&piece);
        more = message->source->next(message->source->ctx, &piece);
        is_good = more >= 0 && write_piece(exchange, connection, strbuf_str(&piece));
    }
    strbuf_done(&piece);
    Str end = message->source_bytes < 0 ? STR("0\r\n\r\n") : STR_EMPTY;
    return is_good && tls_connection_write(&connection->stream, end, exchange->req->deadline_ns);
}

static bool write_message(const Exchange *exchange, HttpConnection *connection)
{
    int64_t deadline_ns = exchange->req->deadline_ns;
    return tls_connection_write(&connection->stream, exchange->head, deadline_ns) &&
           (exchange->message->source
                ? write_source(exchange, connection)
                : tls_connection_write(&connection->stream, exchange->message->text, deadline_ns));
}

/** @return true if a whole reply came; the connection is given back or freed */
static bool run_exchange(const Exchange *exchange, HttpConnection *connection,
                         bool *ret_is_untouched)
{
    bool is_kept = false;
    set_busy(exchange->client, connection);
    bool is_good =
        write_message(exchange, connection) &&
        http_reply_read(connection, exchange->req, exchange->receiver, exchange->reply, &is_kept);
    end_busy(exchange->client, connection);
    *ret_is_untouched = !is_good && !connection->has_received && !exchange->message->source;
    if (is_kept) {
        give_back(exchange->client, connection);
    } else {
        connection_free(connection);
    }
    return is_good;
}

int http_client_send(HttpClient *client, Request *req, const HttpMessage *message,
                     const HttpReceiver *receiver, HttpReply *ret_reply, Str *ret_problem)
{
    const Exchange exchange = {
        client, req, message, receiver, request_head(client, req->arena, message), ret_reply};
    bool is_untouched = false;
    *ret_reply = (HttpReply){0};
    HttpConnection *connection = message->source ? NULL : take_idle(client);
    if (connection && run_exchange(&exchange, connection, &is_untouched)) {
        return 0;
    }
    char problem[PROBLEM_BYTES] = "the connection broke before the reply was whole";
    if (!connection || is_untouched) {
        connection = connection_new(client, req->deadline_ns, problem);
        if (connection && run_exchange(&exchange, connection, &is_untouched)) {
            return 0;
        }
    }
    *ret_problem = str_dup(req->arena, str_from(problem));
    return -ERR_IO;
}

int http_client_post(HttpClient *client, Request *req, const char *content_type, Str body,
                     HttpReply *ret_reply, Str *ret_problem)
{
    const HttpMessage message = {.content_type = content_type, .text = body};
    return http_client_send(client, req, &message, NULL, ret_reply, ret_problem);
}
