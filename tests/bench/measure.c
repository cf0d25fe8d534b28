#include "tests/bench/measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES_MAX 4000000

int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void die(const char *what)
{
    (void)fprintf(stderr, "%s\n", what);
    exit(2);
}

void *allocate(size_t count, size_t size_bytes)
{
    void *memory = calloc(count ? count : 1, size_bytes);
    if (!memory) {
        die("out of memory");
    }
    return memory;
}

void sampler_init(Sampler *sampler, size_t shares)
{
    *sampler = (Sampler){.capacity = SAMPLES_MAX / shares};
    sampler->latencies_us = allocate(sampler->capacity, sizeof(uint32_t));
}

void sampler_add(Sampler *sampler, int64_t began_ns)
{
    sampler->done++;
    if (sampler->count < sampler->capacity) {
        sampler->latencies_us[sampler->count++] = (uint32_t)((now_ns() - began_ns) / 1000);
    }
}

void sampler_fail(Sampler *sampler, const char *text)
{
    sampler->errors++;
    if (!sampler->problem[0]) {
        (void)snprintf(sampler->problem, sizeof(sampler->problem), "%s", text);
    }
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_escaped(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        char c = *text;
        if (c == '"' || c == '\\') {
            putchar('\\');
        }
        putchar(c < 0x20 || c >= 0x7f ? ' ' : c);
    }
    putchar('"');
}

/** All latencies in order. */
static uint32_t *merge(const Sampler *const *samplers, size_t count, size_t *ret_count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += samplers[i]->count;
    }
    uint32_t *all = allocate(total, sizeof(*all));
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(all + at, samplers[i]->latencies_us, samplers[i]->count * sizeof(*all));
        at += samplers[i]->count;
    }
    qsort(all, total, sizeof(*all), compare_u32);
    *ret_count = total;
    return all;
}

static double quantile_ms(const uint32_t *sorted_us, size_t count, size_t percent)
{
    return count ? (double)sorted_us[(count - 1) * percent / 100] / 1000.0 : 0;
}

void measure_report(const Sampler *const *samplers, size_t count, double elapsed_s)
{
    Sampler sum = {0};
    const char *problem = "";
    for (size_t i = 0; i < count; i++) {
        sum.done += samplers[i]->done;
        sum.errors += samplers[i]->errors;
        sum.bytes += samplers[i]->bytes;
        problem = samplers[i]->problem[0] ? samplers[i]->problem : problem;
    }
    size_t total = 0;
    uint32_t *all = merge(samplers, count, &total);
    printf("{\"rate\": %.1f, \"done\": %llu, \"errors\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"max_ms\": %.3f, \"bytes\": %llu, \"seconds\": %.3f, \"problem\": ",
           (double)sum.done / elapsed_s, (unsigned long long)sum.done,
           (unsigned long long)sum.errors, quantile_ms(all, total, 50), quantile_ms(all, total, 99),
           quantile_ms(all, total, 100), (unsigned long long)sum.bytes, elapsed_s);
    print_escaped(problem);
    printf("}\n");
    free(all);
}
