/* musubi serve: start-up, signals, orderly stop. */

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/sandbox/privileges.h"
#include "lib/xml/read.h"
#include "server/command/command.h"
#include "server/database/migrate.h"
#include "server/process.h"
#include "server/refused_peer.h"

#define REFRESH_EVERY_S 1
#define GIVE_BACK_EVERY_NS (15 * INT64_C(1000000000))
#define FREE_BYTES_MAX ((size_t)16 << 20)

bool process_fail(Process *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(p->problem, sizeof(p->problem), format, args);
    va_end(args);
    return false;
}

/* ---- what the process stands on ---- */

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
        (void)process_fail(p, "the database cannot be used: %s", db_last_failure());
    } else if (state == SCHEMA_EMPTY) {
        (void)process_fail(p, "the database is empty; run: musubi migrate --config %s",
                           p->config->file);
    } else if (!is_good) {
        (void)process_fail(p, "%.*s", STR_ARG(text));
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

/* ---- start, run, stop ---- */

static bool check_plain_access(Process *p)
{
    const Config *c = p->config;
    bool has_plain = c->server.plain_http_listen[0] || c->server.plain_mllp_listen[0] ||
                     c->imaging.plain_dicom_listen[0];
    if (c->access.mode == ACCESS_OPEN) {
        log_warn("msg=\"access mode is open: every authenticated node and every plain loopback "
                 "peer may do everything\"");
    } else if (has_plain && !c->server.plain_node[0]) {
        return process_fail(
            p, "a plain listener in mode enforce needs [server] plain_node: the registered "
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
    if (!check_plain_access(p) || !process_take_data_dir(p) || !process_start_workers(p) ||
        !open_tls(p) || !process_drop_privileges(p)) {
        return false;
    }
    process_raise_descriptor_limit(p);
    if (!open_database(p, &conninfo) || !process_confine(p) ||
        !services_open(&p->services, p->config, p->tls, p->workers, conninfo, p->problem,
                       PROBLEM_BYTES) ||
        !process_bind_listeners(p)) {
        return false;
    }
    socket_release_reserved();
    record_activity(p, AUDIT_APPLICATION_START);
    return process_start_listeners(p);
}

static void stop(Process *p)
{
    process_stop_listeners(p);
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
    } else {
        atomic_fetch_add(&p->refresh_count, 1);
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
    Process *p = HEAP_NEW(Process);
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
