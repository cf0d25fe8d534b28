#pragma once

#include "repository/imaging/imaging.h"

/**
 * Storage commitment, Push Model (PS3.4 J): requests are rows, so that a report reaches its
 * application entity whatever happens meanwhile. One thread looks at what is stored, another sends
 * the reports, each on an association of its own; of several processes one does.
 */
typedef struct Commitments Commitments;

/** NULL and the reason on failure. */
Commitments *commitments_new(Imaging *imaging, char *ret_problem, size_t problem_size);
/** Ends the threads; a report on its way is waited for. NULL is fine. */
void commitments_free(Commitments *commitments);

typedef struct CommitmentRequest {
    int32_t node; /* and title: who asks, and gets the report */
    int32_t facility;
    Str ae_title;
    Str transaction_uid;
    const Str *sop_classes;
    const Str *sop_instances;
    size_t count;
} CommitmentRequest;

/** Stores a request. @return 1; 0: the Transaction UID was used before; negative */
int commitments_add(Commitments *commitments, Request *req,
                    const CommitmentRequest *request) MUST_CHECK;
