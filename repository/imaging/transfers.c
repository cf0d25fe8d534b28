#include "repository/imaging/transfers.h"

#include <stdlib.h>

/** Studies of one event; more of them make another one. */
#define STUDIES_MAX 256
/** SOP classes of one study; the last one counts for the rest. */
#define CLASSES_MAX 16

static const DbStatement select_patients = {
    "imaging_transfer_patients",
    "SELECT i.value || '^^^&' || a.oid || '&ISO' FROM unnest($1::bigint[]) WITH ORDINALITY w (id, "
    "at) LEFT JOIN patient_identifier i ON i.id = w.id "
    "LEFT JOIN assigning_authority a ON a.id = i.authority ORDER BY w.at",
};

static int compare_transfers(const void *a, const void *b)
{
    const Transfer *left = *(const Transfer *const *)a;
    const Transfer *right = *(const Transfer *const *)b;
    if (left->patient != right->patient) {
        return left->patient < right->patient ? -1 : 1;
    }
    int by_study = str_compare(left->study_uid, right->study_uid);
    return by_study ? by_study : str_compare(left->sop_class, right->sop_class);
}

/** Of those of one patient, which stand together. */
static size_t end_of_patient(const Transfer *const *transfers, size_t begin, size_t count)
{
    size_t end = begin;
    while (end < count && transfers[end]->patient == transfers[begin]->patient) {
        end++;
    }
    return end;
}

static void count_class(AuditObject *study, AuditSopClass *classes, Str sop_class)
{
    size_t last = study->sop_class_count;
    if (str_is_empty(sop_class)) {
        return;
    }
    if (last == 0 || (!str_equal(classes[last - 1].uid, sop_class) && last < CLASSES_MAX)) {
        classes[study->sop_class_count++] = (AuditSopClass){.uid = sop_class};
    }
    classes[study->sop_class_count - 1].instance_count++;
}

/** Adds the next study to the event. @return behind its instances */
static size_t add_study(Request *req, AuditObject *study, const Transfer *const *transfers,
                        size_t begin, size_t end)
{
    AuditSopClass *classes = ARENA_ARRAY(req->arena, AuditSopClass, CLASSES_MAX);
    size_t at = begin;
    *study = (AuditObject){
        .kind = AUDIT_OBJECT_STUDY, .id = transfers[begin]->study_uid, .sop_classes = classes};
    while (at < end && str_equal(transfers[at]->study_uid, study->id)) {
        count_class(study, classes, transfers[at]->sop_class);
        at++;
    }
    return at;
}

static int append_patient(const Imaging *imaging, Request *req, const AuditEvent *event,
                          Str patient, const Transfer *const *transfers, size_t count)
{
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, STUDIES_MAX + 1);
    size_t at = 0;
    int rc = 0;
    do {
        AuditEvent one = *event;
        one.objects = objects;
        if (!str_is_empty(patient)) {
            objects[one.object_count++] =
                (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = patient};
        }
        for (size_t i = 0; i < STUDIES_MAX && at < count; i++) {
            at = add_study(req, &objects[one.object_count++], transfers, at, count);
        }
        rc = audit_append_event(imaging->config.audit, req, &one);
    } while (rc == 0 && at < count);
    return rc;
}

/** CX of each patient of the transfers, in their order. */
static int find_patients(const Imaging *imaging, Request *req, const Transfer *const *transfers,
                         size_t count, DbResult **ret_rows)
{
    int64_t *patients = ARENA_ARRAY(req->arena, int64_t, count);
    size_t patient_count = 0;
    for (size_t at = 0; at < count; at = end_of_patient(transfers, at, count)) {
        patients[patient_count++] = transfers[at]->patient;
    }
    DbParams params;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    db_params_init(&params, req->arena);
    db_param_i64_array(&params, patients, patient_count);
    int rc = db_acquire(imaging->config.pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &select_patients, &params, ret_rows);
}

int transfers_append_events(Imaging *imaging, Request *req, const AuditEvent *event,
                            const Transfer **transfers, size_t count)
{
    if (count > 0) {
        qsort((void *)transfers, count, sizeof(*transfers), compare_transfers);
    }
    if (count == 0 || transfers[count - 1]->patient == 0) {
        return append_patient(imaging, req, event, STR_EMPTY, transfers, count);
    }
    DbResult *patients;
    int rc = find_patients(imaging, req, transfers, count, &patients);
    int row = 0;
    for (size_t at = 0; rc == 0 && at < count; row++) {
        size_t end = end_of_patient(transfers, at, count);
        rc = append_patient(imaging, req, event, db_text(patients, row, 0), &transfers[at],
                            end - at);
        at = end;
    }
    return rc;
}
