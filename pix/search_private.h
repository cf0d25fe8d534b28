#pragma once

#include "pix/search.h"

/** What the files of patient search share: terms made ready, one record looked into, the SQL that
 * gives candidates. */

#define SEARCH_FIELD_COUNT (SEARCH_ACCOUNT + 1)

/** Longest text that an index of patient_name or patient_demographics holds. */
#define SEARCH_KEY_MAX_BYTES 128

/** A normal form as it stands in a search column: cut to what an index can hold. */
Str search_key(Str folded);

/** Names and aliases. */
size_t search_patient_names(Arena *arena, const Demographics *demographics, PersonName **ret_names);
/** XPN-2, and each word of XPN-3. */
size_t search_given_names(Arena *arena, const PersonName *name, Str **ret_givens);

/* ---- criteria (search_criteria.c) ---- */

/** A term with its text in the form that it is compared in. */
typedef struct Criterion {
    const SearchTerm *term;
    Str folded;     /* SEARCH_PATTERN: a pattern */
    int64_t person; /* SEARCH_PERSON */
} Criterion;

/** Alternatives that can be met at all. */
typedef struct CriterionGroup {
    Criterion *alternatives;
    size_t count;
} CriterionGroup;

typedef struct Criteria {
    CriterionGroup *groups;
    size_t count;
    bool is_hopeless; /* a group has no alternative that anything could meet */
} Criteria;

void criteria_make(Arena *arena, const PatientSearch *search, Criteria *ret_criteria);

/** Whether one record of a person, with all identifiers of that person, meets every group. */
bool criteria_are_met(Arena *arena, const Criteria *criteria, const Authorities *authorities,
                      const FoundPatient *patient);

/* ---- the SQL that gives candidates (search_statement.c) ---- */

/** A statement that gives, for a superset of the persons wanted: person, updated_at, record,
 * authorities, values, row of the XAD-PID, authority of the record; in the order of persons, and of
 * each the newest record first; a row with NULLs for what a person has not. $1: persons after this
 * one; $2: at most so many persons. */
typedef struct SearchStatement {
    const DbStatement *statement;
    DbParams params; /* from $3 on */
} SearchStatement;

/** Chooses the statement by the group that leaves the fewest persons. */
void search_statement_choose(Arena *arena, const Authorities *authorities, const Criteria *criteria,
                             SearchStatement *ret_statement);

/** The parameters for one batch; in the arena. */
void search_statement_bind(const SearchStatement *chosen, Arena *arena, int64_t after_person,
                           int64_t persons_max, DbParams *ret_params);
