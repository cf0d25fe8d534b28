#include "repository/imaging/rejection_notes.h"

/** Of PS3.16 CID 7011, scheme DCM. */
static const char *const titles[] = {
    "113001", /* Rejected for Quality Reasons */
    "113037", /* Rejected for Patient Safety Reasons */
    "113038", /* Incorrect Modality Worklist Entry */
    "113039", /* Data Retention Policy Expired */
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
    "FROM named n WHERE i.id = n.id RETURNING i.study) "
    "UPDATE imaging_study s SET changed_at = clock_timestamp(), "
    "is_manifest_due = s.is_manifest_due OR s.manifest_kind = 2 "
    "WHERE s.id IN (SELECT study FROM marked)",
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
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(imaging->config.pool, req, &conn);
    return rc < 0 ? rc : db_exec(conn, req, &reject, &params, NULL);
}
