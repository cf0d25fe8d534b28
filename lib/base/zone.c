#include "lib/base/zone.h"

#include <unicode/ucal.h>
#include <unicode/ustring.h>

#include "lib/base/macros.h"

#define ZONE_MAX_LEN 64
#define DAY_US (INT64_C(24) * 3600 * 1000000)

static void close_calendar(UCalendar **calendar)
{
    if (*calendar) {
        ucal_close(*calendar);
    }
}

/** NULL: no such zone. */
static UCalendar *open_calendar(const char *zone)
{
    UChar name[ZONE_MAX_LEN];
    UChar canonical[ZONE_MAX_LEN];
    int32_t len = 0;
    UBool is_system = false;
    UErrorCode status = U_ZERO_ERROR;

    (void)u_strFromUTF8(name, ZONE_MAX_LEN, &len, zone, -1, &status);
    (void)ucal_getCanonicalTimeZoneID(name, len, canonical, ZONE_MAX_LEN, &is_system, &status);
    if (U_FAILURE(status) || !is_system) { /* an unknown name would be GMT */
        return NULL;
    }
    UCalendar *calendar = ucal_open(name, len, "en", UCAL_GREGORIAN, &status);
    if (U_FAILURE(status)) {
        close_calendar(&calendar);
        return NULL;
    }
    return calendar;
}

bool zone_is_valid(const char *zone)
{
    _cleanup_(close_calendar) UCalendar *calendar = open_calendar(zone);
    return calendar != NULL;
}

static bool is_day(const struct tm *day)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const int year = day->tm_year + 1900;

    if (year < 1 || year > 9999 || day->tm_mon < 0 || day->tm_mon > 11 || day->tm_mday < 1) {
        return false;
    }
    const bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return day->tm_mday <= days[day->tm_mon] + (day->tm_mon == 1 && is_leap);
}

static bool is_time(const struct tm *local)
{
    return local->tm_hour >= 0 && local->tm_hour < 24 && local->tm_min >= 0 && local->tm_min < 60 &&
           local->tm_sec >= 0 && local->tm_sec < 60;
}

bool zone_to_utc_us(const char *zone, const struct tm *local, int64_t *ret_utc_us)
{
    _cleanup_(close_calendar) UCalendar *calendar = open_calendar(zone);
    UErrorCode status = U_ZERO_ERROR;

    if (!calendar || !is_day(local) || !is_time(local)) {
        return false;
    }
    ucal_clear(calendar);
    ucal_setDateTime(calendar, local->tm_year + 1900, local->tm_mon, local->tm_mday, local->tm_hour,
                     local->tm_min, local->tm_sec, &status);
    const UDate ms = ucal_getMillis(calendar, &status);
    if (U_FAILURE(status)) {
        return false;
    }
    *ret_utc_us = (int64_t)ms * 1000;
    return true;
}

bool zone_to_local(const char *zone, int64_t utc_us, struct tm *ret_local)
{
    _cleanup_(close_calendar) UCalendar *calendar = open_calendar(zone);
    UErrorCode status = U_ZERO_ERROR;

    if (!calendar) {
        return false;
    }
    const int64_t ms = utc_us / 1000 - (utc_us % 1000 < 0);
    ucal_setMillis(calendar, (double)ms, &status);
    *ret_local = (struct tm){
        .tm_year = ucal_get(calendar, UCAL_YEAR, &status) - 1900,
        .tm_mon = ucal_get(calendar, UCAL_MONTH, &status),
        .tm_mday = ucal_get(calendar, UCAL_DATE, &status),
        .tm_hour = ucal_get(calendar, UCAL_HOUR_OF_DAY, &status),
        .tm_min = ucal_get(calendar, UCAL_MINUTE, &status),
        .tm_sec = ucal_get(calendar, UCAL_SECOND, &status),
    };
    return U_SUCCESS(status);
}

bool zone_parse_day(Str text, struct tm *ret_day)
{
    Str parts[3] = {STR_EMPTY, STR_EMPTY, STR_EMPTY};
    uint64_t numbers[3];
    const char separator = str_find_char(text, '/') != SIZE_MAX ? '/' : '-';
    size_t count = 0;

    if (text.len == sizeof("YYYYMMDD") - 1 && str_find_char(text, separator) == SIZE_MAX) {
        parts[0] = str_slice(text, 0, 4);
        parts[1] = str_slice(text, 4, 2);
        parts[2] = str_slice(text, 6, 2);
        count = 3;
    }
    for (Str rest = text; count < 3 && str_split_next(&rest, separator, &parts[count]);) {
        count++;
        if (count == 3 && rest.data) {
            return false;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].len > 4 || !str_to_u64(parts[i], &numbers[i])) {
            return false;
        }
    }
    const struct tm day = {
        .tm_year = (int)numbers[0] - 1900,
        .tm_mon = (int)numbers[1] - 1,
        .tm_mday = (int)numbers[2],
    };
    if (parts[0].len != 4 || !is_day(&day)) {
        return false;
    }
    *ret_day = day;
    return true;
}

bool zone_day_begins(const char *zone, Str text, int days_later, int64_t *ret_utc_us)
{
    struct tm day;
    struct tm noon;
    int64_t us = 0;
    bool is_day = zone_parse_day(text, &day);

    if (is_day && days_later > 0) { /* by way of noon: a day has 23 to 25 hours */
        day.tm_hour = 12;
        is_day =
            zone_to_utc_us(zone, &day, &us) && zone_to_local(zone, us + days_later * DAY_US, &noon);
        day = (struct tm){.tm_year = noon.tm_year, .tm_mon = noon.tm_mon, .tm_mday = noon.tm_mday};
    }
    return is_day && zone_to_utc_us(zone, &day, ret_utc_us);
}
