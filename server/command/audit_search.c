#include "server/command/audit_search.h"

#include <errno.h>
#include <string.h>

#include "atna/logins.h"
#include "lib/base/clock.h"
#include "server/audit_patients.h"
#include "server/command/audit_report.h"
#include "server/command/identity_command.h"
#include "server/command/json.h"
#include "server/command/time_text.h"
#include "server/language.h"

/* musubi audit search, report and export. What is found goes to whoever asks, after a record of
 * that (110101 Audit Log Used) is queued; never to a log. */

/** So many records are read before the logins of their users are looked up. */
#define WAITING_MAX 1000
#define FLUSH_BYTES ((size_t)64 * 1024)

/* A search may go through all there is. */
static const DbStatement be_patient = {"audit_search_be_patient",
                                       "SET LOCAL statement_timeout = 0"};

static const DbStatement select_senders = {
    "audit_search_senders",
    "SELECT coalesce(array_agg(sender), '{}') FROM audit_sender"
    " WHERE sender = $1::text OR node = $1::text OR address = $1::text",
};

typedef struct AuditCommand {
    IdentityCommand *identity;
    CommandContext *context;
    const Options *options;
    const char *zone;
    RecordSearch search;
    const char *patient; /* as the operator wrote it; NULL: none */
    const char *user;
    const char *node;
    Str text; /* that messages hold */
    AuditFormat format;
    bool is_export;
    bool is_raw;   /* the messages as they are: no criteria but a text, or none */
    bool is_table; /* for readers */
    Arena *row_arena;
    AuditLogins *logins;
    Arena *waiting_arena;
    AuditRow *waiting; /* WAITING_MAX, until the logins are known; texts are in waiting_arena */
    size_t waiting_count;
    StrBuf out;
    uint64_t limit;
    uint64_t count;
} AuditCommand;

/* ---- times ---- */

static int read_period(AuditCommand *command)
{
    const Options *options = command->options;
    int64_t from_us = INT64_MIN;
    int64_t to_us = INT64_MAX;
    if ((options->from &&
         !time_text_read(command->zone, str_from(options->from), false, &from_us)) ||
        (options->to && !time_text_read(command->zone, str_from(options->to), true, &to_us))) {
        return command_usage("--from and --to are YYYY-MM-DD, \"YYYY-MM-DD hh:mm\" (%s), or with a "
                             "zone: 2026-04-01T09:30:00+09:00",
                             command->zone);
    }
    command->search = record_search_of(from_us, to_us);
    command->search.text = command->text;
    return EXIT_GOOD;
}

/* ---- criteria ---- */

static void add_keys(AuditCommand *command, AuditKeyKind kind, const int64_t *keys, size_t count)
{
    (void)!record_search_add(&command->search, kind, (KeySet){keys, count}); /* seven at most */
}

static void add_key(AuditCommand *command, AuditKeyKind kind, const char *text)
{
    int64_t *key = ARENA_NEW(command->context->arena, int64_t);
    if (text) {
        *key = audit_key(kind, str_from(text));
        add_keys(command, kind, key, 1);
    }
}

/** A node is known by its name, also where its participant has another UserID, or its address. */
static void add_node(AuditCommand *command)
{
    int64_t *keys = ARENA_ARRAY(command->context->arena, int64_t, 2);
    if (command->node) {
        keys[0] = audit_key(AUDIT_KEY_NODE, str_from(command->node));
        keys[1] = audit_key(AUDIT_KEY_USER, str_from(command->node));
        add_keys(command, AUDIT_KEY_NODE, keys, 2);
    }
}

static int add_patient(AuditCommand *command)
{
    IdentityCommand *identity = command->identity;
    Request *req = command->context->req;
    Pix *pix = identity->services.pix;
    KeySet keys = {0};
    Identifier asked;
    int rc = 0;
    if (!command->patient) {
        return 0;
    }
    if (strchr(command->patient, '^')) {
        rc = audit_patients_keys_of_cx(pix, req, identity->authorities, str_from(command->patient),
                                       &keys);
    } else if ((rc = identity_command_parse(identity, command->patient, &asked)) == 0) {
        rc = audit_patients_keys(pix, req, identity->authorities, &asked, &keys);
    }
    if (rc == 0) {
        add_keys(command, AUDIT_KEY_PATIENT, keys.keys, keys.count);
    }
    return rc;
}

static TextSet read_list(Arena *arena, const char *text)
{
    Str rest = str_from(text);
    Str item;
    Str *items = ARENA_ARRAY(arena, Str, rest.len + 1);
    size_t count = 0;
    while (text && str_split_next(&rest, ',', &item)) {
        if (!str_is_empty(str_trim(item))) {
            items[count++] = str_trim(item);
        }
    }
    return (TextSet){items, count};
}

static void add_events(AuditCommand *command)
{
    Arena *arena = command->context->arena;
    const TextSet codes = read_list(arena, command->options->event);
    int64_t *keys = ARENA_ARRAY(arena, int64_t, codes.count);
    for (size_t i = 0; i < codes.count; i++) {
        keys[i] = audit_key(AUDIT_KEY_EVENT, codes.items[i]);
    }
    if (codes.count > 0) {
        add_keys(command, AUDIT_KEY_EVENT, keys, codes.count);
    }
}

static int read_outcome(AuditCommand *command)
{
    static const int32_t failures[] = {4, 8, 12};
    static const int32_t success[] = {0};
    const char *outcome = command->options->outcome;
    if (!outcome) {
        return EXIT_GOOD;
    }
    if (strcmp(outcome, "success") == 0) {
        command->search.outcomes = success;
        command->search.outcome_count = ARRAY_LEN(success);
        return EXIT_GOOD;
    }
    if (strcmp(outcome, "failure") == 0) {
        command->search.outcomes = failures;
        command->search.outcome_count = ARRAY_LEN(failures);
        return EXIT_GOOD;
    }
    return command_usage("--outcome is success or failure");
}

static int read_actions(AuditCommand *command)
{
    const TextSet actions = read_list(command->context->arena, command->options->action);
    for (size_t i = 0; i < actions.count; i++) {
        if (actions.items[i].len != 1 || !strchr("CRUDE", actions.items[i].data[0])) {
            return command_usage("--action is of C (create), R (read), U (update), D (delete) and "
                                 "E (execute), with commas");
        }
    }
    command->search.actions = actions;
    return EXIT_GOOD;
}

/** @return EXIT_FOUND: nobody of this name has sent anything */
static int read_sender(AuditCommand *command)
{
    CommandContext *context = command->context;
    DbParams params;
    DbResult *rows = NULL;
    Str *senders = NULL;
    if (!command->options->sender) {
        return EXIT_GOOD;
    }
    db_params_init(&params, context->arena);
    db_param_text(&params, str_from(command->options->sender));
    if (db_exec(context->conn, context->req, &select_senders, &params, &rows) < 0) {
        return EXIT_FAILED;
    }
    size_t count = db_text_array(rows, 0, 0, context->arena, &senders);
    command->search.senders = (TextSet){senders, count};
    return count > 0 ? EXIT_GOOD : EXIT_FOUND;
}

static int read_limit(AuditCommand *command)
{
    command->limit = UINT64_MAX;
    if (command->options->limit &&
        (!str_to_u64(str_from(command->options->limit), &command->limit) || command->limit == 0)) {
        return command_usage("--limit is a number from 1");
    }
    return EXIT_GOOD;
}

static int read_criteria(AuditCommand *command)
{
    int status = read_period(command);
    status = status ? status : read_outcome(command);
    status = status ? status : read_actions(command);
    status = status ? status : read_limit(command);
    if (status) {
        return status;
    }
    add_key(command, AUDIT_KEY_USER, command->user);
    add_key(command, AUDIT_KEY_OBJECT, command->options->object);
    add_key(command, AUDIT_KEY_SOURCE, command->options->source);
    add_node(command);
    add_events(command);
    int rc = add_patient(command);
    return rc < 0 ? identity_command_status(rc) : read_sender(command);
}

/* ---- the record of the search ---- */

static Str describe(const AuditCommand *command)
{
    const Options *options = command->options;
    const struct {
        const char *name;
        const char *value;
    } given[] = {
        {"patient", options->patient}, {"user", options->user},     {"node", options->node},
        {"object", options->object},   {"event", options->event},   {"action", options->action},
        {"outcome", options->outcome}, {"sender", options->sender}, {"source", options->source},
        {"from", options->from},       {"to", options->to},         {"limit", options->limit},
    };
    _cleanup_(strbuf_done) StrBuf buf = {0};
    strbuf_printf(&buf, "musubi %s", options->command);
    for (int i = 0; i < options->argument_count; i++) {
        strbuf_printf(&buf, " %s", options->arguments[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        if (given[i].value) {
            strbuf_printf(&buf, " --%s=%s", given[i].name, given[i].value);
        }
    }
    return str_dup(command->context->arena, strbuf_str(&buf));
}

/** ITI TF-2 Table 3.20.4.1.1.1-1: Audit Log Used, before anything is shown. */
static int record_use(const AuditCommand *command)
{
    const AuditObject objects[] = {
        {.kind = AUDIT_OBJECT_AUDIT_LOG, .id = STR(AUDIT_LOG_URI)},
        {.kind = AUDIT_OBJECT_QUERY, .id = STR("musubi audit"), .query = describe(command)},
        {.kind = AUDIT_OBJECT_PATIENT, .id = str_from(command->patient)},
    };
    const AuditEvent event = {
        .type = AUDIT_AUDIT_LOG_USED, .objects = objects, .object_count = command->patient ? 3 : 2};
    return audit_record_event(command->identity->services.audit, command->context->req, &event);
}

/* ---- output ---- */

static int flush(AuditCommand *command, Request *req)
{
    bool is_written =
        fwrite(strbuf_str(&command->out).data, 1, command->out.len, stdout) == command->out.len;
    strbuf_clear(&command->out);
    return is_written ? 0
                      : error_add(&req->errors, ERR_IO, NULL, "the output cannot be written: %s",
                                  strerror(errno));
}

static void write_defects(const FoundRecord *record, json_t *list)
{
    for (int defect = 0; defect < AUDIT_DEFECT_COUNT; defect++) {
        if (record->defects & AUDIT_DEFECT_BIT(defect)) {
            json_array_append_new(list, json_text(str_from(audit_defect_rows[defect].name)));
        }
    }
}

/** The record as it was received, with what says where it came from: one line of JSON. */
static void write_export(AuditCommand *command, Arena *arena, const FoundRecord *record)
{
    json_t *object = json_object();
    json_t *defects = json_array();
    bool is_text = str_is_utf8(record->raw);
    _cleanup_(strbuf_done) StrBuf base64 = {0};
    strbuf_append_base64(&base64, record->raw.data, is_text ? 0 : record->raw.len);
    write_defects(record, defects);
    json_object_set_new(object, "record",
                        json_sprintf("%d-%lld", (int)record->chain, (long long)record->sequence));
    json_object_set_new(object, "received_time",
                        json_text(clock_iso8601(arena, record->received_us)));
    json_object_set_new(object, "time", json_text(clock_iso8601(arena, record->event_us)));
    json_object_set_new(object, "sender", json_text(record->sender));
    json_object_set_new(object, "kind",
                        json_text(str_from(audit_kind_name((int)record->content.kind))));
    json_object_set_new(object, "defects", defects);
    json_object_set_new(object, "hash",
                        json_text(str_hex(arena, record->hash.data, record->hash.len)));
    json_object_set_new(object, is_text ? "message" : "message_base64",
                        json_text(is_text ? record->raw : strbuf_str(&base64)));
    char *line = json_dumps(object, JSON_COMPACT);
    strbuf_append(&command->out, str_from(line));
    strbuf_append_char(&command->out, '\n');
    free(line);
    json_decref(object);
}

static void write_raw(AuditCommand *command, Arena *arena, int64_t received_us, Str raw)
{
    Str time = clock_iso8601(arena, received_us);
    if (command->format == AUDIT_FORMAT_JSON) {
        json_t *object =
            json_pack("{s:o, s:o}", "recorded_at", json_text(time), "message", json_text(raw));
        char *line = json_dumps(object, JSON_COMPACT);
        strbuf_printf(&command->out, "%s\n", line);
        free(line);
        json_decref(object);
        return;
    }
    Str shown = str_printable(arena, raw);
    strbuf_printf(&command->out, "%.*s %.*s\n", STR_ARG(time), STR_ARG(shown));
}

/** An own event that is not in the tables yet. */
static int take_waiting(void *ctx, const AuditRecord *record)
{
    AuditCommand *command = ctx;
    if (str_is_empty(command->text) || str_contains(record->message, command->text)) {
        arena_clear(command->row_arena);
        write_raw(command, command->row_arena, record->recorded_us, record->message);
        command->count++;
    }
    return command->out.len > FLUSH_BYTES ? flush(command, command->context->req) : 0;
}

/** Keeps a row until the login before it is known. */
static void wait_for_login(AuditCommand *command, const FoundRecord *record)
{
    const AuditParticipant *person = audit_person(&record->content.message);
    AuditRow *row = &command->waiting[command->waiting_count++];
    audit_row_read(command->row_arena, record, row);
    for (size_t i = 0; i < AUDIT_COLUMN_COUNT; i++) {
        row->texts[i] = str_dup(command->waiting_arena, row->texts[i]);
    }
    if (person) {
        audit_logins_ask(command->logins, person->user_id, person->user_name, row->time_us,
                         &row->login_us);
    }
}

/** Writes the rows that wait. */
static int write_waiting(AuditCommand *command, Request *req)
{
    int rc = audit_logins_load(command->logins, req);
    for (size_t i = 0; rc == 0 && i < command->waiting_count; i++) {
        arena_clear(command->row_arena);
        audit_row_write(&command->out, command->row_arena, command->format, command->zone,
                        &command->waiting[i]);
    }
    command->waiting_count = 0;
    arena_clear(command->waiting_arena);
    return rc;
}

static int take_record(void *ctx, Request *req, const FoundRecord *record)
{
    AuditCommand *command = ctx;
    int rc = 0;
    command->count++;
    arena_clear(command->row_arena);
    if (command->is_export) {
        write_export(command, command->row_arena, record);
    } else if (command->is_raw) {
        write_raw(command, command->row_arena, record->received_us, record->raw);
    } else {
        wait_for_login(command, record);
        rc = command->waiting_count == WAITING_MAX ? write_waiting(command, req) : 0;
    }
    return rc == 0 && command->out.len > FLUSH_BYTES ? flush(command, req) : rc;
}

static int find_records(AuditCommand *command)
{
    CommandContext *context = command->context;
    Request *req = context->req;
    RecordBounds bounds = {0};
    bool has_more = false;
    int rc = db_queue_snapshot(context->conn, req);
    rc = rc < 0 ? rc : db_queue(context->conn, req, &be_patient, NULL);
    rc = rc < 0 ? rc : db_sync(context->conn, req, NULL);
    rc = rc < 0 ? rc : record_search_bounds(context->conn, req, &bounds);
    if (rc < 0) {
        return rc;
    }
    if (command->limit == UINT64_MAX) {
        rc =
            record_search_each(context->conn, req, &command->search, &bounds, take_record, command);
        return rc < 0 || !command->is_raw
                   ? rc
                   : audit_waiting_read(services_path(context->arena, context->config, "audit"),
                                        context->conn, req, take_waiting, command);
    }
    return record_search_page(context->conn, req, &command->search, &bounds, NULL, command->limit,
                              take_record, command, &has_more);
}

static void print_title(AuditCommand *command)
{
    Arena *arena = command->context->arena;
    const RecordSearch *search = &command->search;
    if (!command->is_table) {
        return;
    }
    Str from = audit_local_time(arena, command->zone, search->from_us);
    Str to = search->to_us == INT64_MAX ? STR_EMPTY
                                        : audit_local_time(arena, command->zone, search->to_us);
    if (strcmp(command->options->arguments[0], "report") == 0) {
        const char *subject = command->options->arguments[2];
        if (command->patient) {
            strbuf_printf(&command->out, tr("who saw patient %s\n"), subject);
        } else if (command->node) {
            strbuf_printf(&command->out, tr("what node %s touched\n"), subject);
        } else {
            strbuf_printf(&command->out, tr("what user %s did\n"), subject);
        }
    }
    strbuf_printf(&command->out, tr("from %s to before %s (%s)\n\n"),
                  from.len ? from.data : tr("the beginning"), to.len ? to.data : tr("now"),
                  command->zone);
}

static int run_search(AuditCommand *command)
{
    int rc = record_use(command);
    if (rc < 0) {
        return EXIT_FAILED;
    }
    print_title(command);
    if (!command->is_export && !command->is_raw) {
        audit_report_begin(&command->out, command->format);
    }
    rc = find_records(command);
    rc = rc < 0 ? rc : write_waiting(command, command->context->req);
    if (rc == 0 && command->is_table) {
        strbuf_printf(&command->out, tr("%llu records\n"), (unsigned long long)command->count);
    }
    rc = rc < 0 ? rc : flush(command, command->context->req);
    if (rc < 0) {
        return EXIT_FAILED;
    }
    return command->count > 0 ? EXIT_GOOD : EXIT_FOUND;
}

/** Whether there is an option that narrows the search down, or wants a table. */
static bool has_criterion(const Options *options)
{
    const char *const criteria[] = {options->patient, options->user,   options->node,
                                    options->object,  options->event,  options->action,
                                    options->outcome, options->sender, options->source,
                                    options->from,    options->to,     options->limit};
    bool is_given = options->all || options->csv;
    for (size_t i = 0; i < ARRAY_LEN(criteria); i++) {
        is_given = is_given || criteria[i] != NULL;
    }
    return is_given;
}

/** search [TEXT], export */
static int read_text(AuditCommand *command)
{
    const Options *options = command->options;
    if (options->argument_count > (command->is_export ? 1 : 2)) {
        return options_usage(options->command);
    }
    command->is_raw = !command->is_export && !has_criterion(options);
    command->text = options->argument_count == 2 ? str_from(options->arguments[1]) : STR_EMPTY;
    return EXIT_GOOD;
}

/** What the arguments ask about; @return EXIT_GOOD or EXIT_USAGE */
static int read_arguments(AuditCommand *command)
{
    const Options *options = command->options;
    command->patient = options->patient;
    command->user = options->user;
    command->node = options->node;
    command->is_export = strcmp(options->arguments[0], "export") == 0;
    command->format = options->json  ? AUDIT_FORMAT_JSON
                      : options->csv ? AUDIT_FORMAT_CSV
                                     : AUDIT_FORMAT_TEXT;
    if (strcmp(options->arguments[0], "report") != 0) {
        return read_text(command);
    }
    const struct {
        const char *subject;
        const char **value;
    } subjects[] = {
        {"patient", &command->patient}, {"node", &command->node}, {"user", &command->user}};
    for (size_t i = 0; options->argument_count == 3 && i < ARRAY_LEN(subjects); i++) {
        if (strcmp(options->arguments[1], subjects[i].subject) == 0) {
            *subjects[i].value = options->arguments[2];
            return EXIT_GOOD;
        }
    }
    return options_usage(options->command);
}

static int run(IdentityCommand *identity)
{
    AuditCommand command = {.identity = identity,
                            .context = identity->context,
                            .options = identity->options,
                            .zone = identity->context->config->affinity_domain.source_timezone,
                            .row_arena = arena_new(),
                            .waiting_arena = arena_new(),
                            .logins = audit_logins_new(identity->context->pool)};
    command.waiting = ARENA_ARRAY(identity->context->arena, AuditRow, WAITING_MAX);
    int status = read_arguments(&command);
    command.is_table = command.format == AUDIT_FORMAT_TEXT && !command.is_export && !command.is_raw;
    status = status ? status : read_criteria(&command);
    status = status ? status : run_search(&command);
    audit_logins_free(command.logins);
    strbuf_done(&command.out);
    arena_free(command.waiting_arena);
    arena_free(command.row_arena);
    return status;
}

bool audit_search_is_asked(const Options *options)
{
    const char *subcommand = options->argument_count > 0 ? options->arguments[0] : "";
    return strcmp(subcommand, "search") == 0 || strcmp(subcommand, "report") == 0 ||
           strcmp(subcommand, "export") == 0;
}

int audit_search_run(const Options *options)
{
    CommandContext context;
    int status = command_open(options, &context);
    if (status == EXIT_GOOD) {
        status = identity_command_run(options, &context, run);
    }
    return command_close(&context, status);
}
