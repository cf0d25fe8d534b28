#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "atna/audit.h"
#include "lib/access/access.h"
#include "lib/access/user.h"
#include "lib/base/clock.h"
#include "lib/xml/write.h"

/** A coded element: csd-code, codeSystemName, originalText (DICOM PS3.15 A.5.1). */
typedef struct Code {
    const char *code;
    const char *system;
    const char *text;
} Code;

/** Who sends, who is called, as the comment of events.def says. */
typedef enum Flow {
    PEER_SENDS,
    PEER_FETCHES,
    WE_SEND,
    WE_FETCH,
    PEER_DIRECTS,
    OWN_ACTIVITY,
    ALERT,
    PEER_ACTS,
    FLOW_COUNT
} Flow;

static const struct {
    Code id;
    Code type;
    const char *action;
    Flow flow;
} event_rows[AUDIT_EVENT_COUNT] = {
#define EVENT(name, event_id, event_display, type_code, type_system, type_display, action, flow)   \
    [AUDIT_##name] = {                                                                             \
        {event_id, "DCM", event_display}, {type_code, type_system, type_display}, action, flow},
#include "atna/events.def"
#undef EVENT
};

/* RoleIDCode, DICOM PS3.16 CID 402. */
static const Code role_application = {"110150", "DCM", "Application"};
static const Code role_launcher = {"110151", "DCM", "Application Launcher"};
static const Code role_destination = {"110152", "DCM", "Destination Role ID"};
static const Code role_source = {"110153", "DCM", "Source Role ID"};

typedef enum Party { PARTY_NONE, PARTY_US, PARTY_PEER, PARTY_REMOTE, PARTY_ACCOUNT } Party;

#define MAX_PARTIES 3

/** The participants of each flow, in the order in which they are written. */
static const struct {
    Party party;
    const Code *role;
    bool is_requestor;
} flow_parties[FLOW_COUNT][MAX_PARTIES] = {
    [PEER_SENDS] = {{PARTY_PEER, &role_source, true}, {PARTY_US, &role_destination, false}},
    [PEER_FETCHES] = {{PARTY_US, &role_source, false}, {PARTY_PEER, &role_destination, true}},
    [WE_SEND] = {{PARTY_US, &role_source, true}, {PARTY_REMOTE, &role_destination, false}},
    [WE_FETCH] = {{PARTY_REMOTE, &role_source, false}, {PARTY_US, &role_destination, true}},
    [PEER_DIRECTS] = {{PARTY_US, &role_source, false},
                      {PARTY_REMOTE, &role_destination, false},
                      {PARTY_PEER, NULL, true}},
    [OWN_ACTIVITY] = {{PARTY_US, &role_application, false}, {PARTY_ACCOUNT, &role_launcher, true}},
    [ALERT] = {{PARTY_US, NULL, true}, {PARTY_PEER, NULL, false}},
    [PEER_ACTS] = {{PARTY_PEER, NULL, true}, {PARTY_US, NULL, false}},
};

#define BALP_ENTITY_TYPES "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"

/** DICOM PS3.15 A.5.2, A.5.3.2, A.5.3.11; ITI TF-2 3.18.5.1, 3.41.5.1, 3.42.5.1, 3.43.6.1, 3.8.5.1;
 * BALP. */
static const struct {
    const char *type_code; /* ParticipantObjectTypeCode */
    const char *role;      /* ParticipantObjectTypeCodeRole; "": none */
    Code id_type;          /* code NULL: that of the transaction */
    const char *home_type; /* the two texts differ on purpose: note in TF-2 3.43.6.1.1 */
    const char *name;      /* of every object of the kind; NULL: each has its own */
} object_rows[AUDIT_OBJECT_KIND_COUNT] = {
    [AUDIT_OBJECT_PATIENT] = {"1", "1", {"2", "RFC-3881", "Patient Number"}, NULL, NULL},
    [AUDIT_OBJECT_SUBMISSION_SET] = {"2",
                                     "20",
                                     {"urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd",
                                      "IHE XDS Metadata", "submission set classificationNode"},
                                     NULL,
                                     NULL},
    [AUDIT_OBJECT_QUERY] =
        {"2", "24", {NULL, NULL, NULL}, "urn:ihe:iti:xca:2010:homeCommunityId", NULL},
    [AUDIT_OBJECT_DOCUMENT] =
        {"2", "3", {"9", "RFC-3881", "Report Number"}, "ihe:homeCommunityID", NULL},
    [AUDIT_OBJECT_REQUEST] =
        {"4", "", {"XrequestId", BALP_ENTITY_TYPES, "X-Request-Id"}, NULL, NULL},
    [AUDIT_OBJECT_NODE] = {"2", "13", {"110182", "DCM", "Node ID"}, NULL, NULL},
    [AUDIT_OBJECT_RULE] = {"2", "13", {"12", "RFC-3881", "URI"}, NULL, NULL},
    [AUDIT_OBJECT_AUDIT_LOG] = {"2", "13", {"12", "RFC-3881", "URI"}, NULL, "Security Audit Log"},
    [AUDIT_OBJECT_BACKUP] = {"2", "17", {"12", "RFC-3881", "URI"}, NULL, NULL},
    [AUDIT_OBJECT_REGISTRY_OBJECT] = {"2",
                                      "3",
                                      {"urn:ihe:iti:2017:ObjectRef", "IHE XDS Metadata",
                                       "registry object reference"},
                                      NULL,
                                      NULL},
    [AUDIT_OBJECT_SUBSCRIPTION] = {"2", "20", {NULL, NULL, NULL}, NULL, NULL},
    [AUDIT_OBJECT_DOCUMENT_ENTRY] = {"2",
                                     "3",
                                     {"urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1",
                                      "IHE XDS Metadata", "document entry object type"},
                                     "urn:ihe:iti:xca:2010:homeCommunityId",
                                     NULL},
    [AUDIT_OBJECT_ON_DEMAND_ENTRY] = {"2",
                                      "3",
                                      {"urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248",
                                       "IHE XDS Metadata", "on-demand document entry object type"},
                                      "urn:ihe:iti:xca:2010:homeCommunityId",
                                      NULL},
    [AUDIT_OBJECT_SUBMISSION_SET_ENTRY] = {"2",
                                           "3",
                                           {"urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd",
                                            "IHE XDS Metadata",
                                            "submission set classificationNode"},
                                           "urn:ihe:iti:xca:2010:homeCommunityId",
                                           NULL},
    [AUDIT_OBJECT_DATA_SET] = {"2", "3", {"110181", "DCM", "SOP Class UID"}, NULL, NULL},
    [AUDIT_OBJECT_STUDY] = {"2", "3", {"110180", "DCM", "Study Instance UID"}, NULL, "Study"},
};

/** Of a query that is no transaction's. */
static const Code search_criteria = {"10", "RFC-3881", "Search Criteria"};

/** AuditSourceTypeCode 4 (DICOM PS3.15 A.5.2.4). */
static const Code source_type = {"4", "DCM", "Application Server Process"};

#define ANONYMOUS_ADDRESS "http://www.w3.org/2005/08/addressing/anonymous"

typedef struct Participant {
    Str user_id;
    Str alternative_user_id;  /* empty: none */
    Str user_name;            /* empty: none */
    Str network_access_point; /* host name or address; empty: none */
} Participant;

/** How an attribute begins. */
#define ATTRIBUTE(name) STR(" " name "=\"")

static void write_attribute(StrBuf *buf, Str begin, Str value)
{
    strbuf_append(buf, begin);
    xml_append_escaped(buf, value);
    strbuf_append_char(buf, '"');
}

static void write_attribute_unless_empty(StrBuf *buf, Str begin, Str value)
{
    if (!str_is_empty(value)) {
        write_attribute(buf, begin, value);
    }
}

static void write_coded(StrBuf *buf, Str begin, Str code, Str system, Str text)
{
    strbuf_append(buf, begin);
    write_attribute(buf, ATTRIBUTE("csd-code"), code);
    write_attribute(buf, ATTRIBUTE("codeSystemName"), system);
    write_attribute(buf, ATTRIBUTE("originalText"), text);
    strbuf_literal(buf, "/>");
}

static void write_code(StrBuf *buf, Str begin, const Code *code)
{
    write_coded(buf, begin, str_from(code->code), str_from(code->system), str_from(code->text));
}

/** The first of two that says something. */
static Str either(Str preferred, Str otherwise)
{
    return str_is_empty(preferred) ? otherwise : preferred;
}

/** Codes as an assertion gives them; all three attributes are required (DICOM PS3.15 A.5.1). */
static void write_access_codes(StrBuf *buf, Str begin, const AccessCode *codes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        write_coded(buf, begin, codes[i].code, either(codes[i].system, STR("unspecified")),
                    either(codes[i].display, codes[i].code));
    }
}

static void write_event_identification(StrBuf *buf, const Request *req, const AuditEvent *event)
{
    char outcome[12];
    snprintf(outcome, sizeof outcome, "%d", event->outcome);
    strbuf_literal(buf, "<EventIdentification");
    write_attribute(buf, ATTRIBUTE("EventActionCode"), str_from(event_rows[event->type].action));
    write_attribute(buf, ATTRIBUTE("EventDateTime"), clock_iso8601(req->arena, clock_utc_us()));
    write_attribute(buf, ATTRIBUTE("EventOutcomeIndicator"), str_from(outcome));
    strbuf_append_char(buf, '>');
    write_code(buf, STR("<EventID"), &event_rows[event->type].id);
    if (event_rows[event->type].type.code[0] != '\0') {
        write_code(buf, STR("<EventTypeCode"), &event_rows[event->type].type);
    }
    if (!str_is_empty(event->outcome_text)) {
        strbuf_literal(buf, "<EventOutcomeDescription>");
        xml_append_escaped(buf, event->outcome_text);
        strbuf_literal(buf, "</EventOutcomeDescription>");
    }
    if (req->user != NULL) { /* TF-2 3.40.4.2 */
        write_access_codes(buf, STR("<PurposeOfUse"), req->user->purposes,
                           req->user->purpose_count);
    }
    strbuf_literal(buf, "</EventIdentification>");
}

/** The process that reports: its AlternativeUserID is the process id (TF-2 3.20.7). */
static Participant participant_us(const Audit *audit, const Request *req, const AuditEvent *event)
{
    Flow flow = event_rows[event->type].flow;
    bool is_called =
        flow == PEER_SENDS || flow == PEER_FETCHES || flow == PEER_ACTS || flow == PEER_DIRECTS;
    return (Participant){
        .user_id =
            either(is_called ? req->endpoint : event->own_name, str_from(audit->config.source_id)),
        .alternative_user_id = str_printf(req->arena, "%d", (int)getpid()),
        .network_access_point = str_from(audit->config.host_name),
    };
}

/** UserID: wsa:ReplyTo or MSH-4|MSH-3; an anonymous sender is named by its node. */
static Participant participant_peer(const Request *req)
{
    const Principal *principal = req->principal;
    Str node = principal != NULL ? principal->node_name : STR_EMPTY;
    Str reply_to = str_equal(req->reply_to, STR(ANONYMOUS_ADDRESS)) ? STR_EMPTY : req->reply_to;
    return (Participant){
        .user_id = either(reply_to, either(node, either(req->peer_address, STR("unknown")))),
        .user_name = node,
        .network_access_point = req->peer_address,
    };
}

/** "host" of "scheme://host:port/path"; brackets of an IPv6 address removed. */
static Str host_of(Str url)
{
    size_t scheme = str_find(url, STR("://"));
    Str rest = scheme == SIZE_MAX ? url : str_from_offset(url, scheme + 3);
    Str authority = str_slice(rest, 0, str_find_char(rest, '/'));
    if (str_starts_with(authority, STR("["))) {
        return str_slice(authority, 1, str_find_char(authority, ']') - 1);
    }
    return str_slice(authority, 0, str_find_char(authority, ':'));
}

/** Who decided, or else the account that runs the process (Application Launcher, DICOM PS3.15
 * A.5.3.1). */
static Participant participant_account(const Audit *audit, const Request *req)
{
    struct passwd account;
    struct passwd *found = NULL;
    char *names = arena_alloc(req->arena, 4096);
    Str user_id = str_printf(req->arena, "%u", (unsigned)geteuid());
    if (getpwuid_r(geteuid(), &account, names, 4096, &found) == 0 && found != NULL) {
        user_id = str_from(account.pw_name);
    }
    return (Participant){.user_id = either(req->reply_to, user_id),
                         .network_access_point = str_from(audit->config.host_name)};
}

static Participant participant(const Audit *audit, const Request *req, const AuditEvent *event,
                               Party party)
{
    switch (party) {
    case PARTY_US:
        return participant_us(audit, req, event);
    case PARTY_PEER:
        return participant_peer(req);
    case PARTY_REMOTE:
        return (Participant){.user_id = either(event->remote_name, event->remote_endpoint),
                             .network_access_point = host_of(event->remote_endpoint)};
    case PARTY_ACCOUNT:
        return participant_account(audit, req);
    case PARTY_NONE:
    default:
        assert(false && "a flow's parties come first");
        return (Participant){0};
    }
}

/** NetworkAccessPointTypeCode: 1 host name, 2 IP address. */
static const char *network_access_point_type(Arena *arena, Str host)
{
    unsigned char address[sizeof(struct in6_addr)];
    const char *text = str_cstr(arena, host);
    bool is_address =
        inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
    return is_address ? "2" : "1";
}

static void write_participant(StrBuf *buf, Arena *arena, const Participant *who, const Code *role,
                              bool is_requestor)
{
    strbuf_literal(buf, "<ActiveParticipant");
    write_attribute(buf, ATTRIBUTE("UserID"), who->user_id);
    write_attribute_unless_empty(buf, ATTRIBUTE("AlternativeUserID"), who->alternative_user_id);
    write_attribute_unless_empty(buf, ATTRIBUTE("UserName"), who->user_name);
    write_attribute(buf, ATTRIBUTE("UserIsRequestor"), is_requestor ? STR("true") : STR("false"));
    if (!str_is_empty(who->network_access_point)) {
        write_attribute(buf, ATTRIBUTE("NetworkAccessPointID"), who->network_access_point);
        write_attribute(buf, ATTRIBUTE("NetworkAccessPointTypeCode"),
                        str_from(network_access_point_type(arena, who->network_access_point)));
    }
    strbuf_append_char(buf, '>');
    if (role != NULL) {
        write_code(buf, STR("<RoleIDCode"), role);
    }
    strbuf_literal(buf, "</ActiveParticipant>");
}

/** The person behind the request: "alias<user@issuer>", with the roles (TF-2 3.40.4.2). */
static void write_user(StrBuf *buf, Arena *arena, const AccessUser *user)
{
    Str name = str_printf(arena, "%.*s<%.*s@%.*s>", STR_ARG(user->alias), STR_ARG(user->id),
                          STR_ARG(user->issuer));
    strbuf_literal(buf, "<ActiveParticipant");
    write_attribute(buf, ATTRIBUTE("UserID"), user->id);
    write_attribute(buf, ATTRIBUTE("UserName"), name);
    strbuf_literal(buf, " UserIsRequestor=\"true\">");
    write_access_codes(buf, STR("<RoleIDCode"), user->roles, user->role_count);
    strbuf_literal(buf, "</ActiveParticipant>");
}

/** Every value is base64, so that nothing in it can break the record (DICOM PS3.15 A.5.1). */
static void write_detail_unless_empty(StrBuf *buf, const char *type, Str value)
{
    if (str_is_empty(value)) {
        return;
    }
    strbuf_literal(buf, "<ParticipantObjectDetail");
    write_attribute(buf, ATTRIBUTE("type"), str_from(type));
    strbuf_literal(buf, " value=\"");
    strbuf_append_base64(buf, value.data, value.len);
    strbuf_literal(buf, "\"/>");
}

/** What ParticipantObjectID is. */
static const Code *id_type_of(const AuditEvent *event, const AuditObject *object)
{
    const Code *of_kind = &object_rows[object->kind].id_type;
    const Code *of_transaction = &event_rows[event->type].type;
    if (of_kind->code != NULL) {
        return of_kind;
    }
    return of_transaction->code[0] != '\0' ? of_transaction : &search_criteria;
}

/** ParticipantObjectName or ParticipantObjectQuery: at most one of them. */
static void write_name_or_query(StrBuf *buf, const AuditObject *object)
{
    const char *of_kind = object_rows[object->kind].name;
    Str name = of_kind != NULL ? str_from(of_kind) : object->name;
    if (!str_is_empty(object->query)) {
        strbuf_literal(buf, "<ParticipantObjectQuery>");
        strbuf_append_base64(buf, object->query.data, object->query.len);
        strbuf_literal(buf, "</ParticipantObjectQuery>");
    } else if (!str_is_empty(name)) {
        strbuf_literal(buf, "<ParticipantObjectName>");
        xml_append_escaped(buf, name);
        strbuf_literal(buf, "</ParticipantObjectName>");
    }
}

/** ParticipantObjectDescription of a study (DICOM PS3.15 A.5.1). */
static void write_study(StrBuf *buf, const AuditObject *object)
{
    if (object->kind != AUDIT_OBJECT_STUDY) {
        return;
    }
    strbuf_literal(buf, "<ParticipantObjectDescription>");
    if (!str_is_empty(object->accession)) {
        strbuf_literal(buf, "<Accession");
        write_attribute(buf, ATTRIBUTE("Number"), object->accession);
        strbuf_literal(buf, "/>");
    }
    for (size_t i = 0; i < object->sop_class_count; i++) {
        strbuf_literal(buf, "<SOPClass");
        write_attribute(buf, ATTRIBUTE("UID"), object->sop_classes[i].uid);
        strbuf_printf(buf, " NumberOfInstances=\"%" PRIu64 "\"/>",
                      object->sop_classes[i].instance_count);
    }
    strbuf_literal(buf, "</ParticipantObjectDescription>");
}

static void write_object(StrBuf *buf, const AuditEvent *event, const AuditObject *object)
{
    bool is_stored_query = object->kind == AUDIT_OBJECT_QUERY && str_is_empty(object->message_id);
    strbuf_literal(buf, "<ParticipantObjectIdentification");
    write_attribute(buf, ATTRIBUTE("ParticipantObjectID"), object->id);
    write_attribute(buf, ATTRIBUTE("ParticipantObjectTypeCode"),
                    str_from(object_rows[object->kind].type_code));
    write_attribute_unless_empty(buf, ATTRIBUTE("ParticipantObjectTypeCodeRole"),
                                 str_from(object_rows[object->kind].role));
    if (object->is_erased) {
        strbuf_literal(buf, " ParticipantObjectDataLifeCycle=\"15\"");
    }
    strbuf_append_char(buf, '>');
    write_code(buf, STR("<ParticipantObjectIDTypeCode"), id_type_of(event, object));
    write_name_or_query(buf, object);
    write_detail_unless_empty(buf, "QueryEncoding", is_stored_query ? STR("UTF-8") : STR_EMPTY);
    write_detail_unless_empty(buf, "TransferSyntax", object->transfer_syntax);
    write_detail_unless_empty(buf, "Repository Unique Id", object->repository_unique_id);
    if (object_rows[object->kind].home_type != NULL) {
        write_detail_unless_empty(buf, object_rows[object->kind].home_type, object->home);
    }
    write_detail_unless_empty(buf, object->is_v3 ? "II" : "MSH-10", object->message_id);
    write_detail_unless_empty(buf, "Alert Description", object->description);
    write_detail_unless_empty(buf, "SHA-256", object->sha256);
    write_detail_unless_empty(buf, "Size", object->size);
    write_study(buf, object);
    strbuf_literal(buf, "</ParticipantObjectIdentification>");
}

/** Of an error whose list is empty: only a bug makes one. */
static const Error unknown_error = {.code = ERR_XDS_REGISTRY_ERROR, .severity = SEVERITY_ERROR};

static const Error *first_failure(const ErrorList *errors)
{
    const Error *error = errors->first;
    while (error != NULL && error->severity != SEVERITY_ERROR) {
        error = error->next;
    }
    return error != NULL ? error : &unknown_error;
}

/** The IHE code where it says more than the others. */
static Str ihe_name(const ErrorInfo *info)
{
    Str name = str_from(info->ihe_code);
    return str_equal(name, STR("XDSRegistryError")) ? STR_EMPTY : name;
}

void audit_event_refuse(Request *req, AuditEvent *event)
{
    audit_event_refuse_for(req, event, NULL);
}

void audit_event_refuse_for(Request *req, AuditEvent *event, const Error *error)
{
    error = error != NULL ? error : first_failure(&req->errors);
    const ErrorInfo *info = error_info(error->code);
    Str ihe = ihe_name(info);
    event->outcome = info->audit_outcome;
    event->outcome_text =
        str_printf(req->arena, "%.*s%s%s (HL7 table 0357: %d)%s%.*s, reference %s", STR_ARG(ihe),
                   str_is_empty(ihe) ? "" : ", ", info->fhir_issue, info->hl7_code,
                   str_is_empty(error->location) ? "" : " at ", STR_ARG(error->location), req->ref);
}

AuditEvent audit_refused_message(Request *req)
{
    AuditEvent event = {.type = req->refusal ? AUDIT_LOGIN : AUDIT_MESSAGE_REFUSED};
    audit_event_refuse(req, &event);
    if (req->refusal) {
        event.outcome_text =
            str_printf(req->arena, "%s, %.*s", req->refusal, STR_ARG(event.outcome_text));
    }
    if (first_failure(&req->errors)->code == ERR_FORBIDDEN) {
        event.type = AUDIT_RESTRICTED_FUNCTION;
        event.outcome_text = str_printf(req->arena, "%s is not allowed for this node, reference %s",
                                        req->transaction, req->ref);
    } else if (req->transaction[0] != '\0') {
        event.outcome_text =
            str_printf(req->arena, "%s: %.*s", req->transaction, STR_ARG(event.outcome_text));
    }
    return event;
}

void audit_message_write(const Audit *audit, const Request *req, const AuditEvent *event,
                         StrBuf *buf)
{
    Flow flow = event_rows[event->type].flow;
    strbuf_literal(buf, "<AuditMessage>");
    write_event_identification(buf, req, event);
    for (size_t i = 0; i < MAX_PARTIES && flow_parties[flow][i].party != PARTY_NONE; i++) {
        Participant who = participant(audit, req, event, flow_parties[flow][i].party);
        write_participant(buf, req->arena, &who, flow_parties[flow][i].role,
                          flow_parties[flow][i].is_requestor);
    }
    if (req->user != NULL) {
        write_user(buf, req->arena, req->user);
    }
    strbuf_literal(buf, "<AuditSourceIdentification");
    write_attribute(buf, ATTRIBUTE("AuditSourceID"), str_from(audit->config.source_id));
    strbuf_append_char(buf, '>');
    write_code(buf, STR("<AuditSourceTypeCode"), &source_type);
    strbuf_literal(buf, "</AuditSourceIdentification>");
    for (size_t i = 0; i < event->object_count; i++) {
        write_object(buf, event, &event->objects[i]);
    }
    strbuf_literal(buf, "</AuditMessage>");
}
