#include "server/command/study_row.h"

#include <stdio.h>

#include "server/command/json.h"
#include "server/language.h"

static const DbStatement select_named = {"study_show", SELECT_STUDIES
                                         "WHERE s.study_uid = $1::text ORDER BY s.id"};

/** Of StudyFlag, in the order of its bits. */
static const char *const flag_names[] = {"wrong-character-set", "foreign", "different-bytes",
                                         "issuer-refused"};
static const char *const manifest_names[] = {"none", "source", "auto"};

int study_rows_read(const IdentityCommand *command, Str study_uid, DbResult **ret_rows)
{
    DbParams params;
    db_params_init(&params, command->arena);
    db_param_text(&params, study_uid);
    return db_exec(command->context->conn, command->context->req, &select_named, &params, ret_rows);
}

int study_rows_record_shown(const IdentityCommand *command, const DbResult *rows)
{
    const size_t count = (size_t)db_rows(rows);
    Str *patients = ARENA_ARRAY(command->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        patients[i] = study_row_patient(command->arena, rows, (int)i);
    }
    return count > 0 ? identity_command_record_shown(command, patients, count) : 0;
}

Str study_row_patient(Arena *arena, const DbResult *rows, int row)
{
    return str_printf(arena, "%.*s^^^&%.*s&ISO", STR_ARG(db_text(rows, row, STUDY_PATIENT_NUMBER)),
                      STR_ARG(db_text(rows, row, STUDY_AUTHORITY)));
}

const char *study_row_manifest(const DbResult *rows, int row)
{
    size_t kind = (size_t)db_i16(rows, row, STUDY_MANIFEST_KIND);
    return kind < ARRAY_LEN(manifest_names) ? manifest_names[kind] : "";
}

static json_t *flags_json(const DbResult *rows, int row)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
        if (db_i32(rows, row, STUDY_FLAGS) & 1 << i) {
            json_array_append_new(list, json_string(flag_names[i]));
        }
    }
    return list;
}

json_t *study_row_json(Arena *arena, const DbResult *rows, int row)
{
    static const struct {
        const char *name;
        int column;
    } texts[] = {
        {"study_uid", STUDY_UID},
        {"facility", STUDY_FACILITY},
        {"ae_title", STUDY_AE_TITLE},
        {"xad_pid", STUDY_XAD_PID},
        {"study_date", STUDY_DATE},
        {"accession_number", STUDY_ACCESSION},
        {"study_description", STUDY_DESCRIPTION},
        {"manifest_unique_id", STUDY_MANIFEST_UNIQUE_ID},
        {"manifest_failure", STUDY_MANIFEST_FAILURE},
        {"character_set", STUDY_CHARACTER_SET},
    };
    static const struct {
        const char *name;
        int column;
    } counts[] = {{"instances", STUDY_INSTANCES},
                  {"variants", STUDY_VARIANTS},
                  {"rejected", STUDY_REJECTED},
                  {"manifest_missing", STUDY_MANIFEST_MISSING}};
    json_t *study =
        json_pack("{s:o, s:o, s:o, s:o, s:s, s:b, s:i}", "patient",
                  json_text(study_row_patient(arena, rows, row)), "received_at",
                  identity_instant_json(arena, rows, row, STUDY_RECEIVED_AT), "changed_at",
                  identity_instant_json(arena, rows, row, STUDY_CHANGED_AT), "flags",
                  flags_json(rows, row), "manifest", study_row_manifest(rows, row),
                  "is_manifest_due", db_bool(rows, row, STUDY_IS_MANIFEST_DUE),
                  "character_set_confidence", (int)db_i16(rows, row, STUDY_CONFIDENCE));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_object_set_new(study, texts[i].name, json_text(db_text(rows, row, texts[i].column)));
    }
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        json_object_set_new(study, counts[i].name,
                            json_integer(db_i64(rows, row, counts[i].column)));
    }
    return study;
}

void study_row_print_flags(const DbResult *rows, int row)
{
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
        if (db_i32(rows, row, STUDY_FLAGS) & 1 << i) {
            printf("  %s", tr(flag_names[i]));
        }
    }
}
