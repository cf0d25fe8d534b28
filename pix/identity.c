#include "lib/base/clock.h"
#include "pix/pix_private.h"

/* ---- feed ---- */

/* In the order of values, so that two messages with the same identifiers wait for each other. */
static const DbStatement insert_identifiers = {
    "pix_insert_identifiers",
    "INSERT INTO patient_identifier (authority, value, person, is_xad_pid)"
    " SELECT $1::int4, value, nextval('person_id'), true FROM unnest($2::text[]) AS value ORDER BY "
    "value"
    " ON CONFLICT (authority, value) DO NOTHING",
};

static const DbStatement select_subsumed = {
    "pix_select_subsumed",
    "SELECT value, merged_at FROM patient_identifier"
    " WHERE authority = $1::int4 AND value = ANY ($2::text[]) AND survivor IS NOT NULL",
};

static void bind_identifiers(const Pix *pix, DbParams *params, Arena *arena,
                             const FedIdentifier *identifiers, size_t count)
{
    Str *values = ARENA_ARRAY(arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        values[i] = identifiers[i].id;
    }
    db_params_init(params, arena);
    db_param_i32(params, pix->authority_id);
    db_param_text_array(params, values, count);
}

static int add_subsumed(Request *req, const FedIdentifier *identifier, int64_t merged_us)
{
    return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, identifier->location,
                     "identifier \"%.*s\" was merged into another at %.*s and cannot be used "
                     "again; send the surviving identifier",
                     STR_ARG(identifier->id), STR_ARG(clock_iso8601(req->arena, merged_us)));
}

/** Adds an error for each identifier that a row of select_subsumed names. */
static int check_not_subsumed(Request *req, const FedIdentifier *identifiers, size_t count,
                              const DbResult *subsumed)
{
    int rc = 0;
    for (int row = 0; row < db_rows(subsumed); row++) {
        for (size_t i = 0; i < count; i++) {
            if (str_equal(identifiers[i].id, db_text(subsumed, row, 0))) {
                rc = add_subsumed(req, &identifiers[i], db_timestamp(subsumed, row, 1));
            }
        }
    }
    return rc;
}

int identity_register(Pix *pix, Request *req, const FedIdentifier *identifiers, size_t count,
                      const AuditEvent *event)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbResult *results[2] = {0};
    bind_identifiers(pix, &params, req->arena, identifiers, count);

    int rc = db_acquire(pix->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_queue(conn, req, &insert_identifiers, &params);
    rc = rc < 0 ? rc : db_queue(conn, req, &select_subsumed, &params);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    rc = rc < 0 ? rc : check_not_subsumed(req, identifiers, count, results[1]);
    rc = rc < 0 ? rc : audit_queue_event(pix->config.audit, conn, req, event);
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}

/* ---- merge ---- */

/* All rows that the merge will change, in one statement and in the order of ids, as
 * PatientDirectory.queue_lock takes them: no deadlock between a merge and a registration. */
static const DbStatement lock_for_merge = {
    "pix_lock_for_merge",
    "SELECT id, value, survivor, merged_at FROM patient_identifier"
    " WHERE authority = $1::int4 AND value = ANY ($2::text[])"
    " OR survivor = (SELECT id FROM patient_identifier"
    "                WHERE authority = $1::int4 AND value = ($2::text[])[1])"
    " ORDER BY id FOR NO KEY UPDATE",
};

static const DbStatement point_to_survivor = {
    "pix_point_to_survivor",
    "UPDATE patient_identifier SET survivor = $2::int8, merged_at = coalesce(merged_at, now())"
    " WHERE id = $1::int8 OR survivor = $1::int8",
};

static const DbStatement insert_merge = {
    "pix_insert_merge",
    "INSERT INTO patient_merge (subsumed, survivor, node, source, message_id)"
    " VALUES ($1::int8, $2::int8, $3::int4, $4::text, $5::text)",
};

/** A locked row. */
typedef struct IdentifierRow {
    int64_t id;       /* 0: there is none */
    int64_t survivor; /* 0: active */
    int64_t merged_us;
} IdentifierRow;

static IdentifierRow find_row(const DbResult *locked, Str value)
{
    for (int row = 0; row < db_rows(locked); row++) {
        if (!str_equal(db_text(locked, row, 1), value)) {
            continue;
        }
        bool is_active = db_is_null(locked, row, 2);
        return (IdentifierRow){
            .id = db_i64(locked, row, 0),
            .survivor = is_active ? 0 : db_i64(locked, row, 2),
            .merged_us = is_active ? 0 : db_timestamp(locked, row, 3),
        };
    }
    return (IdentifierRow){0};
}

static int add_unknown(Request *req, const FedIdentifier *identifier)
{
    return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, identifier->location,
                     "identifier \"%.*s\" is not known here; feed it with ADT^A04 before merging",
                     STR_ARG(identifier->id));
}

/** Every case of TF-2 3.8.4.2.4 in which nothing may change, as far as it depends on rows. */
static int check_merge(Request *req, const IdentityMerge *merge, const IdentifierRow *subsumed,
                       const IdentifierRow *survivor)
{
    int rc = 0;
    if (subsumed->id == 0) {
        rc = add_unknown(req, &merge->subsumed);
    } else if (subsumed->survivor != 0 && subsumed->survivor == survivor->id) {
        Str time = clock_iso8601(req->arena, subsumed->merged_us);
        return error_add(&req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, merge->subsumed.location,
                         "this merge was already done at %.*s: treat as done", STR_ARG(time));
    } else if (subsumed->survivor != 0) {
        rc = add_subsumed(req, &merge->subsumed, subsumed->merged_us);
    }
    if (survivor->id == 0) {
        rc = add_unknown(req, &merge->survivor);
    } else if (survivor->survivor != 0) {
        rc = add_subsumed(req, &merge->survivor, survivor->merged_us);
    }
    return rc;
}

/** Queues what a permitted merge writes. */
static int queue_merge(DbConn *conn, Request *req, const IdentityMerge *merge, int64_t subsumed,
                       int64_t survivor)
{
    DbParams point;
    db_params_init(&point, req->arena);
    db_param_i64(&point, subsumed);
    db_param_i64(&point, survivor);
    int rc = db_queue(conn, req, &point_to_survivor, &point);
    if (rc < 0) {
        return rc;
    }
    DbParams history;
    db_params_init(&history, req->arena);
    db_param_i64(&history, subsumed);
    db_param_i64(&history, survivor);
    db_param_i32(&history, req->principal->node_id);
    db_param_text(&history, merge->source);
    db_param_text(&history, req->message_id);
    return db_queue(conn, req, &insert_merge, &history);
}

int identity_merge(Pix *pix, Request *req, const IdentityMerge *merge, const AuditEvent *events,
                   size_t event_count)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    const FedIdentifier pair[] = {merge->subsumed, merge->survivor};
    DbParams params;
    DbResult *locked = NULL;
    bind_identifiers(pix, &params, req->arena, pair, ARRAY_LEN(pair));

    int rc = db_acquire(pix->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_queue(conn, req, &lock_for_merge, &params);
    rc = rc < 0 ? rc : db_sync(conn, req, &locked);
    if (rc < 0) {
        return rc;
    }
    IdentifierRow subsumed = find_row(locked, merge->subsumed.id);
    IdentifierRow survivor = find_row(locked, merge->survivor.id);
    rc = check_merge(req, merge, &subsumed, &survivor);
    rc = rc < 0 ? rc : queue_merge(conn, req, merge, subsumed.id, survivor.id);
    for (size_t i = 0; rc == 0 && i < event_count; i++) {
        rc = audit_queue_event(pix->config.audit, conn, req, &events[i]);
    }
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}
