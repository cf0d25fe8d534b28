#pragma once

#include "lib/base/request.h"
#include "lib/tls/tls.h"

/**
 * A small blocking HTTP/1.1 client over mutual TLS, for one server: connections are kept and used
 * again, every wait ends at the request's deadline, redirects are not followed. Thread-safe.
 */
typedef struct HttpClient HttpClient;

typedef struct HttpClientConfig {
    const char *url;         /* https://host[:port]/path */
    Tls *tls;                /* borrowed */
    const char *fingerprint; /* of the server's certificate, as in TlsPeer; borrowed */
} HttpClientConfig;

HttpClient *http_client_new(const HttpClientConfig *config, char *ret_problem, size_t problem_size);
void http_client_free(HttpClient *client);

typedef struct HttpReply {
    int status;
    Str content_type; /* as received; empty if absent */
    Str body;         /* at most 16 MiB */
} HttpReply;

/**
 * Posts a body and reads the whole reply into req->arena. A kept connection that the server has
 * closed meanwhile is replaced once: the request may then arrive twice.
 * @return 0, or -ERR_IO with nothing added to req->errors: whether the server acted is unknown;
 * *ret_problem says why
 */
int http_client_post(HttpClient *client, Request *req, const char *content_type, Str body,
                     HttpReply *ret_reply, Str *ret_problem) MUST_CHECK;
