#include "repository/document_rows.h"

#include <stdlib.h>
#include <string.h>

#include "lib/access/access.h"

/* Codes are kept as code^^scheme and turned into the interned numbers of access rules when read; 0
 * is a code that no rule can name. The order of uniqueIds is that of their bytes, as str_compare()
 * has it. */
#define ROW_COLUMNS                                                                                \
    "d.unique_id, d.state, d.size_bytes, d.sha1, d.sha256, k.mime_type, " DOCUMENT_PATIENT_ID      \
    ", d.source_facility, k.class_code, k.confidentiality_code, "                                  \
    "coalesce((SELECT c.id FROM code c WHERE c.code = split_part(k.class_code, '^^', 1) "          \
    "AND c.scheme = split_part(k.class_code, '^^', 2)), 0), "                                      \
    "ARRAY(SELECT coalesce(c.id, 0) FROM unnest(k.confidentiality_code) WITH ORDINALITY u (text, " \
    "position) "                                                                                   \
    "LEFT JOIN code c ON c.code = split_part(u.text, '^^', 1) AND c.scheme = split_part(u.text, "  \
    "'^^', 2) "                                                                                    \
    "ORDER BY u.position), d.effective_at, "                                                       \
    "coalesce((SELECT i.id FROM assigning_authority a JOIN patient_identifier i "                  \
    "ON i.authority = a.id AND i.value = d.patient_id_number "                                     \
    "WHERE a.oid = split_part(k.patient_id_authority, '&', 2)), 0), d.stored_at, "                 \
    "coalesce(d.generator, '') "                                                                   \
    "FROM " DOCUMENT_AND_KIND

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
    COLUMN_EFFECTIVE_AT,
    COLUMN_PATIENT,
    COLUMN_STORED_AT,
    COLUMN_GENERATOR,
};

static const DbStatement select_document = {
    "repository_document_find",
    "SELECT " ROW_COLUMNS " WHERE d.digest = ANY ($1::uuid[])",
};

static const DbStatement lock_document = {
    "repository_document_lock",
    "SELECT " ROW_COLUMNS " WHERE d.digest = ANY ($1::uuid[]) ORDER BY d.digest FOR UPDATE OF d",
};

static const DbStatement select_pending = {
    "repository_document_find_pending",
    "SELECT " ROW_COLUMNS " WHERE d.state = 0 AND d.stored_at < $1::timestamptz "
    "ORDER BY d.stored_at LIMIT $2::integer",
};

/* The kind is there but for the first document of it; DO UPDATE gives its id also when another
 * transaction has just inserted it. NULL into state is refused by the table, and with it the
 * transaction: the last line against two documents under one uniqueId. The attributes of access and
 * audit stay those of the first submitter, unless it is gone. */
static const DbStatement insert_documents = {
    "repository_document_insert",
    "WITH known AS (SELECT id FROM repository_document_kind WHERE digest = $9::uuid), "
    "added AS (INSERT INTO repository_document_kind AS k (digest, mime_type, patient_id_authority, "
    "class_code, confidentiality_code) "
    "SELECT $9::uuid, $10::text, $11::text, $12::text, $13::text[] "
    "WHERE NOT EXISTS (SELECT FROM known) "
    "ON CONFLICT (digest) DO UPDATE SET digest = k.digest RETURNING id) "
    "INSERT INTO repository_document AS d (digest, size_bytes, source_facility, state, sha256, "
    "sha1, unique_id, patient_id_number, effective_at, kind) "
    "SELECT $1::uuid, $2::bigint, $3::integer, $4::smallint, $5::bytea, $6::bytea, $7::text, "
    "$8::text, $14::timestamptz, id FROM (SELECT id FROM known UNION ALL SELECT id FROM added) "
    "kind "
    "ON CONFLICT (digest) DO UPDATE SET "
    "state = CASE WHEN d.sha256 <> EXCLUDED.sha256 THEN NULL WHEN d.state IN (0, 3) THEN "
    "EXCLUDED.state ELSE d.state END, "
    "stored_at = CASE WHEN d.state IN (0, 3) THEN now() ELSE d.stored_at END, "
    "source_facility = CASE WHEN d.state = 3 THEN EXCLUDED.source_facility ELSE d.source_facility "
    "END, "
    "patient_id_number = CASE WHEN d.state = 3 THEN EXCLUDED.patient_id_number ELSE "
    "d.patient_id_number END, "
    "effective_at = CASE WHEN d.state = 3 THEN EXCLUDED.effective_at ELSE d.effective_at END, "
    "kind = CASE WHEN d.state = 3 THEN EXCLUDED.kind ELSE d.kind END",
};

/* Only for transactions with several kinds: see document_rows_queue(). */
static const DbStatement insert_kinds = {
    "repository_document_kind_insert",
    "INSERT INTO repository_document_kind (digest, mime_type, patient_id_authority, class_code, "
    "confidentiality_code) SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text[] "
    "WHERE NOT EXISTS (SELECT FROM repository_document_kind WHERE digest = $1::uuid) "
    "ON CONFLICT DO NOTHING",
};

/* In order of digest, as document_rows_queue() takes its locks. */
static const DbStatement set_patient = {
    "repository_document_patient",
    "UPDATE repository_document SET patient_id_number = $2::text WHERE digest = ANY (ARRAY("
    "SELECT digest FROM repository_document WHERE digest = ANY ($1::uuid[])"
    " ORDER BY digest FOR NO KEY UPDATE))",
};

static const DbStatement set_registered = {
    "repository_document_registered",
    "UPDATE repository_document SET state = 1 WHERE digest = ANY ($1::uuid[]) AND state IN (0, 3)",
};

static const DbStatement set_removed = {
    "repository_document_removed",
    "UPDATE repository_document SET state = 3 WHERE digest = ANY ($1::uuid[]) AND state = 0",
};

static const DbStatement set_erased = {
    "repository_document_erased",
    "WITH gone AS (UPDATE repository_document d SET state = 3 FROM repository_document_kind k "
    "WHERE k.id = d.kind AND d.digest = ANY ($1::uuid[]) AND d.state = 1 "
    "RETURNING d.unique_id, " DOCUMENT_PATIENT_ID " AS patient_id, d.size_bytes, d.sha256) "
    "INSERT INTO removal (is_bytes, node, user_id, unique_id, patient_id, size_bytes, sha256) "
    "SELECT true, $2::text, $3::text, unique_id, patient_id, size_bytes, sha256 FROM gone",
};

static const DbStatement select_named = {
    "repository_document_named",
    "SELECT EXISTS (SELECT FROM repository_document d WHERE substr(d.sha256, 1, 7) = "
    "substr(u.sha256, 1, 7) AND d.sha256 = u.sha256 AND d.state <> 3) OR "
    "EXISTS (SELECT FROM imaging_instance i WHERE substr(i.sha256, 1, 7) = "
    "substr(u.sha256, 1, 7) AND i.sha256 = u.sha256) "
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
    ret_row->effective_us = db_is_null(result, at, COLUMN_EFFECTIVE_AT)
                                ? INT64_MIN
                                : db_timestamp(result, at, COLUMN_EFFECTIVE_AT);
    ret_row->patient = db_i64(result, at, COLUMN_PATIENT);
    ret_row->stored_us = db_timestamp(result, at, COLUMN_STORED_AT);
    ret_row->generator = db_text(result, at, COLUMN_GENERATOR);
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

static void bind_digests(DbParams *params, const Str *unique_ids, size_t count)
{
    Uuid *digests = ARENA_ARRAY(params->arena, Uuid, count);
    for (size_t i = 0; i < count; i++) {
        digests[i] = uuid_digest(unique_ids[i]);
    }
    db_param_uuid_array(params, digests, count);
}

int document_rows_find(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                       DocumentRows *ret_rows)
{
    DbParams params;
    db_params_init(&params, req->arena);
    bind_digests(&params, unique_ids, count);
    return select_rows(req, conn, &select_document, &params, ret_rows);
}

int document_rows_lock(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                       DocumentRows *ret_rows)
{
    DbParams params;
    db_params_init(&params, req->arena);
    bind_digests(&params, unique_ids, count);
    return select_rows(req, conn, &lock_document, &params, ret_rows);
}

const DocumentRow *document_rows_get(const DocumentRows *rows, Str unique_id)
{
    DocumentRow wanted = {.unique_id = unique_id};
    return rows->count
               ? bsearch(&wanted, rows->items, rows->count, sizeof(*rows->items), compare_rows)
               : NULL;
}

/** A row on its way to the database: its keys, and patientId in the halves that are stored. */
typedef struct QueuedRow {
    const DocumentRow *row;
    Uuid digest;
    Uuid kind_digest;
    Str patient_id_number;    /* CX up to its first ^ */
    Str patient_id_authority; /* from there on */
} QueuedRow;

/** The attributes of the row that make up its kind; a NUL, which no text holds, ends each. */
static Uuid kind_digest(const DocumentRow *row, Str patient_id_authority)
{
    const Str texts[] = {row->mime_type, patient_id_authority, row->class_code};
    StrBuf all = {0};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        strbuf_append(&all, texts[i]);
        strbuf_append_char(&all, '\0');
    }
    for (size_t i = 0; i < row->confidentiality_count; i++) {
        strbuf_append(&all, row->confidentiality[i]);
        strbuf_append_char(&all, '\0');
    }
    Uuid digest = uuid_digest(strbuf_str(&all));
    strbuf_done(&all);
    return digest;
}

/** Bytes of a patientId (CX) up to its first ^. */
static size_t patient_id_number_len(Str patient_id)
{
    return MIN(str_find_char(patient_id, '^'), patient_id.len);
}

int document_rows_set_patient(Request *req, DbConn *conn, Str patient_id, const Str *unique_ids,
                              size_t count)
{
    Uuid *digests = ARENA_ARRAY(req->arena, Uuid, count);
    for (size_t i = 0; i < count; i++) {
        digests[i] = uuid_digest(unique_ids[i]);
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, digests, count);
    db_param_text(&params, str_slice(patient_id, 0, patient_id_number_len(patient_id)));
    return db_exec(conn, req, &set_patient, &params, NULL);
}

static QueuedRow queued_row(const DocumentRow *row)
{
    size_t number_len = patient_id_number_len(row->patient_id);
    Str authority = str_from_offset(row->patient_id, number_len);
    return (QueuedRow){
        .row = row,
        .digest = uuid_digest(row->unique_id),
        .kind_digest = kind_digest(row, authority),
        .patient_id_number = str_slice(row->patient_id, 0, number_len),
        .patient_id_authority = authority,
    };
}

static int compare_kinds(const void *a, const void *b)
{
    return uuid_compare(&((const QueuedRow *)a)->kind_digest, &((const QueuedRow *)b)->kind_digest);
}

static int compare_digests(const void *a, const void *b)
{
    return uuid_compare(&((const QueuedRow *)a)->digest, &((const QueuedRow *)b)->digest);
}

static void bind_kind(DbParams *params, const QueuedRow *queued)
{
    const DocumentRow *row = queued->row;
    db_param_uuid(params, queued->kind_digest);
    db_param_text(params, row->mime_type);
    db_param_text(params, queued->patient_id_authority);
    db_param_text(params, row->class_code);
    db_param_text_array(params, row->confidentiality, row->confidentiality_count);
}

static int queue_kind(Request *req, DbConn *conn, const QueuedRow *queued)
{
    DbParams params;
    db_params_init(&params, req->arena);
    bind_kind(&params, queued);
    return db_queue(conn, req, &insert_kinds, &params);
}

static int queue_row(Request *req, DbConn *conn, const QueuedRow *queued)
{
    const DocumentRow *row = queued->row;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid(&params, queued->digest);
    db_param_i64(&params, (int64_t)row->size_bytes);
    db_param_i32(&params, row->source_facility);
    db_param_i16(&params, (int16_t)row->state);
    db_param_bytes(&params, (Str){(const char *)row->sha256, sizeof(row->sha256)});
    db_param_bytes(&params, (Str){(const char *)row->sha1, sizeof(row->sha1)});
    db_param_text(&params, row->unique_id);
    db_param_text(&params, queued->patient_id_number);
    bind_kind(&params, queued);
    if (row->effective_us == INT64_MIN) {
        db_param_null(&params);
    } else {
        db_param_timestamp(&params, row->effective_us);
    }
    return db_queue(conn, req, &insert_documents, &params);
}

int document_rows_queue(Request *req, DbConn *conn, const DocumentRow *rows, size_t count)
{
    QueuedRow *queued = ARENA_ARRAY(req->arena, QueuedRow, count);
    for (size_t i = 0; i < count; i++) {
        queued[i] = queued_row(&rows[i]);
    }
    int rc = 0;
    if (count > 1) {
        qsort(queued, count, sizeof(*queued), compare_kinds);
        bool has_several = compare_kinds(&queued[0], &queued[count - 1]) != 0;
        for (size_t i = 0; i < count && has_several && rc == 0; i++) {
            if (i == 0 || compare_kinds(&queued[i - 1], &queued[i]) != 0) {
                rc = queue_kind(req, conn, &queued[i]);
            }
        }
        qsort(queued, count, sizeof(*queued), compare_digests);
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = queue_row(req, conn, &queued[i]);
    }
    return rc;
}

static int queue_for_ids(Request *req, DbConn *conn, const DbStatement *statement,
                         const Str *unique_ids, size_t count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    bind_digests(&params, unique_ids, count);
    return db_queue(conn, req, statement, &params);
}

int document_rows_queue_registered(Request *req, DbConn *conn, const Str *unique_ids, size_t count)
{
    return queue_for_ids(req, conn, &set_registered, unique_ids, count);
}

int document_rows_queue_removed(Request *req, DbConn *conn, const Str *unique_ids, size_t count)
{
    return queue_for_ids(req, conn, &set_removed, unique_ids, count);
}

int document_rows_queue_erased(Request *req, DbConn *conn, const DocumentRow *const *rows,
                               size_t count)
{
    Uuid *digests = ARENA_ARRAY(req->arena, Uuid, count);
    for (size_t i = 0; i < count; i++) {
        digests[i] = uuid_digest(rows[i]->unique_id);
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, digests, count);
    db_param_text(&params, req->principal ? req->principal->node_name : STR_EMPTY);
    db_param_text(&params, req->user ? req->user->id : STR_EMPTY);
    return db_queue(conn, req, &set_erased, &params);
}

int document_rows_find_pending(Request *req, DbConn *conn, int64_t before_us, int32_t limit,
                               DocumentRows *ret_rows)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_timestamp(&params, before_us);
    db_param_i32(&params, limit);
    return select_rows(req, conn, &select_pending, &params, ret_rows);
}

int document_rows_name(Request *req, DbConn *conn, const Str *sha256, size_t count,
                       bool *ret_is_named)
{
    DbParams params;
    DbResult *result;
    db_params_init(&params, req->arena);
    db_param_bytes_array(&params, sha256, count);
    int rc = db_exec(conn, req, &select_named, &params, &result);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        ret_is_named[i] = db_bool(result, (int)i, 0);
    }
    return 0;
}
