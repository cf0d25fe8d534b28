#include "lib/xml/read.h"

#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlerror.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/xml/namespaces.h"

enum {
    PARSE_OPTIONS = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING,
    NAME_SLOTS = 128, /* a power of two */
    NAMES_MAX = 1000, /* that a parser may know when it is used again */
};

/** libxml2 keeps one copy of each name, so its address is enough to find our copy. */
typedef struct NameSlot {
    const xmlChar *key;
    Str name;
} NameSlot;

/** The DOM beside the tree. */
typedef struct Keeping {
    const XmlKeep *what;      /* NULL: nothing is kept */
    unsigned elements;        /* so far */
    size_t text_bytes;        /* of attributes too */
    unsigned comments_before; /* the element that is being kept */
    bool is_inside;           /* of an element that is kept whole */
    bool has_any;
    bool has_comments;
} Keeping;

struct XmlReader {
    Arena *arena;
    ErrorList *errors;
    Prescan *prescan;
    xmlParserCtxtPtr parser;
    XmlNode *root;
    XmlNode *node; /* the open element */
    unsigned depth;
    unsigned hidden_lines;          /* that the parser did not see */
    StrBuf text[XML_DEPTH_MAX + 1]; /* of the open elements, by depth */
    NameSlot names[NAME_SLOTS];
    bool is_diverting;
    XmlNode **documents;
    size_t document_count;
    size_t document_cap;
    Keeping keeping;
    bool has_failed;  /* an error was added by the parser's callbacks */
    bool is_finished; /* well */
};

/* ---- libxml2's global state ---- */

static xmlParserInputPtr refuse_entity(const char *url, const char *id, xmlParserCtxtPtr context)
{
    (void)url;
    (void)id;
    (void)context;
    return NULL;
}

static void PRINTF_LIKE(2, 3) ignore_message(void *ctx, const char *format, ...)
{
    (void)ctx;
    (void)format;
}

static void ignore_error(void *ctx, xmlErrorPtr error)
{
    (void)ctx;
    (void)error;
}

void xml_init(void)
{
    xmlInitParser();
    xmlSetExternalEntityLoader(refuse_entity);
    /* for this thread, and for those that are started later */
    xmlSetGenericErrorFunc(NULL, ignore_message);
    xmlSetStructuredErrorFunc(NULL, ignore_error);
    xmlThrDefSetGenericErrorFunc(NULL, ignore_message);
    xmlThrDefSetStructuredErrorFunc(NULL, ignore_error);
}

/* ---- Events ---- */

static unsigned current_line(const XmlReader *reader)
{
    int line = reader->parser->input ? reader->parser->input->line : 0;
    return (line > 0 ? (unsigned)line : 0) + reader->hidden_lines;
}

/** The first error counts: libxml2 reports what follows from it as well. */
static void on_error(void *ctx, xmlErrorPtr error)
{
    XmlReader *reader = ctx;
    if (error->level < XML_ERR_ERROR || reader->has_failed) {
        return;
    }
    reader->has_failed = true;
    Str message = str_trim(str_from(error->message ? error->message : "unknown error"));
    error_add(reader->errors, ERR_SOAP_SENDER, NULL, "line %u: the XML is not well-formed: %.*s",
              current_line(reader), STR_ARG(str_slice(message, 0, 300)));
}

static Str intern(XmlReader *reader, const xmlChar *name)
{
    if (!name) {
        return STR_EMPTY;
    }
    NameSlot *slot = &reader->names[((uintptr_t)name >> 3) % NAME_SLOTS];
    if (slot->key != name) {
        slot->key = name;
        slot->name = str_dup(reader->arena, str_from((const char *)name));
    }
    return slot->name;
}

/** libxml2 hands '&' in an attribute as "&#38;", for a tree builder that resolves it later; every
 * other entity is resolved already. */
static Str copy_value(Arena *arena, Str value)
{
    static const char ampersand[] = "&#38;";
    if (!memchr(value.data, '&', value.len)) {
        return str_dup(arena, value);
    }
    char *text = arena_alloc(arena, value.len);
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        text[len++] = value.data[i];
        if (value.len - i >= sizeof(ampersand) - 1 &&
            memcmp(value.data + i, ampersand, sizeof(ampersand) - 1) == 0) {
            i += sizeof(ampersand) - 2;
        }
    }
    return (Str){text, len};
}

/** SAX2 gives five pointers for each attribute: name, prefix, namespace, begin and end of the
 * value. */
static void copy_attributes(XmlReader *reader, XmlNode *node, int count, const xmlChar **attributes)
{
    if (count <= 0) {
        return;
    }
    node->attribute_count = (size_t)count;
    node->attributes = ARENA_ARRAY(reader->arena, XmlAttribute, node->attribute_count);
    for (size_t i = 0; i < node->attribute_count; i++, attributes += 5) {
        const char *begin = (const char *)attributes[3];
        const char *end = (const char *)attributes[4];
        node->attributes[i] = (XmlAttribute){
            .ns = intern(reader, attributes[2]),
            .name = intern(reader, attributes[0]),
            .value = copy_value(reader->arena, (Str){begin, (size_t)(end - begin)}),
        };
    }
}

static void note_document(XmlReader *reader, XmlNode *node)
{
    if (reader->document_count == reader->document_cap) {
        reader->documents =
            heap_grow(reader->documents, &reader->document_cap, 8, sizeof(XmlNode *));
    }
    reader->documents[reader->document_count++] = node;
}

/* ---- The DOM beside the tree: libxml2's own builder gets the events as well ---- */

/** False: the parser was stopped, because it would be too large. */
static bool may_keep(XmlReader *reader, unsigned elements, size_t text_bytes)
{
    Keeping *keeping = &reader->keeping;
    keeping->elements += elements;
    keeping->text_bytes += text_bytes;
    if (keeping->elements <= XML_KEEP_ELEMENTS_MAX &&
        keeping->text_bytes <= XML_KEEP_TEXT_BYTES_MAX) {
        return true;
    }
    if (!reader->has_failed) {
        reader->has_failed = true;
        error_add(reader->errors, ERR_TOO_LARGE, NULL,
                  "line %u: %s has more than %d elements or %zu KiB of text", current_line(reader),
                  keeping->what->name, XML_KEEP_ELEMENTS_MAX, XML_KEEP_TEXT_BYTES_MAX / 1024);
    }
    xmlStopParser(reader->parser);
    return false;
}

static size_t values_bytes(int attribute_count, const xmlChar **attributes)
{
    size_t bytes = 0;
    for (int i = 0; i < attribute_count; i++) {
        bytes += (size_t)(attributes[5 * i + 4] - attributes[5 * i + 3]);
    }
    return bytes;
}

/** Whether the open element, which has just begun, belongs to what is kept. */
static bool begins_kept(XmlReader *reader)
{
    Keeping *keeping = &reader->keeping;
    if (!keeping->what || keeping->is_inside) {
        return keeping->is_inside;
    }
    if (reader->depth == keeping->what->depth &&
        xml_is(reader->node, keeping->what->ns, keeping->what->name)) {
        keeping->is_inside = true;
        keeping->has_any = true;
        keeping->comments_before = prescan_comment_count(reader->prescan);
        return true;
    }
    return reader->depth < keeping->what->depth;
}

/** Whether the open element, which ends now, was kept. */
static bool ends_kept(XmlReader *reader)
{
    Keeping *keeping = &reader->keeping;
    if (!keeping->what || (!keeping->is_inside && reader->depth >= keeping->what->depth)) {
        return false;
    }
    if (keeping->is_inside && reader->depth == keeping->what->depth) {
        keeping->is_inside = false;
        keeping->has_comments = keeping->has_comments ||
                                keeping->comments_before != prescan_comment_count(reader->prescan);
    }
    return true;
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *ns,
                     int namespace_count, const xmlChar **namespaces, int attribute_count,
                     int defaulted_count, const xmlChar **attributes)
{
    XmlReader *reader = ctx;
    if (reader->depth == XML_DEPTH_MAX) {
        xmlStopParser(reader->parser); /* the pre-scan counts the same way: not reached */
        return;
    }
    XmlNode *node = ARENA_NEW(reader->arena, XmlNode);
    node->ns = intern(reader, ns);
    node->name = intern(reader, name);
    node->line = current_line(reader);
    copy_attributes(reader, node, attribute_count, attributes);
    if (reader->node) {
        xml_append_child(reader->node, node);
    } else {
        reader->root = node;
    }
    if (reader->is_diverting && xml_is(node, NS_XDSB, "Document")) {
        note_document(reader, node);
    }
    reader->node = node;
    reader->depth++;
    strbuf_clear(&reader->text[reader->depth]);
    if (begins_kept(reader) && may_keep(reader, 1, values_bytes(attribute_count, attributes))) {
        xmlSAX2StartElementNs(reader->parser, name, prefix, ns, namespace_count, namespaces,
                              attribute_count, defaulted_count, attributes);
    }
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *ns)
{
    XmlReader *reader = ctx;
    if (ends_kept(reader)) {
        xmlSAX2EndElementNs(reader->parser, name, prefix, ns);
    }
    reader->node->text = str_dup(reader->arena, strbuf_str(&reader->text[reader->depth]));
    reader->node = reader->node->parent;
    reader->depth--;
}

static void on_text(void *ctx, const xmlChar *text, int len)
{
    XmlReader *reader = ctx;
    strbuf_append_bytes(&reader->text[reader->depth], text, (size_t)len);
    if (reader->keeping.is_inside && may_keep(reader, 0, (size_t)len)) {
        xmlSAX2Characters(reader->parser, text, len);
    }
}

/* ---- The reader ---- */

static int fail_unless_told(XmlReader *reader, const char *why)
{
    if (!reader->has_failed) {
        reader->has_failed = true;
        error_add(reader->errors, ERR_SOAP_SENDER, NULL, "the XML is not well-formed: %s", why);
    }
    return -(int)ERR_SOAP_SENDER;
}

/**
 * libxml2 2.9 leaves wellFormed at 1 for some faults, so everything that can tell of one is asked.
 * Warnings (a relative namespace name) are no fault.
 */
static int check_parser(XmlReader *reader)
{
    const xmlError *last = xmlCtxtGetLastError(reader->parser);
    if (reader->has_failed || !reader->parser->wellFormed || !reader->parser->nsWellFormed ||
        (last && last->level >= XML_ERR_ERROR)) {
        return fail_unless_told(reader, "refused by the parser");
    }
    return 0;
}

/** PrescanOutput: checked bytes for the parser. */
static int parse(void *ctx, const char *bytes, size_t len, unsigned hidden_lines)
{
    XmlReader *reader = ctx;
    reader->hidden_lines += hidden_lines;
    while (len > 0) {
        int piece = (int)MIN(len, (size_t)1 << 20);
        xmlParseChunk(reader->parser, bytes, piece, 0);
        int r = check_parser(reader);
        if (r) {
            return r;
        }
        bytes += piece;
        len -= (size_t)piece;
    }
    return 0;
}

static xmlParserCtxtPtr new_parser(XmlReader *reader)
{
    xmlSAXHandler handler = {
        .initialized = XML_SAX2_MAGIC,
        .startElementNs = on_start,
        .endElementNs = on_end,
        .characters = on_text,
        .ignorableWhitespace = on_text,
        .serror = on_error,
    };
    xmlParserCtxtPtr parser = xmlCreatePushParserCtxt(&handler, reader, NULL, 0, NULL);
    if (!parser) {
        abort();
    }
    xmlCtxtUseOptions(parser, PARSE_OPTIONS);
    return parser;
}

XmlReader *xml_reader_new(Arena *arena, ErrorList *errors, const XmlDiversion *diversion)
{
    XmlReader *reader = HEAP_NEW(XmlReader);
    reader->arena = arena;
    reader->errors = errors;
    reader->is_diverting = diversion != NULL;
    reader->prescan = prescan_new(errors, &PRESCAN_LIMITS, parse, reader, diversion);
    reader->parser = new_parser(reader);
    return reader;
}

/** A parser that stopped in the middle is of no more use; one that has seen many documents would
 * keep all their names. */
static void restart_parser(XmlReader *reader)
{
    bool is_good = reader->is_finished && xmlDictSize(reader->parser->dict) <= NAMES_MAX &&
                   xmlCtxtResetPush(reader->parser, NULL, 0, NULL, NULL) == 0;
    if (!is_good) {
        xmlFreeDoc(reader->parser->myDoc);
        xmlFreeParserCtxt(reader->parser);
        reader->parser = new_parser(reader);
    }
}

void xml_reader_restart(XmlReader *reader, Arena *arena, ErrorList *errors)
{
    restart_parser(reader);
    prescan_restart(reader->prescan, errors);
    reader->arena = arena;
    reader->errors = errors;
    reader->root = NULL;
    reader->node = NULL;
    reader->depth = 0;
    reader->hidden_lines = 0;
    memset(reader->names, 0, sizeof(reader->names));
    reader->document_count = 0;
    reader->keeping = (Keeping){0};
    reader->has_failed = false;
    reader->is_finished = false;
}

void xml_reader_keep(XmlReader *reader, const XmlKeep *keep)
{
    reader->keeping.what = keep;
    xmlSAX2StartDocument(reader->parser);
}

bool xml_reader_take_kept(XmlReader *reader, XmlKept *ret_kept)
{
    if (!reader->keeping.has_any) {
        return false;
    }
    *ret_kept = (XmlKept){reader->parser->myDoc, reader->keeping.has_comments};
    reader->parser->myDoc = NULL;
    return true;
}

int xml_reader_push(XmlReader *reader, const void *bytes, size_t len)
{
    return prescan_push(reader->prescan, bytes, len);
}

int xml_reader_finish(XmlReader *reader, XmlNode **ret_root)
{
    int r = prescan_finish(reader->prescan);
    if (r) {
        return r;
    }
    xmlParseChunk(reader->parser, NULL, 0, 1);
    r = check_parser(reader);
    if (r) {
        return r;
    }
    if (!reader->root || reader->node) {
        return fail_unless_told(reader, "it ends too early");
    }
    *ret_root = reader->root;
    reader->is_finished = true;
    return 0;
}

XmlNode *const *xml_reader_documents(const XmlReader *reader, size_t *ret_count)
{
    *ret_count = reader->document_count;
    return reader->documents;
}

void xml_reader_free(XmlReader *reader)
{
    if (!reader) {
        return;
    }
    prescan_free(reader->prescan);
    xmlFreeDoc(reader->parser->myDoc);
    xmlFreeParserCtxt(reader->parser);
    for (size_t i = 0; i < ARRAY_LEN(reader->text); i++) {
        strbuf_done(&reader->text[i]);
    }
    free(reader->documents);
    free(reader);
}

static void reader_freep(XmlReader **reader)
{
    xml_reader_free(*reader);
}

int xml_read(Request *req, Str bytes, XmlNode **ret_root)
{
    _cleanup_(reader_freep) XmlReader *reader = xml_reader_new(req->arena, &req->errors, NULL);
    int r = xml_reader_push(reader, bytes.data, bytes.len);
    return r ? r : xml_reader_finish(reader, ret_root);
}
