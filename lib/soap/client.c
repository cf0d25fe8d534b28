#include "lib/soap/client.h"

#include "lib/base/uuid.h"
#include "lib/xml/namespaces.h"
#include "lib/xml/write.h"

#define WSA_ANONYMOUS "http://www.w3.org/2005/08/addressing/anonymous"

static void open_request(const char *action, Str to, Str message_id, Str headers, StrBuf *buf)
{
    strbuf_literal(buf, "<soap:Envelope xmlns:soap=\"" NS_SOAP12 "\" xmlns:wsa=\"" NS_WSA
                        "\"><soap:Header><wsa:Action soap:mustUnderstand=\"1\">");
    strbuf_append(buf, str_from(action));
    strbuf_literal(buf, "</wsa:Action><wsa:MessageID>");
    strbuf_append(buf, message_id);
    strbuf_literal(buf, "</wsa:MessageID><wsa:ReplyTo><wsa:Address>" WSA_ANONYMOUS
                        "</wsa:Address></wsa:ReplyTo><wsa:To>");
    xml_append_escaped(buf, to);
    strbuf_literal(buf, "</wsa:To>");
    strbuf_append(buf, headers);
    strbuf_literal(buf, "</soap:Header><soap:Body>");
}

void soap_request_open(Arena *arena, const char *action, Str to, StrBuf *buf)
{
    (void)soap_request_open_with(arena, action, to, STR_EMPTY, buf);
}

Str soap_request_open_with(Arena *arena, const char *action, Str to, Str headers, StrBuf *buf)
{
    Str message_id = uuid_urn(arena, uuid_new());
    open_request(action, to, message_id, headers, buf);
    return message_id;
}

void soap_request_open_as(const char *action, Str to, Str message_id, StrBuf *buf)
{
    open_request(action, to, message_id, STR_EMPTY, buf);
}

void soap_request_close(StrBuf *buf)
{
    strbuf_literal(buf, "</soap:Body></soap:Envelope>");
}

const XmlNode *soap_call(HttpClient *http, Request *req, const char *action, Str envelope,
                         Str *ret_problem)
{
    HttpReply reply;
    Str type = str_printf(req->arena, "application/soap+xml; charset=UTF-8; action=\"%s\"", action);
    if (http_client_post(http, req, str_cstr(req->arena, type), envelope, &reply, ret_problem) <
        0) {
        return NULL;
    }
    *ret_problem =
        str_printf(req->arena, "HTTP status %d without a reply that can be read", reply.status);
    if (reply.status >= 300 && reply.status < 400) {
        return NULL;
    }
    Request reading =
        *req; /* faults of the reply are not faults of the message that is being answered */
    error_list_init(&reading.errors, req->arena);
    XmlNode *root;
    if (xml_read(&reading, reply.body, &root) < 0 || !xml_is(root, NS_SOAP12, "Envelope")) {
        return NULL;
    }
    const XmlNode *body = xml_child(root, NS_SOAP12, "Body");
    return body ? body->first_child : NULL;
}

Str soap_fault_reason(const XmlNode *fault)
{
    return xml_child_text(xml_child(fault, NS_SOAP12, "Reason"), NS_SOAP12, "Text");
}

bool soap_fault_is_of_sender(const XmlNode *fault)
{
    Str code = xml_child_text(xml_child(fault, NS_SOAP12, "Code"), NS_SOAP12, "Value");
    return str_ends_with(code, STR(":Sender")) || str_equal(code, STR("Sender"));
}
