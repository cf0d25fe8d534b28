#pragma once

#include <stdatomic.h>

#include "atna/iti81.h"
#include "lib/tls/gnutls_peer.h"
#include "server/admin.h"
#include "server/async_replies.h"
#include "server/certificate_watch.h"
#include "server/database/postgres_keeper.h"
#include "server/dicomweb_endpoint.h"
#include "server/fhir_endpoint.h"
#include "server/http.h"
#include "server/http_router.h"
#include "server/identity_gauges.h"
#include "server/listener_dicom.h"
#include "server/listener_mllp.h"
#include "server/listener_syslog.h"
#include "server/open_peers.h"
#include "server/services.h"
#include "server/soap_endpoint.h"
#include "server/watchdog.h"

/**
 * The process of `musubi serve`, for the files that make it: serve.c starts, runs and stops it.
 * Functions that return bool leave the reason of a failure in problem.
 */

#define PROBLEM_BYTES 1024
#define ADMIN_CONNECTIONS 64U

/** What one listener serves. */
typedef struct Surface {
    SoapEndpoint soap;
    Iti81 iti81;
    FhirCapabilities capabilities;
    FhirEndpoint fhir;
    DicomwebEndpoint dicomweb;
    HttpRouter router;
    HttpService service;
} Surface;

/** Everything that `serve` owns, in the order in which it is made. */
typedef struct Process {
    Arena *arena;
    Config *config;
    PostgresKeeper *postgres; /* NULL with [database] conninfo */
    DicomWorkers *workers;    /* NULL without the role imaging */
    Services services;
    Watchdog *watchdog;
    Tls *tls; /* NULL without a certificate */
    GnutlsPeerPolicy *tls_policy;
    SSL_CTX *stream_tls;   /* of MLLP and syslog */
    OpenPeers *open_peers; /* NULL without a certificate */
    CertificateWatch certificates;
    AsyncReplies *replies;
    Surface tls_surface;
    Surface plain_surface;
    AdminPages admin_pages;
    IdentityGauges *identity_gauges;
    HttpService admin_pages_service;
    HttpListener *https;
    HttpListener *plain_http;
    HttpListener *admin;
    MllpListener *mllp;
    MllpListener *plain_mllp;
    SyslogListener *syslog; /* NULL: off */
    DicomListener *dicom;
    DicomListener *plain_dicom;
    atomic_bool is_stopping;
    atomic_uint_fast64_t refresh_count; /* how often the tables of operators were read anew */
    unsigned max_connections; /* of each listener: as configured, or as descriptors allow */
    char problem[PROBLEM_BYTES];
} Process;

/** Says why the process cannot start. @return false */
bool process_fail(Process *p, const char *format, ...) PRINTF_LIKE(2, 3);

/* ---- process_place.c: before foreign bytes may come ---- */

/** The folders of data_dir, which only one process has, and whose restore is complete. */
bool process_take_data_dir(Process *p) MUST_CHECK;

/** The processes that read DICOM; made while there are no threads, no keys and no sandbox yet. */
bool process_start_workers(Process *p) MUST_CHECK;

/** Started as root, the process becomes [server] user for good, and keeps the ports below 1024 that
 * it will listen at. Capabilities go in any case. */
bool process_drop_privileges(Process *p) MUST_CHECK;

/** As many file descriptors as may be had, and max_connections by them. */
void process_raise_descriptor_limit(Process *p);

/** The sandbox: from here on foreign bytes may come. */
bool process_confine(Process *p) MUST_CHECK;

/* ---- process_listeners.c ---- */

/** Listens everywhere; accepts nothing yet. */
bool process_bind_listeners(Process *p) MUST_CHECK;
bool process_start_listeners(Process *p) MUST_CHECK;

/** No new requests; waits until those at work are answered, and frees. */
void process_stop_listeners(Process *p);

/* ---- process_gauges.c ---- */

/** For AdminPages; ctx is the Process. */
bool process_is_ready(void *ctx, Request *req, StrBuf *reason);
void process_write_gauges(void *ctx, Request *req, StrBuf *buf);
