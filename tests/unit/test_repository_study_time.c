#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "repository/imaging/study_time.h"

/** PS3.5 6.2 DA and TM, PS3.3 C.12.1.1.8 (0008,0201): local times become UTC (RAD TF-2 4.68). */
static void test_local_times_become_utc(void **state)
{
    (void)state;
    static const struct {
        const char *date;
        const char *time;
        const char *offset;
        const char *zone;
        const char *expected; /* NULL: there is no such instant */
    } cases[] = {
        /* 08:30 in Japan is the evening before in Greenwich */
        {"20260401", "083000", "", "Asia/Tokyo", "2026-03-31T23:30:00Z"},
        {"20260401", "083000", "+0900", "UTC", "2026-03-31T23:30:00Z"},
        {"20260401", "083000", "-0500", "Asia/Tokyo", "2026-04-01T13:30:00Z"},
        {"20260401", "083000", " +0000 ", "Asia/Tokyo", "2026-04-01T08:30:00Z"},
        {"20260401", "", "", "Asia/Tokyo", "2026-03-31T15:00:00Z"},
        {"20260401", "08", "", "UTC", "2026-04-01T08:00:00Z"},
        {"20260401", "0830", "", "UTC", "2026-04-01T08:30:00Z"},
        {"20260401", "083015.123456", "", "UTC", "2026-04-01T08:30:15Z"},
        {"2026.04.01", "08:30:15", "", "UTC", "2026-04-01T08:30:15Z"},
        {" 20260401 ", " 083000 ", "", "UTC", "2026-04-01T08:30:00Z"},
        /* an offset that is none is passed over */
        {"20260401", "083000", "0900", "UTC", "2026-04-01T08:30:00Z"},
        {"20260401", "083000", "+1500", "UTC", "2026-04-01T08:30:00Z"},
        {"20260401", "083000", "+09", "UTC", "2026-04-01T08:30:00Z"},
        /* what follows a broken time does not count */
        {"20260401", "noon", "", "UTC", "2026-04-01T00:00:00Z"},
        {"", "083000", "", "UTC", NULL},
        {"202604", "083000", "", "UTC", NULL},
        {"unknown", "083000", "", "UTC", NULL},
        {"20260231", "083000", "", "UTC", NULL},
        {"20261301", "083000", "", "UTC", NULL},
        {"20260401", "253000", "", "UTC", NULL},
    };
    Arena *arena = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t utc_us = 0;
        bool is_good = study_time_utc_us(str_from(cases[i].date), str_from(cases[i].time),
                                         str_from(cases[i].offset), cases[i].zone, &utc_us);
        Str found = is_good ? clock_iso8601(arena, utc_us) : STR("none");
        Str expected = str_from(cases[i].expected ? cases[i].expected : "none");
        if (!str_starts_with(found, str_slice(expected, 0, MIN(expected.len, (size_t)19)))) {
            fail_msg("%s %s %s %s: %.*s", cases[i].date, cases[i].time, cases[i].offset,
                     cases[i].zone, STR_ARG(found));
        }
    }
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_local_times_become_utc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
