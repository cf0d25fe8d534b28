#pragma once

#include <stdbool.h>

#include "lib/base/str.h"

/** Digits and dots, at least two arcs, no leading zeros in an arc, at most 64 characters (ITI TF-2
 * Appendix B). */
bool oid_is_valid(Str oid);

/** "urn:oid:" + OID (homeCommunityId). */
bool oid_is_valid_urn(Str urn);
