#include <stdio.h>
#include <string.h>

#include "lib/access/endpoints.h"
#include "lib/base/oid.h"
#include "lib/ebrim/datatypes.h"
#include "registry/gateway/communities.h"
#include "server/command/audited_change.h"
#include "server/command/json.h"
#include "server/language.h"
#include "server/services.h"

/* musubi community: whom the Initiating Gateway asks, and under which ids others know patients. */

#define DEFAULT_TIMEOUT_MS 10000
#define MAX_TIMEOUT_MS 600000

static int record(const CommandContext *context, Str home, const char *action, Str detail,
                  Str patient)
{
    const AuditedChange change = {.kind = CHANGED_COMMUNITY,
                                  .name = home,
                                  .action = action,
                                  .detail = detail,
                                  .patient = patient};
    return audited_change_record(context, &change);
}

/* ---- add, remove ---- */

static Str read_url(const CommandContext *context, const char *url, const char *otherwise)
{
    const char *problem;
    Str text = str_from(url ? url : otherwise);
    if (!str_is_empty(text) && !endpoint_url_is_good(text, &problem)) {
        (void)command_fault(&context->req->errors, "community", problem, text);
    }
    return text;
}

static unsigned read_timeout(const CommandContext *context, const char *text)
{
    uint64_t ms = DEFAULT_TIMEOUT_MS;
    if (text && (!config_parse_duration(str_from(text), &ms) || ms == 0 || ms > MAX_TIMEOUT_MS)) {
        (void)command_fault(&context->req->errors, "community",
                            tr("write --timeout as 500ms or 10s, at most 10min"), str_from(text));
        return DEFAULT_TIMEOUT_MS;
    }
    return (unsigned)ms;
}

/** Adds every fault of what the operator wrote. */
static Community read_input(const CommandContext *context, const Options *options)
{
    Community community = {
        .home = str_from(options->arguments[1]),
        .name = str_from(options->name ? options->name : options->arguments[1]),
        .urls = {[GATEWAY_QUERY] = read_url(context, options->url, NULL),
                 [GATEWAY_RETRIEVE] = read_url(context, options->retrieve_url, options->url),
                 [GATEWAY_IMAGING] = read_url(context, options->imaging_url, options->url)},
        .discovery_url = read_url(context, options->discovery_url, options->url),
        .timeout_ms = read_timeout(context, options->timeout),
        .is_enabled = !options->is_disabled,
    };
    if (!oid_is_valid_urn(community.home)) {
        (void)command_fault(&context->req->errors, "community",
                            tr("a homeCommunityId is urn:oid: and an OID"), community.home);
    }
    if (str_equal(community.home, str_from(context->config->affinity_domain.home_community_id))) {
        (void)command_fault(&context->req->errors, "community",
                            tr("this is the community of this server"), community.home);
    }
    if (!options->url) {
        (void)command_fault(&context->req->errors, "community",
                            tr("say --url, the address of its Responding Gateway"), STR_EMPTY);
    }
    if (options->fingerprint &&
        !tls_fingerprint_parse(context->arena, str_from(options->fingerprint),
                               &community.fingerprint)) {
        (void)command_fault(&context->req->errors, "community",
                            tr("a fingerprint is SHA-256, 64 hexadecimal digits"),
                            str_from(options->fingerprint));
    }
    return community;
}

/** One that is there already may be changed. */
static int check_count(const CommandContext *context, Str home)
{
    Community *communities;
    size_t count = 0;
    size_t others = 0;
    int rc = communities_read(context->conn, context->req, &communities, &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        others += str_equal(communities[i].home, home) ? 0 : 1;
    }
    if (rc == 0 && others >= COMMUNITIES_MAX) {
        rc = command_fault(&context->req->errors, "community",
                           tr("there are 64 communities already, the most that there may be"),
                           STR_EMPTY);
    }
    return rc;
}

static int community_add(const Options *options, CommandContext *context)
{
    Community community = read_input(context, options);
    int rc = context->req->errors.error_count > 0 ? -ERR_CONFIGURATION
                                                  : check_count(context, community.home);
    rc = rc < 0 ? rc : command_begin(context);
    rc = rc < 0 ? rc : community_store(context->conn, context->req, &community);
    rc = rc < 0 ? rc
                : record(context, community.home, "set", community.urls[GATEWAY_QUERY], STR_EMPTY);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(options, tr("community %s stored; it is asked from now on"),
                    options->arguments[1]);
    }
    return command_status_of(rc);
}

static int community_remove_named(const Options *options, CommandContext *context)
{
    bool is_removed = false;
    Str home = str_from(options->arguments[1]);
    int rc = command_begin(context);
    rc = rc < 0 ? rc : community_remove(context->conn, context->req, home, &is_removed);
    if (rc == 0 && !is_removed) {
        command_say(options, tr("there is no community %s"), options->arguments[1]);
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : record(context, home, "remove", STR_EMPTY, STR_EMPTY);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(options, tr("community %s removed"), options->arguments[1]);
    }
    return command_status_of(rc);
}

/* ---- list ---- */

static json_t *community_json(const Community *community)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:b}", "home", json_text(community->home), "name",
        json_text(community->name), "query_url", json_text(community->urls[GATEWAY_QUERY]),
        "retrieve_url", json_text(community->urls[GATEWAY_RETRIEVE]), "imaging_url",
        json_text(community->urls[GATEWAY_IMAGING]), "discovery_url",
        json_text(community->discovery_url), "fingerprint", json_text(community->fingerprint),
        "timeout_ms", (json_int_t)community->timeout_ms, "enabled", community->is_enabled);
}

static void print_community(const CommandContext *context, const Community *community)
{
    command_print_cell(str_cstr(context->arena, community->home), 32);
    command_print_cell(str_cstr(context->arena, community->name), 20);
    printf(tr("%u ms  %.*s%s\n"), community->timeout_ms, STR_ARG(community->urls[GATEWAY_QUERY]),
           community->is_enabled ? "" : tr("  (not asked)"));
}

static int community_list(const Options *options, CommandContext *context)
{
    Community *communities = NULL;
    size_t count = 0;
    if (communities_read(context->conn, context->req, &communities, &count) < 0) {
        return EXIT_FAILED;
    }
    json_t *list = options->json ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        if (list) {
            json_array_append_new(list, community_json(&communities[i]));
        } else {
            print_community(context, &communities[i]);
        }
    }
    if (list) {
        json_print(list);
    }
    return EXIT_GOOD;
}

/* ---- test ---- */

static InitiatingGateway *open_gateway(const CommandContext *context, Tls **ret_tls)
{
    const Config *config = context->config;
    char problem[512];
    *ret_tls = services_tls(config, problem, sizeof(problem));
    if (problem[0]) {
        (void)command_fault(&context->req->errors, "community", problem, STR_EMPTY);
    }
    const InitiatingGatewayConfig gateway = {
        .tls = *ret_tls,
        .home_community_id = config->affinity_domain.home_community_id,
        .spill_directory = services_path(context->arena, config, "spill"),
    };
    return initiating_gateway_new(&gateway);
}

/** A line, or an item of the list, for each service. @return whether it answers as it should */
static bool tell_one(const Options *options, const CommandContext *context,
                     const Community *community, GatewayService service, Str problem, json_t *list)
{
    Str url = community->urls[service];
    const char *transaction = gateway_service_transaction(service);
    bool is_good = str_is_empty(problem);
    if (str_is_empty(url)) {
        return true;
    }
    if (options->json) {
        json_array_append_new(list, json_pack("{s:s, s:o, s:b, s:o}", "transaction", transaction,
                                              "url", json_text(url), "answers", is_good, "problem",
                                              json_text(problem)));
    } else {
        printf("%s  %.*s  %s%.*s\n", transaction, STR_ARG(url), is_good ? tr("answers") : "",
               STR_ARG(str_printable(context->arena, problem)));
    }
    return is_good;
}

/** @return whether it answers as it should, at each of its addresses */
static bool test_one(const Options *options, CommandContext *context, const Community *community)
{
    Tls *tls = NULL;
    Str problems[GATEWAY_SERVICE_COUNT];
    bool is_good = true;
    json_t *list = options->json ? json_array() : NULL;
    InitiatingGateway *gateway = open_gateway(context, &tls);
    community_probe(gateway, context->req, community, problems);
    for (GatewayService service = 0; service < GATEWAY_SERVICE_COUNT; service++) {
        is_good &= tell_one(options, context, community, service, problems[service], list);
    }
    if (list) {
        json_print(json_pack("{s:o, s:b, s:o}", "home", json_text(community->home), "answers",
                             is_good, "services", list));
    } else {
        command_say(options,
                    is_good ? tr("community %s answers")
                            : tr("community %s does not answer as it should; what it does not "
                                 "serve is registered with an empty address, e.g. --imaging-url "
                                 "''"),
                    options->arguments[1]);
    }
    initiating_gateway_free(gateway);
    tls_free(tls);
    return is_good;
}

static int community_test(const Options *options, CommandContext *context)
{
    Community *communities = NULL;
    size_t count = 0;
    if (communities_read(context->conn, context->req, &communities, &count) < 0) {
        return EXIT_FAILED;
    }
    for (size_t i = 0; i < count; i++) {
        if (str_equal(communities[i].home, str_from(options->arguments[1]))) {
            return test_one(options, context, &communities[i]) ? EXIT_GOOD : EXIT_FOUND;
        }
    }
    command_say(options, tr("there is no community %s"), options->arguments[1]);
    return EXIT_FOUND;
}

/* ---- patient ---- */

static int patient_change(const Options *options, CommandContext *context, const char *action,
                          Str foreign_id)
{
    bool is_changed = false;
    Str home = str_from(options->arguments[2]);
    Str patient = str_from(options->arguments[3]);
    int rc = is_cx(patient) ? 0
                            : command_fault(&context->req->errors, "community",
                                            tr("write an id as ID^^^&OID&ISO"), patient);
    if (rc == 0 && !str_is_empty(foreign_id) && !is_cx(foreign_id)) {
        rc = command_fault(&context->req->errors, "community", tr("write an id as ID^^^&OID&ISO"),
                           foreign_id);
    }
    rc = rc < 0 ? rc : command_begin(context);
    rc = rc < 0 ? rc
                : patient_correlation_store(context->conn, context->req, home, patient, foreign_id,
                                            &is_changed);
    if (rc == 0 && !is_changed) {
        command_say(options,
                    tr("there is no such community, or it has no other id of the patient"));
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : record(context, home, action, STR_EMPTY, patient);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(options, tr("stored; the next query of the patient goes by it"));
    }
    return command_status_of(rc);
}

static int patient_list(const Options *options, CommandContext *context)
{
    PatientCorrelation *correlations = NULL;
    size_t count = 0;
    if (patient_correlations_read(context->conn, context->req, STR_EMPTY, &correlations, &count) <
        0) {
        return EXIT_FAILED;
    }
    json_t *list = options->json ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        const PatientCorrelation *one = &correlations[i];
        if (list) {
            json_array_append_new(list, json_pack("{s:o, s:o, s:o}", "home", json_text(one->home),
                                                  "patient", json_text(one->patient_id), "foreign",
                                                  json_text(one->foreign_id)));
        } else {
            printf("%.*s  %.*s  %.*s\n", STR_ARG(one->patient_id), STR_ARG(one->home),
                   STR_ARG(one->foreign_id));
        }
    }
    if (list) {
        json_print(list);
    }
    return EXIT_GOOD;
}

static int community_patient(const Options *options, CommandContext *context)
{
    Str action = str_from(options->arguments[1]);
    if (str_equal(action, STR("add")) && options->argument_count == 5) {
        return patient_change(options, context, "add patient", str_from(options->arguments[4]));
    }
    if (str_equal(action, STR("remove")) && options->argument_count == 4) {
        return patient_change(options, context, "remove patient", STR_EMPTY);
    }
    if (str_equal(action, STR("list")) && options->argument_count == 2) {
        return patient_list(options, context);
    }
    return options_usage(options->command);
}

int command_community(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 1, 1, community_add},
        {"list", 0, 0, community_list},
        {"remove", 1, 1, community_remove_named},
        {"test", 1, 1, community_test},
        {"patient", 1, 4, community_patient},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
