#include <stdio.h>

#include "lib/base/clock.h"
#include "server/command/identity_command.h"
#include "server/command/json.h"
#include "server/command/study_row.h"
#include "server/language.h"

/* musubi study: what is kept of images, what waits for its patient, and what is of several persons
 * at once. */

static const DbStatement select_latest = {"study_list",
                                          SELECT_STUDIES "ORDER BY s.id DESC LIMIT $1::bigint"};

static const DbStatement select_waiting = {"study_waiting", SELECT_STUDIES
                                           "WHERE x.id IS NULL ORDER BY s.id LIMIT $1::bigint"};

static const DbStatement select_conflicts = {"study_conflicts", SELECT_STUDIES
                                             "WHERE s.study_uid IN (" CONFLICTING_STUDIES
                                             ") ORDER BY s.study_uid, s.id LIMIT $1::bigint"};

static void print_study(Arena *arena, const DbResult *rows, int row)
{
    Str received = clock_iso8601(arena, db_timestamp(rows, row, STUDY_RECEIVED_AT));
    printf("%.*s\n", STR_ARG(db_text(rows, row, STUDY_UID)));
    printf(tr("    patient %.*s, facility %.*s, AE %.*s\n"),
           STR_ARG(str_printable(arena, study_row_patient(arena, rows, row))),
           STR_ARG(str_printable(arena, db_text(rows, row, STUDY_FACILITY))),
           STR_ARG(str_printable(arena, db_text(rows, row, STUDY_AE_TITLE))));
    printf(tr("    %lld instances, received %.*s, manifest: %s"),
           (long long)db_i64(rows, row, STUDY_INSTANCES), STR_ARG(received),
           tr(study_row_manifest(rows, row)));
    if (str_is_empty(db_text(rows, row, STUDY_XAD_PID))) {
        printf("  %s", tr("the patient is unknown: it waits"));
    }
    if (db_i64(rows, row, STUDY_MANIFEST_MISSING) > 0) {
        printf("  ");
        printf(tr("%lld listed instances are not here"),
               (long long)db_i64(rows, row, STUDY_MANIFEST_MISSING));
    }
    study_row_print_flags(rows, row);
    printf("\n");
}

/** What is known of one study, beyond what a list shows. */
static void print_details(Arena *arena, const DbResult *rows, int row)
{
    static const struct {
        const char *label;
        int column;
    } texts[] = {
        {"XAD-PID", STUDY_XAD_PID},
        {"study date", STUDY_DATE},
        {"accession", STUDY_ACCESSION},
        {"description", STUDY_DESCRIPTION},
        {"character set", STUDY_CHARACTER_SET},
        {"manifest", STUDY_MANIFEST_UNIQUE_ID},
        {"no manifest", STUDY_MANIFEST_FAILURE},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        Str text = db_text(rows, row, texts[i].column);
        if (!str_is_empty(text)) {
            printf("    %s: %.*s\n", tr(texts[i].label), STR_ARG(str_printable(arena, text)));
        }
    }
    if (db_bool(rows, row, STUDY_IS_MANIFEST_DUE)) {
        printf("    %s\n", tr("a manifest will be made when the study has been quiet"));
    }
    if (db_i64(rows, row, STUDY_REJECTED) > 0) {
        printf("    %s: %lld\n", tr("rejected, given out no more"),
               (long long)db_i64(rows, row, STUDY_REJECTED));
    }
    if (db_i64(rows, row, STUDY_VARIANTS) > 0) {
        printf("    %s: %lld\n", tr("other bytes under a known UID, never given out"),
               (long long)db_i64(rows, row, STUDY_VARIANTS));
    }
}

static int show(const IdentityCommand *command, const DbResult *rows, bool has_details)
{
    if (study_rows_record_shown(command, rows) < 0) {
        return EXIT_FAILED;
    }
    json_t *list = command->options->json ? json_array() : NULL;
    for (int i = 0; i < db_rows(rows); i++) {
        if (list) {
            json_array_append_new(list, study_row_json(command->arena, rows, i));
            continue;
        }
        print_study(command->arena, rows, i);
        if (has_details) {
            print_details(command->arena, rows, i);
        }
    }
    if (list) {
        json_print(list);
    }
    return db_rows(rows) > 0 ? EXIT_FOUND : EXIT_GOOD;
}

static int show_several(const IdentityCommand *command, const DbStatement *statement)
{
    int64_t limit = 0;
    DbParams params;
    DbResult *rows = NULL;
    int status = identity_command_limit(command->options, &limit);
    if (status != EXIT_GOOD) {
        return status;
    }
    db_params_init(&params, command->arena);
    db_param_i64(&params, limit);
    int rc = db_exec(command->context->conn, command->context->req, statement, &params, &rows);
    return rc < 0 ? EXIT_FAILED : show(command, rows, false);
}

static int run_list(IdentityCommand *command)
{
    int status = show_several(command, &select_latest);
    return status == EXIT_FOUND ? EXIT_GOOD : status;
}

static int run_waiting(IdentityCommand *command)
{
    return show_several(command, &select_waiting);
}

static int run_conflicts(IdentityCommand *command)
{
    return show_several(command, &select_conflicts);
}

static int run_show(IdentityCommand *command)
{
    DbResult *rows = NULL;
    Str study_uid = str_trim(str_from(command->options->arguments[1]));
    int rc = study_rows_read(command, study_uid, &rows);
    int status = rc < 0 ? EXIT_FAILED : show(command, rows, true);
    return status == EXIT_FOUND ? EXIT_GOOD : status == EXIT_GOOD ? EXIT_FOUND : status;
}

IDENTITY_SUBCOMMAND(study_list, run_list)
IDENTITY_SUBCOMMAND(study_show, run_show)
IDENTITY_SUBCOMMAND(study_waiting, run_waiting)
IDENTITY_SUBCOMMAND(study_conflicts, run_conflicts)

int command_study(const Options *options)
{
    static const Subcommand subcommands[] = {{"list", 0, 0, study_list},
                                             {"show", 1, 1, study_show},
                                             {"waiting", 0, 0, study_waiting},
                                             {"conflicts", 0, 0, study_conflicts}};

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
