#include <stdio.h>

#include "registry/registry.h"

/* The invariants of versions, over all rows. */

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

int64_t registry_fsck(DbPool *pool, Request *req, RegistryFindingFn finding, void *ctx)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    Report report = {.finding = finding, .ctx = ctx};
    DbParams none;
    db_params_init(&none, req->arena);
    int rc = db_acquire(pool, req, &conn);
    rc = rc < 0 ? rc : db_stream(conn, req, &select_unsound, &none, report_unsound, &report);
    return rc < 0 ? rc : report.count;
}
