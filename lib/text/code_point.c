#include "lib/text/code_point.h"

/** The last byte of the part of a code point that lies above shift. */
static char continuation(uint32_t point, unsigned shift)
{
    return (char)(0x80 | (point >> shift & 0x3f));
}

void code_point_append(StrBuf *utf8, uint32_t point)
{
    if (point < 0x80) {
        strbuf_append_char(utf8, (char)point);
    } else if (point < 0x800) {
        char bytes[] = {(char)(0xc0 | point >> 6), continuation(point, 0)};
        strbuf_append_bytes(utf8, bytes, sizeof(bytes));
    } else if (point < 0x10000) {
        char bytes[] = {(char)(0xe0 | point >> 12), continuation(point, 6), continuation(point, 0)};
        strbuf_append_bytes(utf8, bytes, sizeof(bytes));
    } else {
        char bytes[] = {(char)(0xf0 | point >> 18), continuation(point, 12), continuation(point, 6),
                        continuation(point, 0)};
        strbuf_append_bytes(utf8, bytes, sizeof(bytes));
    }
}

size_t code_point_read(Str s, uint32_t *ret_point)
{
    uint8_t lead = (uint8_t)s.data[0];
    size_t len = lead < 0x80 ? 1 : lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (len == 0 || len > s.len || !str_is_utf8((Str){s.data, len})) {
        return 0;
    }
    uint32_t point = len == 1 ? lead : lead & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        point = point << 6 | ((uint8_t)s.data[i] & 0x3f);
    }
    *ret_point = point;
    return len;
}
