#include "server/metrics.h"

#include <stdatomic.h>

#include "server/transactions.h"

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

/** The transaction of every message that this process takes, then everything else. A number that
 * stands in several rows of the tables is counted in the first. */
static const char *const names[] = {
#define SOAP(path, number, action, reply_action, body_namespace, body_element, module, handler,    \
             mtom, documents, confirms, asynchronous, operation)                                   \
    number,
#include "server/transactions.def"
#undef SOAP
#define MESSAGE(type, event, versions, transaction, handler, answer, audit, merged) transaction,
#include "pix/messages.def"
#undef MESSAGE
#define FHIR(method, path, number, body, module, handler) number,
#include "server/fhir_transactions.def"
#undef FHIR
#define DICOMWEB(method, path, number, handler, receiver, media) number,
#include "server/dicomweb_transactions.def"
#undef DICOMWEB
    /* DIMSE, as repository/imaging/conversation.c has it; DICOM is a whole association */
    "RAD-8", "RAD-10", "RAD-14", "RAD-16", "DICOM", "other",
};
#define ROWS ARRAY_LEN(names)

static Counters counters[ROWS];

/** The row of a transaction; what has no number (FHIR metadata) is in the last one. */
static size_t find_row(const char *transaction)
{
    size_t row = transaction[0] ? 0 : ROWS - 1;
    while (row < ROWS - 1 && strcmp(transaction, names[row]) != 0) {
        row++;
    }
    return row;
}

/** The next row at or behind this one whose number has not been written; ROWS if there is none. */
static size_t next_row(size_t row)
{
    while (row < ROWS && find_row(names[row]) != row) {
        row++;
    }
    return row;
}

const char *outcome_name(Outcome outcome)
{
    static const char *const outcomes[] = {"Success", "PartialSuccess", "Failure", "Fault"};
    return outcomes[outcome];
}

void metrics_count(const char *transaction, Outcome outcome, int64_t duration_ns,
                   uint64_t received_bytes, uint64_t sent_bytes)
{
    Counters *c = &counters[find_row(transaction)];
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
    for (size_t row = next_row(0); row < ROWS; row = next_row(row + 1)) {
        uint64_t sum = 0;
        for (size_t bucket = 0; bucket <= BUCKETS; bucket++) {
            sum += atomic_load(&counters[row].buckets[bucket]);
            if (bucket < BUCKETS) {
                strbuf_printf(buf,
                              "musubi_request_duration_seconds_bucket{tx=\"%s\",le=\"%g\"} %lu\n",
                              names[row], bucket_s[bucket], sum);
            }
        }
        strbuf_printf(buf,
                      "musubi_request_duration_seconds_bucket{tx=\"%s\",le=\"+Inf\"} %lu\n"
                      "musubi_request_duration_seconds_sum{tx=\"%s\"} %.6f\n"
                      "musubi_request_duration_seconds_count{tx=\"%s\"} %lu\n",
                      names[row], sum, names[row],
                      (double)atomic_load(&counters[row].duration_us) / 1e6, names[row], sum);
    }
}

void metrics_write(StrBuf *buf)
{
    head(buf, "requests_total", "counter", "Finished requests by transaction and outcome.");
    for (size_t row = next_row(0); row < ROWS; row = next_row(row + 1)) {
        for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
            strbuf_printf(buf, "musubi_requests_total{tx=\"%s\",outcome=\"%s\"} %lu\n", names[row],
                          outcome_name((Outcome)outcome),
                          (uint64_t)atomic_load(&counters[row].finished[outcome]));
        }
    }
    head(buf, "received_bytes_total", "counter", "Bytes of request bodies.");
    for (size_t row = next_row(0); row < ROWS; row = next_row(row + 1)) {
        strbuf_printf(buf, "musubi_received_bytes_total{tx=\"%s\"} %lu\n", names[row],
                      (uint64_t)atomic_load(&counters[row].received_bytes));
    }
    head(buf, "sent_bytes_total", "counter", "Bytes of reply bodies.");
    for (size_t row = next_row(0); row < ROWS; row = next_row(row + 1)) {
        strbuf_printf(buf, "musubi_sent_bytes_total{tx=\"%s\"} %lu\n", names[row],
                      (uint64_t)atomic_load(&counters[row].sent_bytes));
    }
    write_durations(buf);
}

void metrics_gauge(StrBuf *buf, const char *name, const char *help, double value)
{
    head(buf, name, "gauge", help);
    strbuf_printf(buf, "musubi_%s %g\n", name, value);
}

void metrics_counter(StrBuf *buf, const char *name, const char *help, double value)
{
    head(buf, name, "counter", help);
    strbuf_printf(buf, "musubi_%s %.0f\n", name, value);
}

void metrics_gauge_head(StrBuf *buf, const char *name, const char *help)
{
    head(buf, name, "gauge", help);
}

static void append_label_value(StrBuf *buf, Str value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (c == '\\' || c == '"') {
            strbuf_append_char(buf, '\\');
        }
        strbuf_append_char(buf, c == '\n' ? ' ' : c);
    }
}

void metrics_gauge_row(StrBuf *buf, const char *name, const MetricsLabel *labels, size_t count,
                       double value)
{
    strbuf_printf(buf, "musubi_%s{", name);
    for (size_t i = 0; i < count; i++) {
        strbuf_printf(buf, "%s%s=\"", i > 0 ? "," : "", labels[i].name);
        append_label_value(buf, labels[i].value);
        strbuf_append_char(buf, '"');
    }
    strbuf_printf(buf, "} %.0f\n", value);
}
