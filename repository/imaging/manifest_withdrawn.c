#include "repository/imaging/manifest_withdrawn.h"

static const DbStatement delete_source_manifests = {
    "imaging_source_manifest_withdrawn",
    "DELETE FROM imaging_source_manifest m WHERE hashtext(m.unique_id) = ANY (ARRAY("
    "SELECT hashtext(u) FROM unnest($1::text[]) u)) AND m.unique_id = ANY ($1::text[])",
};

static const DbStatement update_studies = {
    "imaging_manifest_of_study_withdrawn",
    "UPDATE imaging_study s SET manifest_kind = 0, manifest_entry = NULL, manifest_digest = NULL, "
    "manifest_unique_id = '', manifest_failure = '', is_manifest_due = NOT EXISTS "
    "(SELECT FROM imaging_ae e WHERE e.node = s.node AND e.ae_title = s.ae_title "
    "AND e.manifest = 'source') "
    "WHERE s.manifest_unique_id <> '' AND hashtext(s.manifest_unique_id) = ANY (ARRAY("
    "SELECT hashtext(u) FROM unnest($1::text[]) u)) AND s.manifest_unique_id = ANY ($1::text[])",
};

int manifests_withdraw(Request *req, DbConn *conn, const Str *unique_ids, size_t count)
{
    DbParams params;
    db_params_init(&params, req->arena);
    db_param_text_array(&params, unique_ids, count);
    int rc = db_queue(conn, req, &delete_source_manifests, &params);
    rc = rc < 0 ? rc : db_queue(conn, req, &update_studies, &params);
    return rc < 0 ? rc : db_sync(conn, req, NULL);
}
