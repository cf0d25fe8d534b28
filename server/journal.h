#pragma once

#include <stdbool.h>

#include "lib/base/request.h"
#include "server/metrics.h"

/**
 * What became of every request: one logfmt line on stderr, the same line in
 * data_dir/log/requests.log for `musubi trace`, and the node's activity (last success, last error,
 * counts, bytes), durable within seconds.
 */

typedef struct Journal Journal;
struct DbPool;

/** Opens the log file and starts the thread that flushes activity. NULL and the reason on failure.
 */
Journal *journal_new(const char *log_directory, struct DbPool *pool, char *ret_problem,
                     size_t problem_size);
/** Flushes and stops. journal_free(NULL) is fine. */
void journal_free(Journal *journal);

/** A request is finished: counts it and writes its line. Never patient data. */
void journal_finish(Journal *journal, const Request *req, Outcome outcome);

/** One more line about a request: "ref=... ". Never patient data. */
void journal_note(Journal *journal, Str line);

/** A line of the log without its end; borrowed. */
typedef void (*JournalLineFn)(void *ctx, Str line);

/**
 * Passes on the lines about a reference, MessageID, MSH-10 or uniqueId, oldest first.
 * @return lines found, or -1 if the log cannot be read
 */
long journal_trace(const char *log_directory, Str key, JournalLineFn found, void *ctx);

/**
 * Cuts the next field off a line: "key=value", or "key=\"value\"" with the value as log_quote()
 * wrote it, in the arena without its quotes.
 * @return false at the end
 */
bool journal_field_next(Arena *arena, Str *rest, Str *ret_key, Str *ret_value);
