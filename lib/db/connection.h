#pragma once

#include <libpq-fe.h>

#include "lib/db/db.h"

/** Private to lib/db: what pool, statement, transaction and stream share. */

/** What a result of the running batch belongs to. */
typedef enum SlotKind {
    SLOT_PREPARE, /* Parse of a statement that this connection had not seen */
    SLOT_CONTROL, /* BEGIN, ROLLBACK */
    SLOT_XACT_ID, /* pg_current_xact_id() behind BEGIN */
    SLOT_COMMIT,
    SLOT_STATEMENT, /* the caller's; its result is handed out */
} SlotKind;

typedef struct Slot {
    SlotKind kind;
    const DbStatement *statement;
} Slot;

typedef struct PreparedName {
    char *name; /* NULL: free */
    bool is_prepared;
} PreparedName;

/** One connection, always in libpq's pipeline mode; used by one thread at a time. */
struct DbConn {
    DbPool *pool;
    DbConn *next_free;
    PGconn *pg; /* NULL: not connected, or given up */
    Slot *slots;
    size_t slot_count;
    size_t slot_cap;
    PreparedName *prepared; /* open addressing, prepared_cap is a power of two */
    size_t prepared_count;
    size_t prepared_cap;
    int64_t xact_id;         /* of the open transaction; 0: not known */
    int64_t incarnation;     /* changes when the server went through crash recovery */
    bool commit_is_doubtful; /* the server warned that a commit is not on its standby */
    char sqlstate[6];
};

/** Opens (or reopens) the connection. @return whether it is usable; if not, db_last_failure() says
 * why */
bool connection_open(DbConn *conn, int64_t deadline_ns);
/** Closes it; what was open is rolled back by the server. */
void connection_close(DbConn *conn);

/** Sends the statement, preceded by its Parse where needed. @return false: the connection is lost
 */
bool connection_queue(DbConn *conn, SlotKind kind, const DbStatement *statement,
                      const DbParams *params);

/** How many statements of the caller are queued. */
size_t connection_statement_count(const DbConn *conn);

typedef enum BatchOutcome {
    BATCH_DONE,
    BATCH_REFUSED, /* the server refused a statement; sqlstate says why */
    BATCH_LOST, /* the connection broke or the deadline passed before all results came; it is closed
                 */
} BatchOutcome;

/**
 * Ends the batch and collects its results.
 * @param arena        owns the results; NULL if ret_results is
 * @param ret_results  one per SLOT_STATEMENT; those that did not come are NULL. May be NULL.
 * @param ret_committed  whether a COMMIT in the batch committed, by its command tag. May be NULL.
 */
BatchOutcome connection_sync(DbConn *conn, int64_t deadline_ns, Arena *arena,
                             DbResult **ret_results, bool *ret_committed);

/** Rolls back whatever is open. */
void connection_rollback(DbConn *conn, int64_t deadline_ns);

/**
 * As connection_rollback(), but of a transaction that is in order nobody waits for the end: the
 * server rolls it back at once, and the next batch collects its answer.
 */
void connection_leave_transaction(DbConn *conn, int64_t deadline_ns);

/** Waits until the server's socket is ready for one of the events. @return false: the deadline
 * passed */
bool connection_wait(int fd, short events, int64_t deadline_ns);
/** Waits for the next result of libpq. @return false: lost, closed */
bool connection_next_result(DbConn *conn, int64_t deadline_ns, PGresult **ret_result);
/** Notes what the slot's result says. @return false: it is an error or was skipped */
bool connection_note_result(DbConn *conn, const Slot *slot, PGresult *result);

struct DbResult {
    PGresult *pg;
};

DbResult *result_new(Arena *arena, PGresult *pg);

/** Sets db_last_failure(); never with bound values. */
void failure_set(const char *format, ...) PRINTF_LIKE(1, 2);
void failure_set_result(DbConn *conn, const char *statement, const PGresult *result);
/** Adds the error for strangers and returns -ERR_DATABASE. */
int failure_add(Request *req);
