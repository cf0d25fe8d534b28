#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/tls/scan.h"
#include "server/command/command.h"
#include "server/command/json.h"
#include "server/language.h"

/* musubi check-tls: what an outside scanner would find of our listeners. */

/** A listener of the configuration, or one that the command line names. */
typedef struct TlsListener {
    const char *name;    /* --listener; "" with HOST:PORT */
    const char *address; /* empty: off */
} TlsListener;

#define MAX_LISTENERS 5

static size_t find_listeners(const Config *config, TlsListener *ret_listeners)
{
    const TlsListener all[MAX_LISTENERS] = {
        {"https", config->server.https_listen},
        {"mllp", config->server.mllp_listen},
        {"admin", config_is_admin_remote(config) ? config->server.admin_listen : ""},
        {"syslog", config->audit.syslog_tls_listen},
        {"dicom", config->imaging.dicom_listen},
    };
    memcpy(ret_listeners, all, sizeof(all));
    return MAX_LISTENERS;
}

/**
 * Where to connect: "HOST:PORT" with the host of the address, or this host where it listens on all.
 */
static bool split_address(Arena *arena, const char *address, TlsScanTarget *ret_target)
{
    Str text = str_from(address);
    size_t colon = SIZE_MAX;
    for (size_t i = 0; i < text.len; i++) {
        colon = text.data[i] == ':' ? i : colon;
    }
    if (colon == SIZE_MAX || colon + 1 == text.len) {
        return false;
    }
    Str host = str_slice(text, 0, colon);
    if (host.len > 1 && host.data[0] == '[' && host.data[host.len - 1] == ']') {
        host = str_slice(host, 1, host.len - 2);
    }
    bool is_any =
        str_is_empty(host) || str_equal(host, STR("0.0.0.0")) || str_equal(host, STR("::"));
    ret_target->host = is_any ? "localhost" : str_cstr(arena, host);
    ret_target->port = str_cstr(arena, str_from_offset(text, colon + 1));
    return true;
}

static const char *verdict_text(TlsScanVerdict verdict)
{
    static const char *const texts[] = {
        [TLS_SCAN_GOOD] = "OK", [TLS_SCAN_NOTE] = "NOTE", [TLS_SCAN_BAD] = "BAD"};
    return texts[verdict];
}

static json_t *json_report(const TlsListener *listener, const TlsScanReport *report)
{
    json_t *findings = json_array();
    for (size_t i = 0; i < report->count; i++) {
        const TlsScanFinding *finding = &report->findings[i];
        json_array_append_new(findings,
                              json_pack("{s:s, s:s, s:o, s:s}", "check", finding->check, "verdict",
                                        verdict_text(finding->verdict), "found",
                                        json_text(finding->found), "remedy", finding->remedy));
    }
    return json_pack("{s:s, s:s, s:o}", "listener", listener->name, "address", listener->address,
                     "findings", findings);
}

static void print_report(const TlsListener *listener, const TlsScanReport *report)
{
    printf("%s%s%s\n", listener->name, listener->name[0] ? " " : "", listener->address);
    for (size_t i = 0; i < report->count; i++) {
        const TlsScanFinding *finding = &report->findings[i];
        printf("  %-4s  ", verdict_text(finding->verdict));
        command_print_cell(tr(finding->check), 21);
        printf("%.*s%s%s\n", STR_ARG(finding->found), finding->remedy[0] ? "; " : "",
               finding->remedy[0] ? tr(finding->remedy) : "");
    }
}

static bool is_below(const TlsScanReport *report)
{
    for (size_t i = 0; i < report->count; i++) {
        if (report->findings[i].verdict == TLS_SCAN_BAD) {
            return true;
        }
    }
    return false;
}

/** @param list  NULL: text */
static int check_one(const CommandContext *context, Tls *tls, const TlsListener *listener,
                     json_t *list)
{
    char problem[512];
    TlsScanReport report = {0};
    TlsScanTarget target = {.preset = (TlsPreset)context->config->server.tls_preset, .tls = tls};
    if (!split_address(context->arena, listener->address, &target)) {
        return command_usage("write HOST:PORT instead of %s", listener->address);
    }
    if (!tls_scan(&target, context->arena, &report, problem, sizeof(problem))) {
        error_add(&context->req->errors, ERR_CONFIGURATION, listener->name, "%s", problem);
        return EXIT_FAILED;
    }
    if (list) {
        json_array_append_new(list, json_report(listener, &report));
    } else {
        print_report(listener, &report);
    }
    return is_below(&report) ? EXIT_FOUND : EXIT_GOOD;
}

/** Our own certificate reaches what is behind the handshake, where its authority is in tls_ca. */
static Tls *open_tls(const Config *config)
{
    char problem[256];
    const TlsSettings settings = {.certificate = config->server.tls_certificate,
                                  .key = config->server.tls_key,
                                  .ca = config->server.tls_ca};
    return settings.certificate[0] ? tls_new(&settings, problem, sizeof(problem)) : NULL;
}

static int check_all(const CommandContext *context, const Options *options, json_t *list)
{
    TlsListener listeners[MAX_LISTENERS];
    size_t count = find_listeners(context->config, listeners);
    size_t checked = 0;
    int status = EXIT_GOOD;
    Tls *tls = open_tls(context->config);
    if (options->argument_count == 1) {
        listeners[0] = (TlsListener){"", options->arguments[0]};
        count = 1;
    }
    for (size_t i = 0; i < count; i++) {
        if (listeners[i].address[0] &&
            (!options->listener || strcmp(options->listener, listeners[i].name) == 0)) {
            int found = check_one(context, tls, &listeners[i], list);
            status = MAX(status, found);
            checked++;
        }
    }
    tls_free(tls);
    return checked > 0 ? status
                       : command_usage("%s", tr("no such listener has TLS in this configuration: "
                                                "https, mllp, admin, syslog, dicom"));
}

int command_check_tls(const Options *options)
{
    CommandContext context;
    if (options->argument_count > 1 || (options->argument_count == 1 && options->listener)) {
        return options_usage(options->command);
    }
    int status = command_open_config(options, &context);
    if (status == EXIT_GOOD) {
        (void)signal(SIGPIPE, SIG_IGN); /* listeners close while we still write */
        json_t *list = options->json ? json_array() : NULL;
        status = check_all(&context, options, list);
        if (list) {
            json_print(list);
        }
    }
    return command_close(&context, status);
}
