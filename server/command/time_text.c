#include "server/command/time_text.h"

#include "lib/base/instant.h"
#include "lib/base/zone.h"

#define DAY_US INT64_C(86400000000)

/** 24 hours after a day's noon it is another day, whatever the clocks did. */
static bool read_day(const char *zone, struct tm day, bool is_end, int64_t *ret_us)
{
    int64_t begin_us = 0;
    if (!zone_to_utc_us(zone, &day, &begin_us)) {
        return false;
    }
    if (is_end) {
        if (!zone_to_local(zone, begin_us + DAY_US + DAY_US / 2, &day)) {
            return false;
        }
        day.tm_hour = 0;
        day.tm_min = 0;
        return zone_to_utc_us(zone, &day, ret_us);
    }
    *ret_us = begin_us;
    return true;
}

static bool read_two_digits(Str *text, int *ret_number)
{
    uint64_t number;
    if (text->len < 2 || !str_to_u64(str_slice(*text, 0, 2), &number) || number > 59) {
        return false;
    }
    *text = str_from_offset(*text, 2);
    *text = str_starts_with(*text, STR(":")) ? str_from_offset(*text, 1) : *text;
    *ret_number = (int)number;
    return true;
}

/** hh:mm[:ss] */
static bool read_clock(Str text, struct tm *day)
{
    return read_two_digits(&text, &day->tm_hour) && day->tm_hour < 24 &&
           read_two_digits(&text, &day->tm_min) &&
           (str_is_empty(text) || read_two_digits(&text, &day->tm_sec)) && str_is_empty(text);
}

bool time_text_read(const char *zone, Str text, bool is_end, int64_t *ret_us)
{
    struct tm day;
    Instant instant;
    text = str_trim(text);
    if (instant_parse(text, &instant) && instant.has_zone) {
        *ret_us = instant.utc_us;
        return true;
    }
    if (zone_parse_day(text, &day)) {
        return read_day(zone, day, is_end, ret_us);
    }
    size_t gap = MIN(str_find_char(text, ' '), str_find_char(text, 'T'));
    return gap != SIZE_MAX && zone_parse_day(str_slice(text, 0, gap), &day) &&
           read_clock(str_from_offset(text, gap + 1), &day) && zone_to_utc_us(zone, &day, ret_us);
}
