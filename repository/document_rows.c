#include "repository/document_rows.h"

#include <stdlib.h>
#include <string.h>

/* Codes are kept as code^^scheme and turned into the interned numbers of access rules when read; 0
 * is a code that no rule can name. The order of uniqueIds is that of their bytes, as str_compare()
 * has it. */
#define ROW_COLUMNS                                                                                \
    "d.unique_id, d.state, d.size_bytes, d.sha1, d.sha256, d.mime_type, d.patient_id, "            \
    "d.source_facility, "                                                                          \
    "d.class_code, d.confidentiality_code, "                                                       \
    "coalesce((SELECT c.id FROM code c WHERE c.code = split_part(d.class_code, '^^', 1) "          \
    "AND c.scheme = split_part(d.class_code, '^^', 2)), 0), "                                      \
    "ARRAY(SELECT coalesce(c.id, 0) FROM unnest(d.confidentiality_code) WITH ORDINALITY u (text, " \
    "position) "                                                                                   \
    "LEFT JOIN code c ON c.code = split_part(u.text, '^^', 1) AND c.scheme = split_part(u.text, "  \
    "'^^', 2) "                                                                                    \
    "ORDER BY u.position) "

enum {
    COLUMN_UNIQUE_ID,
    COLUMN_STATE,
    COLUMN_SIZE,
    COLUMN_SHA1,
    COLUMN_SHA256,
    COLUMN_MIME_TYPE,
    COLUMN_PATIENT_ID,
    COLUMN_SOURCE_FACILITY,
    COLUMN_CLASS_CODE,
    COLUMN_CONFIDENTIALITY,
    COLUMN_CLASS_CODE_ID,
    COLUMN_CONFIDENTIALITY_IDS,
};

static const DbStatement FIND = {
    "repository_document_find",
    "SELECT " ROW_COLUMNS "FROM repository_document d WHERE d.unique_id = ANY ($1::text[])",
};

static const DbStatement FIND_PENDING = {
    "repository_document_find_pending",
    "SELECT " ROW_COLUMNS
    "FROM repository_document d WHERE d.state = 0 AND d.stored_at < $1::timestamptz "
    "ORDER BY d.stored_at LIMIT $2::integer",
};

/* NULL into state is refused by the table, and with it the transaction: the last line against two
 * documents under one uniqueId. The attributes of access and audit stay those of the first
 * submitter, unless it is gone. */
static const DbStatement INSERT = {
    "repository_document_insert",
    "INSERT INTO repository_document AS d (size_bytes, source_facility, state, sha256, sha1, "
    "unique_id, mime_type, "
    "patient_id, class_code, confidentiality_code) "
    "VALUES ($1::bigint, $2::integer, $3::smallint, $4::bytea, $5::bytea, $6::text, $7::text, "
    "$8::text, $9::text, "
    "$10::text[]) "
    "ON CONFLICT (unique_id) DO UPDATE SET "
    "state = CASE WHEN d.sha256 <> EXCLUDED.sha256 THEN NULL WHEN d.state IN (0, 3) THEN "
    "EXCLUDED.state ELSE d.state END, "
    "stored_at = CASE WHEN d.state IN (0, 3) THEN now() ELSE d.stored_at END, "
    "source_facility = CASE WHEN d.state = 3 THEN EXCLUDED.source_facility ELSE d.source_facility "
    "END, "
    "mime_type = CASE WHEN d.state = 3 THEN EXCLUDED.mime_type ELSE d.mime_type END, "
    "patient_id = CASE WHEN d.state = 3 THEN EXCLUDED.patient_id ELSE d.patient_id END, "
    "class_code = CASE WHEN d.state = 3 THEN EXCLUDED.class_code ELSE d.class_code END, "
    "confidentiality_code = CASE WHEN d.state = 3 THEN EXCLUDED.confidentiality_code ELSE "
    "d.confidentiality_code END",
};

static const DbStatement SET_REGISTERED = {
    "repository_document_registered",
    "UPDATE repository_document SET state = 1 WHERE unique_id = ANY ($1::text[]) AND state IN (0, "
    "3)",
};

static const DbStatement SET_REMOVED = {
    "repository_document_removed",
    "UPDATE repository_document SET state = 3 WHERE unique_id = ANY ($1::text[]) AND state = 0",
};

static const DbStatement NAMED = {
    "repository_document_named",
    "SELECT EXISTS (SELECT FROM repository_document d WHERE d.sha256 = u.sha256) "
    "FROM unnest($1::bytea[]) WITH ORDINALITY u (sha256, position) ORDER BY u.position",
};

static int compare_rows(const void *a, const void *b)
{
    return str_compare(((const DocumentRow *)a)->unique_id, ((const DocumentRow *)b)->unique_id);
}

static bool digest_read(Str bytes, uint8_t *ret_digest, size_t len)
{
    if (bytes.len != len) {
        return false;
    }
    memcpy(ret_digest, bytes.data, len);
    return true;
}

static int row_read(Request *req, const DbResult *result, int at, DocumentRow *ret_row)
{
    Str *confidentiality;
    ret_row->unique_id = db_text(result, at, COLUMN_UNIQUE_ID);
    ret_row->state = (DocumentState)db_i16(result, at, COLUMN_STATE);
    ret_row->size_bytes = (uint64_t)db_i64(result, at, COLUMN_SIZE);
    ret_row->mime_type = db_text(result, at, COLUMN_MIME_TYPE);
    ret_row->patient_id = db_text(result, at, COLUMN_PATIENT_ID);
    ret_row->source_facility = db_i32(result, at, COLUMN_SOURCE_FACILITY);
    ret_row->class_code = db_text(result, at, COLUMN_CLASS_CODE);
    ret_row->confidentiality_count =
        db_text_array(result, at, COLUMN_CONFIDENTIALITY, req->arena, &confidentiality);
    ret_row->confidentiality = confidentiality;
    ret_row->class_code_id = db_i32(result, at, COLUMN_CLASS_CODE_ID);
    size_t id_count = db_i32_array(result, at, COLUMN_CONFIDENTIALITY_IDS, req->arena,
                                   &ret_row->confidentiality_code_ids);
    if (!digest_read(db_text(result, at, COLUMN_SHA1), ret_row->sha1, sizeof(ret_row->sha1)) ||
        !digest_read(db_text(result, at, COLUMN_SHA256), ret_row->sha256,
                     sizeof(ret_row->sha256)) ||
        id_count != ret_row->confidentiality_count) {
        return error_add(&req->errors, ERR_CORRUPT, NULL,
                         "a row of repository_document is damaged");
    }
    return 0;
}

static int rows_read(Request *req, const DbResult *result, DocumentRows *ret_rows)
{
    size_t count = (size_t)db_rows(result);
    DocumentRows rows = {ARENA_ARRAY(req->arena, DocumentRow, count), count};
    for (size_t i = 0; i < count; i++) {
        int rc = row_read(req, result, (int)i, &rows.items[i]);
        if (rc < 0) {
            return rc;
        }
    }
    if (count > 0) {
        qsort(rows.items, count, sizeof(*rows.items), compare_rows);
    }
    *ret_rows = rows;
    return 0;
}

static int select_rows(Request *req, DbConn *conn, const DbStatement *statement,
                       const DbParams *params, DocumentRows *ret_rows)
{
    DbResult *result;
    int rc = db_exec(conn, req, statement, params, &result);
    return rc < 0 ? rc : rows_read(req, result, ret_rows);
}

int document_rows_find(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                       DocumentRows *ret_rows)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, unique_ids, count);
    return select_rows(req, conn, &FIND, &params, ret_rows);
}

const DocumentRow *document_rows_get(const DocumentRows *rows, Str unique_id)
{
    DocumentRow wanted = {.unique_id = unique_id};
    return rows->count
               ? bsearch(&wanted, rows->items, rows->count, sizeof(*rows->items), compare_rows)
               : NULL;
}

int document_row_queue(Request *req, DbConn *conn, const DocumentRow *row)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, (int64_t)row->size_bytes);
    db_param_i32(&params, row->source_facility);
    db_param_i16(&params, (int16_t)row->state);
    db_param_bytes(&params, (Str){(const char *)row->sha256, sizeof(row->sha256)});
    db_param_bytes(&params, (Str){(const char *)row->sha1, sizeof(row->sha1)});
    db_param_text(&params, row->unique_id);
    db_param_text(&params, row->mime_type);
    db_param_text(&params, row->patient_id);
    db_param_text(&params, row->class_code);
    db_param_text_array(&params, row->confidentiality, row->confidentiality_count);
    return db_queue(conn, req, &INSERT, &params);
}

static int queue_for_ids(Request *req, DbConn *conn, const DbStatement *statement,
                         const Str *unique_ids, size_t count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, unique_ids, count);
    return db_queue(conn, req, statement, &params);
}

int document_rows_queue_registered(Request *req, DbConn *conn, const Str *unique_ids, size_t count)
{
    return queue_for_ids(req, conn, &SET_REGISTERED, unique_ids, count);
}

int document_rows_queue_removed(Request *req, DbConn *conn, const Str *unique_ids, size_t count)
{
    return queue_for_ids(req, conn, &SET_REMOVED, unique_ids, count);
}

int document_rows_find_pending(Request *req, DbConn *conn, int64_t before_us, int32_t limit,
                               DocumentRows *ret_rows)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_timestamp(&params, before_us);
    db_param_i32(&params, limit);
    return select_rows(req, conn, &FIND_PENDING, &params, ret_rows);
}

int document_rows_name(Request *req, DbConn *conn, const Str *sha256, size_t count,
                       bool *ret_is_named)
{
    DbParams params;
    DbResult *result;
    db_params_init(&params, req->arena);
    db_param_bytes_array(&params, sha256, count);
    int rc = db_exec(conn, req, &NAMED, &params, &result);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        ret_is_named[i] = db_bool(result, (int)i, 0);
    }
    return 0;
}
