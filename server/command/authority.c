#include <stdio.h>

#include "lib/base/clock.h"
#include "server/command/audited_change.h"
#include "server/command/authority_input.h"
#include "server/command/authority_test.h"
#include "server/command/csv.h"
#include "server/command/facility.h"
#include "server/command/json.h"
#include "server/language.h"

/* musubi authority: the identifier domains of the network, and who feeds each. */

/* Rows */

static const DbStatement select_missing_nodes = {
    "authority_missing_nodes",
    "SELECT wanted FROM unnest($1::text[]) AS wanted WHERE wanted <> '' AND NOT EXISTS"
    " (SELECT FROM node WHERE name = wanted AND revoked_at IS NULL)",
};

static const char *zone_of(const CommandContext *context)
{
    return context->config->affinity_domain.source_timezone;
}

/** Together with what is stored. */
static int check_together(const CommandContext *context, const AuthorityRow *rows, size_t count)
{
    AuthorityRow *stored = NULL;
    size_t stored_count = 0;
    int rc = authority_table_read(context->conn, context->req, STR_EMPTY, &stored, &stored_count);
    if (rc < 0) {
        return rc;
    }
    AuthorityRow *all = ARENA_ARRAY(context->arena, AuthorityRow, stored_count + count);
    for (size_t i = 0; i < stored_count; i++) {
        all[i] = stored[i];
    }
    for (size_t i = 0; i < count; i++) {
        all[stored_count + i] = rows[i];
    }
    return authority_rows_check(context->arena, &context->req->errors, all, stored_count + count);
}

/** What the configuration says of the affinity domain holds. */
static int check_affinity_domain(const CommandContext *context, const AuthorityRow *row)
{
    Str oid = str_from(context->config->affinity_domain.patient_id_authority);
    Str namespace_id = str_from(context->config->affinity_domain.patient_id_namespace);

    if (!str_equal(row->oid, oid)) {
        return 0;
    }
    if (row->derive_from.len > 0) {
        return error_add(&context->req->errors, ERR_CONFIGURATION, row->location,
                         "the identifiers of the affinity domain derive from nothing");
    }
    if (namespace_id.len > 0 && !str_equal(row->namespace_id, namespace_id)) {
        return error_add(&context->req->errors, ERR_CONFIGURATION, row->location,
                         "the namespace of the affinity domain is %.*s, as "
                         "affinity_domain.patient_id_namespace says",
                         STR_ARG(namespace_id));
    }
    return 0;
}

static int check_nodes(const CommandContext *context, const AuthorityRow *rows, size_t count)
{
    Str *nodes = ARENA_ARRAY(context->arena, Str, count);
    DbParams params;
    DbResult *missing = NULL;

    for (size_t i = 0; i < count; i++) {
        nodes[i] = rows[i].source_node.len > 0 ? rows[i].source_node : STR_EMPTY;
    }
    db_params_init(&params, context->arena);
    db_param_text_array(&params, nodes, count);
    int rc = db_exec(context->conn, context->req, &select_missing_nodes, &params, &missing);
    for (int i = 0; rc == 0 && i < db_rows(missing); i++) {
        (void)error_add(&context->req->errors, ERR_CONFIGURATION, rows[0].location,
                        "no registered node is named %.*s; musubi node list shows them",
                        STR_ARG(db_text(missing, i, 0)));
    }
    return rc == 0 && db_rows(missing) > 0 ? -ERR_CONFIGURATION : rc;
}

static int store_facilities(const CommandContext *context, const AuthorityRow *rows, size_t count)
{
    Str *names = ARENA_ARRAY(context->arena, Str, count);
    size_t name_count = 0;

    for (size_t i = 0; i < count; i++) {
        if (rows[i].facility.len > 0) {
            names[name_count++] = rows[i].facility;
        }
    }
    return facility_store(context, names, name_count, NULL);
}

static int record_stored(const CommandContext *context, const AuthorityRow *row)
{
    const AuditedChange change = {
        .kind = CHANGED_AUTHORITY,
        .name = row->oid,
        .action = "set",
        .detail = str_printf(context->arena, "facility %.*s, fed by %.*s|%.*s of node %.*s",
                             STR_ARG(row->facility), STR_ARG(row->source_application),
                             STR_ARG(row->source_facility), STR_ARG(row->source_node)),
    };
    return audited_change_record(context, &change);
}

static int store_rows(const CommandContext *context, const AuthorityRow *rows, size_t count)
{
    int rc = store_facilities(context, rows, count);

    rc = rc < 0 ? rc : authority_table_store(context->conn, context->req, rows, count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = record_stored(context, &rows[i]);
    }
    return rc;
}

/** One transaction: all rows, or none once anything was found wrong. All that is wrong is told. */
static int store_checked(const Options *options, const CommandContext *context,
                         const AuthorityRow *rows, size_t count)
{
    int rc = command_begin(context);

    if (rc < 0 || (rc = authority_table_lock(context->conn, context->req)) < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        (void)check_affinity_domain(context, &rows[i]);
    }
    if (((rc = check_together(context, rows, count)) < 0 && rc != -ERR_CONFIGURATION) ||
        ((rc = check_nodes(context, rows, count)) < 0 && rc != -ERR_CONFIGURATION)) {
        return rc;
    }
    if (context->req->errors.error_count > 0) {
        return -ERR_CONFIGURATION;
    }
    rc = store_rows(context, rows, count);
    return rc < 0 ? rc : command_finish(options, context);
}

/* add, revoke */

static int authority_add(const Options *options, CommandContext *context)
{
    Str source = str_from(options->source);
    const size_t bar = str_find_char(source, '|');
    const AuthorityInput input = {
        .location = "authority add",
        .oid = str_trim(str_from(options->arguments[1])),
        .namespace_id = str_trim(str_from(options->namespace_id)),
        .facility = str_trim(str_from(options->facility)),
        .kind = str_from(options->kind),
        .source_application = str_trim(str_slice(source, 0, bar)),
        .source_facility = bar == SIZE_MAX ? STR_EMPTY : str_trim(str_from_offset(source, bar + 1)),
        .source_node = str_from(options->node),
        .valid_from = str_from(options->valid_from),
        .valid_to = str_from(options->valid_to),
        .derive = str_from(options->derive),
    };
    AuthorityRow row;

    int rc =
        authority_row_parse(context->arena, &context->req->errors, zone_of(context), &input, &row);
    if (rc == 0 && (rc = store_checked(options, context, &row, 1)) == 0) {
        command_say(options,
                    options->dry_run
                        ? tr("authority %.*s checked, nothing changed")
                        : tr("authority %.*s stored; a running server knows it within seconds"),
                    STR_ARG(row.oid));
    }
    return command_status_of(rc);
}

static int authority_revoke(const Options *options, CommandContext *context)
{
    const AuditedChange change = {
        .kind = CHANGED_AUTHORITY, .name = str_from(options->arguments[1]), .action = "revoke"};
    bool is_found = false;

    if (command_begin(context) < 0 ||
        authority_table_revoke(context->conn, context->req, str_from(options->arguments[1]),
                               &is_found) < 0) {
        return EXIT_FAILED;
    }
    if (!is_found) {
        command_say(options, tr("there is no valid authority %s"), options->arguments[1]);
        return EXIT_FOUND;
    }
    if (audited_change_record(context, &change) < 0 ||
        db_commit(context->conn, context->req, NULL) < 0) {
        return EXIT_FAILED;
    }
    command_say(options,
                tr("authority %s is no longer fed; what is known of its numbers stays: a running "
                   "server refuses feeds within seconds"),
                options->arguments[1]);
    return EXIT_GOOD;
}

/* import */

enum {
    CSV_NAMESPACE,
    CSV_OID,
    CSV_FACILITY,
    CSV_KIND,
    CSV_SOURCE_APPLICATION,
    CSV_SOURCE_FACILITY,
    CSV_VALID_FROM,
    CSV_VALID_TO,
    CSV_SOURCE_NODE,
    CSV_DERIVE,
    CSV_COUNT
};

static const char *const csv_columns[CSV_COUNT] = {
    [CSV_NAMESPACE] = "namespace",
    [CSV_OID] = "oid",
    [CSV_FACILITY] = "facility",
    [CSV_KIND] = "kind",
    [CSV_SOURCE_APPLICATION] = "source_application",
    [CSV_SOURCE_FACILITY] = "source_facility",
    [CSV_VALID_FROM] = "valid_from",
    [CSV_VALID_TO] = "valid_to",
    [CSV_SOURCE_NODE] = "source_node",
    [CSV_DERIVE] = "derive",
};

static AuthorityInput input_of(const CommandContext *context, const CsvFile *file,
                               const CsvRow *row)
{
    return (AuthorityInput){
        .location = csv_location(context->arena, file, row),
        .namespace_id = row->fields[CSV_NAMESPACE],
        .oid = row->fields[CSV_OID],
        .facility = row->fields[CSV_FACILITY],
        .kind = row->fields[CSV_KIND],
        .source_application = row->fields[CSV_SOURCE_APPLICATION],
        .source_facility = row->fields[CSV_SOURCE_FACILITY],
        .valid_from = row->fields[CSV_VALID_FROM],
        .valid_to = row->fields[CSV_VALID_TO],
        .source_node = row->fields[CSV_SOURCE_NODE],
        .derive = row->fields[CSV_DERIVE],
    };
}

/** All rows are checked; all are stored, or none. */
static int authority_import(const Options *options, CommandContext *context)
{
    ErrorList *errors = &context->req->errors;
    CsvFile file;
    int rc = csv_read(context->arena, errors, options->arguments[1], csv_columns, CSV_COUNT, &file);
    if (rc < 0) {
        return command_status_of(rc);
    }
    AuthorityRow *rows = ARENA_ARRAY(context->arena, AuthorityRow, file.row_count);
    size_t count = 0;
    for (size_t i = 0; i < file.row_count; i++) {
        const AuthorityInput input = input_of(context, &file, &file.rows[i]);
        count += authority_row_parse(context->arena, errors, zone_of(context), &input,
                                     &rows[count]) == 0;
    }
    /* the good rows are still checked together, so that every fault is told at once */
    rc = store_checked(options, context, rows, count);
    if (rc == 0) {
        command_say(options,
                    options->dry_run ? tr("%zu authorities checked, nothing changed")
                                     : tr("%zu authorities imported"),
                    count);
    }
    return command_status_of(rc);
}

/* list, show */

static json_t *row_json(const CommandContext *context, const AuthorityRow *row)
{
    const char *zone = zone_of(context);
    const int64_t now_us = clock_utc_us();
    json_t *json = json_object();

    json_object_set_new(json, "oid", json_text(row->oid));
    json_object_set_new(json, "namespace", json_text(row->namespace_id));
    json_object_set_new(json, "facility", json_text(row->facility));
    json_object_set_new(json, "kind", json_text(row->kind));
    json_object_set_new(json, "source_application", json_text(row->source_application));
    json_object_set_new(json, "source_facility", json_text(row->source_facility));
    json_object_set_new(json, "source_node", json_text(row->source_node));
    json_object_set_new(json, "valid_from",
                        json_text(authority_format_from(context->arena, zone, row->valid_from_us)));
    json_object_set_new(json, "valid_to",
                        json_text(authority_format_to(context->arena, zone, row->valid_to_us)));
    json_object_set_new(json, "is_valid",
                        json_boolean(row->valid_from_us <= now_us && now_us < row->valid_to_us));
    json_object_set_new(json, "derive",
                        json_text(row->derive_from.len > 0 ? str_printf(context->arena, "%.*s,%.*s",
                                                                        STR_ARG(row->derive_from),
                                                                        STR_ARG(row->derive_rule))
                                                           : STR_EMPTY));
    json_object_set_new(
        json, "is_affinity_domain",
        json_boolean(
            str_equal(row->oid, str_from(context->config->affinity_domain.patient_id_authority))));
    return json;
}

static Str source_text(Arena *arena, const AuthorityRow *row)
{
    if (row->source_application.len == 0) {
        return row->source_node.len > 0 ? row->source_node : STR("-");
    }
    return str_printf(arena, "%.*s|%.*s%s%.*s", STR_ARG(row->source_application),
                      STR_ARG(row->source_facility), row->source_node.len > 0 ? " @ " : "",
                      STR_ARG(row->source_node));
}

static void print_list(const CommandContext *context, const AuthorityRow *rows, size_t count)
{
    command_print_cell(tr("FACILITY"), 20);
    command_print_cell(tr("KIND"), 10);
    command_print_cell(tr("NAMESPACE"), 16);
    command_print_cell(tr("FROM"), 10);
    command_print_cell(tr("TO"), 10);
    command_print_cell(tr("SOURCE"), 24);
    (void)puts("OID");
    for (size_t i = 0; i < count; i++) {
        const AuthorityRow *row = &rows[i];
        const Str from =
            authority_format_from(context->arena, zone_of(context), row->valid_from_us);
        const Str to = authority_format_to(context->arena, zone_of(context), row->valid_to_us);
        command_print_cell(str_cstr(context->arena, row->facility), 20);
        command_print_cell(str_cstr(context->arena, row->kind), 10);
        command_print_cell(str_cstr(context->arena, row->namespace_id), 16);
        command_print_cell(from.len > 0 ? from.data : "-", 10);
        command_print_cell(to.len > 0 ? to.data : "-", 10);
        command_print_cell(str_cstr(context->arena, source_text(context->arena, row)), 24);
        printf("%.*s\n", STR_ARG(row->oid));
    }
}

static int authority_list(const Options *options, CommandContext *context)
{
    AuthorityRow *rows = NULL;
    size_t count = 0;

    if (authority_table_read(context->conn, context->req, STR_EMPTY, &rows, &count) < 0) {
        return EXIT_FAILED;
    }
    if (!options->json) {
        print_list(context, rows, count);
        return EXIT_GOOD;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, row_json(context, &rows[i]));
    }
    json_print(list);
    return EXIT_GOOD;
}

static void print_fields(json_t *json)
{
    const char *name;
    json_t *value;

    json_object_foreach(json, name, value)
    {
        printf("%-20s ", name);
        if (json_is_integer(value)) {
            printf("%lld\n", (long long)json_integer_value(value));
        } else if (json_is_boolean(value)) {
            (void)puts(json_is_true(value) ? tr("yes") : tr("no"));
        } else {
            (void)puts(json_string_value(value));
        }
    }
    json_decref(json);
}

static int authority_show(const Options *options, CommandContext *context)
{
    Str wanted = str_from(options->arguments[1]);
    AuthorityRow *rows = NULL;
    size_t count = 0;

    if (authority_table_read(context->conn, context->req, wanted, &rows, &count) < 0) {
        return EXIT_FAILED;
    }
    if (wanted.len == 0 || count == 0) {
        command_say(options, tr("no authority %s is configured; musubi authority list shows them"),
                    options->arguments[1]);
        return EXIT_FOUND;
    }
    json_t *json = row_json(context, &rows[0]);
    json_object_set_new(json, "identifiers", json_integer(rows[0].identifier_count));
    if (options->json) {
        json_print(json);
    } else {
        print_fields(json);
    }
    return EXIT_GOOD;
}

int command_authority(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 1, 1, authority_add},       {"list", 0, 0, authority_list},
        {"show", 1, 1, authority_show},     {"import", 1, 1, authority_import},
        {"revoke", 1, 1, authority_revoke}, {"test", 1, 1, authority_test},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
