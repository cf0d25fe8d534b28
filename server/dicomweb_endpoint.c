#include "server/dicomweb_endpoint.h"

/** After a refusal this much more of the body is still read, so that the peer sees the answer. */
#define SWALLOW_BYTES (64ULL * 1024 * 1024)
#define PREFLIGHT_MAX_AGE STR("600")
/** Seconds, for who comes while all is taken. */
#define RETRY_AFTER STR("5")

/** One request: HttpExchange.state. */
typedef struct DicomwebCall {
    DicomwebExchange exchange;
    const DicomwebTransaction *transaction; /* NULL: nothing is served at this path */
    bool has_failed; /* a refusal is certain; the rest of the body is only read */
    Outcome outcome;
} DicomwebCall;

/* ------------------------------------------------------------------ browsers */

/** Whether a script of this origin may read answers (Fetch 3.2): exactly those of the
 * configuration. */
static bool is_allowed_origin(const DicomwebEndpoint *endpoint, Str origin)
{
    return !str_is_empty(origin) && str_has_word(str_from(endpoint->allowed_origins), origin);
}

static void add_origin_headers(const DicomwebEndpoint *endpoint, HttpExchange *http)
{
    Str origin = http_header(http, "Origin");
    if (is_allowed_origin(endpoint, origin)) {
        http_add_header(http, "Access-Control-Allow-Origin", origin);
        http_add_header(http, "Access-Control-Allow-Credentials", STR("true"));
        http_add_header(http, "Vary", STR("Origin"));
    }
}

/** A browser asks before a script's request; it sends no certificate then. */
static bool answer_preflight(const DicomwebEndpoint *endpoint, HttpExchange *http)
{
    DicomwebCall *call = http->state;
    if (!str_equal(http->method, STR("OPTIONS")) ||
        !is_allowed_origin(endpoint, http_header(http, "Origin"))) {
        return false;
    }
    StrBuf nothing = {0};
    http_add_header(http, "Access-Control-Allow-Methods", STR("GET, POST"));
    http_add_header(http, "Access-Control-Allow-Headers", STR("Accept, Content-Type"));
    http_add_header(http, "Access-Control-Max-Age", PREFLIGHT_MAX_AGE);
    call->outcome = OUTCOME_SUCCESS;
    http_reply(http, 204, NULL, &nothing);
    return true;
}

/* ------------------------------------------------------------------ headers */

static int find_transaction(HttpExchange *http)
{
    DicomwebCall *call = http->state;
    Request *req = http->req;
    Str allowed;
    Str path;
    if (!fhir_percent_decode(req->arena, http->path, &path)) {
        path = http->path;
    }
    call->transaction =
        dicomweb_transaction_find(req->arena, http->method, path, call->exchange.path, &allowed);
    if (str_is_empty(allowed)) {
        return error_add(&req->errors, ERR_DICOM_NOT_FOUND, NULL,
                         "Nothing is served at this path; see PS3.18 for those of studies, series "
                         "and instances, below " DICOMWEB_PATH ".");
    }
    if (!call->transaction) {
        http_add_header(http, "Allow", allowed);
        return error_add(&req->errors, ERR_DICOM_METHOD, NULL,
                         "%.*s is not served at this path; send %.*s.", STR_ARG(http->method),
                         STR_ARG(allowed));
    }
    call->exchange.offered = call->transaction->media_types;
    req->transaction = call->transaction->number;
    return 0;
}

static int check_imaging(const DicomwebEndpoint *endpoint, Request *req)
{
    return endpoint->imaging ? 0
                             : error_add(&req->errors, ERR_DICOM_NOT_FOUND, NULL,
                                         "Imaging is not served by this process ([server] roles).");
}

/** Everything that the headers can tell. */
static int check_headers(const DicomwebEndpoint *endpoint, HttpExchange *http)
{
    DicomwebCall *call = http->state;
    DicomwebExchange *exchange = &call->exchange;
    Request *req = http->req;
    int rc = http_peer_identify(&endpoint->peers, http);
    rc = rc ? rc : find_transaction(http);
    rc = rc ? rc : http_peer_check_rights(req, call->transaction->number);
    rc = rc ? rc : check_imaging(endpoint, req);
    rc = rc ? rc : fhir_parameters_read(req, &exchange->parameters, http->query);
    Str accept = fhir_parameters_value(&exchange->parameters, "accept");
    exchange->accept = str_is_empty(accept) ? http_header(http, "Accept") : accept;
    if (rc == 0 && call->transaction->receiver) {
        rc = call->transaction->receiver->begin(endpoint->imaging, exchange);
    }
    return rc;
}

static void dicomweb_begin(void *ctx, HttpExchange *http)
{
    DicomwebEndpoint *endpoint = ctx;
    DicomwebCall *call = ARENA_NEW(http->req->arena, DicomwebCall);
    http->state = call;
    call->outcome = OUTCOME_FAULT;
    call->exchange.req = http->req;
    call->exchange.content_type = http->content_type;
    call->exchange.query = http->query;
    Str root = http_peer_describe(http, endpoint->public_authority);
    call->exchange.base = endpoint->public_url[0]
                              ? str_from(endpoint->public_url)
                              : str_printf(http->req->arena, "%.*s" DICOMWEB_PATH, STR_ARG(root));
    add_origin_headers(endpoint, http);
    if (!answer_preflight(endpoint, http)) {
        call->has_failed = check_headers(endpoint, http) != 0;
    }
}

/* ------------------------------------------------------------------ body */

static void dicomweb_body(void *ctx, HttpExchange *http, const void *bytes, size_t len)
{
    DicomwebCall *call = http->state;
    (void)ctx;
    if (call->has_failed || !call->transaction->receiver) {
        http->is_cut |= http->req->received_bytes > SWALLOW_BYTES;
    } else {
        call->has_failed = call->transaction->receiver->push(&call->exchange, bytes, len) != 0;
    }
}

/* ------------------------------------------------------------------ replying */

/** What was wrong, for whoever reads the vendor's log. */
static void reply_errors(HttpExchange *http)
{
    Request *req = http->req;
    const Error *first = req->errors.first;
    StrBuf buf = {0};
    for (const Error *error = first; error; error = error->next) {
        strbuf_printf(&buf, "%.*s\n", STR_ARG(error->context));
    }
    strbuf_printf(&buf, "[ref %s]\n", req->ref);
    const int status = first ? error_info(first->code)->http_status : 500;
    if (status == 503) {
        http_add_header(http, "Retry-After", RETRY_AFTER);
    }
    http_reply(http, status, "text/plain; charset=utf-8", &buf);
    strbuf_done(&buf);
}

static void drop_source(DicomwebExchange *exchange)
{
    if (exchange->source.next && exchange->source.done) {
        exchange->source.done(exchange->source.ctx);
    }
    exchange->source = (BodySource){0};
}

static void reply(DicomwebEndpoint *endpoint, HttpExchange *http, int rc)
{
    DicomwebCall *call = http->state;
    DicomwebExchange *exchange = &call->exchange;
    if (http_peer_settle(&endpoint->peers, http->req) < 0 && rc == 0) {
        rc = -(int)ERR_IO; /* nothing leaves without its audit record (contract C4) */
    }
    call->outcome = rc == 0 ? OUTCOME_SUCCESS : call->outcome;
    if (rc) {
        drop_source(exchange);
        reply_errors(http);
        return;
    }
    if (!str_is_empty(exchange->warning)) {
        http_add_header(http, "Warning", exchange->warning);
    }
    const char *type = str_is_empty(exchange->reply_type)
                           ? NULL
                           : str_cstr(http->req->arena, exchange->reply_type);
    if (exchange->source.next) {
        http_reply_source(http, exchange->status, type, -1, exchange->source);
    } else {
        http_reply(http, exchange->status, type, &exchange->reply);
    }
}

static void dicomweb_end(void *ctx, HttpExchange *http)
{
    DicomwebEndpoint *endpoint = ctx;
    DicomwebCall *call = http->state;
    int rc = -(int)ERR_DICOM_REQUEST;
    if (call->has_failed) {
        http_peer_record_refused(&endpoint->peers, http->req);
    } else {
        rc = call->transaction->handler(endpoint->imaging, &call->exchange);
        call->outcome = OUTCOME_FAILURE;
    }
    reply(endpoint, http, rc);
}

static void dicomweb_completed(void *ctx, HttpExchange *http)
{
    DicomwebEndpoint *endpoint = ctx;
    DicomwebCall *call = http->state;
    if (call->transaction && call->transaction->receiver) {
        call->transaction->receiver->done(&call->exchange);
    }
    strbuf_done(&call->exchange.reply);
    journal_finish(endpoint->journal, http->req, http->is_cut ? OUTCOME_FAULT : call->outcome);
}

HttpService dicomweb_endpoint_service(DicomwebEndpoint *endpoint)
{
    return (HttpService){
        .ctx = endpoint,
        .begin = dicomweb_begin,
        .body = dicomweb_body,
        .end = dicomweb_end,
        .completed = dicomweb_completed,
    };
}
