#include "lib/ebrim/vocabulary.h"
#include "lib/soap/community.h"
#include "registry/query_run.h"
#include "registry/registry.h"
#include "registry/request_text.h"
#include "registry/stored_query.h"

/** What the audit event of one query is about (TF-2 3.18.5.1). In req->arena. */
typedef struct QueryAudit {
    Audit *audit;
    Request *req;
    AuditEventType type;
    AuditObject *objects;
    size_t object_count;
} QueryAudit;

/** A reply that is still being rendered while the peer takes it. In req->arena, which outlives it.
 */
typedef struct LongReply {
    QueryAudit *audit;
    BodySource answer;
    bool is_complete;
} LongReply;

static const XmlNode *adhoc_query_of(const XmlNode *body)
{
    return xml_child(body, NS_RIM, "AdhocQuery");
}

/** The patients of the request; where it names none, those whose objects the answer shows.
 * @param answer  NULL: it failed */
static size_t find_patients(Arena *arena, const QueryRequest *request, const QueryAnswer *answer,
                            const Str **ret_patients)
{
    const QueryValue *named = &request->values[FIELD_Patient_patient_id];
    if (named->count > 0 || answer == NULL) {
        *ret_patients = named->texts;
        return named->count;
    }
    Str *shown;
    size_t count = query_answer_patients(answer, arena, &shown);
    *ret_patients = shown;
    return count;
}

/** The community that the request names, else as which it is answered. */
static Str home_of(const Request *req, const XmlNode *body)
{
    Str home = str_trim(xml_attribute(adhoc_query_of(body), "home"));
    return str_is_empty(home) ? req->community : home;
}

static QueryAudit *query_audit_new(const Registry *registry, AuditEventType type, Request *req,
                                   const XmlNode *body, const QueryRequest *request,
                                   const QueryAnswer *answer)
{
    QueryAudit *query = ARENA_NEW(req->arena, QueryAudit);
    query->audit = registry->config.audit;
    query->req = req;
    query->type = type;
    const Str *patients = NULL;
    size_t patient_count = find_patients(req->arena, request, answer, &patients);
    query->objects = ARENA_ARRAY(req->arena, AuditObject, patient_count + 1);
    for (size_t i = 0; i < patient_count; i++) {
        query->objects[query->object_count++] =
            (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = patients[i]};
    }
    StrBuf text = {0};
    request_text_write(body, &text);
    query->objects[query->object_count++] = (AuditObject){
        .kind = AUDIT_OBJECT_QUERY,
        .id = str_trim(xml_attribute(adhoc_query_of(body), "id")),
        .query = str_dup(req->arena, strbuf_str(&text)),
        .home = home_of(req, body),
    };
    strbuf_done(&text);
    return query;
}

static AuditEvent event_of(const QueryAudit *query)
{
    return (AuditEvent){
        .type = query->type,
        .objects = query->objects,
        .object_count = query->object_count,
    };
}

static int append_outcome(const QueryAudit *query)
{
    AuditEvent event = event_of(query);
    if (error_list_has_errors(&query->req->errors)) {
        audit_event_refuse(query->req, &event);
    }
    return audit_append_event(query->audit, query->req, &event);
}

static int long_reply_next(void *ctx, StrBuf *buf)
{
    LongReply *reply = ctx;
    int r = reply->answer.next(reply->answer.ctx, buf);
    reply->is_complete = r == 0;
    return r;
}

/** A reply that fails on its way gets a second event: the first one said that it would be sent. */
static void long_reply_done(void *ctx)
{
    LongReply *reply = ctx;
    reply->answer.done(reply->answer.ctx);
    if (!reply->is_complete) {
        AuditEvent event = event_of(reply->audit);
        event.outcome = 8;
        event.outcome_text = STR("the reply was cut off before its end");
        /* A spool that cannot take it refuses every later read by itself (contract C6). */
        (void)!audit_record_event(reply->audit->audit, reply->audit->req, &event);
    }
}

/** Writes the reply, or as much as fits in memory with a source for the rest. Owns the answer. */
static int write_reply(QueryAudit *audit, QueryAnswer *answer, SoapExchange *exchange)
{
    BodySource rest = {0};
    int r = query_answer_write(answer, audit->req, &exchange->reply_xml, &rest);
    if (r < 0) {
        int recorded = append_outcome(audit);
        return recorded < 0 ? recorded : r;
    }
    if (rest.next != NULL) {
        LongReply *reply = ARENA_NEW(audit->req->arena, LongReply);
        *reply = (LongReply){.audit = audit, .answer = rest};
        exchange->reply_source =
            (BodySource){.ctx = reply, .next = long_reply_next, .done = long_reply_done};
    }
    return 0;
}

static int find(Registry *registry, Request *req, const XmlNode *body,
                const QueryTransaction *transaction, QueryRequest **ret_request,
                QueryAnswer **ret_answer)
{
    int r = query_request_read(req, body, transaction->is_multi_patient, ret_request);
    if (r == 0 && transaction->check != NULL) {
        r = transaction->check(registry, req, adhoc_query_of(body), *ret_request);
    }
    return r < 0 ? r : query_run(registry, req, *ret_request, ret_answer);
}

int stored_query_answer(Registry *registry, SoapExchange *exchange,
                        const QueryTransaction *transaction)
{
    Request *req = exchange->req;
    const XmlNode *body = exchange->message->body;
    QueryRequest *request;
    _cleanup_(query_answer_freep) QueryAnswer *answer = NULL;
    int r = find(registry, req, body, transaction, &request, &answer);
    int confirmed = request_confirm(req);
    if (confirmed < 0) {
        return confirmed;
    }
    if (transaction->is_cross_gateway) {
        req->community = str_from(registry->config.home_community_id);
        community_take_locations(req, "at");
    }
    QueryAudit *audit = query_audit_new(registry, transaction->event, req, body, request, answer);
    int recorded = append_outcome(audit);
    if (r == 0 && recorded == 0) {
        QueryAnswer *owned = answer;
        answer = NULL;
        r = write_reply(audit, owned, exchange);
    }
    if (r < 0 || recorded < 0) {
        query_answer_write_failure(req, &exchange->reply_xml);
    }
    return 0;
}

int registry_iti18_stored_query(void *registry, SoapExchange *exchange)
{
    static const QueryTransaction iti18 = {.event = AUDIT_ITI18_QUERY};
    return stored_query_answer(registry, exchange, &iti18);
}
