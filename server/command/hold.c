#include <stdio.h>

#include "lib/access/retention.h"
#include "server/command/audited_change.h"
#include "server/command/json.h"
#include "server/command/known_patient.h"
#include "server/language.h"

/* musubi hold: of a patient, or of one document, nothing is removed until the hold is released. */

#define MAX_REASON_LEN 200

static const DbStatement select_document = {
    "hold_document",
    "SELECT (SELECT d.patient FROM document_entry d WHERE hashtext(d.unique_id) ="
    "   hashtext($1::text) AND d.unique_id = $1::text AND d.is_latest LIMIT 1),"
    " EXISTS (SELECT FROM document_entry d WHERE hashtext(d.unique_id) = hashtext($1::text)"
    "   AND d.unique_id = $1::text)"
    " OR EXISTS (SELECT FROM repository_document r WHERE r.digest = $2::uuid AND r.state <> 3)"};

static const DbStatement insert_hold = {
    "hold_insert", "INSERT INTO legal_hold (patient, unique_id, reason, added_by)"
                   " VALUES ($1::int8, $2::text, $3::text, $4::text) RETURNING id"};

static const DbStatement release_hold = {
    "hold_release", "UPDATE legal_hold SET released_at = clock_timestamp(), released_by = $2::text"
                    " WHERE id = $1::int4 AND released_at IS NULL RETURNING patient"};

static const DbStatement select_holds = {
    "hold_select",
    "SELECT h.id, p.value, nullif(h.unique_id, ''), h.reason, h.added_at, h.added_by,"
    " h.released_at, h.released_by FROM legal_hold h"
    " LEFT JOIN patient_identifier p ON p.id = h.patient"
    " WHERE $1::boolean OR h.released_at IS NULL ORDER BY h.id"};

enum {
    COLUMN_ID,
    COLUMN_PATIENT,
    COLUMN_DOCUMENT,
    COLUMN_REASON,
    COLUMN_ADDED_AT,
    COLUMN_ADDED_BY,
    COLUMN_RELEASED_AT,
    COLUMN_RELEASED_BY,
};

/** What is held: a patient, or a document. */
typedef struct HoldInput {
    KnownPatient patient; /* of a document only for the audit trail */
    Str document;         /* uniqueId; empty: the patient */
    Str reason;
} HoldInput;

/* ---- add ---- */

static int fault(const IdentityCommand *command, const char *problem, const char *value)
{
    return error_add(&command->context->req->errors, ERR_CONFIGURATION, "hold add", "%s: %s",
                     problem, value);
}

static int find_document(const IdentityCommand *command, HoldInput *input)
{
    const CommandContext *context = command->context;
    DbParams params;
    DbResult *rows;
    input->document = str_trim(str_from(command->options->document));
    db_params_init(&params, command->arena);
    db_param_text(&params, input->document);
    db_param_uuid(&params, uuid_digest(input->document));
    int rc = db_exec(context->conn, context->req, &select_document, &params, &rows);
    if (rc == 0 && !db_bool(rows, 0, 1)) {
        return fault(command, tr("no document has this uniqueId"), command->options->document);
    }
    if (rc < 0 || db_is_null(rows, 0, 0)) {
        return rc;
    }
    return person_view_cx(context->conn, context->req, db_i64(rows, 0, 0), &input->patient.cx);
}

static int read_input(const IdentityCommand *command, HoldInput *input)
{
    const Options *options = command->options;
    if ((options->patient == NULL) == (options->document == NULL)) {
        return fault(command, tr("write one of --patient and --document"), "");
    }
    input->reason = options->reason != NULL ? str_trim(str_from(options->reason)) : STR_EMPTY;
    if (input->reason.len == 0 || input->reason.len > MAX_REASON_LEN ||
        !str_is_utf8(input->reason)) {
        return fault(command, tr("say why with --reason, up to 200 bytes of UTF-8"), "");
    }
    return options->document != NULL
               ? find_document(command, input)
               : known_patient_find(command, str_trim(str_from(options->patient)), "hold add",
                                    &input->patient);
}

static int record(const IdentityCommand *command, int32_t number, const char *action, Str detail,
                  Str patient)
{
    const AuditedChange change = {.kind = CHANGED_LEGAL_HOLD,
                                  .name = str_printf(command->arena, "%d", number),
                                  .action = action,
                                  .detail = detail,
                                  .patient = patient};
    return audited_change_record(command->context, &change);
}

static int store(const IdentityCommand *command, const HoldInput *input, int32_t *ret_number)
{
    const CommandContext *context = command->context;
    DbParams params;
    DbResult *rows;
    db_params_init(&params, command->arena);
    if (str_is_empty(input->document)) {
        db_param_i64(&params, input->patient.id);
    } else {
        db_param_null(&params);
    }
    db_param_text(&params, input->document.data ? input->document : STR_EMPTY);
    db_param_text(&params, input->reason);
    db_param_text(&params, command->account);
    int rc = db_exec(context->conn, context->req, &insert_hold, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_number = db_i32(rows, 0, 0);
    Str detail = str_printf(command->arena, "%s%.*s, %.*s",
                            str_is_empty(input->document) ? "the patient" : "document ",
                            STR_ARG(input->document), STR_ARG(input->reason));
    return record(command, *ret_number, "add", detail, input->patient.cx);
}

static int run_add(IdentityCommand *command)
{
    const CommandContext *context = command->context;
    HoldInput input = {.document = STR_EMPTY};
    int32_t number = 0;
    int rc = command_begin(context);
    rc = rc < 0 ? rc : read_input(command, &input);
    rc = rc < 0 ? rc : retention_lock_all(context->req, context->conn);
    rc = rc < 0 ? rc : store(command, &input, &number);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(command->options, tr("legal hold %d counts from now on"), number);
    }
    return identity_command_status(rc);
}

/* ---- list ---- */

static json_t *hold_json(const CommandContext *context, const DbResult *rows, int row)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "number",
                     (json_int_t)db_i32(rows, row, COLUMN_ID), "patient",
                     identity_text_json(rows, row, COLUMN_PATIENT), "document",
                     identity_text_json(rows, row, COLUMN_DOCUMENT), "reason",
                     json_text(db_text(rows, row, COLUMN_REASON)), "added_at",
                     identity_instant_json(context->arena, rows, row, COLUMN_ADDED_AT), "added_by",
                     json_text(db_text(rows, row, COLUMN_ADDED_BY)), "released_at",
                     identity_instant_json(context->arena, rows, row, COLUMN_RELEASED_AT),
                     "released_by", json_text(db_text(rows, row, COLUMN_RELEASED_BY)));
}

static void print_hold(const CommandContext *context, const DbResult *rows, int row)
{
    (void)context;
    bool is_document = !db_is_null(rows, row, COLUMN_DOCUMENT);
    printf(is_document ? tr("%d  document %.*s; reason: %.*s")
                       : tr("%d  patient %.*s; reason: %.*s"),
           db_i32(rows, row, COLUMN_ID),
           STR_ARG(db_text(rows, row, is_document ? COLUMN_DOCUMENT : COLUMN_PATIENT)),
           STR_ARG(db_text(rows, row, COLUMN_REASON)));
    printf(tr("; added by %.*s"), STR_ARG(db_text(rows, row, COLUMN_ADDED_BY)));
    if (!db_is_null(rows, row, COLUMN_RELEASED_AT)) {
        printf(tr("; released by %.*s"), STR_ARG(db_text(rows, row, COLUMN_RELEASED_BY)));
    }
    printf("\n");
}

static int run_list(IdentityCommand *command)
{
    return identity_command_list(command, &select_holds, hold_json, print_hold);
}

/* ---- release ---- */

static int run_release(IdentityCommand *command)
{
    const CommandContext *context = command->context;
    Str patient = STR_EMPTY;
    uint64_t number;
    DbParams params;
    DbResult *rows;
    if (!str_to_u64(str_from(command->options->arguments[1]), &number) || number > INT32_MAX) {
        return command_usage("%s", tr("write the number that musubi hold list prints"));
    }
    db_params_init(&params, command->arena);
    db_param_i32(&params, (int32_t)number);
    db_param_text(&params, command->account);
    int rc = command_begin(context);
    rc = rc < 0 ? rc : retention_lock_all(context->req, context->conn);
    rc = rc < 0 ? rc : db_exec(context->conn, context->req, &release_hold, &params, &rows);
    if (rc == 0 && db_rows(rows) == 0) {
        command_say(command->options,
                    tr("there is no legal hold %d that counts; musubi hold list shows them"),
                    (int)number);
        return EXIT_FOUND;
    }
    if (rc == 0 && !db_is_null(rows, 0, 0)) {
        rc = person_view_cx(context->conn, context->req, db_i64(rows, 0, 0), &patient);
    }
    rc = rc < 0 ? rc : record(command, (int32_t)number, "release", STR_EMPTY, patient);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(command->options, tr("legal hold %d is released"), (int)number);
    }
    return command_status_of(rc);
}

IDENTITY_SUBCOMMAND(hold_add, run_add)
IDENTITY_SUBCOMMAND(hold_list, run_list)
IDENTITY_SUBCOMMAND(hold_release, run_release)

int command_hold(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 0, 0, hold_add},
        {"list", 0, 0, hold_list},
        {"release", 1, 1, hold_release},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
