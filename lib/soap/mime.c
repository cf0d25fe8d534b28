#include "lib/soap/mime.h"

#include <stdlib.h>

#include "lib/base/heap.h"
#include "lib/xml/base64.h"

const MimeLimits MIME_LIMITS = {.header_bytes = 8192, .parts = 1000};

enum {
    BOUNDARY_MAX = 70,                /* RFC 2046 5.1.1 */
    DELIMITER_MAX = BOUNDARY_MAX + 4, /* CRLF "--" boundary */
    DECODE_STEP = 16384,              /* base64 characters decoded at a time */
};

/* ---- Header fields ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_space(Str *rest)
{
    while (rest->len > 0 && is_space(*rest->data)) {
        *rest = str_from_offset(*rest, 1);
    }
}

/** Cuts quoted-string := <"> *(qtext / quoted-pair) <"> (RFC 822 3.3). */
static bool cut_quoted(Arena *arena, Str *rest, Str *ret_value)
{
    char *value = arena_alloc(arena, rest->len);
    size_t len = 0;
    for (size_t i = 1; i < rest->len; i++) {
        char c = rest->data[i];
        if (c == '"') {
            *ret_value = (Str){value, len};
            *rest = str_from_offset(*rest, i + 1);
            return true;
        }
        if (c == '\\' && i + 1 < rest->len) {
            c = rest->data[++i];
        }
        value[len++] = c;
    }
    return false;
}

/** Cuts the value of a parameter: a quoted string, or all up to the next ';'. */
static bool cut_value(Arena *arena, Str *rest, Str *ret_value)
{
    skip_space(rest);
    if (rest->len > 0 && *rest->data == '"') {
        return cut_quoted(arena, rest, ret_value);
    }
    size_t len = MIN(str_find_char(*rest, ';'), rest->len);
    *ret_value = str_dup(arena, str_trim(str_slice(*rest, 0, len)));
    *rest = str_from_offset(*rest, len);
    return true;
}

/** parameter := attribute "=" value */
static bool cut_parameter(Arena *arena, Str *rest, ContentTypeParameter *ret_parameter)
{
    size_t equals = str_find_char(*rest, '=');
    if (equals == SIZE_MAX) {
        return false;
    }
    ret_parameter->name = str_lower(arena, str_trim(str_slice(*rest, 0, equals)));
    *rest = str_from_offset(*rest, equals + 1);
    return cut_value(arena, rest, &ret_parameter->value);
}

bool content_type_parse(Arena *arena, Str text, ContentType *ret_type)
{
    ContentType type = {0};
    size_t len = MIN(str_find_char(text, ';'), text.len);
    type.media_type = str_lower(arena, str_trim(str_slice(text, 0, len)));
    Str rest = str_from_offset(text, len);
    for (skip_space(&rest); rest.len > 0; skip_space(&rest)) {
        if (*rest.data != ';') {
            return false;
        }
        rest = str_from_offset(rest, 1);
        skip_space(&rest);
        if (rest.len == 0 || *rest.data == ';') {
            continue; /* an empty parameter is a common slip */
        }
        if (type.parameter_count == CONTENT_TYPE_PARAMETERS_MAX ||
            !cut_parameter(arena, &rest, &type.parameters[type.parameter_count++])) {
            return false;
        }
    }
    *ret_type = type;
    return str_find_char(type.media_type, '/') != SIZE_MAX;
}

Str content_type_parameter(const ContentType *type, const char *name)
{
    for (size_t i = 0; i < type->parameter_count; i++) {
        if (str_equal(type->parameters[i].name, str_from(name))) {
            return type->parameters[i].value;
        }
    }
    return STR_EMPTY;
}

Str mime_content_id(Str text)
{
    Str id = str_trim(text);
    if (id.len >= 2 && id.data[0] == '<' && id.data[id.len - 1] == '>') {
        id = str_slice(id, 1, id.len - 2);
    }
    return id;
}

/* ---- The parser ---- */

typedef enum State {
    STATE_PREAMBLE,
    STATE_BOUNDARY, /* after the delimiter, in the rest of its line */
    STATE_HEADERS,
    STATE_CONTENT,
    STATE_EPILOGUE,
} State;

typedef enum Encoding { ENCODING_IDENTITY, ENCODING_BASE64 } Encoding;

struct MimeParser {
    ErrorList *errors;
    const MimeLimits *limits;
    const MimeEvents *events;
    State state;
    unsigned parts;
    char delimiter[DELIMITER_MAX]; /* CRLF "--" boundary */
    size_t delimiter_len;
    bool is_lf;       /* lines end in LF alone: the delimiter begins at its second byte */
    size_t matched;   /* bytes of the delimiter that the last chunk ended with */
    size_t unspoken;  /* how many of these were the line end before the content, so no content */
    bool is_first;    /* no boundary line was read to its end yet */
    unsigned dashes;  /* after the delimiter: two make it the final one */
    bool has_padding; /* white space followed it */
    bool has_cr;
    size_t preamble_bytes;
    StrBuf headers;
    size_t line_start; /* of the unfinished header line */
    Encoding encoding;
    Base64Decoder base64;
};

MimeParser *mime_parser_new(ErrorList *errors, Str boundary, const MimeLimits *limits,
                            const MimeEvents *events)
{
    if (boundary.len == 0 || boundary.len > BOUNDARY_MAX ||
        str_find_char(boundary, '\r') != SIZE_MAX || str_find_char(boundary, '\n') != SIZE_MAX) {
        return NULL;
    }
    MimeParser *parser = HEAP_NEW(MimeParser);
    parser->errors = errors;
    parser->limits = limits;
    parser->events = events;
    static const char line_start[] = {'\r', '\n', '-', '-'};
    memcpy(parser->delimiter, line_start, sizeof(line_start));
    memcpy(parser->delimiter + sizeof(line_start), boundary.data, boundary.len);
    parser->delimiter_len = sizeof(line_start) + boundary.len;
    /* Until the first boundary line tells, LF is enough; the body may begin with the boundary. */
    parser->is_lf = true;
    parser->is_first = true;
    parser->matched = 1;
    parser->unspoken = 1;
    return parser;
}

void mime_parser_free(MimeParser *parser)
{
    if (parser) {
        strbuf_done(&parser->headers);
        free(parser);
    }
}

static Str delimiter(const MimeParser *parser)
{
    return str_from_offset((Str){parser->delimiter, parser->delimiter_len}, parser->is_lf ? 1 : 0);
}

static Str cut(Str *rest, size_t len)
{
    Str head = str_slice(*rest, 0, len);
    *rest = str_from_offset(*rest, len);
    return head;
}

static int deliver_base64(MimeParser *parser, Str text)
{
    while (text.len > 0) {
        uint8_t decoded[BASE64_DECODED_MAX(DECODE_STEP)];
        size_t len = 0;
        if (!base64_decode(&parser->base64, cut(&text, DECODE_STEP), decoded, &len)) {
            return error_add(
                parser->errors, ERR_SOAP_SENDER, NULL,
                "MIME part %u says Content-Transfer-Encoding: base64, but its content is "
                "not base64; send binary",
                parser->parts);
        }
        int r = len > 0 ? parser->events->part_bytes(parser->events->ctx, decoded, len) : 0;
        if (r) {
            return r;
        }
    }
    return 0;
}

/** Bytes between boundaries. */
static int deliver(MimeParser *parser, Str bytes)
{
    if (bytes.len == 0) {
        return 0;
    }
    if (parser->state == STATE_PREAMBLE) {
        parser->preamble_bytes += bytes.len;
        return parser->preamble_bytes <= parser->limits->header_bytes
                   ? 0
                   : error_add(parser->errors, ERR_SOAP_SENDER, NULL,
                               "the body does not begin with the boundary that Content-Type names");
    }
    return parser->encoding == ENCODING_BASE64
               ? deliver_base64(parser, bytes)
               : parser->events->part_bytes(parser->events->ctx, bytes.data, bytes.len);
}

static int end_part(MimeParser *parser)
{
    if (parser->encoding == ENCODING_BASE64 && !base64_is_complete(&parser->base64)) {
        return error_add(parser->errors, ERR_SOAP_SENDER, NULL,
                         "the base64 of MIME part %u is cut short", parser->parts);
    }
    return parser->events->part_end(parser->events->ctx);
}

/** The delimiter was found: what follows on its line tells whether it is the final one. */
static int begin_boundary(MimeParser *parser)
{
    int r = parser->state == STATE_CONTENT ? end_part(parser) : 0;
    parser->state = STATE_BOUNDARY;
    parser->matched = 0;
    parser->unspoken = 0;
    parser->dashes = 0;
    parser->has_padding = false;
    parser->has_cr = false;
    return r;
}

/** Continues a delimiter that began in an earlier chunk; on a mismatch its bytes were content. */
static int step_matched(MimeParser *parser, Str *rest)
{
    Str wanted = delimiter(parser);
    while (rest->len > 0 && parser->matched < wanted.len &&
           *rest->data == wanted.data[parser->matched]) {
        parser->matched++;
        cut(rest, 1);
    }
    if (parser->matched == wanted.len) {
        return begin_boundary(parser);
    }
    if (rest->len == 0) {
        return 0;
    }
    Str content = str_from_offset(str_slice(wanted, 0, parser->matched), parser->unspoken);
    parser->matched = 0;
    parser->unspoken = 0;
    return deliver(parser, content);
}

/** Length of the end of the bytes that may be the beginning of a delimiter. */
static size_t delimiter_tail(Str wanted, Str bytes)
{
    /* The first byte of the delimiter (CR or LF) occurs in it only once, so the last one decides.
     */
    Str end = str_from_offset(bytes, bytes.len - MIN(bytes.len, wanted.len - 1));
    const char *from = end.len ? memrchr(end.data, *wanted.data, end.len) : NULL;
    if (!from) {
        return 0;
    }
    size_t len = (size_t)(end.data + end.len - from);
    return memcmp(from, wanted.data, len) == 0 ? len : 0;
}

/** Preamble or content, up to the next delimiter or the end of the chunk. */
static int step_content(MimeParser *parser, Str *rest)
{
    if (parser->matched > 0) {
        return step_matched(parser, rest);
    }
    Str wanted = delimiter(parser);
    const char *found = memmem(rest->data, rest->len, wanted.data, wanted.len);
    if (found) {
        int r = deliver(parser, cut(rest, (size_t)(found - rest->data)));
        cut(rest, wanted.len);
        return r ? r : begin_boundary(parser);
    }
    parser->matched = delimiter_tail(wanted, *rest);
    Str content = cut(rest, rest->len - parser->matched);
    *rest = STR_EMPTY;
    return deliver(parser, content);
}

static int begin_headers(MimeParser *parser)
{
    if (parser->is_first) {
        parser->is_first = false;
        parser->is_lf = !parser->has_cr;
    }
    parser->state = STATE_HEADERS;
    strbuf_clear(&parser->headers);
    parser->line_start = 0;
    if (++parser->parts > parser->limits->parts) {
        return error_add(parser->errors, ERR_TOO_LARGE, NULL,
                         "the message has more than %u MIME parts; send fewer documents at a time",
                         parser->limits->parts);
    }
    return 0;
}

static int end_message(MimeParser *parser)
{
    parser->state = STATE_EPILOGUE;
    return parser->parts > 0 ? 0
                             : error_add(parser->errors, ERR_SOAP_SENDER, NULL,
                                         "the multipart message holds no MIME part; send at least "
                                         "one");
}

/** The rest of a boundary line: ["--"] transport-padding CRLF (RFC 2046 5.1.1). */
static int step_boundary(MimeParser *parser, Str *rest)
{
    char c = *cut(rest, 1).data;
    if (c == '\n' && parser->dashes == 0) {
        return begin_headers(parser);
    }
    if (c == '-' && !parser->has_padding && !parser->has_cr) {
        return ++parser->dashes == 2 ? end_message(parser) : 0;
    }
    if (c == '\r') {
        parser->has_cr = true;
        return 0;
    }
    if ((c == ' ' || c == '\t') && parser->dashes == 0) {
        parser->has_padding = true;
        return 0;
    }
    return error_add(
        parser->errors, ERR_SOAP_SENDER, NULL,
        "text follows the boundary on its line before MIME part %u; choose a boundary that "
        "does not occur in the content",
        parser->parts + 1);
}

/* ---- Headers of a part ---- */

typedef struct PartHeaders {
    Str content_id;
    Str content_type;
    Str encoding;
} PartHeaders;

static int bad_header(MimeParser *parser, const char *why)
{
    return error_add(parser->errors, ERR_SOAP_SENDER, NULL, "the headers of MIME part %u: %s",
                     parser->parts, why);
}

/** Takes field := name ":" value; only three fields matter here, and each may occur once. */
static int read_field(MimeParser *parser, Str line, PartHeaders *headers)
{
    size_t colon = str_find_char(line, ':');
    if (colon == SIZE_MAX) {
        return bad_header(parser, "a line has no ':'");
    }
    Str name = str_trim(str_slice(line, 0, colon));
    Str *slot = str_equal_ci(name, STR("Content-ID"))                  ? &headers->content_id
                : str_equal_ci(name, STR("Content-Type"))              ? &headers->content_type
                : str_equal_ci(name, STR("Content-Transfer-Encoding")) ? &headers->encoding
                                                                       : NULL;
    if (!slot) {
        return 0;
    }
    if (slot->data) {
        return bad_header(parser,
                          "Content-ID, Content-Type and Content-Transfer-Encoding may occur once");
    }
    *slot = str_trim(str_from_offset(line, colon + 1));
    return 0;
}

/** Joins folded lines (RFC 822 3.1.1) in place: a line end before white space becomes a space. */
static void unfold(StrBuf *headers)
{
    for (size_t i = 0; i + 1 < headers->len; i++) {
        if (headers->data[i] == '\n' &&
            (headers->data[i + 1] == ' ' || headers->data[i + 1] == '\t')) {
            headers->data[i] = ' ';
            if (i > 0 && headers->data[i - 1] == '\r') {
                headers->data[i - 1] = ' ';
            }
        }
    }
}

static int read_encoding(MimeParser *parser, Str name)
{
    static const struct {
        const char *name;
        Encoding encoding;
    } encodings[] = {
        {"", ENCODING_IDENTITY},     {"binary", ENCODING_IDENTITY}, {"8bit", ENCODING_IDENTITY},
        {"7bit", ENCODING_IDENTITY}, {"base64", ENCODING_BASE64},
    };
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++) {
        if (str_equal_ci(name, str_from(encodings[i].name))) {
            parser->encoding = encodings[i].encoding;
            parser->base64 = (Base64Decoder){0};
            return 0;
        }
    }
    return error_add(parser->errors, ERR_SOAP_SENDER, NULL,
                     "MIME part %u has Content-Transfer-Encoding %.*s; send binary", parser->parts,
                     STR_ARG(str_slice(name, 0, 40)));
}

static int begin_content(MimeParser *parser)
{
    unfold(&parser->headers);
    PartHeaders headers = {0};
    Str rest = strbuf_str(&parser->headers);
    Str line;
    while (str_split_next(&rest, '\n', &line)) {
        int r = str_is_empty(str_trim(line)) ? 0 : read_field(parser, line, &headers);
        if (r) {
            return r;
        }
    }
    int r = read_encoding(parser, headers.encoding);
    if (r) {
        return r;
    }
    parser->state = STATE_CONTENT;
    /* The line end of the empty line may be that of the next delimiter: the part is empty then. */
    parser->matched = parser->is_lf ? 1 : 2;
    parser->unspoken = parser->matched;
    MimePart part = {.content_id = mime_content_id(headers.content_id),
                     .content_type = headers.content_type};
    return parser->events->part_begin(parser->events->ctx, &part);
}

/** Header lines up to the empty one. */
static int step_headers(MimeParser *parser, Str *rest)
{
    size_t line_end = str_find_char(*rest, '\n');
    Str piece = cut(rest, line_end == SIZE_MAX ? rest->len : line_end + 1);
    if (piece.len > parser->limits->header_bytes - parser->headers.len) {
        return error_add(parser->errors, ERR_TOO_LARGE, NULL,
                         "the headers of MIME part %u are longer than %zu bytes", parser->parts,
                         parser->limits->header_bytes);
    }
    strbuf_append(&parser->headers, piece);
    if (line_end == SIZE_MAX) {
        return 0;
    }
    Str line = str_from_offset(strbuf_str(&parser->headers), parser->line_start);
    parser->line_start = parser->headers.len;
    return str_equal(line, STR("\n")) || str_equal(line, STR("\r\n")) ? begin_content(parser) : 0;
}

static int step(MimeParser *parser, Str *rest)
{
    switch (parser->state) {
    case STATE_BOUNDARY:
        return step_boundary(parser, rest);
    case STATE_HEADERS:
        return step_headers(parser, rest);
    case STATE_PREAMBLE:
    case STATE_CONTENT:
        return step_content(parser, rest);
    case STATE_EPILOGUE:
        *rest = STR_EMPTY;
        return 0;
    }
    return 0;
}

int mime_parser_push(MimeParser *parser, const void *bytes, size_t len)
{
    Str rest = {bytes, len};
    while (rest.len > 0) {
        int r = step(parser, &rest);
        if (r) {
            return r;
        }
    }
    return 0;
}

int mime_parser_finish(MimeParser *parser)
{
    if (parser->state == STATE_PREAMBLE) {
        return error_add(parser->errors, ERR_SOAP_SENDER, NULL,
                         "the body does not hold the boundary that Content-Type names");
    }
    if (parser->state != STATE_EPILOGUE) {
        return error_add(
            parser->errors, ERR_SOAP_SENDER, NULL,
            "the message ends before its final boundary (RFC 2046 5.1.1): it was cut short");
    }
    return 0;
}
