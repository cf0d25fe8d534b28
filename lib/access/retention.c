#include "lib/access/retention.h"

#include "lib/base/clock.h"

/** "keep" as a number. */
#define RETENTION_LOCK "1801807216"

static const DbStatement lock_shared = {
    "retention_lock_shared", "SELECT pg_advisory_xact_lock_shared(" RETENTION_LOCK ") IS NOT NULL"};
static const DbStatement lock_all = {
    "retention_lock_all", "SELECT pg_advisory_xact_lock(" RETENTION_LOCK ") IS NOT NULL"};

/* Holds come first; of the rules for a document only the one that ends last. Patients are compared
 * by who they are after all merges. */
static const DbStatement select_kept = {
    "retention_kept",
    "WITH d AS (SELECT * FROM unnest($1::int8[], $2::text[], $3::int8[], $4::int4[], $5::int4[],"
    " $6::timestamptz[]) AS d (document, unique_id, patient, facility, class_code, since)),"
    " held AS (SELECT h.id, h.unique_id, coalesce(p.survivor, p.id) AS patient FROM legal_hold h"
    "  LEFT JOIN patient_identifier p ON p.id = h.patient WHERE h.released_at IS NULL)"
    " SELECT d.document, d.unique_id, h.id, NULL::timestamptz FROM d"
    " LEFT JOIN patient_identifier p ON p.id = d.patient"
    " JOIN held h ON h.unique_id = d.unique_id OR h.patient = coalesce(p.survivor, p.id)"
    " UNION ALL"
    " SELECT d.document, d.unique_id, r.id, r.until FROM d CROSS JOIN LATERAL"
    " (SELECT id, d.since + make_interval(years => years, days => days) AS until"
    "    FROM retention_rule WHERE removed_at IS NULL"
    "     AND coalesce(facility = d.facility, true) AND coalesce(class_code = d.class_code, true)"
    "   ORDER BY until DESC LIMIT 1) r WHERE r.until > clock_timestamp()"
    " ORDER BY 1, 4 DESC NULLS FIRST, 3"};

enum { COLUMN_DOCUMENT, COLUMN_UNIQUE_ID, COLUMN_NUMBER, COLUMN_UNTIL };

int retention_queue_lock(Request *req, DbConn *conn)
{
    return db_queue(conn, req, &lock_shared, NULL);
}

int retention_lock_all(Request *req, DbConn *conn)
{
    return db_exec(conn, req, &lock_all, NULL, NULL);
}

static void bind_documents(DbParams *params, const RetainedDocument *documents, size_t count)
{
    Arena *arena = params->arena;
    int64_t *positions = ARENA_ARRAY(arena, int64_t, count);
    Str *unique_ids = ARENA_ARRAY(arena, Str, count);
    int64_t *patients = ARENA_ARRAY(arena, int64_t, count);
    int32_t *facilities = ARENA_ARRAY(arena, int32_t, count);
    int32_t *class_codes = ARENA_ARRAY(arena, int32_t, count);
    int64_t *since = ARENA_ARRAY(arena, int64_t, count);
    for (size_t i = 0; i < count; i++) {
        positions[i] = (int64_t)documents[i].document;
        unique_ids[i] = documents[i].unique_id;
        patients[i] = documents[i].patient;
        facilities[i] = documents[i].facility;
        class_codes[i] = documents[i].class_code;
        since[i] = documents[i].since_us;
    }
    db_param_i64_array(params, positions, count);
    db_param_text_array(params, unique_ids, count);
    db_param_i64_array(params, patients, count);
    db_param_i32_array(params, facilities, count);
    db_param_i32_array(params, class_codes, count);
    db_param_timestamp_array(params, since, count);
}

static void refuse(Request *req, const DbResult *rows, int row)
{
    Str unique_id = db_text(rows, row, COLUMN_UNIQUE_ID);
    const char *location = str_cstr(req->arena, unique_id);
    if (db_is_null(rows, row, COLUMN_UNTIL)) {
        error_add(&req->errors, ERR_LOCAL_POLICY_RESTRICTION, location,
                  "document %s is under legal hold %d until that is released: ask the network "
                  "operator",
                  location, db_i32(rows, row, COLUMN_NUMBER));
        return;
    }
    Str until = clock_iso8601(req->arena, db_timestamp(rows, row, COLUMN_UNTIL));
    error_add(&req->errors, ERR_LOCAL_POLICY_RESTRICTION, location,
              "document %s is to be kept until %.*s by retention rule %d: remove it after that, or "
              "ask the network operator",
              location, STR_ARG(until), db_i32(rows, row, COLUMN_NUMBER));
}

int retention_check(Request *req, DbConn *conn, const RetainedDocument *documents, size_t count,
                    bool *ret_is_kept)
{
    DbParams params;
    DbResult *rows;
    int64_t previous = -1;
    if (count == 0) {
        return 0;
    }
    db_params_init(&params, req->arena);
    bind_documents(&params, documents, count);
    int rc = db_exec(conn, req, &select_kept, &params, &rows);
    for (int row = 0; rc == 0 && row < db_rows(rows); row++) {
        int64_t document = db_i64(rows, row, COLUMN_DOCUMENT);
        if (document != previous) {
            refuse(req, rows, row);
        }
        previous = document;
        if (ret_is_kept != NULL) {
            ret_is_kept[document] = true;
        }
    }
    return rc;
}
