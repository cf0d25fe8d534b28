#pragma once

#include "lib/db/db.h"
#include "lib/saml/claims.h"

/** What presenting an assertion came to. */
typedef struct SamlUse {
    bool is_first;
    Str bound_to; /* who presented it first; in the arena */
} SamlUse;

/**
 * Notes durably that an assertion is presented, or finds out who presented it first. One statement
 * of one row: the first of all processes that share the database wins.
 *
 * @param presenter  who presents it now
 * @return 0, or ERR_DATABASE, ERR_DATABASE_BUSY: nothing is known, and nothing may be given out
 */
int saml_replay_note(DbPool *pool, Request *req, const SamlClaims *claims, Str presenter,
                     SamlUse *ret_use) MUST_CHECK;

/** Deletes what no message can be accepted with any more. */
int saml_replay_forget(DbConn *conn, Request *req) MUST_CHECK;
