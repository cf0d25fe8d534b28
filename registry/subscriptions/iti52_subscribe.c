#include "lib/base/clock.h"
#include "lib/base/duration.h"
#include "lib/base/instant.h"
#include "lib/ebrim/vocabulary.h"
#include "lib/xml/namespaces.h"
#include "lib/xml/write.h"
#include "registry/registry.h"
#include "registry/request_text.h"
#include "registry/subscriptions/stored_subscription.h"

/* ITI-52 Document Metadata Subscribe: Subscribe and Unsubscribe (ITI TF-2 3.52). */

/** Of one node: each is looked at for every submission of its patient. */
#define SUBSCRIPTIONS_PER_NODE_MAX 10000
#define FILTER_MAX_BYTES ((size_t)64 * 1024)

/** What a Subscribe asks for. */
typedef struct Subscribe {
    Str consumer;
    SubscriptionFilter filter;
    Str filter_xml;
    bool has_end;
    bool is_relative;
    int64_t ends_us;   /* unless relative */
    Duration duration; /* if relative */
} Subscribe;

/** What was stored of it. */
typedef struct Subscribed {
    Str address;
    int64_t created_us;
    int64_t ends_us; /* INT64_MIN: never */
} Subscribed;

/* ---- reading ---- */

static int refuse(Request *req, const char *location, Str problem)
{
    return error_add(&req->errors, ERR_WSN_SUBSCRIBE_CREATION_FAILED, location, "%.*s",
                     STR_ARG(problem));
}

static Str address_of(const XmlNode *reference)
{
    return xml_child_text(reference, NS_WSA, "Address");
}

/** Nothing is sent to an address that the operator did not register for the node. */
static int read_consumer(const Registry *registry, Request *req, const XmlNode *body,
                         Str *ret_consumer)
{
    Str fingerprint;
    Str problem;
    Str consumer = address_of(xml_child(body, NS_WSNT, "ConsumerReference"));
    if (str_is_empty(consumer)) {
        return refuse(req, "ConsumerReference",
                      STR("the Subscribe has no wsnt:ConsumerReference/wsa:Address; send the "
                          "address of the Document Metadata Notification Recipient"));
    }
    if (!node_directory_may_send_to(registry->config.nodes, req->arena, req->principal->node_id,
                                    consumer, &fingerprint, &problem)) {
        return refuse(req, "ConsumerReference", problem);
    }
    *ret_consumer = consumer;
    return 0;
}

static int bad_end(Request *req, Str text, const char *problem)
{
    Str shown = str_printable(req->arena, str_slice(text, 0, 100));
    return error_add(&req->errors, ERR_WSN_UNACCEPTABLE_TERMINATION_TIME, "InitialTerminationTime",
                     "the InitialTerminationTime is \"%.*s\", which %s; send an xs:dateTime in the "
                     "future, or an xs:duration such as P30D",
                     STR_ARG(shown), problem);
}

/** 3.52.4.1.3: xs:dateTime or xs:duration. */
static int read_end(Request *req, const XmlNode *body, Subscribe *subscribe)
{
    Instant instant;
    Str text = xml_child_text(body, NS_WSNT, "InitialTerminationTime");
    if (str_is_empty(text)) {
        return 0;
    }
    subscribe->has_end = true;
    subscribe->is_relative = duration_parse(text, &subscribe->duration);
    if (subscribe->is_relative) {
        bool is_future = subscribe->duration.months > 0 || subscribe->duration.us > 0;
        return is_future ? 0 : bad_end(req, text, "does not end in the future");
    }
    if (!instant_parse(text, &instant)) {
        return bad_end(req, text, "is neither");
    }
    subscribe->ends_us = instant.utc_us;
    return instant.utc_us > clock_utc_us() ? 0 : bad_end(req, text, "is past");
}

static int read_filter(Request *req, const XmlNode *body, Subscribe *subscribe)
{
    int rc = subscription_filter_read(req, xml_child(body, NS_WSNT, "Filter"), &subscribe->filter);
    if (rc < 0) {
        return rc;
    }
    StrBuf xml = {0};
    xml_append_tree(&xml, subscribe->filter.adhoc_query, "");
    bool is_small = xml.len <= FILTER_MAX_BYTES;
    subscribe->filter_xml = str_dup(req->arena, strbuf_str(&xml));
    strbuf_done(&xml);
    return is_small ? 0
                    : error_add(&req->errors, ERR_WSN_INVALID_FILTER, "rim:AdhocQuery",
                                "the filter has more than 64 KiB; send fewer values");
}

/** Of an emergency each access is recorded with its reason: that cannot be had in advance. */
static int check_user(Request *req)
{
    return access_declares_emergency(req->user)
               ? refuse(req, "PurposeOfUse",
                        STR("the assertion declares an emergency, which shows what there is now "
                            "and gives no right to be told later; subscribe with another "
                            "PurposeOfUse"))
               : 0;
}

/** All faults of the message, the filter's first: they name the fault. */
static int read_subscribe(const Registry *registry, Request *req, const XmlNode *body,
                          Subscribe *subscribe)
{
    int rc = read_filter(req, body, subscribe);
    int end = read_end(req, body, subscribe);
    int consumer = read_consumer(registry, req, body, &subscribe->consumer);
    int user = check_user(req);
    const XmlNode *policy = xml_child(body, NS_WSNT, "SubscriptionPolicy");
    if (policy != NULL && policy->first_child != NULL) {
        user = refuse(req, "SubscriptionPolicy",
                      STR("no wsnt:SubscriptionPolicy is offered; leave it out"));
    }
    return rc < 0 ? rc : end < 0 ? end : consumer < 0 ? consumer : user;
}

/* ---- rows ---- */

static const DbStatement insert_subscription = {
    "subscription_insert",
    "INSERT INTO subscription (reference, address, node, consumer, topic, filter, patient,"
    " user_texts, user_roles, user_purposes, ends_at)"
    " SELECT $1::uuid, $2::text, $3::int4, $4::text, $5::text, $6::text, $7::text, $8::text[],"
    " $9::text[], $10::text[],"
    " coalesce($11::timestamptz, now() + make_interval(months => $12::int4) + $13::int8 * interval"
    " '1 microsecond')"
    " WHERE (SELECT count(*) FROM (SELECT FROM subscription WHERE node = $3::int4 LIMIT $14::int4)"
    "  n) < $14::int4"
    " RETURNING created_at, ends_at"};

static const DbStatement delete_subscription = {
    "subscription_delete",
    "DELETE FROM subscription WHERE reference = $1::uuid AND node = $2::int4 RETURNING patient"};

static void bind_end(DbParams *params, const Subscribe *subscribe)
{
    if (subscribe->has_end && !subscribe->is_relative) {
        db_param_timestamp(params, subscribe->ends_us);
    } else {
        db_param_null(params);
    }
    if (subscribe->is_relative) {
        db_param_i32(params, subscribe->duration.months);
        db_param_i64(params, subscribe->duration.us);
    } else {
        db_param_null(params);
        db_param_null(params);
    }
}

static int insert(Request *req, DbConn *conn, const Subscribe *subscribe, Subscribed *subscribed)
{
    DbParams params;
    DbResult *rows = NULL;
    Uuid reference = uuid_new();
    db_params_init(&params, req->arena);
    db_param_uuid(&params, reference);
    db_param_text(&params, req->endpoint);
    db_param_i32(&params, req->principal->node_id);
    db_param_text(&params, subscribe->consumer);
    db_param_text(&params, topic_text(subscribe->filter.topic));
    db_param_text(&params, subscribe->filter_xml);
    db_param_text(&params, subscribe->filter.patient);
    stored_subscription_bind_user(&params, req->user);
    bind_end(&params, subscribe);
    db_param_i32(&params, SUBSCRIPTIONS_PER_NODE_MAX);
    int rc = db_exec(conn, req, &insert_subscription, &params, &rows);
    if (rc == 0 && db_rows(rows) == 0) {
        rc = refuse(req, "Subscribe",
                    STR("this node has 10000 subscriptions, the most that there may be; "
                        "unsubscribe from some first"));
    }
    if (rc == 0) {
        *subscribed = (Subscribed){
            .address = stored_subscription_address(req->arena, req->endpoint, reference),
            .created_us = db_timestamp(rows, 0, 0),
            .ends_us = db_timestamp_or(rows, 0, 1, INT64_MIN)};
    }
    return rc;
}

/* ---- audit ---- */

/** What an event of ITI-52 is about (3.52.6.1). */
typedef struct SubscribeAudit {
    AuditEventType type;
    Str address;
    const Subscribe *subscribe; /* NULL: Unsubscribe */
    Str patient;                /* empty: none, or not known */
    const XmlNode *body;
} SubscribeAudit;

static AuditEvent event_of(Request *req, const SubscribeAudit *audit)
{
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, 3);
    size_t count = 0;
    if (!str_is_empty(audit->patient)) {
        objects[count++] = (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = audit->patient};
    }
    if (!str_is_empty(audit->address)) {
        objects[count++] = (AuditObject){.kind = AUDIT_OBJECT_SUBSCRIPTION, .id = audit->address};
    }
    if (audit->subscribe != NULL) {
        StrBuf text = {0};
        request_text_write(audit->body, &text);
        const XmlNode *filter = xml_child(audit->body, NS_WSNT, "Filter");
        const XmlNode *query = xml_child(filter, NS_RIM, "AdhocQuery");
        objects[count++] = (AuditObject){.kind = AUDIT_OBJECT_QUERY,
                                         .id = str_trim(xml_attribute(query, "id")),
                                         .query = str_dup(req->arena, strbuf_str(&text))};
        strbuf_done(&text);
    }
    return (AuditEvent){.type = audit->type, .objects = objects, .object_count = count};
}

static int record_refusal(const Registry *registry, Request *req, const SubscribeAudit *audit)
{
    AuditEvent event = event_of(req, audit);
    audit_event_refuse(req, &event);
    return audit_record_event(registry->config.audit, req, &event);
}

/* ---- Subscribe ---- */

static int store(const Registry *registry, Request *req, const Subscribe *subscribe,
                 const XmlNode *body, Subscribed *ret_subscribed)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    Subscribed subscribed = {0};
    int rc = db_acquire(registry->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : insert(req, conn, subscribe, &subscribed);
    if (rc == 0) {
        const SubscribeAudit audit = {.type = AUDIT_ITI52_SUBSCRIBE,
                                      .address = subscribed.address,
                                      .subscribe = subscribe,
                                      .patient = subscribe->filter.patient,
                                      .body = body};
        AuditEvent event = event_of(req, &audit);
        rc = audit_queue_event(registry->config.audit, conn, req, &event);
    }
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    if (rc == 0) {
        *ret_subscribed = subscribed;
    }
    return rc;
}

static void write_address(StrBuf *xml, Str address)
{
    strbuf_literal(xml, "<wsnt:SubscriptionReference><wsa:Address>");
    xml_append_escaped(xml, address);
    strbuf_literal(xml, "</wsa:Address></wsnt:SubscriptionReference>");
}

/** 3.52.4.2 */
static void write_response(Request *req, const Subscribed *subscribed, StrBuf *xml)
{
    strbuf_literal(xml,
                   "<wsnt:SubscribeResponse xmlns:wsnt=\"" NS_WSNT "\" xmlns:wsa=\"" NS_WSA "\">");
    write_address(xml, subscribed->address);
    strbuf_printf(xml, "<wsnt:CurrentTime>%.*s</wsnt:CurrentTime>",
                  STR_ARG(clock_iso8601(req->arena, subscribed->created_us)));
    if (subscribed->ends_us != INT64_MIN) {
        strbuf_printf(xml, "<wsnt:TerminationTime>%.*s</wsnt:TerminationTime>",
                      STR_ARG(clock_iso8601(req->arena, subscribed->ends_us)));
    }
    strbuf_literal(xml, "</wsnt:SubscribeResponse>");
}

int registry_iti52_subscribe(void *module, SoapExchange *exchange)
{
    Registry *registry = module;
    Request *req = exchange->req;
    const XmlNode *body = exchange->message->body;
    Subscribe subscribe = {.filter = {.patient = STR_EMPTY}};
    Subscribed subscribed = {.address = STR_EMPTY};
    int rc = read_subscribe(registry, req, body, &subscribe);
    rc = rc < 0 ? rc : store(registry, req, &subscribe, body, &subscribed);
    if (rc < 0) {
        const SubscribeAudit audit = {.type = AUDIT_ITI52_SUBSCRIBE,
                                      .address = STR_EMPTY,
                                      .subscribe = &subscribe,
                                      .patient = subscribe.filter.patient,
                                      .body = body};
        int recorded = record_refusal(registry, req, &audit);
        return recorded < 0 ? recorded : rc;
    }
    write_response(req, &subscribed, &exchange->reply_xml);
    return 0;
}

/* ---- Unsubscribe ---- */

/** The reference in a SubscriptionReference address that we gave out. */
static bool read_reference(Arena *arena, Str address, Uuid *ret_reference)
{
    static const Str parameter = STR_INIT("?subscription=");
    size_t at = str_find(address, parameter);
    Str text = at == SIZE_MAX ? STR_EMPTY : str_from_offset(address, at + parameter.len);
    return uuid_parse_urn(str_lower(arena, str_printf(arena, "urn:uuid:%.*s", STR_ARG(text))),
                          ret_reference);
}

/** The subscription of another node is as one that there is not. */
static int unknown(Request *req)
{
    return error_add(&req->errors, ERR_WSN_RESOURCE_UNKNOWN, "wsa:To",
                     "wsa:To is not the address of a subscription of this node; send the "
                     "SubscriptionReference of the SubscribeResponse. It may have ended meanwhile, "
                     "or have been removed by the operator");
}

static int remove_subscription(const Registry *registry, Request *req, SubscribeAudit *audit)
{
    _cleanup_(db_releasep) DbConn *conn = NULL;
    DbParams params;
    DbResult *rows = NULL;
    Uuid reference;
    if (!read_reference(req->arena, audit->address, &reference)) {
        return unknown(req);
    }
    db_params_init(&params, req->arena);
    db_param_uuid(&params, reference);
    db_param_i32(&params, req->principal->node_id);
    int rc = db_acquire(registry->config.pool, req, &conn);
    rc = rc < 0 ? rc : db_queue_begin(conn, req);
    rc = rc < 0 ? rc : db_sync(conn, req, NULL);
    rc = rc < 0 ? rc : db_exec(conn, req, &delete_subscription, &params, &rows);
    if (rc == 0 && db_rows(rows) == 0) {
        rc = unknown(req);
    }
    if (rc == 0) {
        audit->patient = db_text(rows, 0, 0);
        AuditEvent event = event_of(req, audit);
        rc = audit_queue_event(registry->config.audit, conn, req, &event);
    }
    rc = rc < 0 ? rc : db_commit(conn, req, NULL);
    if (rc < 0 && rc != -(int)ERR_WSN_RESOURCE_UNKNOWN) {
        error_list_init(&req->errors, req->arena);
        rc = error_add(&req->errors, ERR_WSN_UNABLE_TO_DESTROY, NULL,
                       "the subscription could not be ended now; send the same message again");
    }
    return rc;
}

int registry_iti52_unsubscribe(void *module, SoapExchange *exchange)
{
    Registry *registry = module;
    Request *req = exchange->req;
    SubscribeAudit audit = {.type = AUDIT_ITI52_UNSUBSCRIBE,
                            .address = exchange->message->to,
                            .patient = STR_EMPTY,
                            .body = exchange->message->body};
    int rc = remove_subscription(registry, req, &audit);
    if (rc < 0) {
        int recorded = record_refusal(registry, req, &audit);
        return recorded < 0 ? recorded : rc;
    }
    strbuf_literal(&exchange->reply_xml, "<wsnt:UnsubscribeResponse xmlns:wsnt=\"" NS_WSNT "\"/>");
    return 0;
}
