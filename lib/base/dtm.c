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

/** "hh:mm" as minutes. */
static bool parse_offset(Str text, int64_t *ret_minutes)
{
    for (size_t i = 0; i < text.len; i++) {
        bool is_colon = i == 2;
        if (is_colon ? text.data[i] != ':' : text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
    }
    if (text.len != 5) {
        return false;
    }
    int hours = (text.data[0] - '0') * 10 + (text.data[1] - '0');
    int minutes = (text.data[3] - '0') * 10 + (text.data[4] - '0');
    *ret_minutes = hours * 60 + minutes;
    return hours <= 14 && minutes <= 59;
}

/** Z, or + or - and an offset. */
static bool parse_zone(Str text, int64_t *ret_us)
{
    int64_t minutes = 0;
    if (str_equal(text, STR("Z"))) {
        *ret_us = 0;
        return true;
    }
    bool is_east = str_starts_with(text, STR("+"));
    if ((!is_east && !str_starts_with(text, STR("-"))) ||
        !parse_offset(str_from_offset(text, 1), &minutes)) {
        return false;
    }
    *ret_us = (is_east ? minutes : -minutes) * 60 * 1000000;
    return true;
}

bool dtm_parse_instant(Str text, int64_t *ret_utc_us)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd";
    char digits[14];
    size_t count = 0;
    int64_t utc_us;
    int64_t offset_us;
    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        char c = i < text.len ? text.data[i] : '\0';
        if (form[i] == 'd' ? c < '0' || c > '9' : c != form[i]) {
            return false;
        }
        if (form[i] == 'd') {
            digits[count++] = c;
        }
    }
    Str rest = str_from_offset(text, sizeof(form) - 1);
    int64_t fraction_us = 0;
    if (str_starts_with(rest, STR("."))) {
        size_t i = 1;
        for (int64_t unit_us = 100000; i < rest.len && rest.data[i] >= '0' && rest.data[i] <= '9';
             i++, unit_us /= 10) {
            fraction_us += (rest.data[i] - '0') * unit_us;
        }
        if (i == 1) {
            return false;
        }
        rest = str_from_offset(rest, i);
    }
    if (!dtm_parse((Str){digits, sizeof(digits)}, &utc_us) || !parse_zone(rest, &offset_us)) {
        return false;
    }
    *ret_utc_us = utc_us + fraction_us - offset_us;
    return true;
}
