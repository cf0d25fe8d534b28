#pragma once

#include "lib/db/db.h"
#include "lib/saml/claims.h"

/**
 * Who presented an assertion first: table assertion_seen. Those who present assertions at the same
 * moment share one statement and its commit: one of them runs it, the others wait. Thread-safe.
 */
typedef struct SamlReplay SamlReplay;

/** @param pool  borrowed */
SamlReplay *saml_replay_new(DbPool *pool);
void saml_replay_free(SamlReplay *replay);

/** What presenting an assertion came to. */
typedef struct SamlUse {
    bool is_first;
    Str bound_to; /* who presented it first; in the arena */
} SamlUse;

/**
 * Notes durably that an assertion is presented, or finds out who presented it first. One row with
 * one key: the first of all processes that share the database wins.
 *
 * @param presenter  who presents it now
 * @return 0, or ERR_DATABASE, ERR_DATABASE_BUSY: nothing is known, and nothing may be given out
 */
int saml_replay_note(SamlReplay *replay, Request *req, const SamlClaims *claims, Str presenter,
                     SamlUse *ret_use) MUST_CHECK;

/** Deletes what no message can be accepted with any more. */
int saml_replay_forget(DbConn *conn, Request *req) MUST_CHECK;
