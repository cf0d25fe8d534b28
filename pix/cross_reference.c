/** The identifiers of one person (ITI TF-2 3.9.4.2.2, 3.45.4.2.2, 3.83.4.2.2). */
#include "pix/found_identifiers.h"
#include "pix/identity_rows.h"

static const DbStatement select_person = {
    "cross_reference_select",
    "SELECT " IDENTITY_COLUMNS " FROM patient_identifier asked"
    " JOIN patient_identifier i ON i.person = asked.person AND (i.survivor IS NULL OR i.id = "
    "asked.id)"
    " WHERE asked.authority = $1::int4 AND asked.value = $2::text ORDER BY i.authority, i.id",
};

/* The numbers that a derived one may follow from; merged ones lead nowhere. */
static const DbStatement select_origin = {
    "cross_reference_select_origin",
    "SELECT value FROM patient_identifier"
    " WHERE authority = $1::int4 AND value = ANY ($2::text[]) AND survivor IS NULL LIMIT 2",
};

static const DbStatement select_survivor = {
    "cross_reference_select_survivor",
    "SELECT value FROM patient_identifier WHERE id = $1::int8",
};

static int read_person(DbConn *conn, Request *req, const Identifier *asked, IdentityRows *ret_rows)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i32(&params, asked->authority->id);
    db_param_text(&params, asked->value);
    int rc = db_exec(conn, req, &select_person, &params, &result);
    if (rc == 0) {
        identity_rows_read(req->arena, result, ret_rows);
    }
    return rc;
}

/** What an identifier of a derived domain follows from. value empty: nothing, or more than one. */
static int find_origin(DbConn *conn, Request *req, const Identifier *asked, Identifier *ret_origin)
{
    Str *numbers = NULL;
    size_t count = authority_underive(req->arena, asked->authority, asked->value, &numbers);
    *ret_origin = (Identifier){.authority = asked->authority->derive_from};
    if (count == 0 || !ret_origin->authority) {
        return 0;
    }
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i32(&params, ret_origin->authority->id);
    db_param_text_array(&params, numbers, count);
    int rc = db_exec(conn, req, &select_origin, &params, &result);
    if (rc == 0 && db_rows(result) == 1) {
        ret_origin->value = db_text(result, 0, 0);
    }
    return rc;
}

static int find_survivor(DbConn *conn, Request *req, int64_t id, CrossReference *reference)
{
    DbParams params;
    DbResult *result = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    int rc = db_exec(conn, req, &select_survivor, &params, &result);
    if (rc == 0 && db_rows(result) == 1) {
        reference->subsumed_by = db_text(result, 0, 0);
    }
    return rc;
}

/* ---- the answer ---- */

/** All that the person is known by in the wanted domains, without what was asked for. */
static void list_identifiers(Arena *arena, const Authorities *authorities, const IdentityRows *rows,
                             const Identifier *asked, const AssigningAuthority *const *targets,
                             size_t target_count, CrossReference *reference)
{
    int32_t *ids = ARENA_ARRAY(arena, int32_t, rows->count);
    Str *values = ARENA_ARRAY(arena, Str, rows->count);
    size_t count = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->items[i].is_announced && rows->items[i].survivor == 0) {
            ids[count] = rows->items[i].authority;
            values[count++] = rows->items[i].value;
        }
    }
    FoundIdentifier *found = NULL;
    size_t found_count = found_identifiers_make(arena, authorities, ids, values, count, targets,
                                                target_count, &found);
    reference->identifiers = found;
    for (size_t i = 0; i < found_count; i++) {
        bool is_asked = found[i].authority->id == asked->authority->id &&
                        str_equal(found[i].value, asked->value);
        if (!is_asked) {
            found[reference->identifier_count++] = found[i];
        }
    }
}

static bool has_identifier_of(const IdentityRows *rows, const AssigningAuthority *authority)
{
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->items[i].authority == authority->id) {
            return true;
        }
    }
    return false;
}

int identity_cross_reference(Pix *pix, Request *req, const Authorities *authorities,
                             const Identifier *asked, const AssigningAuthority *const *targets,
                             size_t target_count, CrossReference *ret_reference)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    IdentityRows rows = {0};
    CrossReference reference = {0};
    int rc = db_acquire(pix->config.pool, req, &conn);
    rc = rc < 0 ? rc : read_person(conn, req, asked, &rows);
    if (rc == 0 && rows.count == 0 && asked->authority->derive_from) {
        Identifier origin;
        rc = find_origin(conn, req, asked, &origin);
        if (rc == 0 && !str_is_empty(origin.value)) {
            rc = read_person(conn, req, &origin, &rows);
        }
        if (has_identifier_of(&rows, asked->authority)) {
            rows.count = 0; /* a real number overrides the derived one */
        }
    }
    if (rc < 0) {
        return rc;
    }
    const IdentityRow *own = identity_rows_find(&rows, asked);
    if (own && own->survivor != 0) {
        rc = find_survivor(conn, req, own->survivor, &reference);
    } else if (rows.count > 0) {
        reference.is_known = true;
        reference.person = rows.items[0].person;
        list_identifiers(req->arena, authorities, &rows, asked, targets, target_count, &reference);
    }
    if (rc == 0) {
        *ret_reference = reference;
    }
    return rc;
}
