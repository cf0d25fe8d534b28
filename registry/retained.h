#pragma once

#include "lib/access/retention.h"
#include "registry/uuid_set.h"

/** DocumentEntries as rules of retention look at them. The period counts from the registration of
 * the first version: an update does not begin it anew. In the arena of the request. */

/** These versions; document is the same for the same uniqueId. */
int retained_of_entries(Request *req, DbConn *conn, const UuidSet *entries,
                        RetainedDocument **ret_documents, size_t *ret_count) MUST_CHECK;

/** All versions of all DocumentEntries of these uniqueIds; document is the index. */
int retained_of_documents(Request *req, DbConn *conn, const Str *unique_ids, size_t count,
                          RetainedDocument **ret_documents, size_t *ret_count) MUST_CHECK;
