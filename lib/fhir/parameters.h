#pragma once

#include "lib/base/request.h"

/** Parameters of a FHIR search or operation (FHIR R4 3.1.1; ITI TF-2 Z.6). */

#define FHIR_PARAMETERS_MAX 256

typedef struct FhirParameter {
    Str name;     /* without modifier */
    Str modifier; /* "exact"; empty: none */
    Str value;    /* percent-decoded; FHIR's own escapes are still in it */
    bool is_used; /* somebody has read it: for link[self] and handling=strict */
} FhirParameter;

typedef struct FhirParameters {
    FhirParameter *items; /* in the arena, room for FHIR_PARAMETERS_MAX */
    size_t count;
} FhirParameters;

/** A part of a path, '+' stays. False: '%' without two hexadecimal digits. In the arena. */
bool fhir_percent_decode(Arena *arena, Str encoded, Str *ret_text) MUST_CHECK;

/** Appends what a query string or a form says: name=value&...; '+' and %20 are a space.
 * @return 0, or -ERR_FHIR_INVALID */
int fhir_parameters_read(Request *req, FhirParameters *parameters, Str encoded) MUST_CHECK;

/** Appends one that did not come in a query string. @return 0, or -ERR_FHIR_INVALID */
int fhir_parameters_add(Request *req, FhirParameters *parameters, Str name, Str value) MUST_CHECK;

/** The first of this name at or after *index, marked as used; *index is then behind it. NULL: none.
 */
const FhirParameter *fhir_parameters_next(FhirParameters *parameters, const char *name,
                                          size_t *index);

/** The value of the first of this name, marked as used; empty if absent. */
Str fhir_parameters_value(FhirParameters *parameters, const char *name);

/** Appends the used ones but for one as a query string without '?', for link[self].
 * @param except  NULL: all */
void fhir_parameters_write_used(StrBuf *buf, const FhirParameters *parameters, const char *except);
/** Adds an error for each parameter that nobody has read.
 * @return 0, or -ERR_FHIR_NOT_SUPPORTED */
int fhir_parameters_check_used(Request *req, const FhirParameters *parameters) MUST_CHECK;

/**
 * Cuts the next alternative off a value (OR: "a,b"); its escapes stay in it.
 * @return false when *rest was used up
 */
bool fhir_value_next(Str *rest, Str *ret_item);
/** Without the escapes \, \| \$ \\ ; in the arena. */
Str fhir_value_text(Arena *arena, Str item);

/** system|code, |code, code, system| (FHIR R4 3.1.1.4.10). */
typedef struct FhirToken {
    bool has_separator;
    Str system; /* empty with a separator: explicitly none */
    Str code;   /* empty: any of the system */
} FhirToken;

FhirToken fhir_token_parse(Arena *arena, Str item);

typedef enum FhirPrefix {
    FHIR_PREFIX_EQ,
    FHIR_PREFIX_NE,
    FHIR_PREFIX_GT, /* and sa */
    FHIR_PREFIX_LT, /* and eb */
    FHIR_PREFIX_GE,
    FHIR_PREFIX_LE,
    FHIR_PREFIX_AP,
} FhirPrefix;

/** [prefix]YYYY[-MM[-DD[T...]]]; the time of day is left out. */
typedef struct FhirDate {
    FhirPrefix prefix;
    unsigned year;
    unsigned month; /* 0: not said */
    unsigned day;   /* 0: not said */
} FhirDate;

/** False: no such day, or no date. */
bool fhir_date_parse(Str text, FhirDate *ret_date) MUST_CHECK;
/** As YYYY[MM[DD]], in the arena. */
Str fhir_date_digits(Arena *arena, FhirDate date);
/** The date of the same precision before or after it; its prefix is kept. */
FhirDate fhir_date_step(FhirDate date, int direction);
