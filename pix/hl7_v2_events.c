/** Audit events of HL7 v2 messages (ITI TF-2 3.8.5.1, 3.9.5.1, 3.21.5.1, 3.30.7.1, 3.64.5.1). */
#include "pix/hl7_v2.h"

/** What one message names, until it has named enough. */
typedef struct PatientObjects {
    AuditObject items[FEED_IDENTIFIERS_MAX];
    size_t count;
} PatientObjects;

static void add_patient(const Hl7Call *call, PatientObjects *objects, Str cx)
{
    if (objects->count < ARRAY_LEN(objects->items)) {
        objects->items[objects->count++] = (AuditObject){
            .kind = AUDIT_OBJECT_PATIENT, .id = cx, .message_id = call->req->message_id};
    }
}

/** As CX: of an authority that is configured in canonical form, else as sent. */
static Str patient_of(const Hl7Call *call, Str repetition)
{
    Hl7Cx cx = hl7_read_cx(call, repetition);
    AuthorityFault fault;
    const AssigningAuthority *authority =
        feed_rules_authority(call->authorities, &call->sender, &cx, &fault);
    return authority ? hl7_cx_format(call->req->arena, cx.id, authority->oid)
                     : er7_standardize(call->message, repetition);
}

/** The patients that a field of the n-th segment of this name names. */
static void add_patients(const Hl7Call *call, const char *segment, size_t n, size_t field,
                         PatientObjects *objects)
{
    const Er7Segment *found = er7_segment(call->message, str_from(segment), n);
    Str rest = found ? er7_field(call->message, found, field) : STR_EMPTY;
    Str repetition;
    while (objects->count < ARRAY_LEN(objects->items) &&
           str_split_next(&rest, call->message->delimiters.repetition, &repetition)) {
        if (!str_is_empty(repetition)) {
            add_patient(call, objects, patient_of(call, repetition));
        }
    }
}

static AuditEvent event_of(AuditEventType type, const PatientObjects *patients)
{
    return (AuditEvent){.type = type, .objects = patients->items, .object_count = patients->count};
}

size_t hl7_feed_events(const Hl7Call *call, AuditEvent ret_events[HL7_EVENTS_MAX])
{
    const Hl7MessageType *type = call->type;
    bool has_two = type->audit_merged != AUDIT_EVENT_COUNT && type->audit_merged != type->audit;
    PatientObjects *patients = ARENA_ARRAY(call->req->arena, PatientObjects, HL7_EVENTS_MAX);
    PatientObjects *merged = has_two ? &patients[HL7_EVENTS_MAX - 1] : &patients[0];
    size_t count = 0;
    add_patients(call, "PID", 1, 3, &patients[0]);
    add_patients(call, "PID", 2, 3, &patients[1]); /* link, unlink */
    add_patients(call, "MRG", 1, 1, merged);
    if (has_two) {
        ret_events[count++] = event_of(type->audit_merged, merged);
    }
    ret_events[count++] = event_of(type->audit, &patients[0]);
    if (patients[1].count > 0) {
        ret_events[count++] = event_of(type->audit, &patients[1]);
    }
    return count;
}

/** The event of a query: the patient it asks for, those in the answer, then the whole message. */
static AuditEvent query_event(const Hl7Call *call, const Str *patients, size_t count)
{
    PatientObjects *asked = ARENA_NEW(call->req->arena, PatientObjects);
    if (call->type->audit == AUDIT_ITI9_QUERY) { /* the others ask by criteria */
        add_patients(call, "QPD", 1, 3, asked);
    }
    size_t total = asked->count + count;
    AuditObject *objects = ARENA_ARRAY(call->req->arena, AuditObject, total + 1);
    for (size_t i = 0; i < asked->count; i++) {
        objects[i] = asked->items[i];
    }
    for (size_t i = 0; i < count; i++) {
        objects[asked->count + i] = (AuditObject){
            .kind = AUDIT_OBJECT_PATIENT, .id = patients[i], .message_id = call->req->message_id};
    }
    objects[total] = (AuditObject){.kind = AUDIT_OBJECT_QUERY,
                                   .id = call->req->message_id,
                                   .query = call->payload,
                                   .message_id = call->req->message_id};
    return (AuditEvent){.type = call->type->audit, .objects = objects, .object_count = total + 1};
}

int hl7_record_query(const Hl7Call *call, const Str *patients, size_t count)
{
    AuditEvent event = query_event(call, patients, count);
    return audit_record_event(call->pix->config.audit, call->req, &event);
}

/** QBP, or QCN of one; all else feeds. */
static bool is_query(const Hl7MessageType *type)
{
    return !str_equal(type->type, STR("ADT"));
}

int pix_hl7_record_unreadable(Pix *pix, Request *req)
{
    const AuditEvent event = audit_refused_message(req);
    return audit_record_event(pix->config.audit, req, &event);
}

void hl7_record_refused(const Hl7Call *call)
{
    if (!call->type) {
        (void)!pix_hl7_record_unreadable(call->pix, call->req);
        return;
    }
    AuditEvent events[HL7_EVENTS_MAX];
    size_t count = 1;
    if (is_query(call->type)) {
        events[0] = query_event(call, NULL, 0);
    } else {
        count = hl7_feed_events(call, events);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        audit_event_refuse(call->req, &events[i]);
        /* without the record the reply still goes out, with this fault in it: it carries no data */
        rc = audit_record_event(call->pix->config.audit, call->req, &events[i]);
    }
}
