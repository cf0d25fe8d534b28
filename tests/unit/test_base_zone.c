#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/dtm.h"
#include "lib/base/zone.h"

static void test_only_names_of_zones_are_zones(void **state)
{
    static const struct {
        const char *name;
        bool is_valid;
    } cases[] = {
        {"Asia/Tokyo", true},    {"UTC", true}, {"Europe/Berlin", true}, {"", false},
        {"Asia/Osakaka", false}, {"Aa", false}, {"\xff\xfe", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (zone_is_valid(cases[i].name) != cases[i].is_valid) {
            fail_msg("case %zu: %s", i, cases[i].name);
        }
    }
}

/* A day of an authority begins at local midnight, whatever the host's zone is. */
static void test_local_times_become_instants_and_back(void **state)
{
    static const struct {
        const char *zone;
        struct tm local;
        const char *utc;
    } cases[] = {
        {"Asia/Tokyo", {.tm_year = 126, .tm_mon = 3, .tm_mday = 1}, "20260331150000"},
        {"Asia/Tokyo",
         {.tm_year = 124, .tm_mon = 1, .tm_mday = 29, .tm_hour = 23, .tm_min = 59, .tm_sec = 58},
         "20240229145958"},
        {"UTC", {.tm_year = 126, .tm_mon = 3, .tm_mday = 1}, "20260401"},
        {"Europe/Berlin", {.tm_year = 126, .tm_mon = 6, .tm_mday = 1}, "20260630220000"},
        {"Europe/Berlin", {.tm_year = 126, .tm_mon = 0, .tm_mday = 1}, "20251231230000"},
        {"Asia/Tokyo", {.tm_year = 60, .tm_mon = 0, .tm_mday = 1}, "19591231150000"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t expected;
        int64_t found;
        struct tm back;
        assert_true(dtm_parse(str_from(cases[i].utc), &expected));
        assert_true(zone_to_utc_us(cases[i].zone, &cases[i].local, &found));
        if (found != expected) {
            fail_msg("case %zu: %lld instead of %lld", i, (long long)found, (long long)expected);
        }
        assert_true(zone_to_local(cases[i].zone, found, &back));
        assert_int_equal(back.tm_year, cases[i].local.tm_year);
        assert_int_equal(back.tm_mon, cases[i].local.tm_mon);
        assert_int_equal(back.tm_mday, cases[i].local.tm_mday);
        assert_int_equal(back.tm_hour, cases[i].local.tm_hour);
        assert_int_equal(back.tm_sec, cases[i].local.tm_sec);
    }
}

static void test_what_is_no_day_is_refused(void **state)
{
    static const struct {
        const char *text;
        int year; /* 0: refused */
        int month;
        int day;
    } cases[] = {
        {"2026-04-01", 2026, 4, 1},  {"2026/4/1", 2026, 4, 1}, {"20260401", 2026, 4, 1},
        {"2024-02-29", 2024, 2, 29}, {"2026-02-29", 0, 0, 0},  {"2026-13-01", 0, 0, 0},
        {"2026-04", 0, 0, 0},        {"2026-04-01-", 0, 0, 0}, {"2026-04-01-02", 0, 0, 0},
        {"26-04-01", 0, 0, 0},       {"2026-00-10", 0, 0, 0},  {"", 0, 0, 0},
        {"2026/4-1", 0, 0, 0},       {"2026040a", 0, 0, 0},    {"2026-04-01T00:00", 0, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tm day = {0};
        bool is_day = zone_parse_day(str_from(cases[i].text), &day);
        if (is_day != (cases[i].year != 0) ||
            (is_day && (day.tm_year + 1900 != cases[i].year || day.tm_mon + 1 != cases[i].month ||
                        day.tm_mday != cases[i].day))) {
            fail_msg("case %zu: %s", i, cases[i].text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_names_of_zones_are_zones),
        cmocka_unit_test(test_local_times_become_instants_and_back),
        cmocka_unit_test(test_what_is_no_day_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
