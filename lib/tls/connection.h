#pragma once

#include "lib/tls/tls.h"

/**
 * A connection that we open: TCP, and TLS upon it. Every wait ends at a time of clock_now_ns(). One
 * thread uses a connection.
 */
typedef struct TlsConnection {
    int socket; /* -1: not connected */
    SSL *ssl;   /* NULL: plain */
    int64_t opened_ns;
} TlsConnection;

#define TLS_CONNECTION_NONE ((TlsConnection){.socket = -1})

/** How long a connection is kept for further messages: the peer shows a certificate only when one
 * is opened, so that a changed one, or one that was revoked, counts after this time. */
#define TLS_CONNECTION_KEPT_MS 60000U

/**
 * Connects to the first address of peer->host that answers.
 *
 * @param context  NULL: plain, which reaches loopback addresses only
 * @param port     decimal
 * @param ret_problem  "HOST:PORT: reason"
 */
bool tls_connection_open(TlsConnection *ret_connection, SSL_CTX *context, const TlsPeer *peer,
                         const char *port, int64_t deadline_ns, char *ret_problem,
                         size_t problem_size) MUST_CHECK;

/** The first step alone. @return a socket that does not block, or -1 with "HOST:PORT: reason" */
int tls_connection_socket(const char *host, const char *port, bool is_loopback_only,
                          int64_t deadline_ns, char *ret_problem, size_t problem_size);

/** Whether it was opened longer ago than that: it should be replaced before the next message. */
bool tls_connection_is_old(const TlsConnection *connection, unsigned kept_ms) MUST_CHECK;

/** Closes at once; the connection can be opened again. */
void tls_connection_close(TlsConnection *connection);

/** False after a failure, and at the deadline: how many of the bytes arrived is unknown. */
bool tls_connection_write(TlsConnection *connection, Str bytes, int64_t deadline_ns) MUST_CHECK;

/** Waits for some bytes. @return how many; 0 at the end of the connection, on failure and at the
 * deadline */
size_t tls_connection_read(TlsConnection *connection, void *ret_bytes, size_t size,
                           int64_t deadline_ns) MUST_CHECK;

/** Takes what has arrived already, without waiting; ret_count may be 0. @return false: the
 * connection has ended */
bool tls_connection_take(TlsConnection *connection, void *ret_bytes, size_t size,
                         size_t *ret_count) MUST_CHECK;

/** Whether the call of OpenSSL that gave rc should be repeated, after waiting for the socket. */
bool tls_connection_may_repeat(const TlsConnection *connection, int rc,
                               int64_t deadline_ns) MUST_CHECK;
