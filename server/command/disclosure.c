#include "server/command/disclosure.h"

#include <stdio.h>

#include "lib/base/zone.h"
#include "server/command/audited_change.h"
#include "server/command/disclosure_row.h"
#include "server/command/json.h"
#include "server/command/known_patient.h"
#include "server/command/rule_import.h"
#include "server/language.h"

/* musubi disclosure: which documents of whom one facility shows to another. */

#define MAX_REASON_LEN 200

/** As the command line or a line of CSV gives it. An empty text: not said. */
typedef struct DisclosureInput {
    DisclosureRuleInput rule;
    Str patient; /* "*": every patient */
    Str from;    /* days, of the documents; the last one counts too */
    Str to;
    Str valid_from; /* days, of the rule */
    Str valid_to;
    Str reason;
} DisclosureInput;

/** Midnights; the end is exclusive. */
typedef struct Period {
    int64_t from_us; /* INT64_MIN: open */
    int64_t to_us;   /* INT64_MAX: open */
} Period;

static const DbStatement insert_disclosure = {
    "disclosure_insert",
    "INSERT INTO disclosure (patient, source_facility, reader_facility, class_codes, is_permit,"
    " level, period_from, period_to, valid_from, valid_to, added_by, reason)"
    " VALUES ($1::int8, $2::int4, $3::int4, $4::int4[], $5::boolean, $6::int2, $7::timestamptz,"
    " $8::timestamptz, $9::timestamptz, $10::timestamptz, $11::text, $12::text) RETURNING id",
};

static const DbStatement revoke_disclosure = {
    "disclosure_revoke",
    "UPDATE disclosure SET revoked_at = clock_timestamp(), revoked_by = $2::text"
    " WHERE id = $1::int4 AND revoked_at IS NULL RETURNING patient",
};

static const char *zone_of(const IdentityCommand *command)
{
    return command->context->config->affinity_domain.source_timezone;
}

static int fault(const IdentityCommand *command, const DisclosureInput *input, const char *problem,
                 Str value)
{
    return error_add(&command->context->req->errors, ERR_CONFIGURATION, input->rule.location,
                     "%s: %.*s", problem, STR_ARG(value));
}

/* Rows */

static int read_day(const IdentityCommand *command, const DisclosureInput *input, Str day,
                    int days_later, int64_t *us)
{
    if (day.len == 0 || zone_day_begins(zone_of(command), day, days_later, us)) {
        return 0;
    }
    return fault(command, input, tr("write a day as YYYY-MM-DD instead of"), day);
}

static int read_period(const IdentityCommand *command, const DisclosureInput *input, Str from,
                       Str to, Period *ret_period)
{
    Period period = {INT64_MIN, INT64_MAX};
    int from_rc = read_day(command, input, from, 0, &period.from_us);
    int to_rc = read_day(command, input, to, 1, &period.to_us);

    if (from_rc < 0 || to_rc < 0) {
        return from_rc < 0 ? from_rc : to_rc;
    }
    if (period.to_us <= period.from_us) {
        return fault(command, input, tr("the last day lies before the first"), to);
    }
    *ret_period = period;
    return 0;
}

static void bind_period(DbParams *params, const Period *period)
{
    if (period->from_us == INT64_MIN) {
        db_param_null(params);
    } else {
        db_param_timestamp(params, period->from_us);
    }
    if (period->to_us == INT64_MAX) {
        db_param_null(params);
    } else {
        db_param_timestamp(params, period->to_us);
    }
}

static int read_patient(const IdentityCommand *command, const DisclosureInput *input,
                        KnownPatient *ret_patient)
{
    if (str_equal(input->patient, STR("*"))) {
        return 0;
    }
    if (input->patient.len == 0) {
        return fault(command, input, "patient",
                     str_from(tr("name the patient, or write * for every one")));
    }
    return known_patient_find(command, input->patient, input->rule.location, ret_patient);
}

static int check_reason(const IdentityCommand *command, const DisclosureInput *input)
{
    return input->reason.len <= MAX_REASON_LEN && str_is_utf8(input->reason)
               ? 0
               : fault(command, input, tr("a reason has up to 200 bytes of UTF-8"), STR_EMPTY);
}

static int record(const IdentityCommand *command, Str name, const char *action, Str detail,
                  Str patient)
{
    const AuditedChange change = {.kind = CHANGED_DISCLOSURE,
                                  .name = name,
                                  .action = action,
                                  .detail = detail,
                                  .patient = patient};
    return audited_change_record(command->context, &change);
}

/** Checks a rule and puts it into the open transaction; adds every fault. */
static int store(const IdentityCommand *command, const DisclosureInput *input, int32_t *ret_id)
{
    const CommandContext *context = command->context;
    DisclosureRule rule = {0};
    KnownPatient patient = {0};
    Period documents = {0};
    Period validity = {0};
    DbParams params;
    DbResult *result = NULL;
    const unsigned errors_before = context->req->errors.error_count;
    int rc = disclosure_rule_read(command, &input->rule, &rule);
    int patient_rc = read_patient(command, input, &patient);

    rc = rc < 0 ? rc : patient_rc;
    (void)read_period(command, input, input->from, input->to, &documents);
    (void)read_period(command, input, input->valid_from, input->valid_to, &validity);
    (void)check_reason(command, input);
    if (context->req->errors.error_count > errors_before) {
        return rc < 0 ? rc : -ERR_CONFIGURATION;
    }
    db_params_init(&params, command->arena);
    if (patient.id == 0) {
        db_param_null(&params);
    } else {
        db_param_i64(&params, patient.id);
    }
    disclosure_rule_bind(&params, &rule);
    bind_period(&params, &documents);
    bind_period(&params, &validity);
    db_param_text(&params, command->account);
    db_param_text(&params, input->reason.data ? input->reason : STR_EMPTY);
    rc = db_exec(context->conn, context->req, &insert_disclosure, &params, &result);
    if (rc < 0) {
        return rc;
    }
    *ret_id = db_i32(result, 0, 0);
    return record(command, str_printf(command->arena, "%d", *ret_id), "add", rule.words,
                  patient.cx);
}

/* add, revoke */

static int run_add(IdentityCommand *command)
{
    const Options *options = command->options;
    const CommandContext *context = command->context;
    const char *rule = options->permits ? "permit" : options->denies ? "deny" : "";
    const DisclosureInput input = {
        .rule = {.location = "disclosure add",
                 .source = str_trim(str_from(options->source)),
                 .reader = str_trim(str_from(options->reader)),
                 .classes = str_trim(str_from(options->classes)),
                 .rule = str_from(rule),
                 .level = str_from(options->level)},
        .patient = str_trim(str_from(options->patient)),
        .from = str_from(options->from),
        .to = str_from(options->to),
        .valid_from = str_from(options->valid_from),
        .valid_to = str_from(options->valid_to),
        .reason = str_trim(str_from(options->reason)),
    };
    int32_t id = 0;

    if (options->permits == options->denies) {
        return command_usage("%s", tr("write one of --permit and --deny"));
    }
    int rc = command_begin(context);
    rc = rc < 0 ? rc : store(command, &input, &id);
    rc = rc < 0 ? rc : command_finish(options, context);
    if (rc == 0 && options->dry_run) {
        command_say(options, "%s", tr("checked, nothing changed"));
    } else if (rc == 0) {
        command_say(options, tr("disclosure %d counts from now on"), id);
    }
    return identity_command_status(rc);
}

static int parse_number(const Options *options, int32_t *ret_number)
{
    uint64_t number;

    if (!str_to_u64(str_from(options->arguments[1]), &number) || number > INT32_MAX) {
        return command_usage("%s", tr("write the number that musubi disclosure list prints"));
    }
    *ret_number = (int32_t)number;
    return EXIT_GOOD;
}

/** CX of the patient of a row that RETURNING gives; empty: every patient. */
static int patient_of(const IdentityCommand *command, const DbResult *rows, Str *ret_cx)
{
    return db_is_null(rows, 0, 0) ? 0
                                  : person_view_cx(command->context->conn, command->context->req,
                                                   db_i64(rows, 0, 0), ret_cx);
}

static int run_revoke(IdentityCommand *command)
{
    const CommandContext *context = command->context;
    Str patient = STR_EMPTY;
    int32_t number = 0;
    DbParams params;
    DbResult *rows = NULL;

    if (parse_number(command->options, &number) != EXIT_GOOD) {
        return EXIT_USAGE;
    }
    db_params_init(&params, command->arena);
    db_param_i32(&params, number);
    db_param_text(&params, command->account);
    int rc = command_begin(context);
    rc = rc < 0 ? rc : db_exec(context->conn, context->req, &revoke_disclosure, &params, &rows);
    if (rc == 0 && db_rows(rows) == 0) {
        command_say(command->options,
                    tr("there is no disclosure %d that counts; musubi disclosure list shows them"),
                    number);
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : patient_of(command, rows, &patient);
    rc = rc < 0 ? rc
                : record(command, str_from(command->options->arguments[1]), "revoke", STR_EMPTY,
                         patient);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(command->options, tr("disclosure %d is revoked: it does not count any more"),
                    number);
    }
    return command_status_of(rc);
}

/* import */

enum {
    CSV_PATIENT,
    CSV_SOURCE,
    CSV_READER,
    CSV_CLASSES,
    CSV_RULE,
    CSV_LEVEL,
    CSV_FROM,
    CSV_TO,
    CSV_VALID_FROM,
    CSV_VALID_TO,
    CSV_REASON,
    CSV_COUNT
};

static const char *const csv_columns[CSV_COUNT] = {
    [CSV_PATIENT] = "patient",   [CSV_SOURCE] = "source", [CSV_READER] = "reader",
    [CSV_CLASSES] = "classes",   [CSV_RULE] = "rule",     [CSV_LEVEL] = "level",
    [CSV_FROM] = "from",         [CSV_TO] = "to",         [CSV_VALID_FROM] = "valid_from",
    [CSV_VALID_TO] = "valid_to", [CSV_REASON] = "reason",
};

static DisclosureInput input_of(const IdentityCommand *command, const CsvFile *file,
                                const CsvRow *row)
{
    const Str *fields = row->fields;

    return (DisclosureInput){
        .rule = {.location = csv_location(command->arena, file, row),
                 .source = fields[CSV_SOURCE],
                 .reader = fields[CSV_READER],
                 .classes = fields[CSV_CLASSES],
                 .rule = fields[CSV_RULE],
                 .level = fields[CSV_LEVEL]},
        .patient = fields[CSV_PATIENT],
        .from = fields[CSV_FROM],
        .to = fields[CSV_TO],
        .valid_from = fields[CSV_VALID_FROM],
        .valid_to = fields[CSV_VALID_TO],
        .reason = fields[CSV_REASON],
    };
}

static int import_row(const IdentityCommand *command, const CsvFile *file, const CsvRow *row)
{
    const DisclosureInput input = input_of(command, file, row);
    int32_t id;
    return store(command, &input, &id);
}

static int run_import(IdentityCommand *command)
{
    const Options *options = command->options;
    size_t count = 0;
    int rc =
        rule_import(command, options->arguments[1], csv_columns, CSV_COUNT, import_row, &count);

    if (rc == 0) {
        command_say(options,
                    options->dry_run ? tr("%zu disclosures checked, nothing changed")
                                     : tr("%zu disclosures imported"),
                    count);
    }
    return command_status_of(rc);
}

/* list, show */

static void print_rows(const IdentityCommand *command, json_t *list)
{
    size_t i;
    json_t *row;

    if (command->options->json) {
        json_print(list);
        return;
    }
    json_array_foreach(list, i, row)
    {
        printf("%.*s\n", STR_ARG(disclosure_row_words(command->arena, row)));
    }
    json_decref(list);
}

static int show_rows(const IdentityCommand *command, const DisclosureSelection *selection,
                     int *ret_count)
{
    DbResult *rows = NULL;
    int rc = disclosure_rows_read(command, selection, &rows);

    if (rc < 0) {
        return rc;
    }
    json_t *list = json_array();
    for (int i = 0; i < db_rows(rows); i++) {
        json_array_append_new(list, disclosure_row_json(command, rows, i));
    }
    print_rows(command, list);
    *ret_count = db_rows(rows);
    return 0;
}

static int run_list(IdentityCommand *command)
{
    const Options *options = command->options;
    KnownPatient patient = {0};
    int count = 0;
    int rc = options->patient ? known_patient_find(command, str_from(options->patient),
                                                   "disclosure list", &patient)
                              : 0;
    const DisclosureSelection selection = {.patient = patient.id, .has_ended = options->all};

    rc = rc < 0 ? rc : show_rows(command, &selection, &count);
    return identity_command_status(rc);
}

static int run_show(IdentityCommand *command)
{
    DisclosureSelection selection = {.has_ended = true};
    int count = 0;

    if (parse_number(command->options, &selection.id) != EXIT_GOOD) {
        return EXIT_USAGE;
    }
    int rc = show_rows(command, &selection, &count);
    return rc == 0 && count == 0 ? EXIT_FOUND : command_status_of(rc);
}

IDENTITY_SUBCOMMAND(disclosure_add, run_add)
IDENTITY_SUBCOMMAND(disclosure_revoke, run_revoke)
IDENTITY_SUBCOMMAND(disclosure_import, run_import)
IDENTITY_SUBCOMMAND(disclosure_list, run_list)
IDENTITY_SUBCOMMAND(disclosure_show, run_show)

int command_disclosure(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 0, 0, disclosure_add},       {"list", 0, 0, disclosure_list},
        {"show", 1, 1, disclosure_show},     {"revoke", 1, 1, disclosure_revoke},
        {"import", 1, 1, disclosure_import}, {"notices", 0, 0, disclosure_notices},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
