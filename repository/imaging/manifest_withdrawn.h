#pragma once

#include "lib/db/db.h"

/** These documents are registered no more (ITI-62). Studies whose manifests they were have none
 * then; one is made anew where this server makes them: what is to be shown no more is named by a
 * rejection note, not by removing its manifest. Within the open transaction of conn; waits. */
int manifests_withdraw(Request *req, DbConn *conn, const Str *unique_ids, size_t count) MUST_CHECK;
