#include "lib/soap/reply.h"

#include <assert.h>

#include "lib/base/clock.h"
#include "lib/base/uuid.h"
#include "lib/xml/namespaces.h"
#include "lib/xml/write.h"

#define ACTION_WSN_FAULT "http://docs.oasis-open.org/wsn/fault"

/* ---- The envelope ---- */

/** A child of wsa:ReferenceParameters becomes a header (WS-Addressing 1.0 SOAP binding 3.4). */
static void append_parameter(Arena *arena, XmlNode *parameter, StrBuf *buf)
{
    size_t count = parameter->attribute_count;
    XmlAttribute *attributes = ARENA_ARRAY(arena, XmlAttribute, count + 1);
    for (size_t i = 0; i < count; i++) {
        attributes[i] = parameter->attributes[i];
    }
    attributes[count] = (XmlAttribute){STR(NS_WSA), STR("IsReferenceParameter"), STR("true")};
    parameter->attributes = attributes;
    parameter->attribute_count = count + 1;
    xml_append_tree(buf, parameter, "");
    parameter->attribute_count = count; /* a fault may follow in place of the reply */
}

/** @param addressee  NULL: the connection */
static void append_addressee(Arena *arena, const SoapAddressee *addressee, StrBuf *buf)
{
    strbuf_literal(buf, "<wsa:To>");
    xml_append_escaped(buf, addressee ? addressee->address : STR(NS_WSA "/anonymous"));
    strbuf_literal(buf, "</wsa:To>");
    XmlNode *parameters = addressee ? addressee->parameters : NULL;
    for (XmlNode *one = parameters ? parameters->first_child : NULL; one; one = one->next) {
        append_parameter(arena, one, buf);
    }
}

/**
 * Appends the envelope up to and including the start of its Body, with wsa:Action (mustUnderstand),
 * wsa:MessageID (new), wsa:To and, if the request has a wsa:MessageID, wsa:RelatesTo (TF-2 Appendix
 * V.3).
 */
static void envelope_begin(StrBuf *buf, Str action, const Request *req,
                           const SoapAddressee *addressee)
{
    char message_id[UUID_URN_LEN];
    uuid_format_urn(uuid_new(), message_id);
    strbuf_literal(buf,
                   "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                   "<env:Envelope xmlns:env=\"" NS_SOAP12 "\" xmlns:wsa=\"" NS_WSA "\"><env:Header>"
                   "<wsa:Action env:mustUnderstand=\"true\">");
    xml_append_escaped(buf, action);
    strbuf_literal(buf, "</wsa:Action><wsa:MessageID>");
    strbuf_append_bytes(buf, message_id, sizeof(message_id));
    strbuf_literal(buf, "</wsa:MessageID>");
    append_addressee(req->arena, addressee, buf);
    if (!str_is_empty(req->message_id)) {
        strbuf_literal(buf, "<wsa:RelatesTo>");
        xml_append_escaped(buf, req->message_id);
        strbuf_literal(buf, "</wsa:RelatesTo>");
    }
    strbuf_literal(buf, "</env:Header><env:Body>");
}

/** Appends the end of Body and envelope. */
static void envelope_end(StrBuf *buf)
{
    strbuf_literal(buf, "</env:Body></env:Envelope>");
}

/* ---- Faults ---- */

typedef struct Fault {
    ErrorCode error;
    const char *code; /* of SOAP 1.2 */
    const char *subcode;
    const char *prefix;
    const char *ns;
} Fault;

static const Fault faults[] = {
#define FAULT(error, code, subcode, prefix, ns) {ERR_##error, code, subcode, prefix, ns},
#include "lib/soap/faults.def"
#undef FAULT
};

static Fault fault_of(const Request *req)
{
    ErrorCode error = req->errors.first ? req->errors.first->code : ERR_SOAP_RECEIVER;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        if (faults[i].error == error) {
            return faults[i];
        }
    }
    return (Fault){.code = error_info(error)->http_status < 500 ? "Sender" : "Receiver"};
}

/* What the type of a detail adds to a base fault. */
#define MORE_NOTHING ""
#define MORE_UNKNOWN_FILTER                                                                        \
    "<f:UnknownFilter xmlns:rim=\"urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0\">rim:AdhocQuery</"  \
    "f:UnknownFilter>"
#define MORE_MINIMUM_TIME NULL

typedef struct FaultDetail {
    ErrorCode error;
    const char *element;
    const char *ns;
    const char *more; /* NULL: MinimumTime */
} FaultDetail;

static const FaultDetail details[] = {
#define DETAIL(error, element, ns, more) {ERR_##error, element, ns, more},
#include "lib/soap/fault_details.def"
#undef DETAIL
};

/** NULL: this fault has none. */
static const FaultDetail *detail_of(const Request *req)
{
    for (size_t i = 0; req->errors.first && i < ARRAY_LEN(details); i++) {
        if (details[i].error == req->errors.first->code) {
            return &details[i];
        }
    }
    return NULL;
}

static void append_detail(const Request *req, const FaultDetail *detail, StrBuf *buf)
{
    Str now = clock_iso8601(req->arena, clock_utc_us());
    strbuf_printf(buf,
                  "<env:Detail><f:%s xmlns:f=\"%s\" xmlns:bf=\"" NS_WSRF_BF "\"><bf:Timestamp>%.*s"
                  "</bf:Timestamp>",
                  detail->element, detail->ns, STR_ARG(now));
    if (detail->more) {
        strbuf_append(buf, str_from(detail->more));
    } else {
        strbuf_printf(buf, "<f:MinimumTime>%.*s</f:MinimumTime>", STR_ARG(now));
    }
    strbuf_printf(buf, "</f:%s></env:Detail>", detail->element);
}

static void append_reasons(const Request *req, StrBuf *buf)
{
    for (const Error *error = req->errors.first; error; error = error->next) {
        xml_append_escaped(buf, error->context);
        if (error->next) {
            strbuf_literal(buf, "; ");
        }
    }
    if (!req->errors.first) {
        strbuf_literal(buf, "the request could not be processed");
    }
    strbuf_printf(buf, " [ref %s]", req->ref);
}

unsigned soap_fault_write(const Request *req, const SoapAddressee *addressee, StrBuf *buf)
{
    Fault fault = fault_of(req);
    const FaultDetail *detail = detail_of(req);
    bool is_addressing = fault.ns && str_equal(str_from(fault.ns), STR(NS_WSA));
    Str action = is_addressing ? STR(NS_WSA "/fault") : STR(NS_WSA "/soap/fault");
    envelope_begin(buf, detail ? STR(ACTION_WSN_FAULT) : action, req, addressee);
    strbuf_printf(buf, "<env:Fault><env:Code><env:Value>env:%s</env:Value>", fault.code);
    if (fault.subcode) {
        strbuf_printf(buf,
                      "<env:Subcode><env:Value xmlns:%s=\"%s\">%s:%s</env:Value></env:Subcode>",
                      fault.prefix, fault.ns, fault.prefix, fault.subcode);
    }
    strbuf_literal(buf, "</env:Code><env:Reason><env:Text xml:lang=\"en\">");
    append_reasons(req, buf);
    strbuf_literal(buf, "</env:Text></env:Reason>");
    if (detail) {
        append_detail(req, detail, buf);
    }
    strbuf_literal(buf, "</env:Fault>");
    envelope_end(buf);
    return str_equal(str_from(fault.code), STR("Sender")) ? 400 : 500;
}

/* ---- The body of the HTTP reply ---- */

enum { PIECE_BYTES = 65536 };

/** What comes next in the reply. */
typedef enum Stage {
    STAGE_ENVELOPE,    /* reply_xml */
    STAGE_BODY_SOURCE, /* reply_source */
    STAGE_TAIL,        /* end of the envelope */
    STAGE_PART_HEAD,   /* boundary and headers of parts[part] */
    STAGE_PART,        /* its content */
    STAGE_FINAL,       /* final boundary */
    STAGE_END,
} Stage;

typedef struct SoapPackage {
    SoapExchange *exchange;
    Stage stage;
    size_t part;
    uint64_t part_bytes; /* of this part produced so far */
    bool is_mtom;
    const char *reply_action;
    char boundary[UUID_URN_LEN];
} Package;

/** A header value must not end its line: what is not printable ASCII becomes the general type. */
static Str part_type(const SoapPart *part)
{
    for (size_t i = 0; i < part->content_type.len; i++) {
        char c = part->content_type.data[i];
        if (c < 0x20 || c > 0x7e) {
            return STR("application/octet-stream");
        }
    }
    return str_is_empty(part->content_type) ? STR("application/octet-stream") : part->content_type;
}

static void append_boundary(const Package *package, StrBuf *buf)
{
    strbuf_literal(buf, "\r\n--");
    strbuf_append_bytes(buf, package->boundary, sizeof(package->boundary));
}

static void append_part_head(const Package *package, const SoapPart *part, StrBuf *buf)
{
    append_boundary(package, buf);
    strbuf_literal(buf, "\r\nContent-Type: ");
    strbuf_append(buf, part_type(part));
    strbuf_literal(buf, "\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <");
    strbuf_append(buf, part->content_id);
    strbuf_literal(buf, ">\r\n\r\n");
}

static void append_final(const Package *package, StrBuf *buf)
{
    append_boundary(package, buf);
    strbuf_literal(buf, "--\r\n");
}

/** All that stands behind the body element, but for parts. */
static void append_end(const Package *package, StrBuf *buf)
{
    envelope_end(buf);
    if (package->is_mtom) {
        append_final(package, buf);
    }
}

/** One part is produced: its announced size, if there is one, has to come true. */
static int produce_part(Package *package, StrBuf *buf)
{
    const SoapPart *part = &package->exchange->parts[package->part];
    size_t before = buf->len;
    int r = part->source.next(part->source.ctx, buf);
    package->part_bytes += buf->len - before;
    if (r < 0) {
        return r;
    }
    if (part->size_bytes != SOAP_PART_SIZE_UNKNOWN &&
        (package->part_bytes > part->size_bytes ||
         (r == 0 && package->part_bytes < part->size_bytes))) {
        return -(int)ERR_CORRUPT;
    }
    if (r == 0) {
        package->part++;
        package->stage = STAGE_PART_HEAD;
    }
    return 0;
}

static int produce_body(Package *package, StrBuf *buf)
{
    const BodySource *source = &package->exchange->reply_source;
    int r = source->next ? source->next(source->ctx, buf) : 0;
    if (r == 0) {
        package->stage = STAGE_TAIL;
    }
    return MIN(r, 0);
}

/** Appends the next piece. @return 0, or the negative ErrorCode of a source */
static int produce(Package *package, StrBuf *buf)
{
    const SoapExchange *exchange = package->exchange;
    switch (package->stage) {
    case STAGE_ENVELOPE:
        strbuf_append(buf, strbuf_str(&exchange->reply_xml));
        package->stage = STAGE_BODY_SOURCE;
        return 0;
    case STAGE_BODY_SOURCE:
        return produce_body(package, buf);
    case STAGE_TAIL:
        envelope_end(buf);
        package->stage = package->is_mtom ? STAGE_PART_HEAD : STAGE_END;
        return 0;
    case STAGE_PART_HEAD:
        if (package->part == exchange->part_count) {
            package->stage = STAGE_FINAL;
            return 0;
        }
        append_part_head(package, &exchange->parts[package->part], buf);
        package->part_bytes = 0;
        package->stage = STAGE_PART;
        return 0;
    case STAGE_PART:
        return produce_part(package, buf);
    case STAGE_FINAL:
        append_final(package, buf);
        package->stage = STAGE_END;
        return 0;
    case STAGE_END:
        return 0;
    }
    return 0;
}

static int package_next(void *ctx, StrBuf *buf)
{
    Package *package = ctx;
    size_t start = buf->len;
    while (package->stage != STAGE_END && buf->len - start < PIECE_BYTES) {
        int r = produce(package, buf);
        if (r < 0) {
            return r;
        }
    }
    return package->stage == STAGE_END ? 0 : 1;
}

static void source_done(BodySource *source)
{
    if (source->done) {
        source->done(source->ctx);
    }
    *source = (BodySource){0};
}

static void package_done(void *ctx)
{
    Package *package = ctx;
    source_done(&package->exchange->reply_source);
    for (size_t i = 0; i < package->exchange->part_count; i++) {
        source_done(&package->exchange->parts[i].source);
    }
}

/** The Content-ID of the root part follows from the boundary: one random UUID serves both. */
static Str root_id(const Package *package)
{
    return str_from_offset((Str){package->boundary, sizeof(package->boundary)},
                           strlen("urn:uuid:"));
}

static void append_root_head(const Package *package, StrBuf *head)
{
    strbuf_literal(head, "--");
    strbuf_append_bytes(head, package->boundary, sizeof(package->boundary));
    strbuf_printf(head,
                  "\r\nContent-Type: application/xop+xml; charset=UTF-8; "
                  "type=\"application/soap+xml\"\r\n"
                  "Content-Transfer-Encoding: binary\r\nContent-ID: <%.*s@root>\r\n\r\n",
                  STR_ARG(root_id(package)));
}

Str soap_reply_content_type(const SoapExchange *exchange)
{
    const Package *package = exchange->package;
    Arena *arena = exchange->req->arena;
    if (!package->is_mtom) {
        return str_printf(arena, SOAP_CONTENT_TYPE "; action=\"%s\"", package->reply_action);
    }
    return str_printf(arena,
                      "multipart/related; type=\"application/xop+xml\"; start=\"<%.*s@root>\"; "
                      "start-info=\"application/soap+xml\"; boundary=\"%.*s\"",
                      STR_ARG(root_id(package)), (int)sizeof(package->boundary), package->boundary);
}

static bool has_unknown_part(const SoapExchange *exchange)
{
    for (size_t i = 0; i < exchange->part_count; i++) {
        if (exchange->parts[i].size_bytes == SOAP_PART_SIZE_UNKNOWN) {
            return true;
        }
    }
    return false;
}

/** -1 where only the end of reply_source or of a part tells. */
static int64_t package_size(const Package *package)
{
    const SoapExchange *exchange = package->exchange;
    if ((exchange->reply_source.next && exchange->reply_source_bytes == 0) ||
        has_unknown_part(exchange)) {
        return -1;
    }
    uint64_t size = exchange->reply_xml.len + exchange->reply_source_bytes;
    StrBuf frame = {0};
    for (size_t i = 0; i < exchange->part_count; i++) {
        append_part_head(package, &exchange->parts[i], &frame);
        size += frame.len + exchange->parts[i].size_bytes;
        strbuf_clear(&frame);
    }
    append_end(package, &frame);
    size += frame.len;
    strbuf_done(&frame);
    return (int64_t)size;
}

void soap_reply_open(SoapExchange *exchange, const char *reply_action, bool as_mtom)
{
    Package *package = ARENA_NEW(exchange->req->arena, Package);
    *package = (Package){.exchange = exchange, .is_mtom = as_mtom, .reply_action = reply_action};
    exchange->package = package;
    if (as_mtom) {
        uuid_format_urn(uuid_new(), package->boundary);
        append_root_head(package, &exchange->reply_xml);
    }
    envelope_begin(&exchange->reply_xml, str_from(reply_action), exchange->req,
                   exchange->addressee);
}

bool soap_reply_take(SoapExchange *exchange, StrBuf *ret_text)
{
    if (exchange->reply_source.next || exchange->part_count > 0) {
        return false;
    }
    append_end(exchange->package, &exchange->reply_xml);
    *ret_text = exchange->reply_xml;
    exchange->reply_xml = (StrBuf){0};
    return true;
}

void soap_reply_source(SoapExchange *exchange, BodySource *ret_source, int64_t *ret_content_length)
{
    Package *package = exchange->package;
    assert(package->is_mtom || exchange->part_count == 0);
    *ret_source = (BodySource){.ctx = package, .next = package_next, .done = package_done};
    *ret_content_length = package_size(package);
}
