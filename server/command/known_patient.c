#include "server/command/known_patient.h"

#include "server/language.h"

static int check_found(const IdentityCommand *command, const Identifier *asked,
                       const PersonXadPid *found)
{
    Str cx = authority_format_cx(command->arena, asked->authority, asked->value);
    ErrorList *errors = &command->context->req->errors;

    if (!found->is_known) {
        return error_add(errors, ERR_CONFIGURATION, asked->location,
                         tr("no patient is known by %.*s; musubi authority test tells what a "
                            "number may be"),
                         STR_ARG(cx));
    }
    if (found->id == 0) {
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
    PersonXadPid found = {0};
    int rc = identity_command_parse_at(command, text, location, &asked);

    if (rc < 0) {
        return rc;
    }
    const PersonNumber number = {asked.authority->id, asked.value};
    rc = person_view_xad_pid(command->context->conn, command->context->req, &number, &found);
    rc = rc < 0 ? rc : check_found(command, &asked, &found);
    if (rc == 0) {
        *ret_patient = (KnownPatient){
            .id = found.id,
            .value = found.value,
            .cx = hl7_cx_format(command->arena, found.value,
                                command->authorities->affinity_domain->oid),
        };
    }
    return rc;
}
