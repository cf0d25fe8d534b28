#include "lib/base/clock.h"

#include <time.h>

int64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_utc_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/** Floor division, so that times before 1970 split rightly too. */
static void split_us(int64_t utc_us, struct tm *ret_tm, int *ret_us)
{
    int64_t seconds = utc_us / 1000000;
    int64_t rest = utc_us % 1000000;
    if (rest < 0) {
        rest += 1000000;
        seconds--;
    }
    time_t time = (time_t)seconds;
    gmtime_r(&time, ret_tm);
    *ret_us = (int)rest;
}

Str clock_iso8601(Arena *arena, int64_t utc_us)
{
    struct tm tm;
    int us;
    split_us(utc_us, &tm, &us);
    return str_printf(arena, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                      tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, us / 1000);
}

Str clock_dtm(Arena *arena, int64_t utc_us)
{
    struct tm tm;
    int us;
    split_us(utc_us, &tm, &us);
    return str_printf(arena, "%04d%02d%02d%02d%02d%02d", tm.tm_year + 1900, tm.tm_mon + 1,
                      tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}
