#include "lib/base/duration.h"

#define US_PER_S INT64_C(1000000)
#define MONTHS_MAX (INT64_C(9999) * 12)
#define DAYS_MAX (INT64_C(9999) * 366)

/** The designators in their order; which of them come behind T. */
static const struct {
    char designator;
    bool is_of_time;
    int64_t months;
    int64_t us;
} units[] = {
    {'Y', false, 12, 0},
    {'M', false, 1, 0},
    {'D', false, 0, 86400 * US_PER_S},
    {'H', true, 0, 3600 * US_PER_S},
    {'M', true, 0, 60 * US_PER_S},
    {'S', true, 0, US_PER_S},
};

#define UNIT_SECONDS (ARRAY_LEN(units) - 1)

/** Microseconds of ".5"; digits beyond the sixth do not count. */
static bool parse_fraction(Str digits, int64_t *ret_us)
{
    int64_t weight = US_PER_S / 10;
    *ret_us = 0;
    for (size_t i = 0; i < digits.len; i++, weight /= 10) {
        if (digits.data[i] < '0' || digits.data[i] > '9') {
            return false;
        }
        *ret_us += weight * (digits.data[i] - '0');
    }
    return digits.len > 0;
}

/** The position of the designator behind first; the number of units if there is none. */
static size_t find_unit(size_t first, bool is_time, char designator)
{
    size_t unit = first;
    while (unit < ARRAY_LEN(units) &&
           (units[unit].is_of_time != is_time || units[unit].designator != designator)) {
        unit++;
    }
    return unit;
}

/** Adds "12M" or "6.7S", and cuts it off. */
static bool take_part(Str *rest, bool is_time, size_t *unit, int64_t *months, int64_t *us)
{
    size_t len = 0;
    while (len < rest->len &&
           (rest->data[len] == '.' || (rest->data[len] >= '0' && rest->data[len] <= '9'))) {
        len++;
    }
    if (len == rest->len) {
        return false;
    }
    size_t found = find_unit(*unit, is_time, rest->data[len]);
    Str number = str_slice(*rest, 0, len);
    size_t point = str_find_char(number, '.');
    uint64_t whole = 0;
    int64_t fraction_us = 0;
    if (found == ARRAY_LEN(units) || (point != SIZE_MAX && found != UNIT_SECONDS) ||
        !str_to_u64(str_slice(number, 0, MIN(point, len)), &whole) ||
        (point != SIZE_MAX && !parse_fraction(str_from_offset(number, point + 1), &fraction_us)) ||
        whole > (uint64_t)(DAYS_MAX * 86400)) {
        return false;
    }
    int64_t limit = units[found].months > 0 ? MONTHS_MAX / units[found].months
                                            : DAYS_MAX * (86400 * US_PER_S / units[found].us);
    if ((int64_t)whole > limit) {
        return false;
    }
    *months += (int64_t)whole * units[found].months;
    *us += (int64_t)whole * units[found].us + fraction_us;
    *unit = found + 1;
    *rest = str_from_offset(*rest, len + 1);
    return true;
}

bool duration_parse(Str text, Duration *ret_duration)
{
    Str rest = text;
    bool is_negative = str_starts_with(rest, STR("-"));
    bool is_time = false;
    size_t unit = 0;
    int64_t months = 0;
    int64_t us = 0;
    rest = str_from_offset(rest, is_negative ? 1 : 0);
    if (!str_starts_with(rest, STR("P"))) {
        return false;
    }
    rest = str_from_offset(rest, 1);
    do {
        if (!is_time && str_starts_with(rest, STR("T"))) {
            is_time = true;
            rest = str_from_offset(rest, 1);
        }
        if (!take_part(&rest, is_time, &unit, &months, &us)) {
            return false;
        }
    } while (rest.len > 0);
    if (months > MONTHS_MAX || us > DAYS_MAX * 86400 * US_PER_S) {
        return false;
    }
    *ret_duration = (Duration){.months = (int32_t)(is_negative ? -months : months),
                               .us = is_negative ? -us : us};
    return true;
}
