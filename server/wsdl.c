#include "server/wsdl.h"

#include "lib/xml/namespaces.h"
#include "lib/xml/write.h"
#include "server/transactions.h"

/** The names that the profiles give the actors of a path. The first row that fits a transaction
 * counts. */
static const struct {
    const char *path;
    const char *number; /* of the transaction; NULL: any */
    const char *actor;
} actors[] = {
    {"/registry", NULL, "DocumentRegistry"},
    {"/repository", NULL, "DocumentRepository"},
    {"/imaging", NULL, "DocumentRepository"},
    {"/gateway", NULL, "RespondingGateway"},
    {"/initiating", NULL, "InitiatingGateway"},
    {"/dsub", NULL, "DocumentMetadataNotificationBroker"},
    {"/pix", "ITI-47", "PDSupplier"},
    {"/pix", NULL, "PIXManager"},
};

static const char *actor_of(const Transaction *transaction)
{
    Str path = str_from(transaction->path);
    Str number = str_from(transaction->number);
    for (size_t i = 0; i < ARRAY_LEN(actors); i++) {
        bool is_number = !actors[i].number || str_equal(number, str_from(actors[i].number));
        if (is_number && str_equal(path, str_from(actors[i].path))) {
            return actors[i].actor;
        }
    }
    return "Service";
}

typedef void (*WriteFn)(StrBuf *buf, const Transaction *transaction, const char *actor);

/** @param actor  whose transactions; NULL: of all actors at the path */
static void for_each(StrBuf *buf, Str path, const char *actor, WriteFn write)
{
    for (size_t i = 0; i < transaction_count; i++) {
        const char *owner = actor_of(&transactions[i]);
        bool is_owner = !actor || str_equal(str_from(owner), str_from(actor));
        if (is_owner && str_equal(path, str_from(transactions[i].path))) {
            write(buf, &transactions[i], owner);
        }
    }
}

static bool is_one_way(const Transaction *t)
{
    return t->reply_action[0] == '\0';
}

static void write_messages(StrBuf *buf, const Transaction *t, const char *actor)
{
    (void)actor;
    static const char *const part = "<part name=\"body\" type=\"xsd:anyType\"/>";
    strbuf_printf(buf, "<message name=\"%s_Message\">%s</message>\n", t->operation, part);
    if (!is_one_way(t)) {
        strbuf_printf(buf, "<message name=\"%sResponse_Message\">%s</message>\n", t->operation,
                      part);
    }
}

static void write_port_operation(StrBuf *buf, const Transaction *t, const char *actor)
{
    strbuf_printf(buf,
                  "<operation name=\"%s_%s\">\n"
                  "<input message=\"ihe:%s_Message\" wsam:Action=\"%s\"/>\n",
                  actor, t->operation, t->operation, t->action);
    if (!is_one_way(t)) {
        strbuf_printf(buf, "<output message=\"ihe:%sResponse_Message\" wsam:Action=\"%s\"/>\n",
                      t->operation, t->reply_action);
    }
    strbuf_literal(buf, "</operation>\n");
}

static void write_binding_operation(StrBuf *buf, const Transaction *t, const char *actor)
{
    strbuf_printf(buf,
                  "<operation name=\"%s_%s\">\n"
                  "<soap12:operation soapAction=\"%s\" soapActionRequired=\"false\"/>\n"
                  "<input><soap12:body use=\"literal\"/></input>\n%s</operation>\n",
                  actor, t->operation, t->action,
                  is_one_way(t) ? "" : "<output><soap12:body use=\"literal\"/></output>\n");
}

/** The name of the whole: that of the first actor at the path. */
static const char *name_of(Str path)
{
    size_t i = 0;
    while (i + 1 < transaction_count && !str_equal(path, str_from(transactions[i].path))) {
        i++;
    }
    return actor_of(&transactions[i]);
}

static void write_actor(StrBuf *buf, Str path, const char *actor)
{
    strbuf_printf(buf, "<portType name=\"%s_PortType\">\n", actor);
    for_each(buf, path, actor, write_port_operation);
    strbuf_printf(
        buf,
        "</portType>\n<binding name=\"%s_Binding_Soap12\" type=\"ihe:%s_PortType\">\n"
        "<soap12:binding style=\"document\" transport=\"http://schemas.xmlsoap.org/soap/http\"/>\n",
        actor, actor);
    for_each(buf, path, actor, write_binding_operation);
    strbuf_literal(buf, "</binding>\n");
}

static void write_service(StrBuf *buf, Str path, const char *actor, bool is_tls, Str authority)
{
    strbuf_printf(buf,
                  "<service name=\"%s_Service\">\n"
                  "<port name=\"%s_Port_Soap12\" binding=\"ihe:%s_Binding_Soap12\">\n"
                  "<soap12:address location=\"%s://",
                  actor, actor, actor, is_tls ? "https" : "http");
    xml_append_escaped(buf, authority);
    xml_append_escaped(buf, path);
    strbuf_literal(buf, "\"/>\n</port>\n</service>\n");
}

static const char *namespace_of(Str path)
{
    return str_equal(path, STR("/imaging")) ? NS_XDSI : NS_XDSB;
}

void wsdl_write(StrBuf *buf, Str path, bool is_tls, Str authority)
{
    strbuf_printf(buf,
                  "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
                  "<definitions name=\"%s\" targetNamespace=\"%s\""
                  " xmlns=\"http://schemas.xmlsoap.org/wsdl/\" xmlns:ihe=\"%s\""
                  " xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\""
                  " xmlns:soap12=\"http://schemas.xmlsoap.org/wsdl/soap12/\""
                  " xmlns:wsam=\"http://www.w3.org/2007/05/addressing/metadata\">\n",
                  name_of(path), namespace_of(path), namespace_of(path));
    for_each(buf, path, NULL, write_messages);
    for (size_t i = 0; i < ARRAY_LEN(actors); i++) {
        if (str_equal(path, str_from(actors[i].path))) {
            write_actor(buf, path, actors[i].actor);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(actors); i++) {
        if (str_equal(path, str_from(actors[i].path))) {
            write_service(buf, path, actors[i].actor, is_tls, authority);
        }
    }
    strbuf_literal(buf, "</definitions>\n");
}
