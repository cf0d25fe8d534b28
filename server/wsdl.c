#include "server/wsdl.h"

#include "lib/xml/write.h"
#include "server/transactions.h"

/** The names that the profiles give an actor's service; spec: xds-transactions section 1. */
static const struct {
    const char *path;
    const char *actor;
} actors[] = {
    {"/registry", "DocumentRegistry"},
    {"/repository", "DocumentRepository"},
};

static const char *actor_of(Str path)
{
    for (size_t i = 0; i < ARRAY_LEN(actors); i++) {
        if (str_equal(path, str_from(actors[i].path))) {
            return actors[i].actor;
        }
    }
    return "Service";
}

typedef void (*WriteFn)(StrBuf *buf, const Transaction *transaction, const char *actor);

static void for_each(StrBuf *buf, Str path, WriteFn write)
{
    for (size_t i = 0; i < transaction_count; i++) {
        if (str_equal(path, str_from(transactions[i].path))) {
            write(buf, &transactions[i], actor_of(path));
        }
    }
}

static void write_messages(StrBuf *buf, const Transaction *t, const char *actor)
{
    (void)actor;
    strbuf_printf(
        buf,
        "<message name=\"%s_Message\"><part name=\"body\" type=\"xsd:anyType\"/></message>\n"
        "<message name=\"%sResponse_Message\"><part name=\"body\" "
        "type=\"xsd:anyType\"/></message>\n",
        t->operation, t->operation);
}

static void write_port_operation(StrBuf *buf, const Transaction *t, const char *actor)
{
    strbuf_printf(buf,
                  "<operation name=\"%s_%s\">\n"
                  "<input message=\"ihe:%s_Message\" wsam:Action=\"%s\"/>\n"
                  "<output message=\"ihe:%sResponse_Message\" wsam:Action=\"%s\"/>\n</operation>\n",
                  actor, t->operation, t->operation, t->action, t->operation, t->reply_action);
}

static void write_binding_operation(StrBuf *buf, const Transaction *t, const char *actor)
{
    strbuf_printf(buf,
                  "<operation name=\"%s_%s\">\n"
                  "<soap12:operation soapAction=\"%s\" soapActionRequired=\"false\"/>\n"
                  "<input><soap12:body use=\"literal\"/></input>\n"
                  "<output><soap12:body use=\"literal\"/></output>\n</operation>\n",
                  actor, t->operation, t->action);
}

void wsdl_write(StrBuf *buf, Str path, bool is_tls, Str authority)
{
    const char *actor = actor_of(path);
    strbuf_printf(buf,
                  "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
                  "<definitions name=\"%s\" targetNamespace=\"urn:ihe:iti:xds-b:2007\""
                  " xmlns=\"http://schemas.xmlsoap.org/wsdl/\" xmlns:ihe=\"urn:ihe:iti:xds-b:2007\""
                  " xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\""
                  " xmlns:soap12=\"http://schemas.xmlsoap.org/wsdl/soap12/\""
                  " xmlns:wsam=\"http://www.w3.org/2007/05/addressing/metadata\">\n",
                  actor);
    for_each(buf, path, write_messages);
    strbuf_printf(buf, "<portType name=\"%s_PortType\">\n", actor);
    for_each(buf, path, write_port_operation);
    strbuf_printf(
        buf,
        "</portType>\n<binding name=\"%s_Binding_Soap12\" type=\"ihe:%s_PortType\">\n"
        "<soap12:binding style=\"document\" transport=\"http://schemas.xmlsoap.org/soap/http\"/>\n",
        actor, actor);
    for_each(buf, path, write_binding_operation);
    strbuf_printf(buf,
                  "</binding>\n<service name=\"%s_Service\">\n"
                  "<port name=\"%s_Port_Soap12\" binding=\"ihe:%s_Binding_Soap12\">\n"
                  "<soap12:address location=\"%s://",
                  actor, actor, actor, is_tls ? "https" : "http");
    xml_append_escaped(buf, authority);
    xml_append_escaped(buf, path);
    strbuf_literal(buf, "\"/>\n</port>\n</service>\n</definitions>\n");
}
