#pragma once

#include "lib/base/body.h"
#include "lib/base/request.h"
#include "lib/tls/tls.h"

/**
 * A small blocking HTTP/1.1 client over mutual TLS, for one server: connections are kept for a
 * while and used again, every wait ends at the request's deadline, redirects are not followed.
 * Thread-safe.
 */
typedef struct HttpClient HttpClient;

typedef struct HttpClientConfig {
    const char *url;             /* https://host[:port]/path */
    Tls *tls;                    /* borrowed; not looked at for http:// */
    const char *fingerprint;     /* of the server's certificate, as in TlsPeer; borrowed */
    bool may_be_plain;           /* http:// too, which reaches loopback addresses only */
    unsigned connect_timeout_ms; /* of a connection with its handshake; 0: the request's deadline */
    unsigned kept_ms;            /* 0: TLS_CONNECTION_KEPT_MS */
} HttpClientConfig;

HttpClient *http_client_new(const HttpClientConfig *config, char *ret_problem, size_t problem_size);
void http_client_free(HttpClient *client);

/** Exchanges that go on in other threads fail at once, a connection that is being made excepted. */
void http_client_interrupt(HttpClient *client);

/** What is sent: text, and after it what source makes, if there is one. */
typedef struct HttpMessage {
    const char *content_type;
    Str text;
    const BodySource *source; /* NULL: none; its done() is the caller's to call */
    int64_t source_bytes;     /* how many source makes; -1: unknown, the body is sent in chunks */
} HttpMessage;

/** Takes the body of a reply while it arrives. Each function returns 0, or not: the exchange is
 * then given up. */
typedef struct HttpReceiver {
    void *ctx;
    int (*begin)(void *ctx, int status, Str content_type);
    int (*bytes)(void *ctx, const void *bytes, size_t len);
} HttpReceiver;

typedef struct HttpReply {
    int status;
    Str content_type; /* as received; empty if absent */
    Str body;         /* at most 16 MiB; empty with a receiver */
} HttpReply;

/**
 * Posts a message and reads the whole reply, into req->arena or receiver. A kept connection that
 * the server has closed meanwhile is replaced once, unless the message has a source: the request
 * may then arrive twice.
 *
 * @param receiver  NULL: into ret_reply->body
 * @return 0, or -ERR_IO with nothing added to req->errors: whether the server acted is unknown;
 * *ret_problem says why
 */
int http_client_send(HttpClient *client, Request *req, const HttpMessage *message,
                     const HttpReceiver *receiver, HttpReply *ret_reply,
                     Str *ret_problem) MUST_CHECK;

/** http_client_send() of one text, with its reply in the arena. */
int http_client_post(HttpClient *client, Request *req, const char *content_type, Str body,
                     HttpReply *ret_reply, Str *ret_problem) MUST_CHECK;
