#pragma once

#include "lib/db/db.h"
#include "server/http.h"

/** The admin listener: /health/live, /health/ready, /metrics. Plain HTTP on loopback addresses. */
typedef struct AdminPages {
    void *ctx;
    /** Whether the process can serve; writes the reason, one line per problem, if not. */
    bool (*is_ready)(void *ctx, Request *req, StrBuf *reason);
    /** Appends gauges of this moment to the counters of /metrics. */
    void (*write_gauges)(void *ctx, Request *req, StrBuf *buf);
} AdminPages;

/** The pages as what a listener serves; borrows pages. */
HttpService admin_service(AdminPages *pages);
