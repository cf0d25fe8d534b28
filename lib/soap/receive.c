#include "lib/soap/receive.h"

#include <libxml/tree.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/soap/envelope.h"
#include "lib/soap/mime.h"
#include "lib/xml/namespaces.h"
#include "lib/xml/read.h"

/** A document while the receiver owns it. */
typedef struct Arrived {
    Str content_id;           /* in the arena */
    Str content_type;         /* in the arena */
    DocumentContent *content; /* NULL once taken */
    bool is_inline;
} Arrived;

struct SoapReceiver {
    Request *req;
    const DocumentSink *sink;
    XmlReader *reader;
    MimeParser *mime; /* NULL: SIMPLE */
    MimeEvents mime_events;
    XmlDiversion diversion;
    Str root_id;   /* start parameter without <>; empty: the first part is the root */
    bool has_root; /* its part began */
    bool is_in_root;
    unsigned part_count;
    Arrived *documents; /* in order of arrival */
    size_t document_count;
    size_t document_cap;
    size_t
        *contents; /* per xds:Document element: 1 + index of its inline content, 0 = xop:Include */
    size_t content_count;
    size_t content_cap;
    bool is_dropping; /* the sender may send none, or the sink refused one: none is kept */
    bool is_reply;    /* to a message of ours */
    bool has_failed;
};

/* ---- Documents on their way to the sink ---- */

static void abandon_documents(SoapReceiver *receiver)
{
    for (size_t i = 0; i < receiver->document_count; i++) {
        if (receiver->documents[i].content) {
            receiver->sink->abandon(receiver->sink->ctx, receiver->documents[i].content);
            receiver->documents[i].content = NULL;
        }
    }
}

/** What the sink cannot take is for the transaction to answer, in its own words: the message is
 * read to its end, without its documents. */
static int drop_documents_if(SoapReceiver *receiver, bool is_refused)
{
    if (is_refused) {
        receiver->is_dropping = true;
        abandon_documents(receiver);
    }
    return 0;
}

static int document_open(SoapReceiver *receiver, Arrived arrived)
{
    Request *req = receiver->req;
    if (receiver->document_count == MIME_LIMITS.parts) {
        return error_add(&req->errors, ERR_TOO_LARGE, NULL,
                         "the message has more than %u documents; send fewer at a time",
                         MIME_LIMITS.parts);
    }
    if (receiver->document_count == receiver->document_cap) {
        receiver->documents = heap_grow(receiver->documents, &receiver->document_cap, 8,
                                        sizeof(*receiver->documents));
    }
    bool is_refused = !receiver->is_dropping &&
                      receiver->sink->open(receiver->sink->ctx, req, &arrived.content) != 0;
    receiver->documents[receiver->document_count++] = arrived;
    return drop_documents_if(receiver, is_refused);
}

/* A part and an inline document are never open at once, so the open one is always the last that
 * arrived. */
static DocumentContent *open_content(const SoapReceiver *receiver)
{
    return receiver->documents[receiver->document_count - 1].content;
}

static int document_write(SoapReceiver *receiver, const void *bytes, size_t len)
{
    const DocumentSink *sink = receiver->sink;
    return drop_documents_if(receiver, !receiver->is_dropping &&
                                           sink->write(sink->ctx, receiver->req,
                                                       open_content(receiver), bytes, len) != 0);
}

static int document_close(SoapReceiver *receiver)
{
    const DocumentSink *sink = receiver->sink;
    return drop_documents_if(receiver,
                             !receiver->is_dropping && sink->close(sink->ctx, receiver->req,
                                                                   open_content(receiver)) != 0);
}

/* ---- XmlDiversion: inline documents ---- */

static void note_content(SoapReceiver *receiver, size_t content)
{
    if (receiver->content_count == receiver->content_cap) {
        receiver->contents =
            heap_grow(receiver->contents, &receiver->content_cap, 8, sizeof(*receiver->contents));
    }
    receiver->contents[receiver->content_count++] = content;
}

static int on_inline_open(void *ctx)
{
    SoapReceiver *receiver = ctx;
    return document_open(receiver, (Arrived){.is_inline = true});
}

static int on_inline_bytes(void *ctx, const void *bytes, size_t len)
{
    return document_write(ctx, bytes, len);
}

static int on_inline_close(void *ctx)
{
    SoapReceiver *receiver = ctx;
    note_content(receiver, receiver->document_count);
    return document_close(receiver);
}

static int on_reference(void *ctx)
{
    note_content(ctx, 0);
    return 0;
}

/* ---- MimeEvents: the root part and attached documents ---- */

static bool is_utf8_charset(const ContentType *type)
{
    Str charset = content_type_parameter(type, "charset");
    return str_is_empty(charset) || str_equal_ci(charset, STR("utf-8"));
}

/** The root part is application/xop+xml (XOP 1.0 section 4.1); a sender that forgot to say so is
 * understood. */
static int check_root_type(SoapReceiver *receiver, Str content_type)
{
    if (str_is_empty(content_type)) {
        return 0;
    }
    ContentType type;
    if (!content_type_parse(receiver->req->arena, content_type, &type) ||
        !(str_equal(type.media_type, STR("application/xop+xml")) ||
          str_equal(type.media_type, STR("application/soap+xml"))) ||
        !is_utf8_charset(&type)) {
        return error_add(&receiver->req->errors, ERR_SOAP_SENDER, NULL,
                         "the root MIME part has Content-Type %.*s; send application/xop+xml; "
                         "charset=UTF-8; type=\"application/soap+xml\"",
                         STR_ARG(str_slice(content_type, 0, 200)));
    }
    return 0;
}

static int begin_root(SoapReceiver *receiver, const MimePart *part)
{
    if (receiver->has_root) {
        return error_add(&receiver->req->errors, ERR_SOAP_SENDER, NULL,
                         "two MIME parts have the Content-ID of the root part, %.*s; give each "
                         "part a Content-ID of its own",
                         STR_ARG(receiver->root_id));
    }
    receiver->has_root = true;
    receiver->is_in_root = true;
    return check_root_type(receiver, part->content_type);
}

static int on_part_begin(void *ctx, const MimePart *part)
{
    SoapReceiver *receiver = ctx;
    bool is_first = receiver->part_count++ == 0;
    if (str_is_empty(receiver->root_id) ? is_first
                                        : str_equal(part->content_id, receiver->root_id)) {
        return begin_root(receiver, part);
    }
    if (!receiver->sink) {
        return error_add(
            &receiver->req->errors, ERR_SOAP_SENDER, NULL,
            "MIME part %u (Content-ID %.*s) is not the root part; this endpoint takes no "
            "documents",
            receiver->part_count, STR_ARG(part->content_id));
    }
    Arena *arena = receiver->req->arena;
    return document_open(receiver, (Arrived){.content_id = str_dup(arena, part->content_id),
                                             .content_type = str_dup(arena, part->content_type)});
}

static int on_part_bytes(void *ctx, const void *bytes, size_t len)
{
    SoapReceiver *receiver = ctx;
    return receiver->is_in_root ? xml_reader_push(receiver->reader, bytes, len)
                                : document_write(receiver, bytes, len);
}

static int on_part_end(void *ctx)
{
    SoapReceiver *receiver = ctx;
    if (receiver->is_in_root) {
        receiver->is_in_root = false;
        return 0;
    }
    return document_close(receiver);
}

/* ---- The Content-Type of the message ---- */

static int refuse_content_type(Request *req, Str content_type)
{
    return error_add(
        &req->errors, ERR_SOAP_SENDER, NULL,
        "Content-Type is \"%.*s\"; send SOAP 1.2 as application/soap+xml; charset=UTF-8, or as "
        "MTOM: multipart/related; type=\"application/xop+xml\"; "
        "start-info=\"application/soap+xml\" (TF-2 Appendix V.3.2, V.8)",
        STR_ARG(str_slice(content_type, 0, 200)));
}

/** A parameter that may be absent, but if present names this media type (parameters of its own may
 * follow). */
static bool is_absent_or(const ContentType *type, const char *parameter, const char *media_type)
{
    Str value = content_type_parameter(type, parameter);
    Str wanted = str_from(media_type);
    return str_is_empty(value) ||
           (str_equal_ci(str_slice(value, 0, wanted.len), wanted) &&
            (value.len == wanted.len ||
             str_find_char(STR("; \t"), value.data[wanted.len]) != SIZE_MAX));
}

static int set_up_mtom(SoapReceiver *receiver, const ContentType *type, Str content_type)
{
    if (!is_absent_or(type, "type", "application/xop+xml") ||
        !is_absent_or(type, "start-info", "application/soap+xml")) {
        return refuse_content_type(receiver->req, content_type);
    }
    receiver->root_id = mime_content_id(content_type_parameter(type, "start"));
    receiver->mime_events = (MimeEvents){.ctx = receiver,
                                         .part_begin = on_part_begin,
                                         .part_bytes = on_part_bytes,
                                         .part_end = on_part_end};
    receiver->mime =
        mime_parser_new(&receiver->req->errors, content_type_parameter(type, "boundary"),
                        &MIME_LIMITS, &receiver->mime_events);
    return receiver->mime
               ? 0
               : error_add(&receiver->req->errors, ERR_SOAP_SENDER, NULL,
                           "Content-Type multipart/related has no usable boundary parameter; "
                           "send 1 to 70 characters (RFC 2046 5.1.1)");
}

/** Chooses SIMPLE or MTOM. */
static int set_up(SoapReceiver *receiver, Str content_type)
{
    Request *req = receiver->req;
    ContentType type;
    if (!content_type_parse(req->arena, content_type, &type)) {
        return refuse_content_type(req, content_type);
    }
    if (str_equal(type.media_type, STR("multipart/related"))) {
        return set_up_mtom(receiver, &type, content_type);
    }
    if (!str_equal(type.media_type, STR("application/soap+xml"))) {
        return refuse_content_type(req, content_type);
    }
    return is_utf8_charset(&type) ? 0
                                  : error_add(&req->errors, ERR_SOAP_SENDER, NULL,
                                              "Content-Type names charset %.*s; send UTF-8",
                                              STR_ARG(content_type_parameter(&type, "charset")));
}

SoapReceiver *soap_receiver_new(Request *req, Str content_type, const DocumentSink *sink)
{
    SoapReceiver *receiver = HEAP_NEW(SoapReceiver);
    receiver->req = req;
    receiver->sink = sink;
    receiver->diversion = (XmlDiversion){.ctx = receiver,
                                         .open = on_inline_open,
                                         .bytes = on_inline_bytes,
                                         .close = on_inline_close,
                                         .reference = on_reference};
    if (set_up(receiver, content_type)) {
        soap_receiver_free(receiver);
        return NULL;
    }
    receiver->reader = xml_reader_new(req->arena, &req->errors, sink ? &receiver->diversion : NULL);
    return receiver;
}

void soap_receiver_keep(SoapReceiver *receiver, const XmlKeep *keep)
{
    xml_reader_keep(receiver->reader, keep);
}

void soap_receiver_expect_reply(SoapReceiver *receiver)
{
    receiver->is_reply = true;
}

void soap_receiver_drop_documents(SoapReceiver *receiver)
{
    receiver->is_dropping = true;
}

int soap_receiver_push(SoapReceiver *receiver, const void *bytes, size_t len)
{
    if (receiver->has_failed) {
        return -(int)ERR_SOAP_SENDER;
    }
    int r = receiver->mime ? mime_parser_push(receiver->mime, bytes, len)
                           : xml_reader_push(receiver->reader, bytes, len);
    receiver->has_failed = r != 0;
    return r;
}

/* ---- After the last byte ---- */

static int finish_parsers(SoapReceiver *receiver, XmlNode **ret_root)
{
    int r = receiver->mime ? mime_parser_finish(receiver->mime) : 0;
    if (r) {
        return r;
    }
    if (receiver->mime && !receiver->has_root) {
        return error_add(&receiver->req->errors, ERR_SOAP_SENDER, NULL,
                         "no MIME part has the Content-ID %.*s that the start parameter names",
                         STR_ARG(receiver->root_id));
    }
    return xml_reader_finish(receiver->reader, ret_root);
}

static int compare_content_ids(const void *a, const void *b)
{
    const SoapDocument *const *left = a;
    const SoapDocument *const *right = b;
    return str_compare((*left)->content_id, (*right)->content_id);
}

/** The attached documents that have a Content-ID, sorted by it. */
static SoapDocument **index_parts(Request *req, SoapMessage *message, size_t *ret_count)
{
    SoapDocument **index = ARENA_ARRAY(req->arena, SoapDocument *, message->document_count);
    size_t count = 0;
    for (size_t i = 0; i < message->document_count; i++) {
        if (!str_is_empty(message->documents[i].content_id)) {
            index[count++] = &message->documents[i];
        }
    }
    qsort(index, count, sizeof(SoapDocument *), compare_content_ids);
    *ret_count = count;
    return index;
}

static int check_unique(Request *req, SoapDocument **index, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (str_equal(index[i - 1]->content_id, index[i]->content_id)) {
            return error_add(
                &req->errors, ERR_SOAP_SENDER, NULL,
                "two MIME parts have the Content-ID %.*s; make each unique in the message",
                STR_ARG(index[i]->content_id));
        }
    }
    return 0;
}

/** "cid:" and the Content-ID with %XX undone (RFC 2392); empty if the text has another form. */
static Str decode_cid(Arena *arena, Str href)
{
    href = str_trim(href);
    if (!str_equal_ci(str_slice(href, 0, 4), STR("cid:"))) {
        return STR_EMPTY;
    }
    Str coded = str_from_offset(href, 4);
    char *id = arena_alloc(arena, coded.len);
    size_t len = 0;
    for (size_t i = 0; i < coded.len; i++) {
        id[len] = coded.data[i];
        if (coded.data[i] == '%') {
            if (!str_unhex(str_slice(coded, i + 1, 2), &id[len], 1)) {
                return STR_EMPTY;
            }
            i += 2;
        }
        len++;
    }
    return mime_content_id((Str){id, len});
}

/** The part that the xop:Include in this xds:Document names. */
static int resolve_reference(Request *req, SoapMessage *message, XmlNode *node,
                             SoapDocument **index, size_t count)
{
    Str href = xml_attribute(xml_child(node, NS_XOP, "Include"), "href");
    SoapDocument key = {.content_id = decode_cid(req->arena, href)};
    const SoapDocument *wanted = &key;
    SoapDocument **found =
        str_is_empty(key.content_id)
            ? NULL
            : bsearch(&wanted, index, count, sizeof(SoapDocument *), compare_content_ids);
    if (!found) {
        return error_add(&req->errors, ERR_SOAP_SENDER,
                         str_cstr(req->arena, xml_path(req->arena, node)),
                         "xop:Include href=\"%.*s\" names no MIME part; send cid: and the part's "
                         "Content-ID without <>",
                         STR_ARG(str_slice(href, 0, 200)));
    }
    if ((*found)->is_referenced) {
        return error_add(
            &req->errors, ERR_SOAP_SENDER, str_cstr(req->arena, xml_path(req->arena, node)),
            "xop:Include href=\"%.*s\" names a MIME part that another one names already; "
            "send one part for each xds:Document",
            STR_ARG(str_slice(href, 0, 200)));
    }
    (*found)->is_referenced = true;
    node->document = (uint32_t)(*found - message->documents) + 1;
    return 0;
}

static void list_documents(const SoapReceiver *receiver, SoapMessage *message)
{
    message->document_count = receiver->document_count;
    message->documents = ARENA_ARRAY(receiver->req->arena, SoapDocument, message->document_count);
    for (size_t i = 0; i < message->document_count; i++) {
        const Arrived *arrived = &receiver->documents[i];
        message->documents[i] = (SoapDocument){.content_id = arrived->content_id,
                                               .content_type = arrived->content_type,
                                               .content = arrived->content,
                                               .is_referenced = arrived->is_inline};
    }
}

/** Ties each xds:Document element to its content. Reports the references that lead nowhere. */
static int resolve_documents(SoapReceiver *receiver, SoapMessage *message)
{
    Request *req = receiver->req;
    list_documents(receiver, message);
    size_t node_count = 0;
    XmlNode *const *nodes = xml_reader_documents(receiver->reader, &node_count);
    if (node_count != receiver->content_count) {
        return error_add(
            &req->errors, ERR_SOAP_SENDER, NULL,
            "the namespaces of xds:Document are ambiguous; declare them on the element itself");
    }
    size_t count = 0;
    SoapDocument **index = index_parts(req, message, &count);
    int result = check_unique(req, index, count);
    for (size_t i = 0; i < node_count && !error_list_is_full(&req->errors); i++) {
        if (receiver->contents[i] > 0) {
            nodes[i]->document = (uint32_t)receiver->contents[i];
            continue;
        }
        int r = resolve_reference(req, message, nodes[i], index, count);
        result = result ? result : r;
    }
    return result;
}

static void free_document(void *document)
{
    xmlFreeDoc(document);
}

/** The kept headers live as long as the request. */
static const XmlKept *take_kept(SoapReceiver *receiver)
{
    Arena *arena = receiver->req->arena;
    XmlKept *kept = ARENA_NEW(arena, XmlKept);
    if (!xml_reader_take_kept(receiver->reader, kept)) {
        return NULL;
    }
    arena_defer(arena, free_document, kept->document);
    return kept;
}

int soap_receiver_finish(SoapReceiver *receiver, SoapMessage **ret_message)
{
    if (receiver->has_failed) {
        return -(int)ERR_SOAP_SENDER;
    }
    receiver->has_failed = true; /* until all is checked */
    XmlNode *root = NULL;
    int r = finish_parsers(receiver, &root);
    if (r) {
        return r;
    }
    SoapMessage *message = ARENA_NEW(receiver->req->arena, SoapMessage);
    message->is_mtom = receiver->mime != NULL;
    message->security = take_kept(receiver);
    r = receiver->is_reply ? soap_envelope_read_reply(receiver->req, root, message)
                           : soap_envelope_read(receiver->req, root, message);
    if (r) {
        return r;
    }
    r = resolve_documents(receiver, message);
    if (r) {
        return r;
    }
    receiver->has_failed = false;
    *ret_message = message;
    return 0;
}

DocumentContent *soap_message_take_document(SoapReceiver *receiver, size_t index)
{
    DocumentContent *content = receiver->documents[index].content;
    receiver->documents[index].content = NULL;
    return content;
}

void soap_receiver_free(SoapReceiver *receiver)
{
    if (!receiver) {
        return;
    }
    abandon_documents(receiver);
    mime_parser_free(receiver->mime);
    xml_reader_free(receiver->reader);
    free(receiver->documents);
    free(receiver->contents);
    free(receiver);
}
