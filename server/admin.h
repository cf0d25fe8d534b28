#pragma once

#include "atna/atna.h"
#include "lib/access/nodes.h"
#include "server/http.h"

/**
 * The admin listener: /health/live, /health/ready, /metrics. Plain HTTP on loopback addresses;
 * elsewhere mutual TLS, and only for registered nodes that are operators.
 */
typedef struct AdminPages {
    NodeDirectory *nodes;
    Audit *audit;
    const char *endpoint; /* URL of the listener, for audit */
    void *ctx;            /* of the functions */
    /** Whether the process can serve; writes the reason, one line per problem, if not. */
    bool (*is_ready)(void *ctx, Request *req, StrBuf *reason);
    /** Appends gauges of this moment to the counters of /metrics. */
    void (*write_gauges)(void *ctx, Request *req, StrBuf *buf);
} AdminPages;

/** The pages as what a listener serves; borrows pages. */
HttpService admin_service(AdminPages *pages);
