#include "server/command/enrolment.h"
#include "server/command/json.h"
#include "server/command/patient.h"
#include "server/command/rule_import.h"
#include "server/language.h"

/* musubi patient enroll, withdraw: nothing of a patient is shown until he takes part. */

#define MAX_TEXT_LEN 200

/** Forms and documents are kept for ever: what is no text is refused. */
static int check_text(const IdentityCommand *command, const char *location, const char *what,
                      Str text)
{
    bool is_good = text.len <= MAX_TEXT_LEN && str_is_utf8(text);

    for (size_t i = 0; i < text.len && is_good; i++) {
        is_good = (unsigned char)text.data[i] >= ' ';
    }
    return is_good
               ? 0
               : error_add(&command->context->req->errors, ERR_CONFIGURATION, location,
                           tr("%s has up to %d bytes of UTF-8 in one line"), what, MAX_TEXT_LEN);
}

static int check_decision(const IdentityCommand *command, const char *location,
                          const EnrolmentDecision *decision)
{
    int form = check_text(command, location, "form", decision->form);
    int document = check_text(command, location, "document", decision->document);

    return form < 0 ? form : document;
}

static int decide(IdentityCommand *command, bool is_enrolled)
{
    const Options *options = command->options;
    const CommandContext *context = command->context;
    const char *location = is_enrolled ? "patient enroll" : "patient withdraw";
    const EnrolmentDecision decision = {is_enrolled, str_trim(str_from(options->form)),
                                        str_trim(str_from(options->document))};
    KnownPatient patient = {0};
    int rc = check_decision(command, location, &decision);

    rc = rc < 0 ? rc : command_begin(context);
    rc = rc < 0 ? rc
                : known_patient_find(command, str_from(options->arguments[1]), location, &patient);
    rc = rc < 0 ? rc : enrolment_store(command, &patient, &decision);
    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(options,
                    is_enrolled ? tr("patient %.*s takes part from now on")
                                : tr("patient %.*s does not take part any more: nothing is shown "
                                     "from now on"),
                    STR_ARG(patient.value));
    }
    return command_status_of(rc);
}

static int run_enroll(IdentityCommand *command)
{
    return decide(command, true);
}

static int run_withdraw(IdentityCommand *command)
{
    return decide(command, false);
}

/* Import */

enum { CSV_PATIENT, CSV_DECISION, CSV_FORM, CSV_DOCUMENT, CSV_COUNT };

static const char *const csv_columns[CSV_COUNT] = {
    [CSV_PATIENT] = "patient",
    [CSV_DECISION] = "decision",
    [CSV_FORM] = "form",
    [CSV_DOCUMENT] = "document",
};

static int read_decision(const IdentityCommand *command, const char *location, const Str *fields,
                         EnrolmentDecision *ret_decision)
{
    Str decision = fields[CSV_DECISION];

    if (!str_equal(decision, STR("enroll")) && !str_equal(decision, STR("withdraw"))) {
        return error_add(&command->context->req->errors, ERR_CONFIGURATION, location,
                         tr("decision: write enroll or withdraw instead of %.*s"),
                         STR_ARG(decision));
    }
    *ret_decision = (EnrolmentDecision){str_equal(decision, STR("enroll")), fields[CSV_FORM],
                                        fields[CSV_DOCUMENT]};
    return check_decision(command, location, ret_decision);
}

static int import_row(const IdentityCommand *command, const CsvFile *file, const CsvRow *row)
{
    const char *location = csv_location(command->arena, file, row);
    EnrolmentDecision decision = {0};
    KnownPatient patient = {0};
    int rc = read_decision(command, location, row->fields, &decision);
    int found = known_patient_find(command, row->fields[CSV_PATIENT], location, &patient);

    if (rc < 0 || found < 0) {
        return found < 0 ? found : rc;
    }
    return enrolment_store(command, &patient, &decision);
}

static int run_import(IdentityCommand *command)
{
    const Options *options = command->options;
    size_t count = 0;
    int rc =
        rule_import(command, options->arguments[2], csv_columns, CSV_COUNT, import_row, &count);

    if (rc == 0) {
        command_say(options,
                    options->dry_run ? tr("%zu decisions checked, nothing changed")
                                     : tr("%zu decisions recorded"),
                    count);
    }
    return command_status_of(rc);
}

int patient_enroll(const Options *options, CommandContext *context)
{
    return identity_command_run(options, context, run_enroll);
}

int patient_withdraw(const Options *options, CommandContext *context)
{
    return identity_command_run(options, context, run_withdraw);
}

int patient_enroll_import(const Options *options, CommandContext *context)
{
    if (!str_equal(str_from(options->arguments[1]), STR("import"))) {
        return options_usage(options->command);
    }
    return identity_command_run(options, context, run_import);
}
