#pragma once

#include "pix/message_v3.h"

/** Queries whose answers are not delivered to their end: kept for a while, across connections and
 * restarts (ITI TF-2 3.47.4.3; table pdq_continuation). One node or user cannot go on with
 * another's. */

typedef struct Continuation {
    Str query_id;        /* v3_id_text() */
    Str query;           /* queryByParameter as XML */
    int64_t last_person; /* of the last patient delivered */
    uint64_t delivered;
    uint64_t total;
} Continuation;

/** Keeps it, or puts it in the place of what was kept; drops what has expired. With nothing left to
 * deliver, drops it. */
int continuation_v3_keep(Pix *pix, Request *req, const Continuation *continuation) MUST_CHECK;

/** @return 0 with *ret_is_known; texts are in the arena */
int continuation_v3_find(Pix *pix, Request *req, Str query_id, Continuation *ret_continuation,
                         bool *ret_is_known) MUST_CHECK;

int continuation_v3_drop(Pix *pix, Request *req, Str query_id) MUST_CHECK;
