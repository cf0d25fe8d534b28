#pragma once

#include "lib/db/db.h"
#include "registry/gateway/gateway.h"

/** Tables community and patient_correlation. */

/** More are not asked: each has a thread of its own while a request waits. */
#define COMMUNITIES_MAX 64

/** A row of table community. In the arena of who asked. */
typedef struct Community {
    int32_t id;
    Str home; /* homeCommunityId */
    Str name;
    Str urls[GATEWAY_SERVICE_COUNT]; /* empty: it does not serve that */
    Str discovery_url;               /* of ITI-55 */
    Str fingerprint;
    unsigned timeout_ms;
    bool is_enabled;
} Community;

/** All of them, by home. @return 0, or a negative ErrorCode of the database */
int communities_read(DbConn *conn, Request *req, Community **ret_communities,
                     size_t *ret_count) MUST_CHECK;

/**
 * Asks a community at each of its addresses for what nobody has, with its home: whether its gateway
 * can be reached and answers for it. For commands: nothing is recorded here.
 * @param ret_problems  of each service, in req->arena; empty: it answers as it should, or has no
 * address for that
 */
void community_probe(InitiatingGateway *gateway, Request *req, const Community *community,
                     Str ret_problems[GATEWAY_SERVICE_COUNT]);

/** Stores one under its home, new or changed. */
int community_store(DbConn *conn, Request *req, const Community *community) MUST_CHECK;
/** @param ret_removed  false: there was none with this home */
int community_remove(DbConn *conn, Request *req, Str home, bool *ret_removed) MUST_CHECK;

/** Under which id a community knows a patient of this affinity domain. */
typedef struct PatientCorrelation {
    int32_t community;
    Str home;
    Str patient_id; /* CX */
    Str foreign_id; /* CX */
} PatientCorrelation;

/** @param patient_id  of one patient; empty: of all */
int patient_correlations_read(DbConn *conn, Request *req, Str patient_id,
                              PatientCorrelation **ret_correlations, size_t *ret_count) MUST_CHECK;

/** @param foreign_id  empty: the correlation goes
 *  @param ret_changed  false: there is no such community, or none to take away */
int patient_correlation_store(DbConn *conn, Request *req, Str home, Str patient_id, Str foreign_id,
                              bool *ret_changed) MUST_CHECK;
