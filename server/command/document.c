#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/ebrim/vocabulary.h"
#include "registry/history.h"
#include "server/command/audit_report.h"
#include "server/command/document_history.h"
#include "server/command/document_show.h"
#include "server/command/json.h"
#include "server/command/known_patient.h"
#include "server/command/presumed_user.h"
#include "server/command/time_text.h"
#include "server/language.h"

/* musubi document: the life of one document, and what the registry would have answered at an
 * instant. */

#define CONNECTIONS 2 /* of the query, and of the rules */

/** A question about the past, and what it needs while it is answered. */
typedef struct PastCommand {
    IdentityCommand *command;
    PastQuestion question;
    DbPool *past;
    NodeDirectory *nodes; /* of then; NULL without --node */
    PastDocument *documents;
    size_t count;
} PastCommand;

static int fault(const PastCommand *past, const char *text, const char *value)
{
    return error_add(&past->command->context->req->errors, ERR_CONFIGURATION, "document history",
                     "%s: %s", text, value);
}

/* ---- the question ---- */

/** An identifier of the affinity domain is taken as it was then; any other is that of today. */
static int read_patient(PastCommand *past)
{
    const IdentityCommand *command = past->command;
    Identifier asked;
    KnownPatient patient;
    Str text = str_from(command->options->patient);
    int rc = identity_command_parse_at(command, text, "document history", &asked);
    if (rc == 0 && asked.authority == command->authorities->affinity_domain) {
        past->question.patient = hl7_cx_format(command->arena, asked.value, asked.authority->oid);
        return 0;
    }
    rc = rc < 0 ? rc : known_patient_find(command, text, "document history", &patient);
    if (rc == 0) {
        past->question.patient = patient.cx;
    }
    return rc;
}

static int read_status(PastCommand *past)
{
    static const struct {
        const char *name;
        Str urns[2];
        size_t count;
    } choices[] = {
        {"Approved", {STR_INIT(URN_STATUS_APPROVED)}, 1},
        {"Deprecated", {STR_INIT(URN_STATUS_DEPRECATED)}, 1},
        {"all", {STR_INIT(URN_STATUS_APPROVED), STR_INIT(URN_STATUS_DEPRECATED)}, 2},
    };
    const char *status = past->command->options->status;
    for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
        if (strcmp(status ? status : "Approved", choices[i].name) == 0) {
            past->question.statuses = choices[i].urns;
            past->question.status_count = choices[i].count;
            return 0;
        }
    }
    return fault(past, tr("--status is Approved, Deprecated or all"), status);
}

static size_t read_codes(Arena *arena, const char *text, const Str **ret_codes)
{
    Str rest = str_from(text);
    Str item;
    Str *codes = ARENA_ARRAY(arena, Str, rest.len + 1);
    size_t count = 0;
    while (text && str_split_next(&rest, ',', &item)) {
        if (!str_is_empty(str_trim(item))) {
            codes[count++] = str_trim(item);
        }
    }
    *ret_codes = codes;
    return count;
}

static int read_question(PastCommand *past)
{
    const IdentityCommand *command = past->command;
    const Options *options = command->options;
    const char *zone = command->context->config->affinity_domain.source_timezone;
    PastQuestion *question = &past->question;
    if (!time_text_read(zone, str_from(options->at), false, &question->at_us) ||
        question->at_us > clock_utc_us()) {
        return fault(past,
                     tr("--at is a time that has been, as \"YYYY-MM-DD hh:mm:ss\" (local time) or "
                        "2026-04-01T09:30:00+09:00"),
                     options->at);
    }
    question->class_code_count =
        read_codes(command->arena, options->classes, &question->class_codes);
    question->type_code_count = read_codes(command->arena, options->types, &question->type_codes);
    int rc = read_status(past);
    return rc < 0 ? rc : read_patient(past);
}

/** Who asks: a node as it was registered then, with its user; else somebody who may see all. */
static int read_principal(PastCommand *past)
{
    const IdentityCommand *command = past->command;
    Request *req = command->context->req;
    if (!command->options->node) {
        Principal *everybody = ARENA_NEW(command->arena, Principal);
        *everybody = (Principal){.may_do_everything = true, .rules = past->past};
        req->principal = everybody;
        return 0;
    }
    past->nodes = node_directory_new(past->past, ACCESS_ENFORCE);
    int rc = node_directory_refresh(past->nodes, req);
    if (rc < 0) {
        return rc;
    }
    req->principal =
        node_directory_find_name(past->nodes, command->arena, str_from(command->options->node));
    return req->principal
               ? presumed_user_read(command, "document history")
               : fault(past, tr("no registered node had this name then"), command->options->node);
}

static int ask(PastCommand *past)
{
    const IdentityCommand *command = past->command;
    Request *req = command->context->req;
    if (!command->services.registry) {
        return fault(past, tr("this server has no role"), "registry");
    }
    int rc = read_question(past);
    if (rc < 0) {
        return rc;
    }
    past->past = db_pool_as_of(command->context->pool, CONNECTIONS, past->question.at_us);
    const Principal *operator= req->principal;
    rc = read_principal(past);
    rc = rc < 0 ? rc
                : registry_past_query(command->services.registry, past->past, req, &past->question,
                                      &past->documents, &past->count);
    req->principal = operator;
    req->user = NULL;
    return rc < 0 ? rc : identity_command_record_shown(command, &past->question.patient, 1);
}

/* ---- the answer ---- */

static json_t *document_json(Arena *arena, const PastDocument *document)
{
    bool is_removed = document->removed_us != INT64_MAX;
    return json_pack(
        "{s:o, s:o, s:i, s:s, s:o, s:o, s:o, s:o, s:o}", "unique_id",
        json_text(document->unique_id), "entry_uuid",
        json_text(uuid_urn(arena, document->entry_uuid)), "version", (int)document->version,
        "status", document->status == 0 ? "Approved" : "Deprecated", "class",
        identity_value_json(document->class_code), "type", identity_value_json(document->type_code),
        "facility", identity_value_json(document->facility), "registered_at",
        identity_at_json(arena, document->came_us), "removed_at",
        identity_at_json(arena, is_removed ? document->removed_us : INT64_MIN));
}

static void print_json(const PastCommand *past)
{
    const IdentityCommand *command = past->command;
    json_t *list = json_array();
    for (size_t i = 0; i < past->count; i++) {
        json_array_append_new(list, document_json(command->arena, &past->documents[i]));
    }
    json_print(json_pack("{s:o, s:o, s:o, s:o}", "at",
                         identity_at_json(command->arena, past->question.at_us), "patient",
                         json_text(past->question.patient), "node",
                         identity_value_json(str_from(command->options->node)), "documents", list));
}

static void print_text(const PastCommand *past)
{
    Arena *arena = past->command->arena;
    const char *zone = past->command->context->config->affinity_domain.source_timezone;
    for (size_t i = 0; i < past->count; i++) {
        const PastDocument *document = &past->documents[i];
        printf(tr("%.*s  version %d, %s, class %.*s, type %.*s, facility %.*s"),
               STR_ARG(document->unique_id), (int)document->version,
               tr(document->status == 0 ? "Approved" : "Deprecated"), STR_ARG(document->class_code),
               STR_ARG(document->type_code), STR_ARG(document->facility));
        if (document->removed_us != INT64_MAX) {
            Str removed = audit_local_time(arena, zone, document->removed_us);
            printf(tr(", removed since, %.*s"), STR_ARG(removed));
        }
        printf("\n");
    }
    Str at = audit_local_time(arena, zone, past->question.at_us);
    printf(tr("%zu documents as of %.*s (%s)\n"), past->count, STR_ARG(at), zone);
}

static int run_past(IdentityCommand *command)
{
    PastCommand past = {.command = command};
    int rc = ask(&past);
    if (rc == 0 && command->options->json) {
        print_json(&past);
    } else if (rc == 0) {
        print_text(&past);
    }
    node_directory_free(past.nodes);
    db_pool_free(past.past);
    if (rc < 0) {
        return identity_command_status(rc);
    }
    return past.count > 0 ? EXIT_GOOD : EXIT_FOUND;
}

static int run(IdentityCommand *command)
{
    const Options *options = command->options;
    if (strcmp(options->arguments[0], "show") == 0) {
        return document_show_run(command);
    }
    return options->at ? run_past(command)
                       : document_history_run(command, str_from(options->arguments[1]));
}

int command_document(const Options *options)
{
    CommandContext context;
    const char *subcommand = options->argument_count > 0 ? options->arguments[0] : "";
    bool is_history = strcmp(subcommand, "history") == 0;
    bool is_show = strcmp(subcommand, "show") == 0 && !options->at && options->argument_count == 2;
    bool is_of_past = options->at && options->patient && options->argument_count == 1;
    bool is_of_one = !options->at && options->argument_count == 2;
    if (!is_show && (!is_history || !(is_of_past || is_of_one))) {
        return options_usage(options->command);
    }
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        status = identity_command_run(options, &context, run);
    }
    return command_close(&context, status);
}
