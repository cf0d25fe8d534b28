#include "pix/pix_private.h"

/**
 * The identifiers of the affinity domain, as a registry asks for them
 * (lib/ebrim/patient_directory.h). A merge rewrites no row of the registry; it shows in what ids
 * and identifiers answer (TF-2 3.8.4.2.4, 3.18.4.1.2.3.9).
 */

/* FOR SHARE stops a merge (FOR NO KEY UPDATE) until the caller's transaction ends. */
static const DbStatement lock_patients = {
    "pix_lock_patients",
    "SELECT id, coalesce(survivor, id), value FROM patient_identifier"
    " WHERE authority = $1::int4 AND value = ANY ($2::text[])"
    " ORDER BY id FOR SHARE",
};

static const DbStatement select_merged_ids = {
    "pix_select_merged_ids",
    "WITH active AS (SELECT id FROM patient_identifier"
    "                WHERE authority = $1::int4 AND value = $2::text AND survivor IS NULL)"
    " SELECT id FROM active"
    " UNION ALL"
    " SELECT merged.id FROM patient_identifier merged JOIN active ON merged.survivor = active.id",
};

static const DbStatement select_survivors = {
    "pix_select_survivors",
    "SELECT named.id, last.id, last.value FROM patient_identifier named"
    " JOIN patient_identifier last ON last.id = coalesce(named.survivor, named.id)"
    " WHERE named.id = ANY ($1::int8[])",
};

/**
 * CX-1 of an identifier in metadata, whose authority must be the affinity domain's OID with type
 * ISO (TF-3 Table 4.2.3.1.7-2). Empty if it is any other.
 */
static Str own_id(const Pix *pix, Arena *arena, Str identifier)
{
    Hl7Cx cx = hl7_cx_parse(arena, &er7_standard_delimiters, HL7_UTF_8, identifier);
    bool is_own =
        hl7_cx_is_of_authority(&cx, pix->authority_oid) && !cx.has_more &&
        (str_is_empty(cx.namespace_id) || str_equal(cx.namespace_id, pix->authority_namespace));
    return is_own ? cx.id : STR_EMPTY;
}

static Patient find_patient(const DbResult *locked, Str id)
{
    for (int row = 0; row < db_rows(locked); row++) {
        if (str_equal(db_text(locked, row, 2), id)) {
            Patient patient = {.is_known = true};
            patient.id = db_i64(locked, row, 0);
            patient.survivor = db_i64(locked, row, 1);
            patient.is_active = patient.id == patient.survivor;
            return patient;
        }
    }
    return (Patient){0};
}

static const Str *own_ids(const Pix *pix, Arena *arena, const Str *identifiers, size_t count)
{
    Str *ids = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        ids[i] = own_id(pix, arena, identifiers[i]);
    }
    return ids;
}

static int directory_queue_lock(void *ctx, Request *req, DbConn *conn, const Str *identifiers,
                                size_t count)
{
    const Pix *pix = ctx;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, pix->authority_id);
    db_param_text_array(&params, own_ids(pix, req->arena, identifiers, count), count);
    return db_queue(conn, req, &lock_patients, &params);
}

static void directory_locked(void *ctx, Request *req, const DbResult *result,
                             const Str *identifiers, size_t count, Patient *ret_patients)
{
    const Str *ids = own_ids(ctx, req->arena, identifiers, count);
    for (size_t i = 0; i < count; i++) {
        ret_patients[i] = find_patient(result, ids[i]);
    }
}

static int directory_ids(void *ctx, Request *req, DbConn *conn, Str identifier, int64_t **ret_ids,
                         size_t *ret_count)
{
    const Pix *pix = ctx;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, pix->authority_id);
    db_param_text(&params, own_id(pix, req->arena, identifier));
    DbResult *result = NULL;
    int rc = db_exec(conn, req, &select_merged_ids, &params, &result);
    if (rc < 0) {
        return rc;
    }
    size_t count = (size_t)db_rows(result);
    int64_t *ids = ARENA_ARRAY(req->arena, int64_t, count);
    for (size_t i = 0; i < count; i++) {
        ids[i] = db_i64(result, (int)i, 0);
    }
    *ret_ids = ids;
    *ret_count = count;
    return 0;
}

/** Row of a result whose first column is this id, -1 if there is none. */
static int find_id(const DbResult *result, int64_t id)
{
    for (int row = 0; row < db_rows(result); row++) {
        if (db_i64(result, row, 0) == id) {
            return row;
        }
    }
    return -1;
}

static int directory_identifiers(void *ctx, Request *req, DbConn *conn, const int64_t *ids,
                                 size_t count, Str *ret_identifiers, int64_t *ret_survivors)
{
    const Pix *pix = ctx;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, ids, count);
    DbResult *result = NULL;
    int rc = db_exec(conn, req, &select_survivors, &params, &result);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        int row = find_id(result, ids[i]);
        if (row < 0) {
            return error_add(&req->errors, ERR_DATABASE, NULL,
                             "an object names a patient that the identity tables do not have");
        }
        ret_survivors[i] = db_i64(result, row, 1);
        ret_identifiers[i] = hl7_cx_format(req->arena, db_text(result, row, 2), pix->authority_oid);
    }
    return 0;
}

PatientDirectory pix_patient_directory(Pix *pix)
{
    return (PatientDirectory){
        .ctx = pix,
        .queue_lock = directory_queue_lock,
        .locked = directory_locked,
        .ids = directory_ids,
        .identifiers = directory_identifiers,
    };
}
