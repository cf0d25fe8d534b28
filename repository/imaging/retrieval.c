#include "repository/imaging/retrieval.h"

#include <stdlib.h>
#include <string.h>

#define INSTANCES_AT_FIRST 64
/** SOP classes of one study that are told apart in its record. */
#define CLASSES_MAX 64

static const DbStatement select_patients = {
    "imaging_patients",
    "SELECT w.id, i.value, a.oid FROM unnest($1::bigint[]) w (id) "
    "JOIN patient_identifier i ON i.id = w.id JOIN assigning_authority a ON a.id = i.authority",
};

/* ---- finding ---- */

static int keep(void *ctx, const ImagingInstance *instance)
{
    Retrieval *retrieval = ctx;
    Arena *arena = retrieval->req->arena;
    if (retrieval->count == retrieval->capacity) {
        size_t capacity = retrieval->capacity ? retrieval->capacity * 2 : INSTANCES_AT_FIRST;
        ImagingInstance *larger = ARENA_ARRAY(arena, ImagingInstance, capacity);
        if (retrieval->count > 0) {
            memcpy(larger, retrieval->instances, retrieval->count * sizeof(*larger));
        }
        retrieval->instances = larger;
        retrieval->capacity = capacity;
    }
    retrieval->instances[retrieval->count++] = *instance;
    return 0;
}

void retrieval_record_refused(Imaging *imaging, Request *req, AuditEventType type, Str study_uid)
{
    const AuditObject study = {.kind = AUDIT_OBJECT_STUDY, .id = study_uid};
    AuditEvent event = {
        .type = type, .objects = &study, .object_count = dicom_uid_is_valid(study_uid)};
    audit_event_refuse(req, &event);
    (void)!audit_append_event(imaging->config.audit, req, &event); /* nothing is given out */
}

int retrieval_find(Retrieval *retrieval, const ImagingTarget *target, AccessPurpose purpose)
{
    Request *req = retrieval->req;
    req->subject = target->study_uid;
    int rc = index_find_instances(retrieval->imaging, req, target, purpose, keep, retrieval);
    if (rc == 0 && retrieval->count == 0) {
        rc = error_add(&req->errors, ERR_DICOM_NOT_FOUND, NULL,
                       "There is nothing of these UIDs for you; ask for what there is with "
                       "QIDO-RS, or the registry for the manifest of the study.");
    }
    return rc;
}

/* ---- the record ---- */

/** Patient by patient, then study by study. */
static int compare(const void *a, const void *b)
{
    const ImagingInstance *left = *(const ImagingInstance *const *)a;
    const ImagingInstance *right = *(const ImagingInstance *const *)b;
    if (left->patient != right->patient) {
        return left->patient < right->patient ? -1 : 1;
    }
    int by_study = str_compare(left->study_uid, right->study_uid);
    return by_study ? by_study : str_compare(left->sop_class, right->sop_class);
}

static const ImagingInstance **in_order(const Retrieval *retrieval)
{
    const ImagingInstance **sorted =
        ARENA_ARRAY(retrieval->req->arena, const ImagingInstance *, retrieval->count);
    for (size_t i = 0; i < retrieval->count; i++) {
        sorted[i] = &retrieval->instances[i];
    }
    if (retrieval->count > 0) {
        qsort(sorted, retrieval->count, sizeof(*sorted), compare);
    }
    return sorted;
}

/** How many of the first are of the same patient, and with is_study of the same study. */
static size_t run_length(const ImagingInstance *const *first, size_t count, bool is_study)
{
    size_t run = 1;
    while (run < count && first[run]->patient == first[0]->patient &&
           (!is_study || str_equal(first[run]->study_uid, first[0]->study_uid))) {
        run++;
    }
    return run;
}

static AuditObject study_object(Arena *arena, const ImagingInstance *const *first, size_t count)
{
    AuditSopClass *classes = ARENA_ARRAY(arena, AuditSopClass, CLASSES_MAX);
    size_t class_count = 0;
    for (size_t i = 0; i < count; i++) {
        const bool is_new =
            class_count == 0 || !str_equal(classes[class_count - 1].uid, first[i]->sop_class);
        if (is_new && class_count < CLASSES_MAX) {
            classes[class_count++] = (AuditSopClass){.uid = first[i]->sop_class};
        }
        classes[class_count - 1].instance_count++;
    }
    return (AuditObject){.kind = AUDIT_OBJECT_STUDY,
                         .id = first[0]->study_uid,
                         .sop_classes = classes,
                         .sop_class_count = class_count};
}

/** The event of one patient: the studies, and the patient. */
static AuditEvent patient_event(const Retrieval *retrieval, const ImagingInstance *const *first,
                                size_t count, Str patient)
{
    Arena *arena = retrieval->req->arena;
    AuditEvent event = {.type = retrieval->event};
    size_t studies = 0;
    for (size_t at = 0; at < count; at += run_length(&first[at], count - at, true)) {
        studies++;
    }
    AuditObject *objects = ARENA_ARRAY(arena, AuditObject, studies + 1);
    for (size_t at = 0; at < count;) {
        size_t run = run_length(&first[at], count - at, true);
        objects[event.object_count++] = study_object(arena, &first[at], run);
        at += run;
    }
    objects[event.object_count++] = (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = patient};
    event.objects = objects;
    return event;
}

static int read_patients(const Retrieval *retrieval, const int64_t *patients, size_t count,
                         DbResult **ret_rows)
{
    Request *req = retrieval->req;
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, patients, count);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(retrieval->imaging->config.pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &select_patients, &params, ret_rows);
}

static Str patient_cx(Arena *arena, const DbResult *rows, int64_t patient)
{
    for (int i = 0; i < db_rows(rows); i++) {
        if (db_i64(rows, i, 0) == patient) {
            return str_printf(arena, "%.*s^^^&%.*s&ISO", STR_ARG(db_text(rows, i, 1)),
                              STR_ARG(db_text(rows, i, 2)));
        }
    }
    return STR_EMPTY;
}

int retrieval_record(Retrieval *retrieval)
{
    Request *req = retrieval->req;
    const ImagingInstance **sorted = in_order(retrieval);
    int64_t *patients = ARENA_ARRAY(req->arena, int64_t, retrieval->count);
    size_t patient_count = 0;
    DbResult *rows;
    for (size_t at = 0; at < retrieval->count;
         at += run_length(&sorted[at], retrieval->count - at, false)) {
        patients[patient_count++] = sorted[at]->patient;
    }
    int rc = read_patients(retrieval, patients, patient_count, &rows);
    retrieval->events = ARENA_ARRAY(req->arena, AuditEvent, patient_count);
    retrieval->event_count = 0;
    for (size_t at = 0; at < retrieval->count && rc == 0;) {
        size_t run = run_length(&sorted[at], retrieval->count - at, false);
        AuditEvent *event = &retrieval->events[retrieval->event_count++];
        *event = patient_event(retrieval, &sorted[at], run,
                               patient_cx(req->arena, rows, sorted[at]->patient));
        rc = audit_append_event(retrieval->imaging->config.audit, req, event);
        at += run;
    }
    return rc;
}

void retrieval_record_cut(const Retrieval *retrieval)
{
    for (size_t i = 0; i < retrieval->event_count; i++) {
        AuditEvent event = retrieval->events[i];
        event.outcome = 8;
        event.outcome_text = STR("the connection ended before all was sent");
        (void)!audit_record_event(retrieval->imaging->config.audit, retrieval->req, &event);
    }
}
