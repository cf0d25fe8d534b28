#pragma once

#include "lib/db/db.h"
#include "lib/saml/claims.h"

/** Who presents or owns an assertion: see saml.c. */
#define SAML_PRESENTER_SIZE 128

/**
 * Who presented an assertion first: table assertion_seen. One thread binds them; those that are
 * presented while a batch commits are the next one. Thread-safe.
 */
typedef struct SamlReplay SamlReplay;

/** @param pool  of the same database; connections of its own are opened */
SamlReplay *saml_replay_new(const DbPool *pool);
/** No request may be on its way. */
void saml_replay_free(SamlReplay *replay);

/** What presenting an assertion came to. */
typedef struct SamlUse {
    bool is_first;
    char bound_to[SAML_PRESENTER_SIZE]; /* who presented it first */
} SamlUse;

/** An assertion that is presented. */
typedef struct SamlPresentation SamlPresentation;

/**
 * Begins to note durably that an assertion is presented, or to find out who presented it first. One
 * row with one key: the first of all processes that share the database wins.
 *
 * @param arena      of the request; its end waits for the binder
 * @param presenter  who presents it now; shorter than SAML_PRESENTER_SIZE, lives as long
 */
SamlPresentation *saml_replay_present(SamlReplay *replay, Arena *arena, const SamlClaims *claims,
                                      Str presenter);

/**
 * Waits until it is durable.
 * @return 0, or -ERR_DATABASE, -ERR_DATABASE_BUSY: nothing is known, and nothing may be given out
 */
int saml_replay_await(SamlPresentation *presentation, SamlUse *ret_use) MUST_CHECK;

/** Deletes what no message can be accepted with any more. */
int saml_replay_forget(DbConn *conn, Request *req) MUST_CHECK;
