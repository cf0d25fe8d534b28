#pragma once

#include <openssl/types.h>
#include <stddef.h>

/**
 * The least that an HTTPS server can do: OpenSSL, client certificates, one thread per connection,
 * keep-alive. It reads each request whole and answers with a fixed number of bytes; a request that
 * is an MLLP frame is answered with a frame. Runs until the process is ended.
 */
typedef struct HttpsFloor {
    int port;
    const char *cert;
    const char *key;
    const char *ca;
    size_t answer_bytes;
    /** One per connection; all three NULL: the body is read and dropped. */
    void *(*connection_new)(void *ctx);
    void (*handle)(void *connection, const char *body, size_t len);
    void (*connection_free)(void *connection);
    void *ctx;
    /** Not NULL: does all that is to be done with a connection, instead of the above. */
    void (*converse)(void *ctx, SSL *ssl);
} HttpsFloor;

_Noreturn void https_floor_run(const HttpsFloor *floor);
