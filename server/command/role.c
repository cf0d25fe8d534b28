#include <stdio.h>

#include "lib/access/role_table.h"
#include "server/command/audited_change.h"
#include "server/command/coded_text.h"
#include "server/command/json.h"
#include "server/language.h"

/* musubi role: how much a role gets of what is disclosed, which confidentiality codes it may see,
 * and which roles of assertions it stands for. */

static const char *const level_names[] = {"none", "view", "download"};

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
    bool is_known = false;
    int rc = role_table_has(command->context->conn, command->context->req, role_name(command),
                            &is_known);
    return rc == 0 && !is_known
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
    RoleRow role = {.name = role_name(command), .may_break_glass = options->breaks_glass};

    if (!is_name(role.name)) {
        return command_usage("%s", tr("a role's name has up to 64 of a-z, 0-9, - and _"));
    }
    if (!read_level(str_from(options->level), &role.level)) {
        return command_usage("%s", tr("write --level none, view or download"));
    }
    int rc = command_begin(command->context);
    rc = rc < 0 ? rc : role_table_store(command->context->conn, command->context->req, &role);
    rc = rc < 0 ? rc
                : record(command, "set",
                         str_printf(command->arena, "level %s%s", level_names[role.level],
                                    options->breaks_glass ? ", may break the glass" : ""));
    return finish(command, rc);
}

/* ---- confidentiality ---- */

typedef int (*CodesFn)(DbConn *conn, Request *req, Str role, const int32_t *codes, size_t count);

static int change_codes(IdentityCommand *command, CodesFn change, const char *action)
{
    const CommandContext *context = command->context;
    Str list = str_from(command->options->arguments[2]);
    int32_t *ids = NULL;
    size_t count = 0;
    int rc = command_begin(context);

    rc = rc < 0 ? rc : check_role(command);
    rc =
        rc < 0 ? rc : coded_text_intern(command, "role", "confidentialityCode", list, &ids, &count);
    rc = rc < 0 ? rc : change(context->conn, context->req, role_name(command), ids, count);
    rc = rc < 0 ? rc : record(command, action, list);
    return finish(command, rc);
}

static int run_permit(IdentityCommand *command)
{
    return change_codes(command, role_table_permit, "permit");
}

static int run_forbid(IdentityCommand *command)
{
    return change_codes(command, role_table_forbid, "forbid");
}

/* ---- roles of assertions ---- */

typedef int (*RoleCodeFn)(DbConn *conn, Request *req, Str role, const AccessCode *code);

static int change_role_code(IdentityCommand *command, RoleCodeFn change, const char *action)
{
    const CommandContext *context = command->context;
    Str text = str_trim(str_from(command->options->arguments[2]));
    const size_t at = str_find(text, STR("^^"));

    if (at == SIZE_MAX || at == 0 || at + 2 == text.len) {
        return command_usage("%s", tr("write a code as CODE^^SYSTEM"));
    }
    const AccessCode code = {.code = str_slice(text, 0, at),
                             .system = str_from_offset(text, at + 2)};
    int rc = command_begin(context);
    rc = rc < 0 ? rc : check_role(command);
    rc = rc < 0 ? rc : change(context->conn, context->req, role_name(command), &code);
    rc = rc < 0 ? rc : record(command, action, text);
    return finish(command, rc);
}

static int run_code(IdentityCommand *command)
{
    return change_role_code(command, role_table_add_code, "code");
}

static int run_uncode(IdentityCommand *command)
{
    return change_role_code(command, role_table_remove_code, "uncode");
}

/* ---- list ---- */

static json_t *list_json(const Str *texts, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_text(texts[i]));
    }
    return list;
}

static json_t *role_json(const RoleRow *role)
{
    return json_pack("{s:o, s:s, s:b, s:o, s:o}", "name", json_text(role->name), "level",
                     level_names[role->level], "may_break_glass", role->may_break_glass, "codes",
                     list_json(role->codes, role->code_count), "confidentiality",
                     list_json(role->confidentiality, role->confidentiality_count));
}

static void print_list(const char *label, const Str *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("    %s %.*s\n", label, STR_ARG(texts[i]));
    }
}

static void print_role(const IdentityCommand *command, const RoleRow *role)
{
    command_print_cell(str_cstr(command->arena, role->name), 20);
    printf("%s%s\n", tr(level_names[role->level]),
           role->may_break_glass ? tr(", may break the glass") : "");
    print_list(tr("role of assertions"), role->codes, role->code_count);
    print_list(tr("may see"), role->confidentiality, role->confidentiality_count);
}

static int run_list(IdentityCommand *command)
{
    RoleRow *roles = NULL;
    size_t count = 0;

    if (role_table_read(command->context->conn, command->context->req, &roles, &count) < 0) {
        return EXIT_FAILED;
    }
    json_t *list = command->options->json ? json_array() : NULL;
    for (size_t i = 0; i < count; i++) {
        if (list) {
            json_array_append_new(list, role_json(&roles[i]));
        } else {
            print_role(command, &roles[i]);
        }
    }
    if (list) {
        json_print(list);
    }
    return EXIT_GOOD;
}

IDENTITY_SUBCOMMAND(role_add, run_add)
IDENTITY_SUBCOMMAND(role_list, run_list)
IDENTITY_SUBCOMMAND(role_permit, run_permit)
IDENTITY_SUBCOMMAND(role_forbid, run_forbid)
IDENTITY_SUBCOMMAND(role_code, run_code)
IDENTITY_SUBCOMMAND(role_uncode, run_uncode)

int command_role(const Options *options)
{
    static const Subcommand subcommands[] = {
        {"add", 1, 1, role_add},       {"list", 0, 0, role_list}, {"permit", 2, 2, role_permit},
        {"forbid", 2, 2, role_forbid}, {"code", 2, 2, role_code}, {"uncode", 2, 2, role_uncode},
    };

    return command_run(options, subcommands, ARRAY_LEN(subcommands));
}
