#pragma once

#include "lib/base/request.h"
#include "lib/db/db.h"

/**
 * What a registry asks about identifiers of the affinity domain. pix/ fills it in.
 */
typedef struct Patient {
    int64_t id;       /* internal; rows of the registry name it */
    int64_t survivor; /* = id unless merged away */
    bool is_known;
    bool is_active; /* false: subsumed by a merge */
} Patient;

typedef struct PatientDirectory {
    void *ctx;
    /**
     * Queues one statement that looks identifiers (CX) up and holds them (FOR SHARE) until the end
     * of the caller's transaction, so that no merge passes in between. It goes out with what else
     * the caller queues; locked() reads its result.
     */
    int (*queue_lock)(void *ctx, Request *req, DbConn *conn, const Str *identifiers, size_t count);
    /** ret_patients[i] belongs to identifiers[i]; they are those that were queued. */
    void (*locked)(void *ctx, Request *req, const DbResult *result, const Str *identifiers,
                   size_t count, Patient *ret_patients);
    /**
     * The internal ids whose objects show up under this identifier: its own and all that were
     * merged into it. None for an unknown or subsumed identifier. No lock.
     */
    int (*ids)(void *ctx, Request *req, DbConn *conn, Str identifier, int64_t **ret_ids,
               size_t *ret_count);
    /** CX text of the survivor of each internal id, in the arena. */
    int (*identifiers)(void *ctx, Request *req, DbConn *conn, const int64_t *ids, size_t count,
                       Str *ret_identifiers, int64_t *ret_survivors);
} PatientDirectory;
