#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "server/socket.h"

/**
 * Absolute deadlines and least rates for connections. libmicrohttpd's own time-out is for idle
 * connections only: a peer that sends a byte now and then would keep one for ever. The watchdog
 * looks at every connection once a second and shuts the socket of one that is too slow; the thread
 * that serves it then sees the end of the stream.
 */
typedef enum WatchPhase {
    WATCH_HANDSHAKE, /* connected, nothing asked yet: TLS handshake and first request line */
    WATCH_IDLE,      /* between two requests */
    WATCH_HEADERS,   /* request line read, headers not complete */
    WATCH_BODY,      /* body arrives: minimum rate */
    WATCH_HANDLING,  /* our turn: no deadline here, the request has its own */
    WATCH_REPLY,     /* the peer takes the reply: minimum rate */
} WatchPhase;

typedef struct Watched {
    int fd;
    bool is_known; /* the peer has proved who it is; unproved ones are limited per address */
    SocketAddress address; /* of the peer */
    WatchPhase phase; /* these two are written by the connection's thread, read by the watchdog */
    int64_t phase_began_ns;
    bool has_window; /* these four are the watchdog's: what passed since the window began */
    bool has_arrival;
    int64_t window_began_ns;
    uint64_t window_bytes;
    bool is_late; /* the watchdog shut its socket; read it behind watchdog_remove() */
    struct Watched *previous;
    struct Watched *next;
} Watched;

typedef struct Watchdog Watchdog;

Watchdog *watchdog_new(void);
void watchdog_free(Watchdog *watchdog);

/** Puts a connection under watch; it must be removed before its socket is closed. */
void watchdog_add(Watchdog *watchdog, Watched *watched);
void watchdog_remove(Watchdog *watchdog, Watched *watched);

/** Begins a phase. Called by the connection's own thread. */
void watchdog_phase(Watchdog *watchdog, Watched *watched, WatchPhase phase);

/** Connections from this address that have not proved who they are. */
unsigned watchdog_unknown_from(Watchdog *watchdog, const char *address);
unsigned watchdog_count(Watchdog *watchdog);

/** Shuts every connection that is not busy with a request (orderly stop). */
void watchdog_shut_idle(Watchdog *watchdog);
