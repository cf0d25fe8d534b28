#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"

/**
 * The instant of a DICOM date and time.
 * @param date    DA: YYYYMMDD, or YYYY.MM.DD of ACR-NEMA
 * @param time    TM: HH[MM[SS[.F]]], or with colons; empty: midnight
 * @param offset  (0008,0201), "+0900"; empty or not well-formed: the time is of zone
 * @param zone    IANA name
 * @return false: there is no such date
 */
bool study_time_utc_us(Str date, Str time, Str offset, const char *zone,
                       int64_t *ret_utc_us) MUST_CHECK;
