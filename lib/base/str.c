#include "lib/base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/** Most formatted texts are shorter: they are formatted once. */
#define LIKELY_PRINTF_BYTES 256

static char lower(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return (char)(c + ('a' - 'A'));
    }
    return c;
}

bool str_equal_ci(Str a, Str b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.data[i]) != lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

int str_compare(Str a, Str b)
{
    size_t len = MIN(a.len, b.len);
    int order = len ? memcmp(a.data, b.data, len) : 0;
    if (order != 0) {
        return order;
    }
    return (a.len > b.len) - (a.len < b.len);
}

bool str_starts_with(Str s, Str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

bool str_ends_with(Str s, Str suffix)
{
    return s.len >= suffix.len && str_equal(str_from_offset(s, s.len - suffix.len), suffix);
}

bool str_contains(Str s, Str needle)
{
    return str_find(s, needle) != SIZE_MAX;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

Str str_trim(Str s)
{
    while (s.len > 0 && is_space(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && is_space(s.data[s.len - 1])) {
        s.len--;
    }
    return s;
}

Str str_from_offset(Str s, size_t offset)
{
    return offset >= s.len ? STR_EMPTY : (Str){s.data + offset, s.len - offset};
}

Str str_slice(Str s, size_t offset, size_t len)
{
    Str rest = str_from_offset(s, offset);
    return (Str){rest.data, MIN(rest.len, len)};
}

size_t str_find_char(Str s, char c)
{
    const char *found = s.len ? memchr(s.data, c, s.len) : NULL;
    return found ? (size_t)(found - s.data) : SIZE_MAX;
}

size_t str_find(Str s, Str needle)
{
    if (needle.len == 0) {
        return 0;
    }
    const char *found = s.len ? memmem(s.data, s.len, needle.data, needle.len) : NULL;
    return found ? (size_t)(found - s.data) : SIZE_MAX;
}

bool str_split_next(Str *rest, char separator, Str *ret_item)
{
    if (!rest->data) {
        return false;
    }
    size_t at = str_find_char(*rest, separator);
    if (at == SIZE_MAX) {
        *ret_item = *rest;
        *rest = (Str){NULL, 0};
    } else {
        *ret_item = (Str){rest->data, at};
        *rest = (Str){rest->data + at + 1, rest->len - at - 1};
    }
    return true;
}

bool str_has_word(Str words, Str word)
{
    Str item;
    while (str_split_next(&words, ' ', &item)) {
        if (str_equal(item, word)) {
            return true;
        }
    }
    return false;
}

char *str_cstr(Arena *arena, Str s)
{
    char *copy = arena_alloc(arena, s.len + 1);
    if (s.len) {
        memcpy(copy, s.data, s.len);
    }
    copy[s.len] = '\0';
    return copy;
}

Str str_dup(Arena *arena, Str s)
{
    return (Str){str_cstr(arena, s), s.len};
}

Str str_printf(Arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    char likely[LIKELY_PRINTF_BYTES];
    int len = vsnprintf(likely, sizeof(likely), format, args);
    va_end(args);
    char *text = arena_alloc(arena, (size_t)MAX(len, 0) + 1);
    if (len < LIKELY_PRINTF_BYTES) {
        memcpy(text, likely, (size_t)MAX(len, 0));
        text[MAX(len, 0)] = '\0';
    } else {
        (void)vsnprintf(text, (size_t)len + 1, format, again);
    }
    va_end(again);
    return (Str){text, (size_t)MAX(len, 0)};
}

Str str_lower(Arena *arena, Str s)
{
    char *copy = str_cstr(arena, s);
    for (size_t i = 0; i < s.len; i++) {
        copy[i] = lower(copy[i]);
    }
    return (Str){copy, s.len};
}

bool str_to_u64(Str s, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (s.len == 0) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.data[i] - '0'), &value)) {
            return false;
        }
    }
    *ret_value = value;
    return true;
}

bool str_to_i64(Str s, int64_t *ret_value)
{
    bool negative = s.len > 0 && s.data[0] == '-';
    uint64_t magnitude;
    if (!str_to_u64(negative ? str_from_offset(s, 1) : s, &magnitude) ||
        magnitude > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    *ret_value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

/** Length of the well-formed UTF-8 sequence at the start of s, or 0 (RFC 3629 section 4). */
static size_t utf8_sequence(const unsigned char *s, size_t len)
{
    unsigned char c = s[0];
    if (c < 0x80) {
        return c == 0 ? 0 : 1;
    }
    size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || len < need) {
        return 0;
    }
    unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < need; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return need;
}

/** Whether the next 8 bytes are ASCII without NUL. */
static bool is_ascii_word(const unsigned char *bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return (((word - ones) | word) & (ones << 7)) == 0; /* a borrow shows as a high bit */
}

bool str_is_utf8(Str s)
{
    const unsigned char *bytes = (const unsigned char *)s.data;
    size_t i = 0;
    while (i < s.len) {
        if (s.len - i >= sizeof(uint64_t) && is_ascii_word(bytes + i)) {
            i += sizeof(uint64_t);
            continue;
        }
        size_t step = utf8_sequence(bytes + i, s.len - i);
        if (step == 0) {
            return false;
        }
        i += step;
    }
    return true;
}

Str str_shown(Arena *arena, Str s)
{
    char *copy = str_cstr(arena, s);
    for (size_t i = 0; i < s.len;) {
        size_t step = utf8_sequence((unsigned char *)copy + i, s.len - i);
        if (step == 0) {
            copy[i] = '?';
            step = 1;
        }
        i += step;
    }
    return (Str){copy, s.len};
}

/** U+0080 to U+009F; U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069, all of UTF-8. */
static bool is_unprintable(const unsigned char *s, size_t len)
{
    switch (len) {
    case 1:
        return s[0] < ' ' || s[0] == 0x7f;
    case 2:
        return s[0] == 0xc2 && s[1] < 0xa0;
    case 3:
        return s[0] == 0xe2 && ((s[1] == 0x80 && (s[2] == 0x8e || s[2] == 0x8f ||
                                                  (s[2] >= 0xa8 && s[2] <= 0xae))) ||
                                (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9));
    default:
        return false;
    }
}

Str str_printable(Arena *arena, Str s)
{
    Str shown = str_shown(arena, s);
    const unsigned char *from = (const unsigned char *)shown.data;
    char *bytes = str_cstr(arena, shown);
    size_t kept = 0;
    for (size_t i = 0; i < shown.len;) {
        size_t step = utf8_sequence(from + i, shown.len - i);
        if (is_unprintable(from + i, step)) {
            bytes[kept++] = ' ';
        } else {
            memcpy(bytes + kept, from + i, step);
            kept += step;
        }
        i += step;
    }
    bytes[kept] = '\0';
    return (Str){bytes, kept};
}

Str str_hex(Arena *arena, const void *bytes, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *in = bytes;
    char *out = arena_alloc(arena, 2 * len + 1);
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex[in[i] >> 4];
        out[2 * i + 1] = hex[in[i] & 15];
    }
    out[2 * len] = '\0';
    return (Str){out, 2 * len};
}

static int hex_digit(char c)
{
    c = lower(c);
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool str_unhex(Str s, void *ret_bytes, size_t len)
{
    unsigned char *out = ret_bytes;
    if (s.len % 2 != 0 || s.len / 2 != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(s.data[2 * i]);
        int low = hex_digit(s.data[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

void strbuf_done(StrBuf *buf)
{
    free(buf->data);
    *buf = (StrBuf){0};
}

void strbuf_truncate(StrBuf *buf, size_t len)
{
    buf->len = len;
    if (buf->data) {
        buf->data[len] = '\0';
    }
}

void strbuf_clear(StrBuf *buf)
{
    strbuf_truncate(buf, 0);
}

char *strbuf_grow(StrBuf *buf, size_t extra)
{
    size_t need;
    if (__builtin_add_overflow(buf->len, extra, &need) || need > SIZE_MAX / 2 - 1) {
        abort();
    }
    size_t cap = MAX(MAX(need + 1, buf->cap * 2), (size_t)256);
    char *data = realloc(buf->data, cap);
    if (!data) {
        abort();
    }
    buf->data = data;
    buf->cap = cap;
    return buf->data + buf->len;
}

void strbuf_printf(StrBuf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    char *at = strbuf_reserve(buf, LIKELY_PRINTF_BYTES);
    int len = vsnprintf(at, LIKELY_PRINTF_BYTES, format, args);
    va_end(args);
    if (len >= LIKELY_PRINTF_BYTES) {
        at = strbuf_reserve(buf, (size_t)len);
        (void)vsnprintf(at, (size_t)len + 1, format, again);
    }
    buf->len += len > 0 ? (size_t)len : 0;
    va_end(again);
}

void strbuf_append_base64(StrBuf *buf, const void *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = bytes;
    char *out = strbuf_reserve(buf, len / 3 * 4 + 4);
    size_t n = 0;
    for (; len >= 3; len -= 3, in += 3) {
        out[n++] = digits[in[0] >> 2];
        out[n++] = digits[(in[0] & 3) << 4 | in[1] >> 4];
        out[n++] = digits[(in[1] & 15) << 2 | in[2] >> 6];
        out[n++] = digits[in[2] & 63];
    }
    if (len > 0) {
        unsigned second = len == 2 ? in[1] : 0u;
        out[n++] = digits[in[0] >> 2];
        out[n++] = digits[(in[0] & 3u) << 4 | second >> 4];
        out[n] = '=';
        if (len == 2) {
            out[n] = digits[(second & 15) << 2];
        }
        out[n + 1] = '=';
        n += 2;
    }
    buf->len += n;
    buf->data[buf->len] = '\0';
}

void strbuf_append_json(StrBuf *buf, Str text)
{
    static const char digits[] = "0123456789abcdef";
    strbuf_append_char(buf, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\') {
            strbuf_append_char(buf, '\\');
            strbuf_append_char(buf, (char)c);
        } else if (c < ' ') {
            strbuf_literal(buf, "\\u00");
            strbuf_append_char(buf, digits[c >> 4]);
            strbuf_append_char(buf, digits[c & 15]);
        } else {
            strbuf_append_char(buf, (char)c);
        }
    }
    strbuf_append_char(buf, '"');
}
