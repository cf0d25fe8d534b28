#include <libxml/parser.h>
#include <libxml/xmlschemas.h>
#include <libxml/xpath.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "atna/audit.h"
#include "lib/access/access.h"
#include "lib/access/user.h"

/* The folder of reference schemas; without it the messages are not validated, only compared. */
#define REFERENCE "MUSUBI_REFERENCE"
#define SCHEMA "ihe/schema/atna/ipf-dicom2017c.xsd"

static const Principal gateway = {.node_id = 7, .node_name = STR_INIT("gateway-a")};

static const AccessCode roles[] = {
    {STR_INIT("106289002"), STR_INIT("2.16.840.1.113883.6.96"), STR_INIT("歯科医師"), {0}},
    {STR_INIT("night"), STR_INIT(""), STR_INIT(""), {0}},
};
static const AccessCode purposes[] = {
    {STR_INIT("TREAT"), STR_INIT("2.16.840.1.113883.5.8"), STR_INIT("treatment"), {0}},
    {STR_INIT("ETREAT"), STR_INIT("2.16.840.1.113883.5.8"), STR_INIT(""), {0}},
};
static const AccessUser doctor = {
    .id = STR_INIT("drsato"),
    .issuer = STR_INIT("https://idp.example/sts?a=1&b=2"),
    .alias = STR_INIT("sato"),
    .roles = roles,
    .role_count = ARRAY_LEN(roles),
    .purposes = purposes,
    .purpose_count = ARRAY_LEN(purposes),
};

static Audit audit = {.config = {.repository = "local",
                                 .source_id = "hie-registry-1",
                                 .host_name = "registry.example"}};

static const AuditObject objects[] = {
    {.kind = AUDIT_OBJECT_PATIENT,
     .id = STR_INIT("P1^^^&2.999.20.1&ISO"),
     .message_id = STR_INIT("MSG00001")},
    {.kind = AUDIT_OBJECT_SUBMISSION_SET, .id = STR_INIT("2.999.1.2")},
    {.kind = AUDIT_OBJECT_QUERY,
     .id = STR_INIT("urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"),
     .query = STR_INIT("<query/>"),
     .home = STR_INIT("urn:oid:2.999")},
    {.kind = AUDIT_OBJECT_DOCUMENT,
     .id = STR_INIT("2.999.3.4"),
     .repository_unique_id = STR_INIT("2.999.7"),
     .home = STR_INIT("urn:oid:2.999")},
    {.kind = AUDIT_OBJECT_REQUEST, .id = STR_INIT("request-1")},
    {.kind = AUDIT_OBJECT_PATIENT,
     .id = STR_INIT("P2^^^&2.999.20.1&ISO"),
     .message_id = STR_INIT("17@2.999.8"),
     .is_v3 = true},
    {.kind = AUDIT_OBJECT_NODE,
     .id = STR_INIT("gateway-a@hie-registry-1"),
     .name = STR_INIT("gateway-a"),
     .description = STR_INIT("revoked")},
    {.kind = AUDIT_OBJECT_RULE, .id = STR_INIT("musubi:role/physician")},
    {.kind = AUDIT_OBJECT_AUDIT_LOG, .id = STR_INIT(AUDIT_LOG_URI)},
    {.kind = AUDIT_OBJECT_BACKUP,
     .id = STR_INIT("file:///srv/backup/20260401T003000Z"),
     .name = STR_INIT("20260401T003000Z")},
    {.kind = AUDIT_OBJECT_SUBSCRIPTION,
     .id = STR_INIT("https://registry:8443/dsub?subscription=01a1fdcf")},
    {.kind = AUDIT_OBJECT_DOCUMENT_ENTRY,
     .id = STR_INIT("urn:uuid:01a1fdcf-e016-70d9-867e-840599874900"),
     .home = STR_INIT("urn:oid:1.2.3")},
    {.kind = AUDIT_OBJECT_ON_DEMAND_ENTRY,
     .id = STR_INIT("urn:uuid:01a1fdcf-e016-70d9-867e-840599874901")},
    {.kind = AUDIT_OBJECT_SUBMISSION_SET_ENTRY,
     .id = STR_INIT("urn:uuid:01a1fdcf-e016-70d9-867e-840599874902")},
};

typedef struct Fixture {
    Request *req;
    StrBuf buf;
    xmlDoc *doc;
    xmlXPathContext *xpath;
} Fixture;

static int set_up(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    f->req = request_new(600000);
    f->req->principal = &gateway;
    f->req->peer_address = STR("192.0.2.7");
    f->req->endpoint = STR("https://registry.example/registry");
    f->req->reply_to = STR("http://www.w3.org/2005/08/addressing/anonymous");
    *state = f;
    return 0;
}

static void forget_message(Fixture *f)
{
    xmlXPathFreeContext(f->xpath);
    xmlFreeDoc(f->doc);
    strbuf_clear(&f->buf);
    f->xpath = NULL;
    f->doc = NULL;
}

static int tear_down(void **state)
{
    Fixture *f = *state;
    forget_message(f);
    strbuf_done(&f->buf);
    request_free(f->req);
    free(f);
    return 0;
}

static void write_message(Fixture *f, const AuditEvent *event)
{
    forget_message(f);
    audit_message_write(&audit, f->req, event, &f->buf);
    f->doc = xmlReadMemory(f->buf.data, (int)f->buf.len, NULL, NULL, XML_PARSE_NONET);
    assert_non_null(f->doc);
    f->xpath = xmlXPathNewContext(f->doc);
}

/** Fails unless the XPath expression has this string value. */
static void expect(Fixture *f, const char *expression, const char *value)
{
    xmlXPathObject *found = xmlXPathEvalExpression((const xmlChar *)expression, f->xpath);
    assert_non_null(found);
    xmlChar *text = xmlXPathCastToString(found);
    if (strcmp((const char *)text, value) != 0) {
        fail_msg("%s is \"%s\", expected \"%s\" in %s", expression, (const char *)text, value,
                 f->buf.data);
    }
    xmlFree(text);
    xmlXPathFreeObject(found);
}

static AuditEvent event_of(AuditEventType type)
{
    return (AuditEvent){.type = type, .objects = objects, .object_count = ARRAY_LEN(objects)};
}

#define SOURCE                                                                                     \
    "//ActiveParticipant[RoleIDCode/@csd-code='110153' and RoleIDCode/@codeSystemName='DCM']"
#define DESTINATION "//ActiveParticipant[RoleIDCode/@csd-code='110152']"

/* ITI TF-2 3.41.5.1, 3.42.5.1, 3.18.5.1, 3.43.6.1, 3.8.5.1, 3.9.5.1, 3.10.5.1, 3.21.5.1, 3.30.7.1,
 * 3.44.5.1 to 3.47.5.1, 3.64.5.1, 3.78.5.1, 3.83.5.1, 3.104.5.1, 3.119.5.1, Table
 * 3.20.4.1.1.1-1. */
static const struct {
    AuditEventType type;
    const char *event_id;
    const char *type_code;
    const char *action;
} codes[] = {
    {AUDIT_ITI41_IMPORT, "110107", "ITI-41", "C"},
    {AUDIT_ITI42_EXPORT, "110106", "ITI-42", "R"},
    {AUDIT_ITI42_IMPORT, "110107", "ITI-42", "C"},
    {AUDIT_ITI57_UPDATE, "110107", "ITI-57", "U"},
    {AUDIT_ITI92_UPDATE, "110107", "ITI-92", "U"},
    {AUDIT_ITI62_REMOVE, "110110", "ITI-62", "D"},
    {AUDIT_ITI86_REMOVE, "110110", "ITI-86", "D"},
    {AUDIT_ITI18_QUERY, "110112", "ITI-18", "E"},
    {AUDIT_ITI51_QUERY, "110112", "ITI-51", "E"},
    {AUDIT_ITI61_IMPORT, "110107", "ITI-61", "C"},
    {AUDIT_ITI38_QUERY, "110112", "ITI-38", "E"},
    {AUDIT_ITI39_EXPORT, "110106", "ITI-39", "R"},
    {AUDIT_ITI38_ASK, "110112", "ITI-38", "E"},
    {AUDIT_ITI39_FETCH, "110107", "ITI-39", "C"},
    {AUDIT_RAD75_FETCH, "110104", "RAD-75", "C"},
    {AUDIT_ITI43_EXPORT, "110106", "ITI-43", "R"},
    {AUDIT_ITI8_CREATE, "110110", "ITI-8", "C"},
    {AUDIT_ITI8_UPDATE, "110110", "ITI-8", "U"},
    {AUDIT_ITI8_DELETE, "110110", "ITI-8", "D"},
    {AUDIT_ITI9_QUERY, "110112", "ITI-9", "E"},
    {AUDIT_ITI10_NOTIFY, "110110", "ITI-10", "R"},
    {AUDIT_ITI21_QUERY, "110112", "ITI-21", "E"},
    {AUDIT_ITI22_QUERY, "110112", "ITI-22", "E"},
    {AUDIT_ITI30_CREATE, "110110", "ITI-30", "C"},
    {AUDIT_ITI30_UPDATE, "110110", "ITI-30", "U"},
    {AUDIT_ITI30_DELETE, "110110", "ITI-30", "D"},
    {AUDIT_ITI44_CREATE, "110110", "ITI-44", "C"},
    {AUDIT_ITI44_UPDATE, "110110", "ITI-44", "U"},
    {AUDIT_ITI44_DELETE, "110110", "ITI-44", "D"},
    {AUDIT_ITI45_QUERY, "110112", "ITI-45", "E"},
    {AUDIT_ITI46_NOTIFY, "110110", "ITI-46", "R"},
    {AUDIT_ITI47_QUERY, "110112", "ITI-47", "E"},
    {AUDIT_ITI64_UPDATE, "110110", "ITI-64", "U"},
    {AUDIT_ITI64_SEND, "110110", "ITI-64", "U"},
    {AUDIT_ITI8_SEND_CREATE, "110110", "ITI-8", "C"},
    {AUDIT_ITI8_SEND_DELETE, "110110", "ITI-8", "D"},
    {AUDIT_ITI8_SEND_UPDATE, "110110", "ITI-8", "U"},
    {AUDIT_ITI78_QUERY, "110112", "ITI-78", "E"},
    {AUDIT_ITI83_QUERY, "110112", "ITI-83", "E"},
    {AUDIT_ITI93_CREATE, "110110", "ITI-93", "C"},
    {AUDIT_ITI93_UPDATE, "110110", "ITI-93", "U"},
    {AUDIT_ITI93_DELETE, "110110", "ITI-93", "D"},
    {AUDIT_ITI104_CREATE, "110110", "ITI-104", "C"},
    {AUDIT_ITI104_UPDATE, "110110", "ITI-104", "U"},
    {AUDIT_ITI104_DELETE, "110110", "ITI-104", "D"},
    {AUDIT_ITI119_QUERY, "110112", "ITI-119", "E"},
    {AUDIT_RAD8_BEGIN, "110102", "RAD-8", "E"},
    {AUDIT_RAD8_STORED, "110104", "RAD-8", "C"},
    {AUDIT_RAD14_QUERY, "110112", "RAD-14", "E"},
    {AUDIT_RAD16_BEGIN, "110102", "RAD-16", "E"},
    {AUDIT_RAD16_SENT, "110104", "RAD-16", "R"},
    {AUDIT_RAD16_MOVE_BEGIN, "110102", "RAD-16", "E"},
    {AUDIT_RAD16_MOVED, "110104", "RAD-16", "R"},
    {AUDIT_RAD66_REJECTED, "110103", "RAD-66", "D"},
    {AUDIT_RAD69_TRANSFERRED, "110104", "RAD-69", "R"},
    {AUDIT_RAD75_TRANSFERRED, "110104", "RAD-75", "R"},
    {AUDIT_ITI52_SUBSCRIBE, "110112", "ITI-52", "C"},
    {AUDIT_ITI52_UNSUBSCRIBE, "110112", "ITI-52", "D"},
    {AUDIT_ITI53_NOTIFY, "110106", "ITI-53", "R"},
    {AUDIT_ITI54_PUBLISH, "110107", "ITI-54", "C"},
    {AUDIT_ITI55_QUERY, "110112", "ITI-55", "E"},
    {AUDIT_RAD55_RETRIEVE, "110104", "RAD-55", "R"},
    {AUDIT_RAD107_RETRIEVE, "110104", "RAD-107", "R"},
    {AUDIT_RAD108_BEGIN, "110102", "RAD-108", "E"},
    {AUDIT_RAD108_STORED, "110104", "RAD-108", "C"},
    {AUDIT_RAD129_QUERY, "110112", "RAD-129", "E"},
    {AUDIT_PATIENT_CREATE, "110110", "", "C"},
    {AUDIT_PATIENT_READ, "110110", "", "R"},
    {AUDIT_PATIENT_UPDATE, "110110", "", "U"},
    {AUDIT_PATIENT_DELETE, "110110", "", "D"},
    {AUDIT_APPLICATION_START, "110100", "110120", "E"},
    {AUDIT_APPLICATION_STOP, "110100", "110121", "E"},
    {AUDIT_NODE_AUTHENTICATION_FAILURE, "110113", "110126", "E"},
    {AUDIT_LOGIN, "110114", "110122", "E"},
    {AUDIT_RESTRICTED_FUNCTION, "110113", "110132", "E"},
    {AUDIT_MESSAGE_REFUSED, "110113", "refused-message", "E"},
    {AUDIT_UNDELIVERED_REPLY, "110113", "undelivered-reply", "E"},
    {AUDIT_EMERGENCY_ACCESS, "110113", "110127", "E"},
    {AUDIT_AUDIT_LOG_USED, "110101", "", "R"},
    {AUDIT_ITI81_RETRIEVE, "110101", "ITI-81", "R"},
    {AUDIT_BACKUP, "110106", "backup", "R"},
    {AUDIT_RESTORE, "110107", "restore", "C"},
    {AUDIT_NETWORK_CONFIGURATION, "110113", "110128", "E"},
    {AUDIT_SECURITY_CONFIGURATION, "110113", "110129", "E"},
    {AUDIT_CONSENT_CHANGE, "110113", "110135", "E"},
    {AUDIT_OBJECT_SECURITY_CHANGE, "110113", "110135", "E"},
    {AUDIT_SECURITY_ROLES_CHANGE, "110113", "110136", "E"},
};

static void test_codes_of_every_event_are_those_of_its_transaction(void **state)
{
    Fixture *f = *state;
    assert_int_equal(ARRAY_LEN(codes), AUDIT_EVENT_COUNT);
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        AuditEvent event = event_of(codes[i].type);
        write_message(f, &event);
        expect(f, "//EventID/@csd-code", codes[i].event_id);
        expect(f, "//EventTypeCode/@csd-code", codes[i].type_code);
        expect(f, "//EventIdentification/@EventActionCode", codes[i].action);
        expect(f, "//EventIdentification/@EventOutcomeIndicator", "0");
        expect(f, "//AuditSourceIdentification/@AuditSourceID", "hie-registry-1");
    }
}

static void test_peer_that_sends_is_source_and_requestor(void **state)
{
    Fixture *f = *state;
    const AuditEventType types[] = {AUDIT_ITI41_IMPORT, AUDIT_ITI42_IMPORT, AUDIT_ITI18_QUERY,
                                    AUDIT_ITI8_CREATE};
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        AuditEvent event = event_of(types[i]);
        write_message(f, &event);
        expect(f, SOURCE "/@UserID", "gateway-a");
        expect(f, SOURCE "/@UserIsRequestor", "true");
        expect(f, SOURCE "/@NetworkAccessPointID", "192.0.2.7");
        expect(f, SOURCE "/@NetworkAccessPointTypeCode", "2");
        expect(f, SOURCE "/@AlternativeUserID", "");
        expect(f, DESTINATION "/@UserID", "https://registry.example/registry");
        expect(f, DESTINATION "/@UserIsRequestor", "false");
        expect(f, DESTINATION "/@AlternativeUserID", pid);
        expect(f, DESTINATION "/@NetworkAccessPointID", "registry.example");
        expect(f, DESTINATION "/@NetworkAccessPointTypeCode", "1");
    }
}

/* The data flow decides: TF-2 3.43.6.1. */
static void test_retrieving_peer_is_destination_and_requestor(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI43_EXPORT);
    write_message(f, &event);
    expect(f, SOURCE "/@UserID", "https://registry.example/registry");
    expect(f, SOURCE "/@UserIsRequestor", "false");
    expect(f, DESTINATION "/@UserID", "gateway-a");
    expect(f, DESTINATION "/@UserIsRequestor", "true");
}

static void test_event_that_we_send_names_the_actor_that_we_called(void **state)
{
    Fixture *f = *state;
    const struct {
        Str url;
        const char *host;
        const char *type;
    } cases[] = {
        {STR_INIT("https://central.example:8443/registry"), "central.example", "1"},
        {STR_INIT("https://192.0.2.1/registry"), "192.0.2.1", "2"},
        {STR_INIT("https://[2001:db8::1]:8443/registry"), "2001:db8::1", "2"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AuditEvent event = event_of(AUDIT_ITI42_EXPORT);
        event.remote_endpoint = cases[i].url;
        write_message(f, &event);
        expect(f, SOURCE "/@UserID", "hie-registry-1");
        expect(f, SOURCE "/@UserIsRequestor", "true");
        expect(f, DESTINATION "/@UserID", cases[i].url.data);
        expect(f, DESTINATION "/@UserIsRequestor", "false");
        expect(f, DESTINATION "/@NetworkAccessPointID", cases[i].host);
        expect(f, DESTINATION "/@NetworkAccessPointTypeCode", cases[i].type);
    }
}

/* C-MOVE: DICOM PS3.15 A.5.3.3, A.5.3.7. */
static void test_peer_that_has_us_send_is_the_requestor_beside_both_ends(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_RAD16_MOVED);
    event.remote_name = STR("VIEWER");
    event.remote_endpoint = STR("dicom://192.0.2.7:104");
    write_message(f, &event);
    expect(f, SOURCE "/@UserIsRequestor", "false");
    expect(f, DESTINATION "/@UserID", "VIEWER");
    expect(f, DESTINATION "/@NetworkAccessPointID", "192.0.2.7");
    expect(f, "//ActiveParticipant[not(RoleIDCode)]/@UserID", "gateway-a");
    expect(f, "//ActiveParticipant[not(RoleIDCode)]/@UserIsRequestor", "true");
}

/* Both are named as the message names them: TF-2 3.8.5.1, 3.10.5.1. */
static void test_hl7_message_that_we_send_names_both_by_facility_and_application(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI10_NOTIFY);
    event.remote_endpoint = STR("mllps://consumer.example:2575");
    event.own_name = STR("CENTER|PIXMGR");
    event.remote_name = STR("HOSPITAL|EMR");
    write_message(f, &event);
    expect(f, SOURCE "/@UserID", "CENTER|PIXMGR");
    expect(f, DESTINATION "/@UserID", "HOSPITAL|EMR");
    expect(f, DESTINATION "/@NetworkAccessPointID", "consumer.example");
}

/* Source UserID = MSH-4|MSH-3 with a literal pipe: TF-2 3.8.5.1. */
static void test_hl7_sender_is_named_by_facility_and_application(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI8_CREATE);
    f->req->reply_to = STR("HOSPITAL|EMR");
    write_message(f, &event);
    expect(f, SOURCE "/@UserID", "HOSPITAL|EMR");
    expect(f, "//ParticipantObjectDetail[@type='MSH-10']/@value", "TVNHMDAwMDE=");
}

static void test_start_names_application_and_launcher(void **state)
{
    Fixture *f = *state;
    AuditEvent event = {.type = AUDIT_APPLICATION_START};
    write_message(f, &event);
    expect(f, "//ActiveParticipant[RoleIDCode/@csd-code='110150']/@UserID", "hie-registry-1");
    expect(f, "//ActiveParticipant[RoleIDCode/@csd-code='110150']/@UserIsRequestor", "false");
    expect(f, "//ActiveParticipant[RoleIDCode/@csd-code='110151']/@UserIsRequestor", "true");
    expect(f, "string-length(//ActiveParticipant[RoleIDCode/@csd-code='110151']/@UserID) > 0",
           "true");
}

static void test_decision_names_the_operator_as_requestor(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_PATIENT_DELETE);
    f->req->reply_to = STR("sato");
    write_message(f, &event);
    expect(f, "//ActiveParticipant[RoleIDCode/@csd-code='110150']/@UserID", "hie-registry-1");
    expect(f, "//ActiveParticipant[RoleIDCode/@csd-code='110151']/@UserID", "sato");
    expect(f, "//ActiveParticipant[RoleIDCode/@csd-code='110151']/@UserIsRequestor", "true");
}

#define USER "//ActiveParticipant[@UserID='drsato']"

/** How many take part by the flow of an event alone. */
static unsigned count_parties(AuditEventType type)
{
    static const char *const flows[] = {
#define EVENT(name, event_id, event_display, type_code, type_system, type_display, action, flow)   \
#flow,
#include "atna/events.def"
#undef EVENT
    };
    return strcmp(flows[type], "PEER_DIRECTS") == 0 ? 3 : 2;
}

static void expect_parties(Fixture *f, unsigned count)
{
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", count);
    expect(f, "count(//ActiveParticipant)", text);
}

/* TF-2 3.40.4.2: the user of the assertion is in every record of the transaction, with the roles;
 * what the access is for is said of the event. */
static void test_user_of_an_assertion_takes_part_in_every_event(void **state)
{
    Fixture *f = *state;
    f->req->user = &doctor;
    for (AuditEventType type = 0; type < AUDIT_EVENT_COUNT; type++) {
        AuditEvent event = event_of(type);
        event.outcome = 8;
        event.outcome_text = STR("why");
        write_message(f, &event);
        expect_parties(f, count_parties(type) + 1);
        expect(f, USER "/@UserName", "sato<drsato@https://idp.example/sts?a=1&b=2>");
        expect(f, USER "/@UserIsRequestor", "true");
        expect(f, "count(" USER "/@*)", "3");
        expect(f, USER "/RoleIDCode[1]/@csd-code", "106289002");
        expect(f, USER "/RoleIDCode[1]/@codeSystemName", "2.16.840.1.113883.6.96");
        expect(f, USER "/RoleIDCode[1]/@originalText", "歯科医師");
        expect(f, USER "/RoleIDCode[2]/@codeSystemName", "unspecified");
        expect(f, USER "/RoleIDCode[2]/@originalText", "night");
        expect(f, "//EventOutcomeDescription/following-sibling::*[1]/@csd-code", "TREAT");
        expect(f, "//PurposeOfUse[1]/@originalText", "treatment");
        expect(f, "//PurposeOfUse[2]/@originalText", "ETREAT");
        expect(f, "name(//EventIdentification/*[last()])", "PurposeOfUse");
    }
}

/* TF-2 3.40.4.2: the alias may be empty. */
static void test_user_without_alias_is_named_by_id_and_issuer(void **state)
{
    Fixture *f = *state;
    const AccessUser user = {.id = STR_INIT("drsato"), .issuer = STR_INIT("CN=STS,O=<&>")};
    AuditEvent event = event_of(AUDIT_ITI18_QUERY);
    f->req->user = &user;
    write_message(f, &event);
    expect(f, USER "/@UserName", "<drsato@CN=STS,O=<&>>");
    expect(f, "count(" USER "/*)", "0");
    expect(f, "count(//PurposeOfUse)", "0");
}

/* Without a person nobody is invented. */
static void test_event_without_user_has_the_participants_of_its_flow(void **state)
{
    Fixture *f = *state;
    for (AuditEventType type = 0; type < AUDIT_EVENT_COUNT; type++) {
        AuditEvent event = event_of(type);
        write_message(f, &event);
        expect_parties(f, count_parties(type));
        expect(f, "count(//PurposeOfUse)", "0");
    }
}

/* TF-2 Table 3.20.4.1.1.1-1: the user and the node, about the patient. */
static void test_emergency_access_is_by_user_and_node_about_the_patient(void **state)
{
    Fixture *f = *state;
    AuditEvent event = {
        .type = AUDIT_EMERGENCY_ACCESS, .objects = objects, .object_count = 1, .outcome = 0};
    f->req->user = &doctor;
    write_message(f, &event);
    expect(f, USER "/@UserIsRequestor", "true");
    expect(f, "//ActiveParticipant[@UserID='gateway-a']/@UserIsRequestor", "true");
    expect(f, "//ActiveParticipant[@UserID='https://registry.example/registry']/@UserIsRequestor",
           "false");
    expect(f, "//ParticipantObjectIdentification/@ParticipantObjectID", "P1^^^&2.999.20.1&ISO");
}

#define OBJECT(type, role)                                                                         \
    "//ParticipantObjectIdentification[@ParticipantObjectTypeCode='" type                          \
    "' and @ParticipantObjectTypeCodeRole='" role "']"

/* The values of details and queries are base64; the two details of the home differ on purpose. */
static void test_objects_carry_ids_queries_and_details(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI18_QUERY);
    write_message(f, &event);
    expect(f, OBJECT("1", "1") "/@ParticipantObjectID", "P1^^^&2.999.20.1&ISO");
    expect(f, OBJECT("1", "1") "/ParticipantObjectIDTypeCode/@codeSystemName", "RFC-3881");
    expect(f, OBJECT("2", "20") "/@ParticipantObjectID", "2.999.1.2");
    expect(f, OBJECT("2", "20") "/ParticipantObjectIDTypeCode/@csd-code",
           "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd");
    expect(f, OBJECT("2", "24") "/ParticipantObjectIDTypeCode/@csd-code", "ITI-18");
    expect(f, OBJECT("2", "24") "/ParticipantObjectQuery", "PHF1ZXJ5Lz4=");
    expect(f, OBJECT("2", "24") "/ParticipantObjectDetail[@type='QueryEncoding']/@value",
           "VVRGLTg=");
    expect(
        f,
        OBJECT("2", "24") "/ParticipantObjectDetail[@type='urn:ihe:iti:xca:2010:homeCommunityId']"
                          "/@value",
        "dXJuOm9pZDoyLjk5OQ==");
    expect(f, OBJECT("2", "3") "/ParticipantObjectIDTypeCode/@originalText", "Report Number");
    expect(f, OBJECT("2", "3") "/ParticipantObjectDetail[@type='Repository Unique Id']/@value",
           "Mi45OTkuNw==");
    expect(f, OBJECT("2", "3") "/ParticipantObjectDetail[@type='ihe:homeCommunityID']/@value",
           "dXJuOm9pZDoyLjk5OQ==");
}

/* DICOM PS3.15 A.5.3.2, A.5.3.11. */
static void test_objects_of_alerts_and_of_the_audit_log_are_security_resources(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_SECURITY_CONFIGURATION);
    write_message(f, &event);
#define RESOURCE(n) "(" OBJECT("2", "13") ")[" n "]"
    expect(f, "count(" OBJECT("2", "13") ")", "3");
    expect(f, RESOURCE("1") "/@ParticipantObjectID", "gateway-a@hie-registry-1");
    expect(f, RESOURCE("1") "/ParticipantObjectIDTypeCode/@csd-code", "110182");
    expect(f, RESOURCE("1") "/ParticipantObjectName", "gateway-a");
    expect(f, RESOURCE("1") "/ParticipantObjectDetail[@type='Alert Description']/@value",
           "cmV2b2tlZA==");
    expect(f, RESOURCE("2") "/ParticipantObjectIDTypeCode/@csd-code", "12");
    expect(f, "count(" RESOURCE("2") "/ParticipantObjectName)", "0");
    expect(f, RESOURCE("3") "/ParticipantObjectIDTypeCode/@originalText", "URI");
    expect(f, RESOURCE("3") "/ParticipantObjectName", "Security Audit Log");
}

/* What an operator searched for is of no transaction (DICOM PS3.15 A.5.1.2.4). */
static void test_query_of_no_transaction_is_search_criteria(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_AUDIT_LOG_USED);
    write_message(f, &event);
    expect(f, OBJECT("2", "24") "/ParticipantObjectIDTypeCode/@csd-code", "10");
    expect(f, "count(//EventTypeCode)", "0");
}

/* TF-2 3.44.5.1: the message is named by its II, of type II and not MSH-10. */
static void test_patient_of_hl7_v3_carries_the_ii_of_the_message(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI44_CREATE);
    write_message(f, &event);
    expect(f, "(" OBJECT("1", "1") ")[2]/@ParticipantObjectID", "P2^^^&2.999.20.1&ISO");
    expect(f, "(" OBJECT("1", "1") ")[2]/ParticipantObjectDetail[@type='II']/@value",
           "MTdAMi45OTkuOA==");
    expect(f,
           "count("
           "(" OBJECT("1", "1") ")[2]/ParticipantObjectDetail)",
           "1");
}

/* BALP, XrequestId: the entity "transaction" is of no role. */
static void test_request_of_fhir_is_an_object_of_its_own(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI104_CREATE);
    write_message(f, &event);
#define REQUEST "//ParticipantObjectIdentification[@ParticipantObjectTypeCode='4']"
    expect(f, REQUEST "/@ParticipantObjectID", "request-1");
    expect(f, "count(" REQUEST "/@ParticipantObjectTypeCodeRole)", "0");
    expect(f, "//ParticipantObjectIDTypeCode[@csd-code='XrequestId']/@codeSystemName",
           "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType");
}

static void test_refusal_is_told_by_code_and_place_without_what_was_sent(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI9_QUERY);
    (void)!error_add(&f->req->errors, ERR_HL7_UNKNOWN_KEY_IDENTIFIER, "QPD^1^3^1^1",
                     "the identifier \"4711\" is not known here");
    audit_event_refuse(f->req, &event);
    write_message(f, &event);
    expect(f, "//EventIdentification/@EventOutcomeIndicator", "8");
    expect(f, "//EventOutcomeDescription",
           str_printf(f->req->arena, "not-found (HL7 table 0357: 204) at QPD^1^3^1^1, reference %s",
                      f->req->ref)
               .data);
}

/* A warning before it is not what it failed for; the code of TF-3 Table 4.2.4.1-2 comes first. */
static void test_refusal_is_of_the_first_error_that_is_no_warning(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI42_IMPORT);
    error_warn(&f->req->errors, ERR_XDS_EXTRA_METADATA_NOT_SAVED, "urn:x:note", "not kept");
    (void)!error_add(&f->req->errors, ERR_XDS_UNKNOWN_PATIENT_ID, NULL, "4711 is not known");
    (void)!error_add(&f->req->errors, ERR_XDS_REGISTRY_BUSY, NULL, "later");
    audit_event_refuse(f->req, &event);
    assert_int_equal(event.outcome, 8);
    Str wanted = str_printf(f->req->arena,
                            "XDSUnknownPatientId, not-found (HL7 table 0357: 204), reference %s",
                            f->req->ref);
    assert_string_equal(event.outcome_text.data, wanted.data);
}

/* It fails, whatever was forgotten. */
static void test_refusal_without_errors_is_serious(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI42_IMPORT);
    audit_event_refuse(f->req, &event);
    assert_int_equal(event.outcome, 12);
}

static void test_failure_carries_outcome_and_description(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI41_IMPORT);
    event.outcome = 8;
    event.outcome_text = STR("XDSUnknownPatientId <P1>");
    write_message(f, &event);
    expect(f, "//EventIdentification/@EventOutcomeIndicator", "8");
    expect(f, "//EventOutcomeDescription", "XDSUnknownPatientId <P1>");
}

static void test_anonymous_peer_without_node_is_named_by_its_address(void **state)
{
    Fixture *f = *state;
    AuditEvent event = event_of(AUDIT_ITI18_QUERY);
    f->req->principal = NULL;
    write_message(f, &event);
    expect(f, SOURCE "/@UserID", "192.0.2.7");
}

static void test_every_event_is_valid_by_the_dicom_schema(void **state)
{
    Fixture *f = *state;
    const char *reference = getenv(REFERENCE);
    if (reference == NULL) {
        print_message("skipped: " REFERENCE " does not name the folder of reference schemas\n");
        skip();
    }
    Str path = str_printf(f->req->arena, "%s/" SCHEMA, reference);
    xmlSchemaParserCtxt *parser = xmlSchemaNewParserCtxt(path.data);
    xmlSchema *schema = xmlSchemaParse(parser);
    assert_non_null(schema);
    xmlSchemaValidCtxt *validator = xmlSchemaNewValidCtxt(schema);
    for (int outcome = 0; outcome <= 12; outcome += 4) {
        for (AuditEventType type = 0; type < AUDIT_EVENT_COUNT; type++) {
            AuditEvent event = event_of(type);
            f->req->user = outcome > 0 ? &doctor : NULL;
            event.outcome = outcome;
            event.outcome_text = outcome > 0 ? STR("why") : STR_EMPTY;
            event.remote_endpoint = STR("https://central.example/registry");
            write_message(f, &event);
            if (xmlSchemaValidateDoc(validator, f->doc) != 0) {
                fail_msg("event %d: %s", (int)type, f->buf.data);
            }
        }
    }
    xmlSchemaFreeValidCtxt(validator);
    xmlSchemaFree(schema);
    xmlSchemaFreeParserCtxt(parser);
}

int main(void)
{
#define WITH_REQUEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_REQUEST(test_codes_of_every_event_are_those_of_its_transaction),
        WITH_REQUEST(test_peer_that_sends_is_source_and_requestor),
        WITH_REQUEST(test_retrieving_peer_is_destination_and_requestor),
        WITH_REQUEST(test_event_that_we_send_names_the_actor_that_we_called),
        WITH_REQUEST(test_peer_that_has_us_send_is_the_requestor_beside_both_ends),
        WITH_REQUEST(test_hl7_message_that_we_send_names_both_by_facility_and_application),
        WITH_REQUEST(test_hl7_sender_is_named_by_facility_and_application),
        WITH_REQUEST(test_start_names_application_and_launcher),
        WITH_REQUEST(test_decision_names_the_operator_as_requestor),
        WITH_REQUEST(test_user_of_an_assertion_takes_part_in_every_event),
        WITH_REQUEST(test_user_without_alias_is_named_by_id_and_issuer),
        WITH_REQUEST(test_event_without_user_has_the_participants_of_its_flow),
        WITH_REQUEST(test_emergency_access_is_by_user_and_node_about_the_patient),
        WITH_REQUEST(test_objects_carry_ids_queries_and_details),
        WITH_REQUEST(test_objects_of_alerts_and_of_the_audit_log_are_security_resources),
        WITH_REQUEST(test_query_of_no_transaction_is_search_criteria),
        WITH_REQUEST(test_patient_of_hl7_v3_carries_the_ii_of_the_message),
        WITH_REQUEST(test_request_of_fhir_is_an_object_of_its_own),
        WITH_REQUEST(test_refusal_is_told_by_code_and_place_without_what_was_sent),
        WITH_REQUEST(test_refusal_is_of_the_first_error_that_is_no_warning),
        WITH_REQUEST(test_refusal_without_errors_is_serious),
        WITH_REQUEST(test_failure_carries_outcome_and_description),
        WITH_REQUEST(test_anonymous_peer_without_node_is_named_by_its_address),
        WITH_REQUEST(test_every_event_is_valid_by_the_dicom_schema),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    xmlCleanupParser();
    return failed;
}
