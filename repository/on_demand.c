#include "repository/on_demand.h"

#include <stdlib.h>

#include "lib/access/access.h"
#include "lib/base/clock.h"
#include "lib/base/oid.h"
#include "lib/ebrim/submission_text.h"
#include "lib/hl7/cx.h"

static const Generator generators[] = {
#define GENERATOR(name, write, mime_type, type_code, type_name, title)                             \
    {STR_INIT(name), write, mime_type, type_code, type_name, title},
#include "repository/generators.def"
#undef GENERATOR
};

const Generator *generator_find(Str name)
{
    for (size_t i = 0; i < ARRAY_LEN(generators); i++) {
        if (str_equal(generators[i].name, name)) {
            return &generators[i];
        }
    }
    return NULL;
}

/* ---- rows ---- */

static const DbStatement select_rows = {
    "on_demand_find",
    "SELECT unique_id, patient, generator, noted_at, snapshot_unique_id FROM on_demand_document "
    "WHERE unique_id = ANY ($1::text[]) AND registered_at IS NOT NULL ORDER BY unique_id",
};

/* In order, as all locks of several rows are taken. */
static const DbStatement insert_noted = {
    "on_demand_note",
    "INSERT INTO on_demand_document (patient, generator, unique_id) "
    "SELECT DISTINCT ON (n.patient) n.patient, $2::text, n.unique_id "
    "FROM unnest($1::bigint[], $3::text[]) AS n (patient, unique_id) "
    "WHERE NOT EXISTS (SELECT FROM on_demand_document d WHERE d.patient = n.patient "
    "AND d.generator = $2::text) ORDER BY n.patient ON CONFLICT DO NOTHING",
};

int on_demand_find(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                   OnDemandRow **ret_rows, size_t *ret_count)
{
    DbParams params;
    DbResult *result;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, unique_ids, count);
    int rc = db_exec(conn, req, &select_rows, &params, &result);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(result);
    *ret_rows = ARENA_ARRAY(req->arena, OnDemandRow, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_rows)[i] = (OnDemandRow){
            .unique_id = db_text(result, (int)i, 0),
            .patient = db_i64(result, (int)i, 1),
            .generator = generator_find(db_text(result, (int)i, 2)),
            .noted_us = db_timestamp(result, (int)i, 3),
            .snapshot_unique_id = db_text(result, (int)i, 4),
        };
    }
    return 0;
}

int on_demand_note(void *generator, Request *req, DbConn *conn, const int64_t *patients,
                   size_t count)
{
    const Generator *noted = generator;
    Str *unique_ids = ARENA_ARRAY(req->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        unique_ids[i] = oid_of_uuid(req->arena, uuid_new());
    }
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, patients, count);
    db_param_text(&params, noted->name);
    db_param_text_array(&params, unique_ids, count);
    return db_queue(conn, req, &insert_noted, &params);
}

static const DbStatement delete_withdrawn = {
    "on_demand_withdraw", "DELETE FROM on_demand_document WHERE unique_id = ANY ($1::text[])"};

int on_demand_queue_withdrawn(Request *req, DbConn *conn, const Str *unique_ids, size_t count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, unique_ids, count);
    return db_queue(conn, req, &delete_withdrawn, &params);
}

/* ---- what the reader may see ---- */

static const DbStatement select_facilities = {
    "on_demand_facilities", "SELECT id, name FROM facility WHERE id = ANY ($1::int[])"};

static int compare_documents(const void *a, const void *b)
{
    const ListedDocument *left = &((const RecordedDocument *)a)->listed;
    const ListedDocument *right = &((const RecordedDocument *)b)->listed;
    if (left->time_us != right->time_us) {
        return left->time_us < right->time_us ? 1 : -1;
    }
    return str_compare(left->unique_id, right->unique_id);
}

static int compare_studies(const void *a, const void *b)
{
    const ListedStudy *left = a;
    const ListedStudy *right = b;
    int by_date = str_compare(right->date, left->date);
    int by_time = by_date != 0 ? by_date : str_compare(right->time, left->time);
    return by_time != 0 ? by_time : str_compare(left->study_uid, right->study_uid);
}

static Str facility_name(const DbResult *rows, int32_t facility)
{
    for (int i = 0; i < db_rows(rows); i++) {
        if (db_i32(rows, i, 0) == facility) {
            return db_text(rows, i, 1);
        }
    }
    return STR_EMPTY;
}

/** A region has few facilities; a patient's documents are of fewer. */
static int name_facilities(const Repository *repository, Request *req, RecordedDocument *documents,
                           size_t count)
{
    int32_t *ids = ARENA_ARRAY(req->arena, int32_t, count);
    size_t id_count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        while (at < id_count && ids[at] != documents[i].listed.source_facility) {
            at++;
        }
        ids[at] = documents[i].listed.source_facility;
        id_count = MAX(id_count, at + 1);
    }
    DbParams params;
    DbResult *rows;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    db_params_init(&params, req->arena);
    db_param_i32_array(&params, ids, id_count);
    int rc = db_acquire(repository->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_facilities, &params, &rows);
    for (size_t i = 0; i < count && rc == 0; i++) {
        documents[i].facility = facility_name(rows, documents[i].listed.source_facility);
    }
    return rc;
}

static int read_documents(const Repository *repository, Request *req, int64_t patient,
                          Str *ret_patient_id, PatientRecord *record)
{
    const PatientDocuments *source = repository->config.on_demand.documents;
    ListedDocument *listed = NULL;
    int rc =
        source->list(source->ctx, req, patient, ret_patient_id, &listed, &record->document_count);
    if (rc < 0) {
        return rc;
    }
    RecordedDocument *documents = ARENA_ARRAY(req->arena, RecordedDocument, record->document_count);
    for (size_t i = 0; i < record->document_count; i++) {
        documents[i].listed = listed[i];
    }
    record->documents = documents;
    if (record->document_count > 0) {
        qsort(documents, record->document_count, sizeof(*documents), compare_documents);
    }
    return name_facilities(repository, req, documents, record->document_count);
}

static int read_studies(const Repository *repository, Request *req, Str patient_id,
                        PatientRecord *record)
{
    const PatientStudies *source = repository->studies;
    ListedStudy *studies = NULL;
    if (!source) {
        return 0;
    }
    int rc = source->list(source->ctx, req, patient_id, &studies, &record->study_count);
    if (rc == 0 && record->study_count > 0) {
        qsort(studies, record->study_count, sizeof(*studies), compare_studies);
    }
    record->studies = studies;
    record->has_studies = true;
    return rc;
}

/** The newest thing that is listed: the same content is of the same time, whenever it is asked for.
 */
static int64_t newest_time(const PatientRecord *record, int64_t noted_us)
{
    int64_t newest_us = noted_us;
    int64_t now_us = clock_utc_us();
    for (size_t i = 0; i < record->document_count; i++) {
        int64_t time_us = record->documents[i].listed.time_us;
        newest_us = time_us > newest_us && time_us <= now_us ? time_us : newest_us;
    }
    return newest_us;
}

static void name_server(const Repository *repository, PatientRecord *record)
{
    const RepositoryConfig *config = &repository->config;
    Str home = str_from(config->home_community_id);
    Str urn = STR("urn:oid:");
    record->repository_id = str_from(config->unique_id);
    record->custodian_id =
        str_starts_with(home, urn) ? str_from_offset(home, urn.len) : record->repository_id;
    record->custodian_name = str_from(config->on_demand.facility);
    if (str_is_empty(record->custodian_name)) {
        record->custodian_name = STR("Musubi");
    }
    record->timezone = config->on_demand.timezone;
    const Code confidentiality =
        submission_text_configured(config->on_demand.confidentiality_code, "");
    record->confidentiality = confidentiality.code;
    record->confidentiality_system = confidentiality.scheme;
}

static int read_record(const Repository *repository, Request *req, const OnDemandRow *row,
                       Str *ret_patient_id, PatientRecord *record)
{
    const PatientDescription *description = repository->config.on_demand.description;
    int rc = read_documents(repository, req, row->patient, ret_patient_id, record);
    rc = rc < 0 ? rc : read_studies(repository, req, *ret_patient_id, record);
    rc = rc < 0
             ? rc
             : description->describe(description->ctx, req, *ret_patient_id, &record->demographics);
    if (rc < 0) {
        return rc;
    }
    Hl7Cx cx = hl7_cx_parse(req->arena, &er7_standard_delimiters, HL7_UTF_8, *ret_patient_id);
    record->patient_number = cx.id;
    record->patient_domain = cx.universal_id;
    record->as_of_us = newest_time(record, row->noted_us);
    name_server(repository, record);
    return 0;
}

/* ---- making ---- */

void made_document_done(MadeDocument *made)
{
    strbuf_done(&made->content);
}

int on_demand_make(const Repository *repository, Request *reader, const OnDemandRow *row,
                   MadeDocument *ret_made)
{
    *ret_made = (MadeDocument){.record = {.unique_id = row->unique_id}};
    PatientRecord *record = &ret_made->record;
    int rc = read_record(repository, reader, row, &ret_made->patient_id, record);
    if (rc < 0) {
        return rc;
    }
    row->generator->write(reader->arena, record, &ret_made->content);
    record->unique_id = oid_of_uuid(reader->arena, uuid_digest(strbuf_str(&ret_made->content)));
    strbuf_clear(&ret_made->content);
    row->generator->write(reader->arena, record, &ret_made->content);
    ret_made->unique_id = record->unique_id;
    return 0;
}

/* ---- what a snapshot lists ---- */

static const DbStatement select_listed = {
    "on_demand_listed",
    "SELECT documents, studies FROM on_demand_snapshot WHERE digest = $1::uuid"};

typedef struct Listed {
    bool is_known;
    Str *studies;
    size_t study_count;
    size_t document_count;
    DocumentRegistration *registrations; /* of the documents, as they are now */
    size_t registration_count;
} Listed;

static int read_listed(const Repository *repository, Request *req, Str snapshot, Listed *ret_listed)
{
    const DocumentCatalogue *catalogue = repository->config.catalogue;
    DbParams params;
    DbResult *rows;
    Str *documents;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    db_params_init(&params, req->arena);
    db_param_uuid(&params, uuid_digest(snapshot));
    int rc = db_acquire(repository->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_exec(conn, req, &select_listed, &params, &rows);
    if (rc < 0 || db_rows(rows) == 0) {
        return rc;
    }
    ret_listed->is_known = true;
    ret_listed->document_count = db_text_array(rows, 0, 0, req->arena, &documents);
    ret_listed->study_count = db_text_array(rows, 0, 1, req->arena, &ret_listed->studies);
    return catalogue->find(catalogue->ctx, req, conn, documents, ret_listed->document_count,
                           &ret_listed->registrations, &ret_listed->registration_count);
}

/** As ITI-18 decides, also on what is Deprecated or another patient's by now. What is registered no
 * more is for nobody. */
static int may_know_documents(Request *req, const Listed *listed, bool *ret_may)
{
    int64_t *patients = ARENA_ARRAY(req->arena, int64_t, listed->registration_count);
    bool *is_known = ARENA_ARRAY(req->arena, bool, listed->document_count);
    for (size_t i = 0; i < listed->registration_count; i++) {
        patients[i] = listed->registrations[i].patient;
    }
    int rc = access_prepare(req, patients, listed->registration_count);
    for (size_t i = 0; i < listed->registration_count && rc == 0; i++) {
        const DocumentRegistration *registration = &listed->registrations[i];
        const AccessScope *scope;
        rc = access_open(req, registration->patient, ACCESS_LIST, &scope);
        is_known[registration->document] = is_known[registration->document] ||
                                           (rc == 0 && access_decide(scope, &registration->access));
    }
    for (size_t i = 0; i < listed->document_count; i++) {
        *ret_may = *ret_may && is_known[i];
    }
    return rc;
}

static bool knows_studies(const PatientRecord *record, const Listed *listed)
{
    for (size_t i = 0; i < listed->study_count; i++) {
        size_t at = 0;
        while (at < record->study_count &&
               !str_equal(record->studies[at].study_uid, listed->studies[i])) {
            at++;
        }
        if (at == record->study_count) {
            return false;
        }
    }
    return true;
}

/** @param record  what the reader may see now */
static int sees_listed(const Repository *repository, Request *reader, Str snapshot,
                       const PatientRecord *record, bool *ret_sees)
{
    Listed listed = {0};
    int rc = read_listed(repository, reader, snapshot, &listed);
    *ret_sees = rc == 0 && listed.is_known && knows_studies(record, &listed);
    return *ret_sees ? may_know_documents(reader, &listed, ret_sees) : rc;
}

int on_demand_sees_all(const Repository *repository, Request *reader, const Generator *generator,
                       int64_t patient, const DocumentRow *snapshot, bool *ret_sees_all)
{
    static const Principal server = {.node_name = STR_INIT("musubi"), .may_do_everything = true};
    const OnDemandRow row = {.unique_id = STR("0.0"), .patient = patient, .generator = generator};
    *ret_sees_all = !access_has_rules(reader);
    if (*ret_sees_all) {
        return 0;
    }
    _cleanup_(arena_freep) Arena *arena = arena_new();
    MadeDocument seen;
    MadeDocument whole = {0};
    Request passing = access_passing(reader, arena);
    Request server_request = access_passing(reader, arena);
    server_request.principal = &server;
    server_request.user = NULL;
    int rc = on_demand_make(repository, &passing, &row, &seen);
    server_request.errors = passing.errors;
    rc = rc < 0 ? rc : on_demand_make(repository, &server_request, &row, &whole);
    passing.errors = server_request.errors;
    *ret_sees_all = rc == 0 && str_equal(strbuf_str(&seen.content), strbuf_str(&whole.content));
    if (*ret_sees_all && snapshot) {
        rc = sees_listed(repository, &passing, snapshot->unique_id, &seen.record, ret_sees_all);
    }
    access_passed(reader, &passing);
    made_document_done(&seen);
    made_document_done(&whole);
    return rc;
}
