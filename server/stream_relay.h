#pragma once

#include "server/stream_listener.h"

/**
 * Passes the bytes of a connection on to a process of ours that speaks its protocol, and back.
 */
typedef struct StreamRelay {
    int socket;               /* of the process; stays open */
    unsigned idle_timeout_ms; /* no byte either way, while nothing is in work */
    void *ctx;
    bool (*is_busy)(void *ctx); /* whether something is in work that an orderly stop waits for */
} StreamRelay;

/** Until either side has ended, or is given up. */
void stream_relay_run(const StreamConnection *connection, const StreamRelay *relay);
