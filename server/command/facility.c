#include "server/command/facility.h"

#include <stdio.h>

#include "server/command/audited_change.h"
#include "server/command/csv.h"
#include "server/command/json.h"
#include "server/language.h"

/* musubi facility */

#define MAX_NAME_LEN 64

static const DbStatement insert_facilities = {
    "facility_insert",
    "INSERT INTO facility (name) SELECT DISTINCT unnest($1::text[]) ON CONFLICT (name) DO NOTHING "
    "RETURNING name",
};

static const DbStatement select_facilities = {
    "facility_list",
    "SELECT name, (SELECT count(*) FROM node WHERE facility = facility.id AND revoked_at IS NULL),"
    " (SELECT count(*) FROM assigning_authority WHERE facility = facility.id AND is_configured)"
    " FROM facility ORDER BY name",
};

bool facility_is_name(Str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.data[i] < ' ') {
            return false;
        }
    }
    return name.len > 0 && name.len <= MAX_NAME_LEN && str_is_utf8(name);
}

int facility_store(const CommandContext *context, const Str *names, size_t count,
                   int64_t *ret_added)
{
    DbParams params;
    DbResult *result = NULL;

    db_params_init(&params, context->arena);
    db_param_text_array(&params, names, count);
    int rc = db_exec(context->conn, context->req, &insert_facilities, &params, &result);
    for (int i = 0; rc == 0 && i < db_rows(result); i++) {
        const AuditedChange change = {
            .kind = CHANGED_FACILITY, .name = db_text(result, i, 0), .action = "add"};
        rc = audited_change_record(context, &change);
    }
    if (rc == 0 && ret_added) {
        *ret_added = db_rows(result);
    }
    return rc;
}

static int facility_add(const Options *options, CommandContext *context)
{
    Str name = str_trim(str_from(options->arguments[1]));
    int64_t added = 0;

    if (!facility_is_name(name)) {
        return command_usage("a facility's name has 1 to 64 bytes of UTF-8");
    }
    if (command_begin(context) < 0 || facility_store(context, &name, 1, &added) < 0 ||
        db_commit(context->conn, context->req, NULL) < 0) {
        return EXIT_FAILED;
    }
    command_say(options,
                added > 0 ? tr("facility %.*s added") : tr("facility %.*s was there already"),
                STR_ARG(name));
    return EXIT_GOOD;
}

static const char *const csv_columns[] = {"name"};

static int check_rows(const CommandContext *context, const CsvFile *file, Str *ret_names)
{
    ErrorList *errors = &context->req->errors;

    for (size_t i = 0; i < file->row_count; i++) {
        ret_names[i] = file->rows[i].fields[0];
        if (!facility_is_name(ret_names[i])) {
            (void)error_add(errors, ERR_CONFIGURATION,
                            csv_location(context->arena, file, &file->rows[i]),
                            "a facility's name has 1 to 64 bytes of UTF-8");
        }
    }
    return errors->error_count > 0 ? -ERR_CONFIGURATION : 0;
}

/** All rows are checked; all are stored, or none. */
static int facility_import(const Options *options, CommandContext *context)
{
    CsvFile file;
    int64_t added = 0;
    int rc = csv_read(context->arena, &context->req->errors, options->arguments[1], csv_columns,
                      ARRAY_LEN(csv_columns), &file);
    if (rc < 0) {
        return command_status_of(rc);
    }
    Str *names = ARENA_ARRAY(context->arena, Str, file.row_count);
    if ((rc = check_rows(context, &file, names)) == 0 && (rc = command_begin(context)) == 0 &&
        (rc = facility_store(context, names, file.row_count, &added)) == 0) {
        rc = command_finish(options, context);
    }
    if (rc == 0) {
        command_say(options,
                    options->dry_run
                        ? tr("%zu facilities checked, nothing changed, %lld of them new")
                        : tr("%zu facilities imported, %lld of them new"),
                    file.row_count, (long long)added);
    }
    return command_status_of(rc);
}

static json_t *facility_json(const CommandContext *context, const DbResult *rows, int row)
{
    (void)context;
    return json_pack("{s:o, s:I, s:I}", "name", json_text(db_text(rows, row, 0)), "nodes",
                     (json_int_t)db_i64(rows, row, 1), "authorities",
                     (json_int_t)db_i64(rows, row, 2));
}

static void print_facility(const CommandContext *context, const DbResult *rows, int row)
{
    command_print_cell(str_cstr(context->arena, db_text(rows, row, 0)), 30);
    printf(tr("%lld nodes, %lld authorities\n"), (long long)db_i64(rows, row, 1),
           (long long)db_i64(rows, row, 2));
}

static int facility_list(const Options *options, CommandContext *context)
{
    DbResult *rows = NULL;

    if (db_exec(context->conn, context->req, &select_facilities, NULL, &rows) < 0) {
        return EXIT_FAILED;
    }
    command_list_rows(options, context, rows, facility_json, print_facility);
    return EXIT_GOOD;
}

int command_facility(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 1, 1, facility_add},
        {"list", 0, 0, facility_list},
        {"import", 1, 1, facility_import},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
