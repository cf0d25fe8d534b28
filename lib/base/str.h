#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/arena.h"

/** Borrowed bytes, not NUL-terminated; {NULL, 0} and {"", 0} both are the empty string. */
typedef struct Str {
    const char *data;
    size_t len;
} Str;

#define STR(literal) ((Str){(literal), sizeof(literal) - 1})
#define STR_INIT(literal)                                                                          \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }
#define STR_EMPTY ((Str){"", 0})
/** For printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)(s).len, ((s).data ? (s).data : "")

static inline Str str_from(const char *text)
{
    return (Str){text, text ? strlen(text) : 0};
}

static inline bool str_is_empty(Str s)
{
    return s.len == 0;
}

static inline bool str_equal(Str a, Str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/** ASCII letters compare without regard to case. */
bool str_equal_ci(Str a, Str b);
int str_compare(Str a, Str b);
bool str_starts_with(Str s, Str prefix);
bool str_ends_with(Str s, Str suffix);
bool str_contains(Str s, Str needle);

/** Without leading and trailing space, tab, CR, LF. */
Str str_trim(Str s);
/** From offset to the end; empty if offset lies beyond it. */
Str str_from_offset(Str s, size_t offset);
/** At most len bytes from offset. */
Str str_slice(Str s, size_t offset, size_t len);
/** Index of the byte, or SIZE_MAX. */
size_t str_find_char(Str s, char c);
/** Index of needle, or SIZE_MAX. */
size_t str_find(Str s, Str needle);

/**
 * Cuts the next item off *rest at separator.
 * @return false when *rest was used up; *rest is {NULL, 0} after the last item
 */
bool str_split_next(Str *rest, char separator, Str *ret_item);

/** Whether one of the words, with a blank between them, is this one. */
bool str_has_word(Str words, Str word);

/** Copies in the arena; str_cstr() ends in NUL (an embedded NUL cuts it short for C). */
Str str_dup(Arena *arena, Str s);
char *str_cstr(Arena *arena, Str s) NONNULL_RETURN;
Str str_printf(Arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
Str str_lower(Arena *arena, Str s);

/** The whole string as a decimal number without sign or space; false on anything else or overflow.
 */
bool str_to_u64(Str s, uint64_t *ret_value) MUST_CHECK;
/** As str_to_u64, with an optional leading '-'. */
bool str_to_i64(Str s, int64_t *ret_value) MUST_CHECK;

/** Well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms), without NUL. */
bool str_is_utf8(Str s);

/** A copy in the arena with '?' for every byte that is not well-formed UTF-8: texts that were cut,
 * or that come from header fields, and are about to be shown. */
Str str_shown(Arena *arena, Str s);

/** str_shown() in one line that a terminal shows as it is: a space for each control character, C1
 * and line ends included, and for those that change the direction of the text. */
Str str_printable(Arena *arena, Str s);

/** 2 * len lower-case hexadecimal digits, in the arena. */
Str str_hex(Arena *arena, const void *bytes, size_t len);
/** Reads exactly 2 * len hexadecimal digits of either case; if false, ret_bytes holds anything. */
bool str_unhex(Str s, void *ret_bytes, size_t len) MUST_CHECK;

/** A growing text on the heap; zero-initialise it, free with strbuf_done(). Always NUL-terminated
 * once anything was appended. */
typedef struct StrBuf {
    char *data;
    size_t len;
    size_t cap;
} StrBuf;

void strbuf_done(StrBuf *buf);
void strbuf_clear(StrBuf *buf);
/** Drops what lies beyond len, which is at most buf->len. */
void strbuf_truncate(StrBuf *buf, size_t len);
/** strbuf_reserve() when there is no room left. */
char *strbuf_grow(StrBuf *buf, size_t extra) NONNULL_RETURN;

/** Makes room for extra more bytes and a NUL, and returns the place where they go. */
static inline char *strbuf_reserve(StrBuf *buf, size_t extra)
{
    return extra < buf->cap - buf->len ? buf->data + buf->len : strbuf_grow(buf, extra);
}

static inline void strbuf_append_bytes(StrBuf *buf, const void *bytes, size_t len)
{
    char *at = strbuf_reserve(buf, len);
    if (len) {
        memcpy(at, bytes, len);
    }
    at[len] = '\0';
    buf->len += len;
}

static inline void strbuf_append(StrBuf *buf, Str s)
{
    strbuf_append_bytes(buf, s.data, s.len);
}

static inline void strbuf_append_char(StrBuf *buf, char c)
{
    strbuf_append_bytes(buf, &c, 1);
}

void strbuf_printf(StrBuf *buf, const char *format, ...) PRINTF_LIKE(2, 3);

#define strbuf_literal(buf, literal) strbuf_append_bytes((buf), (literal), sizeof(literal) - 1)

static inline Str strbuf_str(const StrBuf *buf)
{
    return (Str){buf->data ? buf->data : "", buf->len};
}

/** Base64 (RFC 4648 section 4) with padding, appended. */
void strbuf_append_base64(StrBuf *buf, const void *bytes, size_t len);

/** A JSON string (RFC 8259 7) of UTF-8, with its quotes, appended. */
void strbuf_append_json(StrBuf *buf, Str text);
