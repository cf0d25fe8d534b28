#include "repository/imaging/query_counts.h"

#define COUNTS(is_served)                                                                          \
    "SELECT count(DISTINCT r.series_uid), coalesce(sum(k.instances), 0)::bigint, "                 \
    "coalesce(string_agg(DISTINCT nullif(r.modality, ''), '\\'), ''), "                            \
    "CASE WHEN $3::boolean THEN coalesce((SELECT string_agg(DISTINCT i.sop_class, '\\') "          \
    "FROM imaging_instance i WHERE i.study = min(w.id) AND " INSTANCE_IS_SERVED                    \
    "), '') ELSE '' END FROM " STUDY_UNIONS "LEFT JOIN (imaging_series r "                         \
    "JOIN LATERAL (SELECT count(*) instances FROM imaging_instance i "                             \
    "WHERE i.series = r.id AND " is_served ") k ON k.instances > 0) ON r.study = w.id "            \
    "GROUP BY w.at ORDER BY w.at"

static const DbStatement select_counts = {"imaging_query_counts", COUNTS(INSTANCE_IS_SERVED)};
static const DbStatement select_union_counts = {
    "imaging_query_union_counts",
    "SELECT count(DISTINCT r.series_uid), count(r.id), "
    "coalesce(string_agg(DISTINCT nullif(r.modality, ''), '\\'), ''), "
    "CASE WHEN $3::boolean THEN coalesce(string_agg(DISTINCT i.sop_class, '\\'), '') ELSE '' END "
    "FROM " STUDY_UNIONS "LEFT JOIN (imaging_instance i JOIN imaging_series r ON r.id = i.series) "
    "ON i.study = w.id AND " INSTANCE_IS_SERVED_ONCE "GROUP BY w.at ORDER BY w.at",
};

/* Of a person's studies, those of others under the same UID with them: they keep it back. Some may
 * be of others alone, who have a number that the person's derives to. */
static const DbStatement select_of_person = {
    "imaging_query_studies_of_person",
    "SELECT " STUDY_COPY_COLUMNS " FROM imaging_study s" STUDY_PERSON_JOINS
    "WHERE s.study_uid IN (SELECT s.study_uid FROM " STUDIES_NAMING(
        "$1::bigint") ") "
                      "ORDER BY s.study_uid, s.id",
};

void study_unions_bind(DbParams *params, const StudyUnion *studies, size_t count)
{
    size_t copy_count = 0;
    size_t next = 0;
    for (size_t i = 0; i < count; i++) {
        copy_count += studies[i].copy_count;
    }
    int64_t *ids = ARENA_ARRAY(params->arena, int64_t, copy_count);
    int32_t *places = ARENA_ARRAY(params->arena, int32_t, copy_count);
    for (size_t i = 0; i < count; i++) {
        for (size_t copy = 0; copy < studies[i].copy_count; copy++) {
            ids[next] = studies[i].copies[copy];
            places[next++] = (int32_t)i + 1;
        }
    }
    db_param_i64_array(params, ids, copy_count);
    db_param_i32_array(params, places, copy_count);
}

bool study_unions_overlap(const StudyUnion *studies, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (studies[i].copy_count > 1) {
            return true;
        }
    }
    return false;
}

int study_counts_read(Request *req, DbConn *conn, const StudyUnion *studies, size_t count,
                      bool with_classes, StudyCounts *ret_counts)
{
    DbParams params;
    DbResult *rows;
    db_params_init(&params, req->arena);
    study_unions_bind(&params, studies, count);
    db_param_bool(&params, with_classes);
    int rc = db_exec(conn, req,
                     study_unions_overlap(studies, count) ? &select_union_counts : &select_counts,
                     &params, &rows);
    for (size_t i = 0; i < count && rc == 0; i++) {
        ret_counts[i] = (StudyCounts){.series = db_i64(rows, (int)i, 0),
                                      .instances = db_i64(rows, (int)i, 1),
                                      .modalities = db_text(rows, (int)i, 2),
                                      .sop_classes = db_text(rows, (int)i, 3)};
    }
    return rc;
}

/* ---- of a patient ---- */

static int read_copies_of(Request *req, DbConn *conn, int64_t person, StudyCopy **ret_copies,
                          size_t *ret_count)
{
    DbParams params;
    DbResult *rows;
    db_params_init(&params, req->arena);
    db_param_i64(&params, person);
    int rc = db_exec(conn, req, &select_of_person, &params, &rows);
    if (rc < 0) {
        return rc;
    }
    *ret_count = (size_t)db_rows(rows);
    *ret_copies = ARENA_ARRAY(req->arena, StudyCopy, *ret_count);
    for (size_t i = 0; i < *ret_count; i++) {
        (*ret_copies)[i] = study_copy_read(rows, (int)i);
    }
    return 0;
}

static bool has_copy_of(const StudyCopy *copies, size_t count, int64_t person)
{
    bool has = false;
    for (size_t i = 0; i < count && !has; i++) {
        has = copies[i].person == person;
    }
    return has;
}

/** Copies that follow each other in order of the study's UID become studies of the person. @return
 * how many */
static size_t unite(Arena *arena, const StudyCopy *copies, size_t count, int64_t person,
                    StudyUnion **ret_studies)
{
    StudyUnion *studies = ARENA_ARRAY(arena, StudyUnion, count);
    size_t study_count = 0;
    size_t first = 0;
    for (size_t next = 1; next <= count; next++) {
        if (next < count && str_equal(copies[next].study_uid, copies[first].study_uid)) {
            continue;
        }
        StudyUnion study = study_copies_unite(arena, &copies[first], next - first);
        if (study.copy_count > 0 && has_copy_of(&copies[first], next - first, person)) {
            studies[study_count++] = study;
        }
        first = next;
    }
    *ret_studies = studies;
    return study_count;
}

int patient_counts_read(const Imaging *imaging, Request *req, DbConn *conn, int64_t person,
                        PatientCounts *ret_counts)
{
    StudyCopy *copies;
    StudyUnion *studies;
    size_t copy_count;
    *ret_counts = (PatientCounts){0};
    int rc = read_copies_of(req, conn, person, &copies, &copy_count);
    rc = rc < 0 ? rc
                : study_copies_decide(ae_directory_codes(imaging->aes), req, copies, copy_count,
                                      ACCESS_LIST);
    if (rc < 0) {
        return rc;
    }
    size_t count = unite(req->arena, copies, copy_count, person, &studies);
    StudyCounts *counts = ARENA_ARRAY(req->arena, StudyCounts, count);
    rc = study_counts_read(req, conn, studies, count, false, counts);
    for (size_t i = 0; i < count && rc == 0; i++) {
        ret_counts->studies += counts[i].series > 0;
        ret_counts->series += counts[i].series;
        ret_counts->instances += counts[i].instances;
    }
    return rc;
}
