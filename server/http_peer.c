#include "server/http_peer.h"

#include "pix/person_view.h"
#include "server/refused_peer.h"

/** A problem has room for a fingerprint and so much of the name. */
#define SHOWN_SUBJECT ((size_t)90)
#define REQUEST_ID_MAX_BYTES 200

/** Whether this is a host and port that may stand in a URL. */
static bool is_authority(Str host)
{
    for (size_t i = 0; i < host.len; i++) {
        char c = host.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && (c == '\0' || !strchr(".:[]-_", c))) {
            return false;
        }
    }
    return host.len > 0;
}

Str http_peer_describe(HttpExchange *http, const char *public_authority)
{
    Request *req = http->req;
    Str authority = is_authority(http->host) ? http->host : str_from(public_authority);
    Str request_id = http_header(http, "X-Request-Id");
    Str root =
        str_printf(req->arena, "%s://%.*s", http->is_tls ? "https" : "http", STR_ARG(authority));
    req->endpoint = str_printf(req->arena, "%.*s%.*s", STR_ARG(root), STR_ARG(http->path));
    req->message_id = str_shown(req->arena, str_slice(request_id, 0, REQUEST_ID_MAX_BYTES));
    if (!str_is_empty(req->message_id)) {
        http_add_header(http, "X-Request-Id", req->message_id);
    }
    return root;
}

static const Principal *find_principal(const HttpPeers *peers, const HttpExchange *http)
{
    Arena *arena = http->req->arena;
    if (!http->is_tls && peers->plain_node[0]) {
        return node_directory_find_name(peers->nodes, arena, str_from(peers->plain_node));
    }
    return node_directory_find(peers->nodes, arena, http->certificate_fingerprint,
                               http->certificate_subject);
}

void http_peer_unregistered(const HttpExchange *http, TlsProblem *ret_problem)
{
    tls_problem_set(ret_problem, TLS_REFUSED_UNREGISTERED, "\"%.*s\" (SHA-256 %.*s)",
                    STR_ARG(str_slice(http->certificate_subject, 0, SHOWN_SUBJECT)),
                    STR_ARG(http->certificate_fingerprint));
}

int http_peer_identify(const HttpPeers *peers, HttpExchange *http)
{
    Request *req = http->req;
    req->principal = find_principal(peers, http);
    if (req->principal) {
        return 0;
    }
    TlsProblem problem;
    http_peer_unregistered(http, &problem);
    refused_peer_record(peers->audit, req, &problem);
    return error_add(
        &req->errors, ERR_FORBIDDEN, NULL,
        "The certificate \"%.*s\" (SHA-256 %.*s) belongs to no registered node. Ask the operator "
        "of the data center to register it (musubi node add).",
        STR_ARG(http->certificate_subject), STR_ARG(http->certificate_fingerprint));
}

void http_peer_record_refused(const HttpPeers *peers, Request *req)
{
    if (req->principal) {
        const AuditEvent event = audit_refused_message(req);
        (void)!audit_append_event(peers->audit, req, &event); /* a refusal gives nothing out */
    }
}

int http_peer_check_rights(Request *req, const char *transaction)
{
    if (access_may_use(req->principal, transaction)) {
        return 0;
    }
    return error_add(
        &req->errors, ERR_FORBIDDEN, NULL,
        "Node %.*s may not use %s. Ask the operator to allow it (musubi node add --transactions).",
        STR_ARG(req->principal->node_name), transaction);
}

/** AccessNoticeFn: the event of an emergency, with the notice in one transaction. */
static int queue_emergency(void *ctx, Request *req, DbConn *conn, int64_t patient)
{
    const HttpPeers *peers = ctx;
    AuditObject object = {.kind = AUDIT_OBJECT_PATIENT, .id = STR_EMPTY};
    int rc = db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : person_view_cx(conn, req, patient, &object.id);
    if (rc < 0 || str_is_empty(object.id)) {
        return rc;
    }
    const AuditEvent event = {
        .type = AUDIT_EMERGENCY_ACCESS, .objects = &object, .object_count = 1};
    return audit_queue_event(peers->audit, conn, req, &event);
}

int http_peer_settle(const HttpPeers *peers, Request *req)
{
    HttpPeers used = *peers;
    int rc = access_settle(req, queue_emergency, &used);
    int settled = audit_settle(peers->audit, req);
    return rc < 0 ? rc : settled;
}
