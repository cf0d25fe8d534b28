#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/macros.h"
#include "lib/base/str.h"

/** A length of time as XML writes it: "P1Y2M3DT4H5M6.7S". Months have no fixed length. */
typedef struct Duration {
    int32_t months; /* both of one sign */
    int64_t us;
} Duration;

/**
 * Reads [-]PnYnMnDTnHnMnS (xs:duration): at least one number, each once and in this order, T only
 * before hours, minutes or seconds. Up to 9999 years in all; digits beyond microseconds are
 * dropped.
 */
bool duration_parse(Str text, Duration *ret_duration) MUST_CHECK;
