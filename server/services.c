#include "server/services.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const services_folders[] = {"blobs", "locator", "audit", "log", "spill", NULL};

const char *services_path(Arena *arena, const Config *config, const char *name)
{
    return str_printf(arena, "%s/%s", config->server.data_dir, name).data;
}

Tls *services_tls(const Config *config, char *ret_problem, size_t problem_size)
{
    const TlsSettings settings = {
        .certificate = config->server.tls_certificate,
        .key = config->server.tls_key,
        .ca = config->server.tls_ca,
        .crl = config->server.tls_crl,
        .preset = (TlsPreset)config->server.tls_preset, /* the choices are in its order */
    };
    ret_problem[0] = '\0';
    return settings.certificate[0] ? tls_new(&settings, ret_problem, problem_size) : NULL;
}

static bool make_folder(const char *path, char *ret_problem, size_t problem_size)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST) {
        return true;
    }
    (void)snprintf(ret_problem, problem_size, "cannot make the folder %s: %s", path,
                   strerror(errno));
    return false;
}

bool services_make_folders(const Config *config, char *ret_problem, size_t problem_size)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    if (!make_folder(config->server.data_dir, ret_problem, problem_size)) {
        return false;
    }
    for (size_t i = 0; services_folders[i]; i++) {
        if (!make_folder(services_path(arena, config, services_folders[i]), ret_problem,
                         problem_size)) {
            return false;
        }
    }
    return true;
}

RepositoryConfig services_repository_config(Arena *arena, const Config *config, DbPool *pool)
{
    return (RepositoryConfig){
        .pool = pool,
        .unique_id = config->repository.unique_id,
        .home_community_id = config->affinity_domain.home_community_id,
        .blobs_dir = services_path(arena, config, "blobs"),
        .locator_dir = services_path(arena, config, "locator"),
        .segment_max_document_bytes = config->repository.segment_max_document_bytes,
    };
}

static AccessMode access_mode(const Config *config)
{
    return config->access.mode == 0 ? ACCESS_ENFORCE : ACCESS_OPEN;
}

static const char *own_host_name(Arena *arena)
{
    char *name = arena_calloc(arena, 256, 1);
    (void)gethostname(name, 255);
    return name;
}

static bool open_base(Services *s, const char *conninfo, char *ret_problem, size_t problem_size)
{
    const Config *config = s->config;
    s->pool = db_pool_new(conninfo, config->database.pool_size);
    s->nodes = node_directory_new(s->pool, access_mode(config));
    AuditConfig audit = {
        .directory = services_path(s->arena, config, "audit"),
        .repository = config->audit.repository,
        .source_id = config->audit.source_id,
        .host_name = own_host_name(s->arena),
        .tls = s->tls,
        .fingerprint = config->audit.repository_fingerprint,
    };
    s->audit = audit_new(&audit, s->pool, ret_problem, problem_size);
    s->journal = s->audit ? journal_new(services_path(s->arena, config, "log"), s->pool,
                                        ret_problem, problem_size)
                          : NULL;
    return s->journal != NULL;
}

/** Own events are loaded too where this is their repository. */
static bool open_audit_repository(Services *s, char *ret_problem, size_t problem_size)
{
    const Config *config = s->config;
    if (!config_has_role(config, ROLE_ATNA)) {
        return true;
    }
    const AuditRepositoryConfig repository = {
        .directory = services_path(s->arena, config, "audit"),
        .audit = strcmp(config->audit.repository, "local") == 0 ? s->audit : NULL,
        .source_id = config->audit.source_id,
        .pool = s->pool,
        .head_copy = config->audit.head_copy,
        .retention_days = config->audit.retention_days,
    };
    s->audit_repository = audit_repository_new(&repository, ret_problem, problem_size);
    return s->audit_repository != NULL;
}

static bool open_saml(Services *s, char *ret_problem, size_t problem_size)
{
    const Config *config = s->config;
    if (config->xua.registry == XUA_OFF && config->xua.repository == XUA_OFF &&
        config->xua.pix == XUA_OFF) {
        return true;
    }
    const SamlConfig saml = {.pool = s->pool,
                             .audiences = config->xua.audiences,
                             .authn_contexts = config->xua.authn_contexts,
                             .skew_ms = config->xua.skew_ms,
                             .is_once_only = config->xua.reuse == XUA_REUSE_NEVER};
    s->saml = saml_new(&saml);
    Request *req = request_new(10000);
    int rc = saml_refresh(s->saml, req);
    if (rc) {
        (void)snprintf(ret_problem, problem_size, "cannot read the identity providers: %s",
                       db_last_failure());
    }
    request_free(req);
    return rc == 0;
}

static void free_codes(void *object)
{
    code_sets_free(object);
}

void services_take_codes(Services *services, CodeSets *codes)
{
    /* requests at work may still read the old ones: all go with the services */
    arena_defer(services->arena, free_codes, codes);
    services->codes = codes;
}

static bool open_codes(Services *s, char *ret_problem, size_t problem_size)
{
    if (s->config->affinity_domain.code_check == CODE_CHECK_OFF) {
        return true;
    }
    CodeSets *codes = code_sets_load(s->config->affinity_domain.codes, ret_problem, problem_size);
    if (codes) {
        services_take_codes(s, codes);
    }
    return codes != NULL;
}

/** As generators.def names it; empty: none. */
static const char *on_demand_generator(const Config *config)
{
    static const char *const names[] = {"", "patient-summary"};
    bool is_local = config_has_role(config, ROLE_REPOSITORY) && !config->repository.registry_url[0];
    return is_local ? names[config->repository.on_demand] : "";
}

static bool open_registry(Services *s, char *ret_problem, size_t problem_size)
{
    PixConfig pix = {
        .pool = s->pool,
        .audit = s->audit,
        .nodes = s->nodes,
        .patient_id_authority = s->config->affinity_domain.patient_id_authority,
        .patient_id_namespace = s->config->affinity_domain.patient_id_namespace,
        .pid_owner = (PidOwner)s->config->affinity_domain.pid_owner,
        .home_community_id = s->config->affinity_domain.home_community_id,
        .takes_any_source = access_mode(s->config) == ACCESS_OPEN,
        .match = {.rule = (MatchRule)s->config->matching.rule,
                  .link_threshold = s->config->matching.link_threshold,
                  .review_threshold = s->config->matching.review_threshold},
        .sending_application = s->config->identity.sending_application,
        .sending_facility = s->config->identity.sending_facility,
        .manager_oid = s->config->identity.manager_oid[0]
                           ? s->config->identity.manager_oid
                           : s->config->affinity_domain.patient_id_authority,
        .source_timezone = s->config->affinity_domain.source_timezone,
        .tls = s->tls,
        .has_subscribers = s->journal != NULL, /* the server itself: commands keep no journal */
    };
    s->pix = pix_new(&pix, ret_problem, problem_size);
    if (!s->pix) {
        return false;
    }
    s->patients = pix_patient_directory(s->pix);
    if (!config_has_role(s->config, ROLE_REGISTRY)) {
        return true;
    }
    s->documents = repository_document_follower(on_demand_generator(s->config));
    RegistryConfig registry = {
        .pool = s->pool,
        .audit = s->audit,
        .patients = &s->patients,
        .documents = config_has_role(s->config, ROLE_REPOSITORY) ? &s->documents : NULL,
        .codes = &s->codes,
        .nodes = s->nodes,
        .code_check = (CodeCheck)s->config->affinity_domain.code_check,
        .patient_id_authority = s->config->affinity_domain.patient_id_authority,
        .home_community_id = s->config->affinity_domain.home_community_id,
        .spill_directory = services_path(s->arena, s->config, "spill"),
        .tls = s->tls,
        .is_notifying = s->journal != NULL, /* the server itself: commands keep no journal */
        .notify_for_ms = s->config->subscriptions.retry_for_ms,
        .notifications_max = s->config->subscriptions.max_waiting,
    };
    s->registry = registry_new(&registry, ret_problem, problem_size);
    if (s->registry) {
        s->local_registry = registry_client_local(s->registry);
        s->mover = registry_patient_mover(s->registry);
        pix_set_mover(s->pix, &s->mover);
    }
    return s->registry != NULL;
}

static const RegistryClient *choose_registry(Services *s, char *ret_problem, size_t problem_size)
{
    const char *url = s->config->repository.registry_url;
    if (!url[0]) {
        if (!s->registry) {
            (void)snprintf(
                ret_problem, problem_size,
                "a repository without the role registry needs [repository] registry_url");
        }
        return s->registry ? &s->local_registry : NULL;
    }
    RemoteRegistryConfig remote = {
        .url = url,
        .tls = s->tls,
        .fingerprint = s->config->repository.registry_fingerprint,
    };
    s->remote_registry = registry_client_remote_new(&remote, ret_problem, problem_size);
    return s->remote_registry;
}

static bool open_repository(Services *s, char *ret_problem, size_t problem_size)
{
    if (!config_has_role(s->config, ROLE_REPOSITORY)) {
        return true;
    }
    RepositoryConfig repository = services_repository_config(s->arena, s->config, s->pool);
    repository.audit = s->audit;
    repository.registry = choose_registry(s, ret_problem, problem_size);
    if (s->config->repository.on_demand != 0 &&
        (!s->registry || s->config->repository.registry_url[0])) {
        (void)snprintf(ret_problem, problem_size,
                       "[repository] on_demand needs the registry of this process: the role "
                       "registry, and no registry_url");
        return false;
    }
    if (s->registry) {
        s->patient_documents = registry_patient_documents(s->registry);
        s->patient_description = pix_patient_description(s->pix);
    }
    repository.on_demand = (OnDemandConfig){
        .generator = on_demand_generator(s->config),
        .is_persistent = s->config->repository.on_demand_persistence,
        .facility = s->config->repository.on_demand_facility,
        .class_code = s->config->repository.on_demand_class_code,
        .confidentiality_code = s->config->repository.on_demand_confidentiality_code,
        .timezone = s->config->affinity_domain.source_timezone,
        .codes = &s->codes,
        .documents = &s->patient_documents,
        .description = &s->patient_description,
    };
    s->catalogue = registry_document_catalogue();
    repository.catalogue =
        s->registry && !s->config->repository.registry_url[0] ? &s->catalogue : NULL;
    s->repository =
        repository.registry ? repository_new(&repository, ret_problem, problem_size) : NULL;
    return s->repository != NULL;
}

static bool open_imaging(Services *s, char *ret_problem, size_t problem_size)
{
    const Config *config = s->config;
    if (!config_has_role(config, ROLE_IMAGING)) {
        return true;
    }
    const ImagingConfig imaging = {
        .pool = s->pool,
        .audit = s->audit,
        .nodes = s->nodes,
        .repository = s->repository,
        .workers = s->workers,
        .codes = &s->codes,
        .unique_id = config->imaging.unique_id,
        .ae_title = config->imaging.ae_title,
        .public_url = config->imaging.public_url,
        .home_community_id = config->affinity_domain.home_community_id,
        .patient_id_authority = config->affinity_domain.patient_id_authority,
        .default_authority = config->imaging.default_authority,
        .source_timezone = config->affinity_domain.source_timezone,
        .class_code = config->imaging.class_code,
        .confidentiality_code = config->imaging.confidentiality_code,
        .type_code = config->imaging.type_code,
        .practice_setting_code = config->imaging.practice_setting_code,
        .facility_type_code = config->imaging.facility_type_code,
        .language_code = config->imaging.language_code,
        .manifest_delay_ms = config->imaging.manifest_delay_ms,
        .tls = s->tls,
    };
    s->imaging = imaging_new(&imaging, ret_problem, problem_size);
    if (s->imaging) {
        s->patient_studies = imaging_patient_studies(s->imaging);
        repository_set_studies(s->repository, &s->patient_studies);
    }
    return s->imaging != NULL;
}

/** What a role of this process does not serve, no actor answers. */
static void open_initiating(Services *s)
{
    const Config *config = s->config;
    if (config->affinity_domain.home_community_id[0] == '\0') {
        return;
    }
    const InitiatingGatewayConfig initiating = {
        .pool = s->pool,
        .audit = s->audit,
        .tls = s->tls,
        .home_community_id = config->affinity_domain.home_community_id,
        .spill_directory = services_path(s->arena, config, "spill"),
        .spill_bytes = config->gateway.spill_bytes,
        .own = {[GATEWAY_QUERY] = {s->registry ? registry_iti18_stored_query : NULL, s->registry},
                [GATEWAY_RETRIEVE] = {s->repository ? repository_iti43_retrieve : NULL,
                                      s->repository},
                [GATEWAY_IMAGING] = {s->imaging ? imaging_rad69_retrieve : NULL, s->imaging}},
    };
    s->initiating = initiating_gateway_new(&initiating);
}

static bool read_nodes(Services *s, char *ret_problem, size_t problem_size)
{
    Request *req = request_new(10000);
    int rc = node_directory_refresh(s->nodes, req);
    if (rc) {
        (void)snprintf(ret_problem, problem_size, "cannot read the registered nodes: %s",
                       db_last_failure());
    }
    request_free(req);
    return rc == 0;
}

bool services_open(Services *ret_services, const Config *config, Tls *tls, DicomWorkers *workers,
                   const char *conninfo, char *ret_problem, size_t problem_size)
{
    Services *s = ret_services;
    *s = (Services){.config = config, .tls = tls, .workers = workers, .arena = arena_new()};
    bool is_open =
        open_base(s, conninfo, ret_problem, problem_size) &&
        open_audit_repository(s, ret_problem, problem_size) &&
        read_nodes(s, ret_problem, problem_size) && open_saml(s, ret_problem, problem_size) &&
        open_codes(s, ret_problem, problem_size) && open_registry(s, ret_problem, problem_size) &&
        open_repository(s, ret_problem, problem_size) && open_imaging(s, ret_problem, problem_size);
    if (is_open) {
        open_initiating(s);
    } else {
        services_close(s);
    }
    return is_open;
}

bool services_open_identity(Services *ret_services, const Config *config, const char *conninfo,
                            unsigned connections, char *ret_problem, size_t problem_size)
{
    Services *s = ret_services;
    *s = (Services){.config = config, .arena = arena_new()};
    const AuditConfig audit = {.source_id = config->audit.source_id,
                               .host_name = own_host_name(s->arena)};
    s->pool = db_pool_new(conninfo, connections);
    s->nodes = node_directory_new(s->pool, access_mode(config));
    s->audit = audit_new_outbox(&audit, s->pool);
    bool is_open = read_nodes(s, ret_problem, problem_size) &&
                   open_codes(s, ret_problem, problem_size) &&
                   open_registry(s, ret_problem, problem_size);
    if (!is_open) {
        services_close(s);
    }
    return is_open;
}

bool services_open_registry(Services *ret_services, const Config *config, const char *conninfo,
                            unsigned connections, char *ret_problem, size_t problem_size)
{
    if (!config_has_role(config, ROLE_REGISTRY)) {
        (void)snprintf(ret_problem, problem_size, "[server] roles lack registry");
        return false;
    }
    return services_open_identity(ret_services, config, conninfo, connections, ret_problem,
                                  problem_size);
}

void services_close(Services *services)
{
    initiating_gateway_free(services->initiating);
    imaging_free(services->imaging);
    repository_free(services->repository);
    registry_client_remote_free(services->remote_registry);
    registry_free(services->registry);
    pix_free(services->pix);
    saml_free(services->saml);
    journal_free(services->journal);
    audit_repository_free(services->audit_repository); /* reads the spool of audit */
    audit_free(services->audit);
    node_directory_free(services->nodes);
    db_pool_free(services->pool);
    arena_free(services->arena);
    *services = (Services){0};
}
