#pragma once

#include "pix/identity_rows.h"

/** What matching says of one fed record against all that are known: the step of a feed between
 * reading and writing. */

/** A record that shares a key with the fed one. */
typedef struct Candidate {
    int64_t identifier;
    int64_t person;
    Match match;
} Candidate;

typedef struct Candidates {
    Candidate *items; /* MATCH_SAME and MATCH_REVIEW alone, best score first; in the arena */
    size_t count;
} Candidates;

/** Queues the question for records that share a key with this one; candidates_read() reads its
 * result. */
int candidates_queue(Request *req, DbConn *conn, const int64_t *keys, size_t key_count) MUST_CHECK;

/** @param own  identifiers of the feed itself, which are no candidates */
void candidates_read(const MatchConfig *config, Arena *arena, const DbResult *result,
                     const MatchProfile *profile, const IdentityRows *own,
                     Candidates *ret_candidates);

/** Queues the proposal of a link that a person has to decide on, unless there is one between the
 * two persons already. */
int candidates_queue_proposal(Request *req, DbConn *conn, int64_t identifier,
                              const Candidate *candidate) MUST_CHECK;

/**
 * Which of some persons may not be one, since an operator or their source said so. A person is
 * barred when a verdict separates it from one before it that is not barred.
 * @param ret_is_barred  count flags
 */
int candidates_check_verdicts(DbConn *conn, Request *req, const int64_t *persons, size_t count,
                              bool *ret_is_barred) MUST_CHECK;
