#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/ebrim/codes.h"
#include "lib/tls/tls.h"
#include "server/command/command.h"
#include "server/confinement.h"
#include "server/database/postgres_embedded.h"
#include "server/language.h"
#include "server/socket.h"
#include "server/time_sync.h"

/* musubi check-config: what config_load() cannot see in the file itself. Each finding names the
 * line to change. */

#define MIB (1024UL * 1024)
#define DAY_US (24LL * 3600 * 1000000)
#define MIN_DAYS_LEFT 30
#define MIN_FREE_BYTES (10ULL * 1024 * 1024 * 1024)

typedef struct Check {
    CommandContext *context;
    const Config *config;
    bool is_running; /* the server of this configuration runs: its ports are in use by itself */
} Check;

static void finding(const Check *check, ConfigKeyId key, const char *format, ...) PRINTF_LIKE(3, 4);

static void finding(const Check *check, ConfigKeyId key, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), tr(format), args);
    va_end(args);
    error_add(&check->context->req->errors, ERR_CONFIGURATION,
              config_location(check->config, key, check->context->arena), "%s: %s",
              config_key_name(key), text);
}

/** One past its nextUpdate stays in force, but does not know what was revoked since. */
static void check_revocation_lists(const Check *check, TlsStore *store)
{
    TlsExpiry *lists;
    size_t count = tls_store_crl_expiries(store, check->context->arena, &lists);
    for (size_t i = 0; i < count; i++) {
        if (lists[i].at_us < clock_utc_us()) {
            finding(check, CONFIG_server_tls_crl,
                    "the list of \"%.*s\" was due to be replaced on %.*s; get a new one",
                    STR_ARG(lists[i].name),
                    STR_ARG(clock_iso8601(check->context->arena, lists[i].at_us)));
        }
    }
}

static void check_certificate(const Check *check)
{
    const TlsSettings settings = {
        .certificate = check->config->server.tls_certificate,
        .key = check->config->server.tls_key,
        .ca = check->config->server.tls_ca,
        .crl = check->config->server.tls_crl,
    };
    TlsCertificate certificate;
    char problem[256];

    if (settings.certificate[0] == '\0') {
        return;
    }
    TlsStore *store = tls_store_new(settings.ca, settings.crl, problem, sizeof(problem));
    if (!store) {
        finding(check, settings.crl[0] ? CONFIG_server_tls_crl : CONFIG_server_tls_ca, "%s",
                problem);
    }
    Tls *tls = store ? tls_new(&settings, problem, sizeof(problem)) : NULL;
    if (store && !tls) { /* also a key that does not belong to the certificate */
        finding(check, CONFIG_server_tls_key, "%s", problem);
    }
    if (store) {
        check_revocation_lists(check, store);
    }
    tls_free(tls);
    tls_store_free(store);
    if (!tls_certificate_from_file(check->context->arena, settings.certificate, &certificate,
                                   problem, sizeof(problem))) {
        finding(check, CONFIG_server_tls_certificate, "%s", problem);
        return;
    }
    long long days = (certificate.not_after_us - clock_utc_us()) / DAY_US;
    if (days < MIN_DAYS_LEFT) {
        finding(check, CONFIG_server_tls_certificate,
                "the certificate is valid for %lld more days; replace it", days);
    }
}

static void check_codes(const Check *check)
{
    char problem[256];
    const char *path = check->config->affinity_domain.codes;

    if (path[0] == '\0') {
        return;
    }
    CodeSets *codes = code_sets_load(path, problem, sizeof(problem));
    if (!codes) {
        finding(check, CONFIG_affinity_domain_codes, "%s", problem);
    }
    code_sets_free(codes);
}

static void check_user(const Check *check)
{
    const char *name = check->config->server.user;

    if (geteuid() == 0 && !getpwnam(name)) {
        finding(check, CONFIG_server_user,
                "there is no user %s; make it: adduser --system --group %s", name, name);
    }
}

/** The folder must exist, or be one that serve can make. */
static void check_data_dir(const Check *check)
{
    struct statvfs space;
    struct stat info;
    const char *path = check->config->server.data_dir;

    if (stat(path, &info) < 0) {
        const char *slash = strrchr(path, '/');
        Str parent = slash && slash > path ? (Str){path, (size_t)(slash - path)} : STR("/");
        if (errno != ENOENT || access(str_cstr(check->context->arena, parent), W_OK) < 0) {
            finding(check, CONFIG_server_data_dir, "cannot be made or read: %s", strerror(errno));
        }
        return;
    }
    if (!S_ISDIR(info.st_mode)) {
        finding(check, CONFIG_server_data_dir, "is no folder");
    } else if (statvfs(path, &space) == 0 && space.f_bavail * space.f_frsize < MIN_FREE_BYTES) {
        finding(check, CONFIG_server_data_dir,
                "only %llu MiB are free; make room, or move it to a larger disk",
                (unsigned long long)(space.f_bavail * space.f_frsize / MIB));
    }
}

static void check_ports(const Check *check)
{
    const struct {
        ConfigKeyId key;
        const char *address;
    } listeners[] = {
        {CONFIG_server_https_listen, check->config->server.https_listen},
        {CONFIG_server_mllp_listen, check->config->server.mllp_listen},
        {CONFIG_server_plain_http_listen, check->config->server.plain_http_listen},
        {CONFIG_server_plain_mllp_listen, check->config->server.plain_mllp_listen},
        {CONFIG_server_admin_listen, check->config->server.admin_listen},
        {CONFIG_audit_syslog_tls_listen, check->config->audit.syslog_tls_listen},
        {CONFIG_imaging_dicom_listen, check->config->imaging.dicom_listen},
        {CONFIG_imaging_plain_dicom_listen, check->config->imaging.plain_dicom_listen},
    };
    char problem[256];

    for (size_t i = 0; i < ARRAY_LEN(listeners) && !check->is_running; i++) {
        if (listeners[i].address[0] == '\0') {
            continue;
        }
        int fd = socket_listen(listeners[i].address, false, problem, sizeof(problem));
        if (fd < 0) {
            finding(check, listeners[i].key, "%s", problem);
        } else {
            close(fd);
        }
    }
}

static void check_clock(const Check *check)
{
    TimeSync sync;

    time_sync_read(&sync);
    printf(tr("clock: %s (%s)\n"), tr(time_sync_verdict(&sync)), tr(time_sync_service_name(&sync)));
    if (!time_sync_is_good(&sync)) {
        error_warn(&check->context->req->errors, ERR_CONFIGURATION, NULL,
                   tr("audit records need the right time (ITI-1): %s"),
                   tr(time_sync_remedy(&sync)));
    }
}

/** Other communities are answered once this one has a name for them. */
static void say_gateway(const Check *check)
{
    const char *home = check->config->affinity_domain.home_community_id;

    if (home[0] == '\0') {
        (void)fputs(tr("gateway: off, until [affinity_domain] home_community_id is set\n"), stdout);
    } else {
        printf(tr("gateway: other communities know this one as %s\n"), home);
    }
}

static void check_sandbox(const Check *check)
{
    if (!check->config->server.sandbox || !confinement_is_full()) {
        error_warn(&check->context->req->errors, ERR_CONFIGURATION,
                   config_location(check->config, CONFIG_server_sandbox, check->context->arena),
                   tr("the sandbox of serve is not complete; it restricts: %s"),
                   tr(confinement_state(check->config)));
    }
}

/** An embedded database is tried by serve; one of somebody else must be reachable now. */
static void check_database(const Check *check)
{
    DbConn *conn = NULL;

    if (check->config->database.embedded) {
        return;
    }
    DbPool *pool = db_pool_new(check->config->database.conninfo, 1);
    Request *req = request_new(10000);
    if (db_acquire(pool, req, &conn) < 0) {
        finding(check, CONFIG_database_conninfo, "%s", db_last_failure());
    }
    db_release(conn);
    request_free(req);
    db_pool_free(pool);
}

int command_check_config(const Options *options)
{
    CommandContext context;

    int status = command_open_config(options, &context);
    if (status != EXIT_GOOD) {
        return command_close(&context, status);
    }
    struct Postgres *postgres = NULL;
    const Check check = {
        .context = &context,
        .config = context.config,
        .is_running = context.config->database.embedded &&
                      postgres_find(context.config, context.arena, &postgres),
    };
    check_user(&check);
    check_data_dir(&check);
    check_certificate(&check);
    check_codes(&check);
    check_ports(&check);
    check_clock(&check);
    say_gateway(&check);
    check_sandbox(&check);
    check_database(&check);
    if (check.is_running) {
        (void)fputs(tr("the server is running: its ports were not checked\n"), stdout);
    }
    if (context.req->errors.error_count > 0) {
        return command_close(&context, EXIT_FOUND);
    }
    printf(tr("%s: no finding\n"), options->config);
    return command_close(&context, EXIT_GOOD);
}
