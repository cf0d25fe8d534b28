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

/** What stands for a byte that does not stand for itself. */
static Str escape_of(unsigned char c)
{
    if (str_is_empty(escapes[c])) {
        return STR("\xef\xbf\xbd"); /* XML 1.0 section 2.2 cannot write other control characters */
    }
    return escapes[c];
}

void xml_append_escaped(StrBuf *buf, Str text)
{
    size_t plain = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c <= '>' && (ESCAPED >> c & 1)) {
            strbuf_append_bytes(buf, text.data + plain, i - plain);
            strbuf_append(buf, escape_of(c));
            plain = i + 1;
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
