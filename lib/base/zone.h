#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "lib/base/str.h"

/** Local times of an IANA time zone ("Asia/Tokyo"), whatever zone the process runs in (ICU, which
 * brings its own zone data). Safe to call from any thread. */

bool zone_is_valid(const char *zone);

/**
 * The instant of a local time.
 * @param local  as in struct tm (tm_year from 1900, tm_mon from 0); tm_isdst, tm_wday and tm_yday
 * are not looked at. A time that the clocks left out is taken as if they had gone on.
 * @return false: there is no such day, time or zone
 */
bool zone_to_utc_us(const char *zone, const struct tm *local, int64_t *ret_utc_us) MUST_CHECK;

/** The local time of an instant; false: there is no such zone. */
bool zone_to_local(const char *zone, int64_t utc_us, struct tm *ret_local) MUST_CHECK;

/**
 * A day as operators and spreadsheets write it: YYYY-MM-DD, YYYY/M/D or YYYYMMDD.
 * @param ret_day  at 00:00:00
 */
bool zone_parse_day(Str text, struct tm *ret_day) MUST_CHECK;

/**
 * Midnight at the beginning of a day as zone_parse_day() reads it.
 * @param days_later  0, or of the day that follows by so many
 * @return false: there is no such day or zone
 */
bool zone_day_begins(const char *zone, Str text, int days_later, int64_t *ret_utc_us) MUST_CHECK;
