#include <stdio.h>

#include "lib/base/clock.h"
#include "pix/matching/match.h"
#include "server/command_json.h"
#include "server/command_patient.h"
#include "server/language.h"

/* musubi patient review: pairs that matching left to a person. */

#define PAIR_COLUMNS                                                                               \
    "d.id, d.proposed_at, " IDENTITY_SCORE(                                                        \
        "d.score") ", d.evidence, d.verdict, d.decided_at, d.decided_by,"                          \
                   " one.authority, one.value, one_record.record, other.authority, other.value,"   \
                   " other_record.record"
#define PAIR_TABLES                                                                                \
    "link_decision d JOIN patient_identifier one ON one.id = d.one"                                \
    " JOIN patient_identifier other ON other.id = d.other"                                         \
    " LEFT JOIN patient_demographics one_record ON one_record.identifier = d.one"                  \
    " LEFT JOIN patient_demographics other_record ON other_record.identifier = d.other"

enum {
    COLUMN_NUMBER,
    COLUMN_PROPOSED,
    COLUMN_SCORE,
    COLUMN_EVIDENCE,
    COLUMN_VERDICT,
    COLUMN_DECIDED,
    COLUMN_DECIDED_BY,
    COLUMN_ONE,
    COLUMN_OTHER = COLUMN_ONE + 3,
};

static const DbStatement select_open = {
    "review_list",
    "SELECT " PAIR_COLUMNS " FROM " PAIR_TABLES " WHERE d.verdict IS NULL ORDER BY d.id LIMIT "
    "$1::int8",
};

static const DbStatement select_one = {
    "review_one",
    "SELECT " PAIR_COLUMNS " FROM " PAIR_TABLES " WHERE d.id = $1::int8",
};

static int read_rows(const IdentityCommand *command, const DbStatement *statement, int64_t value,
                     DbResult **ret_rows)
{
    DbParams params;

    db_params_init(&params, command->arena);
    db_param_i64(&params, value);
    return db_exec(command->context->conn, command->context->req, statement, &params, ret_rows);
}

/* List */

static json_t *record_json(const IdentityCommand *command, const DbResult *rows, int row,
                           int first_column)
{
    Str cx = identity_command_cx(command, db_i32(rows, row, first_column),
                                 db_text(rows, row, first_column + 1));
    json_t *demographics =
        db_is_null(rows, row, first_column + 2)
            ? json_null()
            : identity_demographics_json(command->arena, db_text(rows, row, first_column + 2));

    return json_pack("{s:o, s:o}", "identifier", json_text(cx), "demographics", demographics);
}

static json_t *pair_json(const IdentityCommand *command, const DbResult *rows, int row)
{
    Str evidence = db_text(rows, row, COLUMN_EVIDENCE);
    json_t *json = json_object();

    json_object_set_new(json, "number", json_integer(db_i64(rows, row, COLUMN_NUMBER)));
    json_object_set_new(json, "proposed_at",
                        identity_instant_json(command->arena, rows, row, COLUMN_PROPOSED));
    json_object_set_new(json, "score", identity_score_json(rows, row, COLUMN_SCORE));
    json_object_set_new(json, "evidence", json_text(evidence));
    json_object_set_new(json, "reason", json_text(match_explain(command->arena, evidence)));
    json_object_set_new(json, "one", record_json(command, rows, row, COLUMN_ONE));
    json_object_set_new(json, "other", record_json(command, rows, row, COLUMN_OTHER));
    return json;
}

static void print_record(const IdentityCommand *command, const json_t *record)
{
    Str line = identity_demographics_line(command->arena, json_object_get(record, "demographics"));

    printf("    %s\n      %.*s\n", json_string_value(json_object_get(record, "identifier")),
           STR_ARG(line));
}

static void print_pair(const IdentityCommand *command, const json_t *pair)
{
    const json_t *score = json_object_get(pair, "score");

    printf("%lld  %s", (long long)json_integer_value(json_object_get(pair, "number")),
           json_string_value(json_object_get(pair, "proposed_at")));
    if (json_is_real(score)) {
        printf(tr("  weight %.1f"), json_real_value(score));
    }
    printf("\n    %s\n", json_string_value(json_object_get(pair, "reason")));
    print_record(command, json_object_get(pair, "one"));
    print_record(command, json_object_get(pair, "other"));
}

/** One record of the whole list, as of a query. */
static int record_shown(const IdentityCommand *command, const DbResult *rows)
{
    static const int columns[] = {COLUMN_ONE, COLUMN_OTHER};
    Str *patients = ARENA_ARRAY(command->arena, Str, (size_t)db_rows(rows) * ARRAY_LEN(columns));
    size_t count = 0;

    for (int i = 0; i < db_rows(rows); i++) {
        for (size_t n = 0; n < ARRAY_LEN(columns); n++) {
            patients[count++] = identity_command_patient(command, db_i32(rows, i, columns[n]),
                                                         db_text(rows, i, columns[n] + 1));
        }
    }
    return count > 0 ? identity_command_record_shown(command, patients, count) : 0;
}

static int run_list(IdentityCommand *command)
{
    DbResult *rows = NULL;
    int64_t limit;

    if (identity_command_limit(command->options, &limit) != EXIT_GOOD) {
        return EXIT_USAGE;
    }
    if (read_rows(command, &select_open, limit, &rows) < 0 || record_shown(command, rows) < 0) {
        return EXIT_FAILED;
    }
    json_t *list = json_array();
    for (int i = 0; i < db_rows(rows); i++) {
        json_array_append_new(list, pair_json(command, rows, i));
    }
    if (command->options->json) {
        json_print(json_incref(list));
    } else {
        size_t i;
        json_t *pair;
        json_array_foreach(list, i, pair)
        {
            print_pair(command, pair);
        }
        printf(tr("%d pairs; decide with musubi patient review accept N, or reject N\n"),
               db_rows(rows));
    }
    json_decref(list);
    return db_rows(rows) > 0 ? EXIT_FOUND : EXIT_GOOD;
}

/* Decisions */

static Identifier identifier_of(const IdentityCommand *command, const DbResult *rows,
                                int first_column)
{
    const char *location =
        str_cstr(command->arena, identity_command_cx(command, db_i32(rows, 0, first_column),
                                                     db_text(rows, 0, first_column + 1)));

    return (Identifier){
        .authority = authorities_by_id(command->authorities, db_i32(rows, 0, first_column)),
        .value = str_dup(command->arena, db_text(rows, 0, first_column + 1)),
        .location = location,
        .authority_location = location,
    };
}

static int decide(IdentityCommand *command, const DbResult *rows, LinkKind kind)
{
    IdentityLink link = {
        .kind = kind,
        .reason = kind == LINK_SAME ? "review" : "unlink",
        .one = identifier_of(command, rows, COLUMN_ONE),
        .other = identifier_of(command, rows, COLUMN_OTHER),
        .moves_all = kind == LINK_SAME,
    };

    if (!link.one.authority || !link.other.authority) {
        (void)error_add(&command->context->req->errors, ERR_CONFIGURATION, NULL,
                        "an authority of this pair is not configured any more; musubi authority "
                        "list shows them");
        return EXIT_USAGE;
    }
    const Str patients[] = {
        hl7_cx_format(command->arena, link.one.value, link.one.authority->oid),
        hl7_cx_format(command->arena, link.other.value, link.other.authority->oid),
    };
    link.source = identity_command_source(command, command->arena, AUDIT_PATIENT_UPDATE, patients,
                                          ARRAY_LEN(patients));
    int rc = identity_link(command->services.pix, command->context->req, &link);
    if (rc == 0) {
        command_say(command->options,
                    kind == LINK_SAME
                        ? tr("accepted: the two are one patient now; musubi patient show tells "
                             "how to undo it")
                        : tr("rejected: matching never links the two again"));
    }
    return identity_command_status(rc);
}

static int run_decision(IdentityCommand *command)
{
    Str verb = str_from(command->options->arguments[1]);
    DbResult *rows = NULL;
    uint64_t number = 0;

    if ((!str_equal(verb, STR("accept")) && !str_equal(verb, STR("reject"))) ||
        !str_to_u64(str_from(command->options->arguments[2]), &number) || number > INT64_MAX) {
        return options_usage(command->options->command);
    }
    if (read_rows(command, &select_one, (int64_t)number, &rows) < 0) {
        return EXIT_FAILED;
    }
    if (db_rows(rows) == 0) {
        command_say(command->options, tr("there is no pair %llu; musubi patient review shows them"),
                    (unsigned long long)number);
        return EXIT_FOUND;
    }
    if (!db_is_null(rows, 0, COLUMN_VERDICT)) {
        Str at = clock_iso8601(command->arena, db_timestamp(rows, 0, COLUMN_DECIDED));
        command_say(command->options, tr("pair %llu was decided already: %.*s, by %.*s at %.*s"),
                    (unsigned long long)number, STR_ARG(db_text(rows, 0, COLUMN_VERDICT)),
                    STR_ARG(db_text(rows, 0, COLUMN_DECIDED_BY)), STR_ARG(at));
        return EXIT_FOUND;
    }
    return decide(command, rows, str_equal(verb, STR("accept")) ? LINK_SAME : LINK_DIFFERENT);
}

int patient_review(const Options *options, CommandContext *context)
{
    return identity_command_run(options, context,
                                options->argument_count == 1 ? run_list : run_decision);
}
