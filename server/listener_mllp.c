#include "server/listener_mllp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/thread.h"
#include "lib/hl7/mllp.h"
#include "lib/hl7/reply.h"
#include "lib/tls/tls.h"
#include "server/socket.h"

#define STACK_BYTES ((size_t)512 * 1024)
#define SHOWN_SUBJECT ((size_t)90)
#define READ_BYTES 16384
#define ACCEPT_PAUSE_MS 100
#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define RATE_GRACE_NS (10 * NS_PER_S)

/** One accepted socket; owned by its thread. */
typedef struct Connection {
    MllpListener *listener;
    int fd;   /* non-blocking */
    SSL *ssl; /* NULL: plain */
    SocketAddress address;
    Arena *arena;
    TlsCertificate certificate; /* of the peer, in the arena; empty on a plain connection */
    OpenPeer open;
    bool is_proven; /* under the listener's lock: the handshake is over */
    struct Connection *previous;
    struct Connection *next;
} Connection;

struct MllpListener {
    MllpListenerConfig config;
    int fd;
    int stop_fd; /* an eventfd that stays readable once the listener is to stop */
    bool is_started;
    pthread_t acceptor;
    pthread_mutex_t lock;
    pthread_cond_t is_empty;
    Connection *connections;
    unsigned count;
};

static int64_t after_ms(unsigned ms)
{
    return clock_now_ns() + ms * NS_PER_MS;
}

/* ---- bytes with deadlines ---- */

typedef enum Step { STEP_HANDSHAKE, STEP_READ, STEP_WRITE } Step;

typedef struct Transfer {
    Step step;
    void *into;       /* STEP_READ */
    const void *from; /* STEP_WRITE */
    size_t len;
    size_t done;
} Transfer;

typedef enum TransferEnd {
    TRANSFER_DONE,
    TRANSFER_CLOSED, /* by the peer, or broken */
    TRANSFER_TIMED_OUT,
    TRANSFER_STOPPED, /* the listener is to stop */
} TransferEnd;

/** @return 0 done, POLLIN or POLLOUT: to be repeated when the socket is ready, -1 closed */
static int transfer_tls(SSL *ssl, Transfer *transfer)
{
    int rc = 0;
    ERR_clear_error();
    switch (transfer->step) {
    case STEP_HANDSHAKE:
        rc = SSL_accept(ssl);
        break;
    case STEP_READ:
        rc = SSL_read_ex(ssl, transfer->into, transfer->len, &transfer->done);
        break;
    case STEP_WRITE:
        rc = SSL_write_ex(ssl, transfer->from, transfer->len, &transfer->done);
        break;
    }
    if (rc == 1) {
        return 0;
    }
    int error = SSL_get_error(ssl, rc);
    return error == SSL_ERROR_WANT_READ ? POLLIN : error == SSL_ERROR_WANT_WRITE ? POLLOUT : -1;
}

/** As transfer_tls(), for a plain socket. */
static int transfer_plain(int fd, Transfer *transfer)
{
    bool is_write = transfer->step == STEP_WRITE;
    ssize_t len = is_write ? send(fd, transfer->from, transfer->len, MSG_NOSIGNAL)
                           : recv(fd, transfer->into, transfer->len, 0);
    if (len > 0) {
        transfer->done = (size_t)len;
        return 0;
    }
    if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
        return is_write ? POLLOUT : POLLIN;
    }
    return -1;
}

/** Waits for the socket; while nothing is being answered an orderly stop ends the wait. */
static TransferEnd wait_ready(const Connection *connection, int events, int64_t deadline_ns,
                              bool is_interruptible)
{
    struct pollfd fds[] = {
        {.fd = connection->fd, .events = (short)events},
        {.fd = is_interruptible ? connection->listener->stop_fd : -1, .events = POLLIN},
    };
    int64_t left_ms = (deadline_ns - clock_now_ns() + NS_PER_MS - 1) / NS_PER_MS;
    if (left_ms <= 0) {
        return TRANSFER_TIMED_OUT;
    }
    int ready = poll(fds, ARRAY_LEN(fds), (int)MIN(left_ms, INT32_MAX));
    if (ready < 0 && errno != EINTR) {
        return TRANSFER_CLOSED;
    }
    return ready > 0 && fds[1].revents ? TRANSFER_STOPPED : TRANSFER_DONE;
}

static TransferEnd transfer_until(const Connection *connection, Transfer *transfer,
                                  int64_t deadline_ns)
{
    for (;;) {
        int events = connection->ssl ? transfer_tls(connection->ssl, transfer)
                                     : transfer_plain(connection->fd, transfer);
        if (connection->ssl && tls_has_asked_to_renegotiate(connection->ssl)) {
            return TRANSFER_CLOSED;
        }
        if (events <= 0) {
            return events == 0 ? TRANSFER_DONE : TRANSFER_CLOSED;
        }
        TransferEnd end = wait_ready(connection, events, deadline_ns, transfer->step != STEP_WRITE);
        if (end != TRANSFER_DONE) {
            return end;
        }
    }
}

static bool write_all(const Connection *connection, Str bytes, int64_t deadline_ns)
{
    while (!str_is_empty(bytes)) {
        Transfer transfer = {.step = STEP_WRITE, .from = bytes.data, .len = bytes.len};
        if (transfer_until(connection, &transfer, deadline_ns) != TRANSFER_DONE) {
            return false;
        }
        bytes = str_from_offset(bytes, transfer.done);
    }
    return true;
}

/* ---- who the peer is ---- */

static void reject(const Connection *connection, const TlsProblem *problem)
{
    const MllpListenerConfig *config = &connection->listener->config;
    config->rejected(config->ctx, connection->address.text, problem);
}

static void reject_unregistered(const Connection *connection, const char *when)
{
    TlsProblem problem;
    tls_problem_set(&problem, TLS_REFUSED_UNREGISTERED, "\"%.*s\" (SHA-256 %.*s)%s",
                    STR_ARG(str_slice(connection->certificate.subject, 0, SHOWN_SUBJECT)),
                    STR_ARG(connection->certificate.fingerprint), when);
    reject(connection, &problem);
}

static void reject_crowd(const Connection *connection, const char *details)
{
    TlsProblem problem;
    tls_problem_set(&problem, TLS_REFUSED_CROWD, "%s", details);
    reject(connection, &problem);
}

/** Asked for every message, so that a revoked node is out at once. NULL: not registered. */
static const Principal *find_principal(const Connection *connection, Arena *arena)
{
    const MllpListenerConfig *config = &connection->listener->config;
    Str plain_node = str_from(config->plain_node);
    if (!connection->ssl && !str_is_empty(plain_node)) {
        return node_directory_find_name(config->nodes, arena, plain_node);
    }
    return node_directory_find(config->nodes, arena, connection->certificate.fingerprint,
                               connection->certificate.subject);
}

/** The handshake is over: from now on a revocation ends the connection. */
static bool identify(Connection *connection)
{
    const MllpListenerConfig *config = &connection->listener->config;
    _cleanup_(arena_freep) Arena *arena = arena_new();
    TlsChain chain;
    if (!tls_certificate_of_peer(connection->arena, connection->ssl, &connection->certificate) ||
        !tls_chain_of_peer(arena, connection->ssl, &chain)) {
        return false;
    }
    connection->open = (OpenPeer){
        .fd = connection->fd, .endpoint = config->address, .address = connection->address.text};
    open_peers_add(config->open_peers, &connection->open, &connection->certificate, &chain);
    return true;
}

static bool handshake(Connection *connection)
{
    Transfer transfer = {.step = STEP_HANDSHAKE};
    unsigned timeout_ms = connection->listener->config.handshake_timeout_ms;
    TransferEnd end = transfer_until(connection, &transfer, after_ms(timeout_ms));
    TlsProblem problem;
    if (end == TRANSFER_DONE && identify(connection)) {
        return true;
    }
    if (end == TRANSFER_TIMED_OUT) {
        tls_problem_set(&problem, TLS_REFUSED_TOO_SLOW, "%s", "");
        reject(connection, &problem);
    } else if (end != TRANSFER_STOPPED) {
        tls_problem_of(connection->ssl, &problem);
        reject(connection, &problem);
    }
    return false;
}

static bool prove_peer(Connection *connection)
{
    if (connection->ssl && !handshake(connection)) {
        return false;
    }
    pthread_mutex_lock(&connection->listener->lock);
    connection->is_proven = true;
    pthread_mutex_unlock(&connection->listener->lock);
    if (!find_principal(connection, connection->arena)) {
        reject_unregistered(connection, "");
        return false;
    }
    return true;
}

/* ---- messages ---- */

static Request *new_request(const Connection *connection, size_t received_bytes)
{
    Request *req = request_new(connection->listener->config.request_timeout_ms);
    req->peer_address = str_from(connection->address.text);
    req->received_bytes = received_bytes;
    req->principal = find_principal(connection, req->arena);
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
    if (!req->principal) {
        reject_unregistered(connection, ", not any more");
        request_free(req);
        return false;
    }
    bool is_sent = false;
    if (pix_hl7_message(config->pix, req, payload, &reply) == 0) {
        mllp_append_frame(&frame, strbuf_str(&reply));
        is_sent = write_all(connection, strbuf_str(&frame), after_ms(config->frame_timeout_ms));
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
    Transfer transfer = {
        .step = STEP_READ, .into = conversation->buffer, .len = sizeof(conversation->buffer)};
    TransferEnd end = transfer_until(connection, &transfer,
                                     read_deadline(&connection->listener->config, conversation));
    if (end == TRANSFER_DONE) {
        *ret_bytes = (Str){conversation->buffer, transfer.done};
        return true;
    }
    if (connection->ssl && tls_has_asked_to_renegotiate(connection->ssl)) {
        TlsProblem problem;
        tls_problem_of(connection->ssl, &problem);
        reject(connection, &problem);
    } else if (is_in_frame && end != TRANSFER_STOPPED) {
        report_frame(connection, &conversation->parser, ERR_HL7_SEGMENT_SEQUENCE,
                     end == TRANSFER_TIMED_OUT ? "the MLLP frame arrived too slowly"
                                               : "the connection ended within an MLLP frame");
    }
    return false;
}

static bool is_stopping(const MllpListener *listener)
{
    struct pollfd stop = {.fd = listener->stop_fd, .events = POLLIN};
    return poll(&stop, 1, 0) > 0;
}

/** Answers the frame that is whole. @return whether the conversation goes on */
static bool answer_frame(const Connection *connection, Conversation *conversation)
{
    if (!answer(connection, strbuf_str(&conversation->parser.payload))) {
        return false;
    }
    conversation->frame_began_ns = 0;
    conversation->idle_deadline_ns = after_ms(connection->listener->config.idle_timeout_ms);
    return !is_stopping(connection->listener);
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

/* ---- connections ---- */

static void connection_link(Connection *connection)
{
    MllpListener *listener = connection->listener;
    connection->next = listener->connections;
    if (connection->next) {
        connection->next->previous = connection;
    }
    listener->connections = connection;
    listener->count++;
}

/** Frees the connection; the listener may be gone as soon as this returns. */
static void connection_end(Connection *connection)
{
    MllpListener *listener = connection->listener;
    if (connection->ssl) {
        open_peers_remove(listener->config.open_peers, &connection->open);
    }
    SSL_free(connection->ssl);
    (void)close(connection->fd);
    arena_free(connection->arena);

    pthread_mutex_lock(&listener->lock);
    if (connection->next) {
        connection->next->previous = connection->previous;
    }
    if (connection->previous) {
        connection->previous->next = connection->next;
    } else {
        listener->connections = connection->next;
    }
    listener->count--;
    if (listener->count == 0) {
        pthread_cond_broadcast(&listener->is_empty);
    }
    pthread_mutex_unlock(&listener->lock);
    free(connection);
}

static void *connection_run(void *arg)
{
    Connection *connection = arg;
    const MllpListenerConfig *config = &connection->listener->config;
    if (prove_peer(connection)) {
        Conversation conversation;
        mllp_parser_init(&conversation.parser, config->max_frame_bytes);
        conversation.frame_began_ns = 0;
        conversation.idle_deadline_ns = after_ms(config->idle_timeout_ms);
        converse(connection, &conversation);
        mllp_parser_done(&conversation.parser);
        if (connection->ssl) {
            (void)SSL_shutdown(connection->ssl); /* close_notify, without waiting for the peer's */
        }
    }
    connection_end(connection);
    return NULL;
}

/* ---- accepting ---- */

/** Whether one more connection is too many; under the listener's lock. */
static bool is_crowded(const MllpListener *listener, const SocketAddress *address)
{
    if (listener->count >= listener->config.max_connections) {
        return true;
    }
    unsigned unproven = 0;
    for (const Connection *other = listener->connections; other; other = other->next) {
        unproven += !other->is_proven && strcmp(other->address.text, address->text) == 0;
    }
    return !address->is_loopback && unproven >= listener->config.max_unproven;
}

/** The connection of an accepted socket, linked; NULL when the listener is crowded. */
static Connection *connection_new(MllpListener *listener, int fd, const SocketAddress *address)
{
    Connection *connection = calloc(1, sizeof(*connection));
    if (!connection) {
        abort();
    }
    connection->listener = listener;
    connection->fd = fd;
    connection->address = *address;
    connection->arena = arena_new();
    pthread_mutex_lock(&listener->lock);
    bool is_taken = !is_crowded(listener, address);
    if (is_taken) {
        connection_link(connection);
    }
    pthread_mutex_unlock(&listener->lock);
    if (is_taken) {
        return connection;
    }
    reject_crowd(connection, "");
    arena_free(connection->arena);
    free(connection);
    return NULL;
}

static bool start_tls(Connection *connection)
{
    if (!connection->listener->config.tls) {
        return true;
    }
    connection->ssl = SSL_new(connection->listener->config.tls);
    return connection->ssl && SSL_set_fd(connection->ssl, connection->fd) == 1;
}

static bool start_thread(Connection *connection)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&thread, &attributes, connection_run, connection);
    pthread_attr_destroy(&attributes);
    return failed == 0;
}

static void take_connection(MllpListener *listener, int fd, const struct sockaddr_storage *from)
{
    SocketAddress address = socket_address(from);
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    Connection *connection = connection_new(listener, fd, &address);
    if (!connection) {
        (void)close(fd);
    } else if (!start_tls(connection) || !start_thread(connection)) {
        reject_crowd(connection, "out of memory or threads");
        connection_end(connection);
    }
}

static void *accept_run(void *arg)
{
    MllpListener *listener = arg;
    struct pollfd fds[] = {{.fd = listener->fd, .events = POLLIN},
                           {.fd = listener->stop_fd, .events = POLLIN}};
    while (!is_stopping(listener)) {
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 || !fds[0].revents) {
            continue;
        }
        struct sockaddr_storage from = {0};
        socklen_t len = sizeof(from);
        int fd =
            accept4(listener->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take_connection(listener, fd, &from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            (void)poll(&fds[1], 1, ACCEPT_PAUSE_MS); /* until descriptors are free again */
        }
    }
    return NULL;
}

/* ---- listener ---- */

static unsigned or_default(unsigned value, unsigned default_value)
{
    return value ? value : default_value;
}

static void fill_defaults(MllpListenerConfig *config)
{
    config->max_connections = or_default(config->max_connections, 1024);
    config->max_unproven = or_default(config->max_unproven, 64);
    config->handshake_timeout_ms = or_default(config->handshake_timeout_ms, 10000);
    config->frame_timeout_ms = or_default(config->frame_timeout_ms, 60000);
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
    int fd = socket_listen(config->address, !config->tls, ret_problem, problem_size);
    if (fd < 0) {
        return NULL;
    }
    int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    MllpListener *listener = calloc(1, sizeof(*listener));
    if (!listener || stop_fd < 0) {
        abort();
    }
    listener->config = *config;
    fill_defaults(&listener->config);
    listener->fd = fd;
    listener->stop_fd = stop_fd;
    pthread_mutex_init(&listener->lock, NULL);
    pthread_cond_init(&listener->is_empty, NULL);
    return listener;
}

bool mllp_listener_start(MllpListener *listener, char *ret_problem, size_t problem_size)
{
    int failed = thread_start(&listener->acceptor, accept_run, listener);
    if (failed) {
        (void)snprintf(ret_problem, problem_size, "cannot start a thread for %s: %s",
                       listener->config.address, strerror(failed));
        return false;
    }
    listener->is_started = true;
    return true;
}

unsigned mllp_listener_port(const MllpListener *listener)
{
    return socket_port(listener->fd);
}

/** No new connections and no new messages; those in work go on. */
static void quiesce(MllpListener *listener)
{
    uint64_t one = 1;
    while (write(listener->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
    if (listener->is_started) {
        pthread_join(listener->acceptor, NULL);
        listener->is_started = false;
    }
    if (listener->fd >= 0) {
        (void)close(listener->fd);
        listener->fd = -1;
    }
}

void mllp_listener_free(MllpListener *listener)
{
    if (!listener) {
        return;
    }
    quiesce(listener);
    pthread_mutex_lock(&listener->lock);
    while (listener->count > 0) {
        pthread_cond_wait(&listener->is_empty, &listener->lock);
    }
    pthread_mutex_unlock(&listener->lock);
    pthread_cond_destroy(&listener->is_empty);
    pthread_mutex_destroy(&listener->lock);
    (void)close(listener->stop_fd);
    free(listener);
}
