#include "registry/registry.h"
#include "registry/retained.h"

static const DbStatement select_registrations = {
    "registry_document_registrations",
    "SELECT wanted.position - 1, d.patient, d.source_facility, d.class_code, d.status,"
    "       d.confidentiality_code, coalesce(d.service_start_time, d.creation_time),"
    "       d.entry_uuid"
    "  FROM unnest($1::text[]) WITH ORDINALITY AS wanted (unique_id, position)"
    "  JOIN document_entry d ON hashtext(d.unique_id) = hashtext(wanted.unique_id)"
    "   AND d.unique_id = wanted.unique_id AND d.is_latest"};

enum {
    COLUMN_DOCUMENT,
    COLUMN_PATIENT,
    COLUMN_SOURCE_FACILITY,
    COLUMN_CLASS_CODE,
    COLUMN_STATUS,
    COLUMN_CONFIDENTIALITY,
    COLUMN_EFFECTIVE,
    COLUMN_ENTRY_UUID,
};

static DocumentRegistration read_registration(Arena *arena, const DbResult *rows, int row)
{
    int32_t *codes;
    size_t count = db_i32_array(rows, row, COLUMN_CONFIDENTIALITY, arena, &codes);
    return (DocumentRegistration){
        .document = (size_t)db_i64(rows, row, COLUMN_DOCUMENT),
        .entry_uuid = db_uuid(rows, row, COLUMN_ENTRY_UUID),
        .patient = db_i64(rows, row, COLUMN_PATIENT),
        .access = {
            .source_facility = db_i32(rows, row, COLUMN_SOURCE_FACILITY),
            .class_code = db_i32(rows, row, COLUMN_CLASS_CODE),
            .confidentiality_codes = codes,
            .confidentiality_count = count,
            .status = db_i16(rows, row, COLUMN_STATUS),
            .effective_us = db_is_null(rows, row, COLUMN_EFFECTIVE)
                                ? INT64_MIN
                                : db_timestamp(rows, row, COLUMN_EFFECTIVE),
        }};
}

static int catalogue_find(void *ctx, Request *req, DbConn *conn, const Str *unique_ids,
                          size_t count, DocumentRegistration **ret_registrations, size_t *ret_count)
{
    (void)ctx;
    DbParams params;
    DbResult *rows;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, unique_ids, count);
    int rc = db_exec(conn, req, &select_registrations, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_registrations = ARENA_ARRAY(req->arena, DocumentRegistration, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_registrations)[i] = read_registration(req->arena, rows, (int)i);
    }
    return 0;
}

static int catalogue_find_retained(void *ctx, Request *req, DbConn *conn, const Str *unique_ids,
                                   size_t count, RetainedDocument **ret_documents,
                                   size_t *ret_count)
{
    (void)ctx;
    return retained_of_documents(req, conn, unique_ids, count, ret_documents, ret_count);
}

DocumentCatalogue registry_document_catalogue(void)
{
    return (DocumentCatalogue){.find = catalogue_find, .find_retained = catalogue_find_retained};
}
