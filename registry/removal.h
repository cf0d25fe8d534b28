#pragma once

#include "registry/registry_private.h"

/** Objects that one request may remove. */
#define REMOVAL_OBJECTS_MAX 10000

/**
 * Removes registered objects in one database transaction, all or none, with its audit events
 * (Remove Metadata and Documents 3.62.4.1.3). Adds every fault found.
 *
 * @param ids  entryUUIDs as the request names them, at most REMOVAL_OBJECTS_MAX
 * @return 0, or the negative ErrorCode of the first error in req->errors
 */
int removal_run(Registry *registry, Request *req, const Str *ids, size_t count) MUST_CHECK;
