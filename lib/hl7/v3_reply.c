#include "lib/base/clock.h"
#include "lib/base/uuid.h"
#include "lib/hl7/reply.h"
#include "lib/hl7/v3.h"
#include "lib/xml/write.h"

/** AcknowledgementDetailCode by the condition of HL7 table 0357 (error_codes.def). */
static const struct {
    int condition;
    const char *code;
} detail_codes[] = {
    {100, "SYN113"}, {101, "SYN105"}, {102, "SYN102"}, {103, "SYN103"}, {200, "NS200"},
    {201, "NS200"},  {202, "NS250"},  {203, "NS260"},  {204, "204"},    {205, "205"},
};

static const char *detail_code(ErrorCode code)
{
    for (size_t i = 0; i < ARRAY_LEN(detail_codes); i++) {
        if (detail_codes[i].condition == error_info(code)->hl7_code) {
            return detail_codes[i].code;
        }
    }
    return "INTERR";
}

/** The acknowledgement's type code: "CA", "AE", ... */
static const char *ack_code(const ErrorList *errors, bool is_accept)
{
    static const char *const accept_codes[] = {"CA", "CE", "CR"};
    static const char *const application_codes[] = {"AA", "AE", "AR"};
    char kind = hl7_reply_code(errors)[1];
    size_t i = kind == 'A' ? 0 : kind == 'E' ? 1 : 2;
    return is_accept ? accept_codes[i] : application_codes[i];
}

/* ---- elements ---- */

static void append_value(StrBuf *buf, const char *attribute, Str value)
{
    strbuf_printf(buf, " %s=\"", attribute);
    xml_append_escaped(buf, value);
    strbuf_append_char(buf, '"');
}

void v3_append_id(StrBuf *buf, const char *element, V3Id id)
{
    strbuf_printf(buf, "<%s", element);
    if (str_is_empty(id.root)) {
        append_value(buf, "nullFlavor", STR("NA"));
    } else {
        append_value(buf, "root", id.root);
        if (!str_is_empty(id.extension)) {
            append_value(buf, "extension", id.extension);
        }
    }
    strbuf_literal(buf, "/>");
}

void v3_append_attribute(StrBuf *buf, const char *element, const char *attribute, Str value)
{
    strbuf_printf(buf, "<%s", element);
    append_value(buf, attribute, value);
    strbuf_literal(buf, "/>");
}

void v3_append_text(StrBuf *buf, const char *element, Str text)
{
    if (!str_is_empty(text)) {
        strbuf_printf(buf, "<%s>", element);
        xml_append_escaped(buf, text);
        strbuf_printf(buf, "</%s>", element);
    }
}

/* ---- wrapper ---- */

/** A device of the request, in the other direction. */
static void append_device(StrBuf *buf, const char *role, const char *type_code,
                          const XmlNode *device)
{
    const XmlNode *agent = v3_child(device, "asAgent");
    const XmlNode *organization = v3_child(agent, "representedOrganization");
    strbuf_printf(buf, "<%s typeCode=\"%s\"><device classCode=\"DEV\" determinerCode=\"INSTANCE\">",
                  role, type_code);
    v3_append_id(buf, "id", v3_id(v3_child(device, "id")));
    if (v3_child(organization, "id")) {
        strbuf_literal(buf, "<asAgent classCode=\"AGNT\"><representedOrganization "
                            "classCode=\"ORG\" determinerCode=\"INSTANCE\">");
        v3_append_id(buf, "id", v3_id(v3_child(organization, "id")));
        strbuf_literal(buf, "</representedOrganization></asAgent>");
    }
    strbuf_printf(buf, "</device></%s>", role);
}

static void append_detail(StrBuf *buf, const Request *req, const Error *error)
{
    strbuf_printf(buf,
                  "<acknowledgementDetail typeCode=\"%c\"><code code=\"%s\" "
                  "codeSystem=\"2.16.840.1.113883.5.1100\"/><text>",
                  error->severity == SEVERITY_ERROR ? 'E' : 'W', detail_code(error->code));
    xml_append_escaped(buf, error->context);
    strbuf_printf(buf, " [ref %s]</text>", req->ref);
    v3_append_text(buf, "location", error->location);
    strbuf_literal(buf, "</acknowledgementDetail>");
}

static void append_acknowledgement(StrBuf *buf, const Request *req, const V3Message *message,
                                   bool is_accept)
{
    strbuf_printf(buf, "<acknowledgement><typeCode code=\"%s\"/><targetMessage>",
                  ack_code(&req->errors, is_accept));
    v3_append_id(buf, "id", message->id);
    strbuf_literal(buf, "</targetMessage>");
    for (const Error *error = req->errors.first; error; error = error->next) {
        append_detail(buf, req, error);
    }
    strbuf_literal(buf, "</acknowledgement>");
}

static Str processing_code_of(const V3Message *message)
{
    bool is_known = message->processing_code.len == 1 &&
                    str_find_char(STR("DPT"), message->processing_code.data[0]) != SIZE_MAX;
    return is_known ? message->processing_code : STR("P");
}

void v3_reply_begin(StrBuf *buf, const Request *req, const V3Message *message, const V3Reply *reply)
{
    Str id = str_from_offset(uuid_urn(req->arena, uuid_new()), sizeof("urn:uuid:") - 1);
    Str now = clock_dtm(req->arena, clock_utc_us());
    strbuf_printf(buf, "<%s xmlns=\"" NS_HL7_V3 "\" ITSVersion=\"XML_1.0\">", reply->interaction);
    v3_append_id(buf, "id", (V3Id){.root = id});
    strbuf_printf(buf,
                  "<creationTime value=\"%.*s+0000\"/><interactionId "
                  "root=\"" OID_HL7_INTERACTIONS
                  "\" extension=\"%s\"/><processingCode code=\"%.*s\"/>"
                  "<processingModeCode code=\"T\"/><acceptAckCode code=\"NE\"/>",
                  STR_ARG(now), reply->interaction, STR_ARG(processing_code_of(message)));
    append_device(buf, "receiver", "RCV", message->sender_device);
    append_device(buf, "sender", "SND", message->receiver_device);
    append_acknowledgement(buf, req, message, reply->is_accept);
}

void v3_reply_end(StrBuf *buf, const V3Reply *reply)
{
    strbuf_printf(buf, "</%s>", reply->interaction);
}
