#include "server/known_patient.h"

#include "server/language.h"

static const DbStatement select_xad_pid = {
    "known_patient_select",
    "SELECT x.id, x.value FROM patient_identifier asked LEFT JOIN patient_identifier x"
    " ON x.person = asked.person AND x.is_xad_pid AND x.survivor IS NULL"
    " WHERE asked.authority = $1::int4 AND asked.value = $2::text",
};

static int check_found(const IdentityCommand *command, const Identifier *asked,
                       const DbResult *rows)
{
    Str cx = authority_format_cx(command->arena, asked->authority, asked->value);
    ErrorList *errors = &command->context->req->errors;

    if (db_rows(rows) == 0) {
        return error_add(errors, ERR_CONFIGURATION, asked->location,
                         tr("no patient is known by %.*s; musubi authority test tells what a "
                            "number may be"),
                         STR_ARG(cx));
    }
    if (db_is_null(rows, 0, 0)) {
        return error_add(errors, ERR_CONFIGURATION, asked->location,
                         tr("the patient of %.*s waits for an identifier of the affinity domain; "
                            "musubi patient waiting lists those"),
                         STR_ARG(cx));
    }
    return 0;
}

int known_patient_find(const IdentityCommand *command, Str text, const char *location,
                       KnownPatient *ret_patient)
{
    Identifier asked;
    DbParams params;
    DbResult *rows = NULL;
    int rc = identity_command_parse_at(command, text, location, &asked);

    if (rc < 0) {
        return rc;
    }
    db_params_init(&params, command->arena);
    db_param_i32(&params, asked.authority->id);
    db_param_text(&params, asked.value);
    rc = db_exec(command->context->conn, command->context->req, &select_xad_pid, &params, &rows);
    rc = rc < 0 ? rc : check_found(command, &asked, rows);
    if (rc == 0) {
        *ret_patient = (KnownPatient){
            .id = db_i64(rows, 0, 0),
            .value = db_text(rows, 0, 1),
            .cx = hl7_cx_format(command->arena, db_text(rows, 0, 1),
                                command->authorities->affinity_domain->oid),
        };
    }
    return rc;
}
