#pragma once

#include <stdint.h>

#include "lib/base/str.h"

/** Counters of this process, for /metrics. Labels come only from tables: transaction numbers and
 * outcomes. */

typedef enum Outcome {
    OUTCOME_SUCCESS,
    OUTCOME_PARTIAL_SUCCESS,
    OUTCOME_FAILURE, /* an application error in a well-formed reply */
    OUTCOME_FAULT,   /* SOAP Fault, AR, or no reply */
    OUTCOME_COUNT
} Outcome;

const char *outcome_name(Outcome outcome);

/** Counts one finished request. Transactions that are not in the table count as "other". */
void metrics_count(const char *transaction, Outcome outcome, int64_t duration_ns,
                   uint64_t received_bytes, uint64_t sent_bytes);

/** Appends the Prometheus text of all counters. */
void metrics_write(StrBuf *buf);

/** Appends one gauge without labels: "musubi_NAME value". */
void metrics_gauge(StrBuf *buf, const char *name, const char *help, double value);
/** The same of a number that only grows, until the server starts again. */
void metrics_counter(StrBuf *buf, const char *name, const char *help, double value);

/** The value of a label comes from a table of the database or of a file of ours, never from a
 * message. */
typedef struct MetricsLabel {
    const char *name;
    Str value;
} MetricsLabel;

/** Begins a gauge of many rows, and appends one: "musubi_NAME{label="value"} value". */
void metrics_gauge_head(StrBuf *buf, const char *name, const char *help);
void metrics_gauge_row(StrBuf *buf, const char *name, const MetricsLabel *labels, size_t count,
                       double value);
