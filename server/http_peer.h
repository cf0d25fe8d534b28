#pragma once

#include "atna/atna.h"
#include "lib/access/nodes.h"
#include "lib/tls/refusal.h"
#include "server/http.h"

/** Who asks over HTTP, and whether it may: the same for SOAP, FHIR and DICOMweb. */
typedef struct HttpPeers {
    NodeDirectory *nodes;
    Audit *audit;
    const char *plain_node; /* name of the node whose rights plain peers get; empty in mode open */
} HttpPeers;

/**
 * Fills in what the peer called, and its X-Request-Id, which goes back to it.
 * @param public_authority  where it does not say whom it calls: "host:port" of the listener
 * @return "https://host:8443", in the arena
 */
Str http_peer_describe(HttpExchange *http, const char *public_authority);

/** What is wrong with a certificate that the handshake accepted and nobody registered. */
void http_peer_unregistered(const HttpExchange *http, TlsProblem *ret_problem);

/** Sets req->principal. @return 0, or -ERR_FORBIDDEN: the certificate belongs to no node, which is
 * recorded */
int http_peer_identify(const HttpPeers *peers, HttpExchange *http) MUST_CHECK;

/** @return 0, or -ERR_FORBIDDEN: not a transaction of this node */
int http_peer_check_rights(Request *req, const char *transaction) MUST_CHECK;

/**
 * What must be durable before the first byte of a reply: the notices of an emergency with their
 * events, and the audit records of the request (contract C4).
 * @return 0, or a negative ErrorCode: nothing may be sent
 */
int http_peer_settle(const HttpPeers *peers, Request *req) MUST_CHECK;

/** Records what was refused before the handler of its transaction saw it; one whose sender is
 * unknown is recorded already. Durable after http_peer_settle(). */
void http_peer_record_refused(const HttpPeers *peers, Request *req);
