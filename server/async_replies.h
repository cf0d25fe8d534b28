#pragma once

#include "atna/atna.h"
#include "lib/access/nodes.h"
#include "lib/base/body.h"
#include "server/journal.h"

/**
 * Replies that are sent later, to an address that the request names (ITI TF-2 Appendix V.5): a
 * bounded number waits, in all and for one node, and a few threads send them. One that is not taken
 * is offered again, at growing intervals and for a bounded time; then it is lost: a line of the
 * log, an audit event with outcome 8, a counter of /metrics. Nothing of it is durable: a restart
 * loses what waits, and the requester asks again (contract C3).
 */
typedef struct AsyncReplies AsyncReplies;

typedef struct AsyncRepliesConfig {
    NodeDirectory *nodes; /* all borrowed */
    Tls *tls;             /* NULL: only loopback addresses are reached */
    Audit *audit;
    Journal *journal;
    const char *spill_directory; /* for replies of more than 1 MiB */
    uint64_t spill_bytes;
    unsigned max_waiting; /* a quarter of them for one node */
    unsigned retry_for_ms;
} AsyncRepliesConfig;

AsyncReplies *async_replies_new(const AsyncRepliesConfig *config);

/** Offers what waits once more, for a bounded time, and ends the threads; the rest is lost. Nobody
 * uses a place any more. async_replies_free(NULL) is fine. */
void async_replies_free(AsyncReplies *replies);

/** The directory that says which addresses are called. */
NodeDirectory *async_replies_nodes(const AsyncReplies *replies);

/** The gauges of /metrics. */
void async_replies_gauges(AsyncReplies *replies, StrBuf *buf);

/** One reply: a place first, then its content, then it is posted. */
typedef struct AsyncReply AsyncReply;

/**
 * Makes sure of a place before the transaction is carried out.
 * @param ret_place  to be posted or given up
 * @return 0, or -ERR_XDS_REGISTRY_BUSY: too many replies wait
 */
int async_reply_reserve(AsyncReplies *replies, Request *req, AsyncReply **ret_place) MUST_CHECK;

/** async_reply_give_up(NULL) is fine. */
void async_reply_give_up(AsyncReply *place);

/** Takes all that the source makes, and calls its done(). @return 0, or a negative ErrorCode; the
 * place can be filled anew, and stays the caller's in any case. */
int async_reply_fill(AsyncReply *place, Request *req, BodySource *source) MUST_CHECK;

/** Hands a filled place over to the senders. All that is asked of req is copied. */
void async_reply_post(AsyncReply *place, const Request *req, Str address, const char *content_type);
