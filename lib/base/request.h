#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/error.h"
#include "lib/base/str.h"

struct AccessRules; /* lib/access/rules.h */
struct AccessUser;  /* lib/access/user.h */
struct Principal;   /* lib/access/access.h */

#define REQUEST_REF_LEN 5

struct Request;

/** What a request is still to be sure of while it goes on; request_confirm() waits for it. */
typedef struct Confirmation {
    /** @return 0, or a negative ErrorCode with what the peer is told in req->errors, and nothing
     * else */
    int (*await)(struct Confirmation *confirmation, struct Request *req);
} Confirmation;

/** One received message on its way to its reply. Owned by the listener's thread. */
typedef struct Request {
    Arena *arena;
    ErrorList errors;
    const char *transaction;           /* "ITI-42"; "" until it is known */
    const struct Principal *principal; /* borrowed from the connection */
    const struct AccessUser *user;     /* whom a verified assertion names (XUA); NULL: nobody */
    Confirmation *awaited;             /* NULL: nothing is, any more */
    int unconfirmed;                   /* what came of it: 0, or the negative ErrorCode */
    char
        ref[REQUEST_REF_LEN + 1]; /* "7F3K2": ends every error text to a sender, for musubi trace */
    /** The check that a security header or an association failed: a word for the log, or NULL. */
    const char *refusal;
    Str message_id;            /* wsa:MessageID or MSH-10 */
    struct AccessRules *rules; /* what lib/access has read for this request; NULL: nothing yet */
    Str peer_address;          /* "192.0.2.7", for audit and log */
    Str endpoint;              /* what the peer called: URL, or MSH-6|MSH-5 */
    Str reply_to;              /* wsa:ReplyTo, or MSH-4|MSH-3; the peer's UserID in audit */
    Str subject;             /* uniqueId of the SubmissionSet or first document, for musubi trace */
    uint64_t audit_ticket;   /* of the last event in the audit spool; 0: none (atna/) */
    Str community;           /* homeCommunityId as which a gateway answers; empty: as no gateway */
    bool is_repository;      /* who answers: see error_ihe_code(); false: a registry */
    bool outcome_is_partial; /* the reply is a PartialSuccess; set by the handler */
    int64_t started_ns;      /* clock_now_ns() */
    int64_t deadline_ns;     /* clock_now_ns() by which the reply must be made */
    uint64_t received_bytes;
    uint64_t sent_bytes;
} Request;

/** A request with its own arena, a fresh ref, and a deadline timeout_ms from now. */
Request *request_new(unsigned timeout_ms);
void request_free(Request *req);

/**
 * Before anything is stored, recorded or given out on behalf of the request: what its header claims
 * holds. Waits the first time only.
 * @return 0, or a negative ErrorCode: the request is refused as if its handler had never run
 */
int request_confirm(Request *req) MUST_CHECK;
