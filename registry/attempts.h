#pragma once

#include "lib/db/db.h"

/** One transaction from BEGIN to COMMIT; whoever called it rolls back on failure. */
typedef int (*AttemptFn)(void *ctx);

/** How often a transaction that lost a race is tried, in all. */
#define ATTEMPTS_MAX 3

/**
 * Tries the transaction again after a serialization failure, a deadlock, or a key that another one
 * took meanwhile (SQLSTATE 40001, 40P01, 23505); the errors of attempts that lost are forgotten.
 */
int attempts_run(Request *req, DbConn *conn, AttemptFn attempt, void *ctx) MUST_CHECK;
