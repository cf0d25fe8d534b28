#pragma once

#include "lib/fhir/parameters.h"

/** A search value of type date with its time of day (FHIR R4 3.1.1.4.7). */
typedef struct FhirPeriod {
    FhirPrefix prefix;
    int64_t from_us; /* UTC: the value stands for every instant from here */
    int64_t to_us;   /* to before this one, as its precision says */
} FhirPeriod;

/**
 * Reads [prefix]YYYY[-MM[-DD[Thh:mm[:ss[.fraction]][Z|+hh:mm|-hh:mm]]]]; without a zone it is UTC.
 * A '+' that a form made a space of is taken as one.
 */
bool fhir_period_parse(Arena *arena, Str text, FhirPeriod *ret_period) MUST_CHECK;
