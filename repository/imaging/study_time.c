#include "repository/imaging/study_time.h"

#include "lib/base/zone.h"

#define MINUTE_US INT64_C(60000000)

/** Digits alone, without the separators that old systems write. */
static size_t take_digits(Str text, char separator, char ret_digits[], size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len && count < max; i++) {
        if (text.data[i] == separator) {
            continue;
        }
        if (text.data[i] < '0' || text.data[i] > '9') {
            break;
        }
        ret_digits[count++] = text.data[i];
    }
    return count;
}

static int number(const char *digits, size_t count)
{
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        value = value * 10 + (digits[i] - '0');
    }
    return value;
}

/** "+0900", at most 14 hours (PS3.3 C.12.1.1.8). */
static bool read_offset(Str offset, int64_t *ret_us)
{
    char digits[4];
    offset = str_trim(offset);
    if (offset.len != 5 || (offset.data[0] != '+' && offset.data[0] != '-') ||
        take_digits(str_from_offset(offset, 1), '\0', digits, 4) != 4) {
        return false;
    }
    int minutes = number(digits, 2) * 60 + number(digits + 2, 2);
    if (minutes > 14 * 60) {
        return false;
    }
    *ret_us = (offset.data[0] == '-' ? -minutes : minutes) * MINUTE_US;
    return true;
}

bool study_time_utc_us(Str date, Str time, Str offset, const char *zone, int64_t *ret_utc_us)
{
    char day[8];
    char clock[6] = {'0', '0', '0', '0', '0', '0'};
    if (take_digits(str_trim(date), '.', day, sizeof(day)) != sizeof(day)) {
        return false;
    }
    (void)take_digits(str_trim(time), ':', clock, sizeof(clock));
    struct tm local = {
        .tm_year = number(day, 4) - 1900,
        .tm_mon = number(day + 4, 2) - 1,
        .tm_mday = number(day + 6, 2),
        .tm_hour = number(clock, 2),
        .tm_min = number(clock + 2, 2),
        .tm_sec = number(clock + 4, 2),
        .tm_isdst = -1,
    };
    int64_t offset_us = 0;
    bool has_offset = read_offset(offset, &offset_us);
    int64_t utc_us;
    if (!zone_to_utc_us(has_offset ? "UTC" : zone, &local, &utc_us)) {
        return false;
    }
    *ret_utc_us = utc_us - offset_us;
    return true;
}
