#include "server/command/enrolment.h"

#include <stdio.h>

#include "lib/access/enrolment.h"
#include "server/command/audited_change.h"
#include "server/command/json.h"
#include "server/language.h"

static const DbStatement insert_enrolment = {
    "enrolment_insert",
    "INSERT INTO enrolment (patient, is_enrolled, decided_by, form, consent_document)"
    " VALUES ($1::int8, $2::boolean, $3::text, $4::text, $5::text)",
};

/* At least one row: the state; with the decisions from the first to the last. */
static const DbStatement select_enrolment = {
    "enrolment_select",
    "SELECT " ENROLMENT_IS_ENROLLED(
        "$1::int8[]") ", e.decided_at, e.is_enrolled, e.decided_by,"
                      " e.form, e.consent_document, e.valid_from, e.valid_to FROM (SELECT) AS "
                      "always"
                      " LEFT JOIN enrolment e ON e.patient = ANY ($1::int8[]) ORDER BY e.id",
};

enum {
    COLUMN_STATE,
    COLUMN_AT,
    COLUMN_DECISION,
    COLUMN_BY,
    COLUMN_FORM,
    COLUMN_DOCUMENT,
    COLUMN_FROM,
    COLUMN_TO,
};

static int record(const IdentityCommand *command, const KnownPatient *patient,
                  const EnrolmentDecision *decision)
{
    bool has_form = !str_is_empty(decision->form);
    bool has_document = !str_is_empty(decision->document);
    const AuditedChange change = {
        .kind = CHANGED_ENROLMENT,
        .name = patient->value,
        .action = decision->is_enrolled ? "enroll" : "withdraw",
        .detail = str_printf(command->arena, "%s%.*s%s%s%.*s", has_form ? "form " : "",
                             STR_ARG(decision->form), has_form && has_document ? ", " : "",
                             has_document ? "document " : "", STR_ARG(decision->document)),
        .patient = patient->cx,
    };
    return audited_change_record(command->context, &change);
}

int enrolment_store(const IdentityCommand *command, const KnownPatient *patient,
                    const EnrolmentDecision *decision)
{
    DbParams params;

    db_params_init(&params, command->arena);
    db_param_i64(&params, patient->id);
    db_param_bool(&params, decision->is_enrolled);
    db_param_text(&params, command->account);
    db_param_text(&params, decision->form.data ? decision->form : STR_EMPTY);
    db_param_text(&params, decision->document.data ? decision->document : STR_EMPTY);
    int rc =
        db_exec(command->context->conn, command->context->req, &insert_enrolment, &params, NULL);
    return rc < 0 ? rc : record(command, patient, decision);
}

/* What patient show tells */

static json_t *decision_json(Arena *arena, const DbResult *rows, int row)
{
    return json_pack("{s:o, s:b, s:o, s:o, s:o, s:o, s:o}", "at",
                     identity_instant_json(arena, rows, row, COLUMN_AT), "is_enrolled",
                     db_bool(rows, row, COLUMN_DECISION), "by",
                     json_text(db_text(rows, row, COLUMN_BY)), "form",
                     json_text(db_text(rows, row, COLUMN_FORM)), "document",
                     json_text(db_text(rows, row, COLUMN_DOCUMENT)), "valid_from",
                     identity_instant_json(arena, rows, row, COLUMN_FROM), "valid_to",
                     identity_instant_json(arena, rows, row, COLUMN_TO));
}

int enrolment_add(const IdentityCommand *command, const int64_t *identifiers, size_t count,
                  json_t *object)
{
    DbParams params;
    DbResult *rows = NULL;

    db_params_init(&params, command->arena);
    db_param_i64_array(&params, identifiers, count);
    int rc =
        db_exec(command->context->conn, command->context->req, &select_enrolment, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    json_t *decisions = json_array();
    for (int i = 0; i < db_rows(rows) && !db_is_null(rows, i, COLUMN_AT); i++) {
        json_array_append_new(decisions, decision_json(command->arena, rows, i));
    }
    json_object_set_new(object, "is_enrolled", json_boolean(db_bool(rows, 0, COLUMN_STATE)));
    json_object_set_new(object, "decisions", decisions);
    return 0;
}

static void print_text(const json_t *row, const char *name, const char *format)
{
    const char *text = json_string_value(json_object_get(row, name));

    if (text && text[0]) {
        printf("%s%s", format, text);
    }
}

void enrolment_print(const json_t *object)
{
    size_t i;
    json_t *row;

    (void)puts(json_is_true(json_object_get(object, "is_enrolled"))
                   ? tr("takes part: enrolled")
                   : tr("does not take part: not enrolled, or withdrawn; nothing of this patient "
                        "is shown"));
    json_array_foreach(json_object_get(object, "decisions"), i, row)
    {
        printf("  %s  %s", json_string_value(json_object_get(row, "at")),
               json_is_true(json_object_get(row, "is_enrolled")) ? tr("enrolled")
                                                                 : tr("withdrawn"));
        print_text(row, "by", tr(", by "));
        print_text(row, "form", tr(", form "));
        print_text(row, "document", tr(", document "));
        print_text(row, "valid_from", tr(", from "));
        print_text(row, "valid_to", tr(", until "));
        printf("\n");
    }
}
