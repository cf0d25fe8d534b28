#pragma once

#include "lib/base/str.h"

/**
 * The body of a reply as something that is pulled: small ones are one text, large ones produce
 * blocks on demand, so that memory does not grow with the reply. A producer holds no database
 * connection.
 */
typedef struct BodySource {
    void *ctx;
    /**
     * Appends the next piece to buf (aim at 64 KiB).
     * @return 1 more to come, 0 this was the last, negative ErrorCode: the connection must be cut
     */
    int (*next)(void *ctx, StrBuf *buf);
    /** Frees ctx; also called when the peer went away. May be NULL. */
    void (*done)(void *ctx);
} BodySource;
