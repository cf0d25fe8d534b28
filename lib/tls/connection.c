#include "lib/tls/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/tls/name_lookup.h"

#define WAIT_MAX_MS INT64_C(3600000)
#define WRITE_MAX_BYTES ((size_t)1 << 20)

/** @return true when the socket is ready before the deadline */
static bool wait_for(int socket, short events, int64_t deadline_ns)
{
    struct pollfd ready = {.fd = socket, .events = events};
    int rc = 0;
    do {
        int64_t left_ms = (deadline_ns - clock_now_ns()) / 1000000;
        rc = left_ms > 0 ? poll(&ready, 1, (int)MIN(left_ms, WAIT_MAX_MS)) : 0;
    } while (rc < 0 && errno == EINTR);
    return rc > 0;
}

bool tls_connection_may_repeat(const TlsConnection *connection, int rc, int64_t deadline_ns)
{
    switch (SSL_get_error(connection->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(connection->socket, POLLIN, deadline_ns);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(connection->socket, POLLOUT, deadline_ns);
    default:
        return false;
    }
}

/* ---- opening ---- */

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    const struct sockaddr_in6 *v6 = (const void *)address;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/** @return a socket that does not block, or -1 with errno */
static int connect_to(const struct addrinfo *address, int64_t deadline_ns)
{
    int error = ETIMEDOUT;
    socklen_t len = sizeof(error);
    int yes = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0) {
        return fd;
    }
    if (errno != EINPROGRESS) {
        error = errno;
    } else if (wait_for(fd, POLLOUT, deadline_ns) &&
               getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0) {
        return fd;
    }
    close(fd);
    errno = error;
    return -1;
}

int tls_connection_socket(const char *host, const char *port, bool is_loopback_only,
                          int64_t deadline_ns, char *ret_problem, size_t problem_size)
{
    NameLookup *lookup = name_lookup(host, port, deadline_ns, ret_problem, problem_size);
    if (lookup == NULL) {
        return -1;
    }
    int fd = -1;
    errno = is_loopback_only ? EPERM : ETIMEDOUT; /* EPERM: if no address is of this host */
    const struct addrinfo *first = name_lookup_addresses(lookup);
    for (const struct addrinfo *a = first; a != NULL && fd < 0; a = a->ai_next) {
        if (!is_loopback_only || is_loopback(a->ai_addr)) {
            fd = connect_to(a, deadline_ns);
        }
    }
    if (fd < 0) {
        snprintf(ret_problem, problem_size, "%s:%s: %s", host, port, strerror(errno));
    }
    name_lookup_release(lookup);
    return fd;
}

static bool shake_hands(TlsConnection *connection, SSL_CTX *context, const TlsPeer *peer,
                        const char *port, int64_t deadline_ns, char *ret_problem,
                        size_t problem_size)
{
    int rc = 0;
    connection->ssl = tls_client_session(context, peer, connection->socket);
    if (connection->ssl == NULL) {
        tls_take_error("no TLS session", ret_problem, problem_size);
        return false;
    }
    do {
        ERR_clear_error();
        rc = SSL_connect(connection->ssl);
    } while (rc != 1 && tls_connection_may_repeat(connection, rc, deadline_ns));
    if (rc != 1) {
        char reason[400];
        tls_take_handshake_error(connection->ssl, "no answer, or the connection was closed", reason,
                                 sizeof(reason));
        snprintf(ret_problem, problem_size, "%s:%s: TLS: %s", peer->host, port, reason);
    }
    return rc == 1;
}

bool tls_connection_open(TlsConnection *ret_connection, SSL_CTX *context, const TlsPeer *peer,
                         const char *port, int64_t deadline_ns, char *ret_problem,
                         size_t problem_size)
{
    TlsConnection connection = TLS_CONNECTION_NONE;
    connection.opened_ns = clock_now_ns();
    connection.socket = tls_connection_socket(peer->host, port, context == NULL, deadline_ns,
                                              ret_problem, problem_size);
    if (connection.socket < 0) {
        return false;
    }
    if (context != NULL &&
        !shake_hands(&connection, context, peer, port, deadline_ns, ret_problem, problem_size)) {
        tls_connection_close(&connection);
        return false;
    }
    *ret_connection = connection;
    return true;
}

bool tls_connection_is_old(const TlsConnection *connection, unsigned kept_ms)
{
    return clock_now_ns() - connection->opened_ns > (int64_t)kept_ms * 1000000;
}

void tls_connection_close(TlsConnection *connection)
{
    SSL_free(connection->ssl);
    if (connection->socket >= 0) {
        close(connection->socket);
    }
    *connection = TLS_CONNECTION_NONE;
    ERR_clear_error();
}

/* ---- bytes ---- */

/** @return bytes written, or 0: not in time, or the connection is lost */
static size_t write_some(TlsConnection *connection, Str bytes, int64_t deadline_ns)
{
    int size = (int)MIN(bytes.len, WRITE_MAX_BYTES);
    for (;;) {
        bool repeats = false;
        ssize_t rc = 0;
        if (connection->ssl != NULL) {
            ERR_clear_error();
            rc = SSL_write(connection->ssl, bytes.data, size);
            repeats = rc <= 0 && tls_connection_may_repeat(connection, (int)rc, deadline_ns);
        } else {
            rc = send(connection->socket, bytes.data, (size_t)size, MSG_NOSIGNAL);
            repeats =
                rc < 0 && (errno == EINTR ||
                           (errno == EAGAIN && wait_for(connection->socket, POLLOUT, deadline_ns)));
        }
        if (rc > 0) {
            return (size_t)rc;
        }
        if (!repeats) {
            return 0;
        }
    }
}

bool tls_connection_write(TlsConnection *connection, Str bytes, int64_t deadline_ns)
{
    while (bytes.len > 0) {
        size_t written = write_some(connection, bytes, deadline_ns);
        if (written == 0) {
            return false;
        }
        bytes = str_from_offset(bytes, written);
    }
    return true;
}

size_t tls_connection_read(TlsConnection *connection, void *ret_bytes, size_t size,
                           int64_t deadline_ns)
{
    for (;;) {
        bool repeats = false;
        ssize_t rc = 0;
        if (connection->ssl != NULL) {
            ERR_clear_error();
            rc = SSL_read(connection->ssl, ret_bytes, (int)MIN(size, (size_t)INT32_MAX));
            repeats = rc <= 0 && tls_connection_may_repeat(connection, (int)rc, deadline_ns);
        } else {
            rc = recv(connection->socket, ret_bytes, size, 0);
            repeats =
                rc < 0 && (errno == EINTR ||
                           (errno == EAGAIN && wait_for(connection->socket, POLLIN, deadline_ns)));
        }
        if (rc > 0) {
            return (size_t)rc;
        }
        if (!repeats) {
            return 0;
        }
    }
}

bool tls_connection_take(TlsConnection *connection, void *ret_bytes, size_t size, size_t *ret_count)
{
    bool is_open = true;
    ssize_t rc = 0;
    if (connection->ssl != NULL) {
        ERR_clear_error();
        rc = SSL_read(connection->ssl, ret_bytes, (int)MIN(size, (size_t)INT32_MAX));
        is_open = rc > 0 || SSL_get_error(connection->ssl, (int)rc) == SSL_ERROR_WANT_READ;
    } else {
        rc = recv(connection->socket, ret_bytes, size, 0);
        is_open = rc > 0 || (rc < 0 && (errno == EAGAIN || errno == EINTR));
    }
    *ret_count = rc > 0 ? (size_t)rc : 0;
    return is_open;
}
