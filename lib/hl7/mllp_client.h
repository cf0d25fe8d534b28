#pragma once

#include "lib/base/request.h"
#include "lib/tls/tls.h"

/**
 * A blocking MLLP client for one receiver: one connection, kept for a while and used again, and one
 * outstanding message on it (ITI TF-2 C.2.1). One thread uses a client.
 */
typedef struct MllpClient MllpClient;

#define MLLP_CLIENT_PROBLEM_BYTES ((size_t)512)

typedef struct MllpClientConfig {
    const char *url;         /* mllps://HOST:PORT, or mllp://HOST:PORT of a loopback address */
    Tls *tls;                /* borrowed; NULL: no mllps */
    const char *fingerprint; /* of the receiver's certificate, as in TlsPeer; borrowed */
    unsigned kept_ms;        /* a connection, for further messages; 0: TLS_CONNECTION_KEPT_MS */
} MllpClientConfig;

/** Checks the URL; does not connect. */
MllpClient *mllp_client_new(const MllpClientConfig *config, char *ret_problem, size_t problem_size);

/** mllp_client_free(NULL) is fine. */
void mllp_client_free(MllpClient *client);

/**
 * Connects, unless the connection that was kept still stands.
 * @return 0, or -ERR_IO with nothing added to req->errors; *ret_problem says why
 */
int mllp_client_connect(MllpClient *client, Request *req, Str *ret_problem) MUST_CHECK;

/**
 * Sends a message on the connection that mllp_client_connect() made, and waits for the answer until
 * req->deadline_ns.
 * @param ret_reply  payload of the answer's frame, in req->arena
 * @return 0, or -ERR_IO as mllp_client_connect(): whether the receiver acted is unknown
 */
int mllp_client_exchange(MllpClient *client, Request *req, Str payload, Str *ret_reply,
                         Str *ret_problem) MUST_CHECK;
