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

/** The identifiers (CX) that submissions name. */
typedef struct PatientQuestion {
    const Str *patient_ids; /* each once */
    size_t count;
    const Str *source_patient_ids; /* each once */
    size_t source_count;
} PatientQuestion;

/** Statements that queue_lock() queues at most. */
#define PATIENT_LOCK_STATEMENTS_MAX 2

typedef struct PatientDirectory {
    void *ctx;
    /**
     * Queues statements that hold identifiers (FOR SHARE, in the order of their rows) until the end
     * of the caller's transaction, so that no merge and no move passes in between, and look them
     * up. They go out with what else the caller queues; locked() reads the result of the last one.
     */
    int (*queue_lock)(void *ctx, Request *req, DbConn *conn, const PatientQuestion *question,
                      size_t *ret_statements);
    /**
     * @param ret_patients  of patient_ids
     * @param ret_owners    of source_patient_ids: internal id of the XAD-PID of the person who has
     *                      this number; 0: not known here
     */
    void (*locked)(void *ctx, Request *req, const DbResult *result, const PatientQuestion *question,
                   Patient *ret_patients, int64_t *ret_owners);
    /**
     * The internal ids whose objects show up under these identifiers, each once: their own and all
     * that were merged into them. None for an unknown or subsumed identifier. No lock.
     */
    int (*ids)(void *ctx, Request *req, DbConn *conn, const Str *identifiers, size_t count,
               int64_t **ret_ids, size_t *ret_count);
    /** CX text of the survivor of each internal id, in the arena. */
    int (*identifiers)(void *ctx, Request *req, DbConn *conn, const int64_t *ids, size_t count,
                       Str *ret_identifiers, int64_t *ret_survivors);
    /**
     * Whose numbers an identifier (CX) is of.
     * @param ret_facility  0: of no facility, as those of the affinity domain
     * @return false: its authority is not configured here
     */
    bool (*facility_of)(void *ctx, Request *req, Str identifier, int32_t *ret_facility);
} PatientDirectory;
