/* musubi serve: start-up, signals, orderly stop. */

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file_io.h"
#include "lib/base/log.h"
#include "lib/sandbox/privileges.h"
#include "lib/tls/gnutls_peer.h"
#include "lib/xml/read.h"
#include "registry/subscriptions/subscription_table.h"
#include "server/admin.h"
#include "server/async_replies.h"
#include "server/audit_gauges.h"
#include "server/audit_patients.h"
#include "server/backup/restore_mark.h"
#include "server/certificate_watch.h"
#include "server/command/command.h"
#include "server/confinement.h"
#include "server/database/migrate.h"
#include "server/database/postgres_keeper.h"
#include "server/dicomweb_endpoint.h"
#include "server/fhir_endpoint.h"
#include "server/http.h"
#include "server/http_router.h"
#include "server/identity_gauges.h"
#include "server/imaging_gauges.h"
#include "server/listener_dicom.h"
#include "server/listener_mllp.h"
#include "server/listener_syslog.h"
#include "server/open_peers.h"
#include "server/refused_peer.h"
#include "server/services.h"
#include "server/soap_endpoint.h"
#include "server/time_sync.h"

#define PROBLEM_BYTES 1024
#define REFRESH_EVERY_S 1
#define GIVE_BACK_EVERY_NS (15 * INT64_C(1000000000))
#define FREE_BYTES_MAX ((size_t)16 << 20)
#define STOP_GRACE_S 25
#define ADMIN_CONNECTIONS 64U
/* The default of [imaging] pixel_processes. */
#define PIXEL_PROCESSES_LEAST 4
#define PIXEL_PROCESSES_MOST 128
/** Blob folders, segments, database connections, logs, and the admin listener. */
#define DESCRIPTORS_OF_OWN (512 + ADMIN_CONNECTIONS)

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
    unsigned max_connections; /* of each listener: as configured, or as descriptors allow */
    char problem[PROBLEM_BYTES];
} Process;

static bool fail(Process *p, const char *format, ...) PRINTF_LIKE(2, 3);
static bool fail(Process *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(p->problem, sizeof(p->problem), format, args);
    va_end(args);
    return false;
}

/* ------------------------------------------------------------------ data directory */

/** Two processes on one data directory would write over each other's segments. The lock goes with
 * the process. */
static bool lock_data_dir(Process *p)
{
    const char *path = services_path(p->arena, p->config, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(p, "cannot open %s: %s", path, strerror(errno));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return fail(p, "another musubi serves data_dir %s", p->config->server.data_dir);
    }
    return true;
}

/** What an interrupted restore has left is no data of anybody. */
static bool check_restored(Process *p)
{
    ErrorList errors;
    error_list_init(&errors, p->arena);
    return restore_mark_check(p->config, &errors) == 0 ||
           fail(p, "%s: %.*s", p->config->server.data_dir, STR_ARG(errors.first->context));
}

/* ------------------------------------------------------------------ limits */

/** Of each connection: its socket, and over HTTP what it reads or writes meanwhile. */
static unsigned descriptors_of_one(ConfigKeyId key)
{
    bool is_http = key == CONFIG_server_https_listen || key == CONFIG_server_plain_http_listen;
    return key == CONFIG_server_admin_listen ? 0 : is_http ? 2 : 1;
}

/** Of one connection at each listener. */
static unsigned descriptors_of_all(const Config *config)
{
    unsigned count = 0;
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        bool is_used = config_is_listener((ConfigKeyId)key) && config->sources[key].text[0] != '\0';
        count += is_used ? descriptors_of_one((ConfigKeyId)key) : 0;
    }
    return MAX(count, 1U);
}

/**
 * The soft limit that shells and systemd give (1024) is for programs that use select(). What the
 * hard limit does not allow is not promised: a full listener is better than a store that cannot
 * open its files.
 */
static void raise_descriptor_limit(Process *p)
{
    struct rlimit limit;
    unsigned configured = p->config->server.max_connections;
    rlim_t shares = descriptors_of_all(p->config);
    p->max_connections = configured;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < DESCRIPTORS_OF_OWN + shares * configured) {
        rlim_t left = limit.rlim_cur - MIN(limit.rlim_cur, (rlim_t)DESCRIPTORS_OF_OWN);
        p->max_connections = MAX((unsigned)(left / shares), 16U);
        log_warn("msg=\"too few file descriptors for max_connections\" limit=%lu wanted=%lu "
                 "max_connections=%u remedy=\"LimitNOFILE of the service, or ulimit -n\"",
                 (unsigned long)limit.rlim_cur,
                 (unsigned long)(DESCRIPTORS_OF_OWN + shares * configured), p->max_connections);
    }
}

/* ------------------------------------------------------------------ privileges */

static bool give(Process *p, const struct passwd *user, const char *name)
{
    const char *path = services_path(p->arena, p->config, name);
    return chown(path, user->pw_uid, user->pw_gid) == 0 ||
           fail(p, "cannot give %s to user %s: %s", path, user->pw_name, strerror(errno));
}

static bool give_folders(Process *p, const struct passwd *user)
{
    bool is_given = give(p, user, "") && give(p, user, "lock");
    for (size_t i = 0; is_given && services_folders[i]; i++) {
        is_given = give(p, user, services_folders[i]);
    }
    return is_given;
}

/** Ports below 1024 are for those who still have privileges. */
static bool reserve_ports(Process *p)
{
    for (int key = 0; key < CONFIG_KEY_COUNT; key++) {
        const char *address = p->config->sources[key].text;
        if (config_is_listener((ConfigKeyId)key) && address[0] &&
            !socket_reserve(address, p->problem, PROBLEM_BYTES)) {
            return false;
        }
    }
    const char *udp = p->config->audit.syslog_udp_listen;
    return !udp[0] || socket_reserve_udp(udp, p->problem, PROBLEM_BYTES);
}

/** The sandbox allows what is there: the file is made while we may make it. */
static bool make_head_copy(Process *p, const struct passwd *user)
{
    const char *path = p->config->audit.head_copy;
    if (!path[0]) {
        return true;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    bool is_made = fd >= 0 && (!user || fchown(fd, user->pw_uid, user->pw_gid) == 0);
    int failed = errno;
    io_closep(&fd);
    return is_made || fail(p, "[audit] head_copy %s cannot be written: %s", path, strerror(failed));
}

/** Started as root, the process becomes [server] user for good; capabilities go in any case. */
static bool drop_privileges(Process *p)
{
    if (geteuid() != 0) {
        return make_head_copy(p, NULL) &&
               privileges_drop(geteuid(), getegid(), p->problem, PROBLEM_BYTES);
    }
    const struct passwd *user = getpwnam(p->config->server.user);
    if (!user || user->pw_uid == 0) {
        return fail(
            p, "[server] user = %s: no such user, or it is root; make it with: useradd --system %s",
            p->config->server.user, p->config->server.user);
    }
    return give_folders(p, user) && make_head_copy(p, user) &&
           privileges_drop(user->pw_uid, user->pw_gid, p->problem, PROBLEM_BYTES);
}

/** From here on foreign bytes may come. */
static bool confine(Process *p)
{
    if (!p->config->server.sandbox || !confinement_is_full()) {
        log_warn("msg=\"the sandbox is not complete\" in_force=\"%s\"",
                 confinement_state(p->config));
    }
    return confinement_enter(p->config, services_folders, p->problem, PROBLEM_BYTES);
}

/* ------------------------------------------------------------------ TLS */

static bool open_tls(Process *p)
{
    const Config *config = p->config;
    if (!config->server.tls_certificate[0]) {
        return true;
    }
    p->tls = services_tls(config, p->problem, PROBLEM_BYTES);
    p->tls_policy = p->tls ? gnutls_peer_policy_new(p->tls, p->problem, PROBLEM_BYTES) : NULL;
    p->stream_tls = p->tls_policy ? tls_server_context(p->tls, p->problem, PROBLEM_BYTES) : NULL;
    return p->stream_tls != NULL;
}

/* ------------------------------------------------------------------ HL7 v2 */

static void mllp_finished(void *ctx, Request *req, const char *outcome)
{
    Process *p = ctx;
    bool is_accepted = strcmp(outcome, "AA") == 0;
    bool is_fault = strcmp(outcome, "AR") == 0 || strcmp(outcome, "closed") == 0;
    journal_finish(p->services.journal, req,
                   is_accepted ? OUTCOME_SUCCESS
                   : is_fault  ? OUTCOME_FAULT
                               : OUTCOME_FAILURE);
}

static void mllp_rejected(void *ctx, const char *address, const TlsProblem *problem)
{
    Process *p = ctx;
    (void)refused_peer_record_connection(p->services.audit, p->config->server.mllp_listen, address,
                                         problem);
}

static void syslog_rejected(void *ctx, const char *address, const TlsProblem *problem)
{
    Process *p = ctx;
    (void)refused_peer_record_connection(p->services.audit, p->config->audit.syslog_tls_listen,
                                         address, problem);
}

static MllpListener *bind_mllp(Process *p, const char *address, SSL_CTX *tls)
{
    MllpListenerConfig config = {
        .address = address,
        .tls = tls,
        .open_peers = p->open_peers,
        .pix = p->services.pix,
        .nodes = p->services.nodes,
        .plain_node = p->config->server.plain_node,
        .max_connections = p->max_connections,
        .request_timeout_ms = p->config->server.request_timeout_ms,
        .ctx = p,
        .finished = mllp_finished,
        .rejected = mllp_rejected,
    };
    return mllp_listener_bind(&config, p->problem, PROBLEM_BYTES);
}

static bool bind_syslog(Process *p)
{
    const Config *c = p->config;
    if (!c->audit.syslog_tls_listen[0] && !c->audit.syslog_udp_listen[0]) {
        return true;
    }
    if (!p->services.audit_repository) {
        return fail(p, "[audit] syslog_tls_listen and syslog_udp_listen need the role atna");
    }
    if (c->audit.syslog_tls_listen[0] && !p->stream_tls) {
        return fail(p, "[audit] syslog_tls_listen needs [server] tls_certificate");
    }
    SyslogListenerConfig config = {
        .tls_address = c->audit.syslog_tls_listen,
        .tls = p->stream_tls,
        .open_peers = p->open_peers,
        .udp_address = c->audit.syslog_udp_listen,
        .udp_allow = c->audit.syslog_udp_allow,
        .nodes = p->services.nodes,
        .repository = p->services.audit_repository,
        .max_connections = p->max_connections,
        .ctx = p,
        .rejected = syslog_rejected,
    };
    p->syslog = syslog_listener_bind(&config, p->problem, PROBLEM_BYTES);
    return p->syslog != NULL;
}

/* ------------------------------------------------------------------ DICOM */

static unsigned pixel_processes(const Config *config)
{
    const long by_processors = 2 * sysconf(_SC_NPROCESSORS_ONLN);
    return config->imaging.pixel_processes > 0
               ? config->imaging.pixel_processes
               : (unsigned)MIN(MAX(by_processors, PIXEL_PROCESSES_LEAST), PIXEL_PROCESSES_MOST);
}

/** Made while there are no threads, no keys and no sandbox yet. */
static bool start_workers(Process *p)
{
    if (!config_has_role(p->config, ROLE_IMAGING)) {
        return true;
    }
    p->workers = dicom_workers_start(p->problem, PROBLEM_BYTES);
    if (p->workers) {
        dicom_workers_limit(p->workers, JOB_PIXELS, pixel_processes(p->config));
    }
    return p->workers != NULL;
}

static void dicom_finished(void *ctx, Request *req, bool is_good)
{
    Process *p = ctx;
    journal_finish(p->services.journal, req, is_good ? OUTCOME_SUCCESS : OUTCOME_FAILURE);
}

static void dicom_rejected(void *ctx, const char *address, const TlsProblem *problem)
{
    Process *p = ctx;
    (void)refused_peer_record_connection(p->services.audit, p->config->imaging.dicom_listen,
                                         address, problem);
}

static DicomListener *bind_dicom(Process *p, const char *address, SSL_CTX *tls)
{
    DicomListenerConfig config = {
        .address = address,
        .tls = tls,
        .open_peers = p->open_peers,
        .imaging = p->services.imaging,
        .nodes = p->services.nodes,
        .plain_node = p->config->server.plain_node,
        .max_connections = p->max_connections,
        .ctx = p,
        .finished = dicom_finished,
        .rejected = dicom_rejected,
    };
    return dicom_listener_bind(&config, p->problem, PROBLEM_BYTES);
}

/* ------------------------------------------------------------------ health and metrics */

static bool is_database_there(Process *p, Request *req)
{
    static const DbStatement ping = {"serve_ping", "SELECT 1"};
    DbConn *conn = NULL;
    bool is_there =
        db_acquire(p->services.pool, req, &conn) == 0 && db_exec(conn, req, &ping, NULL, NULL) == 0;
    db_release(conn);
    return is_there;
}

static bool is_ready(void *ctx, Request *req, StrBuf *reason)
{
    Process *p = ctx;
    if (p->is_stopping) {
        strbuf_literal(reason, "stopping\n");
    }
    if (!is_database_there(p, req)) {
        strbuf_literal(reason, "the database does not answer\n");
    }
    if (p->services.repository && !repository_is_writable(p->services.repository)) {
        strbuf_literal(reason,
                       "the blob store failed and takes no documents; see the log, then restart\n");
    }
    if (!audit_is_writable(p->services.audit)) {
        strbuf_literal(reason, "the audit spool failed; see the log, then restart\n");
    } else if (!audit_has_room(p->services.audit)) {
        strbuf_literal(reason, "the audit spool has no room; make some in data_dir/audit\n");
    }
    if (p->services.audit_repository &&
        !audit_repository_is_writable(p->services.audit_repository)) {
        strbuf_literal(reason,
                       "the spool of received audit messages failed; see the log, then restart\n");
    }
    return reason->len == 0;
}

/** ITI-1: the clock as the kernel knows it. */
static void write_clock_gauges(StrBuf *buf)
{
    TimeSync sync;
    time_sync_read(&sync);
    metrics_gauge(buf, "clock_synchronized",
                  "1: the clock follows a time server (ITI-1 Maintain Time), 0: it does not.",
                  sync.is_synchronized);
    metrics_gauge(buf, "clock_offset_seconds", "What the kernel still has to correct of the clock.",
                  sync.offset_seconds);
    metrics_gauge(buf, "clock_max_error_seconds",
                  "The most that the clock can differ from its time server.",
                  sync.max_error_seconds);
}

/** What waits to be told of new documents (ITI-53). */
static void write_subscription_gauges(DbPool *pool, Request *req, StrBuf *buf)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    SubscriptionTotals totals;
    if (db_acquire(pool, req, &conn) < 0 || subscription_table_totals(conn, req, &totals) < 0) {
        return;
    }
    metrics_gauge(buf, "subscriptions", "Subscriptions to document metadata.",
                  (double)totals.subscriptions);
    metrics_gauge(buf, "subscription_events_waiting",
                  "Submissions whose subscribers are not found yet.", (double)totals.events);
    metrics_gauge(buf, "subscription_notifications_waiting",
                  "Notifications that recipients have not acknowledged yet.",
                  (double)totals.waiting);
    metrics_gauge(buf, "subscription_notifications_refused",
                  "Notifications that recipients have refused.", (double)totals.refused);
    metrics_gauge(buf, "subscription_oldest_seconds",
                  "How long the notification that waits longest has waited.",
                  (double)totals.oldest_s);
}

static void write_gauges(void *ctx, Request *req, StrBuf *buf)
{
    Process *p = ctx;
    struct statvfs disk;
    NotificationCounts notifications;
    if (pix_notification_counts(p->services.pix, req, &notifications) == 0) {
        metrics_gauge(buf, "subscriber_queue_messages",
                      "Messages that subscribers have not acknowledged yet.",
                      (double)notifications.queued);
        metrics_gauge(buf, "subscriber_refused_messages", "Messages that subscribers have refused.",
                      (double)notifications.refused);
    }
    if (p->services.registry) {
        write_subscription_gauges(p->services.pool, req, buf);
    }
    metrics_gauge(buf, "audit_backlog", "Audit events that are not delivered yet.",
                  (double)audit_backlog(p->services.audit));
    write_clock_gauges(buf);
    if (p->services.audit_repository) {
        AuditRepositoryCounts counts;
        audit_repository_counts(p->services.audit_repository, &counts);
        metrics_gauge(buf, "audit_received", "Audit messages of others since the start.",
                      (double)counts.received);
        metrics_gauge(buf, "audit_waiting", "Received audit messages that are not records yet.",
                      (double)counts.waiting);
        metrics_gauge(buf, "audit_sequence", "The last record of the audit chain.",
                      (double)counts.sequence);
        metrics_gauge(buf, "audit_udp_dropped", "Datagrams of addresses that are not allowed.",
                      (double)syslog_listener_dropped(p->syslog));
        audit_gauges_write(p->services.pool, req, buf);
    }
    async_replies_gauges(p->replies, buf);
    metrics_gauge(buf, "http_connections", "Open HTTP connections.",
                  (double)watchdog_count(p->watchdog));
    identity_gauges_write(p->identity_gauges, req, buf);
    if (p->services.imaging) {
        imaging_gauges_write(p->services.imaging, p->services.workers, req, buf);
    }
    certificate_watch_gauges(&p->certificates, req->arena, buf);
    if (statvfs(p->config->server.data_dir, &disk) == 0) {
        metrics_gauge(buf, "data_free_bytes", "Free space of the file system of data_dir.",
                      (double)disk.f_bavail * (double)disk.f_frsize);
    }
}

/* ------------------------------------------------------------------ listeners */

/** SOAP, and FHIR and DICOMweb below their own paths. */
static void open_surface(Process *p, Surface *surface, const char *address, bool is_tls)
{
    const Services *s = &p->services;
    HttpPeers peers = {
        .nodes = s->nodes, .audit = s->audit, .plain_node = p->config->server.plain_node};
    void *pix = config_has_role(p->config, ROLE_PIX) ? s->pix : NULL;
    surface->soap = (SoapEndpoint){
        .peers = peers,
        .journal = s->journal,
        .replies = p->replies,
        .modules = {[MODULE_REGISTRY] = s->registry,
                    [MODULE_REPOSITORY] = s->repository,
                    [MODULE_IMAGING] = s->imaging,
                    [MODULE_PIX] = pix,
                    [MODULE_INITIATING] = s->initiating},
        .saml = s->saml,
        .xua = {[MODULE_REGISTRY] = (XuaDemand)p->config->xua.registry,
                [MODULE_REPOSITORY] = (XuaDemand)p->config->xua.repository,
                [MODULE_IMAGING] = (XuaDemand)p->config->xua.repository,
                [MODULE_PIX] = (XuaDemand)p->config->xua.pix,
                [MODULE_INITIATING] =
                    (XuaDemand)MAX(p->config->xua.registry, p->config->xua.repository)},
        .sink = s->repository ? repository_sink(s->repository) : NULL,
        .public_authority = address,
        .has_home = p->config->affinity_domain.home_community_id[0] != '\0',
        .is_tls = is_tls,
    };
    surface->iti81 =
        (Iti81){.pool = s->pool, .audit = s->audit, .patients = audit_patients_of(s->pix)};
    surface->capabilities = (FhirCapabilities){0};
    if (pix) {
        fhir_capabilities_add(&surface->capabilities, &pix_fhir_capability);
    }
    if (s->audit_repository) {
        fhir_capabilities_add(&surface->capabilities, &atna_fhir_capability);
    }
    surface->fhir = (FhirEndpoint){
        .peers = peers,
        .journal = s->journal,
        .modules = {[MODULE_PIX] = pix,
                    [MODULE_ATNA] = s->audit_repository ? &surface->iti81 : NULL,
                    [MODULE_CAPABILITY] = &surface->capabilities},
        .public_authority = address,
    };
    surface->dicomweb = (DicomwebEndpoint){
        .peers = peers,
        .journal = s->journal,
        .imaging = s->imaging,
        .public_authority = address,
        .public_url = p->config->imaging.public_url,
        .allowed_origins = p->config->imaging.allowed_origins,
    };
    const HttpService dicomweb = dicomweb_endpoint_service(&surface->dicomweb);
    surface->router = (HttpRouter){
        .routes = {{STR(FHIR_PATH), fhir_endpoint_service(&surface->fhir)},
                   {STR(DICOMWEB_PATH), dicomweb},
                   {STR(WADO_URI_PATH), dicomweb}},
        .count = 3,
        .other = soap_endpoint_service(&surface->soap),
    };
    surface->service = http_router_service(&surface->router);
}

static const char *endpoint_url(Process *p, const char *address, bool is_tls)
{
    return str_printf(p->arena, "%s://%s/", is_tls ? "https" : "http", address).data;
}

static HttpListener *bind_http(Process *p, const char *address, const HttpService *service,
                               bool is_tls)
{
    TlsPreset preset = (TlsPreset)p->config->server.tls_preset; /* the choices are in its order */
    HttpListenerConfig config = {
        .address = address,
        .tls_policy = is_tls ? p->tls_policy : NULL,
        .tls_priorities = gnutls_peer_priorities(preset),
        .is_loopback_only = !is_tls,
        .max_connections = service == &p->admin_pages_service
                               ? MIN(p->max_connections, ADMIN_CONNECTIONS)
                               : p->max_connections,
        .request_timeout_ms = p->config->server.request_timeout_ms,
        .service = service,
        .watchdog = p->watchdog,
        .endpoint = endpoint_url(p, address, is_tls),
        .open_peers = p->open_peers,
        .audit = p->services.audit,
    };
    return http_listener_bind(&config, p->problem, PROBLEM_BYTES);
}

static void open_replies(Process *p)
{
    const Config *c = p->config;
    const AsyncRepliesConfig config = {
        .nodes = p->services.nodes,
        .tls = p->tls,
        .audit = p->services.audit,
        .journal = p->services.journal,
        .spill_directory = services_path(p->arena, c, "spill"),
        .spill_bytes = c->asynchronous.spill_bytes,
        .max_waiting = c->asynchronous.max_waiting,
        .retry_for_ms = c->asynchronous.retry_for_ms,
    };
    p->replies = async_replies_new(&config);
}

static bool bind_listeners(Process *p)
{
    const Config *c = p->config;
    open_replies(p);
    p->watchdog = watchdog_new();
    p->certificates = (CertificateWatch){.tls = p->tls, .nodes = p->services.nodes};
    certificate_watch_tick(&p->certificates);
    p->open_peers = p->tls ? open_peers_new(p->tls, p->services.nodes, p->services.audit,
                                            p->max_connections / 4 * 3)
                           : NULL;
    p->identity_gauges = identity_gauges_new(p->services.pool);
    p->admin_pages = (AdminPages){
        .nodes = p->services.nodes,
        .audit = p->services.audit,
        .endpoint = endpoint_url(p, c->server.admin_listen, config_is_admin_remote(c)),
        .ctx = p,
        .is_ready = is_ready,
        .write_gauges = write_gauges,
    };
    p->admin_pages_service = admin_service(&p->admin_pages);
    open_surface(p, &p->tls_surface, c->server.https_listen, true);
    open_surface(p, &p->plain_surface, c->server.plain_http_listen, false);
    const struct {
        const char *address;
        const HttpService *service;
        bool is_tls;
        HttpListener **listener;
    } http[] = {
        {c->server.https_listen, &p->tls_surface.service, true, &p->https},
        {c->server.plain_http_listen, &p->plain_surface.service, false, &p->plain_http},
        {c->server.admin_listen, &p->admin_pages_service, config_is_admin_remote(c), &p->admin},
    };
    for (size_t i = 0; i < ARRAY_LEN(http); i++) {
        if (http[i].address[0] &&
            !(*http[i].listener = bind_http(p, http[i].address, http[i].service, http[i].is_tls))) {
            return false;
        }
    }
    return (!c->server.mllp_listen[0] ||
            (p->mllp = bind_mllp(p, c->server.mllp_listen, p->stream_tls))) &&
           (!c->server.plain_mllp_listen[0] ||
            (p->plain_mllp = bind_mllp(p, c->server.plain_mllp_listen, NULL))) &&
           (!c->imaging.dicom_listen[0] ||
            (p->dicom = bind_dicom(p, c->imaging.dicom_listen, p->stream_tls))) &&
           (!c->imaging.plain_dicom_listen[0] ||
            (p->plain_dicom = bind_dicom(p, c->imaging.plain_dicom_listen, NULL))) &&
           bind_syslog(p);
}

static bool start_listeners(Process *p)
{
    HttpListener *http[] = {p->https, p->plain_http, p->admin};
    MllpListener *mllp[] = {p->mllp, p->plain_mllp};
    DicomListener *dicom[] = {p->dicom, p->plain_dicom};
    for (size_t i = 0; i < ARRAY_LEN(dicom); i++) {
        if (dicom[i] && !dicom_listener_start(dicom[i], p->problem, PROBLEM_BYTES)) {
            return false;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(mllp); i++) {
        if (mllp[i] && !mllp_listener_start(mllp[i], p->problem, PROBLEM_BYTES)) {
            return false;
        }
    }
    if (p->syslog && !syslog_listener_start(p->syslog, p->problem, PROBLEM_BYTES)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(http); i++) {
        if (http[i] && !http_listener_start(http[i], p->problem, PROBLEM_BYTES)) {
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------ database */

static bool open_schema(Process *p, const char *owner_conninfo)
{
    Request *req = request_new(120000);
    DbPool *pool = db_pool_new(owner_conninfo, 1);
    DbConn *conn = NULL;
    SchemaState state = SCHEMA_UNKNOWN;
    Str text = STR_EMPTY;
    unsigned applied = 0;
    int rc = db_acquire(pool, req, &conn);
    rc = rc ? rc : migrate_check(conn, req, &state, &text);
    if (!rc && state == SCHEMA_EMPTY && p->postgres) {
        rc = migrate_apply(conn, req, POSTGRES_SERVICE_ROLE, &applied);
        state = SCHEMA_CURRENT;
    }
    if (!rc && state == SCHEMA_CURRENT && p->postgres) {
        rc = migrate_set_retention(conn, req, p->config->audit.retention_days);
    }
    bool is_good = !rc && state == SCHEMA_CURRENT;
    if (rc) {
        (void)fail(p, "the database cannot be used: %s", db_last_failure());
    } else if (state == SCHEMA_EMPTY) {
        (void)fail(p, "the database is empty; run: musubi migrate --config %s", p->config->file);
    } else if (!is_good) {
        (void)fail(p, "%.*s", STR_ARG(text));
    }
    db_release(conn);
    db_pool_free(pool);
    request_free(req);
    return is_good;
}

static bool open_database(Process *p, const char **ret_conninfo)
{
    const Config *c = p->config;
    if (!c->database.embedded) {
        *ret_conninfo = c->database.conninfo;
        return open_schema(p, c->database.conninfo);
    }
    p->postgres = postgres_keeper_start(c, p->problem, PROBLEM_BYTES);
    if (!p->postgres) {
        return false;
    }
    *ret_conninfo = postgres_keeper_conninfo(p->postgres, POSTGRES_SERVICE_ROLE);
    return open_schema(p, postgres_keeper_conninfo(p->postgres, POSTGRES_OWNER_ROLE));
}

/* ------------------------------------------------------------------ start, run, stop */

static bool check_plain_access(Process *p)
{
    const Config *c = p->config;
    bool has_plain = c->server.plain_http_listen[0] || c->server.plain_mllp_listen[0] ||
                     c->imaging.plain_dicom_listen[0];
    if (c->access.mode == ACCESS_OPEN) {
        log_warn("msg=\"access mode is open: every authenticated node and every plain loopback "
                 "peer may do everything\"");
    } else if (has_plain && !c->server.plain_node[0]) {
        return fail(p, "a plain listener in mode enforce needs [server] plain_node: the registered "
                       "node whose rights "
                       "its peers get");
    }
    return true;
}

static void record_activity(Process *p, AuditEventType type)
{
    Request *req = request_new(5000);
    AuditEvent event = {.type = type};
    int recorded UNUSED = audit_record_event(p->services.audit, req, &event);
    request_free(req);
}

static bool start(Process *p)
{
    const char *conninfo = NULL;
    privileges_forbid_core_files();
    if (!check_plain_access(p) || !services_make_folders(p->config, p->problem, PROBLEM_BYTES) ||
        !lock_data_dir(p) || !check_restored(p) || !start_workers(p) || !open_tls(p) ||
        !reserve_ports(p) || !drop_privileges(p)) {
        return false;
    }
    raise_descriptor_limit(p);
    if (!open_database(p, &conninfo) || !confine(p) ||
        !services_open(&p->services, p->config, p->tls, p->workers, conninfo, p->problem,
                       PROBLEM_BYTES) ||
        !bind_listeners(p)) {
        return false;
    }
    socket_release_reserved();
    record_activity(p, AUDIT_APPLICATION_START);
    return start_listeners(p);
}

/** No new requests; waits until those at work are answered. */
static void quiesce(Process *p)
{
    HttpListener *http[] = {p->https, p->plain_http};
    p->is_stopping = true;
    for (size_t i = 0; i < ARRAY_LEN(http); i++) {
        http_listener_quiesce(http[i]);
    }
    int64_t deadline_ns = clock_now_ns() + STOP_GRACE_S * 1000000000LL;
    while (p->watchdog && clock_now_ns() < deadline_ns) {
        watchdog_shut_idle(p->watchdog);
        if (watchdog_count(p->watchdog) == 0) {
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

static void stop(Process *p)
{
    quiesce(p);
    mllp_listener_free(p->mllp);
    mllp_listener_free(p->plain_mllp);
    dicom_listener_free(p->dicom);
    dicom_listener_free(p->plain_dicom);
    syslog_listener_free(p->syslog);
    http_listener_free(p->https);
    http_listener_free(p->plain_http);
    http_listener_free(p->admin);
    async_replies_free(p->replies);
    identity_gauges_free(p->identity_gauges);
    if (p->services.audit) {
        refused_peer_flush(p->services.audit, true);
        record_activity(p, AUDIT_APPLICATION_STOP);
    }
    services_close(&p->services);
    dicom_workers_stop(p->workers);
    postgres_keeper_stop(p->postgres);
    watchdog_free(p->watchdog);
    open_peers_free(p->open_peers);
    SSL_CTX_free(p->stream_tls);
    gnutls_peer_policy_free(p->tls_policy);
    tls_free(p->tls);
}

/** SIGHUP: all or nothing; what needs a restart is named. */
static void reload(Process *p)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    ErrorList errors;
    Config *fresh = NULL;
    error_list_init(&errors, arena);
    if (config_load(p->config->file, arena, &errors, &fresh) ||
        config_check_reload(p->config, fresh, &errors)) {
        for (const Error *e = errors.first; e; e = e->next) {
            log_error("msg=\"configuration not reloaded\" at=%s problem=%s",
                      log_quote(arena, e->location), log_quote(arena, e->context));
        }
        return;
    }
    char problem[PROBLEM_BYTES];
    _cleanup_(strbuf_done) StrBuf changes = {0};
    const bool has_codes = fresh->affinity_domain.code_check != CODE_CHECK_OFF;
    CodeSets *codes =
        has_codes ? code_sets_load(fresh->affinity_domain.codes, problem, sizeof(problem)) : NULL;
    if ((has_codes && !codes) ||
        (p->tls && !tls_reload(p->tls, &changes, problem, sizeof(problem)))) {
        code_sets_free(codes);
        log_error("msg=\"configuration not reloaded\" problem=%s",
                  log_quote(arena, str_from(problem)));
        return;
    }
    if (codes) {
        services_take_codes(&p->services, codes);
    }
    config_take_reloaded(p->config, fresh, p->arena, &changes);
    log_set_level((LogLevel)fresh->server.log_level);
    log_info("msg=\"configuration reloaded\" changed=%s",
             log_quote(arena, str_trim(strbuf_str(&changes))));
}

/** Takes over what operators changed: nodes, authorities, subscribers, identity providers,
 * application entities. */
static void refresh_tables(Process *p)
{
    Request *req = request_new(5000);
    if (node_directory_refresh(p->services.nodes, req) != 0 ||
        pix_refresh(p->services.pix, req) != 0 ||
        (p->services.imaging && imaging_refresh(p->services.imaging, req) != 0) ||
        (p->services.saml && saml_refresh(p->services.saml, req) != 0)) {
        log_warn(
            "msg=\"registered nodes, authorities and identity providers not refreshed\" detail=%s",
            log_quote(req->arena, str_from(db_last_failure())));
    }
    request_free(req);
    certificate_watch_tick(&p->certificates);
}

/** A postmaster that was killed or crashed comes back without anybody's doing. */
static void keep_database(Process *p)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    char problem[PROBLEM_BYTES];
    bool was_dead;
    if (!p->postgres) {
        return;
    }
    if (!postgres_keeper_revive(p->postgres, &was_dead, problem, sizeof(problem))) {
        log_error("msg=\"PostgreSQL ended and does not start again\" problem=%s",
                  log_quote(arena, str_from(problem)));
    } else if (was_dead) {
        log_warn("msg=\"PostgreSQL had ended and was started again\"");
    }
}

/** After thousands of connections at once their memory lies in holes that no heap gives back. */
static void give_back_memory(int64_t *given_back_ns)
{
    int64_t now_ns = clock_now_ns();
    if (now_ns - *given_back_ns < GIVE_BACK_EVERY_NS) {
        return;
    }
    *given_back_ns = now_ns;
    if (mallinfo2().fordblks > FREE_BYTES_MAX) {
        (void)malloc_trim(0);
    }
}

static void run(Process *p, const sigset_t *signals)
{
    int64_t given_back_ns = clock_now_ns();
    for (;;) {
        struct timespec interval = {.tv_sec = REFRESH_EVERY_S};
        int signal = sigtimedwait(signals, NULL, &interval);
        if (signal == SIGTERM || signal == SIGINT) {
            return;
        }
        if (signal == SIGHUP) {
            reload(p);
        }
        keep_database(p);
        refresh_tables(p);
        if (p->open_peers) {
            open_peers_check(p->open_peers);
        }
        refused_peer_flush(p->services.audit, false);
        give_back_memory(&given_back_ns);
    }
}

/**
 * Replies of some 100 KB come and go with every request: by default the C library gives their pages
 * back each time, which costs more than making the reply. Blocks up to 2 MiB now stay, at most 8
 * MiB per heap.
 */
static void keep_freed_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 2 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 8 << 20);
    (void)mallopt(M_ARENA_MAX, 4);
}

int command_serve(const Options *options)
{
    keep_freed_memory();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    int64_t began_ns = clock_now_ns();
    Process *p = calloc(1, sizeof(*p));
    if (!p) {
        abort();
    }
    p->arena = arena_new();
    ErrorList errors;
    error_list_init(&errors, p->arena);
    int status = EXIT_GOOD;
    int rc = config_load(options->config, p->arena, &errors, &p->config);
    command_print_errors(&errors);
    if (rc) {
        status = EXIT_USAGE;
    } else {
        log_set_level((LogLevel)p->config->server.log_level);
        xml_init();
        saml_init();
        if (start(p)) {
            log_info("msg=\"ready\" https=%s mllp=%s admin=%s ms=%.0f",
                     p->config->server.https_listen, p->config->server.mllp_listen,
                     p->config->server.admin_listen, (double)(clock_now_ns() - began_ns) / 1e6);
            run(p, &signals);
            log_info("msg=\"stopping\"");
        } else {
            log_error("msg=\"cannot start\" problem=%s", log_quote(p->arena, str_from(p->problem)));
            status = EXIT_FAILED;
        }
        stop(p);
    }
    arena_free(p->arena);
    free(p);
    return status;
}
