#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/dtm.h"
#include "server/command/authority_input.h"

#define TOKYO "Asia/Tokyo"

typedef struct Fixture {
    Arena *arena;
    ErrorList errors;
} Fixture;

static int setup(void **state)
{
    Arena *arena = arena_new();
    Fixture *fixture = ARENA_NEW(arena, Fixture);
    fixture->arena = arena;
    error_list_init(&fixture->errors, arena);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    Fixture *fixture = *state;
    arena_free(fixture->arena);
    return 0;
}

static int parse(Fixture *fixture, const AuthorityInput *input, AuthorityRow *ret_row)
{
    error_list_init(&fixture->errors, fixture->arena);
    return authority_row_parse(fixture->arena, &fixture->errors, TOKYO, input, ret_row);
}

static int64_t utc_us(const char *dtm)
{
    int64_t us = 0;
    assert_true(dtm_parse(str_from(dtm), &us));
    return us;
}

/* Days are days of source_timezone, the last one included. */
static void test_days_are_whole_days_of_the_zone(void **state)
{
    Fixture *fixture = *state;
    const AuthorityInput input = {
        .oid = STR("1.2.3"), .valid_from = STR("2024-04-01"), .valid_to = STR("2026/3/31")};
    AuthorityRow row;

    assert_int_equal(parse(fixture, &input, &row), 0);
    assert_true(row.valid_from_us == utc_us("20240331150000"));
    assert_true(row.valid_to_us == utc_us("20260331150000"));
    Str from = authority_format_from(fixture->arena, TOKYO, row.valid_from_us);
    Str to = authority_format_to(fixture->arena, TOKYO, row.valid_to_us);
    assert_true(str_equal(from, STR("2024-04-01")));
    assert_true(str_equal(to, STR("2026-03-31")));
    to = authority_format_to(fixture->arena, TOKYO, row.valid_to_us + 1000000);
    assert_true(str_equal(to, STR("2026-04-01 00:00:01")));
    assert_int_equal(authority_format_to(fixture->arena, TOKYO, INT64_MAX).len, 0);
    assert_int_equal(authority_format_from(fixture->arena, TOKYO, INT64_MIN).len, 0);
}

static void test_a_day_lasts_as_long_as_the_zone_says(void **state)
{
    Fixture *fixture = *state;
    const AuthorityInput input = {.oid = STR("1.2.3"),
                                  .valid_from = STR("2026-10-25"), /* 25 hours */
                                  .valid_to = STR("2026-10-25")};
    AuthorityRow row;

    assert_int_equal(
        authority_row_parse(fixture->arena, &fixture->errors, "Europe/Berlin", &input, &row), 0);
    assert_true(row.valid_to_us - row.valid_from_us == INT64_C(25) * 3600 * 1000000);
}

static void test_what_is_not_said_is_open(void **state)
{
    const AuthorityInput input = {.oid = STR("1.2.3")};
    AuthorityRow row;

    assert_int_equal(parse(*state, &input, &row), 0);
    assert_true(row.valid_from_us == INT64_MIN);
    assert_true(row.valid_to_us == INT64_MAX);
    assert_true(str_equal(row.kind, STR("emr")));
    assert_int_equal(row.derive_from.len, 0);
}

/* ITI TF-2 Appendix E; 3.8.4.1.3.1. */
static void test_each_fault_of_a_row_is_told(void **state)
{
    static const struct {
        AuthorityInput input;
        const char *text;
    } cases[] = {
        {{.oid = STR_INIT("")}, "write the OID"},
        {{.oid = STR_INIT("1.02.3")}, "write the OID"},
        {{.oid = STR_INIT("1.2"), .namespace_id = STR_INIT("A&B")}, "namespace"},
        {{.oid = STR_INIT("1.2"), .kind = STR_INIT("ris")}, "emr, pacs"},
        {{.oid = STR_INIT("1.2"), .facility = STR_INIT("\xff")}, "facility"},
        {{.oid = STR_INIT("1.2"), .source_application = STR_INIT("HIS")}, "both MSH-3"},
        {{.oid = STR_INIT("1.2"),
          .source_application = STR_INIT("H|S"),
          .source_facility = STR_INIT("*")},
         "none of"},
        {{.oid = STR_INIT("1.2"), .valid_to = STR_INIT("2026-02-30")}, "YYYY-MM-DD"},
        {{.oid = STR_INIT("1.2"),
          .valid_from = STR_INIT("2026-02-02"),
          .valid_to = STR_INIT("2026-02-01")},
         "before"},
        {{.oid = STR_INIT("1.2"), .derive = STR_INIT("1.2.3")}, "pad=10"},
        {{.oid = STR_INIT("1.2"), .derive = STR_INIT("x,pad=10")}, "pad=10"},
    };
    Fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AuthorityRow row;
        if (parse(fixture, &cases[i].input, &row) != -ERR_CONFIGURATION ||
            !str_contains(fixture->errors.first->context, str_from(cases[i].text))) {
            fail_msg("case %zu", i);
        }
    }
}

static void test_rules_of_derived_numbers(void **state)
{
    static const struct {
        const char *rule;
        bool is_rule;
    } cases[] = {
        {"pad=1", true},    {"pad=20", true},      {"pad=21", false}, {"pad=0", false},
        {"pad=", false},    {"pad=-1", false},     {"pad", false},    {"strip-zeros", true},
        {"prefix=P", true}, {"prefix=", false},    {"", false},       {"strip-zeros=", false},
        {"PAD=3", false},   {"prefix=A|B", false},
    };
    Fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AuthorityRow row;
        const AuthorityInput input = {
            .oid = STR_INIT("1.2"),
            .derive = str_printf(fixture->arena, "1.2.3,%s", cases[i].rule),
        };
        if ((parse(fixture, &input, &row) == 0) != cases[i].is_rule) {
            fail_msg("case %zu: %s", i, cases[i].rule);
        }
    }
}

#define ROW(where, number, name, from)                                                             \
    {                                                                                              \
        .location = (where), .oid = STR_INIT(number), .namespace_id = STR_INIT(name),              \
        .derive_from = STR_INIT(from)                                                              \
    }

static void test_rows_are_checked_together(void **state)
{
    static const struct {
        AuthorityRow rows[3];
        size_t count;
        const char *text; /* NULL: good */
    } cases[] = {
        {{ROW(NULL, "1.1", "A", ""), ROW("x", "1.1", "B", ""), ROW("x", "1.2", "A", "")}, 3, NULL},
        {{ROW("x", "1.1", "A", ""), ROW("x", "1.1", "B", "")}, 2, "above"},
        {{ROW(NULL, "1.1", "A", ""), ROW("x", "1.2", "A", "")}, 2, "is that of 1.1"},
        {{ROW("x", "1.1", "", ""), ROW("x", "1.2", "", "")}, 2, NULL},
        {{ROW("x", "1.2", "", "1.1"), ROW("x", "1.1", "", "")}, 2, NULL},
        {{ROW("x", "1.2", "", "1.1")}, 1, "not configured"},
        {{ROW("x", "1.1", "", "1.1")}, 1, "leads back"},
        {{ROW(NULL, "1.1", "", "1.2"), ROW(NULL, "1.2", "", ""), ROW("x", "1.2", "", "1.1")},
         3,
         "leads back"},
        {{ROW("x", "1.1", "", "1.2"), ROW("x", "1.2", "", "1.3"), ROW("x", "1.3", "", "1.2")},
         3,
         "leads back"},
        /* what is stored is not the input's fault */
        {{ROW(NULL, "1.1", "A", ""), ROW(NULL, "1.2", "A", ""), ROW("x", "1.3", "C", "")}, 3, NULL},
    };
    Fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        error_list_init(&fixture->errors, fixture->arena);
        int rc =
            authority_rows_check(fixture->arena, &fixture->errors, cases[i].rows, cases[i].count);
        if ((rc == 0) != (cases[i].text == NULL) ||
            (rc < 0 && !str_contains(fixture->errors.first->context, str_from(cases[i].text)))) {
            fail_msg("case %zu", i);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_days_are_whole_days_of_the_zone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_day_lasts_as_long_as_the_zone_says, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_said_is_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_fault_of_a_row_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rules_of_derived_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rows_are_checked_together, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
