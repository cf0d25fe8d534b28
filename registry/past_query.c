#include "lib/access/codes.h"
#include "lib/base/clock.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/xml/read.h"
#include "lib/xml/write.h"
#include "registry/history.h"
#include "registry/query_run.h"
#include "registry/registry_private.h"

/* A stored query on the database as it was (db_pool_as_of()). */

#define FIND_DOCUMENTS "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"

/* Unqualified, now() is the instant that is looked at; only where the session is not what
 * db_pool_as_of() wants is it another one. */
static const DbStatement select_instant = {
    "past_instant", "SELECT now(), (SELECT min(valid_from) FROM rule_history)"};

/* In the schema of the past it has the last two columns as well. */
#define SQL_CODES CODED_TEXTS("ARRAY[d.class_code]") ", " CODED_TEXTS("ARRAY[d.type_code]")
static const DbStatement select_documents = {
    "past_documents",
    "SELECT d.entry_uuid, d.unique_id, coalesce(f.name, ''), " SQL_CODES ", d.version, d.status,"
    " d.came_at, d.removed_at FROM document_entry d LEFT JOIN facility f ON f.id ="
    " d.source_facility WHERE d.entry_uuid = ANY ($1::uuid[]) ORDER BY d.came_at, d.entry_uuid"};

/* ---- the question ---- */

/** ('a','b'), as values of stored queries are written (TF-2 3.18.4.1.2.3.5). */
static void append_slot(StrBuf *xml, const char *name, const Str *values, size_t count,
                        bool is_list)
{
    if (count == 0) {
        return;
    }
    strbuf_printf(xml, "<rim:Slot name=\"%s\"><rim:ValueList><rim:Value>", name);
    strbuf_append(xml, is_list ? STR("(") : STR_EMPTY);
    for (size_t i = 0; i < count; i++) {
        strbuf_append(xml, i > 0 ? STR(",'") : STR("'"));
        for (size_t at = 0; at < values[i].len; at++) {
            strbuf_append(xml, values[i].data[at] == '\'' ? STR("'") : STR_EMPTY);
            xml_append_escaped(xml, str_slice(values[i], at, 1));
        }
        strbuf_append_char(xml, '\'');
    }
    strbuf_append(xml, is_list ? STR(")") : STR_EMPTY);
    strbuf_literal(xml, "</rim:Value></rim:ValueList></rim:Slot>");
}

static void append_request(StrBuf *xml, const PastQuestion *question)
{
    static const Str types[] = {STR_INIT(UUID_STABLE_DOCUMENT), STR_INIT(UUID_ON_DEMAND_DOCUMENT)};
    strbuf_literal(xml,
                   "<query:AdhocQueryRequest xmlns:query=\"" NS_QUERY "\" xmlns:rim=\"" NS_RIM
                   "\"><query:ResponseOption returnType=\"ObjectRef\""
                   " returnComposedObjects=\"true\"/><rim:AdhocQuery id=\"" FIND_DOCUMENTS "\">");
    append_slot(xml, "$XDSDocumentEntryPatientId", &question->patient, 1, false);
    append_slot(xml, "$XDSDocumentEntryStatus", question->statuses, question->status_count, true);
    append_slot(xml, "$XDSDocumentEntryType", types, ARRAY_LEN(types), true);
    append_slot(xml, "$XDSDocumentEntryClassCode", question->class_codes,
                question->class_code_count, true);
    append_slot(xml, "$XDSDocumentEntryTypeCode", question->type_codes, question->type_code_count,
                true);
    strbuf_literal(xml, "</rim:AdhocQuery></query:AdhocQueryRequest>");
}

static int make_request(Request *req, const PastQuestion *question, QueryRequest **ret_request)
{
    _cleanup_(strbuf_done) StrBuf xml = {0};
    XmlNode *root = NULL;
    append_request(&xml, question);
    XmlReader *reader = xml_reader_new(req->arena, &req->errors, NULL);
    int rc = xml_reader_push(reader, xml.data, xml.len);
    rc = rc < 0 ? rc : xml_reader_finish(reader, &root);
    xml_reader_free(reader);
    return rc < 0 ? rc : query_request_read(req, root, false, ret_request);
}

/* ---- the answer ---- */

static int check_instant(DbConn *conn, Request *req, int64_t at_us)
{
    DbResult *rows;
    int rc = db_exec(conn, req, &select_instant, NULL, &rows);
    if (rc < 0) {
        return rc;
    }
    if (db_timestamp(rows, 0, 0) != at_us) {
        return error_add(&req->errors, ERR_CONFIGURATION, "history",
                         "options= in the conninfo keep the past from being read: remove it");
    }
    int64_t begin_us = db_timestamp(rows, 0, 1);
    if (at_us < begin_us) {
        Str begin = clock_iso8601(req->arena, begin_us);
        return error_add(&req->errors, ERR_CONFIGURATION, "history",
                         "history begins at %.*s; what was answered before is not known",
                         STR_ARG(begin));
    }
    return 0;
}

static int read_documents(DbConn *conn, Request *req, const Uuid *uuids, size_t count,
                          PastDocument **ret_documents, size_t *ret_count)
{
    DbParams params;
    DbResult *rows;
    Str *codes;
    db_params_init(&params, req->arena);
    db_param_uuid_array(&params, uuids, count);
    int rc = db_exec(conn, req, &select_documents, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    PastDocument *documents = ARENA_ARRAY(req->arena, PastDocument, (size_t)db_rows(rows));
    for (int row = 0; row < db_rows(rows); row++) {
        documents[row] = (PastDocument){
            .entry_uuid = db_uuid(rows, row, 0),
            .unique_id = db_text(rows, row, 1),
            .facility = db_text(rows, row, 2),
            .class_code = db_text_array(rows, row, 3, req->arena, &codes) ? codes[0] : STR_EMPTY,
            .type_code = db_text_array(rows, row, 4, req->arena, &codes) ? codes[0] : STR_EMPTY,
            .version = db_i32(rows, row, 5),
            .status = db_i16(rows, row, 6),
            .came_us = db_timestamp(rows, row, 7),
            .removed_us = db_timestamp_or(rows, row, 8, INT64_MAX),
        };
    }
    *ret_documents = documents;
    *ret_count = (size_t)db_rows(rows);
    return 0;
}

int registry_past_query(const Registry *registry, DbPool *past, Request *req,
                        const PastQuestion *question, PastDocument **ret_documents,
                        size_t *ret_count)
{
    _cleanup_(query_answer_freep) QueryAnswer *answer = NULL;
    Registry of_then = *registry; /* the same, on another database */
    QueryRequest *request = NULL;
    Uuid *uuids = NULL;
    size_t count = 0;
    of_then.config.pool = past;
    DbConn *conn = NULL;
    int rc = make_request(req, question, &request);
    rc = rc < 0 ? rc : db_acquire(past, req, &conn);
    rc = rc < 0 ? rc : check_instant(conn, req, question->at_us);
    db_release(conn);
    rc = rc < 0 ? rc : query_run(&of_then, req, request, &answer);
    rc = rc < 0 ? rc : query_answer_references(answer, req, &uuids, &count);
    conn = NULL;
    rc = rc < 0 ? rc : db_acquire(past, req, &conn);
    rc = rc < 0 ? rc : read_documents(conn, req, uuids, count, ret_documents, ret_count);
    db_release(conn);
    return rc;
}
