#pragma once

#include "repository/blob.h"
#include "repository/repository.h"

/** What fsck and scrub share: the store opened beside a running server, and findings as lines for
 * the operator. */
typedef struct Inspection {
    const RepositoryConfig *config;
    Request *req;
    BlobStore *blobs;
    bool is_live; /* a server has the store open: what it has just written may not be visible yet */
    RepositoryFindingFn finding;
    void *finding_ctx;
    int64_t finding_count;
} Inspection;

/** Opens the store for writing if no server has it (which replays what a crash left), else for
 * reading. */
int inspection_open(Inspection *inspection, const RepositoryConfig *config, Request *req,
                    RepositoryFindingFn finding, void *ctx) MUST_CHECK;
void inspection_close(Inspection *inspection);

void inspection_report(Inspection *inspection, const char *format, ...) PRINTF_LIKE(2, 3);

/** What a blob is, as text in the arena: "document 1.2.3 of patient ...", "image 1.2.3 of study
 * ...". */
int inspection_owners(Inspection *inspection, const uint8_t sha256[32], Str *ret_owners) MUST_CHECK;
