#include "repository/inspection.h"

#include <stdarg.h>
#include <stdio.h>

#include "repository/document_rows.h"

static const DbStatement select_owners = {
    "repository_document_owners",
    "SELECT 'document ' || d.unique_id || ' of patient ' || " DOCUMENT_PATIENT_ID
    " FROM " DOCUMENT_AND_KIND
    " WHERE substr(d.sha256, 1, 7) = substr($1::bytea, 1, 7) AND d.sha256 = $1::bytea "
    "UNION ALL SELECT 'image ' || i.sop_instance || ' of study ' || s.study_uid "
    "FROM imaging_instance i JOIN imaging_study s ON s.id = i.study "
    "WHERE substr(i.sha256, 1, 7) = substr($1::bytea, 1, 7) AND i.sha256 = $1::bytea",
};

int inspection_open(Inspection *inspection, const RepositoryConfig *config, Request *req,
                    RepositoryFindingFn finding, void *ctx)
{
    *inspection =
        (Inspection){.config = config, .req = req, .finding = finding, .finding_ctx = ctx};
    BlobStoreConfig store = {
        .blobs_dir = config->blobs_dir,
        .locator_dir = config->locator_dir,
        .segment_max_document_bytes = config->segment_max_document_bytes,
        .segment_max_bytes = (uint64_t)1 << 30,
    };
    char problem[512] = "";
    inspection->blobs = blob_store_open(&store, problem, sizeof(problem));
    if (!inspection->blobs) {
        inspection->is_live = true;
        store.is_read_only = true;
        inspection->blobs = blob_store_open(&store, problem, sizeof(problem));
    }
    if (!inspection->blobs) {
        return error_add(&req->errors, ERR_STORAGE, NULL, "the blob store cannot be opened: %s",
                         problem);
    }
    return 0;
}

void inspection_close(Inspection *inspection)
{
    blob_store_close(inspection->blobs);
}

void inspection_report(Inspection *inspection, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    inspection->finding(inspection->finding_ctx, line);
    inspection->finding_count++;
}

int inspection_owners(Inspection *inspection, const uint8_t sha256[32], Str *ret_owners)
{
    Request *req = inspection->req;
    DbParams params;
    DbResult *result;
    _cleanup_(db_releasep) DbConn *conn = NULL;
    db_params_init(&params, req->arena);
    db_param_bytes(&params, (Str){(const char *)sha256, 32});
    int rc = db_acquire(inspection->config->pool, req, &conn);
    if (rc == 0) {
        rc = db_exec(conn, req, &select_owners, &params, &result);
    }
    if (rc != 0) {
        return rc;
    }
    Str owners = STR_EMPTY;
    for (int i = 0; i < db_rows(result); i++) {
        owners = str_printf(req->arena, "%.*s%s%.*s", STR_ARG(owners), i ? ", " : "",
                            STR_ARG(db_text(result, i, 0)));
    }
    *ret_owners = str_is_empty(owners) ? STR("no document") : owners;
    return 0;
}
