#include "lib/base/dtm.h"

static bool is_leap_year(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap_year(year) ? 29 : days[month - 1];
}

/** Days from 1970-01-01 in the proleptic Gregorian calendar. */
static int64_t days_from_epoch(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

bool dtm_parse(Str dtm, int64_t *ret_utc_us)
{
    if (dtm.len < 4 || dtm.len > 14 || dtm.len % 2 != 0) {
        return false;
    }
    for (size_t i = 0; i < dtm.len; i++) {
        if (dtm.data[i] < '0' || dtm.data[i] > '9') {
            return false;
        }
    }
    /* year, month, day, hour, minute, second: missing parts are minimal */
    int fields[6] = {0, 1, 1, 0, 0, 0};
    fields[0] = (dtm.data[0] - '0') * 1000 + (dtm.data[1] - '0') * 100 + (dtm.data[2] - '0') * 10 +
                (dtm.data[3] - '0');
    for (size_t i = 4, field = 1; i < dtm.len; i += 2, field++) {
        fields[field] = (dtm.data[i] - '0') * 10 + (dtm.data[i + 1] - '0');
    }
    if (fields[0] < 1 || fields[1] < 1 || fields[1] > 12 || fields[2] < 1 ||
        fields[2] > days_in_month(fields[0], fields[1]) || fields[3] > 23 || fields[4] > 59 ||
        fields[5] > 59) {
        return false;
    }
    int64_t days = days_from_epoch(fields[0], fields[1], fields[2]);
    *ret_utc_us = (((days * 24 + fields[3]) * 60 + fields[4]) * 60 + fields[5]) * 1000000;
    return true;
}
