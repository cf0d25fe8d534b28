#include "lib/ebrim/vocabulary.h"
#include "registry/query_run.h"
#include "registry/registry.h"
#include "registry/request_text.h"

/** What the audit event of one ITI-18 is about (TF-2 3.18.5.1). In req->arena. */
typedef struct QueryAudit {
    Audit *audit;
    Request *req;
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

static QueryAudit *query_audit_new(const Registry *registry, Request *req, const XmlNode *body,
                                   const QueryRequest *request, const QueryAnswer *answer)
{
    QueryAudit *query = ARENA_NEW(req->arena, QueryAudit);
    query->audit = registry->config.audit;
    query->req = req;
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
        .id = str_trim(xml_attribute(xml_child(body, NS_RIM, "AdhocQuery"), "id")),
        .query = str_dup(req->arena, strbuf_str(&text)),
        .home = str_trim(xml_attribute(xml_child(body, NS_RIM, "AdhocQuery"), "home")),
    };
    strbuf_done(&text);
    return query;
}

static AuditEvent event_of(const QueryAudit *query)
{
    return (AuditEvent){
        .type = AUDIT_ITI18_QUERY,
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

int registry_iti18_stored_query(void *module, SoapExchange *exchange)
{
    Registry *registry = module;
    Request *req = exchange->req;
    const XmlNode *body = exchange->message->body;
    QueryRequest *request;
    _cleanup_(query_answer_freep) QueryAnswer *answer = NULL;
    int r = query_request_read(req, body, &request);
    if (r == 0) {
        r = query_run(registry, req, request, &answer);
    }
    int confirmed = request_confirm(req);
    if (confirmed < 0) {
        return confirmed;
    }
    QueryAudit *audit = query_audit_new(registry, req, body, request, answer);
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
