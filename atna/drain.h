#pragma once

#include "atna/audit.h"

/**
 * The thread that empties audit_outbox into the spool and, where the repository is another host,
 * sends the spool to it. Private to this folder.
 */

/** Starts the thread. NULL and a reason on failure. */
Drain *drain_new(Audit *audit, char *ret_problem, size_t problem_size);

/** Stops after a last round of both. drain_free(NULL) is fine. */
void drain_free(Drain *drain);
