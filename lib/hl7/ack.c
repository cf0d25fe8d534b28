#include "lib/hl7/ack.h"

#include "lib/hl7/msh.h"
#include "lib/hl7/reply.h"

/** MSH-9: ACK^A01^ACK; versions before 2.5 have no third component (HL7 v2.3.1 2.24.1.9). */
static void append_type(StrBuf *buf, const Er7Message *request)
{
    Str event = request ? er7_value(request, request->segments, MSH_TYPE, 2) : STR_EMPTY;
    strbuf_literal(buf, "ACK");
    if (!str_is_empty(event)) {
        strbuf_append_char(buf, '^');
        er7_append_text(buf, event);
    }
    if (!hl7_reply_is_before_2_5(request)) {
        strbuf_append(buf, str_is_empty(event) ? STR("^^ACK") : STR("^ACK"));
    }
}

void hl7_ack_write(const Request *req, const Er7Message *request, StrBuf *reply)
{
    _cleanup_(strbuf_done) StrBuf type = {0};
    append_type(&type, request);
    const Hl7Reply content = {.type = strbuf_str(&type)};
    hl7_reply_write(req, request, &content, reply);
}
