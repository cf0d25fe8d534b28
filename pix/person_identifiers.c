/** Every number that a person has or had: what the records about the person name. */
#include "pix/found_identifiers.h"
#include "pix/identity_rows.h"

/* Merged ones too: records were written while they were in use. */
static const DbStatement select_all = {
    "person_identifiers_select",
    "SELECT " IDENTITY_COLUMNS " FROM (SELECT DISTINCT p.person FROM unnest($1::int4[]) AS named"
    " (authority) CROSS JOIN LATERAL (SELECT person FROM patient_identifier"
    "   WHERE authority = named.authority AND value = $2::text OFFSET 0) AS p) AS asked"
    " CROSS JOIN LATERAL (SELECT * FROM patient_identifier"
    "   WHERE person = asked.person OFFSET 0) AS i ORDER BY i.authority, i.id",
};

const Authorities *identity_authorities(Pix *pix, Arena *arena)
{
    return authority_directory_hold(pix->authorities, arena);
}

static int read_rows(Pix *pix, Request *req, const Authorities *authorities,
                     const Identifier *asked, IdentityRows *ret_rows)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int32_t *ids = ARENA_ARRAY(req->arena, int32_t, authorities->count + 1);
    size_t count = 0;
    DbParams params;
    DbResult *result = NULL;
    for (size_t i = 0; i < authorities->count; i++) {
        if (!asked->authority || authorities->items[i].id == asked->authority->id) {
            ids[count++] = authorities->items[i].id;
        }
    }
    db_params_init(&params, req->arena);
    db_param_i32_array(&params, ids, count);
    db_param_text(&params, asked->value);
    int rc = db_acquire(pix->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_all, &params, &result);
    if (rc == 0) {
        identity_rows_read(req->arena, result, ret_rows);
    }
    return rc;
}

int identity_person_identifiers(Pix *pix, Request *req, const Authorities *authorities,
                                const Identifier *asked, FoundIdentifier **ret_identifiers,
                                size_t *ret_count)
{
    IdentityRows rows = {0};
    int rc = read_rows(pix, req, authorities, asked, &rows);
    if (rc < 0) {
        return rc;
    }
    int32_t *ids = ARENA_ARRAY(req->arena, int32_t, rows.count);
    Str *values = ARENA_ARRAY(req->arena, Str, rows.count);
    for (size_t i = 0; i < rows.count; i++) {
        ids[i] = rows.items[i].authority;
        values[i] = rows.items[i].value;
    }
    *ret_count = found_identifiers_make(req->arena, authorities, ids, values, rows.count, NULL, 0,
                                        ret_identifiers);
    return 0;
}
