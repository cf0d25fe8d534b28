#pragma once

#include "lib/tls/tls.h"

/**
 * What an outside scanner would find of a listener: real handshakes without a certificate, one for
 * each thing that could be accepted. Blocks for seconds; the listener counts each as a peer that it
 * refused.
 */

typedef enum TlsScanVerdict {
    TLS_SCAN_GOOD,
    TLS_SCAN_NOTE, /* worth knowing, no fault */
    TLS_SCAN_BAD,  /* below the preset */
} TlsScanVerdict;

/** In the caller's arena. */
typedef struct TlsScanFinding {
    const char *check; /* "versions" */
    TlsScanVerdict verdict;
    Str found;
    const char *remedy; /* what to change; "" if there is nothing */
} TlsScanFinding;

#define TLS_SCAN_MAX_FINDINGS 24

typedef struct TlsScanReport {
    TlsScanFinding findings[TLS_SCAN_MAX_FINDINGS];
    size_t count;
} TlsScanReport;

typedef struct TlsScanTarget {
    const char *host;
    const char *port;
    TlsPreset preset; /* what it must not be below */
    Tls *tls;         /* whose certificate reaches what is behind the handshake; NULL: none */
} TlsScanTarget;

/** @return false: nobody listens there, or nothing of TLS answers; the problem says it */
bool tls_scan(const TlsScanTarget *target, Arena *arena, TlsScanReport *ret_report,
              char *ret_problem, size_t problem_size) MUST_CHECK;
