#include "pix/authority_table.h"

#include <stddef.h>
#include <string.h>

static const DbStatement lock_authorities = {
    "authority_lock",
    "LOCK TABLE assigning_authority IN SHARE ROW EXCLUSIVE MODE",
};

static const DbStatement select_authorities = {
    "authority_list",
    "SELECT a.oid, a.namespace, coalesce(f.name, ''), a.kind, a.source_application,"
    " a.source_facility, a.source_node, a.valid_from, a.valid_to, coalesce(d.oid, ''),"
    " a.derive_rule, (SELECT count(*) FROM patient_identifier WHERE authority = a.id AND"
    " survivor IS NULL AND ($1::text <> ''))"
    " FROM assigning_authority a LEFT JOIN facility f ON f.id = a.facility"
    " LEFT JOIN assigning_authority d ON d.id = a.derive_from"
    " WHERE a.is_configured AND ($1::text = '' OR a.oid = $1::text OR a.namespace = $1::text)"
    " ORDER BY f.name NULLS FIRST, a.oid",
};

enum {
    COLUMN_OID,
    COLUMN_NAMESPACE,
    COLUMN_FACILITY,
    COLUMN_KIND,
    COLUMN_APPLICATION,
    COLUMN_SOURCE_FACILITY,
    COLUMN_NODE,
    COLUMN_FROM,
    COLUMN_TO,
    COLUMN_DERIVE_FROM,
    COLUMN_DERIVE_RULE,
    COLUMN_IDENTIFIERS,
};

static const DbStatement upsert_authorities = {
    "authority_upsert",
    "INSERT INTO assigning_authority (oid, namespace, is_configured, facility, kind,"
    " source_application, source_facility, source_node, valid_from, valid_to, derive_rule)"
    " SELECT r.oid, r.namespace, true, f.id, r.kind, r.source_application, r.source_facility,"
    " r.source_node, CASE WHEN isfinite(r.valid_from) THEN r.valid_from END,"
    " CASE WHEN isfinite(r.valid_to) THEN r.valid_to END, r.derive_rule"
    " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],"
    " $7::text[], $8::timestamptz[], $9::timestamptz[], $10::text[]) AS r (oid, namespace,"
    " facility, kind, source_application, source_facility, source_node, valid_from, valid_to,"
    " derive_rule) LEFT JOIN facility f ON f.name = r.facility"
    " ON CONFLICT (oid) DO UPDATE SET namespace = excluded.namespace, is_configured = true,"
    " facility = excluded.facility, kind = excluded.kind,"
    " source_application = excluded.source_application,"
    " source_facility = excluded.source_facility, source_node = excluded.source_node,"
    " valid_from = excluded.valid_from, valid_to = excluded.valid_to,"
    " derive_rule = excluded.derive_rule, derive_from = NULL",
};

/* A namespace may pass from one row to another within one import. */
static const DbStatement clear_namespaces = {
    "authority_clear_namespaces",
    "UPDATE assigning_authority SET namespace = '' WHERE oid = ANY ($1::text[])",
};

static const DbStatement update_derivations = {
    "authority_update_derivations",
    "UPDATE assigning_authority SET derive_from = origin.id"
    " FROM unnest($1::text[], $2::text[]) AS r (oid, derive_from)"
    " JOIN assigning_authority origin ON origin.oid = r.derive_from"
    " WHERE assigning_authority.oid = r.oid",
};

static const DbStatement revoke_authority = {
    "authority_revoke",
    "UPDATE assigning_authority SET valid_to = now(),"
    " valid_from = CASE WHEN valid_from < now() THEN valid_from END"
    " WHERE is_configured AND (oid = $1::text OR (namespace <> '' AND namespace = $1::text))"
    " AND (valid_to IS NULL OR valid_to > now())",
};

int authority_table_lock(DbConn *conn, Request *req)
{
    return db_exec(conn, req, &lock_authorities, NULL, NULL);
}

/* ---- reading ---- */

static AuthorityRow stored_row(Arena *arena, const DbResult *rows, int row)
{
    return (AuthorityRow){
        .oid = str_dup(arena, db_text(rows, row, COLUMN_OID)),
        .namespace_id = str_dup(arena, db_text(rows, row, COLUMN_NAMESPACE)),
        .facility = str_dup(arena, db_text(rows, row, COLUMN_FACILITY)),
        .kind = str_dup(arena, db_text(rows, row, COLUMN_KIND)),
        .source_application = str_dup(arena, db_text(rows, row, COLUMN_APPLICATION)),
        .source_facility = str_dup(arena, db_text(rows, row, COLUMN_SOURCE_FACILITY)),
        .source_node = str_dup(arena, db_text(rows, row, COLUMN_NODE)),
        .valid_from_us = db_timestamp_or(rows, row, COLUMN_FROM, INT64_MIN),
        .valid_to_us = db_timestamp_or(rows, row, COLUMN_TO, INT64_MAX),
        .derive_from = str_dup(arena, db_text(rows, row, COLUMN_DERIVE_FROM)),
        .derive_rule = str_dup(arena, db_text(rows, row, COLUMN_DERIVE_RULE)),
        .identifier_count = db_i64(rows, row, COLUMN_IDENTIFIERS),
    };
}

int authority_table_read(DbConn *conn, Request *req, Str wanted, AuthorityRow **ret_rows,
                         size_t *ret_count)
{
    DbParams params;
    DbResult *result = NULL;

    db_params_init(&params, req->arena);
    db_param_text(&params, wanted);
    int rc = db_exec(conn, req, &select_authorities, &params, &result);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(result);
    *ret_rows = ARENA_ARRAY(req->arena, AuthorityRow, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_rows)[i] = stored_row(req->arena, result, (int)i);
    }
    return 0;
}

static const DbStatement select_named = {
    "authority_select_named",
    "SELECT id, oid, namespace FROM assigning_authority WHERE (is_configured OR oid = $1::text)"
    " AND (oid = ANY ($2::text[]) OR namespace = ANY ($2::text[]))",
};

static bool is_named(const DbResult *rows, Str name)
{
    for (int row = 0; row < db_rows(rows); row++) {
        if (str_equal(name, db_text(rows, row, 1)) || str_equal(name, db_text(rows, row, 2))) {
            return true;
        }
    }
    return false;
}

int authority_table_find(DbConn *conn, Request *req, Str affinity_oid, const Str *names,
                         size_t name_count, bool *ret_is_known, int32_t **ret_ids,
                         size_t *ret_id_count)
{
    DbParams params;
    DbResult *rows = NULL;

    db_params_init(&params, req->arena);
    db_param_text(&params, affinity_oid);
    db_param_text_array(&params, names, name_count);
    int rc = db_exec(conn, req, &select_named, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < name_count; i++) {
        ret_is_known[i] = is_named(rows, names[i]);
    }
    *ret_id_count = (size_t)db_rows(rows);
    *ret_ids = ARENA_ARRAY(req->arena, int32_t, *ret_id_count);
    for (size_t i = 0; i < *ret_id_count; i++) {
        (*ret_ids)[i] = db_i32(rows, (int)i, 0);
    }
    return 0;
}

/* ---- storing ---- */

/** One array of texts for a column of all rows. */
static const Str *column(Arena *arena, const AuthorityRow *rows, size_t count, size_t offset)
{
    Str *texts = ARENA_ARRAY(arena, Str, count);

    for (size_t i = 0; i < count; i++) {
        memcpy(&texts[i], (const char *)&rows[i] + offset, sizeof(texts[i]));
        if (!texts[i].data) { /* that would be the SQL NULL */
            texts[i] = STR_EMPTY;
        }
    }
    return texts;
}

#define COLUMN(field) column(req->arena, rows, count, offsetof(AuthorityRow, field))

static void bind_times(DbParams *params, const AuthorityRow *rows, size_t count)
{
    int64_t *from = ARENA_ARRAY(params->arena, int64_t, count);
    int64_t *to = ARENA_ARRAY(params->arena, int64_t, count);

    for (size_t i = 0; i < count; i++) {
        from[i] = rows[i].valid_from_us;
        to[i] = rows[i].valid_to_us;
    }
    db_param_timestamp_array(params, from, count);
    db_param_timestamp_array(params, to, count);
}

int authority_table_store(DbConn *conn, Request *req, const AuthorityRow *rows, size_t count)
{
    DbParams oids;
    DbParams params;
    DbParams derivations;

    db_params_init(&oids, req->arena);
    db_param_text_array(&oids, COLUMN(oid), count);
    db_params_init(&params, req->arena);
    db_param_text_array(&params, COLUMN(oid), count);
    db_param_text_array(&params, COLUMN(namespace_id), count);
    db_param_text_array(&params, COLUMN(facility), count);
    db_param_text_array(&params, COLUMN(kind), count);
    db_param_text_array(&params, COLUMN(source_application), count);
    db_param_text_array(&params, COLUMN(source_facility), count);
    db_param_text_array(&params, COLUMN(source_node), count);
    bind_times(&params, rows, count);
    db_param_text_array(&params, COLUMN(derive_rule), count);
    db_params_init(&derivations, req->arena);
    db_param_text_array(&derivations, COLUMN(oid), count);
    db_param_text_array(&derivations, COLUMN(derive_from), count);
    int rc = db_queue(conn, req, &clear_namespaces, &oids);
    rc = rc < 0 ? rc : db_queue(conn, req, &upsert_authorities, &params);
    rc = rc < 0 ? rc : db_queue(conn, req, &update_derivations, &derivations);
    return rc < 0 ? rc : db_sync(conn, req, NULL);
}

int authority_table_revoke(DbConn *conn, Request *req, Str wanted, bool *ret_is_found)
{
    DbParams params;
    DbResult *result = NULL;

    db_params_init(&params, req->arena);
    db_param_text(&params, wanted);
    int rc = db_exec(conn, req, &revoke_authority, &params, &result);
    if (rc == 0) {
        *ret_is_found = db_affected(result) > 0;
    }
    return rc;
}
