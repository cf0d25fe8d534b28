#include "lib/xml/write.h"

#include "lib/base/macros.h"

/** What stands for a byte, up to '>'; empty if it stands for itself. */
static const Str escapes['>' + 1] = {
    ['&'] = STR_INIT("&amp;"),  ['<'] = STR_INIT("&lt;"),  ['>'] = STR_INIT("&gt;"),
    ['"'] = STR_INIT("&quot;"), ['\t'] = STR_INIT("&#9;"), ['\n'] = STR_INIT("&#10;"),
    ['\r'] = STR_INIT("&#13;"),
};

/** Bit c is set if byte c does not stand for itself. */
#define ESCAPED                                                                                    \
    (UINT64_C(0xffffffff) | UINT64_C(1) << '&' | UINT64_C(1) << '<' | UINT64_C(1) << '>' |         \
     UINT64_C(1) << '"')

/** U+FFFD in the place of what XML 1.0 section 2.2 cannot write: other control characters, U+FFFE
 * and U+FFFF. */
static const Str replacement = STR_INIT("\xef\xbf\xbd");

/** What stands for a byte that does not stand for itself. */
static Str escape_of(unsigned char c)
{
    return str_is_empty(escapes[c]) ? replacement : escapes[c];
}

/** How many bytes at i do not stand for themselves; 0: this one does. */
static size_t escaped_len(Str text, size_t i)
{
    unsigned char c = (unsigned char)text.data[i];
    if (c <= '>') {
        return ESCAPED >> c & 1;
    }
    bool is_noncharacter = c == 0xef && text.len - i >= 3 && text.data[i + 1] == '\xbf' &&
                           (unsigned char)text.data[i + 2] >= 0xbe;
    return is_noncharacter ? 3 : 0;
}

void xml_append_escaped(StrBuf *buf, Str text)
{
    size_t plain = 0;
    size_t len = 0;
    for (size_t i = 0; i < text.len; i += MAX(len, 1)) {
        len = escaped_len(text, i);
        if (len > 0) {
            strbuf_append_bytes(buf, text.data + plain, i - plain);
            strbuf_append(buf, len == 1 ? escape_of((unsigned char)text.data[i]) : replacement);
            plain = i + len;
        }
    }
    if (plain < text.len) {
        strbuf_append_bytes(buf, text.data + plain, text.len - plain);
    }
}

/** The byte that this begins with, and how long it is escaped. */
static char unescape(Str text, size_t *ret_len)
{
    for (size_t c = 0; c < ARRAY_LEN(escapes); c++) {
        if (!str_is_empty(escapes[c]) && str_starts_with(text, escapes[c])) {
            *ret_len = escapes[c].len;
            return (char)c;
        }
    }
    *ret_len = 1;
    return text.data[0];
}

void xml_append_unescaped(StrBuf *buf, Str escaped)
{
    while (!str_is_empty(escaped)) {
        size_t plain = MIN(str_find_char(escaped, '&'), escaped.len);
        strbuf_append(buf, str_slice(escaped, 0, plain));
        escaped = str_from_offset(escaped, plain);
        if (!str_is_empty(escaped)) {
            size_t len;
            strbuf_append_char(buf, unescape(escaped, &len));
            escaped = str_from_offset(escaped, len);
        }
    }
}

/* ---- trees ---- */

#define NS_XSI "http://www.w3.org/2001/XMLSchema-instance"
#define NS_XML "http://www.w3.org/XML/1998/namespace"

static void append_attribute(StrBuf *buf, const XmlAttribute *attribute, size_t number)
{
    Str value = attribute->value;
    strbuf_append_char(buf, ' ');
    if (str_equal(attribute->ns, STR(NS_XML))) {
        strbuf_literal(buf, "xml:");
    } else if (!str_is_empty(attribute->ns)) {
        strbuf_printf(buf, "xmlns:a%zu=\"", number);
        xml_append_escaped(buf, attribute->ns);
        strbuf_printf(buf, "\" a%zu:", number);
    }
    if (str_equal(attribute->ns, STR(NS_XSI)) && str_equal(attribute->name, STR("type"))) {
        size_t colon = str_find_char(value, ':');
        value = colon == SIZE_MAX ? value : str_from_offset(value, colon + 1);
    }
    strbuf_append(buf, attribute->name);
    strbuf_literal(buf, "=\"");
    xml_append_escaped(buf, value);
    strbuf_append_char(buf, '"');
}

/** The start tag and the text; all of it for an element without children. */
static void append_start(StrBuf *buf, const XmlNode *node, Str ns)
{
    Str text = node->first_child ? str_trim(node->text) : node->text;
    strbuf_append_char(buf, '<');
    strbuf_append(buf, node->name);
    if (!str_equal(node->ns, ns)) {
        strbuf_literal(buf, " xmlns=\"");
        xml_append_escaped(buf, node->ns);
        strbuf_append_char(buf, '"');
    }
    for (size_t i = 0; i < node->attribute_count; i++) {
        append_attribute(buf, &node->attributes[i], i);
    }
    if (!node->first_child && str_is_empty(text)) {
        strbuf_literal(buf, "/>");
        return;
    }
    strbuf_append_char(buf, '>');
    xml_append_escaped(buf, text);
    if (!node->first_child) {
        strbuf_printf(buf, "</%.*s>", STR_ARG(node->name));
    }
}

void xml_append_tree(StrBuf *buf, const XmlNode *node, const char *ns)
{
    const XmlNode *at = node;
    append_start(buf, at, str_from(ns));
    for (;;) {
        if (at->first_child) {
            append_start(buf, at->first_child, at->ns);
            at = at->first_child;
            continue;
        }
        while (at != node && !at->next) {
            at = at->parent;
            strbuf_printf(buf, "</%.*s>", STR_ARG(at->name));
        }
        if (at == node) {
            return;
        }
        at = at->next;
        append_start(buf, at, at->parent->ns);
    }
}
