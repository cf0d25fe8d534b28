#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"

/** Lengths that do and do not divide the block, so that draws begin and end everywhere in it. */
static void test_no_bytes_are_given_out_twice(void **state)
{
    static unsigned char drawn[1000][24];
    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        random_bytes(drawn[i], sizeof(drawn[i]));
        for (size_t j = 0; j < i; j++) {
            assert_memory_not_equal(drawn[i], drawn[j], sizeof(drawn[i]));
        }
    }
}

static void test_a_draw_longer_than_a_block_is_filled_to_its_end(void **state)
{
    static unsigned char drawn[10000];
    (void)state;
    memset(drawn, 0, sizeof(drawn));
    random_bytes(drawn, sizeof(drawn));
    for (size_t at = 0; at + 16 <= sizeof(drawn); at += 16) {
        static const unsigned char zeros[16];
        assert_memory_not_equal(drawn + at, zeros, 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_bytes_are_given_out_twice),
        cmocka_unit_test(test_a_draw_longer_than_a_block_is_filled_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
