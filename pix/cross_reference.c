/** The identifiers of one person (ITI TF-2 3.9.4.2.2, 3.45.4.2.2, 3.83.4.2.2). */
#include "pix/found_identifiers.h"
#include "pix/identity_rows.h"
#include "pix/sight.h"

static const DbStatement select_person = {
    "cross_reference_select",
    "SELECT " IDENTITY_COLUMNS " FROM patient_identifier asked"
    " JOIN patient_identifier i ON i.person = asked.person AND (i.survivor IS NULL OR i.id = "
    "asked.id)"
    " WHERE asked.authority = $1::int4 AND asked.value = $2::text ORDER BY i.authority, i.id",
};

/* The person whose number of authority $1 the derived one follows from; merged ones lead nowhere,
 * and of two nobody knows which it is. */
static const DbStatement select_derived = {
    "cross_reference_select_derived",
    "WITH origin AS MATERIALIZED (SELECT person FROM patient_identifier"
    "   WHERE authority = $1::int4 AND value = ANY ($2::text[]) AND survivor IS NULL LIMIT 2)"
    " SELECT " IDENTITY_COLUMNS " FROM patient_identifier i"
    " WHERE i.person = (SELECT min(person) FROM origin HAVING count(*) = 1)"
    " AND i.survivor IS NULL ORDER BY i.authority, i.id",
};

static const DbStatement select_survivor = {
    "cross_reference_select_survivor",
    "SELECT value FROM patient_identifier WHERE id = $1::int8",
};

static int queue_asked(DbConn *conn, Request *req, const Identifier *asked)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, asked->authority->id);
    db_param_text(&params, asked->value);
    return db_queue(conn, req, &select_person, &params);
}

static int queue_derived(DbConn *conn, Request *req, const Identifier *asked)
{
    Str *numbers = NULL;
    DbParams params;
    size_t count = authority_underive(req->arena, asked->authority, asked->value, &numbers);
    db_params_init(&params, req->arena);
    db_param_i32(&params, asked->authority->derive_from->id);
    db_param_text_array(&params, numbers, count);
    return db_queue(conn, req, &select_derived, &params);
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

/** The identifiers of the person who is asked for, by a number of its own or by one that follows
 * from another: one round trip, whether there are any or not. */
static int read_person(DbConn *conn, Request *req, const Identifier *asked, IdentityRows *ret_rows)
{
    DbResult *results[2];
    bool is_derived = asked->authority->derive_from != NULL;
    int rc = queue_asked(conn, req, asked);
    if (is_derived) {
        rc = rc < 0 ? rc : queue_derived(conn, req, asked);
    }
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0) {
        return rc;
    }
    identity_rows_read(req->arena, results[0], ret_rows);
    if (ret_rows->count == 0 && is_derived) {
        identity_rows_read(req->arena, results[1], ret_rows);
        if (has_identifier_of(ret_rows, asked->authority)) {
            ret_rows->count = 0; /* a real number overrides the derived one */
        }
    }
    return 0;
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

/* ---- what the reader may see ---- */

/** Whether the identifier asked for may be known itself, and what it follows from. */
static bool sees_asked(const Sight *sight, const IdentityRows *rows, const Identifier *asked)
{
    bool is_real = identity_rows_find(rows, asked) != NULL;
    return sight_has(sight, asked->authority) &&
           (is_real || sight_has(sight, asked->authority->derive_from));
}

/** Leaves what may be seen; nothing, if what was asked for may not be. One round trip, whether
 * there is anything or not. */
static int cut_to_sight(Request *req, const Authorities *authorities, const Identifier *asked,
                        IdentityRows *rows, Sight *ret_sight)
{
    int32_t *ids = ARENA_ARRAY(req->arena, int32_t, rows->count);
    size_t count = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->items[i].survivor == 0) {
            ids[count++] = rows->items[i].authority;
        }
    }
    const IdentityRow *first = rows->items;
    const IdentityRow *xad_pid = count > 0 ? identity_rows_xad_pid(rows, first->person) : NULL;
    int64_t patient = xad_pid ? xad_pid->id : 0;
    int rc = access_prepare(req, &patient, 1);
    rc = rc < 0 ? rc : sight_open(req, authorities, patient, ids, count, ret_sight);
    if (rc < 0) {
        return rc;
    }
    if (rows->count > 0 && !sees_asked(ret_sight, rows, asked)) {
        rows->count = 0;
    }
    size_t kept = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (sight_has_id(ret_sight, rows->items[i].authority)) {
            rows->items[kept++] = rows->items[i];
        }
    }
    rows->count = kept;
    return 0;
}

/* ---- the answer ---- */

/** All that the person is known by in the wanted domains, without what was asked for. */
static void list_identifiers(Arena *arena, const Sight *sight, const IdentityRows *rows,
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
    size_t found_count = found_identifiers_make(arena, sight->authorities, ids, values, count,
                                                targets, target_count, &found);
    reference->identifiers = found;
    for (size_t i = 0; i < found_count; i++) {
        bool is_asked = found[i].authority->id == asked->authority->id &&
                        str_equal(found[i].value, asked->value);
        if (!is_asked && sight_has(sight, found[i].authority)) {
            found[reference->identifier_count++] = found[i];
        }
    }
}

static int answer(DbConn *conn, Request *req, const Sight *sight, const IdentityRows *rows,
                  const Identifier *asked, const AssigningAuthority *const *targets,
                  size_t target_count, CrossReference *reference)
{
    const IdentityRow *own = identity_rows_find(rows, asked);
    if (own && own->survivor != 0) {
        return find_survivor(conn, req, own->survivor, reference);
    }
    if (rows->count > 0) {
        reference->is_known = true;
        reference->person = rows->items[0].person;
        list_identifiers(req->arena, sight, rows, asked, targets, target_count, reference);
    }
    return 0;
}

/** @param is_for_reader  only what the sender of the request may see */
static int cross_reference(Pix *pix, Request *req, bool is_for_reader,
                           const Authorities *authorities, const Identifier *asked,
                           const AssigningAuthority *const *targets, size_t target_count,
                           CrossReference *ret_reference)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    IdentityRows rows = {0};
    CrossReference reference = {0};
    Sight sight = {.authorities = authorities};
    int rc = db_acquire(pix->config.pool, req, &conn);
    rc = rc < 0 ? rc : read_person(conn, req, asked, &rows);
    if (rc == 0 && is_for_reader && sight_is_limited(req)) {
        rc = cut_to_sight(req, authorities, asked, &rows, &sight);
    }
    rc = rc < 0 ? rc : answer(conn, req, &sight, &rows, asked, targets, target_count, &reference);
    if (rc == 0) {
        *ret_reference = reference;
    }
    return rc;
}

int identity_cross_reference(Pix *pix, Request *req, const Authorities *authorities,
                             const Identifier *asked, const AssigningAuthority *const *targets,
                             size_t target_count, CrossReference *ret_reference)
{
    return cross_reference(pix, req, true, authorities, asked, targets, target_count,
                           ret_reference);
}

int identity_find_all(Pix *pix, Request *req, const Authorities *authorities,
                      const Identifier *identifier, CrossReference *ret_reference)
{
    return cross_reference(pix, req, false, authorities, identifier, NULL, 0, ret_reference);
}
