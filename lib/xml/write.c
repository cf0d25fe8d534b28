#include "lib/xml/write.h"

/** What stands for this byte; NULL if it stands for itself. */
static const char *escape_of(unsigned char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\t':
        return "&#9;";
    case '\n':
        return "&#10;";
    case '\r':
        return "&#13;";
    default:
        /* XML 1.0 section 2.2 has no way to write the other control characters */
        return c < 0x20 ? "\xef\xbf\xbd" : NULL;
    }
}

void xml_append_escaped(StrBuf *buf, Str text)
{
    size_t plain = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c > '>') {
            continue;
        }
        const char *escape = escape_of(c);
        if (escape) {
            strbuf_append_bytes(buf, text.data + plain, i - plain);
            strbuf_append(buf, str_from(escape));
            plain = i + 1;
        }
    }
    if (plain < text.len) {
        strbuf_append_bytes(buf, text.data + plain, text.len - plain);
    }
}
