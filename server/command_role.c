#include <stdio.h>

#include "server/audited_change.h"
#include "server/coded_text.h"
#include "server/command_json.h"
#include "server/language.h"

/* musubi role: how much a role gets of what is disclosed, which confidentiality codes it may see,
 * and which roles of assertions it stands for. */

static const char *const level_names[] = {"none", "view", "download"};

static const DbStatement select_roles = {
    "role_select",
    "SELECT r.name, r.level, r.may_break_glass,"
    " ARRAY(SELECT code || '^^' || code_system FROM access_role_code WHERE role = r.name ORDER "
    "BY"
    " 1)," CODED_TEXTS("ARRAY(SELECT code FROM access_role_confidentiality WHERE role = "
                       "r.name)") " FROM access_role r ORDER BY r.level DESC, r.name",
};

static const DbStatement upsert_role = {
    "role_upsert",
    "INSERT INTO access_role (name, level, may_break_glass) VALUES ($1::text, $2::int2,"
    " $3::boolean) ON CONFLICT (name) DO UPDATE SET level = excluded.level,"
    " may_break_glass = excluded.may_break_glass",
};

static const DbStatement select_role = {"role_exists",
                                        "SELECT FROM access_role WHERE name = $1::text"};

static const DbStatement permit_codes = {
    "role_permit",
    "INSERT INTO access_role_confidentiality (role, code) SELECT $1::text, unnest($2::int4[])"
    " ON CONFLICT DO NOTHING",
};

static const DbStatement forbid_codes = {
    "role_forbid",
    "DELETE FROM access_role_confidentiality WHERE role = $1::text AND code = ANY ($2::int4[])",
};

static const DbStatement upsert_role_code = {
    "role_code_upsert",
    "INSERT INTO access_role_code (role, code, code_system) VALUES ($1::text, $2::text, $3::text)"
    " ON CONFLICT (code, code_system) DO UPDATE SET role = excluded.role",
};

static const DbStatement delete_role_code = {
    "role_code_delete",
    "DELETE FROM access_role_code WHERE role = $1::text AND code = $2::text"
    " AND code_system = $3::text",
};

static int fault(const IdentityCommand *command, const char *problem, Str value)
{
    return error_add(&command->context->req->errors, ERR_CONFIGURATION, "role", "%s: %.*s", problem,
                     STR_ARG(value));
}

static Str role_name(const IdentityCommand *command)
{
    return str_trim(str_from(command->options->arguments[1]));
}

static int record(const IdentityCommand *command, const char *action, Str detail)
{
    const AuditedChange change = {
        .kind = CHANGED_ROLE, .name = role_name(command), .action = action, .detail = detail};
    return audited_change_record(command->context, &change);
}

/** Ends the transaction of a change that went well. */
static int finish(const IdentityCommand *command, int rc)
{
    const CommandContext *context = command->context;

    rc = rc < 0 ? rc : db_commit(context->conn, context->req, NULL);
    if (rc == 0) {
        command_say(command->options, tr("role %s is changed; it counts from now on"),
                    command->options->arguments[1]);
    }
    return identity_command_status(rc);
}

static int check_role(const IdentityCommand *command)
{
    DbParams params;
    DbResult *rows = NULL;

    db_params_init(&params, command->arena);
    db_param_text(&params, role_name(command));
    int rc = db_exec(command->context->conn, command->context->req, &select_role, &params, &rows);
    return rc == 0 && db_rows(rows) == 0
               ? fault(command, tr("there is no such role; musubi role list shows them"),
                       role_name(command))
               : rc;
}

/* ---- add ---- */

static bool is_name(Str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (!is_good) {
            return false;
        }
    }
    return name.len > 0 && name.len <= 64;
}

static bool read_level(Str text, int16_t *ret_level)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (str_equal(text, str_from(level_names[i]))) {
            *ret_level = (int16_t)i;
            return true;
        }
    }
    return false;
}

static int run_add(IdentityCommand *command)
{
    const Options *options = command->options;
    int16_t level = 0;
    DbParams params;

    if (!is_name(role_name(command))) {
        return command_usage("%s", tr("a role's name has up to 64 of a-z, 0-9, - and _"));
    }
    if (!read_level(str_from(options->level), &level)) {
        return command_usage("%s", tr("write --level none, view or download"));
    }
    db_params_init(&params, command->arena);
    db_param_text(&params, role_name(command));
    db_param_i16(&params, level);
    db_param_bool(&params, options->breaks_glass);
    int rc = command_begin(command->context);
    rc = rc < 0
             ? rc
             : db_exec(command->context->conn, command->context->req, &upsert_role, &params, NULL);
    rc = rc < 0 ? rc
                : record(command, "set",
                         str_printf(command->arena, "level %s%s", level_names[level],
                                    options->breaks_glass ? ", may break the glass" : ""));
    return finish(command, rc);
}

/* ---- confidentiality ---- */

static int change_codes(IdentityCommand *command, const DbStatement *statement, const char *action)
{
    const Options *options = command->options;
    int32_t *ids = NULL;
    size_t count = 0;
    DbParams params;
    int rc = command_begin(command->context);

    rc = rc < 0 ? rc : check_role(command);
    rc = rc < 0 ? rc
                : coded_text_intern(command, "role", "confidentialityCode",
                                    str_from(options->arguments[2]), &ids, &count);
    db_params_init(&params, command->arena);
    db_param_text(&params, role_name(command));
    db_param_i32_array(&params, ids, count);
    rc = rc < 0 ? rc
                : db_exec(command->context->conn, command->context->req, statement, &params, NULL);
    rc = rc < 0 ? rc : record(command, action, str_from(options->arguments[2]));
    return finish(command, rc);
}

static int run_permit(IdentityCommand *command)
{
    return change_codes(command, &permit_codes, "permit");
}

static int run_forbid(IdentityCommand *command)
{
    return change_codes(command, &forbid_codes, "forbid");
}

/* ---- roles of assertions ---- */

static int change_role_code(IdentityCommand *command, const DbStatement *statement,
                            const char *action)
{
    Str text = str_trim(str_from(command->options->arguments[2]));
    const size_t at = str_find(text, STR("^^"));
    DbParams params;

    if (at == SIZE_MAX || at == 0 || at + 2 == text.len) {
        return command_usage("%s", tr("write a code as CODE^^SYSTEM"));
    }
    db_params_init(&params, command->arena);
    db_param_text(&params, role_name(command));
    db_param_text(&params, str_slice(text, 0, at));
    db_param_text(&params, str_from_offset(text, at + 2));
    int rc = command_begin(command->context);
    rc = rc < 0 ? rc : check_role(command);
    rc = rc < 0 ? rc
                : db_exec(command->context->conn, command->context->req, statement, &params, NULL);
    rc = rc < 0 ? rc : record(command, action, text);
    return finish(command, rc);
}

static int run_code(IdentityCommand *command)
{
    return change_role_code(command, &upsert_role_code, "code");
}

static int run_uncode(IdentityCommand *command)
{
    return change_role_code(command, &delete_role_code, "uncode");
}

/* ---- list ---- */

static json_t *list_json(const IdentityCommand *command, const DbResult *rows, int row, int column)
{
    Str *texts = NULL;
    size_t count = db_text_array(rows, row, column, command->arena, &texts);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_text(texts[i]));
    }
    return list;
}

static void print_list(const char *label, json_t *list)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
    {
        printf("    %s %s\n", label, json_string_value(item));
    }
    json_decref(list);
}

static void print_role(const IdentityCommand *command, const DbResult *rows, int row)
{
    command_print_cell(str_cstr(command->arena, db_text(rows, row, 0)), 20);
    printf("%s%s\n", tr(level_names[db_i16(rows, row, 1)]),
           db_bool(rows, row, 2) ? tr(", may break the glass") : "");
    print_list(tr("role of assertions"), list_json(command, rows, row, 3));
    print_list(tr("may see"), list_json(command, rows, row, 4));
}

static int run_list(IdentityCommand *command)
{
    DbResult *rows = NULL;

    if (db_exec(command->context->conn, command->context->req, &select_roles, NULL, &rows) < 0) {
        return EXIT_FAILED;
    }
    json_t *list = command->options->json ? json_array() : NULL;
    for (int i = 0; i < db_rows(rows); i++) {
        if (list) {
            json_array_append_new(
                list, json_pack("{s:o, s:s, s:b, s:o, s:o}", "name", json_text(db_text(rows, i, 0)),
                                "level", level_names[db_i16(rows, i, 1)], "may_break_glass",
                                db_bool(rows, i, 2), "codes", list_json(command, rows, i, 3),
                                "confidentiality", list_json(command, rows, i, 4)));
        } else {
            print_role(command, rows, i);
        }
    }
    if (list) {
        json_print(list);
    }
    return EXIT_GOOD;
}

#define SUBCOMMAND(name)                                                                           \
    static int role_##name(const Options *options, CommandContext *context)                        \
    {                                                                                              \
        return identity_command_run(options, context, run_##name);                                 \
    }
SUBCOMMAND(add)
SUBCOMMAND(list)
SUBCOMMAND(permit)
SUBCOMMAND(forbid)
SUBCOMMAND(code)
SUBCOMMAND(uncode)
#undef SUBCOMMAND

int command_role(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 1, 1, role_add},       {"list", 0, 0, role_list}, {"permit", 2, 2, role_permit},
        {"forbid", 2, 2, role_forbid}, {"code", 2, 2, role_code}, {"uncode", 2, 2, role_uncode},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
