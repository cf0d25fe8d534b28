#pragma once

#include "lib/db/db.h"

/**
 * What keeps blobs where they are while somebody reads them by what one state of the database
 * names: a lock of the database session, which a killed process does not leave behind. While it is
 * held, the sweeps of all servers of this database free nothing.
 */

/** Waits for sweeps that are freeing at this moment. */
int repository_hold_take(DbConn *conn, Request *req) MUST_CHECK;

/**
 * @param ret_was_held  false: the session was lost meanwhile, and blobs may have been freed
 */
int repository_hold_end(DbConn *conn, Request *req, bool *ret_was_held) MUST_CHECK;

/** The sweep's side, within its transaction: until that ends nobody takes the hold.
 * @param ret_may_free  false: somebody has it */
int repository_hold_ask(DbConn *conn, Request *req, bool *ret_may_free) MUST_CHECK;
