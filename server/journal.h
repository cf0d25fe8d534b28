#pragma once

#include <stdio.h>

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

/**
 * Prints the lines about a reference, MessageID, MSH-10 or uniqueId.
 * @return lines found, or -1 if the log cannot be read
 */
long journal_trace(const char *log_directory, Str key, FILE *out);
