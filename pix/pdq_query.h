#pragma once

#include "pix/hl7_v2.h"
#include "pix/search.h"

/** What a QBP of ITI-21 and ITI-22 asks for (ITI TF-2 3.21.4.1.2). */

#define PDQ_CRITERIA_MAX 40

/** A component that no index has: compared in what was found, in normal form. */
typedef struct PdqComparison {
    DemographicField field;
    size_t component;
    Str text; /* a pattern, if it has a wildcard */
} PdqComparison;

typedef struct PdqQuery {
    SearchTerm terms[PDQ_CRITERIA_MAX];
    SearchGroup groups[PDQ_CRITERIA_MAX]; /* of one term each */
    size_t count;
    PdqComparison comparisons[PDQ_CRITERIA_MAX];
    size_t comparison_count;
    const AssigningAuthority **targets; /* QPD-8 */
    size_t target_count;
    size_t limit;         /* RCP-2; 0: none given */
    int64_t after_person; /* DSC-1; 0: from the first */
    bool is_hopeless;     /* nobody can meet it: a domain or a visit that is not known here */
} PdqQuery;

/**
 * Reads QPD, RCP and DSC. Adds every fault that it finds.
 * @param takes_visits  ITI-22: criteria on PV1 are legal; we hold no visits, so nobody meets them
 */
int pdq_query_read(const Hl7Call *call, bool takes_visits, PdqQuery *ret_query) MUST_CHECK;

/** Whether a record meets the comparisons. */
bool pdq_query_is_met(const PdqQuery *query, Arena *arena, const Demographics *demographics);

/* ---- continuation (TF-2 3.21.4.2.2.7): a pointer says where the next page begins and is bound to
 * the query; nothing is kept between pages, so it works on every process of the database, for ever
 * ---- */

/** DSC-1 for the page behind this person: letters and digits, in the arena. */
int pdq_pointer_make(const Hl7Call *call, int64_t person, Str *ret_pointer) MUST_CHECK;

/** @return -ERR_HL7_UNKNOWN_KEY_IDENTIFIER at DSC^1^1: never given out, or for another query */
int pdq_pointer_read(const Hl7Call *call, Str pointer, int64_t *ret_person) MUST_CHECK;
