#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/access/access.h"
#include "lib/base/clock.h"
#include "lib/base/fail.h"
#include "lib/base/heap.h"
#include "lib/base/log.h"
#include "lib/base/oid.h"
#include "lib/base/thread.h"
#include "lib/hl7/cx.h"
#include "lib/xml/read.h"
#include "repository/imaging/manifest.h"
#include "repository/repository_private.h"

#define NS_PER_MS INT64_C(1000000)
#define US_PER_MS INT64_C(1000)
#define REST_MIN_MS 500
#define REST_MAX_MS 10000
#define REQUEST_TIMEOUT_MS 60000
/** What could not be registered is tried again so often. */
#define RETRY_MS 60000
/** Studies of one round. */
#define ROUND_MAX 256

struct ManifestMaker {
    Imaging *imaging;
    Worker worker;
    int64_t retry_ns; /* when studies whose manifest failed are tried again */
    bool is_stopping;
};

/* ---- what is due ---- */

/* Of a known patient, quiet, and not with a manifest of its source. $2 those that failed too; $3
 * behind this one */
static const DbStatement select_due = {
    "imaging_manifest_due",
    "SELECT s.id FROM imaging_study s" STUDY_PERSON_JOINS
    "WHERE x.id IS NOT NULL AND s.is_manifest_due AND s.manifest_kind <> 1 AND s.changed_at <= "
    "$1::timestamptz "
    "AND (s.manifest_failure = '' OR $2::boolean) AND s.id > $3::bigint "
    "ORDER BY s.id LIMIT 256",
};

static const DbStatement select_study = {
    "imaging_manifest_study",
    "SELECT s.received_at, s.changed_at, s.started_at, s.facility, s.manifest_version, "
    "s.manifest_entry, s.manifest_unique_id, coalesce(s.manifest_digest, ''::bytea), x.value, "
    "d.oid, a.oid, s.study_uid, s.patient_number, s.patient_name, s.patient_birth_date, "
    "s.patient_sex, s.study_date, s.study_time, s.timezone_offset, s.accession_number, s.study_id, "
    "s.study_description, s.referring_physician, s.institution_name, s.accession_oid, "
    "s.placer_order, s.placer_order_oid, s.procedure_value, s.procedure_scheme, "
    "s.procedure_meaning, s.anatomy_value, s.anatomy_scheme, s.anatomy_meaning, "
    "array(SELECT DISTINCT r.modality FROM imaging_series r WHERE r.study = s.id "
    "AND r.modality <> '' AND r.modality <> 'KO' AND EXISTS (SELECT FROM imaging_instance n "
    "WHERE n.series = r.id AND n.variant = 0 AND n.rejected = '') ORDER BY 1), "
    "array(SELECT DISTINCT upper(r.body_part_examined) FROM imaging_series r WHERE r.study = s.id "
    "AND r.body_part_examined <> '' AND EXISTS (SELECT FROM imaging_instance n "
    "WHERE n.series = r.id AND n.variant = 0 AND n.rejected = '') ORDER BY 1), "
    "coalesce((SELECT m.unique_id FROM imaging_source_manifest m WHERE m.study_uid = s.study_uid "
    "AND m.facility = s.facility AND " IS_DOCUMENT_OF(
        "m.unique_id",
        "i.person") "), '') "
                    "FROM imaging_study s JOIN assigning_authority a ON a.id = "
                    "s.authority" STUDY_PERSON_JOINS
                    "JOIN assigning_authority d ON d.id = x.authority "
                    "WHERE s.id = $1::bigint AND s.is_manifest_due AND s.manifest_kind <> 1",
};

static const DbStatement select_instances = {
    "imaging_manifest_instances",
    "SELECT r.series_uid, n.sop_class, n.sop_instance, n.has_pixel_data FROM imaging_instance n "
    "JOIN imaging_series r ON r.id = n.series WHERE n.study = $1::bigint AND n.variant = 0 "
    "AND n.rejected = '' ORDER BY r.position, r.series_uid, n.position, n.sop_instance",
};

/* What came meanwhile is due: $3 is what was read of the time of the last change, $4 the number of
 * instances. */
static const DbStatement update_made = {
    "imaging_manifest_made",
    "UPDATE imaging_study s SET manifest_kind = 2, manifest_version = $2::integer, "
    "manifest_entry = $5::uuid, manifest_digest = $6::bytea, manifest_unique_id = $7::text, "
    "manifest_failure = '', is_manifest_due = s.changed_at <> $3::timestamptz OR $4::bigint <> "
    "(SELECT count(*) FROM imaging_instance n WHERE n.study = s.id AND n.variant = 0 "
    "AND n.rejected = '') WHERE s.id = $1::bigint AND s.manifest_kind <> 1 "
    "AND s.manifest_version = $2::integer - 1",
};

/* Nothing is left to list, or the source has provided its own manifest ($3). */
static const DbStatement update_withdrawn = {
    "imaging_manifest_withdrawn",
    "UPDATE imaging_study s SET manifest_kind = CASE $3::text WHEN '' THEN 0 ELSE 1 END, "
    "manifest_entry = NULL, manifest_digest = NULL, manifest_unique_id = $3::text, "
    "manifest_failure = '', is_manifest_due = s.changed_at <> $2::timestamptz AND $3::text = '' "
    "WHERE s.id = $1::bigint",
};

static const DbStatement update_not_due = {
    "imaging_manifest_not_due",
    "UPDATE imaging_study SET is_manifest_due = changed_at <> $2::timestamptz, "
    "manifest_failure = $3::text WHERE id = $1::bigint",
};

static const DbStatement update_failure = {
    "imaging_manifest_failure",
    "UPDATE imaging_study SET manifest_failure = $2::text WHERE id = $1::bigint",
};

enum {
    COLUMN_RECEIVED,
    COLUMN_CHANGED,
    COLUMN_STARTED,
    COLUMN_FACILITY,
    COLUMN_VERSION,
    COLUMN_ENTRY,
    COLUMN_UNIQUE_ID,
    COLUMN_DIGEST,
    COLUMN_XAD_PID,
    COLUMN_DOMAIN,
    COLUMN_AUTHORITY,
    COLUMN_TEXTS, /* in the order of TEXTS */
};

/* ---- reading a study ---- */

static void read_texts(const DbResult *rows, ManifestStudy *study)
{
    Str *texts[] = {
        &study->study_uid,          &study->patient_number,    &study->patient_name,
        &study->patient_birth_date, &study->patient_sex,       &study->study_date,
        &study->study_time,         &study->timezone_offset,   &study->accession_number,
        &study->study_id,           &study->study_description, &study->referring_physician,
        &study->institution_name,   &study->accession_oid,     &study->placer_order,
        &study->placer_order_oid,   &study->procedure.code,    &study->procedure.scheme,
        &study->procedure.display,  &study->anatomy.code,      &study->anatomy.scheme,
        &study->anatomy.display,
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        *texts[i] = db_text(rows, 0, COLUMN_TEXTS + (int)i);
    }
}

enum { COLUMN_MODALITIES = COLUMN_TEXTS + 22, COLUMN_BODY_PARTS, COLUMN_SOURCE };

static void read_study(Arena *arena, const DbResult *rows, int64_t id, ManifestStudy *ret_study)
{
    Str *modalities;
    Str *body_parts;
    size_t modality_count = db_text_array(rows, 0, COLUMN_MODALITIES, arena, &modalities);
    size_t body_part_count = db_text_array(rows, 0, COLUMN_BODY_PARTS, arena, &body_parts);
    ManifestStudy study = {
        .id = id,
        .received_us = db_timestamp(rows, 0, COLUMN_RECEIVED),
        .changed_us = db_timestamp(rows, 0, COLUMN_CHANGED),
        .started_us = db_timestamp_or(rows, 0, COLUMN_STARTED, INT64_MIN),
        .facility = db_i32(rows, 0, COLUMN_FACILITY),
        .version = db_i32(rows, 0, COLUMN_VERSION),
        .unique_id = db_text(rows, 0, COLUMN_UNIQUE_ID),
        .digest = db_text(rows, 0, COLUMN_DIGEST),
        .patient_id =
            hl7_cx_format(arena, db_text(rows, 0, COLUMN_XAD_PID), db_text(rows, 0, COLUMN_DOMAIN)),
        .authority = db_text(rows, 0, COLUMN_AUTHORITY),
        .modalities = modalities,
        .modality_count = modality_count,
        .body_parts = body_parts,
        .body_part_count = body_part_count,
        .source_unique_id = db_text(rows, 0, COLUMN_SOURCE),
    };
    if (!db_is_null(rows, 0, COLUMN_ENTRY)) {
        study.entry = db_uuid(rows, 0, COLUMN_ENTRY);
    }
    read_texts(rows, &study);
    study.source_patient_id = hl7_cx_format(arena, study.patient_number, study.authority);
    *ret_study = study;
}

static void read_instances(Arena *arena, const DbResult *rows, ManifestStudy *study)
{
    size_t count = (size_t)db_rows(rows);
    ManifestInstance *instances = ARENA_ARRAY(arena, ManifestInstance, count);
    for (size_t i = 0; i < count; i++) {
        instances[i] = (ManifestInstance){.series_uid = db_text(rows, (int)i, 0),
                                          .sop_class = db_text(rows, (int)i, 1),
                                          .sop_instance = db_text(rows, (int)i, 2),
                                          .has_pixel_data = db_bool(rows, (int)i, 3)};
    }
    study->instances = instances;
    study->instance_count = count;
}

/** In one view of the database. @return 1, 0: it is not due any more, or negative */
static int load_study(Imaging *imaging, Request *req, int64_t id, ManifestStudy *ret_study)
{
    DbParams params;
    DbResult *results[3];
    _cleanup_(db_releasep) DbConn *conn = NULL;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    int rc = db_acquire(imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_snapshot(conn, req);
    rc = rc < 0 ? rc : db_queue(conn, req, &select_study, &params);
    rc = rc < 0 ? rc : db_queue(conn, req, &select_instances, &params);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    if (rc < 0 || db_rows(results[0]) == 0) {
        return rc;
    }
    read_study(req->arena, results[0], id, ret_study);
    read_instances(req->arena, results[1], ret_study);
    return 1;
}

/* ---- the plan ---- */

static Uuid uuid_of_text(Str text, uint32_t ordinal)
{
    return uuid_derive(uuid_digest(text), ordinal);
}

/** Of what it lists, in its order. */
static Uuid digest_of(const ManifestStudy *study)
{
    _cleanup_(strbuf_done) StrBuf buf = {0};
    for (size_t i = 0; i < study->instance_count; i++) {
        strbuf_append(&buf, study->instances[i].sop_instance);
        strbuf_append_char(&buf, '\n');
    }
    return uuid_digest(strbuf_str(&buf));
}

ManifestPlan manifest_plan(Arena *arena, const ImagingConfig *config, const ManifestStudy *study)
{
    Uuid digest = digest_of(study);
    Str digest_text = str_dup(arena, (Str){(const char *)digest.bytes, sizeof(digest.bytes)});
    Str series =
        str_printf(arena, "%s|%.*s|%lld|%lld", config->unique_id, STR_ARG(study->study_uid),
                   (long long)study->id, (long long)study->received_us);
    Str version = str_printf(arena, "%.*s|%d|%lld|%.*s", STR_ARG(series), study->version,
                             (long long)study->changed_us,
                             STR_ARG(str_hex(arena, digest.bytes, sizeof(digest.bytes))));
    return (ManifestPlan){
        .digest = digest_text,
        .series_uid = oid_of_uuid(arena, uuid_of_text(series, 0)),
        .sop_instance = oid_of_uuid(arena, uuid_of_text(version, 1)),
        .entry = uuid_of_text(version, 2),
        .submission_set = uuid_of_text(version, 3),
    };
}

/** The entry to replace: the Approved one of the last manifest, as it is registered now; a patient
 * link gives it another entryUUID. */
static int find_replaced(const Imaging *imaging, Request *req, const ManifestStudy *study,
                         ManifestPlan *plan)
{
    const DocumentCatalogue *catalogue = imaging->config.repository->config.catalogue;
    DocumentRegistration *registrations;
    size_t count = 0;
    if (str_is_empty(study->unique_id)) {
        return 0;
    }
    if (!catalogue) {
        plan->replaced = study->entry;
        plan->is_replacement = true;
        return 0;
    }
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc
                : catalogue->find(catalogue->ctx, req, conn, &study->unique_id, 1, &registrations,
                                  &count);
    for (size_t i = 0; i < count && !plan->is_replacement; i++) {
        plan->is_replacement = registrations[i].access.status == STATUS_APPROVED;
        plan->replaced = registrations[i].entry_uuid;
    }
    return rc;
}

/* ---- registering ---- */

typedef struct Made {
    const ManifestStudy *study;
    const ManifestPlan *plan;
} Made;

/** The study's row says so in the transaction that registers. */
static int queue_made(void *ctx, Request *req, DbConn *conn)
{
    const Made *made = ctx;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, made->study->id);
    db_param_i32(&params, made->study->version + 1);
    db_param_timestamp(&params, made->study->changed_us);
    db_param_i64(&params, (int64_t)made->study->instance_count);
    db_param_uuid(&params, made->plan->entry);
    db_param_bytes(&params, made->plan->digest);
    db_param_text(&params, made->plan->sop_instance);
    return db_queue(conn, req, &update_made, &params);
}

static int read_submission(const Imaging *imaging, Request *req, const Made *made,
                           Submission **ret_submission)
{
    const CodeSets *codes = imaging->config.codes ? atomic_load(imaging->config.codes) : NULL;
    _cleanup_(strbuf_done) StrBuf buf = {0};
    XmlNode *root;
    manifest_metadata_write(req->arena, &imaging->config, codes, made->study, made->plan, &buf);
    int rc = xml_read(req, str_dup(req->arena, strbuf_str(&buf)), &root);
    return rc < 0 ? rc : submission_read(req, root, ret_submission);
}

/** As a submission of the facility itself, by this server. */
static int provide(Imaging *imaging, Request *req, Made *made)
{
    const Principal server = {.node_name = STR("musubi"),
                              .facility_id = made->study->facility,
                              .may_submit = true,
                              .may_do_everything = true};
    _cleanup_(strbuf_done) StrBuf kos = {0};
    Submission *submission;
    const ProvideHook hook = {.ctx = made, .queue = queue_made};
    int rc = read_submission(imaging, req, made, &submission);
    if (rc < 0) {
        return rc;
    }
    manifest_kos_write(req->arena, &imaging->config, made->study, made->plan, &kos);
    fail_point("manifest.made");
    req->principal = &server;
    rc = repository_provide(imaging->config.repository, req, submission, strbuf_str(&kos), &hook);
    req->principal = NULL;
    if (rc == 0) {
        fail_point("manifest.registered");
    }
    return rc;
}

static int exec(Imaging *imaging, Request *req, const DbStatement *statement,
                const DbParams *params)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(imaging->config.pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, statement, params, NULL);
}

/** @param reason  why there is still none; empty: there is nothing to say */
static int set_not_due(Imaging *imaging, Request *req, const ManifestStudy *study, Str reason)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, study->id);
    db_param_timestamp(&params, study->changed_us);
    db_param_text(&params, reason);
    return exec(imaging, req, &update_not_due, &params);
}

static int queue_withdrawn(void *ctx, Request *req, DbConn *conn)
{
    const ManifestStudy *study = ctx;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64(&params, study->id);
    db_param_timestamp(&params, study->changed_us);
    db_param_text(&params, study->source_unique_id);
    return db_queue(conn, req, &update_withdrawn, &params);
}

static int mark_withdrawn(Imaging *imaging, Request *req, ManifestStudy *study)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : queue_withdrawn(study, req, conn);
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}

/** The last manifest is deprecated, without another one: all instances are rejected, or the source
 * sees to manifests itself. */
static int withdraw(Imaging *imaging, Request *req, ManifestStudy *study)
{
    const RegistryClient *registry = imaging->config.repository->config.registry;
    if (str_is_empty(study->unique_id)) {
        return mark_withdrawn(imaging, req, study);
    }
    if (!registry->deprecate) {
        return set_not_due(imaging, req, study,
                           STR("it is to be withdrawn, and the registry is another process: "
                               "deprecate the manifest there"));
    }
    return registry->deprecate(registry->ctx, req, study->unique_id, queue_withdrawn, study);
}

/** What differs from the last manifest is registered. */
static int make_one(Imaging *imaging, Request *req, int64_t id)
{
    ManifestStudy study = {0};
    int rc = load_study(imaging, req, id, &study);
    if (rc <= 0) {
        return rc;
    }
    ManifestPlan plan = manifest_plan(req->arena, &imaging->config, &study);
    if (study.instance_count == 0 || !str_is_empty(study.source_unique_id)) {
        return withdraw(imaging, req, &study);
    }
    if (str_equal(plan.digest, study.digest)) {
        return set_not_due(imaging, req, &study, STR_EMPTY);
    }
    Made made = {.study = &study, .plan = &plan};
    rc = find_replaced(imaging, req, &study, &plan);
    return rc < 0 ? rc : provide(imaging, req, &made);
}

/* ---- rounds ---- */

static void record_failure(Imaging *imaging, Request *req, int64_t id)
{
    const Error *error = req->errors.first;
    Str reason = error ? error->context : STR("it could not be made");
    DbParams params;
    log_warn("event=manifest study=%lld outcome=Failure error=%s", (long long)id,
             error ? error_ihe_code(error->code, true) : "");
    req->deadline_ns = clock_now_ns() + REQUEST_TIMEOUT_MS * NS_PER_MS;
    db_params_init(&params, req->arena);
    db_param_i64(&params, id);
    db_param_text(&params, reason);
    (void)!exec(imaging, req, &update_failure, &params);
}

static void make(Imaging *imaging, int64_t id)
{
    Request *req = request_new(REQUEST_TIMEOUT_MS);
    req->transaction = "ITI-41";
    req->is_repository = true;
    if (make_one(imaging, req, id) < 0) {
        record_failure(imaging, req, id);
    }
    request_free(req);
}

static int find_due(Imaging *imaging, Request *req, int64_t quiet_since_us, bool with_failed,
                    int64_t behind, DbResult **ret_rows)
{
    DbParams params;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    db_params_init(&params, req->arena);
    db_param_timestamp(&params, quiet_since_us);
    db_param_bool(&params, with_failed);
    db_param_i64(&params, behind);
    int rc = db_acquire(imaging->config.pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &select_due, &params, ret_rows);
}

/** All that are due, each once. */
static void make_round(ManifestMaker *maker, bool with_failed)
{
    Imaging *imaging = maker->imaging;
    int64_t quiet_since_us =
        clock_utc_us() - (int64_t)imaging->config.manifest_delay_ms * US_PER_MS;
    int64_t behind = 0;
    for (bool has_more = true; has_more;) {
        Request *req = request_new(REQUEST_TIMEOUT_MS);
        DbResult *rows = NULL;
        int rc = find_due(imaging, req, quiet_since_us, with_failed, behind, &rows);
        int count = rc < 0 ? 0 : db_rows(rows);
        has_more = count == ROUND_MAX;
        for (int i = 0; i < count; i++) {
            behind = db_i64(rows, i, 0);
            make(imaging, behind);
            if (!worker_rest_until(&maker->worker, 0)) {
                has_more = false;
                maker->is_stopping = true;
                break;
            }
        }
        request_free(req);
    }
}

static void *run(void *ctx)
{
    ManifestMaker *maker = ctx;
    const int64_t rest_ns =
        MAX(REST_MIN_MS, MIN(REST_MAX_MS, (int64_t)maker->imaging->config.manifest_delay_ms / 4)) *
        NS_PER_MS;
    while (!maker->is_stopping && worker_rest_until(&maker->worker, clock_now_ns() + rest_ns)) {
        bool with_failed = clock_now_ns() >= maker->retry_ns;
        make_round(maker, with_failed);
        if (with_failed) {
            maker->retry_ns = clock_now_ns() + RETRY_MS * NS_PER_MS;
        }
    }
    return NULL;
}

ManifestMaker *manifest_maker_new(Imaging *imaging, char *ret_problem, size_t problem_size)
{
    ManifestMaker *maker = HEAP_NEW(ManifestMaker);
    maker->imaging = imaging;
    int failure = worker_start(&maker->worker, run, maker);
    if (failure != 0) {
        (void)snprintf(ret_problem, problem_size, "cannot start the thread of manifests: %s",
                       strerror(failure));
        free(maker);
        return NULL;
    }
    return maker;
}

void manifest_maker_free(ManifestMaker *maker)
{
    if (maker) {
        worker_stop(&maker->worker);
        free(maker);
    }
}
