#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/macros.h"
#include "server/time_sync.h"

/* ITI TF-2 3.1.4.1: synchronized, with an error below one second. */
static const struct {
    struct timex state;
    bool is_good;
    const char *verdict;
    double offset_seconds;
} cases[] = {
    {{.status = STA_PLL, .maxerror = 40000, .esterror = 900}, true, "synchronized", 0},
    {{.status = STA_PLL | STA_NANO, .offset = -1500000}, true, "synchronized", -0.0015},
    {{.status = STA_PLL, .offset = 250}, true, "synchronized", 0.00025},
    {{.status = STA_UNSYNC}, false, "not synchronized", 0},
    {{.status = STA_UNSYNC | STA_PLL, .maxerror = 16000000}, false, "not synchronized", 0},
    {{.status = STA_PLL | STA_CLOCKERR}, false, "not synchronized", 0},
    {{.status = STA_PLL, .offset = 1000000}, false, "synchronized, but a second off or more", 1},
    {{.status = STA_PLL | STA_NANO, .offset = -2000000000},
     false,
     "synchronized, but a second off or more",
     -2},
    {{.status = STA_PLL, .esterror = 1000000}, false, "synchronized, but a second off or more", 0},
    {{.status = STA_PLL, .maxerror = 5000000}, true, "synchronized", 0},
};

static void test_verdict_follows_from_what_the_kernel_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        TimeSync sync = {0};
        time_sync_from_kernel(&cases[i].state, &sync);
        if (time_sync_is_good(&sync) != cases[i].is_good ||
            strcmp(time_sync_verdict(&sync), cases[i].verdict) != 0) {
            fail_msg("case %zu: %s", i, time_sync_verdict(&sync));
        }
        assert_float_equal(sync.offset_seconds, cases[i].offset_seconds, 1e-9);
    }
}

static void test_every_service_has_a_name_and_a_remedy(void **state)
{
    (void)state;
    for (TimeService i = TIME_SERVICE_NONE; i < TIME_SERVICE_COUNT; i++) {
        const TimeSync sync = {.service = i};
        assert_true(strlen(time_sync_service_name(&sync)) > 0);
        assert_true(strlen(time_sync_remedy(&sync)) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdict_follows_from_what_the_kernel_says),
        cmocka_unit_test(test_every_service_has_a_name_and_a_remedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
