#include "lib/access/retention.h"

#include <stdio.h>

#include "server/command/audited_change.h"
#include "server/command/coded_text.h"
#include "server/command/json.h"
#include "server/language.h"

/* musubi retention: how long documents are to be kept at least. */

#define MAX_REASON_LEN 200
#define MAX_YEARS 200
#define MAX_DAYS 100000

static const DbStatement select_facility = {"retention_facility",
                                            "SELECT id FROM facility WHERE name = $1::text"};

static const DbStatement insert_rule = {
    "retention_insert",
    "INSERT INTO retention_rule (facility, class_code, years, days, reason, added_by)"
    " VALUES ($1::int4, $2::int4, $3::int4, $4::int4, $5::text, $6::text) RETURNING id"};

static const DbStatement end_rule = {
    "retention_end",
    "UPDATE retention_rule SET removed_at = clock_timestamp(), removed_by = $2::text"
    " WHERE id = $1::int4 AND removed_at IS NULL"};

static const DbStatement select_rules = {
    "retention_select",
    "SELECT r.id, f.name, c.code || '^^' || c.scheme, r.years, r.days, r.reason, r.added_at,"
    " r.added_by, r.removed_at, r.removed_by FROM retention_rule r"
    " LEFT JOIN facility f ON f.id = r.facility LEFT JOIN code c ON c.id = r.class_code"
    " WHERE $1::boolean OR r.removed_at IS NULL ORDER BY r.id"};

enum {
    COLUMN_ID,
    COLUMN_FACILITY,
    COLUMN_CLASS,
    COLUMN_YEARS,
    COLUMN_DAYS,
    COLUMN_REASON,
    COLUMN_ADDED_AT,
    COLUMN_ADDED_BY,
    COLUMN_REMOVED_AT,
    COLUMN_REMOVED_BY,
};

/** What is added: a rule for each class. */
typedef struct RetentionInput {
    int32_t facility; /* 0: any */
    int32_t *class_codes;
    size_t class_count; /* 0: any */
    int32_t years;
    int32_t days;
    Str reason;
    Str words; /* for the audit trail */
} RetentionInput;

/* ---- add ---- */

static int fault(const IdentityCommand *command, const char *problem, const char *value)
{
    return error_add(&command->context->req->errors, ERR_CONFIGURATION, "retention add", "%s: %s",
                     problem, value);
}

static int read_period(const IdentityCommand *command, RetentionInput *input)
{
    const Options *options = command->options;
    const char *text = options->years != NULL ? options->years : options->days;
    uint64_t most = options->years != NULL ? MAX_YEARS : MAX_DAYS;
    uint64_t number;
    if ((options->years == NULL) == (options->days == NULL)) {
        return fault(command, tr("write one of --years and --days"), "");
    }
    if (!str_to_u64(str_from(text), &number) || number == 0 || number > most) {
        return fault(command, tr("write up to 200 years, or up to 100000 days, instead of"), text);
    }
    *(options->years != NULL ? &input->years : &input->days) = (int32_t)number;
    return 0;
}

static int read_facility(const IdentityCommand *command, RetentionInput *input)
{
    const char *name = command->options->facility;
    DbParams params;
    DbResult *rows = NULL;
    if (name == NULL) {
        return 0;
    }
    db_params_init(&params, command->arena);
    db_param_text(&params, str_trim(str_from(name)));
    int rc =
        db_exec(command->context->conn, command->context->req, &select_facility, &params, &rows);
    if (rc == 0 && db_rows(rows) == 0) {
        return fault(command, tr("there is no such facility; musubi facility list shows them"),
                     name);
    }
    input->facility = rc == 0 ? db_i32(rows, 0, 0) : 0;
    return rc;
}

static int read_classes(const IdentityCommand *command, RetentionInput *input)
{
    const char *classes = command->options->classes;
    return classes == NULL ? 0
                           : coded_text_intern(command, "retention add", "classCode",
                                               str_trim(str_from(classes)), &input->class_codes,
                                               &input->class_count);
}

static int read_input(const IdentityCommand *command, RetentionInput *input)
{
    const Options *options = command->options;
    int rc = read_period(command, input);
    int facility = read_facility(command, input);
    int classes = read_classes(command, input);
    rc = rc < 0 ? rc : facility;
    rc = rc < 0 ? rc : classes;
    input->reason = options->reason != NULL ? str_trim(str_from(options->reason)) : STR_EMPTY;
    if (input->reason.len > MAX_REASON_LEN || !str_is_utf8(input->reason)) {
        rc = fault(command, tr("a reason has up to 200 bytes of UTF-8"), "");
    }
    input->words = str_printf(
        command->arena, "%s of %s: %d %s", options->classes ? options->classes : "*",
        options->facility ? options->facility : "*", input->years != 0 ? input->years : input->days,
        input->years != 0 ? "years" : "days");
    return rc;
}

static int record(const IdentityCommand *command, int32_t number, const char *action, Str detail)
{
    const AuditedChange change = {.kind = CHANGED_RETENTION,
                                  .name = str_printf(command->arena, "%d", number),
                                  .action = action,
                                  .detail = detail};
    return audited_change_record(command->context, &change);
}

static void bind_or_null(DbParams *params, int32_t value)
{
    if (value == 0) {
        db_param_null(params);
    } else {
        db_param_i32(params, value);
    }
}

static int insert_one(const IdentityCommand *command, const RetentionInput *input,
                      int32_t class_code, int32_t *ret_number)
{
    const CommandContext *context = command->context;
    DbParams params;
    DbResult *rows;
    db_params_init(&params, command->arena);
    bind_or_null(&params, input->facility);
    bind_or_null(&params, class_code);
    db_param_i32(&params, input->years);
    db_param_i32(&params, input->days);
    db_param_text(&params, input->reason);
    db_param_text(&params, command->account);
    int rc = db_exec(context->conn, context->req, &insert_rule, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_number = db_i32(rows, 0, 0);
    return record(command, *ret_number, "add", input->words);
}

static int run_add(IdentityCommand *command)
{
    const CommandContext *context = command->context;
    RetentionInput input = {0};
    int rc = command_begin(context);
    rc = rc < 0 ? rc : read_input(command, &input);
    rc = rc < 0 ? rc : retention_lock_all(context->req, context->conn);
    size_t count = MAX(input.class_count, (size_t)1);
    int32_t *numbers = ARENA_ARRAY(command->arena, int32_t, count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = insert_one(command, &input, input.class_count == 0 ? 0 : input.class_codes[i],
                        &numbers[i]);
    }
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        command_say(command->options, tr("retention rule %d counts from now on"), numbers[i]);
    }
    return identity_command_status(rc);
}

/* ---- list ---- */

static json_t *rule_json(const CommandContext *context, const DbResult *rows, int row)
{
    return json_pack("{s:I, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "number",
                     (json_int_t)db_i32(rows, row, COLUMN_ID), "facility",
                     identity_text_json(rows, row, COLUMN_FACILITY), "class",
                     identity_text_json(rows, row, COLUMN_CLASS), "years",
                     (json_int_t)db_i32(rows, row, COLUMN_YEARS), "days",
                     (json_int_t)db_i32(rows, row, COLUMN_DAYS), "reason",
                     json_text(db_text(rows, row, COLUMN_REASON)), "added_at",
                     identity_instant_json(context->arena, rows, row, COLUMN_ADDED_AT), "added_by",
                     json_text(db_text(rows, row, COLUMN_ADDED_BY)), "removed_at",
                     identity_instant_json(context->arena, rows, row, COLUMN_REMOVED_AT),
                     "removed_by", json_text(db_text(rows, row, COLUMN_REMOVED_BY)));
}

static Str text_or(const DbResult *rows, int row, int column, const char *if_null)
{
    return db_is_null(rows, row, column) ? str_from(if_null) : db_text(rows, row, column);
}

static void print_rule(const CommandContext *context, const DbResult *rows, int row)
{
    (void)context;
    Str facility = text_or(rows, row, COLUMN_FACILITY, tr("every facility"));
    Str class_code = text_or(rows, row, COLUMN_CLASS, tr("every class"));
    int32_t years = db_i32(rows, row, COLUMN_YEARS);
    printf(years > 0 ? tr("%d  %.*s, %.*s: kept for %d years")
                     : tr("%d  %.*s, %.*s: kept for %d days"),
           db_i32(rows, row, COLUMN_ID), STR_ARG(facility), STR_ARG(class_code),
           years > 0 ? years : db_i32(rows, row, COLUMN_DAYS));
    if (db_text(rows, row, COLUMN_REASON).len > 0) {
        printf(tr("; reason: %.*s"), STR_ARG(db_text(rows, row, COLUMN_REASON)));
    }
    if (!db_is_null(rows, row, COLUMN_REMOVED_AT)) {
        printf(tr("; counts no more, by %.*s"), STR_ARG(db_text(rows, row, COLUMN_REMOVED_BY)));
    }
    printf("\n");
}

static int run_list(IdentityCommand *command)
{
    return identity_command_list(command, &select_rules, rule_json, print_rule);
}

/* ---- remove ---- */

static int run_remove(IdentityCommand *command)
{
    const CommandContext *context = command->context;
    uint64_t number;
    DbParams params;
    DbResult *result;
    if (!str_to_u64(str_from(command->options->arguments[1]), &number) || number > INT32_MAX) {
        return command_usage("%s", tr("write the number that musubi retention list prints"));
    }
    db_params_init(&params, command->arena);
    db_param_i32(&params, (int32_t)number);
    db_param_text(&params, command->account);
    int rc = command_begin(context);
    rc = rc < 0 ? rc : retention_lock_all(context->req, context->conn);
    rc = rc < 0 ? rc : db_exec(context->conn, context->req, &end_rule, &params, &result);
    if (rc == 0 && db_affected(result) == 0) {
        command_say(command->options,
                    tr("there is no retention rule %d that counts; musubi retention list shows "
                       "them"),
                    (int)number);
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : record(command, (int32_t)number, "remove", STR_EMPTY);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(command->options, tr("retention rule %d does not count any more"), (int)number);
    }
    return command_status_of(rc);
}

IDENTITY_SUBCOMMAND(retention_add, run_add)
IDENTITY_SUBCOMMAND(retention_list, run_list)
IDENTITY_SUBCOMMAND(retention_remove, run_remove)

int command_retention(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 0, 0, retention_add},
        {"list", 0, 0, retention_list},
        {"remove", 1, 1, retention_remove},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
