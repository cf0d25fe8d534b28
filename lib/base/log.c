#include "lib/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"

#define LINE_MAX_BYTES 4096
#define VALUE_MAX_BYTES 300

static _Atomic LogLevel min_level = LOG_INFO;

void log_set_level(LogLevel level)
{
    min_level = level;
}

void log_line(LogLevel level, const char *fields, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (level < min_level) {
        return;
    }
    char line[LINE_MAX_BYTES];
    _cleanup_(arena_freep) Arena *arena = arena_new();
    int head = snprintf(line, sizeof(line), "ts=%.*s level=%s ",
                        STR_ARG(clock_iso8601(arena, clock_utc_us())), names[level]);
    va_list args;
    va_start(args, fields);
    int rest = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fields, args);
    va_end(args);
    size_t len = (size_t)head + (rest < 0 ? 0 : MIN((size_t)rest, sizeof(line) - (size_t)head - 2));
    line[len++] = '\n';
    /* one write per line, so that lines of several threads do not mix; a full pipe must not stop a
     * request */
    ssize_t written UNUSED = write(STDERR_FILENO, line, len);
}

const char *log_quote(Arena *arena, Str text)
{
    static const char hex[] = "0123456789abcdef";
    char *quoted = arena_alloc(arena, VALUE_MAX_BYTES * 4 + 3);
    size_t len = 0;
    quoted[len++] = '"';
    for (size_t i = 0; i < MIN(text.len, (size_t)VALUE_MAX_BYTES); i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\') {
            quoted[len++] = '\\';
            quoted[len++] = (char)c;
        } else if (c < 0x20 || c == 0x7f) {
            quoted[len++] = '\\';
            quoted[len++] = 'x';
            quoted[len++] = hex[c >> 4];
            quoted[len++] = hex[c & 15];
        } else {
            quoted[len++] = (char)c;
        }
    }
    quoted[len++] = '"';
    quoted[len] = '\0';
    return quoted;
}
