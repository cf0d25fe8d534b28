#pragma once

#include <stdint.h>

#include "lib/base/str.h"

/** Monotonic time, for deadlines and durations. */
int64_t clock_now_ns(void);

/** Microseconds since 1970-01-01T00:00:00Z. */
int64_t clock_utc_us(void);

/** "2026-04-01T00:30:00.120Z" of clock_utc_us() time, in the arena. */
Str clock_iso8601(Arena *arena, int64_t utc_us);

/** DTM in UTC with second precision, "20260401003000", in the arena. */
Str clock_dtm(Arena *arena, int64_t utc_us);
