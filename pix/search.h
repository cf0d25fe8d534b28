#pragma once

#include "pix/identity.h"

/** Patient demographics queries (ITI-21, ITI-22, ITI-47, ITI-78): one search for all surfaces. */

typedef enum SearchField {
    SEARCH_IDENTIFIER, /* authority and text; text empty with an authority: any of it */
    SEARCH_PERSON,     /* text: decimal person id (FHIR _id) */
    SEARCH_FAMILY,
    SEARCH_GIVEN,      /* given and further given names */
    SEARCH_BIRTH_DATE, /* text .. high, both YYYY[MM[DD]], inclusive by precision; either may be
                          empty: open */
    SEARCH_SEX,        /* table 0001 */
    SEARCH_STREET,
    SEARCH_CITY,
    SEARCH_STATE,
    SEARCH_POSTAL_CODE,
    SEARCH_COUNTRY,
    SEARCH_ADDRESS, /* any part of it */
    SEARCH_TELECOM,
    SEARCH_MOTHERS_MAIDEN_NAME, /* family or given */
    SEARCH_ACCOUNT,             /* PID-18, with authority if given */
} SearchField;

typedef enum SearchMatch {
    SEARCH_EQUAL,   /* in normal form (normal_form.h) */
    SEARCH_EXACT,   /* octet for octet */
    SEARCH_BEGINS,  /* in normal form */
    SEARCH_PATTERN, /* in normal form; '*' any run, '?' one character */
    SEARCH_CONTAINS,
} SearchMatch;

typedef struct SearchTerm {
    SearchField field;
    SearchMatch match;
    Str text;
    Str high;                            /* SEARCH_BIRTH_DATE */
    const AssigningAuthority *authority; /* NULL: any; SEARCH_IDENTIFIER, SEARCH_ACCOUNT */
} SearchTerm;

/** A patient must meet one of the alternatives of every group. */
typedef struct SearchGroup {
    const SearchTerm *alternatives;
    size_t count;
} SearchGroup;

typedef struct PatientSearch {
    const Authorities *authorities;
    const SearchGroup *groups; /* at least one */
    size_t group_count;
    /** The domains whose identifiers are wanted: others are left out of the result, and a patient
     * who has none of them is left out entirely (TF-2 3.21.4.2.2.8). Count 0: all. */
    const AssigningAuthority *const *targets;
    size_t target_count;
    int64_t after_person; /* 0: from the first; for continuation */
    size_t limit;         /* 0: all */
} PatientSearch;

/** One person, with the record that met the criteria. Borrowed during the callback. */
typedef struct FoundPatient {
    int64_t person;
    int64_t updated_us;
    Demographics demographics;
    const FoundIdentifier *identifiers; /* those of one authority are adjacent */
    size_t identifier_count;
} FoundPatient;

/** @return 0 to go on, or a negative ErrorCode to stop */
typedef int (*FoundPatientFn)(void *ctx, Request *req, const FoundPatient *patient);

/** Calls back for each person once, in the order of person ids; reads in constant memory. A
 * database connection is held meanwhile: the callback neither takes another nor waits for the peer.
 */
int patient_search(Pix *pix, Request *req, const PatientSearch *search, FoundPatientFn found,
                   void *ctx) MUST_CHECK;

/** How many persons the search would give, whatever limit and after_person say. */
int patient_search_count(Pix *pix, Request *req, const PatientSearch *search,
                         uint64_t *ret_count) MUST_CHECK;

/** Rows of patient_name and the search columns of patient_demographics of one record. */
typedef struct SearchRow {
    Str *families; /* parallel arrays, in normal form */
    Str *givens;
    size_t name_count;
    Str birth_date;
    Str sex;
    Str postal_code;
    Str *phones;
    size_t phone_count;
} SearchRow;

void search_row_make(Arena *arena, const Demographics *demographics, SearchRow *ret_row);
