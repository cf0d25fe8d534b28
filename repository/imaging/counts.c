#include "lib/base/clock.h"
#include "repository/imaging/conversation.h"

#define RENEW_AFTER_NS (INT64_C(60) * 1000000000)

static const DbStatement select_counts = {
    "imaging_counts",
    "SELECT (SELECT count(*) FROM imaging_study), "
    "(SELECT coalesce(sum(s.studies), 0)::bigint FROM (SELECT authority, patient_number, "
    "count(*) studies FROM imaging_study GROUP BY authority, patient_number) s" STUDY_PERSON_JOINS
    "WHERE x.id IS NULL), "
    "(SELECT count(*) FROM imaging_study WHERE is_manifest_due), "
    "(SELECT count(*) FROM imaging_study WHERE is_manifest_due AND manifest_failure <> ''), "
    "(SELECT count(*) FROM (" CONFLICTING_STUDIES ") c)",
};

int imaging_counts_read(DbConn *conn, Request *req, ImagingCounts *ret_counts)
{
    DbResult *rows;
    int rc = db_exec(conn, req, &select_counts, NULL, &rows);
    if (rc == 0) {
        *ret_counts = (ImagingCounts){.studies = db_i64(rows, 0, 0),
                                      .waiting = db_i64(rows, 0, 1),
                                      .manifests_due = db_i64(rows, 0, 2),
                                      .manifests_failed = db_i64(rows, 0, 3),
                                      .conflicts = db_i64(rows, 0, 4)};
    }
    return rc;
}

static int renew(Imaging *imaging, Request *req)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(imaging->config.pool, req, &conn);
    rc = rc < 0 ? rc : imaging_counts_read(conn, req, &imaging->counts);
    if (rc == 0) {
        imaging->counted_ns = clock_now_ns();
    }
    return rc;
}

static int64_t count_associations(Imaging *imaging)
{
    int64_t count = 0;
    pthread_mutex_lock(&imaging->conversations_lock);
    for (const DicomConversation *open = imaging->conversations; open; open = open->next) {
        count++;
    }
    pthread_mutex_unlock(&imaging->conversations_lock);
    return count;
}

int imaging_counts(Imaging *imaging, Request *req, ImagingCounts *ret_counts)
{
    int rc = 0;
    pthread_mutex_lock(&imaging->counts_lock);
    if (imaging->counted_ns == 0 || clock_now_ns() - imaging->counted_ns > RENEW_AFTER_NS) {
        rc = renew(imaging, req);
    }
    *ret_counts = imaging->counts;
    pthread_mutex_unlock(&imaging->counts_lock);
    ret_counts->associations = count_associations(imaging);
    ret_counts->stored = atomic_load(&imaging->stored);
    return rc;
}
