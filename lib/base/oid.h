#pragma once

#include <stdbool.h>

#include "lib/base/str.h"
#include "lib/base/uuid.h"

/** Digits and dots, at least two arcs, no leading zeros in an arc, at most 64 characters (ITI TF-2
 * Appendix B). */
bool oid_is_valid(Str oid);

/** "urn:oid:" + OID (homeCommunityId). */
bool oid_is_valid_urn(Str urn);

/** "2.25." and the UUID as one decimal number (ITU-T X.667 7): an OID that nobody else has. In the
 * arena. */
Str oid_of_uuid(Arena *arena, Uuid uuid);
