#include "repository/imaging/study_copies.h"

static const DbStatement select_codes = {
    "imaging_codes",
    "SELECT coalesce(max(c.id) FILTER (WHERE c.code || '^^' || c.scheme = $1::text), 0), "
    "coalesce(max(c.id) FILTER (WHERE c.code || '^^' || c.scheme = $2::text), 0) FROM code c "
    "WHERE (c.code, c.scheme) IN ((split_part($1::text, '^^', 1), split_part($1::text, '^^', 2)), "
    "(split_part($2::text, '^^', 1), split_part($2::text, '^^', 2)))",
};

int imaging_codes_queue(DbConn *conn, Request *req, Str class_code, Str confidentiality_code)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text(&params, class_code);
    db_param_text(&params, confidentiality_code);
    return db_queue(conn, req, &select_codes, &params);
}

ImagingCodes imaging_codes_read(const DbResult *rows)
{
    return (ImagingCodes){db_i32(rows, 0, 0), db_i32(rows, 0, 1)};
}

StudyCopy study_copy_read(const DbResult *rows, int row)
{
    return (StudyCopy){
        .study = db_i64(rows, row, 0),
        .person = db_i64(rows, row, 1),
        .patient = db_i64(rows, row, 2),
        .started_us = db_timestamp_or(rows, row, 3, INT64_MIN),
        .facility = db_i32(rows, row, 4),
        .study_uid = db_text(rows, row, 5),
    };
}

#define SELECT_COPIES "SELECT " STUDY_COPY_COLUMNS " FROM imaging_study s" STUDY_PERSON_JOINS

static const DbStatement select_copies[] = {
    [STUDY_BY_UID] = {"imaging_copies_study",
                      SELECT_COPIES "WHERE s.study_uid = $1::text ORDER BY s.id"},
    [STUDY_BY_SERIES] = {"imaging_copies_series",
                         SELECT_COPIES "WHERE s.id IN (SELECT study FROM imaging_series "
                                       "WHERE series_uid = $1::text) ORDER BY s.id"},
    [STUDY_BY_INSTANCE] = {"imaging_copies_instance", SELECT_COPIES
                           "WHERE s.id IN (SELECT study FROM imaging_instance "
                           "WHERE sop_instance = $1::text AND variant = 0) ORDER BY s.id"},
};

int study_copies_find(Request *req, DbConn *conn, StudyNaming naming, Str uid,
                      StudyCopy **ret_copies, size_t *ret_count)
{
    DbParams params;
    DbResult *rows;
    db_params_init(&params, req->arena);
    db_param_text(&params, uid);
    int rc = db_exec(conn, req, &select_copies[naming], &params, &rows);
    if (rc < 0) {
        return rc;
    }
    size_t count = (size_t)db_rows(rows);
    StudyCopy *copies = ARENA_ARRAY(req->arena, StudyCopy, count);
    for (size_t i = 0; i < count; i++) {
        copies[i] = study_copy_read(rows, (int)i);
    }
    *ret_copies = copies;
    *ret_count = count;
    return 0;
}

AccessObject study_copy_object(const ImagingCodes *codes, const StudyCopy *copy)
{
    return (AccessObject){
        .source_facility = copy->facility,
        .class_code = codes->class_code,
        .confidentiality_codes = &codes->confidentiality_code,
        .confidentiality_count = 1,
        .effective_us = copy->started_us,
    };
}

static int decide(const ImagingCodes *codes, Request *req, StudyCopy *copy, AccessPurpose purpose)
{
    const AccessObject object = study_copy_object(codes, copy);
    const AccessScope *scope;
    const AccessScope *existence;
    int rc = access_open(req, copy->patient, purpose, &scope);
    rc = rc < 0 ? rc : access_open(req, copy->patient, ACCESS_LIST, &existence);
    if (rc == 0) {
        copy->is_permitted = access_decide(scope, &object) && copy->patient != 0;
        copy->is_visible =
            access_permits(access_explain(existence, &object).reason) && copy->patient != 0;
    }
    return rc;
}

int study_copies_decide(ImagingCodes codes, Request *req, StudyCopy *copies, size_t count,
                        AccessPurpose purpose)
{
    int64_t *patients = ARENA_ARRAY(req->arena, int64_t, count);
    size_t patient_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (copies[i].patient) {
            patients[patient_count++] = copies[i].patient;
        }
    }
    int rc = access_prepare(req, patients, patient_count);
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = decide(&codes, req, &copies[i], purpose);
    }
    return rc;
}

bool study_copies_conflict(const StudyCopy *copies, size_t count)
{
    int64_t person = 0;
    for (size_t i = 0; i < count; i++) {
        if (copies[i].is_visible && person && copies[i].person != person) {
            return true;
        }
        person = copies[i].is_visible ? copies[i].person : person;
    }
    return false;
}

StudyUnion study_copies_unite(Arena *arena, const StudyCopy *copies, size_t count)
{
    int64_t *chosen = ARENA_ARRAY(arena, int64_t, count);
    StudyUnion study = {.copies = chosen};
    for (size_t i = 0; i < count && !study_copies_conflict(copies, count); i++) {
        if (copies[i].is_permitted) {
            chosen[study.copy_count++] = copies[i].study;
        }
    }
    return study;
}
