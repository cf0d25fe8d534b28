#include "repository/imaging/rejection_notes.h"

#include "repository/imaging/instance_rows.h"

/** Of PS3.16 CID 7011, scheme DCM. */
static const char *const titles[] = {
    "113001", /* Rejected for Quality Reasons */
    "113037", /* Rejected for Patient Safety Reasons */
    "113038", /* Incorrect Modality Worklist Entry */
    "113039", /* Data Retention Policy Expired */
};

/* What is being stored is there before the note is applied, or sees it. */
static const DbStatement lock_facility = {
    "imaging_rejection_lock",
    "SELECT pg_advisory_xact_lock(" IMAGING_REJECTION_LOCK ", $1::integer)",
};

/* Of the parameters of imaging_reject those that are not here yet. */
static const DbStatement remember = {
    "imaging_rejection_insert",
    "INSERT INTO imaging_rejection (facility, rejected, rejected_by, study_uid, sop_instance) "
    "SELECT $1::integer, $2::text, $3::text, w.study_uid, w.sop_instance "
    "FROM unnest($4::text[], $5::text[]) w (study_uid, sop_instance) "
    "WHERE NOT EXISTS (SELECT FROM imaging_instance i JOIN imaging_study s ON s.id = i.study "
    "WHERE i.sop_instance = w.sop_instance AND i.facility = $1::integer "
    "AND w.study_uid IN ('', s.study_uid)) ON CONFLICT DO NOTHING",
};

/* $1 facility, $2 code, $3 the note, $4 and $5 studies and instances that it names; a content item
 * names no study */
static const DbStatement reject = {
    "imaging_reject",
    "WITH named AS (SELECT DISTINCT i.id, i.study FROM unnest($4::text[], $5::text[]) w "
    "(study_uid, "
    "sop_instance) JOIN imaging_instance i ON i.sop_instance = w.sop_instance "
    "AND i.facility = $1::integer JOIN imaging_study s ON s.id = i.study "
    "WHERE w.study_uid IN ('', s.study_uid) AND i.rejected = ''), "
    "marked AS (UPDATE imaging_instance i SET rejected = $2::text, rejected_by = $3::text "
    "FROM named n WHERE i.id = n.id RETURNING i.study, i.sop_class), "
    "counted AS (SELECT study, array_agg(sop_class ORDER BY sop_class) classes, "
    "array_agg(instances ORDER BY sop_class) counts FROM (SELECT study, sop_class, "
    "count(*) instances FROM marked GROUP BY study, sop_class) c GROUP BY study) "
    "UPDATE imaging_study s SET changed_at = clock_timestamp(), "
    "is_manifest_due = s.is_manifest_due OR s.manifest_kind = 2 "
    "FROM counted c, assigning_authority a "
    "WHERE s.id = c.study AND a.id = s.authority "
    "RETURNING s.study_uid, s.accession_number, s.patient_number || '^^^&' || a.oid || '&ISO', "
    "c.classes, c.counts",
};

static bool is_title(const DicomCode *title)
{
    bool is = false;
    for (size_t i = 0; i < ARRAY_LEN(titles) && !is; i++) {
        is = str_equal(title->value, str_from(titles[i]));
    }
    return is && str_equal(title->scheme, STR("DCM"));
}

bool rejection_note_is(const InstanceRecord *record)
{
    return str_equal(record->sop_class, STR(UID_KEY_OBJECT_SELECTION)) &&
           is_title(&record->selection.title);
}

/** What is rejected of a study: on record with the transaction that rejects it (PS3.15
 * A.5.3.6). */
static int queue_event(const Imaging *imaging, Request *req, DbConn *conn, const DbResult *rows,
                       int row)
{
    Str *classes;
    int64_t *counts;
    size_t count = db_text_array(rows, row, 3, req->arena, &classes);
    (void)db_i64_array(rows, row, 4, req->arena, &counts);
    AuditSopClass *sop_classes = ARENA_ARRAY(req->arena, AuditSopClass, count);
    for (size_t i = 0; i < count; i++) {
        sop_classes[i] = (AuditSopClass){.uid = classes[i], .instance_count = (uint64_t)counts[i]};
    }
    const AuditObject objects[] = {
        {.kind = AUDIT_OBJECT_STUDY,
         .id = db_text(rows, row, 0),
         .accession = db_text(rows, row, 1),
         .sop_classes = sop_classes,
         .sop_class_count = count},
        {.kind = AUDIT_OBJECT_PATIENT, .id = db_text(rows, row, 2)},
    };
    const AuditEvent event = {
        .type = AUDIT_RAD66_REJECTED, .objects = objects, .object_count = ARRAY_LEN(objects)};
    return audit_queue_event(imaging->config.audit, conn, req, &event);
}

static int mark(const Imaging *imaging, Request *req, int32_t facility, const DbParams *params)
{
    DbResult *results[3];
    DbParams key;
    db_params_init(&key, req->arena);
    db_param_i32(&key, facility);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_queue(conn, req, &lock_facility, &key);
    rc = rc < 0 ? rc : db_queue(conn, req, &reject, params);
    rc = rc < 0 ? rc : db_queue(conn, req, &remember, params);
    rc = rc < 0 ? rc : db_sync(conn, req, results);
    for (int row = 0; rc == 0 && row < db_rows(results[1]); row++) {
        rc = queue_event(imaging, req, conn, results[1], row);
    }
    return rc < 0 ? rc : db_commit(conn, req, NULL);
}

int rejection_note_apply(Imaging *imaging, Request *req, int32_t facility,
                         const InstanceRecord *note)
{
    const KeyObjectSelection *selection = &note->selection;
    size_t count = selection->reference_count + 1;
    Str *studies = ARENA_ARRAY(req->arena, Str, count);
    Str *instances = ARENA_ARRAY(req->arena, Str, count);
    DbParams params;
    for (size_t i = 0; i < selection->reference_count; i++) {
        const InstanceReference *reference = &selection->references[i];
        studies[i] = reference->study_uid.data ? reference->study_uid : STR_EMPTY;
        instances[i] = reference->sop_instance;
    }
    studies[count - 1] = note->study_uid;
    instances[count - 1] = note->sop_instance;
    db_params_init(&params, req->arena);
    db_param_i32(&params, facility);
    db_param_text(&params, selection->title.value);
    db_param_text(&params, note->sop_instance);
    db_param_text_array(&params, studies, count);
    db_param_text_array(&params, instances, count);
    return mark(imaging, req, facility, &params);
}
