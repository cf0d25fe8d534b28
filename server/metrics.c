#include "server/metrics.h"

#include <stdatomic.h>

#include "server/transactions.h"

#define TRANSACTIONS_MAX 64

static const double bucket_s[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                  0.25,  0.5,    1,     2.5,  5,     10,   60};
#define BUCKETS ARRAY_LEN(bucket_s)

typedef struct Counters {
    atomic_uint_fast64_t finished[OUTCOME_COUNT];
    atomic_uint_fast64_t received_bytes;
    atomic_uint_fast64_t sent_bytes;
    atomic_uint_fast64_t duration_us;
    atomic_uint_fast64_t buckets[BUCKETS + 1]; /* not cumulative */
} Counters;

/** Rows: the SOAP transactions in their order, then ITI-8, then everything else. */
static Counters counters[TRANSACTIONS_MAX];

static const char *row_name(size_t row)
{
    if (row < transaction_count) {
        return transactions[row].number;
    }
    return row == transaction_count ? "ITI-8" : "other";
}

static size_t row_count(void)
{
    return transaction_count + 2;
}

const char *outcome_name(Outcome outcome)
{
    static const char *const names[] = {"Success", "PartialSuccess", "Failure", "Fault"};
    return names[outcome];
}

void metrics_count(const char *transaction, Outcome outcome, int64_t duration_ns,
                   uint64_t received_bytes, uint64_t sent_bytes)
{
    size_t row = 0;
    while (row < row_count() - 1 && strcmp(transaction, row_name(row)) != 0) {
        row++;
    }
    Counters *c = &counters[row];
    double seconds = (double)duration_ns / 1e9;
    size_t bucket = 0;
    while (bucket < BUCKETS && seconds > bucket_s[bucket]) {
        bucket++;
    }
    atomic_fetch_add(&c->finished[outcome], 1);
    atomic_fetch_add(&c->received_bytes, received_bytes);
    atomic_fetch_add(&c->sent_bytes, sent_bytes);
    atomic_fetch_add(&c->duration_us, (uint64_t)(duration_ns / 1000));
    atomic_fetch_add(&c->buckets[bucket], 1);
}

static void head(StrBuf *buf, const char *name, const char *type, const char *help)
{
    strbuf_printf(buf, "# HELP musubi_%s %s\n# TYPE musubi_%s %s\n", name, help, name, type);
}

static void write_durations(StrBuf *buf)
{
    head(buf, "request_duration_seconds", "histogram", "Time from the first byte to the reply.");
    for (size_t row = 0; row < row_count(); row++) {
        uint64_t sum = 0;
        for (size_t bucket = 0; bucket <= BUCKETS; bucket++) {
            sum += atomic_load(&counters[row].buckets[bucket]);
            if (bucket < BUCKETS) {
                strbuf_printf(buf,
                              "musubi_request_duration_seconds_bucket{tx=\"%s\",le=\"%g\"} %lu\n",
                              row_name(row), bucket_s[bucket], sum);
            }
        }
        strbuf_printf(buf,
                      "musubi_request_duration_seconds_bucket{tx=\"%s\",le=\"+Inf\"} %lu\n"
                      "musubi_request_duration_seconds_sum{tx=\"%s\"} %.6f\n"
                      "musubi_request_duration_seconds_count{tx=\"%s\"} %lu\n",
                      row_name(row), sum, row_name(row),
                      (double)atomic_load(&counters[row].duration_us) / 1e6, row_name(row), sum);
    }
}

void metrics_write(StrBuf *buf)
{
    head(buf, "requests_total", "counter", "Finished requests by transaction and outcome.");
    for (size_t row = 0; row < row_count(); row++) {
        for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
            strbuf_printf(buf, "musubi_requests_total{tx=\"%s\",outcome=\"%s\"} %lu\n",
                          row_name(row), outcome_name((Outcome)outcome),
                          (uint64_t)atomic_load(&counters[row].finished[outcome]));
        }
    }
    head(buf, "received_bytes_total", "counter", "Bytes of request bodies.");
    for (size_t row = 0; row < row_count(); row++) {
        strbuf_printf(buf, "musubi_received_bytes_total{tx=\"%s\"} %lu\n", row_name(row),
                      (uint64_t)atomic_load(&counters[row].received_bytes));
    }
    head(buf, "sent_bytes_total", "counter", "Bytes of reply bodies.");
    for (size_t row = 0; row < row_count(); row++) {
        strbuf_printf(buf, "musubi_sent_bytes_total{tx=\"%s\"} %lu\n", row_name(row),
                      (uint64_t)atomic_load(&counters[row].sent_bytes));
    }
    write_durations(buf);
}

void metrics_gauge(StrBuf *buf, const char *name, const char *help, double value)
{
    head(buf, name, "gauge", help);
    strbuf_printf(buf, "musubi_%s %g\n", name, value);
}
