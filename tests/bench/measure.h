#pragma once

#include <stddef.h>
#include <stdint.h>

/** What the load generator and the floors share: time, latencies, the line of JSON. */

/** One thread's results. */
typedef struct Sampler {
    uint32_t *latencies_us;
    size_t count;
    size_t capacity;
    uint64_t done; /* more than count, if that is full */
    uint64_t errors;
    uint64_t bytes; /* of the replies */
    char problem[512];
} Sampler;

/** CLOCK_MONOTONIC. */
int64_t now_ns(void);

/** Prints the text on stderr and ends the process with status 2. */
_Noreturn void die(const char *what);

/** malloc() that ends the process when there is no memory; cleared. */
void *allocate(size_t count, size_t size_bytes);

/** @param shares  among how many threads the room for samples is divided */
void sampler_init(Sampler *sampler, size_t shares);
void sampler_add(Sampler *sampler, int64_t began_ns);
/** Keeps the first problem. */
void sampler_fail(Sampler *sampler, const char *text);

/** Prints rate, latencies and errors of all threads as one line of JSON. */
void measure_report(const Sampler *const *samplers, size_t count, double elapsed_s);
