#pragma once

#include "atna/iti81.h"

/** Search parameters of AuditEvent as a search in the repository. Private to this folder. */

typedef enum Iti81Criterion {
    ITI81_DATE,
    ITI81_ADDRESS,
    ITI81_AGENT,
    ITI81_AGENT_NAME,
    ITI81_ALTID,
    ITI81_PATIENT,
    ITI81_ENTITY,
    ITI81_ENTITY_TYPE,
    ITI81_ENTITY_ROLE,
    ITI81_SOURCE,
    ITI81_TYPE,
    ITI81_SUBTYPE,
    ITI81_ACTION,
    ITI81_OUTCOME,
    ITI81_CRITERION_COUNT,
} Iti81Criterion;

typedef struct Iti81Parameter {
    const char *name;
    const char *type; /* FHIR search type */
    Iti81Criterion criterion;
} Iti81Parameter;

extern const Iti81Parameter iti81_parameters[];
extern const size_t iti81_parameter_count;

/** The values of one parameter: a record meets it by one of them. */
typedef struct Iti81Group {
    Iti81Criterion criterion;
    const FhirToken *tokens;
    size_t count;
} Iti81Group;

#define ITI81_GROUPS_MAX 64
#define ITI81_PATIENTS_MAX 64

typedef struct Iti81Criteria {
    RecordSearch search;
    Iti81Group tested[ITI81_GROUPS_MAX]; /* what columns and keys cannot tell */
    size_t tested_count;
    Str patients[ITI81_PATIENTS_MAX]; /* CX, or a number: for the audit record */
    size_t patient_count;
} Iti81Criteria;

/**
 * Reads every parameter that is in the table, and marks it as used. Adds every fault.
 *
 * @param patients      keys NULL: identifiers are looked for as they are
 * @param ret_criteria  in the request's arena
 * @return 0, or -ERR_FHIR_INVALID, -ERR_FHIR_NOT_SUPPORTED (modifier), -ERR_FHIR_REQUIRED (date)
 */
int iti81_criteria_read(FhirExchange *exchange, const AuditPatients *patients,
                        Iti81Criteria **ret_criteria) MUST_CHECK;
