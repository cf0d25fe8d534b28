#include "server/refused_peer.h"

#define RECORD_TIMEOUT_MS 5000

void refused_peer_record(Audit *audit, Request *req, Str reason)
{
    AuditEvent event = {
        .type = AUDIT_NODE_AUTHENTICATION_FAILURE, .outcome = 8, .outcome_text = reason};
    int recorded UNUSED = audit_record_event(audit, req, &event);
}

void refused_peer_record_handshake(Audit *audit, const char *endpoint, const char *address)
{
    Request *req = request_new(RECORD_TIMEOUT_MS);
    req->peer_address = str_from(address);
    req->endpoint = str_from(endpoint);
    refused_peer_record(audit, req, STR("the TLS handshake did not prove a trusted certificate"));
    request_free(req);
}
