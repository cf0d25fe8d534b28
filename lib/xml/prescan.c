#include "lib/xml/prescan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/base/str.h"
#include "lib/xml/base64.h"
#include "lib/xml/namespaces.h"

const PrescanLimits PRESCAN_LIMITS = {
    .tag_bytes = (size_t)64 * 1024,
    .attributes = 128,
    .namespaces = 64,
    .depth = XML_DEPTH_MAX,
    .elements = 200000,
    .xml_bytes = (size_t)16 * 1024 * 1024,
};

enum {
    DECLARATION_MAX = 512, /* "<?xml ... ?>" */
    REFERENCE_MAX = 10,    /* "&#x10FFFF;" */
    DECODE_STEP = 16384,   /* base64 characters decoded at a time */
};

/** Where in the grammar of XML 1.0 the next byte stands. */
typedef enum State {
    STATE_START,       /* before the first byte that is not part of a byte order mark */
    STATE_TEXT,        /* [14] CharData, or between the parts of [1] document */
    STATE_REFERENCE,   /* [67] Reference in text */
    STATE_MARKUP,      /* after '<', kind not known yet */
    STATE_START_TAG,   /* [40] STag, [44] EmptyElemTag */
    STATE_END_TAG,     /* [42] ETag */
    STATE_DECLARATION, /* [23] XMLDecl */
    STATE_COMMENT,     /* [15] Comment */
    STATE_CDATA,       /* [18] CDSect */
} State;

/** What the content of an xds:Document turned out to be. */
typedef enum Content {
    CONTENT_NONE,      /* only white space so far */
    CONTENT_INLINE,    /* base64 */
    CONTENT_REFERENCE, /* an xop:Include */
} Content;

typedef enum Namespace { NAMESPACE_OTHER, NAMESPACE_XDSB, NAMESPACE_XOP } Namespace;

/** A namespace declaration that is in scope. */
typedef struct Binding {
    size_t prefix_offset; /* in Prescan.prefixes */
    size_t prefix_len;    /* 0: the default namespace */
    unsigned depth;       /* of the element that declares it */
    Namespace ns;
} Binding;

struct Prescan {
    ErrorList *errors;
    const PrescanLimits *limits;
    PrescanOutput output;
    void *output_ctx;
    const XmlDiversion *diversion;

    State state;
    const char *chunk; /* the bytes being pushed */
    const char *at;    /* the next of them to look at */
    const char *end;
    const char *pending;  /* from here to `at` they were checked and may be put out */
    const char *next_tag; /* the first '<' from `at` on, or `end`; NULL or before `at`: not known */
    const char *token;    /* start of the unfinished tag or reference in this chunk */
    StrBuf held;          /* its beginning, from earlier chunks; whole after token_take() */
    char markup[8];       /* what followed '<' while its kind is not known */
    unsigned markup_len;
    unsigned bom_len;      /* bytes of a byte order mark seen */
    StrBuf escaped;        /* CDATA as text */
    char quote;            /* open quotation mark in a start tag, or 0 */
    unsigned run;          /* '-' or ']' in a row that may end a comment or CDATA section */
    unsigned lines;        /* line ends in earlier chunks */
    unsigned hidden_lines; /* line ends not put out, not yet reported */
    bool has_begun;        /* something other than white space was seen */
    size_t xml_bytes;

    unsigned depth;
    unsigned elements;
    unsigned comments;
    Binding *bindings;
    size_t binding_count;
    size_t binding_cap;
    StrBuf prefixes;

    unsigned document_depth; /* depth of the open xds:Document; 0: none is open */
    Content content;
    Base64Decoder base64;
};

Prescan *prescan_new(ErrorList *errors, const PrescanLimits *limits, PrescanOutput output,
                     void *output_ctx, const XmlDiversion *diversion)
{
    Prescan *scan = HEAP_NEW(Prescan);
    scan->errors = errors;
    scan->limits = limits;
    scan->output = output;
    scan->output_ctx = output_ctx;
    scan->diversion = diversion;
    return scan;
}

void prescan_restart(Prescan *scan, ErrorList *errors)
{
    strbuf_clear(&scan->held);
    strbuf_clear(&scan->escaped);
    strbuf_clear(&scan->prefixes);
    *scan = (Prescan){.errors = errors,
                      .limits = scan->limits,
                      .output = scan->output,
                      .output_ctx = scan->output_ctx,
                      .diversion = scan->diversion,
                      .held = scan->held,
                      .escaped = scan->escaped,
                      .bindings = scan->bindings,
                      .binding_cap = scan->binding_cap,
                      .prefixes = scan->prefixes};
}

void prescan_free(Prescan *scan)
{
    if (!scan) {
        return;
    }
    strbuf_done(&scan->held);
    strbuf_done(&scan->escaped);
    strbuf_done(&scan->prefixes);
    free(scan->bindings);
    free(scan);
}

unsigned prescan_comment_count(const Prescan *scan)
{
    return scan->comments;
}

static unsigned count_lines(Str text)
{
    unsigned count = 0;
    while (text.len > 0) {
        size_t line_end = str_find_char(text, '\n');
        if (line_end == SIZE_MAX) {
            break;
        }
        count++;
        text = str_from_offset(text, line_end + 1);
    }
    return count;
}

/** The bytes of the chunk between two places. */
static Str between(const char *from, const char *to)
{
    return (Str){from, (size_t)(to - from)};
}

/** Adds an error, with the line where the scan stands. */
static int PRINTF_LIKE(3, 4) refuse(Prescan *scan, ErrorCode code, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return error_add(scan->errors, code, NULL, "line %u: %s",
                     1 + scan->lines + count_lines(between(scan->chunk, scan->at)), text);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_blank(Str text)
{
    return str_is_empty(str_trim(text));
}

/** Puts bytes out to the parser. */
static int put(Prescan *scan, const char *bytes, size_t len)
{
    if (len == 0) {
        return 0;
    }
    if (len > scan->limits->xml_bytes - scan->xml_bytes) {
        return error_add(
            scan->errors, ERR_TOO_LARGE, NULL,
            "the XML is longer than %zu bytes; send documents as MIME parts (MTOM), or "
            "split the message",
            scan->limits->xml_bytes);
    }
    if (memchr(bytes, 0, len)) {
        return refuse(scan, ERR_SOAP_SENDER,
                      "the XML holds a NUL byte; send UTF-8 text (XML 1.0 section 2.2)");
    }
    scan->xml_bytes += len;
    unsigned hidden_lines = scan->hidden_lines;
    scan->hidden_lines = 0;
    return scan->output(scan->output_ctx, bytes, len, hidden_lines);
}

/** Puts out what was checked before this place of the chunk. */
static int flush_until(Prescan *scan, const char *place)
{
    const char *from = scan->pending;
    scan->pending = place;
    return put(scan, from, (size_t)(place - from));
}

/** Leaves out the bytes up to this place. */
static void hide_until(Prescan *scan, const char *place)
{
    scan->hidden_lines += count_lines(between(scan->pending, place));
    scan->pending = place;
}

/* ---- Tokens: tags and references, which may begin in an earlier chunk ---- */

static void token_begin(Prescan *scan, State state)
{
    scan->token = scan->at++;
    scan->state = state;
}

static size_t token_len(const Prescan *scan)
{
    return scan->held.len + (size_t)(scan->at - scan->token);
}

/** The whole token, which ends here. */
static Str token_take(Prescan *scan)
{
    size_t len = (size_t)(scan->at - scan->token);
    if (scan->held.len == 0) {
        return (Str){scan->token, len};
    }
    strbuf_append_bytes(&scan->held, scan->token, len);
    scan->token = scan->at;
    return strbuf_str(&scan->held);
}

/** Done with a token that was taken: it goes to the parser, at once or with the bytes around it. */
static int token_put(Prescan *scan)
{
    if (scan->held.len == 0) {
        return 0;
    }
    scan->pending = scan->at;
    int r = put(scan, scan->held.data, scan->held.len);
    strbuf_clear(&scan->held);
    return r;
}

/** Done with a token: the parser does not get it. */
static int token_hide(Prescan *scan)
{
    int r = scan->held.len == 0 ? flush_until(scan, scan->token) : 0;
    scan->hidden_lines += count_lines(strbuf_str(&scan->held));
    strbuf_clear(&scan->held);
    scan->pending = scan->token;
    hide_until(scan, scan->at);
    return r;
}

/** The chunk ends inside a token: keeps its beginning. */
static int token_hold(Prescan *scan)
{
    int r = scan->held.len == 0 ? flush_until(scan, scan->token) : 0;
    strbuf_append_bytes(&scan->held, scan->token, (size_t)(scan->end - scan->token));
    return r;
}

/* ---- Names, attributes, namespaces ---- */

static void skip_space(Str *rest)
{
    while (rest->len > 0 && is_space(*rest->data)) {
        *rest = str_from_offset(*rest, 1);
    }
}

/** Cuts off what stands before white space or '='. */
static Str cut_name(Str *rest)
{
    size_t len = 0;
    while (len < rest->len && rest->data[len] != '=' && !is_space(rest->data[len])) {
        len++;
    }
    Str name = str_slice(*rest, 0, len);
    *rest = str_from_offset(*rest, len);
    return name;
}

/** Cuts off [41] Attribute ::= Name Eq AttValue. @return false if there is something else */
static bool cut_attribute(Str *rest, Str *ret_name, Str *ret_value)
{
    Str name = cut_name(rest);
    skip_space(rest);
    if (str_is_empty(name) || rest->len < 2 || *rest->data != '=') {
        return false;
    }
    *rest = str_from_offset(*rest, 1);
    skip_space(rest);
    if (rest->len < 2 || (*rest->data != '"' && *rest->data != '\'')) {
        return false;
    }
    char quote = *rest->data;
    *rest = str_from_offset(*rest, 1);
    size_t len = str_find_char(*rest, quote);
    if (len == SIZE_MAX) {
        return false;
    }
    *ret_name = name;
    *ret_value = str_slice(*rest, 0, len);
    *rest = str_from_offset(*rest, len + 1);
    return true;
}

/** "xmlns" or "xmlns:" prefix; written for speed, as every attribute passes here. */
static bool is_namespace_declaration(Str name)
{
    static const char xmlns[] = {'x', 'm', 'l', 'n', 's'};
    return name.len >= sizeof(xmlns) && memcmp(name.data, xmlns, sizeof(xmlns)) == 0 &&
           (name.len == sizeof(xmlns) || name.data[sizeof(xmlns)] == ':');
}

static void bind(Prescan *scan, Str prefix, Str uri)
{
    if (scan->binding_count == scan->binding_cap) {
        scan->bindings = heap_grow(scan->bindings, &scan->binding_cap, 32, sizeof(Binding));
    }
    scan->bindings[scan->binding_count++] = (Binding){
        .prefix_offset = scan->prefixes.len,
        .prefix_len = prefix.len,
        .depth = scan->depth,
        .ns = str_equal(uri, STR(NS_XDSB))  ? NAMESPACE_XDSB
              : str_equal(uri, STR(NS_XOP)) ? NAMESPACE_XOP
                                            : NAMESPACE_OTHER,
    };
    strbuf_append(&scan->prefixes, prefix);
}

/** Ends the scope of the declarations of the element that is closed. */
static void unbind(Prescan *scan)
{
    while (scan->binding_count > 0 &&
           scan->bindings[scan->binding_count - 1].depth == scan->depth) {
        scan->prefixes.len = scan->bindings[--scan->binding_count].prefix_offset;
    }
}

static Namespace namespace_of(const Prescan *scan, Str prefix)
{
    for (size_t i = scan->binding_count; i-- > 0;) {
        const Binding *binding = &scan->bindings[i];
        Str bound = {scan->prefixes.data + binding->prefix_offset, binding->prefix_len};
        if (str_equal(bound, prefix)) {
            return binding->ns;
        }
    }
    return NAMESPACE_OTHER;
}

/** True if the qualified name stands for {ns}local here. */
static bool name_is(const Prescan *scan, Str qname, Namespace ns, Str local)
{
    if (!str_ends_with(qname, local)) {
        return false;
    }
    size_t prefix_len = qname.len - local.len;
    if (prefix_len == 0) {
        return namespace_of(scan, STR_EMPTY) == ns;
    }
    return qname.data[prefix_len - 1] == ':' &&
           namespace_of(scan, str_slice(qname, 0, prefix_len - 1)) == ns;
}

/* ---- xds:Document ---- */

static int document_open(Prescan *scan)
{
    scan->content = CONTENT_INLINE;
    scan->base64 = (Base64Decoder){0};
    return scan->diversion->open(scan->diversion->ctx);
}

static int document_text(Prescan *scan, Str text)
{
    if (scan->content != CONTENT_INLINE && is_blank(text)) {
        return 0;
    }
    if (scan->content == CONTENT_REFERENCE) {
        return refuse(scan, ERR_SOAP_SENDER,
                      "xds:Document holds text beside an xop:Include; send either base64 or one "
                      "xop:Include");
    }
    int r = scan->content == CONTENT_NONE ? document_open(scan) : 0;
    while (r == 0 && text.len > 0) {
        uint8_t decoded[BASE64_DECODED_MAX(DECODE_STEP)];
        size_t len = 0;
        Str piece = str_slice(text, 0, DECODE_STEP);
        if (!base64_decode(&scan->base64, piece, decoded, &len)) {
            return refuse(
                scan, ERR_SOAP_SENDER,
                "the content of xds:Document is not base64; send base64 (RFC 4648 section 4) "
                "or one xop:Include");
        }
        if (len > 0) {
            r = scan->diversion->bytes(scan->diversion->ctx, decoded, len);
        }
        text = str_from_offset(text, piece.len);
    }
    return r;
}

static int document_end(Prescan *scan)
{
    scan->document_depth = 0;
    if (scan->content == CONTENT_REFERENCE) {
        return scan->diversion->reference(scan->diversion->ctx);
    }
    int r = scan->content == CONTENT_NONE ? document_open(scan) : 0;
    if (r == 0 && !base64_is_complete(&scan->base64)) {
        return refuse(
            scan, ERR_SOAP_SENDER,
            "the base64 of xds:Document is cut short: its length is not a multiple of four "
            "(padding with = included)");
    }
    return r ? r : scan->diversion->close(scan->diversion->ctx);
}

/** An element begins while content is diverted: an xds:Document, or something inside one. */
static int document_element(Prescan *scan, Str qname)
{
    if (scan->document_depth == 0) {
        if (name_is(scan, qname, NAMESPACE_XDSB, STR("Document"))) {
            scan->document_depth = scan->depth;
            scan->content = CONTENT_NONE;
        }
        return 0;
    }
    if (scan->content != CONTENT_NONE || !name_is(scan, qname, NAMESPACE_XOP, STR("Include"))) {
        return refuse(
            scan, ERR_SOAP_SENDER,
            "xds:Document holds <%.*s>; send either base64 text or exactly one xop:Include "
            "(TF-2 Appendix V.8)",
            STR_ARG(str_slice(qname, 0, 64)));
    }
    scan->content = CONTENT_REFERENCE;
    return 0;
}

/* ---- Tokens that are complete ---- */

/** Takes a start tag's attributes: counts them, and opens the scope of its namespace declarations.
 */
static int read_attributes(Prescan *scan, Str rest)
{
    unsigned attributes = 0;
    unsigned namespaces = 0;
    for (skip_space(&rest); rest.len > 0; skip_space(&rest)) {
        Str name;
        Str value;
        if (!cut_attribute(&rest, &name, &value)) {
            return refuse(scan, ERR_SOAP_SENDER,
                          "a start tag is malformed: expected name=\"value\"");
        }
        if (++attributes > scan->limits->attributes) {
            return refuse(scan, ERR_TOO_LARGE, "a start tag has more than %u attributes",
                          scan->limits->attributes);
        }
        if (!is_namespace_declaration(name)) {
            continue;
        }
        if (++namespaces > scan->limits->namespaces) {
            return refuse(scan, ERR_TOO_LARGE,
                          "a start tag has more than %u namespace declarations",
                          scan->limits->namespaces);
        }
        if (str_find_char(value, '&') != SIZE_MAX) {
            return refuse(scan, ERR_SOAP_SENDER,
                          "a namespace name holds a character reference; write it without '&'");
        }
        bind(scan, str_from_offset(name, strlen("xmlns:")), value);
    }
    return 0;
}

static int close_element(Prescan *scan)
{
    if (scan->depth == 0) {
        return refuse(scan, ERR_SOAP_SENDER, "an end tag has no start tag");
    }
    int r = scan->depth == scan->document_depth ? document_end(scan) : 0;
    unbind(scan);
    scan->depth--;
    return r;
}

static int start_tag(Prescan *scan)
{
    if (token_len(scan) > scan->limits->tag_bytes) {
        return refuse(scan, ERR_TOO_LARGE, "a tag is longer than %zu bytes",
                      scan->limits->tag_bytes);
    }
    Str tag = token_take(scan);
    Str rest = str_slice(tag, 1, tag.len - 2);
    bool is_empty = str_ends_with(rest, STR("/"));
    if (is_empty) {
        rest.len--;
    }
    if (++scan->elements > scan->limits->elements) {
        return refuse(scan, ERR_TOO_LARGE, "the XML has more than %u elements",
                      scan->limits->elements);
    }
    if (++scan->depth > scan->limits->depth) {
        return refuse(scan, ERR_TOO_LARGE, "elements are nested deeper than %u",
                      scan->limits->depth);
    }
    Str qname = cut_name(&rest);
    int r = read_attributes(scan, rest);
    if (r == 0 && scan->diversion) {
        r = document_element(scan, qname);
    }
    if (r == 0) {
        r = token_put(scan);
    }
    if (r == 0 && is_empty) {
        r = close_element(scan);
    }
    scan->state = STATE_TEXT;
    return r;
}

static int end_tag(Prescan *scan)
{
    token_take(scan);
    int r = token_put(scan);
    scan->state = STATE_TEXT;
    return r ? r : close_element(scan);
}

/** [23] XMLDecl ::= '<?xml' VersionInfo EncodingDecl? SDDecl? S? '?>' */
static int declaration(Prescan *scan)
{
    Str text = token_take(scan);
    if (scan->has_begun || !str_starts_with(text, STR("<?xml")) || text.len < 6 ||
        !is_space(text.data[5])) {
        return refuse(scan, ERR_SOAP_SENDER,
                      "processing instructions are not accepted (SOAP 1.2 part 1 section 5)");
    }
    Str rest = str_slice(text, 5, text.len - 7);
    for (skip_space(&rest); rest.len > 0; skip_space(&rest)) {
        Str name;
        Str value;
        if (!cut_attribute(&rest, &name, &value)) {
            return refuse(scan, ERR_SOAP_SENDER, "the XML declaration is malformed");
        }
        if (str_equal(name, STR("version")) && !str_equal(value, STR("1.0"))) {
            return refuse(scan, ERR_SOAP_SENDER,
                          "the XML declaration asks for version %.*s; send 1.0",
                          STR_ARG(str_slice(value, 0, 16)));
        }
        if (str_equal(name, STR("encoding")) && !str_equal_ci(value, STR("UTF-8")) &&
            !str_equal_ci(value, STR("US-ASCII"))) {
            return refuse(scan, ERR_SOAP_SENDER,
                          "the XML declaration names the encoding %.*s; send UTF-8",
                          STR_ARG(str_slice(value, 0, 40)));
        }
    }
    scan->has_begun = true;
    scan->state = STATE_TEXT;
    return token_hide(scan);
}

/** White space as a character reference: some senders write their base64 line ends as &#xD;. */
static bool is_blank_reference(Str reference)
{
    static const char *const blank[] = {"&#xd;", "&#xa;", "&#x9;", "&#x20;",
                                        "&#13;", "&#10;", "&#9;",  "&#32;"};
    for (size_t i = 0; i < ARRAY_LEN(blank); i++) {
        if (str_equal_ci(reference, str_from(blank[i]))) {
            return true;
        }
    }
    return false;
}

/** A reference to a character, or to one of the five entities that exist without a DTD. */
static bool is_known_reference(Str reference)
{
    static const char *const entities[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&apos;"};
    for (size_t i = 0; i < ARRAY_LEN(entities); i++) {
        if (str_equal(reference, str_from(entities[i]))) {
            return true;
        }
    }
    return str_starts_with(reference, STR("&#"));
}

static int reference(Prescan *scan)
{
    Str text = token_take(scan);
    scan->state = STATE_TEXT;
    if (scan->document_depth > 0) {
        return is_blank_reference(text)
                   ? token_hide(scan)
                   : refuse(scan, ERR_SOAP_SENDER, "xds:Document holds %.*s; send base64 only",
                            STR_ARG(text));
    }
    return is_known_reference(text)
               ? token_put(scan)
               : refuse(scan, ERR_SOAP_SENDER,
                        "the entity %.*s is not declared; write the character", STR_ARG(text));
}

/* ---- Steps: each takes at least one byte, from scan->at on ---- */

/** [byte order mark] white space, then the first '<'. White space here goes nowhere: it may precede
 * an XMLDecl. */
static int step_start(Prescan *scan)
{
    static const char bom[] = "\xef\xbb\xbf";
    unsigned char c = (unsigned char)*scan->at;
    if (scan->bom_len < 3 && (char)c == bom[scan->bom_len]) {
        scan->bom_len++;
    } else if (scan->bom_len == 0 && (c == 0xfe || c == 0xff || c == 0)) {
        return refuse(scan, ERR_SOAP_SENDER, "the XML is UTF-16 or UTF-32; send UTF-8");
    } else if (c == '<' && (scan->bom_len == 0 || scan->bom_len == 3)) {
        scan->state = STATE_TEXT;
        return flush_until(scan, scan->at);
    } else if (!is_space((char)c)) {
        return refuse(scan, ERR_SOAP_SENDER,
                      "the message is not XML in UTF-8: it does not begin with '<'");
    }
    scan->at++;
    hide_until(scan, scan->at);
    return 0;
}

static int step_text(Prescan *scan)
{
    if (!scan->next_tag || scan->next_tag < scan->at) {
        scan->next_tag = memchr(scan->at, '<', (size_t)(scan->end - scan->at));
        scan->next_tag = scan->next_tag ? scan->next_tag : scan->end;
    }
    const char *from = scan->at;
    const char *amp = memchr(from, '&', (size_t)(scan->next_tag - from));
    scan->at = amp ? amp : scan->next_tag;
    if (scan->document_depth > 0 && scan->at > from) {
        int r = flush_until(scan, from);
        r = r ? r : document_text(scan, between(from, scan->at));
        hide_until(scan, scan->at);
        if (r) {
            return r;
        }
    }
    if (scan->at < scan->end) {
        scan->markup_len = 0;
        token_begin(scan, amp ? STATE_REFERENCE : STATE_MARKUP);
    }
    return 0;
}

static int step_reference(Prescan *scan)
{
    while (scan->at < scan->end) {
        char c = *scan->at++;
        if (c == ';') {
            return reference(scan);
        }
        if (token_len(scan) >= REFERENCE_MAX || c == '<' || c == '&' || is_space(c)) {
            return refuse(scan, ERR_SOAP_SENDER, "a '&' does not begin a reference; write &amp;");
        }
    }
    return 0;
}

/** Hidden markup begins: a comment or a CDATA section. */
static int begin_hidden(Prescan *scan, State state)
{
    scan->state = state;
    scan->run = 0;
    return token_hide(scan);
}

/** Counted after all that precedes it was put out. */
static int begin_comment(Prescan *scan)
{
    int r = begin_hidden(scan, STATE_COMMENT);
    scan->comments++;
    return r;
}

/** After "<!": a comment, a CDATA section, or what no message may hold. */
static int step_declared_markup(Prescan *scan)
{
    Str so_far = {scan->markup, scan->markup_len};
    if (str_equal(so_far, STR("!--"))) {
        return scan->document_depth > 0
                   ? refuse(scan, ERR_SOAP_SENDER, "xds:Document holds a comment; send base64 only")
                   : begin_comment(scan);
    }
    if (str_equal(so_far, STR("![CDATA["))) {
        return scan->document_depth > 0 || scan->depth == 0
                   ? refuse(scan, ERR_SOAP_SENDER,
                            "a CDATA section stands in xds:Document or outside the root element")
                   : begin_hidden(scan, STATE_CDATA);
    }
    if (str_starts_with(STR("!--"), so_far) || str_starts_with(STR("![CDATA["), so_far)) {
        return 0;
    }
    return refuse(scan, ERR_SOAP_SENDER,
                  "document type declarations are not accepted (SOAP 1.2 part 1 section 5)");
}

static int step_markup(Prescan *scan)
{
    scan->markup[scan->markup_len++] = *scan->at++;
    if (scan->markup[0] == '?') {
        scan->state = STATE_DECLARATION;
        return 0;
    }
    scan->has_begun = true;
    if (scan->markup[0] == '!') {
        return step_declared_markup(scan);
    }
    scan->state = scan->markup[0] == '/' ? STATE_END_TAG : STATE_START_TAG;
    scan->at--;
    return 0;
}

static int step_start_tag(Prescan *scan)
{
    while (scan->at < scan->end) {
        if (scan->quote) {
            const char *close = memchr(scan->at, scan->quote, (size_t)(scan->end - scan->at));
            scan->at = close ? close + 1 : scan->end;
            if (close) {
                scan->quote = '\0';
            }
            continue;
        }
        const char *at = scan->at;
        while (at < scan->end && *at != '>' && *at != '"' && *at != '\'') {
            at++;
        }
        if (at == scan->end) {
            scan->at = at;
            break;
        }
        scan->at = at + 1;
        if (*at == '>') {
            return start_tag(scan);
        }
        scan->quote = *at;
    }
    return token_len(scan) > scan->limits->tag_bytes
               ? refuse(scan, ERR_TOO_LARGE, "a tag is longer than %zu bytes",
                        scan->limits->tag_bytes)
               : 0;
}

/** Takes a token that ends with the next '>' and has no quotation marks to mind. */
static int step_until_close(Prescan *scan, size_t max_bytes, int (*complete)(Prescan *scan))
{
    const char *close = memchr(scan->at, '>', (size_t)(scan->end - scan->at));
    scan->at = close ? close + 1 : scan->end;
    if (token_len(scan) > max_bytes) {
        return refuse(scan, ERR_TOO_LARGE, "a tag is longer than %zu bytes", max_bytes);
    }
    return close ? complete(scan) : 0;
}

static int step_comment(Prescan *scan)
{
    while (scan->at < scan->end && scan->state == STATE_COMMENT) {
        if (scan->run == 0) {
            const char *dash = memchr(scan->at, '-', (size_t)(scan->end - scan->at));
            scan->at = dash ? dash : scan->end;
        }
        if (scan->at == scan->end) {
            break;
        }
        char c = *scan->at++;
        if (scan->run == 2 && c != '>') {
            return refuse(scan, ERR_SOAP_SENDER, "a comment holds \"--\" (XML 1.0 section 2.5)");
        }
        if (scan->run == 2) {
            scan->state = STATE_TEXT;
        }
        scan->run = c == '-' ? scan->run + 1 : 0;
    }
    hide_until(scan, scan->at);
    return 0;
}

/** ']' is escaped too, so that "]]>" cannot arise with the text that follows the section. */
static void append_cdata(StrBuf *buf, char c)
{
    switch (c) {
    case '<':
        strbuf_literal(buf, "&lt;");
        break;
    case '&':
        strbuf_literal(buf, "&amp;");
        break;
    case '>':
        strbuf_literal(buf, "&gt;");
        break;
    case ']':
        strbuf_literal(buf, "&#93;");
        break;
    default:
        strbuf_append_char(buf, c);
    }
}

static int step_cdata(Prescan *scan)
{
    strbuf_clear(&scan->escaped);
    while (scan->at < scan->end && scan->state == STATE_CDATA) {
        char c = *scan->at++;
        if (c == ']' && scan->run < 2) {
            scan->run++;
        } else if (c == ']') {
            append_cdata(&scan->escaped, ']');
        } else if (c == '>' && scan->run == 2) {
            scan->run = 0;
            scan->state = STATE_TEXT;
        } else {
            for (; scan->run > 0; scan->run--) {
                append_cdata(&scan->escaped, ']');
            }
            append_cdata(&scan->escaped, c);
        }
    }
    scan->pending = scan->at;
    return put(scan, scan->escaped.data, scan->escaped.len);
}

static int step(Prescan *scan)
{
    switch (scan->state) {
    case STATE_START:
        return step_start(scan);
    case STATE_TEXT:
        return step_text(scan);
    case STATE_REFERENCE:
        return step_reference(scan);
    case STATE_MARKUP:
        return step_markup(scan);
    case STATE_START_TAG:
        return step_start_tag(scan);
    case STATE_END_TAG:
        return step_until_close(scan, scan->limits->tag_bytes, end_tag);
    case STATE_DECLARATION:
        return step_until_close(scan, DECLARATION_MAX, declaration);
    case STATE_COMMENT:
        return step_comment(scan);
    case STATE_CDATA:
        return step_cdata(scan);
    }
    return 0;
}

static bool is_token_state(State state)
{
    return state == STATE_REFERENCE || state == STATE_MARKUP || state == STATE_START_TAG ||
           state == STATE_END_TAG || state == STATE_DECLARATION;
}

int prescan_push(Prescan *scan, const char *bytes, size_t len)
{
    if (len == 0) {
        return 0;
    }
    scan->chunk = bytes;
    scan->at = bytes;
    scan->end = bytes + len;
    scan->pending = bytes;
    scan->token = bytes;
    scan->next_tag = NULL;
    while (scan->at < scan->end) {
        int r = step(scan);
        if (r) {
            return r;
        }
    }
    int r = is_token_state(scan->state) ? token_hold(scan) : flush_until(scan, scan->end);
    scan->lines += count_lines((Str){bytes, len});
    return r;
}

int prescan_finish(Prescan *scan)
{
    scan->chunk = NULL;
    scan->at = NULL;
    if (scan->elements == 0 && scan->state <= STATE_TEXT) {
        return error_add(scan->errors, ERR_SOAP_SENDER, NULL, "the message holds no XML element");
    }
    if (scan->state != STATE_TEXT || scan->depth > 0) {
        return refuse(scan, ERR_SOAP_SENDER, "the XML ends before its root element is closed");
    }
    return 0;
}
