#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "server/audit_patients.h"
#include "server/process.h"
#include "server/refused_peer.h"

/* Every port at which the process listens, and what is served there. */

#define STOP_GRACE_S 25

/* ---- byte streams: HL7 v2, syslog, DICOM ---- */

static void peer_rejected(void *ctx, const char *endpoint, const char *address,
                          const TlsProblem *problem)
{
    const Process *p = ctx;
    (void)refused_peer_record_connection(p->services.audit, endpoint, address, problem);
}

/** What they have in common; without tls for loopback only. */
static StreamListenerConfig stream_config(Process *p, const char *address, SSL_CTX *tls)
{
    return (StreamListenerConfig){
        .address = address,
        .tls = tls,
        .open_peers = p->open_peers,
        .nodes = p->services.nodes,
        .plain_node = p->config->server.plain_node,
        .max_connections = p->max_connections,
        .rejected_ctx = p,
        .rejected = peer_rejected,
    };
}

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

static MllpListener *bind_mllp(Process *p, const char *address, SSL_CTX *tls)
{
    MllpListenerConfig config = {
        .stream = stream_config(p, address, tls),
        .pix = p->services.pix,
        .request_timeout_ms = p->config->server.request_timeout_ms,
        .ctx = p,
        .finished = mllp_finished,
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
        return process_fail(p,
                            "[audit] syslog_tls_listen and syslog_udp_listen need the role atna");
    }
    if (c->audit.syslog_tls_listen[0] && !p->stream_tls) {
        return process_fail(p, "[audit] syslog_tls_listen needs [server] tls_certificate");
    }
    SyslogListenerConfig config = {
        .stream = stream_config(p, c->audit.syslog_tls_listen, p->stream_tls),
        .udp_address = c->audit.syslog_udp_listen,
        .udp_allow = c->audit.syslog_udp_allow,
        .repository = p->services.audit_repository,
    };
    p->syslog = syslog_listener_bind(&config, p->problem, PROBLEM_BYTES);
    return p->syslog != NULL;
}

static void dicom_finished(void *ctx, Request *req, bool is_good)
{
    Process *p = ctx;
    journal_finish(p->services.journal, req, is_good ? OUTCOME_SUCCESS : OUTCOME_FAILURE);
}

static DicomListener *bind_dicom(Process *p, const char *address, SSL_CTX *tls)
{
    DicomListenerConfig config = {
        .stream = stream_config(p, address, tls),
        .imaging = p->services.imaging,
        .ctx = p,
        .finished = dicom_finished,
    };
    return dicom_listener_bind(&config, p->problem, PROBLEM_BYTES);
}

/* ---- HTTP ---- */

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

/* ---- all of them ---- */

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

bool process_bind_listeners(Process *p)
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
        .is_ready = process_is_ready,
        .write_gauges = process_write_gauges,
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

bool process_start_listeners(Process *p)
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

void process_stop_listeners(Process *p)
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
}
