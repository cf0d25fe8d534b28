#pragma once

#include "lib/db/db.h"
#include "repository/imaging/query_keys.h"

/** Which rows of imaging_study can match a query at all: by the key that leaves the fewest. */

/** A person that nobody is: what nobody has takes as long to find as what may not be known. */
#define QUERY_NOBODY INT64_C(-1)

/** Whom PatientID (0010,0020) and its issuer (0010,0021) name. */
typedef struct QueryPerson {
    int64_t person; /* QUERY_NOBODY: an unknown number; 0: it names none */
    Str number;     /* as it was written, without issuer; may have wildcards, or be empty */
    Str issuer;     /* name of the domain that knows it */
    /* Without person: */
    bool is_by_number; /* only patients with a number of these domains are meant */
    int32_t domain;    /* the issuer that is named; 0: the reader's own domains */
} QueryPerson;

/** Who asks, and whose numbers it writes. */
typedef struct QueryReader {
    const struct Ae *ae;
    int32_t *own; /* its authorities */
    size_t own_count;
} QueryReader;

typedef enum CandidateKey {
    BY_INSTANCE,
    BY_SERIES,
    BY_STUDY,
    BY_PERSON,
    BY_ACCESSION,
    BY_DATE,
    BY_NOTHING,
} CandidateKey;

/** A few are found at once; ranges of dates, and all there are, piece by piece. */
typedef struct QueryCandidates {
    CandidateKey key;
    Str *values; /* of the key */
    size_t value_count;
    Arena *arena; /* of the request */
    int64_t *studies;
    size_t study_count;
    size_t next;
    Str last_date; /* of the last piece */
    int64_t last_study;
    bool is_complete; /* studies has all that are left */
} QueryCandidates;

/** @return 0, or a negative ErrorCode of the database */
int query_person_find(Imaging *imaging, Request *req, const QueryReader *reader,
                      const QueryKeys *keys, QueryPerson *ret_person) MUST_CHECK;

/** Whether a number of this domain may be meant. */
bool query_person_has(const QueryReader *reader, const QueryPerson *person, int32_t domain);
/** Where an issuer is named without a number, the reader is told the numbers of that domain, if
 * they are his own or those of the affinity domain. */
void query_person_narrow(Imaging *imaging, const QueryPerson *person, QueryReader *reader);

QueryCandidates query_candidates_choose(Arena *arena, const QueryKeys *keys, int64_t person);
/** The next rows, at most max; none: there are no more. Borrowed until the next call. */
int query_candidates_next(QueryCandidates *candidates, Request *req, DbConn *conn, size_t max,
                          const int64_t **ret_studies, size_t *ret_count) MUST_CHECK;
bool query_candidates_are_over(const QueryCandidates *candidates);
