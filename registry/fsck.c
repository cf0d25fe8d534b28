#include <stdio.h>

#include "registry/registry.h"

/* The invariants of versions and of what connects them, over all rows. */

/* Kinds and types: 0 DocumentEntry, 2 Folder; 1 RPLC, 4 XFRM_RPLC. */
_Static_assert(OBJECT_DOCUMENT_ENTRY == 0 && OBJECT_FOLDER == 2, "literals of fsck.c");
_Static_assert(ASSOCIATION_RPLC == 1 && ASSOCIATION_XFRM_RPLC == 4, "literals of fsck.c");

/* One version of an object is the latest, and no other one is Approved. */
#define UNSOUND(kind, table)                                                                       \
    "SELECT '" kind "' AS kind, coalesce(lid, entry_uuid) AS lid, count(*) AS versions,"           \
    " count(*) FILTER (WHERE is_latest) AS latest, count(*) FILTER (WHERE status = 0) AS approved" \
    " FROM " table " GROUP BY coalesce(lid, entry_uuid)"                                           \
    " HAVING count(*) FILTER (WHERE is_latest) <> 1 OR count(*) FILTER (WHERE status = 0) > 1"     \
    " OR count(*) FILTER (WHERE status = 0 AND NOT is_latest) > 0"                                 \
    " OR count(*) <> max(version)"
static const DbStatement select_unsound = {
    "registry_fsck_versions",
    "SELECT kind, lid, versions, latest, approved FROM (" UNSOUND(
        "DocumentEntry", "document_entry") " UNION ALL " UNSOUND("Folder", "folder") ") unsound"};

/* An Approved relationship, or membership in a Folder, connects latest versions. What a patient
 * move leaves with the version that it supersedes (README.md) is no fault: a replacement, and what
 * is Deprecated in a Folder. That version differs from the next one in its patient, or in its
 * sourcePatientId. */
#define SUPERSEDED_DOCUMENT(column, kinds)                                                         \
    "SELECT a.entry_uuid, d.entry_uuid AS ended FROM association a"                                \
    " JOIN document_entry d ON d.entry_uuid = a." column                                           \
    " WHERE a.status = 0 AND a.source_kind = ANY ('" kinds "') AND NOT d.is_latest"                \
    " AND NOT (a.type = ANY ('{1,4}') AND EXISTS (SELECT FROM document_entry n"                    \
    "   WHERE n.lid = coalesce(d.lid, d.entry_uuid) AND n.version = d.version + 1"                 \
    "   AND (n.patient, n.source_patient_id) <> (d.patient, d.source_patient_id)))"
#define SUPERSEDED_FOLDER                                                                          \
    "SELECT a.entry_uuid, f.entry_uuid AS ended FROM association a"                                \
    " JOIN folder f ON f.entry_uuid = a.source_object"                                             \
    " WHERE a.status = 0 AND a.source_kind = 2 AND NOT f.is_latest"                                \
    " AND NOT EXISTS (SELECT FROM folder n WHERE n.lid = coalesce(f.lid, f.entry_uuid)"            \
    "   AND n.version = f.version + 1 AND n.patient <> f.patient)"
static const DbStatement select_left_behind = {
    "registry_fsck_associations",
    SUPERSEDED_DOCUMENT("source_object", "{0}") " UNION ALL " SUPERSEDED_DOCUMENT(
        "target_object", "{0,2}") " UNION ALL " SUPERSEDED_FOLDER};

typedef struct Report {
    RegistryFindingFn finding;
    void *ctx;
    int64_t count;
} Report;

static int report_unsound(void *ctx, Request *req, const DbResult *row)
{
    Report *report = ctx;
    char lid[UUID_URN_LEN];
    char line[256];
    (void)req;
    uuid_format_urn(db_uuid(row, 0, 1), lid);
    (void)snprintf(line, sizeof(line),
                   "%.*s %.*s: of its %lld versions %lld are the latest and %lld are Approved; one "
                   "must be the latest, and only that one may be Approved",
                   STR_ARG(db_text(row, 0, 0)), UUID_URN_LEN, lid, (long long)db_i64(row, 0, 2),
                   (long long)db_i64(row, 0, 3), (long long)db_i64(row, 0, 4));
    report->finding(report->ctx, line);
    report->count++;
    return 0;
}

static int report_left_behind(void *ctx, Request *req, const DbResult *row)
{
    Report *report = ctx;
    char association[UUID_URN_LEN];
    char ended[UUID_URN_LEN];
    char line[256];
    (void)req;
    uuid_format_urn(db_uuid(row, 0, 0), association);
    uuid_format_urn(db_uuid(row, 0, 1), ended);
    (void)snprintf(line, sizeof(line),
                   "Association %.*s is Approved, but its end %.*s is a superseded version; the "
                   "Associations of those are Deprecated",
                   UUID_URN_LEN, association, UUID_URN_LEN, ended);
    report->finding(report->ctx, line);
    report->count++;
    return 0;
}

int64_t registry_fsck(DbPool *pool, Request *req, RegistryFindingFn finding, void *ctx)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    Report report = {.finding = finding, .ctx = ctx};
    DbParams none;
    db_params_init(&none, req->arena);
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : db_stream(conn, req, &select_unsound, &none, report_unsound, &report);
    rc =
        rc < 0 ? rc : db_stream(conn, req, &select_left_behind, &none, report_left_behind, &report);
    return rc < 0 ? rc : report.count;
}
