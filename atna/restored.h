#pragma once

#include "lib/db/db.h"

/**
 * What a data_dir/audit that came back from a backup needs before a server uses it, once the
 * database of the same backup is there: the spools lose what the database has loaded already, and
 * what the copy cut in the middle. The chain ends where the database has its end, and what comes
 * from now on gets a chain of its own: heads of the old one that were handed out after the backup
 * then tell truly that records are missing, and never that they were changed.
 *
 * Nothing is done where the directory has no chain, so no repository.
 * @return 0 or a negative ErrorCode in req->errors
 */
int audit_restored(const char *directory, DbConn *conn, Request *req) MUST_CHECK;
