/* Commands that look at what is stored and at what happened: trace, status, fsck, scrub. */

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "atna/sender_counts.h"
#include "lib/base/clock.h"
#include "lib/base/file_io.h"
#include "lib/xml/read.h"
#include "pix/identity_counts.h"
#include "repository/imaging/imaging.h"
#include "server/command/checks.h"
#include "server/command/command.h"
#include "server/command/json.h"
#include "server/command/node_certificates.h"
#include "server/command/subscriber.h"
#include "server/command/subscription.h"
#include "server/command/time.h"
#include "server/confinement.h"
#include "server/journal.h"
#include "server/language.h"
#include "server/services.h"

/* ------------------------------------------------------------------ trace */

static void print_trace_line(void *ctx, Str line)
{
    const Options *options = ctx;
    if (!options->json) {
        printf("%.*s\n", STR_ARG(line));
        return;
    }
    _cleanup_(arena_freep) Arena *arena = arena_new();
    json_t *fields = json_object();
    Str key;
    Str value;
    while (journal_field_next(arena, &line, &key, &value)) {
        json_object_set_new(fields, str_cstr(arena, key), json_text(value));
    }
    json_print_line(fields);
}

int command_trace(const Options *options)
{
    CommandContext context;
    if (options->argument_count != 1) {
        return options_usage(options->command);
    }
    int status = command_open_config(options, &context);
    if (status == EXIT_GOOD) {
        Options wanted = *options;
        long lines = journal_trace(services_path(context.arena, context.config, "log"),
                                   str_from(options->arguments[0]), print_trace_line, &wanted);
        status = lines < 0 ? EXIT_FAILED : lines == 0 ? EXIT_FOUND : EXIT_GOOD;
    }
    return command_close(&context, status);
}

/* ------------------------------------------------------------------ fsck, scrub */

typedef struct Findings {
    json_t *list; /* NULL: print each when it is found */
} Findings;

static void take_finding(void *ctx, const char *line)
{
    Findings *findings = ctx;
    if (findings->list) {
        json_array_append_new(findings->list, json_text(str_from(line)));
    } else {
        (void)puts(line);
    }
}

/** @param count  what the check returned */
static int finish_findings(Findings *findings, int64_t count)
{
    if (findings->list) {
        json_print(json_pack("{s:I, s:o}", "count", (json_int_t)count, "findings", findings->list));
    } else if (count >= 0) {
        printf("%lld findings\n", (long long)count);
    }
    return count < 0 ? EXIT_FAILED : count > 0 ? EXIT_FOUND : EXIT_GOOD;
}

int64_t command_run_fsck(CommandContext *context, CheckFindingFn finding, void *ctx)
{
    RepositoryConfig config =
        services_repository_config(context->arena, context->config, context->pool);
    const DocumentCatalogue catalogue = registry_document_catalogue();
    const bool has_registry = config_has_role(context->config, ROLE_REGISTRY) &&
                              !context->config->repository.registry_url[0];
    config.catalogue = has_registry ? &catalogue : NULL;
    const PixConfig pix = {
        .pool = context->pool,
        .patient_id_authority = context->config->affinity_domain.patient_id_authority,
        .pid_owner = (PidOwner)context->config->affinity_domain.pid_owner,
    };
    int64_t documents = repository_fsck(&config, context->req, finding, ctx);
    int64_t patients = pix_fsck(&pix, context->req, finding, ctx);
    int64_t versions = registry_fsck(context->pool, context->req, finding, ctx);
    bool has_failed = documents < 0 || patients < 0 || versions < 0;
    return has_failed ? -1 : documents + patients + versions;
}

int command_fsck(const Options *options)
{
    CommandContext context;
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        Findings findings = {options->json ? json_array() : NULL};
        status = finish_findings(&findings, command_run_fsck(&context, take_finding, &findings));
    }
    return command_close(&context, status);
}

int command_scrub(const Options *options)
{
    CommandContext context;
    uint64_t rate = 0;
    if (options->rate && !config_parse_size(str_from(options->rate), &rate)) {
        return command_usage("--rate %s is no size, e.g. 50MiB", options->rate);
    }
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        Findings findings = {options->json ? json_array() : NULL};
        RepositoryConfig config =
            services_repository_config(context.arena, context.config, context.pool);
        status = finish_findings(
            &findings, repository_scrub(&config, context.req, rate, take_finding, &findings));
    }
    return command_close(&context, status);
}

/* ------------------------------------------------------------------ status */

static const DbStatement count_objects = {
    "status_count_objects",
    "SELECT (SELECT count(*) FROM document_entry), (SELECT count(*) FROM submission_set),"
    " (SELECT count(*) FROM folder), (SELECT count(*) FROM association),"
    " (SELECT count(*) FROM repository_document), (SELECT count(*) FROM audit_outbox),"
    " (SELECT count(*) FROM node WHERE revoked_at IS NULL), pg_database_size(current_database()),"
    " (SELECT coalesce(sum(sequence), 0)::bigint FROM audit_chain)"};

/* the columns of count_objects: as text, as JSON */
static const struct {
    const char *label;
    const char *name;
} counts[] = {
    {"DocumentEntries", "document_entries"},
    {"SubmissionSets", "submission_sets"},
    {"Folders", "folders"},
    {"Associations", "associations"},
    {"documents", "documents"},
    {"audit outbox", "audit_outbox"},
    {"nodes", "nodes"},
    {"database bytes", "database_bytes"},
    {"audit records", "audit_records"},
};

static const DbStatement silent_nodes = {
    "status_silent_nodes",
    "SELECT n.name, f.name, max(a.last_success) FROM node n JOIN facility f ON f.id = n.facility"
    " LEFT JOIN node_activity a ON a.node = n.id WHERE n.revoked_at IS NULL GROUP BY n.name, f.name"
    " HAVING coalesce(max(a.last_success), 'epoch') < now() - interval '1 day' ORDER BY n.name"};

/** One screen of facts; each is printed, or added to the JSON object. */
typedef struct Status {
    CommandContext *context;
    json_t *json; /* NULL: text */
} Status;

static void print_label(const char *english)
{
    const char *label = tr(english);
    printf("%-*s ", language_pad(label, 18), label);
}

static void show_process(const Status *status)
{
    const Config *config = status->context->config;
    const char *roles = config->sources[CONFIG_server_roles].text;
    struct statvfs disk = {0};
    bool has_disk = statvfs(config->server.data_dir, &disk) == 0;
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    uint64_t total_bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
    if (status->json) {
        json_object_set_new(status->json, "roles", json_text(str_from(roles)));
        json_object_set_new(status->json, "sandbox",
                            json_text(str_from(confinement_state(config))));
        json_object_set_new(status->json, "data_dir", json_text(str_from(config->server.data_dir)));
        json_object_set_new(status->json, "disk_free_bytes", json_integer((json_int_t)free_bytes));
        json_object_set_new(status->json, "disk_bytes", json_integer((json_int_t)total_bytes));
        return;
    }
    print_label("roles");
    printf("%s\n", roles);
    print_label("sandbox");
    printf("%s\n", tr(confinement_state(config)));
    if (has_disk) {
        print_label("disk free");
        printf(tr("%.1f GiB of %.1f GiB (%s)\n"), (double)free_bytes / (1 << 30),
               (double)total_bytes / (1 << 30), config->server.data_dir);
    }
}

static void show_clock(const Status *status)
{
    TimeSync sync;
    time_sync_read(&sync);
    if (status->json) {
        json_object_set_new(status->json, "clock", command_time_json(&sync));
    } else {
        print_label("clock");
        printf("%s (%s)\n", tr(time_sync_verdict(&sync)), tr(time_sync_service_name(&sync)));
    }
}

static void show_count(const Status *status, const char *label, const char *name, int64_t count)
{
    if (status->json) {
        json_object_set_new(status->json, name, json_integer(count));
    } else {
        print_label(label);
        printf("%lld\n", (long long)count);
    }
}

static int show_counts(const Status *status)
{
    DbResult *result = NULL;
    int rc = db_exec(status->context->conn, status->context->req, &count_objects, NULL, &result);
    for (size_t i = 0; !rc && i < ARRAY_LEN(counts); i++) {
        show_count(status, counts[i].label, counts[i].name, db_i64(result, 0, (int)i));
    }
    return rc;
}

static int show_identity_counts(const Status *status)
{
    int64_t numbers[IDENTITY_COUNT_TOTAL];
    int rc = identity_counts_read(status->context->conn, status->context->req, numbers);
    for (size_t i = 0; !rc && i < IDENTITY_COUNT_TOTAL; i++) {
        show_count(status, identity_count_rows[i].label, identity_count_rows[i].name, numbers[i]);
    }
    return rc;
}

static int show_imaging_counts(const Status *status)
{
    ImagingCounts found;
    if (!config_has_role(status->context->config, ROLE_IMAGING)) {
        return 0;
    }
    int rc = imaging_counts_read(status->context->conn, status->context->req, &found);
    if (rc == 0) {
        show_count(status, "studies", "studies", found.studies);
        show_count(status, "waiting studies", "studies_waiting", found.waiting);
        show_count(status, "study conflicts", "study_conflicts", found.conflicts);
        show_count(status, "failed manifests", "manifests_failed", found.manifests_failed);
    }
    return rc;
}

/**
 * @param list   NULL: text
 * @param since  empty: never
 */
static void show_silent_node(json_t *list, Str node, Str facility, Str since)
{
    if (list) {
        json_t *last = since.len > 0 ? json_text(since) : json_null();
        json_array_append_new(list,
                              json_pack("{s:o, s:o, s:o}", "node", json_text(node), "facility",
                                        json_text(facility), "last_success", last));
    } else {
        print_label("silent node");
        printf(tr("%.*s (%.*s): no success %s%.*s\n"), STR_ARG(node), STR_ARG(facility),
               since.len > 0 ? tr("since ") : tr("ever"), STR_ARG(since));
    }
}

static int show_silent_nodes(const Status *status)
{
    DbResult *result = NULL;
    json_t *list = status->json ? json_array() : NULL;
    int rc = db_exec(status->context->conn, status->context->req, &silent_nodes, NULL, &result);
    for (int row = 0; !rc && row < db_rows(result); row++) {
        Str since = db_is_null(result, row, 2)
                        ? STR_EMPTY
                        : clock_iso8601(status->context->arena, db_timestamp(result, row, 2));
        show_silent_node(list, db_text(result, row, 0), db_text(result, row, 1), since);
    }
    if (list) {
        json_object_set_new(status->json, "silent_nodes", list);
    }
    return rc;
}

/** Each with its queue. */
static int show_subscribers(const Status *status)
{
    const CommandContext *context = status->context;
    SubscriberState *states = NULL;
    size_t count = 0;
    int rc = subscriber_table_read(context->conn, context->req, &states, &count);
    if (rc == 0 && status->json) {
        json_object_set_new(status->json, "subscribers", subscriber_json(context, states, count));
    } else if (rc == 0 && count > 0) {
        print_label("subscribers");
        printf("%zu\n", count);
        subscriber_print(context, states, count);
    }
    return rc;
}

/** How many there are, and what waits. */
static int show_subscriptions(const Status *status)
{
    const CommandContext *context = status->context;
    SubscriptionTotals totals = {0};
    int rc = subscription_table_totals(context->conn, context->req, &totals);
    if (rc == 0 && status->json) {
        json_object_set_new(status->json, "subscriptions", subscription_totals_json(&totals));
    } else if (rc == 0 && totals.subscriptions + totals.events > 0) {
        print_label("subscriptions");
        printf(tr("%lld, %lld notifications waiting (oldest %lld s), %lld refused\n"),
               (long long)totals.subscriptions, (long long)totals.waiting,
               (long long)totals.oldest_s, (long long)totals.refused);
        if (totals.suspended > 0) {
            printf(tr("  %lld suspended, whose recipients took nothing for too long: musubi "
                      "subscription list\n"),
                   (long long)totals.suspended);
        }
    }
    return rc;
}

static void show_audit_sender(const AuditSenderCount *sender, json_t *list)
{
    json_t *defects = list ? json_object() : NULL;
    for (size_t i = 0; i < sender->defect_count; i++) {
        const AuditDefectCount *defect = &sender->defects[i];
        if (list) {
            json_object_set_new(defects, defect->name, json_integer(defect->record_count));
        } else {
            print_label("audit defect");
            printf("%.*s: %s %lld\n", STR_ARG(sender->sender), defect->name,
                   (long long)defect->record_count);
        }
    }
    if (list) {
        json_array_append_new(
            list, json_pack("{s:o, s:I, s:o}", "sender", json_text(sender->sender), "records",
                            (json_int_t)sender->record_count, "defects", defects));
    }
}

/** Who sends audit messages, and what is wrong with them. */
static int show_audit_senders(const Status *status)
{
    AuditSenderCount *senders = NULL;
    size_t count = 0;
    json_t *list = status->json ? json_array() : NULL;
    int rc =
        audit_sender_counts_read(status->context->conn, status->context->req, &senders, &count);
    for (size_t i = 0; i < count; i++) {
        show_audit_sender(&senders[i], list);
    }
    if (list) {
        json_object_set_new(status->json, "audit_senders", list);
    }
    return rc;
}

/** @param list  NULL: text */
static void show_ending_certificate(json_t *list, const NodeCertificateRow *row)
{
    long long days = (long long)certificate_days_left(row->not_after_us);
    if (list) {
        json_array_append_new(list, json_pack("{s:o, s:o, s:I}", "node", json_text(row->node),
                                              "fingerprint", json_text(row->fingerprint),
                                              "days_left", (json_int_t)days));
    } else {
        print_label("certificate ends");
        printf(tr("%.*s: %lld days left (SHA-256 %.8s); musubi node certificate add\n"),
               STR_ARG(row->node), days, row->fingerprint.data);
    }
}

/** Of nodes, and in force; a node whose next one is there already is well. */
static int show_ending_certificates(const Status *status)
{
    NodeCertificateRow *rows = NULL;
    size_t count = 0;
    int rc = node_certificates_select(status->context, NULL, &rows, &count);
    json_t *list = status->json ? json_array() : NULL;
    Str well = STR_EMPTY; /* the rows of a node begin with the one that ends last */
    for (size_t i = 0; !rc && i < count; i++) {
        if (rows[i].revoked_us != INT64_MAX || str_equal(rows[i].node, well)) {
            continue;
        }
        if (certificate_days_left(rows[i].not_after_us) >= CERTIFICATE_WARNING_DAYS) {
            well = rows[i].node;
        } else {
            show_ending_certificate(list, &rows[i]);
        }
    }
    if (list) {
        json_object_set_new(status->json, "ending_certificates", list);
    }
    return rc;
}

int command_status(const Options *options)
{
    CommandContext context;
    int exit_status = command_open(options, &context);
    if (exit_status == EXIT_GOOD) {
        Status status = {&context, options->json ? json_object() : NULL};
        show_process(&status);
        show_clock(&status);
        bool is_good = show_counts(&status) == 0 && show_identity_counts(&status) == 0 &&
                       show_imaging_counts(&status) == 0 && show_subscribers(&status) == 0 &&
                       show_subscriptions(&status) == 0 && show_audit_senders(&status) == 0 &&
                       show_silent_nodes(&status) == 0 && show_ending_certificates(&status) == 0;
        if (status.json) {
            json_print(status.json);
        }
        exit_status = is_good ? EXIT_GOOD : EXIT_FAILED;
    }
    return command_close(&context, exit_status);
}
