#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"

/**
 * Reads a DTM: YYYY[MM[DD[hh[mm[ss]]]]] in UTC, digits only, 4, 6, 8, 10, 12 or 14 of them, every
 * field in its range (ITI TF-3 Table 4.2.3.1.7-2). Missing parts are minimal: 2004 is
 * 2004-01-01T00:00:00Z.
 *
 * @param ret_utc_us  microseconds since 1970-01-01T00:00:00Z
 */
bool dtm_parse(Str dtm, int64_t *ret_utc_us) MUST_CHECK;
