#include <stdio.h>

#include "lib/base/clock.h"
#include "server/command_json.h"
#include "server/identity_command.h"
#include "server/language.h"

/* musubi study: what is kept of images, what waits for its patient, and what is of several persons
 * at once. */

/* $1 how many. */
#define SELECT_STUDIES                                                                             \
    "SELECT s.study_uid, coalesce(f.name, ''), s.ae_title, s.patient_number, "                     \
    "coalesce(a.oid, ''), coalesce(x.value, ''), s.study_date, s.accession_number, "               \
    "s.study_description, s.received_at, s.changed_at, s.flags, s.manifest_kind, "                 \
    "s.is_manifest_due, s.manifest_unique_id, s.manifest_failure, s.character_set, "               \
    "s.character_set_confidence, "                                                                 \
    "(SELECT count(*) FROM imaging_instance i WHERE i.study = s.id AND i.variant = 0 "             \
    "AND i.rejected = ''), "                                                                       \
    "(SELECT count(*) FROM imaging_instance i JOIN imaging_series r ON r.id = i.series "           \
    "WHERE r.study = s.id AND i.variant > 0), "                                                    \
    "(SELECT count(*) FROM imaging_instance i JOIN imaging_series r ON r.id = i.series "           \
    "WHERE r.study = s.id AND i.variant = 0 AND i.rejected <> ''), "                               \
    "(SELECT count(*) FROM imaging_source_manifest m, unnest(m.sop_instances) w (uid) "            \
    "WHERE m.study_uid = s.study_uid AND m.facility = s.facility AND NOT EXISTS "                  \
    "(SELECT FROM imaging_instance i WHERE i.sop_instance = w.uid AND i.variant = 0)) "            \
    "FROM imaging_study s LEFT JOIN facility f ON f.id = s.facility "                              \
    "LEFT JOIN assigning_authority a ON a.id = s.authority "                                       \
    "LEFT JOIN patient_identifier p ON p.authority = s.authority AND p.value = s.patient_number "  \
    "COLLATE \"default\" "                                                                         \
    "LEFT JOIN patient_identifier x ON x.person = p.person AND x.is_xad_pid "                      \
    "AND x.survivor IS NULL "

static const DbStatement select_latest = {"study_list",
                                          SELECT_STUDIES "ORDER BY s.id DESC LIMIT $1::bigint"};

static const DbStatement select_waiting = {"study_waiting", SELECT_STUDIES
                                           "WHERE x.id IS NULL ORDER BY s.id LIMIT $1::bigint"};

static const DbStatement select_conflicts = {
    "study_conflicts", SELECT_STUDIES
    "WHERE EXISTS (SELECT FROM imaging_study o JOIN patient_identifier q "
    "ON q.authority = o.authority AND q.value = o.patient_number COLLATE \"default\" "
    "WHERE o.study_uid = s.study_uid AND o.id <> s.id AND q.person <> p.person) "
    "ORDER BY s.study_uid, s.id LIMIT $1::bigint"};

static const DbStatement select_named = {"study_show", SELECT_STUDIES
                                         "WHERE s.study_uid = $1::text ORDER BY s.id"};

enum {
    COLUMN_STUDY_UID,
    COLUMN_FACILITY,
    COLUMN_AE_TITLE,
    COLUMN_PATIENT_NUMBER,
    COLUMN_AUTHORITY,
    COLUMN_XAD_PID,
    COLUMN_DATE,
    COLUMN_ACCESSION,
    COLUMN_DESCRIPTION,
    COLUMN_RECEIVED_AT,
    COLUMN_CHANGED_AT,
    COLUMN_FLAGS,
    COLUMN_MANIFEST_KIND,
    COLUMN_IS_MANIFEST_DUE,
    COLUMN_MANIFEST_UNIQUE_ID,
    COLUMN_MANIFEST_FAILURE,
    COLUMN_CHARACTER_SET,
    COLUMN_CONFIDENCE,
    COLUMN_INSTANCES,
    COLUMN_VARIANTS,
    COLUMN_REJECTED,
    COLUMN_MANIFEST_MISSING,
};

/** Of StudyFlag, in the order of its bits. */
static const char *const flag_names[] = {"wrong-character-set", "foreign", "different-bytes",
                                         "issuer-refused"};
static const char *const manifest_names[] = {"none", "source", "auto"};

static Str patient_of(Arena *arena, const DbResult *rows, int row)
{
    return str_printf(arena, "%.*s^^^&%.*s&ISO", STR_ARG(db_text(rows, row, COLUMN_PATIENT_NUMBER)),
                      STR_ARG(db_text(rows, row, COLUMN_AUTHORITY)));
}

/** Before patients are shown (contract C4). */
static int record_shown(const IdentityCommand *command, const DbResult *rows)
{
    const size_t count = (size_t)db_rows(rows);
    Str *patients = ARENA_ARRAY(command->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        patients[i] = patient_of(command->arena, rows, (int)i);
    }
    return count > 0 ? identity_command_record_shown(command, patients, count) : 0;
}

static const char *manifest_name(const DbResult *rows, int row)
{
    size_t kind = (size_t)db_i16(rows, row, COLUMN_MANIFEST_KIND);
    return kind < ARRAY_LEN(manifest_names) ? manifest_names[kind] : "";
}

static json_t *flags_json(const DbResult *rows, int row)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
        if (db_i32(rows, row, COLUMN_FLAGS) & 1 << i) {
            json_array_append_new(list, json_string(flag_names[i]));
        }
    }
    return list;
}

static json_t *study_json(Arena *arena, const DbResult *rows, int row)
{
    static const struct {
        const char *name;
        int column;
    } texts[] = {
        {"study_uid", COLUMN_STUDY_UID},
        {"facility", COLUMN_FACILITY},
        {"ae_title", COLUMN_AE_TITLE},
        {"xad_pid", COLUMN_XAD_PID},
        {"study_date", COLUMN_DATE},
        {"accession_number", COLUMN_ACCESSION},
        {"study_description", COLUMN_DESCRIPTION},
        {"manifest_unique_id", COLUMN_MANIFEST_UNIQUE_ID},
        {"manifest_failure", COLUMN_MANIFEST_FAILURE},
        {"character_set", COLUMN_CHARACTER_SET},
    };
    static const struct {
        const char *name;
        int column;
    } counts[] = {{"instances", COLUMN_INSTANCES},
                  {"variants", COLUMN_VARIANTS},
                  {"rejected", COLUMN_REJECTED},
                  {"manifest_missing", COLUMN_MANIFEST_MISSING}};
    json_t *study = json_pack(
        "{s:o, s:o, s:o, s:o, s:s, s:b, s:i}", "patient", json_text(patient_of(arena, rows, row)),
        "received_at", identity_instant_json(arena, rows, row, COLUMN_RECEIVED_AT), "changed_at",
        identity_instant_json(arena, rows, row, COLUMN_CHANGED_AT), "flags", flags_json(rows, row),
        "manifest", manifest_name(rows, row), "is_manifest_due",
        db_bool(rows, row, COLUMN_IS_MANIFEST_DUE), "character_set_confidence",
        (int)db_i16(rows, row, COLUMN_CONFIDENCE));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_object_set_new(study, texts[i].name, json_text(db_text(rows, row, texts[i].column)));
    }
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        json_object_set_new(study, counts[i].name,
                            json_integer(db_i64(rows, row, counts[i].column)));
    }
    return study;
}

static void print_flags(const DbResult *rows, int row)
{
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
        if (db_i32(rows, row, COLUMN_FLAGS) & 1 << i) {
            printf("  %s", tr(flag_names[i]));
        }
    }
}

static void print_study(Arena *arena, const DbResult *rows, int row)
{
    Str received = clock_iso8601(arena, db_timestamp(rows, row, COLUMN_RECEIVED_AT));
    printf("%.*s\n", STR_ARG(db_text(rows, row, COLUMN_STUDY_UID)));
    printf(tr("    patient %.*s, facility %.*s, AE %.*s\n"),
           STR_ARG(str_printable(arena, patient_of(arena, rows, row))),
           STR_ARG(str_printable(arena, db_text(rows, row, COLUMN_FACILITY))),
           STR_ARG(str_printable(arena, db_text(rows, row, COLUMN_AE_TITLE))));
    printf(tr("    %lld instances, received %.*s, manifest: %s"),
           (long long)db_i64(rows, row, COLUMN_INSTANCES), STR_ARG(received),
           tr(manifest_name(rows, row)));
    if (str_is_empty(db_text(rows, row, COLUMN_XAD_PID))) {
        printf("  %s", tr("the patient is unknown: it waits"));
    }
    if (db_i64(rows, row, COLUMN_MANIFEST_MISSING) > 0) {
        printf("  ");
        printf(tr("%lld listed instances are not here"),
               (long long)db_i64(rows, row, COLUMN_MANIFEST_MISSING));
    }
    print_flags(rows, row);
    printf("\n");
}

static int show(const IdentityCommand *command, const DbStatement *statement,
                const DbParams *params)
{
    DbResult *rows = NULL;
    if (db_exec(command->context->conn, command->context->req, statement, params, &rows) < 0 ||
        record_shown(command, rows) < 0) {
        return EXIT_FAILED;
    }
    json_t *list = command->options->json ? json_array() : NULL;
    for (int i = 0; i < db_rows(rows); i++) {
        if (list) {
            json_array_append_new(list, study_json(command->arena, rows, i));
        } else {
            print_study(command->arena, rows, i);
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
    int status = identity_command_limit(command->options, &limit);
    if (status != EXIT_GOOD) {
        return status;
    }
    db_params_init(&params, command->arena);
    db_param_i64(&params, limit);
    return show(command, statement, &params);
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
    DbParams params;
    db_params_init(&params, command->arena);
    db_param_text(&params, str_trim(str_from(command->options->arguments[1])));
    int status = show(command, &select_named, &params);
    return status == EXIT_FOUND ? EXIT_GOOD : status == EXIT_GOOD ? EXIT_FOUND : status;
}

#define SUBCOMMAND(name)                                                                           \
    static int study_##name(const Options *options, CommandContext *context)                       \
    {                                                                                              \
        return identity_command_run(options, context, run_##name);                                 \
    }
SUBCOMMAND(list)
SUBCOMMAND(show)
SUBCOMMAND(waiting)
SUBCOMMAND(conflicts)
#undef SUBCOMMAND

int command_study(const Options *options)
{
    static const Subcommand subcommands[] = {{"list", 0, 0, study_list},
                                             {"show", 1, 1, study_show},
                                             {"waiting", 0, 0, study_waiting},
                                             {"conflicts", 0, 0, study_conflicts}};

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
