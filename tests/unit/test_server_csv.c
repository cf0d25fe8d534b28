#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/command/csv.h"

static const char *const columns[] = {"name", "facility"};

typedef struct Fixture {
    Arena *arena;
    ErrorList errors;
    char path[64];
    CsvFile file;
} Fixture;

static int setup(void **state)
{
    Arena *arena = arena_new();
    Fixture *fixture = ARENA_NEW(arena, Fixture);
    fixture->arena = arena;
    error_list_init(&fixture->errors, arena);
    strcpy(fixture->path, "/tmp/musubi-csv-XXXXXX");
    close(mkstemp(fixture->path));
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    Fixture *fixture = *state;
    unlink(fixture->path);
    arena_free(fixture->arena);
    return 0;
}

static int read_csv(Fixture *fixture, Str text)
{
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    fwrite(text.data, 1, text.len, file);
    fclose(file);
    return csv_read(fixture->arena, &fixture->errors, fixture->path, columns, 2, &fixture->file);
}

static void test_rows_are_read_in_the_order_of_the_callers_columns(void **state)
{
    static const Str texts[] = {
        STR_INIT("name,facility\na,Hospital\n\nb,\"x, \"\"y\"\"\"\n"),
        STR_INIT("\xef\xbb\xbf"
                 "facility,name\r\nHospital,a\r\n\"x, \"\"y\"\"\",b"),
    };
    Fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_int_equal(read_csv(fixture, texts[i]), 0);
        assert_int_equal(fixture->file.row_count, 2);
        assert_true(str_equal(fixture->file.rows[0].fields[0], STR("a")));
        assert_true(str_equal(fixture->file.rows[0].fields[1], STR("Hospital")));
        assert_true(str_equal(fixture->file.rows[1].fields[0], STR("b")));
        assert_true(str_equal(fixture->file.rows[1].fields[1], STR("x, \"y\"")));
    }
}

/* Excel in Japan writes CP932, with the extensions of NEC and IBM. */
static void test_cp932_becomes_utf8(void **state)
{
    Fixture *fixture = *state;
    assert_int_equal(read_csv(fixture, STR("name,facility\na,\xfb\xfc\x8b\xb4\x87\x40\n")), 0);
    assert_true(
        str_equal(fixture->file.rows[0].fields[1], STR("\xe9\xab\x99\xe6\xa9\x8b\xe2\x91\xa0")));
}

static void test_faults_name_the_line(void **state)
{
    static const struct {
        Str text;
        const char *line;
    } cases[] = {
        {STR_INIT("name,colour\n"), ":1"},
        {STR_INIT("name,facility\na,b\nc\n"), ":3"},
        {STR_INIT("name,facility\n\"a\nb\",x\nc,d,e\n"), ":4"},
        {STR_INIT("name,facility\n\"a,b\n"), ":2"},
        {STR_INIT("name,facility\n\"a\"b,c\n"), ":2"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Fixture *fixture = NULL;
        setup((void **)&fixture);
        assert_int_equal(read_csv(fixture, cases[i].text), -ERR_CONFIGURATION);
        assert_true(str_ends_with(fixture->errors.first->location, str_from(cases[i].line)));
        teardown((void **)&fixture);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_are_read_in_the_order_of_the_callers_columns,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_cp932_becomes_utf8, setup, teardown),
        cmocka_unit_test(test_faults_name_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
