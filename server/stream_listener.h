#pragma once

#include <openssl/ssl.h>

#include "lib/access/nodes.h"
#include "lib/tls/tls.h"
#include "server/open_peers.h"
#include "server/socket.h"

/**
 * What the listeners of byte streams have in common (MLLP, DICOM, syslog): accepting, mutual TLS
 * (ITI TF-2 3.19), who the peer is, deadlines, limits, orderly stop. One thread per connection; it
 * may block.
 */
typedef struct StreamListener StreamListener;

/** One accepted connection of a proven peer; borrowed by converse(). */
typedef struct StreamConnection StreamConnection;

/** All is borrowed. A limit of 0 takes the default in brackets. */
typedef struct StreamListenerConfig {
    const char *address;   /* "0.0.0.0:2576" */
    SSL_CTX *tls;          /* demands a client certificate; NULL: plain, on a loopback address */
    OpenPeers *open_peers; /* NULL: plain */
    NodeDirectory *nodes;
    const char *plain_node; /* whose rights the peers of a plain listener get; NULL or empty: as
                               the directory decides about a peer without certificate */

    unsigned max_connections;      /* [1024] */
    unsigned max_unproven;         /* per address, while in their handshake; not loopback [64] */
    unsigned handshake_timeout_ms; /* [10 s] */

    void *rejected_ctx;
    /** A peer is sent away; called before its connection is closed. */
    void (*rejected)(void *ctx, const char *endpoint, const char *address,
                     const TlsProblem *problem);

    /* by the listener of the protocol */
    const char *transaction; /* that a node must be allowed; NULL: each message is looked at */
    void *ctx;
    /** Serves one connection to its end, on a thread of its own. */
    void (*converse)(void *ctx, const StreamConnection *connection);
} StreamListenerConfig;

/** Binds and listens; NULL and the reason on failure. Accepts only after stream_listener_start().
 */
StreamListener *stream_listener_bind(const StreamListenerConfig *config, char *ret_problem,
                                     size_t problem_size);

/** Starts the thread that accepts. False and the reason on failure. */
bool stream_listener_start(StreamListener *listener, char *ret_problem, size_t problem_size);

/** The port it listens on, for address port 0. */
unsigned stream_listener_port(const StreamListener *listener);

/** Takes no new connections, waits until the conversations have ended, and frees. NULL is fine. */
void stream_listener_free(StreamListener *listener);

/* ---- for converse() ---- */

typedef enum StreamEnd {
    STREAM_DONE,
    STREAM_CLOSED, /* by the peer, or broken */
    STREAM_TIMED_OUT,
    STREAM_STOPPED, /* the listener is to stop */
} StreamEnd;

/** Waits for the next bytes. */
StreamEnd stream_read(const StreamConnection *connection, void *ret_bytes, size_t size,
                      int64_t deadline_ns, size_t *ret_len) MUST_CHECK;

/** What is here already, without waiting. @return bytes; 0: ask stream_read() */
size_t stream_read_more(const StreamConnection *connection, void *ret_bytes, size_t size);

/** Writes everything, also while the listener is to stop. */
bool stream_write_all(const StreamConnection *connection, Str bytes,
                      int64_t deadline_ns) MUST_CHECK;

/** For loops that wait for several sockets: one attempt, without waiting. @return 0 done, POLLIN or
 * POLLOUT: to be repeated when the socket is ready, -1 closed */
int stream_try_read(const StreamConnection *connection, void *ret_bytes, size_t size,
                    size_t *ret_len) MUST_CHECK;
/** The same bytes again, if it is to be repeated. */
int stream_try_write(const StreamConnection *connection, Str bytes, size_t *ret_len) MUST_CHECK;
/** To wait for. */
int stream_socket(const StreamConnection *connection);
/** Readable once the listener is to stop. */
int stream_stop_socket(const StreamConnection *connection);

/** Lets time pass. @return false: the listener is to stop */
bool stream_pause(const StreamConnection *connection, unsigned ms) MUST_CHECK;

/** Asked for every message, so that a revoked node is out at once. NULL: not registered. */
const Principal *stream_principal(const StreamConnection *connection, Arena *arena);

/** "192.0.2.7". */
const char *stream_address(const StreamConnection *connection);

bool stream_is_stopping(const StreamConnection *connection);

/** Whether a peer that is this principal now may go on; if not, tells the server why. */
bool stream_may_go_on(const StreamConnection *connection, const Principal *principal);
