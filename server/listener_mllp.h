#pragma once

#include "pix/pix.h"
#include "server/stream_listener.h"

/**
 * MLLP listeners, plain on loopback or with mutual TLS (ITI TF-2 3.19, C.2.1): one thread per
 * connection, handlers block. A frame that is wrong or too slow ends its connection without an
 * acknowledgement.
 */

typedef struct MllpListener MllpListener;

/** All is borrowed. A limit of 0 takes the default in brackets. */
typedef struct MllpListenerConfig {
    StreamListenerConfig stream; /* but what the listener itself sets */
    Pix *pix;

    size_t max_frame_bytes;        /* [16 MiB] */
    unsigned frame_timeout_ms;     /* first to last byte of a frame, and a reply [45 s] */
    unsigned min_bytes_per_second; /* of a frame, after 10 s [1024] */
    unsigned idle_timeout_ms;      /* between frames [10 min] */
    unsigned request_timeout_ms;   /* to handle a message [30 s] */

    void *ctx;
    /**
     * A message is done: after its acknowledgement was written.
     * @param outcome  MSA-1 (AA, AE, AR); "closed" when none was sent: req->errors says why
     */
    void (*finished)(void *ctx, Request *req, const char *outcome);
} MllpListenerConfig;

/** Binds and listens; NULL and the reason on failure. Accepts only after mllp_listener_start(). */
MllpListener *mllp_listener_bind(const MllpListenerConfig *config, char *ret_problem,
                                 size_t problem_size);

/** Starts the thread that accepts. False and the reason on failure. */
bool mllp_listener_start(MllpListener *listener, char *ret_problem, size_t problem_size);

/** The port it listens on, for address port 0. */
unsigned mllp_listener_port(const MllpListener *listener);

/** Takes no new connections and no new messages, waits until those in work are answered, and frees.
 * NULL is fine. */
void mllp_listener_free(MllpListener *listener);
