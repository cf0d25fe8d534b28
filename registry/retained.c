#include "registry/retained.h"

/* Kinds: 1 SubmissionSet; types: 0 HasMember; submission_set_status: 1 Original. The first version
 * has the logical id as its own. */
#define COLUMNS                                                                                    \
    " d.unique_id, d.patient, d.source_facility, d.class_code,"                                    \
    " coalesce(greatest(d.creation_time, (SELECT min(s.registered_at) FROM association a"          \
    "   JOIN submission_set s ON s.entry_uuid = a.source_object"                                   \
    "   WHERE a.target_object = coalesce(d.lid, d.entry_uuid) AND a.source_kind = 1"               \
    "    AND a.type = 0 AND a.submission_set_status = 1)), now())"

static const DbStatement select_entries = {
    "retained_entries", "SELECT dense_rank() OVER (ORDER BY d.unique_id) - 1," COLUMNS
                        " FROM document_entry d WHERE d.entry_uuid = ANY ($1::uuid[])"};

static const DbStatement select_documents = {
    "retained_documents",
    "SELECT wanted.position - 1," COLUMNS
    " FROM unnest($1::text[]) WITH ORDINALITY AS wanted (unique_id, position)"
    " JOIN document_entry d ON hashtext(d.unique_id) = hashtext(wanted.unique_id)"
    " AND d.unique_id = wanted.unique_id"};

enum { DOCUMENT, UNIQUE_ID, PATIENT, FACILITY, CLASS_CODE, SINCE };

static int read_documents(Request *req, DbConn *conn, const DbStatement *statement,
                          const DbParams *params, RetainedDocument **ret_documents,
                          size_t *ret_count)
{
    DbResult *rows;
    int rc = db_exec(conn, req, statement, params, &rows);
    if (rc < 0) {
        return rc;
    }
    size_t count = (size_t)db_rows(rows);
    RetainedDocument *documents = ARENA_ARRAY(req->arena, RetainedDocument, count);
    for (int row = 0; row < db_rows(rows); row++) {
        documents[row] = (RetainedDocument){
            .document = (size_t)db_i64(rows, row, DOCUMENT),
            .unique_id = db_text(rows, row, UNIQUE_ID),
            .patient = db_i64(rows, row, PATIENT),
            .facility = db_i32(rows, row, FACILITY),
            .class_code = db_i32(rows, row, CLASS_CODE),
            .since_us = db_timestamp(rows, row, SINCE),
        };
    }
    *ret_documents = documents;
    *ret_count = count;
    return 0;
}

int retained_of_entries(Request *req, DbConn *conn, const UuidSet *entries,
                        RetainedDocument **ret_documents, size_t *ret_count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, entries->items, entries->count);
    return read_documents(req, conn, &select_entries, &params, ret_documents, ret_count);
}

int retained_of_documents(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                          RetainedDocument **ret_documents, size_t *ret_count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, unique_ids, count);
    return read_documents(req, conn, &select_documents, &params, ret_documents, ret_count);
}
