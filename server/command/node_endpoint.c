#include "server/command/node_endpoint.h"

#include <stdio.h>
#include <string.h>

#include "lib/access/endpoints.h"
#include "lib/tls/tls.h"
#include "server/command/audited_change.h"
#include "server/command/json.h"
#include "server/language.h"

static const DbStatement upsert_endpoint = {
    "node_endpoint_upsert",
    "INSERT INTO node_endpoint (node, url, fingerprint) SELECT id, $2::text, $3::text FROM node "
    "WHERE name = $1::text AND revoked_at IS NULL "
    "ON CONFLICT (node, url) DO UPDATE SET fingerprint = excluded.fingerprint",
};

static const DbStatement delete_endpoint = {
    "node_endpoint_delete",
    "DELETE FROM node_endpoint e USING node n WHERE n.id = e.node AND n.name = $1::text AND e.url "
    "= $2::text",
};

static const DbStatement select_endpoints = {
    "node_endpoint_list",
    "SELECT n.name, e.url, e.fingerprint FROM node_endpoint e JOIN node n ON n.id = e.node "
    "WHERE n.revoked_at IS NULL AND ($1::text IS NULL OR n.name = $1::text) ORDER BY n.name, e.url",
};

static int fault(const CommandContext *context, const char *text, Str value)
{
    return error_add(&context->req->errors, ERR_CONFIGURATION, "node endpoint", "%s: %.*s", text,
                     STR_ARG(value));
}

static int record(const CommandContext *context, const Options *options, const char *action)
{
    const AuditedChange change = {.kind = CHANGED_NODE,
                                  .name = str_from(options->arguments[2]),
                                  .action = action,
                                  .detail = str_from(options->arguments[3])};
    return audited_change_record(context, &change);
}

/** Runs a statement whose first parameters are node and URL. @return how many rows, or negative */
static int change(const CommandContext *context, const Options *options,
                  const DbStatement *statement, const Str *fingerprint)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, context->arena);
    db_param_text(&params, str_from(options->arguments[2]));
    db_param_text(&params, str_from(options->arguments[3]));
    if (fingerprint) {
        db_param_text(&params, *fingerprint);
    }
    int rc = db_exec(context->conn, context->req, statement, &params, &result);
    return rc < 0 ? rc : (int)db_affected(result);
}

static int endpoint_add(const Options *options, CommandContext *context)
{
    const char *problem;
    Str fingerprint = STR_EMPTY;
    int rc = command_begin(context);
    if (rc == 0 && !endpoint_url_is_good(str_from(options->arguments[3]), &problem)) {
        rc = fault(context, problem, str_from(options->arguments[3]));
    }
    if (rc == 0 && options->fingerprint &&
        !tls_fingerprint_parse(context->arena, str_from(options->fingerprint), &fingerprint)) {
        rc = fault(context, tr("a fingerprint is SHA-256, 64 hexadecimal digits"),
                   str_from(options->fingerprint));
    }
    rc = rc < 0 ? rc : change(context, options, &upsert_endpoint, &fingerprint);
    if (rc == 0) {
        rc = fault(context, tr("there is no registered node"), str_from(options->arguments[2]));
    }
    rc = rc < 0 ? rc : record(context, options, "add endpoint");
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(options, tr("messages for node %s may now be sent to %s"),
                    options->arguments[2], options->arguments[3]);
    }
    return command_status_of(rc);
}

static int endpoint_remove(const Options *options, CommandContext *context)
{
    int rc = command_begin(context);
    rc = rc < 0 ? rc : change(context, options, &delete_endpoint, NULL);
    if (rc == 0) {
        command_say(options, tr("node %s has no endpoint %s"), options->arguments[2],
                    options->arguments[3]);
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : record(context, options, "remove endpoint");
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(options, tr("nothing more is sent to %s for node %s"), options->arguments[3],
                    options->arguments[2]);
    }
    return command_status_of(rc);
}

static json_t *endpoint_json(const CommandContext *context, const DbResult *rows, int row)
{
    (void)context;
    return json_pack("{s:o, s:o, s:o}", "node", json_text(db_text(rows, row, 0)), "url",
                     json_text(db_text(rows, row, 1)), "fingerprint",
                     json_text(db_text(rows, row, 2)));
}

static void print_endpoint(const CommandContext *context, const DbResult *rows, int row)
{
    command_print_cell(str_cstr(context->arena, db_text(rows, row, 0)), 20);
    printf("%.*s  %.*s\n", STR_ARG(db_text(rows, row, 1)), STR_ARG(db_text(rows, row, 2)));
}

static int endpoint_list(const Options *options, CommandContext *context)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, context->arena);
    if (options->argument_count > 2) {
        db_param_text(&params, str_from(options->arguments[2]));
    } else {
        db_param_null(&params);
    }
    if (db_exec(context->conn, context->req, &select_endpoints, &params, &rows) < 0) {
        return EXIT_FAILED;
    }
    command_list_rows(options, context, rows, endpoint_json, print_endpoint);
    return EXIT_GOOD;
}

int node_endpoint_command(const Options *options, CommandContext *context)
{
    static const struct {
        const char *name;
        int least_arguments, most_arguments;
        int (*run)(const Options *options, CommandContext *context);
    } actions[] = {{"add", 4, 4, endpoint_add},
                   {"list", 2, 3, endpoint_list},
                   {"remove", 4, 4, endpoint_remove}};
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (strcmp(options->arguments[1], actions[i].name) == 0 &&
            options->argument_count >= actions[i].least_arguments &&
            options->argument_count <= actions[i].most_arguments) {
            return actions[i].run(options, context);
        }
    }
    return options_usage(options->command);
}
