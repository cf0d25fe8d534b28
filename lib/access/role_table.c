#include "lib/access/role_table.h"

#include "lib/access/codes.h"

static const DbStatement select_roles = {
    "role_select",
    "SELECT r.name, r.level, r.may_break_glass,"
    " ARRAY(SELECT code || '^^' || code_system FROM access_role_code WHERE role = r.name"
    " ORDER BY 1)," CODED_TEXTS("ARRAY(SELECT code FROM access_role_confidentiality"
                                " WHERE role = r.name)") " FROM access_role r"
                                                         " ORDER BY r.level DESC, r.name",
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

/* ---- reading ---- */

static RoleRow stored_row(Arena *arena, const DbResult *rows, int row)
{
    RoleRow role = {
        .name = db_text(rows, row, 0),
        .level = db_i16(rows, row, 1),
        .may_break_glass = db_bool(rows, row, 2),
    };
    role.code_count = db_text_array(rows, row, 3, arena, &role.codes);
    role.confidentiality_count = db_text_array(rows, row, 4, arena, &role.confidentiality);
    return role;
}

int role_table_read(DbConn *conn, Request *req, RoleRow **ret_rows, size_t *ret_count)
{
    DbResult *result = NULL;
    int rc = db_exec(conn, req, &select_roles, NULL, &result);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(result);
    *ret_rows = ARENA_ARRAY(req->arena, RoleRow, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_rows)[i] = stored_row(req->arena, result, (int)i);
    }
    return 0;
}

int role_table_has(DbConn *conn, Request *req, Str role, bool *ret_has)
{
    DbParams params;
    DbResult *rows = NULL;
    db_params_init(&params, req->arena);
    db_param_text(&params, role);
    int rc = db_exec(conn, req, &select_role, &params, &rows);
    if (rc == 0) {
        *ret_has = db_rows(rows) > 0;
    }
    return rc;
}

/* ---- storing ---- */

int role_table_store(DbConn *conn, Request *req, const RoleRow *row)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text(&params, row->name);
    db_param_i16(&params, row->level);
    db_param_bool(&params, row->may_break_glass);
    return db_exec(conn, req, &upsert_role, &params, NULL);
}

static int change_codes(DbConn *conn, Request *req, const DbStatement *statement, Str role,
                        const int32_t *codes, size_t count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text(&params, role);
    db_param_i32_array(&params, codes, count);
    return db_exec(conn, req, statement, &params, NULL);
}

int role_table_permit(DbConn *conn, Request *req, Str role, const int32_t *codes, size_t count)
{
    return change_codes(conn, req, &permit_codes, role, codes, count);
}

int role_table_forbid(DbConn *conn, Request *req, Str role, const int32_t *codes, size_t count)
{
    return change_codes(conn, req, &forbid_codes, role, codes, count);
}

static int change_role_code(DbConn *conn, Request *req, const DbStatement *statement, Str role,
                            const AccessCode *code)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text(&params, role);
    db_param_text(&params, code->code);
    db_param_text(&params, code->system);
    return db_exec(conn, req, statement, &params, NULL);
}

int role_table_add_code(DbConn *conn, Request *req, Str role, const AccessCode *code)
{
    return change_role_code(conn, req, &upsert_role_code, role, code);
}

int role_table_remove_code(DbConn *conn, Request *req, Str role, const AccessCode *code)
{
    return change_role_code(conn, req, &delete_role_code, role, code);
}
