#pragma once

#include "pix/fhir.h"

/** FHIR search parameters as one patient search (PDQm 2:3.78.4.1.2). */

#define PDQM_GROUPS_MAX 64
#define PDQM_ALTERNATIVES_MAX 256
#define PDQM_TARGETS_MAX 256

typedef struct PdqmCriteria {
    SearchGroup groups[PDQM_GROUPS_MAX];
    size_t group_count;
    const AssigningAuthority *targets[PDQM_TARGETS_MAX]; /* domains that the result is cut to */
    size_t target_count;
    bool matches_nothing;         /* a value that no patient here can have */
    const SearchTerm *identifier; /* the one identifier that is searched; NULL: none or several */
} PdqmCriteria;

/** What the CapabilityStatement says of one parameter (pdqm_parameters.def). */
typedef struct PdqmParameter {
    const char *name;
    const char *type;
} PdqmParameter;

extern const PdqmParameter pdqm_parameters[];
extern const size_t pdqm_parameter_count;

/**
 * Reads every parameter that is in the table; marks them as used. Adds every fault.
 *
 * @param ret_criteria  in the request's arena
 * @return 0, or -ERR_FHIR_INVALID, -ERR_FHIR_NOT_SUPPORTED (modifier), -ERR_FHIR_REQUIRED (no
 *         criterion at all), -ERR_FHIR_RESULT_DOMAIN_NOT_FOUND
 */
int pdqm_criteria_read(FhirExchange *exchange, const Authorities *authorities,
                       PdqmCriteria **ret_criteria) MUST_CHECK;
