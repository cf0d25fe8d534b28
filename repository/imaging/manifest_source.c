#include "repository/imaging/manifest_source.h"

#include "lib/access/access.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/dicom/record.h"
#include "lib/dicom/worker_fields.h"
#include "lib/hl7/cx.h"
#include "repository/imaging/study_persons.h"

#define WORKER_TIMEOUT_NS INT64_C(60000000000)

/** What a document lists, and who reads it. */
typedef struct Reading {
    Imaging *imaging;
    Request *req;
    const DocumentEntry *entry;
} Reading;

/* $3 the document, $4 what it lists. A manifest that this server made is withdrawn when the study
 * is quiet. A study of an unknown patient has none yet: the maker sees to it once he is known. */
static const DbStatement upsert_manifest = {
    "imaging_source_manifest",
    "WITH known AS (INSERT INTO imaging_source_manifest (study_uid, facility, unique_id, "
    "sop_instances) VALUES ($1::text, $2::integer, $3::text, $4::text[]) "
    "ON CONFLICT (study_uid, facility) DO UPDATE SET unique_id = excluded.unique_id, "
    "sop_instances = excluded.sop_instances, received_at = clock_timestamp()) "
    "UPDATE imaging_study t SET is_manifest_due = t.manifest_kind = 2, "
    "manifest_kind = CASE t.manifest_kind WHEN 2 THEN 2 ELSE 1 END, "
    "manifest_unique_id = CASE t.manifest_kind WHEN 2 THEN t.manifest_unique_id ELSE $3::text END, "
    "manifest_failure = '' FROM (SELECT s.id FROM imaging_study s" STUDY_PERSON_JOINS
    "WHERE s.study_uid = $1::text AND s.facility = $2::integer "
    "AND " IS_DOCUMENT_OF("$3::text", "i.person") ") of_patient WHERE t.id = of_patient.id",
};

/* Instances of these facilities ($4 NULL: of all), all of whose copies are of other persons than
 * the one that the authority $2 knows by the number $3. */
static const DbStatement count_of_others = {
    "imaging_source_of_others",
    "SELECT count(*) FROM (SELECT FROM imaging_instance c JOIN imaging_study s ON s.id = c.study "
    "CROSS JOIN (SELECT f.person FROM patient_identifier f JOIN assigning_authority g "
    "ON g.id = f.authority WHERE g.oid = $2::text AND f.value = $3::text) "
    "patient" STUDY_PERSON_JOINS "WHERE c.sop_instance = ANY ($1::text[]) AND c.variant = 0 "
    "AND ($4::integer[] IS NULL OR s.facility = ANY ($4::integer[])) GROUP BY c.sop_instance "
    "HAVING bool_and(coalesce(i.person <> patient.person, false))) other",
};

static const DbStatement count_missing = {
    "imaging_source_missing",
    "SELECT count(*) FROM unnest($1::text[]) w (uid) WHERE NOT EXISTS "
    "(SELECT FROM imaging_instance i WHERE i.sop_instance = w.uid AND i.variant = 0)",
};

static int refuse(const Reading *reading, const char *text)
{
    Request *req = reading->req;
    return error_add(&req->errors, ERR_XDS_INVALID_DOCUMENT_CONTENT,
                     str_cstr(req->arena, reading->entry->unique_id),
                     "the document's formatCode says Key Object Selection Document, but %s", text);
}

/* ---- in a worker ---- */

static bool send_file(const Reading *reading, int control, const uint8_t sha256[32])
{
    BlobReader *reader = NULL;
    _cleanup_(strbuf_done) StrBuf buf = {0};
    bool is_good = blob_reader_open(reading->imaging->blobs, sha256, &reader) == 0 &&
                   worker_say(control, WORKER_SAYS_INSPECT, STR_EMPTY);
    for (int more = 1; is_good && more > 0;) {
        strbuf_clear(&buf);
        more = blob_reader_next(reader, &buf);
        Str rest = strbuf_str(&buf);
        is_good = more >= 0;
        while (is_good && rest.len > 0) {
            Str piece = str_slice(rest, 0, WORKER_BYTES_MAX);
            is_good = worker_say(control, WORKER_SAYS_DATA_OUT, piece);
            rest = str_from_offset(rest, piece.len);
        }
    }
    blob_reader_free(reader);
    return is_good && worker_say(control, WORKER_SAYS_SENT, STR_EMPTY);
}

/** @return 0, or why it cannot be read */
static int hear_record(const Reading *reading, int control, InstanceRecord *ret_record)
{
    Request *req = reading->req;
    _cleanup_(strbuf_done) StrBuf content = {0};
    WorkerMessageKind kind;
    int64_t deadline_ns = MIN(req->deadline_ns, clock_now_ns() + WORKER_TIMEOUT_NS);
    while (worker_hear(control, deadline_ns, &kind, &content) == 1) {
        if (kind == WORKER_SAYS_FAULT) {
            Str comment = worker_get(strbuf_str(&content), WORKER_COMMENT);
            return refuse(
                reading, str_printf(req->arena, "it is no such file: %.*s", STR_ARG(comment)).data);
        }
        if (kind == WORKER_SAYS_STORED &&
            instance_record_read(req->arena, str_dup(req->arena, strbuf_str(&content)),
                                 ret_record)) {
            return 0;
        }
        break;
    }
    return refuse(reading, "it cannot be read; send a file (PS3.10) with file meta information");
}

static int read_document(const Reading *reading, const uint8_t sha256[32],
                         InstanceRecord *ret_record)
{
    Request *req = reading->req;
    WorkerProcess worker;
    int rc = dicom_worker_start(reading->imaging->config.workers, &req->errors, JOB_INSPECTOR, 0,
                                &worker);
    if (rc < 0) {
        return rc;
    }
    rc = send_file(reading, worker.control, sha256) ? 0 : refuse(reading, "it cannot be read");
    rc = rc < 0 ? rc : hear_record(reading, worker.control, ret_record);
    dicom_worker_end(&worker);
    return rc;
}

/* ---- what it says ---- */

static int check_record(const Reading *reading, const InstanceRecord *record)
{
    Request *req = reading->req;
    if (!str_equal(record->sop_class, STR(UID_KEY_OBJECT_SELECTION))) {
        return refuse(reading, "its SOP Class UID (0008,0016) is another one");
    }
    if (!str_equal(record->sop_instance, reading->entry->unique_id)) {
        return refuse(reading, str_printf(req->arena,
                                          "its SOP Instance UID (0008,0018) is %.*s; send it as "
                                          "XDSDocumentEntry.uniqueId",
                                          STR_ARG(record->sop_instance))
                                   .data);
    }
    return 0;
}

/** Those for which the sender may submit; NULL: all. */
static void bind_facilities(DbParams *params, const Principal *principal)
{
    if (!principal || principal->may_do_everything) {
        db_param_null(params);
        return;
    }
    int32_t *facilities = ARENA_ARRAY(params->arena, int32_t, principal->facility_count + 1);
    for (size_t i = 0; i < principal->facility_count; i++) {
        facilities[i] = principal->facilities[i];
    }
    facilities[principal->facility_count] = principal->facility_id;
    db_param_i32_array(params, facilities, principal->facility_count + 1);
}

/** A manifest is of one patient: nobody's images show under another one's name. */
static int check_patient(const Reading *reading, const Str *instances, size_t count)
{
    Request *req = reading->req;
    const Hl7Cx patient =
        hl7_cx_parse(req->arena, &er7_standard_delimiters, HL7_UTF_8, reading->entry->patient_id);
    DbParams params;
    DbResult *rows;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, instances, count);
    db_param_text(&params, patient.universal_id);
    db_param_text(&params, patient.id);
    bind_facilities(&params, req->principal);
    int rc = db_acquire(reading->imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &count_of_others, &params, &rows);
    if (rc < 0 || db_i64(rows, 0, 0) == 0) {
        return rc;
    }
    return refuse(reading, "it lists instances that are stored here for another patient than "
                           "XDSDocumentEntry.patientId; send a manifest for each patient, with the "
                           "instances of his own studies");
}

static int report_gaps(const Reading *reading, const Str *instances, size_t count)
{
    Request *req = reading->req;
    DbParams params;
    DbResult *rows;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, instances, count);
    int rc = db_acquire(reading->imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &count_missing, &params, &rows);
    if (rc == 0 && db_i64(rows, 0, 0) > 0) {
        log_warn("ref=%s event=manifest_with_gaps missing=%lld listed=%zu", req->ref,
                 (long long)db_i64(rows, 0, 0), count);
    }
    return rc;
}

typedef struct Listed {
    Str study_uid;
    Str unique_id;
    Str *instances;
    size_t count;
} Listed;

/** Only what this server is to serve is its business. */
static bool is_ours(const Imaging *imaging, const KeyObjectSelection *selection)
{
    return str_is_empty(selection->retrieve_location_uid) ||
           str_equal(selection->retrieve_location_uid, str_from(imaging->config.unique_id));
}

static int inspect(void *ctx, Request *req, const DocumentEntry *entry, const uint8_t sha256[32],
                   void **ret_found)
{
    const Reading reading = {.imaging = ctx, .req = req, .entry = entry};
    InstanceRecord record = {0};
    int rc = read_document(&reading, sha256, &record);
    rc = rc < 0 ? rc : check_record(&reading, &record);
    if (rc < 0 || !is_ours(ctx, &record.selection)) {
        return rc;
    }
    Listed *listed = ARENA_NEW(req->arena, Listed);
    listed->study_uid = record.study_uid;
    listed->unique_id = entry->unique_id;
    listed->count = record.selection.reference_count;
    listed->instances = ARENA_ARRAY(req->arena, Str, listed->count);
    for (size_t i = 0; i < listed->count; i++) {
        listed->instances[i] = record.selection.references[i].sop_instance;
    }
    rc = check_patient(&reading, listed->instances, listed->count);
    *ret_found = listed;
    return rc < 0 ? rc : report_gaps(&reading, listed->instances, listed->count);
}

static int queue(void *ctx, Request *req, DbConn *conn, int32_t facility, void *found)
{
    const Listed *listed = found;
    DbParams params;
    (void)ctx;
    db_params_init(&params, req->arena);
    db_param_text(&params, listed->study_uid);
    db_param_i32(&params, facility);
    db_param_text(&params, listed->unique_id);
    db_param_text_array(&params, listed->instances, listed->count);
    return db_queue(conn, req, &upsert_manifest, &params);
}

ManifestCheck manifest_source_check(Imaging *imaging)
{
    return (ManifestCheck){.ctx = imaging, .inspect = inspect, .queue = queue};
}
