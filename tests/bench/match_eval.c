/* How well record linkage does on the populations of some seeds: a line of JSON for each. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/linkage.h"

static void print_kinds(const LinkageReport *report)
{
    printf("\"kinds\": {");
    for (size_t i = 0; i <= ERROR_KINDS; i++) {
        printf("%s\"%s\": [%zu, %zu]", i ? ", " : "", i < ERROR_KINDS ? error_words[i] : "none",
               report->kinds[i].found, report->kinds[i].all);
    }
    printf("}");
}

static size_t count_with_errors(const Population *population, int errors)
{
    size_t count = 0;
    for (size_t i = 0; i < population->record_count; i++) {
        count += __builtin_popcount(population->records[i].errors) == errors;
    }
    return count;
}

static void evaluate(const Names *names, size_t persons, uint64_t seed)
{
    static const MatchConfig config = {.rule = MATCH_RULE_WEIGHTED};
    Arena *arena = arena_new();
    const Population *population = population_new(arena, names, persons, seed);
    LinkageReport reports[2];
    uint32_t *clusters[2];
    for (uint64_t i = 0; i < 2; i++) {
        linkage_run(arena, &config, population, linkage_order(arena, population, 77 + i),
                    &reports[i], &clusters[i]);
    }
    const LinkageReport *report = &reports[0];
    bool is_same_partition =
        memcmp(clusters[0], clusters[1], population->record_count * sizeof(uint32_t)) == 0;
    double records = (double)report->record_count;
    printf("{\"seed\": %llu, \"persons\": %zu, \"records\": %zu, \"one_error\": %.4f, "
           "\"two_errors\": %.4f, \"twins\": %zu, \"namesakes\": %zu, \"precision\": %.6f, "
           "\"recall\": %.5f, \"false_pairs\": %zu, \"lookalikes_linked\": %zu, "
           "\"review\": %.5f, \"open_review\": %.5f, \"same_partition\": %s, "
           "\"keys_per_record\": %.2f, \"candidates_per_record\": %.2f, \"largest_block\": %zu, "
           "\"records_per_second\": %.0f, ",
           (unsigned long long)seed, persons, report->record_count,
           (double)count_with_errors(population, 1) / records,
           (double)count_with_errors(population, 2) / records, population->twin_count,
           population->namesake_count, linkage_precision(report), linkage_recall(report->pairs),
           report->linked_pairs - report->pairs.found, report->lookalikes.found,
           (double)report->review_pairs / records, (double)report->open_review_pairs / records,
           is_same_partition ? "true" : "false", (double)report->key_count / records,
           (double)report->candidate_count / records, report->largest_block,
           records / report->seconds);
    print_kinds(report);
    printf("}\n");
    fflush(stdout);
    arena_free(arena);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: match_eval NAMES_CSV PERSONS SEED...\n");
        return 2;
    }
    Arena *arena = arena_new();
    const Names *names = names_read(arena, argv[1]);
    if (!names) {
        fprintf(stderr, "%s: no names\n", argv[1]);
        return 3;
    }
    for (int i = 3; i < argc; i++) {
        evaluate(names, (size_t)strtoul(argv[2], NULL, 10), strtoull(argv[i], NULL, 10));
    }
    arena_free(arena);
    return 0;
}
