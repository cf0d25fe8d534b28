#include "repository/imaging/imaging.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "repository/imaging/commitments.h"
#include "repository/imaging/imaging_state.h"
#include "repository/imaging/manifest.h"
#include "repository/imaging/manifest_source.h"
#include "repository/imaging/outgoing.h"
#include "repository/repository_private.h"

#define REFRESH_TIMEOUT_MS 10000

Imaging *imaging_new(const ImagingConfig *config, char *ret_problem, size_t problem_size)
{
    Imaging *imaging = HEAP_NEW(Imaging);
    imaging->config = *config;
    imaging->blobs = config->repository->blobs;
    imaging->manifest_check = manifest_source_check(imaging);
    config->repository->manifests = &imaging->manifest_check;
    pthread_mutex_init(&imaging->conversations_lock, NULL);
    pthread_mutex_init(&imaging->counts_lock, NULL);
    const AeDirectoryConfig aes = {
        .pool = config->pool,
        .affinity_domain = str_from(config->patient_id_authority),
        .default_authority = str_from(config->default_authority),
        .class_code = str_from(config->class_code),
        .confidentiality_code = str_from(config->confidentiality_code),
    };
    imaging->aes = ae_directory_new(&aes);
    Request *req = request_new(REFRESH_TIMEOUT_MS);
    int rc = imaging_refresh(imaging, req);
    request_free(req);
    if (rc < 0) {
        (void)snprintf(ret_problem, problem_size,
                       "cannot read the application entities of imaging: %s", db_last_failure());
        imaging_free(imaging);
        return NULL;
    }
    imaging->commitments = commitments_new(imaging, ret_problem, problem_size);
    imaging->manifests =
        imaging->commitments ? manifest_maker_new(imaging, ret_problem, problem_size) : NULL;
    if (!imaging->manifests) {
        imaging_free(imaging);
        return NULL;
    }
    return imaging;
}

void imaging_free(Imaging *imaging)
{
    if (!imaging) {
        return;
    }
    imaging->config.repository->manifests = NULL;
    manifest_maker_free(imaging->manifests);
    commitments_free(imaging->commitments);
    ae_directory_free(imaging->aes);
    pthread_mutex_destroy(&imaging->counts_lock);
    pthread_mutex_destroy(&imaging->conversations_lock);
    free(imaging);
}

int imaging_refresh(Imaging *imaging, Request *req)
{
    return ae_directory_refresh(imaging->aes, req);
}

int imaging_echo(DicomWorkers *workers, Tls *tls, const char *own_title, Request *req,
                 const ImagingPeer *peer)
{
    const OutgoingSide side = {workers, tls, own_title};
    const Ae to = {.title = peer->ae_title,
                   .host = peer->host,
                   .port = peer->port,
                   .is_tls = peer->is_tls,
                   .fingerprint = peer->fingerprint};
    return outgoing_echo(&side, req, &to);
}
