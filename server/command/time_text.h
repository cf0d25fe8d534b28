#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"

/**
 * An instant as operators write one: a day, a local time "YYYY-MM-DD hh:mm[:ss]", or with its zone
 * (2026-04-01T09:30:00+09:00).
 *
 * @param zone    IANA name, of days and local times
 * @param is_end  a day is over with the day; else it is its beginning
 */
bool time_text_read(const char *zone, Str text, bool is_end, int64_t *ret_us) MUST_CHECK;
