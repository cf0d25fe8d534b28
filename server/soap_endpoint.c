#include "server/soap_endpoint.h"

#include <stdlib.h>

#include "lib/soap/reply.h"
#include "server/soap_return.h"
#include "server/wsdl.h"

/** A reply of known length up to this is made before its first byte is sent. */
#define BUFFERED_REPLY_BYTES (1024 * 1024)
/** After a fault this much more of the body is still read, so that the peer sees the answer. */
#define SWALLOW_BYTES (64ULL * 1024 * 1024)

/** One SOAP request: HttpExchange.state. */
typedef struct SoapCall {
    SoapExchange exchange;
    const Transaction *transaction;
    SoapReturn way;           /* of the reply */
    bool has_failed;          /* a fault is certain; the rest of the body is only read */
    uint64_t failed_at_bytes; /* of the body */
    Outcome outcome;
} SoapCall;

/** The reply is on its way to its addressee: nothing comes on the connection (TF-2 Appendix V.5).
 */
static void post(HttpExchange *http, const SoapAddressee *addressee, const char *type)
{
    SoapCall *call = http->state;
    StrBuf nothing = {0};
    async_reply_post(call->way.place, http->req, addressee->address, type);
    call->way.place = NULL;
    http_reply(http, 202, NULL, &nothing);
}

/** One text as a BodySource. */
static int next_of_text(void *ctx, StrBuf *buf)
{
    strbuf_append(buf, strbuf_str(ctx));
    return 0;
}

static void reply_fault(HttpExchange *http)
{
    SoapCall *call = http->state;
    StrBuf buf = {0};
    const SoapAddressee *addressee = call->way.fault_to;
    int status = (int)soap_fault_write(http->req, addressee, &buf);
    BodySource source = {.ctx = &buf, .next = next_of_text};
    call->outcome = OUTCOME_FAULT;
    if (addressee && async_reply_fill(call->way.place, http->req, &source) == 0) {
        post(http, addressee, SOAP_CONTENT_TYPE);
    } else {
        http_reply(http, status, SOAP_CONTENT_TYPE, &buf);
    }
    strbuf_done(&buf);
}

static void reply_plain(HttpExchange *http, int status, const char *text)
{
    StrBuf buf = {0};
    strbuf_printf(&buf, "%s [ref %s]\n", text, http->req->ref);
    http_reply(http, status, "text/plain; charset=utf-8", &buf);
    strbuf_done(&buf);
}

/* ------------------------------------------------------------------ receiving */

/** Whether this node may use any transaction of the path that takes documents: until wsa:Action is
 * known, and it may come after them, nothing else says whether their bytes may be stored. */
static bool may_send_documents(const Request *req, Str path)
{
    for (size_t i = 0; i < transaction_count; i++) {
        if (transactions[i].takes_documents && str_equal(path, str_from(transactions[i].path)) &&
            access_may_use(req->principal, transactions[i].number)) {
            return true;
        }
    }
    return false;
}

/** Whether a transaction of this path looks at assertions. */
static bool looks_at_users(const SoapEndpoint *endpoint, Str path)
{
    for (size_t i = 0; i < transaction_count; i++) {
        if (endpoint->xua[transactions[i].module] != XUA_OFF &&
            str_equal(path, str_from(transactions[i].path))) {
            return true;
        }
    }
    return false;
}

/** What the peer called, for audit. */
static void name_endpoint(const SoapEndpoint *endpoint, HttpExchange *http)
{
    Str authority = str_is_empty(http->host) ? str_from(endpoint->public_authority) : http->host;
    http->req->endpoint =
        str_printf(http->req->arena, "%s://%.*s%.*s", endpoint->is_tls ? "https" : "http",
                   STR_ARG(authority), STR_ARG(http->path));
}

/** @param takes_documents  whether a transaction of this path does */
static void begin_call(SoapEndpoint *endpoint, HttpExchange *http, bool takes_documents)
{
    Request *req = http->req;
    SoapCall *call = ARENA_NEW(req->arena, SoapCall);
    http->state = call;
    call->exchange.req = req;
    name_endpoint(endpoint, http);
    call->has_failed = http_peer_identify(&endpoint->peers, http) != 0;
    if (call->has_failed) {
        return;
    }
    call->exchange.receiver =
        soap_receiver_new(req, http->content_type, takes_documents ? endpoint->sink : NULL);
    call->has_failed = call->exchange.receiver == NULL;
    if (call->has_failed) {
        return;
    }
    if (!may_send_documents(req, http->path)) {
        soap_receiver_drop_documents(call->exchange.receiver);
    }
    if (looks_at_users(endpoint, http->path) || str_equal(http->path, STR(INITIATING_PATH))) {
        soap_receiver_keep(call->exchange.receiver, &SAML_KEEP);
    }
}

static void soap_begin(void *ctx, HttpExchange *http)
{
    SoapEndpoint *endpoint = ctx;
    bool takes_documents;
    bool is_served = transaction_path_exists(http->path, &takes_documents);
    if (is_served && str_equal(http->method, STR("POST"))) {
        begin_call(endpoint, http, takes_documents);
    } else if (http_peer_identify(&endpoint->peers, http) < 0) {
        reply_plain(http, 403, str_cstr(http->req->arena, http->req->errors.first->context));
    } else if (!is_served) {
        reply_plain(http, 404,
                    "Nothing is served at this path. See the WSDL of /registry, /repository, "
                    "/imaging, /pix, /dsub, " GATEWAY_PATH " or " INITIATING_PATH ".");
    } else if (str_equal(http->method, STR("GET")) && str_equal_ci(http->query, STR("wsdl"))) {
        StrBuf buf = {0};
        wsdl_write(&buf, http->path, endpoint->is_tls, http->host);
        http_reply(http, 200, "text/xml; charset=utf-8", &buf);
        strbuf_done(&buf);
    } else {
        reply_plain(http, 405, "SOAP messages are sent with POST; the WSDL is at ?wsdl.");
    }
}

static void soap_body(void *ctx, HttpExchange *http, const void *bytes, size_t len)
{
    SoapCall *call = http->state;
    (void)ctx;
    if (!call->has_failed) {
        call->has_failed = soap_receiver_push(call->exchange.receiver, bytes, len) != 0;
        call->failed_at_bytes = http->req->received_bytes;
    } else if (http->req->received_bytes - call->failed_at_bytes > SWALLOW_BYTES) {
        http->is_cut = true;
    }
}

/* ------------------------------------------------------------------ routing */

static int find_transaction(HttpExchange *http, const SoapMessage *message,
                            const Transaction **ret_transaction)
{
    Request *req = http->req;
    const Transaction *transaction = transaction_find(message->action, http->path);
    if (!transaction) {
        return error_add(&req->errors, ERR_SOAP_ACTION_NOT_SUPPORTED, "wsa:Action",
                         "wsa:Action \"%.*s\" is not offered here; the actions of this path are in "
                         "its WSDL (%.*s?wsdl).",
                         STR_ARG(message->action), STR_ARG(http->path));
    }
    req->transaction = transaction->number;
    req->is_repository = transaction->module == MODULE_REPOSITORY ||
                         transaction->module == MODULE_IMAGING || transaction->has_mtom_reply;
    if (!str_equal(http->path, str_from(transaction->path))) {
        return error_add(&req->errors, ERR_SOAP_ACTION_NOT_SUPPORTED, "wsa:Action",
                         "%s (wsa:Action \"%s\") was sent to %.*s; send it to %s.",
                         transaction->number, transaction->action, STR_ARG(http->path),
                         transaction->path);
    }
    if (!transaction_takes_body(transaction, message->body)) {
        return error_add(&req->errors, ERR_SOAP_SENDER, "soap:Body",
                         "wsa:Action says %s, whose body is {%s}%s, but the body is {%.*s}%.*s.",
                         transaction->number, transaction->body_namespace,
                         transaction->body_element, STR_ARG(message->body->ns),
                         STR_ARG(message->body->name));
    }
    *ret_transaction = transaction;
    return 0;
}

/** Whether this process has what serves the transaction. */
static int check_served(const SoapEndpoint *endpoint, Request *req, const Transaction *transaction)
{
    if (!endpoint->modules[transaction->module] && transaction->module != MODULE_INITIATING) {
        return error_add(&req->errors, ERR_SOAP_ACTION_NOT_SUPPORTED, "wsa:Action",
                         "%s is not served by this process ([server] roles).", transaction->number);
    }
    if (!endpoint->has_home && (transaction->module == MODULE_INITIATING ||
                                str_equal(str_from(transaction->path), STR(GATEWAY_PATH)))) {
        return error_add(&req->errors, ERR_SOAP_ACTION_NOT_SUPPORTED, "wsa:Action",
                         "%s is not served here: this community has no homeCommunityId; its "
                         "operator sets one with [affinity_domain] home_community_id.",
                         transaction->number);
    }
    return 0;
}

/** Who the user is, where the transaction's module wants to know (ITI-40). */
static int authenticate_user(const SoapEndpoint *endpoint, const SoapCall *call)
{
    XuaDemand demand = endpoint->xua[call->transaction->module];
    const SamlMessage message = {.envelope = call->exchange.message->envelope,
                                 .security = call->exchange.message->security};
    int rc = demand == XUA_OFF ? 0
                               : saml_authenticate(endpoint->saml, call->exchange.req, &message,
                                                   demand == XUA_REQUIRE);
    return rc < 0 || call->transaction->confirms_itself ? rc : request_confirm(call->exchange.req);
}

/** All that is checked before the handler of the transaction sees the message. */
static int receive(SoapEndpoint *endpoint, HttpExchange *http)
{
    SoapCall *call = http->state;
    Request *req = http->req;
    int rc = soap_receiver_finish(call->exchange.receiver, &call->exchange.message);
    if (rc) {
        return rc;
    }
    const SoapMessage *message = call->exchange.message;
    req->message_id = message->message_id;
    req->reply_to = message->reply_to;
    rc = find_transaction(http, message, &call->transaction);
    if (!rc) {
        rc = http_peer_check_rights(req, call->transaction->number);
    }
    if (rc) {
        return rc;
    }
    rc = check_served(endpoint, req, call->transaction);
    if (rc) {
        return rc;
    }
    if (error_list_has_errors(&req->errors) && !call->transaction->takes_documents) {
        return -(int)req->errors.first->code; /* of parts that this transaction has no use for */
    }
    rc = soap_return_plan(endpoint->replies, req, call->transaction, message, &call->way);
    return rc < 0 ? rc : authenticate_user(endpoint, call);
}

static int dispatch(SoapEndpoint *endpoint, HttpExchange *http)
{
    SoapCall *call = http->state;
    if (call->has_failed || receive(endpoint, http) != 0) {
        http_peer_record_refused(&endpoint->peers, http->req);
        return -ERR_SOAP_SENDER;
    }
    const Transaction *transaction = call->transaction;
    call->exchange.addressee = call->way.reply_to;
    soap_reply_open(&call->exchange, transaction->reply_action, transaction->has_mtom_reply);
    int rc = transaction->handler(endpoint->modules[transaction->module], &call->exchange);
    if (request_confirm(http->req) < 0) {
        http_peer_record_refused(&endpoint->peers, http->req);
        return -ERR_SOAP_SENDER;
    }
    return rc;
}

/* ------------------------------------------------------------------ replying */

static Outcome outcome_of(const Request *req)
{
    if (req->outcome_is_partial) {
        return OUTCOME_PARTIAL_SUCCESS;
    }
    return error_list_has_errors(&req->errors) ? OUTCOME_FAILURE : OUTCOME_SUCCESS;
}

/** Frees what the source holds. */
static void drop(BodySource *source)
{
    if (source->done) {
        source->done(source->ctx);
    }
}

/** Makes the whole of a short reply at once; false if a source failed. */
static bool drain(BodySource *source, StrBuf *buf)
{
    int more;
    do {
        more = source->next(source->ctx, buf);
    } while (more > 0);
    drop(source);
    return more == 0;
}

/** A reply that is made while it is sent. */
static void reply_source(SoapEndpoint *endpoint, HttpExchange *http, const char *type,
                         BodySource source, int64_t length)
{
    if (http_peer_settle(&endpoint->peers, http->req) < 0) {
        drop(&source);
        reply_fault(http);
    } else {
        http_reply_source(http, 200, type, length, source);
    }
}

static void reply_text(SoapEndpoint *endpoint, HttpExchange *http, const char *type, StrBuf *text)
{
    if (http_peer_settle(&endpoint->peers, http->req) < 0) {
        reply_fault(http);
    } else {
        http_reply(http, 200, type, text);
    }
}

/** HTTP 202 says that all is done and on record, and that the reply comes. */
static void reply_later(SoapEndpoint *endpoint, HttpExchange *http, const char *type)
{
    SoapCall *call = http->state;
    BodySource source;
    int64_t length;
    soap_reply_source(&call->exchange, &source, &length);
    if (async_reply_fill(call->way.place, http->req, &source) < 0 ||
        http_peer_settle(&endpoint->peers, http->req) < 0) {
        reply_fault(http);
    } else {
        post(http, call->way.reply_to, type);
    }
}

/** A one-way message was taken. */
static void acknowledge(SoapEndpoint *endpoint, HttpExchange *http)
{
    StrBuf nothing = {0};
    if (http_peer_settle(&endpoint->peers, http->req) < 0) {
        reply_fault(http);
    } else {
        http_reply(http, 202, NULL, &nothing);
    }
}

static void reply(SoapEndpoint *endpoint, HttpExchange *http)
{
    SoapCall *call = http->state;
    BodySource source;
    int64_t length;
    char *type = str_cstr(http->req->arena, soap_reply_content_type(&call->exchange));
    _cleanup_(strbuf_done) StrBuf text = {0};
    call->outcome = outcome_of(http->req);
    if (call->transaction->reply_action[0] == '\0') {
        acknowledge(endpoint, http);
        return;
    }
    if (call->way.reply_to) {
        reply_later(endpoint, http, type);
        return;
    }
    if (soap_reply_take(&call->exchange, &text)) {
        reply_text(endpoint, http, type, &text);
        return;
    }
    soap_reply_source(&call->exchange, &source, &length);
    if (length < 0 || length > BUFFERED_REPLY_BYTES) {
        reply_source(endpoint, http, type, source, length);
        return;
    }
    (void)strbuf_reserve(&text, (size_t)length);
    if (drain(&source, &text)) {
        reply_text(endpoint, http, type, &text);
    } else {
        http->is_cut = true;
    }
}

/** Whatever is answered, the audit records of the request are durable by then (contract C4). */
static void soap_end(void *ctx, HttpExchange *http)
{
    SoapEndpoint *endpoint = ctx;
    if (dispatch(endpoint, http) == 0) {
        reply(endpoint, http);
    } else {
        (void)!http_peer_settle(&endpoint->peers, http->req); /* a fault gives nothing out */
        reply_fault(http);
    }
}

static void soap_completed(void *ctx, HttpExchange *http)
{
    SoapEndpoint *endpoint = ctx;
    SoapCall *call = http->state;
    if (!call) {
        return;
    }
    async_reply_give_up(call->way.place);
    soap_receiver_free(call->exchange.receiver);
    strbuf_done(&call->exchange.reply_xml);
    journal_finish(endpoint->journal, http->req, http->is_cut ? OUTCOME_FAULT : call->outcome);
}

static void soap_refused(void *ctx, HttpExchange *http, const char *problem)
{
    SoapEndpoint *endpoint = ctx;
    name_endpoint(endpoint, http);
    if (http_peer_identify(&endpoint->peers, http) == 0) {
        error_add(&http->req->errors, ERR_SOAP_SENDER, "HTTP", "%s", problem);
        http_peer_record_refused(&endpoint->peers, http->req);
    }
    (void)!audit_settle(endpoint->peers.audit, http->req); /* a refusal gives nothing out */
}

HttpService soap_endpoint_service(SoapEndpoint *endpoint)
{
    return (HttpService){
        .ctx = endpoint,
        .begin = soap_begin,
        .body = soap_body,
        .end = soap_end,
        .completed = soap_completed,
        .refused = soap_refused,
    };
}
