#include "server/http.h"

#include <assert.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/tls/gnutls_peer.h"
#include "server/refused_peer.h"
#include "server/socket.h"

#define STACK_BYTES (256 * 1024)
#define CONNECTION_MEMORY_BYTES (64 * 1024)
#define IDLE_TIMEOUT_S 120
#define REPLY_BLOCK_BYTES (64 * 1024)
#define UNKNOWN_PER_ADDRESS 64
#define MHD_WITH_LENIENT_LINES "0.9.75"
/* What a TLS record carries at most (RFC 8446 section 5.1). */
#define FULL_RECORD_BYTES (16 * 1024)

struct HttpListener {
    HttpListenerConfig config;
    int fd;
    struct MHD_Daemon *daemon;
};

/** One accepted socket; lives from STARTED to CLOSED. */
typedef struct HttpConnection {
    Watched watched;
    HttpListener *listener;
    GnutlsPeer peer; /* unless it is plain */
    OpenPeer open;
    Arena *arena;
    bool has_identity;
    bool is_too_many;    /* of its certificate */
    bool is_header_next; /* what is sent next is a reply's header, and its body is ready */
    bool is_replying;    /* from queue() to the end of the request */
    bool is_held;        /* the kernel waits for more before it sends the last bytes */
    Str fingerprint;
    Str subject;
} HttpConnection;

/** libmicrohttpd's per-request pointer: exists from the request line on. */
typedef struct Call {
    HttpListener *listener;
    HttpConnection *connection;
    char *target;
    bool has_begun;
    HttpExchange exchange;
} Call;

/* ------------------------------------------------------------------ connections */

static SocketAddress peer_address(const struct sockaddr *address, socklen_t len)
{
    struct sockaddr_storage storage = {0};
    memcpy(&storage, address, MIN((size_t)len, sizeof(storage)));
    return socket_address(&storage);
}

static enum MHD_Result accept_policy(void *ctx, const struct sockaddr *address, socklen_t len)
{
    HttpListener *listener = ctx;
    SocketAddress peer = peer_address(address, len);
    bool is_crowded = !peer.is_loopback && watchdog_unknown_from(listener->config.watchdog,
                                                                 peer.text) >= UNKNOWN_PER_ADDRESS;
    if (is_crowded) {
        TlsProblem problem;
        tls_problem_set(&problem, TLS_REFUSED_CROWD, "from this address");
        (void)refused_peer_record_connection(listener->config.audit, listener->config.endpoint,
                                             peer.text, &problem);
    }
    return is_crowded ? MHD_NO : MHD_YES;
}

static const union MHD_ConnectionInfo *info(struct MHD_Connection *mhd,
                                            enum MHD_ConnectionInfoType type)
{
    return MHD_get_connection_info(mhd, type);
}

/**
 * GnuTLS's way to the socket, one record at a time. The header of a reply waits for its body, and a
 * full record for the next one, so that the peer wakes up once for many.
 */
static ssize_t push_records(gnutls_transport_ptr_t transport, const giovec_t *parts, int count)
{
    HttpConnection *connection = transport;
    struct msghdr message = {.msg_iov = WITHOUT_CONST(parts), .msg_iovlen = (size_t)count};
    size_t len = 0;

    for (int i = 0; i < count; i++) {
        len += parts[i].iov_len;
    }
    connection->is_held =
        connection->is_header_next || (connection->is_replying && len > FULL_RECORD_BYTES);
    connection->is_header_next = false;
    return sendmsg(connection->watched.fd, &message,
                   MSG_NOSIGNAL | (connection->is_held ? MSG_MORE : 0));
}

/** The reply is over: nothing waits any more. */
static void send_held(HttpConnection *connection)
{
    connection->is_replying = false;
    if (connection->is_held) {
        int on = 1;
        (void)setsockopt(connection->watched.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        connection->is_held = false;
    }
}

static void start_tls(HttpConnection *connection, gnutls_session_t session)
{
    gnutls_transport_ptr_t receive;
    gnutls_transport_ptr_t send;
    gnutls_transport_get_ptr2(session, &receive, &send);
    gnutls_transport_set_ptr2(session, receive, connection);
    gnutls_transport_set_vec_push_function(session, push_records);
    if (!gnutls_peer_start(&connection->peer, connection->listener->config.tls_policy, session)) {
        shutdown(connection->watched.fd, SHUT_RDWR);
    }
}

static void connection_started(HttpListener *listener, struct MHD_Connection *mhd,
                               void **socket_context)
{
    HttpConnection *connection = HEAP_NEW(HttpConnection);
    connection->listener = listener;
    connection->arena = arena_new();
    connection->watched.fd = info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    const struct sockaddr *address = info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    connection->watched.address =
        peer_address(address, address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                             : sizeof(struct sockaddr_in));
    connection->watched.is_known = listener->config.is_loopback_only;
    int on = 1;
    (void)setsockopt(connection->watched.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (listener->config.tls_policy) {
        start_tls(connection, info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session);
    }
    watchdog_add(listener->config.watchdog, &connection->watched);
    *socket_context = connection;
}

/** Says why a TLS connection failed, if it did. */
static void record_refusal(const HttpConnection *connection)
{
    const HttpListenerConfig *config = &connection->listener->config;
    TlsProblem problem;
    if (!gnutls_peer_problem(&connection->peer, &problem)) {
        return;
    }
    if (problem.refusal == TLS_REFUSED_ENDED && connection->watched.is_late) {
        tls_problem_set(&problem, TLS_REFUSED_TOO_SLOW, "%s", "");
    }
    (void)refused_peer_record_connection(config->audit, config->endpoint,
                                         connection->watched.address.text, &problem);
}

static void notify_connection(void *ctx, struct MHD_Connection *mhd, void **socket_context,
                              enum MHD_ConnectionNotificationCode code)
{
    HttpListener *listener = ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_started(listener, mhd, socket_context);
        return;
    }
    HttpConnection *connection = *socket_context;
    if (connection) {
        watchdog_remove(listener->config.watchdog, &connection->watched);
        if (listener->config.tls_policy) {
            open_peers_remove(listener->config.open_peers, &connection->open);
            record_refusal(connection);
        }
        arena_free(connection->arena);
        free(connection);
        *socket_context = NULL;
    }
}

/** Reads who the peer is, once per connection: the handshake has verified it, a resumed one is
 * verified again. */
static bool identify(HttpConnection *connection, struct MHD_Connection *mhd)
{
    const HttpListenerConfig *config = &connection->listener->config;
    if (!config->tls_policy || connection->has_identity) {
        return true;
    }
    gnutls_session_t session = info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
    TlsCertificate certificate;
    TlsChain chain;
    _cleanup_(arena_freep) Arena *arena = arena_new();
    if (!gnutls_peer_identity(&connection->peer, session, arena, &certificate, &chain)) {
        return false;
    }
    connection->open = (OpenPeer){.fd = connection->watched.fd,
                                  .endpoint = config->endpoint,
                                  .address = connection->watched.address.text};
    if (!open_peers_add(config->open_peers, &connection->open, &certificate, &chain)) {
        TlsProblem problem;
        tls_problem_set(&problem, TLS_REFUSED_CROWD, "%s", CROWD_OF_ONE);
        (void)refused_peer_record_connection(config->audit, config->endpoint,
                                             connection->watched.address.text, &problem);
        connection->is_too_many = true;
        return false;
    }
    connection->fingerprint = str_dup(connection->arena, certificate.fingerprint);
    connection->subject = str_dup(connection->arena, certificate.subject);
    connection->has_identity = true;
    connection->watched.is_known = true;
    return true;
}

/* ------------------------------------------------------------------ framing */

typedef struct Framing {
    unsigned host_count;
    unsigned length_count;
    unsigned encoding_count;
    unsigned type_count;
    const char *problem;
} Framing;

static bool is_token(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c <= ' ' || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c)) {
            return false;
        }
    }
    return len > 0;
}

static bool has_control(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return true;
        }
    }
    return false;
}

/**
 * libmicrohttpd 0.9.75 ends a header line where it finds a CR or LF and writes NUL over both. A
 * single one of them, and a NUL of the peer, look the same: something else follows the value's end.
 * Later versions refuse these by themselves and lay out their lines in another way.
 */
static bool has_foreign_line_end(const char *value, size_t len)
{
    return strcmp(MHD_get_version(), MHD_WITH_LENIENT_LINES) == 0 && value[len + 1] != '\0';
}

/** libmicrohttpd accepts forms that a proxy in front may read otherwise (request smuggling); each
 * is refused here. */
static enum MHD_Result check_header(void *ctx, enum MHD_ValueKind kind, const char *key,
                                    size_t key_len, const char *value, size_t value_len)
{
    Framing *framing = ctx;
    (void)kind;
    Str name = {key, key_len};
    Str text = {value, value ? value_len : 0};
    uint64_t number;
    if (!is_token(key, key_len)) {
        framing->problem = "a header name holds spaces or control characters";
    } else if (has_control(text.data, text.len)) {
        framing->problem = "a header value holds control characters";
    } else if (value && has_foreign_line_end(value, value_len)) {
        framing->problem = "a header line holds NUL, or ends in CR or LF alone";
    } else if (str_equal_ci(name, STR("Content-Length"))) {
        if (framing->length_count++ > 0 || !str_to_u64(text, &number) || number > INT64_MAX) {
            framing->problem = "Content-Length is repeated or not a number";
        }
    } else if (str_equal_ci(name, STR("Transfer-Encoding"))) {
        if (framing->encoding_count++ > 0 || !str_equal_ci(text, STR("chunked"))) {
            framing->problem = "Transfer-Encoding is repeated or not exactly \"chunked\"";
        }
    } else if (str_equal_ci(name, STR("Host"))) {
        if (framing->host_count++ > 0) {
            framing->problem = "Host is repeated";
        }
    } else if (str_equal_ci(name, STR("Content-Type"))) {
        if (framing->type_count++ > 0) {
            framing->problem = "Content-Type is repeated";
        }
    } else if (str_equal_ci(name, STR("Content-Encoding")) &&
               !str_equal_ci(text, STR("identity"))) {
        framing->problem = "Content-Encoding is not supported; send the body as it is";
    }
    return framing->problem ? MHD_NO : MHD_YES;
}

static const char *framing_problem(struct MHD_Connection *mhd, const char *version)
{
    Framing framing = {0};
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, check_header, &framing);
    if (!framing.problem && framing.length_count && framing.encoding_count) {
        return "Content-Length and Transfer-Encoding together";
    }
    if (!framing.problem && framing.encoding_count && strcmp(version, MHD_HTTP_VERSION_1_1) != 0) {
        return "Transfer-Encoding in another version than HTTP/1.1"; /* RFC 9112 section 6.1 */
    }
    return framing.problem;
}

/* ------------------------------------------------------------------ headers */

Str http_header(const HttpExchange *exchange, const char *name)
{
    return str_from(MHD_lookup_connection_value(exchange->mhd, MHD_HEADER_KIND, name));
}

void http_add_header(HttpExchange *exchange, const char *name, Str value)
{
    assert(exchange->reply_header_count < HTTP_REPLY_HEADERS_MAX);
    exchange->reply_headers[exchange->reply_header_count++] =
        (HttpHeader){name, str_cstr(exchange->req->arena, value)};
}

/* ------------------------------------------------------------------ replies */

static void queue(HttpExchange *exchange, int status, const char *content_type,
                  struct MHD_Response *response, bool has_body)
{
    if (!response) {
        exchange->is_cut = true;
        return;
    }
    if (content_type) {
        MHD_add_response_header(response, "Content-Type", content_type);
    }
    for (size_t i = 0; i < exchange->reply_header_count; i++) {
        const HttpHeader *header = &exchange->reply_headers[i];
        MHD_add_response_header(response, header->name, header->value);
    }
    if (status >= 400) {
        MHD_add_response_header(response, "Connection", "close");
    }
    exchange->status = status;
    exchange->is_answered = true;
    watchdog_phase(exchange->connection->listener->config.watchdog, &exchange->connection->watched,
                   WATCH_REPLY);
    if (MHD_queue_response(exchange->mhd, (unsigned)status, response) != MHD_YES) {
        exchange->is_cut = true;
    }
    exchange->connection->is_replying = true;
    exchange->connection->is_header_next =
        has_body && !str_equal(exchange->method, STR(MHD_HTTP_METHOD_HEAD));
    MHD_destroy_response(response);
}

void http_reply(HttpExchange *exchange, int status, const char *content_type, StrBuf *buf)
{
    exchange->req->sent_bytes = buf->len;
    struct MHD_Response *response =
        buf->len > 0 ? MHD_create_response_from_buffer(buf->len, buf->data, MHD_RESPMEM_MUST_FREE)
                     : MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (buf->len > 0) {
        *buf = (StrBuf){0};
    }
    queue(exchange, status, content_type, response, exchange->req->sent_bytes > 0);
}

/** A BodySource on its way out. */
typedef struct HttpOutgoing {
    HttpExchange *exchange; /* NULL once the source is done */
    BodySource source;
    StrBuf buf;
    size_t taken;
    bool is_last;
} HttpOutgoing;

static ssize_t read_source(void *ctx, uint64_t position, char *to, size_t max)
{
    HttpOutgoing *out = ctx;
    (void)position;
    while (out->taken == out->buf.len) {
        if (out->is_last) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        strbuf_clear(&out->buf);
        out->taken = 0;
        int more = out->source.next(out->source.ctx, &out->buf);
        if (more < 0) {
            out->exchange->is_cut = true;
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        out->is_last = more == 0;
    }
    size_t len = MIN(max, out->buf.len - out->taken);
    memcpy(to, out->buf.data + out->taken, len);
    out->taken += len;
    out->exchange->req->sent_bytes += len;
    return (ssize_t)len;
}

/** The source lives in the request, which libmicrohttpd ends before it frees the response. */
static void end_source(HttpOutgoing *out)
{
    if (!out || !out->exchange) {
        return;
    }
    out->exchange->outgoing = NULL;
    out->exchange = NULL;
    if (out->source.done) {
        out->source.done(out->source.ctx);
    }
}

static void free_source(void *ctx)
{
    HttpOutgoing *out = ctx;
    end_source(out);
    strbuf_done(&out->buf);
    free(out);
}

void http_reply_source(HttpExchange *exchange, int status, const char *content_type, int64_t length,
                       BodySource source)
{
    HttpOutgoing *out = HEAP_NEW(HttpOutgoing);
    *out = (HttpOutgoing){.exchange = exchange, .source = source};
    exchange->outgoing = out;
    queue(exchange, status, content_type,
          MHD_create_response_from_callback(length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)length,
                                            REPLY_BLOCK_BYTES, read_source, out, free_source),
          length != 0);
}

static void reply_text(HttpExchange *exchange, int status, const char *text)
{
    StrBuf buf = {0};
    strbuf_printf(&buf, "%s [ref %s]\n", text, exchange->req->ref);
    http_reply(exchange, status, "text/plain; charset=utf-8", &buf);
    strbuf_done(&buf);
}

/* ------------------------------------------------------------------ requests */

/** The request line is read. Gives libmicrohttpd's per-request pointer. */
static void *request_line(void *ctx, const char *target, struct MHD_Connection *mhd)
{
    HttpListener *listener = ctx;
    Call *call = HEAP_NEW(Call);
    char *copy = heap_text(str_from(target));
    call->listener = listener;
    call->target = copy;
    call->connection = info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    watchdog_phase(listener->config.watchdog, &call->connection->watched, WATCH_HEADERS);
    return call;
}

static void fill_exchange(Call *call, struct MHD_Connection *mhd, const char *method)
{
    HttpExchange *exchange = &call->exchange;
    HttpConnection *connection = call->connection;
    exchange->req = request_new(call->listener->config.request_timeout_ms);
    exchange->connection = connection;
    exchange->mhd = mhd;
    exchange->is_tls = call->listener->config.tls_policy != NULL;
    exchange->certificate_fingerprint = connection->fingerprint;
    exchange->certificate_subject = connection->subject;
    exchange->req->peer_address = str_from(connection->watched.address.text);
    exchange->req->endpoint = str_from(call->listener->config.endpoint);
    exchange->method = str_dup(exchange->req->arena, str_from(method));
    Str target = str_from(call->target);
    size_t question = str_find_char(target, '?');
    exchange->path = str_slice(target, 0, MIN(question, target.len));
    exchange->query = question < target.len ? str_from_offset(target, question + 1) : STR_EMPTY;
    exchange->host = http_header(exchange, MHD_HTTP_HEADER_HOST);
    exchange->content_type = http_header(exchange, MHD_HTTP_HEADER_CONTENT_TYPE);
}

static void begin(Call *call, struct MHD_Connection *mhd, const char *method, const char *version)
{
    bool is_identified = identify(call->connection, mhd);
    fill_exchange(call, mhd, method);
    watchdog_phase(call->listener->config.watchdog, &call->connection->watched, WATCH_BODY);
    const HttpService *service = call->listener->config.service;
    const char *problem = framing_problem(mhd, version);
    call->has_begun = true;
    if (call->connection->is_too_many) {
        reply_text(&call->exchange, MHD_HTTP_SERVICE_UNAVAILABLE,
                   "Too many connections are open " CROWD_OF_ONE ".");
    } else if (!is_identified) {
        reply_text(&call->exchange, MHD_HTTP_FORBIDDEN,
                   "The client certificate is not valid any more.");
    } else if (problem) {
        StrBuf text = {0};
        if (service->refused) {
            service->refused(service->ctx, &call->exchange, problem);
        }
        strbuf_printf(&text, "The HTTP request is refused: %s.", problem);
        reply_text(&call->exchange, MHD_HTTP_BAD_REQUEST, text.data);
        strbuf_done(&text);
    } else {
        service->begin(service->ctx, &call->exchange);
    }
}

static enum MHD_Result access_handler(void *ctx, struct MHD_Connection *mhd, const char *url,
                                      const char *method, const char *version, const char *upload,
                                      size_t *upload_size, void **request_context)
{
    Call *call = *request_context;
    HttpExchange *exchange = &call->exchange;
    const HttpService *service = call->listener->config.service;
    Watchdog *watchdog = call->listener->config.watchdog;
    (void)ctx;
    (void)url;
    if (!call->has_begun) {
        begin(call, mhd, method, version);
        return exchange->is_cut ? MHD_NO : MHD_YES;
    }
    if (*upload_size > 0) {
        exchange->req->received_bytes += *upload_size;
        if (!exchange->is_answered) {
            service->body(service->ctx, exchange, upload, *upload_size);
        }
        *upload_size = 0;
        return exchange->is_cut ? MHD_NO : MHD_YES;
    }
    if (!exchange->is_answered) {
        watchdog_phase(watchdog, &call->connection->watched, WATCH_HANDLING);
        /* the time to answer counts from the last byte: a large document may take long to arrive */
        exchange->req->deadline_ns =
            clock_now_ns() + (int64_t)call->listener->config.request_timeout_ms * 1000000;
        service->end(service->ctx, exchange);
    }
    return exchange->is_cut ? MHD_NO : MHD_YES;
}

static void request_completed(void *ctx, struct MHD_Connection *mhd, void **request_context,
                              enum MHD_RequestTerminationCode code)
{
    Call *call = *request_context;
    (void)ctx;
    (void)mhd;
    if (!call) {
        return;
    }
    send_held(call->connection);
    if (call->has_begun) {
        const HttpService *service = call->listener->config.service;
        call->exchange.is_cut |= code != MHD_REQUEST_TERMINATED_COMPLETED_OK;
        end_source(call->exchange.outgoing);
        service->completed(service->ctx, &call->exchange);
        request_free(call->exchange.req);
    }
    watchdog_phase(call->listener->config.watchdog, &call->connection->watched, WATCH_IDLE);
    free(call->target);
    free(call);
    *request_context = NULL;
}

/* ------------------------------------------------------------------ listeners */

static void ignore_log(void *ctx, const char *format, va_list args)
{
    (void)ctx;
    (void)format;
    (void)args;
}

HttpListener *http_listener_bind(const HttpListenerConfig *config, char *ret_problem,
                                 size_t problem_size)
{
    int fd = socket_listen(config->address, config->is_loopback_only, ret_problem, problem_size);
    if (fd < 0) {
        return NULL;
    }
    HttpListener *listener = HEAP_NEW(HttpListener);
    listener->config = *config;
    listener->fd = fd;
    return listener;
}

bool http_listener_start(HttpListener *listener, char *ret_problem, size_t problem_size)
{
    const HttpListenerConfig *config = &listener->config;
    bool is_tls = config->tls_policy != NULL;
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                     MHD_USE_POLL | MHD_USE_ITC | (is_tls ? MHD_USE_TLS : 0);
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, WITHOUT_CONST(gnutls_peer_certificate)},
        {MHD_OPTION_HTTPS_MEM_DHPARAMS, 0,
         is_tls ? WITHOUT_CONST(gnutls_peer_dh_parameters(config->tls_policy)) : NULL},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, WITHOUT_CONST(config->tls_priorities)},
        {MHD_OPTION_END, 0, NULL},
    };
    listener->daemon = MHD_start_daemon(
        flags, 0, accept_policy, listener, access_handler, listener, MHD_OPTION_EXTERNAL_LOGGER,
        ignore_log, NULL, MHD_OPTION_LISTEN_SOCKET, listener->fd, MHD_OPTION_NOTIFY_CONNECTION,
        notify_connection, listener, MHD_OPTION_NOTIFY_COMPLETED, request_completed, listener,
        MHD_OPTION_URI_LOG_CALLBACK, request_line, listener, MHD_OPTION_CONNECTION_LIMIT,
        config->max_connections, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_ARRAY, is_tls ? tls : &tls[ARRAY_LEN(tls) - 1], MHD_OPTION_END);
    if (!listener->daemon) {
        (void)snprintf(ret_problem, problem_size, "cannot serve HTTP on %s", config->address);
        return false;
    }
    return true;
}

void http_listener_quiesce(HttpListener *listener)
{
    if (listener && listener->daemon && listener->fd >= 0) {
        listener->fd = MHD_quiesce_daemon(listener->daemon);
    }
}

void http_listener_free(HttpListener *listener)
{
    if (!listener) {
        return;
    }
    bool owns_fd = !listener->daemon;
    if (listener->daemon) {
        int quiesced = MHD_quiesce_daemon(listener->daemon);
        MHD_stop_daemon(listener->daemon);
        owns_fd = true;
        listener->fd = quiesced >= 0 ? quiesced : listener->fd;
    }
    if (owns_fd && listener->fd >= 0) {
        close(listener->fd);
    }
    free(listener);
}
