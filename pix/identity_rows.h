#pragma once

#include "pix/identity.h"
#include "pix/pix_state.h"
#include "pix/subscribers/subscribers.h"

/**
 * Rows of identity and the steps that every change of them is made of. All run on the connection of
 * the caller's open transaction.
 *
 * Order of locks, for no deadlock: advisory locks (feeds, sorted), then rows of patient_identifier
 * in the order of ids and in one statement, then what the registry takes.
 */

typedef enum LinkReason {
#define LINK_REASON(name, text) LINK_REASON_##name,
#include "pix/link_reasons.def"
#undef LINK_REASON
    LINK_REASON_COUNT
} LinkReason;

/** "feed": patient_link.reason. */
extern const char *const link_reason_names[LINK_REASON_COUNT];

typedef struct IdentityRow {
    int64_t id; /* 0: there is none */
    int32_t authority;
    Str value;
    int64_t person;
    int64_t survivor;  /* 0: active */
    int64_t merged_us; /* of a subsumed one */
    bool is_xad_pid;
    bool is_announced;
} IdentityRow;

typedef struct IdentityRows {
    IdentityRow *items; /* in the arena */
    size_t count;
} IdentityRows;

/** The columns that identity_rows_read() wants, of a table named i. */
#define IDENTITY_COLUMNS                                                                           \
    "i.id, i.authority, i.value, i.person, coalesce(i.survivor, 0), i.merged_at, i.is_xad_pid, "   \
    "i.is_announced"
#define IDENTITY_COLUMN_COUNT 8

void identity_rows_read(Arena *arena, const DbResult *result, IdentityRows *ret_rows);

/** The row of this identifier, NULL if there is none. */
const IdentityRow *identity_rows_find(const IdentityRows *rows, const Identifier *identifier);
const IdentityRow *identity_rows_by_id(const IdentityRows *rows, int64_t id);
/** The active XAD-PID of a person, NULL if it has none. */
const IdentityRow *identity_rows_xad_pid(const IdentityRows *rows, int64_t person);

/** Binds authority[] and value[]. */
void identity_bind_names(DbParams *params, Arena *arena, const Identifier *identifiers,
                         size_t count);

/** Reads identifiers without a lock. */
int identity_lookup(DbConn *conn, Request *req, const Identifier *identifiers, size_t count,
                    IdentityRows *ret_rows) MUST_CHECK;

/** Locks every row of these persons, in the order of ids (FOR NO KEY UPDATE), and gives them. */
int identity_lock_persons(DbConn *conn, Request *req, const int64_t *persons, size_t count,
                          IdentityRows *ret_rows) MUST_CHECK;

/**
 * Begins the transaction and locks the persons of some identifiers.
 * @return -ERR_HL7_RECORD_LOCKED when they changed their persons meanwhile: a race
 */
int identity_lock_by_name(DbConn *conn, Request *req, const Identifier *identifiers, size_t count,
                          IdentityRows *ret_rows) MUST_CHECK;

/** Whether each row still is of the person that it was found with. */
bool identity_rows_are_current(const IdentityRows *found, const IdentityRows *locked);
/** Adds and returns -ERR_HL7_RECORD_LOCKED. */
int identity_add_raced(Request *req);

/** "id^^^&oid&ISO", as sourcePatientId and audit records have it; in the arena. */
Str identity_cx(Arena *arena, const Authorities *authorities, int32_t authority, Str value);

/** A person without identifiers, and its XAD-PID where we mint. */
typedef struct NewPerson {
    int64_t person;
    IdentityRow xad_pid; /* id 0: we do not mint */
} NewPerson;

int identity_new_person(Pix *pix, Request *req, DbConn *conn, NewPerson *ret_person) MUST_CHECK;

/** Queues the minted XAD-PID's row with its announcement to other registries. */
int identity_queue_xad_pid(Pix *pix, Request *req, DbConn *conn, int64_t person, int64_t id,
                           Str value) MUST_CHECK;
/** A new XAD-PID value: 13 characters that tell nothing; in the arena. */
Str identity_mint(Arena *arena);

/** One identifier's way to another person. */
typedef struct PersonChange {
    const IdentityRow *row;
    int64_t to_person;
    LinkReason reason;
    double score;                  /* LINK_REASON_match; else 0 */
    int64_t other;                 /* identifier that it goes to; 0: none */
    int64_t merge;                 /* row of patient_merge that this is part of; 0: none */
    int64_t undoes;                /* row of patient_link; 0: none */
    const IdentityRow *renamed_to; /* A40, A47 in a local domain: its documents get this
                                      identifier; NULL: they keep theirs */
} PersonChange;

/**
 * Moves an identifier, what was merged into it, and its documents (TF-2 3.64.4.1.3), with a row of
 * history and the notifications.
 * @param rows  locked: both persons, and their XAD-PIDs
 * @param ret_submission_set  SubmissionSet that moved its documents; zero: none; may be NULL
 */
int identity_change_person(Pix *pix, Request *req, DbConn *conn, const IdentityRows *rows,
                           const PersonChange *change, const IdentitySource *source,
                           Uuid *ret_submission_set) MUST_CHECK;

/** Queues one row of history. */
int identity_queue_history(Request *req, DbConn *conn, const PersonChange *change,
                           int64_t from_person, const Uuid *submission_set,
                           const IdentitySource *source) MUST_CHECK;

/** Queues the audit events of a change, and what the persons' subscribers want to know. */
int identity_queue_events(Pix *pix, Request *req, DbConn *conn,
                          const IdentitySource *source) MUST_CHECK;
int identity_queue_person(Pix *pix, Request *req, DbConn *conn, int64_t person) MUST_CHECK;

/** Queues the verdict on two identifiers (table link_decision). */
int identity_queue_verdict(Request *req, DbConn *conn, int64_t one, int64_t other,
                           const char *verdict, Str decided_by) MUST_CHECK;

/** Commits, and wakes whoever is to be told. */
int identity_commit(Pix *pix, Request *req, DbConn *conn) MUST_CHECK;

/** What a change does in its transaction, from BEGIN to identity_commit(); from the start again
 * when it lost a race. */
typedef int (*IdentityStep)(void *ctx, Pix *pix, Request *req, DbConn *conn);

/** Borrows a connection and runs the step; a deadlock, a serialization failure, an identifier that
 * another one inserted meanwhile and identity_add_raced() are tried again. */
int identity_run(Pix *pix, Request *req, IdentityStep step, void *ctx) MUST_CHECK;

/** Errors that several changes have in common; each adds and returns. */
int identity_add_unknown(Request *req, const Identifier *identifier);
int identity_add_subsumed(Request *req, const Identifier *identifier, const IdentityRow *row);
