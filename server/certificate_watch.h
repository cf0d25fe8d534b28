#pragma once

#include "lib/access/nodes.h"
#include "lib/tls/tls.h"

/**
 * What ends one day, while the server runs: certificates of nodes, our own, and revocation lists.
 * Gauges for /metrics, and once a day a line in the log for each that ends soon. Registered
 * certificates are trusted directly, as they come and go.
 */
typedef struct CertificateWatch {
    const Tls *tls; /* NULL: no TLS, nothing is watched */
    NodeDirectory *nodes;
    int64_t told_ns; /* clock_now_ns() of the last lines; 0: none yet */
} CertificateWatch;

/** Called whenever the registered nodes were read. */
void certificate_watch_tick(CertificateWatch *watch);

/** Appends the seconds that are left of each, negative once it is over. */
void certificate_watch_gauges(const CertificateWatch *watch, Arena *arena, StrBuf *buf);
