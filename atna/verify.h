#pragma once

#include "atna/head.h"
#include "lib/db/db.h"

/**
 * Whether the chains of table audit_record are whole: every record is what it was, none is missing,
 * moved or added, and the newest head that is known anywhere is still reached. Reads beside a
 * running server.
 */

/** What is wrong. */
typedef struct VerifyFinding {
    Uuid chain;
    uint64_t sequence; /* the record; 0: none in particular */
    const char *text;
} VerifyFinding;

typedef struct VerifyConfig {
    const char *directory; /* data_dir/audit */
    const char *head_copy; /* empty: none */
    const char *head_file; /* that a third party keeps; NULL: none */
    DbPool *pool;          /* its own, of as many connections as are to read at once */
    unsigned connections;
    void *ctx;
    /** Called for the first findings, of one thread at a time. */
    void (*finding)(void *ctx, const VerifyFinding *finding);
} VerifyConfig;

typedef struct VerifyResult {
    uint64_t record_count;
    uint64_t finding_count;
    VerifyFinding first_bad; /* of the lowest sequence; text NULL: none names a record */
    unsigned chain_count;
    uint64_t head_count; /* heads that were known */
} VerifyResult;

/** How many findings are told one by one. */
#define VERIFY_TOLD_MAX 20

/** @return 0 if it could be checked, whatever was found; else a negative ErrorCode in req->errors
 */
int audit_verify(const VerifyConfig *config, Request *req, VerifyResult *ret_result) MUST_CHECK;

/**
 * Signs what the chain of this directory is now, to hand to a third party.
 * @return 0, or a negative ErrorCode: also if the database has not what was signed before
 */
int audit_fresh_head(const char *directory, DbPool *pool, Request *req, Head *ret_head) MUST_CHECK;
