#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/body.h"
#include "lib/base/request.h"
#include "server/open_peers.h"
#include "server/watchdog.h"

/**
 * HTTP/1.1 listeners over libmicrohttpd: one thread per connection, handlers block. This file owns
 * what HTTP needs (framing checks, deadlines, peer identity); what a path means is the
 * HttpService's business.
 */

struct GnutlsPeerPolicy; /* lib/tls/gnutls_peer.h */
typedef struct HttpListener HttpListener;

#define HTTP_REPLY_HEADERS_MAX 8

typedef struct HttpHeader {
    const char *name;
    const char *value;
} HttpHeader;

struct HttpService;

/** One HTTP exchange, from its headers to the end of its reply. */
typedef struct HttpExchange {
    Request *req;
    Str method;
    Str path;                    /* of the raw target, before '?'; matched exactly, never decoded */
    Str query;                   /* after '?'; empty if none */
    Str content_type;            /* empty if absent */
    Str host;                    /* as the peer calls us; empty if absent (HTTP/1.0) */
    Str certificate_fingerprint; /* empty on a plain connection */
    Str certificate_subject;
    bool is_tls;
    bool is_answered;
    int status;                      /* of the reply */
    bool is_cut;                     /* the peer went away, or we had to cut the reply */
    void *state;                     /* the service's own */
    const struct HttpService *route; /* of a router: whose exchange it is */
    HttpHeader reply_headers[HTTP_REPLY_HEADERS_MAX];
    size_t reply_header_count;
    struct HttpConnection *connection;
    void *mhd;                     /* struct MHD_Connection * */
    struct HttpOutgoing *outgoing; /* the reply of http_reply_source(), until it is done */
} HttpExchange;

/** What a listener serves. Every function runs on the connection's thread. */
typedef struct HttpService {
    void *ctx;
    /** The headers are in. May answer at once (http_reply_*); body() and end() are then not called.
     */
    void (*begin)(void *ctx, HttpExchange *exchange);
    /** The next bytes of the body. */
    void (*body)(void *ctx, HttpExchange *exchange, const void *bytes, size_t len);
    /** The body is complete: must answer. */
    void (*end)(void *ctx, HttpExchange *exchange);
    /** The reply was sent, or the connection is gone: free exchange->state. Always called after
     * begin(). */
    void (*completed)(void *ctx, HttpExchange *exchange);
    /** Instead of the others: the request is refused for its framing, and answered after this
     * call. For the audit trail; NULL: not wanted. */
    void (*refused)(void *ctx, HttpExchange *exchange, const char *problem);
} HttpService;

typedef struct HttpListenerConfig {
    const char *address;                 /* "0.0.0.0:8443", "[::1]:8080" */
    struct GnutlsPeerPolicy *tls_policy; /* NULL: plain */
    const char *tls_priorities;
    bool is_loopback_only;
    unsigned max_connections;
    unsigned request_timeout_ms;
    const HttpService *service;
    Watchdog *watchdog;
    const char *endpoint;  /* URL of the listener: for peers that are refused */
    OpenPeers *open_peers; /* NULL: plain */
    Audit *audit;
} HttpListenerConfig;

/** Binds and listens; NULL and the reason on failure. Accepts only after http_listener_start(). */
HttpListener *http_listener_bind(const HttpListenerConfig *config, char *ret_problem,
                                 size_t problem_size);
/** False and the reason on failure. */
bool http_listener_start(HttpListener *listener, char *ret_problem, size_t problem_size);
/** No new connections; those at work go on. */
void http_listener_quiesce(HttpListener *listener);
/** Ends all connections and frees the listener. http_listener_free(NULL) is fine. */
void http_listener_free(HttpListener *listener);

/** A header of the request; empty if absent. */
Str http_header(const HttpExchange *exchange, const char *name);

/** A header of the reply beside Content-Type; at most HTTP_REPLY_HEADERS_MAX. The value has no
 * control characters; it is copied. */
void http_add_header(HttpExchange *exchange, const char *name, Str value);

/** Answers with a body of known bytes; takes buf's memory. */
void http_reply(HttpExchange *exchange, int status, const char *content_type, StrBuf *buf);
/** Answers with a body that is produced while it is sent; takes the source. length -1: unknown,
 * chunked. */
void http_reply_source(HttpExchange *exchange, int status, const char *content_type, int64_t length,
                       BodySource source);
