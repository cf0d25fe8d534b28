#include "lib/soap/envelope.h"

#include "lib/xml/namespaces.h"

typedef enum HeaderKind { TEXT, ADDRESS, UNREAD } HeaderKind;

typedef enum HeaderName {
#define HEADER(name, required, kind) HEADER_##name,
#include "lib/soap/addressing.def"
#undef HEADER
    HEADER_COUNT
} HeaderName;

static const struct {
    const char *name;
    bool is_required;
    HeaderKind kind;
} known_headers[] = {
#define HEADER(name, required, kind) {#name, required, kind},
#include "lib/soap/addressing.def"
#undef HEADER
};

/* ---- The envelope ---- */

static int check_root(Request *req, const XmlNode *root)
{
    if (xml_is(root, NS_SOAP12, "Envelope")) {
        return 0;
    }
    if (xml_is(root, NS_SOAP11, "Envelope")) {
        return error_add(&req->errors, ERR_SOAP_VERSION_MISMATCH, NULL,
                         "the envelope is SOAP 1.1; send SOAP 1.2: namespace " NS_SOAP12
                         " and application/soap+xml (TF-2 Appendix V.3.2.1.3)");
    }
    return error_add(&req->errors,
                     str_equal(root->name, STR("Envelope")) ? ERR_SOAP_VERSION_MISMATCH
                                                            : ERR_SOAP_SENDER,
                     NULL, "the root element is {%.*s}%.*s; send Envelope of namespace " NS_SOAP12,
                     STR_ARG(str_slice(root->ns, 0, 200)), STR_ARG(str_slice(root->name, 0, 100)));
}

/** Envelope ::= Header? Body, with exactly one element in Body (SOAP 1.2 part 1 sections 5.1
 * to 5.3). */
static int read_envelope(Request *req, XmlNode *root, SoapMessage *message)
{
    int r = check_root(req, root);
    if (r) {
        return r;
    }
    XmlNode *body = root->first_child;
    if (xml_is(body, NS_SOAP12, "Header")) {
        message->header = body;
        body = body->next;
    }
    if (!xml_is(body, NS_SOAP12, "Body") || body->next) {
        return error_add(
            &req->errors, ERR_SOAP_SENDER, NULL,
            "the SOAP envelope holds something else than one optional Header and one Body");
    }
    if (!body->first_child || body->first_child->next) {
        return error_add(&req->errors, ERR_SOAP_SENDER, NULL,
                         "the SOAP body must hold exactly one element, the request");
    }
    message->envelope = root;
    message->body = body->first_child;
    return 0;
}

/* ---- Headers ---- */

static Str soap12_attribute(const XmlNode *node, const char *name)
{
    for (size_t i = 0; i < node->attribute_count; i++) {
        const XmlAttribute *attribute = &node->attributes[i];
        if (str_equal(attribute->ns, STR(NS_SOAP12)) &&
            str_equal(attribute->name, str_from(name))) {
            return str_trim(attribute->value);
        }
    }
    return STR_EMPTY;
}

/** True if we have to process this header or say that we cannot (SOAP 1.2 part 1 sections 2.2
 * and 2.4). */
static bool is_mandatory(const XmlNode *header)
{
    Str must_understand = soap12_attribute(header, "mustUnderstand");
    Str role = soap12_attribute(header, "role");
    return (str_equal(must_understand, STR("1")) || str_equal(must_understand, STR("true"))) &&
           (str_is_empty(role) || str_equal(role, STR(NS_SOAP12 "/role/next")) ||
            str_equal(role, STR(NS_SOAP12 "/role/ultimateReceiver")));
}

/** Not our choice to make: an assertion is checked where the user is needed, and tolerated
 * elsewhere. */
static bool is_understood(const XmlNode *header)
{
    return str_equal(header->ns, STR(NS_WSA)) || xml_is(header, NS_WSSE, "Security");
}

static int check_must_understand(Request *req, const XmlNode *header)
{
    if (!is_mandatory(header) || is_understood(header)) {
        return 0;
    }
    return error_add(
        &req->errors, ERR_SOAP_MUST_UNDERSTAND, NULL,
        "the header {%.*s}%.*s has mustUnderstand but is not known here; leave it out or "
        "send mustUnderstand=\"0\"",
        STR_ARG(str_slice(header->ns, 0, 200)), STR_ARG(str_slice(header->name, 0, 100)));
}

/** @param ret_value  empty if the header is absent */
static int read_header(Request *req, const XmlNode *headers, HeaderName index, Str *ret_value)
{
    const char *name = known_headers[index].name;
    const XmlNode *header = xml_child(headers, NS_WSA, name);
    if (header && xml_next(header, NS_WSA, name)) {
        return error_add(&req->errors, ERR_SOAP_INVALID_ADDRESSING_HEADER, NULL,
                         "the header wsa:%s occurs more than once; send one", name);
    }
    Str value = !header || known_headers[index].kind == UNREAD ? STR_EMPTY
                : known_headers[index].kind == ADDRESS ? xml_child_text(header, NS_WSA, "Address")
                                                       : str_trim(header->text);
    if (known_headers[index].is_required && str_is_empty(value)) {
        return error_add(&req->errors, ERR_SOAP_ADDRESSING_HEADER_REQUIRED, NULL,
                         "the header wsa:%s (namespace " NS_WSA ") is missing or empty", name);
    }
    *ret_value = value;
    return 0;
}

static int read_headers(Request *req, SoapMessage *message)
{
    int result = 0;
    for (const XmlNode *header = message->header ? message->header->first_child : NULL; header;
         header = header->next) {
        int r = check_must_understand(req, header);
        result = result ? result : r;
    }
    Str values[HEADER_COUNT] = {0};
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        int r = read_header(req, message->header, (HeaderName)i, &values[i]);
        result = result ? result : r;
    }
    message->action = values[HEADER_Action];
    message->message_id = values[HEADER_MessageID];
    message->to = values[HEADER_To];
    message->reply_to = values[HEADER_ReplyTo];
    message->fault_to = values[HEADER_FaultTo];
    req->message_id = message->message_id;
    req->reply_to = message->reply_to;
    return result;
}

int soap_envelope_read(Request *req, XmlNode *root, SoapMessage *message)
{
    int r = read_envelope(req, root, message);
    if (r && !message->header) {
        return r;
    }
    /* Headers are read even if the body is wrong, so that the fault can refer to the request. */
    int header_r = read_headers(req, message);
    return r ? r : header_r;
}

int soap_envelope_read_reply(Request *req, XmlNode *root, SoapMessage *message)
{
    return read_envelope(req, root, message);
}

/* ---- Where answers go ---- */

static bool is_on_connection(Str address)
{
    return str_is_empty(address) || str_equal(address, STR(NS_WSA "/anonymous"));
}

static bool addressee(const SoapMessage *message, const char *name, Str address,
                      SoapAddressee *ret_addressee)
{
    if (is_on_connection(address)) {
        return false;
    }
    const XmlNode *header = xml_child(message->header, NS_WSA, name);
    *ret_addressee = (SoapAddressee){
        .address = address,
        .parameters = xml_child(header, NS_WSA, "ReferenceParameters"),
    };
    return true;
}

bool soap_reply_addressee(const SoapMessage *message, SoapAddressee *ret_addressee)
{
    return addressee(message, "ReplyTo", message->reply_to, ret_addressee);
}

bool soap_fault_addressee(const SoapMessage *message, SoapAddressee *ret_addressee)
{
    return str_is_empty(message->fault_to)
               ? soap_reply_addressee(message, ret_addressee)
               : addressee(message, "FaultTo", message->fault_to, ret_addressee);
}
