#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/ini.h"

typedef struct Fixture {
    Arena *arena;
    ErrorList errors;
    IniFile file;
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

static int parse(Fixture *fixture, Str text)
{
    return ini_parse(fixture->arena, &fixture->errors, "a.ini", text, &fixture->file);
}

static void test_values_are_read_without_comments_and_quotes(void **state)
{
    static const struct {
        const char *line;
        const char *value;
    } cases[] = {
        {"key = value", "value"},
        {"key=value", "value"},
        {"  key\t=  two words  ", "two words"},
        {"key = value ; why", "value"},
        {"key = value # why", "value"},
        {"key = a;b#c", "a;b#c"},
        {"key =", ""},
        {"key = ; nothing", ""},
        {"key = \" a ; b \" ; why", " a ; b "},
        {"key = host=x dbname=y", "host=x dbname=y"},
        {"key = value\r", "value"},
    };
    Fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Str text = str_printf(fixture->arena, "\xef\xbb\xbf# first\n[s]\n%s\n", cases[i].line);
        assert_int_equal(parse(fixture, text), 0);
        assert_int_equal(fixture->file.count, 1);
        assert_string_equal(str_cstr(fixture->arena, fixture->file.entries[0].value),
                            cases[i].value);
        assert_true(str_equal(fixture->file.entries[0].section, STR("s")));
        assert_int_equal(fixture->file.entries[0].line, 3);
    }
}

static void test_faults_name_file_and_line(void **state)
{
    static const struct {
        const char *text;
        const char *location;
    } cases[] = {
        {"key = value", "a.ini:1"},       {"[s]\nkey", "a.ini:2"},
        {"[s]\nKey = 1", "a.ini:2"},      {"[s", "a.ini:1"},
        {"[s]\na = 1\na = 2", "a.ini:3"}, {"[s]\n\na = \"open", "a.ini:3"},
        {"[s]\na = \"b\" c", "a.ini:2"},  {"[]\n", "a.ini:1"},
        {"\n\n[s t]\n", "a.ini:3"},       {"[s]\n= 1\n", "a.ini:2"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Fixture *fixture = NULL;
        setup((void **)&fixture);
        assert_int_equal(parse(fixture, str_from(cases[i].text)), -ERR_CONFIGURATION);
        assert_string_equal(str_cstr(fixture->arena, fixture->errors.first->location),
                            cases[i].location);
        teardown((void **)&fixture);
    }
    (void)state;
}

static void test_all_faults_are_found_at_once(void **state)
{
    Fixture *fixture = *state;
    assert_int_equal(parse(fixture, STR("[s]\nx\ny\nz = 1\nw\n")), -ERR_CONFIGURATION);
    assert_int_equal(fixture->errors.error_count, 3);
}

static void test_text_that_is_not_utf8_is_refused(void **state)
{
    Fixture *fixture = *state;
    assert_int_equal(parse(fixture, STR("[s]\na = \x83\x65\n")), -ERR_CONFIGURATION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values_are_read_without_comments_and_quotes, setup,
                                        teardown),
        cmocka_unit_test(test_faults_name_file_and_line),
        cmocka_unit_test_setup_teardown(test_all_faults_are_found_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_that_is_not_utf8_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
