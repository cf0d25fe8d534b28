#include "registry/subscriptions/iti53_notify.h"

#include "lib/ebrim/vocabulary.h"
#include "lib/soap/client.h"
#include "lib/xml/namespaces.h"
#include "lib/xml/read.h"
#include "lib/xml/write.h"
#include "registry/query_objects.h"
#include "registry/query_run.h"

/* ---- what may be known ---- */

static int run_submission_sets(QueryRun *run)
{
    const QueryValue *named = &run->request->values[FIELD_SubmissionSet_entry_uuid];
    const LoadKeys keys = {.uuids = named->uuids, .count = named->count};
    return answer_objects(run, LOAD_SUBMISSION_SETS_BY_UUID, keys, NULL);
}

static const QueryParameter parameters[] = {
    {STR_INIT("entryUUID"), NEED_REQUIRED, MANY_LIST, FORM_ENTRY_UUID,
     FIELD_DocumentEntry_entry_uuid},
    {STR_INIT("entryUUID"), NEED_REQUIRED, MANY_LIST, FORM_ENTRY_UUID,
     FIELD_SubmissionSet_entry_uuid},
    {STR_INIT("level"), NEED_REQUIRED, MANY_ONE, FORM_LEVEL, FIELD_RegistryObject_metadata_level},
    {.name = {NULL, 0}},
};

/** The latest versions or not: what was published is told, also if it was replaced meanwhile. */
static const Query document_query = {.run = query_run_get_documents, .parameters = &parameters[3]};
static const Query set_query = {.run = run_submission_sets, .parameters = &parameters[3]};

static void set_value(QueryRequest *request, const QueryParameter *parameter, void *items,
                      size_t count)
{
    request->values[parameter->field] =
        (QueryValue){.parameter = parameter, .items = items, .count = count};
}

static QueryRequest *request_of(Arena *arena, Topic topic, const Uuid *objects, size_t count)
{
    static const int32_t all = METADATA_LEVEL_ALL;
    bool is_set = topic_objects(topic) == OBJECT_SUBMISSION_SET;
    QueryRequest *request = ARENA_NEW(arena, QueryRequest);
    Uuid *uuids = ARENA_ARRAY(arena, Uuid, count);
    int32_t *level = ARENA_NEW(arena, int32_t);
    memcpy(uuids, objects, count * sizeof(*uuids));
    *level = all;
    request->query = is_set ? &set_query : &document_query;
    request->is_leaf_class = true;
    set_value(request, &parameters[is_set ? 1 : 0], uuids, count);
    set_value(request, &parameters[2], level, 1);
    return request;
}

/** The answer of a stored query as a tree. */
static int read_answer(Request *req, QueryAnswer *answer, const XmlNode **ret_list)
{
    StrBuf xml = {0};
    BodySource rest = {0};
    XmlNode *root = NULL;
    int rc = query_answer_write(answer, req, &xml, &rest);
    while (rc == 0 && rest.next != NULL) {
        int more = rest.next(rest.ctx, &xml);
        if (more <= 0) {
            rest.done(rest.ctx);
            rest.next = NULL;
            rc = more;
        }
    }
    rc = rc < 0 ? rc : xml_read(req, strbuf_str(&xml), &root);
    strbuf_done(&xml);
    *ret_list = xml_child(root, NS_RIM, "RegistryObjectList");
    return rc;
}

int notice_read(Registry *registry, Request *req, Topic topic, const Uuid *objects, size_t count,
                Notice *ret_notice)
{
    QueryAnswer *answer = NULL;
    Notice notice = {0};
    int rc = query_run(registry, req, request_of(req->arena, topic, objects, count), &answer);
    if (rc < 0) {
        return rc;
    }
    notice.patient_count = query_answer_patients(answer, req->arena, &notice.patients);
    rc = read_answer(req, answer, &notice.objects);
    if (rc < 0) {
        return rc;
    }
    for (const XmlNode *node = notice.objects->first_child; node != NULL; node = node->next) {
        notice.object_count++;
    }
    *ret_notice = notice;
    return 0;
}

/* ---- the message (3.53.4.1.2) ---- */

static void write_address(StrBuf *buf, const char *element, Str address)
{
    strbuf_printf(buf, "<wsnt:%s><wsa:Address>", element);
    xml_append_escaped(buf, address);
    strbuf_printf(buf, "</wsa:Address></wsnt:%s>", element);
}

static void write_objects(StrBuf *buf, Topic topic, const XmlNode *objects)
{
    strbuf_literal(buf, "<lcm:SubmitObjectsRequest xmlns:lcm=\"" NS_LCM
                        "\"><rim:RegistryObjectList xmlns:rim=\"" NS_RIM "\">");
    for (const XmlNode *node = objects->first_child; node != NULL; node = node->next) {
        if (topic_content(topic) == NOTICE_REFERENCES) {
            strbuf_literal(buf, "<rim:ObjectRef id=\"");
            xml_append_escaped(buf, xml_attribute(node, "id"));
            strbuf_literal(buf, "\"/>");
        } else {
            xml_append_tree(buf, node, "");
        }
    }
    strbuf_literal(buf, "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>");
}

void notice_write(Request *req, const StoredSubscription *subscription, Str message_id,
                  const Notice *notice, StrBuf *buf)
{
    soap_request_open_as(ACTION_NOTIFY, subscription->consumer, message_id, buf);
    strbuf_literal(buf, "<wsnt:Notify xmlns:wsnt=\"" NS_WSNT "\"><wsnt:NotificationMessage>");
    write_address(
        buf, "SubscriptionReference",
        stored_subscription_address(req->arena, subscription->address, subscription->reference));
    strbuf_literal(buf, "<wsnt:Topic Dialect=\"" TOPIC_DIALECT_SIMPLE "\">");
    strbuf_append(buf, topic_text(subscription->topic));
    strbuf_literal(buf, "</wsnt:Topic>");
    write_address(buf, "ProducerReference", subscription->address);
    strbuf_literal(buf, "<wsnt:Message>");
    write_objects(buf, subscription->topic, notice->objects);
    strbuf_literal(buf, "</wsnt:Message></wsnt:NotificationMessage></wsnt:Notify>");
    soap_request_close(buf);
}

/* ---- audit (3.53.5.1) ---- */

static AuditObjectKind kind_of(const XmlNode *node)
{
    if (!xml_is(node, NS_RIM, "ExtrinsicObject")) {
        return AUDIT_OBJECT_SUBMISSION_SET_ENTRY;
    }
    return str_equal_ci(xml_attribute(node, "objectType"), STR(UUID_ON_DEMAND_DOCUMENT))
               ? AUDIT_OBJECT_ON_DEMAND_ENTRY
               : AUDIT_OBJECT_DOCUMENT_ENTRY;
}

size_t notice_list_audit_objects(const Registry *registry, Request *req, const XmlNode *list,
                                 const Str *patients, size_t patient_count,
                                 AuditObject **ret_objects)
{
    size_t count = 0;
    size_t capacity = patient_count;
    for (const XmlNode *node = list->first_child; node != NULL; node = node->next) {
        capacity++;
    }
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, capacity);
    for (size_t i = 0; i < patient_count; i++) {
        objects[count++] = (AuditObject){.kind = AUDIT_OBJECT_PATIENT, .id = patients[i]};
    }
    for (const XmlNode *node = list->first_child; node != NULL; node = node->next) {
        if (xml_is(node, NS_RIM, "ExtrinsicObject") || xml_is(node, NS_RIM, "RegistryPackage")) {
            objects[count++] = (AuditObject){.kind = kind_of(node),
                                             .id = xml_attribute(node, "id"),
                                             .home = str_from(registry->config.home_community_id)};
        }
    }
    *ret_objects = objects;
    return count;
}

size_t notice_audit_objects(const Registry *registry, Request *req, const Notice *notice,
                            AuditObject **ret_objects)
{
    return notice_list_audit_objects(registry, req, notice->objects, notice->patients,
                                     notice->patient_count, ret_objects);
}
