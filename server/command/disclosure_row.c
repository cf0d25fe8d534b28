#include "server/command/disclosure_row.h"

#include <stdio.h>

#include "server/command/authority_input.h"
#include "server/command/json.h"
#include "server/language.h"

static const DbStatement select_disclosures = {
    "disclosure_select",
    "SELECT d.id, p.value," DISCLOSURE_RULE_COLUMNS ", d.period_from, d.period_to, d.valid_from,"
    " d.valid_to, d.added_at, d.added_by, d.reason, d.consent_document, d.revoked_at, d.revoked_by,"
    " d.revoked_at IS NULL AND coalesce(d.valid_from <= now(), true)"
    " AND coalesce(d.valid_to > now(), true)"
    " FROM disclosure d LEFT JOIN patient_identifier p ON p.id = d.patient"
    " WHERE ($1::int4 = 0 OR d.id = $1::int4)"
    " AND ($2::int8 = 0 OR d.patient IS NULL OR d.patient IN (SELECT i.id FROM patient_identifier i"
    "      WHERE i.id = $2::int8 OR i.survivor = $2::int8))"
    " AND ($3::boolean OR (d.revoked_at IS NULL AND coalesce(d.valid_to > now(), true)))"
    " ORDER BY d.id",
};

enum {
    COLUMN_ID,
    COLUMN_PATIENT,
    COLUMN_RULE,
    COLUMN_PERIOD_FROM = COLUMN_RULE + DISCLOSURE_RULE_COLUMN_COUNT,
    COLUMN_PERIOD_TO,
    COLUMN_VALID_FROM,
    COLUMN_VALID_TO,
    COLUMN_ADDED_AT,
    COLUMN_ADDED_BY,
    COLUMN_REASON,
    COLUMN_DOCUMENT,
    COLUMN_REVOKED_AT,
    COLUMN_REVOKED_BY,
    COLUMN_IN_FORCE,
};

int disclosure_rows_read(const IdentityCommand *command, const DisclosureSelection *selection,
                         DbResult **ret_rows)
{
    DbParams params;

    db_params_init(&params, command->arena);
    db_param_i32(&params, selection->id);
    db_param_i64(&params, selection->patient);
    db_param_bool(&params, selection->has_ended);
    return db_exec(command->context->conn, command->context->req, &select_disclosures, &params,
                   ret_rows);
}

/** A first day as the operator wrote it; null: open. */
static json_t *from_json(const IdentityCommand *command, const DbResult *rows, int row, int column)
{
    const char *zone = command->context->config->affinity_domain.source_timezone;

    return db_is_null(rows, row, column)
               ? json_null()
               : json_text(
                     authority_format_from(command->arena, zone, db_timestamp(rows, row, column)));
}

/** A last day. */
static json_t *to_json(const IdentityCommand *command, const DbResult *rows, int row, int column)
{
    const char *zone = command->context->config->affinity_domain.source_timezone;

    return db_is_null(rows, row, column)
               ? json_null()
               : json_text(
                     authority_format_to(command->arena, zone, db_timestamp(rows, row, column)));
}

json_t *disclosure_row_json(const IdentityCommand *command, const DbResult *rows, int row)
{
    json_t *json = disclosure_rule_json(command->arena, rows, row, COLUMN_RULE);

    json_object_set_new(json, "number", json_integer(db_i32(rows, row, COLUMN_ID)));
    json_object_set_new(json, "patient", identity_text_json(rows, row, COLUMN_PATIENT));
    json_object_set_new(json, "from", from_json(command, rows, row, COLUMN_PERIOD_FROM));
    json_object_set_new(json, "to", to_json(command, rows, row, COLUMN_PERIOD_TO));
    json_object_set_new(json, "valid_from", from_json(command, rows, row, COLUMN_VALID_FROM));
    json_object_set_new(json, "valid_to", to_json(command, rows, row, COLUMN_VALID_TO));
    json_object_set_new(json, "added_at",
                        identity_instant_json(command->arena, rows, row, COLUMN_ADDED_AT));
    json_object_set_new(json, "added_by", json_text(db_text(rows, row, COLUMN_ADDED_BY)));
    json_object_set_new(json, "reason", json_text(db_text(rows, row, COLUMN_REASON)));
    json_object_set_new(json, "consent_document", json_text(db_text(rows, row, COLUMN_DOCUMENT)));
    json_object_set_new(json, "revoked_at",
                        identity_instant_json(command->arena, rows, row, COLUMN_REVOKED_AT));
    json_object_set_new(json, "revoked_by", json_text(db_text(rows, row, COLUMN_REVOKED_BY)));
    json_object_set_new(json, "is_in_force", json_boolean(db_bool(rows, row, COLUMN_IN_FORCE)));
    return json;
}

/* Text */

static void append_text(StrBuf *line, const json_t *disclosure, const char *name,
                        const char *before)
{
    const char *text = json_string_value(json_object_get(disclosure, name));

    if (text && text[0]) {
        strbuf_printf(line, "%s%s", before, text);
    }
}

Str disclosure_row_words(Arena *arena, const json_t *disclosure)
{
    _cleanup_(strbuf_done) StrBuf line = {0};
    const char *patient = json_string_value(json_object_get(disclosure, "patient"));
    Str rule = disclosure_rule_words(arena, disclosure);

    strbuf_printf(&line, tr("%lld  %s: %.*s"),
                  (long long)json_integer_value(json_object_get(disclosure, "number")),
                  patient ? patient : tr("every patient"), STR_ARG(rule));
    append_text(&line, disclosure, "from", tr("; documents from "));
    append_text(&line, disclosure, "to", tr("; documents until "));
    append_text(&line, disclosure, "valid_from", tr("; valid from "));
    append_text(&line, disclosure, "valid_to", tr("; valid until "));
    append_text(&line, disclosure, "reason", tr("; reason: "));
    append_text(&line, disclosure, "consent_document", tr("; consent document "));
    append_text(&line, disclosure, "added_by", tr("; added by "));
    append_text(&line, disclosure, "revoked_at", tr("; revoked at "));
    append_text(&line, disclosure, "revoked_by", tr(" by "));
    return str_dup(arena, strbuf_str(&line));
}
