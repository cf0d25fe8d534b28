/* Record linkage over a small invented population (tests/bench/population.h), to the figures that
 * ./run bench matching shows over a large one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/bench/linkage.h"

#define PERSONS 6000

static const MatchConfig config = {.rule = MATCH_RULE_WEIGHTED};

static const Names *read_names(Arena *arena)
{
    const char *source = getenv("MUSUBI_SOURCE");
    Str path = str_printf(arena, "%s/tests/fixtures/names.csv", source ? source : ".");
    const Names *names = names_read(arena, str_cstr(arena, path));
    assert_non_null(names);
    return names;
}

static size_t count_records(const Population *population, int least_errors)
{
    size_t count = 0;
    for (size_t i = 0; i < population->record_count; i++) {
        count += __builtin_popcount(population->records[i].errors) >= least_errors;
    }
    return count;
}

/* The population is as hard as it is meant to be. */
static void test_the_population_has_errors_twins_and_namesakes(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    const Names *names = read_names(arena);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        const Population *population = population_new(arena, names, PERSONS, seed);
        double records = (double)population->record_count;
        assert_true(records > 1.5 * PERSONS);
        assert_true((double)count_records(population, 1) > 0.15 * records);
        assert_true((double)count_records(population, 2) > 0.03 * records);
        assert_true(2.0 * (double)population->twin_count >= 0.006 * PERSONS);
        assert_true(2.0 * (double)population->namesake_count >= 0.02 * PERSONS);
    }
    arena_free(arena);
}

static void test_linkage_is_precise_complete_and_spares_lookalikes(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    const Names *names = read_names(arena);
    for (uint64_t seed = 2; seed <= 6; seed++) {
        const Population *population = population_new(arena, names, PERSONS, seed);
        LinkageReport report;
        uint32_t *clusters;
        linkage_run(arena, &config, population, linkage_order(arena, population, seed), &report,
                    &clusters);
        if (linkage_precision(&report) < 0.9995 || linkage_recall(report.pairs) < 0.97) {
            fail_msg("seed %d: precision %.5f, recall %.4f", (int)seed, linkage_precision(&report),
                     linkage_recall(report.pairs));
        }
        assert_int_equal(report.lookalikes.found, 0);
        assert_true(report.lookalikes.all > 0);
        assert_true(linkage_review_share(&report) < 0.01);
    }
    arena_free(arena);
}

static void test_the_order_of_feeds_does_not_change_the_partition(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    const Population *population = population_new(arena, read_names(arena), PERSONS, 2);
    LinkageReport report;
    uint32_t *clusters[3];
    for (uint64_t i = 0; i < ARRAY_LEN(clusters); i++) {
        linkage_run(arena, &config, population, linkage_order(arena, population, i), &report,
                    &clusters[i]);
        assert_memory_equal(clusters[0], clusters[i],
                            population->record_count * sizeof(*clusters[0]));
    }
    arena_free(arena);
}

static void test_a_seed_gives_the_same_population(void **state)
{
    (void)state;
    Arena *arena = arena_new();
    const Names *names = read_names(arena);
    const Population *one = population_new(arena, names, 500, 3);
    const Population *other = population_new(arena, names, 500, 3);
    assert_int_equal(one->record_count, other->record_count);
    for (size_t i = 0; i < one->record_count; i++) {
        assert_true(str_equal(demographics_write(arena, &one->records[i].demographics),
                              demographics_write(arena, &other->records[i].demographics)));
    }
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_population_has_errors_twins_and_namesakes),
        cmocka_unit_test(test_linkage_is_precise_complete_and_spares_lookalikes),
        cmocka_unit_test(test_the_order_of_feeds_does_not_change_the_partition),
        cmocka_unit_test(test_a_seed_gives_the_same_population),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
