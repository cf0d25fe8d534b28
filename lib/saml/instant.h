#pragma once

#include "lib/base/instant.h"

/** An xs:dateTime with its time zone (SAML 2.0 Core 1.3.3). @param ret_utc_us  microseconds UTC */
static inline bool saml_instant_parse(Str text, int64_t *ret_utc_us)
{
    Instant instant;
    if (!instant_parse(text, &instant) || !instant.has_zone) {
        return false;
    }
    *ret_utc_us = instant.utc_us;
    return true;
}
