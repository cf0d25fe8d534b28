#include "lib/base/instant.h"

#include "lib/base/dtm.h"

#define US_PER_S INT64_C(1000000)
#define SECONDS_LEN 19 /* YYYY-MM-DDThh:mm:ss */
#define ZONE_LEN 6     /* +hh:mm */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/** Whether the text has digits where the pattern has 0, and else the pattern's characters. */
static bool has_form(Str text, const char *pattern)
{
    for (size_t i = 0; i < text.len; i++) {
        if (pattern[i] == '0' ? !is_digit(text.data[i]) : text.data[i] != pattern[i]) {
            return false;
        }
    }
    return true;
}

static unsigned two_digits(const char *text)
{
    return (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
}

static bool parse_seconds(Str text, int64_t *ret_utc_us)
{
    static const int places[] = {0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18};
    char dtm[ARRAY_LEN(places)];
    if (text.len < SECONDS_LEN ||
        !has_form(str_slice(text, 0, SECONDS_LEN), "0000-00-00T00:00:00")) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        dtm[i] = text.data[places[i]];
    }
    if (memcmp(dtm + 12, "60", 2) == 0) {
        memcpy(dtm + 12, "59", 2);
    }
    return dtm_parse((Str){dtm, sizeof(dtm)}, ret_utc_us);
}

/** Cuts ".120" off. */
static bool parse_fraction(Str *rest, Instant *instant)
{
    if (str_is_empty(*rest) || rest->data[0] != '.') {
        return true;
    }
    int64_t weight = US_PER_S / 10;
    size_t at = 1;
    for (; at < rest->len && is_digit(rest->data[at]); at++) {
        instant->utc_us += weight * (rest->data[at] - '0');
        weight /= 10;
    }
    instant->fraction_digits = (unsigned)MIN(at - 1, (size_t)UINT32_MAX);
    *rest = str_from_offset(*rest, at);
    return at > 1;
}

static bool parse_zone(Str zone, Instant *instant)
{
    instant->has_zone = !str_is_empty(zone);
    if (!instant->has_zone || str_equal(zone, STR("Z"))) {
        return true;
    }
    bool is_west = zone.data[0] == '-';
    if (zone.len != ZONE_LEN || !has_form(zone, is_west ? "-00:00" : "+00:00")) {
        return false;
    }
    unsigned hours = two_digits(zone.data + 1);
    unsigned minutes = two_digits(zone.data + 4);
    int64_t offset_us = (int64_t)(hours * 60 + minutes) * 60 * US_PER_S;
    instant->utc_us -= is_west ? -offset_us : offset_us;
    return hours <= 14 && minutes <= 59;
}

bool instant_parse(Str text, Instant *ret_instant)
{
    Instant instant = {0};
    Str rest = str_from_offset(text, SECONDS_LEN);
    if (!parse_seconds(text, &instant.utc_us) || !parse_fraction(&rest, &instant) ||
        !parse_zone(rest, &instant)) {
        return false;
    }
    *ret_instant = instant;
    return true;
}
