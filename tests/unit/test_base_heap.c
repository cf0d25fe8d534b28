/* Memory that outlives a request: never NULL, never less than was asked for. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/heap.h"

static void test_what_is_new_is_zeroed_and_there_also_for_none(void **state)
{
    static const char zeros[64];
    (void)state;
    for (size_t count = 0; count <= 4; count++) {
        uint64_t *items = HEAP_ARRAY(uint64_t, count);
        assert_non_null(items);
        assert_memory_equal(items, zeros, count * sizeof(*items));
        free(items);
    }
}

static void test_a_list_grows_from_its_first_capacity_by_doubling_and_keeps_its_items(void **state)
{
    const size_t capacities[] = {3, 3, 3, 6, 6, 6, 12, 12};
    int *items = NULL;
    size_t capacity = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(capacities); i++) {
        if (i == capacity) {
            items = heap_grow(items, &capacity, 3, sizeof(*items));
        }
        assert_int_equal(capacity, capacities[i]);
        items[i] = (int)i;
    }
    for (size_t i = 0; i < ARRAY_LEN(capacities); i++) {
        assert_int_equal(items[i], i);
    }
    free(items);
}

static void test_a_text_ends_in_nul_also_the_empty_one(void **state)
{
    const Str texts[] = {STR("ab"), STR_EMPTY, str_slice(STR("abc"), 1, 1)};
    const char *expected[] = {"ab", "", "b"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char *text = heap_text(texts[i]);
        assert_string_equal(text, expected[i]);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_new_is_zeroed_and_there_also_for_none),
        cmocka_unit_test(test_a_list_grows_from_its_first_capacity_by_doubling_and_keeps_its_items),
        cmocka_unit_test(test_a_text_ends_in_nul_also_the_empty_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
