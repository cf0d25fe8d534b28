#include "lib/fhir/period.h"

#include "lib/base/dtm.h"
#include "lib/base/instant.h"

#define US_PER_S INT64_C(1000000)
#define MINUTES_LEN 16 /* YYYY-MM-DDThh:mm */
#define MOST_FRACTION_DIGITS 6

/** A date: from its beginning to that of the next one of its precision. */
static bool read_days(Arena *arena, FhirDate date, FhirPeriod *period)
{
    return dtm_parse(fhir_date_digits(arena, date), &period->from_us) &&
           dtm_parse(fhir_date_digits(arena, fhir_date_step(date, 1)), &period->to_us);
}

static int64_t precision_us(unsigned fraction_digits)
{
    int64_t us = US_PER_S;
    for (unsigned i = 0; i < MIN(fraction_digits, MOST_FRACTION_DIGITS); i++) {
        us /= 10;
    }
    return us;
}

/** The text with seconds, which FHIR lets a search leave out, and with the sign of its zone. */
static Str complete(Arena *arena, Str text, bool *ret_has_seconds)
{
    *ret_has_seconds = text.len > MINUTES_LEN && text.data[MINUTES_LEN] == ':';
    size_t space = str_find_char(text, ' ');
    Str zone = space == SIZE_MAX ? STR_EMPTY : str_from_offset(text, space + 1);
    Str time = str_slice(text, 0, MIN(space, text.len));
    return str_printf(arena, "%.*s%s%.*s%s%.*s", STR_ARG(str_slice(time, 0, MINUTES_LEN)),
                      *ret_has_seconds ? "" : ":00",
                      STR_ARG(str_from_offset(time, MIN((size_t)MINUTES_LEN, time.len))),
                      space == SIZE_MAX ? "" : "+", STR_ARG(zone));
}

static bool read_time(Arena *arena, Str text, FhirPeriod *period)
{
    bool has_seconds = false;
    Instant instant;
    if (text.len < MINUTES_LEN || !instant_parse(complete(arena, text, &has_seconds), &instant)) {
        return false;
    }
    period->from_us = instant.utc_us;
    period->to_us =
        instant.utc_us + (has_seconds ? precision_us(instant.fraction_digits) : 60 * US_PER_S);
    return true;
}

bool fhir_period_parse(Arena *arena, Str text, FhirPeriod *ret_period)
{
    FhirDate date;
    if (!fhir_date_parse(text, &date)) {
        return false;
    }
    FhirPeriod period = {.prefix = date.prefix};
    size_t time = str_find_char(text, 'T');
    Str digits = text;
    while (digits.len > 0 && digits.data[0] >= 'a' && digits.data[0] <= 'z') {
        digits = str_from_offset(digits, 1); /* the prefix, which fhir_date_parse() knows */
    }
    bool is_read =
        time == SIZE_MAX ? read_days(arena, date, &period) : read_time(arena, digits, &period);
    if (is_read) {
        *ret_period = period;
    }
    return is_read;
}
