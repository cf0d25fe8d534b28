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

/** Appends one gauge: "musubi_NAME{labels} value". */
void metrics_gauge(StrBuf *buf, const char *name, const char *help, double value);
