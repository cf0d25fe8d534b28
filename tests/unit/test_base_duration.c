#include "lib/base/duration.h"

#include "tests/unit/xml_fixture.h"

/* W3C XML Schema part 2, 3.2.6 duration. */

#define SECONDS(n) (INT64_C(1000000) * (n))

static void test_durations_are_months_and_microseconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t months;
        int64_t us;
    } cases[] = {
        {"P1Y", 12, 0},
        {"P1Y2M3DT4H5M6.7S", 14, SECONDS(3 * 86400 + 4 * 3600 + 5 * 60 + 6) + 700000},
        {"PT2.5S", 0, 2500000},
        {"PT0.1234567S", 0, 123456},
        {"PT1M", 0, SECONDS(60)},
        {"P1M", 1, 0},
        {"-P1D", 0, SECONDS(-86400)},
        {"P0D", 0, 0},
        {"P9999Y", 9999 * 12, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Duration duration;
        if (!duration_parse(str_from(cases[i].text), &duration) ||
            duration.months != cases[i].months || duration.us != cases[i].us) {
            fail_msg("%s", cases[i].text);
        }
    }
}

static void test_anything_else_is_no_duration(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "P",
        "-",
        "1Y",
        "P1",
        "PT",
        "P1YT",
        "P1S",
        "PT1Y",
        "P1M1Y",
        "P1.5Y",
        "PT1.5M",
        "P1Y ",
        "+P1Y",
        "PT.S",
        "PT1.S",
        "PT1..2S",
        "P-1Y",
        "p1y",
        "P10000Y",
        "P9999Y1M",
        "P99999999999999999999D",
        "PT999999999999999999S",
        "P1Y1Y",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Duration duration;
        if (duration_parse(str_from(cases[i]), &duration)) {
            fail_msg("%s", cases[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_are_months_and_microseconds),
        cmocka_unit_test(test_anything_else_is_no_duration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
