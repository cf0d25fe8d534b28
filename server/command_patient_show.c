#include <stdio.h>

#include "pix/matching/match.h"
#include "server/command_json.h"
#include "server/command_patient.h"
#include "server/enrolment.h"
#include "server/language.h"
#include "server/patient_history.h"

/* musubi patient show: one person as the identity manager knows it. */

/* The number asked for and all that are or were one person with it. */
static const DbStatement select_identifiers = {
    "patient_show_identifiers",
    "SELECT i.id, i.authority, i.value, i.person, i.is_xad_pid, i.is_announced, i.created_at,"
    " i.merged_at, survivor.value, record.record, record.updated_at, i.id = asked.id"
    " FROM patient_identifier asked JOIN patient_identifier i ON i.person = asked.person"
    " LEFT JOIN patient_identifier survivor ON survivor.id = i.survivor"
    " LEFT JOIN patient_demographics record ON record.identifier = i.id"
    " WHERE asked.authority = $1::int4 AND asked.value = $2::text"
    " ORDER BY i.is_xad_pid DESC, i.survivor NULLS FIRST, i.authority, i.id",
};

enum {
    COLUMN_ID,
    COLUMN_AUTHORITY,
    COLUMN_VALUE,
    COLUMN_PERSON,
    COLUMN_IS_XAD_PID,
    COLUMN_IS_ANNOUNCED,
    COLUMN_CREATED,
    COLUMN_MERGED,
    COLUMN_SURVIVOR,
    COLUMN_RECORD,
    COLUMN_UPDATED,
    COLUMN_IS_ASKED,
};

static const DbStatement select_proposals = {
    "patient_show_proposals",
    "SELECT d.id, d.proposed_at, " IDENTITY_SCORE(
        "d.score") ", d.evidence, one.authority,"
                   " one.value, other.authority, other.value FROM link_decision d"
                   " JOIN patient_identifier one ON one.id = d.one"
                   " JOIN patient_identifier other ON other.id = d.other"
                   " WHERE d.verdict IS NULL AND (d.one = ANY ($1::int8[]) OR d.other = ANY "
                   "($1::int8[]))"
                   " ORDER BY d.id",
};

static json_t *identifier_json(const IdentityCommand *command, const DbResult *rows, int row)
{
    const int32_t authority_id = db_i32(rows, row, COLUMN_AUTHORITY);
    const AssigningAuthority *authority = authorities_by_id(command->authorities, authority_id);
    Str value = db_text(rows, row, COLUMN_VALUE);
    json_t *json = json_object();

    json_object_set_new(json, "identifier",
                        json_text(identity_command_cx(command, authority_id, value)));
    json_object_set_new(json, "value", json_text(value));
    json_object_set_new(json, "authority",
                        authority ? identity_authority_json(authority) : json_null());
    json_object_set_new(json, "is_xad_pid", json_boolean(db_bool(rows, row, COLUMN_IS_XAD_PID)));
    json_object_set_new(json, "is_announced",
                        json_boolean(db_bool(rows, row, COLUMN_IS_ANNOUNCED)));
    json_object_set_new(json, "known_since",
                        identity_instant_json(command->arena, rows, row, COLUMN_CREATED));
    json_object_set_new(json, "merged_into", identity_text_json(rows, row, COLUMN_SURVIVOR));
    json_object_set_new(json, "merged_at",
                        identity_instant_json(command->arena, rows, row, COLUMN_MERGED));
    json_object_set_new(
        json, "demographics",
        db_is_null(rows, row, COLUMN_RECORD)
            ? json_null()
            : identity_demographics_json(command->arena, db_text(rows, row, COLUMN_RECORD)));
    json_object_set_new(json, "updated_at",
                        identity_instant_json(command->arena, rows, row, COLUMN_UPDATED));
    return json;
}

static int add_proposals(const IdentityCommand *command, const int64_t *ids, size_t count,
                         json_t *person)
{
    DbParams params;
    DbResult *rows = NULL;

    db_params_init(&params, command->arena);
    db_param_i64_array(&params, ids, count);
    int rc =
        db_exec(command->context->conn, command->context->req, &select_proposals, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    json_t *list = json_array();
    for (int i = 0; i < db_rows(rows); i++) {
        Str evidence = db_text(rows, i, 3);
        json_array_append_new(
            list,
            json_pack(
                "{s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "number", (json_int_t)db_i64(rows, i, 0),
                "proposed_at", identity_instant_json(command->arena, rows, i, 1), "score",
                identity_score_json(rows, i, 2), "evidence", json_text(evidence), "reason",
                json_text(match_explain(command->arena, evidence)), "one",
                json_text(identity_command_cx(command, db_i32(rows, i, 4), db_text(rows, i, 5))),
                "other",
                json_text(identity_command_cx(command, db_i32(rows, i, 6), db_text(rows, i, 7)))));
    }
    json_object_set_new(person, "proposals", list);
    return 0;
}

/** What the rows of one person say of it as a whole. */
static json_t *person_json(const IdentityCommand *command, const DbResult *rows, int64_t *ids)
{
    json_t *json = json_object();
    json_t *identifiers = json_array();
    json_t *xad_pid = json_null();
    bool is_announced = true;

    for (int i = 0; i < db_rows(rows); i++) {
        ids[i] = db_i64(rows, i, COLUMN_ID);
        json_array_append_new(identifiers, identifier_json(command, rows, i));
        if (db_bool(rows, i, COLUMN_IS_XAD_PID) && db_is_null(rows, i, COLUMN_MERGED)) {
            xad_pid = json_text(db_text(rows, i, COLUMN_VALUE));
            is_announced = db_bool(rows, i, COLUMN_IS_ANNOUNCED);
        }
        if (db_bool(rows, i, COLUMN_IS_ASKED)) {
            json_object_set_new(
                json, "asked",
                json_text(identity_command_cx(command, db_i32(rows, i, COLUMN_AUTHORITY),
                                              db_text(rows, i, COLUMN_VALUE))));
        }
    }
    json_object_set_new(json, "person", json_integer(db_i64(rows, 0, COLUMN_PERSON)));
    json_object_set_new(json, "is_waiting", json_boolean(json_is_null(xad_pid)));
    json_object_set_new(json, "is_announced", json_boolean(is_announced));
    json_object_set_new(json, "xad_pid", xad_pid);
    json_object_set_new(json, "identifiers", identifiers);
    return json;
}

/* Text */

static void print_identifier(const IdentityCommand *command, const json_t *identifier)
{
    const json_t *authority = json_object_get(identifier, "authority");
    const char *merged_into = json_string_value(json_object_get(identifier, "merged_into"));
    const char *facility = json_string_value(json_object_get(authority, "facility"));
    const char *kind = json_string_value(json_object_get(authority, "kind"));
    const json_t *demographics = json_object_get(identifier, "demographics");

    printf("  %s", json_string_value(json_object_get(identifier, "identifier")));
    if (facility && facility[0]) {
        printf("  %s", facility);
    }
    if (kind && kind[0]) {
        printf("  (%s)", kind);
    }
    if (merged_into) {
        printf(tr("  merged into %s at %s"), merged_into,
               json_string_value(json_object_get(identifier, "merged_at")));
    }
    printf("\n");
    if (json_is_object(demographics)) {
        printf("    %.*s\n", STR_ARG(identity_demographics_line(command->arena, demographics)));
    }
}

static void print_person(const IdentityCommand *command, const json_t *person)
{
    const char *xad_pid = json_string_value(json_object_get(person, "xad_pid"));
    size_t i;
    json_t *item;

    printf(tr("person %lld, "), (long long)json_integer_value(json_object_get(person, "person")));
    if (xad_pid) {
        printf(tr("XAD-PID %s%s\n"), xad_pid,
               json_is_true(json_object_get(person, "is_announced"))
                   ? ""
                   : tr(" (other registries do not know it yet)"));
    } else {
        (void)puts(tr("waits for its identifier of the affinity domain"));
    }
    enrolment_print(person);
    (void)puts(tr("identifiers:"));
    json_array_foreach(json_object_get(person, "identifiers"), i, item)
    {
        print_identifier(command, item);
    }
    patient_history_print(json_object_get(person, "links"), json_object_get(person, "merges"));
    json_array_foreach(json_object_get(person, "proposals"), i, item)
    {
        printf(tr("open proposal %lld: %s with %s: %s\n"),
               (long long)json_integer_value(json_object_get(item, "number")),
               json_string_value(json_object_get(item, "one")),
               json_string_value(json_object_get(item, "other")),
               json_string_value(json_object_get(item, "reason")));
    }
}

static int record_shown(const IdentityCommand *command, const DbResult *rows)
{
    const size_t count = (size_t)db_rows(rows);
    Str *patients = ARENA_ARRAY(command->arena, Str, count);

    for (size_t i = 0; i < count; i++) {
        patients[i] = identity_command_patient(command, db_i32(rows, (int)i, COLUMN_AUTHORITY),
                                               db_text(rows, (int)i, COLUMN_VALUE));
    }
    return identity_command_record_shown(command, patients, count);
}

static int show_person(IdentityCommand *command, const DbResult *rows)
{
    int64_t *ids = ARENA_ARRAY(command->arena, int64_t, (size_t)db_rows(rows));
    const size_t count = (size_t)db_rows(rows);
    json_t *person = person_json(command, rows, ids);
    int rc = patient_history_add(command, ids, count, db_i64(rows, 0, COLUMN_PERSON), person);

    if (rc == 0) {
        rc = add_proposals(command, ids, count, person);
    }
    if (rc == 0) {
        rc = enrolment_add(command, ids, count, person);
    }
    if (rc == 0) {
        rc = record_shown(command, rows);
    }
    if (rc == 0 && command->options->json) {
        json_print(json_incref(person));
    } else if (rc == 0) {
        print_person(command, person);
    }
    json_decref(person);
    return rc == 0 ? EXIT_GOOD : EXIT_FAILED;
}

static int run_show(IdentityCommand *command)
{
    Identifier asked;
    DbParams params;
    DbResult *rows = NULL;
    int rc = identity_command_parse_one(command, command->options->arguments[1], &asked);

    if (rc < 0) {
        return identity_command_status(rc);
    }
    db_params_init(&params, command->arena);
    db_param_i32(&params, asked.authority->id);
    db_param_text(&params, asked.value);
    if (db_exec(command->context->conn, command->context->req, &select_identifiers, &params,
                &rows) < 0) {
        return EXIT_FAILED;
    }
    if (db_rows(rows) == 0) {
        command_say(command->options,
                    tr("no patient is known by %.*s; musubi authority test %s tells what it may "
                       "be"),
                    STR_ARG(authority_format_cx(command->arena, asked.authority, asked.value)),
                    command->options->arguments[1]);
        return EXIT_FOUND;
    }
    return show_person(command, rows);
}

int patient_show(const Options *options, CommandContext *context)
{
    return identity_command_run(options, context, run_show);
}
