#include "repository/repository.h"

#include <stdlib.h>

#include "lib/base/heap.h"
#include "repository/document_rows.h"
#include "repository/imaging/manifest_withdrawn.h"
#include "repository/on_demand.h"
#include "repository/repository_private.h"
#include "repository/sweep.h"

#define SEGMENT_MAX_BYTES ((uint64_t)1 << 30)

Repository *repository_new(const RepositoryConfig *config, char *ret_problem, size_t problem_size)
{
    Repository *repository = HEAP_NEW(Repository);
    repository->config = *config;
    pthread_mutex_init(&repository->snapshot_lock, NULL);
    BlobStoreConfig blob_config = {
        .blobs_dir = config->blobs_dir,
        .locator_dir = config->locator_dir,
        .segment_max_document_bytes = config->segment_max_document_bytes,
        .segment_max_bytes = SEGMENT_MAX_BYTES,
    };
    repository->blobs = blob_store_open(&blob_config, ret_problem, problem_size);
    if (!repository->blobs) {
        repository_free(repository);
        return NULL;
    }
    repository->sink = blob_store_sink(repository->blobs);
    repository->sweep = sweep_start(repository);
    repository->generator = generator_find(str_from(config->on_demand.generator));
    if (repository->generator) {
        repository->maker = on_demand_maker_start(repository);
    }
    return repository;
}

void repository_free(Repository *repository)
{
    if (!repository) {
        return;
    }
    on_demand_maker_stop(repository->maker);
    sweep_stop(repository->sweep);
    pthread_mutex_destroy(&repository->snapshot_lock);
    blob_store_close(repository->blobs);
    free(repository);
}

const DocumentSink *repository_sink(Repository *repository)
{
    return &repository->sink;
}

bool repository_is_writable(const Repository *repository)
{
    return blob_store_is_writable(repository->blobs);
}

int repository_rebuild_locator(const RepositoryConfig *config, char *ret_problem,
                               size_t problem_size)
{
    const BlobStoreConfig blob_config = {
        .blobs_dir = config->blobs_dir,
        .locator_dir = config->locator_dir,
        .segment_max_document_bytes = config->segment_max_document_bytes,
        .segment_max_bytes = SEGMENT_MAX_BYTES,
    };
    return blob_store_rebuild_locator(&blob_config, ret_problem, problem_size);
}

static int follow_documents(void *ctx, Request *req, DbConn *conn, Str patient_id,
                            const Str *unique_ids, size_t count)
{
    (void)ctx;
    return document_rows_set_patient(req, conn, patient_id, unique_ids, count);
}

static DocumentHolding holding_of(const DocumentRow *row, const DocumentBytes *bytes)
{
    if (row == NULL || row->state == DOCUMENT_REMOVED) {
        return HOLDING_NONE;
    }
    const Str held = {(const char *)row->sha1, sizeof(row->sha1)};
    bool is_same = bytes->size_bytes == (int64_t)row->size_bytes && str_equal(bytes->hash, held);
    return is_same ? HOLDING_SAME : HOLDING_OTHER;
}

static int compare_documents(void *ctx, Request *req, DbConn *conn, const DocumentBytes *documents,
                             size_t count, DocumentHolding *ret_holdings)
{
    (void)ctx;
    Str *unique_ids = ARENA_ARRAY(req->arena, Str, count);
    for (size_t i = 0; i < count; i++) {
        unique_ids[i] = documents[i].unique_id;
    }
    DocumentRows rows;
    int rc = document_rows_find(req, conn, unique_ids, count, &rows);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        ret_holdings[i] = holding_of(document_rows_get(&rows, unique_ids[i]), &documents[i]);
    }
    return rc;
}

static int withdraw_documents(void *ctx, Request *req, DbConn *conn, const Str *unique_ids,
                              size_t count, bool *ret_is_known)
{
    (void)ctx;
    DocumentRows rows;
    int rc = document_rows_find(req, conn, unique_ids, count, &rows);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        ret_is_known[i] = document_rows_get(&rows, unique_ids[i]) != NULL;
    }
    rc = rc < 0 ? rc : on_demand_queue_withdrawn(req, conn, unique_ids, count);
    return rc < 0 ? rc : manifests_withdraw(req, conn, unique_ids, count);
}

void repository_set_studies(Repository *repository, const PatientStudies *studies)
{
    repository->studies = studies;
}

DocumentFollower repository_document_follower(const char *generator)
{
    const Generator *found = generator_find(str_from(generator));
    return (DocumentFollower){.ctx = WITHOUT_CONST(found),
                              .follow = follow_documents,
                              .compare = compare_documents,
                              .withdraw = withdraw_documents,
                              .registered = found ? on_demand_note : NULL};
}
