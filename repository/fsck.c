#include "repository/imaging/fsck.h"

#include <string.h>

#include "lib/base/clock.h"
#include "repository/document_rows.h"

#define SECOND_US INT64_C(1000000)
/** A running server tells the locator of a document within this time. */
#define FRESH_US (10 * SECOND_US)
/** After this the sweep has asked the registry many times, and freed what no row names. */
#define SETTLED_US (6 * 3600 * SECOND_US)
#define DIGEST_BYTES 32

static const DbStatement select_documents = {
    "repository_fsck_rows",
    "SELECT 'document ' || d.unique_id || ' of patient ' || " DOCUMENT_PATIENT_ID
    ", d.state, d.size_bytes, d.sha256, d.stored_at FROM " DOCUMENT_AND_KIND " WHERE d.state <> 3",
};

/* As if they were documents: registered ones. */
static const DbStatement select_images = {
    "repository_fsck_images",
    "SELECT 'image ' || i.sop_instance || ' of study ' || coalesce(s.study_uid, ''), 1::smallint, "
    "i.size_bytes, i.sha256, i.received_at FROM imaging_instance i "
    "LEFT JOIN imaging_study s ON s.id = i.study",
};

enum { COLUMN_NAME, COLUMN_STATE, COLUMN_SIZE, COLUMN_SHA256, COLUMN_STORED_AT };

/** What is wrong with the blob of a row; NULL if nothing is. */
static const char *blob_fault(BlobStore *blobs, const uint8_t sha256[DIGEST_BYTES],
                              uint64_t size_bytes)
{
    BlobReader *reader;
    int rc = blob_reader_open(blobs, sha256, &reader);
    if (rc == -ERR_STORAGE) {
        return "its bytes are missing";
    }
    if (rc < 0) {
        return "its record is damaged";
    }
    const char *fault =
        blob_reader_size_bytes(reader) == size_bytes ? NULL : "its size is not that of its row";
    blob_reader_free(reader);
    return fault;
}

static int check_row(void *ctx, UNUSED Request *req, const DbResult *row)
{
    Inspection *inspection = ctx;
    Str name = db_text(row, 0, COLUMN_NAME);
    Str digest = db_text(row, 0, COLUMN_SHA256);
    int64_t age_us = clock_utc_us() - db_timestamp(row, 0, COLUMN_STORED_AT);
    if (digest.len != DIGEST_BYTES) {
        inspection_report(inspection, "%.*s: its row names no SHA-256", STR_ARG(name));
        return 0;
    }
    uint8_t sha256[DIGEST_BYTES];
    memcpy(sha256, digest.data, sizeof(sha256));
    BlobInfo info = {.file = "no file"};
    (void)!blob_store_stat(inspection->blobs, sha256, &info);
    const char *fault =
        blob_fault(inspection->blobs, sha256, (uint64_t)db_i64(row, 0, COLUMN_SIZE));
    if (fault && (age_us > FRESH_US || !inspection->is_live)) {
        inspection_report(inspection, "%.*s (%s, offset %llu): %s", STR_ARG(name), info.file,
                          (unsigned long long)info.offset, fault);
    }
    if (db_i16(row, 0, COLUMN_STATE) == DOCUMENT_PENDING && age_us > SETTLED_US) {
        inspection_report(inspection,
                          "%.*s: the registry has not said for hours "
                          "whether it is registered",
                          STR_ARG(name));
    }
    return 0;
}

static int check_blob(void *ctx, const BlobInfo *info)
{
    Inspection *inspection = ctx;
    if (clock_utc_us() - info->written_us < SETTLED_US) {
        return 0;
    }
    Request *req = inspection->req;
    Str digest = {(const char *)info->sha256, sizeof(info->sha256)};
    bool is_named = true;
    DbConn *conn = NULL;
    int rc = db_acquire(inspection->config->pool, req, &conn);
    if (rc == 0) {
        rc = document_rows_name(req, conn, &digest, 1, &is_named);
    }
    db_release(conn);
    if (rc == 0 && !is_named) {
        inspection_report(inspection, "%s, offset %llu: %llu bytes that nothing names", info->file,
                          (unsigned long long)info->offset, (unsigned long long)info->size_bytes);
    }
    return rc;
}

static int check_rows(Inspection *inspection)
{
    Request *req = inspection->req;
    DbParams params;
    db_params_init(&params, req->arena);
    _cleanup_(db_releasep) DbConn *conn = NULL;
    int rc = db_acquire(inspection->config->pool, req, &conn);
    rc = rc < 0 ? rc : db_stream(conn, req, &select_documents, &params, check_row, inspection);
    return rc < 0 ? rc : db_stream(conn, req, &select_images, &params, check_row, inspection);
}

int64_t repository_fsck(const RepositoryConfig *config, Request *req, RepositoryFindingFn finding,
                        void *ctx)
{
    Inspection inspection;
    int rc = inspection_open(&inspection, config, req, finding, ctx);
    if (rc < 0) {
        return rc;
    }
    rc = check_rows(&inspection);
    rc = rc < 0 ? rc : imaging_fsck(&inspection);
    if (rc == 0) {
        rc = blob_store_iterate(inspection.blobs, check_blob, &inspection);
    }
    inspection_close(&inspection);
    return rc < 0 ? rc : inspection.finding_count;
}
