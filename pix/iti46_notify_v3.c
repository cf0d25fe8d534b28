/** ITI-46 PIXV3 Update Notification (ITI TF-2 3.46.4.1.2): Patient Registry Record Revised, with
 * the identifiers alone. */
#include "lib/base/clock.h"
#include "lib/base/uuid.h"
#include "lib/hl7/v3.h"
#include "pix/subscribers/subscribers_private.h"

#define URN_LEN (sizeof("urn:uuid:") - 1)

static void append_id(StrBuf *buf, Str root, Str extension)
{
    v3_append_id(buf, "id", (V3Id){.root = root, .extension = extension});
}

/** receiver, sender (TF-2 Appendix O.1) */
static void append_device(StrBuf *buf, const char *element, const char *type_code, Str oid)
{
    strbuf_printf(buf, "<%s typeCode=\"%s\"><device classCode=\"DEV\" determinerCode=\"INSTANCE\">",
                  element, type_code);
    append_id(buf, oid, STR_EMPTY);
    strbuf_printf(buf, "</device></%s>", element);
}

static void append_transmission(const NotificationRoute *route, Str message_id, StrBuf *buf)
{
    Str manager = str_from(route->config->manager_oid);
    strbuf_literal(buf, "<PRPA_IN201302UV02 xmlns=\"" NS_HL7_V3 "\" ITSVersion=\"XML_1.0\">");
    append_id(buf, manager, message_id);
    strbuf_printf(buf,
                  "<creationTime value=\"%.*s+0000\"/>"
                  "<interactionId root=\"" OID_HL7_INTERACTIONS
                  "\" extension=\"PRPA_IN201302UV02\"/>"
                  "<processingCode code=\"P\"/><processingModeCode code=\"T\"/>"
                  "<acceptAckCode code=\"AL\"/>",
                  STR_ARG(clock_dtm(route->arena, clock_utc_us())));
    append_device(buf, "receiver", "RCV", route->subscriber->receiving_application);
    append_device(buf, "sender", "SND", manager);
}

/** The schema asks for a providerOrganization with a contactParty; its id has the root of one of
 * the patient's. */
static void append_patient(StrBuf *buf, const FoundIdentifier *identifiers, size_t count)
{
    strbuf_literal(buf, "<patient classCode=\"PAT\">");
    for (size_t i = 0; i < count; i++) {
        append_id(buf, identifiers[i].authority->oid, identifiers[i].value);
    }
    strbuf_literal(
        buf,
        "<statusCode code=\"active\"/><patientPerson classCode=\"PSN\" determinerCode=\"INSTANCE\">"
        "<name nullFlavor=\"NA\"/></patientPerson>"
        "<providerOrganization classCode=\"ORG\" determinerCode=\"INSTANCE\">");
    append_id(buf, identifiers[0].authority->oid, STR_EMPTY);
    strbuf_literal(buf, "<contactParty classCode=\"CON\"><telecom nullFlavor=\"NI\"/>"
                        "</contactParty></providerOrganization></patient>");
}

Notification iti46_notify_v3_make(const NotificationRoute *route,
                                  const FoundIdentifier *identifiers, size_t count)
{
    StrBuf buf = {0};
    Str message_id = str_from_offset(uuid_urn(route->arena, uuid_new()), URN_LEN);
    append_transmission(route, message_id, &buf);
    strbuf_literal(
        &buf, "<controlActProcess classCode=\"CACT\" moodCode=\"EVN\">"
              "<code code=\"PRPA_TE201302UV02\" codeSystem=\"" OID_HL7_INTERACTIONS "\"/>"
              "<subject typeCode=\"SUBJ\"><registrationEvent classCode=\"REG\" moodCode=\"EVN\">"
              "<id nullFlavor=\"NA\"/><statusCode code=\"active\"/><subject1 typeCode=\"SBJ\">");
    append_patient(&buf, identifiers, count);
    strbuf_literal(
        &buf, "</subject1><custodian typeCode=\"CST\"><assignedEntity classCode=\"ASSIGNED\">");
    append_id(&buf, str_from(route->config->manager_oid), STR_EMPTY);
    strbuf_literal(&buf, "</assignedEntity></custodian></registrationEvent></subject>"
                         "</controlActProcess></PRPA_IN201302UV02>");
    return notification_take(route, NOTIFICATION_UPDATE_V3, message_id, &buf,
                             notification_patients(route->arena, identifiers, count), count);
}
