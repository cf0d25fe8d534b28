#pragma once

#include "registry/store.h"

/** What a node may do to the objects that its message names: for every transaction that writes
 * metadata. */

/** Adds the fault "node ... may not <action> <id>". @return -ERR_FORBIDDEN */
int permission_refuse(Request *req, const char *action, Str id);

/** Adds a fault unless new objects of the submission's facility may be made for this patient. */
int permission_to_submit(Request *req, const Submission *submission, int64_t patient) MUST_CHECK;

/** Adds a fault unless this registered object may be changed. id: as the message names it. */
int permission_to_change(Request *req, const StoredObject *stored, Str id) MUST_CHECK;

/** Whether the message may name a registered object: one of a facility that the node submits for,
 * or one that it may list. */
int permission_to_name(Request *req, const StoredObject *stored, bool *ret_may) MUST_CHECK;

/** Whether the node may name whatever there is. */
bool permission_names_all(const Request *req);
