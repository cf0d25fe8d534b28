#pragma once

#include "lib/base/str.h"

/** logfmt lines on stderr. Only server/ logs; lib returns errors. Never patient data, document
 * content, assertions or keys. */

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;

void log_set_level(LogLevel level);

/** @param fields  printf format of "key=value" pairs; quote values that may hold spaces with
 * log_quote() */
void log_line(LogLevel level, const char *fields, ...) PRINTF_LIKE(2, 3);

/** The text as one logfmt value: control bytes, quotes and backslashes encoded, cut at 300 bytes.
 * In the arena. */
const char *log_quote(Arena *arena, Str text);

#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
