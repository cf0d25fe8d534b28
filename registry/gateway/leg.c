#include "registry/gateway/leg.h"

#include <libxml/tree.h>

#include "lib/base/clock.h"
#include "lib/base/thread.h"
#include "lib/base/uuid.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/soap/client.h"
#include "lib/soap/reply.h"
#include "lib/xml/dom.h"
#include "lib/xml/namespaces.h"

#define NS_PER_MS 1000000
/** For one document. */
#define ERRORS_SEARCHED 1000

/* ---- making one ---- */

Str leg_security_headers(Arena *arena, const SoapMessage *message)
{
    xmlNode *root = message->security ? xmlDocGetRootElement(message->security->document) : NULL;
    _cleanup_(strbuf_done) StrBuf text = {0};
    for (xmlNode *header = root ? root->children : NULL; header; header = header->next) {
        for (xmlNode *one = header->children; one; one = one->next) {
            if (xml_dom_is(one, NS_WSSE, "Security") && !xml_dom_append(&text, one)) {
                return STR_EMPTY;
            }
        }
    }
    return str_dup(arena, strbuf_str(&text));
}

static void leg_free(void *object)
{
    Leg *leg = object;
    soap_receiver_free(leg->receiver);
    kept_documents_done(&leg->kept);
    request_free(leg->req);
}

/** The rest of the time for the reply is for making it of what has come. */
static unsigned time_left_ms(const Request *req)
{
    int64_t left_ns = req->deadline_ns - clock_now_ns();
    return left_ns > NS_PER_MS ? (unsigned)((left_ns - left_ns / 8) / NS_PER_MS) : 1;
}

/** Who asks is the same. */
static void take_identity(Request *req, const Request *asked)
{
    req->transaction = asked->transaction;
    req->principal = asked->principal;
    req->user = asked->user;
    req->rules = asked->rules;
    req->message_id = asked->message_id;
    req->peer_address = asked->peer_address;
    req->endpoint = asked->endpoint;
    req->reply_to = asked->reply_to;
    req->is_repository = asked->is_repository;
    memcpy(req->ref, asked->ref, sizeof(req->ref));
}

Leg *leg_new(const LegPlan *plan, const Community *community, Str body)
{
    const InitiatingGatewayConfig *config = &plan->gateway->config;
    Leg *leg = ARENA_NEW(plan->req->arena, Leg);
    unsigned left_ms = time_left_ms(plan->req);
    *leg = (Leg){
        .gateway = plan->gateway,
        .service = plan->service,
        .community = community,
        .home = community ? community->home : str_from(config->home_community_id),
        .body = body,
        .headers = community ? plan->headers : STR_EMPTY,
        .req = request_new(community ? MIN(left_ms, community->timeout_ms) : left_ms),
    };
    take_identity(leg->req, plan->req);
    leg->reading = *leg->req;
    error_list_init(&leg->reading.errors, leg->req->arena);
    kept_documents_init(&leg->kept, &plan->gateway->room);
    arena_defer(plan->req->arena, leg_free, leg);
    return leg;
}

/* ---- what comes back ---- */

static int begin_reply(Leg *leg, Str content_type)
{
    const DocumentSink *sink = gateway_services[leg->service].is_mtom ? &leg->kept.sink : NULL;
    leg->receiver = soap_receiver_new(&leg->reading, content_type, sink);
    return leg->receiver ? 0 : -(int)ERR_SOAP_SENDER;
}

static int on_begin(void *ctx, int status, Str content_type)
{
    Leg *leg = ctx;
    leg->problem = str_printf(leg->req->arena, "HTTP status %d", status);
    return begin_reply(leg, content_type);
}

static int on_bytes(void *ctx, const void *bytes, size_t len)
{
    Leg *leg = ctx;
    return soap_receiver_push(leg->receiver, bytes, len);
}

/** The reason that the reading found, if there is one. */
static void note_fault_of_reply(Leg *leg)
{
    const Error *error = leg->reading.errors.first;
    if (error) {
        leg->problem = str_printf(leg->req->arena, "%.*s%sits reply cannot be read: %.*s",
                                  STR_ARG(leg->problem), str_is_empty(leg->problem) ? "" : ", ",
                                  STR_ARG(error->context));
    }
}

static bool is_response(const Leg *leg, const XmlNode *body)
{
    return leg->service == GATEWAY_QUERY ? xml_is(body, NS_QUERY, "AdhocQueryResponse")
                                         : xml_is(body, NS_XDSB, "RetrieveDocumentSetResponse");
}

/** What has the status and the errors: the body itself, or rs:RegistryResponse in it. */
static const XmlNode *response_of(const Leg *leg, const XmlNode *body)
{
    return leg->service == GATEWAY_QUERY ? body : xml_child(body, NS_RS, "RegistryResponse");
}

/** By the last part of its name: there are two namespaces of them. */
static bool has_status(const XmlNode *response, const char *status)
{
    Str text = str_trim(xml_attribute(response, "status"));
    Str wanted = str_from(strrchr(status, ':'));
    return str_ends_with(text, wanted) || str_equal(text, str_from_offset(wanted, 1));
}

/** TF-3 Table 4.2.4.2-1: there are three. */
static bool is_status_known(const XmlNode *response)
{
    return has_status(response, URN_RESPONSE_SUCCESS) ||
           has_status(response, URN_RESPONSE_PARTIAL) || has_status(response, URN_RESPONSE_FAILURE);
}

/** Some do not say what they answer; who says that it is something else has mixed up patients. */
static bool is_of_question(const Leg *leg, const SoapMessage *message)
{
    Str related = xml_child_text(message->header, NS_WSA, "RelatesTo");
    return !leg->community || str_is_empty(related) || str_equal(related, leg->message_id);
}

static void finish_reply(Leg *leg)
{
    SoapMessage *message = NULL;
    soap_receiver_expect_reply(leg->receiver);
    if (soap_receiver_finish(leg->receiver, &message) != 0) {
        note_fault_of_reply(leg);
    } else if (!is_of_question(leg, message)) {
        leg->problem = STR("its reply is to another message (wsa:RelatesTo)");
    } else if (xml_is(message->body, NS_SOAP12, "Fault")) {
        leg->problem = str_printf(leg->req->arena, "SOAP fault: %.*s",
                                  STR_ARG(soap_fault_reason(message->body)));
    } else if (!is_response(leg, message->body)) {
        leg->problem = str_printf(leg->req->arena, "its reply is {%.*s}%.*s",
                                  STR_ARG(str_slice(message->body->ns, 0, 200)),
                                  STR_ARG(str_slice(message->body->name, 0, 100)));
    } else if (!is_status_known(response_of(leg, message->body))) {
        Str status = str_trim(xml_attribute(response_of(leg, message->body), "status"));
        leg->problem = str_printf(leg->req->arena, "its reply has the status \"%.*s\"",
                                  STR_ARG(str_slice(status, 0, 200)));
    } else {
        leg->reply = message;
    }
}

/* ---- another community ---- */

/** The packaging of request and reply is the same (TF-2 Appendix V.8.1): documents come by MTOM
 * only if the request is MTOM. @return its Content-Type */
static const char *write_request(Leg *leg, StrBuf *message)
{
    Arena *arena = leg->req->arena;
    const ServiceRow *row = &gateway_services[leg->service];
    Str id = str_from_offset(uuid_urn(arena, uuid_new()), sizeof("urn:uuid:") - 1);
    if (row->is_mtom) {
        strbuf_printf(message,
                      "--%.*s\r\nContent-Type: application/xop+xml; charset=UTF-8; "
                      "type=\"application/soap+xml\"\r\nContent-Transfer-Encoding: "
                      "binary\r\nContent-ID: <%.*s@root>\r\n\r\n",
                      STR_ARG(id), STR_ARG(id));
    }
    leg->message_id = soap_request_open_with(arena, row->action, leg->community->urls[leg->service],
                                             leg->headers, message);
    strbuf_append(message, leg->body);
    soap_request_close(message);
    if (!row->is_mtom) {
        return str_printf(arena, SOAP_CONTENT_TYPE "; action=\"%s\"", row->action).data;
    }
    strbuf_printf(message, "\r\n--%.*s--\r\n", STR_ARG(id));
    return str_printf(arena,
                      "multipart/related; type=\"application/xop+xml\"; start=\"<%.*s@root>\"; "
                      "start-info=\"application/soap+xml\"; action=\"%s\"; boundary=\"%.*s\"",
                      STR_ARG(id), row->action, STR_ARG(id))
        .data;
}

/** @return whether it can be asked now: not if too many wait for it already */
static bool take_client(Leg *leg)
{
    Arena *arena = leg->req->arena;
    char problem[512] = "";
    leg->client =
        gateway_client_take(leg->gateway, str_cstr(arena, leg->community->urls[leg->service]),
                            str_cstr(arena, leg->community->fingerprint), problem, sizeof(problem));
    if (!leg->client) {
        leg->problem = str_dup(arena, str_from(problem));
    }
    return leg->client != NULL;
}

static void run_other(Leg *leg)
{
    _cleanup_(strbuf_done) StrBuf text = {0};
    const char *type = write_request(leg, &text);
    const HttpMessage message = {.content_type = type, .text = strbuf_str(&text)};
    const HttpReceiver receiver = {.ctx = leg, .begin = on_begin, .bytes = on_bytes};
    HttpReply reply;
    Str why = STR_EMPTY;
    if (http_client_send(leg->client->http, leg->req, &message, &receiver, &reply, &why) == 0) {
        finish_reply(leg);
    } else if (leg->reading.errors.first) {
        note_fault_of_reply(leg);
    } else {
        leg->problem = why;
    }
}

/* ---- this community ---- */

/** The reply is read as if it came from elsewhere. */
static void receive_own(Leg *leg, SoapExchange *exchange)
{
    BodySource source;
    int64_t length;
    _cleanup_(strbuf_done) StrBuf piece = {0};
    soap_reply_source(exchange, &source, &length);
    int rc = begin_reply(leg, soap_reply_content_type(exchange));
    int more = 1;
    while (rc == 0 && more > 0) {
        more = source.next(source.ctx, &piece);
        rc = more < 0 ? more : soap_receiver_push(leg->receiver, piece.data, piece.len);
        strbuf_clear(&piece);
    }
    source.done(source.ctx);
    if (rc == 0) {
        finish_reply(leg);
    } else {
        leg->problem = STR("its answer broke off");
    }
}

static void answer_own(Leg *leg, SoapReceiver *receiver, SoapMessage *message)
{
    const GatewayActor *actor = &leg->gateway->config.own[leg->service];
    const ServiceRow *row = &gateway_services[leg->service];
    SoapExchange exchange = {.req = leg->req, .message = message, .receiver = receiver};
    soap_reply_open(&exchange, row->own_reply_action, row->is_mtom);
    if (actor->handler(actor->module, &exchange) == 0) {
        receive_own(leg, &exchange);
    } else {
        const Error *error = leg->req->errors.first;
        leg->problem = error ? error->context : STR("it cannot answer");
    }
    strbuf_done(&exchange.reply_xml);
}

static void run_own(Leg *leg)
{
    Request *req = leg->req;
    if (!leg->gateway->config.own[leg->service].handler) {
        leg->problem = STR("this community has nothing that answers that");
        return;
    }
    const Str message_id = req->message_id;
    const Str reply_to = req->reply_to;
    _cleanup_(strbuf_done) StrBuf text = {0};
    soap_request_open(req->arena, gateway_services[leg->service].own_action, STR_EMPTY, &text);
    strbuf_append(&text, leg->body);
    soap_request_close(&text);
    SoapMessage *message = NULL;
    SoapReceiver *receiver = soap_receiver_new(req, STR(SOAP_CONTENT_TYPE), NULL);
    if (receiver && soap_receiver_push(receiver, text.data, text.len) == 0 &&
        soap_receiver_finish(receiver, &message) == 0) {
        req->message_id = message_id; /* for audit it is the message that came */
        req->reply_to = reply_to;
        answer_own(leg, receiver, message);
    } else {
        leg->problem = STR("the request cannot be passed on");
    }
    soap_receiver_free(receiver);
}

/* ---- all of them ---- */

static void *run(void *object)
{
    Leg *leg = object;
    if (leg->community) {
        run_other(leg);
        gateway_client_give_back(leg->gateway, leg->client);
    } else {
        run_own(leg);
    }
    return NULL;
}

/** Who saw something in an emergency, and what the audit spool has to hold before the reply. */
static void take_over(Request *req, const Leg *leg)
{
    if (!leg->community) {
        req->rules = leg->req->rules;
    }
    req->audit_ticket = MAX(req->audit_ticket, leg->req->audit_ticket);
}

static bool is_ready(Leg *leg)
{
    return !leg->community || take_client(leg);
}

/** In a thread of its own. @return whether it runs */
static bool start(Leg *leg)
{
    if (!is_ready(leg)) {
        return false;
    }
    bool is_started = thread_start(&leg->thread, run, leg) == 0;
    if (!is_started) {
        leg->problem = STR("this gateway is too busy to ask it");
    }
    if (!is_started && leg->client) {
        gateway_client_give_back(leg->gateway, leg->client);
    }
    return is_started;
}

void legs_run(Request *req, Leg **legs, size_t count)
{
    bool is_started[COMMUNITIES_MAX + 1] = {false};
    for (size_t i = 1; i < count; i++) {
        is_started[i] = start(legs[i]);
    }
    if (count > 0 && is_ready(legs[0])) {
        run(legs[0]);
    }
    for (size_t i = 1; i < count; i++) {
        if (is_started[i]) {
            (void)pthread_join(legs[i]->thread, NULL);
        }
    }
    for (size_t i = 0; i < count; i++) {
        take_over(req, legs[i]);
    }
}

/* ---- errors ---- */

/** A text of this community ends in the reference that the reply puts behind every text. */
static Str without_reference(const Leg *leg, const Request *req, Str text)
{
    Str reference = str_printf(leg->req->arena, " [ref %s]", req->ref);
    return str_ends_with(text, reference) ? str_slice(text, 0, text.len - reference.len) : text;
}

static bool is_warning(const XmlNode *error)
{
    return str_ends_with(str_trim(xml_attribute(error, "severity")), STR("Warning"));
}

static void pass_error(Leg *leg, Request *req, const XmlNode *node)
{
    Str name = str_trim(xml_attribute(node, "errorCode"));
    Str text = without_reference(leg, req, xml_attribute(node, "codeContext"));
    Str location = str_trim(xml_attribute(node, "location"));
    ErrorCode code = error_code_from_ihe(name);
    Severity severity = is_warning(node) ? SEVERITY_WARNING : SEVERITY_ERROR;
    if (leg->service == GATEWAY_QUERY && leg->community && code == ERR_XDS_UNKNOWN_PATIENT_ID) {
        leg->has_failed = false; /* it has answered: nothing is known there (TF-2 3.18.4.1.3) */
        return;
    }
    if (code == ERR_NONE) {
        code = req->is_repository ? ERR_XDS_REPOSITORY_ERROR : ERR_XDS_REGISTRY_ERROR;
        text = str_printf(leg->req->arena, "%.*s: %.*s", STR_ARG(name), STR_ARG(text));
    }
    if (leg->service == GATEWAY_QUERY || str_is_empty(location)) {
        location = leg->home;
    }
    error_add_str(&req->errors, code, severity, location, text);
    leg->error = severity == SEVERITY_WARNING ? leg->error : req->errors.last;
}

static void pass_unavailable(Leg *leg, Request *req)
{
    Str name = leg->community ? leg->community->name : STR("this community");
    leg->has_failed = true;
    (void)error_add(&req->errors, ERR_XDS_UNAVAILABLE_COMMUNITY, str_cstr(req->arena, leg->home),
                    "community %.*s (%.*s) does not answer: %.*s; ask again later",
                    STR_ARG(leg->home), STR_ARG(name), STR_ARG(leg->problem));
    leg->error = req->errors.last;
}

void leg_pass_errors(Leg *leg, Request *req)
{
    if (!leg->reply) {
        pass_unavailable(leg, req);
        return;
    }
    const XmlNode *response = response_of(leg, leg->reply->body);
    const XmlNode *errors = xml_child(response, NS_RS, "RegistryErrorList");
    bool is_explained = has_status(response, URN_RESPONSE_SUCCESS);
    leg->has_failed = has_status(response, URN_RESPONSE_FAILURE);
    for (const XmlNode *node = xml_child(errors, NS_RS, "RegistryError"); node;
         node = xml_next(node, NS_RS, "RegistryError")) {
        is_explained |= !is_warning(node);
        pass_error(leg, req, node);
    }
    for (const Error *error = leg->reading.errors.first; error; error = error->next) {
        error_add_str(&req->errors, error->code, error->severity, leg->home, error->context);
        leg->error = req->errors.last;
    }
    if (!is_explained) {
        (void)error_add(&req->errors, ERR_XDS_UNAVAILABLE_COMMUNITY,
                        str_cstr(req->arena, leg->home),
                        "the community answers with %s and does not say why; ask its operator",
                        leg->has_failed ? "a failure" : "a part of what it has");
        leg->error = req->errors.last;
    }
}

const Error *leg_refuse_home(const Leg *leg, Request *req, Str home, const char *location,
                             const char *what, Str id)
{
    (void)error_add(
        &req->errors,
        str_is_empty(home) ? ERR_XDS_MISSING_HOME_COMMUNITY_ID : ERR_XDS_UNKNOWN_COMMUNITY,
        location,
        "the gateway of community %.*s gave the %s %.*s with home \"%.*s\"; it is left "
        "out: the gateway has to give its own",
        STR_ARG(leg->home), what, STR_ARG(str_slice(id, 0, 100)), STR_ARG(str_slice(home, 0, 200)));
    return req->errors.last;
}

bool leg_tells_of(const Leg *leg, Str unique_id)
{
    const XmlNode *errors =
        xml_child(response_of(leg, leg->reply->body), NS_RS, "RegistryErrorList");
    const XmlNode *node = xml_child(errors, NS_RS, "RegistryError");
    for (size_t i = 0; node && i < ERRORS_SEARCHED; i++) {
        if (str_find(xml_attribute(node, "location"), unique_id) != SIZE_MAX ||
            str_find(xml_attribute(node, "codeContext"), unique_id) != SIZE_MAX) {
            return true;
        }
        node = xml_next(node, NS_RS, "RegistryError");
    }
    return false;
}

/* ---- audit ---- */

static int append(const InitiatingGateway *gateway, Request *req, AuditEvent *event,
                  const Error *error)
{
    if (error) {
        audit_event_refuse_for(req, event, error);
    }
    return audit_append_event(gateway->config.audit, req, event);
}

int leg_record(const Leg *leg, Request *req, const Error *error, const AuditObject *objects,
               size_t object_count)
{
    if (!leg->community) {
        return 0;
    }
    AuditEvent event = {
        .type = gateway_services[leg->service].event,
        .remote_endpoint = leg->community->urls[leg->service],
        .objects = objects,
        .object_count = object_count,
    };
    return append(leg->gateway, req, &event, error);
}

int gateway_record(const InitiatingGateway *gateway, Request *req, AuditEventType type,
                   const Error *error, const AuditObject *objects, size_t object_count)
{
    AuditEvent event = {.type = type, .objects = objects, .object_count = object_count};
    return append(gateway, req, &event, error);
}

const Error *gateway_first_error(const Request *req)
{
    const Error *error = req->errors.first;
    while (error && error->severity != SEVERITY_ERROR) {
        error = error->next;
    }
    return error;
}
