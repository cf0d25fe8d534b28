#include "pix/pix_state.h"

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

/* The same with numbers of hospitals, in one order for all. What they belong to is asked behind it:
 * only a new statement sees what whoever held them before has left. */
#define NAMED_ROWS                                                                                 \
    " FROM unnest($1::int4[], $2::text[]) AS named (authority, value)"                             \
    " JOIN patient_identifier i ON i.authority = named.authority AND i.value = named.value"
static const DbStatement lock_named = {"pix_lock_named",
                                       "SELECT i.id" NAMED_ROWS " ORDER BY i.id FOR SHARE OF i"};
static const DbStatement select_named = {
    "pix_select_named",
    "SELECT i.id, coalesce(i.survivor, i.id), i.value, i.authority, coalesce(x.id, 0)" NAMED_ROWS
    " LEFT JOIN patient_identifier x"
    " ON x.person = i.person AND x.is_xad_pid AND x.survivor IS NULL"};

static const DbStatement select_merged_ids = {
    "pix_select_merged_ids",
    "WITH active AS (SELECT id FROM patient_identifier"
    "                WHERE authority = $1::int4 AND value = ANY ($2::text[]) AND survivor IS NULL)"
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

/** An identifier with the row of its authority; 0: none that is configured. */
typedef struct Named {
    int32_t authority;
    Str value;
} Named;

/** A number of a hospital; those of the affinity domain are no question (TF-3 4.2.3.2.22). */
static Named local_number(const Authorities *authorities, Arena *arena, Str source_patient_id)
{
    Hl7Cx cx = hl7_cx_parse(arena, &er7_standard_delimiters, HL7_UTF_8, source_patient_id);
    const AssigningAuthority *authority = authorities_by_oid(authorities, cx.universal_id);
    bool is_local = authority != NULL && !authority->is_affinity_domain && !str_is_empty(cx.id);
    return is_local ? (Named){authority->id, cx.id} : (Named){0};
}

/** What of a question is looked up: the patients, then the numbers. */
typedef struct NamedList {
    Named *items;
    size_t count;       /* of both */
    size_t known_count; /* those with an authority */
} NamedList;

static NamedList named_in(const Pix *pix, Arena *arena, const PatientQuestion *question)
{
    NamedList list = {.count = question->count + question->source_count};
    list.items = ARENA_ARRAY(arena, Named, list.count);
    for (size_t i = 0; i < question->count; i++) {
        list.items[i] = (Named){pix->authority_id, own_id(pix, arena, question->patient_ids[i])};
    }
    const Authorities *authorities =
        question->source_count > 0 ? authority_directory_hold(pix->authorities, arena) : NULL;
    list.known_count = question->count;
    for (size_t i = 0; i < question->source_count; i++) {
        Named number = local_number(authorities, arena, question->source_patient_ids[i]);
        list.items[question->count + i] = number;
        list.known_count += number.authority != 0;
    }
    return list;
}

static DbParams bind_patients(Arena *arena, const Pix *pix, const NamedList *list, size_t count)
{
    Str *values = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        values[i] = list->items[i].value;
    }
    DbParams params;
    db_params_init(&params, arena);
    db_param_i32(&params, pix->authority_id);
    db_param_text_array(&params, values, count);
    return params;
}

static DbParams bind_named(Arena *arena, const NamedList *list)
{
    int32_t *authorities = ARENA_ARRAY(arena, int32_t, list->known_count);
    Str *values = ARENA_ARRAY(arena, Str, list->known_count);
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].authority != 0) {
            authorities[kept] = list->items[i].authority;
            values[kept++] = list->items[i].value;
        }
    }
    DbParams params;
    db_params_init(&params, arena);
    db_param_i32_array(&params, authorities, kept);
    db_param_text_array(&params, values, kept);
    return params;
}

static int directory_queue_lock(void *ctx, Request *req, DbConn *conn,
                                const PatientQuestion *question, size_t *ret_statements)
{
    const Pix *pix = ctx;
    const NamedList list = named_in(pix, req->arena, question);
    if (list.known_count == question->count) {
        const DbParams params = bind_patients(req->arena, pix, &list, question->count);
        *ret_statements = 1;
        return db_queue(conn, req, &lock_patients, &params);
    }
    const DbParams params = bind_named(req->arena, &list);
    *ret_statements = 2;
    int rc = db_queue(conn, req, &lock_named, &params);
    return rc < 0 ? rc : db_queue(conn, req, &select_named, &params);
}

/** Row of this identifier, -1 if there is none. lock_patients gives one authority's. */
static int find_named(const DbResult *result, bool has_authority, const Named *named)
{
    for (int row = 0; row < db_rows(result); row++) {
        if (str_equal(db_text(result, row, 2), named->value) &&
            (!has_authority || db_i32(result, row, 3) == named->authority)) {
            return row;
        }
    }
    return -1;
}

static void directory_locked(void *ctx, Request *req, const DbResult *result,
                             const PatientQuestion *question, Patient *ret_patients,
                             int64_t *ret_owners)
{
    const NamedList list = named_in(ctx, req->arena, question);
    bool has_sources = list.known_count > question->count;
    for (size_t i = 0; i < question->count; i++) {
        ret_patients[i] = (Patient){0};
        int row = find_named(result, has_sources, &list.items[i]);
        if (row >= 0) {
            ret_patients[i] = (Patient){
                .id = db_i64(result, row, 0), .survivor = db_i64(result, row, 1), .is_known = true};
            ret_patients[i].is_active = ret_patients[i].id == ret_patients[i].survivor;
        }
    }
    for (size_t i = 0; i < question->source_count; i++) {
        const Named *number = &list.items[question->count + i];
        int row = number->authority != 0 ? find_named(result, true, number) : -1;
        ret_owners[i] = row >= 0 ? db_i64(result, row, 4) : 0;
    }
}

static int directory_ids(void *ctx, Request *req, DbConn *conn, const Str *identifiers,
                         size_t count, int64_t **ret_ids, size_t *ret_count)
{
    const Pix *pix = ctx;
    Str *values = ARENA_ARRAY(req->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        values[i] = own_id(pix, req->arena, identifiers[i]);
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i32(&params, pix->authority_id);
    db_param_text_array(&params, values, count);
    DbResult *result = NULL;
    int rc = db_exec(conn, req, &select_merged_ids, &params, &result);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(result);
    *ret_ids = ARENA_ARRAY(req->arena, int64_t, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_ids)[i] = db_i64(result, (int)i, 0);
    }
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

static bool directory_facility_of(void *ctx, Request *req, Str identifier, int32_t *ret_facility)
{
    const Pix *pix = ctx;
    AuthorityFault fault;
    Hl7Cx cx = hl7_cx_parse(req->arena, &er7_standard_delimiters, HL7_UTF_8, identifier);
    const AssigningAuthority *authority =
        authorities_find(authority_directory_hold(pix->authorities, req->arena), &cx, &fault);
    if (!authority) {
        return false;
    }
    *ret_facility = authority->facility_id;
    return true;
}

PatientDirectory pix_patient_directory(Pix *pix)
{
    return (PatientDirectory){
        .ctx = pix,
        .queue_lock = directory_queue_lock,
        .locked = directory_locked,
        .ids = directory_ids,
        .identifiers = directory_identifiers,
        .facility_of = directory_facility_of,
    };
}
