#include "server/stream_listener.h"

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
#include "lib/base/heap.h"
#include "lib/base/thread.h"

#define STACK_BYTES ((size_t)512 * 1024)
#define SHOWN_SUBJECT ((size_t)90)
#define ACCEPT_PAUSE_MS 100
#define NS_PER_MS INT64_C(1000000)

/** Owned by its thread. */
struct StreamConnection {
    StreamListener *listener;
    int fd;   /* non-blocking */
    SSL *ssl; /* NULL: plain */
    SocketAddress address;
    Arena *arena;
    TlsCertificate certificate; /* of the peer, in the arena; empty on a plain connection */
    OpenPeer open;
    bool is_proven; /* under the listener's lock: the handshake is over */
    StreamConnection *previous;
    StreamConnection *next;
};

struct StreamListener {
    StreamListenerConfig config;
    int fd;
    int stop_fd; /* an eventfd that stays readable once the listener is to stop */
    bool is_started;
    pthread_t acceptor;
    pthread_mutex_t lock;
    pthread_cond_t is_empty;
    StreamConnection *connections;
    unsigned count;
};

static int64_t after_ms(unsigned ms)
{
    return clock_now_ns() + ms * NS_PER_MS;
}

/* ---- bytes with deadlines ---- */

static bool is_stopping(const StreamListener *listener)
{
    struct pollfd stop = {.fd = listener->stop_fd, .events = POLLIN};
    return poll(&stop, 1, 0) > 0;
}

typedef enum Step { STEP_HANDSHAKE, STEP_READ, STEP_WRITE } Step;

typedef struct Transfer {
    Step step;
    void *into;       /* STEP_READ */
    const void *from; /* STEP_WRITE */
    size_t len;
    size_t done;
} Transfer;

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
static StreamEnd wait_ready(const StreamConnection *connection, int events, int64_t deadline_ns,
                            bool is_interruptible)
{
    struct pollfd fds[] = {
        {.fd = connection->fd, .events = (short)events},
        {.fd = is_interruptible ? connection->listener->stop_fd : -1, .events = POLLIN},
    };
    int64_t left_ms = (deadline_ns - clock_now_ns() + NS_PER_MS - 1) / NS_PER_MS;
    if (left_ms <= 0) {
        return STREAM_TIMED_OUT;
    }
    int ready = poll(fds, ARRAY_LEN(fds), (int)MIN(left_ms, INT32_MAX));
    if (ready < 0 && errno != EINTR) {
        return STREAM_CLOSED;
    }
    return ready > 0 && fds[1].revents ? STREAM_STOPPED : STREAM_DONE;
}

static StreamEnd transfer_until(const StreamConnection *connection, Transfer *transfer,
                                int64_t deadline_ns)
{
    for (;;) {
        int events = connection->ssl ? transfer_tls(connection->ssl, transfer)
                                     : transfer_plain(connection->fd, transfer);
        if (connection->ssl && tls_has_asked_to_renegotiate(connection->ssl)) {
            return STREAM_CLOSED;
        }
        if (events <= 0) {
            return events == 0 ? STREAM_DONE : STREAM_CLOSED;
        }
        StreamEnd end = wait_ready(connection, events, deadline_ns, transfer->step != STEP_WRITE);
        if (end != STREAM_DONE) {
            return end;
        }
    }
}

static void reject(const StreamConnection *connection, const TlsProblem *problem)
{
    const StreamListenerConfig *config = &connection->listener->config;
    config->rejected(config->rejected_ctx, config->address, connection->address.text, problem);
}

/** A peer that asks to renegotiate is told about, once. */
static void reject_renegotiation(const StreamConnection *connection)
{
    TlsProblem problem;
    if (connection->ssl && tls_has_asked_to_renegotiate(connection->ssl)) {
        tls_problem_of(connection->ssl, &problem);
        reject(connection, &problem);
    }
}

StreamEnd stream_read(const StreamConnection *connection, void *ret_bytes, size_t size,
                      int64_t deadline_ns, size_t *ret_len)
{
    Transfer transfer = {.step = STEP_READ, .into = ret_bytes, .len = size};
    StreamEnd end = transfer_until(connection, &transfer, deadline_ns);
    if (end == STREAM_DONE) {
        *ret_len = transfer.done;
    } else if (end == STREAM_CLOSED) {
        reject_renegotiation(connection);
    }
    return end;
}

size_t stream_read_more(const StreamConnection *connection, void *ret_bytes, size_t size)
{
    Transfer transfer = {.step = STEP_READ, .into = ret_bytes, .len = size};
    int events = connection->ssl ? transfer_tls(connection->ssl, &transfer)
                                 : transfer_plain(connection->fd, &transfer);
    return events == 0 ? transfer.done : 0;
}

bool stream_write_all(const StreamConnection *connection, Str bytes, int64_t deadline_ns)
{
    while (!str_is_empty(bytes)) {
        Transfer transfer = {.step = STEP_WRITE, .from = bytes.data, .len = bytes.len};
        if (transfer_until(connection, &transfer, deadline_ns) != STREAM_DONE) {
            socket_give_up(connection->fd);
            return false;
        }
        bytes = str_from_offset(bytes, transfer.done);
    }
    return true;
}

static int try_transfer(const StreamConnection *connection, Transfer *transfer, size_t *ret_len)
{
    int events = connection->ssl ? transfer_tls(connection->ssl, transfer)
                                 : transfer_plain(connection->fd, transfer);
    if (connection->ssl && tls_has_asked_to_renegotiate(connection->ssl)) {
        reject_renegotiation(connection);
        return -1;
    }
    *ret_len = transfer->done;
    return events;
}

int stream_try_read(const StreamConnection *connection, void *ret_bytes, size_t size,
                    size_t *ret_len)
{
    Transfer transfer = {.step = STEP_READ, .into = ret_bytes, .len = size};
    return try_transfer(connection, &transfer, ret_len);
}

int stream_try_write(const StreamConnection *connection, Str bytes, size_t *ret_len)
{
    Transfer transfer = {.step = STEP_WRITE, .from = bytes.data, .len = bytes.len};
    return try_transfer(connection, &transfer, ret_len);
}

int stream_socket(const StreamConnection *connection)
{
    return connection->fd;
}

int stream_stop_socket(const StreamConnection *connection)
{
    return connection->listener->stop_fd;
}

/* ---- who the peer is ---- */

static void reject_unregistered(const StreamConnection *connection, const char *when)
{
    TlsProblem problem;
    tls_problem_set(&problem, TLS_REFUSED_UNREGISTERED, "\"%.*s\" (SHA-256 %.*s)%s",
                    STR_ARG(str_slice(connection->certificate.subject, 0, SHOWN_SUBJECT)),
                    STR_ARG(connection->certificate.fingerprint), when);
    reject(connection, &problem);
}

static void reject_crowd(const StreamConnection *connection, const char *details)
{
    TlsProblem problem;
    tls_problem_set(&problem, TLS_REFUSED_CROWD, "%s", details);
    reject(connection, &problem);
}

const Principal *stream_principal(const StreamConnection *connection, Arena *arena)
{
    const StreamListenerConfig *config = &connection->listener->config;
    Str plain_node = str_from(config->plain_node);
    if (!connection->ssl && !str_is_empty(plain_node)) {
        return node_directory_find_name(config->nodes, arena, plain_node);
    }
    return node_directory_find(config->nodes, arena, connection->certificate.fingerprint,
                               connection->certificate.subject);
}

/** The handshake is over: from now on a revocation ends the connection. */
static bool identify(StreamConnection *connection, bool *ret_is_too_many)
{
    const StreamListenerConfig *config = &connection->listener->config;
    _cleanup_(arena_freep) Arena *arena = arena_new();
    TlsChain chain;
    if (!tls_certificate_of_peer(connection->arena, connection->ssl, &connection->certificate) ||
        !tls_chain_of_peer(arena, connection->ssl, &chain)) {
        return false;
    }
    connection->open = (OpenPeer){
        .fd = connection->fd, .endpoint = config->address, .address = connection->address.text};
    *ret_is_too_many =
        !open_peers_add(config->open_peers, &connection->open, &connection->certificate, &chain);
    return true;
}

static bool handshake(StreamConnection *connection)
{
    Transfer transfer = {.step = STEP_HANDSHAKE};
    unsigned timeout_ms = connection->listener->config.handshake_timeout_ms;
    StreamEnd end = transfer_until(connection, &transfer, after_ms(timeout_ms));
    TlsProblem problem;
    bool is_too_many = false;
    if (end == STREAM_DONE && identify(connection, &is_too_many)) {
        if (is_too_many) {
            reject_crowd(connection, CROWD_OF_ONE);
        }
        return !is_too_many;
    }
    if (end == STREAM_TIMED_OUT) {
        tls_problem_set(&problem, TLS_REFUSED_TOO_SLOW, "%s", "");
        reject(connection, &problem);
    } else if (end != STREAM_STOPPED) {
        tls_problem_of(connection->ssl, &problem);
        reject(connection, &problem);
    }
    return false;
}

/** Whether it may use the transaction of the listener; tells if not. */
static bool has_rights(const StreamConnection *connection, const Principal *principal)
{
    const char *transaction = connection->listener->config.transaction;
    TlsProblem problem;
    if (!transaction || access_may_use(principal, transaction)) {
        return true;
    }
    tls_problem_set(&problem, TLS_REFUSED_RIGHTS, "node %.*s has no right to %s",
                    STR_ARG(principal->node_name), transaction);
    reject(connection, &problem);
    return false;
}

bool stream_may_go_on(const StreamConnection *connection, const Principal *principal)
{
    if (!principal) {
        reject_unregistered(connection, ", not any more");
        return false;
    }
    return has_rights(connection, principal);
}

static bool prove_peer(StreamConnection *connection)
{
    if (connection->ssl && !handshake(connection)) {
        return false;
    }
    pthread_mutex_lock(&connection->listener->lock);
    connection->is_proven = true;
    pthread_mutex_unlock(&connection->listener->lock);
    const Principal *principal = stream_principal(connection, connection->arena);
    if (!principal) {
        reject_unregistered(connection, "");
        return false;
    }
    return has_rights(connection, principal);
}

/* ---- connections ---- */

static void connection_link(StreamConnection *connection)
{
    StreamListener *listener = connection->listener;
    connection->next = listener->connections;
    if (connection->next) {
        connection->next->previous = connection;
    }
    listener->connections = connection;
    listener->count++;
}

/** Frees the connection; the listener may be gone as soon as this returns. */
static void connection_end(StreamConnection *connection)
{
    StreamListener *listener = connection->listener;
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
    StreamConnection *connection = arg;
    const StreamListenerConfig *config = &connection->listener->config;
    if (prove_peer(connection)) {
        config->converse(config->ctx, connection);
        if (connection->ssl) {
            (void)SSL_shutdown(connection->ssl); /* close_notify, without waiting for the peer's */
        }
    }
    connection_end(connection);
    return NULL;
}

/* ---- accepting ---- */

/** Whether one more connection is too many; under the listener's lock. */
static bool is_crowded(const StreamListener *listener, const SocketAddress *address)
{
    if (listener->count >= listener->config.max_connections) {
        return true;
    }
    unsigned unproven = 0;
    for (const StreamConnection *other = listener->connections; other; other = other->next) {
        unproven += !other->is_proven && strcmp(other->address.text, address->text) == 0;
    }
    return !address->is_loopback && unproven >= listener->config.max_unproven;
}

/** The connection of an accepted socket, linked; NULL when the listener is crowded. */
static StreamConnection *connection_new(StreamListener *listener, int fd,
                                        const SocketAddress *address)
{
    StreamConnection *connection = HEAP_NEW(StreamConnection);
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

static bool start_tls(StreamConnection *connection)
{
    if (!connection->listener->config.tls) {
        return true;
    }
    connection->ssl = SSL_new(connection->listener->config.tls);
    if (!connection->ssl || SSL_set_fd(connection->ssl, connection->fd) != 1) {
        return false;
    }
    SSL_set_read_ahead(connection->ssl, 1); /* else each TLS record costs two system calls */
    return true;
}

static bool start_thread(StreamConnection *connection)
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

static void take_connection(StreamListener *listener, int fd, const struct sockaddr_storage *from)
{
    SocketAddress address = socket_address(from);
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    StreamConnection *connection = connection_new(listener, fd, &address);
    if (!connection) {
        (void)close(fd);
    } else if (!start_tls(connection) || !start_thread(connection)) {
        reject_crowd(connection, "out of memory or threads");
        connection_end(connection);
    }
}

static void *accept_run(void *arg)
{
    StreamListener *listener = arg;
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

static void fill_defaults(StreamListenerConfig *config)
{
    config->max_connections = or_default(config->max_connections, 1024);
    config->max_unproven = or_default(config->max_unproven, 64);
    config->handshake_timeout_ms = or_default(config->handshake_timeout_ms, 10000);
}

StreamListener *stream_listener_bind(const StreamListenerConfig *config, char *ret_problem,
                                     size_t problem_size)
{
    int fd = socket_listen(config->address, !config->tls, ret_problem, problem_size);
    if (fd < 0) {
        return NULL;
    }
    int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    StreamListener *listener = HEAP_NEW(StreamListener);
    if (stop_fd < 0) {
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

bool stream_listener_start(StreamListener *listener, char *ret_problem, size_t problem_size)
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

unsigned stream_listener_port(const StreamListener *listener)
{
    return socket_port(listener->fd);
}

/** No new connections and no new messages; those in work go on. */
static void quiesce(StreamListener *listener)
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

void stream_listener_free(StreamListener *listener)
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

/* ---- for converse() ---- */

const char *stream_address(const StreamConnection *connection)
{
    return connection->address.text;
}

bool stream_is_stopping(const StreamConnection *connection)
{
    return is_stopping(connection->listener);
}

bool stream_pause(const StreamConnection *connection, unsigned ms)
{
    struct pollfd stop = {.fd = connection->listener->stop_fd, .events = POLLIN};
    return poll(&stop, 1, (int)ms) <= 0;
}
