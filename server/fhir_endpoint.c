#include "server/fhir_endpoint.h"

#include "lib/fhir/outcome.h"
#include "lib/fhir/read.h"

/** After a refusal this much more of the body is still read, so that the peer sees the answer. */
#define SWALLOW_BYTES (64ULL * 1024 * 1024)

/** One FHIR request: HttpExchange.state. */
typedef struct FhirCall {
    FhirExchange exchange;
    const FhirTransaction *transaction; /* NULL: nothing is served at this path */
    FhirFormat body_format;
    FhirFormat reply_format;
    StrBuf body;
    bool has_failed; /* a refusal is certain; the rest of the body is only read */
    Outcome outcome;
} FhirCall;

/* ------------------------------------------------------------------ headers */

static void describe_request(const FhirEndpoint *endpoint, HttpExchange *http)
{
    FhirCall *call = http->state;
    FhirExchange *exchange = &call->exchange;
    Request *req = http->req;
    Str prefer = http_header(http, "Prefer");
    exchange->req = req;
    Str root = http_peer_describe(http, endpoint->public_authority);
    exchange->base = str_printf(req->arena, "%.*s" FHIR_PATH, STR_ARG(root));
    exchange->is_strict = str_contains(prefer, STR("handling=strict"));
    exchange->wanted =
        str_contains(prefer, STR("return=minimal")) ? FHIR_RETURN_MINIMAL : FHIR_RETURN_OUTCOME;
}

static int find_transaction(HttpExchange *http)
{
    FhirCall *call = http->state;
    Request *req = http->req;
    Str allowed;
    Str raw = str_from_offset(http->path, strlen(FHIR_PATH "/"));
    if (!fhir_percent_decode(req->arena, raw, &call->exchange.path)) {
        call->exchange.path = raw;
    }
    Str path = str_shown(req->arena, call->exchange.path);
    call->transaction = fhir_transaction_find(req->arena, http->method, call->exchange.path,
                                              &call->exchange.id, &allowed);
    if (str_is_empty(allowed)) {
        return error_add(&req->errors, ERR_FHIR_NOT_FOUND, NULL,
                         "Nothing is served at " FHIR_PATH "/%.*s; " FHIR_PATH
                         "/metadata says what is.",
                         STR_ARG(path));
    }
    if (!call->transaction) {
        http_add_header(http, "Allow", allowed);
        return error_add(&req->errors, ERR_FHIR_METHOD, NULL,
                         "%.*s is not served at " FHIR_PATH "/%.*s; send %.*s.",
                         STR_ARG(http->method), STR_ARG(path), STR_ARG(allowed));
    }
    req->transaction = call->transaction->number;
    return 0;
}

static Str wanted_format(FhirCall *call)
{
    return fhir_parameters_value(&call->exchange.parameters, "_format");
}

/** _format wins over Accept (FHIR R4 3.1.0.1.11). False: neither of ours; JSON then. */
static bool choose_reply_format(HttpExchange *http)
{
    FhirCall *call = http->state;
    Str wanted = wanted_format(call);
    return str_is_empty(wanted)
               ? fhir_format_accept(http_header(http, "Accept"), &call->reply_format)
               : fhir_format_find(wanted, &call->reply_format);
}

static int check_reply_format(HttpExchange *http)
{
    if (choose_reply_format(http)) {
        return 0;
    }
    Str wanted = wanted_format(http->state);
    bool is_parameter = !str_is_empty(wanted);
    return error_add(&http->req->errors, ERR_FHIR_FORMAT, NULL,
                     "%s \"%.*s\" is not available; ask for application/fhir+json or "
                     "application/fhir+xml.",
                     is_parameter ? "_format" : "Accept",
                     STR_ARG(is_parameter ? wanted : http_header(http, "Accept")));
}

static int check_content_type(HttpExchange *http)
{
    FhirCall *call = http->state;
    Str type = http->content_type;
    bool is_form =
        str_equal_ci(str_trim(str_slice(type, 0, MIN(str_find_char(type, ';'), type.len))),
                     STR("application/x-www-form-urlencoded"));
    bool is_format = fhir_format_find(type, &call->body_format);
    FhirBody body = call->transaction->body;
    if (body == FHIR_BODY_NONE || (body == FHIR_BODY_FORM ? is_form : is_format)) {
        return 0;
    }
    return error_add(&http->req->errors, ERR_FHIR_MEDIA_TYPE, NULL,
                     "Content-Type \"%.*s\" is not taken here; send %s.", STR_ARG(type),
                     body == FHIR_BODY_FORM ? "application/x-www-form-urlencoded"
                                            : "application/fhir+json or application/fhir+xml");
}

static int check_module(const FhirEndpoint *endpoint, const FhirCall *call)
{
    if (endpoint->modules[call->transaction->module]) {
        return 0;
    }
    return error_add(&call->exchange.req->errors, ERR_FHIR_NOT_FOUND, NULL,
                     "%s is not served by this process ([server] roles).",
                     call->transaction->number);
}

/** Everything that the headers can tell. */
static int check_headers(FhirEndpoint *endpoint, HttpExchange *http)
{
    FhirCall *call = http->state;
    int rc = fhir_parameters_read(http->req, &call->exchange.parameters, http->query);
    (void)choose_reply_format(http); /* also for what follows */
    rc = rc ? rc : http_peer_identify(&endpoint->peers, http);
    rc = rc ? rc : find_transaction(http);
    if (!rc && call->transaction->number[0]) {
        rc = http_peer_check_rights(http->req, call->transaction->number);
    }
    rc = rc ? rc : check_reply_format(http);
    rc = rc ? rc : check_content_type(http);
    return rc ? rc : check_module(endpoint, call);
}

static void fhir_begin(void *ctx, HttpExchange *http)
{
    FhirEndpoint *endpoint = ctx;
    FhirCall *call = ARENA_NEW(http->req->arena, FhirCall);
    http->state = call;
    call->outcome = OUTCOME_FAULT;
    describe_request(endpoint, http);
    call->has_failed = check_headers(endpoint, http) != 0;
}

/* ------------------------------------------------------------------ body */

static void fhir_body(void *ctx, HttpExchange *http, const void *bytes, size_t len)
{
    FhirCall *call = http->state;
    (void)ctx;
    if (call->has_failed) {
        http->is_cut |= http->req->received_bytes > SWALLOW_BYTES;
    } else if (call->body.len + len > FHIR_BODY_MAX_BYTES) {
        call->has_failed = true;
        error_add(&http->req->errors, ERR_TOO_LARGE, NULL,
                  "The body is longer than %zu bytes; send less at once.", FHIR_BODY_MAX_BYTES);
    } else {
        strbuf_append_bytes(&call->body, bytes, len);
    }
}

/** Request line, the headers that shape the answer, body (BALP, Query). */
static Str request_text(HttpExchange *http, Str body)
{
    static const char *const headers[] = {"Accept", "Content-Type", "Prefer"};
    Arena *arena = http->req->arena;
    _cleanup_(strbuf_done) StrBuf text = {0};
    strbuf_printf(&text, "%.*s %.*s%s%.*s", STR_ARG(http->method), STR_ARG(http->req->endpoint),
                  http->query.len ? "?" : "", STR_ARG(str_shown(arena, http->query)));
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        Str value = str_shown(arena, http_header(http, headers[i]));
        if (!str_is_empty(value)) {
            strbuf_printf(&text, "\r\n%s: %.*s", headers[i], STR_ARG(value));
        }
    }
    strbuf_append(&text, body.len ? STR("\r\n\r\n") : STR_EMPTY);
    strbuf_append(&text, str_shown(arena, body));
    return str_dup(arena, strbuf_str(&text));
}

static int read_body(HttpExchange *http)
{
    FhirCall *call = http->state;
    FhirExchange *exchange = &call->exchange;
    Str body = strbuf_str(&call->body);
    exchange->request_text = request_text(http, body);
    switch (call->transaction->body) {
    case FHIR_BODY_RESOURCE:
        return fhir_read(http->req, call->body_format, body, &exchange->resource);
    case FHIR_BODY_FORM: {
        int rc = fhir_parameters_read(http->req, &exchange->parameters, body);
        return rc ? rc : check_reply_format(http);
    }
    case FHIR_BODY_NONE:
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------ replying */

static void reply(FhirEndpoint *endpoint, HttpExchange *http, int rc)
{
    FhirCall *call = http->state;
    FhirExchange *exchange = &call->exchange;
    if (http_peer_settle(&endpoint->peers, http->req) < 0 && rc == 0) {
        rc = -(int)ERR_IO; /* nothing leaves without its audit record (contract C4) */
        exchange->status = error_info(ERR_IO)->http_status;
        exchange->location = STR_EMPTY;
        call->outcome = OUTCOME_FAULT;
    }
    if (rc) {
        exchange->reply = fhir_outcome_of_errors(http->req);
        exchange->status = exchange->status ? exchange->status : fhir_status_of_errors(http->req);
    }
    if (!str_is_empty(exchange->location)) {
        http_add_header(http, "Location", exchange->location);
    }
    StrBuf buf = {0};
    if (exchange->reply) {
        fhir_write(&buf, call->reply_format, exchange->reply);
    }
    http_reply(http, exchange->status,
               exchange->reply ? fhir_content_type(call->reply_format) : NULL, &buf);
    strbuf_done(&buf);
}

static void fhir_end(void *ctx, HttpExchange *http)
{
    FhirEndpoint *endpoint = ctx;
    FhirCall *call = http->state;
    int rc = call->has_failed ? -(int)ERR_FHIR_INVALID : read_body(http);
    if (rc) {
        http_peer_record_refused(&endpoint->peers, http->req);
    } else {
        const FhirTransaction *transaction = call->transaction;
        rc = transaction->handler(endpoint->modules[transaction->module], &call->exchange);
        call->outcome = rc ? OUTCOME_FAILURE : OUTCOME_SUCCESS;
    }
    reply(endpoint, http, rc);
}

static void fhir_completed(void *ctx, HttpExchange *http)
{
    FhirEndpoint *endpoint = ctx;
    FhirCall *call = http->state;
    strbuf_done(&call->body);
    journal_finish(endpoint->journal, http->req, http->is_cut ? OUTCOME_FAULT : call->outcome);
}

HttpService fhir_endpoint_service(FhirEndpoint *endpoint)
{
    return (HttpService){
        .ctx = endpoint,
        .begin = fhir_begin,
        .body = fhir_body,
        .end = fhir_end,
        .completed = fhir_completed,
    };
}
