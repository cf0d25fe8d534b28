#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/macros.h"
#include "lib/base/str.h"

/** A point in time as XML and RFC 3339 write it: "2026-04-01T09:30:00.120+09:00". */
typedef struct Instant {
    int64_t utc_us;
    bool has_zone; /* false: taken as UTC */
    unsigned fraction_digits;
} Instant;

/**
 * Reads YYYY-MM-DDThh:mm:ss[.fraction][Z|+hh:mm|-hh:mm] (xs:dateTime; RFC 3339 5.6 with upper-case
 * T and Z). Years 0001 to 9999; a leap second counts as the one before it; digits beyond
 * microseconds are dropped.
 */
bool instant_parse(Str text, Instant *ret_instant) MUST_CHECK;
