#include "pix/message_v3.h"

#include "lib/hl7/v3_person.h"
#include "lib/xml/write.h"
#include "pix/pix_state.h"

/* ---- messages ---- */

static Str organization_of(const XmlNode *device)
{
    return v3_id(v3_at(device, "asAgent/representedOrganization/id")).root;
}

FeedSender message_v3_sender(const V3Message *message)
{
    return (FeedSender){
        .application = v3_id(v3_child(message->sender_device, "id")).root,
        .facility = organization_of(message->sender_device),
        .is_node = true,
    };
}

Str message_v3_sender_name(Arena *arena, const V3Message *message)
{
    FeedSender sender = message_v3_sender(message);
    return str_printf(arena, "%.*s|%.*s", STR_ARG(sender.application), STR_ARG(sender.facility));
}

NamedIdentifier message_v3_identifier(Arena *arena, const XmlNode *node)
{
    V3Id id = v3_id(node);
    const char *location = v3_path(arena, node);
    return (NamedIdentifier){
        .cx = {.id = id.extension, .universal_id = id.root, .universal_id_type = STR("ISO")},
        .location = location,
        .authority_location = location,
    };
}

AuditObject message_v3_patient(Request *req, const V3Message *message, Str root, Str extension)
{
    return (AuditObject){
        .kind = AUDIT_OBJECT_PATIENT,
        .id = hl7_cx_format(req->arena, extension, root),
        .message_id = v3_id_text(req->arena, message->id),
        .is_v3 = true,
    };
}

/* ---- queries ---- */

/** Answers come at once: nothing is deferred (ITI TF-2 3.45.4.1.2, 3.47.4.1.2). */
static void check_priority(Request *req, const XmlNode *parameters)
{
    const XmlNode *node = v3_child(parameters, "responsePriorityCode");
    Str code = str_trim(xml_attribute(node, "code"));
    if (node && !str_equal(code, STR("I"))) {
        error_add(&req->errors, ERR_HL7_TABLE_VALUE_NOT_FOUND, v3_path(req->arena, node),
                  "responsePriorityCode \"%.*s\" is not supported here; send \"I\" (immediate)",
                  STR_ARG(code));
    }
}

int query_v3_read(QueryV3 *query, const XmlNode *root, const char *interaction, V3Type type)
{
    Request *req = query->req;
    int rc = v3_message_read(req, root, interaction, &query->message);
    const XmlNode *act = query->message.act;
    query->parameters = v3_child(act, "queryByParameter");
    if (act && !query->parameters) {
        return error_add(&req->errors, ERR_HL7_REQUIRED_FIELD_MISSING, v3_path(req->arena, act),
                         "element queryByParameter is missing; send the query in it");
    }
    if (query->parameters) {
        int fault = v3_check(req, query->parameters, type);
        rc = rc ? rc : fault;
        check_priority(req, query->parameters);
    }
    return rc || !error_list_has_errors(&req->errors) ? rc : -(int)req->errors.first->code;
}

void query_v3_begin(const QueryV3 *query, StrBuf *buf)
{
    v3_reply_begin(buf, query->req, &query->message, query->reply);
    strbuf_printf(buf,
                  "<controlActProcess classCode=\"CACT\" moodCode=\"EVN\"><code code=\"%s\" "
                  "codeSystem=\"" OID_HL7_INTERACTIONS "\"/>",
                  query->trigger);
}

static void append_quantities(StrBuf *buf, const uint64_t *quantities)
{
    static const char *const names[] = {"resultTotalQuantity", "resultCurrentQuantity",
                                        "resultRemainingQuantity"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        strbuf_printf(buf, "<%s value=\"%llu\"/>", names[i], (unsigned long long)quantities[i]);
    }
}

void query_v3_end(const QueryV3 *query, StrBuf *buf, V3Id query_id, bool has_result,
                  const uint64_t *quantities)
{
    bool has_failed = error_list_has_errors(&query->req->errors);
    strbuf_literal(buf, "<queryAck>");
    if (!str_is_empty(query_id.root)) {
        v3_append_id(buf, "queryId", query_id);
    }
    strbuf_printf(buf, "<statusCode code=\"deliveredResponse\"/><queryResponseCode code=\"%s\"/>",
                  has_failed   ? "AE"
                  : has_result ? "OK"
                               : "NF");
    if (quantities) {
        append_quantities(buf, quantities);
    }
    strbuf_literal(buf, "</queryAck>");
    if (query->parameters) {
        xml_append_tree(buf, query->parameters, NS_HL7_V3);
    }
    strbuf_literal(buf, "</controlActProcess>");
    v3_reply_end(buf, query->reply);
}

void query_v3_patient_begin(StrBuf *buf)
{
    strbuf_literal(buf, "<subject typeCode=\"SUBJ\"><registrationEvent classCode=\"REG\" "
                        "moodCode=\"EVN\"><id nullFlavor=\"NA\"/><statusCode code=\"active\"/>"
                        "<subject1 typeCode=\"SBJ\"><patient classCode=\"PAT\">");
}

void query_v3_patient_end(const QueryV3 *query, StrBuf *buf)
{
    strbuf_literal(buf, "</patient></subject1><custodian typeCode=\"CST\"><assignedEntity "
                        "classCode=\"ASSIGNED\">");
    if (str_is_empty(query->community)) {
        v3_append_id(buf, "id", (V3Id){.root = query->pix->authority_oid});
    } else { /* ITI TF-2 3.55.4.2.2 */
        v3_append_id(buf, "id", (V3Id){.root = query->community});
        strbuf_literal(buf, "<code code=\"NotHealthDataLocator\" "
                            "codeSystem=\"1.3.6.1.4.1.19376.1.2.27.2\"/>");
    }
    strbuf_literal(buf, "</assignedEntity></custodian></registrationEvent></subject>");
}

void query_v3_append_patient(const QueryV3 *query, StrBuf *buf, const PatientV3 *patient)
{
    _cleanup_(arena_freep) Arena *arena = arena_new();
    query_v3_patient_begin(buf);
    strbuf_append(buf, patient->ids);
    strbuf_literal(buf, "<statusCode code=\"active\"/><patientPerson classCode=\"PSN\" "
                        "determinerCode=\"INSTANCE\">");
    v3_person_append(buf, arena, patient->demographics);
    strbuf_append(buf, patient->other_ids);
    v3_person_append_relations(buf, arena, patient->demographics);
    strbuf_literal(buf, "</patientPerson><providerOrganization classCode=\"ORG\" "
                        "determinerCode=\"INSTANCE\">");
    v3_append_id(buf, "id", (V3Id){.root = patient->organization});
    strbuf_literal(buf,
                   "<contactParty classCode=\"CON\"/></providerOrganization><subjectOf1>"
                   "<queryMatchObservation classCode=\"OBS\" moodCode=\"EVN\"><code "
                   "code=\"IHE_PDQ\"/><value xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance"
                   "\" xsi:type=\"INT\" value=\"100\"/></queryMatchObservation></subjectOf1>");
    query_v3_patient_end(query, buf);
}

int query_v3_record(QueryV3 *query, const XmlNode *asked, V3Id query_id)
{
    Request *req = query->req;
    AuditObject *objects = ARENA_ARRAY(req->arena, AuditObject, query->patient_count + 1);
    _cleanup_(strbuf_done) StrBuf text = {0};
    for (size_t i = 0; i < query->patient_count; i++) {
        objects[i] = query->patients[i];
    }
    if (asked) {
        xml_append_tree(&text, asked, "");
    }
    objects[query->patient_count] = (AuditObject){
        .kind = AUDIT_OBJECT_QUERY,
        .id = v3_id_text(req->arena, query_id),
        .query = strbuf_str(&text),
        .message_id = v3_id_text(req->arena, query->message.id),
        .is_v3 = true,
    };
    AuditEvent event = {
        .type = query->event,
        .objects = objects,
        .object_count = query->patient_count + 1,
    };
    if (error_list_has_errors(&req->errors)) {
        audit_event_refuse(req, &event);
    }
    return audit_append_event(query->pix->config.audit, req, &event);
}
