#include <stdio.h>

#include "lib/base/clock.h"
#include "server/command/audited_change.h"
#include "server/command/disclosure.h"
#include "server/command/json.h"
#include "server/language.h"

/* musubi disclosure notices: who saw what only because he declared an emergency. */

static const DbStatement select_notices = {
    "notice_select",
    "SELECT b.id, b.started_at, p.value, coalesce(n.name, ''), coalesce(f.name, ''), b.user_id,"
    " b.issuer, b.reason, b.object_count, b.acknowledged_at, b.acknowledged_by FROM break_glass b"
    " LEFT JOIN patient_identifier p ON p.id = b.patient LEFT JOIN node n ON n.id = b.node"
    " LEFT JOIN facility f ON f.id = n.facility"
    " WHERE $1::boolean OR b.acknowledged_at IS NULL ORDER BY b.id",
};

static const DbStatement acknowledge_notice = {
    "notice_acknowledge",
    "UPDATE break_glass b SET acknowledged_at = clock_timestamp(), acknowledged_by = $2::text"
    " WHERE id = $1::int8 AND acknowledged_at IS NULL RETURNING"
    " (SELECT value FROM patient_identifier WHERE id = b.patient)",
};

static json_t *notice_json(const CommandContext *context, const DbResult *rows, int row)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o}", "number",
                     (json_int_t)db_i64(rows, row, 0), "at",
                     identity_instant_json(context->arena, rows, row, 1), "patient",
                     identity_text_json(rows, row, 2), "node", json_text(db_text(rows, row, 3)),
                     "facility", json_text(db_text(rows, row, 4)), "user",
                     json_text(db_text(rows, row, 5)), "issuer", json_text(db_text(rows, row, 6)),
                     "reason", json_text(db_text(rows, row, 7)), "objects", db_i32(rows, row, 8),
                     "acknowledged_at", identity_instant_json(context->arena, rows, row, 9),
                     "acknowledged_by", json_text(db_text(rows, row, 10)));
}

static void print_notice(const CommandContext *context, const DbResult *rows, int row)
{
    Str at = clock_iso8601(context->arena, db_timestamp(rows, row, 1));

    printf(tr("%lld  %.*s  patient %.*s, %d objects: %.*s (%.*s) by node %.*s of %.*s, reason: "
              "%.*s"),
           (long long)db_i64(rows, row, 0), STR_ARG(at), STR_ARG(db_text(rows, row, 2)),
           db_i32(rows, row, 8), STR_ARG(db_text(rows, row, 5)), STR_ARG(db_text(rows, row, 6)),
           STR_ARG(db_text(rows, row, 3)), STR_ARG(db_text(rows, row, 4)),
           STR_ARG(db_text(rows, row, 7)));
    if (!db_is_null(rows, row, 9)) {
        printf(tr("; acknowledged by %.*s"), STR_ARG(db_text(rows, row, 10)));
    }
    printf("\n");
}

/** @return EXIT_FOUND while somebody has to look at one */
static int list_notices(const IdentityCommand *command)
{
    const Options *options = command->options;
    DbParams params;
    DbResult *rows = NULL;

    db_params_init(&params, command->arena);
    db_param_bool(&params, options->all);
    if (db_exec(command->context->conn, command->context->req, &select_notices, &params, &rows) <
        0) {
        return EXIT_FAILED;
    }
    command_list_rows(options, command->context, rows, notice_json, print_notice);
    bool has_open = false;
    for (int i = 0; i < db_rows(rows); i++) {
        has_open = has_open || db_is_null(rows, i, 9);
    }
    return has_open ? EXIT_FOUND : EXIT_GOOD;
}

static int record(const IdentityCommand *command, Str number, Str patient)
{
    const AuditedChange change = {
        .kind = CHANGED_EMERGENCY_NOTICE,
        .name = number,
        .action = "acknowledge",
        .patient =
            hl7_cx_format(command->arena, patient, command->authorities->affinity_domain->oid),
    };
    return audited_change_record(command->context, &change);
}

static int acknowledge(const IdentityCommand *command)
{
    const CommandContext *context = command->context;
    Str text = str_from(command->options->acknowledge);
    uint64_t number;
    DbParams params;
    DbResult *rows = NULL;

    if (!str_to_u64(text, &number) || number > INT64_MAX) {
        return command_usage("%s", tr("write the number that musubi disclosure notices prints"));
    }
    db_params_init(&params, command->arena);
    db_param_i64(&params, (int64_t)number);
    db_param_text(&params, command->account);
    int rc = command_begin(context);
    rc = rc < 0 ? rc : db_exec(context->conn, context->req, &acknowledge_notice, &params, &rows);
    if (rc == 0 && db_rows(rows) == 0) {
        command_say(command->options, tr("there is no open notice %.*s"), STR_ARG(text));
        return EXIT_FOUND;
    }
    rc = rc < 0 ? rc : record(command, text, db_text(rows, 0, 0));
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(command->options, tr("notice %.*s is acknowledged"), STR_ARG(text));
    }
    return command_status_of(rc);
}

static int run(IdentityCommand *command)
{
    return command->options->acknowledge ? acknowledge(command) : list_notices(command);
}

int disclosure_notices(const Options *options, CommandContext *context)
{
    return identity_command_run(options, context, run);
}
