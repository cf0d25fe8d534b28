#pragma once

#include "pix/pix_state.h"
#include "pix/search.h"

/**
 * Persons that may be the one whom somebody describes, judged as feeds are (pix/matching): what a
 * match of FHIR (ITI-119) and a patient discovery (ITI-55) look for.
 */

#define CANDIDATES_KEPT_MAX 100

typedef enum CandidateGrade {
    CANDIDATE_POSSIBLE, /* has something in common with the description */
    CANDIDATE_PROBABLE, /* a person would have to decide */
    CANDIDATE_CERTAIN   /* a feed would be linked */
} CandidateGrade;

typedef struct Candidate {
    int64_t person;
    double score; /* 0 to 1 */
    CandidateGrade grade;
    void *kept; /* what the caller keeps of it */
} Candidate;

/** The description. Borrowed. */
typedef struct CandidateQuestion {
    const Authorities *authorities;
    const Demographics *demographics;
    const FoundIdentifier *identifiers; /* of known authorities */
    size_t identifier_count;
    bool is_by_identifier; /* nothing else is described: whoever has one is the one */
} CandidateQuestion;

/** Keeps what the answer needs of a patient, who is borrowed.
 * @return in req->arena; NULL: no candidate for this answer */
typedef void *(*CandidateKeepFn)(void *ctx, Request *req, const FoundPatient *patient,
                                 CandidateGrade grade);

/**
 * Finds those who share an identifier, the day of birth, a name or a phone with the description and
 * whom the sender may see.
 * @param ret_candidates  room for CANDIDATES_KEPT_MAX + 1; best first
 */
int candidates_find(Pix *pix, Request *req, const CandidateQuestion *question, CandidateKeepFn keep,
                    void *ctx, Candidate *ret_candidates, size_t *ret_count) MUST_CHECK;
