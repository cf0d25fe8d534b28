#pragma once

#include "pix/person_view.h"

/**
 * What operators are told of links: the history of a person, who, when, why and what undoes it, and
 * the pairs that matching left to somebody. As person_view.h: these functions only read.
 */

/** The weight of a match, patient_link.score or link_decision.score. */
typedef struct LinkScore {
    bool is_known; /* false: somebody's word */
    double weight; /* of two decimals */
} LinkScore;

/** A row of patient_link. Numbers of other rows: 0 if there is none. */
typedef struct LinkRecord {
    int64_t id;
    int64_t at_us;
    PersonNumber number;
    int64_t from_person; /* 0: it was new */
    int64_t to_person;
    Str reason; /* link_reasons.def */
    LinkScore score;
    PersonNumber other; /* that it was matched, merged or linked with */
    Str source;
    Str message_id;
    int64_t undone_us;
    int64_t undoes; /* row of patient_link */
    int64_t merge;  /* row of patient_merge that it was part of */
} LinkRecord;

/** A row of patient_merge. */
typedef struct MergeRecord {
    int64_t id;
    int64_t at_us;
    PersonNumber subsumed;
    PersonNumber survivor;
    Str source;
    Str message_id;
    int64_t undone_us;
} MergeRecord;

/**
 * @param identifiers  rows of patient_identifier
 * @param person       also links by which an identifier left it; 0: none
 */
int link_view_links(DbConn *conn, Request *req, const int64_t *identifiers, size_t identifier_count,
                    int64_t person, LinkRecord **ret_links, size_t *ret_count) MUST_CHECK;
int link_view_merges(DbConn *conn, Request *req, const int64_t *identifiers,
                     size_t identifier_count, MergeRecord **ret_merges,
                     size_t *ret_count) MUST_CHECK;

/**
 * The patients of a link or merge, for the audit event of its undoing.
 * @param kind  'L' or 'M', and its id
 * @param ret_patients  "id^^^&oid&ISO"
 */
int link_view_patients(DbConn *conn, Request *req, char kind, int64_t id, Str **ret_patients,
                       size_t *ret_count) MUST_CHECK;

/** One side of a pair. */
typedef struct LinkSide {
    PersonNumber number;
    PersonRecord record;
} LinkSide;

/** A row of link_decision. */
typedef struct LinkPair {
    int64_t number;
    int64_t proposed_us;
    LinkScore score;
    Str evidence; /* match_explain() */
    Str verdict;  /* empty: open */
    int64_t decided_us;
    Str decided_by;
    LinkSide one;
    LinkSide other;
} LinkPair;

/** Pairs that nobody has decided on, the oldest. */
int link_view_open(DbConn *conn, Request *req, int64_t limit, LinkPair **ret_pairs,
                   size_t *ret_count) MUST_CHECK;
/** Those of these rows of patient_identifier. */
int link_view_open_of(DbConn *conn, Request *req, const int64_t *identifiers,
                      size_t identifier_count, LinkPair **ret_pairs, size_t *ret_count) MUST_CHECK;
/** One of any verdict. @param ret_pair  NULL: there is none */
int link_view_pair(DbConn *conn, Request *req, int64_t number, LinkPair **ret_pair) MUST_CHECK;
