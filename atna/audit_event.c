#include "atna/audit_event.h"

#include "lib/base/clock.h"
#include "lib/base/oid.h"
#include "lib/xml/base64.h"

#define TERMINOLOGY "http://terminology.hl7.org/CodeSystem/"
#define DATA_ABSENT_REASON TERMINOLOGY "data-absent-reason"

/* ---- ids ---- */

Str audit_event_id(Arena *arena, int32_t chain, int64_t sequence)
{
    return str_printf(arena, "%d-%lld", (int)chain, (long long)sequence);
}

bool audit_event_id_parse(Str id, int32_t *ret_chain, int64_t *ret_sequence)
{
    uint64_t chain;
    uint64_t sequence;
    size_t dash = str_find_char(id, '-');
    if (dash == SIZE_MAX || !str_to_u64(str_slice(id, 0, dash), &chain) ||
        !str_to_u64(str_from_offset(id, dash + 1), &sequence) || chain > INT32_MAX ||
        sequence > INT64_MAX) {
        return false;
    }
    *ret_chain = (int32_t)chain;
    *ret_sequence = (int64_t)sequence;
    return true;
}

/* ---- codes ---- */

static bool is_uri(Str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c <= ' ' || c >= 127 || strchr("<>\"{}|\\^`", c)) {
            return false;
        }
    }
    return str_find_char(text, ':') != SIZE_MAX;
}

Str audit_event_system(Arena *arena, Str name)
{
    static const struct {
        Str name;
        Str system;
    } systems[] = {
        {STR_INIT("DCM"), STR_INIT(AUDIT_EVENT_TYPE_DCM)},
        {STR_INIT("IHE Transactions"), STR_INIT("urn:ihe:event-type-code")},
        {STR_INIT("RFC-3881"), STR_INIT("urn:ietf:rfc:3881")},
        {STR_INIT("IHE XDS Metadata"), STR_INIT("urn:oid:1.3.6.1.4.1.19376.1.2.6")},
    };
    for (size_t i = 0; i < ARRAY_LEN(systems); i++) {
        if (str_equal(name, systems[i].name)) {
            return systems[i].system;
        }
    }
    if (oid_is_valid(name)) {
        return str_printf(arena, "urn:oid:%.*s", STR_ARG(name));
    }
    return is_uri(name) ? name : STR_EMPTY;
}

/** The elements of a Coding. */
static void fill_coding(Arena *arena, FhirNode *coding, Str system, Str code, Str display)
{
    fhir_add_text(arena, coding, "system", system);
    fhir_add_text(arena, coding, "code", code);
    fhir_add_text(arena, coding, "display", display);
}

static void add_coding(Arena *arena, FhirNode *parent, const char *name, const AuditCode *code)
{
    FhirNode *coding = fhir_node_new(arena, name);
    fill_coding(arena, coding, audit_event_system(arena, code->system), code->code, code->text);
    fhir_append_unless_empty(parent, coding);
}

/** A code of one of the lists that AuditEvent has for numbers of DICOM. */
static void add_listed(Arena *arena, FhirNode *parent, const char *name, const char *system,
                       Str code)
{
    if (!str_is_empty(code)) {
        fill_coding(arena, fhir_add(arena, parent, name), str_from(system), code, STR_EMPTY);
    }
}

static void add_concept(Arena *arena, FhirNode *parent, const char *name, const AuditCode *code)
{
    FhirNode *concept = fhir_node_new(arena, name);
    add_coding(arena, concept, "coding", code);
    fhir_append_unless_empty(parent, concept);
}

static bool is_one_of(Str text, const char *characters)
{
    return text.len == 1 && strchr(characters, text.data[0]);
}

/* ---- agents ---- */

/** Source Role ID, Destination Role ID (DICOM PS3.16 CID 402). */
static bool is_direction(const AuditCode *role)
{
    return str_equal(role->code, STR("110152")) || str_equal(role->code, STR("110153"));
}

static const AuditCode *find_direction(const AuditParticipant *participant)
{
    for (size_t i = 0; i < participant->role_count; i++) {
        if (is_direction(&participant->roles[i])) {
            return &participant->roles[i];
        }
    }
    return NULL;
}

static void add_network(Arena *arena, FhirNode *agent, const AuditParticipant *participant)
{
    FhirNode *network = fhir_node_new(arena, "network");
    fhir_add_text(arena, network, "address", participant->network_access_point_id);
    if (is_one_of(participant->network_access_point_type, "12345")) {
        fhir_add_text(arena, network, "type", participant->network_access_point_type);
    }
    fhir_append_unless_empty(agent, network);
}

static void add_agent(Arena *arena, FhirNode *resource, const AuditParticipant *participant)
{
    FhirNode *agent = fhir_add(arena, resource, "agent");
    const AuditCode *direction = find_direction(participant);
    if (direction) {
        add_concept(arena, agent, "type", direction);
    }
    for (size_t i = 0; i < participant->role_count; i++) {
        if (&participant->roles[i] != direction) {
            add_concept(arena, agent, "role", &participant->roles[i]);
        }
    }
    FhirNode *identifier = fhir_node_new(arena, "identifier");
    fhir_add_text(arena, identifier, "value", participant->user_id);
    if (!str_is_empty(participant->user_id)) {
        fhir_append(fhir_add(arena, agent, "who"), identifier);
    }
    fhir_add_text(arena, agent, "altId", participant->alternative_user_id);
    fhir_add_text(arena, agent, "name", participant->user_name);
    fhir_add_boolean(arena, agent, "requestor", participant->is_requestor);
    add_network(arena, agent, participant);
}

/* ---- entities ---- */

static bool is_base64(Arena *arena, Str text)
{
    Base64Decoder decoder = {0};
    size_t len;
    uint8_t *bytes = arena_alloc(arena, BASE64_DECODED_MAX(text.len));
    return base64_decode(&decoder, text, bytes, &len) && base64_is_complete(&decoder);
}

/** FHIR wants base64 without white space to be exact; what is none is made so. */
static Str to_base64(Arena *arena, Str text)
{
    if (is_base64(arena, text)) {
        return text;
    }
    _cleanup_(strbuf_done) StrBuf buf = {0};
    strbuf_append_base64(&buf, text.data, text.len);
    return str_dup(arena, strbuf_str(&buf));
}

static void add_what(Arena *arena, FhirNode *entity, const AuditParticipantObject *object)
{
    FhirNode *identifier = fhir_node_new(arena, "identifier");
    add_concept(arena, identifier, "type", &object->id_type);
    fhir_add_text(arena, identifier, "value", object->id);
    if (identifier->first_child) {
        fhir_append(fhir_add(arena, entity, "what"), identifier);
    }
}

static void add_details(Arena *arena, FhirNode *entity, const AuditDetail *details, size_t count,
                        bool are_base64)
{
    for (size_t i = 0; i < count; i++) {
        Str name = str_is_empty(details[i].name) ? STR("detail") : details[i].name;
        if (str_is_empty(details[i].value)) {
            continue;
        }
        FhirNode *detail = fhir_add(arena, entity, "detail");
        fhir_add_text(arena, detail, "type", name);
        if (are_base64 && is_base64(arena, details[i].value)) {
            fhir_add_text(arena, detail, "valueBase64Binary", details[i].value);
        } else {
            fhir_add_text(arena, detail, "valueString", details[i].value);
        }
    }
}

/** FHIR R4 sev-1: an entity has a name or a query, not both. */
static void add_entity(Arena *arena, FhirNode *resource, const AuditParticipantObject *object)
{
    FhirNode *entity = fhir_node_new(arena, "entity");
    add_what(arena, entity, object);
    add_listed(arena, entity, "type", TERMINOLOGY "audit-entity-type", object->type);
    add_listed(arena, entity, "role", TERMINOLOGY "object-role", object->role);
    add_listed(arena, entity, "lifecycle", TERMINOLOGY "dicom-audit-lifecycle", object->life_cycle);
    if (!str_is_empty(object->sensitivity)) {
        fhir_add_text(arena, fhir_add(arena, entity, "securityLabel"), "code", object->sensitivity);
    }
    if (str_is_empty(object->query)) {
        fhir_add_text(arena, entity, "name", object->name);
    } else {
        fhir_add_text(arena, entity, "query", to_base64(arena, object->query));
    }
    add_details(arena, entity, object->details, object->detail_count, true);
    add_details(arena, entity, object->descriptions, object->description_count, false);
    fhir_append_unless_empty(resource, entity);
}

/* ---- the resource ---- */

/** What must be there and is not (FHIR R4 data-absent-reason). */
static void add_unknown(Arena *arena, FhirNode *resource, const char *name)
{
    fill_coding(arena, fhir_add(arena, resource, name), STR(DATA_ABSENT_REASON), STR("unknown"),
                STR_EMPTY);
}

static void add_event(Arena *arena, FhirNode *resource, const FoundRecord *record)
{
    const AuditMessage *message = &record->content.message;
    if (str_is_empty(message->event_id.code)) {
        add_unknown(arena, resource, "type");
    } else {
        add_coding(arena, resource, "type", &message->event_id);
    }
    for (size_t i = 0; i < message->event_type_count; i++) {
        add_coding(arena, resource, "subtype", &message->event_types[i]);
    }
    if (is_one_of(message->action, "CRUDE")) {
        fhir_add_text(arena, resource, "action", message->action);
    }
    fhir_add_text(arena, resource, "recorded", clock_iso8601(arena, record->event_us));
    if (record->content.outcome >= 0) {
        fhir_add_text(arena, resource, "outcome", str_printf(arena, "%d", record->content.outcome));
    }
    fhir_add_text(arena, resource, "outcomeDesc", message->outcome_text);
    for (size_t i = 0; i < message->purpose_count; i++) {
        add_concept(arena, resource, "purposeOfEvent", &message->purposes[i]);
    }
}

static void add_source(Arena *arena, FhirNode *resource, const AuditMessage *message)
{
    FhirNode *source = fhir_add(arena, resource, "source");
    fhir_add_text(arena, source, "site", message->enterprise_site_id);
    FhirNode *observer = fhir_add(arena, source, "observer");
    if (str_is_empty(message->source_id)) {
        fhir_add_text(arena, observer, "display", STR("unknown"));
    } else {
        fhir_add_text(arena, fhir_add(arena, observer, "identifier"), "value", message->source_id);
    }
    for (size_t i = 0; i < message->source_type_count; i++) {
        add_listed(arena, source, "type", TERMINOLOGY "security-source-type",
                   message->source_types[i].code);
    }
}

void audit_event_write(Arena *arena, FhirNode *resource, const FoundRecord *record)
{
    const AuditMessage *message = &record->content.message;
    const AuditParticipant nobody = {.user_id = STR_EMPTY};
    fhir_add_text(arena, resource, "id", audit_event_id(arena, record->chain, record->sequence));
    add_event(arena, resource, record);
    for (size_t i = 0; i < message->participant_count; i++) {
        add_agent(arena, resource, &message->participants[i]);
    }
    if (message->participant_count == 0) {
        add_agent(arena, resource, &nobody);
    }
    add_source(arena, resource, message);
    for (size_t i = 0; i < message->object_count; i++) {
        add_entity(arena, resource, &message->objects[i]);
    }
}
