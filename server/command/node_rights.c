#include "server/command/node_rights.h"

#include "server/command/text_list.h"
#include "server/language.h"

/* What is unknown of both lists. */
static const DbStatement select_unknown = {
    "node_rights_unknown",
    "SELECT true, wanted FROM unnest($1::text[]) AS wanted WHERE NOT EXISTS"
    " (SELECT FROM access_role WHERE name = wanted) UNION ALL"
    " SELECT false, wanted FROM unnest($2::text[]) AS wanted WHERE NOT EXISTS"
    " (SELECT FROM facility WHERE name = wanted)",
};

static const DbStatement update_rights = {
    "node_rights_update",
    "UPDATE node SET roles = $2::text[], may_submit = $4::boolean,"
    " facilities = ARRAY(SELECT id FROM facility WHERE name = ANY ($3::text[]) ORDER BY id)"
    " WHERE id = $1::int4",
};

static int check(const CommandContext *context, const char *location, const DbParams *params)
{
    DbResult *unknown = NULL;
    int rc = db_exec(context->conn, context->req, &select_unknown, params, &unknown);

    for (int i = 0; rc == 0 && i < db_rows(unknown); i++) {
        (void)error_add(&context->req->errors, ERR_CONFIGURATION, location, "%s: %.*s",
                        db_bool(unknown, i, 0)
                            ? tr("there is no such role; musubi role list shows them")
                            : tr("there is no such facility; musubi facility list shows them"),
                        STR_ARG(db_text(unknown, i, 1)));
    }
    return rc == 0 && db_rows(unknown) > 0 ? -ERR_CONFIGURATION : rc;
}

int node_rights_store(const CommandContext *context, const char *location, int32_t node,
                      const NodeRights *rights)
{
    Arena *arena = context->arena;
    Str *roles = NULL;
    Str *facilities = NULL;
    size_t role_count = text_list_split(arena, rights->roles, ",;", &roles);
    size_t facility_count = text_list_split(arena, rights->also_for, ",;", &facilities);
    DbParams wanted;
    DbParams params;

    db_params_init(&wanted, arena);
    db_param_text_array(&wanted, roles, role_count);
    db_param_text_array(&wanted, facilities, facility_count);
    db_params_init(&params, arena);
    db_param_i32(&params, node);
    db_param_text_array(&params, roles, role_count);
    db_param_text_array(&params, facilities, facility_count);
    db_param_bool(&params, rights->may_submit);
    int rc = check(context, location, &wanted);
    return rc < 0 ? rc : db_exec(context->conn, context->req, &update_rights, &params, NULL);
}
