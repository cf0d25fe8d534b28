#pragma once

#include "lib/db/db.h"

/**
 * What operators are told of persons: `musubi patient`, `musubi authority test`, and whom an audit
 * event is about. These functions only read, on the caller's connection; texts are in the arena of
 * the request. Instants are microseconds of UTC; INT64_MIN: none.
 */

/** An identifier as its row names it. */
typedef struct PersonNumber {
    int32_t authority; /* row of assigning_authority; 0: there is no such identifier */
    Str value;
} PersonNumber;

/** What the source of an identifier said of its patient. */
typedef struct PersonRecord {
    bool is_known;
    Str text; /* demographics_read() */
} PersonRecord;

typedef struct PersonIdentifier {
    int64_t id; /* row of patient_identifier */
    PersonNumber number;
    int64_t person;
    bool is_xad_pid;
    bool is_announced;
    bool is_asked;
    int64_t known_since_us;
    int64_t merged_us;
    Str survivor; /* value that it was merged into; empty: it was not */
    PersonRecord record;
    int64_t updated_us; /* of the record */
} PersonIdentifier;

/** The number asked for and all that are or were one person with it; the XAD-PID first, and what
 * is in use before what was merged away. None: it is not known. */
int person_view_identifiers(DbConn *conn, Request *req, const PersonNumber *asked,
                            PersonIdentifier **ret_identifiers, size_t *ret_count) MUST_CHECK;

/** The XAD-PID of whoever has a number. */
typedef struct PersonXadPid {
    bool is_known; /* the number */
    int64_t id;    /* 0: the person waits for one */
    Str value;
} PersonXadPid;

int person_view_xad_pid(DbConn *conn, Request *req, const PersonNumber *asked,
                        PersonXadPid *ret_xad_pid) MUST_CHECK;

/** A row of patient_identifier in the domain of an authority. */
typedef struct KnownNumber {
    int32_t authority;
    int64_t id;
} KnownNumber;

/** Which of these authorities know a number, merged ones too. */
int person_view_known(DbConn *conn, Request *req, Str value, const int32_t *authorities,
                      size_t authority_count, KnownNumber **ret_known,
                      size_t *ret_count) MUST_CHECK;

/** An identifier whose person has no XAD-PID yet. */
typedef struct WaitingIdentifier {
    PersonNumber number;
    int64_t since_us;
} WaitingIdentifier;

/** The oldest of them. */
int person_view_waiting(DbConn *conn, Request *req, int64_t limit, WaitingIdentifier **ret_waiting,
                        size_t *ret_count) MUST_CHECK;

/** Rows of a patient that an entry names: the one in use, and all that were merged into it. */
int person_view_chain(DbConn *conn, Request *req, int64_t id, int64_t **ret_ids,
                      size_t *ret_count) MUST_CHECK;

/** "id^^^&oid&ISO" of a row of patient_identifier, as audit names it; empty: there is none. */
int person_view_cx(DbConn *conn, Request *req, int64_t id, Str *ret_cx) MUST_CHECK;
