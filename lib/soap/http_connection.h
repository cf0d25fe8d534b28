#pragma once

#include "lib/soap/http_client.h"
#include "lib/tls/connection.h"

/** A connection of an HttpClient, and what has arrived on it. Private to the client. */
typedef struct HttpConnection {
    TlsConnection stream;
    StrBuf received; /* not yet used */
    size_t used;
    bool has_received; /* anything, since it was taken for this exchange */
    struct HttpConnection *next;
} HttpConnection;

/**
 * Reads one reply (RFC 9112): its body goes to receiver, or without one into the reply.
 *
 * @param receiver     NULL: reply->body, at most 16 MiB
 * @param ret_is_kept  whether the connection can be used again
 * @return false: it did not come whole before the deadline, it breaks the rules, or the receiver
 * refused it
 */
bool http_reply_read(HttpConnection *connection, Request *req, const HttpReceiver *receiver,
                     HttpReply *reply, bool *ret_is_kept);
